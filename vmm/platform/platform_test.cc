#include "vmm/platform/platform.h"

#include <gtest/gtest.h>

#include "vmm/platform/machine_view.h"

namespace stasis {
namespace {

// A layout of no real architecture: four MMIO pages, three device interrupts.
PlatformLayout TestLayout() {
  PlatformLayout layout;
  layout.root_compatible = "test,machine";
  layout.mmio_base = 0x10000000;
  layout.mmio_limit = 0x10004000;
  layout.device_gsis = {9, 4, 5};
  layout.gsi_count = 16;
  layout.has_ports = true;
  layout.edge_interrupt = [](uint32_t gsi) { return std::vector<uint32_t>{0, gsi, 1}; };
  layout.write_interrupt_controller = [](DeviceTreeWriter& writer, uint32_t phandle) {
    writer.BeginNode("interrupt-controller@8000000").IgnoreError();
    writer.Cells("reg", {0, 0x8000000, 0, 0x1000}).IgnoreError();
    writer.Cell("#interrupt-cells", 3).IgnoreError();
    writer.Cell("phandle", phandle).IgnoreError();
    writer.Flag(kInKernelProperty).IgnoreError();
    return writer.EndNode();
  };
  layout.cpu_hardware_id = [](const Topology&, uint32_t cpu) -> uint64_t { return cpu * 2; };
  return layout;
}

MemoryRegion Region(uint64_t base, uint64_t size, uint32_t node) {
  MemoryRegion region;
  region.base = GuestAddress(base);
  region.size = size;
  region.numa_node = node;
  return region;
}

class PlatformTest : public ::testing::Test {
 protected:
  void AddBasics(absl::string_view topology) {
    ASSERT_TRUE(builder_.AddMemory({Region(0, 1 << 20, 0), Region(1 << 20, 1 << 20, 1)}).ok());
    const absl::StatusOr<Topology> parsed = Topology::Parse(topology);
    ASSERT_TRUE(parsed.ok());
    ASSERT_TRUE(builder_.AddCpus(*parsed).ok());
    ASSERT_TRUE(builder_.AddInterruptController().ok());
  }

