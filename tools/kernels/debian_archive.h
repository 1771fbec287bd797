// DebianArchive: packages of any Debian suite, without touching the system's apt.
#ifndef STASIS_TOOLS_KERNELS_DEBIAN_ARCHIVE_H_
#define STASIS_TOOLS_KERNELS_DEBIAN_ARCHIVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/kernels/apt_sources.h"
#include "tools/kernels/command_runner.h"
#include "tools/kernels/kernel_store.h"

namespace stasis {

// What `apt-cache show` says about a package's candidate.
struct DebianPackage {
  std::string name;
  std::string version;
  std::vector<std::string> depends;  // names alone, alternatives one after the other
  uint64_t download_bytes = 0;
  uint64_t installed_bytes = 0;
};

// Parses the first paragraph; nullopt-like empty name if there is none.
DebianPackage ParseAptShow(absl::string_view text);

// One set of suites with lists and a cache of its own, below `<cache>/apt/`. apt-get and apt-cache
// are pointed to a configuration of their own by $APT_CONFIG: of the system's apt, nothing is
// written, no hook runs, and of what it configures only Acquire (a proxy may stand there) is taken.
class DebianArchive {
 public:
  // `suites`: "bookworm", "bookworm-security", "sid". Makes the folders and the sources list.
  static absl::StatusOr<DebianArchive> Open(const std::string& cache_directory,
                                            const AptSources& sources,
                                            const std::vector<std::string>& suites,
                                            CommandRunner& runner);

  // Fetches the package lists. Error: Unavailable with apt's own words.
  absl::Status Update(const Progress& progress);

  // Error: NotFound if no suite has it.
  absl::StatusOr<DebianPackage> Show(const std::string& package);

  // Downloads into `folder` and unpacks below `root`; the .deb files are gone afterwards.
  absl::Status Unpack(const std::vector<DebianPackage>& packages, const std::string& folder,
                      const std::string& root, const Progress& progress);

  // Downloads one package into `folder` and unpacks of it only the members that match `patterns`
  // (of tar's --wildcards), which take `unpacked_bytes`; the .deb file is gone afterwards.
  absl::Status UnpackMembers(const DebianPackage& package, const std::vector<std::string>& patterns,
                             uint64_t unpacked_bytes, const std::string& folder,
                             const std::string& root, const Progress& progress);

  const std::string& mirror() const { return mirror_; }

 private:
  DebianArchive(std::string directory, std::string mirror, CommandRunner& runner)
      : directory_(std::move(directory)), mirror_(std::move(mirror)), runner_(&runner) {}
  absl::Status WriteConfiguration(const AptSources& sources,
                                  const std::vector<std::string>& suites);
  Command Apt(std::vector<std::string> argv) const;
  // The .deb files, one for each package.
  absl::StatusOr<std::vector<std::string>> Download(const std::vector<DebianPackage>& packages,
                                                    const std::string& folder,
                                                    const Progress& progress);

  std::string directory_;
  std::string mirror_;
  CommandRunner* runner_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_DEBIAN_ARCHIVE_H_
