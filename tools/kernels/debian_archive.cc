#include "tools/kernels/debian_archive.h"

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/kernels/store_layout.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

// "a (= 1), b | c:amd64": names alone.
std::vector<std::string> DependencyNames(absl::string_view text) {
  std::vector<std::string> names;
  for (absl::string_view part : absl::StrSplit(text, absl::ByAnyChar(",|"))) {
    part = absl::StripAsciiWhitespace(part);
    part = part.substr(0, part.find_first_of(" (:"));
    if (!part.empty()) names.emplace_back(part);
  }
  return names;
}

uint64_t Number(absl::string_view text) {
  uint64_t value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

absl::Status ReadyFolder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("create ", path));
  return absl::OkStatus();
}

absl::Status WriteText(const std::string& path, absl::string_view text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("write ", path));
  return absl::OkStatus();
}

}  // namespace

DebianPackage ParseAptShow(absl::string_view text) {
  DebianPackage package;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) {
      if (!package.name.empty()) break;
      continue;
    }
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    if (field.first == "Package") package.name = std::string(field.second);
    if (field.first == "Version") package.version = std::string(field.second);
    if (field.first == "Size") package.download_bytes = Number(field.second);
    if (field.first == "Installed-Size") package.installed_bytes = Number(field.second) << 10;
    if (field.first == "Depends" || field.first == "Pre-Depends") {
      for (std::string& name : DependencyNames(field.second)) {
        package.depends.push_back(std::move(name));
      }
    }
  }
  return package;
}

absl::StatusOr<DebianArchive> DebianArchive::Open(const std::string& cache_directory,
                                                  const AptSources& sources,
                                                  const std::vector<std::string>& suites,
                                                  CommandRunner& runner) {
  // apt resolves relative paths against its own root.
  const std::string directory =
      fs::absolute(absl::StrCat(cache_directory, "/apt/", absl::StrJoin(suites, "+"))).string();
  for (const char* folder : {"/lists/partial", "/cache/archives/partial"}) {
    if (auto status = ReadyFolder(directory + folder); !status.ok()) return status;
  }
  DebianArchive archive(directory, sources.main.uri, runner);
  if (auto status = archive.WriteConfiguration(sources, suites); !status.ok()) return status;
  return archive;
}

absl::Status DebianArchive::WriteConfiguration(const AptSources& sources,
                                               const std::vector<std::string>& suites) {
  Command dump;
  dump.argv = {"apt-config", "dump", "Acquire"};
  auto system = RunOrFail(*runner_, dump, "apt configuration");
  if (!system.ok()) return system.status();
  // apt reads $APT_CONFIG first and then, where it says so, the system's files: nowhere.
  const std::string configuration =
      absl::StrCat(system->output,
                   "Acquire::Languages \"none\";\n"
                   "Acquire::Retries \"2\";\n"
                   "APT::Architecture \"amd64\";\n"
                   "APT::Architectures { \"amd64\"; };\n"
                   "APT::Update::Error-Mode \"any\";\n"
                   "APT::Sandbox::User \"\";\n"  // apt's own user may not read the caller's home
                   "Dir::Etc::Main \"/dev/null\";\n"
                   "Dir::Etc::Parts \"/dev/null\";\n"
                   "Dir::Etc::Preferences \"/dev/null\";\n"
                   "Dir::Etc::PreferencesParts \"/dev/null\";\n"
                   "Dir::Etc::SourceParts \"/dev/null\";\n"
                   "Dir::Etc::SourceList \"",
                   directory_,
                   "/sources.list\";\n"
                   "Dir::State::Lists \"",
                   directory_,
                   "/lists\";\n"
                   "Dir::State::Status \"",
                   directory_,
                   "/status\";\n"  // empty: nothing is installed
                   "Dir::Cache \"",
                   directory_,
                   "/cache\";\n"
                   "Dir::Cache::pkgcache \"\";\n"
                   "Dir::Cache::srcpkgcache \"\";\n");
  std::string list;
  for (const std::string& suite : suites) absl::StrAppend(&list, sources.Line(suite), "\n");
  if (auto status = WriteText(directory_ + "/apt.conf", configuration); !status.ok()) return status;
  if (auto status = WriteText(directory_ + "/sources.list", list); !status.ok()) return status;
  return WriteText(directory_ + "/status", "");
}

