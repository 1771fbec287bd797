// The kvm lane: guest code drives a disk's registers and rings as no driver should.
//
// The payload carries out a script of stores, loads and waits that a test puts into guest memory,
// so that every access comes from a vCPU: MMIO exits, ioeventfd, and plain stores that race the
// disk's worker.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "devices/block/block_protocol.h"
#include "devices/block/virtio_block.h"
#include "devices/virtio/descriptor.h"
#include "devices/virtio/features.h"
#include "devices/virtio/mmio_registers.h"
#include "devices/virtio/mmio_transport.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine.h"

namespace stasis {
namespace {

constexpr uint64_t kCodeAddress = 0x8000;
constexpr uint64_t kWindow = 0xd0000000;  // where the platform puts the first device
constexpr uint16_t kEndPort = 0x104;
constexpr uint64_t kMemory = 64 << 20;
constexpr uint64_t kScript = 0x100000;
constexpr uint64_t kRings = 0x200000;
constexpr uint64_t kBuffers = 0x300000;
constexpr uint16_t kQueueSize = 16;
constexpr uint64_t kDriverWorks =
    kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk;
constexpr uint64_t kSeen = 0x900d;  // a wait's result

enum Op : uint64_t { kEnd, kStore32, kStore64, kStore16, kLoad32, kWait32, kWait16 };

// Mirrored by the payload: 24 bytes each. Loads and waits leave their result in `value`.
struct Step {
  uint64_t op = kEnd;
  uint64_t address = 0;
  uint64_t value = 0;
};

extern "C" const uint8_t payload_script[];
extern "C" const uint8_t payload_script_end[];
// A wait gives up after a million looks, each with an exit to user space in between
// (InterruptStatus).
asm(R"(
.pushsection .rodata
.balign 16
payload_script:
  mov $0x100000, %r12d
  mov $0xd0000060, %r13d
1:
  mov (%r12), %rax
  mov 8(%r12), %rbx
  mov 16(%r12), %rcx
  cmp $1, %eax
  je 11f
  cmp $2, %eax
  je 12f
  cmp $3, %eax
  je 13f
  cmp $4, %eax
  je 14f
  cmp $5, %eax
  je 15f
  cmp $6, %eax
  je 16f
  mov $0x104, %dx
  out %al, %dx
2:
  hlt
  jmp 2b
11:
  mov %ecx, (%rbx)
  jmp 8f
12:
  mov %rcx, (%rbx)
  jmp 8f
13:
  mov %cx, (%rbx)
  jmp 8f
14:
  mov (%rbx), %ecx
  mov %rcx, 16(%r12)
  jmp 8f
15:
  mov $1000000, %edi
5:
  mov (%rbx), %eax
  cmp %ecx, %eax
  je 7f
  mov (%r13), %eax
  sub $1, %edi
  jnz 5b
  jmp 8f
16:
  mov $1000000, %edi
6:
  mov (%rbx), %ax
  cmp %cx, %ax
  je 7f
  mov (%r13), %eax
  sub $1, %edi
  jnz 6b
  jmp 8f
7:
  mov $0x900d, %ecx
  mov %rcx, 16(%r12)
8:
  add $24, %r12
  jmp 1b
payload_script_end:
.popsection
)");

// Ends the machine when the guest writes to it.
class EndPort : public BusDevice {
 public:
  explicit EndPort(Machine* machine) : machine_(machine) {}
  std::string name() const override { return "end"; }
  void Read(uint64_t, absl::Span<uint8_t>) override {}
  void Write(uint64_t, absl::Span<const uint8_t>) override {
    machine_->NotifyEnd(EndKind::kPowerOff, "end of the script");
  }

