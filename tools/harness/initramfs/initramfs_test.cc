#include "tools/harness/initramfs/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tools/harness/initramfs/files.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

struct Member {
  mode_t mode;
  std::string contents;
  std::string link;
};

std::map<std::string, Member> Unpack(const std::string& path) {
  std::map<std::string, Member> members;
  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  EXPECT_EQ(archive_read_open_filename(reader, path.c_str(), 65536), ARCHIVE_OK);
  archive_entry* entry;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    Member member{.mode = archive_entry_mode(entry)};
    member.contents.resize(static_cast<size_t>(archive_entry_size(entry)));
    archive_read_data(reader, member.contents.data(), member.contents.size());
    if (const char* link = archive_entry_symlink(entry)) member.link = link;
    members[archive_entry_pathname(entry)] = member;
  }
  archive_read_free(reader);
  return members;
}

class InitramfsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/initramfsXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = fs::canonical(pattern);
    spec_.agent = Write("agent", "agent's bytes", 0755);
    spec_.cache_dir = dir_ + "/cache";
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& text, mode_t mode = 0644) {
    const std::string path = dir_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    chmod(path.c_str(), mode);
    return path;
  }

  // A modules directory in which b depends on a.
  void AddModules() {
    spec_.modules_dir = dir_ + "/lib/modules/6.0-test";
    Write("lib/modules/6.0-test/modules.dep", "kernel/b.ko: kernel/a.ko\nkernel/a.ko:\n");
    Write("lib/modules/6.0-test/kernel/a.ko",
          "\x7f"
          "ELF a");
    Write("lib/modules/6.0-test/kernel/b.ko",
          "\x7f"
          "ELF b");
    spec_.modules = {"b"};
  }

  std::string dir_;
  InitramfsSpec spec_;
};

TEST_F(InitramfsTest, AgentIsInitAndTheConsoleIsThere) {
  auto image = BuildInitramfs(spec_);

  ASSERT_TRUE(image.ok()) << image.status();
  const auto members = Unpack(image->path);
  EXPECT_EQ(members.at("init").contents, "agent's bytes");
  EXPECT_EQ(members.at("init").mode, S_IFREG | 0755u);
  EXPECT_TRUE(S_ISCHR(members.at("dev/console").mode));
  EXPECT_TRUE(S_ISDIR(members.at("proc").mode));
}

TEST_F(InitramfsTest, ModulesComeWithTheListInLoadOrder) {
  AddModules();

  auto image = BuildInitramfs(spec_);

  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->modules, (std::vector<std::string>{"a", "b"}));
  const auto members = Unpack(image->path);
  EXPECT_EQ(members.at("stasis/modules").contents,
            "/lib/modules/6.0-test/kernel/a.ko\n/lib/modules/6.0-test/kernel/b.ko\n");
  EXPECT_EQ(members.at("lib/modules/6.0-test/kernel/b.ko").contents,
            "\x7f"
            "ELF b");
}

TEST_F(InitramfsTest, EqualInputsGiveEqualBytes) {
  AddModules();
  auto first = BuildInitramfs(spec_);
  spec_.cache_dir = dir_ + "/other-cache";
  auto second = BuildInitramfs(spec_);

  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->path, second->path);
  EXPECT_EQ(*ReadFile(first->path), *ReadFile(second->path));
}

TEST_F(InitramfsTest, SecondBuildComesFromTheCacheUntilAnInputChanges) {
  ASSERT_FALSE(BuildInitramfs(spec_)->from_cache);
  EXPECT_TRUE(BuildInitramfs(spec_)->from_cache);

  Write("agent", "newer agent's bytes", 0755);
  auto image = BuildInitramfs(spec_);

  EXPECT_FALSE(image->from_cache);
  EXPECT_EQ(Unpack(image->path).at("init").contents, "newer agent's bytes");
}

TEST_F(InitramfsTest, CompressedImageHasTheMagicThatKernelsKnow) {
  spec_.compress = true;

  auto image = BuildInitramfs(spec_);

  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(ReadFile(image->path)->substr(0, 4), "\x02\x21\x4c\x18");
}

