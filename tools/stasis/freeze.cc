// stasis freeze: asks a running stasis for a dump of its guest, which then goes on.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <fstream>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

// Signals that the process takes up itself ("SigCgt", "SigBlk" of /proc/PID/status), as bits.
std::optional<uint64_t> SignalsTakenUp(int pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  if (!status) return std::nullopt;
  uint64_t signals = 0;
  std::string line;
  while (std::getline(status, line)) {
    absl::string_view value = line;
    uint64_t bits = 0;
    if ((absl::ConsumePrefix(&value, "SigCgt:\t") || absl::ConsumePrefix(&value, "SigBlk:\t")) &&
        absl::SimpleHexAtoi(value, &bits)) {
      signals |= bits;
    }
  }
  return signals;
}

std::string NameOf(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return name;
}

int Freeze(int pid) {
  const std::optional<uint64_t> signals = SignalsTakenUp(pid);
  if (!signals.has_value()) {
    return Complain({Verdict::kUsage, Layer::kNone, absl::StrCat("no process ", pid), ""});
  }
  // SIGUSR1 would end a process that does not expect it.
  if (NameOf(pid) != "stasis" || (*signals >> (SIGUSR1 - 1) & 1) == 0) {
    return Complain({Verdict::kUsage, Layer::kNone,
                     absl::StrFormat("process %d (%s) is no stasis that runs a guest", pid,
                                     OneLine(NameOf(pid), 40)),
                     "give the process id of 'stasis run', 'boot' or 'shell'"});
  }
  if (kill(pid, SIGUSR1) != 0) {
    return Complain({Verdict::kError, Layer::kHost,
                     absl::StrFormat("signal process %d: %s", pid, strerror(errno)),
                     "be the user that started it"});
  }
  fprintf(stderr,
          "stasis: process %d freezes its guest, writes a dump, tells its path and goes on\n", pid);
  return 0;
}

}  // namespace

void AddFreezeCommand(CLI::App* app, Invocation* invocation) {
  auto pid = std::make_shared<int>(0);
  CLI::App* command = app->add_subcommand(
      "freeze", "Has a running stasis dump its guest, which goes on afterwards");
  command->add_option("pid", *pid, "Process id of 'stasis run', 'boot' or 'shell'")
      ->required()
      ->check(CLI::PositiveNumber);
  command->footer("The same as: kill -USR1 PID");
  command->callback([pid, invocation] { invocation->action = [pid] { return Freeze(*pid); }; });
}

}  // namespace stasis
