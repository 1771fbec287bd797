// FreezeCoordinator: the rendezvous of all threads that touch guest memory (rules F).
#ifndef STASIS_VMM_FREEZE_FREEZE_COORDINATOR_H_
#define STASIS_VMM_FREEZE_FREEZE_COORDINATOR_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "vmm/freeze/event_count.h"
#include "vmm/freeze/participant.h"

namespace stasis {

struct FreezeOptions {
  absl::Duration deadline = absl::Seconds(30);        // of the whole rendezvous (F7)
  absl::Duration device_deadline = absl::Seconds(1);  // of it, for device workers
};

// One participant in one freeze.
struct FreezeAttendance {
  std::string name;
  ParticipantKind kind = ParticipantKind::kVcpu;
  bool parked = false;
  bool captured = false;   // its state was kept by the deadline
  absl::Duration latency;  // from the request until it was seen parked
};

// Who did not park in time (F7).
struct FreezeAbsentee {
  std::string name;
  ParticipantKind kind = ParticipantKind::kVcpu;
  pid_t thread_id = 0;
  std::string last_exit;     // of a vCPU
  std::string kernel_stack;  // of the host's thread, from /proc; empty when it cannot be read
};

struct FreezeReport {
  uint64_t number = 0;   // of freezes of this coordinator, from 1
  absl::Time requested;  // CLOCK_MONOTONIC, as `frozen`
  absl::Time frozen;     // the last participant parked, or the deadline passed
  absl::Duration latency;   // F12
  absl::Duration capture_latency;  // from the request until each that parked had kept its state
  absl::Duration deadline;  // that was given
  std::vector<FreezeAttendance> participants;
  std::vector<FreezeAbsentee> absentees;

  // All stood still and kept their state in time.
  bool complete() const {
    return std::all_of(participants.begin(), participants.end(),
                       [](const FreezeAttendance& one) { return one.parked && one.captured; });
  }
};

// Of all freezes so far (F12). Percentiles are of the last kKeptLatencies.
struct FreezeLatencies {
  uint64_t count = 0;
  absl::Duration min;
  absl::Duration p50;
  absl::Duration p99;
  absl::Duration max;
};

class FreezeCoordinator {
 public:
  // What is done while everybody stands still: `after_freeze` as soon as all have parked, maybe
  // before all have kept their state, `before_thaw` right before the first one goes on (F9). With
  // the coordinator's lock held.
  struct Hooks {
    std::function<void(const FreezeReport&)> after_freeze;
    std::function<void(const FreezeReport&)> before_thaw;
  };

  explicit FreezeCoordinator(FreezeOptions options = FreezeOptions()) : options_(options) {}

  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }
  // Before the first freeze. Participants outlive the coordinator's last freeze.
  void Add(FreezeParticipant* participant);

  // Any thread but a participant's. Returns when all are parked or the deadline has passed. Freezes
  // nest and are shared: who asks while the world is frozen, or being frozen, gets that state, and
  // it lasts until each has called Thaw (F8).
  FreezeReport Freeze();
  void Thaw();
  bool frozen() const;

  // From a participant, on any thread: it has parked, or kept its state.
  void NotifyParked() { parked_.Notify(); }

  FreezeLatencies latencies() const;
  // Sum of the times between the end of a rendezvous and its thaw.
  absl::Duration frozen_time() const;

  static constexpr size_t kKeptLatencies = 100000;

 private:
  FreezeReport Rendezvous() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Marks who is parked by now. True when nobody is missing any more, but for device workers whose
  // time is over.
  bool TakeAttendance(FreezeReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Marks who has kept its state by now. True when all have that are parked.
  bool TakeCaptures(FreezeReport& report) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(absl::Duration latency) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FreezeOptions options_;
  Hooks hooks_;
  std::vector<FreezeParticipant*> participants_;
  EventCount parked_;

  mutable absl::Mutex mutex_;  // held for the whole rendezvous: freezes come one after the other
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  int holders_ ABSL_GUARDED_BY(mutex_) = 0;
  FreezeReport report_
      ABSL_GUARDED_BY(mutex_);  // of the freeze that holds, while there are holders
  absl::Duration frozen_time_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Duration> latencies_ ABSL_GUARDED_BY(mutex_);  // a ring
  uint64_t remembered_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration min_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  absl::Duration max_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stasis

#endif  // STASIS_VMM_FREEZE_FREEZE_COORDINATOR_H_
