#include "tools/inspect/unwind.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>

#include "vmm/dump/vmcoreinfo.h"

namespace stasis {
namespace {

// What a register's value is computed from (arch/x86/include/asm/orc_types.h).
enum class Base {
  kUndefined,
  kPreviousSp,
  kAx,
  kDx,
  kDi,
  kBp,
  kSp,
  kR10,
  kR13,
  kBpIndirect,
  kSpIndirect,
};

// By the number in an entry: 6.1 and 6.12 number them in the first way, 7.2 in the second.
constexpr Base kOldNumbers[] = {Base::kUndefined,  Base::kPreviousSp, Base::kDx,  Base::kDi,
                                Base::kBp,         Base::kSp,         Base::kR10, Base::kR13,
                                Base::kBpIndirect, Base::kSpIndirect};
constexpr Base kNewNumbers[] = {Base::kUndefined,  Base::kAx,         Base::kDx,        Base::kSp,
                                Base::kBp,         Base::kDi,         Base::kR10,       Base::kR13,
                                Base::kPreviousSp, Base::kSpIndirect, Base::kBpIndirect};
constexpr uint16_t kOldSp = 5;
constexpr uint16_t kNewSp = 3;

Base BaseOf(uint16_t number, bool new_numbers) {
  if (new_numbers) return number < std::size(kNewNumbers) ? kNewNumbers[number] : Base::kUndefined;
  return number < std::size(kOldNumbers) ? kOldNumbers[number] : Base::kUndefined;
}

enum class OrcType { kUndefined, kEnd, kCall, kRegisters, kPartial };

// struct pt_regs
constexpr uint64_t kPtRegsBp = 32;
constexpr uint64_t kPtRegsIp = 128;
constexpr uint64_t kPtRegsCs = 136;
constexpr uint64_t kPtRegsSp = 152;
constexpr uint64_t kIretIp = 0;  // a partial frame begins at ip
constexpr uint64_t kIretCs = 8;
constexpr uint64_t kIretSp = 24;

constexpr uint64_t kMostGuessBytes = 4096;
constexpr uint64_t kMostEntries = 16'000'000;

// Linux 6.4 made room for more types (commit ffb1b4a41016).
bool TypesFrom64(absl::string_view vmcoreinfo) {
  const auto release = dump::VmcoreInfoValue(vmcoreinfo, "OSRELEASE");
  int major = 0, minor = 0;
  if (!release || sscanf(release->c_str(), "%d.%d", &major, &minor) != 2) return true;
  return major > 6 || (major == 6 && minor >= 4);
}

OrcType TypeOf(uint16_t flags, bool from_6_4) {
  if (from_6_4) return static_cast<OrcType>(std::min((flags >> 8) & 7, 4));
  if (((flags >> 10) & 1) != 0) return OrcType::kEnd;
  switch ((flags >> 8) & 3) {
    case 0:
      return OrcType::kCall;
    case 1:
      return OrcType::kRegisters;
    default:
      return OrcType::kPartial;
  }
}

}  // namespace

Unwinder::Unwinder(const KernelMemory* memory, const Kallsyms* symbols)
    : memory_(*memory),
      symbols_(*symbols),
      types_from_6_4_(TypesFrom64(memory->image().vmcoreinfo())) {
  const auto ips = symbols->Address("__start_orc_unwind_ip");
  const auto ips_end = symbols->Address("__stop_orc_unwind_ip");
  const auto table = symbols->Address("__start_orc_unwind");
  if (!ips || !ips_end || !table || *ips_end <= *ips) return;
  ips_ = *ips;
  table_ = *table;
  entries_ = std::min((*ips_end - *ips) / sizeof(int32_t), kMostEntries);
  if (!ChooseNumbers()) entries_ = 0;
}

// What most functions base their frame on is the stack pointer, so its number tells how registers
// are numbered; in either numbering the other's is the rare DI. The kernel's release would not do:
// distributions move patches between releases.
bool Unwinder::ChooseNumbers() {
  constexpr uint64_t kSample = 256;
  uint64_t old_numbers = 0, new_numbers = 0;
  const uint64_t count = std::min(entries_, kSample);
  for (uint64_t i = 0; i < count; ++i) {
    const auto entry = memory_.Load<Entry>(table_ + i * entries_ / count * sizeof(Entry));
    if (!entry.has_value()) continue;
    old_numbers += (entry->flags & 15) == kOldSp;
    new_numbers += (entry->flags & 15) == kNewSp;
  }
  new_numbers_ = new_numbers > old_numbers;
  return std::max(old_numbers, new_numbers) * 2 > count;
}

// The last entry at or before `ip`; the kernel sorts the tables at build time.
std::optional<Unwinder::Entry> Unwinder::Find(uint64_t ip) const {
  uint64_t low = 0, high = entries_;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const uint64_t at = ips_ + middle * sizeof(int32_t);
    const auto relative = memory_.Load<int32_t>(at);
    if (!relative.has_value()) return std::nullopt;
    if (at + static_cast<int64_t>(*relative) <= ip) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return std::nullopt;
  return memory_.Load<Entry>(table_ + (low - 1) * sizeof(Entry));
}

// As unwind_next_frame() in arch/x86/kernel/unwind_orc.c.
Unwinder::Step Unwinder::Next(UnwindRegisters* state, bool* signal, bool first) const {
  if (!symbols_.InText(state->ip)) return Step::kLost;
  const std::optional<Entry> orc = Find(*signal ? state->ip : state->ip - 1);
  if (!orc.has_value()) return Step::kLost;
  const OrcType type = TypeOf(orc->flags, types_from_6_4_);
  if (type == OrcType::kEnd) return Step::kEnd;
  if (type == OrcType::kUndefined) return Step::kLost;

  const Base base = BaseOf(orc->flags & 15, new_numbers_);
  uint64_t sp = 0;
  bool indirect = false;
  // Known only where the CPU stood.
  auto only_first = [&](uint64_t value) {
    sp = value;
    return first;
  };
  switch (base) {
    case Base::kSp:
      sp = state->sp + orc->sp_offset;
      break;
    case Base::kBp:
      sp = state->bp + orc->sp_offset;
      break;
    case Base::kSpIndirect:
      sp = state->sp;
      indirect = true;
      break;
    case Base::kBpIndirect:
      sp = state->bp + orc->sp_offset;
      indirect = true;
      break;
    case Base::kAx:
      if (!only_first(state->ax)) return Step::kLost;
      break;
    case Base::kDx:
      if (!only_first(state->dx)) return Step::kLost;
      break;
    case Base::kDi:
      if (!only_first(state->di)) return Step::kLost;
      break;
    case Base::kR10:
      if (!only_first(state->r10)) return Step::kLost;
      break;
    case Base::kR13:
      if (!only_first(state->r13)) return Step::kLost;
      break;
    case Base::kUndefined:
      return type == OrcType::kCall ? Step::kEnd : Step::kLost;
    case Base::kPreviousSp:
      return Step::kLost;
  }
  if (indirect) {
    const auto target = memory_.Load<uint64_t>(sp);
    if (!target.has_value()) return Step::kLost;
    sp = *target + (base == Base::kSpIndirect ? orc->sp_offset : 0);
  }

  const uint64_t bp = state->bp;
  std::optional<uint64_t> ip, next_sp, cs;
  *signal = type != OrcType::kCall;
  switch (type) {
    case OrcType::kCall:
      ip = memory_.Load<uint64_t>(sp - 8);
      next_sp = sp;
      break;
    case OrcType::kRegisters:
      ip = memory_.Load<uint64_t>(sp + kPtRegsIp);
      cs = memory_.Load<uint64_t>(sp + kPtRegsCs);
      next_sp = memory_.Load<uint64_t>(sp + kPtRegsSp);
      state->bp = memory_.Load<uint64_t>(sp + kPtRegsBp).value_or(bp);
      break;
    default:
      ip = memory_.Load<uint64_t>(sp + kIretIp);
      cs = memory_.Load<uint64_t>(sp + kIretCs);
      next_sp = memory_.Load<uint64_t>(sp + kIretSp);
      break;
  }
  if (!ip.has_value() || !next_sp.has_value()) return Step::kLost;
  if (cs.has_value() && (*cs & 3) == 3) return Step::kEnd;  // came from user space
  switch (BaseOf((orc->flags >> 4) & 15, new_numbers_)) {
    case Base::kPreviousSp:
      state->bp = memory_.Load<uint64_t>(sp + orc->bp_offset).value_or(bp);
      break;
    case Base::kBp:
      state->bp = memory_.Load<uint64_t>(bp + orc->bp_offset).value_or(bp);
      break;
    default:
      break;
  }
  // A stack grows downwards; the same frame again is a loop. An interrupt comes from another stack.
  if (type == OrcType::kCall && *next_sp <= state->sp) return Step::kLost;
  state->ip = *ip;
  state->sp = *next_sp;
  return Step::kFrame;
}

bool Unwinder::Guess(UnwindRegisters* state) const {
  for (uint64_t at = state->sp & ~uint64_t{7}; at < state->sp + kMostGuessBytes; at += 8) {
    const auto word = memory_.Load<uint64_t>(at);
    if (!word.has_value()) return false;
    if (!symbols_.InText(*word)) continue;
    // call rel32, the form of almost all calls of a kernel.
    const auto opcode = memory_.Load<uint8_t>(*word - 5);
    if (!opcode.has_value() || *opcode != 0xe8) continue;
    state->ip = *word;
    state->sp = at + 8;
    return true;
  }
  return false;
}

std::vector<Frame> Unwinder::Unwind(const UnwindRegisters& registers) const {
  std::vector<Frame> frames = {{registers.ip, false}};
  UnwindRegisters state = registers;
  bool signal = true;  // ip is the next instruction and not behind a call
  for (bool first = true; frames.size() < kMostFrames; first = false) {
    UnwindRegisters next = state;
    switch (Next(&next, &signal, first)) {
      case Step::kEnd:
        return frames;
      case Step::kFrame:
        state = next;
        frames.push_back({state.ip, false});
        break;
      case Step::kLost:
        if (!Guess(&state)) return frames;
        signal = false;
        frames.push_back({state.ip, true});
        break;
    }
  }
  return frames;
}

}  // namespace stasis