TEST_F(InitramfsTest, IncludedProgramComesWithLoaderAndLibraries) {
  spec_.include = {"/usr/bin/env"};  // a dynamic program on every Debian

  auto image = BuildInitramfs(spec_);

  ASSERT_TRUE(image.ok()) << image.status();
  const auto members = Unpack(image->path);
  EXPECT_EQ(members.at("usr/bin/env").contents, *ReadFile("/usr/bin/env"));
  bool libc = false, loader = false;
  for (const auto& [path, member] : members) {
    libc |= absl::StrContains(path, "/libc.so.6");
    loader |= absl::StrContains(path, "/ld-linux");
  }
  EXPECT_TRUE(libc);
  EXPECT_TRUE(loader);
}

TEST_F(InitramfsTest, IncludedScriptComesWithItsInterpreter) {
  spec_.include = {Write("script", "#!/bin/sh\necho hi\n", 0755)};

  auto image = BuildInitramfs(spec_);

  ASSERT_TRUE(image.ok()) << image.status();
  const auto members = Unpack(image->path);
  EXPECT_EQ(members.count("bin/sh"), 1u);
  EXPECT_EQ(members.at(spec_.include[0].substr(1)).mode & 0777, 0755u);
}

TEST_F(InitramfsTest, IncludedDirectoryComesWhole) {
  Write("data/one", "1");
  Write("data/sub/two", "2");
  spec_.include = {dir_ + "/data"};

  const auto members = Unpack(BuildInitramfs(spec_)->path);

  EXPECT_EQ(members.at((dir_ + "/data/sub/two").substr(1)).contents, "2");
}

TEST_F(InitramfsTest, BusyboxComesWithALinkPerApplet) {
  auto busybox = FindBusybox();
  if (!busybox.ok()) GTEST_SKIP() << busybox.status().message();
  spec_.busybox = *busybox;

  const auto members = Unpack(BuildInitramfs(spec_)->path);

  EXPECT_EQ(members.at("bin/sh").link, "/bin/busybox");
  EXPECT_TRUE(S_ISREG(members.at("bin/busybox").mode));
}

TEST_F(InitramfsTest, MissingInputsAreNamed) {
  InitramfsSpec no_agent = spec_;
  no_agent.agent = dir_ + "/none";
  InitramfsSpec no_include = spec_;
  no_include.include = {"/nowhere/tool"};
  InitramfsSpec no_modules = spec_;
  no_modules.modules_dir = "/nowhere";

  EXPECT_TRUE(absl::StrContains(BuildInitramfs(no_agent).status().message(), "none"));
  EXPECT_TRUE(absl::StrContains(BuildInitramfs(no_include).status().message(), "/nowhere/tool"));
  EXPECT_TRUE(absl::StrContains(BuildInitramfs(no_modules).status().message(), "depmod"));
}

TEST_F(InitramfsTest, BrokenModuleLeavesNoImage) {
  AddModules();
  Write("lib/modules/6.0-test/kernel/a.ko", "no module");

  auto image = BuildInitramfs(spec_);

  EXPECT_TRUE(absl::StrContains(image.status().message(), "a.ko")) << image.status();
  EXPECT_TRUE(fs::is_empty(spec_.cache_dir + "/initramfs"));
}

TEST(FindAgentBinaryTest, AgentIsFoundInTheRunfiles) {
  unsetenv("STASIS_AGENT");
  auto agent = FindAgentBinary();

  ASSERT_TRUE(agent.ok()) << agent.status();
  EXPECT_TRUE(absl::EndsWith(*agent, "guest/agent/stasis-agent")) << *agent;
}

TEST(FindAgentBinaryTest, WrongVariableIsNamed) {
  setenv("STASIS_AGENT", "/nowhere/agent", 1);
  auto agent = FindAgentBinary();
  unsetenv("STASIS_AGENT");

  EXPECT_TRUE(absl::StrContains(agent.status().message(), "/nowhere/agent"));
}

TEST_F(InitramfsTest, CacheThatCannotBeWrittenIsReplacedByTheTestsOwnFolder) {
  spec_.cache_dir = "/proc/self/nothing";
  setenv("TEST_TMPDIR", dir_.c_str(), 1);

  const auto first = BuildInitramfs(spec_);
  const auto second = BuildInitramfs(spec_);
  unsetenv("TEST_TMPDIR");
  const auto without = BuildInitramfs(spec_);

  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(absl::StartsWith(first->path, absl::StrCat(dir_, "/initramfs/"))) << first->path;
  EXPECT_EQ(Unpack(first->path).count("init"), 1u);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->from_cache);
  EXPECT_FALSE(without.ok());
}

}  // namespace
}  // namespace stasis