 private:
  Machine* const machine_;
};

class HostileGuestKvmTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
    if (!kvm.ok()) GTEST_SKIP() << "kvm lane: " << kvm.status().message();
    MachineConfig config;
    config.topology = *Topology::Parse("1c");
    config.memory_bytes = kMemory;
    auto machine = Machine::Create(config);
    ASSERT_TRUE(machine.ok()) << machine.status();
    machine_ = *std::move(machine);
    ASSERT_TRUE(machine_
                    ->AddPortDevice("end", "stasis,test", kEndPort, 4, -1,
                                    [&](const DeviceContext&) {
                                      return absl::StatusOr<std::unique_ptr<BusDevice>>(
                                          std::make_unique<EndPort>(machine_.get()));
                                    })
                    .ok());
    ASSERT_TRUE(machine_
                    ->AddMmioDevice("virtio-blk0", "virtio,mmio", kVirtioMmioWindow,
                                    [&](const DeviceContext& context) { return Disk(context); })
                    .ok());
    const absl::Status loaded = machine_->LoadPayload(
        absl::MakeConstSpan(payload_script, payload_script_end - payload_script),
        GuestAddress(kCodeAddress));
    ASSERT_TRUE(loaded.ok()) << loaded;
  }

  absl::StatusOr<std::unique_ptr<BusDevice>> Disk(const DeviceContext& context) {
    auto file = BackingFile::CreateScratch(1 << 20);
    if (!file.ok()) return file.status();
    auto disk = VirtioBlock::Create({}, *file);
    if (!disk.ok()) return disk.status();
    auto transport = std::make_unique<VirtioMmioDevice>(context.memory, *std::move(disk),
                                                        context.interrupt, "virtio-blk0");
    transport_ = transport.get();
    return transport;
  }

  // ---- the script ----

  size_t Add(Op op, uint64_t address, uint64_t value = 0) {
    script_.push_back({op, address, value});
    return script_.size() - 1;
  }
  void Register(uint64_t offset, uint32_t value) { Add(kStore32, kWindow + offset, value); }
  // The value is looked at after the run.
  void ExpectRegister(uint64_t offset, uint32_t value) {
    loads_.emplace_back(Add(kLoad32, kWindow + offset), value);
  }
  void Await(Op op, uint64_t address, uint32_t value) {
    loads_.emplace_back(Add(op, address, value), kSeen);
  }
  void AwaitNeedsReset() {
    Await(kWait32, kWindow + mmio::kStatus, kDriverWorks | kStatusNeedsReset);
  }

  // Up to DRIVER_OK, with a queue in the `n`th piece of memory for rings.
  void Bind(uint64_t n, uint16_t size = kQueueSize) {
    uint32_t status = 0;
    for (uint32_t bit :
         {0u, static_cast<uint32_t>(kStatusAcknowledge), static_cast<uint32_t>(kStatusDriver)}) {
      status = bit == 0 ? 0 : status | bit;
      Register(mmio::kStatus, status);
    }
    Register(mmio::kDriverFeaturesSel, 1);
    Register(mmio::kDriverFeatures, kVirtioFeatureVersion1 >> 32);
    Register(mmio::kDriverFeaturesSel, 0);
    Register(mmio::kDriverFeatures, static_cast<uint32_t>(kVirtioFeatureIndirectDesc));
    Register(mmio::kStatus, status | kStatusFeaturesOk);
    Register(mmio::kQueueSel, 0);
    Register(mmio::kQueueNum, size);
    Register(mmio::kQueueDescLow, Descriptors(n));
    Register(mmio::kQueueDescHigh, 0);
    Register(mmio::kQueueDriverLow, Avail(n));
    Register(mmio::kQueueDriverHigh, 0);
    Register(mmio::kQueueDeviceLow, Used(n));
    Register(mmio::kQueueDeviceHigh, 0);
    Register(mmio::kQueueReady, 1);
    Register(mmio::kStatus, status | kStatusFeaturesOk | kStatusDriverOk);
  }

