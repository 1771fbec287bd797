// The built binary as a child process: bad input ends with one clear line, the right exit code, and
// nothing left behind. No guest runs here.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/stasis/run_stasis.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/cli_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.environment["STASIS_CACHE"] = directory_ + "/cache";
    options_.environment["HOME"] = directory_;
    // A kernel of the test environment would be found otherwise.
    options_.environment["STASIS_KERNEL"] = "";
    options_.environment["STASIS_ACCEL"] = "kvm";
  }
  void TearDown() override { fs::remove_all(directory_); }

  // The program must end by itself within seconds: nothing here starts a guest.
  StasisRun Run(std::vector<std::string> arguments) {
    options_.time_limit = std::chrono::seconds(60);
    return RunStasis(arguments, options_);
  }

  std::string WriteFile(const std::string& name, const std::string& contents) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }

  // What there is below the test's folder, besides what the test made.
  std::set<std::string> LeftBehind(const std::set<std::string>& own) const {
    std::set<std::string> left;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory_)) {
      if (entry.is_regular_file() && own.count(entry.path().filename().string()) == 0) {
        left.insert(entry.path().string());
      }
    }
    return left;
  }

  std::string directory_;
  RunStasisOptions options_;
};

// One line on stderr in which all of `parts` stand.
void ExpectOneLine(const StasisRun& run, int exit_code, const std::vector<std::string>& parts) {
  EXPECT_EQ(run.exit_code, exit_code) << run.error;
  EXPECT_EQ(run.output, "");
  // Progress lines of what was done before stand in front.
  std::string last;
  int findings = 0;
  for (const std::string& line : SplitLines(run.error)) {
    if (absl::StartsWith(line, "stasis: ")) continue;
    last = line;
    ++findings;
  }
  EXPECT_EQ(findings, 1) << run.error;
  for (const std::string& part : parts) EXPECT_THAT(last, HasSubstr(part));
}

TEST_F(CliTest, HelpAndVersionSucceed) {
  EXPECT_EQ(Run({"--help"}).exit_code, 0);
  EXPECT_THAT(Run({"--help"}).output, HasSubstr("stasis run steady"));
  EXPECT_THAT(Run({"--version"}).output, StartsWith("stasis "));
  EXPECT_THAT(Run({"shell", "--help"}).output, HasSubstr("--exec"));
}

TEST_F(CliTest, NoCommandAndUnknownOptionsAreUsage) {
  ExpectOneLine(Run({}), 2, {"USAGE", "--help"});
  ExpectOneLine(Run({"run", "steady", "--no-such-option"}), 2, {"USAGE", "--no-such-option"});
  ExpectOneLine(Run({"fly"}), 2, {"USAGE"});
}

TEST_F(CliTest, ListNamesTheScenarios) {
  StasisRun run = Run({"list"});

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.output, AllOf(HasSubstr("steady"), HasSubstr("starved")));
}

TEST_F(CliTest, UnknownScenarioIsUsageWithNearMatches) {
  ExpectOneLine(Run({"run", "staedy"}), 2, {"USAGE", "staedy", "steady"});
}

TEST_F(CliTest, MissingScenarioFileIsUsage) {
  ExpectOneLine(Run({"run", directory_ + "/none.toml"}), 2, {"USAGE", "none.toml"});
}

TEST_F(CliTest, BadScenarioFileIsUsageWithItsLine) {
  const std::string path = WriteFile("bad.toml", "summary = \"x\"\nduration = \"never\"\n");

  ExpectOneLine(Run({"run", path}), 2, {"USAGE", "bad.toml:2:"});
}

TEST_F(CliTest, BadTopologiesAreUsage) {
  ExpectOneLine(Run({"run", "steady", "--topology", "0n"}), 2, {"USAGE", "0n"});
  ExpectOneLine(Run({"run", "steady", "--topology", "2n3l"}), 2,
                {"USAGE", "2n3l", "multiple of 2"});
  ExpectOneLine(Run({"run", "steady", "--topology", "10000c"}), 2, {"USAGE", "more than 252"});
}

TEST_F(CliTest, SecondsThatAreNoneAreUsage) {
  for (const char* seconds : {"40s", "0", "-1", "inf", "nan", ""}) {
    ExpectOneLine(Run({"run", "steady", "--time-limit", seconds}), 2,
                  {"USAGE: --time-limit: ", "is no number of seconds above 0, such as 40 or 2.5"});
  }
  ExpectOneLine(Run({"run", "steady", "--stall-limit", "3s"}), 2, {"USAGE", "'3s'"});
}

