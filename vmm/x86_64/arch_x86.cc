#include "vmm/x86_64/arch_x86.h"

#include <x86intrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vmm/boot/x86_64/layout.h"
#include "vmm/kvm/x86_64/state.h"
#include "vmm/x86_64/cpuid.h"
#include "vmm/x86_64/kernel_cmdline.h"
#include "vmm/x86_64/memory_layout.h"
#include "vmm/x86_64/mp_table.h"
#include "vmm/x86_64/vcpu_notes.h"
#include "vmm/x86_64/vcpu_state.h"

namespace stasis {
namespace {

// Inside the MMIO gap, behind every device (KVM_SET_TSS_ADDR wants three pages, the identity map
// one).
constexpr uint64_t kIdentityMapAddress = 0xfffbc000;
constexpr uint64_t kTssAddress = 0xfffbd000;

// The highest xAPIC ID; 255 is the broadcast.
constexpr uint32_t kMaxApicId = 254;

// Intel SDM vol. 3A §2.5, vol. 4 table 2-2.
constexpr uint64_t kCr0ProtectedMode = 1 << 0;
constexpr uint64_t kCr0ExtensionType = 1 << 4;
constexpr uint64_t kCr0NumericError = 1 << 5;
constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
constexpr uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr uint64_t kEferLongModeEnable = 1 << 8;
constexpr uint64_t kEferLongModeActive = 1 << 10;
constexpr uint64_t kRflagsReserved = 1 << 1;
constexpr uint32_t kMsrMtrrDefType = 0x2ff;
constexpr uint64_t kMtrrEnabledWriteBack = 1 << 11 | 6;

// Local vector table entries of a LAPIC's register page (SDM vol. 3A §10.4.1, §10.5.1).
constexpr size_t kLapicLvtLint0 = 0x350;
constexpr size_t kLapicLvtLint1 = 0x360;
constexpr uint32_t kDeliveryNmi = 4 << 8;
constexpr uint32_t kDeliveryExtInt = 7 << 8;

bool WantsSplitChip(Discovery discovery) { return discovery == Discovery::kFdt; }

kvm_segment Segment(uint16_t selector, uint8_t type, bool code, bool system) {
  return {.base = 0,
          .limit = system ? 0xffffu : 0xffffffffu,
          .selector = selector,
          .type = type,
          .present = 1,
          .dpl = 0,
          .db = static_cast<uint8_t>(!code && !system),
          .s = static_cast<uint8_t>(!system),
          .l = static_cast<uint8_t>(code),
          .g = static_cast<uint8_t>(!system)};
}

void SetLvt(kvm_lapic_state& lapic, size_t offset, uint32_t value) {
  memcpy(lapic.regs + offset, &value, sizeof(value));
}

// The PIC's output reaches the boot CPU through LINT0 ("virtual wire", MP specification §3.6.2.2).
absl::Status ConnectPic(const kvm::Vcpu& vcpu) {
  absl::StatusOr<kvm_lapic_state> lapic = kvm::GetLapic(vcpu);
  if (!lapic.ok()) return lapic.status();
  SetLvt(*lapic, kLapicLvtLint0, kDeliveryExtInt);
  SetLvt(*lapic, kLapicLvtLint1, kDeliveryNmi);
  return kvm::SetLapic(vcpu, *lapic);
}

// Without a PIC: each interrupt goes to the I/O APIC's pin of the same number and nowhere else.
absl::Status RouteToIoApicOnly(kvm::Vm& vm) {
  std::vector<kvm_irq_routing_entry> routes;
  for (uint32_t pin = 0; pin < kIoApicPins; ++pin) {
    kvm_irq_routing_entry entry = {.gsi = pin, .type = KVM_IRQ_ROUTING_IRQCHIP};
    entry.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
    entry.u.irqchip.pin = pin;
    routes.push_back(entry);
  }
  return vm.SetGsiRouting(routes);
}

absl::Status NeedCapability(const kvm::Kvm& kvm, int number, absl::string_view name,
                            Discovery discovery) {
  if (kvm.Extension(number) > 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrFormat("this KVM lacks %s, which --discovery %s needs",
                                                  name, DiscoveryName(discovery)));
}

absl::Status CheckConfig(const MachineConfig& config, const kvm::Kvm& kvm) {
  if (config.topology.max_apic_id() > kMaxApicId) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "topology %s needs APIC IDs up to %d, and a CPU above %d cannot be started; "
        "counts that are powers of two leave no gaps",
        config.topology.ToString(), config.topology.max_apic_id(), kMaxApicId));
  }
  switch (config.discovery) {
    case Discovery::kAcpi:
      return absl::OkStatus();
    case Discovery::kCmdline:
      return NeedCapability(kvm, KVM_CAP_PIT2, "KVM_CAP_PIT2", config.discovery);
    case Discovery::kFdt:
      if (absl::Status status =
              NeedCapability(kvm, KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", config.discovery);
          !status.ok()) {
        return status;
      }
      return NeedCapability(kvm, KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER",
                            config.discovery);
    case Discovery::kAuto:
      break;
  }
  return absl::InvalidArgumentError("the discovery must be chosen before a machine is made");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Arch>> Arch::Create(const MachineConfig& config, const kvm::Kvm& kvm,
                                                   kvm::Vm* vm) {
  if (absl::Status status = CheckConfig(config, kvm); !status.ok()) return status;
  absl::StatusOr<std::vector<kvm_cpuid_entry2>> supported = kvm::SupportedCpuid(kvm);
  if (!supported.ok()) return supported.status();
  auto arch =
      std::make_unique<ArchX86>(config, vm, *std::move(supported),
                                kvm.Extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0, DumpMsrs(kvm));
  absl::Status status = kvm::SetRealModeAreas(*vm, kTssAddress, kIdentityMapAddress);
  if (status.ok()) status = arch->CreateInterruptController();
  if (!status.ok()) return status;
  return arch;
}

ArchX86::ArchX86(const MachineConfig& config, kvm::Vm* vm, std::vector<kvm_cpuid_entry2> supported,
                 bool tsc_deadline, std::vector<uint32_t> dump_msrs)
    : config_(config),
      vm_(vm),
      supported_(std::move(supported)),
      tsc_deadline_(tsc_deadline),
      dump_msrs_(std::move(dump_msrs)),
      chip_(WantsSplitChip(config.discovery) ? X86IrqChip::kSplit : X86IrqChip::kInKernel) {}

absl::Status ArchX86::CreateInterruptController() {
  if (chip_ == X86IrqChip::kSplit) {
    routes_ = std::make_unique<KvmMsiRoutes>(vm_);
    ioapic_ = std::make_unique<IoApic>(routes_.get());
    return kvm::CreateSplitIrqChip(*vm_, kIoApicPins);
  }
  const bool with_pit = config_.discovery == Discovery::kCmdline;
  if (absl::Status status = kvm::CreateFullIrqChip(*vm_, with_pit); !status.ok()) return status;
  return config_.discovery == Discovery::kAcpi ? RouteToIoApicOnly(*vm_) : absl::OkStatus();
}

absl::StatusOr<std::vector<MemoryRegion>> ArchX86::MemoryLayout() const {
  return X86MemoryLayout(config_.memory_bytes, config_.topology.nodes());
}

std::map<std::string, BusDevice*> ArchX86::PlatformDevices() {
  if (ioapic_ == nullptr) return {};
  return {{kIoApicPath, ioapic_.get()}};
}

absl::StatusOr<std::string> ArchX86::CommandLineWords(const DeviceTree& tree) const {
  switch (config_.discovery) {
    case Discovery::kCmdline:
      return VirtioMmioWords(tree);
    case Discovery::kFdt:
      // With ACPI on, a kernel that has both takes its CPUs from ACPI tables that are not there.
      return std::string("acpi=off");
    default:
      return std::string();
  }
}

absl::Status ArchX86::LoadLinux(const DeviceTree& tree, const KernelImage& kernel,
                                const std::string& cmdline, absl::Span<const uint8_t> initrd,
                                const GuestMemory& memory) {
  BootParams params{.cmdline = cmdline, .initrd = initrd, .e820 = StandardE820(memory)};
  if (config_.discovery == Discovery::kAcpi) {
    absl::StatusOr<struct AcpiTables> acpi = BuildAcpi(tree, AcpiOptions());
    if (!acpi.ok()) return acpi.status();
    acpi_ = *std::move(acpi);
    params.rsdp = acpi_.rsdp;
    if (!memory.Write(acpi_.address, acpi_.blob.data(), acpi_.blob.size())) {
      return absl::InternalError("ACPI tables: no RAM at their address");
    }
  } else if (config_.discovery == Discovery::kCmdline) {
    absl::StatusOr<MpTable> table = BuildMpTable(tree);
    if (!table.ok()) return table.status();
    if (!memory.Write(table->address, table->bytes.data(), table->bytes.size())) {
      return absl::InternalError("MP table: no RAM at its address");
    }
  } else {
    params.device_tree = absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(tree.blob().data()),
                                             tree.blob().size());
  }
  absl::StatusOr<BootEntry> entry = stasis::LoadLinux(kernel, memory, params);
  if (!entry.ok()) return entry.status();
  entry_ = *entry;
  return absl::OkStatus();
}

