#include "tools/monitor/live_view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "stasis.live/1";
constexpr size_t kMostBytes = 16 << 20;

std::string Printable(std::string text, size_t most = 200) {
  if (text.size() > most) text.resize(most);
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

// Values out of a file that somebody may have written by hand.
const json& At(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}
std::string Text(const json& value) {
  if (value.is_string()) return Printable(value.get<std::string>());
  return value.is_number() ? value.dump() : "";
}
double Number(const json& value) { return value.is_number() ? value.get<double>() : 0; }
int64_t Whole(const json& value) {
  return static_cast<int64_t>(std::clamp(Number(value), -1e15, 1e15));
}
bool Is(const json& value) { return value.is_boolean() && value.get<bool>(); }
const json& List(const json& object, const char* key) {
  static const json kEmpty = json::array();
  const json& value = At(object, key);
  return value.is_array() ? value : kEmpty;
}

std::string Duration(double ns) {
  if (ns < 1e6) return absl::StrFormat("%.0f us", ns / 1e3);
  if (ns < 1e9) return absl::StrFormat("%.1f ms", ns / 1e6);
  return absl::StrFormat("%.2f s", ns / 1e9);
}

std::string PolicyText(const json& object) {
  const std::string policy = Text(At(object, "policy"));
  if (policy == "fifo" || policy == "rr") {
    return absl::StrCat(policy, " ", Whole(At(object, "rt_priority")));
  }
  const int64_t nice = Whole(At(object, "nice"));
  return nice == 0 ? policy : absl::StrCat(policy, " ", nice);
}

void AppendHead(const json& view, double stale_seconds, std::string* page) {
  absl::StrAppendFormat(page, "stasis %d  %s", Whole(At(view, "pid")), Text(At(view, "what")));
  if (const std::string kernel = Text(At(view, "kernel")); !kernel.empty()) {
    absl::StrAppend(page, "  kernel ", kernel);
  }
  absl::StrAppend(page, "  ", Text(At(view, "lane")), " lane");
  if (stale_seconds >= 2) absl::StrAppendFormat(page, "  NO NEWS FOR %.0f s", stale_seconds);
  *page += "\n";
  const std::string state = Text(At(view, "state"));
  if (state != "running") {
    absl::StrAppend(page, "monitor    ", state);
    if (const std::string reason = Text(At(view, "reason")); !reason.empty()) {
      absl::StrAppend(page, ": ", reason);
    }
    *page += "\n";
    return;
  }
  const json& monitor = At(view, "monitor");
  const json& dropped = At(monitor, "dropped");
  absl::StrAppendFormat(page,
                        "monitor    %.1f of %g samples/s, %d so far, %s of CPU time each; dropped: %d "
                        "frozen, %d walks, %d CPUs, %d tasks\n",
                        Number(At(monitor, "seen_hz")), Number(At(monitor, "rate_hz")),
                        Whole(At(monitor, "samples")),
                        Duration(Number(At(monitor, "mean_sample_cpu_ns"))),
                        Whole(At(dropped, "frozen")), Whole(At(dropped, "torn_walks")),
                        Whole(At(dropped, "torn_cpus")), Whole(At(dropped, "raced_tasks")));
}

void AppendScx(const json& view, std::string* page) {
  const json& scx = At(view, "sched_ext");
  if (!Is(At(scx, "built_in"))) {
    *page += "sched_ext  this kernel has none\n";
    return;
  }
  absl::StrAppend(page, "sched_ext  ", Text(At(scx, "state")));
  if (const std::string ops = Text(At(scx, "ops")); !ops.empty()) {
    absl::StrAppend(page, ", scheduler ", ops, ", its watchdog's limit ",
                    Duration(Number(At(scx, "watchdog_ns"))));
  }
  if (Is(At(scx, "bypassing"))) *page += ", BYPASSED";
  if (Whole(At(scx, "exit_kind")) > 1) {
    absl::StrAppend(page, ", ended: ", Text(At(scx, "exit_reason")), " ",
                    Text(At(scx, "exit_message")));
  }
  *page += "\n";
}

void AppendCpus(const json& view, std::string* page) {
  *page += "\nCPU  WANT IT  SWITCHES  HOST  TICK     CURRENT\n";
  for (const json& cpu : List(view, "cpus")) {
    absl::StrAppendFormat(page, "%3d", Whole(At(cpu, "cpu")));
    if (Is(At(cpu, "torn"))) {
      *page += "  changed while it was read\n";
      continue;
    }
    if (!Is(At(cpu, "online"))) {
      *page += "  offline\n";
      continue;
    }
    const json& share = At(cpu, "host_share");
    const json& tick = At(cpu, "tick_stopped");
    const bool idle = Is(At(cpu, "idle"));
    absl::StrAppendFormat(
        page, "  %7d  %8d  %4s  %-7s  %s", Whole(At(cpu, "depth")), Whole(At(cpu, "nr_switches")),
        share.is_null() ? "-" : absl::StrFormat("%.0f%%", 100 * Number(share)),
        tick.is_null() ? "-" : Is(tick) ? "stopped" : "runs",
        idle ? "idle"
             : absl::StrFormat("%s (pid %d, %s)", Text(At(cpu, "comm")), Whole(At(cpu, "pid")),
                               PolicyText(cpu)));
    *page += "\n";
  }
}

void AppendWaits(const json& view, std::string* page) {
  const json& waiting = List(view, "waiting");
  absl::StrAppendFormat(page, "\n%d of %d tasks wait for a CPU\n", Whole(At(view, "waiting_tasks")),
                        Whole(At(view, "tasks")));
  if (waiting.empty()) return;
  *page += "    PID  COMM             CPU     WAITED  POLICY      CPUS      CGROUP\n";
  for (const json& task : waiting) {
    absl::StrAppendFormat(page, "%7d  %-16s %3d  %9s  %-10s  %-8s  %s", Whole(At(task, "pid")),
                          Text(At(task, "comm")), Whole(At(task, "cpu")),
                          Duration(Number(At(task, "waited_ns"))), PolicyText(task),
                          Text(At(task, "cpus_allowed")), Text(At(task, "cgroup")));
    if (const std::string queue = Text(At(task, "queue")); !queue.empty()) {
      absl::StrAppend(page, "  queue ", queue);
    }
    if (const std::string behind = Text(At(task, "behind")); !behind.empty()) {
      absl::StrAppend(page, "  behind ", behind);
    }
    if (const std::string legal = Text(At(task, "legal")); !legal.empty()) {
      absl::StrAppend(page, "  (", legal, ")");
    }
    *page += "\n";
  }
}

}  // namespace

