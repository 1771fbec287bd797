// Serial16550: a 16550A UART at eight I/O ports, for early kernel output and a last-resort channel.
#ifndef STASIS_DEVICES_SERIAL_SERIAL_16550_H_
#define STASIS_DEVICES_SERIAL_SERIAL_16550_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "devices/host_stream/host_stream.h"
#include "vmm/device/device.h"
#include "vmm/event/event_loop.h"

namespace stasis {

constexpr uint64_t kSerialWindow = 8;

// Registers are served on vCPU threads, which never wait for the host: what the guest sends goes
// into a buffer of kTransmitBuffer bytes that the event loop empties. While that is nearly full,
// THRE and TEMT are clear, so that a driver that looks at them loses nothing. Input is read from
// the host only as fast as the guest takes it. Destroyed on the loop's thread, or when the loop
// runs no more.
class Serial16550 : public BusDevice {
 public:
  struct Options {
    std::string name = "serial0";
    int input_fd = -1;   // non-blocking, the caller's; -1: no input
    int output_fd = -1;  // the same; -1: output is thrown away
    InterruptLine* line = nullptr;
    EventLoop* loop = nullptr;
  };
  // Error: InvalidArgument for a descriptor that is closed or would block.
  static absl::StatusOr<std::unique_ptr<Serial16550>> Create(Options options);

  std::string name() const override { return options_.name; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;
  std::string DumpState() const override;

  // On the loop's thread (or after it ended): writes what the host takes without blocking; returns
  // the number of bytes that are left. To be called before the process ends.
  size_t Drain();

  // Bytes that a guest sent although THRE was clear and the buffer full.
  uint64_t overruns() const;

  static constexpr size_t kTransmitBuffer = 64 * 1024;
  static constexpr size_t kFifo = 16;

 private:
  explicit Serial16550(Options options);

  uint8_t ReadRegister(uint64_t offset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteRegister(uint64_t offset, uint8_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Transmit(uint8_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t Receive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t LineStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t ModemStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t PendingInterrupt() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes an edge when the interrupt output rises.
  void UpdateInterrupt() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateTransmitter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Schedule(bool& scheduled, void (Serial16550::*task)()) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // On the loop.
  void OnWritable();
  void OnReadable();

  const Options options_;
  std::unique_ptr<HostStream> stream_;  // loop's thread only

  mutable absl::Mutex mutex_;
  uint8_t interrupt_enable_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t fifo_control_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t line_control_ ABSL_GUARDED_BY(mutex_) = 0x03;  // 8N1
  uint8_t modem_control_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t scratch_ ABSL_GUARDED_BY(mutex_) = 0;
  uint16_t divisor_ ABSL_GUARDED_BY(mutex_) = 1;             // 115200 baud
  bool transmitter_ready_ ABSL_GUARDED_BY(mutex_) = true;    // THRE
  bool transmit_interrupt_ ABSL_GUARDED_BY(mutex_) = false;  // THRE interrupt not yet seen
  bool interrupt_output_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<uint8_t> received_ ABSL_GUARDED_BY(mutex_);
  // Ring: the loop's thread takes from the front without the lock while vCPUs append behind.
  std::vector<uint8_t> transmit_;
  size_t transmit_start_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t transmit_size_ ABSL_GUARDED_BY(mutex_) = 0;
  bool drain_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_held_ ABSL_GUARDED_BY(mutex_) = false;  // the FIFO is full: host input waits
  uint64_t overruns_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t transmitted_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t received_total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Serial16550*> self_ = std::make_shared<Serial16550*>(this);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_SERIAL_SERIAL_16550_H_
