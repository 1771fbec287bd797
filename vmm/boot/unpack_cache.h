// UnpackCache: unpacked kernels on disk, found again without reading the packed one.
//
//   <directory>/unpacked/<sha256 of the bzImage>.vmlinux   the unpacked payload
//   <directory>/unpacked/index/<identity>                  symbolic link to such a file
//
// The identity is device, inode, size and the two change times of the bzImage. A kernel that was
// not touched since costs one open(); any other is hashed, so that copies share one unpacked file.
#ifndef STASIS_VMM_BOOT_UNPACK_CACHE_H_
#define STASIS_VMM_BOOT_UNPACK_CACHE_H_

#include <sys/stat.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "vmm/boot/mapping.h"

namespace stasis {

// SHA-256 as 64 lower-case hexadecimal digits.
std::string Sha256Hex(absl::Span<const uint8_t> bytes);

// Any number of processes and threads may use one directory at once: every file appears whole, by
// rename, and is never changed afterwards.
class UnpackCache {
 public:
  // `directory` is made when something is stored.
  explicit UnpackCache(const std::string& directory);

  // The unpacked file of the bzImage that `packed` describes; nullopt if there is none.
  std::optional<Mapping> FindByIdentity(const struct stat& packed) const;
  std::optional<Mapping> FindByContent(const std::string& sha256) const;

  // Writes, syncs and renames. Errors: ResourceExhausted when the disk, quota or file size limit is
  // used up, naming the room needed; the errno's code otherwise. Nothing is left behind.
  absl::Status Store(const std::string& sha256, absl::Span<const uint8_t> unpacked) const;

  // Lets FindByIdentity find `sha256` for `packed`. Does nothing for a file changed less than two
  // seconds ago: a second change within the clock's tick would go unseen. Failing to write the link
  // costs only time, so that it is not reported.
  void Remember(const struct stat& packed, const std::string& sha256) const;

  // Removes an entry that turned out to be damaged.
  void Forget(const struct stat& packed, const std::string& sha256) const;

 private:
  std::string ContentPath(const std::string& sha256) const;
  std::string IdentityPath(const struct stat& packed) const;

  const std::string directory_;
};

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_UNPACK_CACHE_H_
