// KernelStore::Build against a make that only writes files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tools/kernels/fake_command_runner.h"
#include "tools/kernels/kernel_store.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void WriteFile(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

class BuildTest : public ::testing::Test {
 protected:
  BuildTest()
      : runner_([this](const Command& command) { return Answer(command); }),
        store_(directory_.path() + "/cache", &runner_) {
    directory_.Write("tree/Kconfig", std::string("x"));
    directory_.Write("tree/arch/x86/Kconfig", std::string("x"));
    request_.source = directory_.path() + "/tree";
    request_.fragment = directory_.Write(
        "tiny.fragment", std::string("# a comment\nCONFIG_SMP=y\nCONFIG_OF=y\n"
                                     "CONFIG_LOCALVERSION=\"-tiny\"\n# CONFIG_NET is not set\n"));
    request_.name = "tiny";
  }

  CommandResult Answer(const Command& command) {
    if (command.argv[0] == "objcopy") WriteFile(command.argv.back(), "elf");
    if (command.argv[0] != "make") return {};
    const std::string target = command.argv.back();
    if (target == failing_) return {2, "", "ld: error: no room\nmake: *** [vmlinux] Error 1\n"};
    const std::string build(absl::StripPrefix(command.argv[3], "O="));
    if (target == "allnoconfig") WriteFile(build + "/.config", config_);
    if (target == "bzImage" || target == "modules") {
      WriteFile(build + "/arch/x86/boot/bzImage", "bz");
      WriteFile(build + "/vmlinux", "elf with debug");
      WriteFile(build + "/include/config/kernel.release", "6.12.1-tiny\n");
    }
    if (target == "modules_install") {
      for (const std::string& word : command.argv) {
        absl::string_view root = word;
        if (!absl::ConsumePrefix(&root, "INSTALL_MOD_PATH=")) continue;
        WriteFile(absl::StrCat(root, "/lib/modules/6.12.1-tiny/modules.dep"), "");
        fs::create_symlink("/x", absl::StrCat(root, "/lib/modules/6.12.1-tiny/build"));
      }
    }
    return {};
  }
  absl::StatusOr<BuildResult> Build() {
    return store_.Build(request_, [](absl::string_view) {});
  }

  testing::TemporaryDirectory directory_;
  std::string config_ = "CONFIG_SMP=y\nCONFIG_OF=y\nCONFIG_LOCALVERSION=\"-tiny\"\n";
  std::string failing_;
  FakeCommandRunner runner_;
  KernelStore store_;
  BuildRequest request_;
};

TEST_F(BuildTest, ImageConfigurationAndSymbolsAreInstalledUnderTheReleaseAndFoundByName) {
  auto result = Build();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->kernel.release, "6.12.1-tiny");
  EXPECT_TRUE(fs::exists(result->kernel.image));
  EXPECT_TRUE(fs::exists(result->kernel.vmlinux));
  EXPECT_EQ(result->kernel.modules, "");
  EXPECT_TRUE(result->not_taken.empty());
  EXPECT_EQ(store_.Resolve("tiny", {})->release, "6.12.1-tiny");
  EXPECT_FALSE(fs::exists(directory_.path() + "/cache/build/tiny"));
}

TEST_F(BuildTest, ModulesAreInstalledWhenTheConfigurationHasThem) {
  config_ += "CONFIG_MODULES=y\n";
  auto result = Build();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(fs::exists(result->kernel.modules + "/modules.dep"));
  EXPECT_FALSE(fs::is_symlink(result->kernel.modules + "/build"));
}

TEST_F(BuildTest, OptionsThatTheTreeDidNotTakeAreNamed) {
  config_ = "CONFIG_SMP=y\nCONFIG_NET=y\nCONFIG_LOCALVERSION=\"-tiny\"\n";
  auto result = Build();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->not_taken, ElementsAre("CONFIG_OF=y", "# CONFIG_NET is not set"));
}

TEST_F(BuildTest, ABuildThatFailsGivesMakesWordsAndLeavesNothing) {
  failing_ = "bzImage";
  auto result = Build();
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("build: make failed (exit code 2): ld: error: no room"));
  EXPECT_TRUE(store_.List()->empty());
  EXPECT_FALSE(fs::exists(directory_.path() + "/cache/build/tiny"));
}

TEST_F(BuildTest, TheBuildTreeIsKeptOnRequest) {
  request_.keep_build_tree = true;
  ASSERT_TRUE(Build().ok());
  EXPECT_TRUE(fs::exists(directory_.path() + "/cache/build/tiny/vmlinux"));
}

TEST_F(BuildTest, AReleaseThatAnotherKernelHasIsRefused) {
  ASSERT_TRUE(Build().ok());
  request_.name = "other";
  auto result = Build();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("CONFIG_LOCALVERSION"));
}

TEST_F(BuildTest, BadRequestsAreRefusedBeforeAnythingRuns) {
  request_.name = "../up";
  EXPECT_EQ(Build().status().code(), absl::StatusCode::kInvalidArgument);
  request_.name = "tiny";
  request_.fragment = "/no/such/fragment";
  EXPECT_EQ(Build().status().code(), absl::StatusCode::kNotFound);
  request_.fragment = directory_.path() + "/tiny.fragment";
  request_.source = directory_.path() + "/no-tree";
  EXPECT_EQ(Build().status().code(), absl::StatusCode::kNotFound);
  request_.source = directory_.path() + "/tree";
  directory_.Write("tree/.config", std::string("CONFIG_SMP=y\n"));
  EXPECT_THAT(std::string(Build().status().message()), HasSubstr("make mrproper"));
  EXPECT_TRUE(runner_.lines().empty());
}

}  // namespace
}  // namespace stasis
