#include "devices/serial/serial_16550.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Registers by offset; the first two are the divisor while DLAB is set (16550 data sheet, table
// II).
constexpr uint64_t kData = 0;
constexpr uint64_t kInterruptEnable = 1;
constexpr uint64_t kInterruptIdent = 2;  // read; FIFO control when written
constexpr uint64_t kLineControl = 3;
constexpr uint64_t kModemControl = 4;
constexpr uint64_t kLineStatus = 5;
constexpr uint64_t kModemStatus = 6;
constexpr uint64_t kScratch = 7;

constexpr uint8_t kEnableReceived = 0x01;
constexpr uint8_t kEnableTransmitter = 0x02;
constexpr uint8_t kEnableMask = 0x0f;

constexpr uint8_t kIdentNone = 0x01;
constexpr uint8_t kIdentTransmitter = 0x02;
constexpr uint8_t kIdentReceived = 0x04;
constexpr uint8_t kIdentFifo = 0xc0;

constexpr uint8_t kFifoEnable = 0x01;
constexpr uint8_t kFifoClearReceived = 0x02;

constexpr uint8_t kDivisorLatch = 0x80;  // DLAB

constexpr uint8_t kModemDtr = 0x01;
constexpr uint8_t kModemRts = 0x02;
constexpr uint8_t kModemOut1 = 0x04;
constexpr uint8_t kModemOut2 = 0x08;  // gates the interrupt on a PC
constexpr uint8_t kModemLoop = 0x10;
constexpr uint8_t kModemMask = 0x1f;

constexpr uint8_t kLineDataReady = 0x01;
constexpr uint8_t kLineTransmitterEmpty = 0x60;  // THRE and TEMT

constexpr uint8_t kStatusCts = 0x10;
constexpr uint8_t kStatusDsr = 0x20;
constexpr uint8_t kStatusRing = 0x40;
constexpr uint8_t kStatusDcd = 0x80;

}  // namespace

absl::StatusOr<std::unique_ptr<Serial16550>> Serial16550::Create(Options options) {
  if (options.loop == nullptr || options.line == nullptr) {
    return absl::InvalidArgumentError("serial port needs an event loop and an interrupt line");
  }
  for (int fd : {options.input_fd, options.output_fd}) {
    if (absl::Status status = HostStream::Check(fd); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(options.name, ": ", status.message()));
    }
  }
  std::unique_ptr<Serial16550> serial(new Serial16550(std::move(options)));
  serial->stream_->WantRead(true);
  return serial;
}

Serial16550::Serial16550(Options options)
    : options_(std::move(options)),
      stream_(std::make_unique<HostStream>(
          options_.loop, options_.input_fd, options_.output_fd, [this] { OnReadable(); },
          [this] { OnWritable(); })),
      transmit_(kTransmitBuffer) {}

void Serial16550::Read(uint64_t offset, absl::Span<uint8_t> data) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < data.size(); ++i) data[i] = ReadRegister(offset + i);
}

void Serial16550::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < data.size(); ++i) WriteRegister(offset + i, data[i]);
}

uint8_t Serial16550::ReadRegister(uint64_t offset) {
  const bool latch = (line_control_ & kDivisorLatch) != 0;
  switch (offset) {
    case kData:
      return latch ? divisor_ & 0xff : Receive();
    case kInterruptEnable:
      return latch ? divisor_ >> 8 : interrupt_enable_;
    case kInterruptIdent: {
      const uint8_t pending = PendingInterrupt();
      if (pending == kIdentTransmitter) {  // reading it acknowledges this one
        transmit_interrupt_ = false;
        UpdateInterrupt();
      }
      return pending | ((fifo_control_ & kFifoEnable) != 0 ? kIdentFifo : 0);
    }
    case kLineControl:
      return line_control_;
    case kModemControl:
      return modem_control_;
    case kLineStatus:
      return LineStatus();
    case kModemStatus:
      return ModemStatus();
    case kScratch:
      return scratch_;
    default:
      return 0xff;
  }
}

