// The kvm lane: freezing real vCPUs that run small payloads, and what a dump says of them.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "vmm/dump/machine_dump.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine.h"
#include "vmm/x86_64/probe.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr uint64_t kCodeAddress = 0x8000;
constexpr uint64_t kFlagAddress = 0x9000;  // payloads say here that they are ready, or count
constexpr uint64_t kValueAddress = 0x9008;
constexpr uint16_t kValuePort = 0x100;      // reads 41
constexpr uint16_t kPanicTestPort = 0x104;  // a write is a panic

// clang-format off
#define PAYLOAD(name, code)                                                              \
  asm(".pushsection .rodata\n.balign 16\n" #name ":\n" code "\n" #name "_end:\n.popsection\n"); \
  extern "C" const uint8_t name[];                                                       \
  extern "C" const uint8_t name##_end[];

PAYLOAD(freeze_registers, R"(
  mov %cr4, %rax
  or $0x200, %eax
  mov %rax, %cr4
  mov $0x1111000011110000, %rax
  mov %rax, %dr0
  mov $0x2222000022220000, %rax
  mov %rax, %dr1
  mov $0x3333000033330000, %rax
  mov %rax, %dr2
  mov $0x4444000044440000, %rax
  mov %rax, %dr3
  .macro set_msr index high low
    mov $\index, %ecx
    mov $\high, %edx
    mov $\low, %eax
    wrmsr
  .endm
  set_msr 0xc0000100 0x00001234 0x56789000
  set_msr 0xc0000101 0x00002345 0x6789a000
  set_msr 0xc0000102 0x00003456 0x789ab000
  set_msr 0xc0000081 0x00230010 0x00000000
  set_msr 0xc0000082 0xffffffff 0x81000040
  set_msr 0xc0000084 0x00000000 0x00047700
  .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    mov $(0x0123456789abcd00 + \i), %rax
    movq %rax, %xmm\i
    punpcklqdq %xmm\i, %xmm\i
  .endr
  mov $0xa000000000000001, %rbx
  mov $0xa000000000000002, %rcx
  mov $0xa000000000000003, %rdx
  mov $0xa000000000000004, %rsi
  mov $0xa000000000000005, %rdi
  mov $0xa000000000000006, %rbp
  mov $0x7ff0, %rsp
  mov $0xa000000000000008, %r8
  mov $0xa000000000000009, %r9
  mov $0xa00000000000000a, %r10
  mov $0xa00000000000000b, %r11
  mov $0xa00000000000000c, %r12
  mov $0xa00000000000000d, %r13
  mov $0xa00000000000000e, %r14
  mov $0xa00000000000000f, %r15
  mov $0xa000000000000000, %rax
  movl $1, 0x9000
  1: jmp 1b
)")

PAYLOAD(freeze_count, R"(
  1: incq 0x9000
  jmp 1b
)")

// Every iteration leaves to user space and needs its answer.
PAYLOAD(freeze_port_in, R"(
  mov $0x100, %dx
  1: xor %eax, %eax
  in %dx, %eax
  mov %eax, 0x9008
  incq 0x9000
  jmp 1b
)")

PAYLOAD(freeze_halt, R"(
  movl $1, 0x9000
  1: cli
  hlt
  jmp 1b
)")

PAYLOAD(freeze_panic, R"(
  mov $0x5a, %al
  mov $0x104, %dx
  out %al, %dx
  1: incq 0x9000
  jmp 1b
)")

PAYLOAD(freeze_triple_fault, R"(
  sub $16, %rsp
  movq $0, (%rsp)
  movq $0, 8(%rsp)
  lidt (%rsp)
  ud2
)")
// clang-format on

// The payload of all registers needs SSE and MSRs in ring 0, which not every KVM has. Empty where it
// runs.
std::string WhyNoSse() {
  const absl::StatusOr<KvmProbeResult> probe = ProbeKvm();
  if (!probe.ok()) return std::string(probe.status().message());
  return probe->can_run_stock_kernel ? "" : "this KVM runs no such code: " + probe->reason;
}

class TestPort : public BusDevice {
 public:
  explicit TestPort(Machine* machine) : machine_(machine) {}
  std::string name() const override { return "test-port"; }
  void Read(uint64_t, absl::Span<uint8_t> data) override {
    std::fill(data.begin(), data.end(), 0);
    data[0] = 41;
  }
  void Write(uint64_t offset, absl::Span<const uint8_t>) override {
    if (kValuePort + offset == kPanicTestPort) machine_->NotifyEnd(EndKind::kPanic, "test panic");
  }
  std::vector<Freezable*> Freezables() override {
    return stuck == nullptr ? std::vector<Freezable*>{} : std::vector<Freezable*>{stuck.get()};
  }

  std::unique_ptr<Freezable> stuck;

 private:
  Machine* const machine_;
};

// A worker in a system call that no signal ends.
class StuckWorker : public Freezable {
 public:
  std::string name() const override { return "virtio-blk7.0"; }
  void RequestPause() override {}
  bool IsParked() const override { return false; }
  void Resume() override {}
};

class FreezeKvmTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
    if (!kvm.ok()) GTEST_SKIP() << "kvm lane: " << kvm.status().message();
    config_.memory_bytes = uint64_t{64} << 20;
    config_.hold_at_end = true;
  }
  void TearDown() override {
    machine_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  void Load(const uint8_t* code, const uint8_t* end, absl::string_view topology = "1c") {
    config_.topology = *Topology::Parse(topology);
    absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config_);
    ASSERT_TRUE(machine.ok()) << machine.status();
    machine_ = *std::move(machine);
    ASSERT_TRUE(machine_
                    ->AddPortDevice(
                        "test", "stasis,test", kValuePort, 8, -1,
                        [&](const DeviceContext&) -> absl::StatusOr<std::unique_ptr<BusDevice>> {
                          auto port = std::make_unique<TestPort>(machine_.get());
                          if (with_stuck_worker_) {
                            port->stuck = std::make_unique<StuckWorker>();
                          }
                          return port;
                        })
                    .ok());
    ASSERT_TRUE(
        machine_->LoadPayload(absl::MakeConstSpan(code, end - code), GuestAddress(kCodeAddress))
            .ok());
  }
  void Start() {
    ASSERT_TRUE(machine_->Start([this](const MachineEnd&) { ended_ = true; }).ok());
  }
  uint64_t Count() const {
    return *machine_->memory().LoadAtomic<uint64_t>(GuestAddress(kFlagAddress));
  }
  void WaitUntilRunning(uint64_t more_than = 0) {
    while (Count() <= more_than) usleep(100);
  }
  void WaitForEnd() {
    while (!ended_) usleep(100);
  }
  json Registers(const MachineSnapshot& snapshot, size_t cpu = 0) {
    return json::parse(snapshot.vcpus[cpu].registers_json, nullptr, false);
  }

  MachineConfig config_;
  bool with_stuck_worker_ = false;
  std::atomic<bool> ended_{false};
  std::unique_ptr<Machine> machine_;
  std::string directory_;
};

