#include "guest/agent/scheduler_output.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace stasis::agent {

void SchedulerOutput::Append(uint32_t stream, absl::string_view bytes) {
  Stream& to = streams_[stream - 1];
  const size_t live = to.unsent > 0 || to.omitted > 0
                          ? 0  // nothing may overtake what is kept back
                          : std::min(bytes.size(), kLiveBytes - std::min(kLiveBytes, live_));
  if (live > 0) {
    live_ += live;
    send_(wire::SchedulerOutput{.stream = stream, .data = {std::string(bytes.substr(0, live))}});
  }
  to.tail.append(bytes.data(), bytes.size());
  to.unsent += bytes.size() - live;
  if (to.tail.size() <= kTailBytes) return;
  to.tail.erase(0, to.tail.size() - kTailBytes);
  if (to.unsent > kTailBytes) {
    to.omitted += to.unsent - kTailBytes;
    to.unsent = kTailBytes;
  }
}

void SchedulerOutput::Begin() {
  Flush();
  for (Stream& stream : streams_) stream.tail.clear();
}

void SchedulerOutput::Flush() {
  for (uint32_t stream = 1; stream <= 2; ++stream) {
    Stream& from = streams_[stream - 1];
    if (from.unsent == 0 && from.omitted == 0) continue;
    send_(wire::SchedulerOutput{.stream = stream,
                                .omitted = from.omitted,
                                .data = {from.tail.substr(from.tail.size() - from.unsent)}});
    from.unsent = 0;
    from.omitted = 0;
  }
}

std::string SchedulerOutput::LastLine() const {
  for (const Stream* stream : {&streams_[1], &streams_[0]}) {
    absl::string_view last;
    for (absl::string_view line : absl::StrSplit(stream->tail, '\n')) {
      line = absl::StripAsciiWhitespace(line);
      if (!line.empty()) last = line;
    }
    constexpr size_t kLongest = 300;
    if (!last.empty()) return std::string(last.substr(0, kLongest));
  }
  return "";
}

}  // namespace stasis::agent
