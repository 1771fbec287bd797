#include "devices/virtio/mmio_transport.h"

#include <errno.h>
#include <glog/logging.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "devices/virtio/features.h"

namespace stasis {
namespace {

constexpr uint32_t kRegisterWidth = 4;

void SetHalf(GuestAddress& address, bool high, uint32_t value) {
  const uint64_t old_value = address.value();
  address = GuestAddress(high ? (old_value & 0xffffffff) | (uint64_t{value} << 32)
                              : (old_value & ~uint64_t{0xffffffff}) | value);
}

}  // namespace

VirtioMmioDevice::VirtioMmioDevice(const GuestMemory* memory, std::unique_ptr<VirtioDevice> device,
                                   InterruptLine* line, std::string name)
    : memory_(memory),
      name_(std::move(name)),
      signals_(std::make_shared<DriverSignals>(name_, line)),
      device_(std::move(device)) {
  device_->set_signals(signals_);
  for (uint16_t max_size : device_->queue_max_sizes()) {
    QueueState queue;
    queue.max_size = max_size;
    queue.notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue.notify_fd < 0) {
      LOG(ERROR) << name_ << ": eventfd for queue " << queues_.size() << ": " << strerror(errno)
                 << "; raise the limit on open files (ulimit -n)";
    }
    queues_.push_back(std::move(queue));
  }
}

VirtioMmioDevice::~VirtioMmioDevice() {
  {
    absl::MutexLock lock(&mutex_);
    Reset();
  }
  signals_->Disconnect();
  device_.reset();  // before the descriptors that it listens to
  for (const QueueState& queue : queues_) {
    if (queue.notify_fd >= 0) close(queue.notify_fd);
  }
}

void VirtioMmioDevice::Read(uint64_t offset, absl::Span<uint8_t> data) {
  if (offset >= mmio::kConfig) {  // T2
    std::fill(data.begin(), data.end(), 0);
    absl::MutexLock lock(&mutex_);
    device_->ReadConfig(offset - mmio::kConfig, data);
    return;
  }
  if (data.size() != kRegisterWidth || offset % kRegisterWidth != 0) {  // T1
    std::fill(data.begin(), data.end(), 0xff);
    signals_->refusals().Report("register-width",
                                absl::StrFormat("read of %d bytes at %#x", data.size(), offset));
    return;
  }
  absl::MutexLock lock(&mutex_);
  const uint32_t value = ReadRegister(offset);
  std::memcpy(data.data(), &value, sizeof(value));
}

void VirtioMmioDevice::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  if (offset >= mmio::kConfig) {  // T2
    absl::MutexLock lock(&mutex_);
    device_->WriteConfig(offset - mmio::kConfig, data);
    return;
  }
  if (data.size() != kRegisterWidth || offset % kRegisterWidth != 0) {  // T1
    signals_->refusals().Report("register-width",
                                absl::StrFormat("write of %d bytes at %#x", data.size(), offset));
    return;
  }
  uint32_t value;
  std::memcpy(&value, data.data(), sizeof(value));
  if (offset == mmio::kQueueNotify) {  // no lock: needs none, and is the hot one
    notify_exits_.fetch_add(1, std::memory_order_relaxed);
    NotifyQueue(value);
    return;
  }
  absl::MutexLock lock(&mutex_);
  WriteRegister(offset, value);
}

uint32_t VirtioMmioDevice::ReadRegister(uint64_t offset) {
  if (offset >= mmio::kShmLenLow && offset <= mmio::kShmBaseHigh) return 0xffffffff;
  const QueueState* queue = Selected();
  switch (offset) {
    case mmio::kMagicValue:
      return kVirtioMmioMagic;
    case mmio::kVersion:
      return kVirtioMmioVersion;
    case mmio::kDeviceId:
      return device_->device_id();
    case mmio::kVendorId:
      return kVirtioMmioVendor;
    case mmio::kDeviceFeatures:  // T4
      return device_features_sel_ > 1 ? 0 : device_->features() >> (32 * device_features_sel_);
    case mmio::kQueueNumMax:
      return queue == nullptr ? 0 : queue->max_size;
    case mmio::kQueueReady:
      return queue == nullptr ? 0 : queue->ready;
    case mmio::kInterruptStatus:
      return signals_->interrupt_status();
    case mmio::kStatus:
      return signals_->ladder().value();
    case mmio::kConfigGeneration:
      return signals_->config_generation();
    default:
      return 0;  // write-only and reserved registers
  }
}

void VirtioMmioDevice::WriteRegister(uint64_t offset, uint32_t value) {
  switch (offset) {
    case mmio::kDeviceFeaturesSel:
      device_features_sel_ = value;
      return;
    case mmio::kDriverFeaturesSel:
      driver_features_sel_ = value;
      return;
    case mmio::kDriverFeatures:
      return WriteDriverFeatures(value);
    case mmio::kQueueSel:
      queue_sel_ = value;
      return;
    case mmio::kQueueNum:
    case mmio::kQueueReady:
    case mmio::kQueueDescLow:
    case mmio::kQueueDescHigh:
    case mmio::kQueueDriverLow:
    case mmio::kQueueDriverHigh:
    case mmio::kQueueDeviceLow:
    case mmio::kQueueDeviceHigh:
      return WriteQueueRegister(offset, value);
    case mmio::kInterruptAck:
      signals_->Acknowledge(value);
      return;
    case mmio::kStatus:
      return WriteStatus(value);
    case mmio::kShmSel:
      return;  // no shared memory regions: every selection reads as absent
    default:
      signals_->refusals().Report("register-read-only",
                                  absl::StrFormat("write of %#x at %#x", value, offset));
  }
}

