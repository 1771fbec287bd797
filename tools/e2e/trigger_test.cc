// What triggers a dump, provoked in real guests: each ends with its exit code, its first line and a
// whole dump that names it.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tools/e2e/boot_case.h"
#include "tools/inspect/dump_file.h"
#include "tools/stasis/run_stasis.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class TriggerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({}); !why.empty()) GTEST_SKIP() << why;
    std::string name = ::testing::TempDir() + "/trigger_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(600);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Shell(const std::string& script, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"shell", "--topology", "2c", "--dump-dir", directory_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {"--exec", script});
    return RunStasis(arguments, options_);
  }

  // In the order of their times, which their names begin with.
  std::vector<std::string> Dumps() {
    std::vector<std::string> dumps;
    for (const auto& entry : fs::directory_iterator(directory_)) dumps.push_back(entry.path());
    std::sort(dumps.begin(), dumps.end());
    return dumps;
  }
  static nlohmann::json FactsOf(const std::string& path) {
    const auto dump = DumpFile::Open(path);
    EXPECT_TRUE(dump.ok()) << dump.status();
    return dump.ok() ? (*dump)->facts() : nullptr;
  }
  // The facts of the one dump that there must be.
  nlohmann::json Facts() {
    const std::vector<std::string> dumps = Dumps();
    EXPECT_EQ(dumps.size(), 1u);
    return dumps.empty() ? nullptr : FactsOf(dumps[0]);
  }

  std::string directory_;
  RunStasisOptions options_;
};

// What `stasis freeze PID` sends.
TEST_F(TriggerTest, RequestFromOutsideDumpsAndTheGuestGoesOn) {
  options_.signal = SIGUSR1;
  options_.signal_after = "ready\n";

  const StasisRun run = Shell("echo ready >&2; sleep 5; echo went on");

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.output, "went on\n");
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "user-request");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_FALSE(facts.contains("verdict"));
}

TEST_F(TriggerTest, TimeLimitIsDumped) {
  const StasisRun run = Shell("sleep 1000", {"--time-limit", "20"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "time-limit");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["verdict"]["verdict"], "fail");
}

// Real-time hogs on every CPU, and no limit to them: the agent never runs again.
TEST_F(TriggerTest, StarvedAgentIsDumpedWithItsHogs) {
  const StasisRun run = Shell(
      "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
      "for i in 1 2 3 4; do chrt -f 99 sh -c 'while :; do :; done' & done; sleep 1000",
      {"--include", "/usr/bin/chrt", "--time-limit", "300", "--monitor", "0"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  const nlohmann::json facts = Facts();
  // The kernel itself may complain first.
  EXPECT_THAT(facts["trigger"]["kind"].get<std::string>(),
              AnyOf("heartbeat-lost", "kernel-alarm", "guest-stall"))
      << facts["trigger"] << facts["console"]["tail"];
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["vcpus"].size(), 2u);
  EXPECT_THAT(run.error, HasSubstr("FAIL: scheduler: "));
}

// A kernel that restarts by an interrupt without a table.
TEST_F(TriggerTest, TripleFaultIsDumped) {
  const StasisRun run = Shell("echo b > /proc/sysrq-trigger; sleep 1000", {"--append", "reboot=t"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("triple fault on vCPU "));
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "triple-fault");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["vcpus"].size(), 2u);
}

// A few instructions in place of a kernel.
class PayloadTriggerTest : public TriggerTest {
 protected:
  StasisRun Boot(const std::string& code, const std::string& seconds = "60") {
    stasis::testing::Bytes image = stasis::testing::MakeElf({});
    std::copy(code.begin(), code.end(),
              image.begin() + stasis::testing::kElfSegmentOffset +
                  stasis::testing::kElfEntryOffset);
    const std::string kernel = directory_ + ".elf";
    std::ofstream(kernel, std::ios::binary)
        .write(reinterpret_cast<const char*>(image.data()),
               static_cast<std::streamsize>(image.size()));
    const StasisRun run = RunStasis({"boot", "--kernel", kernel, "--dump-dir", directory_,
                                     "--time-limit", seconds},
                                    options_);
    fs::remove(kernel);
    return run;
  }
};

