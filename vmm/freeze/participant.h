// FreezeParticipant: what the coordinator knows of a thread that must stand still in a freeze.
#ifndef STASIS_VMM_FREEZE_PARTICIPANT_H_
#define STASIS_VMM_FREEZE_PARTICIPANT_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace stasis {

enum class ParticipantKind { kVcpu, kDevice };

// A freeze has an epoch, which only grows. All members are called by the coordinator, one freeze at
// a time; none blocks.
class FreezeParticipant {
 public:
  virtual ~FreezeParticipant() = default;
  virtual std::string name() const = 0;
  virtual ParticipantKind kind() const = 0;

  // Asks to park. A vCPU is made to leave the guest or not to enter it, but is not signalled yet
  // (F2).
  virtual void RequestPark(uint64_t epoch) = 0;
  // Signals the thread once, after every participant was asked.
  virtual void Signal() = 0;
  // The same for one that did not park within a moment: a signal may have come just before the
  // system call that it was meant for.
  virtual void SignalAgain() {}
  // True once it is parked for `epoch` (acquire, F5), or has no thread that could touch the guest.
  // It tells the coordinator by FreezeCoordinator::NotifyParked.
  virtual bool IsParked(uint64_t epoch) const = 0;
  // Asks one that is parked to keep its own state, on its own thread (F5). It comes once all have
  // parked, so that reading registers delays nobody's stop.
  virtual void RequestCapture() {}
  // True once it has (acquire); it tells by NotifyParked, too.
  virtual bool IsCaptured(uint64_t epoch) const { return IsParked(epoch); }
  // Lets it go on where it was (F10).
  virtual void Unpark() = 0;

  // For absentees. 0: no thread, or not known.
  virtual pid_t thread_id() const { return 0; }
  virtual std::string last_exit() const { return ""; }
};

}  // namespace stasis

#endif  // STASIS_VMM_FREEZE_PARTICIPANT_H_
