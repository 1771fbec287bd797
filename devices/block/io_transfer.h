// IoTransfer: one validated request as the sequence of system calls that carries it out.
#ifndef STASIS_DEVICES_BLOCK_IO_TRANSFER_H_
#define STASIS_DEVICES_BLOCK_IO_TRANSFER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace stasis {

enum class IoKind { kRead, kWrite, kFlush, kDiscard, kWriteZeroes };

// A piece of the backing file, in bytes.
struct IoRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool unmap = false;  // of a WRITE_ZEROES: the space may be given back
};

// Validated: inside of the file's capacity.
struct IoRequest {
  IoKind kind = IoKind::kRead;
  uint64_t offset = 0;          // bytes; reads and writes
  std::vector<iovec> iov;       // guest memory; reads and writes
  std::vector<IoRange> ranges;  // discards and zeroes
  bool durable = false;         // on stable storage before it is finished (rule B7)
};

// One system call. The vectors belong to the transfer and stay until the step's result is in.
struct IoStep {
  enum class Call { kReadv, kWritev, kFallocate, kFdatasync };
  Call call = Call::kReadv;
  iovec* iov = nullptr;
  int iov_count = 0;
  uint64_t offset = 0;
  uint64_t length = 0;  // of a fallocate
  int flags = 0;        // RWF_* of a readv or writev, mode of a fallocate
};

// Both engines run the same transfers, so that short transfers, EINTR, the end of the file and
// calls that a file system does not have are dealt with once, here (rules B6, B7). No system call
// is made in this class. One thread.
//
//   while (std::optional<IoStep> step = transfer.Next()) transfer.Done(Execute(*step));
class IoTransfer {
 public:
  void Start(IoRequest request);

  // The call to make now; nothing once the transfer is finished. The same until Done.
  std::optional<IoStep> Next();
  // What the call returned: bytes, or -errno.
  void Done(int64_t result);
  // Ends the transfer with this errno.
  void Fail(int error);

  bool finished() const { return phase_ == Phase::kFinished; }
  // errno of the transfer; 0 when it succeeded.
  int error() const { return error_; }
  const IoRequest& request() const { return request_; }

 private:
  enum class Phase { kVector, kFallocate, kZeroes, kSync, kFinished };

  void VectorDone(uint64_t bytes);
  void FallocateDone(int64_t result);
  void NextRange();
  IoStep VectorStep();
  IoStep FallocateStep();
  IoStep ZeroesStep();

  IoRequest request_;
  Phase phase_ = Phase::kFinished;
  int error_ = 0;
  size_t first_iov_ = 0;       // vectors before it are done
  size_t range_ = 0;           // the range in work
  uint64_t range_done_ = 0;    // bytes of it, when zeroes are written
  std::vector<iovec> zeroes_;  // of the step in work
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_IO_TRANSFER_H_
