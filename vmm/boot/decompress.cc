#include "vmm/boot/decompress.h"

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace stasis {
namespace {

// Room for the dictionary: the kernel's build uses at most 32 MiB for xz and 128 MiB for lzma -9.
constexpr uint64_t kLzmaMemoryLimit = uint64_t{256} << 20;

// lz4's legacy frame (lz4_Frame_format.md, "Legacy frame"): magic, then blocks with a 32-bit
// length.
constexpr uint32_t kLz4LegacyMagic = 0x184c2102;

bool StartsWith(absl::Span<const uint8_t> bytes, absl::string_view magic) {
  return bytes.size() >= magic.size() && memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

uint32_t LoadLittleEndian32(const uint8_t* from) {
  return from[0] | from[1] << 8 | from[2] << 16 | static_cast<uint32_t>(from[3]) << 24;
}

absl::Status Corrupt(Compression compression, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s data is corrupt or truncated: %s", CompressionName(compression), why));
}

absl::Status CheckSize(Compression compression, size_t got, size_t expected) {
  if (got == expected) return absl::OkStatus();
  return Corrupt(compression, absl::StrFormat("%d bytes instead of %d", got, expected));
}

absl::Status Inflate(absl::Span<const uint8_t> input, absl::Span<uint8_t> output) {
  z_stream stream = {};
  if (input.size() > std::numeric_limits<uInt>::max() ||
      output.size() > std::numeric_limits<uInt>::max()) {
    return Corrupt(Compression::kGzip, "larger than 4 GiB");
  }
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("no memory for inflate");
  }
  stream.next_in = const_cast<uint8_t*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = output.data();
  stream.avail_out = static_cast<uInt>(output.size());
  const int result = inflate(&stream, Z_FINISH);
  const size_t got = stream.total_out;
  const std::string why = stream.msg != nullptr ? stream.msg : "the stream does not end";
  inflateEnd(&stream);
  if (result != Z_STREAM_END) return Corrupt(Compression::kGzip, why);
  return CheckSize(Compression::kGzip, got, output.size());
}

// Both of liblzma's formats: .xz with checks, and .lzma ("alone").
absl::Status UnpackLzma(Compression compression, absl::Span<const uint8_t> input,
                        absl::Span<uint8_t> output) {
  lzma_stream stream = LZMA_STREAM_INIT;
  const lzma_ret started = compression == Compression::kXz
                               ? lzma_stream_decoder(&stream, kLzmaMemoryLimit, 0)
                               : lzma_alone_decoder(&stream, kLzmaMemoryLimit);
  if (started != LZMA_OK) return absl::ResourceExhaustedError("no memory for liblzma");
  stream.next_in = input.data();
  stream.avail_in = input.size();
  stream.next_out = output.data();
  stream.avail_out = output.size();
  lzma_ret result = LZMA_OK;
  while (result == LZMA_OK) {
    const uint64_t before = stream.total_in + stream.total_out;
    result = lzma_code(&stream, LZMA_FINISH);
    if (result == LZMA_OK && before == stream.total_in + stream.total_out) break;
  }
  const size_t got = stream.total_out;
  lzma_end(&stream);
  if (result != LZMA_STREAM_END) {
    return Corrupt(compression, absl::StrFormat("liblzma result %d after %d bytes", result, got));
  }
  return CheckSize(compression, got, output.size());
}

absl::Status UnpackLz4(absl::Span<const uint8_t> input, absl::Span<uint8_t> output) {
  size_t in = 0;
  size_t out = 0;
  while (input.size() - in >= 4 && out < output.size()) {
    const uint32_t length = LoadLittleEndian32(input.data() + in);
    in += 4;
    if (length == kLz4LegacyMagic) continue;  // a frame may follow a frame
    if (length == 0 || length > input.size() - in) {
      return Corrupt(Compression::kLz4, absl::StrFormat("a block of %d bytes at %d", length, in));
    }
    const size_t room = std::min<size_t>(output.size() - out, std::numeric_limits<int>::max());
    const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(input.data() + in),
                                        reinterpret_cast<char*>(output.data() + out),
                                        static_cast<int>(length), static_cast<int>(room));
    if (got <= 0) return Corrupt(Compression::kLz4, absl::StrFormat("the block at %d", in));
    in += length;
    out += got;
  }
  return CheckSize(Compression::kLz4, out, output.size());
}

// The frame may be followed by bytes that are none of it, which ZSTD_decompress takes for an error.
absl::Status UnpackZstd(absl::Span<const uint8_t> input, absl::Span<uint8_t> output) {
  const size_t frame = ZSTD_findFrameCompressedSize(input.data(), input.size());
  if (ZSTD_isError(frame)) return Corrupt(Compression::kZstd, ZSTD_getErrorName(frame));
  const size_t got = ZSTD_decompress(output.data(), output.size(), input.data(), frame);
  if (ZSTD_isError(got)) return Corrupt(Compression::kZstd, ZSTD_getErrorName(got));
  return CheckSize(Compression::kZstd, got, output.size());
}

absl::Status UnpackBzip2(absl::Span<const uint8_t> input, absl::Span<uint8_t> output) {
  bz_stream stream = {};
  if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) {
    return absl::ResourceExhaustedError("no memory for bzip2");
  }
  stream.next_in = const_cast<char*>(reinterpret_cast<const char*>(input.data()));
  stream.avail_in = static_cast<unsigned>(input.size());
  stream.next_out = reinterpret_cast<char*>(output.data());
  stream.avail_out = static_cast<unsigned>(output.size());
  const int result = BZ2_bzDecompress(&stream);
  const size_t got = output.size() - stream.avail_out;
  BZ2_bzDecompressEnd(&stream);
  if (result != BZ_STREAM_END) {
    return Corrupt(Compression::kBzip2, absl::StrFormat("bzip2 result %d", result));
  }
  return CheckSize(Compression::kBzip2, got, output.size());
}

}  // namespace

