#include "tools/nested/protocol.h"

#include <gtest/gtest.h>

namespace stasis::nested {
namespace {

using Kind = ControlMessage::Kind;

TEST(OrderTest, EveryFieldComesBackAsItWasWritten) {
  Order order;
  order.argv = {"/bin/sh", "-c", "echo 'a=b'\n", ""};
  order.env = {{"PATH", "/bin:/usr/bin"}, {"X", "a=b"}, {"EMPTY", ""}};
  order.working_directory = "/a dir";
  order.writable = {"/a dir/out", "/b"};
  order.modules = {"kvm.ko", "kvm-amd.ko nested=0 npt=1"};
  order.terminal[1] = true;
  order.raw = true;
  order.window = {24, 80};

  const std::optional<Order> read = DecodeOrder(EncodeOrder(order));

  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->argv, order.argv);
  EXPECT_EQ(read->env, order.env);
  EXPECT_EQ(read->working_directory, order.working_directory);
  EXPECT_EQ(read->writable, order.writable);
  EXPECT_EQ(read->modules, order.modules);
  EXPECT_FALSE(read->terminal[0]);
  EXPECT_TRUE(read->terminal[1]);
  EXPECT_TRUE(read->raw);
  EXPECT_EQ(read->window, order.window);
}

TEST(OrderTest, UnknownKeysAndNumbersOutOfRangeAreRefused) {
  using std::string_view_literals::operator""sv;
  EXPECT_FALSE(DecodeOrder("nonsense\0"sv).has_value());
  EXPECT_FALSE(DecodeOrder("color=red\0"sv).has_value());
  EXPECT_FALSE(DecodeOrder("terminal=3\0"sv).has_value());
  EXPECT_FALSE(DecodeOrder("window=70000 1\0"sv).has_value());
}

TEST(ControlTest, EveryKindComesBackAsItWasWritten) {
  const ControlMessage messages[] = {
      {Kind::kHello, 0, 0, 0, "6.1.0 x"}, {Kind::kStarted, 0, 0, 0, ""},
      {Kind::kBeat, 0, 7, 0, ""},         {Kind::kExit, 137, 1ULL << 40, 3, ""},
      {Kind::kFailed, 0, 0, 0, "mount"},  {Kind::kSignal, 2, 0, 0, ""},
      {Kind::kWindow, 0, 24, 80, ""},     {Kind::kStdinEnd, 0, 99, 0, ""},
      {Kind::kNudge, 0, 0, 0, ""},
  };
  for (const ControlMessage& message : messages) {
    std::string line = EncodeControl(message);
    ASSERT_EQ(line.back(), '\n');
    line.pop_back();

    const std::optional<ControlMessage> read = DecodeControl(line);

    ASSERT_TRUE(read.has_value()) << line;
    EXPECT_EQ(read->kind, message.kind);
    EXPECT_EQ(read->code, message.code);
    EXPECT_EQ(read->a, message.a);
    EXPECT_EQ(read->b, message.b);
    EXPECT_EQ(read->text, message.text);
  }
}

TEST(ControlTest, WhatIsNoMessageIsRefused) {
  EXPECT_FALSE(DecodeControl("").has_value());
  EXPECT_FALSE(DecodeControl("exit").has_value());
  EXPECT_FALSE(DecodeControl("exit 1 2").has_value());
  EXPECT_FALSE(DecodeControl("exit 1 2 3 4").has_value());
  EXPECT_FALSE(DecodeControl("beat -1").has_value());
  EXPECT_FALSE(DecodeControl("beats 1").has_value());
}

TEST(ControlTest, NewlinesInATextDoNotMakeASecondMessage) {
  const std::string line = EncodeControl({Kind::kFailed, 0, 0, 0, "a\nexit 0 0 0"});
  EXPECT_EQ(line, "failed a exit 0 0 0\n");
}

TEST(LineReaderTest, LinesSplitAcrossReadsAreJoined) {
  LineReader reader;
  reader.Append("be");
  EXPECT_EQ(reader.Next(), std::nullopt);
  reader.Append("at 1\nstarted\nbea");
  EXPECT_EQ(reader.Next(), "beat 1");
  EXPECT_EQ(reader.Next(), "started");
  EXPECT_EQ(reader.Next(), std::nullopt);
}

TEST(LineReaderTest, AnEndlessLineIsDroppedAndTheNextOneRead) {
  LineReader reader;
  for (int i = 0; i < 100; ++i) {
    reader.Append(std::string(1000, 'x'));
    EXPECT_EQ(reader.Next(), std::nullopt);
  }
  reader.Append("\nbeat 2\n");
  std::optional<std::string> line = reader.Next();
  if (line && line->front() == 'x') line = reader.Next();
  EXPECT_EQ(line, "beat 2");
}

}  // namespace
}  // namespace stasis::nested