void Serial16550::WriteRegister(uint64_t offset, uint8_t value) {
  const bool latch = (line_control_ & kDivisorLatch) != 0;
  switch (offset) {
    case kData:
      if (latch) {
        divisor_ = (divisor_ & 0xff00) | value;
      } else {
        Transmit(value);
      }
      return;
    case kInterruptEnable:
      if (latch) {
        divisor_ = (divisor_ & 0x00ff) | (value << 8);
        return;
      }
      // Enabling the transmitter interrupt while the transmitter is ready raises it again.
      if ((value & ~interrupt_enable_ & kEnableTransmitter) != 0) {
        transmit_interrupt_ = transmitter_ready_;
      }
      interrupt_enable_ = value & kEnableMask;
      return UpdateInterrupt();
    case kInterruptIdent:  // FIFO control
      fifo_control_ = value;
      // Only input is dropped by a clear: for the guest, its output left the FIFO long ago.
      if ((value & kFifoClearReceived) != 0) {
        received_.clear();
        if (input_held_) Schedule(input_scheduled_, &Serial16550::OnReadable);
      }
      return UpdateInterrupt();
    case kLineControl:
      line_control_ = value;
      return;
    case kModemControl:
      modem_control_ = value & kModemMask;
      return UpdateInterrupt();
    case kScratch:
      scratch_ = value;
      return;
    default:
      return;  // line and modem status are read-only
  }
}

void Serial16550::Transmit(uint8_t value) {
  transmit_interrupt_ = false;
  if ((modem_control_ & kModemLoop) != 0) {
    if (received_.size() < kFifo) received_.push_back(value);
  } else if (transmit_size_ == kTransmitBuffer) {
    ++overruns_;  // the guest did not look at THRE; hardware loses the byte as well
  } else {
    transmit_[(transmit_start_ + transmit_size_) % kTransmitBuffer] = value;
    ++transmit_size_;
    ++transmitted_;
    Schedule(drain_scheduled_, &Serial16550::OnWritable);
  }
  UpdateTransmitter();
  if (transmitter_ready_) transmit_interrupt_ = true;
  UpdateInterrupt();
}

void Serial16550::UpdateTransmitter() {
  // Not ready with less than a FIFO of room, as drivers send that much after one look; ready again
  // at half, so that a slow host does not mean an interrupt per byte.
  if (transmit_size_ + kFifo > kTransmitBuffer) {
    transmitter_ready_ = false;
  } else if (!transmitter_ready_ && transmit_size_ <= kTransmitBuffer / 2) {
    transmitter_ready_ = true;
    transmit_interrupt_ = true;
  }
}

uint8_t Serial16550::Receive() {
  if (received_.empty()) return 0;
  const uint8_t value = received_.front();
  received_.pop_front();
  if (received_.empty() && input_held_) Schedule(input_scheduled_, &Serial16550::OnReadable);
  UpdateInterrupt();
  return value;
}

uint8_t Serial16550::LineStatus() const {
  return (received_.empty() ? 0 : kLineDataReady) |
         (transmitter_ready_ ? kLineTransmitterEmpty : 0);
}

uint8_t Serial16550::ModemStatus() const {
  if ((modem_control_ & kModemLoop) == 0) return kStatusDcd | kStatusDsr | kStatusCts;
  return ((modem_control_ & kModemRts) != 0 ? kStatusCts : 0) |
         ((modem_control_ & kModemDtr) != 0 ? kStatusDsr : 0) |
         ((modem_control_ & kModemOut1) != 0 ? kStatusRing : 0) |
         ((modem_control_ & kModemOut2) != 0 ? kStatusDcd : 0);
}

uint8_t Serial16550::PendingInterrupt() const {
  if ((interrupt_enable_ & kEnableReceived) != 0 && !received_.empty()) return kIdentReceived;
  if ((interrupt_enable_ & kEnableTransmitter) != 0 && transmit_interrupt_) {
    return kIdentTransmitter;
  }
  return kIdentNone;
}

