#include "vmm/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis::kvm {
namespace {

constexpr Capability kCapabilities[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", true, "guest memory"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", true, "the interrupt controller in the kernel"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD", true, "device interrupts"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", true, "queue notifications without an exit"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", true, "device interrupts"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", true, "stopping a vCPU without a race"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", true, "starting and dumping vCPUs"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", true, "vCPU state in dumps"},
#if defined(__x86_64__)
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", true, "the CPU topology"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", true, "real mode on VMX"},
    {KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", false,
     "guest timers without calibration; 'fdt' discovery needs it"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2", false, "'cmdline' discovery"},
    {KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", false, "'fdt' discovery"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS", false, "debug registers in dumps"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE", false, "FPU and vector registers in dumps"},
    {KVM_CAP_KVMCLOCK_CTRL, "KVM_CAP_KVMCLOCK_CTRL", false,
     "telling the guest's soft-lockup detector of a freeze"},
#endif
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", false, "holding guest time during a freeze"},
};

// kvm_irq_routing ends in a flexible array, which <linux/kvm.h> declares so that C++ sees four
// bytes too many: a wrong offset, and a wrong size in the ioctl's number. This mirrors the UAPI's
// layout.
struct RoutingHeader {
  uint32_t count;
  uint32_t flags;
};
constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, RoutingHeader);
static_assert(sizeof(kvm_irq_routing_entry) == 48);

absl::Status OpenError(const std::string& device, int error) {
  switch (error) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return absl::NotFoundError(
          absl::StrFormat("open %s: %s; load kvm_intel or kvm_amd, or use --accel nested", device,
                          strerror(error)));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrFormat("open %s: %s; add yourself to the group that owns it (usually kvm), or "
                          "use --accel nested",
                          device, strerror(error)));
    default:
      return absl::UnavailableError(
          absl::StrFormat("open %s: %s; 'stasis doctor' tells more", device, strerror(error)));
  }
}

}  // namespace

absl::StatusOr<int> Ioctl(int fd, unsigned long request, absl::string_view name, void* argument) {
  return Ioctl(fd, request, name, reinterpret_cast<unsigned long>(argument));
}

absl::StatusOr<int> Ioctl(int fd, unsigned long request, absl::string_view name,
                          unsigned long argument) {
  const int result = ioctl(fd, request, argument);
  if (result < 0) return absl::ErrnoToStatus(errno, name);
  return result;
}

absl::Span<const Capability> KnownCapabilities() { return kCapabilities; }

std::string KvmDevicePath() {
  const char* path = getenv("STASIS_KVM_DEVICE");
  return path != nullptr && *path != '\0' ? path : Kvm::kDefaultDevice;
}

