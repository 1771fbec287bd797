// ImageCache: finished initramfs images by what they were made from.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_IMAGE_CACHE_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_IMAGE_CACHE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// <dir>/<hash of the key>/{image,key}. An entry appears by the rename of a whole directory, so
// that it is complete or not there, whoever else is at work. The full key is compared on the way
// out: two keys of one hash never share an image. Any thread, any number of processes.
class ImageCache {
 public:
  struct Image {
    std::string path;
    uint64_t size = 0;
  };
  using Writer = std::function<absl::Status(absl::string_view bytes)>;
  using Builder = std::function<absl::Status(const Writer& write)>;

  explicit ImageCache(std::string dir) : dir_(std::move(dir)) {}

  std::optional<Image> Find(const std::string& key) const;

  // Calls `build` to write the image and stores it. When another process was faster, its image is
  // returned. Errors: ResourceExhausted when the disk is full (room needed so far and free), errno
  // with the path, those of `build`; nothing is left behind then.
  absl::StatusOr<Image> Store(const std::string& key, const Builder& build) const;

 private:
  std::string EntryPath(const std::string& key) const;
  void RemoveStale() const;

  const std::string dir_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_IMAGE_CACHE_H_
