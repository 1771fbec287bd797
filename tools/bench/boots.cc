#include "tools/bench/boots.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "guest/wire/frame.h"
#include "guest/wire/messages.h"
#include "nlohmann/json.hpp"
#include "tools/bench/child.h"
#include "tools/harness/files.h"

namespace stasis::bench {
namespace {

using nlohmann::json;

// Without ACPI the agent restarts the machine, through a keyboard controller that microvm lacks.
constexpr char kLeaveWithoutAcpi[] = " reboot=t";
constexpr char kUp[] = "up\n";
constexpr uint64_t kMostJson = 1 << 20;

std::string Topology(uint32_t cpus) { return absl::StrFormat("1n1l%dc1t", cpus); }
std::string Memory(const BootSpec& spec) { return absl::StrCat(spec.memory_bytes >> 20, "M"); }

std::vector<std::string> StasisArguments(const BootSpec& spec, const std::string& result) {
  return {spec.stasis, "shell",      "--kernel", spec.kernel, "--topology", Topology(spec.cpus),
          "--memory",  Memory(spec), "--accel",  "kvm",       "--json",     result};
}

absl::Status Incomplete(absl::string_view what) {
  return absl::InternalError(absl::StrCat("stasis' JSON result lacks ", what));
}

// Waits for the line that the command in the guest writes.
absl::Status AwaitUp(Child* child, int output, absl::Time deadline) {
  std::string said;
  while (said != kUp) {
    absl::StatusOr<std::string> bytes = child->Read(output, deadline);
    if (!bytes.ok()) return bytes.status();
    said += *bytes;
    if (!absl::StartsWith(kUp, said)) {
      return absl::InternalError(absl::StrCat("the command in the guest said '", said, "'"));
    }
  }
  return absl::OkStatus();
}

// The moment at which the first whole frame, which must be the hello, has been read.
absl::StatusOr<absl::Time> AwaitHello(Child* child, int port, absl::Time deadline) {
  wire::Decoder decoder;
  for (;;) {
    absl::StatusOr<std::string> bytes = child->Read(port, deadline);
    if (!bytes.ok()) return bytes.status();
    std::vector<std::string> payloads;
    std::string console;
    decoder.Feed(*bytes, &payloads, &console);
    if (payloads.empty()) continue;
    const absl::Time now = MonotonicNow();
    absl::StatusOr<wire::AgentMessage> message = wire::ParseAgentMessage(payloads.front());
    if (!message.ok()) return message.status();
    if (std::holds_alternative<wire::Hello>(*message)) return now;
    return absl::InternalError("the agent's first message is no hello");
  }
}

absl::StatusOr<ShellTimes> ReadResult(const std::string& path, absl::Time started) {
  absl::StatusOr<std::string> text = ReadWholeFile(path, kMostJson);
  unlink(path.c_str());
  if (!text.ok()) return text.status();
  return ParseShellJson(*text, started);
}

}  // namespace

absl::StatusOr<ShellTimes> ParseShellJson(const std::string& text, absl::Time process_started) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return absl::InternalError("stasis' result is no JSON object");
  const json times = object.value("times", json::object());
  const json stages = object.value("startup", json::array());
  auto number = [](const json& from, const char* key) -> std::optional<int64_t> {
    const auto found = from.find(key);
    if (found == from.end() || !found->is_number_integer()) return std::nullopt;
    return found->get<int64_t>();
  };
  const auto first_run = number(times, "first_run_monotonic_ns");
  const auto cpu = number(times, "cpu_to_first_run_ns");
  if (!first_run.has_value() || !cpu.has_value()) return Incomplete("the first KVM_RUN");

  ShellTimes result;
  Startup& startup = result.startup;
  startup.cpu = absl::Nanoseconds(*cpu);
  startup.elapsed = absl::FromUnixNanos(*first_run) - process_started;
  absl::Time at = process_started;
  absl::Duration used;
  auto add = [&](const std::string& name, int64_t until, int64_t cpu_until) {
    startup.stages.push_back(
        {name, absl::Nanoseconds(cpu_until) - used, absl::FromUnixNanos(until) - at});
    at = absl::FromUnixNanos(until);
    used = absl::Nanoseconds(cpu_until);
  };
  for (const json& stage : stages) {
    const auto finished = stage.find("finished");
    const auto until = number(stage, "monotonic_ns");
    const auto cpu_until = number(stage, "cpu_ns");
    if (finished == stage.end() || !finished->is_string() || !until || !cpu_until) {
      return Incomplete("fields of a start-up stage");
    }
    add(finished->get<std::string>(), *until, *cpu_until);
  }
  add("first KVM_RUN", *first_run, *cpu);
  const auto hello = number(times, "hello_monotonic_ns");
  result.to_hello =
      hello.has_value() ? absl::FromUnixNanos(*hello) - process_started : absl::InfiniteDuration();
  return result;
}

