// KernelStore::Fetch: from a package of Debian's archive to a kernel in the store.
#include <cctype>
#include <filesystem>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tools/kernels/debian_archive.h"
#include "tools/kernels/kernel_store.h"
#include "tools/kernels/store_layout.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

// What a spec means: the suites that have it, and the meta package whose dependency names the
// release of the day.
struct FetchSpec {
  std::string name;
  std::vector<std::string> suites;
  std::string meta_package;
  std::string version_prefix;  // what the release must begin with; empty: any
};

const std::vector<FetchSpec>& Specs() {
  static const auto* const kSpecs = new std::vector<FetchSpec>{
      {"6.1", {"bookworm", "bookworm-security"}, "linux-image-cloud-amd64", "6.1."},
      {"6.1-generic", {"bookworm", "bookworm-security"}, "linux-image-amd64", "6.1."},
      {"6.12",
       {"bookworm-security", "bookworm-backports"},
       "linux-image-6.12-cloud-amd64",
       "6.12."},
      {"sid", {"sid"}, "linux-image-cloud-amd64", ""},
  };
  return *kSpecs;
}

// A number that is not in the table may be what sid has now.
std::optional<FetchSpec> FindSpec(const std::string& name) {
  for (const FetchSpec& spec : Specs()) {
    if (spec.name == name) return spec;
  }
  const bool version = !name.empty() && isdigit(name[0]) &&
                       name.find_first_not_of("0123456789.") == std::string::npos &&
                       absl::StrContains(name, ".");
  if (!version) return std::nullopt;
  FetchSpec spec = Specs().back();
  spec.name = name;
  spec.version_prefix = absl::StrCat(name, ".");
  return spec;
}

// "linux-image-6.1.0-9-cloud-amd64" names the release; the meta packages' own names do not begin
// with a digit after the prefix, but for linux-image-6.12-cloud-amd64, which depends on no other.
absl::StatusOr<std::string> ImagePackage(const DebianPackage& meta) {
  for (const std::string& name : meta.depends) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, "linux-image-") && !rest.empty() && isdigit(rest[0])) {
      return name;
    }
  }
  return absl::InternalError(
      absl::StrCat("package ", meta.name, " ", meta.version, " depends on no kernel image"));
}

// The image's package and those of its parts: newer kernels are split over linux-base-<release>,
// linux-binary-<release> and linux-modules-<release>.
absl::StatusOr<std::vector<DebianPackage>> Closure(DebianArchive& archive, const std::string& image,
                                                   const std::string& release) {
  std::vector<DebianPackage> packages;
  std::vector<std::string> open = {image};
  std::set<std::string> seen = {image};
  while (!open.empty()) {
    const std::string name = open.back();
    open.pop_back();
    auto package = archive.Show(name);
    if (!package.ok()) return package.status();
    for (const std::string& dependency : package->depends) {
      if (absl::StartsWith(dependency, "linux-") &&
          absl::EndsWith(dependency, absl::StrCat("-", release)) &&
          seen.insert(dependency).second) {
        open.push_back(dependency);
      }
    }
    packages.push_back(*std::move(package));
  }
  return packages;
}

absl::Status Move(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  fs::rename(from, to, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("move ", from.string(), " to ", to.string()));
  }
  return absl::OkStatus();
}

// Sorts what the packages unpacked below `root` into the store's layout. The image and its
// configuration lie in /boot, or (7.x) beside the modules.
absl::Status Arrange(const fs::path& root, const fs::path& folder, const std::string& release) {
  std::error_code ignored;
  fs::path modules = root / "lib/modules" / release;
  if (!fs::exists(modules, ignored)) modules = root / "usr/lib/modules" / release;
  const struct {
    const char* name;
    fs::path places[2];
  } kFiles[] = {
      {"vmlinuz", {root / "boot" / ("vmlinuz-" + release), modules / "vmlinuz"}},
      {"config", {root / "boot" / ("config-" + release), modules / "config"}},
  };
  for (const auto& file : kFiles) {
    const fs::path& place = fs::exists(file.places[0], ignored) ? file.places[0] : file.places[1];
    if (!fs::exists(place, ignored)) {
      return absl::InternalError(absl::StrCat("the packages of ", release, " hold no ", file.name));
    }
    if (auto status = Move(place, folder / file.name); !status.ok()) return status;
  }
  if (!fs::exists(modules, ignored)) {
    return absl::InternalError(absl::StrCat("the packages of ", release, " hold no modules"));
  }
  return Move(modules, folder / "lib/modules" / release);
}

}  // namespace

std::vector<std::string> KernelStore::FetchSpecs() {
  std::vector<std::string> names;
  for (const FetchSpec& spec : Specs()) names.push_back(spec.name);
  return names;
}

