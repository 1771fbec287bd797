// IoApic: an 82093AA-compatible I/O APIC in user space, for the split interrupt chip.
#ifndef STASIS_VMM_X86_64_IOAPIC_H_
#define STASIS_VMM_X86_64_IOAPIC_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "vmm/device/device.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {

// Where the I/O APIC's messages go; the machine implements it over KVM. Called with the I/O APIC's
// lock held: must not call back into it.
class MsiRouter {
 public:
  virtual ~MsiRouter() = default;

  // The message that GSI `gsi` sends from now on (KVM_SET_GSI_ROUTING, so that irqfds need no
  // exit). A masked input sends nothing: no route. Called when the guest changed an entry.
  virtual absl::Status SetRoute(uint32_t gsi, uint64_t address, uint32_t data, bool masked) = 0;

  // Sends one message now (KVM_SIGNAL_MSI), for inputs driven by SetLine.
  virtual absl::Status SendMessage(uint64_t address, uint32_t data) = 0;
};

// Any thread. Edge inputs with an irqfd never come here: KVM sends their message by the route.
// Level inputs are driven by SetLine and re-sent on end of interrupt while the line is up.
class IoApic : public BusDevice {
 public:
  explicit IoApic(MsiRouter* router);

  std::string name() const override { return "ioapic"; }
  // 32-bit registers IOREGSEL (0x00), IOWIN (0x10) and EOI (0x40); other accesses read 0 and are
  // dropped.
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;
  std::string DumpState() const override;

  // Drives an input. Edge: a change to high sends one message. Level: sends while high, unmasked
  // and not yet answered. Pins that there are not are ignored.
  void SetLine(uint32_t pin, bool high);

  // KVM_EXIT_IOAPIC_EOI, and the guest's write to the EOI register.
  void EndOfInterrupt(uint8_t vector);

 private:
  void WriteRegister(uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t ReadRegister() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteEntry(uint32_t pin, bool high_half, uint32_t value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Route(uint32_t pin) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(uint32_t pin) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ServeLevel(uint32_t pin) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CompleteVector(uint8_t vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  MsiRouter* const router_;
  mutable absl::Mutex mutex_;
  uint8_t select_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<uint64_t, kIoApicPins> entries_ ABSL_GUARDED_BY(mutex_);
  uint32_t lines_ ABSL_GUARDED_BY(mutex_) = 0;     // bit per input that is high
  uint64_t messages_ ABSL_GUARDED_BY(mutex_) = 0;  // sent by SetLine and re-sent
  uint64_t route_errors_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_IOAPIC_H_
