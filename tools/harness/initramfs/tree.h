// FileTree: the files of an initramfs before they become an archive.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_TREE_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_TREE_H_

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// Paths are absolute and normal; parents are made as they are needed. One thread. Contents are read
// only when the archive is written, so that a tree whose image is cached costs no reading.
class FileTree {
 public:
  using Reader = std::function<absl::StatusOr<std::string>()>;

  void AddDirectory(const std::string& path, mode_t permissions = 0755);
  void AddFile(const std::string& path, mode_t permissions, Reader contents);
  void AddText(const std::string& path, mode_t permissions, std::string contents);
  void AddLink(const std::string& path, const std::string& target);
  void AddCharDevice(const std::string& path, mode_t permissions, uint32_t major, uint32_t minor);
  bool Contains(const std::string& path) const { return entries_.count(path) != 0; }

  // Writes the tree as a newc cpio archive to `sink`, sorted by path, with all times 0, owner root
  // and made-up inode numbers, so that equal trees give equal bytes.
  // Errors: those of the readers and of `sink`.
  using Sink = std::function<absl::Status(absl::string_view bytes)>;
  absl::Status WriteCpio(const Sink& sink) const;

 private:
  struct Entry {
    mode_t mode = 0;
    Reader contents;     // regular files
    std::string target;  // symbolic links
    uint32_t major = 0;  // character devices
    uint32_t minor = 0;
  };
  void AddParents(const std::string& path);

  std::map<std::string, Entry> entries_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_TREE_H_
