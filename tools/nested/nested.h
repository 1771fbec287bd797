// The nested lane: runs a program inside an emulated host that has a real /dev/kvm (kvm_amd).
#ifndef STASIS_TOOLS_NESTED_NESTED_H_
#define STASIS_TOOLS_NESTED_NESTED_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stasis {

// How the emulated host is made. The defaults are what was measured to start fastest and not to
// hang; the rest is for experiments.
struct NestedHost {
  // A directory of the kernel cache with vmlinuz, config and lib/modules. Empty:
  // $STASIS_NESTED_KERNEL (a directory or a release in the cache), else the best in the cache.
  std::string kernel_directory;
  // microvm was seen to hang before its first console output (2 of 3 starts); pc is slower.
  std::string machine = "q35,usb=off,vmport=off,smbus=off,sata=off,graphics=off";
  std::string cpu = "max,-xsave,-avx,-avx2,+svm";
  std::string append;           // added to the kernel command line
  std::string kvm_amd_options;  // module parameters
};

struct NestedOptions {
  // The program by its absolute path, and its arguments. It sees the whole file tree of this
  // machine at the same paths, read-only, with its own /proc, /sys, /dev; /tmp, /var/tmp and /run
  // may be written, which is forgotten at the end.
  std::vector<std::string> argv;
  // The whole environment inside; STASIS_IN_NESTED=1 is added.
  std::vector<std::pair<std::string, std::string>> env;
  std::string working_directory;  // empty: the current one
  // Files and directories that the program needs. All of the tree is visible; what lies in /proc,
  // /sys or /dev is not, and naming it here turns that into an error at once.
  std::vector<std::string> readable;
  // Existing directories whose changes come back: shared for good, not copied.
  std::vector<std::string> writable;
  absl::Duration time_limit = absl::InfiniteDuration();  // from outside, ends the emulated host
  // The emulated host's proof of life comes once a second; silent for longer than this, it hangs.
  absl::Duration silence_limit = absl::Seconds(30);
  // Until init says hello: beyond it the emulated host counts as hung as well.
  absl::Duration boot_limit = absl::Seconds(120);
  // stdin is a terminal that the program wants for itself: the terminal outside is made raw, keys
  // (Ctrl-C too) go to the program's terminal. When false, a terminal on stdin is not read.
  bool interactive = false;
  // Memory of the emulated host. Touched lazily.
  uint64_t memory_mib = 4096;
  // A hung emulated host is started again once, if no byte of stdin was consumed and none of the
  // program's output was passed on.
  bool retry_hang = false;
  // Where evidence of a hang is written. Empty: $TEST_UNDECLARED_OUTPUTS_DIR, $TMPDIR or /tmp.
  std::string evidence_directory;
  int stdin_fd = 0;
  int stdout_fd = 1;
  int stderr_fd = 2;
  NestedHost host;
};

struct NestedResult {
  int exit_code = 0;  // the program's; 128 + signal when a signal ended it or us
  int hangs = 0;      // emulated hosts that hung before this one (0 or 1)
  std::string host_kernel;
  absl::Duration start_up;  // from the call to the program's first instruction
  absl::Duration total;
  absl::Duration longest_silence;  // between two proofs of life
};

// Runs the program and returns when it has ended and its output has been passed on. SIGINT,
// SIGTERM, SIGQUIT and SIGHUP that reach this process meanwhile go to the program; a second one,
// or five seconds after SIGTERM or SIGHUP, ends the emulated host. Window changes are passed on.
// For one call at a time per process, since signal handlers and the terminal are the process's;
// the calling thread must live as long as the call (the emulator dies with it).
//
// Errors: InvalidArgument (options), NotFound (no QEMU, no usable kernel, with what to install),
// Unavailable (the emulated host hung or died: a fault of the lane and not of the program; the
// message names a file with registers and last console lines), DeadlineExceeded (time_limit),
// FailedPrecondition (init could not prepare the machine or execute the program).
absl::StatusOr<NestedResult> RunNested(const NestedOptions& options);

// Whether RunNested has what it needs: OK, or NotFound with what to install (for `doctor`).
absl::Status CheckNested(const NestedHost& host);

// True inside the emulated host.
bool InNested();

}  // namespace stasis

#endif  // STASIS_TOOLS_NESTED_NESTED_H_
