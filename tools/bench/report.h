// Report: what the boot benchmark measured, as a table for people and as JSON for programs.
#ifndef STASIS_TOOLS_BENCH_REPORT_H_
#define STASIS_TOOLS_BENCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/bench/boots.h"

namespace stasis::bench {

// The goals of this project.
inline constexpr double kHelloRatioGoal = 0.8;
inline constexpr double kStartupCpuGoalMs = 20;
inline constexpr double kMemoryGoalMib = 8;

// Boots with one number of vCPUs, run by run.
struct CpuCountResult {
  uint32_t cpus = 1;
  std::vector<StasisBoot> stasis;
  std::vector<Boot> qemu_same_file;  // the image that stasis was given
  std::vector<Boot> qemu_elf;        // the ELF image in it, by PVH; empty: it has no PVH note
};

struct BenchReport {
  std::string lane;  // "kvm" or "nested"
  std::string kernel_release;
  std::string kernel_path;
  std::string stasis;  // version lines
  std::string qemu;
  std::string host_cpu;  // of the host itself
  uint32_t host_cpus = 0;
  double load_before = 0;  // of the host, one-minute average
  double load_after = 0;   // 0: not known
  std::vector<CpuCountResult> results;
  // Start-ups on the host's own KVM, when the lane is an emulated host; empty otherwise.
  std::vector<Startup> host_startups;
  std::vector<std::string> failures;  // boots that were repeated, one line each
};

// Several lines, with each goal and whether it was met.
std::string TextReport(const BenchReport& report);

// docs/benchmarks.md describes the object.
nlohmann::json JsonReport(const BenchReport& report);

// Start-ups through JSON and back, for what is measured outside of the emulated host and reported
// inside.
nlohmann::json StartupsToJson(const std::vector<Startup>& startups);
std::vector<Startup> StartupsFromJson(const nlohmann::json& json);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_REPORT_H_
