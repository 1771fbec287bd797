#include "tools/harness/initramfs/initramfs.h"

#include <errno.h>
#include <limits.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tools/harness/initramfs/dependencies.h"
#include "tools/harness/initramfs/files.h"
#include "tools/harness/initramfs/image_cache.h"
#include "tools/harness/initramfs/modules.h"
#include "tools/harness/initramfs/tree.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr int kFormat = 1;                         // raised when the same inputs make another image
constexpr char kModuleList[] = "/stasis/modules";  // read by guest/agent/modules.cc
constexpr size_t kMaxIncluded = 20000;             // files of one --include directory

// Collects the tree and, beside it, the key: one line per input, naming the file and the state in
// which it was found. Contents are not read for it: a cached image must cost next to nothing.
class Builder {
 public:
  explicit Builder(const InitramfsSpec& spec) : spec_(spec) {}

  absl::Status Collect();
  absl::Status Write(const ImageCache::Writer& write) const;

  const std::string& key() const { return key_; }
  const std::vector<std::string>& modules() const { return modules_; }

 private:
  absl::Status AddHostFile(const std::string& from, const std::string& to);
  absl::Status AddSkeleton();
  absl::Status AddModules();
  absl::Status AddBusybox();
  absl::Status AddIncludes();
  absl::Status AddIncluded(const std::string& path);
  absl::Status AddWithDependencies(const std::string& path);

  const InitramfsSpec& spec_;
  FileTree tree_;
  std::string key_;
  std::vector<std::string> modules_;
  std::string busybox_;
  size_t included_ = 0;
};

absl::Status Builder::AddHostFile(const std::string& from, const std::string& to) {
  struct stat info;
  if (stat(from.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, from);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(from, ": not a regular file"));
  }
  absl::StrAppend(&key_, to, " ", from, " ", info.st_dev, " ", info.st_ino, " ", info.st_size, " ",
                  info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, " ", info.st_mode, "\n");
  tree_.AddFile(to, info.st_mode & 0777, [from] { return ReadFile(from); });
  return absl::OkStatus();
}

absl::Status Builder::AddSkeleton() {
  for (const char* dir : {"/dev", "/proc", "/sys", "/run", "/root", "/etc", "/mnt", "/var/log"}) {
    tree_.AddDirectory(dir);
  }
  tree_.AddDirectory("/tmp", 01777);
  // The kernel opens it for init before anything is mounted.
  tree_.AddCharDevice("/dev/console", 0600, 5, 1);
  tree_.AddText("/etc/passwd", 0644, "root:x:0:0:root:/root:/bin/sh\n");
  tree_.AddText("/etc/group", 0644, "root:x:0:\n");
  absl::Status status = AddHostFile(spec_.agent, "/init");
  if (status.ok() && access(spec_.agent.c_str(), X_OK) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("guest agent ", spec_.agent, ": not executable"));
  }
  return status;
}

absl::Status Builder::AddModules() {
  if (spec_.modules_dir.empty()) return absl::OkStatus();
  auto index = ModuleIndex::Load(spec_.modules_dir);
  if (!index.ok()) return index.status();
  auto paths = index->Resolve(spec_.modules, spec_.required_modules);
  if (!paths.ok()) return paths.status();
  const std::string release = fs::path(spec_.modules_dir).lexically_normal().filename().empty()
                                  ? fs::path(spec_.modules_dir).parent_path().filename()
                                  : fs::path(spec_.modules_dir).filename();
  std::string list;
  for (const std::string& path : *paths) {
    const std::string from = absl::StrCat(spec_.modules_dir, "/", path);
    const std::string to =
        absl::StrCat("/lib/modules/", release, "/", UncompressedModulePath(path));
    absl::Status status = AddHostFile(from, to);
    if (!status.ok()) return status;
    tree_.AddFile(to, 0644, [from] { return ReadModule(from); });
    absl::StrAppend(&list, to, "\n");
    modules_.push_back(ModuleName(path));
  }
  absl::StrAppend(&key_, "modules ", absl::StrJoin(modules_, " "), "\n");
  tree_.AddText(kModuleList, 0644, list);
  return absl::OkStatus();
}

absl::Status Builder::AddBusybox() {
  if (spec_.busybox.empty()) return absl::OkStatus();
  // The applets' links are made when the image is written; they follow from the file.
  busybox_ = spec_.busybox;
  return AddHostFile(spec_.busybox, "/bin/busybox");
}

