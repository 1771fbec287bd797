#include "guest/agent/transport.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

// A pseudo terminal plays the serial line; the test is its other end.
class TransportTest : public testing::Test {
 protected:
  void SetUp() override {
    host_ = posix_openpt(O_RDWR | O_NOCTTY);
    ASSERT_GE(host_, 0);
    ASSERT_EQ(grantpt(host_), 0);
    ASSERT_EQ(unlockpt(host_), 0);
    hello_.transport = "serial";
  }
  void TearDown() override { close(host_); }

  // What the agent sent, until `count` messages are there.
  std::vector<wire::AgentMessage> Receive(size_t count) {
    std::vector<std::string> payloads;
    while (payloads.size() < count) {
      pollfd readable = {.fd = host_, .events = POLLIN};
      char buffer[4096];
      if (poll(&readable, 1, 10000) != 1) break;
      const ssize_t got = read(host_, buffer, sizeof(buffer));
      if (got <= 0) break;
      decoder_.Feed(absl::string_view(buffer, static_cast<size_t>(got)), &payloads, &console_);
    }
    std::vector<wire::AgentMessage> messages;
    for (const std::string& payload : payloads) {
      auto message = wire::ParseAgentMessage(payload);
      EXPECT_TRUE(message.ok()) << message.status();
      if (message.ok()) messages.push_back(*message);
    }
    return messages;
  }

  void SendBytes(const std::string& bytes) {
    ASSERT_EQ(write(host_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  int host_ = -1;
  wire::Hello hello_;
  wire::Decoder decoder_;
  std::string console_;
  Transport transport_;
};

TEST_F(TransportTest, HelloComesFirstThenWhatWasSentBefore) {
  transport_.Send(wire::Error{.layer = "agent", .text = "mount"});
  ASSERT_TRUE(transport_.Open(ptsname(host_), hello_).ok());
  transport_.Send(wire::Heartbeat{.seq = 1});

  const auto messages = Receive(3);

  ASSERT_EQ(messages.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<wire::Hello>(messages[0]));
  EXPECT_EQ(std::get<wire::Error>(messages[1]).text, "mount");
  EXPECT_TRUE(std::holds_alternative<wire::Heartbeat>(messages[2]));
  EXPECT_EQ(console_, "");
}

TEST_F(TransportTest, TerminalIsRawSoThatNothingIsEchoedOrTranslated) {
  ASSERT_TRUE(transport_.Open(ptsname(host_), hello_).ok());

  termios settings;
  ASSERT_EQ(tcgetattr(transport_.fd(), &settings), 0);
  EXPECT_EQ(settings.c_lflag & (ECHO | ICANON | ISIG), 0u);
  EXPECT_EQ(settings.c_oflag & OPOST, 0u);
}

TEST_F(TransportTest, MessagesOfTheHostArriveInOrder) {
  ASSERT_TRUE(transport_.Open(ptsname(host_), hello_).ok());
  SendBytes(wire::EncodeLine(wire::HostMessage(wire::Ping{})) +
            wire::EncodeLine(wire::HostMessage(wire::Shell{.id = 4})));

  std::vector<wire::HostMessage> messages;
  bool closed = false;
  while (messages.size() < 2 && !closed) {
    for (auto& message : transport_.Receive(&closed)) messages.push_back(message);
  }

  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(std::get<wire::Shell>(messages[1]).id, 4u);
}

TEST_F(TransportTest, MessageThatIsNotUnderstoodIsAnsweredByAnError) {
  ASSERT_TRUE(transport_.Open(ptsname(host_), hello_).ok());
  SendBytes(wire::EncodeFrame(R"({"type":"dance"})"));
  bool closed = false;
  EXPECT_TRUE(transport_.Receive(&closed).empty());

  const auto messages = Receive(2);

  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(std::get<wire::Error>(messages[1]).text, "unknown message type 'dance'");
}

TEST_F(TransportTest, NodeWithoutATerminalIsRefused) {
  EXPECT_FALSE(transport_.Open("/dev/null", hello_).ok());
  EXPECT_FALSE(transport_.Open("/no/such", hello_).ok());
  EXPECT_FALSE(transport_.is_open());
}

TEST(FindVirtioPortTest, PortIsFoundByItsName) {
  const std::string root = testing::TempDir() + "/ports" + std::to_string(getpid());
  for (const auto& [device, name] :
       {std::pair("vport0p1", "other"), {"vport1p2", "stasis.agent"}}) {
    fs::create_directories(root + "/sys/class/virtio-ports/" + device);
    std::ofstream(root + "/sys/class/virtio-ports/" + device + "/name") << name << "\n";
  }
  auto found = FindVirtioPort(root, "stasis.agent");
  auto missing = FindVirtioPort(root, "stasis.none");
  fs::remove_all(root);

  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, root + "/dev/vport1p2");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace stasis::agent