void AddCpus(const Sample& sample, json* view) {
  json cpus = json::array();
  for (const CpuSample& cpu : sample.cpus) {
    json object = {{"cpu", cpu.cpu}};
    if (cpu.torn) {
      object["torn"] = true;
      cpus.push_back(std::move(object));
      continue;
    }
    object["online"] = cpu.online;
    object["idle"] = cpu.idle;
    object["depth"] = cpu.waiting + (cpu.idle ? 0 : 1);
    object["nr_running"] = cpu.running;
    object["nr_switches"] = cpu.switches;
    object["clock_ns"] = cpu.clock_ns;
    if (!cpu.idle) {
      object["pid"] = cpu.pid;
      object["comm"] = cpu.comm;
      object["policy"] = PolicyName(cpu.policy);
      if (IsRealTime(cpu.policy)) object["rt_priority"] = cpu.rt_priority;
    }
    if (cpu.tick_stopped.has_value()) object["tick_stopped"] = *cpu.tick_stopped;
    if (cpu.bypassing) object["bypassing"] = true;
    if (cpu.host_ran.has_value() && sample.interval > absl::ZeroDuration()) {
      object["host_share"] =
          std::clamp(absl::FDivDuration(*cpu.host_ran, sample.interval), 0.0, 1.0);
    }
    cpus.push_back(std::move(object));
  }
  (*view)["cpus"] = std::move(cpus);
}

void AddWaits(const std::vector<Detectors::Wait>& waits, size_t most, json* view) {
  json list = json::array();
  for (const Detectors::Wait& wait : waits) {
    if (list.size() == most) break;
    const TaskSample& task = wait.task;
    json object = {{"pid", task.pid},
                   {"comm", task.comm},
                   {"cpu", task.cpu},
                   {"waited_ns", absl::ToInt64Nanoseconds(wait.lasted)},
                   {"policy", PolicyName(task.policy)},
                   {"cpus_allowed", task.allowed.ToString()},
                   {"cgroup", task.cgroup}};
    if (wait.excused > absl::ZeroDuration()) {
      object["excused_ns"] = absl::ToInt64Nanoseconds(wait.excused);
    }
    if (task.nice != 0) object["nice"] = task.nice;
    if (IsRealTime(task.policy)) object["rt_priority"] = task.rt_priority;
    if (task.queue.has_value()) object["queue"] = *task.queue;
    if (!wait.behind.empty()) object["behind"] = wait.behind;
    if (!wait.legal.empty()) object["legal"] = wait.legal;
    list.push_back(std::move(object));
  }
  (*view)["waiting_tasks"] = waits.size();
  (*view)["waiting"] = std::move(list);
}

void AddScx(const ScxSample& scx, json* view) {
  json object = {{"built_in", scx.built_in}};
  if (scx.built_in) {
    object["state"] = scx.state;
    object["ops"] = scx.ops;
    if (!scx.ops.empty()) object["watchdog_ns"] = absl::ToInt64Nanoseconds(scx.watchdog);
    const json& cpus = List(*view, "cpus");
    object["bypassing"] = std::any_of(cpus.begin(), cpus.end(),
                                      [](const json& cpu) { return Is(At(cpu, "bypassing")); });
    object["exit_kind"] = scx.exit_kind;
    object["exit_reason"] = scx.exit_reason;
    object["exit_message"] = scx.exit_message;
  }
  (*view)["sched_ext"] = std::move(object);
}

void WriteLiveView(const std::string& path, const json& view) {
  json whole = view;
  whole["format"] = kFormat;
  const std::string text =
      whole.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  const std::string temporary = path + ".new";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) unlink(temporary.c_str());
}

absl::StatusOr<json> ReadLiveView(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("open ", path, ": ", strerror(errno)));
  std::string text;
  char block[65536];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    text.append(block, static_cast<size_t>(file.gcount()));
    if (text.size() > kMostBytes) break;
  }
  json view = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!view.is_object() || Text(At(view, "format")) != kFormat) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not what a running stasis shows of its guest (", kFormat, ")"));
  }
  return view;
}

std::string LivePage(const json& view, size_t rows, size_t columns, double stale_seconds) {
  std::string page;
  AppendHead(view, stale_seconds, &page);
  if (Text(At(view, "state")) == "running") {
    AppendScx(view, &page);
    for (const json& finding : List(view, "findings")) {
      absl::StrAppend(&page, "FOUND      ", Printable(Text(finding), 1000), "\n");
    }
    AppendCpus(view, &page);
    AppendWaits(view, &page);
  }
  if (rows == 0 && columns == 0) return page;
  std::string cut;
  size_t row = 0;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(page), '\n')) {
    if (rows != 0 && row == rows) break;
    if (row > 0) cut += '\n';
    absl::StrAppend(&cut, columns == 0 ? line : line.substr(0, columns));
    ++row;
  }
  return cut;
}

}  // namespace stasis
