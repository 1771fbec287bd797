#include "tools/harness/byte_channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace stasis {
namespace {

class ByteChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_), 0);
  }
  void TearDown() override {
    channel_.reset();
    if (far_open_) close(fds_[1]);
  }

  void Open(int fd, bool owned) {
    auto channel = ByteChannel::Create(
        loop_.get(), fd, owned,
        {.on_bytes = [this](absl::string_view bytes) { got_.append(bytes.data(), bytes.size()); },
         .on_end = [this] { ++ends_; },
         .on_drained = [this] { ++drained_; }});
    ASSERT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
  }
  void CloseFarEnd() {
    close(fds_[1]);
    far_open_ = false;
  }
  // Turns of the loop until nothing more happens at once.
  void Turn(int times = 4) {
    for (int i = 0; i < times; ++i) loop_->RunOnce(absl::ZeroDuration());
  }

  std::unique_ptr<EventLoop> loop_;
  int fds_[2];
  bool far_open_ = true;
  std::unique_ptr<ByteChannel> channel_;
  std::string got_;
  int ends_ = 0;
  int drained_ = 0;
};

TEST_F(ByteChannelTest, BytesArriveAndEndIsToldOnce) {
  Open(fds_[0], true);
  ASSERT_EQ(write(fds_[1], "hello", 5), 5);
  Turn();
  CloseFarEnd();
  Turn(10);

  EXPECT_EQ(got_, "hello");
  EXPECT_EQ(ends_, 1);
}

TEST_F(ByteChannelTest, SlowReaderGetsEveryByte) {
  Open(fds_[0], true);
  std::string sent;
  for (int i = 0; i < 200000; ++i) sent += static_cast<char>('a' + i % 26);

  channel_->Write(sent);
  EXPECT_EQ(channel_->pending(), sent.size());
  std::string received;
  char buffer[3000];
  while (received.size() < sent.size()) {
    Turn();
    const ssize_t got = recv(fds_[1], buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) received.append(buffer, got);
  }
  Turn();

  EXPECT_EQ(received, sent);
  EXPECT_EQ(channel_->pending(), 0u);
  EXPECT_EQ(drained_, 1);
}

TEST_F(ByteChannelTest, PausedChannelReadsNothing) {
  Open(fds_[0], true);
  channel_->SetReading(false);
  ASSERT_EQ(write(fds_[1], "x", 1), 1);
  Turn();
  EXPECT_EQ(got_, "");

  channel_->SetReading(true);
  Turn();

  EXPECT_EQ(got_, "x");
}

TEST_F(ByteChannelTest, ReaderThatIsGoneBreaksTheChannelAndNothingElse) {
  signal(SIGPIPE, SIG_IGN);
  Open(fds_[0], true);
  CloseFarEnd();

  channel_->Write(std::string(100000, 'x'));
  Turn();

  EXPECT_TRUE(channel_->broken());
  EXPECT_EQ(channel_->pending(), 0u);
}

TEST_F(ByteChannelTest, RegularFileIsReadAndWritten) {
  char path[] = "/tmp/byte_channel_test.XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  ASSERT_EQ(write(fd, "in the file", 11), 11);
  ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);

  Open(fd, true);
  Turn(10);

  EXPECT_EQ(got_, "in the file");
  EXPECT_EQ(ends_, 1);
  channel_->Write("more");
  EXPECT_EQ(lseek(fd, 0, SEEK_END), 15);
}

}  // namespace
}  // namespace stasis
