#include "guest/agent/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr char kSysCpu[] = "/sys/devices/system/cpu";
constexpr char kSysNode[] = "/sys/devices/system/node";

// Wanted later by the host for dumps and for its view of the scheduler.
constexpr absl::string_view kSymbols[] = {
    "_text",
    "_stext",
    "_etext",
    "init_task",
    "init_top_pgt",
    "swapper_pg_dir",
    "runqueues",
    "__per_cpu_offset",
    "phys_base",
    "linux_banner",
    "vmcoreinfo_data",
    "vmcoreinfo_note",
    "current_task",
    "pcpu_hot",
    "jiffies_64",
    "panic_cpu",
    "scx_ops",
    "scx_root",
    "scx_enabled_state",
    "scx_ops_enable_state_var",
    "scx_enable_state_var",
};

std::string TextOr(const std::string& path, const char* fallback) {
  auto text = ReadText(path);
  return text.ok() ? *std::move(text) : fallback;
}

int IntOr(const std::string& path, int fallback) {
  int number;
  auto text = ReadText(path);
  return text.ok() && absl::SimpleAtoi(*text, &number) ? number : fallback;
}

CpuSet CpusIn(const std::string& path) {
  auto text = ReadText(path);
  if (!text.ok()) return CpuSet();
  auto set = CpuSet::Parse(*text);
  return set.ok() ? *set : CpuSet();
}

// "MemTotal:  123 kB", also with "Node 0 " in front.
uint64_t MemTotalBytes(const std::string& path) {
  auto text = ReadText(path);
  if (!text.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const size_t at = line.find("MemTotal:");
    if (at == absl::string_view::npos) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line.substr(at), ' ', absl::SkipWhitespace());
    uint64_t kib;
    if (words.size() > 1 && absl::SimpleAtoi(words[1], &kib)) return kib << 10;
  }
  return 0;
}

// "32K", "16384K", "8M".
uint64_t CacheBytes(absl::string_view text) {
  uint64_t unit = 1;
  if (absl::ConsumeSuffix(&text, "K")) unit = 1 << 10;
  if (absl::ConsumeSuffix(&text, "M")) unit = 1 << 20;
  uint64_t number;
  return absl::SimpleAtoi(text, &number) ? number * unit : 0;
}

std::string CpuInfoField(absl::string_view cpuinfo, absl::string_view field) {
  for (absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(parts.first) == field) {
      return std::string(absl::StripAsciiWhitespace(parts.second));
    }
  }
  return "";
}

std::vector<wire::CacheFacts> CachesOf(const std::string& cpu_dir) {
  std::vector<wire::CacheFacts> caches;
  for (int index = 0;; ++index) {
    const std::string dir = absl::StrCat(cpu_dir, "/cache/index", index);
    const int level = IntOr(dir + "/level", -1);
    if (level < 0) return caches;
    caches.push_back({.level = static_cast<uint32_t>(level),
                      .type = TextOr(dir + "/type", ""),
                      .size = CacheBytes(TextOr(dir + "/size", "")),
                      .shared = CpusIn(dir + "/shared_cpu_list")});
  }
}

wire::CpuFacts FactsOf(const std::string& root, uint32_t cpu) {
  const std::string dir = absl::StrCat(root, kSysCpu, "/cpu", cpu);
  wire::CpuFacts facts;
  facts.cpu = cpu;
  facts.package = IntOr(dir + "/topology/physical_package_id", -1);
  facts.die = IntOr(dir + "/topology/die_id", -1);
  facts.core = IntOr(dir + "/topology/core_id", -1);
  facts.threads = CpusIn(dir + "/topology/thread_siblings_list");
  facts.package_cpus = CpusIn(dir + "/topology/package_cpus_list");
  facts.caches = CachesOf(dir);
  return facts;
}