absl::Status ArchX86::LoadPayload(absl::Span<const uint8_t> code, GuestAddress at,
                                  const GuestMemory& memory) {
  absl::StatusOr<BootEntry> entry = WriteLongModeTables(memory);
  if (!entry.ok()) return entry.status();
  if (!memory.Write(at, code.data(), code.size())) {
    return absl::InvalidArgumentError("payload: outside of guest memory");
  }
  entry_ = *entry;
  entry_.rip = at;
  entry_rsp_ = at.value();
  return absl::OkStatus();
}

absl::Status ArchX86::SetupVcpu(const kvm::Vcpu& vcpu, uint32_t cpu) {
  const CpuidOptions options{.tsc_khz = kvm::TscKhz(vcpu).value_or(0),
                             .tsc_deadline = tsc_deadline_};
  absl::StatusOr<std::vector<kvm_cpuid_entry2>> cpuid =
      BuildCpuid(supported_, config_.topology, cpu, options);
  if (!cpuid.ok()) return cpuid.status();
  if (absl::Status status = kvm::SetCpuid(vcpu, *cpuid); !status.ok()) return status;
  // Firmware would have done so on every CPU; without it Linux maps all memory uncached.
  if (absl::Status status = kvm::SetMsr(vcpu, kMsrMtrrDefType, kMtrrEnabledWriteBack);
      !status.ok()) {
    return status;
  }
  if (config_.discovery == Discovery::kCmdline) {
    if (absl::Status status = ConnectPic(vcpu); !status.ok()) return status;
  }
  // The other vCPUs wait for INIT and SIPI in the state of a reset, which is KVM's.
  return cpu == 0 ? SetBootRegisters(vcpu) : absl::OkStatus();
}

