// DeviceParticipant: a device's Freezable as the coordinator sees it.
#ifndef STASIS_VMM_FREEZE_DEVICE_PARTICIPANT_H_
#define STASIS_VMM_FREEZE_DEVICE_PARTICIPANT_H_

#include <string>

#include "vmm/device/device.h"
#include "vmm/freeze/freeze_coordinator.h"
#include "vmm/freeze/participant.h"

namespace stasis {

// `freezable` and `coordinator` outlive it, and the device's threads do not call the coordinator
// after it is gone. A device has no epochs: its pause is taken back by every thaw.
class DeviceParticipant : public FreezeParticipant {
 public:
  DeviceParticipant(Freezable* freezable, FreezeCoordinator* coordinator) : freezable_(freezable) {
    freezable_->SetOnParked([coordinator] { coordinator->NotifyParked(); });
  }

  std::string name() const override { return freezable_->name(); }
  ParticipantKind kind() const override { return ParticipantKind::kDevice; }
  void RequestPark(uint64_t /*epoch*/) override { freezable_->RequestPause(); }
  void Signal() override {}  // RequestPause did
  bool IsParked(uint64_t /*epoch*/) const override { return freezable_->IsParked(); }
  void Unpark() override { freezable_->Resume(); }

 private:
  Freezable* const freezable_;
};

}  // namespace stasis

#endif  // STASIS_VMM_FREEZE_DEVICE_PARTICIPANT_H_
