#include "devices/console/virtio_console.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "devices/virtio/features.h"

namespace stasis {

absl::StatusOr<std::unique_ptr<VirtioConsole>> VirtioConsole::Create(Options options,
                                                                     EventLoop* loop) {
  if (loop == nullptr) return absl::InvalidArgumentError("virtio console needs an event loop");
  if (options.ports.empty() || options.ports.size() > kMaxPorts) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %d ports; must be 1 to %d", options.name,
                                                      options.ports.size(), kMaxPorts));
  }
  std::set<std::string> names;
  for (const ConsolePortOptions& port : options.ports) {
    if (!port.name.empty() && !names.insert(port.name).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: two ports are named '%s'", options.name, port.name));
    }
    for (int fd : {port.input_fd, port.output_fd}) {
      if (absl::Status status = HostStream::Check(fd); !status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s, port '%s': %s", options.name, port.name, status.message()));
      }
    }
  }
  return std::unique_ptr<VirtioConsole>(new VirtioConsole(std::move(options), loop));
}

VirtioConsole::VirtioConsole(Options options, EventLoop* loop)
    : options_(std::move(options)), loop_(loop) {
  config_.cols = options_.cols;
  config_.rows = options_.rows;
  config_.max_nr_ports = options_.ports.size();
  for (const ConsolePortOptions& port : options_.ports) {
    ports_.push_back(std::make_unique<ConsolePort>(
        port, loop_, [this] { Pump(); }, [this] { Pump(); }));
  }
}

VirtioConsole::~VirtioConsole() {
  for (int fd : listening_) loop_->Remove(fd);
  absl::MutexLock lock(&mutex_);
  for (auto& port : ports_) port->Stop();
}

uint64_t VirtioConsole::features() const {
  return kVirtioFeatureVersion1 | kVirtioFeatureEventIdx | kVirtioFeatureIndirectDesc |
         kConsoleFeatureSize | kConsoleFeatureMultiport;
}

std::vector<uint16_t> VirtioConsole::queue_max_sizes() const {
  return std::vector<uint16_t>(2 * (options_.ports.size() + 1), kQueueSize);
}

void VirtioConsole::ReadConfig(uint64_t offset, absl::Span<uint8_t> data) {
  absl::MutexLock lock(&mutex_);
  if (offset >= sizeof(config_)) return;
  std::memcpy(data.data(), reinterpret_cast<const uint8_t*>(&config_) + offset,
              std::min<uint64_t>(data.size(), sizeof(config_) - offset));
}

absl::Status VirtioConsole::Activate(Activation activation) {
  {
    absl::MutexLock lock(&mutex_);
    active_ = std::move(activation);
    multiport_ = (active_.features & kConsoleFeatureMultiport) != 0;
    for (uint32_t i = 0; i < ports_.size(); ++i) {
      ports_[i]->Start(active_.queues[ReceiveQueueOf(i)], active_.queues[TransmitQueueOf(i)]);
      if (!multiport_) break;
    }
    if (!multiport_) SetGuestOpen(0, true);
  }
  Post(&VirtioConsole::StartListening);
  return absl::OkStatus();
}

absl::Status VirtioConsole::Reset() {
  {
    absl::MutexLock lock(&mutex_);
    for (uint32_t i = 0; i < ports_.size(); ++i) {
      SetGuestOpen(i, false);
      ports_[i]->Stop();
    }
    active_ = Activation();
    multiport_ = false;
  }
  Post(&VirtioConsole::Pump);  // the descriptors are not to be read any more
  return absl::OkStatus();
}

void VirtioConsole::Post(void (VirtioConsole::*task)()) {
  loop_->Post([weak = std::weak_ptr<VirtioConsole*>(self_), task] {
    if (std::shared_ptr<VirtioConsole*> self = weak.lock()) (**self.*task)();
  });
}

void VirtioConsole::StartListening() {
  if (listening_.empty()) {
    std::vector<int> fds;
    {
      absl::MutexLock lock(&mutex_);
      for (const ActiveQueue& queue : active_.queues) fds.push_back(queue.notify_fd);
    }
    for (uint32_t i = 0; i < fds.size(); ++i) {
      absl::Status status = loop_->Add(fds[i], EPOLLIN, [this, i](uint32_t) { OnNotify(i); });
      if (!status.ok()) {
        signals()->NeedsReset(absl::StrCat("cannot listen to its queues: ", status.message()));
        return;
      }
      listening_.push_back(fds[i]);
    }
  }
  Pump();
}

