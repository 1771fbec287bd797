#include "guest/scenario/scheduler_parser.h"

#include "absl/strings/match.h"

namespace stasis {
namespace {

constexpr size_t kMostArgs = 64;
constexpr size_t kMostOpsName = 127;  // SCX_OPS_NAME_LEN, with its NUL

std::string FromFolderOf(absl::string_view file, absl::string_view path) {
  const size_t slash = file.rfind('/');
  if (absl::StartsWith(path, "/") || slash == absl::string_view::npos) return std::string(path);
  return absl::StrCat(file.substr(0, slash + 1), path);
}

}  // namespace

TomlReader::Keys SchedulerKeys(TomlReader* reader, SchedulerSpec* scheduler) {
  TomlReader::Keys keys;
  keys.Add("path", "a path", "the program, counted from the folder of the file; instead of name",
           [=](const toml::node& value) {
             if (!reader->Get(value, "path", &scheduler->path)) return;
             if (scheduler->path.empty()) return reader->Fail(value, "'path': empty; expected a program");
             scheduler->path = FromFolderOf(reader->filename(), scheduler->path);
           });
  keys.Add("name", "a name", "one that tools/schedulers/build makes; instead of path",
           [=](const toml::node& value) {
             if (!reader->Get(value, "name", &scheduler->name)) return;
             if (scheduler->name.empty() || absl::StrContains(scheduler->name, "/")) {
               reader->Fail(value, absl::StrCat("'name': '", scheduler->name,
                                                "'; expected the name of a scheduler that "
                                                "tools/schedulers/build makes, such as \"scx_simple\"; a file "
                                                "is named by 'path'"));
             }
           });
  keys.Add("args", "a list of texts", "its arguments",
           [=](const toml::node& value) {
             reader->ReadEach(value, "args", [&](const toml::node& item) {
               reader->Get(item, "args", &scheduler->args.emplace_back());
             });
             if (scheduler->args.size() > kMostArgs) {
               reader->Fail(value, absl::StrCat("'args': at most ", kMostArgs));
             }
           });
  keys.Add("ops", "a text", "what the kernel must call it (root/ops); anything by default",
           [=](const toml::node& value) {
             if (!reader->Get(value, "ops", &scheduler->ops)) return;
             if (scheduler->ops.empty() || scheduler->ops.size() > kMostOpsName) {
               reader->Fail(value, absl::StrCat("'ops': expected the name that the kernel shows in "
                                                "/sys/kernel/sched_ext/root/ops, 1 to ",
                                                kMostOpsName, " characters"));
             }
           });
  keys.Add("attach_limit", "a time", "until the kernel shows it",
           [=](const toml::node& value) {
             if (!reader->GetPositive(value, "attach_limit", &scheduler->attach_limit)) return;
             if (scheduler->attach_limit > absl::Hours(1)) {
               reader->Fail(value, "'attach_limit': at most 1 hour");
             }
           });
  return keys;
}

void ReadScheduler(TomlReader* reader, const toml::node& node, SchedulerSpec* scheduler) {
  const size_t errors = reader->errors();
  reader->ReadTable(node, "[scheduler]", SchedulerKeys(reader, scheduler));
  if (reader->errors() != errors) return;
  if (scheduler->path.empty() == scheduler->name.empty()) {
    reader->Fail(node,
                 "[scheduler] needs either 'path' (a program) or 'name' (one that "
                 "tools/schedulers/build makes, such as \"scx_simple\")");
  }
}

}  // namespace stasis
