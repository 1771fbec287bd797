#include "tools/stasis/scenario_files.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "guest/scenario/near_match.h"
#include "guest/scenario/parser.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr char kRelative[] = "testdata/scenarios";
constexpr char kWorkspace[] = "stasis";  // name in WORKSPACE

absl::StatusOr<Scenario> Load(const std::string& path, const CpuGroups* groups) {
  absl::StatusOr<Scenario> scenario = LoadScenario(path, groups);
  // A file that is not there is the user's mistake, too.
  if (scenario.ok() || absl::IsInvalidArgument(scenario.status())) return scenario;
  return absl::InvalidArgumentError(scenario.status().message());
}

}  // namespace

std::vector<std::string> ScenarioDirectories() {
  std::vector<std::string> directories;
  if (const char* set = getenv("STASIS_SCENARIOS"); set != nullptr && *set != 0) {
    directories.push_back(set);
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    directories.push_back(self.string() + ".runfiles/" + kWorkspace + "/" + kRelative);
    directories.push_back((self.parent_path() / "../share/stasis/scenarios").string());
  }
  if (const char* runfiles = getenv("RUNFILES_DIR"); runfiles != nullptr) {
    directories.push_back(absl::StrCat(runfiles, "/", kWorkspace, "/", kRelative));
  }
  directories.push_back(kRelative);
  return directories;
}

std::vector<ScenarioFile> ListScenarioFiles() {
  std::map<std::string, std::string> found;
  for (const std::string& directory : ScenarioDirectories()) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
      if (entry.path().extension() != ".toml") continue;
      found.emplace(entry.path().stem().string(), entry.path().string());
    }
  }
  std::vector<ScenarioFile> files;
  for (const auto& [name, path] : found) files.push_back({name, path});
  return files;
}

absl::StatusOr<std::string> FindScenarioFile(const std::string& what) {
  if (absl::StrContains(what, '/') || absl::EndsWith(what, ".toml")) return what;
  const std::vector<ScenarioFile> files = ListScenarioFiles();
  std::vector<std::string> names;
  for (const ScenarioFile& file : files) {
    if (file.name == what) return file.path;
    names.push_back(file.name);
  }
  const std::string hint = NearMatchHint(what, names);
  return absl::InvalidArgumentError(absl::StrCat(
      "no scenario '", what, "'", hint.empty() ? ";" : hint, " 'stasis list' shows all of them"));
}

absl::StatusOr<Scenario> FindScenario(const std::string& what, const CpuGroups* groups) {
  absl::StatusOr<std::string> path = FindScenarioFile(what);
  if (!path.ok()) return path.status();
  return Load(*path, groups);
}

}  // namespace stasis
