// A real guest's dump read back by `stasis dump`.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/e2e/guest_word.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> SplitWords(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// Every task that both looks of the guest have, against the view.
void CompareTasks(const std::map<int, nlohmann::json>& tasks, const GuestWord& before,
                  const GuestWord& after) {
  int compared = 0, still = 0;
  for (const auto& [pid, task] : tasks) {
    const std::string folder = "/proc/" + std::to_string(pid);
    const std::string status = folder + "/status", sched = folder + "/sched";
    if (!before.Has(status) || !after.Has(status)) continue;
    SCOPED_TRACE(task.dump());
    ++compared;
    // The same in both looks: nothing else can have been true between them, of what a task does not
    // change by itself.
    auto same = [&](const std::string& file, const std::string& key, const std::string& ours) {
      const std::string value = before.Of(file, key);
      if (value.empty() || value != after.Of(file, key)) return;
      EXPECT_EQ(ours, value) << key;
    };
    // The kernel appends to the names of its threads what they are for.
    const std::string name = before.Of(status, "Name");
    EXPECT_THAT(name, StartsWith(task["comm"].get<std::string>()));
    same(status, "Tgid", task["tgid"].dump());
    same(status, "Cpus_allowed_list", task["cpus_allowed"]);
    same(folder + "/cgroup", "0", ":" + task["cgroup"].get<std::string>());
    const std::map<std::string, std::string> numbers = {
        {"normal", "0"}, {"fifo", "1"}, {"rr", "2"}, {"batch", "3"},
        {"idle", "5"},   {"deadline", "6"}, {"ext", "7"}};
    const std::string policy = task["policy"];
    same(sched, "policy", numbers.at(policy));
    if (policy == "normal" || policy == "batch") {
      same(sched, "prio", std::to_string(120 + task["nice"].get<int>()));
    } else if (policy == "fifo" || policy == "rr") {
      same(sched, "prio", std::to_string(99 - task["rt_priority"].get<int>()));
    }
    // What only grows lies between the looks.
    const auto least = before.Number(sched, "se.sum_exec_runtime");
    const auto most = after.Number(sched, "se.sum_exec_runtime");
    if (least && most) {
      EXPECT_LE(*least, task["run_ns"].get<int64_t>());
      EXPECT_GE(*most, task["run_ns"].get<int64_t>());
    }
    // A task that did not run in all that time stood still.
    bool ran = false;
    for (const char* key : {"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"}) {
      ran |= before.Of(status, key) != after.Of(status, key);
    }
    if (ran || least != most) continue;
    ++still;
    const std::string state = before.Of(status, "State").substr(0, 1);
    if (state == after.Of(status, "State").substr(0, 1)) {
      EXPECT_EQ(task["state"], state);
    }
    const auto vruntime = before.Number(sched, "se.vruntime");
    if (vruntime && vruntime == after.Number(sched, "se.vruntime")) {
      const auto ours = static_cast<int64_t>(task["vruntime_ns"].get<uint64_t>());
      // Below a millisecond the kernel prints no sign.
      EXPECT_EQ(std::abs(*vruntime) < 1'000'000 ? std::abs(ours) : ours, *vruntime);
    }
  }
  EXPECT_GT(compared, 30);
  EXPECT_GT(still, 20);
}

void CompareRunqueues(const nlohmann::json& view, const GuestWord& before,
                      const GuestWord& after) {
  for (const nlohmann::json& rq : view["runqueues"]) {
    const std::string cpu = rq["cpu"].dump();
    SCOPED_TRACE("CPU " + cpu);
    const auto between = [&](const std::string& file, const char* key, int64_t value) {
      const auto least = before.Number(file, key), most = after.Number(file, key);
      ASSERT_TRUE(least.has_value() && most.has_value()) << file << " " << key;
      EXPECT_LE(*least, value) << key;
      EXPECT_GE(*most, value) << key;
    };
    between("cpu#" + cpu, "nr_switches", rq["nr_switches"]);
    between("cpu#" + cpu, "clock", rq["clock_ns"]);
    const auto same = [&](const std::string& file, const char* key, const nlohmann::json& ours) {
      const std::string value = before.Of(file, key);
      if (value.empty() || value != after.Of(file, key)) return;
      EXPECT_EQ(ours.dump(), value) << key;
    };
    same("cpu#" + cpu, "curr->pid", rq["current"]["pid"]);
    same("rt_rq[" + cpu + "]:", "rt_nr_running", rq["rt"]);
    same("dl_rq[" + cpu + "]:", "dl_nr_running", rq["deadline"]);

    // Every task on a runqueue is counted by it, and is in a queue of its class.
    int queued = 0, fair = 0;
    for (const nlohmann::json& task : view["tasks"]) {
      queued += task["pid"] != 0 && task["queued"] == true && task["cpu"] == rq["cpu"];
    }
    int throttled = 0;
    for (const nlohmann::json& entity : rq["fair_queue"]) {
      if (!entity.contains("pid")) continue;
      throttled += entity.value("throttled", false);
      fair += !entity.value("throttled", false);
    }
    EXPECT_EQ(rq["nr_running"], queued - throttled) << rq;
    EXPECT_EQ(rq["fair"], fair) << rq;
    EXPECT_EQ(rq["rt"], rq["real_time_queue"].size()) << rq;
    EXPECT_EQ(rq["deadline"], rq["deadline_queue"].size()) << rq;

    size_t level = 0;
    for (const nlohmann::json& domain : rq["domains"]) {
      const std::string folder = "/sys/kernel/debug/sched/domains/cpu" + cpu + "/domain" +
                                 std::to_string(level++) + "/";
      EXPECT_EQ(domain["name"], before.Of(folder + "name", "")) << folder;
      EXPECT_EQ(domain["span"], "0-1");
      // The guest names the flags that are set.
      const std::string flags = before.Of(folder + "flags", "");
      const uint64_t bits = std::stoull(domain["flags"].get<std::string>(), nullptr, 16);
      EXPECT_EQ(std::popcount(bits), SplitWords(flags).size()) << flags;
    }
    EXPECT_GT(level, 0u);
  }
}

class InspectTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({.kernel = GetParam()}); !why.empty()) GTEST_SKIP() << why;
    std::string name = testing::TempDir() + "/inspect_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  std::string Dump(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dump");
    const StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.exit_code, 0) << run.error;
    return run.output;
  }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_P(InspectTest, PanicIsSummedUpWithTheStackThatLedToIt) {
  const StasisRun run =
      RunStasis({"shell", "--kernel", GetParam(), "--topology", "2c", "--dump-dir", directory_,
                 "--exec", "echo c > /proc/sysrq-trigger; sleep 100"},
                options_);
  ASSERT_EQ(run.exit_code, 1) << run.output << run.error;
  ASSERT_FALSE(fs::is_empty(directory_)) << run.error;
  const std::string dump = fs::directory_iterator(directory_)->path().string();

  const std::string summary = Dump({"summary", dump});
  const std::string backtrace = Dump({"backtrace", dump});
  const std::string banner = Dump({"memory", dump, "linux_banner", "--length", "16"});
  const nlohmann::json facts = nlohmann::json::parse(Dump({"json", dump}), nullptr, false);

  EXPECT_THAT(summary, StartsWith("FAIL: scheduler: Kernel panic - not syncing: sysrq triggered"));
  EXPECT_THAT(summary, HasSubstr("trigger   guest-panic while running, told by pvpanic on CPU "));
  EXPECT_THAT(summary, HasSubstr("the kernel complained:\n  | Kernel panic"));
  // Out of the panic, through the write to /proc, to the system call.
  for (const char* frame :
       {"panic+0x", "sysrq_handle_crash", "ksys_write+0x", "entry_SYSCALL_64"}) {
    EXPECT_THAT(backtrace, HasSubstr(frame));
  }
  // The kernel's tables, whatever form they have, lead from the call of the system on.
  EXPECT_THAT(backtrace, Not(HasSubstr("no ORC tables")));
  EXPECT_THAT(backtrace, HasSubstr("\n        ksys_write+0x"));
  EXPECT_THAT(backtrace, HasSubstr("\n        entry_SYSCALL_64"));
  EXPECT_THAT(banner, HasSubstr("Linux version "));
  EXPECT_EQ(facts["format"], "stasis.dump/1");
  // The same stacks stand in the dump's own note.
  int panicked = 0;
  for (const nlohmann::json& stack : facts["scheduler"]["stacks"]) {
    std::string symbols;
    for (const nlohmann::json& frame : stack["frames"]) {
      symbols += frame["symbol"].get<std::string>() + "\n";
    }
    if (symbols.find("sysrq_handle_crash") == std::string::npos) continue;
    ++panicked;
    EXPECT_THAT(symbols, HasSubstr("\nksys_write+0x"));
  }
  EXPECT_EQ(panicked, 1) << facts["scheduler"]["stacks"];
}

