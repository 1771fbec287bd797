// ConsolePort: the two byte streams between one port of the guest and one host descriptor pair.
#ifndef STASIS_DEVICES_CONSOLE_CONSOLE_PORT_H_
#define STASIS_DEVICES_CONSOLE_CONSOLE_PORT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "devices/host_stream/host_stream.h"
#include "devices/virtio/descriptor_chain.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/event/event_loop.h"

namespace stasis {

// What a port is attached to. The descriptors are non-blocking, stay the caller's and outlive the
// console; -1 means no input, or output thrown away. They may be the same (a socket or terminal).
struct ConsolePortOptions {
  std::string name;         // "stasis.agent": /sys/class/virtio-ports/*/name in the guest
  bool is_console = false;  // a terminal for people: hvc
  int input_fd = -1;
  int output_fd = -1;
};

// Guarded by the console's lock; members that move bytes run on the loop's thread besides. Nothing
// is buffered here: a byte is in the host's descriptor or in a guest buffer, so that none can be
// lost, doubled or overtaken.
class ConsolePort {
 public:
  struct Counters {
    uint64_t bytes_to_host = 0;
    uint64_t bytes_to_guest = 0;
    uint64_t bytes_dropped = 0;   // nobody on the host reads any more
    uint64_t output_stalls = 0;   // the host was slow
    uint64_t input_stalls = 0;    // the guest had no buffer
    uint64_t invalid_chains = 0;  // no byte of the needed direction in it
  };

  ConsolePort(const ConsolePortOptions& options, EventLoop* loop, std::function<void()> on_readable,
              std::function<void()> on_writable);

  // Takes the queues of a driver; gives them up again. Any thread, under the console's lock.
  void Start(const ActiveQueue& receive, const ActiveQueue& transmit);
  void Stop();

  // Guest to host, at most `kBudget` buffers. True if there is more to do.
  bool PumpOutput();
  // Host to guest, the same; not before the guest opened the port.
  bool PumpInput();

  // Stops listening to the host until the next pump; a ready descriptor would keep the loop awake.
  void Rest();

  const std::string& name() const { return options_.name; }
  bool is_console() const { return options_.is_console; }
  const Counters& counters() const { return counters_; }
  // A buffer of the guest waits for the host to take the rest of it.
  bool output_stalled() const { return output_chain_.has_value(); }

  // Per pass and direction, so that no guest keeps the loop (and the lock) to itself.
  static constexpr int kBudget = 64;              // buffers
  static constexpr size_t kByteBudget = 1 << 20;  // bytes, of one huge buffer too

  bool guest_open = false;    // PORT_OPEN from the driver
  uint32_t pending = 0;       // control messages due to this port, bits of VirtioConsole::Message
  bool driver_ready = false;  // PORT_READY from the driver

 private:
  enum class Progress { kDone, kBlocked, kYield };
  // Takes what it moved off `budget`; kYield when that is used up.
  Progress WriteOut(const DescriptorChain& chain, size_t& budget);

  const ConsolePortOptions options_;
  HostStream stream_;
  ActiveQueue receive_;
  ActiveQueue transmit_;
  std::optional<DescriptorChain> output_chain_;  // partly written to the host
  uint64_t output_done_ = 0;                     // bytes of it
  std::optional<DescriptorChain> input_chain_;   // waits for input
  Counters counters_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_CONSOLE_CONSOLE_PORT_H_