absl::StatusOr<Kvm> Kvm::Open(const std::string& device) {
  FileDescriptor fd(open(device.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return OpenError(device, errno);
  absl::StatusOr<int> version = Ioctl(fd.get(), KVM_GET_API_VERSION, "KVM_GET_API_VERSION");
  if (!version.ok()) {
    return absl::UnavailableError(
        absl::StrFormat("%s does not answer as KVM does: %s", device, version.status().message()));
  }
  if (*version != KVM_API_VERSION) {
    return absl::UnimplementedError(
        absl::StrFormat("%s: KVM API version %d, expected %d", device, *version, KVM_API_VERSION));
  }
  Kvm kvm(std::move(fd));
  std::vector<std::string> missing;
  for (const Capability& capability : kCapabilities) {
    if (capability.required && kvm.Extension(capability.number) <= 0) {
      missing.push_back(capability.name);
    }
  }
  if (!missing.empty()) {
    return absl::UnimplementedError(
        absl::StrFormat("%s lacks %s; use --accel nested, or a host with another KVM", device,
                        absl::StrJoin(missing, ", ")));
  }
  return kvm;
}

int Kvm::Extension(int capability) const {
  absl::StatusOr<int> value = Ioctl(fd_.get(), KVM_CHECK_EXTENSION, "KVM_CHECK_EXTENSION",
                                    static_cast<unsigned long>(capability));
  return value.ok() ? *value : 0;
}

uint32_t Kvm::MaxVcpus() const {
  // api.rst §4.4: without KVM_CAP_MAX_VCPUS the recommended number is all there is, and 4 at least.
  const int max = Extension(KVM_CAP_MAX_VCPUS);
  if (max > 0) return max;
  const int recommended = Extension(KVM_CAP_NR_VCPUS);
  return recommended > 0 ? recommended : 4;
}

absl::StatusOr<Vm> Kvm::CreateVm() const {
  absl::StatusOr<int> run_size = Ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE");
  if (!run_size.ok()) return run_size.status();
  int vm;
  do {
    vm = ioctl(fd_.get(), KVM_CREATE_VM, 0);
  } while (vm < 0 && errno == EINTR);  // a signal meanwhile: some kernels give up
  if (vm < 0) return absl::ErrnoToStatus(errno, "KVM_CREATE_VM");
  return Vm(FileDescriptor(vm), *run_size);
}

absl::Status Vm::SetMemory(uint32_t slot, uint64_t address, uint64_t size, void* host) {
  kvm_userspace_memory_region region = {
      .slot = slot,
      .flags = 0,
      .guest_phys_addr = address,
      .memory_size = size,
      .userspace_addr = reinterpret_cast<uint64_t>(host),
  };
  return Ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region)
      .status();
}

absl::Status Vm::AssignIrqFd(int event_fd, uint32_t gsi) {
  kvm_irqfd irqfd = {.fd = static_cast<uint32_t>(event_fd), .gsi = gsi};
  return Ioctl(fd_.get(), KVM_IRQFD, absl::StrFormat("KVM_IRQFD of interrupt %d", gsi), &irqfd)
      .status();
}

absl::Status Vm::AssignIoEvent(uint64_t address, uint32_t length, uint64_t data_match,
                               int event_fd) {
  kvm_ioeventfd event = {
      .datamatch = data_match,
      .addr = address,
      .len = length,
      .fd = event_fd,
      .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
  };
  return Ioctl(fd_.get(), KVM_IOEVENTFD, absl::StrFormat("KVM_IOEVENTFD at %#x", address), &event)
      .status();
}

absl::Status Vm::SetGsiRouting(absl::Span<const kvm_irq_routing_entry> routes) {
  std::vector<uint8_t> bytes(sizeof(RoutingHeader) + routes.size() * sizeof(kvm_irq_routing_entry));
  const RoutingHeader header = {.count = static_cast<uint32_t>(routes.size()), .flags = 0};
  memcpy(bytes.data(), &header, sizeof(header));
  if (!routes.empty()) {
    memcpy(bytes.data() + sizeof(header), routes.data(),
           routes.size() * sizeof(kvm_irq_routing_entry));
  }
  return Ioctl(fd_.get(), kSetGsiRouting, "KVM_SET_GSI_ROUTING", bytes.data()).status();
}

absl::Status Vm::SignalMsi(uint64_t address, uint32_t data) {
  kvm_msi msi = {.address_lo = static_cast<uint32_t>(address),
                 .address_hi = static_cast<uint32_t>(address >> 32),
                 .data = data};
  return Ioctl(fd_.get(), KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &msi).status();
}

absl::StatusOr<std::unique_ptr<Vcpu>> Vm::CreateVcpu(uint32_t id) {
  absl::StatusOr<int> created =
      Ioctl(fd_.get(), KVM_CREATE_VCPU, absl::StrCat("KVM_CREATE_VCPU of vCPU ", id),
            static_cast<unsigned long>(id));
  if (!created.ok()) return created.status();
  FileDescriptor fd(*created);
  void* run = mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of kvm_run");
  return std::make_unique<Vcpu>(std::move(fd), static_cast<kvm_run*>(run), run_size_, id);
}

Vcpu::~Vcpu() { munmap(run_, run_size_); }

int Vcpu::Run() { return ioctl(fd_.get(), KVM_RUN, 0) == 0 ? 0 : errno; }

}  // namespace stasis::kvm
