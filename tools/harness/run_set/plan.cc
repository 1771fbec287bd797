#include "tools/harness/run_set/plan.h"

#include <sched.h>
#include <stdio.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

// Beside the guest's own memory: the program; the emulator, the emulated host's kernel and its files.
constexpr uint64_t kOfTheProgram = 64 << 20;
constexpr uint64_t kOfTheEmulatedHost = 640 << 20;

std::string Stem(const std::string& scenario) {
  return fs::path(scenario).stem().string();
}

uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    uint64_t kib = 0;
    if (sscanf(line.c_str(), "MemAvailable: %lu kB", &kib) == 1) return kib << 10;
  }
  return 0;
}

bool ReadNumber(const std::string& path, uint64_t* number) {
  std::ifstream file(path);
  std::string text;
  return std::getline(file, text) && absl::SimpleAtoi(text, number);
}

// What the limits of this process's cgroups leave; `most` where there is none.
uint64_t RoomInCgroups(uint64_t most) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view path = line;
    if (!absl::ConsumePrefix(&path, "0::")) continue;
    for (fs::path at(std::string(path.substr(0, path.size()))); !at.empty();
         at = at.parent_path()) {
      const std::string folder = absl::StrCat("/sys/fs/cgroup", at.string());
      uint64_t limit = 0;
      uint64_t used = 0;
      if (ReadNumber(folder + "/memory.max", &limit) &&
          ReadNumber(folder + "/memory.current", &used)) {
        most = std::min(most, limit - std::min(limit, used));
      }
      if (at == at.parent_path()) break;
    }
  }
  return most;
}

std::string MemoryText(uint64_t bytes) {
  return bytes >= (uint64_t{1} << 30)
             ? absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (uint64_t{1} << 30))
             : absl::StrFormat("%d MiB", bytes >> 20);
}

}  // namespace

std::string PlannedRun::Label() const { return absl::StrCat(name, " #", repeat); }

std::string PlannedRun::FileName() const {
  std::string file = absl::StrCat(name, "-", repeat);
  for (char& c : file) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.') c = '_';
  }
  // Neither hidden nor "..".
  if (file[0] == '.') file[0] = '_';
  return file;
}

std::vector<PlannedRun> PlanRuns(const std::vector<std::string>& scenarios, uint32_t repeat) {
  std::map<std::string, std::set<std::string>> by_stem;
  for (const std::string& scenario : scenarios) by_stem[Stem(scenario)].insert(scenario);
  std::map<std::string, uint32_t> times;
  std::vector<PlannedRun> runs;
  for (uint32_t round = 0; round < repeat; ++round) {
    for (const std::string& scenario : scenarios) {
      const std::string stem = Stem(scenario);
      PlannedRun run{.scenario = scenario,
                     .name = by_stem[stem].size() == 1 ? stem : scenario};
      run.repeat = ++times[run.name];
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

RunNeeds NeedsOf(uint32_t guest_cpus, uint64_t guest_memory_bytes, bool nested) {
  if (nested) return {1, guest_memory_bytes + kOfTheEmulatedHost};
  return {guest_cpus, guest_memory_bytes + kOfTheProgram};
}

HostRoom RoomOfThisHost() {
  HostRoom room;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    room.cpus = std::max(1, CPU_COUNT(&allowed));
  }
  room.memory_bytes = RoomInCgroups(AvailableMemory());
  return room;
}

JobChoice ChooseJobs(uint32_t asked_for, uint32_t runs, const RunNeeds& needs,
                     const HostRoom& room) {
  const uint32_t by_cpus = std::max(1u, room.cpus / std::max(1u, needs.cpus));
  const uint64_t by_memory = room.memory_bytes == 0 || needs.memory_bytes == 0
                                 ? UINT32_MAX
                                 : std::max<uint64_t>(1, room.memory_bytes / needs.memory_bytes);
  const uint32_t wanted = std::max(1u, asked_for == 0 ? runs : std::min(asked_for, runs));
  JobChoice choice;
  choice.jobs = static_cast<uint32_t>(
      std::min<uint64_t>({uint64_t{wanted}, uint64_t{by_cpus}, by_memory}));
  choice.why = choice.jobs == 1 ? "one at a time" : absl::StrCat(choice.jobs, " at a time");
  if (choice.jobs == wanted) {
    if (asked_for != 0 && asked_for <= runs) absl::StrAppend(&choice.why, ", as asked for");
    return choice;
  }
  if (asked_for != 0) absl::StrAppend(&choice.why, " of the ", asked_for, " asked for");
  if (by_memory < by_cpus) {
    absl::StrAppend(&choice.why, ": ", MemoryText(room.memory_bytes), " available, ",
                    MemoryText(needs.memory_bytes), " for each run");
  } else {
    absl::StrAppend(&choice.why, ": ", room.cpus, room.cpus == 1 ? " CPU, " : " CPUs, ",
                    needs.cpus, " for each run");
  }
  return choice;
}

}  // namespace stasis
