// Kernel images made for tests: the smallest that are well-formed, with every field in reach.
#ifndef STASIS_VMM_BOOT_TESTING_TEST_IMAGES_H_
#define STASIS_VMM_BOOT_TESTING_TEST_IMAGES_H_

#include <asm/bootparam.h>
#include <elf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "vmm/boot/decompress.h"

namespace stasis::testing {

using Bytes = std::vector<uint8_t>;

inline absl::Span<const uint8_t> AsBytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// Packs as the kernel's build does, without the size that it appends. Aborts the test on kLzo.
Bytes Pack(Compression compression, absl::Span<const uint8_t> bytes);

// A vmlinux with one PT_LOAD at 16 MiB (some code, the Linux banner, IKCONFIG if `config` is not
// empty, .bss behind it) and one PT_NOTE with the PVH entry.
struct ElfSpec {
  std::string release = "6.12.0-test";
  std::string config;
  uint64_t address = 0x1000000;
  uint64_t bss = 0x3000;
  uint64_t padding = 0;  // zero bytes inside the segment, to make it larger
  uint32_t pvh_entry = 0x1000100;
};
// Where things stand in the result.
inline constexpr uint64_t kElfSegmentOffset = 0x1000;
inline constexpr uint64_t kElfEntryOffset = 0x40;  // into the segment
Bytes MakeElf(const ElfSpec& spec);

// A bzImage of one boot sector, setup code of `setup_sectors`, and protected-mode code that holds
// `elf`, packed.
struct BzImageSpec {
  Compression compression = Compression::kGzip;
  std::string release = "6.12.0-test";
  uint8_t setup_sectors = 3;
  uint16_t version = 0x020f;
};
inline constexpr uint64_t kSetupHeaderOffset = 0x1f1;
inline constexpr uint64_t kPayloadOffset = 0x280;  // into the protected-mode code
Bytes MakeBzImage(const BzImageSpec& spec, absl::Span<const uint8_t> elf);

// Changes the setup header of a bzImage in place.
template <typename Change>
void EditSetupHeader(Bytes& image, Change change) {
  setup_header header;
  std::copy_n(image.begin() + kSetupHeaderOffset, sizeof(header),
              reinterpret_cast<uint8_t*>(&header));
  change(header);
  std::copy_n(reinterpret_cast<const uint8_t*>(&header), sizeof(header),
              image.begin() + kSetupHeaderOffset);
}

// A directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  // Writes `bytes` below the directory (folders are made) and returns the whole path. The file's
  // time is a minute ago, so that caches may trust it.
  std::string Write(const std::string& name, absl::Span<const uint8_t> bytes) const;
  std::string Write(const std::string& name, const std::string& text) const {
    return Write(name, AsBytes(text));
  }

 private:
  std::string path_;
};

}  // namespace stasis::testing

#endif  // STASIS_VMM_BOOT_TESTING_TEST_IMAGES_H_
