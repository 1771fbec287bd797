// The synchronous engine: one system call at a time on the worker's own thread.
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "devices/block/engine.h"

namespace stasis {
namespace {

// A completion waits for the others of its batch, so batches are small.
constexpr size_t kSyncDepth = 8;

int64_t Execute(int fd, const IoStep& step) {
  ssize_t result = -1;
  switch (step.call) {
    case IoStep::Call::kReadv:
      result = preadv2(fd, step.iov, step.iov_count, step.offset, step.flags);
      break;
    case IoStep::Call::kWritev:
      result = pwritev2(fd, step.iov, step.iov_count, step.offset, step.flags);
      break;
    case IoStep::Call::kFallocate:
      result = fallocate(fd, step.flags, step.offset, step.length);
      break;
    case IoStep::Call::kFdatasync:
      result = fdatasync(fd);
      break;
  }
  return result < 0 ? -errno : result;
}

class SyncEngine : public BlockEngine {
 public:
  SyncEngine(int fd, BlockingGate* gate, IoFaults* faults)
      : fd_(fd), gate_(gate), faults_(faults) {}

  absl::string_view name() const override { return "sync"; }
  size_t depth() const override { return kSyncDepth; }

  void Submit(IoTransfer* transfer) override {
    while (std::optional<IoStep> step = transfer->Next()) {
      gate_->Leave();
      std::optional<int64_t> result;
      if (faults_ != nullptr) result = faults_->Intercept(*step);
      if (!result.has_value()) result = Execute(fd_, *step);
      if (!gate_->Enter()) {
        transfer->Fail(ECANCELED);
        break;
      }
      transfer->Done(*result);
      if (!transfer->finished() && !gate_->Checkpoint()) {
        transfer->Fail(ECANCELED);
        break;
      }
    }
    finished_.push_back(transfer);
  }

  void TakeFinished(std::vector<IoTransfer*>& finished) override {
    finished.insert(finished.end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

 private:
  const int fd_;
  BlockingGate* const gate_;
  IoFaults* const faults_;
  std::vector<IoTransfer*> finished_;
};

}  // namespace

std::unique_ptr<BlockEngine> CreateSyncEngine(int fd, BlockingGate* gate, IoFaults* faults) {
  return std::make_unique<SyncEngine>(fd, gate, faults);
}

}  // namespace stasis
