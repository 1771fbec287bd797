// The kvm lane: payloads of a few integer instructions on the host's KVM, whatever kind it is.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine.h"
#include "vmm/x86_64/platform_layout.h"
#include "vmm/x86_64/probe.h"

namespace stasis {
namespace {

constexpr uint64_t kCodeAddress = 0x8000;
constexpr uint16_t kReportPort = 0x100;  // the payload reports values here, 4 bytes each
constexpr uint16_t kEndPort = 0x104;     // a write ends the machine

// clang-format off
// Position-independent 64-bit code. Each payload stands between two labels.
#define PAYLOAD(name, code)                                                              \
  asm(".pushsection .rodata\n.balign 16\n" #name ":\n" code "\n" #name "_end:\n.popsection\n"); \
  extern "C" const uint8_t name[];                                                       \
  extern "C" const uint8_t name##_end[];
#define REPORT_EAX "mov $0x100, %dx\n out %eax, %dx\n"
#define END "mov $0x104, %dx\n out %al, %dx\n 9: hlt\n jmp 9b\n"

PAYLOAD(payload_ports, R"(
  mov $0x12345678, %eax
)" REPORT_EAX R"(
  mov $0x100, %dx
  in  %dx, %eax
  add $1, %eax
)" REPORT_EAX END)

PAYLOAD(payload_string_out, R"(
  lea 1f(%rip), %rsi
  mov $0x100, %dx
  mov $3, %ecx
  cld
  rep outsl
)" END R"(
  1: .long 11, 22, 33
)")

PAYLOAD(payload_mmio, R"(
  mov $0xd0000000, %ebx
  mov 0x10(%rbx), %eax
  add $1, %eax
  mov %eax, 0x20(%rbx)
  # No device here, and one that ends too early.
  mov 0x5000(%rbx), %eax
)" REPORT_EAX R"(
  mov 0x1fe(%rbx), %eax
)" REPORT_EAX END)

PAYLOAD(payload_notify, R"(
  mov $0xd0000000, %ebx
  movl $1, 0x50(%rbx)
  movl $7, 0x50(%rbx)
)" END)

// Unmasks the device's input (which its register 0x30 tells) as vector 32, has the device make an
// edge, and halts until it comes.
PAYLOAD(payload_interrupt, R"(
  mov $0x9000, %r8d
  # IDT entry 32 at 0x9000 + 512.
  lea 2f(%rip), %rax
  mov %ax, 512(%r8)
  movw $0x10, 514(%r8)
  movw $0x8e00, 516(%r8)
  shr $16, %rax
  mov %ax, 518(%r8)
  shr $16, %rax
  mov %eax, 520(%r8)
  movl $0, 524(%r8)
  sub $16, %rsp
  movw $0xfff, (%rsp)
  mov %r8, 2(%rsp)
  lidt (%rsp)
  # LAPIC on: spurious vector register.
  mov $0xfee00000, %ebx
  movl $0x1ff, 0xf0(%rbx)
  # I/O APIC: low half of the pin's entry = vector 32, edge, unmasked.
  mov $0xd0000000, %ecx
  mov 0x30(%rcx), %edx
  lea 0x10(%rdx,%rdx), %edx
  mov $0xfec00000, %ebx
  mov %edx, (%rbx)
  movl $32, 0x10(%rbx)
  # Tells the device to make an edge.
  movl $1, 0x40(%rcx)
  sti
  1: hlt
  jmp 1b
  2:
  mov $0x900d, %eax
)" REPORT_EAX END)

PAYLOAD(payload_spin, R"(
  mov $1, %eax
)" REPORT_EAX R"(
  1: jmp 1b
)")

PAYLOAD(payload_halt, R"(
  mov $1, %eax
)" REPORT_EAX R"(
  1: cli
  hlt
  jmp 1b
)")

PAYLOAD(payload_triple_fault, R"(
  mov $0xabcd1234, %eax
  sub $16, %rsp
  movq $0, (%rsp)
  movq $0, 8(%rsp)
  lidt (%rsp)
  ud2
)")

// Starts every other CPU by INIT and SIPI to "all but self"; each reports its APIC ID by CPUID.
PAYLOAD(payload_smp, R"(
  # A real-mode trampoline at 0x6000: its code follows below.
  lea 3f(%rip), %rsi
  mov $0x6000, %edi
  mov $(4f - 3f), %ecx
  cld
  rep movsb
  mov $0xfee00000, %ebx
  movl $0x1ff, 0xf0(%rbx)
  movl $0x000c4500, 0x300(%rbx)
  movl $0x000c4606, 0x300(%rbx)
  1: pause
  jmp 1b
  .code16
  3:
  mov $1, %eax
  cpuid
  shr $24, %ebx
  mov %ebx, %eax
  mov $0x100, %dx
  out %eax, %dx
  5: hlt
  jmp 5b
  4:
  .code64
)")

PAYLOAD(payload_cpuid, R"(
  mov $0xb, %eax
  mov $1, %ecx
  cpuid
  mov %ebx, %eax
)" REPORT_EAX END)
// clang-format on

// Collects what the payload reports, and hands it values to read.
class ReportPort : public BusDevice {
 public:
  ReportPort(Machine* machine, size_t expected) : machine_(machine), expected_(expected) {}
  std::string name() const override { return "report"; }
  void Read(uint64_t, absl::Span<uint8_t> data) override {
    const uint32_t value = 41;
    memcpy(data.data(), &value, std::min(data.size(), sizeof(value)));
  }
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    if (kReportPort + offset == kEndPort) {
      machine_->NotifyEnd(EndKind::kPowerOff, "payload done");
      return;
    }
    uint32_t value = 0;
    memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
    absl::MutexLock lock(&mutex_);
    values_.push_back(value);
    if (values_.size() == expected_) all_.Notify();
  }
  std::vector<uint32_t> values() const {
    absl::MutexLock lock(&mutex_);
    return values_;
  }
  void WaitForAll() { all_.WaitForNotification(); }

 private:
  Machine* const machine_;
  const size_t expected_;
  absl::Notification all_;
  mutable absl::Mutex mutex_;
  std::vector<uint32_t> values_ ABSL_GUARDED_BY(mutex_);
};

// An MMIO device: 0x10 reads 99, 0x20 keeps what is written, 0x30 reads its interrupt input, a
// write to 0x40 makes an edge, 0x50 is announced as an ioeventfd for the value 1.
class TestDevice : public BusDevice {
 public:
  explicit TestDevice(InterruptLine* line) : line_(line), event_fd_(eventfd(0, EFD_NONBLOCK)) {}
  ~TestDevice() override { close(event_fd_); }
  std::string name() const override { return "test"; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override {
    const uint32_t value = offset == 0x10 ? 99 : offset == 0x30 ? gsi_ : 0;
    memcpy(data.data(), &value, std::min(data.size(), sizeof(value)));
  }
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    uint32_t value = 0;
    memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
    if (offset == 0x20) kept_ = value;
    if (offset == 0x40) line_->Trigger();
    if (offset == 0x50) exits_.push_back(value);
  }
  std::vector<NotifyEvent> NotifyEvents() override {
    return {{.offset = 0x50, .length = 4, .data_match = 1, .event_fd = event_fd_}};
  }
  uint64_t Signalled() const {
    eventfd_t count = 0;
    return eventfd_read(event_fd_, &count) == 0 ? count : 0;
  }
  void set_gsi(uint32_t gsi) { gsi_ = gsi; }
  uint32_t kept() const { return kept_; }
  const std::vector<uint32_t>& exits() const { return exits_; }