std::string Hex(uint64_t value) { return absl::StrFormat("0x%x", value); }

TEST_F(FreezeKvmTest, F5_EveryRegisterIsWhatThePayloadPutThere) {
  if (const std::string why = WhyNoSse(); !why.empty()) GTEST_SKIP() << why;
  Load(freeze_registers, freeze_registers_end);
  Start();
  WaitUntilRunning();

  const FreezeReport report = machine_->Freeze();
  const json vcpu = Registers(machine_->Snapshot(report));
  machine_->Thaw();

  ASSERT_TRUE(report.complete());
  const char* kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", nullptr,
                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  for (uint64_t i = 0; i < 16; ++i) {
    if (kNames[i] != nullptr) {
      EXPECT_EQ(vcpu["regs"][kNames[i]], Hex(0xa000000000000000 + i)) << kNames[i];
    }
    // Byte 0 first, both halves alike.
    const std::string half = absl::StrFormat("%02xcdab8967452301", i);
    EXPECT_EQ(vcpu["fpu"]["xmm"][i], half + half) << i;
  }
  EXPECT_EQ(vcpu["regs"]["rsp"], "0x7ff0");
  EXPECT_EQ(vcpu["regs"]["rip"], Hex(kCodeAddress + (freeze_registers_end - freeze_registers) - 2));
  EXPECT_EQ(vcpu["debugregs"]["dr0"], "0x1111000011110000");
  EXPECT_EQ(vcpu["debugregs"]["dr1"], "0x2222000022220000");
  EXPECT_EQ(vcpu["debugregs"]["dr2"], "0x3333000033330000");
  EXPECT_EQ(vcpu["debugregs"]["dr3"], "0x4444000044440000");
  EXPECT_EQ(vcpu["sregs"]["fs"]["base"], "0x123456789000");
  EXPECT_EQ(vcpu["sregs"]["gs"]["base"], "0x23456789a000");
  EXPECT_EQ(vcpu["sregs"]["cr4"], "0x220");
  EXPECT_EQ(vcpu["sregs"]["cs"]["l"], 1);
  EXPECT_EQ(vcpu["sregs"]["efer"], "0x500");
  EXPECT_EQ(vcpu["msrs"]["0xc0000102"], "0x3456789ab000");
  EXPECT_EQ(vcpu["msrs"]["0xc0000081"], "0x23001000000000");
  EXPECT_EQ(vcpu["msrs"]["0xc0000082"], "0xffffffff81000040");
  EXPECT_EQ(vcpu["msrs"]["0xc0000084"], "0x47700");
  EXPECT_EQ(vcpu["mp_state"], "runnable");
  EXPECT_TRUE(vcpu["lapic_base64"].is_string());
  EXPECT_TRUE(vcpu["xsave_base64"].is_string());
}

