#include "vmm/machine.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "vmm/arch/arch.h"
#include "vmm/freeze/device_participant.h"
#include "vmm/freeze/kick.h"
#include "vmm/kvm/kvm.h"
#include "vmm/platform/bus.h"
#include "vmm/platform/platform.h"

namespace stasis {
namespace {

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

absl::Duration ProcessCpuTime() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

// An interrupt input driven through an eventfd that KVM listens to.
class IrqFdLine : public InterruptLine {
 public:
  explicit IrqFdLine(FileDescriptor event_fd) : event_fd_(std::move(event_fd)) {}
  void Trigger() override { eventfd_write(event_fd_.get(), 1); }

 private:
  FileDescriptor event_fd_;
};

class KvmMachine : public Machine, private ExitHandler {
 public:
  KvmMachine(const MachineConfig& config, kvm::Kvm kvm, kvm::Vm vm)
      : config_(config), kvm_(std::move(kvm)), vm_(std::move(vm)), coordinator_(config.freeze) {}
  ~KvmMachine() override {
    Stop();
    for (auto& vcpu : vcpus_) vcpu->Join();
  }

  absl::Status Init();

  const GuestMemory& memory() const override { return *memory_; }
  const MachineConfig& config() const override { return config_; }
  absl::StatusOr<BusDevice*> AddMmioDevice(const std::string& name, const std::string& compatible,
                                           uint64_t size, const DeviceFactory& factory) override;
  absl::StatusOr<BusDevice*> AddPortDevice(const std::string& name, const std::string& compatible,
                                           uint16_t base, uint16_t size, int gsi,
                                           const DeviceFactory& factory) override;
  absl::Status LoadLinux(const KernelImage& kernel, const std::string& cmdline,
                         absl::Span<const uint8_t> initrd) override;
  absl::Status LoadPayload(absl::Span<const uint8_t> code, GuestAddress at) override;
  const DeviceTree& device_tree() const override { return *tree_; }
  const std::string& kernel_cmdline() const override { return cmdline_; }
  std::vector<std::pair<std::string, std::string>> acpi_tables() const override {
    return arch_->AcpiTables();
  }
  absl::Status Start(std::function<void(const MachineEnd&)> on_end) override;
  void Stop() override;
  void NotifyEnd(EndKind kind, const std::string& message) override {
    End({.kind = kind, .vcpu = VcpuThread::CurrentIndex(), .message = message});
  }
  FreezeReport Freeze() override { return coordinator_.Freeze(); }
  void Thaw() override { coordinator_.Thaw(); }
  MachineSnapshot Snapshot(const FreezeReport& report) const override;
  FreezeLatencies freeze_latencies() const override { return coordinator_.latencies(); }
  void RequestGlance(int vcpu) override { vcpus_.at(vcpu)->RequestGlance(); }
  std::optional<VcpuGlance> TakeGlance(int vcpu) override { return vcpus_.at(vcpu)->TakeGlance(); }
  MachineEnd Wait() override;
  std::vector<VcpuStats> Stats() const override;
  absl::Time first_run() const override {
    absl::MutexLock lock(&mutex_);
    return first_run_;
  }
  absl::Duration cpu_time_until_first_run() const override {
    absl::MutexLock lock(&mutex_);
    return cpu_time_until_first_run_;
  }

 private:
  struct Device {
    Placement placement;
    std::unique_ptr<InterruptLine> line;  // outlives the model
    std::unique_ptr<BusDevice> model;
  };

  absl::StatusOr<BusDevice*> AddDevice(Placement placement, const DeviceFactory& factory);
  // Tree, bus and ioeventfds, once no more devices come.
  absl::Status FinishPlatform(const std::string& cmdline);
  absl::Status AssignNotifyEvents();
  absl::Status CreateVcpus();
  void JoinTheFreeze();
  VcpuSnapshot SnapshotOf(const VcpuThread& vcpu, const FreezeReport& report) const;
  void NoteFirstRun();
  void End(const MachineEnd& end);

  // ExitHandler, on vCPU threads.
  void MmioRead(uint64_t address, absl::Span<uint8_t> data) override {
    bus_->Read(BusSpace::kMmio, address, data);
  }
  void MmioWrite(uint64_t address, absl::Span<const uint8_t> data) override {
    bus_->Write(BusSpace::kMmio, address, data);
  }
  void PortRead(uint16_t port, absl::Span<uint8_t> data) override {
    bus_->Read(BusSpace::kPort, port, data);
  }
  void PortWrite(uint16_t port, absl::Span<const uint8_t> data) override {
    bus_->Write(BusSpace::kPort, port, data);
  }
  void EndOfInterrupt(uint8_t vector) override { arch_->EndOfInterrupt(vector); }

