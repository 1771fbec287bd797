// The asynchronous engine: io_uring through liburing.
#include <errno.h>
#include <liburing.h>
#include <string.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "devices/block/engine.h"
#include "devices/block/system_call.h"

namespace stasis {
namespace {

constexpr unsigned kUringDepth = 128;
constexpr uint8_t kNeeded[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
                               IORING_OP_FALLOCATE, IORING_OP_ASYNC_CANCEL};

class UringEngine : public BlockEngine {
 public:
  UringEngine(int fd, BlockingGate* gate, IoFaults* faults)
      : fd_(fd), gate_(gate), faults_(faults) {}
  ~UringEngine() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  absl::Status Open() {
    io_uring_params params = {};
    const int result = io_uring_queue_init_params(kUringDepth, &ring_, &params);
    if (result < 0) {
      return absl::UnavailableError(absl::StrCat("io_uring_setup: ", strerror(-result)));
    }
    open_ = true;
    // The vectors of a step may go as soon as the kernel has taken it.
    if ((params.features & IORING_FEAT_SUBMIT_STABLE) == 0) {
      return absl::UnavailableError("io_uring of this kernel is too old (before Linux 5.5)");
    }
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    if (probe == nullptr) return absl::UnavailableError("io_uring cannot be probed");
    const bool complete = std::all_of(std::begin(kNeeded), std::end(kNeeded), [probe](uint8_t op) {
      return io_uring_opcode_supported(probe, op) != 0;
    });
    io_uring_free_probe(probe);
    if (!complete) return absl::UnavailableError("io_uring of this kernel lacks operations");
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "uring"; }
  size_t depth() const override { return kUringDepth; }
  int poll_fd() const override { return ring_.ring_fd; }

  void Submit(IoTransfer* transfer) override {
    while (std::optional<IoStep> step = transfer->Next()) {
      std::optional<int64_t> result;
      if (cancelled_) result = -ECANCELED;
      if (!result.has_value() && faults_ != nullptr) result = faults_->Intercept(*step);
      if (!result.has_value()) {
        Prepare(transfer, *step);
        return;
      }
      Complete(transfer, *result);
    }
    finished_.push_back(transfer);
  }

  bool Kick() override {
    for (int attempt = 0; attempt < kAttempts && io_uring_sq_ready(&ring_) > 0; ++attempt) {
      gate_->Leave();  // what is in the page cache is copied right here
      const int result = io_uring_submit(&ring_);
      if (!gate_->Enter()) break;
      if (result == -EINTR || result >= 0) continue;
      break;  // EAGAIN, EBUSY: no memory, or completions to be taken first
    }
    return io_uring_sq_ready(&ring_) == 0;
  }

  void TakeFinished(std::vector<IoTransfer*>& finished) override {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
      IoTransfer* const transfer = static_cast<IoTransfer*>(io_uring_cqe_get_data(cqe));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (transfer == nullptr) continue;  // of the cancellation itself
      Complete(transfer, result);
      Submit(transfer);  // the next step, or to the finished ones
    }
    finished.insert(finished.end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

  void CancelAll() override {
    cancelled_ = true;
    io_uring_sqe* const sqe = TakeEntry();
    if (sqe == nullptr) return;  // then what is in flight is waited for
    // Before Linux 5.19 this fails, with the same effect.
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data(sqe, nullptr);
    Kick();
  }

 private:
  static constexpr int kAttempts = 8;

  // `result` is what came of the transfer's step. A cancellation that nobody asked for: the kernel
  // had no thread for a step that blocks, as making one fails while a signal is pending (a freeze's,
  // time and again: io_uring/io-wq.c, create_worker_cont) or when threads are limited. The step was
  // not begun, so it is made here.
  void Complete(IoTransfer* transfer, int64_t result) {
    if (result == -ECANCELED && !cancelled_) {
      const std::optional<IoStep> step = transfer->Next();  // still the same
      gate_->Leave();
      result = MakeSystemCall(fd_, *step);
      if (!gate_->Enter()) result = -ECANCELED;
    }
    transfer->Done(result);
  }

  io_uring_sqe* TakeEntry() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {
      Kick();
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }

  void Prepare(IoTransfer* transfer, const IoStep& step) {
    io_uring_sqe* const sqe = TakeEntry();
    if (sqe == nullptr) {
      transfer->Fail(EBUSY);
      finished_.push_back(transfer);
      return;
    }
    switch (step.call) {
      case IoStep::Call::kReadv:
        io_uring_prep_readv2(sqe, fd_, step.iov, step.iov_count, step.offset, step.flags);
        break;
      case IoStep::Call::kWritev:
        io_uring_prep_writev2(sqe, fd_, step.iov, step.iov_count, step.offset, step.flags);
        break;
      case IoStep::Call::kFallocate:
        io_uring_prep_fallocate(sqe, fd_, step.flags, step.offset, step.length);
        break;
      case IoStep::Call::kFdatasync:
        io_uring_prep_fsync(sqe, fd_, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, transfer);
  }

  const int fd_;
  BlockingGate* const gate_;
  IoFaults* const faults_;
  io_uring ring_ = {};
  bool open_ = false;
  bool cancelled_ = false;
  std::vector<IoTransfer*> finished_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockEngine>> CreateUringEngine(int fd, BlockingGate* gate,
                                                               IoFaults* faults) {
  auto engine = std::make_unique<UringEngine>(fd, gate, faults);
  if (absl::Status status = engine->Open(); !status.ok()) return status;
  return engine;
}

}  // namespace stasis
