#include "tools/e2e/guest_word.h"

#include <cstdlib>

#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

std::string Trim(const std::string& text) {
  const size_t from = text.find_first_not_of(" \t");
  if (from == std::string::npos) return "";
  return text.substr(from, text.find_last_not_of(" \t") + 1 - from);
}

}  // namespace

std::string GuestWord::Script() {
  return R"(
mount -t debugfs none /sys/kernel/debug 2> /dev/null
echo Y > /sys/kernel/debug/sched/verbose  # for the domains
look() {
  echo "look $1"
  grep -HE '^(Name|State|Tgid|Cpus_allowed_list|voluntary_ctxt_switches|nonvoluntary_ctxt_switches)' \
    /proc/[0-9]*/status 2> /dev/null
  grep -HE '^(se.vruntime|se.sum_exec_runtime|se.nr_migrations|se.load.weight|policy|prio) ' \
    /proc/[0-9]*/sched 2> /dev/null
  grep -HE '^0::' /proc/[0-9]*/cgroup 2> /dev/null
  grep -H . /sys/kernel/sched_ext/* /sys/kernel/sched_ext/root/* 2> /dev/null
  grep -H . /sys/kernel/debug/sched/domains/cpu*/domain*/name \
    /sys/kernel/debug/sched/domains/cpu*/domain*/flags 2> /dev/null
  grep -E '^(cpu#|rt_rq|dl_rq|cfs_rq|  \.)' /sys/kernel/debug/sched/debug
  echo "end $1"
}
)";
}

GuestWord GuestWord::Parse(const std::string& output, const std::string& name) {
  GuestWord word;
  bool inside = false;
  std::string section;
  for (const std::string& line : SplitLines(output)) {
    if (line == "look " + name) inside = true;
    if (line == "end " + name) inside = false;
    if (!inside) continue;
    if (line[0] == '/') {
      const size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      const std::string rest = line.substr(colon + 1);
      // "0::/path" of a cgroup file, or a file of one value.
      const bool keyed = line.compare(0, 6, "/proc/") == 0;
      const size_t end = keyed ? rest.find(':') : std::string::npos;
      const std::string key = end == std::string::npos ? "" : Trim(rest.substr(0, end));
      const std::string value = end == std::string::npos ? rest : rest.substr(end + 1);
      word.files_[line.substr(0, colon)].try_emplace(key, Trim(value));
    } else if (line.compare(0, 3, "  .") == 0) {
      const size_t colon = line.find(':');
      if (colon != std::string::npos) {
        word.files_[section].try_emplace(Trim(line.substr(3, colon - 3)),
                                         Trim(line.substr(colon + 1)));
      }
    } else {
      section = line.substr(0, line.find(','));
    }
  }
  return word;
}

std::string GuestWord::Of(const std::string& file, const std::string& key) const {
  const auto entries = files_.find(file);
  if (entries == files_.end()) return "";
  const auto value = entries->second.find(key);
  return value == entries->second.end() ? "" : value->second;
}

std::optional<int64_t> GuestWord::Number(const std::string& file, const std::string& key) const {
  const std::string text = Of(file, key);
  if (text.empty()) return std::nullopt;
  const size_t dot = text.find('.');
  const int64_t whole = atoll(text.c_str());
  if (dot == std::string::npos) return whole;
  const int64_t part = atoll(text.substr(dot + 1).c_str());
  return whole * 1'000'000 + (text[0] == '-' ? -part : part);
}

}  // namespace stasis
