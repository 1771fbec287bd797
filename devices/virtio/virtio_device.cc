#include "devices/virtio/virtio_device.h"

#include <sys/eventfd.h>

namespace stasis {

void ActiveQueue::TakeNotifications() const {
  eventfd_t count = 0;
  if (eventfd_read(notify_fd, &count) != 0 || queue == nullptr) return;
  queue->counters().notifications.fetch_add(count, std::memory_order_relaxed);
}

}  // namespace stasis