TEST_F(FreezeKvmTest, D2_DumpFileHoldsTheRegistersAndItsPageTablesWalk) {
  if (const std::string why = WhyNoSse(); !why.empty()) GTEST_SKIP() << why;
  std::string name = ::testing::TempDir() + "/freeze_kvm_test.XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  directory_ = name;
  Load(freeze_registers, freeze_registers_end);
  Start();
  WaitUntilRunning();

  const FreezeReport report = machine_->Freeze();
  const MachineSnapshot snapshot = machine_->Snapshot(report);
  dump::MachineDumpRequest request;
  request.file = {.directory = directory_ + "/dumps", .name = "registers"};
  auto dump = dump::WriteMachineDump(*machine_, snapshot, request);
  machine_->Thaw();

  ASSERT_TRUE(dump.ok()) << dump.status();
  std::ifstream file(dump->path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto at = [&](uint64_t offset) {
    uint64_t value = 0;
    memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
  };
  // The first note, behind the ELF header and two program headers; then RAM at its segment.
  const uint64_t prstatus = at(64 + 8) + 12 + 8;
  EXPECT_EQ(static_cast<uint32_t>(at(prstatus + 32)), 1u);      // pr_pid
  EXPECT_EQ(at(prstatus + 112), 0xa00000000000000fu);           // r15
  EXPECT_EQ(at(prstatus + 112 + 10 * 8), 0xa000000000000000u);  // rax
  EXPECT_EQ(at(prstatus + 112 + 19 * 8), 0x7ff0u);              // rsp
  const uint64_t rip = at(prstatus + 112 + 16 * 8);
  const uint64_t ram = at(64 + 56 + 8);
  constexpr uint64_t kAddressBits = 0x000ffffffffff000;
  constexpr uint64_t kLarge = 1 << 7;
  const uint64_t cr3 = std::stoull(std::string(Registers(snapshot)["sregs"]["cr3"]), nullptr, 16);
  uint64_t table = cr3 & kAddressBits;
  int shift = 39;
  uint64_t entry = 0;
  for (; shift >= 12; shift -= 9) {
    entry = at(ram + table + (rip >> shift & 511) * 8);
    ASSERT_EQ(entry & 1, 1u) << shift;
    if (shift == 12 || (shift < 39 && (entry & kLarge) != 0)) break;
    table = entry & kAddressBits;
  }
  const uint64_t offset_mask = (uint64_t{1} << shift) - 1;
  const uint64_t physical = (entry & kAddressBits & ~offset_mask) | (rip & offset_mask);
  EXPECT_EQ(physical, rip);  // the payload's tables map memory to itself
  EXPECT_EQ(bytes.substr(ram + physical, 2), "\xeb\xfe");  // jmp to itself
}

TEST_F(FreezeKvmTest, F3_F10_SpinningVcpuStandsStillAtOnceAndGoesOnEachTime) {
  Load(freeze_count, freeze_count_end);
  Start();
  WaitUntilRunning();

  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(machine_->Freeze().complete()) << i;
    const uint64_t frozen = Count();
    usleep(50);
    ASSERT_EQ(Count(), frozen) << i;
    machine_->Thaw();
    WaitUntilRunning(frozen);
  }
  EXPECT_EQ(machine_->freeze_latencies().count, 300u);
}