 private:
  InterruptLine* const line_;
  const int event_fd_;
  uint32_t gsi_ = 0;
  uint32_t kept_ = 0;
  std::vector<uint32_t> exits_;
};

class MachineKvmTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
    if (!kvm.ok()) GTEST_SKIP() << "kvm lane: " << kvm.status().message();
  }

  void Boot(const uint8_t* code, const uint8_t* end, absl::string_view topology = "1c",
            size_t expected = 0, Discovery discovery = Discovery::kAcpi) {
    MachineConfig config;
    config.topology = *Topology::Parse(topology);
    config.memory_bytes = uint64_t{64} << 20;
    config.discovery = discovery;
    absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config);
    ASSERT_TRUE(machine.ok()) << machine.status();
    machine_ = *std::move(machine);
    ASSERT_TRUE(
        machine_
            ->AddPortDevice("report", "stasis,test", kReportPort, 8, -1,
                            [&](const DeviceContext&) {
                              auto port = std::make_unique<ReportPort>(machine_.get(), expected);
                              port_ = port.get();
                              return absl::StatusOr<std::unique_ptr<BusDevice>>(std::move(port));
                            })
            .ok());
    ASSERT_TRUE(machine_
                    ->AddMmioDevice("test", "stasis,test", 0x200,
                                    [&](const DeviceContext& context) {
                                      auto device = std::make_unique<TestDevice>(context.interrupt);
                                      device_ = device.get();
                                      return absl::StatusOr<std::unique_ptr<BusDevice>>(
                                          std::move(device));
                                    })
                    .ok());
    const absl::Status loaded =
        machine_->LoadPayload(absl::MakeConstSpan(code, end - code), GuestAddress(kCodeAddress));
    ASSERT_TRUE(loaded.ok()) << loaded;
    device_->set_gsi(DeviceGsi());
    ASSERT_TRUE(machine_->Start([](const MachineEnd&) {}).ok());
  }

  // The interrupt input that the tree gives the test device.
  uint32_t DeviceGsi() {
    const DeviceTree& tree = machine_->device_tree();
    for (DeviceTree::Node node : tree.FindCompatible("stasis,test")) {
      const auto cells = tree.Cells(node, "interrupts");
      if (cells.has_value()) return cells->front();
    }
    ADD_FAILURE() << "the test device has no interrupt in the tree";
    return 0;
  }

  std::unique_ptr<Machine> machine_;
  ReportPort* port_ = nullptr;
  TestDevice* device_ = nullptr;
};

