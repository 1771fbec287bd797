#include "vmm/x86_64/acpi.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "vmm/x86_64/aml.h"
#include "vmm/x86_64/test_machine.h"

namespace stasis {
namespace {

uint64_t Load(absl::string_view bytes, size_t at, size_t width) {
  uint64_t value = 0;
  EXPECT_LE(at + width, bytes.size());
  if (at + width <= bytes.size()) std::memcpy(&value, bytes.data() + at, width);
  return value;
}

uint8_t Sum(absl::string_view bytes) {
  uint8_t sum = 0;
  for (char byte : bytes) sum += static_cast<uint8_t>(byte);
  return sum;
}

AcpiTables Must(const DeviceTree& tree) {
  absl::StatusOr<AcpiTables> tables = BuildAcpi(tree, AcpiOptions());
  EXPECT_TRUE(tables.ok()) << tables.status();
  if (!tables.ok()) std::abort();
  return *std::move(tables);
}

// The tables as a kernel finds them: from the root pointer on, through memory. By signature.
std::map<std::string, std::string> Follow(const AcpiTables& acpi) {
  const absl::string_view memory = acpi.blob;
  const auto at = [&](uint64_t address) { return address - acpi.address.value(); };
  const auto table = [&](uint64_t address) {
    const size_t length = Load(memory, at(address) + 4, 4);
    const std::string bytes(memory.substr(at(address), length));
    EXPECT_EQ(Sum(bytes), 0) << bytes.substr(0, 4);
    return bytes;
  };
  std::map<std::string, std::string> tables;
  const absl::string_view rsdp = memory.substr(at(acpi.rsdp.value()), 36);
  EXPECT_EQ(rsdp.substr(0, 8), "RSD PTR ");
  EXPECT_EQ(Sum(rsdp.substr(0, 20)), 0);
  EXPECT_EQ(Sum(rsdp), 0);
  const std::string xsdt = table(Load(rsdp, 24, 8));
  EXPECT_EQ(xsdt.substr(0, 4), "XSDT");
  for (size_t entry = 36; entry < xsdt.size(); entry += 8) {
    const std::string bytes = table(Load(xsdt, entry, 8));
    tables[bytes.substr(0, 4)] = bytes;
  }
  tables["DSDT"] = table(Load(tables["FACP"], 140, 8));
  return tables;
}

TEST(AcpiTest, AllTablesAreReachedFromTheRootPointerAndSumToZero) {
  const AcpiTables acpi = Must(TestTree("2n2l2c2t", 2));
  EXPECT_EQ(acpi.rsdp.value(), 0xe0000u);
  const auto tables = Follow(acpi);
  EXPECT_EQ(tables.size(), 5u);
  for (const char* name : {"FACP", "DSDT", "APIC", "SRAT", "SLIT"})
    EXPECT_EQ(tables.count(name), 1u);
  for (const AcpiTable& table : acpi.tables) {  // what --dump-acpi writes is what the guest gets
    const size_t at = table.address.value() - acpi.address.value();
    EXPECT_EQ(acpi.blob.substr(at, table.bytes.size()), table.bytes) << table.signature;
  }
}

TEST(AcpiTest, FadtIsHardwareReducedWithSleepAndResetPorts) {
  const std::string fadt = Follow(Must(TestTree("1c", 0)))["FACP"];
  ASSERT_EQ(fadt.size(), 276u);
  EXPECT_EQ(fadt[8], 6);
  const uint32_t flags = Load(fadt, 112, 4);
  EXPECT_TRUE(flags & 1 << 20);                // HW_REDUCED_ACPI
  EXPECT_TRUE(flags & 1 << 10);                // RESET_REG_SUP
  EXPECT_EQ(Load(fadt, 109, 2), 0x34u);        // no VGA, no ASPM, no CMOS clock; no 8042
  EXPECT_EQ(Load(fadt, 116, 4), 0x01000801u);  // I/O, 8 bits, offset 0, byte access
  EXPECT_EQ(Load(fadt, 120, 8), 0x602u);
  EXPECT_EQ(fadt[128], kResetValue);
  EXPECT_EQ(Load(fadt, 248, 8), 0x600u);  // sleep control
  EXPECT_EQ(Load(fadt, 260, 8), 0x601u);  // sleep status
}

struct Decoded {
  std::map<uint32_t, uint32_t> uid_of_apic;   // MADT
  std::map<uint32_t, uint32_t> node_of_apic;  // SRAT
  std::map<uint64_t, uint32_t> node_of_memory;
  uint32_t io_apics = 0;
};

Decoded Decode(const std::string& madt, const std::string& srat) {
  Decoded decoded;
  for (size_t at = 44; at < madt.size(); at += static_cast<uint8_t>(madt[at + 1])) {
    if (madt[at] == 0) decoded.uid_of_apic[Load(madt, at + 3, 1)] = Load(madt, at + 2, 1);
    if (madt[at] == 9) decoded.uid_of_apic[Load(madt, at + 4, 4)] = Load(madt, at + 12, 4);
    if (madt[at] == 1) {
      ++decoded.io_apics;
      EXPECT_EQ(Load(madt, at + 4, 4), 0xfec00000u);
    }
  }
  for (size_t at = 48; at < srat.size(); at += static_cast<uint8_t>(srat[at + 1])) {
    if (srat[at] == 0) decoded.node_of_apic[Load(srat, at + 3, 1)] = Load(srat, at + 2, 1);
    if (srat[at] == 2) decoded.node_of_apic[Load(srat, at + 8, 4)] = Load(srat, at + 4, 4);
    if (srat[at] == 1) {
      decoded.node_of_memory[Load(srat, at + 8, 8)] = Load(srat, at + 2, 4);
      EXPECT_EQ(Load(srat, at + 16, 8), 1u << 24);
    }
  }
  return decoded;
}

TEST(AcpiTest, MadtAndSratPlaceEveryCpuOfEveryTopology) {
  for (const char* text : {"1c", "4c", "2n2l2c2t", "1n2l4c2t", "3n6l3c1t", "4n8l2c2t", "2n4l63c1t",
                           "1n63l4c1t", "1n5l33c1t"}) {
    const Topology topology = Topology::Parse(text).value();
    auto tables = Follow(Must(TestTree(topology, 3)));
    EXPECT_EQ(Load(tables["APIC"], 40, 4), 0u);  // no PCAT_COMPAT
    const Decoded decoded = Decode(tables["APIC"], tables["SRAT"]);
    ASSERT_EQ(decoded.uid_of_apic.size(), topology.cpus()) << text;
    ASSERT_EQ(decoded.node_of_apic.size(), topology.cpus()) << text;
    for (uint32_t cpu = 0; cpu < topology.cpus(); ++cpu) {
      const CpuPlace place = topology.Place(cpu);
      EXPECT_EQ(decoded.uid_of_apic.at(place.apic_id), cpu) << text;
      EXPECT_EQ(decoded.node_of_apic.at(place.apic_id), place.node) << text;
    }
    EXPECT_EQ(decoded.node_of_memory.size(), topology.nodes()) << text;
    EXPECT_EQ(decoded.node_of_memory.at(uint64_t{topology.nodes() - 1} << 24),
              topology.nodes() - 1);
    EXPECT_EQ(decoded.io_apics, 1u);
  }
}

TEST(AcpiTest, SlitHasTheDistances) {
  Topology topology = Topology::Parse("3n").value();
  ASSERT_TRUE(topology.SetDistances({{10, 21, 31}, {21, 10, 22}, {31, 22, 10}}).ok());
  const std::string slit = Follow(Must(TestTree(topology, 0)))["SLIT"];
  EXPECT_EQ(Load(slit, 36, 8), 3u);
  EXPECT_EQ(slit.substr(44), std::string({10, 21, 31, 21, 10, 22, 31, 22, 10}));
}

TEST(AcpiTest, TablesThatDoNotFitAreAnError) {
  AcpiOptions options;
  options.limit = options.base + 0x1000;
  EXPECT_EQ(BuildAcpi(TestTree("252c", 0), options).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(AmlTest, PackageLengthsGrowWithTheBody) {
  const auto size = [](size_t body) { return aml::Scope("ABCD", std::string(body, 'x')).size(); };
  EXPECT_EQ(size(58), 1 + 1 + 4 + 58u);  // 63: the last that one byte holds
  EXPECT_EQ(size(59), 1 + 2 + 4 + 59u);
  EXPECT_EQ(size(4089), 1 + 2 + 4 + 4089u);  // 4095: the last of two
  EXPECT_EQ(size(4090), 1 + 3 + 4 + 4090u);
  EXPECT_EQ(aml::Scope("ABCD", std::string(59, 'x')).substr(1, 2), "\x41\x04");  // 0x41 in all
}

TEST(AmlTest, IntegersTakeTheShortestForm) {
  EXPECT_EQ(aml::Integer(0), std::string(1, '\0'));
  EXPECT_EQ(aml::Integer(1), "\x01");
  EXPECT_EQ(aml::Integer(2), "\x0a\x02");
  EXPECT_EQ(aml::Integer(0x1234), "\x0b\x34\x12");
  EXPECT_EQ(aml::Integer(0x12345678).size(), 5u);
  EXPECT_EQ(aml::Integer(0x123456789).size(), 9u);
}

TEST(AmlTest, EisaIdIsBigEndian) {
  // PNP0501 is 0x41D0 0x0501.
  EXPECT_EQ(aml::EisaId("PNP0501"), std::string("\x0c\x41\xd0\x05\x01", 5));
}

// ACPICA's own disassembler and compiler read the tables.
class IaslTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("iasl -v > /dev/null 2>&1") != 0) {
      GTEST_SKIP() << "iasl is missing: apt-get install acpica-tools";
    }
    directory_ = ::testing::TempDir() + "/acpi.XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override {
    if (!directory_.empty()) {
      std::error_code ignored;
      std::filesystem::remove_all(directory_, ignored);
    }
  }
  std::string Run(const std::string& command) {
    const std::string log = directory_ + "/log";
    status_ = std::system(("cd '" + directory_ + "' && " + command + " > log 2>&1").c_str());
    return Read(log);
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string directory_;
  int status_ = 0;
};

TEST_F(IaslTest, EveryTableIsDisassembledWithoutComplaint) {
  for (const AcpiTable& table : Must(TestTree("2n4l2c2t", 4)).tables) {
    if (table.signature == "RSDP") continue;
    std::ofstream(directory_ + "/" + table.signature + ".aml", std::ios::binary) << table.bytes;
    const std::string log = Run("iasl -d " + table.signature + ".aml");
    EXPECT_EQ(status_, 0) << log;
    EXPECT_EQ(log.find("rror"), std::string::npos) << log;
    EXPECT_EQ(log.find("arning"), std::string::npos) << log;
    const std::string source = Read(directory_ + "/" + table.signature + ".dsl");
    EXPECT_EQ(source.find("Invalid"), std::string::npos) << source;
    EXPECT_EQ(source.find("Unknown"), std::string::npos) << source;
  }
}

TEST_F(IaslTest, DsdtSaysWhatTheMachineHasAndCompilesAgain) {
  const AcpiTables acpi = Must(TestTree("1n1l2c1t", 2));
  std::ofstream(directory_ + "/dsdt.aml", std::ios::binary) << acpi.tables[1].bytes;
  Run("iasl -d dsdt.aml");
  const std::string source = Read(directory_ + "/dsdt.dsl");
  for (const char* expected :
       {"Name (_HID, \"LNRO0005\")", "0xD0001000,", "0x00000011,",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )", "EisaId (\"PNP0501\")",
        "Name (_HID, \"QEMU0001\")", "0x0505,", "Name (_HID, \"ACPI0007\"", "Device (C001)",
        "Name (\\_S5, Package (0x02)"}) {
    EXPECT_NE(source.find(expected), std::string::npos) << expected << "\n" << source;
  }
  const std::string log = Run("iasl dsdt.dsl");
  EXPECT_EQ(status_, 0) << log;
  EXPECT_NE(log.find("0 Errors, 0 Warnings"), std::string::npos) << log;
}

}  // namespace
}  // namespace stasis
