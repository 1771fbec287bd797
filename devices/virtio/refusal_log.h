// RefusalLog: what a device refused its driver, counted always and logged once per cause (rule S8).
#ifndef STASIS_DEVICES_VIRTIO_REFUSAL_LOG_H_
#define STASIS_DEVICES_VIRTIO_REFUSAL_LOG_H_

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace stasis {

// Any thread. Counters live as long as the device (rule R7); only the "once" is re-armed by a
// reset, and even that has a limit, so that a driver that resets in a loop cannot fill a disk.
class RefusalLog {
 public:
  explicit RefusalLog(std::string device) : device_(std::move(device)) {}

  // `cause` is one of a fixed set of short names, `detail` says what was asked and what stood.
  // The line is a warning, or an error when the device itself is the one in trouble.
  void Report(absl::string_view cause, absl::string_view detail, bool error = false);

  // Lets every cause be logged once more (rule R1, phase 3).
  void Rearm();

  uint64_t count(absl::string_view cause) const;
  uint64_t lines_logged() const;
  std::map<std::string, uint64_t> counts() const;
  // The newest refusals, oldest first, at most kKept.
  std::vector<std::string> last() const;

  static constexpr size_t kKept = 8;
  static constexpr uint64_t kMaxLines = 200;

 private:
  const std::string device_;
  mutable absl::Mutex mutex_;
  std::map<std::string, uint64_t> counts_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> logged_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> last_ ABSL_GUARDED_BY(mutex_);
  uint64_t lines_logged_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_REFUSAL_LOG_H_
