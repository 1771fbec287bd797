// KernelStore::Build: from a source tree and a fragment to a kernel in the store.
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tools/kernels/debian_archive.h"
#include "tools/kernels/kernel_store.h"
#include "tools/kernels/store_layout.h"
#include "vmm/boot/kernel_config.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr char kSourcePackage[] = "linux-source-6.12";
// Measured: a minimal tree takes 300 MiB, one with debug information 3 GiB.
constexpr uint64_t kSmallTreeBytes = uint64_t{1} << 30;
constexpr uint64_t kDebugTreeBytes = uint64_t{5} << 30;
constexpr uint64_t kSourceBytes = uint64_t{2} << 30;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

bool IsName(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.size() < 100 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

// The fragment's lines that the final configuration contradicts. An option that the tree does not
// know counts as off.
std::vector<std::string> NotTaken(const std::string& fragment, const KernelConfig& config) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(fragment, '\n', absl::SkipWhitespace())) {
    line = absl::StripAsciiWhitespace(line);
    absl::string_view option = line;
    if (absl::ConsumePrefix(&option, "# CONFIG_") && absl::ConsumeSuffix(&option, " is not set")) {
      if (config.IsEnabled(option)) lines.emplace_back(line);
    } else if (absl::ConsumePrefix(&option, "CONFIG_")) {
      std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(option, absl::MaxSplits('=', 1));
      absl::ConsumePrefix(&parts.second, "\"");
      absl::ConsumeSuffix(&parts.second, "\"");
      if (config.Lookup(parts.first) != parts.second) lines.emplace_back(line);
    }
  }
  return lines;
}

absl::Status CheckTree(const std::string& tree) {
  std::error_code ignored;
  if (!fs::exists(tree + "/Kconfig", ignored) || !fs::exists(tree + "/arch/x86", ignored)) {
    return absl::NotFoundError(
        absl::StrCat(tree, " is no kernel source tree (no Kconfig, no arch/x86)"));
  }
  if (fs::exists(tree + "/.config", ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat(tree,
                     " was built in place; run 'make mrproper' in it (its .config goes away), "
                     "or give its own kernel to --kernel"));
  }
  return absl::OkStatus();
}

// The steps of one build, with what they share.
class Builder {
 public:
  Builder(const BuildRequest& request, std::string tree, std::string build, CommandRunner& runner,
          const Progress& progress)
      : request_(request),
        tree_(std::move(tree)),
        build_(std::move(build)),
        runner_(runner),
        progress_(progress) {}

  absl::Status Make(const std::vector<std::string>& targets, absl::string_view what) {
    Command command;
    // LOCALVERSION set, even to nothing, keeps a git tree's "+" out of the release.
    command.argv = {"make",          "-C",
                    tree_,           absl::StrCat("O=", build_),
                    "LOCALVERSION=", absl::StrCat("-j", std::max(1, request_.jobs))};
    command.argv.insert(command.argv.end(), targets.begin(), targets.end());
    command.environment = {{"LC_ALL", "C"},
                           {"KCONFIG_ALLCONFIG", fs::absolute(request_.fragment).string()},
                           {"KBUILD_BUILD_USER", "stasis"},
                           {"KBUILD_BUILD_HOST", "stasis"}};
    command.on_line = [this](absl::string_view line) {
      progress_(absl::StrCat("make: ", absl::StripAsciiWhitespace(line)));
    };
    return RunOrFail(runner_, command, what).status();
  }

  absl::Status Copy(const std::string& from, const std::string& to) {
    std::error_code error;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
    if (!error) return absl::OkStatus();
    return absl::ErrnoToStatus(error.value(), absl::StrCat("copy ", from, " to ", to));
  }

  // Fills `folder` with the kernel in the store's layout.
  absl::Status Collect(const std::string& folder, bool modules) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("create ", folder));
    if (auto status = Copy(build_ + "/arch/x86/boot/bzImage", folder + "/vmlinuz"); !status.ok()) {
      return status;
    }
    if (auto status = Copy(build_ + "/.config", folder + "/config"); !status.ok()) return status;
    if (request_.keep_vmlinux) {
      Command strip;  // keeps .BTF and the symbols
      strip.argv = {"objcopy", "--strip-debug", build_ + "/vmlinux", folder + "/vmlinux"};
      if (auto result = RunOrFail(runner_, strip, "vmlinux"); !result.ok()) return result.status();
    }
    if (!modules) return absl::OkStatus();
    return Make(
        {absl::StrCat("INSTALL_MOD_PATH=", folder), "INSTALL_MOD_STRIP=1", "modules_install"},
        "modules");
  }

 private:
  const BuildRequest& request_;
  const std::string tree_;
  const std::string build_;
  CommandRunner& runner_;
  const Progress& progress_;
};

