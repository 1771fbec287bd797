#include "vmm/boot/testing/test_images.h"

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace stasis::testing {
namespace {

[[noreturn]] void Die(const char* what) {
  fprintf(stderr, "test image: %s\n", what);
  abort();
}

void Append(Bytes& to, const void* from, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  to.insert(to.end(), bytes, bytes + size);
}

Bytes PackGzip(absl::Span<const uint8_t> bytes) {
  z_stream stream = {};
  if (deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
    Die("deflateInit2");
  }
  Bytes packed(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<uint8_t*>(bytes.data());
  stream.avail_in = bytes.size();
  stream.next_out = packed.data();
  stream.avail_out = packed.size();
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) Die("deflate");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

Bytes PackLzma(bool alone, absl::Span<const uint8_t> bytes) {
  lzma_stream stream = LZMA_STREAM_INIT;
  lzma_options_lzma options;
  if (lzma_lzma_preset(&options, 6)) Die("preset");
  const lzma_ret started = alone ? lzma_alone_encoder(&stream, &options)
                                 : lzma_easy_encoder(&stream, 6, LZMA_CHECK_CRC32);
  if (started != LZMA_OK) Die("lzma encoder");
  Bytes packed(bytes.size() + 4096);
  stream.next_in = bytes.data();
  stream.avail_in = bytes.size();
  stream.next_out = packed.data();
  stream.avail_out = packed.size();
  if (lzma_code(&stream, LZMA_FINISH) != LZMA_STREAM_END) Die("lzma_code");
  packed.resize(stream.total_out);
  lzma_end(&stream);
  return packed;
}

Bytes PackLz4(absl::Span<const uint8_t> bytes) {
  // Blocks smaller than the format's 8 MiB, so that a test image has several.
  constexpr size_t kBlock = 4096;
  Bytes packed = {0x02, 0x21, 0x4c, 0x18};
  for (size_t at = 0; at < bytes.size(); at += kBlock) {
    const auto block = bytes.subspan(at, kBlock);
    Bytes out(LZ4_compressBound(block.size()));
    const uint32_t size =
        LZ4_compress_default(reinterpret_cast<const char*>(block.data()),
                             reinterpret_cast<char*>(out.data()), block.size(), out.size());
    Append(packed, &size, sizeof(size));
    Append(packed, out.data(), size);
  }
  return packed;
}

Bytes PackZstd(absl::Span<const uint8_t> bytes) {
  Bytes packed(ZSTD_compressBound(bytes.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 3));
  return packed;
}

Bytes PackBzip2(absl::Span<const uint8_t> bytes) {
  Bytes packed(bytes.size() + bytes.size() / 50 + 1024);
  unsigned size = packed.size();
  if (BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(packed.data()), &size,
                               const_cast<char*>(reinterpret_cast<const char*>(bytes.data())),
                               bytes.size(), 9, 0, 0) != BZ_OK) {
    Die("bzip2");
  }
  packed.resize(size);
  return packed;
}

}  // namespace

Bytes Pack(Compression compression, absl::Span<const uint8_t> bytes) {
  switch (compression) {
    case Compression::kNone:
      return Bytes(bytes.begin(), bytes.end());
    case Compression::kGzip:
      return PackGzip(bytes);
    case Compression::kXz:
      return PackLzma(false, bytes);
    case Compression::kLzma:
      return PackLzma(true, bytes);
    case Compression::kLz4:
      return PackLz4(bytes);
    case Compression::kZstd:
      return PackZstd(bytes);
    case Compression::kBzip2:
      return PackBzip2(bytes);
    case Compression::kLzo:
    case Compression::kUnknown:
      break;
  }
  Die("no packer for this format");
}

Bytes MakeElf(const ElfSpec& spec) {
  // The segment: 256 bytes of "code" (0xf4, hlt), banner, configuration.
  Bytes segment(256, 0xf4);
  const std::string banner = "Linux version " + spec.release + " (builder@host) #1 SMP\n";
  Append(segment, banner.c_str(), banner.size() + 1);
  if (!spec.config.empty()) {
    Append(segment, "IKCFG_ST", 8);
    const Bytes packed = Pack(Compression::kGzip, AsBytes(spec.config));
    Append(segment, packed.data(), packed.size());
    Append(segment, "IKCFG_ED", 8);
  }
  segment.resize(segment.size() + spec.padding);
  while (segment.size() % 4 != 0) segment.push_back(0);
  const uint64_t note_offset = kElfSegmentOffset + segment.size();
  const Elf64_Nhdr note = {4, 4, 18};
  Append(segment, &note, sizeof(note));
  Append(segment, "Xen", 4);
  Append(segment, &spec.pvh_entry, 4);

  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = spec.address + kElfEntryOffset;
  header.e_phoff = sizeof(header);
  header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;

  Elf64_Phdr load = {};
  load.p_type = PT_LOAD;
  load.p_flags = PF_R | PF_W | PF_X;
  load.p_offset = kElfSegmentOffset;
  load.p_paddr = spec.address;
  load.p_vaddr = 0xffffffff80000000 + spec.address;
  load.p_filesz = segment.size();
  load.p_memsz = segment.size() + spec.bss;
  load.p_align = 0x1000;
  Elf64_Phdr notes = {};
  notes.p_type = PT_NOTE;
  notes.p_offset = note_offset;
  notes.p_filesz = notes.p_memsz = sizeof(note) + 8;

  Bytes elf;
  Append(elf, &header, sizeof(header));
  Append(elf, &load, sizeof(load));
  Append(elf, &notes, sizeof(notes));
  elf.resize(kElfSegmentOffset);
  Append(elf, segment.data(), segment.size());
  return elf;
}

Bytes MakeBzImage(const BzImageSpec& spec, absl::Span<const uint8_t> elf) {
  Bytes payload = Pack(spec.compression, elf);
  const uint32_t unpacked_size = elf.size();
  if (spec.compression != Compression::kGzip) {
    Append(payload, &unpacked_size, sizeof(unpacked_size));
  }
  Bytes code(kPayloadOffset, 0xf4);
  Append(code, payload.data(), payload.size());
  while (code.size() % 16 != 0) code.push_back(0);

  setup_header header = {};
  header.setup_sects = spec.setup_sectors;
  header.syssize = code.size() / 16;
  header.boot_flag = 0xaa55;
  header.jump = 0x6aeb;  // jmp over the header: it ends at 0x202 + 0x6a
  header.header = 0x53726448;
  header.version = spec.version;
  header.kernel_version = 0x200;  // + 0x200: the third sector
  header.loadflags = LOADED_HIGH;
  header.initrd_addr_max = 0x7fffffff;
  header.kernel_alignment = 0x200000;
  header.relocatable_kernel = 1;
  header.xloadflags = XLF_KERNEL_64;
  header.cmdline_size = 2047;
  header.payload_offset = kPayloadOffset;
  header.payload_length = payload.size();
  header.pref_address = 0x1000000;
  header.init_size = 0x800000;

  Bytes image((spec.setup_sectors + 1) * 512);
  memcpy(image.data() + kSetupHeaderOffset, &header, sizeof(header));
  const std::string version = spec.release + " (builder@host) #1 SMP";
  memcpy(image.data() + 0x400, version.c_str(), version.size() + 1);
  Append(image, code.data(), code.size());
  return image;
}

TemporaryDirectory::TemporaryDirectory() {
  const char* base = getenv("TEST_TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/stasis-test-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) Die("mkdtemp");
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::Write(const std::string& name,
                                      absl::Span<const uint8_t> bytes) const {
  const std::string path = path_ + "/" + name;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::filesystem::last_write_time(
      path, std::filesystem::file_time_type::clock::now() - std::chrono::minutes(1));
  return path;
}

}  // namespace stasis::testing
