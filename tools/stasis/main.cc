// stasis: boots a Linux kernel in a microVM, runs a scheduler scenario in it and judges the
// scheduler.
#include <glog/logging.h>
#include <stdio.h>
#include <string.h>

#include <CLI/CLI.hpp>

#include "tools/harness/startup_trace.h"
#include "tools/harness/verdict.h"
#include "tools/stasis/command.h"
#include "tools/stasis/scheduler_options.h"

namespace stasis {
namespace {

constexpr char kVersion[] = "stasis 0.1.0";

constexpr char kExamples[] =
    "Examples:\n"
    "  stasis run steady                           a healthy scheduler passes\n"
    "  stasis run steady --kernel ~/src/linux      the same on your own build tree\n"
    "  stasis run my.toml --topology 2n4l2c2t --json result.json\n"
    "  stasis run steady bursty --repeat 5 --json before.json\n"
    "  stasis compare before.json after.json       what became worse\n"
    "  stasis shell --exec 'uname -r; lscpu'       one command in the guest\n"
    "  stasis top                                  the scheduler of a running guest\n"
    "  stasis boot --kernel 6.12 --initrd my.img   a plain boot, Ctrl-A x to leave\n"
    "  stasis doctor                               what this host can do\n"
    "\n"
    "Exit codes: 0 pass, 1 fail, 2 usage, 3 error, 4 inconclusive, 130 interrupted.";

int Main(int argc, char** argv) {
  Invocation invocation;
  invocation.argv.assign(argv, argv + argc);
  if (argc > 1 && strcmp(argv[1], "run") == 0) {
    invocation.behind_dashes = TakeBehindDashes(&argc, argv);
  }
  CLI::App app("Boots a Linux kernel in a microVM, runs a scheduler scenario and judges it.",
               "stasis");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.footer(kExamples);
  AddRunCommand(&app, &invocation);
  AddShellCommand(&app, &invocation);
  AddBootCommand(&app, &invocation);
  AddListCommand(&app, &invocation);
  AddScenarioCommand(&app, &invocation);
  AddDumpCommand(&app, &invocation);
  AddKernelCommand(&app, &invocation);
  AddFreezeCommand(&app, &invocation);
  AddTopCommand(&app, &invocation);
  AddCompareCommand(&app, &invocation);
  AddReportCommand(&app, &invocation);
  AddDoctorCommand(&app, &invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return Complain(Finding{Verdict::kUsage, Layer::kNone, error.what(), "see 'stasis --help'"});
  }
  MarkStartup("arguments");
  return invocation.action();
}

}  // namespace
}  // namespace stasis

int main(int argc, char** argv) {
  stasis::MarkStartup("exec");
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_WARNING;  // what a user should know comes as a finding
  google::InitGoogleLogging(argv[0]);
  return stasis::Main(argc, argv);
}
