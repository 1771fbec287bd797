#include "vmm/boot/kernel_image.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/identify.h"
#include "vmm/boot/unpack_cache.h"

namespace stasis {
namespace {

// 64-bit entry of a bzImage (boot.rst, "64-bit BOOT PROTOCOL").
constexpr uint64_t kEntry64Offset = 0x200;

constexpr uint32_t kSetupMagic = 0x53726448;  // "HdrS"
constexpr size_t kConfigLimit = 16 << 20;     // real ones are 50-300 KiB

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("kernel ", path, ": ", status.message()));
}

// What an ELF image does not say about itself and every kernel since protocol 2.12 says.
setup_header DefaultHeader(uint64_t init_size) {
  setup_header header = {};
  header.boot_flag = 0xaa55;
  header.header = kSetupMagic;
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.kernel_alignment = 2 << 20;
  header.initrd_addr_max = 0x7fffffff;
  header.cmdline_size = 2047;  // COMMAND_LINE_SIZE of x86, less the terminating zero
  header.init_size = static_cast<uint32_t>(init_size);
  return header;
}

const uint8_t* Search(absl::Span<const uint8_t> in, absl::string_view what) {
  return static_cast<const uint8_t*>(memmem(in.data(), in.size(), what.data(), what.size()));
}

absl::Span<const uint8_t> From(absl::Span<const uint8_t> bytes, const uint8_t* begin) {
  return bytes.subspan(begin - bytes.data());
}

std::optional<KernelConfig> ReadConfigFile(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!absl::StrContains(text, "CONFIG_")) return std::nullopt;
  return KernelConfig(std::move(text), path);
}

}  // namespace

absl::StatusOr<KernelImage> KernelImage::Load(const std::string& path,
                                              const KernelImageOptions& options) {
  KernelImage image(path);
  if (auto status = image.Open(options); !status.ok()) return WithPath(path, status);
  return image;
}

absl::Status KernelImage::Open(const KernelImageOptions& options) {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, "open");
  auto closer = absl::MakeCleanup([fd] { close(fd); });
  struct stat file;
  if (fstat(fd, &file) != 0) return absl::ErrnoToStatus(errno, "stat");
  if (S_ISDIR(file.st_mode)) {
    return absl::InvalidArgumentError("not a kernel image: a directory");
  }
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError("not a kernel image: not a regular file");
  }
  auto mapping = Mapping::OfFile(fd, file.st_size, path_);
  if (!mapping.ok()) return mapping.status();
  file_ = *std::move(mapping);

  if (LooksLikeBzImage(file_.bytes())) return UseBzImage(file, options);
  if (DetectCompression(file_.bytes()) == Compression::kNone) return UseElf(file_.bytes());
  return absl::InvalidArgumentError(
      absl::StrCat("not a kernel image: ", DescribeNonKernel(file_.bytes())));
}

absl::Status KernelImage::UseElf(absl::Span<const uint8_t> bytes) {
  auto elf = ParseElfKernel(bytes);
  if (!elf.ok()) return elf.status();
  entry_ = elf->entry;
  pvh_entry_ = elf->pvh_entry;
  init_size_ = elf->end() - elf->begin();
  segments_ = std::move(elf->segments);
  if (kind_ == KernelKind::kElf) header_ = DefaultHeader(init_size_);
  return absl::OkStatus();
}

absl::Status KernelImage::UseBzImage(const struct stat& file, const KernelImageOptions& options) {
  auto image = ParseBzImage(file_.bytes());
  if (!image.ok()) return image.status();
  kind_ = KernelKind::kBzImage;
  header_ = image->header;
  compression_ = image->compression;
  lazy_->release = image->release;
  if (!options.load_as_bzimage) return UnpackAndCache(*image, file, options.cache_directory);

  decompressed_by_guest_ = true;
  const uint64_t code_size = image->protected_mode_code.size();
  init_size_ = std::max<uint64_t>(header_.init_size, code_size);
  if (code_size <= kEntry64Offset || header_.pref_address < (1 << 20) ||
      header_.pref_address + init_size_ > (uint64_t{4} << 30)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad bzImage: %d bytes of code for address %#x, init_size %#x", code_size,
                        header_.pref_address, header_.init_size));
  }
  const GuestAddress load(header_.pref_address);
  entry_ = load + kEntry64Offset;
  segments_ = {{load, image->protected_mode_code, init_size_}};
  return absl::OkStatus();
}