  const MachineConfig config_;
  kvm::Kvm kvm_;
  // KVM maps memory_ into the VM: it must outlive vm_, hence the order.
  std::unique_ptr<GuestMemory> memory_;
  kvm::Vm vm_;
  std::unique_ptr<Arch> arch_;
  // Devices and vCPUs call it until they are gone.
  FreezeCoordinator coordinator_;
  std::optional<PlatformBuilder> builder_;
  std::vector<Device> devices_;
  std::vector<std::unique_ptr<DeviceParticipant>> device_participants_;
  std::optional<DeviceTree> tree_;
  std::unique_ptr<Bus> bus_;
  std::string cmdline_;
  std::vector<std::unique_ptr<VcpuThread>> vcpus_;

  mutable absl::Mutex mutex_;
  std::function<void(const MachineEnd&)> on_end_ ABSL_GUARDED_BY(mutex_);
  std::optional<MachineEnd> end_ ABSL_GUARDED_BY(mutex_);
  absl::Time first_run_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Duration cpu_time_until_first_run_ ABSL_GUARDED_BY(mutex_);
};

absl::Status KvmMachine::Init() {
  const uint32_t cpus = config_.topology.cpus();
  if (cpus > kvm_.MaxVcpus()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("topology %s has %d CPUs; this KVM runs at most %d",
                        config_.topology.ToString(), cpus, kvm_.MaxVcpus()));
  }
  absl::StatusOr<std::unique_ptr<Arch>> arch = Arch::Create(config_, kvm_, &vm_);
  if (!arch.ok()) return arch.status();
  arch_ = *std::move(arch);
  absl::StatusOr<std::vector<MemoryRegion>> layout = arch_->MemoryLayout();
  if (!layout.ok()) return layout.status();
  absl::StatusOr<std::unique_ptr<GuestMemory>> memory =
      GuestMemory::Create(*std::move(layout), {.huge_pages = config_.huge_pages});
  if (!memory.ok()) return memory.status();
  memory_ = *std::move(memory);
  uint32_t slot = 0;
  for (const MemoryRegion& region : memory_->regions()) {
    if (absl::Status status = vm_.SetMemory(slot++, region.base.value(), region.size, region.host);
        !status.ok()) {
      return status;
    }
  }
  builder_.emplace(arch_->Layout());
  if (absl::Status status = builder_->AddMemory(memory_->regions()); !status.ok()) return status;
  if (absl::Status status = builder_->AddCpus(config_.topology); !status.ok()) return status;
  return builder_->AddInterruptController();
}

absl::StatusOr<BusDevice*> KvmMachine::AddMmioDevice(const std::string& name,
                                                     const std::string& compatible, uint64_t size,
                                                     const DeviceFactory& factory) {
  absl::StatusOr<Placement> placement =
      builder_->AddMmioDevice({.name = name, .compatible = compatible, .size = size});
  if (!placement.ok()) return placement.status();
  return AddDevice(*std::move(placement), factory);
}

absl::StatusOr<BusDevice*> KvmMachine::AddPortDevice(const std::string& name,
                                                     const std::string& compatible, uint16_t base,
                                                     uint16_t size, int gsi,
                                                     const DeviceFactory& factory) {
  PortDeviceRequest request{.name = name, .compatible = compatible, .base = base, .size = size};
  if (gsi >= 0) request.gsi = gsi;
  absl::StatusOr<Placement> placement = builder_->AddPortDevice(request);
  if (!placement.ok()) return placement.status();
  return AddDevice(*std::move(placement), factory);
}

absl::StatusOr<BusDevice*> KvmMachine::AddDevice(Placement placement,
                                                 const DeviceFactory& factory) {
  if (tree_.has_value()) {
    return absl::FailedPreconditionError("a device was added after the kernel was loaded");
  }
  Device device{.placement = std::move(placement)};
  if (device.placement.gsi.has_value()) {
    FileDescriptor event_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event_fd.valid()) return absl::ErrnoToStatus(errno, "eventfd for an interrupt");
    absl::Status status = vm_.AssignIrqFd(event_fd.get(), *device.placement.gsi);
    if (!status.ok()) return status;
    device.line = std::make_unique<IrqFdLine>(std::move(event_fd));
  }
  absl::StatusOr<std::unique_ptr<BusDevice>> model =
      factory({.memory = memory_.get(), .interrupt = device.line.get()});
  if (!model.ok()) return model.status();
  device.model = *std::move(model);
  devices_.push_back(std::move(device));
  return devices_.back().model.get();
}

