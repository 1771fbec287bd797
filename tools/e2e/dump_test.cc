// Dumps of real guests, read by tools that nobody here wrote. Few boots: what one panic leaves
// behind is looked at by many tests.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/harness/lane.h"
#include "tools/kernels/kernel_store.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Standard output and error of a shell line.
std::string Output(const std::string& line) {
  std::string text;
  FILE* pipe = popen((line + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
  pclose(pipe);
  return text;
}

bool Have(const std::string& program) {
  return system(("command -v " + program + " > /dev/null").c_str()) == 0;
}

// The JSON of the STASIS note.
nlohmann::json NoteOf(const std::string& dump) {
  std::ifstream file(dump, std::ios::binary);
  std::string head(1 << 20, 0);
  file.read(head.data(), head.size());
  const size_t name = head.find(std::string("STASIS\0\0", 8));
  if (name == std::string::npos) return nlohmann::json();
  uint32_t bytes;
  memcpy(&bytes, head.data() + name - 8, sizeof(bytes));
  if (name + 8 + bytes > head.size()) {
    head.resize(name + 8 + bytes);
    file.clear();
    file.seekg(0);
    file.read(head.data(), head.size());
  }
  return nlohmann::json::parse(head.substr(name + 8, bytes), nullptr, false);
}

class DumpEndToEndTest : public ::testing::Test {
 protected:
  static constexpr char kKernel[] = "6.1";

  void SetUp() override {
    const absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto);
    if (!lane.ok()) GTEST_SKIP() << lane.status().message();
    const absl::StatusOr<ResolvedKernel> kernel =
        KernelStore(CacheDirectory()).Resolve(kKernel, ProcessEnvironment());
    if (!kernel.ok()) GTEST_SKIP() << kernel.status().message();
    debug_ = fs::path(kernel->image).parent_path() / "debug";
    std::string name = ::testing::TempDir() + "/dump_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = fs::canonical(name);
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Shell(const std::string& command, const std::string& topology = "1n1l2c1t",
                  const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {
        "shell",      "--kernel", kKernel,
        "--topology", topology,   "--dump-dir",
        directory_ + "/dumps",    "--json",
        directory_ + "/result.json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {"--exec", command});
    return RunStasis(arguments, options_);
  }
  std::vector<std::string> Dumps() const {
    std::vector<std::string> paths;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(directory_ + "/dumps", ignored)) {
      paths.push_back(entry.path());
    }
    return paths;
  }
  nlohmann::json Result() const {
    std::ifstream file(directory_ + "/result.json");
    return nlohmann::json::parse(file, nullptr, false);
  }

  std::string debug_;
  std::string directory_;
  RunStasisOptions options_;
};

// What stands in one and not in the other, since gtest cuts long lists.
std::string Differences(std::vector<std::string> ours, std::vector<std::string> theirs) {
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  std::vector<std::string> only_ours, only_theirs;
  std::set_difference(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                      std::back_inserter(only_ours));
  std::set_difference(theirs.begin(), theirs.end(), ours.begin(), ours.end(),
                      std::back_inserter(only_theirs));
  std::string text;
  for (const std::string& line : only_ours) text += "\nours   " + line;
  for (const std::string& line : only_theirs) text += "\ntheirs " + line;
  return text;
}

// Lengths, current tasks, and the order of trees and lists: line by line what tools/drgn/queues.py
// prints.
void ExpectQueuesAsDrgnHasThem(const nlohmann::json& view, const std::string& drgn) {
  std::vector<std::string> ours;
  int fair = 0;
  for (const nlohmann::json& rq : view["runqueues"]) {
    const std::string cpu = rq["cpu"].dump();
    std::string line = "rq " + cpu;
    for (const char* key : {"nr_running", "fair", "rt", "deadline", "nr_switches", "clock_ns"}) {
      line += " " + rq[key].dump();
    }
    ours.push_back(line + " " + rq["current"]["pid"].dump());
    for (const nlohmann::json& entity : rq["fair_queue"]) {
      const std::string who =
          entity.contains("pid") ? "pid " + entity["pid"].dump() : std::string("group");
      ours.push_back("fair " + cpu + " " + entity["depth"].dump() + " " + who + " " +
                     entity["vruntime_ns"].dump() + " " + entity["weight"].dump());
      fair += entity.contains("pid");
    }
    for (const nlohmann::json& entity : rq["real_time_queue"]) {
      ours.push_back("rt " + cpu + " " + entity["priority"].dump() + " " + entity["pid"].dump());
    }
    for (const nlohmann::json& domain : rq["domains"]) {
      ours.push_back("domain " + cpu + " " + domain["name"].get<std::string>() + " " +
                     domain["level"].dump());
    }
  }
  EXPECT_GE(fair, 5);
  EXPECT_EQ(ours, SplitLines(drgn)) << Differences(ours, SplitLines(drgn));
}

// Waits, run times, cgroups and CPUs of every task, in the same order: tools/drgn/tasks.py.
void ExpectTableAsDrgnHasIt(const nlohmann::json& view, const std::string& drgn) {
  std::vector<std::string> ours, theirs;
  for (const nlohmann::json& task : view["tasks"]) {
    if (task["pid"] == 0) continue;  // drgn lists what has a pid
    char line[256];
    snprintf(line, sizeof(line), "%7d %7d  %-16s %s%s %3d  %-10s %4d %12lld %12lld %12lld  %-8s %s",
             task["pid"].get<int>(), task["tgid"].get<int>(),
             task["comm"].get<std::string>().c_str(), task["state"].get<std::string>().c_str(),
             task["on_cpu"] == true ? "*" : task["queued"] == true ? "+" : " ",
             task["cpu"].get<int>(), task["policy"].get<std::string>().c_str(),
             task["nice"].get<int>(), task.value("waiting_ns", 0ll), task["run_ns"].get<long long>(),
             task["run_delay_ns"].get<long long>(), task["cpus_allowed"].get<std::string>().c_str(),
             task["cgroup"].get<std::string>().c_str());
    ours.push_back(line);
  }
  theirs = SplitLines(drgn);
  // Those that do not wait are sorted by number in one and by being queued first in the other.
  EXPECT_EQ(Differences(ours, theirs), "");
}

struct DumpedMachine {
  const char* name;
  const char* topology;
  const char* memory;  // 6 GiB lie on both sides of the gap for MMIO
  bool kaslr;
};

class DumpReadersTest : public DumpEndToEndTest,
                        public ::testing::WithParamInterface<DumpedMachine> {};

TEST_P(DumpReadersTest, D1_D2_D3_PanicIsDumpedAndStandardToolsReadIt) {
  const DumpedMachine& machine = GetParam();
  std::vector<std::string> more = {"--memory", machine.memory};
  if (machine.kaslr) more.push_back("--kaslr");

  // With something in the queues: tasks in a group, beside it, and real-time ones on one CPU.
  StasisRun run = Shell(
      "echo +cpu > /sys/fs/cgroup/cgroup.subtree_control; mkdir /sys/fs/cgroup/left; "
      "for i in 1 2 3 4; do (while :; do :; done) & echo $! > /sys/fs/cgroup/left/cgroup.procs; "
      "done; (while :; do :; done) & sleep 0.5; echo c > /proc/sysrq-trigger; sleep 100",
      machine.topology, more);

  ASSERT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("FAIL: scheduler: Kernel panic - not syncing: sysrq"));
  ASSERT_EQ(Dumps().size(), 1u) << run.error;
  const std::string dump = Dumps()[0];
  EXPECT_THAT(run.error, HasSubstr("dump      " + dump));
  EXPECT_EQ(Result()["dumps"][0]["path"], dump);
  struct stat file = {};
  ASSERT_EQ(stat(dump.c_str(), &file), 0);
  EXPECT_LT(file.st_blocks * 512, file.st_size / 2) << "the file is not sparse";

  const nlohmann::json note = NoteOf(dump);
  ASSERT_TRUE(note.is_object());
  EXPECT_EQ(note["complete"], true) << note["incomplete_because"];
  EXPECT_EQ(note["trigger"]["kind"], "guest-panic");
  const size_t cpus = note["vcpus"].size();
  EXPECT_EQ(std::to_string(cpus), std::string(machine.topology).substr(4, 1));
  EXPECT_TRUE(note["vmcoreinfo"].contains("phys_base")) << note["vmcoreinfo"];
  EXPECT_THAT(note["console"]["tail"].get<std::string>(), HasSubstr("sysrq triggered crash"));
  EXPECT_EQ(note["machine"]["topology"], machine.topology);
  // Virtual and physical place are drawn independently, from hundreds each.
  const StasisRun summary = RunStasis({"dump", "summary", dump}, options_);
  const bool moved = note["vmcoreinfo"]["phys_base"] != "0x0" ||
                     summary.output.find("KASLR offset") != std::string::npos;
  EXPECT_EQ(moved, machine.kaslr) << summary.output;

  EXPECT_THAT(Output("readelf -lW " + dump), HasSubstr("CORE (Core file)"));
  EXPECT_THAT(Output("readelf -n " + dump + " | cut -c1-100"),
              AllOf(HasSubstr("NT_PRSTATUS"), HasSubstr("QEMU"), HasSubstr("VMCOREINFO"),
                    HasSubstr("STASIS")));

  if (!fs::exists(debug_ + "/vmlinux")) {
    GTEST_SKIP() << "no debugging symbols: stasis kernel fetch 6.1 --debug";
  }
  const std::string vmlinux = debug_ + "/vmlinux";
  if (Have("gdb")) {
    const std::string gdb =
        Output("gdb -batch -ex 'info threads' -ex 'print panic_cpu' " + vmlinux + " " + dump);
    EXPECT_THAT(gdb, HasSubstr("LWP " + std::to_string(cpus))) << gdb;
    EXPECT_THAT(gdb, Not(HasSubstr("not a core dump"))) << gdb;
  }
  if (Have("crash")) {
    const std::string crash =
        Output("echo 'sys\nquit' | timeout 120 crash -s " + vmlinux + " " + dump);
    EXPECT_THAT(crash, HasSubstr("RELEASE: 6.1.")) << crash;
  }
  if (Have("makedumpfile")) {
    const std::string small = directory_ + "/small.kdump";
    const std::string said =
        Output("makedumpfile -c -d 31 -x " + vmlinux + " " + dump + " " + small);
    EXPECT_THAT(said, HasSubstr("makedumpfile Completed.")) << said;
    EXPECT_LT(fs::file_size(small), fs::file_size(dump) / 4);
    const std::string converted =
        Output("echo 'sys\nquit' | timeout 120 crash -s " + vmlinux + " " + small);
    EXPECT_THAT(converted, HasSubstr("RELEASE: 6.1.")) << converted;
  }
  // Symbols from outside are those that the kernel carries.
  const StasisRun own = RunStasis({"dump", "backtrace", dump}, options_);
  const StasisRun outside = RunStasis({"dump", "backtrace", "--vmlinux", vmlinux, dump}, options_);
  EXPECT_EQ(outside.exit_code, 0) << outside.error;
  for (const StasisRun* stacks : {&own, &outside}) {
    EXPECT_THAT(stacks->output, AllOf(HasSubstr("        ksys_write+0x"),
                                      HasSubstr("        entry_SYSCALL_64")));
  }
  if (!Have("drgn")) GTEST_SKIP() << "no drgn: install python3-drgn";
  const std::string script = directory_ + "/tasks.py";
  std::ofstream(script) << "from drgn.helpers.linux.pid import for_each_task\n"
                           "for task in for_each_task(prog):\n"
                           "    print('task', task.pid.value_(), task.comm.string_().decode())\n";
  const std::string tasks = Output("drgn -q -c " + dump + " -s " + vmlinux + " " + script);
  EXPECT_THAT(tasks,
              AllOf(HasSubstr("task 1 init"), HasSubstr("task 2 kthreadd"), HasSubstr(" sh\n")))
      << tasks;
  // D5: our view of the scheduler and drgn's of the same memory.
  const std::string scheduler = directory_ + "/scheduler.py";
  std::ofstream(scheduler)
      << "from drgn.helpers.linux.pid import for_each_task\n"
         "from drgn.helpers.linux.sched import task_state_to_char\n"
         "for t in for_each_task(prog):\n"
         "    print(t.pid.value_(), task_state_to_char(t), t.thread_info.cpu.value_(),\n"
         "          t.on_cpu.value_(), t.se.vruntime.value_(), t.comm.string_().decode())\n";
  std::set<std::string> theirs, ours;
  for (const std::string& line :
       SplitLines(Output("drgn -q -c " + dump + " -s " + vmlinux + " " + scheduler))) {
    theirs.insert(line);
  }
  const StasisRun listed = RunStasis({"dump", "tasks", "--json", dump}, options_);
  const nlohmann::json view = nlohmann::json::parse(listed.output, nullptr, false);
  ASSERT_TRUE(view.is_object()) << listed.error;
  for (const nlohmann::json& task : view["tasks"]) {
    if (task["pid"] == 0) continue;  // drgn lists what has a pid
    ours.insert(task["pid"].dump() + " " + task["state"].get<std::string>() + " " +
                task["cpu"].dump() + " " + (task["on_cpu"] == true ? "1 " : "0 ") +
                task["vruntime_ns"].dump() + " " + task["comm"].get<std::string>());
  }
  EXPECT_GT(ours.size(), 40u);
  EXPECT_EQ(ours, theirs);
  ExpectQueuesAsDrgnHasThem(view, Output("drgn -q -c " + dump + " -s " + vmlinux +
                                         " tools/drgn/queues.py"));
  ExpectTableAsDrgnHasIt(view, Output("drgn -q -c " + dump + " -s " + vmlinux +
                                      " tools/drgn/tasks.py"));
  std::string modules;
  for (const char* module : {"/pvpanic.ko", "/pvpanic-mmio.ko"}) {
    if (fs::exists(debug_ + module)) modules += " -s " + debug_ + module;
  }
  const std::string stacks =
      Output("drgn -q -c " + dump + " -s " + vmlinux + modules + " tools/drgn/cpus.py " + dump);
  EXPECT_THAT(stacks, AllOf(HasSubstr("sh (pid "), HasSubstr("panic ("),
                            HasSubstr("sysrq_handle_crash"), HasSubstr("entry_SYSCALL_64")))
      << stacks;
}

INSTANTIATE_TEST_SUITE_P(Machines, DumpReadersTest,
                         ::testing::Values(DumpedMachine{"OneCpu", "1n1l1c1t", "256M", true},
                                           DumpedMachine{"TwoCpus", "1n1l2c1t", "512M", false},
                                           DumpedMachine{"FourCpus", "1n1l4c1t", "6G", true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(DumpEndToEndTest, GuestThatAsksForADumpGoesOn) {
  StasisRun run = Shell(
      "/init dump; "
      "sleep 1; echo went on; exit 3");

  EXPECT_EQ(run.exit_code, 3) << run.error;
  EXPECT_THAT(run.output, HasSubstr("went on"));
  ASSERT_EQ(Dumps().size(), 1u) << run.error;
  const nlohmann::json note = NoteOf(Dumps()[0]);
  EXPECT_EQ(note["trigger"]["kind"], "guest-request");
  EXPECT_FALSE(note.contains("verdict"));
}

// Every CPU busy, and a stream through the console port whose every byte counts.
TEST_F(DumpEndToEndTest, F10_FreezesUnderLoadLoseNoByteAndNoInterrupt) {
  const char* cycles = getenv("STASIS_FREEZE_CYCLES");
  const std::string count = cycles == nullptr ? "300" : cycles;
  // As many rounds of 20 ms as the freezes take, a few milliseconds each.
  const int rounds = std::stoi(count) * 2 / 3;
  StasisRun run = RunStasis(
      {"shell", "--kernel", kKernel, "--topology", "1n1l2c1t", "--dump-dir", directory_ + "/dumps",
       "--json", directory_ + "/result.json", "--freeze-stress", count, "--exec",
       "(while :; do :; done) & a=$!; (while :; do :; done) & b=$!; "
       "i=0; while [ $i -lt " +
           std::to_string(rounds) +
           " ]; do seq $((i * 100)) $((i * 100 + 99)); usleep 20000; "
           "i=$((i + 1)); done; kill $a $b; "
           "dmesg | grep -ciE 'soft lockup|rcu.*stall|hung' >&2; exit 0"},
      options_);

  EXPECT_EQ(run.exit_code, 0) << run.error;
  std::string expected;
  for (int i = 0; i < rounds * 100; ++i) expected += std::to_string(i) + "\n";
  EXPECT_TRUE(run.output == expected) << run.output.size() << " of " << expected.size();
  EXPECT_THAT(run.error, HasSubstr("\n0\n")) << "the kernel complained";
  const nlohmann::json freezes = Result()["freezes"];
  EXPECT_GE(freezes["count"], std::stoi(count) / 3) << freezes;
  EXPECT_EQ(freezes["incomplete"], 0);
  EXPECT_TRUE(Dumps().empty());
  std::cout << "freezes: " << freezes << std::endl;
}

// Ten thousand, with a disk under load whose every block is read back and compared. (--config=soak)
TEST_F(DumpEndToEndTest, F9_F10_SoakFreezesUnderDiskLoadLoseNoRequestAndNoTime) {
  constexpr int kCycles = 10000;
  // fio with verify, again and again, until freezes of a few milliseconds are done.
  const StasisRun run = RunStasis(
      {"shell", "--topology", "1n1l2c1t", "--memory", "1G", "--dump-dir", directory_ + "/dumps",
       "--json", directory_ + "/result.json", "--freeze-stress", std::to_string(kCycles),
       "--include", "/usr/bin/fio", "--disk", "scratch:64M", "--disk", "scratch:64M,engine=sync",
       "--exec", R"(
(while :; do :; done) & a=$!
seconds=$(cut -d. -f1 /proc/uptime)
end=$((seconds + 240))
rounds=0
while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
  for disk in vda vdb; do
    fio --name=f --filename=/dev/$disk --direct=1 --ioengine=libaio --rw=randwrite --bs=4k --iodepth=16       --size=16m --verify=crc32c --verify_fatal=1 --minimal > /tmp/out 2>&1 || { cat /tmp/out >&2; exit 1; }
  done
  rounds=$((rounds + 1))
done
kill $a
echo "rounds $rounds"
dmesg | grep -ciE 'soft lockup|rcu.*stall|hung|blocked for more|I/O error' >&2
exit 0
)"},
      options_);

  EXPECT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("rounds ")) << run.error;
  EXPECT_THAT(run.error, HasSubstr("\n0\n")) << "the kernel complained";
  const nlohmann::json result = Result();
  EXPECT_GE(result["freezes"]["count"], kCycles) << result["freezes"];
  EXPECT_EQ(result["freezes"]["incomplete"], 0);
  for (const nlohmann::json& disk : result["disks"]) EXPECT_EQ(disk["io_errors"], 0) << disk;
  std::cout << run.output << "freezes: " << result["freezes"] << std::endl;
}

TEST_F(DumpEndToEndTest, SigquitDumpsAndInterrupts) {
  options_.signal = SIGQUIT;
  options_.signal_after = "inside";

  StasisRun run = Shell("echo inside >&2; sleep 1000");

  EXPECT_EQ(run.exit_code, 130) << run.error;
  ASSERT_EQ(Dumps().size(), 1u) << run.error;
  EXPECT_EQ(NoteOf(Dumps()[0])["trigger"]["kind"], "interrupted");
}

TEST_F(DumpEndToEndTest, ScenarioThatFailsIsDumpedWhileItsGuestStillRuns) {
  StasisRun run = RunStasis({"run", "starved", "--dump-dir", directory_ + "/dumps", "--json",
                             directory_ + "/result.json"},
                            options_);

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: scheduler: max_gap"));
  ASSERT_EQ(Dumps().size(), 1u) << run.error;
  EXPECT_THAT(run.output, HasSubstr("dump      " + Dumps()[0]));
  EXPECT_EQ(Result()["dumps"][0]["trigger"], "scenario-failed");
  const nlohmann::json note = NoteOf(Dumps()[0]);
  EXPECT_EQ(note["scenario"]["name"], "starved");
  EXPECT_FALSE(note["workers"].empty());
  EXPECT_TRUE(note["symbols"].contains("runqueues"));
  // The workers are still there, those that wait as well as the one that runs.
  int waiting = 0, real_time = 0;
  for (const nlohmann::json& task : note["scheduler"]["tasks"]) {
    if (task["cgroup"].get<std::string>().find("/starved") == std::string::npos) continue;
    waiting += task["queued"] == true && task["on_cpu"] == false;
    real_time += task["policy"] == "fifo";
  }
  EXPECT_GE(waiting, 1) << note["scheduler"];
  EXPECT_EQ(real_time, 1) << note["scheduler"];
}

TEST_F(DumpEndToEndTest, DumpDirectoryThatCannotBeWrittenIsSaidAndTheVerdictStands) {
  std::ofstream(directory_ + "/dumps") << "a file in its place";

  StasisRun run = Shell("echo c > /proc/sysrq-trigger; sleep 100", "1c");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, AllOf(HasSubstr("no dump"), HasSubstr(directory_ + "/dumps"),
                               HasSubstr("FAIL: scheduler: Kernel panic")));
}

}  // namespace
}  // namespace stasis
