#include "guest/wire/frame.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stasis::wire {
namespace {

struct Decoded {
  std::vector<std::string> payloads;
  std::string console;
  uint64_t bad = 0;
};

Decoded DecodeInPieces(const std::string& bytes, size_t piece) {
  Decoder decoder;
  Decoded out;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    decoder.Feed(absl::string_view(bytes).substr(at, piece), &out.payloads, &out.console);
  }
  out.bad = decoder.bad_frames();
  return out;
}

TEST(FrameTest, FramesAndConsoleTextComeApartInAnyPieces) {
  const std::string bytes =
      "boot\n" + EncodeFrame(R"({"a":1})") + "login: " + EncodeFrame(R"({"b":2})") + "$ ";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    Decoded out = DecodeInPieces(bytes, piece);
    EXPECT_EQ(out.payloads, (std::vector<std::string>{R"({"a":1})", R"({"b":2})"})) << piece;
    EXPECT_EQ(out.console, "boot\nlogin: $ ") << piece;
    EXPECT_EQ(out.bad, 0u);
  }
}

TEST(FrameTest, PromptWithoutNewlineIsNotHeldBack) {
  EXPECT_EQ(DecodeInPieces("/ # ", 4).console, "/ # ");
}

TEST(FrameTest, KernelMessageInsideAFrameCostsOnlyThatFrame) {
  std::string broken = EncodeFrame(R"({"lost":true})");
  broken.insert(25, "[    1.5] BUG: soft lockup\n");
  const std::string bytes = broken + EncodeFrame("{}");

  Decoded out = DecodeInPieces(bytes, 7);

  EXPECT_EQ(out.payloads, std::vector<std::string>{"{}"});
  EXPECT_EQ(out.console, broken) << "nothing of the kernel's message may be lost";
  EXPECT_EQ(out.bad, 1u);
}

TEST(FrameTest, FrameCutShortByAnotherOneIsCounted) {
  Decoded out = DecodeInPieces(EncodeFrame("{}").substr(0, 12) + EncodeFrame("[]"), 100);

  EXPECT_EQ(out.payloads, std::vector<std::string>{"[]"});
  EXPECT_EQ(out.bad, 1u);
}

TEST(FrameTest, CarriageReturnOfATerminalIsAccepted) {
  std::string frame = EncodeFrame("{}");
  frame.insert(frame.size() - 1, "\r");

  EXPECT_EQ(DecodeInPieces(frame, 3).payloads, std::vector<std::string>{"{}"});
}

TEST(FrameTest, FlippedBitIsCaughtByTheCrc) {
  std::string frame = EncodeFrame(R"({"seq":1})");
  frame[frame.size() - 3] ^= 1;

  Decoded out = DecodeInPieces(frame, frame.size());

  EXPECT_TRUE(out.payloads.empty());
  EXPECT_EQ(out.bad, 1u);
}

TEST(FrameTest, LoneSeparatorOnTheConsoleIsText) {
  Decoded out = DecodeInPieces(
      "a\x1e"
      "b\n",
      1);

  EXPECT_EQ(out.console,
            "a\x1e"
            "b\n");
  EXPECT_EQ(out.bad, 0u);
}

TEST(FrameTest, EndlessLineIsGivenUpAtTheLimit) {
  Decoder decoder;
  Decoded out;
  decoder.Feed("\x1estasis ", &out.payloads, &out.console);
  for (size_t fed = 0; fed < 2 * kMaxLine; fed += 4096) {
    decoder.Feed(std::string(4096, 'x'), &out.payloads, &out.console);
  }
  decoder.Feed(absl::StrCat("\n", EncodeFrame("{}")), &out.payloads, &out.console);

  EXPECT_EQ(decoder.bad_frames(), 1u);
  EXPECT_EQ(out.payloads, std::vector<std::string>{"{}"});
}

TEST(FrameTest, RandomBytesNeitherCrashNorBecomeMessages) {
  std::mt19937 random(1);
  std::string bytes;
  for (int i = 0; i < 200000; ++i) {
    const uint32_t word = random();
    // Separators, newlines and marker pieces more often than chance would have them.
    if (word % 50 == 0) {
      bytes += "\x1estasis 0000";
    } else {
      bytes += word % 9 == 0 ? '\n' : static_cast<char>(word >> 8);
    }
  }
  Decoded out = DecodeInPieces(bytes, 61);

  EXPECT_TRUE(out.payloads.empty());
  EXPECT_GT(out.bad, 0u);
}

}  // namespace
}  // namespace stasis::wire
