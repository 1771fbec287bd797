// KernelStore: the kernels of this user, kept below $STASIS_CACHE or ~/.cache/stasis.
//
//   kernels/<release>/vmlinuz | vmlinux       the image; both when a build kept its ELF for symbols
//   kernels/<release>/config                  what it was built with
//   kernels/<release>/lib/modules/<release>/  modules with modules.dep, if it has any
//   kernels/<release>/origin.json             where it is from; written last
//   kernels/<release>/debug/vmlinux           the image with DWARF, and modules (FetchDebug)
//   unpacked/                                 unpacked payloads (vmm/boot/unpack_cache.h)
//   apt/<suites>/                             package lists of our own
//   source/, build/<name>/                    what Build needs while it runs
//
// A kernel appears under its name by one rename, whole. Several processes may use a store at once:
// those that change it wait for each other.
#ifndef STASIS_TOOLS_KERNELS_KERNEL_STORE_H_
#define STASIS_TOOLS_KERNELS_KERNEL_STORE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/kernels/command_runner.h"

namespace stasis {

// The variables that matter, so that tests need not change their own: STASIS_CACHE, STASIS_KERNEL,
// HOME, XDG_CACHE_HOME.
using Environment = std::map<std::string, std::string>;
Environment ProcessEnvironment();

// $STASIS_CACHE, else $XDG_CACHE_HOME/stasis, else ~/.cache/stasis.
// Error: FailedPrecondition if neither is set.
absl::StatusOr<std::string> CacheDirectory(const Environment& environment);

// Where a kernel is from; origin.json holds it.
struct KernelOrigin {
  std::string kind;     // "debian", "build"; empty for a folder without origin.json
  std::string name;     // what was asked for: "6.12", "sid"; or the build's name: "tiny"
  std::string package;  // Debian: the package with the image
  std::string version;  // Debian: the package's version
  std::string source;   // build: the source tree; Debian: the mirror
  std::string created;  // UTC, RFC 3339
};

struct CachedKernel {
  std::string release;  // "6.12.9-cloud-amd64"; the folder's name
  std::string image;    // path of vmlinuz, else of vmlinux
  std::string config;   // path, empty if there is none
  std::string modules;  // path of lib/modules/<release>, empty if there is none
  std::string vmlinux;  // path of an ELF image with symbols, empty if there is none
  KernelOrigin origin;
};

// What a run needs to know about its kernel.
struct ResolvedKernel {
  std::string image;    // path
  std::string release;  // empty if it is known only to the image itself
  std::string modules;  // lib/modules/<release>, empty: none
  std::string config;   // path, empty: none beside the image
  std::string
      origin;  // for people: "cached, Debian linux-image-... 6.12.9-1", "build tree /src/linux"
};

struct BuildRequest {
  std::string source = "debian";  // a kernel tree, or "debian": the linux-source-6.12 package
  std::string fragment;           // options, on top of allnoconfig
  std::string name;               // "tiny": what Resolve finds it by; [A-Za-z0-9._-]
  int jobs = 1;
  bool keep_vmlinux = true;      // the ELF without debug sections, with symbols and .BTF
  bool keep_build_tree = false;  // build/<name> stays, so that the next build is quick
};

struct BuildResult {
  CachedKernel kernel;
  // "CONFIG_X=y" lines of the fragment that the configuration did not take, for a warning.
  std::vector<std::string> not_taken;
};

// Called with what is being done now, often; the first word groups ("apt: ...", "make: CC x.o").
using Progress = std::function<void(absl::string_view message)>;

// Not thread-safe. Fetch and Build block for minutes.
class KernelStore {
 public:
  // `cache_directory` is made when something is kept. `runner` outlives the store; nullptr: the
  // real one. `boot_root` is where the host's own kernel is looked for, "/" but in tests.
  explicit KernelStore(std::string cache_directory, CommandRunner* runner = nullptr,
                       std::string boot_root = "");

  const std::string& cache_directory() const { return cache_directory_; }

  // Takes a kernel with its modules from Debian's archive, over the mirror and with the key that
  // the system's own apt uses, but with lists and a cache of our own: the system's configuration is
  // neither read beyond that nor changed, and nothing is installed. Specs:
  //   "6.1"          bookworm's cloud kernel          "6.1-generic"  bookworm's full kernel
  //   "6.12"         bookworm-security's or -backports' cloud kernel
  //   "sid", "7.2"   unstable's newest cloud kernel; a number must match it
  // Idempotent: a kernel of the newest version that is there is returned as it is.
  // Errors: InvalidArgument (unknown spec, with those there are), NotFound (the archive has another
  // version), Unavailable (no network, mirror down), ResourceExhausted (disk full: how much is
  // needed), Internal (a program failed: its own words). Nothing is left half done.
  absl::StatusOr<CachedKernel> Fetch(const std::string& spec, const Progress& progress);
  static std::vector<std::string> FetchSpecs();

  // As Fetch, and its debugging symbols: of the -dbg package, the image with DWARF and those
  // modules that a panicking kernel stands in (pvpanic). Returns the folder with both: `vmlinux`,
  // `pvpanic.ko`, `pvpanic-mmio.ko`. Idempotent.
  // Errors: those of Fetch; NotFound too when the archive has no such package.
  absl::StatusOr<std::string> FetchDebug(const std::string& spec, const Progress& progress);

  // Configures (allnoconfig with the fragment), builds bzImage, vmlinux and modules, and installs.
  // Errors as for Fetch; NotFound for a missing tree or fragment; AlreadyExists if the release is
  // taken by another kernel (CONFIG_LOCALVERSION tells them apart).
  absl::StatusOr<BuildResult> Build(const BuildRequest& request, const Progress& progress);

  // All kernels of the store, newest release first.
  absl::StatusOr<std::vector<CachedKernel>> List() const;

  // What --kernel means. `argument` is a path of an image, a build tree (a folder with
  // arch/x86/boot/bzImage or vmlinux), a folder of the store's layout, a release, the beginning of
  // one ("6.12": the newest, Debian's own before builds), or a build's name. Empty: $STASIS_KERNEL,
  // else the newest 6.12 of Debian in the store, else any kernel in it, else the host's own.
  // Error: NotFound with near matches and what to do.
  absl::StatusOr<ResolvedKernel> Resolve(const std::string& argument,
                                         const Environment& environment) const;

 private:
  absl::StatusOr<ResolvedKernel> ResolveName(const std::string& name) const;
  absl::StatusOr<ResolvedKernel> ResolveDefault() const;
  absl::StatusOr<ResolvedKernel> ResolvePath(const std::string& path) const;
  absl::StatusOr<ResolvedKernel> HostKernel() const;
  std::string KernelsDirectory() const;

  const std::string cache_directory_;
  std::unique_ptr<CommandRunner> own_runner_;
  CommandRunner* runner_;
  const std::string boot_root_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_KERNEL_STORE_H_
