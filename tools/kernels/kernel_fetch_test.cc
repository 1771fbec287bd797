// KernelStore::Fetch against a made-up archive.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/kernels/fake_command_runner.h"
#include "tools/kernels/kernel_store.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

void WriteFile(const std::string& path) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << "x";
}

// An archive whose packages are files: name -> (Depends, files).
class FetchTest : public ::testing::Test {
 protected:
  struct Package {
    std::string depends;
    std::vector<std::string> files;
  };

  FetchTest()
      : runner_([this](const Command& command) { return Answer(command); }),
        store_(directory_.path() + "/cache", &runner_, directory_.path()) {
    directory_.Write("etc/apt/sources.list",
                     std::string("deb [signed-by=/k.gpg] http://m.example/debian bookworm main\n"));
  }

  // What apt and dpkg do, as far as Fetch can see it.
  CommandResult Answer(const Command& command) {
    const std::string& program = command.argv[0];
    if (program == failing_) return {2, "", failure_};
    if (program == "apt-cache") return Show(command.argv.back());
    if (program == "apt-get" && command.argv[2] == "download") {
      for (size_t i = 3; i < command.argv.size(); ++i) {
        WriteFile(absl::StrCat(command.working_directory, "/", command.argv[i], ".deb"));
      }
    }
    if (program == "dpkg-deb") {
      const std::string name = fs::path(command.argv[2]).filename().string();
      for (const auto& file : packages_[name.substr(0, name.find('='))].files) {
        WriteFile(command.argv[3] + file);
      }
    }
    if (program == "bash") {  // unpacking some members: argv is bash -o pipefail -c ... deb root
      const std::string name = fs::path(command.argv[6]).filename().string();
      for (const auto& file : packages_[name.substr(0, name.find('='))].files) {
        WriteFile(command.argv[7] + file);
      }
    }
    if (program == "depmod")
      WriteFile(command.argv[2] + "/lib/modules/" + command.argv[3] + "/modules.dep");
    return {};
  }
  CommandResult Show(const std::string& name) {
    if (packages_.count(name) == 0) return {100, "", "E: No packages found"};
    return {0,
            absl::StrCat("Package: ", name, "\nVersion: ", version_, "\nDepends: ",
                         packages_[name].depends, "\nSize: 1000\nInstalled-Size: 10\n\n"),
            ""};
  }
  void AddClassic() {
    packages_["linux-image-cloud-amd64"] = {"linux-image-6.1.0-9-cloud-amd64 (= 6.1.9-1)", {}};
    packages_["linux-image-6.1.0-9-cloud-amd64"] = {
        "kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool",
        {"/boot/vmlinuz-6.1.0-9-cloud-amd64", "/boot/config-6.1.0-9-cloud-amd64",
         "/lib/modules/6.1.0-9-cloud-amd64/kernel/a.ko"}};
  }
  void AddSplit() {
    const std::string release = "7.2.13+deb14-cloud-amd64";
    const std::string modules = "/usr/lib/modules/" + release;
    packages_["linux-image-cloud-amd64"] = {
        absl::StrCat("linux-base-cloud-amd64 (= 1), linux-image-", release, " (= 1)"), {}};
    packages_["linux-image-" + release] = {
        absl::StrCat("linux-binary-", release, " (= 1), linux-modules-", release), {}};
    packages_["linux-binary-" + release] = {"linux-base-" + release, {modules + "/vmlinuz"}};
    packages_["linux-base-" + release] = {"kmod", {modules + "/config"}};
    packages_["linux-modules-" + release] = {"linux-base-" + release,
                                             {modules + "/kernel/a.ko.xz"}};
  }
  absl::StatusOr<CachedKernel> Fetch(const std::string& spec) {
    return store_.Fetch(spec, [](absl::string_view) {});
  }
  // Anything but the lock below kernels/.
  size_t Left() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(directory_.path() + "/cache/kernels")) {
      count += entry.is_directory();
    }
    return count;
  }

  testing::TemporaryDirectory directory_;
  std::map<std::string, Package> packages_;
  std::string version_ = "1";
  std::string failing_;
  std::string failure_;
  FakeCommandRunner runner_;
  KernelStore store_;
};

TEST_F(FetchTest, TheMetaPackagesDependencyNamesTheRelease) {
  AddClassic();
  auto kernel = Fetch("6.1");
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->release, "6.1.0-9-cloud-amd64");
  EXPECT_TRUE(fs::exists(kernel->image));
  EXPECT_TRUE(fs::exists(kernel->config));
  EXPECT_TRUE(fs::exists(kernel->modules + "/kernel/a.ko"));
  EXPECT_TRUE(fs::exists(kernel->modules + "/modules.dep"));
  EXPECT_EQ(kernel->origin.kind, "debian");
  EXPECT_EQ(kernel->origin.name, "6.1");
  EXPECT_EQ(Left(), 1u);
}

TEST_F(FetchTest, AKernelSplitOverSeveralPackagesIsPutTogether) {
  AddSplit();
  auto kernel = Fetch("7.2");
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->release, "7.2.13+deb14-cloud-amd64");
  EXPECT_TRUE(fs::exists(kernel->image));
  EXPECT_TRUE(fs::exists(kernel->modules + "/kernel/a.ko.xz"));
  EXPECT_FALSE(fs::exists(kernel->modules + "/vmlinuz"));
}

