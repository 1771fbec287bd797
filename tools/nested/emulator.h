// The QEMU process that is the emulated host, and the sockets that lead into it.
#ifndef STASIS_TOOLS_NESTED_EMULATOR_H_
#define STASIS_TOOLS_NESTED_EMULATOR_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stasis::nested {

struct EmulatorConfig {
  std::string program;  // qemu-system-x86_64, absolute
  std::string machine;
  std::string cpu;
  int kernel_fd = -1;     // ELF image with a PVH entry; stays the caller's, like
  int initramfs_fd = -1;  // this one
  std::string append;
  uint64_t memory_mib = 0;
  std::vector<std::string> writable;
};

// Finds the emulator in $PATH. Error: NotFound with the package to install.
absl::StatusOr<std::string> FindEmulator();

// A descriptor with an owner.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Our ends of the channels: non-blocking stream sockets.
struct Channels {
  OwnedFd control, in, out, err;
  OwnedFd console;  // the emulated host's serial console
  OwnedFd monitor;  // QMP
};

// Owned by the thread that called Start, which must outlive it: the kernel ends the process when
// that thread dies for any reason. The destructor ends it too. Nothing of it lies on disk.
class Emulator {
 public:
  static absl::StatusOr<std::unique_ptr<Emulator>> Start(const EmulatorConfig& config);
  ~Emulator();
  Emulator(const Emulator&) = delete;
  Emulator& operator=(const Emulator&) = delete;

  const Channels& channels() const { return channels_; }
  // Readable when the process has ended.
  int pidfd() const { return pidfd_.get(); }
  // What the process wrote to its own standard error so far (its tail).
  std::string ErrorOutput() const;
  // The emulated CPU's registers `samples` times, and where the monitor stopped answering.
  std::string SampleRegisters(int samples);
  // Ends the process; returns how it ended ("exit status 1").
  std::string Kill();

 private:
  Emulator(pid_t pid, Channels channels, OwnedFd pidfd, OwnedFd error_file);

  // One QMP command; what came back up to the answer, or why it did not.
  std::string Command(const std::string& request, absl::Duration limit);

  pid_t pid_;
  Channels channels_;
  OwnedFd pidfd_;
  OwnedFd error_file_;  // memfd
};

// The command line, for Start and its test. `fds` are the emulator's ends in the order control,
// in, out, err, console, monitor.
std::vector<std::string> EmulatorArguments(const EmulatorConfig& config, const int (&fds)[6]);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_EMULATOR_H_
