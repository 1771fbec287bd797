#include "vmm/x86_64/mp_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "vmm/x86_64/test_machine.h"

namespace stasis {
namespace {

uint32_t Load(absl::string_view bytes, size_t at, size_t width) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, width);
  return value;
}

uint8_t Sum(absl::string_view bytes) {
  uint8_t sum = 0;
  for (char byte : bytes) sum += static_cast<uint8_t>(byte);
  return sum;
}

// The entries of the configuration table by type, walked as a kernel does.
std::map<uint8_t, std::vector<std::string>> Walk(absl::string_view table) {
  std::map<uint8_t, std::vector<std::string>> entries;
  size_t at = 44;
  for (uint32_t i = 0; i < Load(table, 34, 2); ++i) {
    const uint8_t type = static_cast<uint8_t>(table[at]);
    const size_t size = type == 0 ? 20 : 8;
    entries[type].emplace_back(table.substr(at, size));
    at += size;
  }
  EXPECT_EQ(at, Load(table, 4, 2));
  return entries;
}

TEST(MpTableTest, PointerAndTableAreFoundAndSumToZero) {
  const absl::StatusOr<MpTable> table = BuildMpTable(TestTree("4c", 1));
  ASSERT_TRUE(table.ok()) << table.status();
  const absl::string_view bytes = table->bytes;
  EXPECT_EQ(bytes.substr(0, 4), "_MP_");
  EXPECT_EQ(table->address.value() % 16, 0u);
  EXPECT_EQ(Load(bytes, 4, 4), table->address.value() + 16);
  EXPECT_EQ(Sum(bytes.substr(0, 16)), 0);
  EXPECT_EQ(bytes.substr(16, 4), "PCMP");
  EXPECT_EQ(Load(bytes, 20, 2), bytes.size() - 16);
  EXPECT_EQ(Sum(bytes.substr(16)), 0);
  EXPECT_EQ(Load(bytes, 16 + 36, 4), 0xfee00000u);
}

TEST(MpTableTest, EveryCpuHasItsApicIdAndTheFirstOneBoots) {
  const Topology topology = Topology::Parse("1n2l3c1t").value();
  const MpTable table = BuildMpTable(TestTree(topology, 0)).value();
  const auto cpus = Walk(absl::string_view(table.bytes).substr(16))[0];
  ASSERT_EQ(cpus.size(), 6u);
  for (uint32_t cpu = 0; cpu < 6; ++cpu) {
    EXPECT_EQ(static_cast<uint8_t>(cpus[cpu][1]), topology.Place(cpu).apic_id);
    EXPECT_EQ(cpus[cpu][3], cpu == 0 ? 3 : 1);
  }
}

TEST(MpTableTest, InputsAreTheirOwnIrqNumbersOnOneIsaBus) {
  auto entries = Walk(absl::string_view(BuildMpTable(TestTree("4c", 0))->bytes).substr(16));
  ASSERT_EQ(entries[1].size(), 1u);
  EXPECT_EQ(entries[1][0].substr(2), "ISA   ");
  ASSERT_EQ(entries[2].size(), 1u);
  const char io_apic = entries[2][0][1];
  EXPECT_EQ(io_apic, 4);  // CPUs have 0 to 3
  ASSERT_EQ(entries[3].size(), 24u);
  for (uint8_t input = 0; input < 24; ++input) {
    const std::string& entry = entries[3][input];
    EXPECT_EQ(entry[1], 0);  // INT
    EXPECT_EQ(entry[5], input);
    EXPECT_EQ(entry[6], io_apic);
    EXPECT_EQ(entry[7], input);
  }
  ASSERT_EQ(entries[4].size(), 2u);
  EXPECT_EQ(entries[4][0][1], 3);  // ExtINT on LINT0
  EXPECT_EQ(entries[4][1][1], 1);  // NMI on LINT1 of all
  EXPECT_EQ(static_cast<uint8_t>(entries[4][1][6]), 0xff);
  EXPECT_EQ(entries[4][1][7], 1);
}

TEST(MpTableTest, TheLargestMachineFits) {
  const absl::StatusOr<MpTable> table = BuildMpTable(TestTree("1n63l4c1t", 0));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(Walk(absl::string_view(table->bytes).substr(16))[0].size(), 252u);
}

TEST(MpTableTest, ApicIdsAbove254AreRefused) {
  // 5 LLCs of 33 cores: 3 and 6 bits, IDs up to 4 * 64 + 32.
  const absl::Status status = BuildMpTable(TestTree("1n5l33c1t", 0)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("APIC ID 288"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace stasis
