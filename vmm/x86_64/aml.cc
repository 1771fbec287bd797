#include "vmm/x86_64/aml.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stasis::aml {
namespace {

// Opcodes (ACPI 6.5 §20.3).
constexpr char kNameOp = 0x08;
constexpr char kBytePrefix = 0x0a;
constexpr char kWordPrefix = 0x0b;
constexpr char kDWordPrefix = 0x0c;
constexpr char kStringPrefix = 0x0d;
constexpr char kQWordPrefix = 0x0e;
constexpr char kScopeOp = 0x10;
constexpr char kBufferOp = 0x11;
constexpr char kPackageOp = 0x12;
constexpr char kExtPrefix = 0x5b;
constexpr char kDeviceOp = static_cast<char>(0x82);
constexpr char kDualNamePrefix = 0x2e;
constexpr char kMultiNamePrefix = 0x2f;

std::string Little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

// PkgLength counts itself: 1 byte up to 63, else a lead byte with 4 bits and up to 3 more.
std::string WithPkgLength(absl::string_view body) {
  std::string length;
  if (body.size() + 1 < 0x40) {
    length = Little(body.size() + 1, 1);
  } else {
    int more = 1;
    while (body.size() + 1 + more >= (size_t{1} << (4 + 8 * more))) ++more;
    const size_t total = body.size() + 1 + more;
    length = Little((total & 0xf) | more << 6, 1) + Little(total >> 4, more);
  }
  return absl::StrCat(length, body);
}

std::string NamePath(absl::string_view path) {
  std::string text;
  if (!path.empty() && path.front() == '\\') {
    text.push_back('\\');
    path.remove_prefix(1);
  }
  const std::vector<std::string> segments = absl::StrSplit(path, '.');
  if (segments.size() == 2) text.push_back(kDualNamePrefix);
  if (segments.size() > 2) {
    text.push_back(kMultiNamePrefix);
    text.push_back(static_cast<char>(segments.size()));
  }
  for (std::string segment : segments) {
    segment.resize(4, '_');
    text += segment;
  }
  return text;
}

}  // namespace

std::string Name(absl::string_view path, absl::string_view object) {
  return absl::StrCat(std::string(1, kNameOp), NamePath(path), object);
}

std::string Scope(absl::string_view path, absl::string_view terms) {
  return absl::StrCat(std::string(1, kScopeOp), WithPkgLength(absl::StrCat(NamePath(path), terms)));
}

std::string Device(absl::string_view path, absl::string_view terms) {
  return absl::StrCat(std::string({kExtPrefix, kDeviceOp}),
                      WithPkgLength(absl::StrCat(NamePath(path), terms)));
}

std::string Package(uint8_t count, absl::string_view elements) {
  return absl::StrCat(std::string(1, kPackageOp),
                      WithPkgLength(absl::StrCat(Little(count, 1), elements)));
}

std::string Integer(uint64_t value) {
  if (value <= 1) return Little(value, 1);  // ZeroOp, OneOp
  if (value <= 0xff) return absl::StrCat(std::string(1, kBytePrefix), Little(value, 1));
  if (value <= 0xffff) return absl::StrCat(std::string(1, kWordPrefix), Little(value, 2));
  if (value <= 0xffffffff) return absl::StrCat(std::string(1, kDWordPrefix), Little(value, 4));
  return absl::StrCat(std::string(1, kQWordPrefix), Little(value, 8));
}

std::string String(absl::string_view text) {
  return absl::StrCat(std::string(1, kStringPrefix), text, Little(0, 1));
}

std::string Buffer(absl::string_view bytes) {
  return absl::StrCat(std::string(1, kBufferOp),
                      WithPkgLength(absl::StrCat(Integer(bytes.size()), bytes)));
}

std::string EisaId(absl::string_view id) {
  uint32_t value = 0;
  for (char c : id.substr(0, 3)) value = value << 5 | (static_cast<uint32_t>(c - '@') & 0x1f);
  for (char c : id.substr(3, 4)) {
    value = value << 4 | static_cast<uint32_t>(absl::ascii_isdigit(c) ? c - '0' : c - 'A' + 10);
  }
  // The integer holds the ID's bytes in big-endian order.
  return absl::StrCat(std::string(1, kDWordPrefix), Little(__builtin_bswap32(value), 4));
}

std::string ResourceTemplate(absl::string_view descriptors) {
  // End tag with checksum 0, which means: not checked.
  return Buffer(absl::StrCat(descriptors, std::string("\x79\0", 2)));
}

std::string MemoryFixed(uint64_t base, uint64_t size) {
  if (base + size <= 0xffffffff) {  // 32-bit fixed memory range, read-write (§6.4.3.4)
    return absl::StrCat(std::string("\x86\x09\x00\x01", 4), Little(base, 4), Little(size, 4));
  }
  // QWord address space, memory, consumer, fixed minimum and maximum, read-write (§6.4.3.5.1).
  return absl::StrCat(std::string("\x8a\x2b\x00\x00\x0d\x01", 6), Little(0, 8), Little(base, 8),
                      Little(base + size - 1, 8), Little(0, 8), Little(size, 8));
}

std::string IoPorts(uint16_t base, uint8_t count) {  // 16-bit decode (§6.4.2.5)
  return absl::StrCat(std::string("\x47\x01", 2), Little(base, 2), Little(base, 2), Little(1, 1),
                      Little(count, 1));
}

std::string EdgeInterrupt(uint32_t gsi) {  // extended interrupt (§6.4.3.6): consumer, edge
  return absl::StrCat(std::string("\x89\x06\x00\x03\x01", 5), Little(gsi, 4));
}

}  // namespace stasis::aml
