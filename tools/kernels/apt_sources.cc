#include "tools/kernels/apt_sources.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace stasis {
namespace {

std::vector<std::string> Words(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipWhitespace());
}

std::string WithoutSlash(absl::string_view uri) {
  while (absl::EndsWith(uri, "/")) uri.remove_suffix(1);
  return std::string(uri);
}

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

// Other vendors' archives use other suites ("nodistro", "stable main") or paths.
bool IsDebian(const AptSource& source, absl::string_view last_part) {
  return absl::EndsWith(source.uri, absl::StrCat("/", last_part)) &&
         std::find(source.components.begin(), source.components.end(), "main") !=
             source.components.end();
}

void AddParagraph(const std::map<std::string, std::string>& fields,
                  std::vector<AptSource>* sources) {
  const auto field = [&](const char* name) {
    const auto it = fields.find(name);
    return it == fields.end() ? std::string() : it->second;
  };
  const std::vector<std::string> types = Words(field("types"));
  if (std::find(types.begin(), types.end(), "deb") == types.end()) return;
  const std::string enabled = absl::AsciiStrToLower(field("enabled"));
  if (enabled == "no" || enabled == "false" || enabled == "0") return;
  const std::vector<std::string> keys = Words(field("signed-by"));
  const std::string key = keys.size() == 1 && absl::StartsWith(keys[0], "/") ? keys[0] : "";
  for (const std::string& uri : Words(field("uris"))) {
    for (const std::string& suite : Words(field("suites"))) {
      sources->push_back({WithoutSlash(uri), suite, Words(field("components")), key});
    }
  }
}

}  // namespace

std::vector<AptSource> ParseOneLineSources(absl::string_view text) {
  std::vector<AptSource> sources;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (!absl::ConsumePrefix(&line, "deb ") && !absl::ConsumePrefix(&line, "deb\t")) continue;
    line = absl::StripAsciiWhitespace(line);
    AptSource source;
    if (absl::ConsumePrefix(&line, "[")) {
      const size_t end = line.find(']');
      if (end == absl::string_view::npos) continue;
      for (const std::string& option : Words(line.substr(0, end))) {
        if (absl::StartsWithIgnoreCase(option, "signed-by=")) source.signed_by = option.substr(10);
      }
      line.remove_prefix(end + 1);
    }
    const std::vector<std::string> words = Words(line);
    if (words.size() < 3) continue;
    source.uri = WithoutSlash(words[0]);
    source.suite = words[1];
    source.components.assign(words.begin() + 2, words.end());
    sources.push_back(std::move(source));
  }
  return sources;
}

std::vector<AptSource> ParseDeb822Sources(absl::string_view text) {
  std::vector<AptSource> sources;
  std::map<std::string, std::string> fields;
  std::string* last = nullptr;
  for (absl::string_view line : absl::StrSplit(absl::StrCat(text, "\n\n"), '\n')) {
    if (absl::StartsWith(line, "#")) continue;
    if (absl::StripAsciiWhitespace(line).empty()) {
      AddParagraph(fields, &sources);
      fields.clear();
      last = nullptr;
    } else if (absl::ascii_isspace(line[0])) {
      if (last != nullptr) absl::StrAppend(last, " ", line);
    } else if (const size_t colon = line.find(':'); colon != absl::string_view::npos) {
      last = &fields[absl::AsciiStrToLower(line.substr(0, colon))];
      *last = std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return sources;
}

std::string AptSources::Line(const std::string& suite) const {
  const AptSource& source = absl::EndsWith(suite, "-security") ? security : main;
  const std::string options =
      source.signed_by.empty() ? "" : absl::StrCat(" signed-by=", source.signed_by);
  return absl::StrCat("deb [arch=amd64", options, "] ", source.uri, " ", suite, " main");
}

absl::StatusOr<AptSources> ChooseDebianSources(const std::vector<AptSource>& sources) {
  AptSources chosen;
  for (const AptSource& source : sources) {
    if (chosen.main.uri.empty() && IsDebian(source, "debian")) chosen.main = source;
    if (chosen.security.uri.empty() && IsDebian(source, "debian-security")) {
      chosen.security = source;
    }
  }
  if (chosen.main.uri.empty()) {
    return absl::NotFoundError(
        "no Debian archive in the system's apt sources: add one (deb http://deb.debian.org/debian "
        "bookworm main), or give --kernel a path");
  }
  if (chosen.security.uri.empty()) {
    chosen.security = chosen.main;
    chosen.security.uri += "-security";
  }
  return chosen;
}

absl::StatusOr<AptSources> SystemAptSources(const std::string& apt_directory) {
  namespace fs = std::filesystem;
  std::vector<AptSource> sources = ParseOneLineSources(ReadText(apt_directory + "/sources.list"));
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(apt_directory + "/sources.list.d", ignored)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    std::vector<AptSource> more;
    if (file.extension() == ".list") more = ParseOneLineSources(ReadText(file));
    if (file.extension() == ".sources") more = ParseDeb822Sources(ReadText(file));
    sources.insert(sources.end(), more.begin(), more.end());
  }
  return ChooseDebianSources(sources);
}

}  // namespace stasis
