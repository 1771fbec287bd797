// stasis doctor: what this host can do, line by line, and what to do about what it cannot.
#include <stdio.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/kernels/kernel_store.h"
#include "tools/nested/nested.h"
#include "tools/stasis/command.h"
#include "tools/stasis/scenario_files.h"
#include "vmm/kvm/kvm.h"
#include "vmm/x86_64/probe.h"

namespace stasis {
namespace {

enum class Level { kOk, kWarning, kMissing };

void Line(Level level, absl::string_view what, absl::string_view text) {
  const char* word = level == Level::kOk ? "ok" : level == Level::kWarning ? "warning" : "missing";
  printf("%-8s %-18s %s\n", word, std::string(what).c_str(), OneLine(text, 400).c_str());
}

// The virtualization extension of this CPU, from /proc/cpuinfo.
std::string CpuFlavour() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (!absl::StartsWith(line, "flags")) continue;
    for (absl::string_view flag : absl::StrSplit(line, ' ')) {
      if (flag == "vmx" || flag == "svm") return std::string(flag);
    }
    return "none";
  }
  return "none";
}

// The module that serves /dev/kvm, as far as it can be told.
std::string KvmModule() {
  for (const char* module : {"kvm_intel", "kvm_amd", "kvm_pvm"}) {
    if (access(absl::StrCat("/sys/module/", module).c_str(), F_OK) == 0) return module;
  }
  return "";
}

void CheckCapabilities(const kvm::Kvm& kvm) {
  for (const kvm::Capability& capability : kvm::KnownCapabilities()) {
    const bool there = kvm.Extension(capability.number) > 0;
    const Level absent = capability.required ? Level::kMissing : Level::kWarning;
    Line(there ? Level::kOk : absent, absl::StrCat("  ", capability.name), capability.used_for);
  }
}

// True if the kvm lane can run a stock kernel.
bool CheckKvm() {
  const std::string cpu = CpuFlavour();
  const std::string module = KvmModule();
  Line(cpu == "none" ? Level::kWarning : Level::kOk, "cpu",
       cpu == "none" ? "no vmx or svm: this host cannot virtualize in hardware, or is itself a "
                       "guest without nesting"
                     : cpu);
  absl::StatusOr<kvm::Kvm> kvm = kvm::Kvm::Open(kvm::KvmDevicePath());
  if (!kvm.ok()) {
    Line(Level::kMissing, "kvm", std::string(kvm.status().message()));
    return false;
  }
  Line(Level::kOk, "kvm",
       absl::StrCat(kvm::KvmDevicePath(), " opens", module.empty() ? "" : ", served by ", module,
                    ", at most ", kvm->MaxVcpus(), " vCPUs"));
  CheckCapabilities(*kvm);
  absl::StatusOr<KvmProbeResult> probe = ProbeKvm();
  if (!probe.ok()) {
    Line(Level::kMissing, "kvm lane", std::string(probe.status().message()));
    return false;
  }
  if (!probe->can_run_stock_kernel) {
    Line(Level::kWarning, "kvm lane",
         absl::StrCat("cannot run a stock kernel (", probe->reason, "); runs use the nested lane"));
    return false;
  }
  Line(Level::kOk, "kvm lane", "runs stock kernels");
  return true;
}

bool CheckNestedLane(bool kvm_works) {
  if (InNested()) {
    Line(Level::kOk, "nested lane", "this is the emulated host");
    return false;
  }
  absl::Status status = CheckNested(NestedHost());
  const Level absent = kvm_works ? Level::kWarning : Level::kMissing;
  Line(status.ok() ? Level::kOk : absent, "nested lane",
       status.ok() ? "an emulated host can be started" : std::string(status.message()));
  return status.ok();
}

bool CheckKernels() {
  const KernelStore store(CacheDirectory());
  absl::StatusOr<std::vector<CachedKernel>> kernels = store.List();
  if (!kernels.ok()) {
    Line(Level::kWarning, "kernels", std::string(kernels.status().message()));
  } else if (kernels->empty()) {
    Line(Level::kWarning, "kernels", "none cached; 'stasis kernel fetch 6.12' gets one");
  } else {
    std::vector<std::string> releases;
    for (const CachedKernel& kernel : *kernels) releases.push_back(kernel.release);
    Line(Level::kOk, "kernels", absl::StrJoin(releases, ", "));
  }
  absl::StatusOr<ResolvedKernel> resolved = store.Resolve("", ProcessEnvironment());
  Line(resolved.ok() ? Level::kOk : Level::kMissing, "default kernel",
       resolved.ok() ? resolved->image : std::string(resolved.status().message()));
  return resolved.ok();
}

bool CheckParts() {
  absl::StatusOr<std::string> agent = FindAgentBinary();
  Line(agent.ok() ? Level::kOk : Level::kMissing, "guest agent",
       agent.ok() ? *agent : std::string(agent.status().message()));
  absl::StatusOr<std::string> busybox = FindBusybox();
  Line(busybox.ok() ? Level::kOk : Level::kWarning, "busybox",
       busybox.ok() ? *busybox : absl::StrCat(busybox.status().message(), " ('stasis shell')"));
  const size_t scenarios = ListScenarioFiles().size();
  Line(scenarios > 0 ? Level::kOk : Level::kWarning, "scenarios",
       scenarios > 0 ? absl::StrCat(scenarios, " found")
                     : std::string("none found; set STASIS_SCENARIOS to their folder"));
  const std::string cache = CacheDirectory();
  const bool writable = access(cache.c_str(), W_OK) == 0 || access(cache.c_str(), F_OK) != 0;
  Line(writable ? Level::kOk : Level::kWarning, "cache",
       writable ? cache : absl::StrCat(cache, " cannot be written; set STASIS_CACHE"));
  return agent.ok();
}

int Doctor() {
  const bool kvm = CheckKvm();
  const bool nested = CheckNestedLane(kvm);
  const bool kernel = CheckKernels();
  const bool parts = CheckParts();
  if ((kvm || nested) && kernel && parts) {
    printf("\nGuests run here, %s.\n",
           kvm ? "on this host's KVM" : "in the nested lane (slow: everything is emulated)");
    return 0;
  }
  printf("\nNo guest can run here: see the lines marked 'missing'.\n");
  return ExitCode(Verdict::kError);
}

}  // namespace

void AddDoctorCommand(CLI::App* app, Invocation* invocation) {
  CLI::App* command =
      app->add_subcommand("doctor", "Shows what this host can do, and what to do about the rest");
  command->callback([invocation] { invocation->action = Doctor; });
}

}  // namespace stasis
