// Machine: puts KVM, memory, the bus, devices, a kernel and vCPU threads together.
#ifndef STASIS_VMM_MACHINE_H_
#define STASIS_VMM_MACHINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/device/device.h"
#include "vmm/machine_config.h"
#include "vmm/machine_snapshot.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/device_tree.h"
#include "vmm/vcpu/machine_end.h"
#include "vmm/vcpu/vcpu_thread.h"

namespace stasis {

// What a device factory is given. Both outlive the device.
struct DeviceContext {
  const GuestMemory* memory;
  InterruptLine* interrupt;  // null for a port device without an interrupt
};
using DeviceFactory =
    std::function<absl::StatusOr<std::unique_ptr<BusDevice>>(const DeviceContext&)>;

// Use: Create, Add..., LoadLinux, Start, Wait. One thread calls these; Stop and NotifyEnd may be
// called from any thread. The destructor stops and joins what still runs.
class Machine {
 public:
  static absl::StatusOr<std::unique_ptr<Machine>> Create(const MachineConfig& config);
  virtual ~Machine() = default;

  virtual const GuestMemory& memory() const = 0;
  virtual const MachineConfig& config() const = 0;

  // Adds a device in an MMIO window of `size` bytes with an interrupt of its own; the address and
  // the interrupt are the platform's choice. `compatible` is the device-tree name ("virtio,mmio").
  virtual absl::StatusOr<BusDevice*> AddMmioDevice(const std::string& name,
                                                   const std::string& compatible, uint64_t size,
                                                   const DeviceFactory& factory) = 0;

  // Adds a device at fixed port addresses (x86_64 only: Unimplemented elsewhere). `gsi` < 0: no
  // interrupt.
  virtual absl::StatusOr<BusDevice*> AddPortDevice(const std::string& name,
                                                   const std::string& compatible, uint16_t base,
                                                   uint16_t size, int gsi,
                                                   const DeviceFactory& factory) = 0;

  // Finishes the device tree, builds the bus by walking it, describes it to the guest in the way of
  // config().discovery, and loads the kernel. No device can be added afterwards. `cmdline` gets the
  // words that the discovery needs appended.
  virtual absl::Status LoadLinux(const KernelImage& kernel, const std::string& cmdline,
                                 absl::Span<const uint8_t> initrd) = 0;

  // As LoadLinux, for tests and probes: copies `code` to `at` (below 1 MiB) and starts the first
  // vCPU there in 64-bit mode with identity-mapped low memory, rsp at `at`, interrupts off.
  virtual absl::Status LoadPayload(absl::Span<const uint8_t> code, GuestAddress at) = 0;

  // Valid after LoadLinux or LoadPayload.
  virtual const DeviceTree& device_tree() const = 0;
  virtual const std::string& kernel_cmdline() const = 0;
  // Tables given to the guest by signature ("FACP", "DSDT", ...); empty without ACPI.
  virtual std::vector<std::pair<std::string, std::string>> acpi_tables() const = 0;

  // Starts one thread per vCPU. `on_end` is called once, on a vCPU thread or on the thread that
  // called Stop, as soon as the end is known; it must not call Wait.
  virtual absl::Status Start(std::function<void(const MachineEnd&)> on_end) = 0;

  // Ends the machine from outside; the first end wins. With config().hold_at_end it also lets the
  // vCPU threads of a machine that has ended go.
  virtual void Stop() = 0;

  // For power and panic devices: ends the machine with `kind`. Called on vCPU threads.
  virtual void NotifyEnd(EndKind kind, const std::string& message) = 0;

  // Blocks until all vCPU threads are gone.
  virtual MachineEnd Wait() = 0;

  // Makes everything that touches guest memory stand still (rules F), in every phase of the
  // machine, and lets it go on. Any thread but a vCPU's or a device's. They nest: see
  // FreezeCoordinator.
  virtual FreezeReport Freeze() = 0;
  virtual void Thaw() = 0;
  // While frozen. `report`: what Freeze returned.
  virtual MachineSnapshot Snapshot(const FreezeReport& report) const = 0;
  virtual FreezeLatencies freeze_latencies() const = 0;

  // VcpuThread::RequestGlance and TakeGlance of one vCPU. Any thread, after Start.
  virtual void RequestGlance(int vcpu) = 0;
  virtual std::optional<VcpuGlance> TakeGlance(int vcpu) = 0;

  virtual std::vector<VcpuStats> Stats() const = 0;
  // When the first KVM_RUN was entered (CLOCK_MONOTONIC); InfiniteFuture before.
  virtual absl::Time first_run() const = 0;
  // CPU time of this process until then.
  virtual absl::Duration cpu_time_until_first_run() const = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_MACHINE_H_
