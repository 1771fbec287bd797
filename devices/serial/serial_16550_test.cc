#include "devices/serial/serial_16550.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

namespace stasis {
namespace {

class CountingLine : public InterruptLine {
 public:
  void Trigger() override { edges.fetch_add(1); }
  std::atomic<int> edges{0};
};

// The guest's side and the host's side of a port over a socket pair. The test is the loop's thread.
class Serial16550Test : public testing::Test {
 protected:
  Serial16550Test() : loop_(*EventLoop::Create()) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    device_fd_ = fds[0];
    host_fd_ = fds[1];
    serial_ = *Serial16550::Create(
        {.input_fd = device_fd_, .output_fd = device_fd_, .line = &line_, .loop = loop_.get()});
  }
  ~Serial16550Test() override {
    serial_.reset();
    close(device_fd_);
    if (host_fd_ >= 0) close(host_fd_);
  }

  uint8_t In(uint64_t offset) {
    uint8_t value = 0;
    serial_->Read(offset, absl::MakeSpan(&value, 1));
    return value;
  }
  void Out(uint64_t offset, uint8_t value) {
    serial_->Write(offset, absl::MakeConstSpan(&value, 1));
  }
  void Turn(int times = 4) {
    for (int i = 0; i < times; ++i) loop_->RunOnce(absl::ZeroDuration());
  }
  std::string HostRead() {
    std::string all;
    char bytes[4096];
    for (ssize_t got; (got = read(host_fd_, bytes, sizeof(bytes))) > 0;) all.append(bytes, got);
    return all;
  }
  // A driver that looks at THRE and then sends up to a FIFO, as Linux does. Stops when it is clear.
  size_t SendWhileReady(const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size() && (In(5) & 0x20) != 0) {
      for (size_t i = 0; i < Serial16550::kFifo && sent < bytes.size(); ++i) Out(0, bytes[sent++]);
    }
    return sent;
  }

  std::unique_ptr<EventLoop> loop_;
  CountingLine line_;
  int device_fd_ = -1;
  int host_fd_ = -1;
  std::unique_ptr<Serial16550> serial_;
};

std::string Pattern(size_t length) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

TEST_F(Serial16550Test, BytesWrittenByTheGuestReachTheHostInOrder) {
  for (char c : std::string("hello\n")) Out(0, c);
  Turn();
  EXPECT_EQ(HostRead(), "hello\n");
}

TEST_F(Serial16550Test, BytesFromTheHostReachTheGuestInOrder) {
  ASSERT_EQ(write(host_fd_, "hi", 2), 2);
  EXPECT_EQ(In(5) & 0x01, 0);
  Turn();
  EXPECT_EQ(In(5) & 0x01, 1);
  EXPECT_EQ(In(0), 'h');
  EXPECT_EQ(In(0), 'i');
  EXPECT_EQ(In(5) & 0x01, 0);
}

TEST_F(Serial16550Test, ASlowHostClearsThreAndNoByteIsLost) {
  const std::string sent = Pattern(1 << 20);
  size_t offset = SendWhileReady(sent);
  EXPECT_LE(offset, Serial16550::kTransmitBuffer);
  EXPECT_EQ(In(5) & 0x60, 0) << "nothing drained yet: not ready";
  std::string got;
  int stalls = 0;
  while (got.size() < sent.size()) {
    Turn();  // until the socket is full
    offset += SendWhileReady(sent.substr(offset));
    if ((In(5) & 0x20) == 0) ++stalls;
    got += HostRead();
  }
  EXPECT_TRUE(got == sent);
  EXPECT_GT(stalls, 0);
  EXPECT_EQ(serial_->overruns(), 0u);
}

TEST_F(Serial16550Test, AGuestThatIgnoresThreLosesOnlyWhatDoesNotFitAndItIsCounted) {
  for (size_t i = 0; i < Serial16550::kTransmitBuffer + 5; ++i) Out(0, 'x');
  EXPECT_EQ(serial_->overruns(), 5u);
}