TEST_F(MachineKvmTest, PortAccessesReachTheDeviceInBothDirections) {
  Boot(payload_ports, payload_ports_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{0x12345678, 42}));
}

TEST_F(MachineKvmTest, StringOutDeliversEachItem) {
  Boot(payload_string_out, payload_string_out_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{11, 22, 33}));
}

TEST_F(MachineKvmTest, MmioReachesTheDeviceAndUnclaimedOrStraddlingReadsAreOnes) {  // T11
  Boot(payload_mmio, payload_mmio_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(device_->kept(), 100u);
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{0xffffffff, 0xffffffff}));
}

TEST_F(MachineKvmTest, MatchingNotificationSignalsTheEventfdAndAnotherValueExits) {  // T10
  Boot(payload_notify, payload_notify_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(device_->Signalled(), 1u);
  EXPECT_EQ(device_->exits(), (std::vector<uint32_t>{7}));
}

TEST_F(MachineKvmTest, DeviceEdgeWakesAHaltedVcpuThroughTheKernelsIoApic) {
  Boot(payload_interrupt, payload_interrupt_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{0x900d}));
}

TEST_F(MachineKvmTest, DeviceEdgeWakesAHaltedVcpuThroughTheSplitChip) {
  absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
  if (kvm->Extension(KVM_CAP_SPLIT_IRQCHIP) <= 0) GTEST_SKIP() << "no KVM_CAP_SPLIT_IRQCHIP";
  Boot(payload_interrupt, payload_interrupt_end, "1c", 0, Discovery::kFdt);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kPowerOff) << end.message;
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{0x900d}));
}