TEST_F(FreezeKvmTest, F4_AccessUnderWayIsCommittedBeforeRegistersAreRead) {
  Load(freeze_port_in, freeze_port_in_end);
  Start();
  WaitUntilRunning();
  const uint64_t behind_in = kCodeAddress + 4 + 2 + 1;  // mov, xor, in

  int seen_behind = 0;
  for (int i = 0; i < 300; ++i) {
    const FreezeReport report = machine_->Freeze();
    const json vcpu = Registers(machine_->Snapshot(report));
    const uint64_t frozen = Count();
    machine_->Thaw();
    ASSERT_TRUE(report.complete());
    if (vcpu["regs"]["rip"] == Hex(behind_in)) {
      ++seen_behind;
      ASSERT_EQ(vcpu["regs"]["rax"], "0x29");
    }
    WaitUntilRunning(frozen);
    ASSERT_EQ(machine_->memory().Load<uint32_t>(GuestAddress(kValueAddress)), 41u);
  }
  EXPECT_GT(seen_behind, 0);
}

TEST_F(FreezeKvmTest, F11_BeforeTheStartEverybodyCountsAsParked) {
  Load(freeze_count, freeze_count_end, "2c");

  const FreezeReport report = machine_->Freeze();
  const MachineSnapshot snapshot = machine_->Snapshot(report);
  Start();  // frozen: nobody may enter the guest
  const uint64_t frozen = Count();
  machine_->Thaw();
  WaitUntilRunning();

  EXPECT_TRUE(report.complete());
  EXPECT_EQ(frozen, 0u);
  EXPECT_FALSE(snapshot.vcpus[0].unavailable.empty());
}

TEST_F(FreezeKvmTest, F11_VcpusThatWaitForSipiPark) {
  Load(freeze_count, freeze_count_end, "4c");
  Start();
  WaitUntilRunning();

  const FreezeReport report = machine_->Freeze();
  const MachineSnapshot snapshot = machine_->Snapshot(report);
  machine_->Thaw();

  ASSERT_TRUE(report.complete());
  for (size_t cpu = 1; cpu < 4; ++cpu) {
    EXPECT_EQ(Registers(snapshot, cpu)["mp_state"], "uninitialized") << cpu;
    EXPECT_TRUE(snapshot.vcpus[cpu].waiting);
  }
}

TEST_F(FreezeKvmTest, F11_HaltedVcpuParksAndShowsThatInterruptsAreOff) {
  Load(freeze_halt, freeze_halt_end);
  Start();
  WaitUntilRunning();

  // The halt may be yet to come.
  VcpuSnapshot vcpu;
  for (int i = 0; i < 10000 && !vcpu.waiting; ++i) {
    const FreezeReport report = machine_->Freeze();
    vcpu = machine_->Snapshot(report).vcpus[0];
    machine_->Thaw();
    ASSERT_TRUE(report.complete());
  }

  EXPECT_TRUE(vcpu.waiting);
  EXPECT_TRUE(vcpu.interrupts_off);
}

// What the watch for hung CPUs asks once in a while, without a freeze.
TEST_F(FreezeKvmTest, GlanceShowsWhereARunningVcpuIsAndThatItGoesOn) {
  Load(freeze_port_in, freeze_port_in_end);
  Start();
  WaitUntilRunning();

  for (int i = 0; i < 100; ++i) {
    const uint64_t before = Count();
    machine_->RequestGlance(0);
    std::optional<VcpuGlance> glance;
    while (!(glance = machine_->TakeGlance(0)).has_value()) usleep(100);

    EXPECT_GE(glance->program_counter, kCodeAddress);
    EXPECT_LT(glance->program_counter,
              kCodeAddress + (freeze_port_in_end - freeze_port_in));
    EXPECT_TRUE(glance->interrupts_off);  // since the start
    EXPECT_FALSE(glance->waiting);
    EXPECT_FALSE(machine_->TakeGlance(0).has_value()) << "it is given once";
    WaitUntilRunning(before);
  }
  EXPECT_EQ(machine_->freeze_latencies().count, 0u);
}

