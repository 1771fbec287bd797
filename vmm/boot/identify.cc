#include "vmm/boot/identify.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "vmm/boot/decompress.h"

namespace stasis {
namespace {

struct Magic {
  size_t offset;
  absl::string_view bytes;
  const char* description;
};

// The first that matches wins.
constexpr Magic kMagics[] = {
    // Documentation/arch/arm64/booting.rst; zboot: drivers/firmware/efi/libstub/zboot-header.S
    {56, "ARM\x64", "an arm64 kernel image (wrong architecture, needed is x86_64)"},
    {4, "zimg", "an EFI zboot kernel image, as arm64 and riscv have (needed is x86_64)"},
    {48, "RISCV", "a riscv kernel image (wrong architecture, needed is x86_64)"},
    {0x24, absl::string_view("\x18\x28\x6f\x01", 4),
     "a 32-bit arm zImage (wrong architecture, needed is x86_64)"},
    {0, "#!", "a script"},
    {0, "070701", "an initramfs (cpio archive)"},
    {0, "070702", "an initramfs (cpio archive)"},
    {0, "!<arch>\ndebian", "a Debian package: use 'stasis kernel fetch'"},
    {0, "!<arch>", "a static library"},
    {257, "ustar", "a tar archive"},
    {0, "MZ", "an EFI or DOS program without a Linux setup header"},
    {0, "\x27\x05\x19\x56", "a U-Boot image"},
    {0, "QFI\xfb", "a qcow2 disk image"},
};

bool Matches(absl::Span<const uint8_t> bytes, const Magic& magic) {
  return bytes.size() >= magic.offset + magic.bytes.size() &&
         memcmp(bytes.data() + magic.offset, magic.bytes.data(), magic.bytes.size()) == 0;
}

}  // namespace

std::string DescribeNonKernel(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) return "an empty file";
  for (const Magic& magic : kMagics) {
    if (Matches(bytes, magic)) return magic.description;
  }
  const Compression compression = DetectCompression(bytes);
  if (compression != Compression::kUnknown && compression != Compression::kNone) {
    return absl::StrCat("a ", CompressionName(compression),
                        " file: unpack it first if a vmlinux is in it");
  }
  const auto begin = bytes.first(std::min<size_t>(bytes.size(), 512));
  if (std::all_of(begin.begin(), begin.end(), [](uint8_t c) {
        return (c >= 32 && c < 127) || c == '\n' || c == '\t' || c == '\r';
      })) {
    return "a text file";
  }
  return "data of an unknown kind";
}

}  // namespace stasis