absl::Status ArchX86::SetBootRegisters(const kvm::Vcpu& vcpu) const {
  absl::StatusOr<kvm_sregs> sregs = kvm::GetSregs(vcpu);
  if (!sregs.ok()) return sregs.status();
  sregs->cs = Segment(entry_.code_selector, /*type=*/0xb, /*code=*/true, /*system=*/false);
  const kvm_segment data =
      Segment(entry_.data_selector, /*type=*/0x3, /*code=*/false, /*system=*/false);
  sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
  sregs->tr = Segment(entry_.task_selector, /*type=*/0xb, /*code=*/false, /*system=*/true);
  sregs->ldt = {.unusable = 1};
  sregs->gdt = {.base = entry_.gdt_base.value(), .limit = entry_.gdt_limit};
  sregs->idt = {.base = 0, .limit = 0};
  sregs->cr0 = kCr0ProtectedMode | kCr0ExtensionType | kCr0NumericError | kCr0Paging;
  sregs->cr3 = entry_.cr3.value();
  sregs->cr4 = kCr4PhysicalAddressExtension;
  sregs->efer = kEferLongModeEnable | kEferLongModeActive;
  if (absl::Status status = kvm::SetSregs(vcpu, *sregs); !status.ok()) return status;
  const kvm_regs regs = {.rsi = entry_.rsi.value(),
                         .rsp = entry_rsp_,
                         .rip = entry_.rip.value(),
                         .rflags = kRflagsReserved};
  return kvm::SetRegs(vcpu, regs);
}

void ArchX86::EndOfInterrupt(uint8_t vector) {
  if (ioapic_ != nullptr) ioapic_->EndOfInterrupt(vector);
}

