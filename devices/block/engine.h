// BlockEngine: carries out the system calls of transfers; one per queue (rule B8).
#ifndef STASIS_DEVICES_BLOCK_ENGINE_H_
#define STASIS_DEVICES_BLOCK_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "devices/block/io_transfer.h"

namespace stasis {

// A place to break the backing store on purpose, for tests. Called on the threads of all queues.
class IoFaults {
 public:
  virtual ~IoFaults() = default;
  // Before each system call. A value is taken as what the call returned (bytes or -errno), and the
  // file is not touched; `step` may be made shorter instead. The synchronous engine calls it where
  // it would block, so it may block there.
  virtual std::optional<int64_t> Intercept(IoStep& step) = 0;
};

// How an engine that blocks stays in the hands of its worker.
class BlockingGate {
 public:
  virtual ~BlockingGate() = default;
  // Before a system call that may block. Nothing of the guest or of the worker is touched until
  // Enter, which is false when the worker must stop.
  virtual void Leave() = 0;
  virtual bool Enter() = 0;
  // Between two system calls of one transfer: parks here while the machine is frozen (rule P5).
  // False when the worker must stop.
  virtual bool Checkpoint() = 0;
};

// Used by one thread. Transfers belong to the caller and stay until they come back.
class BlockEngine {
 public:
  virtual ~BlockEngine() = default;

  virtual absl::string_view name() const = 0;
  // At most so many transfers may be submitted and not yet taken back.
  virtual size_t depth() const = 0;
  // Started transfers go in here; the synchronous engine carries them out right away.
  virtual void Submit(IoTransfer* transfer) = 0;
  // Hands what was submitted to the kernel. False: call it again soon.
  virtual bool Kick() { return true; }
  // Appends what is finished.
  virtual void TakeFinished(std::vector<IoTransfer*>& finished) = 0;
  // Readable when something may be finished; -1 when that is never later than Submit.
  virtual int poll_fd() const { return -1; }
  // Asks the kernel to let go of everything; what was submitted still comes back.
  virtual void CancelAll() {}
};

enum class EngineKind { kUring, kSync };

// `fd` is the backing file. `faults` may be null. Both outlive the engine, and so does `gate`.
std::unique_ptr<BlockEngine> CreateSyncEngine(int fd, BlockingGate* gate, IoFaults* faults);
// Error: Unavailable, with the reason, when the host has no usable io_uring.
absl::StatusOr<std::unique_ptr<BlockEngine>> CreateUringEngine(int fd, BlockingGate* gate,
                                                               IoFaults* faults);

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_ENGINE_H_