std::vector<wire::NodeFacts> NodesOf(const std::string& root) {
  std::vector<wire::NodeFacts> nodes;
  for (uint32_t number : CpusIn(absl::StrCat(root, kSysNode, "/online")).Cpus()) {
    const std::string dir = absl::StrCat(root, kSysNode, "/node", number);
    wire::NodeFacts node;
    node.node = number;
    node.cpus = CpusIn(dir + "/cpulist");
    for (absl::string_view word :
         absl::StrSplit(TextOr(dir + "/distance", ""), ' ', absl::SkipWhitespace())) {
      uint32_t distance;
      if (absl::SimpleAtoi(word, &distance)) node.distance.push_back(distance);
    }
    node.memory_bytes = MemTotalBytes(dir + "/meminfo");
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// "0x7fff1000 1024": physical address of the note and its size, both hexadecimal.
std::optional<wire::VmcoreInfo> ReadVmcoreInfo(const std::string& root) {
  auto text = ReadText(root + "/sys/kernel/vmcoreinfo");
  if (!text.ok()) return std::nullopt;
  const std::vector<absl::string_view> words = absl::StrSplit(*text, ' ', absl::SkipWhitespace());
  wire::VmcoreInfo info;
  if (words.size() != 2 || !absl::SimpleHexAtoi(words[0], &info.address) ||
      !absl::SimpleHexAtoi(words[1], &info.size)) {
    return std::nullopt;
  }
  return info;
}

}  // namespace

wire::Hello CollectHello(const std::string& root) {
  wire::Hello hello;
  utsname names = {};
  uname(&names);
  hello.kernel_release = names.release;
  hello.kernel_version = names.version;
  hello.machine = names.machine;
  hello.cpus_online = CpusIn(absl::StrCat(root, kSysCpu, "/online")).size();
  hello.cpus_possible = CpusIn(absl::StrCat(root, kSysCpu, "/possible")).size();
  hello.vmcoreinfo = ReadVmcoreInfo(root);
  hello.cmdline = TextOr(root + "/proc/cmdline", "");
  hello.uptime_ns = BootNs();
  hello.has_shell = access((root + "/bin/sh").c_str(), X_OK) == 0;
  hello.cgroup_controllers = absl::StrSplit(TextOr(root + "/sys/fs/cgroup/cgroup.controllers", ""),
                                            ' ', absl::SkipWhitespace());
  return hello;
}

wire::Topology CollectTopology(const std::string& root) {
  wire::Topology topology;
  topology.online = CpusIn(absl::StrCat(root, kSysCpu, "/online"));
  topology.nodes = NodesOf(root);
  for (uint32_t cpu : topology.online.Cpus()) {
    wire::CpuFacts facts = FactsOf(root, cpu);
    for (const wire::NodeFacts& node : topology.nodes) {
      if (node.cpus.Contains(cpu)) facts.node = static_cast<int>(node.node);
    }
    topology.cpus.push_back(std::move(facts));
  }
  topology.memory_bytes = MemTotalBytes(root + "/proc/meminfo");
  topology.clocksource =
      TextOr(root + "/sys/devices/system/clocksource/clocksource0/current_clocksource", "");
  const std::string cpuinfo = TextOr(root + "/proc/cpuinfo", "");
  topology.cpu_vendor = CpuInfoField(cpuinfo, "vendor_id");
  topology.cpu_model = CpuInfoField(cpuinfo, "model name");
  return topology;
}

wire::Symbols CollectSymbols(const std::string& root) {
  wire::Symbols symbols;
  FILE* file = fopen((root + "/proc/kallsyms").c_str(), "re");
  if (file == nullptr) return symbols;
  char* line = nullptr;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, file)) > 0) {
    // "ffffffff81000000 T _text" or, of a module, "... t name\t[module]".
    const absl::string_view text(line, static_cast<size_t>(length));
    const size_t blank = text.find(' ');
    if (blank == absl::string_view::npos || blank + 3 > text.size()) continue;
    if (absl::StrContains(text, "\t[")) break;  // modules come after the kernel's own
    const absl::string_view name = absl::StripTrailingAsciiWhitespace(text.substr(blank + 3));
    if (std::find(std::begin(kSymbols), std::end(kSymbols), name) == std::end(kSymbols)) continue;
    uint64_t address;
    if (absl::SimpleHexAtoi(text.substr(0, blank), &address) && address != 0) {
      symbols.address.emplace(name, address);
    }
  }
  free(line);
  fclose(file);
  return symbols;
}

CpuGroups GroupsOf(const wire::Topology& topology) {
  CpuGroups groups;
  groups.online = topology.online;
  for (const wire::CpuFacts& cpu : topology.cpus) {
    // Without cache information all CPUs count as sharing one.
    const CpuSet llc =
        (cpu.caches.empty() ? topology.online : cpu.caches.back().shared) & topology.online;
    if (std::find(groups.llcs.begin(), groups.llcs.end(), llc) == groups.llcs.end()) {
      groups.llcs.push_back(llc);
    }
  }
  for (const wire::NodeFacts& node : topology.nodes) {
    if (groups.nodes.size() <= node.node) groups.nodes.resize(node.node + 1);
    groups.nodes[node.node] = node.cpus & topology.online;
  }
  if (groups.nodes.empty()) groups.nodes.push_back(topology.online);
  return groups;
}

}  // namespace stasis::agent