absl::Status KvmMachine::FinishPlatform(const std::string& cmdline) {
  if (tree_.has_value()) return absl::FailedPreconditionError("a kernel is loaded already");
  // Twice: the words are made from the tree, and stand in its /chosen node.
  absl::StatusOr<DeviceTree> draft = builder_->Finish();
  if (!draft.ok()) return draft.status();
  absl::StatusOr<std::string> words = arch_->CommandLineWords(*draft);
  if (!words.ok()) return words.status();
  cmdline_ = words->empty() ? cmdline : absl::StrCat(cmdline, cmdline.empty() ? "" : " ", *words);
  builder_->SetChosen({.command_line = cmdline_});
  absl::StatusOr<DeviceTree> tree = builder_->Finish();
  if (!tree.ok()) return tree.status();
  std::map<std::string, BusDevice*> models = arch_->PlatformDevices();
  for (const Device& device : devices_) models[device.placement.node_path] = device.model.get();
  absl::StatusOr<std::unique_ptr<Bus>> bus = Bus::FromTree(*tree, models);
  if (!bus.ok()) return bus.status();
  bus_ = *std::move(bus);
  tree_ = *std::move(tree);
  return AssignNotifyEvents();
}

absl::Status KvmMachine::AssignNotifyEvents() {
  for (const Device& device : devices_) {
    if (device.placement.is_port) continue;
    for (const NotifyEvent& event : device.model->NotifyEvents()) {
      absl::Status status = vm_.AssignIoEvent(device.placement.base + event.offset, event.length,
                                              event.data_match, event.event_fd);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status KvmMachine::LoadLinux(const KernelImage& kernel, const std::string& cmdline,
                                   absl::Span<const uint8_t> initrd) {
  if (absl::Status status = FinishPlatform(cmdline); !status.ok()) return status;
  absl::Status status = arch_->LoadLinux(*tree_, kernel, cmdline_, initrd, *memory_);
  if (!status.ok()) return status;
  return CreateVcpus();
}

absl::Status KvmMachine::LoadPayload(absl::Span<const uint8_t> code, GuestAddress at) {
  if (absl::Status status = FinishPlatform(""); !status.ok()) return status;
  absl::Status status = arch_->LoadPayload(code, at, *memory_);
  if (!status.ok()) return status;
  return CreateVcpus();
}

absl::Status KvmMachine::CreateVcpus() {
  const uint32_t cpus = config_.topology.cpus();
  VcpuThread::Callbacks callbacks{
      .exits = this,
      .on_fatal = [this](const MachineEnd& end) { End(end); },
      .describe_registers =
          [this](const kvm::Vcpu& vcpu) { return arch_->DescribeRegisters(vcpu); },
      .read_state = [this](const kvm::Vcpu& vcpu,
                           VcpuState* slot) { arch_->ReadVcpuState(vcpu, slot); },
      .glance = [this](const kvm::Vcpu& vcpu) { return arch_->Glance(vcpu); },
      .on_parked = [this] { coordinator_.NotifyParked(); },
  };
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
    absl::StatusOr<std::unique_ptr<kvm::Vcpu>> vcpu = vm_.CreateVcpu(arch_->VcpuId(cpu));
    if (!vcpu.ok()) return vcpu.status();
    if (absl::Status status = arch_->SetupVcpu(**vcpu, cpu); !status.ok()) return status;
    callbacks.before_first_run = cpu == 0 ? [this] { NoteFirstRun(); } : std::function<void()>();
    vcpus_.push_back(
        std::make_unique<VcpuThread>(*std::move(vcpu), cpu, callbacks, arch_->NewVcpuState()));
  }
  JoinTheFreeze();
  return absl::OkStatus();
}

void KvmMachine::JoinTheFreeze() {
  for (auto& vcpu : vcpus_) coordinator_.Add(vcpu.get());
  for (const Device& device : devices_) {
    for (Freezable* freezable : device.model->Freezables()) {
      device_participants_.push_back(std::make_unique<DeviceParticipant>(freezable, &coordinator_));
      coordinator_.Add(device_participants_.back().get());
    }
  }
  coordinator_.set_hooks({.after_freeze = [this](const FreezeReport&) { arch_->Frozen(); },
                          .before_thaw =
                              [this](const FreezeReport& report) {
                                std::vector<const kvm::Vcpu*> parked;
                                for (const auto& vcpu : vcpus_) {
                                  if (vcpu->IsParked(report.number))
                                    parked.push_back(&vcpu->vcpu());
                                }
                                arch_->BeforeThaw(parked, parked.size() == vcpus_.size());
                              }});
}

void KvmMachine::NoteFirstRun() {
  absl::MutexLock lock(&mutex_);
  first_run_ = MonotonicNow();
  cpu_time_until_first_run_ = ProcessCpuTime();
}

absl::Status KvmMachine::Start(std::function<void(const MachineEnd&)> on_end) {
  if (vcpus_.empty()) return absl::FailedPreconditionError("no kernel is loaded");
  {
    absl::MutexLock lock(&mutex_);
    on_end_ = std::move(on_end);
  }
  if (absl::Status status = InstallKickHandler(); !status.ok()) return status;
  for (auto& vcpu : vcpus_) vcpu->Start();
  return absl::OkStatus();
}

void KvmMachine::End(const MachineEnd& end) {
  std::function<void(const MachineEnd&)> on_end;
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    end_ = end;
    on_end = on_end_;
  }
  for (auto& vcpu : vcpus_) {
    if (config_.hold_at_end && end.kind != EndKind::kStopped) {
      vcpu->Hold();
    } else {
      vcpu->RequestStop();
    }
  }
  if (on_end) on_end(end);
}

void KvmMachine::Stop() {
  End({.kind = EndKind::kStopped, .message = "stopped from outside"});
  if (config_.hold_at_end) {
    for (auto& vcpu : vcpus_) vcpu->RequestStop();
  }
}

MachineEnd KvmMachine::Wait() {
  for (auto& vcpu : vcpus_) vcpu->Join();
  absl::MutexLock lock(&mutex_);
  return end_.value_or(MachineEnd{.kind = EndKind::kStopped, .message = "never started"});
}

VcpuSnapshot KvmMachine::SnapshotOf(const VcpuThread& vcpu, const FreezeReport& report) const {
  VcpuSnapshot snapshot{.index = vcpu.index(),
                        .id = vcpu.vcpu().id(),
                        .parked = vcpu.IsParked(report.number),
                        .stats = vcpu.stats(),
                        .last_exit = vcpu.last_exit()};
  const VcpuState* state = snapshot.parked ? vcpu.state() : nullptr;
  if (state == nullptr) {
    snapshot.unavailable = snapshot.parked ? "the vCPU's thread has not started, or has ended, or "
                                             "did not read its registers in time"
                                           : "the vCPU did not stand still in time";
    const Arch::VcpuNotes notes = arch_->DescribeVcpu(*arch_->NewVcpuState(), vcpu.index());
    snapshot.prstatus = notes.prstatus;
    snapshot.qemu = notes.qemu;
    return snapshot;
  }
  Arch::VcpuNotes notes = arch_->DescribeVcpu(*state, vcpu.index());
  snapshot.prstatus = std::move(notes.prstatus);
  snapshot.qemu = std::move(notes.qemu);
  snapshot.registers_json = std::move(notes.json);
  snapshot.program_counter = state->program_counter();
  snapshot.interrupts_off = state->has_registers() && state->interrupts_off();
  snapshot.waiting = state->waiting();
  return snapshot;
}

MachineSnapshot KvmMachine::Snapshot(const FreezeReport& report) const {
  MachineSnapshot snapshot{.freeze = report,
                           .latencies = coordinator_.latencies(),
                           .frozen_before = coordinator_.frozen_time(),
                           .guest_clock_ns = arch_->guest_clock_ns()};
  for (const auto& vcpu : vcpus_) snapshot.vcpus.push_back(SnapshotOf(*vcpu, report));
  for (const Device& device : devices_) {
    snapshot.devices.push_back({.name = device.model->name(),
                                .is_port = device.placement.is_port,
                                .base = device.placement.base,
                                .size = device.placement.size,
                                .gsi = device.placement.gsi,
                                .state_json = device.model->DumpState()});
  }
  return snapshot;
}

std::vector<VcpuStats> KvmMachine::Stats() const {
  std::vector<VcpuStats> stats;
  for (const auto& vcpu : vcpus_) stats.push_back(vcpu->stats());
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Machine>> Machine::Create(const MachineConfig& config) {
  absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
  if (!kvm.ok()) return kvm.status();
  absl::StatusOr<kvm::Vm> vm = kvm->CreateVm();
  if (!vm.ok()) return vm.status();
  auto machine = std::make_unique<KvmMachine>(config, *std::move(kvm), *std::move(vm));
  if (absl::Status status = machine->Init(); !status.ok()) return status;
  return machine;
}

}  // namespace stasis
