#include "tools/harness/agent_link.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"

namespace stasis {

void AgentLink::Feed(Transport transport, absl::string_view bytes, absl::Time now,
                     std::string* console) {
  std::vector<std::string> payloads;
  (transport == Transport::kPort ? port_ : serial_).Feed(bytes, &payloads, console);
  for (const std::string& payload : payloads) Handle(transport, payload, now);
}

void AgentLink::Handle(Transport transport, const std::string& payload, absl::Time now) {
  absl::StatusOr<wire::AgentMessage> message = wire::ParseAgentMessage(payload);
  if (!message.ok()) {
    callbacks_.on_protocol_error(std::string(message.status().message()));
    return;
  }
  if (const auto* hello = std::get_if<wire::Hello>(&*message)) {
    hello_ = *hello;
    answer_on_ = transport;
    for (const std::string& line : std::exchange(waiting_, {})) callbacks_.write(transport, line);
  } else if (const auto* beat = std::get_if<wire::Heartbeat>(&*message)) {
    LearnTime(beat->uptime_ns, now);  // a guest that never sleeps: BOOTTIME is MONOTONIC
  } else if (const auto* samples = std::get_if<wire::WorkerSamples>(&*message)) {
    LearnTime(samples->time_ns, now);
  }
  callbacks_.on_message(*message);
}

void AgentLink::LearnTime(uint64_t guest_ns, absl::Time now) {
  // A guest may claim any number; beyond a year it is no uptime and would overflow below.
  if (guest_ns > static_cast<uint64_t>(absl::ToInt64Nanoseconds(absl::Hours(24 * 365)))) return;
  const absl::Duration offset = now - absl::UnixEpoch() - absl::Nanoseconds(guest_ns);
  clock_offset_ = clock_offset_.has_value() ? std::min(*clock_offset_, offset) : offset;
}

std::optional<absl::Time> AgentLink::HostTime(uint64_t guest_ns) const {
  if (!clock_offset_.has_value()) return std::nullopt;
  return absl::UnixEpoch() + absl::Nanoseconds(guest_ns) + *clock_offset_;
}

void AgentLink::Send(const wire::HostMessage& message) {
  std::string line = wire::EncodeLine(message);
  if (hello_.has_value()) {
    callbacks_.write(answer_on_, line);
  } else {
    waiting_.push_back(std::move(line));
  }
}

}  // namespace stasis