  PlatformBuilder builder_{TestLayout()};
};

TEST_F(PlatformTest, AddressesAndInterruptsFollowTheOrderOfAddition) {
  const auto first = builder_.AddMmioDevice({"virtio_mmio"});
  const auto second = builder_.AddMmioDevice({"virtio_mmio"});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->base, 0x10000000u);
  EXPECT_EQ(first->gsi, 9u);
  EXPECT_EQ(first->node_path, "/soc/virtio_mmio@10000000");
  EXPECT_EQ(second->base, 0x10001000u);
  EXPECT_EQ(second->gsi, 4u);
}

TEST_F(PlatformTest, SmallWindowsKeepToTheStrideAndLargeOnesAreAligned) {
  EXPECT_EQ(builder_.AddMmioDevice({"a", "x,a", 0x10, false})->base, 0x10000000u);
  EXPECT_EQ(builder_.AddMmioDevice({"b", "x,b", 0x1800, false})->base, 0x10002000u);
}

TEST_F(PlatformTest, RunningOutOfInterruptsSaysSo) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(builder_.AddMmioDevice({"virtio_mmio"}).ok());
  const absl::Status status = builder_.AddMmioDevice({"last"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("no interrupt left for last"), absl::string_view::npos);
  EXPECT_TRUE(builder_.AddMmioDevice({"quiet", "x,q", 0x1000, false}).ok());
}

TEST_F(PlatformTest, RunningOutOfAddressesSaysSo) {
  ASSERT_TRUE(builder_.AddMmioDevice({"a", "x,a", 0x4000, false}).ok());
  const absl::Status status = builder_.AddMmioDevice({"b", "x,b", 1, false}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("no address left for b"), absl::string_view::npos);
  EXPECT_FALSE(builder_.AddMmioDevice({"c", "x,c", ~uint64_t{0}, false}).ok());
}

TEST_F(PlatformTest, PortsAndFixedInterruptsBelongToOneDevice) {
  ASSERT_TRUE(builder_.AddPortDevice({"serial", "ns16550a", 0x3f8, 8, 4}).ok());
  EXPECT_EQ(builder_.AddPortDevice({"other", "x,y", 0x3ff, 1, {}}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(builder_.AddPortDevice({"other", "x,y", 0x2f8, 8, 4}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(builder_.AddPortDevice({"far", "x,y", 0xffff, 2, {}}).ok());
  EXPECT_FALSE(builder_.AddPortDevice({"pin", "x,y", 0x100, 1, 16}).ok());
  EXPECT_FALSE(builder_.AddPortDevice({"bad name", "x,y", 0x100, 1, {}}).ok());
  // The fixed input is not handed out again.
  EXPECT_EQ(*builder_.AddMmioDevice({"a"})->gsi, 9u);
  EXPECT_EQ(*builder_.AddMmioDevice({"b"})->gsi, 5u);
}

TEST_F(PlatformTest, MemoryMayNotReachIntoTheWindows) {
  EXPECT_FALSE(builder_.AddMemory({Region(0x0fff0000, 0x20000, 0)}).ok());
  EXPECT_TRUE(builder_.AddMemory({Region(0x0fff0000, 0x10000, 0)}).ok());
  EXPECT_FALSE(builder_.AddMemory({}).ok());
}

TEST_F(PlatformTest, FinishWantsMemoryCpusAndInterruptController) {
  EXPECT_EQ(builder_.Finish().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PlatformTest, ViewReadsBackWhatWasAdded) {
  AddBasics("2n4l1c2t");
  const auto serial = builder_.AddPortDevice({"serial", "ns16550a", 0x3f8, 8, 4});
  const auto virtio = builder_.AddMmioDevice({"virtio_mmio"});
  ASSERT_TRUE(serial.ok() && virtio.ok());
  builder_.SetChosen({"quiet", 0x100, 0x200, serial->node_path});
  const absl::StatusOr<DeviceTree> tree = builder_.Finish();
  ASSERT_TRUE(tree.ok()) << tree.status();
  const absl::StatusOr<MachineView> view = MachineView::FromTree(*tree);
  ASSERT_TRUE(view.ok()) << view.status();

  ASSERT_EQ(view->cpus.size(), 8u);
  EXPECT_EQ(view->cpus[5].hardware_id, 10u);
  EXPECT_EQ(view->cpus[5].numa_node, 1u);
  EXPECT_EQ(view->cpus[5].llc, 2u);
  ASSERT_EQ(view->memory.size(), 2u);
  EXPECT_EQ(view->memory[1].base, 1u << 20);
  EXPECT_EQ(view->memory[1].numa_node, 1u);
  EXPECT_EQ(view->numa_nodes, 2u);
  EXPECT_EQ(view->distances[0][1], 20);
  const DeviceInfo* uart = view->First("ns16550a");
  ASSERT_NE(uart, nullptr);
  EXPECT_TRUE(uart->is_port);
  EXPECT_EQ(uart->base, 0x3f8u);
  EXPECT_EQ(uart->gsi, 4u);
  const DeviceInfo* window = view->First("virtio,mmio");
  ASSERT_NE(window, nullptr);
  EXPECT_EQ(window->path, virtio->node_path);
  EXPECT_EQ(window->gsi, virtio->gsi);  // second of three cells
  const DeviceTree::Node chosen = *tree->Find("/chosen");
  EXPECT_EQ(tree->String(chosen, "bootargs"), "quiet");
  EXPECT_EQ(tree->Number(chosen, "linux,initrd-end"), 0x200u);
  EXPECT_EQ(tree->String(chosen, "stdout-path"), "/isa/serial@i3f8");
}

TEST_F(PlatformTest, CpuMapHasSocketsClustersCoresAndThreads) {
  AddBasics("2n4l2c2t");
  const absl::StatusOr<DeviceTree> tree = builder_.Finish();
  ASSERT_TRUE(tree.ok()) << tree.status();
  const auto thread = tree->Find("/cpus/cpu-map/socket1/cluster0/core1/thread0");
  ASSERT_TRUE(thread);
  const auto cpu = tree->FindPhandle(*tree->Cell(*thread, "cpu"));
  ASSERT_TRUE(cpu);
  EXPECT_EQ(tree->Cell(*cpu, "reg"), 10u * 2);  // vCPU 10 of this layout's numbering
  EXPECT_FALSE(tree->Find("/cpus/cpu-map/socket2"));
  EXPECT_FALSE(tree->Find("/cpus/cpu-map/socket0/cluster2"));
}

TEST_F(PlatformTest, TheLargestMachineFits) {
  AddBasics("2n4l63c1t");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(builder_.AddMmioDevice({"virtio_mmio"}).ok());
  const absl::StatusOr<DeviceTree> tree = builder_.Finish();
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(MachineView::FromTree(*tree)->cpus.size(), kMaxVcpus);
}

}  // namespace
}  // namespace stasis
