#include "tools/nested/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace stasis::nested {
namespace {

using Kind = ControlMessage::Kind;

// The test plays init: what it says is in the sockets before the loop runs.
class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    signal(SIGPIPE, SIG_IGN);
    Connect(fds_.control, control_);
    Connect(fds_.in, in_);
    Connect(fds_.out, out_);
    Connect(fds_.err, err_);
    Connect(fds_.console, console_);
    fds_.ended = eventfd(0, EFD_NONBLOCK);
    Pipe(fds_.signals, signals_);
    Pipe(fds_.stdin_fd, stdin_);
    Pipe(stdout_, fds_.stdout_fd);
    Pipe(stderr_, fds_.stderr_fd);
    fcntl(stdout_, F_SETFL, O_NONBLOCK);
    fcntl(stderr_, F_SETFL, O_NONBLOCK);
    limits_.boot = limits_.silence = limits_.time = absl::Seconds(60);
  }
  ~SessionTest() override {
    for (int fd : opened_) close(fd);
  }

  void Connect(int& ours, int& theirs) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    ours = pair[0];
    theirs = pair[1];
    opened_.insert(opened_.end(), {ours, theirs});
  }
  void Pipe(int& read_end, int& write_end) {
    int pair[2];
    ASSERT_EQ(pipe(pair), 0);
    read_end = pair[0];
    write_end = pair[1];
    opened_.insert(opened_.end(), {read_end, write_end});
  }
  void Close(int fd) {
    std::erase(opened_, fd);
    close(fd);
  }
  static void Write(int fd, const std::string& bytes) {
    ASSERT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  static std::string Read(int fd) {
    std::string bytes(1 << 20, '\0');
    const ssize_t n = read(fd, bytes.data(), bytes.size());
    bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return bytes;
  }
  void Say(const ControlMessage& message) { Write(control_, EncodeControl(message)); }
  void SayStarted() {
    Say({.kind = Kind::kHello, .text = "6.1.0"});
    Say({.kind = Kind::kStarted});
  }
  SessionReport Run() { return Session(fds_, limits_, absl::Now()).Run(); }

  SessionFds fds_;
  SessionLimits limits_;
  int control_, in_, out_, err_, console_, signals_, stdin_, stdout_, stderr_;
  std::vector<int> opened_;
};

TEST_F(SessionTest, ExitCodeAndSeparateStreamsComeBack) {
  SayStarted();
  Write(out_, "out");
  Write(err_, "error");
  Say({.kind = Kind::kExit, .code = 7, .a = 3, .b = 5});

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kExited);
  EXPECT_EQ(report.exit_code, 7);
  EXPECT_EQ(report.host_kernel, "6.1.0");
  EXPECT_EQ(Read(stdout_), "out");
  EXPECT_EQ(Read(stderr_), "error");
}

TEST_F(SessionTest, OutputThatArrivesAfterTheExitMessageIsNotLost) {
  const std::string bytes(50000, 'x');
  SayStarted();
  Say({.kind = Kind::kExit, .a = bytes.size()});
  std::thread late([&] { Write(out_, bytes); });

  const SessionReport report = Run();
  late.join();

  EXPECT_EQ(report.end, SessionEnd::kExited);
  EXPECT_EQ(Read(stdout_), bytes);
}

TEST_F(SessionTest, StandardInputIsForwardedAndItsEndToldWithTheCount) {
  SayStarted();
  Write(stdin_, "hello");
  Close(stdin_);
  std::string told;
  std::thread init([&] {
    while (told.find("stdin-end") == std::string::npos) told += Read(control_);
    Say({.kind = Kind::kExit});
  });

  const SessionReport report = Run();
  init.join();

  EXPECT_EQ(report.bytes_in, 5u);
  EXPECT_EQ(Read(in_), "hello");
  EXPECT_EQ(told, "stdin-end 5\n");
}

TEST_F(SessionTest, FirstInterruptGoesInsideAndTheSecondEndsTheSession) {
  SayStarted();
  std::thread user([&] {
    Write(signals_, std::string(1, static_cast<char>(SIGINT)));
    std::string told;
    while (told.empty()) told = Read(control_);
    EXPECT_EQ(told, "signal 2\n");
    Write(signals_, std::string(1, static_cast<char>(SIGINT)));
  });
  // The signal must find the program started: the messages above are read before the signals.
  const SessionReport report = Run();
  user.join();

  EXPECT_EQ(report.end, SessionEnd::kInterrupted);
  EXPECT_EQ(report.exit_code, 128 + SIGINT);
}

