// DumpRequest: the port through which a guest asks for a dump of itself.
#ifndef STASIS_DEVICES_POWER_DUMP_REQUEST_H_
#define STASIS_DEVICES_POWER_DUMP_REQUEST_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "devices/power/machine_event.h"
#include "vmm/device/device.h"

namespace stasis {

constexpr uint64_t kDumpRequestPort = 0x506;
constexpr uint64_t kDumpRequestWindow = 1;

// One byte: any write asks for a dump, after which the guest goes on; reads give 0. From a shell in
// the guest: /init dump. Stateless: any vCPU thread.
class DumpRequest : public BusDevice {
 public:
  explicit DumpRequest(MachineEventCallback on_event) : on_event_(std::move(on_event)) {}

  std::string name() const override { return "dump-request"; }
  void Read(uint64_t /*offset*/, absl::Span<uint8_t> data) override {
    std::fill(data.begin(), data.end(), 0);
  }
  void Write(uint64_t /*offset*/, absl::Span<const uint8_t> /*data*/) override {
    on_event_(MachineEvent::kDumpRequest);
  }

 private:
  const MachineEventCallback on_event_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_POWER_DUMP_REQUEST_H_
