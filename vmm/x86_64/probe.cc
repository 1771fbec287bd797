#include "vmm/x86_64/probe.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "vmm/machine.h"

namespace stasis {
namespace {

constexpr uint16_t kPort = 0x100;
constexpr uint64_t kPayloadAddress = 0x8000;
constexpr uint8_t kDone = 0xff;
// A payload of twenty instructions that has not ended by then hangs.
constexpr absl::Duration kLimit = absl::Seconds(5);

// Names of the steps, by the number that the payload writes to the port before it tries each.
constexpr const char* kSteps[] = {"start", "SSE arithmetic", "cmpxchg16b", "xsave and xrstor",
                                  "int3"};

// clang-format off
// Position-independent 64-bit code; rsp is where it was loaded, so that the stack grows away from
// it. Memory behind its end (page aligned up) is scratch.
asm(R"(
  .pushsection .rodata
  .balign 16
  stasis_probe_payload:
    mov $0x100, %dx
    # CR4.OSFXSR, so that SSE is allowed.
    mov %cr4, %rax
    or  $0x200, %rax
    mov %rax, %cr4
    mov $1, %al
    out %al, %dx
    xorps %xmm0, %xmm0
    addps %xmm0, %xmm0
    mov $2, %al
    out %al, %dx
    lea stasis_probe_payload_end(%rip), %rdi
    add $0xfff, %rdi
    and $~0xfff, %rdi
    mov %rdi, %r8
    xor %eax, %eax
    mov %rax, (%rdi)
    mov %rax, 8(%rdi)
    xor %edx, %edx
    mov $1, %ebx
    xor %ecx, %ecx
    lock cmpxchg16b (%rdi)
    mov $0x100, %dx
    mov $3, %al
    out %al, %dx
    # XSAVE where CPUID offers it: CR4.OSXSAVE, x87 and SSE state.
    mov $1, %eax
    xor %ecx, %ecx
    cpuid
    bt  $26, %ecx
    jnc 1f
    mov %cr4, %rax
    or  $0x40000, %rax
    mov %rax, %cr4
    xor %ecx, %ecx
    xgetbv
    mov $3, %eax
    xor %edx, %edx
    xsetbv
    lea 0x1000(%r8), %rdi
    xsave (%rdi)
    mov $3, %eax
    xor %edx, %edx
    xrstor (%rdi)
  1:
    mov $0x100, %dx
    mov $4, %al
    out %al, %dx
    # An IDT with vector 3 alone, at the scratch page.
    lea 2f(%rip), %rax
    mov %r8, %rdi
    mov %ax, 48(%rdi)
    movw $0x10, 50(%rdi)
    movw $0x8e00, 52(%rdi)
    shr $16, %rax
    mov %ax, 54(%rdi)
    shr $16, %rax
    mov %eax, 56(%rdi)
    movl $0, 60(%rdi)
    sub $16, %rsp
    movw $0xfff, (%rsp)
    mov %rdi, 2(%rsp)
    lidt (%rsp)
    int3
    hlt
  2:
    mov $0x100, %dx
    mov $0xff, %al
    out %al, %dx
  3:
    hlt
    jmp 3b
  stasis_probe_payload_end:
  .popsection
)");
// clang-format on
extern "C" const uint8_t stasis_probe_payload[];
extern "C" const uint8_t stasis_probe_payload_end[];

// Keeps the number of the last step, and ends the machine at the last.
class StepPort : public BusDevice {
 public:
  StepPort(Machine* machine, std::atomic<uint8_t>* step) : machine_(machine), step_(step) {}
  std::string name() const override { return "probe"; }
  void Read(uint64_t, absl::Span<uint8_t>) override {}
  void Write(uint64_t, absl::Span<const uint8_t> data) override {
    if (data[0] == kDone) {
      machine_->NotifyEnd(EndKind::kPowerOff, "probe done");
    } else {
      step_->store(data[0]);
    }
  }

 private:
  Machine* const machine_;
  std::atomic<uint8_t>* const step_;
};

}  // namespace

absl::StatusOr<KvmProbeResult> ProbeKvm() {
  MachineConfig config;
  config.memory_bytes = uint64_t{16} << 20;
  config.discovery = Discovery::kAcpi;
  absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config);
  if (!machine.ok()) return machine.status();
  std::atomic<uint8_t> step = 0;
  absl::StatusOr<BusDevice*> port = (*machine)->AddPortDevice(
      "probe", "stasis,probe", kPort, /*size=*/1, /*gsi=*/-1,
      [&](const DeviceContext&) -> absl::StatusOr<std::unique_ptr<BusDevice>> {
        return std::make_unique<StepPort>(machine->get(), &step);
      });
  if (!port.ok()) return port.status();
  const absl::Span<const uint8_t> code(stasis_probe_payload,
                                       stasis_probe_payload_end - stasis_probe_payload);
  absl::Status status = (*machine)->LoadPayload(code, GuestAddress(kPayloadAddress));
  absl::Notification ended;
  if (status.ok()) status = (*machine)->Start([&](const MachineEnd&) { ended.Notify(); });
  if (!status.ok()) return status;
  const bool hung = !ended.WaitForNotificationWithTimeout(kLimit);
  if (hung) (*machine)->Stop();
  const MachineEnd end = (*machine)->Wait();
  if (!hung && end.kind == EndKind::kPowerOff) return KvmProbeResult{.can_run_stock_kernel = true};
  const size_t number = std::min<size_t>(step.load(), std::size(kSteps) - 1);
  return KvmProbeResult{.can_run_stock_kernel = false,
                        .reason = absl::StrFormat("%s in ring 0: %s", kSteps[number],
                                                  hung ? "does not return" : end.message)};
}

}  // namespace stasis
