#include "tools/bench/freeze_guests.h"

#include <cstring>

namespace stasis::bench {
namespace {

// clang-format off
// The code of the other CPUs is copied to 0xa000, where a SIPI with vector 10 starts them in real
// mode; `mode` is patched in behind it. LAPIC: SDM vol. 3A §10.6 (ICR: all but self).
asm(R"(
  .pushsection .rodata
  .balign 16
  .macro send_init_and_sipi lapic
    movl $0x1ff, 0xf0(\lapic)
    movl $0x000c4500, 0x300(\lapic)
    movl $0x000c460a, 0x300(\lapic)
  .endm

bench_loops:
  .code16
bench_spin:
  1: jmp 1b
bench_spin_end:
bench_halt:
  1: cli
  hlt
  jmp 1b
bench_halt_end:
  # The same bytes in all modes: immediate 8-bit port.
bench_exit:
  1: in $0x90, %al
  jmp 1b
bench_exit_end:

  .code64
bench_payload:
  lea bench_payload_ap(%rip), %rsi
  mov $0xa000, %edi
  mov $0x40, %ecx
  cld
  rep movsb
  mov $0xfee00000, %ebx
  send_init_and_sipi %rbx
  lock incl 0xb000
  jmp bench_payload_loop
  .balign 16
bench_payload_ap:
  .code16
  xor %ax, %ax
  mov %ax, %ds
  lock incl 0xb000
  # The loop follows.
bench_payload_ap_end:
  .skip 32, 0x90
  .code64
bench_payload_loop:
bench_payload_end:

  # Firmware: offsets are those in the segment 0xf000.
  .code16
bench_firmware:
  cli
  lgdtl %cs:(bench_gdt_pointer - bench_firmware)
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $8, $(0xf0000 + bench_protected - bench_firmware)
  .code32
bench_protected:
  mov $16, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov $0x1000000, %edi
bench_fill:
  mov $0, %ecx
  mov $0x01010101, %eax
  cld
  rep stosl
  mov $(0xf0000 + bench_firmware_ap - bench_firmware), %esi
  mov $0xa000, %edi
  mov $0x40, %ecx
  rep movsb
  mov $0xfee00000, %ebx
  send_init_and_sipi %ebx
  lock incl 0xb000
  jmp bench_firmware_loop
  .balign 8
bench_gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
bench_gdt_pointer:
  .word 23
  .long 0xf0000 + bench_gdt - bench_firmware
  .balign 16
bench_firmware_ap:
  .code16
  xor %ax, %ax
  mov %ax, %ds
  lock incl 0xb000
bench_firmware_ap_end:
  .skip 32, 0x90
  .code32
bench_firmware_loop:
bench_firmware_end:
  .code64
  .popsection
)");
// clang-format on

extern "C" const char bench_spin[], bench_spin_end[], bench_halt[], bench_halt_end[], bench_exit[],
    bench_exit_end[], bench_payload[], bench_payload_ap_end[], bench_payload_end[],
    bench_firmware[], bench_fill[], bench_firmware_ap_end[], bench_firmware_end[];

std::string Loop(GuestMode mode) {
  switch (mode) {
    case GuestMode::kSpin:
      return std::string(bench_spin, bench_spin_end);
    case GuestMode::kHalt:
      return std::string(bench_halt, bench_halt_end);
    case GuestMode::kExit:
      return std::string(bench_exit, bench_exit_end);
  }
  return "";
}

// `code` with the loop behind the other CPUs' code and at its end.
std::string WithLoop(const char* begin, const char* other_cpus, const char* end, GuestMode mode) {
  std::string code(begin, end);
  const std::string loop = Loop(mode);
  code.replace(other_cpus - begin, loop.size(), loop);
  return code + loop;
}

}  // namespace

const char* GuestModeName(GuestMode mode) {
  switch (mode) {
    case GuestMode::kSpin:
      return "spinning";
    case GuestMode::kHalt:
      return "halted";
    case GuestMode::kExit:
      return "exiting";
  }
  return "";
}

std::string PayloadGuest(GuestMode mode) {
  return WithLoop(bench_payload, bench_payload_ap_end, bench_payload_end, mode);
}

std::string FirmwareGuest(GuestMode mode, uint32_t fill_bytes) {
  constexpr size_t kSize = 64 * 1024;
  constexpr size_t kResetVector = kSize - 16;  // SDM vol. 3A §9.1.4
  std::string image = WithLoop(bench_firmware, bench_firmware_ap_end, bench_firmware_end, mode);
  // The immediate of "mov $0, %ecx", in words.
  const uint32_t words = fill_bytes / 4;
  memcpy(image.data() + (bench_fill - bench_firmware) + 1, &words, sizeof(words));
  image.resize(kSize);
  // ljmp $0xf000, $0: to the image's beginning.
  const char jump[] = {'\xea', 0, 0, 0, '\xf0'};
  memcpy(image.data() + kResetVector, jump, sizeof(jump));
  return image;
}

}  // namespace stasis::bench
