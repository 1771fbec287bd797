// KernelImage: a Linux kernel file, ready to be put into guest memory, and what is known about it.
#ifndef STASIS_VMM_BOOT_KERNEL_IMAGE_H_
#define STASIS_VMM_BOOT_KERNEL_IMAGE_H_

#include <asm/bootparam.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/boot/decompress.h"
#include "vmm/boot/elf_image.h"
#include "vmm/boot/kernel_config.h"
#include "vmm/boot/mapping.h"
#include "vmm/memory/guest_address.h"

namespace stasis {

struct KernelImageOptions {
  // Unpacked payloads are kept below it, see unpack_cache.h. Empty: unpacked again by every
  // process.
  std::string cache_directory;

  // Loads a bzImage as it is: the guest unpacks it, and KASLR can work. Slower by the time that the
  // guest needs to decompress. No effect on an ELF image.
  bool load_as_bzimage = false;
};

enum class KernelKind { kElf, kBzImage };

// Recognises an ELF vmlinux and a bzImage (boot protocol 2.12 and newer, 64-bit entry).
//
// A bzImage is unpacked on the host into the vmlinux in it, so that the guest need not. What the
// decompressor would have done besides is then not done: above all KASLR. The relocations that it
// would apply lie behind the ELF image in the payload and are ignored, the kernel runs at the
// address it was linked for, with or without `nokaslr`. KernelImageOptions::load_as_bzimage brings
// it back.
//
// Immutable after Load: all members may be called from any thread. Spans live as long as the
// object.
class KernelImage {
 public:
  // Errors, each one line that begins with the path: NotFound, PermissionDenied, InvalidArgument
  // (no kernel and what it looks like instead, truncated, corrupt, wrong architecture),
  // FailedPrecondition (protocol too old, no 64-bit entry), Unimplemented (LZO payload),
  // ResourceExhausted (no room in the cache).
  static absl::StatusOr<KernelImage> Load(const std::string& path,
                                          const KernelImageOptions& options);

  KernelImage(KernelImage&&) = default;
  KernelImage& operator=(KernelImage&&) = default;

  const std::string& path() const { return path_; }
  KernelKind kind() const { return kind_; }
  Compression compression() const { return compression_; }  // of a bzImage's payload, else kNone

  // True if the guest decompresses and may move the kernel (load_as_bzimage).
  bool decompressed_by_guest() const { return decompressed_by_guest_; }

  // "6.12.9-tiny"; empty if the image does not say. An ELF image is searched for it at first use.
  const std::string& release() const;

  // 64-bit entry point: startup_64, or 0x200 into a bzImage's code.
  GuestAddress entry() const { return entry_; }
  // What goes into memory, ascending.
  const std::vector<LoadSegment>& segments() const { return segments_; }
  // Copies `part` of a segment's bytes to `to`, without bringing them into this process's memory
  // where they come from a file.
  void Copy(absl::Span<const uint8_t> part, uint8_t* to) const;
  // All that the kernel uses before it knows its memory map: its image with .bss, and, for a
  // bzImage, the room that it needs to unpack itself (init_size).
  GuestAddress load_begin() const { return segments_.front().address; }
  GuestAddress load_end() const;
  // Once the kernel is in guest memory, the process need not hold its file as well: tens of MiB.
  // Everything still works, and reads what it needs again.
  void DropPages() const;
  // Bytes from load_begin that the kernel needs (setup header's init_size, or the ELF's extent).
  uint64_t init_size() const { return init_size_; }
  // 32-bit entry of the PVH protocol, if the ELF image has that note.
  std::optional<uint32_t> pvh_entry() const { return pvh_entry_; }

  // The bzImage's setup header; for a bare ELF one with the defaults of a current kernel.
  const setup_header& header() const { return header_; }

  // The kernel's configuration: the embedded one (IKCONFIG), else a file beside the image:
  // `config`,
  // `.config`, `config-<release>` (for vmlinuz-<release>), or `.config` at the root of a build
  // tree. nullptr if neither is there. Found at first use.
  const KernelConfig* config() const;

 private:
  // Facts that cost a search, found once.
  struct Lazy {
    absl::once_flag release_once;
    absl::once_flag config_once;
    std::string release;
    std::optional<KernelConfig> config;
  };

  explicit KernelImage(std::string path) : path_(std::move(path)), lazy_(new Lazy) {}
  absl::Status Open(const KernelImageOptions& options);
  absl::Status UseElf(absl::Span<const uint8_t> bytes);
  absl::Status UseBzImage(const struct stat& file, const KernelImageOptions& options);
  absl::Status UnpackAndCache(const struct BzImage& image, const struct stat& file,
                              const std::string& cache_directory);
  std::string FindRelease() const;
  std::optional<KernelConfig> FindConfig() const;
  std::optional<KernelConfig> EmbeddedConfig() const;
  std::optional<KernelConfig> ConfigBeside() const;

  std::string path_;
  Mapping file_;
  Mapping unpacked_;
  KernelKind kind_ = KernelKind::kElf;
  Compression compression_ = Compression::kNone;
  bool decompressed_by_guest_ = false;
  GuestAddress entry_;
  std::vector<LoadSegment> segments_;
  uint64_t init_size_ = 0;
  std::optional<uint32_t> pvh_entry_;
  setup_header header_ = {};
  std::unique_ptr<Lazy> lazy_;
};

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_KERNEL_IMAGE_H_
