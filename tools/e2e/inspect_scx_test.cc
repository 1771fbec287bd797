// Dispatch queues, lost tasks and the end of sched_ext schedulers, read from the memory of a real
// guest that runs them.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/built_schedulers.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr size_t kWorkers = 6;

class InspectScxTest : public testing::Test {
 protected:
  void SetUp() override {
    const BuiltSchedulers built = FindBuiltSchedulers();
    if (!built.why_not.empty()) GTEST_SKIP() << built.why_not;
    schedulers_ = built.folder;
    std::string name = testing::TempDir() + "/inspect_scx_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  std::string Dump(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"dump"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const StasisRun run = RunStasis(all, options_);
    EXPECT_EQ(run.exit_code, 0) << run.error;
    return run.output;
  }
  nlohmann::json View(const std::string& dump) {
    return nlohmann::json::parse(Dump({"scx", "--json", dump}), nullptr, false);
  }

  std::string schedulers_;
  std::string directory_;
  RunStasisOptions options_;
};

// What the guest's shell told behind a word.
std::vector<std::string> Told(const StasisRun& run, const std::string& word) {
  std::vector<std::string> values;
  for (const std::string& line : SplitLines(run.output)) {
    if (line.rfind(word + " ", 0) == 0) values.push_back(line.substr(word.size() + 1));
  }
  return values;
}

const nlohmann::json& QueueOf(const nlohmann::json& view, const std::string& id) {
  static const auto& none = *new nlohmann::json;
  for (const nlohmann::json& queue : view["sched_ext"]["queues"]) {
    if (queue["id"] == id) return queue;
  }
  return none;
}

// Every task that waits in a queue says so itself, and the other way round.
void ExpectQueuesAndTasksAgree(const nlohmann::json& view) {
  std::map<int, std::string> queued;
  for (const nlohmann::json& queue : view["sched_ext"]["queues"]) {
    EXPECT_EQ(queue["count"], queue["tasks"].size()) << queue;
    for (const nlohmann::json& task : queue["tasks"]) {
      const std::string name = queue["kind"] == "user" ? queue["id"] : queue["kind"];
      EXPECT_TRUE(queued.emplace(task["pid"].get<int>(), name).second) << task;
    }
  }
  for (const nlohmann::json& task : view["tasks"]) {
    if (!task.contains("queue") || task["queue"] == "none") continue;
    const auto found = queued.find(task["pid"].get<int>());
    ASSERT_NE(found, queued.end()) << task;
    EXPECT_EQ(found->second, task["queue"]) << task;
  }
  for (const nlohmann::json& rq : view["runqueues"]) {
    int of_class = 0;
    for (const nlohmann::json& task : view["tasks"]) {
      of_class += task["cpu"] == rq["cpu"] && task["queued"] == true &&
                  (task["policy"] == "normal" || task["policy"] == "batch") && task["pid"] != 0;
    }
    EXPECT_EQ(rq["ext"].get<int>() + rq["fair"].get<int>(), of_class) << rq;
  }
}