void VirtioMmioDevice::WriteDriverFeatures(uint32_t value) {
  const uint32_t status = signals_->ladder().value();
  if ((status & kStatusDriver) == 0 || (status & kStatusFeaturesOk) != 0) {  // T5
    signals_->refusals().Report(
        "driver-features-when",
        absl::StrFormat("DriverFeatures written at status %#x; only between DRIVER and FEATURES_OK",
                        status));
    return;
  }
  if (driver_features_sel_ > 1) return;  // T4
  const int shift = 32 * driver_features_sel_;
  driver_features_ =
      (driver_features_ & ~(uint64_t{0xffffffff} << shift)) | (uint64_t{value} << shift);
}

VirtioMmioDevice::QueueState* VirtioMmioDevice::Selected() {
  return queue_sel_ < queues_.size() ? &queues_[queue_sel_] : nullptr;
}

void VirtioMmioDevice::WriteQueueRegister(uint64_t offset, uint32_t value) {
  QueueState* queue = Selected();
  if (queue == nullptr) return;  // T7
  const uint32_t status = signals_->ladder().value();
  if ((status & kStatusFeaturesOk) == 0 || (status & kStatusDriverOk) != 0) {  // T6
    // A driver that takes its queues down writes QueueReady = 0 after the reset: no news.
    if (offset == mmio::kQueueReady && value == 0 && !queue->ready) return;
    signals_->refusals().Report(
        "queue-setup-when",
        absl::StrFormat("queue %d: %#x written to register %#x at status %#x; only between "
                        "FEATURES_OK and DRIVER_OK",
                        queue_sel_, value, offset, status));
    return;
  }
  if (offset == mmio::kQueueReady) return WriteQueueReady(*queue, value);
  if (queue->ready) {  // §4.2.2.2: what was checked must stay as it is
    signals_->refusals().Report(
        "queue-setup-ready",
        absl::StrFormat("queue %d: %#x written to register %#x of a ready queue", queue_sel_, value,
                        offset));
    return;
  }
  QueueLayout& layout = queue->layout;
  switch (offset) {
    case mmio::kQueueNum:
      layout.size = value;  // checked when the queue is made ready (T7)
      return;
    case mmio::kQueueDescLow:
    case mmio::kQueueDescHigh:
      return SetHalf(layout.descriptors, offset == mmio::kQueueDescHigh, value);
    case mmio::kQueueDriverLow:
    case mmio::kQueueDriverHigh:
      return SetHalf(layout.avail, offset == mmio::kQueueDriverHigh, value);
    default:
      return SetHalf(layout.used, offset == mmio::kQueueDeviceHigh, value);
  }
}

void VirtioMmioDevice::WriteQueueReady(QueueState& queue, uint32_t value) {
  if (value == 0) {
    queue.ready = false;
    return;
  }
  const absl::Status valid =
      value == 1 ? ValidateLayout(*memory_, queue.layout, queue.max_size)
                 : absl::InvalidArgumentError(absl::StrFormat("QueueReady = %#x", value));
  if (!valid.ok()) {  // T7, Q1
    signals_->refusals().Report(
        "queue-layout", absl::StrFormat("queue %d not ready: %s", queue_sel_, valid.message()));
    return;
  }
  queue.ready = true;
}

void VirtioMmioDevice::NotifyQueue(uint32_t index) {
  if (index >= queues_.size() || queues_[index].notify_fd < 0) {
    signals_->refusals().Report("queue-notify", absl::StrFormat("no queue %d", index));
    return;
  }
  // The same descriptor that KVM writes (T10). A full counter means that a wake-up is due anyway.
  (void)eventfd_write(queues_[index].notify_fd, 1);
}

std::string VirtioMmioDevice::FeatureRefusal() const {  // S4
  if ((driver_features_ & kVirtioFeatureVersion1) == 0) {
    return absl::StrFormat("driver features %#x lack VERSION_1 (%#x)", driver_features_,
                           kVirtioFeatureVersion1);
  }
  const uint64_t extra = driver_features_ & ~device_->features();
  if (extra != 0) {
    return absl::StrFormat("driver features %#x were never offered (offered: %#x)", extra,
                           device_->features());
  }
  return "";
}

