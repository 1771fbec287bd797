#include "guest/agent/commands.h"

#include <signal.h>
#include <sys/wait.h>

#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

// Plays the main loop for commands of the host's own shell.
class CommandsTest : public testing::Test {
 protected:
  CommandsTest() : commands_([this](const wire::AgentMessage& message) { Take(message); }) {}

  void Take(const wire::AgentMessage& message) {
    if (const auto* output = std::get_if<wire::ExecOutput>(&message)) {
      (output->stream == 1 ? out_ : err_) += output->data.data;
    } else if (const auto* exit = std::get_if<wire::ExecExit>(&message)) {
      EXPECT_FALSE(exit_.has_value()) << "two exits";
      exit_ = *exit;
    }
  }

  void RunToTheEnd() {
    for (int round = 0; round < 3000 && !exit_.has_value(); ++round) {
      std::vector<pollfd> fds;
      commands_.AddPollFds(&fds);
      poll(fds.data(), fds.size(), 10);
      commands_.HandleEvents(fds);
      int status;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid > 0) commands_.OnChildExit(pid, status);
    }
    ASSERT_TRUE(exit_.has_value()) << "the command did not end";
  }

  std::string out_, err_;
  std::optional<wire::ExecExit> exit_;
  Commands commands_;
};

TEST_F(CommandsTest, OutputStreamsAndExitCodeComeBack) {
  commands_.Start(wire::Exec{.id = 3, .shell = "echo out; echo err >&2; exit 7"});
  RunToTheEnd();

  EXPECT_EQ(out_, "out\n");
  EXPECT_EQ(err_, "err\n");
  EXPECT_EQ(exit_->id, 3u);
  EXPECT_EQ(exit_->code, 7);
  EXPECT_EQ(exit_->signal, 0);
}

TEST_F(CommandsTest, NoByteOfALongOutputIsLost) {
  commands_.Start(wire::Exec{.shell = "head -c 3000000 /dev/zero"});
  RunToTheEnd();

  EXPECT_EQ(out_, std::string(3000000, '\0'));
}

TEST_F(CommandsTest, InputArrivesWholeAndEnds) {
  commands_.Start(wire::Exec{.argv = {"cat"}});
  const std::string input(2000000, 'x');
  commands_.Input(wire::ExecInput{.data = {input}});
  EXPECT_TRUE(commands_.InputIsFull());
  commands_.Input(wire::ExecInput{.eof = true});
  RunToTheEnd();

  EXPECT_EQ(out_, input);
  EXPECT_EQ(exit_->code, 0);
}

TEST_F(CommandsTest, ProgramThatDoesNotReadItsInputIsNoHarm) {
  signal(SIGPIPE, SIG_IGN);  // as the agent does
  commands_.Start(wire::Exec{.shell = "exec 0<&-; exit 4"});
  commands_.Input(wire::ExecInput{.data = {std::string(2000000, 'x')}, .eof = true});
  RunToTheEnd();

  EXPECT_EQ(exit_->code, 4);
}

TEST_F(CommandsTest, MissingProgramIs127WithTheReason) {
  commands_.Start(wire::Exec{.argv = {"/no/such"}});
  RunToTheEnd();

  EXPECT_EQ(exit_->code, 127);
  EXPECT_EQ(exit_->error, "/no/such: No such file or directory");
}

TEST_F(CommandsTest, FileThatIsNoProgramIs126) {
  commands_.Start(wire::Exec{.argv = {"/etc/passwd"}});
  RunToTheEnd();

  EXPECT_EQ(exit_->code, 126);
}

TEST_F(CommandsTest, MissingDirectoryIsNamed) {
  commands_.Start(wire::Exec{.argv = {"true"}, .cwd = "/no/such/dir"});
  RunToTheEnd();

  EXPECT_EQ(exit_->error, "/no/such/dir: No such file or directory");
}

TEST_F(CommandsTest, EmptyCommandIsAnswered) {
  commands_.Start(wire::Exec{.id = 9});

  ASSERT_TRUE(exit_.has_value());
  EXPECT_EQ(exit_->code, 127);
}

TEST_F(CommandsTest, EnvironmentAndDirectoryAreAsAsked) {
  commands_.Start(
      wire::Exec{.shell = "pwd; echo $A; echo $HOME", .env = {{"A", "b c"}}, .cwd = "/usr"});
  RunToTheEnd();

  EXPECT_EQ(out_, "/usr\nb c\n/root\n");
}

TEST_F(CommandsTest, SignalReachesTheWholeGroup) {
  commands_.Start(wire::Exec{.id = 5, .shell = "echo up; sleep 1000 & wait"});
  while (out_.empty()) {
    std::vector<pollfd> fds;
    commands_.AddPollFds(&fds);
    ASSERT_GT(poll(fds.data(), fds.size(), 20000), 0);
    commands_.HandleEvents(fds);
  }
  commands_.Signal(wire::ExecSignal{.id = 5, .signal = SIGTERM});
  RunToTheEnd();

  EXPECT_EQ(exit_->signal, SIGTERM);
}

TEST_F(CommandsTest, BackgroundProcessDoesNotHoldTheExitBack) {
  commands_.Start(wire::Exec{.shell = "sleep 1000 & echo $!"});
  RunToTheEnd();

  EXPECT_EQ(exit_->code, 0);
  kill(static_cast<pid_t>(std::stoi(out_)), SIGKILL);
}

}  // namespace
}  // namespace stasis::agent