absl::Status Builder::AddIncludes() {
  for (const std::string& path : spec_.include) {
    std::error_code error;
    const fs::path absolute = fs::absolute(path, error).lexically_normal();
    if (error || !fs::exists(absolute, error)) {
      return absl::NotFoundError(absl::StrCat("--include ", path, ": no such file"));
    }
    if (!fs::is_directory(absolute, error)) {
      absl::Status status = AddIncluded(absolute);
      if (!status.ok()) return status;
      continue;
    }
    for (fs::recursive_directory_iterator it(absolute, error), end; it != end && !error;
         it.increment(error)) {
      if (!it->is_regular_file(error)) continue;  // links to files count as files
      absl::Status status = AddIncluded(it->path());
      if (!status.ok()) return status;
    }
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("--include ", path));
  }
  return absl::OkStatus();
}

absl::Status Builder::AddIncluded(const std::string& path) {
  if (++included_ > kMaxIncluded) {
    return absl::InvalidArgumentError(
        absl::StrCat("--include: more than ", kMaxIncluded, " files; put them on a disk instead"));
  }
  return AddWithDependencies(path);
}

absl::Status Builder::AddWithDependencies(const std::string& path) {
  if (tree_.Contains(path)) return absl::OkStatus();
  absl::Status status = AddHostFile(path, path);
  if (!status.ok()) return status;
  auto dependencies = DirectDependencies(path);
  if (!dependencies.ok()) return dependencies.status();
  for (const std::string& dependency : *dependencies) {
    status = AddWithDependencies(fs::path(dependency).lexically_normal());
    if (!status.ok()) return status;
  }
  // Libraries in places that only the host's loader cache knows are found in the guest as well.
  if (!dependencies->empty() && access("/etc/ld.so.cache", R_OK) == 0 &&
      !tree_.Contains("/etc/ld.so.cache")) {
    return AddHostFile("/etc/ld.so.cache", "/etc/ld.so.cache");
  }
  return absl::OkStatus();
}

absl::Status Builder::Collect() {
  absl::StrAppend(&key_, "format ", kFormat, spec_.compress ? " lz4\n" : " plain\n");
  for (auto step :
       {&Builder::AddSkeleton, &Builder::AddModules, &Builder::AddBusybox, &Builder::AddIncludes}) {
    absl::Status status = (this->*step)();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A link for each applet where no file of the user's stands.
absl::Status AddApplets(const std::string& busybox, FileTree* tree) {
  auto applets = RunProgram({busybox, "--list-full"});
  if (!applets.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        busybox, " --list-full: ", applets.status().message(), "; is it a busybox of this host?"));
  }
  for (absl::string_view applet : absl::StrSplit(*applets, '\n', absl::SkipWhitespace())) {
    const std::string path = absl::StrCat("/", applet);
    if (!tree->Contains(path)) tree->AddLink(path, "/bin/busybox");
  }
  return absl::OkStatus();
}

void AppendLittleEndian(uint32_t value, std::string* to) {
  for (int shift = 0; shift < 32; shift += 8) to->push_back(static_cast<char>(value >> shift));
}

// The kernel unpacks only lz4's legacy format: a magic number, then blocks of at most 8 MiB, each
// behind its compressed length.
absl::StatusOr<std::string> Lz4Legacy(absl::string_view plain) {
  constexpr uint32_t kLegacyMagic = 0x184c2102;
  constexpr size_t kBlock = 8 << 20;
  std::string out;
  AppendLittleEndian(kLegacyMagic, &out);
  std::string block(LZ4_compressBound(kBlock), '\0');
  while (!plain.empty()) {
    const absl::string_view part = plain.substr(0, kBlock);
    const int size = LZ4_compress_HC(part.data(), block.data(), static_cast<int>(part.size()),
                                     static_cast<int>(block.size()), LZ4HC_CLEVEL_DEFAULT);
    if (size <= 0) return absl::InternalError("lz4 compression of the initramfs failed");
    AppendLittleEndian(static_cast<uint32_t>(size), &out);
    out.append(block, 0, static_cast<size_t>(size));
    plain.remove_prefix(part.size());
  }
  return out;
}