// Unpacks Debian's source package below source/ once; gives the tree.
absl::StatusOr<std::string> DebianSource(const std::string& cache_directory, CommandRunner& runner,
                                         const Progress& progress) {
  auto sources = SystemAptSources("/etc/apt");
  if (!sources.ok()) return sources.status();
  auto lock = TakeStoreLock(cache_directory, [&] { progress("wait: another stasis fetches"); });
  if (!lock.ok()) return lock.status();
  auto archive = DebianArchive::Open(cache_directory, *sources,
                                     {"bookworm-security", "bookworm-backports"}, runner);
  if (!archive.ok()) return archive.status();
  if (auto status = archive->Update(progress); !status.ok()) return status;
  auto package = archive->Show(kSourcePackage);
  if (!package.ok()) return package.status();
  const std::string tree =
      absl::StrCat(cache_directory, "/source/", kSourcePackage, "-", package->version);
  std::error_code error;
  if (fs::exists(tree, error)) return tree;

  auto staging = StagingFolder::Make(cache_directory);
  if (!staging.ok()) return staging.status();
  const std::string root = staging->path() + "/root";
  if (auto status = CheckRoom(cache_directory, kSourceBytes, "the kernel's source"); !status.ok()) {
    return status;
  }
  auto status = archive->Unpack({*package}, staging->path(), root, progress);
  if (!status.ok()) return status;
  progress("unpack: source");
  Command untar;
  untar.argv = {"tar", "-xf", absl::StrCat(root, "/usr/src/", kSourcePackage, ".tar.xz"), "-C",
                root};
  if (auto result = RunOrFail(runner, untar, "source"); !result.ok()) return result.status();
  fs::create_directories(cache_directory + "/source", error);
  fs::rename(absl::StrCat(root, "/", kSourcePackage), tree, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("rename to ", tree));
  return tree;
}

}  // namespace

absl::StatusOr<BuildResult> KernelStore::Build(const BuildRequest& request,
                                               const Progress& progress) {
  if (!IsName(request.name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", request.name, "' is no name for a kernel: letters, digits, '.', '_', '-'"));
  }
  const std::string fragment = ReadText(request.fragment);
  if (fragment.empty()) {
    return absl::NotFoundError(
        absl::StrCat("configuration fragment ", request.fragment, " is missing or empty"));
  }
  const std::string cache = fs::absolute(cache_directory_).string();
  const auto on_wait = [&] { progress("wait: another stasis builds or fetches"); };
  // One build of a name at a time; the store itself is locked only while something is put into it.
  auto build_lock = FileLock::Take(absl::StrCat(cache, "/build/", request.name, ".lock"), on_wait);
  if (!build_lock.ok()) return build_lock.status();
  absl::StatusOr<std::string> tree = request.source;
  if (request.source == "debian") tree = DebianSource(cache, *runner_, progress);
  if (!tree.ok()) return tree.status();
  tree = fs::absolute(*tree).lexically_normal().string();
  if (auto status = CheckTree(*tree); !status.ok()) return status;

  const std::string build = absl::StrCat(cache, "/build/", request.name);
  std::error_code error;
  fs::create_directories(build, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("create ", build));
  auto remove_tree = absl::MakeCleanup([&] {
    if (!request.keep_build_tree) fs::remove_all(build, error);
  });
  const bool debug = absl::StrContains(fragment, "CONFIG_DEBUG_INFO_DWARF");
  auto status = CheckRoom(build, debug ? kDebugTreeBytes : kSmallTreeBytes, "the build");
  if (!status.ok()) return status;

  Builder builder(request, *tree, build, *runner_, progress);
  if (status = builder.Make({"allnoconfig"}, "configure"); !status.ok()) return status;
  const KernelConfig config(ReadText(build + "/.config"), build + "/.config");
  const bool modules = config.IsBuiltIn("CONFIG_MODULES");
  BuildResult result;
  result.not_taken = NotTaken(fragment, config);
  std::vector<std::string> targets = {"bzImage"};
  if (modules) targets.push_back("modules");
  if (status = builder.Make(targets, "build"); !status.ok()) return status;

  const std::string release(
      absl::StripAsciiWhitespace(ReadText(build + "/include/config/kernel.release")));
  if (!IsName(release) && !absl::StrContains(release, "+")) {
    return absl::InternalError(absl::StrCat("the build names no release: '", release, "'"));
  }
  const auto old = ReadKernelFolder(absl::StrCat(KernelsDirectory(), "/", release));
  if (old && (old->origin.kind != "build" || old->origin.name != request.name)) {
    return absl::AlreadyExistsError(
        absl::StrCat("release ", release, " is taken by kernel '", old->origin.name,
                     "' in the store; set another CONFIG_LOCALVERSION in the fragment"));
  }
  progress(absl::StrCat("install: ", release));
  auto lock = TakeStoreLock(cache, on_wait);
  if (!lock.ok()) return lock.status();
  auto staging = StagingFolder::Make(cache);
  if (!staging.ok()) return staging.status();
  const std::string folder = staging->path() + "/kernel";
  if (status = builder.Collect(folder, modules); !status.ok()) return status;
  for (const char* link : {"/build", "/source"}) {
    fs::remove(absl::StrCat(folder, "/lib/modules/", release, link), error);
  }
  KernelOrigin origin{.kind = "build",
                      .name = request.name,
                      .package = "",
                      .version = "",
                      .source = *tree,
                      .created = ""};
  origin.created = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
  if (status = WriteOrigin(folder, origin); !status.ok()) return status;
  if (status = staging->Install(folder, release); !status.ok()) return status;
  auto kernel = ReadKernelFolder(absl::StrCat(KernelsDirectory(), "/", release));
  if (!kernel) return absl::InternalError(absl::StrCat("no kernel at ", release));
  result.kernel = *std::move(kernel);
  return result;
}

}  // namespace stasis