std::string ArchX86::DescribeRegisters(const kvm::Vcpu& vcpu) const {
  absl::StatusOr<kvm_regs> regs = kvm::GetRegs(vcpu);
  if (!regs.ok()) return std::string(regs.status().message());
  absl::StatusOr<kvm_sregs> sregs = kvm::GetSregs(vcpu);
  if (!sregs.ok()) return std::string(sregs.status().message());
  // Where a CPU stands after INIT (Intel SDM vol. 3A, 10.1.1). On AMD, KVM brings a vCPU there
  // before it reports a triple fault, since the VMCB is undefined then (shutdown_interception in
  // arch/x86/kvm/svm/svm.c).
  const bool reset = regs->rip == 0xfff0 && sregs->cs.base == 0xffff0000;
  return absl::StrFormat(
      "%srip %016x rflags %08x cs %04x ss %04x\n"
      "rax %016x rbx %016x rcx %016x rdx %016x\n"
      "rsi %016x rdi %016x rbp %016x rsp %016x\n"
      "r8  %016x r9  %016x r10 %016x r11 %016x\n"
      "r12 %016x r13 %016x r14 %016x r15 %016x\n"
      "cr0 %08x cr2 %016x cr3 %016x cr4 %08x efer %04x",
      reset ? "KVM has reset this vCPU; what it was before is lost\n" : "", regs->rip, regs->rflags,
      sregs->cs.selector, sregs->ss.selector, regs->rax, regs->rbx, regs->rcx, regs->rdx, regs->rsi,
      regs->rdi, regs->rbp, regs->rsp, regs->r8, regs->r9, regs->r10, regs->r11, regs->r12,
      regs->r13, regs->r14, regs->r15, sregs->cr0, sregs->cr2, sregs->cr3, sregs->cr4, sregs->efer);
}

std::unique_ptr<VcpuState> ArchX86::NewVcpuState() const {
  return std::make_unique<X86VcpuState>();
}

std::optional<VcpuGlance> ArchX86::Glance(const kvm::Vcpu& vcpu) const {
  absl::StatusOr<kvm_regs> regs = kvm::GetRegs(vcpu);
  absl::StatusOr<kvm_mp_state> mp_state = kvm::GetMpState(vcpu);
  if (!regs.ok() || !mp_state.ok()) return std::nullopt;
  return VcpuGlance{.program_counter = regs->rip,
                    .interrupts_off = (regs->rflags & kInterruptFlag) == 0,
                    .waiting = mp_state->mp_state != KVM_MP_STATE_RUNNABLE};
}

void ArchX86::ReadVcpuState(const kvm::Vcpu& vcpu, VcpuState* state) const {
  static_cast<X86VcpuState*>(state)->Read(vcpu, dump_msrs_);
}

Arch::VcpuNotes ArchX86::DescribeVcpu(const VcpuState& state, uint32_t cpu) const {
  const auto& x86 = static_cast<const X86VcpuState&>(state);
  return {.prstatus = X86PrStatus(x86, cpu), .qemu = X86QemuState(x86), .json = X86StateJson(x86)};
}

void ArchX86::Frozen() {
  absl::StatusOr<uint64_t> clock = kvm::GetClock(*vm_);
  frozen_clock_ns_ = clock.ok() ? std::optional<uint64_t>(*clock) : std::nullopt;
  frozen_tsc_ = __rdtsc();
}

void ArchX86::BeforeThaw(absl::Span<const kvm::Vcpu* const> parked, bool all) {
  // The guest's TSC runs as fast as the host's: this program sets no frequency. A vCPU that did not
  // park keeps its TSC, and then the others must as well.
  const uint64_t elapsed = __rdtsc() - frozen_tsc_;
  for (const kvm::Vcpu* vcpu : parked) {
    std::optional<uint64_t> offset = all ? kvm::TscOffset(*vcpu) : std::nullopt;
    // Where it cannot be done the guest's TSC has gone on, as it does under other monitors.
    if (offset.has_value()) kvm::SetTscOffset(*vcpu, *offset - elapsed).IgnoreError();
  }
  if (frozen_clock_ns_.has_value()) kvm::SetClock(*vm_, *frozen_clock_ns_).IgnoreError();
  // An error says that the guest uses no KVM clock, or not yet.
  for (const kvm::Vcpu* vcpu : parked) kvm::NotifyPaused(*vcpu).IgnoreError();
}

std::vector<std::pair<std::string, std::string>> ArchX86::AcpiTables() const {
  std::vector<std::pair<std::string, std::string>> tables;
  for (const AcpiTable& table : acpi_.tables) tables.emplace_back(table.signature, table.bytes);
  return tables;
}

}  // namespace stasis
