#include "guest/agent/facts.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

// A copy of the files of a machine with two nodes, two CPUs each, the CPUs of a node sharing a
// cache; CPU 3 is offline.
class FactsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/factsXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    Put("sys/devices/system/cpu/online", "0-2\n");
    Put("sys/devices/system/cpu/possible", "0-3\n");
    for (int cpu = 0; cpu < 3; ++cpu) {
      const std::string dir = "sys/devices/system/cpu/cpu" + std::to_string(cpu);
      Put(dir + "/topology/physical_package_id", std::to_string(cpu / 2) + "\n");
      Put(dir + "/topology/core_id", std::to_string(cpu % 2) + "\n");
      Put(dir + "/topology/thread_siblings_list", std::to_string(cpu) + "\n");
      Put(dir + "/topology/package_cpus_list", cpu < 2 ? "0-1\n" : "2\n");
      Put(dir + "/cache/index0/level", "1\n");
      Put(dir + "/cache/index0/type", "Data\n");
      Put(dir + "/cache/index0/size", "32K\n");
      Put(dir + "/cache/index0/shared_cpu_list", std::to_string(cpu) + "\n");
      Put(dir + "/cache/index1/level", "3\n");
      Put(dir + "/cache/index1/type", "Unified\n");
      Put(dir + "/cache/index1/size", "16384K\n");
      Put(dir + "/cache/index1/shared_cpu_list", cpu < 2 ? "0-1\n" : "2\n");
    }
    Put("sys/devices/system/node/online", "0-1\n");
    Put("sys/devices/system/node/node0/cpulist", "0-1\n");
    Put("sys/devices/system/node/node0/distance", "10 20\n");
    Put("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       1024 kB\n");
    Put("sys/devices/system/node/node1/cpulist", "2\n");
    Put("sys/devices/system/node/node1/distance", "20 10\n");
    Put("sys/kernel/vmcoreinfo", "0x19ce000 1024\n");
    Put("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n");
    Put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: A: CPU\n");
    Put("proc/cmdline", "quiet stasis.end=reboot\n");
    Put("proc/kallsyms",
        "0000000000000000 A fixed_percpu_data\n"
        "ffffffff81000000 T _text\n"
        "ffffffff82a0a500 D init_task\n"
        "ffffffff82a0a600 d init_task_not\n"
        "broken line\n\n"
        "ffffffffc0000000 T runqueues\t[module]\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    const fs::path full = fs::path(root_) / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }

  std::string root_;
};

TEST_F(FactsTest, HelloHasTheKernelsFigures) {
  const wire::Hello hello = CollectHello(root_);

  EXPECT_EQ(hello.cpus_online, 3u);
  EXPECT_EQ(hello.cpus_possible, 4u);
  ASSERT_TRUE(hello.vmcoreinfo.has_value());
  EXPECT_EQ(hello.vmcoreinfo->address, 0x19ce000u);
  EXPECT_EQ(hello.vmcoreinfo->size, 0x1024u);
  EXPECT_EQ(hello.cmdline, "quiet stasis.end=reboot");
  EXPECT_FALSE(hello.has_shell);
}

TEST_F(FactsTest, TopologyIsWhatSysfsSays) {
  const wire::Topology topology = CollectTopology(root_);

  ASSERT_EQ(topology.cpus.size(), 3u);
  EXPECT_EQ(topology.cpus[2].package, 1);
  EXPECT_EQ(topology.cpus[2].node, 1);
  EXPECT_EQ(topology.cpus[2].die, -1);
  ASSERT_EQ(topology.cpus[1].caches.size(), 2u);
  EXPECT_EQ(topology.cpus[1].caches[1].size, 16u << 20);
  EXPECT_EQ(topology.cpus[1].caches[1].shared.ToString(), "0-1");
  ASSERT_EQ(topology.nodes.size(), 2u);
  EXPECT_EQ(topology.nodes[0].distance, (std::vector<uint32_t>{10, 20}));
  EXPECT_EQ(topology.nodes[0].memory_bytes, 1u << 20);
  EXPECT_EQ(topology.memory_bytes, 2u << 20);
  EXPECT_EQ(topology.cpu_vendor, "GenuineIntel");
  EXPECT_EQ(topology.cpu_model, "A: CPU");
}

TEST_F(FactsTest, GroupsFollowCachesAndNodes) {
  const CpuGroups groups = GroupsOf(CollectTopology(root_));

  ASSERT_EQ(groups.llcs.size(), 2u);
  EXPECT_EQ(groups.llcs[0].ToString(), "0-1");
  EXPECT_EQ(groups.llcs[1].ToString(), "2");
  ASSERT_EQ(groups.nodes.size(), 2u);
  EXPECT_EQ(groups.nodes[1].ToString(), "2");
}

TEST_F(FactsTest, KernelWithoutNumaAndCachesIsOneNodeAndOneCache) {
  fs::remove_all(root_ + "/sys/devices/system/node");
  for (int cpu = 0; cpu < 3; ++cpu) {
    fs::remove_all(root_ + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache");
  }
  const CpuGroups groups = GroupsOf(CollectTopology(root_));

  ASSERT_EQ(groups.llcs.size(), 1u);
  EXPECT_EQ(groups.llcs[0].ToString(), "0-2");
  ASSERT_EQ(groups.nodes.size(), 1u);
  EXPECT_EQ(groups.nodes[0].ToString(), "0-2");
}

TEST_F(FactsTest, SymbolsOfTheKernelItselfAreFound) {
  const wire::Symbols symbols = CollectSymbols(root_);

  EXPECT_EQ(symbols.address.size(), 2u);
  EXPECT_EQ(symbols.address.at("_text"), 0xffffffff81000000u);
  EXPECT_EQ(symbols.address.at("init_task"), 0xffffffff82a0a500u);
}

TEST_F(FactsTest, EmptyMachineGivesDefaults) {
  const std::string nowhere = root_ + "/nowhere";

  EXPECT_FALSE(CollectHello(nowhere).vmcoreinfo.has_value());
  EXPECT_TRUE(CollectTopology(nowhere).cpus.empty());
  EXPECT_TRUE(CollectSymbols(nowhere).address.empty());
}

}  // namespace
}  // namespace stasis::agent
