#include "devices/block/queue_run.h"

#include <errno.h>
#include <glog/logging.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr int kMaxTaken = 64;    // requests per pass
constexpr int kKickRetryMs = 1;  // when the kernel did not take a submission
constexpr int kMaxEvents = 4;

void Count(std::atomic<uint64_t>& counter, uint64_t by = 1) {
  counter.fetch_add(by, std::memory_order_relaxed);
}

}  // namespace

absl::StatusOr<std::unique_ptr<QueueRun>> QueueRun::Create(std::shared_ptr<DiskContext> disk,
                                                           std::shared_ptr<WorkerControl> control,
                                                           std::shared_ptr<DriverSignals> signals,
                                                           const ActiveQueue& queue,
                                                           const BlockLimits& limits) {
  std::unique_ptr<QueueRun> run(
      new QueueRun(std::move(disk), std::move(control), std::move(signals), queue, limits));
  if (absl::Status status = run->Open(); !status.ok()) return status;
  return run;
}

QueueRun::~QueueRun() { AbandonAll(); }

absl::Status QueueRun::Open() {
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return absl::ErrnoToStatus(errno, "epoll_create1");
  timer_ = FileDescriptor(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_.valid()) return absl::ErrnoToStatus(errno, "timerfd_create");
  if (absl::Status status = OpenEngine(); !status.ok()) return status;
  for (int fd : {control_->wake_fd(), queue_.notify_fd, timer_.get(), engine_->poll_fd()}) {
    if (fd < 0) continue;
    if (absl::Status status = Listen(fd); !status.ok()) return status;
  }
  for (size_t i = 0; i < engine_->depth() + 1; ++i) {  // one more may wait for the throttle
    slots_.push_back(std::make_unique<InFlight>());
    free_.push_back(slots_.back().get());
  }
  return absl::OkStatus();
}

absl::Status QueueRun::Listen(int fd) {
  epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("epoll_ctl of descriptor ", fd));
}

absl::Status QueueRun::OpenEngine() {
  const int fd = disk_->file->fd();
  if (disk_->engine == EngineKind::kUring) {
    auto engine = CreateUringEngine(fd, this, disk_->faults.get());
    if (engine.ok()) {
      engine_ = *std::move(engine);
      return absl::OkStatus();
    }
    // It worked when the disk was made: short of locked memory or descriptors by now.
    LOG(WARNING) << disk_->name << ": " << engine.status().message()
                 << "; this queue works synchronously until the next reset";
  }
  engine_ = CreateSyncEngine(fd, this, disk_->faults.get());
  return absl::OkStatus();
}

void QueueRun::Run() {
  bool cancelled = false;
  while (!control_->abandoned()) {
    if (control_->must_stop()) {
      if (idle()) break;
      if (!cancelled) Cancel();
      cancelled = true;
      more_ = false;
    } else if (control_->pause_requested()) {  // P1: what is in flight comes home first
      more_ = false;
      if (idle()) {
        control_->Park();
        more_ = true;
        continue;
      }
    } else if (more_) {
      more_ = Pass();
    }
    engine_->Kick();
    if (control_->abandoned()) break;
    Harvest();
    const bool kicked = engine_->Kick();  // further steps of what was not finished by one call
    if (control_->abandoned()) break;
    if (control_->pause_requested() && idle()) continue;
    if (control_->must_stop() && (idle() || !cancelled)) continue;
    Wait(/*poll_only=*/more_ || !kicked);
  }
  AbandonAll();
}

bool QueueRun::Pass() {
  if (signals_->needs_reset()) return false;  // Q2
  Virtqueue& queue = *queue_.queue;
  queue.DisableNotifications();
  for (int taken = 0; taken < kMaxTaken; ++taken) {
    if (control_->pause_requested() || control_->must_stop()) return true;
    if (in_flight_ >= engine_->depth()) {
      engine_full_ = true;  // completions bring on the next pass
      return false;
    }
    if (held_ == nullptr && !TakeNext()) {
      if (!queue.EnableNotifications()) return false;
      continue;
    }
    if (held_ == nullptr) continue;  // done already
    if (!PassThrottle()) return false;
    SubmitHeld();
  }
  return true;
}

bool QueueRun::TakeNext() {
  std::optional<DescriptorChain> chain = queue_.queue->Pop();
  if (!chain.has_value()) return false;
  BlockRequest request = ParseBlockRequest(*chain, limits_);
  if (request.action == BlockRequest::Action::kIo) {
    held_ = free_.back();
    free_.pop_back();
    held_->chain.emplace(*std::move(chain));
    held_->request = std::move(request);
    return true;
  }
  uint8_t status = kBlockStatusOk;
  if (request.action == BlockRequest::Action::kRefused) {  // B4, Q3; spends no tokens (B5)
    status = request.status;
    Count(disk_->counters.invalid_requests);
    signals_->refusals().Report(
        "bad-request", absl::StrFormat("request of type %d: %s", request.type, request.defect));
  } else {
    Count(disk_->counters.get_ids);
  }
  Return(*std::move(chain), request, status);
  return true;
}

