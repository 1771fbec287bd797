// Every topology, discovery and kernel that is promised, booted for real: what the guest's own
// sysfs says must equal what was asked for, over the virtio control port.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tools/e2e/boot_case.h"

namespace stasis {

void PrintTo(const BootCase& boot, std::ostream* out) { *out << boot.name; }

namespace {

class BootTest : public testing::TestWithParam<BootCase> {};

TEST_P(BootTest, GuestSeesTheRequestedTopologyOverTheVirtioPort) {
  if (const std::string why = WhyNot(GetParam()); !why.empty()) GTEST_SKIP() << why;

  const BootResult boot = Boot(GetParam());

  ASSERT_EQ(boot.run.exit_code, 0) << boot.run.output << boot.run.error;
  ASSERT_FALSE(boot.json.is_discarded());
  EXPECT_EQ(boot.json["guest"]["topology_text"], boot.json["machine"]["topology_text"]);
  EXPECT_TRUE(boot.json["guest"]["topology_differences"].empty());
  EXPECT_EQ(boot.json["guest"]["agent_transport"], "virtio");
  EXPECT_EQ(boot.json["machine"]["discovery"], GetParam().expected_discovery);
}

std::string CaseName(const testing::TestParamInfo<BootCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(
    Topologies, BootTest,
    testing::Values(BootCase{"OneCpu", "", "1n1l1c1t"}, BootCase{"Smt", "", "1n1l2c2t"},
                    BootCase{"TwoLlcs", "", "1n2l2c1t"},
                    BootCase{"CountsThatAreNoPowersOfTwo", "", "1n2l3c1t"},
                    BootCase{"TwoNodes", "", "2n2l2c1t", "1G"},
                    BootCase{"FourNodesWithSmt", "", "4n4l1c2t", "1G"},
                    BootCase{"SixteenCpusWithEverything", "", "2n4l2c2t", "1G"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(Discoveries, BootTest,
                         testing::Values(BootCase{"CommandLine", "tiny", "1n2l2c1t", "512M", "auto",
                                                  "cmdline"},
                                         BootCase{"DeviceTreeWithTheSplitChip", "tiny", "1n2l2c1t",
                                                  "512M", "fdt", "fdt"}),
                         CaseName);

INSTANTIATE_TEST_SUITE_P(Kernels, BootTest,
                         testing::Values(BootCase{"Bookworm", "6.1", "1n1l2c1t"},
                                         BootCase{"Sid", "7", "1n1l2c1t"},
                                         BootCase{"MemoryAboveTheGap", "", "1n1l2c1t", "5G"}),
                         CaseName);

}  // namespace
}  // namespace stasis