absl::StatusOr<CachedKernel> KernelStore::Fetch(const std::string& name, const Progress& progress) {
  const std::optional<FetchSpec> spec = FindSpec(name);
  if (!spec) {
    return absl::InvalidArgumentError(
        absl::StrCat("kernel '", name, "' is not known: ", absl::StrJoin(FetchSpecs(), ", "),
                     ", or the number of sid's newest such as 7.2"));
  }
  auto sources = SystemAptSources(boot_root_ + "/etc/apt");
  if (!sources.ok()) return sources.status();
  const std::string cache = fs::absolute(cache_directory_).string();
  auto lock = TakeStoreLock(cache, [&] { progress("wait: another stasis changes the store"); });
  if (!lock.ok()) return lock.status();
  auto archive = DebianArchive::Open(cache, *sources, spec->suites, *runner_);
  if (!archive.ok()) return archive.status();
  if (auto status = archive->Update(progress); !status.ok()) return status;

  auto meta = archive->Show(spec->meta_package);
  if (!meta.ok()) return meta.status();
  auto image = ImagePackage(*meta);
  if (!image.ok()) return image.status();
  const std::string release(absl::StripPrefix(*image, "linux-image-"));
  if (!absl::StartsWith(release, spec->version_prefix)) {
    return absl::NotFoundError(absl::StrCat("no kernel ", name, " at ", archive->mirror(), ": ",
                                            absl::StrJoin(spec->suites, ", "), " has ", release));
  }
  auto packages = Closure(*archive, *image, release);
  if (!packages.ok()) return packages.status();
  const std::string target = absl::StrCat(KernelsDirectory(), "/", release);
  const auto old = ReadKernelFolder(target);
  if (old && old->origin.kind == "debian" && old->origin.version == packages->front().version) {
    return *old;
  }

  auto staging = StagingFolder::Make(cache);
  if (!staging.ok()) return staging.status();
  const std::string root = staging->path() + "/root";
  const std::string folder = staging->path() + "/kernel";
  auto status = archive->Unpack(*packages, staging->path(), root, progress);
  if (!status.ok()) return status;
  if (status = Arrange(root, folder, release); !status.ok()) return status;
  progress(absl::StrCat("depmod: ", release));
  Command depmod;
  depmod.argv = {"depmod", "-b", folder, release};
  if (auto result = RunOrFail(*runner_, depmod, "modules.dep"); !result.ok()) {
    return result.status();
  }
  KernelOrigin origin{.kind = "debian",
                      .name = name,
                      .package = *image,
                      .version = packages->front().version,
                      .source = archive->mirror(),
                      .created = ""};
  origin.created = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
  if (status = WriteOrigin(folder, origin); !status.ok()) return status;
  if (status = staging->Install(folder, release); !status.ok()) return status;
  auto kernel = ReadKernelFolder(target);
  if (!kernel) return absl::InternalError(absl::StrCat("no kernel at ", target));
  return *std::move(kernel);
}

absl::StatusOr<std::string> KernelStore::FetchDebug(const std::string& name,
                                                    const Progress& progress) {
  constexpr uint64_t kUnpackedBytes = uint64_t{1} << 30;  // an image with DWARF is 0.6 GiB
  auto kernel = Fetch(name, progress);
  if (!kernel.ok()) return kernel.status();
  const fs::path target = fs::absolute(absl::StrCat(KernelsDirectory(), "/", kernel->release));
  std::error_code error;
  if (fs::exists(target / "debug/vmlinux", error)) return (target / "debug").string();

  const std::string cache = fs::absolute(cache_directory_).string();
  auto lock = TakeStoreLock(cache, [&] { progress("wait: another stasis changes the store"); });
  if (!lock.ok()) return lock.status();
  auto sources = SystemAptSources(boot_root_ + "/etc/apt");
  if (!sources.ok()) return sources.status();
  auto archive = DebianArchive::Open(cache, *sources, FindSpec(name)->suites, *runner_);
  if (!archive.ok()) return archive.status();
  auto package = archive->Show(kernel->origin.package + "-dbg");
  if (!package.ok()) return package.status();
  if (package->version != kernel->origin.version) {
    return absl::NotFoundError(absl::StrCat("package ", package->name, " is of version ",
                                            package->version, ", the kernel in the cache of ",
                                            kernel->origin.version));
  }
  auto staging = StagingFolder::Make(cache);
  if (!staging.ok()) return staging.status();
  const fs::path root = staging->path() + "/root";
  auto status =
      archive->UnpackMembers(*package, {"*/boot/vmlinux-*", "*/misc/pvpanic/pvpanic*.ko*"},
                             kUnpackedBytes, staging->path(), root, progress);
  if (!status.ok()) return status;
  const fs::path folder = staging->path() + "/debug";
  for (const auto& entry : fs::recursive_directory_iterator(root, error)) {
    if (!entry.is_regular_file()) continue;
    const std::string file = entry.path().filename();
    const bool image = absl::StartsWith(file, "vmlinux-");
    if (status = Move(entry.path(), folder / (image ? "vmlinux" : file)); !status.ok()) {
      return status;
    }
  }
  if (!fs::exists(folder / "vmlinux", error)) {
    return absl::InternalError(absl::StrCat("package ", package->name, " holds no vmlinux"));
  }
  if (status = Move(folder, target / "debug"); !status.ok()) return status;
  return (target / "debug").string();
}

}  // namespace stasis
