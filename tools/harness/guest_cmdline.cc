#include "tools/harness/guest_cmdline.h"

#include <vector>

#include "absl/strings/str_join.h"

namespace stasis {

std::string GuestCmdline(const GuestCmdlineOptions& options) {
  std::vector<std::string> words;
  // Each character of a serial console is an exit: a full boot log costs 20 s in an emulated host.
  // Errors, and everything from an oops on (it makes the console verbose), still come. First, so
  // that the boot console below begins quietly, too.
  if (!options.verbose) words.push_back("quiet");
  // Kernel messages go to the serial port: it works before any module is loaded and in a panic.
  // hvc0 is left to people, so that no kernel message appears in the output of a shell.
  words.push_back("console=ttyS0");
  // A kernel that dies before its consoles are set up still says why. The boot console leaves when
  // ttyS0 takes over, and prints no more than `quiet` lets through.
  words.push_back("earlyprintk=ttyS0,115200");
  // A panic ends the machine at once instead of spinning for good: -1 restarts without a delay ...
  words.push_back("panic=-1");
  // ... and a restart goes through the keyboard controller, which is there with every discovery and
  // needs no ACPI interpreter in a dying kernel.
  words.push_back("reboot=k");
  // The check whether the timer interrupt arrives counts jiffies against a delay loop; on a busy or
  // emulated host it fails at random. Kernels with KVM guest support skip it by themselves.
  words.push_back("no_timer_check");
  if (options.agent) {
    // Without ACPI there is no power-off that leaves the machine: the agent restarts instead.
    words.push_back(options.discovery == Discovery::kAcpi ? "stasis.end=poweroff"
                                                          : "stasis.end=reboot");
  }
  if (!options.scenario_append.empty()) words.push_back(options.scenario_append);
  if (!options.user_append.empty()) words.push_back(options.user_append);
  return absl::StrJoin(words, " ");
}

}  // namespace stasis