Command DebianArchive::Apt(std::vector<std::string> argv) const {
  Command command;
  command.argv = std::move(argv);
  command.environment = {{"LC_ALL", "C"}, {"APT_CONFIG", directory_ + "/apt.conf"}};
  return command;
}

absl::Status DebianArchive::Update(const Progress& progress) {
  Command command = Apt({"apt-get", "-q", "update"});
  command.on_line = [&](absl::string_view line) { progress(absl::StrCat("apt: ", line)); };
  auto result = RunOrFail(*runner_, command, "package lists");
  if (result.ok() || absl::IsResourceExhausted(result.status())) return result.status();
  if (absl::IsNotFound(result.status())) return result.status();
  return absl::UnavailableError(
      absl::StrCat(result.status().message(), "; is ", mirror_, " within reach?"));
}

absl::StatusOr<DebianPackage> DebianArchive::Show(const std::string& package) {
  auto result = runner_->Run(Apt({"apt-cache", "show", "--no-all-versions", package}));
  if (!result.ok()) return result.status();
  DebianPackage shown = ParseAptShow(result->output);
  if (result->exit_code != 0 || shown.name.empty()) {
    return absl::NotFoundError(absl::StrCat("no package ", package, " at ", mirror_));
  }
  return shown;
}

absl::Status DebianArchive::Unpack(const std::vector<DebianPackage>& packages,
                                   const std::string& folder, const std::string& root,
                                   const Progress& progress) {
  uint64_t needed = 64 << 20;  // depmod's files, and a reserve for the rest of the system
  for (const DebianPackage& package : packages) {
    needed += package.download_bytes + package.installed_bytes;
  }
  if (auto status = CheckRoom(folder, needed, "unpacking"); !status.ok()) return status;
  if (auto status = ReadyFolder(root); !status.ok()) return status;

  auto files = Download(packages, folder, progress);
  if (!files.ok()) return files.status();
  std::error_code error;
  for (const fs::path file : *files) {
    progress(absl::StrCat("unpack: ", file.filename().string()));
    Command unpack;
    unpack.argv = {"dpkg-deb", "-x", file.string(), root};
    if (auto result = RunOrFail(*runner_, unpack, "unpack"); !result.ok()) return result.status();
    fs::remove(file, error);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> DebianArchive::Download(
    const std::vector<DebianPackage>& packages, const std::string& folder,
    const Progress& progress) {
  Command download = Apt({"apt-get", "-q", "download"});
  for (const DebianPackage& package : packages) {
    download.argv.push_back(absl::StrCat(package.name, "=", package.version));
  }
  download.working_directory = folder;
  download.on_line = [&](absl::string_view line) { progress(absl::StrCat("apt: ", line)); };
  if (auto result = RunOrFail(*runner_, download, "download"); !result.ok()) {
    return result.status();
  }
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".deb") files.push_back(entry.path().string());
  }
  if (files.size() != packages.size()) {
    return absl::InternalError(
        absl::StrCat("apt-get download left ", files.size(), " of ", packages.size(), " packages"));
  }
  return files;
}

absl::Status DebianArchive::UnpackMembers(const DebianPackage& package,
                                          const std::vector<std::string>& patterns,
                                          uint64_t unpacked_bytes, const std::string& folder,
                                          const std::string& root, const Progress& progress) {
  const uint64_t needed = package.download_bytes + unpacked_bytes;
  if (auto status = CheckRoom(folder, needed, "unpacking"); !status.ok()) return status;
  if (auto status = ReadyFolder(root); !status.ok()) return status;
  auto files = Download({package}, folder, progress);
  if (!files.ok()) return files.status();
  progress(absl::StrCat("unpack: ", fs::path(files->front()).filename().string()));
  Command unpack;
  // dpkg-deb itself unpacks all or nothing. The paths and patterns are the script's arguments.
  unpack.argv = {"bash",
                 "-o",
                 "pipefail",
                 "-c",
                 "deb=$1; root=$2; shift 2; dpkg-deb --fsys-tarfile \"$deb\" | "
                 "tar -x -C \"$root\" --wildcards \"$@\"",
                 "unpack",
                 files->front(),
                 root};
  unpack.argv.insert(unpack.argv.end(), patterns.begin(), patterns.end());
  if (auto result = RunOrFail(*runner_, unpack, "unpack"); !result.ok()) return result.status();
  std::error_code ignored;
  fs::remove(files->front(), ignored);
  return absl::OkStatus();
}

}  // namespace stasis