void VirtioConsole::OnNotify(uint32_t queue) {
  {
    absl::MutexLock lock(&mutex_);
    // Emptied even without a driver: the pass after the next DRIVER_OK looks at every queue (R4).
    if (queue < active_.queues.size()) {
      active_.queues[queue].TakeNotifications();
    } else {
      ActiveQueue{.notify_fd = listening_[queue]}.TakeNotifications();
    }
  }
  Pump();
}

void VirtioConsole::Pump() {
  {
    absl::MutexLock lock(&mutex_);
    if (paused_.load(std::memory_order_acquire)) {  // P1; Resume pumps
      for (auto& port : ports_) port->Rest();
      return;
    }
    bool more = multiport_ && PumpControlOut();
    more = (multiport_ && PumpControlIn()) || more;
    for (auto& port : ports_) {
      more = port->PumpOutput() || more;
      more = port->PumpInput() || more;
    }
    if (more) Post(&VirtioConsole::Pump);
  }
  ReportPortChanges();
}

void VirtioConsole::ReportPortChanges() {
  std::vector<std::pair<uint32_t, bool>> changes;
  {
    absl::MutexLock lock(&mutex_);
    changes.swap(port_changes_);
  }
  if (options_.on_port_open == nullptr) return;
  for (const auto& [port, open] : changes) options_.on_port_open(port, open);
}

bool VirtioConsole::PumpControlOut() {
  const std::shared_ptr<Virtqueue> queue = active_.queues[kControlTransmitQueue].queue;
  if (queue == nullptr) return false;
  queue->DisableNotifications();
  for (int i = 0; i < ConsolePort::kBudget; ++i) {
    std::optional<DescriptorChain> chain = queue->Pop();
    if (!chain.has_value()) {
      queue->PublishUsed();
      if (!queue->EnableNotifications()) return false;
      continue;
    }
    ConsoleControl message;  // a host copy (Q6)
    if (chain->Read(0, &message, sizeof(message)) == sizeof(message)) {
      Handle(message);
    } else {
      signals()->refusals().Report(
          "control-short", absl::StrFormat("control message of %d bytes", chain->readable_bytes()));
    }
    queue->Return(*std::move(chain), 0);
  }
  queue->PublishUsed();
  return true;
}

void VirtioConsole::Handle(const ConsoleControl& message) {
  if (message.event == kConsoleDeviceReady) {
    if (message.value != 1) {
      signals()->refusals().Report("driver-not-ready", "DEVICE_READY without success");
      return;
    }
    for (auto& port : ports_) port->pending |= kAdd;
    return;
  }
  if (message.id >= ports_.size()) {
    signals()->refusals().Report(
        "control-port",
        absl::StrFormat("event %d for port %d of %d", message.event, message.id, ports_.size()));
    return;
  }
  ConsolePort& port = *ports_[message.id];
  switch (message.event) {
    case kConsolePortReady:
      port.driver_ready = message.value == 1;
      if (!port.driver_ready) {
        signals()->refusals().Report(
            "port-not-ready", absl::StrFormat("the driver could not add port %d", message.id));
        return;
      }
      if (port.is_console()) port.pending |= kIsConsole | kSize;
      if (!port.name().empty()) port.pending |= kName;
      port.pending |= kOpen;
      return;
    case kConsolePortOpen:
      return SetGuestOpen(message.id, message.value != 0);
    default:
      signals()->refusals().Report(
          "control-event", absl::StrFormat("event %d for port %d", message.event, message.id));
  }
}

void VirtioConsole::SetGuestOpen(uint32_t port, bool open) {
  if (ports_[port]->guest_open == open) return;
  ports_[port]->guest_open = open;
  port_changes_.emplace_back(port, open);
}

