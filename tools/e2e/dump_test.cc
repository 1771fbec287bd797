// Dumps of real guests, read by tools that nobody here wrote. Few boots: what one panic leaves
// behind is looked at by many tests.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

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

  StasisRun Shell(const std::string& command, const std::string& topology = "1n1l2c1t") {
    return RunStasis(
        {"shell", "--kernel", kKernel, "--topology", topology, "--dump-dir", directory_ + "/dumps",
         "--json", directory_ + "/result.json", "--exec", command},
        options_);
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

TEST_F(DumpEndToEndTest, PanicIsDumpedAndStandardToolsReadIt) {
  StasisRun run = Shell("echo c > /proc/sysrq-trigger; sleep 100");

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
  EXPECT_EQ(note["vcpus"].size(), 2u);
  EXPECT_TRUE(note["vmcoreinfo"].contains("phys_base")) << note["vmcoreinfo"];
  EXPECT_THAT(note["console"]["tail"].get<std::string>(), HasSubstr("sysrq triggered crash"));
  EXPECT_EQ(note["machine"]["topology"], "1n1l2c1t");

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
    EXPECT_THAT(gdb, HasSubstr("LWP 2")) << gdb;
    EXPECT_THAT(gdb, Not(HasSubstr("not a core dump"))) << gdb;
  }
  if (Have("crash")) {
    const std::string crash =
        Output("echo 'sys\nquit' | timeout 120 crash -s " + vmlinux + " " + dump);
    EXPECT_THAT(crash, HasSubstr("RELEASE: 6.1.")) << crash;
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