TEST_F(CliTest, MemoryWithoutAUnitIsUsage) {
  ExpectOneLine(Run({"boot", "--memory", "12"}), 2, {"USAGE", "12", "unit"});
}

TEST_F(CliTest, UnknownDiscoveryAndAccelAreUsage) {
  ExpectOneLine(Run({"boot", "--discovery", "magic"}), 2, {"USAGE", "magic", "fdt"});
  ExpectOneLine(Run({"boot", "--accel", "magic"}), 2, {"USAGE", "magic", "nested"});
}

// B11, B9: what is wrong with a disk's words is usage.
TEST_F(CliTest, BadWordsOfADiskAreUsage) {
  const std::string image = WriteFile("disk.img", std::string(4096, 'x'));

  ExpectOneLine(Run({"boot", "--disk", image + ",fast"}), 2, {"USAGE", "unknown option 'fast'", "ro"});
  ExpectOneLine(Run({"boot", "--disk", image + ",iops=0"}), 2, {"USAGE", "iops='0'", "above 0"});
  ExpectOneLine(Run({"boot", "--disk", image + ",ro,ro"}), 2, {"USAGE", "'ro' twice"});
  ExpectOneLine(Run({"boot", "--disk", image + ",engine=aio"}), 2, {"USAGE", "uring or sync"});
  ExpectOneLine(Run({"boot", "--disk", "scratch:0"}), 2, {"USAGE", "scratch:1G"});
  ExpectOneLine(Run({"boot", "--disk", image + ",queues=0"}), 2, {"USAGE", "queues='0'"});
  ExpectOneLine(Run({"shell", "--exec", "true", "--disk", ",ro"}), 2, {"USAGE", "file's name"});
  ExpectOneLine(Run({"run", "steady", "--disk", image + ",bps=fast"}), 2, {"USAGE", "bps='fast'"});
}

TEST_F(CliTest, BadIoCpusAreUsage) {
  if (getenv("STASIS_IN_NESTED") != nullptr) GTEST_SKIP() << "the lane does not look at them";
  ExpectOneLine(Run({"boot", "--io-cpus", "zero"}), 2, {"USAGE", "io-cpus 'zero'", "0-1,3"});
  ExpectOneLine(Run({"boot", "--io-cpus", "4095"}), 2, {"USAGE", "io-cpus '4095'"});
}

TEST_F(CliTest, MissingKvmDeviceIsAHostError) {
  if (getenv("STASIS_IN_NESTED") != nullptr) GTEST_SKIP() << "the lane's own device is taken";
  options_.environment["STASIS_KVM_DEVICE"] = directory_ + "/kvm";

  ExpectOneLine(Run({"run", "steady", "--accel", "kvm"}), 3,
                {"ERROR: host", directory_ + "/kvm", "--accel nested"});
}

TEST_F(CliTest, FileThatIsNoKvmDeviceIsAHostError) {
  options_.environment["STASIS_KVM_DEVICE"] = WriteFile("kvm", "not a device");

  StasisRun run = Run({"run", "steady", "--accel", "kvm"});

  EXPECT_EQ(run.exit_code, 3) << run.error;
  EXPECT_THAT(run.error, HasSubstr("ERROR: host"));
}

TEST_F(CliTest, KvmDeviceWithoutPermissionIsAHostErrorThatSaysWhatToDo) {
  if (geteuid() == 0) GTEST_SKIP() << "root may open everything";
  const std::string path = WriteFile("kvm", "");
  chmod(path.c_str(), 0);
  options_.environment["STASIS_KVM_DEVICE"] = path;

  ExpectOneLine(Run({"run", "steady", "--accel", "kvm"}), 3, {"Permission denied", "group"});
}

TEST_F(CliTest, DoctorWithoutAnythingSaysWhatIsMissing) {
  options_.environment["STASIS_KVM_DEVICE"] = directory_ + "/kvm";
  options_.environment["PATH"] = "/nowhere";

  StasisRun run = Run({"doctor"});

  EXPECT_THAT(run.output, HasSubstr("missing  kvm"));
}

TEST_F(CliTest, JsonOfARefusedRunHoldsTheFinding) {
  const std::string json = directory_ + "/result.json";

  EXPECT_EQ(Run({"run", "staedy", "--json", json}).exit_code, 2);

  std::ifstream file(json);
  const nlohmann::json result = nlohmann::json::parse(file, nullptr, false);
  ASSERT_FALSE(result.is_discarded());
  EXPECT_EQ(result["verdict"], "usage");
  EXPECT_EQ(result["exit_code"], 2);
}

std::string Text(const stasis::testing::Bytes& bytes) {
  return std::string(bytes.begin(), bytes.end());
}

