#include "tools/inspect/dump_text.h"

#include <initializer_list>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/inspect/kernel.h"
#include "tools/inspect/scheduler_text.h"
#include "tools/inspect/cpu_stack.h"
#include "tools/inspect/scheduler_view.h"
#include "vmm/dump/vmcoreinfo.h"

namespace stasis {
namespace {

using nlohmann::json;

// A dump may say anything: what is not there, or is of another kind, is null.
const json& At(const json& object, std::initializer_list<const char*> keys) {
  static const json& null = *new json;
  const json* value = &object;
  for (const char* key : keys) {
    if (!value->is_object()) return null;
    const auto found = value->find(key);
    if (found == value->end()) return null;
    value = &*found;
  }
  return *value;
}

// Guest text on a terminal: control characters become dots.
std::string Printable(absl::string_view text, bool keep_lines = false) {
  std::string printable;
  for (char c : text) {
    if (c == '\r') continue;
    const bool plain = static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    printable += plain || c == '\t' || (keep_lines && c == '\n') ? c : '.';
  }
  return printable;
}

std::string Text(const json& value, const char* otherwise = "?") {
  if (value.is_string()) return Printable(value.get_ref<const std::string&>());
  if (value.is_number() || value.is_boolean()) return value.dump();
  return otherwise;
}

double Number(const json& value) { return value.is_number() ? value.get<double>() : 0; }

uint64_t Hex(const json& value) {
  uint64_t number = 0;
  if (value.is_string()) (void)absl::SimpleHexAtoi(value.get_ref<const std::string&>(), &number);
  return number;
}

std::string Seconds(double ns) { return absl::StrFormat("%.2f s", ns * 1e-9); }

// "unavailable: reason" of an object that could not be had; "" otherwise.
std::string Unavailable(const json& value) {
  const json& reason = At(value, {"unavailable"});
  return reason.is_string() ? absl::StrCat("unavailable: ", Text(reason)) : std::string();
}

std::string QueueLine(const json& queue) {
  return absl::StrFormat("size %s, driver offers %s, device took %s, returned %s%s",
                         Text(At(queue, {"size"})), Text(At(queue, {"avail_idx"})),
                         Text(At(queue, {"next_avail"})), Text(At(queue, {"next_used"})),
                         At(queue, {"poisoned"}) == json(true) ? ", POISONED" : "");
}

// Requests that the device took and has not returned.
int64_t InFlight(const json& state) {
  double sum = 0;
  for (const json& queue : At(state, {"queues"})) {
    sum += Number(At(queue, {"chains_taken"})) - Number(At(queue, {"chains_returned"}));
  }
  return static_cast<int64_t>(sum);
}

std::string DeviceLine(const json& device) {
  const json& state = At(device, {"state"});
  if (!At(state, {"status"}).is_string()) return "";
  const uint64_t status = Hex(At(state, {"status"}));
  std::string line = absl::StrFormat("status %#x (%s)", status,
                                     (status & 0x40) != 0   ? "NEEDS_RESET"
                                     : (status & 0x80) != 0 ? "FAILED"
                                     : (status & 4) != 0    ? "driver runs"
                                                            : "no driver");
  absl::StrAppendFormat(&line, ", %d chains taken and not returned", InFlight(state));
  const json& model = At(state, {"device"});
  if (At(model, {"reads"}).is_number()) {
    absl::StrAppendFormat(&line, "; %s reads, %s writes, %s I/O errors", Text(At(model, {"reads"})),
                          Text(At(model, {"writes"})), Text(At(model, {"io_errors"})));
  }
  return line;
}

}  // namespace

DumpText::DumpText(const DumpFile* dump) : dump_(*dump), memory_(dump) {
  absl::StatusOr<Kallsyms> symbols = Kallsyms::Load(memory_);
  if (symbols.ok()) {
    symbols_ = *std::move(symbols);
    unwinder_ = std::make_unique<Unwinder>(&memory_, &*symbols_);
  } else {
    without_symbols_ = std::string(symbols.status().message());
  }
}

absl::Status DumpText::UseVmlinux(const std::string& path) {
  absl::StatusOr<Kallsyms> symbols = Kallsyms::LoadVmlinux(path, memory_);
  if (!symbols.ok()) return symbols.status();
  symbols_ = *std::move(symbols);
  unwinder_ = std::make_unique<Unwinder>(&memory_, &*symbols_);
  without_symbols_.clear();
  return absl::OkStatus();
}

std::string DumpText::Where(const json& vcpu) const {
  if (const std::string why = Unavailable(At(vcpu, {"regs"})); !why.empty()) return why;
  if (!HasRegisters(vcpu)) return "no registers: did not park";
  const uint64_t ip = ProgramCounter(vcpu);
  if (InUserSpace(vcpu)) return absl::StrFormat("user space, %#x", ip);
  return symbols_.has_value() ? symbols_->Describe(ip) : absl::StrFormat("%#x", ip);
}

std::string DumpText::Stack(const json& vcpu, size_t most) const {
  if (unwinder_ == nullptr) return "";
  const std::vector<Frame> frames = StackOf(vcpu, *unwinder_);
  std::string text;
  for (size_t i = 1; i < frames.size() && i <= most; ++i) {
    absl::StrAppend(&text, "      ", frames[i].guessed ? "? " : "  ",
                    symbols_->Describe(frames[i].address), "\n");
  }
  return text;
}

// The task that waited longest, when the kernel's memory tells.
std::string DumpText::LongestWait() const {
  if (!symbols_.has_value()) return "";
  const absl::StatusOr<std::unique_ptr<Kernel>> kernel = Kernel::Open(&dump_, *symbols_);
  return kernel.ok() ? LongestWaitText(ReadScheduler(**kernel)) : "";
}

std::string DumpText::Summary() const {
  const json& facts = dump_.facts();
  const json& trigger = At(facts, {"trigger"});
  const json& times = At(facts, {"times"});
  std::string text;
  const json& verdict = At(facts, {"verdict"});
  if (verdict.is_object()) {
    const std::string layer = Text(At(verdict, {"layer"}), "");
    absl::StrAppend(&text, absl::AsciiStrToUpper(Text(At(verdict, {"verdict"}))), ": ", layer,
                    layer.empty() ? "" : ": ", Text(At(verdict, {"message"})), "\n");
  } else {
    absl::StrAppend(&text, "no verdict, the guest went on: ", Text(At(trigger, {"message"})), "\n");
  }
  absl::StrAppend(&text, "trigger   ", Text(At(trigger, {"kind"})), " while ",
                  Text(At(trigger, {"phase"})), ", told by ", Text(At(trigger, {"source"})));
  const double vcpu = Number(At(trigger, {"vcpu"}));
  if (At(trigger, {"vcpu"}).is_number() && vcpu >= 0) {
    absl::StrAppendFormat(&text, " on CPU %d", static_cast<int64_t>(vcpu));
  }
  const double since =
      Number(At(times, {"trigger_monotonic_ns"})) - Number(At(times, {"start_monotonic_ns"}));
  absl::StrAppend(&text, ", ", Seconds(since), " after the first instruction\n");
  if (const auto release = dump::VmcoreInfoValue(dump_.vmcoreinfo(), "OSRELEASE")) {
    absl::StrAppend(&text, "kernel    ", Printable(*release),
                    memory_.kaslr_offset() == 0
                        ? std::string()
                        : absl::StrFormat(", KASLR offset %#x", memory_.kaslr_offset()),
                    "\n");
  } else {
    absl::StrAppend(&text, "kernel    ", Text(At(facts, {"machine", "kernel_release"})), "\n");
  }
  absl::StrAppendFormat(
      &text, "machine   %s, %s CPUs, %.0f MiB, %s discovery, %s lane\n",
      Text(At(facts, {"machine", "topology"})), Text(At(facts, {"machine", "cpus"})),
      Number(At(facts, {"machine", "memory_bytes"})) / (1 << 20),
      Text(At(facts, {"machine", "discovery"})), Text(At(facts, {"host", "lane"})));
  if (At(facts, {"scenario", "name"}).is_string()) {
    absl::StrAppend(&text, "scenario  ", Text(At(facts, {"scenario", "name"})), ": ",
                    Text(At(facts, {"scenario", "summary"}), ""), "\n");
  }
  absl::StrAppend(&text, "dump      ", Text(At(times, {"written_utc"})), ", frozen in ",
                  absl::StrFormat("%.2f ms", Number(At(facts, {"freeze", "latency_ns"})) * 1e-6),
                  At(facts, {"complete"}) == json(true) ? ", complete" : ", INCOMPLETE", "\n");
  for (const json& why : At(facts, {"incomplete_because"})) {
    absl::StrAppend(&text, "          ", Text(why), "\n");
  }
  for (const json& absentee : At(facts, {"freeze", "absentees"})) {
    absl::StrAppend(&text, "absent    ", Text(At(absentee, {"name"})), ", last ",
                    Text(At(absentee, {"last_exit"}), "in the device"), "\n");
  }
  absl::StrAppend(&text, "\nCPU  state          last exit        where\n");
  for (const json& one : At(facts, {"vcpus"})) {
    absl::StrAppendFormat(&text, "%3s  %-14s %-16s %s\n", Text(At(one, {"index"})),
                          Text(At(one, {"mp_state"})),
                          absl::StripPrefix(Text(At(one, {"last_exit"})), "KVM_EXIT_"), Where(one));
    if (At(one, {"index"}) == At(trigger, {"vcpu"})) absl::StrAppend(&text, Stack(one, 8));
  }
  if (!without_symbols_.empty()) absl::StrAppend(&text, "no symbols: ", without_symbols_, "\n");
  if (const std::string wait = LongestWait(); !wait.empty()) {
    absl::StrAppend(&text, "\nwaiting   ", wait, "\n");
  }
  absl::StrAppend(&text, "\n");
  for (const json& device : At(facts, {"devices"})) {
    const std::string line = DeviceLine(device);
    if (!line.empty()) absl::StrAppendFormat(&text, "%-17s %s\n", Text(At(device, {"name"})), line);
  }
  const json& alarms = At(facts, {"console", "alarms"});
  if (alarms.is_array() && !alarms.empty()) absl::StrAppend(&text, "\nthe kernel complained:\n");
  for (const json& alarm : alarms) {
    absl::StrAppend(&text, "  | ", Text(At(alarm, {"line"})), "\n");
  }
  return text;
}

std::string DumpText::Cpus() const {
  std::string text;
  for (const json& vcpu : At(dump_.facts(), {"vcpus"})) {
    absl::StrAppend(&text, "CPU ", Text(At(vcpu, {"index"})), ": ", Text(At(vcpu, {"mp_state"})),
                    ", last exit ", Text(At(vcpu, {"last_exit"})), ", ", Text(At(vcpu, {"exits"})),
                    " exits; ", Where(vcpu), "\n");
    constexpr const char* kRows[][4] = {{"rip", "rflags", "rsp", "rbp"},
                                        {"rax", "rbx", "rcx", "rdx"},
                                        {"rsi", "rdi", "r8", "r9"},
                                        {"r10", "r11", "r12", "r13"},
                                        {"r14", "r15", "", ""}};
    if (!At(vcpu, {"regs"}).is_object()) continue;
    for (const auto& row : kRows) {
      absl::StrAppend(&text, " ");
      for (const char* name : row) {
        if (*name == '\0') continue;
        absl::StrAppendFormat(&text, " %-6s %016x", name, Hex(At(vcpu, {"regs", name})));
      }
      absl::StrAppend(&text, "\n");
    }
    absl::StrAppend(&text, " ");
    for (const char* name : {"cr0", "cr2", "cr3", "cr4", "efer"}) {
      absl::StrAppendFormat(&text, " %-4s %x", name, Hex(At(vcpu, {"sregs", name})));
    }
    absl::StrAppendFormat(&text, " cs %x gs.base %x\n", Hex(At(vcpu, {"sregs", "cs", "selector"})),
                          Hex(At(vcpu, {"sregs", "gs", "base"})));
  }
  return text;
}

std::string DumpText::Backtrace() const {
  std::string text;
  for (const json& vcpu : At(dump_.facts(), {"vcpus"})) {
    absl::StrAppend(&text, "CPU ", Text(At(vcpu, {"index"})), "\n        ", Where(vcpu), "\n",
                    Stack(vcpu, Unwinder::kMostFrames));
  }
  if (!without_symbols_.empty()) absl::StrAppend(&text, "no symbols: ", without_symbols_, "\n");
  if (unwinder_ != nullptr && !unwinder_->has_tables()) {
    absl::StrAppend(&text, "no ORC tables of a form that is known here: frames are guessed\n");
  }
  return text;
}

std::string DumpText::Devices() const {
  std::string text;
  for (const json& device : At(dump_.facts(), {"devices"})) {
    absl::StrAppend(&text, Text(At(device, {"name"})), " (", Text(At(device, {"bus"})), " ",
                    Text(At(device, {"base"})), ", interrupt ", Text(At(device, {"gsi"}), "none"),
                    ")\n");
    const std::string line = DeviceLine(device);
    if (!line.empty()) absl::StrAppend(&text, "  ", line, "\n");
    const json& queues = At(device, {"state", "queues"});
    size_t number = 0;
    for (const json& queue : queues) {
      absl::StrAppend(&text, "  queue ", number++, ": ", QueueLine(queue), "\n");
    }
    for (const json& refusal : At(device, {"state", "last_refusals"})) {
      absl::StrAppend(&text, "  refused: ", Text(refusal, refusal.dump().c_str()), "\n");
    }
    if (queues.is_null()) {
      absl::StrAppend(&text, "  ", Printable(At(device, {"state"}).dump()), "\n");
    }
  }
  return text;
}

std::string DumpText::Console() const {
  const json& tail = At(dump_.facts(), {"console", "tail"});
  if (!tail.is_string()) return "the dump has no console\n";
  std::string text = Printable(tail.get_ref<const std::string&>(), /*keep_lines=*/true);
  if (text.empty() || text.back() != '\n') text += '\n';
  return text;
}

std::string DumpText::Timeline() const {
  const double start = Number(At(dump_.facts(), {"times", "start_monotonic_ns"}));
  std::string text;
  for (const json& entry : At(dump_.facts(), {"timeline"})) {
    absl::StrAppendFormat(&text, "%10.3f s  %s\n",
                          (Number(At(entry, {"at_monotonic_ns"})) - start) * 1e-9,
                          Text(At(entry, {"what"})));
  }
  return text;
}

std::string DumpText::Notes() const {
  std::string text;
  for (const DumpNote& note : dump_.notes()) {
    absl::StrAppendFormat(&text, "%-12s type %#x, %d bytes\n", Printable(note.name), note.type,
                          note.content.size());
  }
  for (const DumpSegment& segment : dump_.segments()) {
    absl::StrAppendFormat(&text, "memory       %#x, %d MiB\n", segment.physical,
                          segment.size >> 20);
  }
  return text;
}

absl::StatusOr<std::string> DumpText::Memory(const std::string& where, bool physical,
                                             uint64_t length) const {
  constexpr uint64_t kMost = 1 << 20;
  if (length == 0 || length > kMost) {
    return absl::InvalidArgumentError("the length must be 1 to 1048576 bytes");
  }
  uint64_t address = 0;
  if (!absl::StartsWith(where, "0x") || !absl::SimpleHexAtoi(where, &address)) {
    if (!symbols_.has_value()) return absl::NotFoundError(without_symbols_);
    const auto symbol = symbols_->Address(where);
    if (!symbol.has_value()) {
      return absl::NotFoundError(absl::StrCat("the dumped kernel has no symbol '", where, "'"));
    }
    address = *symbol;
  }
  std::string bytes(length, '\0');
  const bool read = physical ? dump_.ReadPhysical(address, bytes.data(), length)
                             : memory_.Read(address, bytes.data(), length);
  if (!read) {
    return absl::NotFoundError(
        absl::StrFormat("%#x: not mapped, or not in the dump%s", address,
                        physical ? "" : "; guest-physical addresses need --physical"));
  }
  std::string text;
  for (uint64_t at = 0; at < length; at += 16) {
    absl::StrAppendFormat(&text, "%016x ", address + at);
    std::string characters;
    for (uint64_t i = at; i < at + 16; ++i) {
      absl::StrAppend(&text, i < length ? absl::StrFormat(" %02x", uint8_t(bytes[i])) : "   ");
      if (i < length) characters += absl::ascii_isprint(bytes[i]) ? bytes[i] : '.';
    }
    absl::StrAppend(&text, "  ", characters, "\n");
  }
  return text;
}

std::string DumpText::Diff(const DumpFile& before) const {
  std::string text;
  const json patch = json::diff(before.facts(), dump_.facts());
  for (const json& change : patch) {
    const std::string path = Text(At(change, {"path"}));
    const auto old = json::json_pointer(At(change, {"path"}).get_ref<const std::string&>());
    std::string line = absl::StrCat(Text(At(change, {"op"})), " ", path);
    if (At(change, {"op"}) == json("replace")) {
      absl::StrAppend(&line, ": ", Printable(before.facts().at(old).dump()).substr(0, 60));
    }
    const json& value = At(change, {"value"});
    if (!value.is_null()) absl::StrAppend(&line, " -> ", Printable(value.dump()).substr(0, 60));
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace stasis
