#include "vmm/boot/bzimage.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace stasis {
namespace {

// Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
constexpr uint64_t kSetupHeaderOffset = 0x1f1;
constexpr uint64_t kBootFlagOffset = 0x1fe;
constexpr uint64_t kHeaderLengthOffset = 0x201;  // the header ends at 0x202 + this byte
constexpr uint64_t kHeaderMagicOffset = 0x202;
constexpr uint64_t kSectorSize = 512;
constexpr uint16_t kNeededProtocol = 0x020c;  // 2.12: xloadflags, with the 64-bit entry

// The kernel's own limit for its image is 1 GiB (KERNEL_IMAGE_SIZE).
constexpr uint64_t kUnpackedLimit = uint64_t{1} << 30;

absl::Status CheckProtocol(const setup_header& header) {
  if (header.version < kNeededProtocol) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "kernel too old: boot protocol %d.%02d, needed is 2.12 (Linux 3.8 or newer)",
        header.version >> 8, header.version & 0xff));
  }
  if ((header.loadflags & LOADED_HIGH) == 0) {
    return absl::FailedPreconditionError("a zImage (loaded low), needed is a bzImage");
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0) {
    return absl::FailedPreconditionError(
        "wrong architecture: a 32-bit x86 kernel without a 64-bit entry, needed is x86_64");
  }
  return absl::OkStatus();
}

// The first word of the version string: "6.1.0-9-amd64 (debian@...) #1 SMP".
std::string Release(absl::Span<const uint8_t> setup, uint16_t kernel_version) {
  const uint64_t begin = uint64_t{kernel_version} + kSectorSize;
  if (kernel_version == 0 || begin >= setup.size()) return "";
  const absl::string_view text(reinterpret_cast<const char*>(setup.data()) + begin,
                               setup.size() - begin);
  const absl::string_view word = text.substr(0, text.find_first_of(absl::string_view(" \0", 2)));
  const bool printable = std::all_of(word.begin(), word.end(), [](char c) { return c > 32; });
  return printable ? std::string(word) : "";
}

absl::Status Truncated(uint64_t needed, uint64_t size) {
  return absl::InvalidArgumentError(
      absl::StrFormat("truncated bzImage: %d bytes, at least %d expected", size, needed));
}

absl::Status FindPayload(BzImage* image) {
  const setup_header& header = image->header;
  const uint64_t code_size = image->protected_mode_code.size();
  const uint64_t end = uint64_t{header.payload_offset} + header.payload_length;
  if (header.payload_length < 8 || end > code_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad bzImage: payload at %d, %d bytes, in %d bytes of code",
                        header.payload_offset, header.payload_length, code_size));
  }
  image->payload = image->protected_mode_code.subspan(header.payload_offset, header.payload_length);
  image->compression = DetectCompression(image->payload);
  // gzip ends with the size itself, the kernel's build appends it to every other format.
  uint32_t unpacked_size;
  memcpy(&unpacked_size, &image->payload[image->payload.size() - 4], 4);
  image->unpacked_size = unpacked_size;
  return absl::OkStatus();
}

}  // namespace

bool LooksLikeBzImage(absl::Span<const uint8_t> bytes) {
  return bytes.size() >= kHeaderMagicOffset + 4 && bytes[kBootFlagOffset] == 0x55 &&
         bytes[kBootFlagOffset + 1] == 0xaa && memcmp(&bytes[kHeaderMagicOffset], "HdrS", 4) == 0;
}

absl::StatusOr<BzImage> ParseBzImage(absl::Span<const uint8_t> bytes) {
  constexpr uint64_t kHeaderEnd = kSetupHeaderOffset + sizeof(setup_header);
  if (bytes.size() < kHeaderEnd) return Truncated(kHeaderEnd, bytes.size());

  BzImage image;
  const uint64_t header_end = kHeaderMagicOffset + bytes[kHeaderLengthOffset];
  memcpy(&image.header, bytes.data() + kSetupHeaderOffset,
         std::min<uint64_t>(header_end - kSetupHeaderOffset, sizeof(setup_header)));
  if (auto status = CheckProtocol(image.header); !status.ok()) return status;

  const uint64_t setup_sectors = image.header.setup_sects == 0 ? 4 : image.header.setup_sects;
  const uint64_t setup_size = (setup_sectors + 1) * kSectorSize;
  // syssize counts paragraphs of 16 bytes and is rounded up.
  const uint64_t code_size = uint64_t{image.header.syssize} * 16;
  if (setup_size >= bytes.size() || bytes.size() - setup_size + 15 < code_size) {
    return Truncated(setup_size + code_size, bytes.size());
  }
  image.release = Release(bytes.first(setup_size), image.header.kernel_version);
  image.protected_mode_code = bytes.subspan(setup_size);
  if (auto status = FindPayload(&image); !status.ok()) return status;
  return image;
}

absl::StatusOr<Mapping> UnpackPayload(const BzImage& image) {
  if (image.unpacked_size == 0 || image.unpacked_size > kUnpackedLimit) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bad bzImage: the payload claims to unpack to %d bytes", image.unpacked_size));
  }
  auto unpacked = Mapping::Anonymous(image.unpacked_size);
  if (!unpacked.ok()) return unpacked.status();
  absl::Span<const uint8_t> stream = image.payload;
  if (image.compression != Compression::kGzip) stream.remove_suffix(4);
  auto status = Decompress(image.compression, stream, unpacked->writable_bytes());
  if (!status.ok()) return status;
  return unpacked;
}

}  // namespace stasis