absl::Status Builder::Write(const ImageCache::Writer& write) const {
  FileTree tree = tree_;
  if (!busybox_.empty()) {
    absl::Status status = AddApplets(busybox_, &tree);
    if (!status.ok()) return status;
  }
  if (!spec_.compress) return tree.WriteCpio(write);
  std::string plain;
  absl::Status status = tree.WriteCpio([&](absl::string_view bytes) {
    plain.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  auto compressed = Lz4Legacy(plain);
  if (!compressed.ok()) return compressed.status();
  return write(*compressed);
}

struct FoundImage {
  ImageCache::Image image;
  bool from_cache = false;
};

absl::StatusOr<FoundImage> FindOrBuild(const Builder& builder, const std::string& directory) {
  const ImageCache cache(absl::StrCat(directory, "/initramfs"));
  std::optional<ImageCache::Image> image = cache.Find(builder.key());
  if (image.has_value()) return FoundImage{*std::move(image), true};
  auto stored = cache.Store(
      builder.key(), [&](const ImageCache::Writer& write) { return builder.Write(write); });
  if (!stored.ok()) return stored.status();
  return FoundImage{*std::move(stored), false};
}

const char* Environment(const char* name) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

std::vector<std::string> InitramfsSpec::DefaultModules() {
  return {"virtio_mmio", "virtio_console", "virtio_blk", "pvpanic_mmio", "pvpanic"};
}

absl::StatusOr<InitramfsImage> BuildInitramfs(const InitramfsSpec& spec) {
  Builder builder(spec);
  absl::Status status = builder.Collect();
  if (!status.ok()) return status;
  const std::string cache = spec.cache_dir.empty() ? CacheDirectory() : spec.cache_dir;
  absl::StatusOr<FoundImage> found = FindOrBuild(builder, cache);
  // In the sandbox of a build the user's cache can be read only.
  const char* scratch = Environment("TEST_TMPDIR");
  if (!found.ok() && !absl::IsResourceExhausted(found.status()) && scratch != nullptr) {
    found = FindOrBuild(builder, scratch);
  }
  if (!found.ok()) return found.status();
  InitramfsImage result;
  result.modules = builder.modules();
  result.from_cache = found->from_cache;
  result.path = found->image.path;
  result.size = found->image.size;
  return result;
}

absl::StatusOr<std::string> FindAgentBinary() {
  if (const char* path = Environment("STASIS_AGENT")) {
    if (access(path, X_OK) == 0) return std::string(path);
    return absl::ErrnoToStatus(errno, absl::StrCat("guest agent $STASIS_AGENT=", path));
  }
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  const fs::path program(std::string(self, length > 0 ? static_cast<size_t>(length) : 0));
  std::vector<fs::path> places;
  for (const char* variable : {"RUNFILES_DIR", "TEST_SRCDIR"}) {
    if (const char* dir = Environment(variable)) {
      places.push_back(fs::path(dir) / "stasis/guest/agent/stasis-agent");
    }
  }
  places.push_back(program.string() + ".runfiles/stasis/guest/agent/stasis-agent");
  places.push_back(program.parent_path() / "stasis-agent");
  places.push_back(program.parent_path() / "../lib/stasis/stasis-agent");
  std::string tried;
  for (const fs::path& place : places) {
    if (access(place.c_str(), X_OK) == 0) return fs::absolute(place).lexically_normal().string();
    absl::StrAppend(&tried, tried.empty() ? "" : ", ", place.string());
  }
  return absl::NotFoundError(absl::StrCat("no guest agent; looked for ", tried,
                                          "; build //guest/agent:stasis-agent or set "
                                          "$STASIS_AGENT"));
}

absl::StatusOr<std::string> FindBusybox() {
  if (const char* path = Environment("STASIS_BUSYBOX")) {
    if (access(path, X_OK) == 0) return std::string(path);
    return absl::ErrnoToStatus(errno, absl::StrCat("$STASIS_BUSYBOX=", path));
  }
  for (const char* path : {"/bin/busybox", "/usr/bin/busybox"}) {
    if (access(path, X_OK) == 0) return std::string(path);
  }
  return absl::NotFoundError(
      "no busybox on this host; install Debian's busybox-static or set $STASIS_BUSYBOX");
}

std::string CacheDirectory() {
  if (const char* cache = Environment("STASIS_CACHE")) return cache;
  const char* home = Environment("HOME");
  return absl::StrCat(home != nullptr ? home : "/root", "/.cache/stasis");
}

}  // namespace stasis
