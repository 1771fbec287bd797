#include "devices/console/console_port.h"

#include <utility>
#include <vector>

namespace stasis {
namespace {

constexpr size_t kMaxIov = 64;

void Abandon(std::optional<DescriptorChain>& chain) {
  if (chain.has_value()) chain->Abandon();
  chain.reset();
}

// Cuts `iov` down to `max_bytes`.
void Trim(std::vector<iovec>& iov, size_t max_bytes) {
  for (size_t i = 0; i < iov.size(); ++i) {
    if (iov[i].iov_len < max_bytes) {
      max_bytes -= iov[i].iov_len;
      continue;
    }
    iov[i].iov_len = max_bytes;
    iov.resize(i + 1);
    return;
  }
}

}  // namespace

ConsolePort::ConsolePort(const ConsolePortOptions& options, EventLoop* loop,
                         std::function<void()> on_readable, std::function<void()> on_writable)
    : options_(options),
      stream_(loop, options.input_fd, options.output_fd, std::move(on_readable),
              std::move(on_writable)) {}

void ConsolePort::Start(const ActiveQueue& receive, const ActiveQueue& transmit) {
  receive_ = receive;
  transmit_ = transmit;
}

void ConsolePort::Stop() {
  Abandon(output_chain_);
  Abandon(input_chain_);
  output_done_ = 0;
  receive_ = ActiveQueue();
  transmit_ = ActiveQueue();
  guest_open = driver_ready = false;
  pending = 0;
}

bool ConsolePort::PumpOutput() {
  if (transmit_.queue == nullptr) {
    stream_.WantWrite(false);
    return false;
  }
  Virtqueue& queue = *transmit_.queue;
  queue.DisableNotifications();
  size_t byte_budget = kByteBudget;
  for (int i = 0; i < kBudget; ++i) {
    if (!output_chain_.has_value()) output_chain_ = queue.Pop();
    if (!output_chain_.has_value()) {
      queue.PublishUsed();
      stream_.WantWrite(false);
      if (!queue.EnableNotifications()) return false;
      continue;
    }
    const Progress progress = WriteOut(*output_chain_, byte_budget);
    if (progress == Progress::kYield) break;
    if (progress == Progress::kBlocked) {
      ++counters_.output_stalls;
      queue.PublishUsed();
      stream_.WantWrite(true);
      return false;
    }
    queue.Return(*std::move(output_chain_), 0);
    output_chain_.reset();
    output_done_ = 0;
  }
  queue.PublishUsed();
  return true;
}

ConsolePort::Progress ConsolePort::WriteOut(const DescriptorChain& chain, size_t& budget) {
  if (chain.readable_bytes() == 0) ++counters_.invalid_chains;
  while (output_done_ < chain.readable_bytes()) {
    if (budget == 0) return Progress::kYield;
    std::vector<iovec> iov = chain.ReadableIov(output_done_, kMaxIov);
    Trim(iov, budget);
    const HostStream::Result result = stream_.Write(iov.data(), iov.size());
    if (result.outcome == HostStream::Outcome::kClosed) {
      counters_.bytes_dropped += chain.readable_bytes() - output_done_;
      return Progress::kDone;  // the guest must not wait for a reader that never comes
    }
    if (result.outcome == HostStream::Outcome::kWouldBlock) return Progress::kBlocked;
    output_done_ += result.bytes;
    budget -= result.bytes;
    counters_.bytes_to_host += result.bytes;
  }
  return Progress::kDone;
}

bool ConsolePort::PumpInput() {
  if (receive_.queue == nullptr || !guest_open || !stream_.input_open()) {
    stream_.WantRead(false);
    return false;
  }
  Virtqueue& queue = *receive_.queue;
  queue.DisableNotifications();
  size_t byte_budget = kByteBudget;
  for (int i = 0; i < kBudget && byte_budget > 0; ++i) {
    if (!input_chain_.has_value()) input_chain_ = queue.Pop();
    if (!input_chain_.has_value()) {
      queue.PublishUsed();
      if (queue.EnableNotifications()) continue;
      ++counters_.input_stalls;
      stream_.WantRead(false);  // what the host sends waits in its descriptor
      return false;
    }
    size_t bytes = 0;
    if (input_chain_->writable_bytes() == 0) {
      ++counters_.invalid_chains;
    } else {
      std::vector<iovec> iov = input_chain_->WritableIov(0, kMaxIov);
      Trim(iov, byte_budget);
      const HostStream::Result result = stream_.Read(iov.data(), iov.size());
      if (result.outcome != HostStream::Outcome::kMoved) {
        queue.PublishUsed();
        stream_.WantRead(result.outcome == HostStream::Outcome::kWouldBlock);
        return false;
      }
      bytes = result.bytes;
      byte_budget -= bytes;
      counters_.bytes_to_guest += bytes;
    }
    queue.Return(*std::move(input_chain_), bytes);
    input_chain_.reset();
  }
  queue.PublishUsed();
  return true;
}

void ConsolePort::Rest() {
  stream_.WantRead(false);
  stream_.WantWrite(false);
}

}  // namespace stasis
