#include "devices/host_stream/host_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

namespace stasis {
namespace {

using Outcome = HostStream::Outcome;

class HostStreamTest : public testing::Test {
 protected:
  HostStreamTest() : loop_(*EventLoop::Create()) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_), 0);
  }
  ~HostStreamTest() override {
    stream_.reset();
    for (int fd : fds_) {
      if (fd >= 0) close(fd);
    }
  }
  void Attach(int input_fd, int output_fd) {
    stream_ = std::make_unique<HostStream>(
        loop_.get(), input_fd, output_fd, [this] { ++readable_; }, [this] { ++writable_; });
  }
  void Turn() { loop_->RunOnce(absl::ZeroDuration()); }
  HostStream::Result Read(std::string* bytes) {
    char buffer[64];
    const iovec iov = {.iov_base = buffer, .iov_len = sizeof(buffer)};
    const HostStream::Result result = stream_->Read(&iov, 1);
    bytes->assign(buffer, result.bytes);
    return result;
  }
  HostStream::Result Write(std::string bytes) {
    const iovec iov = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    return stream_->Write(&iov, 1);
  }
  void HangUp() {
    close(fds_[1]);
    fds_[1] = -1;
  }

  std::unique_ptr<EventLoop> loop_;
  int fds_[2] = {-1, -1};
  std::unique_ptr<HostStream> stream_;
  int readable_ = 0;
  int writable_ = 0;
};

TEST_F(HostStreamTest, CallbacksComeOnlyWhileWanted) {
  Attach(fds_[0], fds_[0]);
  ASSERT_EQ(write(fds_[1], "x", 1), 1);
  Turn();
  EXPECT_EQ(readable_ + writable_, 0);
  stream_->WantRead(true);
  Turn();
  EXPECT_EQ(readable_, 1);
  EXPECT_EQ(writable_, 0);
  stream_->WantRead(false);
  stream_->WantWrite(true);
  Turn();
  EXPECT_EQ(readable_, 1);
  EXPECT_EQ(writable_, 1);
}

TEST_F(HostStreamTest, OneDescriptorServesBothDirectionsAtOnce) {
  Attach(fds_[0], fds_[0]);
  stream_->WantRead(true);
  stream_->WantWrite(true);
  ASSERT_EQ(write(fds_[1], "x", 1), 1);
  Turn();
  EXPECT_EQ(readable_, 1);
  EXPECT_EQ(writable_, 1);
}

TEST_F(HostStreamTest, EmptyInputWouldBlockAndEndOfFileIsFinal) {
  Attach(fds_[0], fds_[0]);
  std::string bytes;
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kWouldBlock);
  ASSERT_EQ(write(fds_[1], "last", 4), 4);
  HangUp();
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kMoved);
  EXPECT_EQ(bytes, "last");
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kClosed);
  EXPECT_FALSE(stream_->input_open());
}

TEST_F(HostStreamTest, AHangUpDoesNotKeepTheLoopAwake) {
  Attach(fds_[0], fds_[0]);
  stream_->WantRead(true);
  HangUp();
  Turn();
  EXPECT_EQ(readable_, 1);
  std::string bytes;
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kClosed);
  Turn();
  Turn();
  EXPECT_EQ(readable_, 1) << "not registered any more, although still wanted";
}

TEST_F(HostStreamTest, WritingToNobodyClosesOutputOnly) {
  Attach(fds_[0], fds_[0]);
  HangUp();
  EXPECT_EQ(Write("x").outcome, Outcome::kClosed);
  EXPECT_FALSE(stream_->output_open());
  EXPECT_TRUE(stream_->input_open());
}

TEST_F(HostStreamTest, AFullPeerWouldBlockAndIsAnnouncedWhenItHasRoom) {
  Attach(-1, fds_[0]);
  while (Write(std::string(65536, 'x')).outcome == Outcome::kMoved) {
  }
  stream_->WantWrite(true);
  Turn();
  EXPECT_EQ(writable_, 0);
  char buffer[65536];
  while (read(fds_[1], buffer, sizeof(buffer)) > 0) {
  }
  Turn();
  EXPECT_EQ(writable_, 1);
}

TEST_F(HostStreamTest, ARegularFileIsAlwaysReady) {
  char path[] = "host_stream_test_XXXXXX";
  const int fd = mkostemp(path, O_CLOEXEC);
  ASSERT_GE(fd, 0);
  unlink(path);
  ASSERT_EQ(pwrite(fd, "file", 4, 0), 4);
  ASSERT_TRUE(HostStream::Check(fd).ok());
  Attach(fd, -1);
  stream_->WantRead(true);
  Turn();
  EXPECT_EQ(readable_, 1);
  std::string bytes;
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kMoved);
  EXPECT_EQ(bytes, "file");
  stream_.reset();
  close(fd);
}

TEST_F(HostStreamTest, NoDescriptorsMeanNoInputAndOutputToNowhere) {
  Attach(-1, -1);
  stream_->WantRead(true);
  stream_->WantWrite(true);
  std::string bytes;
  EXPECT_EQ(Read(&bytes).outcome, Outcome::kClosed);
  EXPECT_EQ(Write("x").outcome, Outcome::kClosed);
}

TEST_F(HostStreamTest, NothingIsCalledAfterDestruction) {
  Attach(fds_[0], fds_[0]);
  stream_->WantWrite(true);
  stream_.reset();
  Turn();
  EXPECT_EQ(writable_, 0);
}

}  // namespace
}  // namespace stasis