void VirtioMmioDevice::WriteStatus(uint32_t value) {
  if (value == 0) return Reset();
  const StatusLadder::Outcome outcome = signals_->ladder().Write(value, [this] {
    mutex_.AssertHeld();
    return FeatureRefusal();
  });
  if (outcome.result == StatusLadder::Result::kRefused) {
    signals_->refusals().Report(outcome.cause, outcome.detail);
  }
  if (outcome.result != StatusLadder::Result::kAdvanced) return;
  if (outcome.new_bits == kStatusFeaturesOk) {
    negotiated_features_ = driver_features_;  // S9
    device_->FeaturesNegotiated(negotiated_features_);
  }
  if (outcome.new_bits == kStatusDriverOk) Activate();
}

void VirtioMmioDevice::Activate() {
  Activation activation{.features = negotiated_features_};
  for (size_t i = 0; i < queues_.size(); ++i) {
    QueueState& queue = queues_[i];
    if (queue.notify_fd < 0) {  // R6
      signals_->NeedsReset(absl::StrFormat("queue %d has no eventfd; not started", i));
      return;
    }
    if (queue.ready) {
      queue.queue =
          std::make_shared<Virtqueue>(memory_, queue.layout, negotiated_features_,
                                      absl::StrFormat("queue %d", i), signals_, queue.counters);
    }
    activation.queues.push_back({.queue = queue.queue, .notify_fd = queue.notify_fd});
  }
  const absl::Status status = device_->Activate(std::move(activation));
  if (!status.ok())
    signals_->NeedsReset(absl::StrFormat("not started: %s", status.message()));  // R6
}

void VirtioMmioDevice::Reset() {
  // R1, phase 1: what no device thread touches.
  device_features_sel_ = driver_features_sel_ = queue_sel_ = 0;
  driver_features_ = negotiated_features_ = 0;
  signals_->BumpGeneration();  // T9
  // Phase 2: the device stops, then the queues go.
  const absl::Status status = device_->Reset();
  stopped_ = status.ok();
  for (QueueState& queue : queues_) {
    queue.queue.reset();
    queue.layout = QueueLayout();
    queue.ready = false;
  }
  // Phase 3: nobody is left to raise a phantom interrupt (R2).
  signals_->ClearInterrupts();
  signals_->refusals().Rearm();
  signals_->ladder().Clear(/*needs_reset=*/!stopped_);  // R3
  if (!stopped_) {
    LOG(ERROR) << name_ << ": did not stop for a reset: " << status.message()
               << "; it answers registers and serves nothing more";
  }
}

std::vector<NotifyEvent> VirtioMmioDevice::NotifyEvents() {
  std::vector<NotifyEvent> events;
  for (size_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].notify_fd < 0) continue;
    events.push_back({.offset = mmio::kQueueNotify,
                      .length = kRegisterWidth,
                      .data_match = i,
                      .event_fd = queues_[i].notify_fd});
  }
  return events;
}

std::string VirtioMmioDevice::DumpState() const {
  using nlohmann::json;
  absl::MutexLock lock(&mutex_);
  json queues = json::array();
  for (const QueueState& queue : queues_) {
    const QueueCounters& counters = *queue.counters;
    json entry = {
        {"max_size", queue.max_size},
        {"size", queue.layout.size},
        {"ready", queue.ready},
        {"descriptors", absl::StrFormat("%#x", queue.layout.descriptors.value())},
        {"avail", absl::StrFormat("%#x", queue.layout.avail.value())},
        {"used", absl::StrFormat("%#x", queue.layout.used.value())},
        {"notifications", counters.notifications.load()},
        {"chains_taken", counters.chains_taken.load()},
        {"chains_returned", counters.chains_returned.load()},
        {"interrupts", counters.interrupts.load()},
        {"interrupts_suppressed", counters.interrupts_suppressed.load()},
        {"poisonings", counters.poisonings.load()},
    };
    if (queue.queue != nullptr) {
      entry["next_avail"] = queue.queue->next_avail();
      entry["next_used"] = queue.queue->next_used();
      entry["poisoned"] = queue.queue->poisoned();
      // The driver's side, as it stands in guest memory.
      entry["avail_idx"] = memory_->Load<uint16_t>(queue.layout.avail + 2).value_or(0);
      entry["used_idx"] = memory_->Load<uint16_t>(queue.layout.used + 2).value_or(0);
    }
    queues.push_back(std::move(entry));
  }
  json state = {
      {"device_id", device_->device_id()},
      {"status", absl::StrFormat("%#x", signals_->ladder().value())},
      {"stopped_cleanly", stopped_},
      {"device_features", absl::StrFormat("%#x", device_->features())},
      {"driver_features", absl::StrFormat("%#x", driver_features_)},
      {"negotiated_features", absl::StrFormat("%#x", negotiated_features_)},
      {"queue_sel", queue_sel_},
      {"interrupt_status", signals_->interrupt_status()},
      {"interrupts_raised", signals_->interrupts_raised()},
      {"config_generation", signals_->config_generation()},
      {"needs_reset_causes", signals_->poisonings()},
      {"notify_exits", notify_exits_.load(std::memory_order_relaxed)},
      {"refusals", signals_->refusals().counts()},
      {"last_refusals", signals_->refusals().last()},
      {"queues", std::move(queues)},
      {"device", json::parse(device_->DumpState(), nullptr, /*allow_exceptions=*/false)},
  };
  return state.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace stasis
