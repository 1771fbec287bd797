// AgentLink: frames of the guest agent, on the console port and, before that is there, on the
// serial port among the console text.
#ifndef STASIS_TOOLS_HARNESS_AGENT_LINK_H_
#define STASIS_TOOLS_HARNESS_AGENT_LINK_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "guest/wire/frame.h"
#include "guest/wire/messages.h"

namespace stasis {

// Knows no descriptors: bytes come in by Feed and leave through `write`. One thread. Answers go to
// the transport on which the agent said hello last.
class AgentLink {
 public:
  enum class Transport { kPort, kSerial };

  struct Callbacks {
    std::function<void(const wire::AgentMessage&)> on_message;
    // A frame that is valid on the wire and makes no sense: one line. Of a hello in another
    // protocol version as well.
    std::function<void(const std::string&)> on_protocol_error;
    std::function<void(Transport, absl::string_view)> write;
  };
  explicit AgentLink(Callbacks callbacks) : callbacks_(std::move(callbacks)) {}

  // Appends what is no frame to `console`. `now` is CLOCK_MONOTONIC.
  void Feed(Transport transport, absl::string_view bytes, absl::Time now, std::string* console);

  // Before the first hello the message waits.
  void Send(const wire::HostMessage& message);

  const std::optional<wire::Hello>& hello() const { return hello_; }
  uint64_t bad_frames() const { return port_.bad_frames() + serial_.bad_frames(); }

  // The host's time of an instant of the guest's CLOCK_MONOTONIC: off by the transport's best
  // latency so far. Nothing before the first message with a time.
  std::optional<absl::Time> HostTime(uint64_t guest_ns) const;

 private:
  void Handle(Transport transport, const std::string& payload, absl::Time now);
  void LearnTime(uint64_t guest_ns, absl::Time now);

  const Callbacks callbacks_;
  wire::Decoder port_;
  wire::Decoder serial_;
  std::optional<wire::Hello> hello_;
  Transport answer_on_ = Transport::kSerial;
  std::vector<std::string> waiting_;
  std::optional<absl::Duration> clock_offset_;  // host - guest, the smallest seen
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_AGENT_LINK_H_
