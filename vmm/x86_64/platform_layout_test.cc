#include "vmm/x86_64/platform_layout.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "vmm/platform/bus.h"
#include "vmm/x86_64/test_machine.h"

namespace stasis {
namespace {

class NullDevice : public BusDevice {
 public:
  std::string name() const override { return "null"; }
  void Read(uint64_t, absl::Span<uint8_t>) override {}
  void Write(uint64_t, absl::Span<const uint8_t>) override {}
};

TEST(X86LayoutTest, InterruptsThatPcConventionsClaimAreNeverHandedOut) {
  PlatformBuilder builder = TestBuilder("1c");
  std::set<uint32_t> given;
  absl::StatusOr<Placement> placement = builder.AddMmioDevice({"virtio_mmio"});
  while (placement.ok()) {
    EXPECT_TRUE(given.insert(*placement->gsi).second);
    placement = builder.AddMmioDevice({"virtio_mmio"});
  }
  EXPECT_EQ(placement.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(given.size(), 17u);
  EXPECT_LT(*given.rbegin(), kIoApicPins);
  for (const uint32_t claimed : {0u, 1u, 2u, 4u, 8u, 9u, 13u}) EXPECT_EQ(given.count(claimed), 0u);
}

TEST(X86LayoutTest, WindowsStayInTheMmioGapBelowTheApics) {
  const DeviceTree tree = TestTree("1c", 17);
  const absl::StatusOr<MachineView> view = MachineView::FromTree(tree);
  ASSERT_TRUE(view.ok());
  for (const DeviceInfo* device : view->Compatible("virtio,mmio")) {
    EXPECT_GE(device->base, kX86MmioGapBase);
    EXPECT_LE(device->base + device->size, kIoApicBase);
  }
}

TEST(X86LayoutTest, IoApicIsOnTheBusWithTheSplitChipOnly) {
  NullDevice device;
  std::map<std::string, BusDevice*> devices;
  for (const char* path : {"/isa/serial@i3f8", "/isa/power@i600", "/isa/panic@i505"}) {
    devices[path] = &device;
  }
  const Topology topology;
  const auto in_kernel = TestBuilder(topology, X86IrqChip::kInKernel).Finish();
  const auto split = TestBuilder(topology, X86IrqChip::kSplit).Finish();
  ASSERT_TRUE(in_kernel.ok() && split.ok());
  EXPECT_TRUE(Bus::FromTree(*in_kernel, devices).ok());
  EXPECT_FALSE(Bus::FromTree(*split, devices).ok());
  devices[kIoApicPath] = &device;
  const auto bus = Bus::FromTree(*split, devices);
  ASSERT_TRUE(bus.ok()) << bus.status();
  EXPECT_EQ((*bus)->DeviceAt(BusSpace::kMmio, 0xfec00010), &device);
  EXPECT_EQ((*bus)->DeviceAt(BusSpace::kMmio, 0xfee00000), nullptr);
  EXPECT_FALSE(Bus::FromTree(*in_kernel, devices).ok());
}

TEST(X86LayoutTest, TreeHasWhatLinuxLooksFor) {
  const DeviceTree tree = TestTree("2c", 1);
  EXPECT_TRUE(tree.String(tree.root(), "compatible"));
  const auto io_apic = tree.Find(kIoApicPath);
  ASSERT_TRUE(io_apic);
  EXPECT_EQ(tree.Cell(*io_apic, "#interrupt-cells"), 2u);
  EXPECT_EQ(tree.Cell(tree.root(), "interrupt-parent"), tree.Cell(*io_apic, "phandle"));
  const auto lapic = tree.FindCompatible("intel,ce4100-lapic");
  ASSERT_EQ(lapic.size(), 1u);
  EXPECT_TRUE(tree.Has(lapic[0], "intel,virtual-wire-mode"));
  const auto virtio = tree.FindCompatible("virtio,mmio");
  ASSERT_EQ(virtio.size(), 1u);
  EXPECT_EQ(tree.Cells(virtio[0], "interrupts"), (std::vector<uint32_t>{16, 3}));  // edge rising
}

TEST(X86LayoutTest, IoApicIdIsNoCpus) {
  for (const char* text : {"1c", "4c", "1n2l3c1t", "252c"}) {
    const Topology topology = Topology::Parse(text).value();
    const MachineView view = MachineView::FromTree(TestTree(topology, 0)).value();
    const absl::StatusOr<uint8_t> id = IoApicId(view);
    ASSERT_TRUE(id.ok()) << id.status();
    for (const CpuInfo& cpu : view.cpus) EXPECT_NE(cpu.hardware_id, *id);
  }
}

TEST(X86LayoutTest, DtcReadsTheTreeWithoutComplaint) {
  if (std::system("dtc --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "dtc is missing: apt-get install device-tree-compiler";
  }
  const std::string blob = ::testing::TempDir() + "/machine.dtb";
  const std::string log = ::testing::TempDir() + "/dtc.log";
  std::ofstream(blob, std::ios::binary) << TestTree("2n4l2c2t", 3).blob();
  // Linux knows an ISA bus by the bare name "isa", where dtc misses a unit address.
  const int status = std::system(("dtc -Wno-unit_address_vs_reg -I dtb -O dts -o /dev/null '" +
                                  blob + "' > '" + log + "' 2>&1")
                                     .c_str());
  std::ifstream file(log);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text.str(), "");
  std::filesystem::remove(blob);
  std::filesystem::remove(log);
}

}  // namespace
}  // namespace stasis
