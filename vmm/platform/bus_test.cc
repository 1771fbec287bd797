#include "vmm/platform/bus.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

class FakeDevice : public BusDevice {
 public:
  explicit FakeDevice(std::string name) : name_(std::move(name)) {}
  std::string name() const override { return name_; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override {
    last_offset = offset;
    std::fill(data.begin(), data.end(), 0x5a);
  }
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    last_offset = offset;
    ++writes;
    last_width = data.size();
  }

  uint64_t last_offset = ~uint64_t{0};
  size_t last_width = 0;
  int writes = 0;

 private:
  const std::string name_;
};

struct Mmio {
  std::string name;
  uint32_t base;
  uint32_t size;
  bool in_kernel = false;
};

// One CPU, /soc with `mmio`, and a port device at 0x3f8 of 8 ports.
DeviceTree Tree(const std::vector<Mmio>& mmio) {
  DeviceTreeWriter w;
  w.BeginNode("").IgnoreError();
  w.Cell("#address-cells", 2).IgnoreError();
  w.Cell("#size-cells", 2).IgnoreError();
  w.BeginNode("cpus").IgnoreError();
  w.Cell("#address-cells", 1).IgnoreError();
  w.Cell("#size-cells", 0).IgnoreError();
  w.BeginNode("cpu@0").IgnoreError();
  w.String("device_type", "cpu").IgnoreError();
  w.Cell("reg", 0).IgnoreError();
  w.EndNode().IgnoreError();
  w.EndNode().IgnoreError();
  w.BeginNode("soc").IgnoreError();
  w.String("compatible", "simple-bus").IgnoreError();
  w.Cell("#address-cells", 2).IgnoreError();
  w.Cell("#size-cells", 2).IgnoreError();
  for (const Mmio& device : mmio) {
    w.BeginNode(device.name).IgnoreError();
    w.Cells("reg", {0, device.base, 0, device.size}).IgnoreError();
    if (device.in_kernel) w.Flag("stasis,in-kernel").IgnoreError();
    w.EndNode().IgnoreError();
  }
  w.EndNode().IgnoreError();
  w.BeginNode("isa").IgnoreError();
  w.String("compatible", "isa").IgnoreError();
  w.Cell("#address-cells", 2).IgnoreError();
  w.Cell("#size-cells", 1).IgnoreError();
  w.BeginNode("serial@i3f8").IgnoreError();
  w.Cells("reg", {1, 0x3f8, 8}).IgnoreError();
  w.EndNode().IgnoreError();
  w.EndNode().IgnoreError();
  w.EndNode().IgnoreError();
  absl::StatusOr<DeviceTree> tree = w.Finish();
  EXPECT_TRUE(tree.ok()) << tree.status();
  if (!tree.ok()) std::abort();
  return *std::move(tree);
}

class BusTest : public ::testing::Test {
 protected:
  void Make() {
    absl::StatusOr<std::unique_ptr<Bus>> bus =
        Bus::FromTree(Tree({{"b@2000", 0x2000, 0x100}, {"a@1000", 0x1000, 0x1000}}),
                      {{"/soc/a@1000", &a_}, {"/soc/b@2000", &b_}, {"/isa/serial@i3f8", &serial_}});
    ASSERT_TRUE(bus.ok()) << bus.status();
    bus_ = *std::move(bus);
  }
  std::vector<uint8_t> Read(BusSpace space, uint64_t address, size_t width) {
    std::vector<uint8_t> data(width, 0);
    bus_->Read(space, address, absl::MakeSpan(data));
    return data;
  }

  FakeDevice a_{"a"}, b_{"b"}, serial_{"serial"};
  std::unique_ptr<Bus> bus_;
};

TEST_F(BusTest, AccessesReachTheDeviceOfTheWindowWithItsOffset) {
  Make();
  EXPECT_EQ(Read(BusSpace::kMmio, 0x1ffc, 4), (std::vector<uint8_t>(4, 0x5a)));
  EXPECT_EQ(a_.last_offset, 0xffcu);
  Read(BusSpace::kMmio, 0x2000, 1);
  EXPECT_EQ(b_.last_offset, 0u);
  const uint8_t byte[] = {1};
  bus_->Write(BusSpace::kPort, 0x3ff, byte);
  EXPECT_EQ(serial_.last_offset, 7u);
  EXPECT_EQ(serial_.writes, 1);
  const Bus::Stats stats = bus_->stats();
  EXPECT_EQ(stats.mmio_reads, 2u);
  EXPECT_EQ(stats.port_writes, 1u);
  EXPECT_TRUE(stats.first_misses.empty());
}

