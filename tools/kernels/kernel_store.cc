#include "tools/kernels/kernel_store.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "tools/kernels/store_layout.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr char kDefaultRelease[] = "6.12";

std::string Get(const Environment& environment, const std::string& name) {
  const auto it = environment.find(name);
  return it == environment.end() ? "" : it->second;
}

std::string IfThere(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? path : "";
}

ResolvedKernel Resolved(const CachedKernel& kernel) {
  const KernelOrigin& origin = kernel.origin;
  std::string words = "cached";
  if (origin.kind == "debian") {
    words = absl::StrCat("cached, Debian ", origin.package, " ", origin.version);
  } else if (origin.kind == "build") {
    words = absl::StrCat("cached, own build '", origin.name, "'");
  }
  return {kernel.image, kernel.release, kernel.modules, kernel.config, words};
}

// "6.12" is the beginning of "6.12.9-x" and of "6.12-rc1", not of "6.120".
bool IsReleasePrefix(absl::string_view prefix, absl::string_view release) {
  if (!absl::ConsumePrefix(&release, prefix)) return false;
  return release.empty() || prefix.empty() || !absl::ascii_isdigit(prefix.back()) ||
         !absl::ascii_isdigit(release.front());
}

// Levenshtein's, for "did you mean".
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

absl::Status NoSuchKernel(const std::string& name, const std::vector<CachedKernel>& kernels) {
  std::vector<std::string> near;
  std::vector<std::string> all;
  for (const CachedKernel& kernel : kernels) {
    std::vector<std::string> names = {kernel.release};
    if (kernel.origin.kind == "build") names.push_back(kernel.origin.name);
    all.push_back(names.back());
    for (const std::string& candidate : names) {
      // As a whole, or as the beginning that a prefix would name.
      const absl::string_view head = absl::string_view(candidate).substr(0, name.size());
      if (EditDistance(name, candidate) <= 2 || EditDistance(name, head) <= 1 ||
          absl::StrContains(candidate, name)) {
        near.push_back(candidate);
      }
    }
  }
  std::string message = absl::StrCat("kernel '", name, "' is neither a file nor in the cache");
  if (!near.empty()) {
    absl::StrAppend(&message, "; did you mean ", absl::StrJoin(near, " or "), "?");
  } else if (!all.empty()) {
    absl::StrAppend(&message, "; there are ", absl::StrJoin(all, ", "));
  }
  absl::StrAppend(&message, "; 'stasis kernel fetch 6.12' gets one from Debian");
  return absl::NotFoundError(message);
}

// A build tree: the image with .config at the root; modules are not installed in it.
ResolvedKernel BuildTree(const std::string& tree, const std::string& image) {
  ResolvedKernel kernel;
  kernel.image = image;
  kernel.config = IfThere(tree + "/.config");
  std::ifstream(tree + "/include/config/kernel.release") >> kernel.release;
  kernel.origin = absl::StrCat("build tree ", tree);
  return kernel;
}

}  // namespace

Environment ProcessEnvironment() {
  Environment environment;
  for (const char* name : {"STASIS_CACHE", "STASIS_KERNEL", "HOME", "XDG_CACHE_HOME"}) {
    if (const char* value = getenv(name); value != nullptr && *value != 0) {
      environment[name] = value;
    }
  }
  return environment;
}

absl::StatusOr<std::string> CacheDirectory(const Environment& environment) {
  if (const std::string cache = Get(environment, "STASIS_CACHE"); !cache.empty()) return cache;
  if (const std::string cache = Get(environment, "XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/stasis";
  }
  if (const std::string home = Get(environment, "HOME"); !home.empty()) {
    return home + "/.cache/stasis";
  }
  return absl::FailedPreconditionError(
      "no place for the kernel cache: set $STASIS_CACHE (or $HOME)");
}

KernelStore::KernelStore(std::string cache_directory, CommandRunner* runner, std::string boot_root)
    : cache_directory_(std::move(cache_directory)),
      own_runner_(runner == nullptr ? MakeCommandRunner() : nullptr),
      runner_(runner == nullptr ? own_runner_.get() : runner),
      boot_root_(std::move(boot_root)) {}

std::string KernelStore::KernelsDirectory() const { return cache_directory_ + "/kernels"; }

absl::StatusOr<std::vector<CachedKernel>> KernelStore::List() const {
  std::vector<CachedKernel> kernels;
  std::error_code error;
  fs::directory_iterator it(KernelsDirectory(), error);
  if (error == std::errc::no_such_file_or_directory) return kernels;
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("read ", KernelsDirectory()));
  for (; it != fs::directory_iterator(); it.increment(error)) {
    if (absl::StartsWith(it->path().filename().string(), ".")) continue;
    if (auto kernel = ReadKernelFolder(it->path().string())) kernels.push_back(*std::move(kernel));
  }
  std::sort(kernels.begin(), kernels.end(), [](const CachedKernel& a, const CachedKernel& b) {
    return ReleaseLess(b.release, a.release);
  });
  return kernels;
}

