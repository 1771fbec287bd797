#include "vmm/freeze/freeze_coordinator.h"

#include <time.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "vmm/base/full_fence.h"

namespace stasis {
namespace {

// Who was not reached by a signal is signalled again this often.
constexpr absl::Duration kSignalAgain = absl::Milliseconds(10);
// Reading registers takes a millisecond: also behind a deadline that an absentee used up.
constexpr absl::Duration kLeastCaptureTime = absl::Seconds(1);

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

// Where the host's kernel has the thread; root may read it.
std::string KernelStack(pid_t thread_id) {
  if (thread_id == 0) return "";
  std::ifstream file(absl::StrCat("/proc/self/task/", thread_id, "/stack"));
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

}  // namespace

void FreezeCoordinator::Add(FreezeParticipant* participant) {
  absl::MutexLock lock(&mutex_);
  participants_.push_back(participant);
}

FreezeReport FreezeCoordinator::Freeze() {
  absl::MutexLock lock(&mutex_);
  if (holders_++ == 0) {
    report_ = Rendezvous();
    Remember(report_.latency);
  }
  return report_;
}

FreezeReport FreezeCoordinator::Rendezvous() {
  FreezeReport report;
  report.number = ++epoch_;
  report.requested = MonotonicNow();
  report.deadline = options_.deadline;
  report.participants.reserve(participants_.size());
  // F2: devices first, since they may have I/O to bring home; signals once everybody was asked.
  for (ParticipantKind kind : {ParticipantKind::kDevice, ParticipantKind::kVcpu}) {
    for (FreezeParticipant* participant : participants_) {
      if (participant->kind() == kind) participant->RequestPark(epoch_);
    }
  }
  FullFence();
  for (FreezeParticipant* participant : participants_) {
    participant->Signal();
    report.participants.push_back({.name = participant->name(), .kind = participant->kind()});
  }
  // One deadline for all, and nobody is waited for in particular.
  const absl::Time deadline = report.requested + options_.deadline;
  absl::Time signalled = report.requested;
  while (true) {
    const uint32_t seen = parked_.value();
    if (TakeAttendance(report)) break;
    const absl::Time now = MonotonicNow();
    if (now >= deadline) break;
    if (now - signalled >= kSignalAgain) {
      signalled = now;
      for (size_t i = 0; i < participants_.size(); ++i) {
        if (!report.participants[i].parked) participants_[i]->SignalAgain();
      }
    }
    parked_.Wait(seen, std::min(kSignalAgain, deadline - now));
  }
  report.frozen = MonotonicNow();
  report.latency = report.frozen - report.requested;
  for (size_t i = 0; i < participants_.size(); ++i) {
    const FreezeParticipant& participant = *participants_[i];
    if (report.participants[i].parked) continue;
    report.absentees.push_back({.name = participant.name(),
                                .kind = participant.kind(),
                                .thread_id = participant.thread_id(),
                                .last_exit = participant.last_exit(),
                                .kernel_stack = KernelStack(participant.thread_id())});
  }
  if (hooks_.after_freeze) hooks_.after_freeze(report);
  for (FreezeParticipant* participant : participants_) participant->RequestCapture();
  const absl::Time captured_by = std::max(deadline, report.frozen + kLeastCaptureTime);
  absl::Time now = report.frozen;
  while (true) {
    const uint32_t seen = parked_.value();
    if (TakeCaptures(report) || now >= captured_by) break;
    parked_.Wait(seen, captured_by - now);
    now = MonotonicNow();
  }
  report.capture_latency = now - report.requested;
  return report;
}

bool FreezeCoordinator::TakeCaptures(FreezeReport& report) const {
  bool all = true;
  for (size_t i = 0; i < participants_.size(); ++i) {
    FreezeAttendance& attendance = report.participants[i];
    if (!attendance.parked || attendance.captured) continue;
    attendance.captured = participants_[i]->IsCaptured(epoch_);
    all &= attendance.captured;
  }
  return all;
}

bool FreezeCoordinator::TakeAttendance(FreezeReport& report) {
  const absl::Duration since = MonotonicNow() - report.requested;
  bool all = true;
  for (size_t i = 0; i < participants_.size(); ++i) {
    FreezeAttendance& attendance = report.participants[i];
    if (attendance.parked) continue;
    if (participants_[i]->IsParked(epoch_)) {
      attendance.parked = true;
      attendance.latency = since;
    } else if (attendance.kind == ParticipantKind::kVcpu || since < options_.device_deadline) {
      all = false;
    }
  }
  return all;
}

void FreezeCoordinator::Thaw() {
  absl::MutexLock lock(&mutex_);
  if (holders_ == 0 || --holders_ > 0) return;
  if (hooks_.before_thaw) hooks_.before_thaw(report_);
  frozen_time_ += MonotonicNow() - report_.frozen;
  for (FreezeParticipant* participant : participants_) participant->Unpark();
}

bool FreezeCoordinator::frozen() const {
  absl::MutexLock lock(&mutex_);
  return holders_ > 0;
}

absl::Duration FreezeCoordinator::frozen_time() const {
  absl::MutexLock lock(&mutex_);
  return frozen_time_;
}

void FreezeCoordinator::Remember(absl::Duration latency) {
  min_ = std::min(min_, latency);
  max_ = std::max(max_, latency);
  if (latencies_.size() < kKeptLatencies) {
    latencies_.push_back(latency);
  } else {
    latencies_[remembered_ % kKeptLatencies] = latency;
  }
  ++remembered_;
}

FreezeLatencies FreezeCoordinator::latencies() const {
  absl::MutexLock lock(&mutex_);
  FreezeLatencies result{.count = remembered_};
  if (remembered_ == 0) return result;
  std::vector<absl::Duration> sorted = latencies_;
  std::sort(sorted.begin(), sorted.end());
  result.min = min_;
  result.max = max_;
  result.p50 = sorted[(sorted.size() - 1) / 2];
  result.p99 = sorted[(sorted.size() - 1) * 99 / 100];
  return result;
}

}  // namespace stasis
