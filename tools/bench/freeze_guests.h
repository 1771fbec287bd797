// Guests of a few instructions for the freeze benchmark: every vCPU does the same thing for good.
#ifndef STASIS_TOOLS_BENCH_FREEZE_GUESTS_H_
#define STASIS_TOOLS_BENCH_FREEZE_GUESTS_H_

#include <cstdint>
#include <string>

namespace stasis::bench {

enum class GuestMode {
  kSpin,  // jumps to itself
  kHalt,  // halted, with interrupts off
  kExit,  // reads a port that nobody serves: exits to user space all the time
};

const char* GuestModeName(GuestMode mode);

// Where the payload is loaded: behind the boot page tables (vmm/boot/x86_64/layout.h).
inline constexpr uint64_t kPayloadAddress = 0xc000;

// Each vCPU adds 1 to the 32-bit word here when it begins.
inline constexpr uint64_t kStartedAddress = 0xb000;

// For Machine::LoadPayload: 64-bit code that starts the other CPUs.
std::string PayloadGuest(GuestMode mode);

// The same as a 64 KiB firmware image, for QEMU's -bios. First it writes `fill_bytes` of ones from
// 16 MiB on.
std::string FirmwareGuest(GuestMode mode, uint32_t fill_bytes);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_FREEZE_GUESTS_H_