// Kernels: only where /dev/kvm opens, since the lane is chosen first.
class CliKernelTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    if (access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/kvm that may be opened";
  }
  StasisRun Boot(const std::string& kernel, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"boot", "--kernel", kernel, "--time-limit", "20"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
};

TEST_F(CliKernelTest, MissingKernelIsNamed) {
  ExpectOneLine(Boot(directory_ + "/vmlinuz"), 3, {"ERROR: host", "vmlinuz"});
}

TEST_F(CliKernelTest, UnknownKernelNameSaysHowToGetOne) {
  ExpectOneLine(Boot("9.99"), 3, {"ERROR: host", "9.99"});
}

TEST_F(CliKernelTest, UnreadableKernelIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const std::string path = WriteFile("vmlinuz", "x");
  chmod(path.c_str(), 0);

  ExpectOneLine(Boot(path), 3, {"ERROR: host", path, "Permission denied"});
}

TEST_F(CliKernelTest, FileThatIsNoKernelSaysWhatItIs) {
  ExpectOneLine(Boot(WriteFile("vmlinuz", "#!/bin/sh\necho no kernel\n")), 3,
                {"ERROR: host", "vmlinuz"});
}

// B11: the disk's file, before a guest is started.
class CliDiskTest : public CliKernelTest {
 protected:
  StasisRun BootWith(const std::string& disk, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--disk", disk});
    return Boot(WriteFile("vmlinux", Text(stasis::testing::MakeElf({}))), more);
  }
};

TEST_F(CliDiskTest, MissingFileIsNamed) {
  ExpectOneLine(BootWith(directory_ + "/none.img"), 3, {"ERROR", "none.img", "No such file"});
}

TEST_F(CliDiskTest, EmptyFileIsNamed) {
  ExpectOneLine(BootWith(WriteFile("empty.img", "")), 3, {"ERROR", "empty.img"});
}

TEST_F(CliDiskTest, DirectoryIsNoDisk) {
  ExpectOneLine(BootWith(directory_), 3, {"ERROR", directory_});
}

TEST_F(CliDiskTest, FileThatAnotherProcessWritesIsNamedAndLeftAlone) {
  const std::string path = WriteFile("busy.img", std::string(4096, 'x'));
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);

  ExpectOneLine(BootWith(path), 3, {"ERROR", "busy.img"});

  EXPECT_EQ(fs::file_size(path), 4096u);
  close(fd);
}

TEST_F(CliDiskTest, MoreQueuesThanVcpusAreRefused) {
  const std::string image = WriteFile("disk.img", std::string(4096, 'x'));

  ExpectOneLine(BootWith(image + ",queues=3", {"--topology", "2c"}), 2,
                {"USAGE", "queues=3", "2 CPU(s)"});
}

TEST_F(CliKernelTest, EmptyFileIsNoKernel) {
  ExpectOneLine(Boot(WriteFile("vmlinuz", "")), 3, {"ERROR: host", "vmlinuz"});
}

TEST_F(CliKernelTest, MissingInitrdIsNamed) {
  const std::string kernel = WriteFile("vmlinux", Text(stasis::testing::MakeElf({})));

  ExpectOneLine(Boot(kernel, {"--initrd", directory_ + "/initrd"}), 3, {"ERROR", "initrd"});
}

TEST_F(CliKernelTest, InitramfsLargerThanMemoryIsNamed) {
  const std::string kernel = WriteFile("vmlinux", Text(stasis::testing::MakeElf({})));
  const std::string initrd = WriteFile("initrd", "");
  ASSERT_EQ(truncate(initrd.c_str(), 300 << 20), 0);

  ExpectOneLine(Boot(kernel, {"--initrd", initrd, "--memory", "256M"}), 3, {"ERROR", "initr"});
}

TEST_F(CliKernelTest, TruncatedBzImageIsNamed) {
  std::string image =
      Text(stasis::testing::MakeBzImage({}, stasis::testing::MakeElf({.padding = 100000})));
  image.resize(image.size() - 100);

  ExpectOneLine(Boot(WriteFile("vmlinuz", image)), 3, {"ERROR: host", "vmlinuz", "truncated"});
}

TEST_F(CliKernelTest, KernelOfAnotherArchitectureIsNamed) {
  std::string image = Text(stasis::testing::MakeElf({}));
  image[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_AARCH64);

  ExpectOneLine(Boot(WriteFile("vmlinux", image)), 3, {"ERROR: host", "vmlinux"});
}