TEST_F(FetchTest, AptIsPointedToFilesOfOurOwnAndTheSystemsMirror) {
  AddSplit();
  ASSERT_TRUE(Fetch("sid").ok());
  std::ifstream list(directory_.path() + "/cache/apt/sid/sources.list");
  std::string line;
  std::getline(list, line);
  EXPECT_EQ(line, "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian sid main");
  EXPECT_THAT(runner_.lines(), Not(Contains(HasSubstr("install"))));
}

TEST_F(FetchTest, EveryAptCommandHasItsOwnConfiguration) {
  AddClassic();
  int seen = 0;
  FakeCommandRunner checking([&](const Command& command) {
    if (command.argv[0] == "apt-get" || command.argv[0] == "apt-cache") {
      ++seen;
      EXPECT_THAT(
          command.environment,
          Contains(std::pair<std::string, std::string>(
              "APT_CONFIG", directory_.path() + "/cache/apt/bookworm+bookworm-security/apt.conf")));
    }
    return Answer(command);
  });
  KernelStore store(directory_.path() + "/cache", &checking, directory_.path());
  ASSERT_TRUE(store.Fetch("6.1", [](absl::string_view) {}).ok());
  EXPECT_GE(seen, 4);
}

TEST_F(FetchTest, ASecondFetchOfTheSameVersionDownloadsNothing) {
  AddClassic();
  ASSERT_TRUE(Fetch("6.1").ok());
  failing_ = "dpkg-deb";
  EXPECT_TRUE(Fetch("6.1").ok());
}

TEST_F(FetchTest, ANewerVersionOfTheSameReleaseReplacesIt) {
  AddClassic();
  ASSERT_TRUE(Fetch("6.1").ok());
  version_ = "2";
  auto kernel = Fetch("6.1");
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->origin.version, "2");
  EXPECT_EQ(Left(), 1u);
}

TEST_F(FetchTest, AFailureAtAnyStepLeavesNothingBehind) {
  AddClassic();
  for (const char* program : {"apt-config", "apt-get", "dpkg-deb", "depmod"}) {
    failing_ = program;
    failure_ = "E: it broke\n";
    auto kernel = Fetch("6.1");
    ASSERT_FALSE(kernel.ok()) << program;
    EXPECT_THAT(std::string(kernel.status().message()), HasSubstr("E: it broke"));
    EXPECT_EQ(Left(), 0u) << program;
  }
}

TEST_F(FetchTest, NoNetworkIsUnavailableAndNamesTheMirror) {
  AddClassic();
  failing_ = "apt-get";
  failure_ = "E: Could not resolve 'm.example'\n";
  auto kernel = Fetch("6.1");
  EXPECT_EQ(kernel.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(kernel.status().message()), HasSubstr("http://m.example/debian"));
}

TEST_F(FetchTest, AFullDiskIsResourceExhausted) {
  AddClassic();
  failing_ = "dpkg-deb";
  failure_ = "dpkg-deb: error: write: No space left on device\n";
  EXPECT_EQ(Fetch("6.1").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Left(), 0u);
}

TEST_F(FetchTest, ANumberThatSidDoesNotHaveSaysWhatItHas) {
  AddSplit();
  auto kernel = Fetch("7.1");
  EXPECT_EQ(kernel.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(kernel.status().message()), HasSubstr("sid has 7.2.13+deb14"));
}

TEST_F(FetchTest, AnUnknownSpecListsThoseThereAre) {
  for (const char* spec : {"", "bookworm", "6", "6.1;rm", "latest"}) {
    auto kernel = Fetch(spec);
    EXPECT_EQ(kernel.status().code(), absl::StatusCode::kInvalidArgument) << spec;
    EXPECT_THAT(std::string(kernel.status().message()), HasSubstr("6.1, 6.1-generic, 6.12, sid"));
  }
}

TEST_F(FetchTest, APackageWithoutAnImageIsAnErrorNotAKernel) {
  AddClassic();
  packages_["linux-image-6.1.0-9-cloud-amd64"].files = {"/usr/share/doc/x"};
  EXPECT_THAT(std::string(Fetch("6.1").status().message()), HasSubstr("hold no vmlinuz"));
  EXPECT_EQ(Left(), 0u);
}

TEST_F(FetchTest, DebuggingSymbolsLieBesideTheKernel) {
  AddClassic();
  const std::string debug = "/usr/lib/debug";
  packages_["linux-image-6.1.0-9-cloud-amd64-dbg"] = {
      "",
      {debug + "/boot/vmlinux-6.1.0-9-cloud-amd64",
       debug + "/lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/misc/pvpanic/pvpanic.ko"}};

  auto folder = store_.FetchDebug("6.1", [](absl::string_view) {});

  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(*folder, directory_.path() + "/cache/kernels/6.1.0-9-cloud-amd64/debug");
  EXPECT_TRUE(fs::exists(*folder + "/vmlinux"));
  EXPECT_TRUE(fs::exists(*folder + "/pvpanic.ko"));
  failing_ = "bash";  // not unpacked a second time
  EXPECT_TRUE(store_.FetchDebug("6.1", [](absl::string_view) {}).ok());
}

TEST_F(FetchTest, ArchiveWithoutDebuggingSymbolsIsNotFoundAndTheKernelStays) {
  AddClassic();

  auto folder = store_.FetchDebug("6.1", [](absl::string_view) {});

  EXPECT_TRUE(absl::IsNotFound(folder.status())) << folder.status();
  EXPECT_EQ(Left(), 1u);
}

}  // namespace
}  // namespace stasis
