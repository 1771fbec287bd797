// Unwinder: the way that a CPU of a dumped x86_64 kernel came, by the kernel's own ORC tables
// (Documentation/arch/x86/orc-unwinder.rst).
#ifndef STASIS_TOOLS_INSPECT_UNWIND_H_
#define STASIS_TOOLS_INSPECT_UNWIND_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"

namespace stasis {

struct UnwindRegisters {
  uint64_t ip = 0;
  uint64_t sp = 0;
  uint64_t bp = 0;
  uint64_t r10 = 0, r13 = 0, di = 0, dx = 0, ax = 0;
};

struct Frame {
  uint64_t address = 0;
  // Found by looking through the stack for return addresses, because no table covers the code
  // before it (a module): may be a leftover of an earlier call.
  bool guessed = false;
};

// Constant; both outlive it.
class Unwinder {
 public:
  Unwinder(const KernelMemory* memory, const Kallsyms* symbols);

  // False: a kernel without ORC tables, or with ones of a form that is not known here; all frames
  // are guessed then.
  bool has_tables() const { return entries_ > 0; }

  // From where the CPU stood, outwards, at most kMostFrames. Ends at user space.
  std::vector<Frame> Unwind(const UnwindRegisters& registers) const;

  static constexpr size_t kMostFrames = 64;

 private:
  struct Entry {
    int16_t sp_offset;
    int16_t bp_offset;
    uint16_t flags;
  };
  static_assert(sizeof(Entry) == 6);
  enum class Step { kFrame, kEnd, kLost };

  // How the tables number registers; false: in no way that is known.
  bool ChooseNumbers();
  std::optional<Entry> Find(uint64_t ip) const;
  Step Next(UnwindRegisters* state, bool* signal, bool first) const;
  // The next word on the stack that points behind a call.
  bool Guess(UnwindRegisters* state) const;

  const KernelMemory& memory_;
  const Kallsyms& symbols_;
  uint64_t ips_ = 0;
  uint64_t table_ = 0;
  uint64_t entries_ = 0;
  bool types_from_6_4_ = true;
  bool new_numbers_ = false;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_UNWIND_H_