  // A disk that is bound anew reads sector 0.
  void MustWork(uint64_t n) {
    const uint64_t header = kBuffers + n * 0x1000;
    Put(header, BlockRequestHeader{.type = kBlockIn, .sector = 0});
    Put(header + 0x100, uint8_t{0xee});
    SetDescriptor(n, 0, {.address = header, .length = 16, .flags = kDescriptorNext, .next = 1});
    SetDescriptor(n, 1,
                  {.address = header + 0x200,
                   .length = 512,
                   .flags = kDescriptorWrite | kDescriptorNext,
                   .next = 2});
    SetDescriptor(n, 2, {.address = header + 0x100, .length = 1, .flags = kDescriptorWrite});
    Bind(n);
    ExpectRegister(mmio::kStatus, kDriverWorks);
    Add(kStore16, Avail(n) + 4, 0);
    Add(kStore16, Avail(n) + 2, 1);
    Register(mmio::kQueueNotify, 0);
    Await(kWait16, Used(n) + 2, 1);
    good_statuses_.push_back(header + 0x100);
  }

  // Head 0 is made available in a queue that is bound, and the device must refuse it for good.
  void MustPoison(uint64_t n, const std::vector<Descriptor>& descriptors) {
    for (size_t i = 0; i < descriptors.size(); ++i) SetDescriptor(n, i, descriptors[i]);
    Bind(n);
    Add(kStore16, Avail(n) + 4, 0);
    Add(kStore16, Avail(n) + 2, 1);
    Register(mmio::kQueueNotify, 0);
    AwaitNeedsReset();
    // Nothing but a reset helps (S6).
    Register(mmio::kStatus, kDriverWorks);
    ExpectRegister(mmio::kStatus, kDriverWorks | kStatusNeedsReset);
  }

  static uint32_t Descriptors(uint64_t n) { return kRings + n * 0x4000; }
  static uint32_t Avail(uint64_t n) { return Descriptors(n) + 0x1000; }
  static uint32_t Used(uint64_t n) { return Descriptors(n) + 0x2000; }

  template <typename T>
  void Put(uint64_t address, const T& value) {
    ASSERT_TRUE(machine_->memory().Store(GuestAddress(address), value));
  }
  void SetDescriptor(uint64_t n, uint16_t index, const Descriptor& descriptor) {
    Put(Descriptors(n) + 16 * index, descriptor);
  }

  void Run() {
    Add(kEnd, 0);
    for (size_t i = 0; i < script_.size(); ++i) Put(kScript + i * sizeof(Step), script_[i]);
    ASSERT_TRUE(machine_->Start([](const MachineEnd&) {}).ok());
    const MachineEnd end = machine_->Wait();
    ASSERT_EQ(end.kind, EndKind::kPowerOff) << end.message;
    for (const auto& [step, expected] : loads_) {
      const auto seen = machine_->memory().Load<Step>(GuestAddress(kScript + step * sizeof(Step)));
      ASSERT_TRUE(seen.has_value());
      EXPECT_EQ(seen->value, expected) << "step " << step << " at " << std::hex << seen->address;
    }
    for (uint64_t address : good_statuses_) {
      EXPECT_EQ(machine_->memory().Load<uint8_t>(GuestAddress(address)), kBlockStatusOk);
    }
  }

  std::unique_ptr<Machine> machine_;
  VirtioMmioDevice* transport_ = nullptr;
  std::vector<Step> script_;
  std::vector<std::pair<size_t, uint64_t>> loads_;
  std::vector<uint64_t> good_statuses_;
};

TEST_F(HostileGuestKvmTest, Q2_AnAvailIndexThatJumpsPoisonsUntilTheReset) {
  Bind(0);
  Add(kStore16, Avail(0) + 2, kQueueSize + 1);
  Register(mmio::kQueueNotify, 0);
  AwaitNeedsReset();
  MustWork(1);
  Run();
  EXPECT_EQ(transport_->signals().poisonings(), 1u);
}

TEST_F(HostileGuestKvmTest, Q1_ASelfLinkedDescriptorPoisonsUntilTheReset) {
  MustPoison(0, {{.address = kBuffers, .length = 16, .flags = kDescriptorNext, .next = 0}});
  MustWork(1);
  Run();
}