absl::StatusOr<StasisBoot> BootInStasis(const BootSpec& spec) {
  absl::StatusOr<std::pair<OwnedFd, OwnedFd>> input = StreamPair();
  if (!input.ok()) return input.status();
  absl::StatusOr<std::pair<OwnedFd, OwnedFd>> output = StreamPair();
  if (!output.ok()) return output.status();
  const std::string result = absl::StrCat(spec.scratch_directory, "/stasis.json");
  Child::Options options{.argv = StasisArguments(spec, result),
                         .input = input->second.get(),
                         .output = output->second.get()};
  // Up, and then idle until we have looked at it.
  options.argv.insert(options.argv.end(), {"--exec", "echo up; read line"});
  absl::StatusOr<std::unique_ptr<Child>> child = Child::Start(options);
  if (!child.ok()) return child.status();
  input->second.Reset();
  output->second.Reset();
  absl::Status up = AwaitUp(child->get(), output->first.get(), (*child)->started() + spec.limit);
  if (!up.ok()) return up;
  absl::StatusOr<MemoryUse> memory = ReadMemoryUse((*child)->pid(), spec.memory_bytes);
  if (!memory.ok()) return memory.status();
  if (send(input->first.get(), "\n", 1, MSG_NOSIGNAL) != 1) {
    return absl::ErrnoToStatus(errno, "write to stasis");
  }
  absl::Status ended = (*child)->Join(MonotonicNow() + spec.end_limit);
  if (!ended.ok()) return ended;
  absl::StatusOr<ShellTimes> times = ReadResult(result, (*child)->started());
  if (!times.ok()) return times.status();
  if (times->to_hello == absl::InfiniteDuration()) return Incomplete("the agent's hello");
  return StasisBoot{{times->to_hello, *std::move(memory)}, std::move(times->startup)};
}

absl::StatusOr<Startup> StartStasis(const BootSpec& spec) {
  const std::string result = absl::StrCat(spec.scratch_directory, "/startup.json");
  Child::Options options{.argv = StasisArguments(spec, result)};
  options.argv.insert(options.argv.end(), {"--exec", "true", "--time-limit", "0.1"});
  absl::StatusOr<std::unique_ptr<Child>> child = Child::Start(options);
  if (!child.ok()) return child.status();
  absl::Status ended = (*child)->Join(MonotonicNow() + spec.end_limit);
  // It is expected to complain of its time limit.
  if (absl::IsDeadlineExceeded(ended)) return ended;
  absl::StatusOr<ShellTimes> times = ReadResult(result, (*child)->started());
  if (!times.ok()) {
    return absl::Status(times.status().code(), absl::StrCat(times.status().message(),
                                                            "; it said: ", (*child)->LastWords()));
  }
  return std::move(times->startup);
}

std::vector<std::string> QemuArguments(const BootSpec& spec, const std::string& image) {
  // What QEMU's page on microvm advises for the shortest boot: no option ROMs, no legacy timer and
  // interrupt controller, no clock chip. The serial port stays, because the guest's command line
  // names it, as it does in stasis. Without ACPI QEMU itself appends the virtio-mmio words.
  return {spec.qemu,
          "-M",
          absl::StrCat("microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on,acpi=",
                       spec.acpi ? "on" : "off"),
          "-accel",
          "kvm",
          "-cpu",
          "host",
          "-nodefaults",
          "-no-user-config",
          "-nographic",
          "-no-reboot",
          "-smp",
          absl::StrCat(spec.cpus),
          "-m",
          Memory(spec),
          "-kernel",
          image,
          "-initrd",
          spec.initrd,
          "-append",
          absl::StrCat(spec.cmdline, spec.acpi ? "" : kLeaveWithoutAcpi),
          "-serial",
          "null",
          "-chardev",
          "socket,id=agent,fd=3",
          "-device",
          "virtio-serial-device",
          "-device",
          absl::StrCat("virtserialport,chardev=agent,name=", wire::kPortName)};
}

absl::StatusOr<Boot> BootInQemu(const BootSpec& spec, const std::string& image) {
  absl::StatusOr<std::pair<OwnedFd, OwnedFd>> port = StreamPair();
  if (!port.ok()) return port.status();
  absl::StatusOr<std::unique_ptr<Child>> child =
      Child::Start({.argv = QemuArguments(spec, image), .extra = port->second.get()});
  if (!child.ok()) return child.status();
  port->second.Reset();
  const absl::Time started = (*child)->started();
  absl::StatusOr<absl::Time> hello =
      AwaitHello(child->get(), port->first.get(), started + spec.limit);
  if (!hello.ok()) return hello.status();
  absl::StatusOr<MemoryUse> memory = ReadMemoryUse((*child)->pid(), spec.memory_bytes);
  if (!memory.ok()) return memory.status();
  const std::string shutdown = wire::EncodeLine(wire::Shutdown{wire::ShutdownHow::kEnd});
  if (send(port->first.get(), shutdown.data(), shutdown.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(shutdown.size())) {
    return absl::ErrnoToStatus(errno, "write to the guest's agent");
  }
  // What the agent still says is read, so that it never waits for room.
  const absl::Time deadline = MonotonicNow() + spec.end_limit;
  absl::StatusOr<std::string> bytes;
  do {
    bytes = (*child)->Read(port->first.get(), deadline);
  } while (bytes.ok());
  if (absl::IsDeadlineExceeded(bytes.status())) return bytes.status();
  absl::Status ended = (*child)->Join(deadline);
  if (!ended.ok()) return ended;
  return Boot{*hello - started, *std::move(memory)};
}

}  // namespace stasis::bench