bool VirtioConsole::PumpControlIn() {
  const std::shared_ptr<Virtqueue> queue = active_.queues[kControlReceiveQueue].queue;
  if (queue == nullptr) return false;
  queue->DisableNotifications();
  int budget = ConsolePort::kBudget;
  for (uint32_t i = 0; i < ports_.size(); ++i) {
    while (ports_[i]->pending != 0) {
      std::optional<DescriptorChain> chain = queue->Pop();
      if (!chain.has_value()) {
        queue->PublishUsed();
        if (!queue->EnableNotifications()) return false;  // goes on with the next notification
        if (--budget == 0) return true;
        continue;
      }
      const Message message = static_cast<Message>(ports_[i]->pending & -ports_[i]->pending);
      const std::string bytes = Encode(i, message);
      if (chain->writable_bytes() >= bytes.size()) {
        ports_[i]->pending &= ~message;
        chain->Write(0, bytes.data(), bytes.size());
        queue->Return(*std::move(chain), bytes.size());
      } else {
        signals()->refusals().Report(
            "control-buffer", absl::StrFormat("control buffer of %d bytes is too small for %d",
                                              chain->writable_bytes(), bytes.size()));
        queue->Return(*std::move(chain), 0);
      }
      if (--budget == 0) {
        queue->PublishUsed();
        return true;
      }
    }
  }
  queue->PublishUsed();
  return false;
}

std::string VirtioConsole::Encode(uint32_t port, Message message) const {
  ConsoleControl control{.id = port, .value = 1};
  std::string payload;
  switch (message) {
    case kAdd:
      control.event = kConsoleDeviceAdd;
      break;
    case kIsConsole:
      control.event = kConsoleConsolePort;
      break;
    case kSize: {
      control.event = kConsoleResize;
      uint16_t size[2] = {config_.cols, config_.rows};
      if (options_.resize_rows_first) std::swap(size[0], size[1]);
      payload.assign(reinterpret_cast<const char*>(size), sizeof(size));
      break;
    }
    case kName:
      control.event = kConsolePortName;
      payload = ports_[port]->name();  // without a terminator, §5.3.6.2
      break;
    case kOpen:
      control.event = kConsolePortOpen;
      break;
  }
  return std::string(reinterpret_cast<const char*>(&control), sizeof(control)) + payload;
}

void VirtioConsole::SetSize(uint16_t cols, uint16_t rows) {
  {
    absl::MutexLock lock(&mutex_);
    if (config_.cols == cols && config_.rows == rows) return;
    config_.cols = cols;
    config_.rows = rows;
    for (auto& port : ports_) {
      if (port->is_console() && port->driver_ready) port->pending |= kSize;
    }
    // Under the lock: who reads the new size sees the new generation after it (T9).
    signals()->ConfigChanged();
  }
  Pump();
}

bool VirtioConsole::IsPortOpen(uint32_t port) const {
  absl::MutexLock lock(&mutex_);
  return port < ports_.size() && ports_[port]->guest_open;
}

ConsolePort::Counters VirtioConsole::PortCounters(uint32_t port) const {
  absl::MutexLock lock(&mutex_);
  return port < ports_.size() ? ports_[port]->counters() : ConsolePort::Counters();
}

bool VirtioConsole::IsParked() const {
  if (!paused_.load(std::memory_order_acquire)) return false;
  // Whoever holds the lock may be in a pass that began before the request.
  if (!mutex_.TryLock()) return false;
  mutex_.Unlock();
  return true;
}

void VirtioConsole::Resume() {
  paused_.store(false, std::memory_order_release);
  Post(&VirtioConsole::Pump);
}

std::string VirtioConsole::DumpState() const {
  using nlohmann::json;
  absl::MutexLock lock(&mutex_);
  json ports = json::array();
  for (const auto& port : ports_) {
    const ConsolePort::Counters& counters = port->counters();
    ports.push_back({{"name", port->name()},
                     {"console", port->is_console()},
                     {"driver_ready", port->driver_ready},
                     {"guest_open", port->guest_open},
                     {"pending_control", port->pending},
                     {"output_stalled", port->output_stalled()},
                     {"bytes_to_host", counters.bytes_to_host},
                     {"bytes_to_guest", counters.bytes_to_guest},
                     {"bytes_dropped", counters.bytes_dropped},
                     {"output_stalls", counters.output_stalls},
                     {"input_stalls", counters.input_stalls},
                     {"invalid_chains", counters.invalid_chains}});
  }
  const json state = {{"cols", config_.cols},
                      {"rows", config_.rows},
                      {"multiport", multiport_},
                      {"ports", std::move(ports)}};
  return state.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace stasis
