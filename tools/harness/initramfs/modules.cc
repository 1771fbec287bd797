#include "tools/harness/initramfs/modules.h"

#include <archive.h>
#include <errno.h>
#include <string.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/harness/initramfs/files.h"

namespace stasis {
namespace {

constexpr absl::string_view kSuffixes[] = {".xz", ".zst", ".gz"};
constexpr size_t kMaxModuleBytes = 256 << 20;  // a damaged archive must not fill the memory

std::string Normalized(absl::string_view name) {
  std::string normalized(name);
  std::replace(normalized.begin(), normalized.end(), '-', '_');
  return normalized;
}

}  // namespace

std::string UncompressedModulePath(absl::string_view path) {
  for (absl::string_view suffix : kSuffixes) {
    if (absl::ConsumeSuffix(&path, suffix)) break;
  }
  return std::string(path);
}

std::string ModuleName(absl::string_view path) {
  const std::string plain = UncompressedModulePath(path);
  absl::string_view name = plain;
  if (const size_t slash = name.rfind('/'); slash != absl::string_view::npos) {
    name.remove_prefix(slash + 1);
  }
  absl::ConsumeSuffix(&name, ".ko");
  return Normalized(name);
}

absl::StatusOr<ModuleIndex> ModuleIndex::Load(const std::string& dir) {
  auto dep = ReadFile(absl::StrCat(dir, "/modules.dep"));
  if (!dep.ok()) {
    return absl::NotFoundError(absl::StrCat(dep.status().message(), "; run 'depmod' for ", dir));
  }
  // A kernel without modules.builtin lists nothing as built in: wanted ones are then just missing.
  auto builtin = ReadFile(absl::StrCat(dir, "/modules.builtin"));
  return FromText(*dep, builtin.ok() ? *builtin : std::string());
}

ModuleIndex ModuleIndex::FromText(absl::string_view modules_dep,
                                  absl::string_view modules_builtin) {
  ModuleIndex index;
  for (absl::string_view line : absl::StrSplit(modules_dep, '\n', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    const std::string path(parts.first);
    index.path_by_name_[ModuleName(path)] = path;
    index.deps_by_path_[path] = absl::StrSplit(parts.second, ' ', absl::SkipWhitespace());
  }
  for (absl::string_view line : absl::StrSplit(modules_builtin, '\n', absl::SkipWhitespace())) {
    index.builtin_.insert(ModuleName(line));
  }
  return index;
}

absl::Status ModuleIndex::Visit(const std::string& path, std::set<std::string>* visiting,
                                std::vector<std::string>* order) const {
  if (std::find(order->begin(), order->end(), path) != order->end()) return absl::OkStatus();
  auto deps = deps_by_path_.find(path);
  if (deps == deps_by_path_.end() || !visiting->insert(path).second) {
    return absl::FailedPreconditionError(
        absl::StrCat("modules.dep is inconsistent at ", path, "; run 'depmod' again"));
  }
  // modules.dep names all of a module's dependencies, the lowest ones last.
  for (auto it = deps->second.rbegin(); it != deps->second.rend(); ++it) {
    absl::Status status = Visit(*it, visiting, order);
    if (!status.ok()) return status;
  }
  visiting->erase(path);
  order->push_back(path);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ModuleIndex::Resolve(
    const std::vector<std::string>& wanted, const std::vector<std::string>& required) const {
  std::vector<std::string> order, missing;
  std::set<std::string> visiting;
  auto take = [&](const std::string& name, bool must) {
    const std::string normalized = Normalized(name);
    if (builtin_.count(normalized) != 0) return absl::OkStatus();
    auto it = path_by_name_.find(normalized);
    if (it != path_by_name_.end()) return Visit(it->second, &visiting, &order);
    if (must) missing.push_back(name);
    return absl::OkStatus();
  };
  for (const std::string& name : required) {
    absl::Status status = take(name, true);
    if (!status.ok()) return status;
  }
  for (const std::string& name : wanted) {
    absl::Status status = take(name, false);
    if (!status.ok()) return status;
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat("the kernel has no module ", absl::StrJoin(missing, ", "),
                     ", neither as a file nor built in; choose another kernel"));
  }
  return order;
}

absl::StatusOr<std::string> ReadModule(const std::string& path) {
  std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                archive_read_free);
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_raw(reader.get());
  auto failed = [&](absl::string_view what) {
    const char* detail = archive_error_string(reader.get());
    return absl::FailedPreconditionError(
        absl::StrCat("kernel module ", path, ": ", what, detail ? ": " : "", detail ? detail : ""));
  };
  if (archive_read_open_filename(reader.get(), path.c_str(), 1 << 16) != ARCHIVE_OK) {
    if (archive_errno(reader.get()) == ENOENT) {
      return absl::NotFoundError(absl::StrCat("kernel module ", path, ": no such file"));
    }
    return failed("cannot be opened");
  }
  archive_entry* entry;
  if (archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) return failed("is damaged");
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const la_ssize_t got = archive_read_data(reader.get(), buffer, sizeof(buffer));
    if (got < 0) return failed("is damaged");
    if (got == 0) break;
    bytes.append(buffer, static_cast<size_t>(got));
    if (bytes.size() > kMaxModuleBytes) return failed("is larger than 256 MiB unpacked");
  }
  if (!absl::StartsWith(bytes,
                        "\x7f"
                        "ELF"))
    return failed("is no ELF file");
  return bytes;
}

}  // namespace stasis