absl::StatusOr<ResolvedKernel> KernelStore::Resolve(const std::string& argument,
                                                    const Environment& environment) const {
  if (!argument.empty()) return ResolveName(argument);
  const std::string variable = Get(environment, "STASIS_KERNEL");
  if (variable.empty()) return ResolveDefault();
  auto kernel = ResolveName(variable);
  if (kernel.ok()) return kernel;
  return absl::Status(kernel.status().code(),
                      absl::StrCat("$STASIS_KERNEL: ", kernel.status().message()));
}

absl::StatusOr<ResolvedKernel> KernelStore::ResolveName(const std::string& name) const {
  auto kernels = List();
  if (!kernels.ok()) return kernels.status();
  // A slash makes a path of it, and a name in the store comes before a file of the same name here.
  if (!absl::StrContains(name, "/")) {
    for (const CachedKernel& kernel : *kernels) {
      if (kernel.release == name) return Resolved(kernel);
    }
    for (const CachedKernel& kernel : *kernels) {
      if (kernel.origin.kind == "build" && kernel.origin.name == name) return Resolved(kernel);
    }
    for (bool builds : {false, true}) {
      for (const CachedKernel& kernel : *kernels) {
        if ((kernel.origin.kind == "build") == builds && IsReleasePrefix(name, kernel.release)) {
          return Resolved(kernel);
        }
      }
    }
    // "sid": as it was fetched.
    for (const CachedKernel& kernel : *kernels) {
      if (kernel.origin.kind == "debian" && kernel.origin.name == name) return Resolved(kernel);
    }
  }
  std::error_code ignored;
  if (fs::exists(name, ignored)) return ResolvePath(name);
  if (absl::StrContains(name, "/")) {
    return absl::NotFoundError(absl::StrCat("kernel ", name, ": no such file or folder"));
  }
  return NoSuchKernel(name, *kernels);
}

absl::StatusOr<ResolvedKernel> KernelStore::ResolvePath(const std::string& path) const {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    ResolvedKernel kernel;
    kernel.image = path;
    kernel.origin = "file";
    // A path into the store, or one in /boot, has its modules where they always are.
    const fs::path file = fs::weakly_canonical(path, ignored);
    if (auto cached = ReadKernelFolder(file.parent_path().string());
        cached && (cached->image == file || cached->vmlinux == file) && !cached->modules.empty()) {
      kernel.release = cached->release;
      kernel.modules = cached->modules;
      kernel.config = cached->config;
    } else if (const std::string name = file.filename().string();
               absl::StartsWith(name, "vmlinuz-")) {
      const std::string release(absl::StripPrefix(name, "vmlinuz-"));
      kernel.config = IfThere(absl::StrCat(file.parent_path().string(), "/config-", release));
      kernel.modules = IfThere(absl::StrCat(boot_root_, "/lib/modules/", release));
    }
    return kernel;
  }
  for (const char* image : {"/arch/x86/boot/bzImage", "/vmlinux"}) {
    if (fs::exists(path + "/Makefile", ignored) && fs::exists(path + image, ignored)) {
      return BuildTree(path, path + image);
    }
  }
  const fs::path folder = fs::canonical(path, ignored);
  if (auto cached = ReadKernelFolder(folder.string())) return Resolved(*cached);
  return absl::NotFoundError(
      absl::StrCat("kernel ", path,
                   ": a folder without a kernel (looked for arch/x86/boot/bzImage and vmlinux "
                   "of a build tree, vmlinuz and vmlinux of the cache)"));
}

absl::StatusOr<ResolvedKernel> KernelStore::ResolveDefault() const {
  auto kernels = List();
  if (!kernels.ok()) return kernels.status();
  for (const CachedKernel& kernel : *kernels) {
    if (kernel.origin.kind != "build" && IsReleasePrefix(kDefaultRelease, kernel.release)) {
      return Resolved(kernel);
    }
  }
  for (bool builds : {false, true}) {
    for (const CachedKernel& kernel : *kernels) {
      if ((kernel.origin.kind == "build") == builds) return Resolved(kernel);
    }
  }
  return HostKernel();
}

absl::StatusOr<ResolvedKernel> KernelStore::HostKernel() const {
  utsname host;
  if (uname(&host) != 0) return absl::ErrnoToStatus(errno, "uname");
  ResolvedKernel kernel;
  kernel.release = host.release;
  kernel.image = IfThere(absl::StrCat(boot_root_, "/boot/vmlinuz-", host.release));
  if (kernel.image.empty()) {
    kernel.image = IfThere(absl::StrCat(boot_root_, "/lib/modules/", host.release, "/vmlinuz"));
  }
  if (kernel.image.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no kernel: the cache ", cache_directory_, " is empty and the host has no /boot/vmlinuz-",
        host.release, "; 'stasis kernel fetch 6.12' gets one from Debian"));
  }
  if (access(kernel.image.c_str(), R_OK) != 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("the host's kernel ", kernel.image,
                            " (the cache is empty; 'stasis kernel fetch 6.12' gets another)"));
  }
  kernel.modules = IfThere(absl::StrCat(boot_root_, "/lib/modules/", host.release));
  kernel.config = IfThere(absl::StrCat(boot_root_, "/boot/config-", host.release));
  kernel.origin = "the host's own";
  return kernel;
}

}  // namespace stasis
