#include "tools/harness/agent_link.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

using Transport = AgentLink::Transport;

class AgentLinkTest : public testing::Test {
 protected:
  AgentLinkTest()
      : link_({.on_message = [this](const wire::AgentMessage& m) { messages_.push_back(m); },
               .on_protocol_error = [this](const std::string& e) { errors_.push_back(e); },
               .write =
                   [this](Transport transport, absl::string_view bytes) {
                     written_.emplace_back(transport, std::string(bytes));
                   }}) {}

  void Feed(Transport transport, absl::string_view bytes, int at_ms = 0) {
    link_.Feed(transport, bytes, absl::UnixEpoch() + absl::Milliseconds(at_ms), &console_);
  }
  static std::string HelloLine() {
    wire::Hello hello;
    hello.kernel_release = "6.12.0";
    return wire::EncodeLine(wire::AgentMessage(hello));
  }
  static std::string BeatLine(uint64_t uptime_ms) {
    return wire::EncodeLine(wire::AgentMessage(wire::Heartbeat{1, uptime_ms * 1000000}));
  }

  std::vector<wire::AgentMessage> messages_;
  std::vector<std::string> errors_;
  std::vector<std::pair<Transport, std::string>> written_;
  std::string console_;
  AgentLink link_;
};

TEST_F(AgentLinkTest, FramesAmongConsoleTextAreTakenOut) {
  Feed(Transport::kSerial, "[ 0.1] booting\n" + HelloLine() + "[ 0.2] more\n");

  ASSERT_EQ(messages_.size(), 1u);
  ASSERT_TRUE(link_.hello().has_value());
  EXPECT_EQ(link_.hello()->kernel_release, "6.12.0");
  EXPECT_EQ(console_, "[ 0.1] booting\n[ 0.2] more\n");
}

TEST_F(AgentLinkTest, MessageSentBeforeHelloWaitsForIt) {
  link_.Send(wire::Ping{});
  EXPECT_TRUE(written_.empty());

  Feed(Transport::kSerial, HelloLine());

  ASSERT_EQ(written_.size(), 1u);
  EXPECT_EQ(written_[0].first, Transport::kSerial);
  EXPECT_EQ(written_[0].second, wire::EncodeLine(wire::HostMessage(wire::Ping{})));
}

TEST_F(AgentLinkTest, AnswersFollowTheAgentToThePort) {
  Feed(Transport::kSerial, HelloLine());
  Feed(Transport::kPort, HelloLine());

  link_.Send(wire::Ping{});

  ASSERT_EQ(written_.size(), 1u);
  EXPECT_EQ(written_[0].first, Transport::kPort);
}

TEST_F(AgentLinkTest, FrameWithoutSenseIsAProtocolError) {
  Feed(Transport::kPort, wire::EncodeFrame("{\"type\":\"nonsense\"}"));

  EXPECT_EQ(errors_.size(), 1u);
  EXPECT_TRUE(messages_.empty());
}

TEST_F(AgentLinkTest, GuestTimeIsMappedByTheFastestMessage) {
  EXPECT_FALSE(link_.HostTime(0).has_value());
  Feed(Transport::kPort, BeatLine(1000), 6500);  // 500 ms on the way
  Feed(Transport::kPort, BeatLine(2000), 7001);

  ASSERT_TRUE(link_.HostTime(3000000000).has_value());
  EXPECT_EQ(*link_.HostTime(3000000000), absl::UnixEpoch() + absl::Milliseconds(8001));
}

TEST_F(AgentLinkTest, AbsurdGuestTimeIsIgnored) {
  Feed(Transport::kPort, wire::EncodeLine(wire::AgentMessage(wire::Heartbeat{1, UINT64_MAX})), 5);

  EXPECT_FALSE(link_.HostTime(0).has_value());
}

}  // namespace
}  // namespace stasis
