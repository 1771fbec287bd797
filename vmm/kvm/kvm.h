// RAII over the KVM UAPI: Kvm (/dev/kvm), Vm and Vcpu. All KVM ioctls of the program are made below
// vmm/kvm. Sources: Documentation/virt/kvm/api.rst, <linux/kvm.h>.
#ifndef STASIS_VMM_KVM_KVM_H_
#define STASIS_VMM_KVM_KVM_H_

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "vmm/base/file_descriptor.h"

namespace stasis::kvm {

// An ioctl with its name in the error: "KVM_SET_REGS: Invalid argument". Returns the ioctl's value.
absl::StatusOr<int> Ioctl(int fd, unsigned long request, absl::string_view name, void* argument);
absl::StatusOr<int> Ioctl(int fd, unsigned long request, absl::string_view name,
                          unsigned long argument = 0);

// A KVM capability that a machine may need.
struct Capability {
  int number;            // KVM_CAP_...
  const char* name;      // "KVM_CAP_IRQFD"
  bool required;         // without it no machine runs at all
  const char* used_for;  // what is lost without it
};

// All capabilities that this program knows how to use, required ones first.
absl::Span<const Capability> KnownCapabilities();

// One virtual CPU. Run and everything that touches registers belong to the vCPU's own thread;
// run()->immediate_exit may be set by any thread (api.rst §5).
class Vcpu {
 public:
  Vcpu(FileDescriptor fd, kvm_run* run, size_t run_size, uint32_t id)
      : fd_(std::move(fd)), run_(run), run_size_(run_size), id_(id) {}
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  // KVM_RUN. Returns 0, or the errno (EINTR after a signal or immediate_exit).
  int Run();

  kvm_run* run() const { return run_; }
  uint32_t id() const { return id_; }  // as given to KVM: the APIC ID on x86_64
  int fd() const { return fd_.get(); }

 private:
  FileDescriptor fd_;
  kvm_run* const run_;
  const size_t run_size_;
  const uint32_t id_;
};

// One virtual machine. Thread-safe: KVM serialises its ioctls.
class Vm {
 public:
  Vm(FileDescriptor fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  // Maps `size` bytes of host memory at guest-physical `address`; slots must not overlap.
  absl::Status SetMemory(uint32_t slot, uint64_t address, uint64_t size, void* host);

  // A write to `event_fd` makes one edge on `gsi` (KVM_IRQFD).
  absl::Status AssignIrqFd(int event_fd, uint32_t gsi);

  // A guest write of `length` bytes with value `data_match` at `address` signals `event_fd` instead
  // of leaving to user space (KVM_IOEVENTFD).
  absl::Status AssignIoEvent(uint64_t address, uint32_t length, uint64_t data_match, int event_fd);

  // Replaces the whole table of interrupt routes (KVM_SET_GSI_ROUTING).
  absl::Status SetGsiRouting(absl::Span<const kvm_irq_routing_entry> routes);

  // Sends one message-signalled interrupt (KVM_SIGNAL_MSI).
  absl::Status SignalMsi(uint64_t address, uint32_t data);

  absl::StatusOr<std::unique_ptr<Vcpu>> CreateVcpu(uint32_t id);

  int fd() const { return fd_.get(); }

 private:
  FileDescriptor fd_;
  const size_t run_size_;
};

// /dev/kvm, opened and checked.
class Kvm {
 public:
  // `device`: path, normally kDefaultDevice. Errors: NotFound (no device), PermissionDenied,
  // Unimplemented (API version, or required capabilities missing, by name); each says what to do.
  static constexpr char kDefaultDevice[] = "/dev/kvm";
  static absl::StatusOr<Kvm> Open(const std::string& device);

  // KVM_CHECK_EXTENSION: 0 when not offered.
  int Extension(int capability) const;

  // The greatest number of vCPUs that this KVM runs in one machine.
  uint32_t MaxVcpus() const;

  absl::StatusOr<Vm> CreateVm() const;

  int fd() const { return fd_.get(); }

 private:
  explicit Kvm(FileDescriptor fd) : fd_(std::move(fd)) {}

  FileDescriptor fd_;
};

// $STASIS_KVM_DEVICE if set (another node than /dev/kvm, as containers may have), else the default.
std::string KvmDevicePath();

}  // namespace stasis::kvm

#endif  // STASIS_VMM_KVM_KVM_H_