TEST_F(HostileGuestKvmTest, Q1_BuffersThatAreNoMemoryPoisonUntilTheReset) {
  uint64_t n = 0;
  for (uint64_t address : {kWindow, uint64_t{0xfee00000}, kMemory - 8, uint64_t{0} - 8}) {
    MustPoison(n++, {{.address = address, .length = 16}});
    MustWork(n++);
  }
  Run();
}

TEST_F(HostileGuestKvmTest, Q1_IndirectTablesInTablesAndOutsideOfMemoryPoisonUntilTheReset) {
  const uint64_t table = kBuffers + 0x80000;
  Put(table, Descriptor{.address = table, .length = 16, .flags = kDescriptorIndirect});
  MustPoison(0, {{.address = table, .length = 16, .flags = kDescriptorIndirect}});
  MustWork(1);
  MustPoison(2, {{.address = kWindow, .length = 64, .flags = kDescriptorIndirect}});
  MustWork(3);
  Run();
}

TEST_F(HostileGuestKvmTest, Q2_GarbageRingsLeaveAMachineThatWorksAfterTheReset) {
  std::mt19937_64 random(2);
  uint64_t n = 0;
  for (int round = 0; round < 8; ++round, n += 2) {
    for (uint64_t at = 0; at < 0x4000; at += 8) Put(Descriptors(n) + at, random());
    Bind(n);
    for (uint16_t i = 0; i < kQueueSize; ++i) {
      Add(kStore16, Avail(n) + 2, static_cast<uint16_t>(random()));
      Register(mmio::kQueueNotify, static_cast<uint32_t>(random() % 3));
    }
    MustWork(n + 1);
  }
  Run();
}

TEST_F(HostileGuestKvmTest, S1_R4_NotificationsInEveryStateDoNoHarm) {
  for (uint32_t status : {0u, 1u, 3u, 0x0bu, 0x80u, 0u}) {
    Register(mmio::kStatus, status);
    for (uint32_t queue : {0u, 1u, 0xffffu, 0xffffffffu}) Register(mmio::kQueueNotify, queue);
  }
  MustWork(0);
  Register(mmio::kQueueNotify, 0xffffffff);
  ExpectRegister(mmio::kStatus, kDriverWorks);
  Register(mmio::kStatus, 0);
  Register(mmio::kQueueNotify, 0);
  MustWork(1);
  Run();
  EXPECT_EQ(transport_->signals().poisonings(), 0u);
}

TEST_F(HostileGuestKvmTest, Q1_T7_RingsInDevicesAreRefusedAndTheQueueStaysUnready) {
  Register(mmio::kStatus, 0);
  Register(mmio::kStatus, 1);
  Register(mmio::kStatus, 3);
  Register(mmio::kDriverFeaturesSel, 1);
  Register(mmio::kDriverFeatures, kVirtioFeatureVersion1 >> 32);
  Register(mmio::kStatus, 0x0b);
  Register(mmio::kQueueSel, 0);
  Register(mmio::kQueueNum, kQueueSize);
  for (uint64_t half : {mmio::kQueueDescLow, mmio::kQueueDriverLow, mmio::kQueueDeviceLow}) {
    Register(half, kWindow);
  }
  Register(mmio::kQueueReady, 1);
  ExpectRegister(mmio::kQueueReady, 0);
  Register(mmio::kStatus, kDriverWorks);
  Register(mmio::kQueueNotify, 0);
  MustWork(0);
  Run();
}

// T1, T2: widths and offsets that no driver uses, from a real MMIO exit.
TEST_F(HostileGuestKvmTest, T1_T2_OddAccessesDoNoHarm) {
  MustWork(0);
  for (uint64_t offset = 0; offset + 8 <= kVirtioMmioWindow; offset += 4) {
    if (offset == mmio::kStatus) continue;
    Add(kStore16, kWindow + offset, 0xffff);
    Add(kStore64, kWindow + offset + (offset % 8 == 4 ? 1 : 0), ~uint64_t{0});
  }
  ExpectRegister(mmio::kMagicValue, kVirtioMmioMagic);
  MustWork(1);
  Run();
}

}  // namespace
}  // namespace stasis
