// What the monitor finds in real guests, from the host alone, and what `stasis top` shows of them.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/e2e/built_schedulers.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class MonitorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({}); !why.empty()) GTEST_SKIP() << why;
    std::string name = ::testing::TempDir() + "/monitor_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    // Whom `stasis top` finds are those of this test.
    options_.environment["XDG_RUNTIME_DIR"] = directory_;
    options_.environment["STASIS_DUMP"] = "never";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Run(std::vector<std::string> arguments) {
    const std::string path = directory_ + "/result.json";
    arguments.insert(arguments.begin() + 1, {"--json", path});
    StasisRun run = RunStasis(arguments, options_);
    std::ifstream file(path);
    json_ = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    return run;
  }
  // The findings of the kind, or null.
  nlohmann::json Finding(const std::string& kind) const {
    if (!json_.is_object() || !json_.contains("monitor")) return nullptr;
    for (const nlohmann::json& finding : json_["monitor"]["findings"]) {
      if (finding["kind"] == kind) return finding;
    }
    return nullptr;
  }
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  std::string directory_;
  RunStasisOptions options_;
  nlohmann::json json_;
};

// Real-time throttling is off: nobody else gets that CPU again.
TEST_F(MonitorTest, TaskBehindARealTimeHogIsNamedWithTheHog) {
  if (const std::string why = WhyNot({.kernel = "6.1"}); !why.empty()) GTEST_SKIP() << why;

  const StasisRun run = Run(
      {"shell", "--kernel", "6.1", "--topology", "2c", "--stall-limit", "4", "--include",
       "/usr/bin/chrt", "--include", "/usr/bin/taskset", "--exec",
       "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
       "taskset 2 sh -c 'while :; do :; done' & sleep 1; "
       "taskset 2 chrt -f 50 sh -c 'while :; do :; done' & sleep 18; echo went on"});

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.output, "went on\n");
  EXPECT_THAT(run.error,
              ContainsRegex("stasis: monitor: [^ ]+ \\(pid [0-9]+, cgroup /\\) has waited [4-9]\\.[0-9]+ s for CPU "
                            "1, behind fifo 50 task sh \\(pid [0-9]+\\) all the time; limit 4.00 s"));
  EXPECT_EQ(Finding("task-stall")["cpu"], 1);
  EXPECT_EQ(Finding("task-stall")["severity"], "failure");
}

// A bad cpuset is what was asked for; it is told, and is no failure. Meanwhile the page is looked at.
TEST_F(MonitorTest, TasksThatACpusetHoldsOnOneCpuAreToldAndTopShowsThem) {
  nlohmann::json view;
  std::string page;
  StasisRun run;
  std::thread guest([&] {
    run = Run({"shell", "--topology", "2c", "--exec",
               "cd /sys/fs/cgroup; echo +cpuset > cgroup.subtree_control; mkdir bad; echo 0 > bad/cpuset.cpus; "
               "for i in 1 2 3 4; do sh -c 'while :; do :; done' & echo $! > bad/cgroup.procs; done; "
               "sleep 20; echo went on"});
  });
  for (int i = 0; i < 300 && page.empty(); ++i) {
    usleep(200'000);
    const StasisRun top = RunStasis({"top", "--json"}, options_);
    view = nlohmann::json::parse(top.output, nullptr, /*allow_exceptions=*/false);
    if (top.exit_code != 0 || !view.is_object() || view["state"] != "running") continue;
    if (view["waiting"].size() >= 3) page = RunStasis({"top", "--once"}, options_).output;
  }
  guest.join();

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("went on\n")) << run.error;
  const nlohmann::json finding = Finding("imbalance");
  ASSERT_TRUE(finding.is_object()) << json_["monitor"];
  EXPECT_EQ(finding["severity"], "note");
  EXPECT_EQ(finding["cpu"], 0);
  EXPECT_EQ(finding["cgroup"], "/bad");
  EXPECT_THAT(finding["text"], HasSubstr("waits and may use CPUs 0 only"));
  EXPECT_TRUE(Finding("task-stall").is_null());
  EXPECT_THAT(run.error, Not(HasSubstr("monitor:")));
  EXPECT_EQ(view["cpus"].size(), 2u);
  EXPECT_THAT(page, HasSubstr("  shell  kernel "));
  EXPECT_THAT(page, HasSubstr(" tasks wait for a CPU\n"));
  EXPECT_THAT(page, HasSubstr("/bad"));
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
  // Nothing is left of a guest that has ended.
  EXPECT_TRUE(fs::is_empty(directory_ + "/stasis"));
}

