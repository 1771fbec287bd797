// The initramfs of a run: the agent as /init, kernel modules, busybox and the user's files.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_INITRAMFS_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_INITRAMFS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stasis {

struct InitramfsSpec {
  std::string agent;  // path of the agent's binary (FindAgentBinary); becomes /init

  // <...>/lib/modules/<release> of the kernel that will be booted; empty: take no modules.
  std::string modules_dir;
  // Wanted modules, without ".ko"; '-' and '_' are the same. With all that they depend on. Built-in
  // ones and (all but `required_modules`) ones that the kernel does not have are left out.
  std::vector<std::string> modules = DefaultModules();
  std::vector<std::string> required_modules;  // missing: an error

  std::string busybox;               // static busybox with a link per applet; empty: none
  std::vector<std::string> include;  // host files, at the same path, with what they need to run
  bool compress = false;             // lz4 (legacy format, which kernels unpack)

  std::string cache_dir;  // <cache>/initramfs is used; empty: CacheDirectory()

  static std::vector<std::string> DefaultModules();
};

struct InitramfsImage {
  std::string path;  // in the cache; do not change or remove it
  uint64_t size = 0;
  std::vector<std::string> modules;  // taken, in load order
  bool from_cache = false;
};

// Builds the image, or finds the one that was built from the same contents before. Deterministic:
// equal inputs give equal bytes. Safe with other processes building the same image.
// Errors: NotFound (agent, busybox, included file or required module: which, and what to do),
// FailedPrecondition (modules that cannot be unpacked), ResourceExhausted (disk full, with the
// room needed), else errno with the path. No partial file stays behind. A cache that cannot be
// written (a build's sandbox shows it read only) is replaced by $TEST_TMPDIR where that is set.
absl::StatusOr<InitramfsImage> BuildInitramfs(const InitramfsSpec& spec);

// $STASIS_AGENT, else the runfiles of this program, else beside it or in ../lib/stasis.
// Error: NotFound naming the places.
absl::StatusOr<std::string> FindAgentBinary();

// A static busybox of the host ($STASIS_BUSYBOX, /bin/busybox, /usr/bin/busybox).
// Error: NotFound, naming the Debian package.
absl::StatusOr<std::string> FindBusybox();

std::string CacheDirectory();

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_INITRAMFS_H_