bool QueueRun::PassThrottle() {
  const std::chrono::nanoseconds wait =
      disk_->throttle.Take(held_->request.data_bytes, std::chrono::steady_clock::now());
  if (wait.count() == 0) {
    if (held_throttled_) disk_->counters.throttle_pending.fetch_sub(1, std::memory_order_relaxed);
    held_throttled_ = false;
    return true;
  }
  if (!held_throttled_) {
    held_throttled_ = true;
    Count(disk_->counters.throttle_events);
    Count(disk_->counters.throttle_pending);
  }
  itimerspec due = {};
  due.it_value.tv_sec = wait.count() / 1000000000;
  due.it_value.tv_nsec = wait.count() % 1000000000;
  timerfd_settime(timer_.get(), 0, &due, nullptr);
  return false;
}

void QueueRun::SubmitHeld() {
  InFlight* const request = std::exchange(held_, nullptr);
  IoRequest& io = request->request.io;
  io.durable = io.kind != IoKind::kRead && !disk_->write_back.load(std::memory_order_acquire);
  request->Start(std::move(io));
  ++in_flight_;
  engine_->Submit(request);
}

void QueueRun::Harvest() {
  engine_->TakeFinished(finished_);
  for (IoTransfer* transfer : finished_) {
    Complete(static_cast<InFlight&>(*transfer));
  }
  if (!finished_.empty() && engine_full_) {
    engine_full_ = false;
    more_ = true;
  }
  finished_.clear();
  if (!control_->must_stop()) queue_.queue->PublishUsed();
}

void QueueRun::Complete(InFlight& request) {
  --in_flight_;
  DescriptorChain chain = *std::move(request.chain);
  request.chain.reset();
  free_.push_back(&request);
  if (control_->must_stop()) {  // the driver has taken its buffers back
    chain.Abandon();
    return;
  }
  const int error = request.error();
  if (error == 0) {
    CountSuccess(request.request);
  } else {
    Count(disk_->counters.io_errors);
    signals_->refusals().Report(
        "io-error", absl::StrFormat("request of type %d on %s: %s", request.request.type,
                                    disk_->file->path(), strerror(error)));
  }
  Return(std::move(chain), request.request, error == 0 ? kBlockStatusOk : kBlockStatusIoError);
}

void QueueRun::CountSuccess(const BlockRequest& request) {
  BlockCounters& counters = disk_->counters;
  switch (request.type) {
    case kBlockIn:
      Count(counters.reads);
      Count(counters.bytes_read, request.data_bytes);
      return;
    case kBlockOut:
      Count(counters.writes);
      Count(counters.bytes_written, request.data_bytes);
      return;
    case kBlockFlush:
      return Count(counters.flushes);
    case kBlockDiscard:
      return Count(counters.discards);
    case kBlockWriteZeroes:
      return Count(counters.write_zeroes);
  }
}

void QueueRun::Return(DescriptorChain chain, const BlockRequest& request, uint8_t status) {
  const uint32_t written = FinishBlockRequest(chain, request, status, disk_->serial);
  queue_.queue->Return(std::move(chain), written);
}

bool QueueRun::Checkpoint() {
  while (control_->pause_requested() && !control_->must_stop()) {  // P5
    Harvest();  // what is finished is shown before standing still (P1)
    control_->Park();
  }
  return !control_->must_stop();
}

void QueueRun::Wait(bool poll_only) {
  epoll_event events[kMaxEvents];
  int timeout = -1;
  if (poll_only) timeout = more_ ? 0 : kKickRetryMs;
  control_->Leave();
  const int count = epoll_wait(epoll_.get(), events, kMaxEvents, timeout);
  if (!control_->Enter() && control_->abandoned()) return;
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    if (fd == control_->wake_fd()) {
      control_->DrainWake();
    } else if (fd == queue_.notify_fd) {
      if (control_->must_stop()) continue;  // kept for the next worker (rule R4)
      queue_.TakeNotifications();
      more_ = true;
    } else if (fd == timer_.get()) {
      uint64_t expirations = 0;
      (void)!read(timer_.get(), &expirations, sizeof(expirations));
      more_ = true;
    }
  }
}

void QueueRun::Cancel() {
  // Notifications from now on are the next worker's (rule R4).
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, queue_.notify_fd, nullptr);
  engine_->CancelAll();
}

void QueueRun::AbandonAll() {
  if (held_throttled_) disk_->counters.throttle_pending.fetch_sub(1, std::memory_order_relaxed);
  held_throttled_ = false;
  held_ = nullptr;
  for (const std::unique_ptr<InFlight>& slot : slots_) {
    if (slot->chain.has_value()) slot->chain->Abandon();
    slot->chain.reset();
  }
}

}  // namespace stasis