absl::Status KernelImage::UnpackAndCache(const BzImage& image, const struct stat& file,
                                         const std::string& cache_directory) {
  const UnpackCache cache(cache_directory);
  std::string sha256;
  if (!cache_directory.empty()) {
    if (auto found = cache.FindByIdentity(file)) {
      unpacked_ = *std::move(found);
      if (UseElf(unpacked_.bytes()).ok()) return absl::OkStatus();
      cache.Forget(file, "");
    }
    sha256 = Sha256Hex(file_.bytes());
    if (auto found = cache.FindByContent(sha256)) {
      unpacked_ = *std::move(found);
      cache.Remember(file, sha256);
      if (UseElf(unpacked_.bytes()).ok()) return absl::OkStatus();
      cache.Forget(file, sha256);
    }
  }
  auto unpacked = UnpackPayload(image);
  if (!unpacked.ok()) return unpacked.status();
  unpacked_ = *std::move(unpacked);
  if (auto status = UseElf(unpacked_.bytes()); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("payload: ", status.message()));
  }
  if (cache_directory.empty()) return absl::OkStatus();

  const absl::Status stored = cache.Store(sha256, unpacked_.bytes());
  if (absl::IsResourceExhausted(stored)) return stored;
  if (!stored.ok()) {
    LOG(WARNING) << "unpacked kernel is not kept: " << stored.message();
    return absl::OkStatus();
  }
  cache.Remember(file, sha256);
  // The file's pages are shared between processes, those of the anonymous copy are not.
  if (auto found = cache.FindByContent(sha256)) {
    Mapping copy = std::exchange(unpacked_, *std::move(found));
    return UseElf(unpacked_.bytes());
  }
  return absl::OkStatus();
}

GuestAddress KernelImage::load_end() const {
  const LoadSegment& last = segments_.back();
  return last.address + last.memory_size;
}

void KernelImage::Copy(absl::Span<const uint8_t> part, uint8_t* to) const {
  const bool unpacked = !unpacked_.bytes().empty() && part.begin() >= unpacked_.bytes().begin() &&
                        part.end() <= unpacked_.bytes().end();
  (unpacked ? unpacked_ : file_).Copy(part, to);
}

void KernelImage::DropPages() const {
  file_.DropPages();
  unpacked_.DropPages();
}

const std::string& KernelImage::release() const {
  absl::call_once(lazy_->release_once, [this] {
    if (lazy_->release.empty()) lazy_->release = FindRelease();
  });
  return lazy_->release;
}

const KernelConfig* KernelImage::config() const {
  absl::call_once(lazy_->config_once, [this] { lazy_->config = FindConfig(); });
  return lazy_->config.has_value() ? &*lazy_->config : nullptr;
}

// linux_banner: "Linux version 6.1.0-9-amd64 (debian@...".
std::string KernelImage::FindRelease() const {
  constexpr absl::string_view kBanner = "Linux version ";
  if (decompressed_by_guest_) return "";
  for (const LoadSegment& segment : segments_) {
    absl::Span<const uint8_t> rest = segment.bytes;
    while (const uint8_t* at = Search(rest, kBanner)) {
      rest = From(rest, at + kBanner.size());
      size_t length = 0;
      while (length < rest.size() && length < 128 && isgraph(rest[length])) ++length;
      if (length > 0 && isdigit(rest[0])) {
        return std::string(reinterpret_cast<const char*>(rest.data()), length);
      }
    }
  }
  return "";
}

// A file beside the image that says IKCONFIG is off saves the search; when it is on, the embedded
// text wins, because a .config may have been edited since the build.
std::optional<KernelConfig> KernelImage::FindConfig() const {
  std::optional<KernelConfig> beside = ConfigBeside();
  if (beside && !beside->IsBuiltIn("IKCONFIG")) return beside;
  std::optional<KernelConfig> embedded = EmbeddedConfig();
  return embedded ? std::move(embedded) : std::move(beside);
}

// kernel/configs.c: IKCFG_ST, a gzip member, IKCFG_ED.
std::optional<KernelConfig> KernelImage::EmbeddedConfig() const {
  constexpr absl::string_view kStart = "IKCFG_ST";
  if (decompressed_by_guest_) return std::nullopt;  // it is inside the payload
  for (const LoadSegment& segment : segments_) {
    absl::Span<const uint8_t> rest = segment.bytes;
    while (const uint8_t* at = Search(rest, kStart)) {
      rest = From(rest, at + kStart.size());
      auto text = Gunzip(rest, kConfigLimit);
      if (text.ok()) return KernelConfig(*std::move(text), absl::StrCat("IKCONFIG of ", path_));
    }
  }
  return std::nullopt;
}

std::optional<KernelConfig> KernelImage::ConfigBeside() const {
  const size_t slash = path_.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash);
  const std::string name = slash == std::string::npos ? path_ : path_.substr(slash + 1);
  std::vector<std::string> candidates;
  // /boot holds many kernels: only the file that carries this one's name belongs to it.
  for (absl::string_view prefix : {"vmlinuz-", "vmlinux-", "bzImage-"}) {
    if (absl::StartsWith(name, prefix)) {
      candidates.push_back(absl::StrCat(directory, "/config-", absl::StripPrefix(name, prefix)));
    }
  }
  candidates.push_back(absl::StrCat(directory, "/config"));
  candidates.push_back(absl::StrCat(directory, "/.config"));
  if (absl::EndsWith(directory, "arch/x86/boot")) {
    candidates.push_back(absl::StrCat(directory, "/../../../.config"));
  }
  if (kind_ == KernelKind::kBzImage && !lazy_->release.empty()) {
    candidates.push_back(absl::StrCat(directory, "/config-", lazy_->release));
  }
  for (const std::string& candidate : candidates) {
    if (auto config = ReadConfigFile(candidate)) return config;
  }
  return std::nullopt;
}

}  // namespace stasis
