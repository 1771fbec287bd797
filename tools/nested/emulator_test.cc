#include "tools/nested/emulator.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"

namespace stasis::nested {
namespace {

bool Contains(const std::vector<std::string>& args, const std::string& arg) {
  return std::find(args.begin(), args.end(), arg) != args.end();
}

// Stands for QEMU: the file is executed with QEMU's arguments.
std::string Script(const std::string& name, const std::string& body) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
  chmod(path.c_str(), 0755);
  return path;
}

bool EndsWithin(const Emulator& emulator, int ms) {
  pollfd ended = {emulator.pidfd(), POLLIN, 0};
  return poll(&ended, 1, ms) == 1;
}

TEST(EmulatorArgumentsTest, OnlyTheNamedDirectoriesAreSharedWritable) {
  EmulatorConfig config;
  config.program = "/usr/bin/qemu-system-x86_64";
  config.writable = {"/out,dir"};

  const auto args = EmulatorArguments(config, {3, 4, 5, 6, 7, 8});

  EXPECT_TRUE(
      Contains(args, "local,id=root,path=/,security_model=none,multidevs=remap,readonly=on"));
  EXPECT_TRUE(Contains(args, "local,id=w0,path=/out,,dir,security_model=none,multidevs=remap"));
  EXPECT_TRUE(Contains(args, "virtserialport,chardev=port0,name=stasis.control"));
  EXPECT_TRUE(Contains(args, "socket,id=monitor,fd=8"));
}

TEST(EmulatorTest, EndOfTheProcessShowsWithWhatItSaid) {
  auto emulator = Emulator::Start({.program = Script("fails", "echo no such machine >&2; exit 3")});
  ASSERT_TRUE(emulator.ok()) << emulator.status();

  ASSERT_TRUE(EndsWithin(**emulator, 20000));

  EXPECT_EQ((*emulator)->ErrorOutput(), "no such machine\n");
  EXPECT_EQ((*emulator)->Kill(), "exit status 3");
}

TEST(EmulatorTest, KillEndsAProcessThatIgnoresEverything) {
  auto emulator =
      Emulator::Start({.program = Script("stays", "trap '' INT TERM HUP; exec sleep 1000")});
  ASSERT_TRUE(emulator.ok()) << emulator.status();
  EXPECT_FALSE(EndsWithin(**emulator, 50));

  EXPECT_EQ((*emulator)->Kill(), "signal 9");
}

TEST(EmulatorTest, SilentMonitorIsReportedInsteadOfWaitedFor) {
  auto emulator = Emulator::Start({.program = Script("mute", "exec sleep 1000")});
  ASSERT_TRUE(emulator.ok()) << emulator.status();

  const std::string registers = (*emulator)->SampleRegisters(1);

  EXPECT_TRUE(absl::StrContains(registers, "monitor")) << registers;
}

TEST(EmulatorTest, ProgramThatCannotBeExecutedIsNamed) {
  auto emulator = Emulator::Start({.program = "/nowhere/qemu"});
  ASSERT_TRUE(emulator.ok()) << emulator.status();

  ASSERT_TRUE(EndsWithin(**emulator, 20000));

  EXPECT_TRUE(absl::StrContains((*emulator)->ErrorOutput(),
                                "execute /nowhere/qemu: No such file or directory"));
}

}  // namespace
}  // namespace stasis::nested
