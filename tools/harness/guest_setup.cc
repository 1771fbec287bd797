#include "tools/harness/guest_setup.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/harness/scheduler_program.h"
#include "tools/harness/startup_trace.h"
#include "tools/kernels/kernel_store.h"

namespace stasis {
namespace {

constexpr char kDefaultMemory[] = "512M";

GuestSetupResult Failed(Layer layer, const absl::Status& status) {
  return {std::nullopt, FindingFromStatus(layer, status)};
}

// A kernel or initramfs that cannot be used is an error, whatever code the library gives it: the
// arguments themselves were understood.
GuestSetupResult Unusable(Layer layer, const absl::Status& status) {
  Finding finding = FindingFromStatus(layer, status);
  finding.verdict = Verdict::kError;
  return {std::nullopt, finding};
}

std::string MissingConfig(const GuestRequest& request, const KernelImage& kernel) {
  if (kernel.config() == nullptr) return "";  // not known: the agent says what is missing
  std::vector<std::string> missing;
  for (const std::string& option : request.required_config) {
    if (!kernel.config()->IsEnabled(option)) missing.push_back(absl::StrCat("CONFIG_", option));
  }
  return absl::StrJoin(missing, ", ");
}

// Whether the guest can move its kernel.
absl::Status CheckKaslr(const KernelImage& kernel) {
  if (!kernel.decompressed_by_guest()) {
    return absl::FailedPreconditionError(
        absl::StrCat("--kaslr needs a bzImage, which unpacks and moves itself; ", kernel.path(),
                     " is an ELF image"));
  }
  if (kernel.config() != nullptr && !kernel.config()->IsEnabled("RANDOMIZE_BASE")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--kaslr: ", kernel.path(), " was built without CONFIG_RANDOMIZE_BASE"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeInitramfs(const GuestRequest& request,
                                          const ResolvedKernel& kernel,
                                          const std::vector<std::string>& programs) {
  InitramfsSpec spec;
  absl::StatusOr<std::string> agent = FindAgentBinary();
  if (!agent.ok()) return agent.status();
  spec.agent = *agent;
  spec.modules_dir = kernel.modules;
  spec.include = request.include;
  spec.include.insert(spec.include.end(), programs.begin(), programs.end());
  // A guest that has a disk will want a file system on it.
  if (!request.disks.disks.empty()) spec.modules.push_back("ext4");
  spec.required_modules = request.modules;
  if (request.shell) {
    absl::StatusOr<std::string> busybox = FindBusybox();
    if (!busybox.ok()) return busybox.status();
    spec.busybox = *busybox;
  }
  absl::StatusOr<InitramfsImage> image = BuildInitramfs(spec);
  if (!image.ok()) return image.status();
  return image->path;
}

}  // namespace

absl::StatusOr<MachineConfig> ParseMachine(const GuestRequest& request) {
  MachineConfig config;
  if (!request.topology.empty()) {
    absl::StatusOr<Topology> topology = Topology::Parse(request.topology);
    if (!topology.ok()) return topology.status();
    config.topology = *topology;
  }
  if (!request.distances.empty()) {
    absl::Status set = config.topology.SetDistances(request.distances);
    if (!set.ok()) return set;
  }
  absl::StatusOr<uint64_t> memory =
      ParseMemorySize(request.memory.empty() ? kDefaultMemory : request.memory);
  if (!memory.ok()) return memory.status();
  config.memory_bytes = *memory;
  config.huge_pages = request.huge_pages;
  return config;
}

GuestSetupResult PrepareGuest(const GuestRequest& request, ProgressLine* progress) {
  absl::StatusOr<MachineConfig> machine = ParseMachine(request);
  if (!machine.ok()) return Failed(Layer::kHost, machine.status());

  if (absl::Status queues = CheckDiskQueues(request.disks, machine->topology.cpus());
      !queues.ok()) {
    return Failed(Layer::kNone, queues);
  }

  const KernelStore store(CacheDirectory());
  absl::StatusOr<ResolvedKernel> resolved = store.Resolve(request.kernel, ProcessEnvironment());
  if (!resolved.ok()) return Unusable(Layer::kHost, resolved.status());
  progress->Stage(absl::StrCat("loading kernel ", resolved->image));
  absl::StatusOr<KernelImage> kernel =
      KernelImage::Load(resolved->image, {.cache_directory = store.cache_directory(),
                                          .load_as_bzimage = request.kaslr});
  if (!kernel.ok()) return Unusable(Layer::kHost, kernel.status());
  if (request.kaslr) {
    if (absl::Status movable = CheckKaslr(*kernel); !movable.ok()) {
      return Unusable(Layer::kBoot, movable);
    }
  }
  MarkStartup("kernel file");

  absl::StatusOr<DiscoveryChoice> discovery = ChooseDiscovery(*kernel, request.discovery);
  if (!discovery.ok()) return Unusable(Layer::kBoot, discovery.status());
  const std::string missing = discovery->MissingRequired();
  if (!missing.empty()) {
    return Unusable(Layer::kBoot,
                    absl::FailedPreconditionError(absl::StrCat(resolved->image, ": ", missing)));
  }
  const std::string lacking = MissingConfig(request, *kernel);
  if (!lacking.empty()) {
    return {std::nullopt,
            Finding{Verdict::kInconclusive, Layer::kBoot,
                    absl::StrCat("the scenario needs ", lacking, ", which ", resolved->image,
                                 " was built without"),
                    "choose another kernel with --kernel (see 'stasis kernel list')"}};
  }
  machine->discovery = discovery->discovery;

  std::vector<std::string> programs;
  for (const SchedulerSpec& scheduler : request.schedulers) {
    SchedulerProgram program =
        FindSchedulerProgram(scheduler, store.cache_directory(), kernel->release());
    if (program.finding.has_value()) return {std::nullopt, *program.finding};
    programs.push_back(std::move(program.path));
  }

  std::string initrd = request.initrd;
  if (request.agent && initrd.empty()) {
    progress->Stage("building the initramfs");
    absl::StatusOr<std::string> made = MakeInitramfs(request, *resolved, programs);
    if (!made.ok()) return Unusable(Layer::kHost, made.status());
    initrd = *std::move(made);
  } else if (!initrd.empty() && access(initrd.c_str(), R_OK) != 0) {
    return Unusable(Layer::kHost, absl::ErrnoToStatus(errno, absl::StrCat("open ", initrd)));
  }

  MarkStartup("initramfs file");

  std::vector<std::string> warnings = request.warnings;
  for (const MissingOption& option : discovery->missing) {
    if (option.required) continue;
    warnings.push_back(absl::StrFormat("the kernel lacks %s: %s", option.option, option.purpose));
  }
  GuestSetup setup{.machine = *std::move(machine),
                   .disks = request.disks,
                   .kernel = *std::move(kernel),
                   .kernel_path = resolved->image,
                   .discovery = *std::move(discovery),
                   .initrd = std::move(initrd),
                   .scheduler_programs = std::move(programs),
                   .warnings = std::move(warnings)};
  return {std::move(setup), Finding()};
}

}  // namespace stasis
