#include "vmm/kvm/x86_64/state.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/str_format.h"

namespace stasis::kvm {
namespace {

constexpr size_t kMaxCpuidEntries = 256;

// kvm_cpuid2 and kvm_msrs end in flexible arrays, which <asm/kvm.h> declares so that C++ sees four
// bytes too many: wrong offsets, and wrong sizes in the ioctl numbers. These mirror the UAPI's
// layout.
struct ArrayHeader {
  uint32_t count;
  uint32_t padding;
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, ArrayHeader);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, ArrayHeader);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, ArrayHeader);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, ArrayHeader);
constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);  // kvm_msr_list's count
constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, XsaveArea);
static_assert(sizeof(XsaveArea) == 4096);

struct CpuidBuffer {
  ArrayHeader header = {};
  kvm_cpuid_entry2 entries[kMaxCpuidEntries] = {};
};
static_assert(offsetof(CpuidBuffer, entries) == 8 && sizeof(kvm_cpuid_entry2) == 40);

struct OneMsr {
  ArrayHeader header;
  kvm_msr_entry entry;
};
static_assert(offsetof(OneMsr, entry) == 8 && sizeof(kvm_msr_entry) == 16);

template <typename T>
absl::StatusOr<T> Get(const Vcpu& vcpu, unsigned long request, absl::string_view name) {
  T value = {};
  absl::StatusOr<int> done = Ioctl(vcpu.fd(), request, name, &value);
  if (!done.ok()) return done.status();
  return value;
}

template <typename T>
absl::Status Set(const Vcpu& vcpu, unsigned long request, absl::string_view name, const T& value) {
  T copy = value;  // the UAPI takes a pointer to non-const
  return Ioctl(vcpu.fd(), request, name, &copy).status();
}

}  // namespace

absl::StatusOr<std::vector<kvm_cpuid_entry2>> SupportedCpuid(const Kvm& kvm) {
  auto buffer = std::make_unique<CpuidBuffer>();
  buffer->header.count = kMaxCpuidEntries;
  absl::StatusOr<int> done =
      Ioctl(kvm.fd(), kGetSupportedCpuid, "KVM_GET_SUPPORTED_CPUID", buffer.get());
  if (!done.ok()) return done.status();
  return std::vector<kvm_cpuid_entry2>(buffer->entries, buffer->entries + buffer->header.count);
}