TEST_F(FreezeKvmTest, GlanceAtAFrozenVcpuComesWithTheThaw) {
  Load(freeze_count, freeze_count_end);
  Start();
  WaitUntilRunning();

  ASSERT_TRUE(machine_->Freeze().complete());
  machine_->RequestGlance(0);
  const bool while_frozen = machine_->TakeGlance(0).has_value();
  machine_->Thaw();
  while (!machine_->TakeGlance(0).has_value()) usleep(100);

  EXPECT_FALSE(while_frozen);
  WaitUntilRunning(Count());
}

TEST_F(FreezeKvmTest, F11_AfterTheEndAFreezeStillSucceeds) {
  Load(freeze_count, freeze_count_end, "2c");
  Start();
  machine_->Stop();
  machine_->Wait();

  EXPECT_TRUE(machine_->Freeze().complete());
  machine_->Thaw();
}

TEST_F(FreezeKvmTest, F8_PanickingVcpuStaysBehindItsPortWriteUntilTheMachineIsStopped) {
  Load(freeze_panic, freeze_panic_end, "2c");
  Start();
  WaitForEnd();

  const FreezeReport report = machine_->Freeze();
  const json vcpu = Registers(machine_->Snapshot(report));
  machine_->Thaw();
  usleep(1000);
  const uint64_t count = Count();
  machine_->Stop();
  const MachineEnd end = machine_->Wait();

  ASSERT_TRUE(report.complete());
  EXPECT_EQ(vcpu["regs"]["rip"], Hex(kCodeAddress + 2 + 4 + 1));  // mov, mov, out
  EXPECT_EQ(vcpu["regs"]["rdx"], "0x104");
  EXPECT_EQ(count, 0u);  // a thaw does not let an ended machine go on
  EXPECT_EQ(end.kind, EndKind::kPanic);
  EXPECT_EQ(end.vcpu, 0);
}

TEST_F(FreezeKvmTest, F8_FatalExitCountsAsParked) {
  Load(freeze_triple_fault, freeze_triple_fault_end, "2c");
  Start();
  WaitForEnd();

  const FreezeReport report = machine_->Freeze();
  const MachineSnapshot snapshot = machine_->Snapshot(report);
  machine_->Thaw();
  machine_->Stop();

  EXPECT_TRUE(report.complete());
  EXPECT_EQ(snapshot.vcpus[0].last_exit, "KVM_EXIT_SHUTDOWN");
  EXPECT_TRUE(snapshot.vcpus[0].unavailable.empty());
  EXPECT_EQ(machine_->Wait().kind, EndKind::kTripleFault);
}

TEST_F(FreezeKvmTest, F7_StuckDeviceWorkerIsNamedAndTheVcpusAreFrozenAllTheSame) {
  config_.freeze.device_deadline = absl::Milliseconds(20);
  with_stuck_worker_ = true;
  Load(freeze_count, freeze_count_end);
  Start();
  WaitUntilRunning();

  const FreezeReport report = machine_->Freeze();
  const uint64_t frozen = Count();
  usleep(1000);
  const uint64_t later = Count();
  machine_->Thaw();

  ASSERT_EQ(report.absentees.size(), 1u);
  EXPECT_EQ(report.absentees[0].name, "virtio-blk7.0");
  EXPECT_EQ(frozen, later);
}

TEST_F(FreezeKvmTest, F9_GuestClockStandsStillWhileFrozen) {
  Load(freeze_count, freeze_count_end);
  Start();
  WaitUntilRunning();

  const FreezeReport first = machine_->Freeze();
  const std::optional<uint64_t> before = machine_->Snapshot(first).guest_clock_ns;
  usleep(200000);
  const absl::Time thawing = absl::Now();
  machine_->Thaw();
  const FreezeReport second = machine_->Freeze();
  const std::optional<uint64_t> after = machine_->Snapshot(second).guest_clock_ns;
  const absl::Duration thawed = absl::Now() - thawing;
  machine_->Thaw();

  if (!before.has_value()) GTEST_SKIP() << "this KVM does not tell the guest's clock";
  EXPECT_LE(absl::Nanoseconds(*after - *before), thawed + absl::Milliseconds(1));
}

}  // namespace
}  // namespace stasis