TEST_F(Serial16550Test, InputWaitsInTheHostWhileTheFifoIsFullAndNothingIsLost) {
  const std::string sent = Pattern(10000);
  ASSERT_EQ(write(host_fd_, sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
  std::string got;
  while (got.size() < sent.size()) {
    Turn();
    ASSERT_EQ(In(5) & 0x01, 1) << got.size();
    size_t burst = 0;
    for (; (In(5) & 0x01) != 0; ++burst) got.push_back(static_cast<char>(In(0)));
    ASSERT_LE(burst, Serial16550::kFifo);
  }
  EXPECT_TRUE(got == sent);
}

TEST_F(Serial16550Test, TheLoopSleepsWhileTheFifoIsFull) {
  ASSERT_EQ(write(host_fd_, Pattern(100).data(), 100), 100);
  Turn(8);
  // Would spin if the descriptor were still polled: the turn below would run its callback.
  EXPECT_EQ(In(5) & 0x01, 1);
  bool task_ran = false;
  loop_->AddTimer(absl::Milliseconds(20), [&] { task_ran = true; });
  int turns = 0;
  for (; !task_ran && turns < 100; ++turns) loop_->RunOnce(absl::Milliseconds(50));
  EXPECT_LE(turns, 3);
}

TEST_F(Serial16550Test, AHostThatHangsUpDoesNotStopTheGuest) {
  close(host_fd_);
  host_fd_ = -1;
  const std::string sent = Pattern(3 * Serial16550::kTransmitBuffer);
  size_t offset = 0;
  for (int i = 0; i < 100 && offset < sent.size(); ++i) {
    offset += SendWhileReady(sent.substr(offset));
    Turn();
  }
  EXPECT_EQ(offset, sent.size());
}

TEST_F(Serial16550Test, ReceivedDataInterruptsWhenEnabledAndGated) {
  Out(4, 0x08);  // OUT2
  Out(1, 0x01);
  ASSERT_EQ(write(host_fd_, "a", 1), 1);
  Turn();
  EXPECT_EQ(line_.edges, 1);
  EXPECT_EQ(In(2) & 0x0f, 0x04);
  In(0);
  EXPECT_EQ(In(2) & 0x0f, 0x01);
  ASSERT_EQ(write(host_fd_, "b", 1), 1);
  Turn();
  EXPECT_EQ(line_.edges, 2);
}

TEST_F(Serial16550Test, WithoutOut2NoInterruptLeaves) {
  Out(1, 0x03);
  ASSERT_EQ(write(host_fd_, "a", 1), 1);
  Turn();
  EXPECT_EQ(line_.edges, 0);
  Out(4, 0x08);
  EXPECT_EQ(line_.edges, 1) << "the gate opens on a pending interrupt";
}

TEST_F(Serial16550Test, EnablingTheTransmitterInterruptRaisesItEachTimeAsLinuxProbes) {
  Out(4, 0x08);
  for (int i = 1; i <= 2; ++i) {
    Out(1, 0x02);
    EXPECT_EQ(line_.edges, i);
    EXPECT_EQ(In(2) & 0x0f, 0x02);
    EXPECT_EQ(In(2) & 0x0f, 0x01) << "reading acknowledged it";
    Out(1, 0x00);
  }
}

TEST_F(Serial16550Test, TransmitterInterruptComesWhenASlowHostMadeRoom) {
  Out(4, 0x08);
  Out(1, 0x02);
  SendWhileReady(Pattern(2 * Serial16550::kTransmitBuffer));
  In(2);
  const int before = line_.edges;
  EXPECT_EQ(In(2) & 0x0f, 0x01);
  Turn();
  HostRead();
  Turn();
  EXPECT_EQ(line_.edges, before + 1);
  EXPECT_EQ(In(2) & 0x0f, 0x02);
}

// What Linux's 8250 autoconfig asks of a 16550A, in its order.
TEST_F(Serial16550Test, LinuxAutoconfigSeesA16550A) {
  Out(1, 0x00);
  EXPECT_EQ(In(1) & 0x0f, 0x00);
  Out(1, 0xff);
  EXPECT_EQ(In(1), 0x0f) << "no enhanced bits";
  Out(1, 0x00);
  Out(4, 0x10 | 0x08 | 0x02);  // loopback, OUT2, RTS
  EXPECT_EQ(In(6) & 0xf0, 0x90) << "DCD and CTS follow";
  Out(4, 0x00);
  EXPECT_EQ(In(2) >> 6, 0) << "FIFOs off: an 8250";
  Out(2, 0x01);
  EXPECT_EQ(In(2) >> 6, 3) << "FIFOs on: a 16550A";
  Out(2, 0x21);
  EXPECT_EQ(In(2) & 0x20, 0) << "no 64-byte FIFO";
  Out(3, 0xbf);
  EXPECT_NE(In(2), 0) << "no enhanced feature register";
  Out(3, 0x03);
}

TEST_F(Serial16550Test, DivisorAndScratchReadBackAndDlabSwitchesThem) {
  Out(3, 0x83);
  Out(0, 0x0c);
  Out(1, 0x01);
  EXPECT_EQ(In(0), 0x0c);
  EXPECT_EQ(In(1), 0x01);
  Out(3, 0x03);
  EXPECT_EQ(In(1), 0x00) << "the interrupt enable register is another one";
  Out(7, 0x5a);
  EXPECT_EQ(In(7), 0x5a);
  Turn();
  EXPECT_EQ(HostRead(), "") << "the divisor was not sent";
}

TEST_F(Serial16550Test, LoopbackReturnsTheByteAndSendsNothing) {
  Out(4, 0x10);
  Out(0, 'x');
  EXPECT_EQ(In(0), 'x');
  Turn();
  EXPECT_EQ(HostRead(), "");
}

TEST_F(Serial16550Test, ClearingTheTransmitFifoKeepsOutputThatTheGuestSentBefore) {
  Out(0, 'x');
  Out(2, 0x07);  // enable, clear both, as Linux does at start-up
  Turn();
  EXPECT_EQ(HostRead(), "x");
}

TEST_F(Serial16550Test, DrainSaysWhatIsLeft) {
  Out(0, 'x');
  EXPECT_EQ(serial_->Drain(), 0u);
  SendWhileReady(Pattern(Serial16550::kTransmitBuffer));
  Turn();
  while (SendWhileReady(Pattern(4096)) > 0) Turn();
  EXPECT_GT(serial_->Drain(), 0u);
}

TEST_F(Serial16550Test, VcpuThreadsAndTheLoopMayWorkAtTheSameTime) {
  const std::string sent = Pattern(300000);
  std::thread vcpu([&] {
    for (size_t offset = 0; offset < sent.size();) {
      offset += SendWhileReady(sent.substr(offset, 4096));
      std::this_thread::yield();
    }
  });
  std::string got;
  while (got.size() < sent.size()) {
    loop_->RunOnce(absl::Milliseconds(1));
    got += HostRead();
  }
  vcpu.join();
  EXPECT_TRUE(got == sent);
}

TEST(Serial16550CreateTest, ABlockingDescriptorIsRefused) {
  auto loop = *EventLoop::Create();
  CountingLine line;
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  auto serial = Serial16550::Create({.output_fd = fds[1], .line = &line, .loop = loop.get()});
  EXPECT_FALSE(serial.ok());
  EXPECT_NE(serial.status().message().find("O_NONBLOCK"), absl::string_view::npos);
  close(fds[0]);
  close(fds[1]);
}

TEST(Serial16550CreateTest, OutputToAFileOrDevNullWorks) {
  auto loop = *EventLoop::Create();
  CountingLine line;
  const int null_fd = open("/dev/null", O_RDWR | O_NONBLOCK);
  ASSERT_GE(null_fd, 0);
  auto serial = Serial16550::Create(
      {.input_fd = null_fd, .output_fd = null_fd, .line = &line, .loop = loop.get()});
  ASSERT_TRUE(serial.ok()) << serial.status();
  const uint8_t byte = 'x';
  (*serial)->Write(0, absl::MakeConstSpan(&byte, 1));
  for (int i = 0; i < 4; ++i) loop->RunOnce(absl::ZeroDuration());
  EXPECT_EQ((*serial)->Drain(), 0u);
  serial->reset();
  close(null_fd);
}

TEST(Serial16550CreateTest, APipeWithoutAReaderDoesNotKillTheProcess) {
  auto loop = *EventLoop::Create();
  CountingLine line;
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_NONBLOCK), 0);
  close(fds[0]);
  auto serial = *Serial16550::Create({.output_fd = fds[1], .line = &line, .loop = loop.get()});
  const uint8_t byte = 'x';
  serial->Write(0, absl::MakeConstSpan(&byte, 1));
  EXPECT_EQ(serial->Drain(), 0u);
  serial.reset();
  close(fds[1]);
}

}  // namespace
}  // namespace stasis