absl::Status SetRealModeAreas(const Vm& vm, uint64_t tss_address, uint64_t identity_map_address) {
  absl::StatusOr<int> done =
      Ioctl(vm.fd(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &identity_map_address);
  if (!done.ok()) return done.status();
  return Ioctl(vm.fd(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR",
               static_cast<unsigned long>(tss_address))
      .status();
}

absl::Status CreateFullIrqChip(const Vm& vm, bool with_pit) {
  absl::StatusOr<int> done = Ioctl(vm.fd(), KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP");
  if (!done.ok() || !with_pit) return done.status();
  kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
  return Ioctl(vm.fd(), KVM_CREATE_PIT2, "KVM_CREATE_PIT2", &config).status();
}

absl::Status CreateSplitIrqChip(const Vm& vm, uint32_t pins) {
  kvm_enable_cap enable = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {pins}};
  return Ioctl(vm.fd(), KVM_ENABLE_CAP, "KVM_ENABLE_CAP of KVM_CAP_SPLIT_IRQCHIP", &enable)
      .status();
}

absl::Status SetCpuid(const Vcpu& vcpu, absl::Span<const kvm_cpuid_entry2> entries) {
  if (entries.size() > kMaxCpuidEntries) {
    return absl::InvalidArgumentError(absl::StrFormat("KVM_SET_CPUID2: %d entries, at most %d",
                                                      entries.size(), kMaxCpuidEntries));
  }
  auto buffer = std::make_unique<CpuidBuffer>();
  buffer->header.count = entries.size();
  std::copy(entries.begin(), entries.end(), buffer->entries);
  return Ioctl(vcpu.fd(), kSetCpuid2, "KVM_SET_CPUID2", buffer.get()).status();
}

absl::StatusOr<kvm_regs> GetRegs(const Vcpu& vcpu) {
  return Get<kvm_regs>(vcpu, KVM_GET_REGS, "KVM_GET_REGS");
}
absl::Status SetRegs(const Vcpu& vcpu, const kvm_regs& regs) {
  return Set(vcpu, KVM_SET_REGS, "KVM_SET_REGS", regs);
}
absl::StatusOr<kvm_sregs> GetSregs(const Vcpu& vcpu) {
  return Get<kvm_sregs>(vcpu, KVM_GET_SREGS, "KVM_GET_SREGS");
}
absl::Status SetSregs(const Vcpu& vcpu, const kvm_sregs& sregs) {
  return Set(vcpu, KVM_SET_SREGS, "KVM_SET_SREGS", sregs);
}
absl::StatusOr<kvm_lapic_state> GetLapic(const Vcpu& vcpu) {
  return Get<kvm_lapic_state>(vcpu, KVM_GET_LAPIC, "KVM_GET_LAPIC");
}
absl::Status SetLapic(const Vcpu& vcpu, const kvm_lapic_state& lapic) {
  return Set(vcpu, KVM_SET_LAPIC, "KVM_SET_LAPIC", lapic);
}
absl::StatusOr<kvm_mp_state> GetMpState(const Vcpu& vcpu) {
  return Get<kvm_mp_state>(vcpu, KVM_GET_MP_STATE, "KVM_GET_MP_STATE");
}

absl::StatusOr<kvm_vcpu_events> GetVcpuEvents(const Vcpu& vcpu) {
  return Get<kvm_vcpu_events>(vcpu, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}
absl::StatusOr<kvm_debugregs> GetDebugRegs(const Vcpu& vcpu) {
  return Get<kvm_debugregs>(vcpu, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}
absl::StatusOr<kvm_fpu> GetFpu(const Vcpu& vcpu) {
  return Get<kvm_fpu>(vcpu, KVM_GET_FPU, "KVM_GET_FPU");
}
absl::StatusOr<XsaveArea> GetXsave(const Vcpu& vcpu) {
  return Get<XsaveArea>(vcpu, kGetXsave, "KVM_GET_XSAVE");
}
absl::StatusOr<kvm_xcrs> GetXcrs(const Vcpu& vcpu) {
  return Get<kvm_xcrs>(vcpu, KVM_GET_XCRS, "KVM_GET_XCRS");
}

std::vector<uint32_t> MsrIndices(const Kvm& kvm) {
  constexpr size_t kMost = 1024;
  std::vector<uint32_t> list(1 + kMost);
  list[0] = kMost;
  absl::StatusOr<int> done =
      Ioctl(kvm.fd(), kGetMsrIndexList, "KVM_GET_MSR_INDEX_LIST", list.data());
  if (!done.ok()) return {};
  return std::vector<uint32_t>(list.begin() + 1,
                               list.begin() + 1 + std::min<size_t>(list[0], kMost));
}

absl::StatusOr<std::vector<kvm_msr_entry>> GetMsrs(const Vcpu& vcpu,
                                                   const std::vector<uint32_t>& indices) {
  std::vector<kvm_msr_entry> result;
  std::vector<uint8_t> buffer(sizeof(ArrayHeader) + indices.size() * sizeof(kvm_msr_entry));
  size_t next = 0;
  while (next < indices.size()) {
    const ArrayHeader header = {.count = static_cast<uint32_t>(indices.size() - next)};
    std::memcpy(buffer.data(), &header, sizeof(header));
    for (size_t i = next; i < indices.size(); ++i) {
      const kvm_msr_entry entry = {.index = indices[i]};
      std::memcpy(buffer.data() + sizeof(header) + (i - next) * sizeof(entry), &entry,
                  sizeof(entry));
    }
    absl::StatusOr<int> count = Ioctl(vcpu.fd(), kGetMsrs, "KVM_GET_MSRS", buffer.data());
    if (!count.ok()) return count.status();
    for (int i = 0; i < *count; ++i) {
      kvm_msr_entry entry;
      std::memcpy(&entry, buffer.data() + sizeof(header) + i * sizeof(entry), sizeof(entry));
      result.push_back(entry);
    }
    next += *count + 1;  // it stops at the first one that it refuses
  }
  return result;
}

absl::StatusOr<uint64_t> GetClock(const Vm& vm) {
  kvm_clock_data clock = {};
  absl::StatusOr<int> done = Ioctl(vm.fd(), KVM_GET_CLOCK, "KVM_GET_CLOCK", &clock);
  if (!done.ok()) return done.status();
  return clock.clock;
}

absl::Status SetClock(const Vm& vm, uint64_t ns) {
  kvm_clock_data clock = {.clock = ns};
  return Ioctl(vm.fd(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock).status();
}

absl::Status NotifyPaused(const Vcpu& vcpu) {
  return Ioctl(vcpu.fd(), KVM_KVMCLOCK_CTRL, "KVM_KVMCLOCK_CTRL").status();
}

std::optional<uint64_t> TscOffset(const Vcpu& vcpu) {
  uint64_t offset = 0;
  kvm_device_attr attribute = {.group = KVM_VCPU_TSC_CTRL,
                               .attr = KVM_VCPU_TSC_OFFSET,
                               .addr = reinterpret_cast<uint64_t>(&offset)};
  if (!Ioctl(vcpu.fd(), KVM_GET_DEVICE_ATTR, "KVM_GET_DEVICE_ATTR", &attribute).ok()) {
    return std::nullopt;
  }
  return offset;
}

absl::Status SetTscOffset(const Vcpu& vcpu, uint64_t offset) {
  kvm_device_attr attribute = {.group = KVM_VCPU_TSC_CTRL,
                               .attr = KVM_VCPU_TSC_OFFSET,
                               .addr = reinterpret_cast<uint64_t>(&offset)};
  return Ioctl(vcpu.fd(), KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR of the TSC offset", &attribute)
      .status();
}

absl::Status SetMsr(const Vcpu& vcpu, uint32_t index, uint64_t value) {
  OneMsr msrs = {.header = {.count = 1}, .entry = {.index = index, .data = value}};
  absl::StatusOr<int> count = Ioctl(vcpu.fd(), kSetMsrs, "KVM_SET_MSRS", &msrs);
  if (!count.ok()) return count.status();
  // The ioctl returns how many were set and is silent about the first that was not.
  if (*count != 1) {
    return absl::InternalError(absl::StrFormat("KVM_SET_MSRS: MSR %#x refused", index));
  }
  return absl::OkStatus();
}

std::optional<uint32_t> TscKhz(const Vcpu& vcpu) {
  absl::StatusOr<int> khz = Ioctl(vcpu.fd(), KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ");
  if (!khz.ok() || *khz <= 0) return std::nullopt;
  return static_cast<uint32_t>(*khz);
}

}  // namespace stasis::kvm