void Serial16550::UpdateInterrupt() {
  const bool gate = (modem_control_ & kModemOut2) != 0 && (modem_control_ & kModemLoop) == 0;
  const bool output = gate && PendingInterrupt() != kIdentNone;
  if (output && !interrupt_output_) options_.line->Trigger();
  interrupt_output_ = output;
}

void Serial16550::Schedule(bool& scheduled, void (Serial16550::*task)()) {
  if (std::exchange(scheduled, true)) return;
  options_.loop->Post([weak = std::weak_ptr<Serial16550*>(self_), task] {
    if (std::shared_ptr<Serial16550*> self = weak.lock()) (**self.*task)();
  });
}

void Serial16550::OnWritable() { Drain(); }

size_t Serial16550::Drain() {
  while (true) {
    iovec iov[2];
    size_t pieces = 1;
    {
      absl::MutexLock lock(&mutex_);
      if (transmit_size_ == 0) {
        drain_scheduled_ = false;  // the next byte calls for the loop again
        break;
      }
      const size_t first = std::min(transmit_size_, kTransmitBuffer - transmit_start_);
      iov[0] = {.iov_base = &transmit_[transmit_start_], .iov_len = first};
      if (first < transmit_size_) {
        iov[pieces++] = {.iov_base = transmit_.data(), .iov_len = transmit_size_ - first};
      }
    }
    const HostStream::Result result = stream_->Write(iov, pieces);
    if (result.outcome == HostStream::Outcome::kWouldBlock) {
      stream_->WantWrite(true);
      absl::MutexLock lock(&mutex_);
      return transmit_size_;
    }
    absl::MutexLock lock(&mutex_);
    // With nobody to read it, output counts as sent: the guest must not wait for ever.
    const size_t gone =
        result.outcome == HostStream::Outcome::kClosed ? transmit_size_ : result.bytes;
    transmit_start_ = (transmit_start_ + gone) % kTransmitBuffer;
    transmit_size_ -= gone;
    UpdateTransmitter();
    UpdateInterrupt();
  }
  stream_->WantWrite(false);
  return 0;
}

void Serial16550::OnReadable() {
  uint8_t bytes[kFifo];
  size_t room;
  {
    absl::MutexLock lock(&mutex_);
    input_scheduled_ = false;
    room = kFifo - std::min(received_.size(), kFifo);
    input_held_ = room == 0;
  }
  if (room == 0) return stream_->WantRead(false);
  const iovec iov = {.iov_base = bytes, .iov_len = room};
  const HostStream::Result result = stream_->Read(&iov, 1);
  absl::MutexLock lock(&mutex_);
  // Only loopback adds to the FIFO besides this thread; a driver that uses it gives up input.
  received_.insert(received_.end(), bytes, bytes + result.bytes);
  received_total_ += result.bytes;
  input_held_ = received_.size() >= kFifo;
  stream_->WantRead(!input_held_);
  UpdateInterrupt();
}

uint64_t Serial16550::overruns() const {
  absl::MutexLock lock(&mutex_);
  return overruns_;
}

std::string Serial16550::DumpState() const {
  absl::MutexLock lock(&mutex_);
  return absl::StrFormat(
      "{\"ier\":%d,\"fcr\":%d,\"lcr\":%d,\"mcr\":%d,\"lsr\":%d,\"msr\":%d,\"divisor\":%d,"
      "\"transmit_pending\":%d,\"receive_pending\":%d,\"transmitted\":%d,\"received\":%d,"
      "\"overruns\":%d}",
      interrupt_enable_, fifo_control_, line_control_, modem_control_, LineStatus(), ModemStatus(),
      divisor_, transmit_size_, received_.size(), transmitted_, received_total_, overruns_);
}

}  // namespace stasis