// D5: what the host reads from memory is what the guest itself says, in the same moment: the guest
// looks, asks for a dump, and looks again. What is the same in both of its looks the host must have
// read, and what only grows must lie between.
TEST_P(InspectTest, SchedulersViewIsWhatTheGuestSaysBeforeAndAfterTheFreeze) {
  const StasisRun run = RunStasis(
      {"shell", "--kernel", GetParam(), "--topology", "2c", "--include", "/usr/bin/chrt",
       "--dump-dir", directory_, "--exec", GuestWord::Script() + R"(
echo -1 > /proc/sys/kernel/sched_rt_runtime_us
mkdir -p /sys/fs/cgroup/a/b /sys/fs/cgroup/capped
echo +cpu > /sys/fs/cgroup/cgroup.subtree_control
echo +cpu > /sys/fs/cgroup/a/cgroup.subtree_control
echo '1000 100000' > /sys/fs/cgroup/capped/cpu.max
spin() { while :; do :; done; }
for i in 1 2 3; do spin & echo $! > /sys/fs/cgroup/a/b/cgroup.procs; echo "worker $!" >&2; done
spin & echo $! > /sys/fs/cgroup/capped/cgroup.procs; echo "capped $!" >&2
spin & renice 7 $! > /dev/null; echo "nice $!" >&2
chrt -f 10 sleep 1000 & echo "sleeper $!" >&2
for priority in 20 11; do
  chrt -f $priority taskset 2 sh -c 'while :; do :; done' & echo "rt$priority $!" >&2
done
sleep 2
look before
/init dump
look after
)"},
      options_);
  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  ASSERT_FALSE(fs::is_empty(directory_)) << run.error;
  const std::string dump = fs::directory_iterator(directory_)->path().string();

  const nlohmann::json view =
      nlohmann::json::parse(Dump({"tasks", "--json", dump}), nullptr, /*allow_exceptions=*/false);
  const nlohmann::json facts = nlohmann::json::parse(Dump({"json", dump}), nullptr, false);
  const std::string runqueues = Dump({"runqueues", dump});
  const std::string cgroups = Dump({"cgroups", dump});
  const std::string filtered = Dump({"tasks", "--cgroup", "/a", "--state", "R", dump});
  const std::string scx = Dump({"scx", dump});
  const GuestWord before = GuestWord::Parse(run.output, "before");
  const GuestWord after = GuestWord::Parse(run.output, "after");

  // The pids that the guest's shell told, by what they were.
  std::multimap<std::string, int> told;
  for (const std::string& line : SplitLines(run.error)) {
    char what[16] = {};
    int pid = 0;
    if (sscanf(line.c_str(), "%15s %d", what, &pid) == 2) told.emplace(what, pid);
  }
  ASSERT_EQ(told.count("worker"), 3u) << run.error;
  std::map<int, nlohmann::json> tasks;
  for (const nlohmann::json& task : view["tasks"]) tasks[task["pid"].get<int>()] = task;
  for (auto [it, end] = told.equal_range("worker"); it != end; ++it) {
    const nlohmann::json& task = tasks[it->second];
    EXPECT_EQ(task["cgroup"], "/a/b") << task;
    EXPECT_EQ(task["state"], "R") << task;
    EXPECT_EQ(task["queued"], true) << task;
    EXPECT_EQ(task["cpus_allowed"], "0-1") << task;
    EXPECT_GT(task["run_ns"], 0) << task;
  }
  EXPECT_EQ(tasks[1]["comm"], "init");
  CompareTasks(tasks, before, after);
  CompareRunqueues(view, before, after);

  // The real-time tasks hold CPU 1, in their order.
  const nlohmann::json& hogged = view["runqueues"][1];
  EXPECT_EQ(hogged["current"]["pid"], told.find("rt20")->second);
  ASSERT_EQ(hogged["real_time_queue"].size(), 2u) << hogged;
  EXPECT_EQ(hogged["real_time_queue"][0]["pid"], told.find("rt20")->second);
  EXPECT_EQ(hogged["real_time_queue"][0]["priority"], 20);
  EXPECT_EQ(hogged["real_time_queue"][1]["pid"], told.find("rt11")->second);
  // The capped task is throttled, but for the hundredth part of the time.
  bool capped_found = false;
  for (const nlohmann::json& rq : view["runqueues"]) {
    for (const nlohmann::json& entity : rq["fair_queue"]) {
      if (entity.value("pid", 0) != told.find("capped")->second) continue;
      capped_found = true;
      EXPECT_TRUE(entity.value("throttled", false) || entity.value("current", false) ||
                  rq["cpu"] == 1)
          << rq;
    }
  }
  EXPECT_TRUE(capped_found) << view["runqueues"];

  EXPECT_TRUE(view["unavailable"].empty()) << view["unavailable"];
  // The dump's own note holds the same view, read while the guest stood still.
  EXPECT_EQ(facts["scheduler"]["tasks"].size(), view["tasks"].size());
  EXPECT_EQ(facts["scheduler"]["runqueues"], view["runqueues"]);
  EXPECT_THAT(runqueues, HasSubstr("waiting "));
  EXPECT_THAT(runqueues, HasSubstr("/a/b, "));
  EXPECT_THAT(runqueues, HasSubstr("domains of CPU 0-1: "));
  EXPECT_THAT(cgroups, HasSubstr("/a/b\n"));
  EXPECT_THAT(filtered, HasSubstr("3 of "));
  EXPECT_THAT(scx, HasSubstr(GetParam() == "7" ? "sched_ext  disabled" : "without sched_ext"));
}

INSTANTIATE_TEST_SUITE_P(Kernels, InspectTest, testing::Values("6.1", "6.12", "7"),
                         [](const auto& info) {
                           return "Linux" + std::string(info.param == "6.1"    ? "6_1"
                                                        : info.param == "6.12" ? "6_12"
                                                                               : "7");
                         });

}  // namespace
}  // namespace stasis