// Schedulers with a fault, on a kernel with sched_ext.
class BrokenSchedulerTest : public MonitorTest {
 protected:
  void SetUp() override {
    const BuiltSchedulers built = FindBuiltSchedulers();
    if (!built.why_not.empty()) GTEST_SKIP() << built.why_not;
    schedulers_ = built.folder;
    MonitorTest::SetUp();
  }

  // A scenario on two CPUs under scx_broken with `arguments` (TOML).
  std::string Broken(const std::string& arguments, const std::string& duration,
                     const std::string& cgroups) {
    return Write("broken.toml", absl::StrCat("duration = \"", duration, R"("
[machine]
topology = "1n1l2c1t"
[scheduler]
name = "scx_broken"
args = [)", arguments, "]\n", cgroups, "[expect]\nmin_iterations = 1\n"));
  }

  std::string schedulers_;
};

// Each wait is a few seconds long, which is within the watchdog's limit.
TEST_F(BrokenSchedulerTest, TaskThatASchedulerStarvesIsFoundInItsQueue) {
  const std::string scenario = Broken(R"("starve", "victim")", "8s", R"(
[[cgroup]]
name = "victim"
work = [{ kind = "cpu_spin", workers = 1 }]
[[cgroup]]
name = "others"
work = [{ kind = "cpu_spin", workers = 2 }]
)");

  const StasisRun run =
      Run({"run", "--kernel", kSchedulerKernel, "--stall-limit", "1.2", scenario});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, ContainsRegex("^FAIL: scheduler: cpu_spin \\(pid [0-9]+, cgroup [^ ]*/victim\\) has "
                                        "waited [1-4]\\.[0-9]+ s for CPU [01], "));
  EXPECT_THAT(Finding("task-stall")["text"],
              HasSubstr("it is in the queue 0x1 of sched_ext scheduler 'broken'"));
}

// Twenty milliseconds for every wake-up, with the runqueue's lock held.
TEST_F(BrokenSchedulerTest, SchedulerThatBurnsTimeInACallbackIsNamed) {
  const std::string scenario = Broken(R"("burn")", "8s", R"(
[[cgroup]]
name = "work"
work = [{ kind = "pipe_ping", workers = 4 }]
)");

  const StasisRun run = Run({"run", "--kernel", kSchedulerKernel, scenario});

  EXPECT_LE(run.exit_code, 1) << run.output << run.error;
  EXPECT_EQ(Finding("lock-held")["severity"], "warning") << json_["monitor"];
  EXPECT_THAT(Finding("lock-held")["text"],
              HasSubstr("a callback of sched_ext scheduler 'broken' takes long"));
}

// Both ends of a scheduler come from the kernel; the tasks that wait are seen before.
TEST_F(BrokenSchedulerTest, TasksInAForgottenQueueAndAWrongCpuAreNamed) {
  const std::string script = "S=" + schedulers_ + R"sh(
state() { until [ "$(cat /sys/kernel/sched_ext/state)" = "$1" ]; do usleep 50000; done; }
echo +cpu > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/work
for i in 1 2 3; do sh -c 'while :; do :; done' & echo $! > /sys/fs/cgroup/work/cgroup.procs; done
for fault in leak_dsq wrong_cpu; do
  $S/scx_broken $fault > /dev/null 2>&1 &
  state enabled; state disabled; sleep 1
done
)sh";

  const StasisRun run = Run({"shell", "--kernel", kSchedulerKernel, "--topology", "2c", "--include",
                             schedulers_ + "/scx_broken", "--exec", script});

  EXPECT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(Finding("task-stall")["text"],
              ContainsRegex("^sh \\(pid [0-9]+, cgroup /work\\) has waited .* it is in the queue 0x1 of "
                            "sched_ext scheduler 'broken'"));
  EXPECT_THAT(run.error, HasSubstr("scheduler 'broken' was ended: runtime error: invalid CPU "));
}

// A callback that does not come back, with the runqueue's lock held and interrupts off.
TEST_F(BrokenSchedulerTest, CpuThatHangsInACallbackIsNamed) {
  const std::string scenario = Broken(R"("hang")", "4s", R"(
[[cgroup]]
name = "work"
work = [{ kind = "cpu_spin", workers = 2 }]
)");

  const StasisRun run = Run({"run", "--kernel", kSchedulerKernel, "--stall-limit", "4", scenario});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output,
              ContainsRegex("^FAIL: scheduler: CPU [01] stands still: its runqueue clock has not moved for "
                            "[45]\\.[0-9]+ s while its virtual CPU ran; it runs "));
  EXPECT_EQ(Finding("cpu-stall")["severity"], "failure");
}

}  // namespace
}  // namespace stasis
