// FakeInterruptLine: counts edges instead of making them.
#ifndef STASIS_DEVICES_VIRTIO_TESTING_FAKE_INTERRUPT_LINE_H_
#define STASIS_DEVICES_VIRTIO_TESTING_FAKE_INTERRUPT_LINE_H_

#include <atomic>

#include "vmm/device/device.h"

namespace stasis {

class FakeInterruptLine : public InterruptLine {
 public:
  void Trigger() override { edges_.fetch_add(1); }
  int edges() const { return edges_.load(); }

 private:
  std::atomic<int> edges_{0};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_TESTING_FAKE_INTERRUPT_LINE_H_