TEST_F(InspectScxTest, SchedulersAreSeenAtWorkAtFaultAndAfterTheirEnd) {
  std::vector<std::string> arguments = {"shell", "--kernel", kSchedulerKernel, "--topology", "2c",
                                        "--dump-dir", directory_};
  for (const char* name : {"scx_simple", "scx_qmap", "scx_broken"}) {
    arguments.insert(arguments.end(), {"--include", schedulers_ + "/" + name});
  }
  // This kernel lets no program at I/O ports, so the dumps are asked for from outside.
  options_.signal = SIGUSR1;
  options_.signal_after = "dump, please";
  options_.signal_each_time = true;
  const std::string script = "S=" + schedulers_ + R"sh(
state() { until [ "$(cat /sys/kernel/sched_ext/state)" = "$1" ]; do usleep 50000; done; }
start() { "$S/$@" > /dev/null 2>&1 & scheduler=$!; state enabled; }
stop() { kill $scheduler; state disabled; }
ask() { echo "dump, please" >&2; sleep 2; }
# The broken scheduler goes by the cgroup of the cpu controller.
echo +cpu > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/work
spin() { while :; do :; done; }
for i in 1 2 3 4 5 6; do spin & echo $! > /sys/fs/cgroup/work/cgroup.procs; echo "worker $!"; done
start scx_simple
echo "ops $(cat /sys/kernel/sched_ext/root/ops)"
echo "count $(cat /sys/kernel/sched_ext/enable_seq)"
sleep 1; ask; stop
start scx_qmap
sleep 1; ask; stop
start scx_broken starve work
sleep 2; ask; stop
# The kernel ends this one within 3 s: tried again, as the host may look too late.
for i in 1 2 3; do
  start scx_broken lose
  sleep 1.3; ask
  state disabled
done
ask
)sh";
  arguments.insert(arguments.end(), {"--exec", script});
  const StasisRun run = RunStasis(arguments, options_);
  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  std::set<int> workers;
  for (const std::string& pid : Told(run, "worker")) workers.insert(std::stoi(pid));
  ASSERT_EQ(workers.size(), kWorkers);
  const auto count_workers = [&](const nlohmann::json& tasks) {
    return std::count_if(tasks.begin(), tasks.end(), [&](const nlohmann::json& task) {
      return workers.count(task["pid"].get<int>()) != 0;
    });
  };

  int simple = 0, qmap = 0, starving = 0, losing = 0, ended = 0;
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const std::string dump = entry.path();
    const nlohmann::json view = View(dump);
    ASSERT_TRUE(view.is_object()) << dump;
    const nlohmann::json& scx = view["sched_ext"];
    EXPECT_TRUE(view["unavailable"].empty()) << view["unavailable"];
    EXPECT_EQ(view["tick_ns"], 4'000'000) << "sched-test is built with 250 Hz";
    if (scx["state"] != "enabled") {  // the kernel ended it, and has forgotten why
      ++ended;
      EXPECT_EQ(scx["state"], "disabled");
      EXPECT_EQ(scx["ops"], "");
      EXPECT_TRUE(scx["queues"].empty());
      continue;
    }
    EXPECT_EQ(scx["bypass_depth"], 0);
    EXPECT_EQ(scx["all_tasks"], true);
    ExpectQueuesAndTasksAgree(view);
    const std::string text = Dump({"scx", dump});
    int elsewhere = 0;  // in no queue of the kernel's
    for (const nlohmann::json& task : view["tasks"]) {
      elsewhere += task.value("queue", "") == "none" && workers.count(task["pid"].get<int>()) != 0;
    }
    if (scx["ops"] == "simple") {
      // One queue for all, ordered by virtual time.
      ++simple;
      EXPECT_EQ(scx["ops"], Told(run, "ops").at(0));
      EXPECT_EQ(scx["enabled_count"].dump(), Told(run, "count").at(0));
      const nlohmann::json& shared = QueueOf(view, "0x0");
      ASSERT_TRUE(shared.is_object()) << scx;
      EXPECT_GE(count_workers(shared["tasks"]), 3) << shared;
      uint64_t last = 0;
      for (const nlohmann::json& task : shared["tasks"]) {
        EXPECT_LE(last, task["vtime"].get<uint64_t>()) << shared;
        last = task["vtime"];
      }
    } else if (scx["ops"] == "qmap") {
      // Tasks that wait in maps of the BPF program.
      ++qmap;
      EXPECT_GE(elsewhere, 1) << view["tasks"];
    } else if (count_workers(QueueOf(view, "0x1")["tasks"]) > 0) {
      // A queue that is hardly ever consumed, at the top of what is shown.
      ++starving;
      EXPECT_EQ(scx["ops"], "broken");
      EXPECT_GE(count_workers(QueueOf(view, "0x1")["tasks"]), 4) << scx;
      EXPECT_EQ(count_workers(nlohmann::json::array({view["tasks"][0]})), 1) << view["tasks"][0];
      EXPECT_THAT(text, HasSubstr("scheduler  broken, of all tasks\n"));
      EXPECT_THAT(text, HasSubstr("watchdog   30.00 s, looked "));
      EXPECT_LT(text.find("queue 0x1: "), text.find("empty queues: ")) << text;
    } else {
      // Forgotten at enqueue: in no queue at all, and said first.
      ++losing;
      EXPECT_EQ(scx["ops"], "broken");
      EXPECT_GE(elsewhere, 4) << view["tasks"];
      EXPECT_THAT(text, HasSubstr("watchdog   2.00 s, looked "));
      EXPECT_THAT(text, HasSubstr("in no queue (with the BPF scheduler, or lost by it): "));
    }
  }
  EXPECT_EQ(simple, 1) << run.error;
  EXPECT_EQ(qmap, 1) << run.error;
  EXPECT_EQ(starving, 1) << run.error;
  EXPECT_GE(losing, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("it is in no queue of sched_ext: scheduler 'broken' has it, or "
                                   "has lost it"));
  EXPECT_THAT(run.error, HasSubstr("scheduler 'broken' was ended: runnable task stall: sh["));
  EXPECT_EQ(ended, 1) << run.error;
}

}  // namespace
}  // namespace stasis
