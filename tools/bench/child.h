// Child: a monitor process under measurement, with what it says on stderr.
#ifndef STASIS_TOOLS_BENCH_CHILD_H_
#define STASIS_TOOLS_BENCH_CHILD_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stasis::bench {

absl::Time MonotonicNow();

// A descriptor closed at the end of its owner's life.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd() { Reset(); }
  void Reset();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Two ends of a stream, both with CLOEXEC. Error: errno of socketpair.
absl::StatusOr<std::pair<OwnedFd, OwnedFd>> StreamPair();

// Kills and reaps what is still running when it goes. One thread.
class Child {
 public:
  struct Options {
    std::vector<std::string> argv;         // argv[0]: a path
    std::vector<std::string> environment;  // "NAME=value", on top of ours
    int input = -1;                        // becomes descriptor 0; -1: /dev/null
    int output = -1;                       // becomes descriptor 1; -1: with stderr
    int extra = -1;                        // becomes descriptor 3; -1: none
  };
  static absl::StatusOr<std::unique_ptr<Child>> Start(const Options& options);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // Just before the process was made.
  absl::Time started() const { return started_; }

  // Waits for bytes of `fd`, or its end. Errors: DeadlineExceeded, Aborted when the stream or the
  // process has ended; both with the last words of the process.
  absl::StatusOr<std::string> Read(int fd, absl::Time deadline);

  // Waits for the process to end by itself. Errors: DeadlineExceeded, and Aborted for an exit code
  // other than 0.
  absl::Status Join(absl::Time deadline);

  // The end of what it wrote to stderr.
  std::string LastWords() const;

 private:
  Child() = default;
  absl::Status Failed(absl::StatusCode code, const std::string& what) const;

  pid_t pid_ = -1;
  OwnedFd pidfd_;
  OwnedFd errors_;
  std::string name_;
  absl::Time started_;
};

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_CHILD_H_
