// The synchronous engine: one system call at a time on the worker's own thread.
#include <errno.h>

#include "devices/block/engine.h"
#include "devices/block/system_call.h"

namespace stasis {
namespace {

// A completion waits for the others of its batch, so batches are small.
constexpr size_t kSyncDepth = 8;

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
      if (!result.has_value()) result = MakeSystemCall(fd_, *step);
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
