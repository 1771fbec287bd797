// nested_run: runs one program inside the emulated host, by hand or from a test.
//
//   nested_run [--writable DIR]... [--time-limit 60s] -- PROGRAM ARGS...
#include <glog/logging.h>
#include <limits.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "tools/nested/nested.h"

extern char** environ;

namespace {

constexpr int kLaneFault = 125;  // as env(1) and timeout(1) say that they failed themselves

std::vector<std::pair<std::string, std::string>> Environment() {
  std::vector<std::pair<std::string, std::string>> env;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos)
      env.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return env;
}

int Run(const stasis::NestedOptions& options, bool statistics) {
  const auto result = stasis::RunNested(options);
  if (!result.ok()) {
    std::cerr << "nested_run: " << result.status().message() << "\n";
    return kLaneFault;
  }
  if (statistics) {
    std::cerr << absl::StrFormat(
        "nested_run: host %s, start-up %.2f s, total %.2f s, longest silence %.2f s, hangs %d, "
        "exit code %d\n",
        result->host_kernel, absl::ToDoubleSeconds(result->start_up),
        absl::ToDoubleSeconds(result->total), absl::ToDoubleSeconds(result->longest_silence),
        result->hangs, result->exit_code);
  }
  return result->exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  CLI::App app("Runs a program inside an emulated host that has /dev/kvm.");
  stasis::NestedOptions options;
  std::string time_limit;
  bool statistics = false;
  bool check = false;
  app.add_option("--writable", options.writable, "directory whose changes come back")
      ->allow_extra_args(false);
  app.add_option("--time-limit", time_limit, "ends the emulated host, e.g. 60s");
  app.add_option("--memory", options.memory_mib, "memory of the emulated host in MiB");
  app.add_option("--kernel", options.host.kernel_directory, "cached release or directory");
  app.add_option("--machine", options.host.machine, "QEMU machine");
  app.add_option("--cpu", options.host.cpu, "QEMU CPU model");
  app.add_option("--append", options.host.append, "more kernel command line");
  app.add_option("--kvm-amd", options.host.kvm_amd_options, "parameters of kvm_amd");
  app.add_flag("--statistics", statistics, "one line on stderr at the end");
  app.add_flag("--check", check, "only says whether the lane has what it needs");
  app.add_option("program", options.argv, "absolute path and arguments");
  CLI11_PARSE(app, argc, argv);
  if (check) {
    const absl::Status status = stasis::CheckNested(options.host);
    if (!status.ok()) std::cerr << status.message() << "\n";
    return status.ok() ? 0 : kLaneFault;
  }
  if (!time_limit.empty() && !absl::ParseDuration(time_limit, &options.time_limit)) {
    std::cerr << "nested_run: --time-limit " << time_limit << " is no duration such as 60s\n";
    return kLaneFault;
  }
  options.env = Environment();
  options.interactive = isatty(0) != 0;
  return Run(options, statistics);
}