const char* CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kGzip:
      return "gzip";
    case Compression::kXz:
      return "xz";
    case Compression::kLz4:
      return "lz4";
    case Compression::kZstd:
      return "zstd";
    case Compression::kBzip2:
      return "bzip2";
    case Compression::kLzma:
      return "lzma";
    case Compression::kLzo:
      return "lzo";
    case Compression::kUnknown:
      return "unknown";
  }
  return "unknown";
}

Compression DetectCompression(absl::Span<const uint8_t> bytes) {
  // Embedded zero bytes: the literals carry their length.
  constexpr absl::string_view kXzMagic(
      "\xfd"
      "7zXZ\0",
      6);
  constexpr absl::string_view kLzmaMagic("\x5d\0\0", 3);
  constexpr absl::string_view kLzoMagic("\x89LZO\0", 5);
  if (StartsWith(bytes,
                 "\x7f"
                 "ELF"))
    return Compression::kNone;
  if (StartsWith(bytes, "\x1f\x8b")) return Compression::kGzip;
  if (StartsWith(bytes, kXzMagic)) return Compression::kXz;
  if (StartsWith(bytes, "\x02\x21\x4c\x18")) return Compression::kLz4;
  if (StartsWith(bytes, "\x28\xb5\x2f\xfd")) return Compression::kZstd;
  if (StartsWith(bytes, "BZh")) return Compression::kBzip2;
  if (StartsWith(bytes, kLzmaMagic)) return Compression::kLzma;
  if (StartsWith(bytes, kLzoMagic)) return Compression::kLzo;
  return Compression::kUnknown;
}

absl::Status Decompress(Compression compression, absl::Span<const uint8_t> input,
                        absl::Span<uint8_t> output) {
  switch (compression) {
    case Compression::kNone:
      if (input.size() < output.size()) {
        return CheckSize(compression, input.size(), output.size());
      }
      std::copy_n(input.begin(), output.size(), output.begin());
      return absl::OkStatus();
    case Compression::kGzip:
      return Inflate(input, output);
    case Compression::kXz:
    case Compression::kLzma:
      return UnpackLzma(compression, input, output);
    case Compression::kLz4:
      return UnpackLz4(input, output);
    case Compression::kZstd:
      return UnpackZstd(input, output);
    case Compression::kBzip2:
      return UnpackBzip2(input, output);
    case Compression::kLzo:
    case Compression::kUnknown:
      break;
  }
  return absl::UnimplementedError(
      absl::StrFormat("compression '%s' cannot be unpacked here", CompressionName(compression)));
}

absl::StatusOr<std::string> Gunzip(absl::Span<const uint8_t> input, size_t limit) {
  z_stream stream = {};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("no memory for inflate");
  }
  stream.next_in = const_cast<uint8_t*>(input.data());
  stream.avail_in =
      static_cast<uInt>(std::min<size_t>(input.size(), std::numeric_limits<uInt>::max()));
  std::string text;
  int result = Z_OK;
  while (result == Z_OK && text.size() <= limit) {
    const size_t done = text.size();
    text.resize(done + (64 << 10));
    stream.next_out = reinterpret_cast<uint8_t*>(text.data()) + done;
    stream.avail_out = static_cast<uInt>(text.size() - done);
    result = inflate(&stream, Z_NO_FLUSH);
    text.resize(text.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (text.size() > limit) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("gzip data unpacks to more than %d bytes", limit));
  }
  if (result != Z_STREAM_END) return Corrupt(Compression::kGzip, "the stream does not end");
  return text;
}

}  // namespace stasis
