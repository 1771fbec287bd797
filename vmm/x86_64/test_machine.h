// A machine as the tests of this folder describe it: memory of every node, CPUs, serial, power and
// panic devices, and virtio windows.
#ifndef STASIS_VMM_X86_64_TEST_MACHINE_H_
#define STASIS_VMM_X86_64_TEST_MACHINE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "vmm/platform/platform.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {

inline PlatformBuilder TestBuilder(const Topology& topology,
                                   X86IrqChip chip = X86IrqChip::kInKernel) {
  PlatformBuilder builder(X86Layout(chip));
  std::vector<MemoryRegion> regions;
  for (uint32_t node = 0; node < topology.nodes(); ++node) {
    MemoryRegion region;
    region.base = GuestAddress(uint64_t{node} << 24);
    region.size = 1 << 24;
    region.numa_node = node;
    regions.push_back(region);
  }
  const bool ok =
      builder.AddMemory(regions).ok() && builder.AddCpus(topology).ok() &&
      builder.AddInterruptController().ok() &&
      builder.AddPortDevice({"serial", kSerialCompatible, kSerialPort, 8, kSerialGsi}).ok() &&
      builder.AddPortDevice({"power", kPowerCompatible, kPowerPort, 3, {}}).ok() &&
      builder.AddPortDevice({"panic", kPanicCompatible, kPanicPort, 1, {}}).ok();
  EXPECT_TRUE(ok);
  if (!ok) std::abort();
  return builder;
}

inline PlatformBuilder TestBuilder(absl::string_view topology) {
  return TestBuilder(Topology::Parse(topology).value());
}

inline DeviceTree TestTree(const Topology& topology, int virtio) {
  PlatformBuilder builder = TestBuilder(topology);
  for (int i = 0; i < virtio; ++i) EXPECT_TRUE(builder.AddMmioDevice({"virtio_mmio"}).ok());
  absl::StatusOr<DeviceTree> tree = builder.Finish();
  EXPECT_TRUE(tree.ok()) << tree.status();
  if (!tree.ok()) std::abort();
  return *std::move(tree);
}

inline DeviceTree TestTree(absl::string_view topology, int virtio) {
  return TestTree(Topology::Parse(topology).value(), virtio);
}

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_TEST_MACHINE_H_
