#include "tools/harness/terminal.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(EscapeKeysTest, OrdinaryKeysReachTheGuest) {
  EscapeKeys keys;
  std::string guest;

  EXPECT_FALSE(keys.Feed("ls -x\r\x03", &guest));

  EXPECT_EQ(guest, "ls -x\r\x03");
}

TEST(EscapeKeysTest, CtrlAThenXLeavesEvenInTwoPieces) {
  EscapeKeys keys;
  std::string guest;

  EXPECT_FALSE(keys.Feed("ab\x01", &guest));
  EXPECT_TRUE(keys.Feed("xcd", &guest));

  EXPECT_EQ(guest, "ab");
}

TEST(EscapeKeysTest, CtrlAThenASendsOneCtrlA) {
  EscapeKeys keys;
  std::string guest;

  EXPECT_FALSE(
      keys.Feed("\x01"
                "a",
                &guest));

  EXPECT_EQ(guest, "\x01");
}

TEST(EscapeKeysTest, CtrlAThenAnotherKeySendsBoth) {
  EscapeKeys keys;
  std::string guest;

  EXPECT_FALSE(
      keys.Feed("\x01"
                "e\x01\x01",
                &guest));

  EXPECT_EQ(guest,
            "\x01"
            "e\x01\x01");
}

TEST(RawTerminalTest, ModeIsPutBack) {
  int master, terminal;
  winsize size = {.ws_row = 33, .ws_col = 101};
  if (openpty(&master, &terminal, nullptr, nullptr, &size) != 0) GTEST_SKIP() << "no pty";
  termios before, during, after;
  tcgetattr(terminal, &before);

  {
    auto raw = RawTerminal::Enter(terminal);
    ASSERT_TRUE(raw.ok()) << raw.status();
    tcgetattr(terminal, &during);
  }
  tcgetattr(terminal, &after);

  EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0u);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  ASSERT_TRUE(TerminalSize(terminal).has_value());
  EXPECT_EQ(TerminalSize(terminal)->rows, 33);
  EXPECT_EQ(TerminalSize(terminal)->columns, 101);
  close(master);
  close(terminal);
}

TEST(RawTerminalTest, PipeIsNoTerminal) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);

  EXPECT_FALSE(RawTerminal::Enter(fds[0]).ok());
  EXPECT_FALSE(TerminalSize(fds[0]).has_value());

  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace stasis
