// SchedulerOutput: what a scheduler's program prints, passed on to the host in bounded form.
#ifndef STASIS_GUEST_AGENT_SCHEDULER_OUTPUT_H_
#define STASIS_GUEST_AGENT_SCHEDULER_OUTPUT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// The beginning goes to the host as it comes, so that it survives a guest that dies; from
// kLiveBytes on, only the end of each stream is kept, and sent by Flush: a program that prints
// without end costs neither memory nor time of the wire. One thread.
class SchedulerOutput {
 public:
  static constexpr size_t kLiveBytes = 256 << 10;  // of both streams
  // What a loader prints last: the kernel's debug dump is 32 KiB by default.
  static constexpr size_t kTailBytes = 128 << 10;  // of each stream

  using Send = std::function<void(const wire::AgentMessage&)>;
  explicit SchedulerOutput(Send send) : send_(std::move(send)) {}

  void Append(uint32_t stream, absl::string_view bytes);  // 1 stdout, 2 stderr
  // Another program begins: what was printed before is no longer in Tail or LastLine.
  void Begin();
  // Sends what was kept back.
  void Flush();

  // The end of a stream of this program, at most kTailBytes.
  const std::string& Tail(uint32_t stream) const { return streams_[stream - 1].tail; }
  // The last line of stderr that is not empty, else of stdout.
  std::string LastLine() const;

 private:
  struct Stream {
    std::string tail;
    size_t unsent = 0;     // bytes at the end of `tail` that were not sent
    uint64_t omitted = 0;  // bytes that are neither sent nor in the tail
  };

  const Send send_;
  size_t live_ = 0;
  Stream streams_[2];
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_SCHEDULER_OUTPUT_H_
