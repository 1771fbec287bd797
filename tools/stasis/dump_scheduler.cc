// stasis dump tasks|runqueues|scx|cgroups: the scheduler's view, read from the memory in the dump.
#include <stdio.h>

#include <memory>
#include <utility>

#include "nlohmann/json.hpp"
#include "tools/inspect/dump_file.h"
#include "tools/inspect/kernel.h"
#include "tools/inspect/scheduler_text.h"
#include "tools/inspect/scheduler_view.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

struct Options {
  std::string path;
  std::string vmlinux;
  TaskFilter filter;
  bool json = false;
};

absl::StatusOr<SchedulerView> ViewOf(const Options& options) {
  absl::StatusOr<std::unique_ptr<DumpFile>> dump = DumpFile::Open(options.path);
  if (!dump.ok()) return dump.status();
  absl::StatusOr<std::unique_ptr<Kernel>> kernel;
  if (options.vmlinux.empty()) {
    kernel = Kernel::Open(dump->get());
  } else {
    absl::StatusOr<Kallsyms> symbols =
        Kallsyms::LoadVmlinux(options.vmlinux, KernelMemory(dump->get()));
    if (!symbols.ok()) return symbols.status();
    kernel = Kernel::Open(dump->get(), *std::move(symbols));
  }
  if (!kernel.ok()) {
    return absl::Status(kernel.status().code(), options.path + ": " +
                                                    std::string(kernel.status().message()));
  }
  return ReadScheduler(**kernel);
}

using Text = std::string (*)(const SchedulerView&, const TaskFilter&);

void Add(CLI::App* dump, Invocation* invocation, const char* name, const char* help, Text text) {
  auto options = std::make_shared<Options>();
  CLI::App* command = dump->add_subcommand(name, help);
  command->add_option("file", options->path, "The dump")->required();
  command->add_option("--vmlinux", options->vmlinux,
                      "Symbols from this file, for a kernel that carries none itself");
  command->add_flag("--json", options->json, "The whole view as JSON");
  command->add_option("--cpu", options->filter.cpu, "Of this CPU");
  command->add_option("--state", options->filter.states, "In one of these states: RD");
  command->add_option("--cgroup", options->filter.cgroup, "In this cgroup and below: /left");
  command->callback([=] {
    invocation->action = [=] {
      absl::StatusOr<SchedulerView> view = ViewOf(*options);
      if (!view.ok()) return Complain(HostError(view.status()));
      const std::string output =
          options->json
              ? ToJson(*view).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
              : text(*view, options->filter);
      fwrite(output.data(), 1, output.size(), stdout);
      return 0;
    };
  });
}

}  // namespace

void AddDumpSchedulerCommands(CLI::App* dump, Invocation* invocation) {
  Add(dump, invocation, "tasks", "Every task, the longest waiting first", &TasksText);
  Add(dump, invocation, "runqueues", "The runqueue of every CPU and who waits on it, in order",
      &RunqueuesText);
  Add(dump, invocation, "scx", "sched_ext: its state, the scheduler, the queues with their tasks",
      &ScxText);
  Add(dump, invocation, "cgroups", "Tasks, run time and waits by cgroup", &CgroupsText);
}

}  // namespace stasis