TEST_F(SessionTest, InterruptBeforeTheProgramRunsEndsTheSession) {
  Write(signals_, std::string(1, static_cast<char>(SIGINT)));

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kInterrupted);
  EXPECT_EQ(report.exit_code, 128 + SIGINT);
}

TEST_F(SessionTest, TerminationThatTheProgramIgnoresEndsTheSession) {
  limits_.termination = absl::Milliseconds(20);
  SayStarted();
  Write(signals_, std::string(1, static_cast<char>(SIGTERM)));

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kInterrupted);
  EXPECT_EQ(report.exit_code, 128 + SIGTERM);
}

TEST_F(SessionTest, SilenceAfterTheHelloIsAHang) {
  limits_.silence = absl::Milliseconds(20);
  SayStarted();
  Say({.kind = Kind::kBeat, .a = 4});

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kHung);
  EXPECT_NE(report.reason.find("after beat 4"), std::string::npos) << report.reason;
}

TEST_F(SessionTest, EmulatedHostIsNudgedWhileTheProgramRuns) {
  SayStarted();
  limits_.silence = 3 * kNudgePeriod;

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kHung);
  EXPECT_NE(Read(control_).find("nudge\n"), std::string::npos);
}

TEST_F(SessionTest, HostThatNeverSaysHelloIsAHang) {
  limits_.boot = absl::Milliseconds(20);
  Write(console_, "early words");

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kHung);
  EXPECT_EQ(report.console, "early words");
}

TEST_F(SessionTest, SlowReaderIsNoHangOnceTheProgramHasEnded) {
  limits_.silence = absl::Milliseconds(20);
  const std::string bytes(200000, 'x');  // more than the pipe to the reader holds
  SayStarted();
  Say({.kind = Kind::kExit, .a = bytes.size()});
  std::string seen;
  std::thread writer([&] {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = write(out_, bytes.data() + sent, bytes.size() - sent);
      if (n > 0) sent += static_cast<size_t>(n);
    }
  });
  std::thread reader([&] {
    absl::SleepFor(absl::Milliseconds(100));
    while (seen.size() < bytes.size()) seen += Read(stdout_);
  });

  const SessionReport report = Run();
  writer.join();
  reader.join();

  EXPECT_EQ(report.end, SessionEnd::kExited);
  EXPECT_EQ(seen, bytes);
}

TEST_F(SessionTest, TimeLimitEndsALivingHost) {
  limits_.time = absl::Milliseconds(20);
  SayStarted();

  EXPECT_EQ(Run().end, SessionEnd::kTimeLimit);
}

TEST_F(SessionTest, EmulatorThatEndsByItselfIsDeath) {
  SayStarted();
  eventfd_write(fds_.ended, 1);

  EXPECT_EQ(Run().end, SessionEnd::kDied);
}

TEST_F(SessionTest, DeathWithOutputMissingIsNotTakenForAnExit) {
  SayStarted();
  Write(out_, "all there was");
  Say({.kind = Kind::kExit, .a = 1000});
  Close(out_);
  Close(err_);
  eventfd_write(fds_.ended, 1);

  EXPECT_EQ(Run().end, SessionEnd::kDied);
  EXPECT_EQ(Read(stdout_), "all there was");
}

TEST_F(SessionTest, WhatInitCouldNotDoIsTheReason) {
  Say({.kind = Kind::kFailed, .text = "execute /x: No such file or directory"});

  const SessionReport report = Run();

  EXPECT_EQ(report.end, SessionEnd::kFailed);
  EXPECT_EQ(report.reason, "execute /x: No such file or directory");
}

TEST_F(SessionTest, ProgramLearnsThatNobodyReadsItsOutput) {
  Close(stdout_);
  SayStarted();
  Write(out_, "lost");
  std::thread init([&] {
    std::string told;
    while (told.find("signal 13") == std::string::npos) told += Read(control_);
    Say({.kind = Kind::kExit, .code = 141, .a = 4});
  });

  const SessionReport report = Run();
  init.join();

  EXPECT_EQ(report.exit_code, 141);
}

}  // namespace
}  // namespace stasis::nested
