#include "devices/virtio/refusal_log.h"

#include <glog/logging.h>

#include "absl/strings/str_cat.h"

namespace stasis {

void RefusalLog::Report(absl::string_view cause, absl::string_view detail, bool error) {
  absl::MutexLock lock(&mutex_);
  const std::string key(cause);
  ++counts_[key];
  last_.push_back(absl::StrCat(cause, ": ", detail));
  if (last_.size() > kKept) last_.pop_front();
  if (lines_logged_ >= kMaxLines || !logged_.insert(key).second) return;
  ++lines_logged_;
  const std::string line =
      absl::StrCat(device_, ": ", last_.back(),
                   lines_logged_ == kMaxLines ? " (further refusals are counted only)" : "");
  if (error) {
    LOG(ERROR) << line;
  } else {
    LOG(WARNING) << line;
  }
}

void RefusalLog::Rearm() {
  absl::MutexLock lock(&mutex_);
  logged_.clear();
}

uint64_t RefusalLog::count(absl::string_view cause) const {
  absl::MutexLock lock(&mutex_);
  auto it = counts_.find(std::string(cause));
  return it == counts_.end() ? 0 : it->second;
}

uint64_t RefusalLog::lines_logged() const {
  absl::MutexLock lock(&mutex_);
  return lines_logged_;
}

std::map<std::string, uint64_t> RefusalLog::counts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

std::vector<std::string> RefusalLog::last() const {
  absl::MutexLock lock(&mutex_);
  return std::vector<std::string>(last_.begin(), last_.end());
}

}  // namespace stasis
