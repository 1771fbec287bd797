#include "tools/e2e/boot_case.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "tools/harness/lane.h"
#include "tools/kernels/kernel_store.h"

namespace stasis {
namespace {

constexpr char kScenario[] = R"(
summary = "Every CPU runs a worker"
duration = "1s"

[[cgroup]]
name = "all"
cpus = "all"
work = [{ kind = "cpu_spin", workers = 1 }]

[expect]
min_iterations = 1
)";

}  // namespace

std::string WhyNot(const BootCase& boot) {
  const absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto);
  if (!lane.ok()) return std::string(lane.status().message());
  const Environment environment = ProcessEnvironment();
  const absl::StatusOr<std::string> cache = CacheDirectory(environment);
  if (!cache.ok()) return std::string(cache.status().message());
  const absl::StatusOr<ResolvedKernel> kernel =
      KernelStore(*cache).Resolve(boot.kernel, environment);
  return kernel.ok() ? "" : std::string(kernel.status().message());
}

BootResult Boot(const BootCase& boot) {
  std::string directory = testing::TempDir() + "/boot.XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return {.run = {.error = "mkdtemp failed"}};
  const std::string scenario = directory + "/boot.toml";
  const std::string json = directory + "/result.json";
  std::ofstream(scenario) << kScenario;
  std::vector<std::string> arguments = {"run",      scenario,    "--topology",  boot.topology,
                                        "--memory", boot.memory, "--discovery", boot.discovery,
                                        "--json",   json};
  if (!boot.kernel.empty()) arguments.insert(arguments.end(), {"--kernel", boot.kernel});
  RunStasisOptions options;
  options.time_limit = std::chrono::seconds(400);
  BootResult result{.run = RunStasis(arguments, options)};
  std::ifstream file(json);
  result.json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  std::filesystem::remove_all(directory);
  return result;
}

}  // namespace stasis