TEST_F(MachineKvmTest, StopEndsASpinningVcpu) {  // F3
  Boot(payload_spin, payload_spin_end, "1c", 1);
  port_->WaitForAll();
  machine_->Stop();
  EXPECT_EQ(machine_->Wait().kind, EndKind::kStopped);
}

TEST_F(MachineKvmTest, StopEndsAHaltedVcpuAndOnesThatWaitForSipi) {
  Boot(payload_halt, payload_halt_end, "4c", 1);
  port_->WaitForAll();
  machine_->Stop();
  EXPECT_EQ(machine_->Wait().kind, EndKind::kStopped);
}

TEST_F(MachineKvmTest, StopRightBehindStartIsNeverLost) {  // F3: the window before KVM_RUN
  for (int i = 0; i < 100; ++i) {
    Boot(payload_spin, payload_spin_end, "2c");
    machine_->Stop();
    ASSERT_EQ(machine_->Wait().kind, EndKind::kStopped);
  }
}

TEST_F(MachineKvmTest, TripleFaultEndsTheMachineWithTheVcpusRegistersWhereKvmKeepsThem) {
  Boot(payload_triple_fault, payload_triple_fault_end);
  const MachineEnd end = machine_->Wait();
  EXPECT_EQ(end.kind, EndKind::kTripleFault) << end.message;
  EXPECT_EQ(end.vcpu, 0);
  // KVM on AMD has none left to show.
  EXPECT_TRUE(absl::StrContains(end.registers, "rax 00000000abcd1234") ||
              absl::StartsWith(end.registers, "KVM has reset this vCPU"))
      << end.registers;
}

TEST_F(MachineKvmTest, InitAndSipiStartEveryOtherVcpuWithItsOwnApicId) {
  Boot(payload_smp, payload_smp_end, "1n2l3c1t", 5);
  port_->WaitForAll();
  machine_->Stop();
  machine_->Wait();
  std::vector<uint32_t> ids = port_->values();
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector<uint32_t>{1, 2, 4, 5, 6}));  // 3 cores take two bits
}

TEST_F(MachineKvmTest, GuestReadsTheRequestedTopologyByCpuid) {
  Boot(payload_cpuid, payload_cpuid_end, "1n2l2c2t");
  EXPECT_EQ(machine_->Wait().kind, EndKind::kPowerOff);
  EXPECT_EQ(port_->values(), (std::vector<uint32_t>{8}));  // logical CPUs of the package
}

TEST_F(MachineKvmTest, DeviceAddedAfterLoadingIsRefused) {
  Boot(payload_halt, payload_halt_end);
  const auto late = machine_->AddMmioDevice(
      "late", "stasis,late", 0x1000,
      [](const DeviceContext&) -> absl::StatusOr<std::unique_ptr<BusDevice>> {
        return absl::InternalError("not reached");
      });
  EXPECT_TRUE(absl::IsFailedPrecondition(late.status())) << late.status();
}

TEST_F(MachineKvmTest, ProbeGivesAVerdictWithAReasonWhenItIsNo) {
  const absl::StatusOr<KvmProbeResult> result = ProbeKvm();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NE(result->can_run_stock_kernel, !result->reason.empty()) << result->reason;
}

TEST(MachineTest, TopologyWithGapsBeyondTheLastApicIdIsRefusedWithTheReason) {
  if (!kvm::Kvm::Open(kvm::KvmDevicePath()).ok()) GTEST_SKIP() << "kvm lane: no KVM";
  MachineConfig config;
  config.topology = *Topology::Parse("5n5l5c5t");  // 125 CPUs, IDs up to 0x124
  const absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config);
  ASSERT_FALSE(machine.ok());
  EXPECT_NE(machine.status().message().find("APIC IDs up to"), absl::string_view::npos)
      << machine.status();
}

}  // namespace
}  // namespace stasis