TEST_F(BusTest, MmioAndPortsAreDifferentSpaces) {
  Make();
  EXPECT_EQ(bus_->DeviceAt(BusSpace::kMmio, 0x3f8), nullptr);
  EXPECT_EQ(bus_->DeviceAt(BusSpace::kPort, 0x3f8), &serial_);
  EXPECT_EQ(bus_->DeviceAt(BusSpace::kPort, 0x400), nullptr);
}

TEST_F(BusTest, T11NoDeviceReadsAllOnesDropsWritesAndIsCounted) {
  Make();
  EXPECT_EQ(Read(BusSpace::kMmio, 0x5000, 8), (std::vector<uint8_t>(8, 0xff)));
  const uint8_t word[] = {1, 2};
  bus_->Write(BusSpace::kPort, 0x80, word);
  bus_->Write(BusSpace::kMmio, ~uint64_t{0}, word);
  const Bus::Stats stats = bus_->stats();
  EXPECT_EQ(stats.unclaimed_reads, 1u);
  EXPECT_EQ(stats.unclaimed_writes, 2u);
  ASSERT_EQ(stats.first_misses.size(), 3u);
  EXPECT_EQ(stats.first_misses[0].address, 0x5000u);
  EXPECT_EQ(stats.first_misses[0].width, 8u);
  EXPECT_FALSE(stats.first_misses[0].is_write);
  EXPECT_EQ(stats.first_misses[1].space, BusSpace::kPort);
  EXPECT_TRUE(stats.first_misses[1].is_write);
}

TEST_F(BusTest, T11StraddlingADevicesEndReachesNoDevice) {
  Make();
  EXPECT_EQ(Read(BusSpace::kMmio, 0x1ffe, 4), (std::vector<uint8_t>(4, 0xff)));
  const uint8_t wide[8] = {};
  bus_->Write(BusSpace::kMmio, 0x20fc, wide);
  EXPECT_EQ(a_.last_offset, ~uint64_t{0});
  EXPECT_EQ(b_.writes, 0);
  EXPECT_EQ(bus_->stats().straddling_reads, 1u);
  EXPECT_EQ(bus_->stats().straddling_writes, 1u);
}

TEST_F(BusTest, T11RepeatedMissesAreRememberedOnceAndAtMostSixteen) {
  Make();
  for (int i = 0; i < 5; ++i) Read(BusSpace::kPort, 0x70, 1);
  EXPECT_EQ(bus_->stats().first_misses.size(), 1u);
  for (uint64_t i = 0; i < 100; ++i) Read(BusSpace::kMmio, 0x100000 + i, 1);
  EXPECT_EQ(bus_->stats().first_misses.size(), Bus::kMaxMisses);
  EXPECT_EQ(bus_->stats().unclaimed_reads, 105u);
}

TEST_F(BusTest, DumpNamesWindowsAndMisses) {
  Make();
  Read(BusSpace::kPort, 0x70, 1);
  const nlohmann::json state = nlohmann::json::parse(bus_->DumpState(), nullptr, false);
  ASSERT_FALSE(state.is_discarded());
  EXPECT_EQ(state["windows"].size(), 3u);
  EXPECT_EQ(state["windows"][0]["device"], "a");
  EXPECT_EQ(state["first_misses"][0]["address"], 0x70);
}

std::string Refusal(const DeviceTree& tree, const std::map<std::string, BusDevice*>& devices) {
  return std::string(Bus::FromTree(tree, devices).status().message());
}

TEST_F(BusTest, OverlappingWindowsAreRefused) {
  for (const uint32_t base : {0x1800u, 0x0801u, 0x1000u}) {
    const std::string name = absl::StrFormat("b@%x", base);
    const std::string message =
        Refusal(Tree({{"a@1000", 0x1000, 0x1000}, {name, base, 0x800}}),
                {{"/soc/a@1000", &a_}, {"/soc/" + name, &b_}, {"/isa/serial@i3f8", &serial_}});
    EXPECT_NE(message.find("overlap"), std::string::npos) << message;
  }
}

TEST_F(BusTest, ANodeWithoutADeviceIsRefusedUnlessKvmServesIt) {
  const std::map<std::string, BusDevice*> serial = {{"/isa/serial@i3f8", &serial_}};
  EXPECT_NE(Refusal(Tree({{"a@1000", 0x1000, 8}}), serial).find("/soc/a@1000"), std::string::npos);
  EXPECT_EQ(Refusal(Tree({{"a@1000", 0x1000, 8, true}}), serial), "");
}

TEST_F(BusTest, ADeviceWithoutANodeIsRefused) {
  const std::string message =
      Refusal(Tree({}), {{"/isa/serial@i3f8", &serial_}, {"/soc/gone@1", &a_}});
  EXPECT_NE(message.find("/soc/gone@1"), std::string::npos) << message;
}

}  // namespace
}  // namespace stasis