TEST_F(PayloadTriggerTest, ErrorInsideOfKvmIsDumpedWithTheRegistersAtIt) {
  // mov eax, 0xd0000000; jmp rax: code is fetched from a device's window.
  const StasisRun run = Boot(std::string("\xb8\x00\x00\x00\xd0\xff\xe0", 7));

  EXPECT_EQ(run.exit_code, 3) << run.error;
  EXPECT_THAT(run.error, HasSubstr("ERROR: host: KVM gave up on vCPU 0"));
  EXPECT_THAT(run.error, HasSubstr("KVM_EXIT_INTERNAL_ERROR"));
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "kvm-internal-error");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["vcpus"][0]["regs"]["rip"], "0xd0000000");
}

TEST_F(PayloadTriggerTest, HangWithInterruptsOffIsDumpedByTheTimeLimitWithThePlace) {
  // cli; jmp $
  const StasisRun run = Boot(std::string("\xfa\xeb\xfe", 3), "5");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "time-limit");
  EXPECT_EQ(facts["vcpus"][0]["regs"]["rip"], "0x1000041");
}

// The kernel breaks itself (drivers/misc/lkdtm), which no distribution's does.
class CrashTest : public TriggerTest {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({.kernel = "tiny"}); !why.empty()) GTEST_SKIP() << why;
    TriggerTest::SetUp();
  }
  // Provokes `what` on each of `cpus`, and waits.
  StasisRun Provoke(const std::string& what, const std::string& cpus,
                    const std::string& then = "sleep 1000") {
    return Shell("for cpu in " + cpus + "; do\n"
                 "  taskset -c $cpu sh -c 'sleep 1; echo " + what +
                     " > /sys/kernel/debug/provoke-crash/DIRECT' &\n"
                 "done\n" +
                     then,
                 {"--kernel", "tiny", "--include", "/usr/bin/taskset", "--time-limit", "300"});
  }
};

TEST_F(CrashTest, BugThatTheKernelSurvivesIsNamedAndDumped) {
  // A shell is the user's: it goes on. (A scenario would fail by it.)
  const StasisRun run = Provoke("BUG", "1", "sleep 5; echo went on");

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.output, "went on\n");
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "kernel-alarm") << facts["trigger"];
  EXPECT_THAT(facts["trigger"]["message"].get<std::string>(), HasSubstr("kernel BUG at"));
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
}

TEST_F(CrashTest, PanicOfAKernelWithoutAcpiIsDumped) {
  const StasisRun run = Provoke("PANIC", "0");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("FAIL: scheduler: Kernel panic - not syncing: dumptest"));
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "guest-panic");
  EXPECT_EQ(facts["vcpus"].size(), 2u);
}

TEST_F(CrashTest, OneCpuThatSpinsWithInterruptsOffIsNamedWithItsPlace) {
  const StasisRun run = Provoke("HARDLOCKUP", "1");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  // The kernel may complain of it first, which is dumped, too.
  const std::vector<std::string> dumps = Dumps();
  ASSERT_THAT(dumps.size(), AnyOf(1u, 2u)) << run.error;
  if (dumps.size() == 2) {
    EXPECT_EQ(FactsOf(dumps[0])["trigger"]["kind"], "kernel-alarm");
  }
  const nlohmann::json facts = FactsOf(dumps.back());
  // The other CPU may wait for it before anybody has seen that it hangs: the agent is silent then.
  EXPECT_THAT(facts["trigger"]["kind"].get<std::string>(),
              AnyOf("cpu-hang", "kernel-alarm", "guest-stall"));
  if (facts["trigger"]["kind"] == "guest-stall") {
    EXPECT_THAT(run.error, HasSubstr("CPU 1 at "));
  }
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  ASSERT_EQ(facts["vcpus"].size(), 2u);
  const StasisRun stacks = RunStasis({"dump", "backtrace", dumps.back()}, options_);
  EXPECT_THAT(stacks.output, HasSubstr("lkdtm_HARDLOCKUP+0x")) << stacks.output;
  if (facts["trigger"]["kind"] == "cpu-hang") {
    EXPECT_EQ(facts["trigger"]["vcpu"], 1);
  }
}

TEST_F(CrashTest, AllCpusThatSpinWithInterruptsOffAreAStallOfTheGuest) {
  const StasisRun run = Provoke("HARDLOCKUP", "0 1");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("all 2 CPUs run with interrupts off"));
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "guest-stall") << facts["trigger"];
  EXPECT_TRUE(facts.contains("early"));
  const StasisRun stacks =
      RunStasis({"dump", "backtrace", fs::directory_iterator(directory_)->path()}, options_);
  EXPECT_THAT(stacks.output, HasSubstr("lkdtm_HARDLOCKUP+0x")) << stacks.output;
}

}  // namespace
}  // namespace stasis