TEST_F(CliKernelTest, KernelWithoutTheNeededOptionsNamesThem) {
  const std::string image = Text(stasis::testing::MakeElf({}));
  WriteFile("config", "CONFIG_64BIT=y\nCONFIG_ACPI=y\n# CONFIG_VIRTIO_MMIO is not set\n");

  ExpectOneLine(Boot(WriteFile("vmlinux", image)), 3, {"ERROR: boot", "CONFIG_VIRTIO_MMIO"});
}

TEST_F(CliKernelTest, FullDiskInTheCacheIsNamedAndLeavesNothing) {
  const std::string kernel = WriteFile(
      "vmlinuz",
      Text(stasis::testing::MakeBzImage({}, stasis::testing::MakeElf({.padding = 4 << 20}))));
  options_.file_size_limit = 1 << 20;

  StasisRun run = Boot(kernel);

  EXPECT_EQ(run.exit_code, 3) << run.error;
  EXPECT_THAT(run.error, HasSubstr("ERROR: host"));
  EXPECT_THAT(LeftBehind({"vmlinuz"}), ::testing::IsEmpty());
}

TEST_F(CliKernelTest, DumpsAreWrittenWithoutBooting) {
  const std::string kernel = WriteFile("vmlinux", Text(stasis::testing::MakeElf({})));
  const std::string fdt = directory_ + "/machine.dtb";

  StasisRun run = Boot(kernel, {"--topology", "2n4l2c2t", "--dump-fdt", fdt, "--dump-acpi",
                                directory_ + "/acpi", "--no-boot"});

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_GT(fs::file_size(fdt), 1000u);
  EXPECT_TRUE(fs::exists(directory_ + "/acpi/DSDT.aml"));
  EXPECT_TRUE(fs::exists(directory_ + "/acpi/SRAT.aml"));
}

// Kernels of a few bytes of integer code: even a KVM that cannot run a stock kernel runs them.
class CliTinyGuestTest : public CliKernelTest {
 protected:
  std::string KernelOf(const std::string& code) {
    std::string image = Text(stasis::testing::MakeElf({}));
    image.replace(stasis::testing::kElfSegmentOffset + stasis::testing::kElfEntryOffset,
                  code.size(), code);
    return WriteFile("vmlinux", image);
  }
  StasisRun RunSteady(const std::string& code, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"run", "steady", "--kernel", KernelOf(code)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
};

TEST_F(CliTinyGuestTest, KernelThatHangsSilentlyFailsAtTheBootLimit) {
  StasisRun run = RunSteady("\xf4", {"--boot-limit", "2"});  // hlt, interrupts off

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: the agent did not say hello within 2 s; its "
                                     "console is empty"));
}

TEST_F(CliTinyGuestTest, TripleFaultFailsAtOnce) {
  StasisRun run = RunSteady(std::string("\x0f\x0b", 2));  // ud2 without an IDT

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: triple fault on vCPU 0"));
}

TEST_F(CliTinyGuestTest, KernelThatResetsAtOnceFailsTheBoot) {
  StasisRun run = RunSteady("\xb0\xfe\xe6\x64\xf4");  // mov $0xfe, %al; out %al, $0x64; hlt

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: the guest ended by itself (reset)"));
}

TEST_F(CliTinyGuestTest, PanicNotificationFailsTheBoot) {
  // mov $0x505, %edx; mov $1, %al; out %al, (%dx); hlt
  StasisRun run = RunSteady(std::string("\xba\x05\x05\x00\x00\xb0\x01\xee\xf4", 9));

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: the guest kernel notified a panic"));
}

TEST_F(CliTinyGuestTest, SerialOutputOfAPlainBootComesOnStdout) {
  // mov $0x3f8, %edx; mov $'H', %al; out %al, (%dx); mov $'i', %al; out; mov $0xfe, %al; out $0x64
  const std::string code("\xba\xf8\x03\x00\x00\xb0H\xee\xb0i\xee\xb0\xfe\xe6\x64\xf4", 16);

  StasisRun run = Run({"boot", "--kernel", KernelOf(code), "--time-limit", "20"});

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.output, "Hi");
}

TEST_F(CliTinyGuestTest, InterruptEndsEverythingAtOnce) {
  options_.signal = SIGINT;
  options_.signal_after = "booting";

  StasisRun run = RunSteady("\xf4");

  EXPECT_EQ(run.exit_code, 130) << run.output << run.error;
  EXPECT_EQ(run.processes_left, 0);
}

TEST_F(CliTinyGuestTest, TimeLimitEndsAPlainBoot) {
  StasisRun run = Run({"boot", "--kernel", KernelOf("\xf4"), "--time-limit", "1"});

  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.error, HasSubstr("time limit of 1 s"));
}

}  // namespace
}  // namespace stasis
