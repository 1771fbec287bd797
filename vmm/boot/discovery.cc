#include "vmm/boot/discovery.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

// What makes each way work on x86_64, in the order in which `auto` tries them. SETUP_DTB is read by
// code under OF_EARLY_FLATTREE (arch/x86/kernel/devicetree.c), which kernels before 6.12 had only
// for one platform: OF alone is not enough.
struct Way {
  Discovery discovery;
  std::vector<const char*> options;
};

const std::vector<Way>& Ways() {
  static const auto* const kWays = new std::vector<Way>{
      {Discovery::kAcpi, {"CONFIG_ACPI"}},
      {Discovery::kCmdline, {"CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES"}},
      {Discovery::kFdt, {"CONFIG_OF", "CONFIG_OF_EARLY_FLATTREE"}},
  };
  return *kWays;
}

struct Need {
  const char* option;
  bool required;
  const char* purpose;
};

constexpr Need kNeeds[] = {
    {"CONFIG_64BIT", true, "the machine starts the kernel in 64-bit mode"},
    {"CONFIG_VIRTIO_MMIO", true, "no virtio device is found without it"},
    {"CONFIG_VIRTIO_CONSOLE", true, "the agent talks to the host over it"},
    {"CONFIG_BLK_DEV_INITRD", true, "the agent comes in an initramfs"},
    {"CONFIG_BINFMT_ELF", true, "the agent is an ELF program"},
    {"CONFIG_PROC_FS", true, "the agent reads /proc"},
    {"CONFIG_SYSFS", true, "the agent reads /sys"},
    {"CONFIG_TMPFS", false, "/tmp and /run are kept in memory"},
    {"CONFIG_DEVTMPFS", false, "the agent has to make device nodes itself"},
    {"CONFIG_SERIAL_8250_CONSOLE", false, "early messages and panics are not seen"},
    {"CONFIG_CGROUPS", false, "scenarios with cgroups cannot run"},
    {"CONFIG_CPUSETS", false, "scenarios that set the CPUs of a cgroup cannot run"},
    {"CONFIG_SMP", false, "the guest sees one CPU only"},
    {"CONFIG_KVM_GUEST", false, "no kvm-clock: the guest has to calibrate its clocks"},
    {"CONFIG_VIRTIO_BLK", false, "scenarios with disks cannot run"},
};

const char* FirstMissing(const KernelConfig& config, const Way& way) {
  for (const char* option : way.options) {
    if (!config.IsBuiltIn(option)) return option;
  }
  return nullptr;
}

const Way& WayFor(Discovery discovery) {
  for (const Way& way : Ways()) {
    if (way.discovery == discovery) return way;
  }
  return Ways().front();
}

std::vector<MissingOption> FindMissing(const KernelConfig& config, Discovery discovery) {
  std::vector<MissingOption> missing;
  for (const Need& need : kNeeds) {
    if (!config.IsEnabled(need.option)) {
      missing.push_back({need.option, need.required, need.purpose});
    }
  }
  if (discovery == Discovery::kAcpi && config.IsEnabled("CONFIG_SERIAL_8250") &&
      !config.IsEnabled("CONFIG_SERIAL_8250_PNP")) {
    missing.push_back({"CONFIG_SERIAL_8250_PNP", false,
                       "the serial port of the ACPI tables is found by its old address only"});
  }
  return missing;
}

absl::StatusOr<DiscoveryChoice> Automatic(const KernelConfig& config) {
  std::vector<std::string> lacking;
  for (const Way& way : Ways()) {
    if (const char* option = FirstMissing(config, way)) {
      lacking.push_back(option);
      continue;
    }
    DiscoveryChoice choice;
    choice.discovery = way.discovery;
    choice.reason = absl::StrFormat("discovery %s: %s=y", DiscoveryName(way.discovery),
                                    absl::StrJoin(way.options, "=y and "));
    if (!lacking.empty()) {
      absl::StrAppend(&choice.reason, " and no ", absl::StrJoin(lacking, ", no "));
    }
    absl::StrAppend(&choice.reason, " in ", config.origin());
    choice.missing = FindMissing(config, way.discovery);
    return choice;
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "the kernel cannot find any device: it has none of %s (%s); build it with one of them",
      absl::StrJoin(lacking, ", "), config.origin()));
}

}  // namespace

const char* DiscoveryName(Discovery discovery) {
  switch (discovery) {
    case Discovery::kAuto:
      return "auto";
    case Discovery::kAcpi:
      return "acpi";
    case Discovery::kCmdline:
      return "cmdline";
    case Discovery::kFdt:
      return "fdt";
  }
  return "auto";
}

absl::StatusOr<Discovery> ParseDiscovery(absl::string_view name) {
  for (Discovery discovery :
       {Discovery::kAuto, Discovery::kAcpi, Discovery::kCmdline, Discovery::kFdt}) {
    if (name == DiscoveryName(discovery)) return discovery;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("discovery '%s' is not known: auto, acpi, cmdline or fdt", name));
}

std::string DiscoveryChoice::MissingRequired() const {
  std::vector<std::string> parts;
  for (const MissingOption& option : missing) {
    if (option.required) parts.push_back(absl::StrCat(option.option, " (", option.purpose, ")"));
  }
  return absl::StrJoin(parts, ", ");
}

absl::StatusOr<DiscoveryChoice> ChooseDiscovery(const KernelConfig* config, Discovery requested) {
  DiscoveryChoice choice;
  if (config == nullptr) {
    choice.discovery = requested == Discovery::kAuto ? Discovery::kAcpi : requested;
    choice.reason = absl::StrFormat(
        "discovery %s: %s", DiscoveryName(choice.discovery),
        requested == Discovery::kAuto
            ? "the kernel's configuration is not known (no IKCONFIG, no config beside it), and "
              "distribution kernels have ACPI"
            : "as asked for; the kernel's configuration is not known, so that it is not checked");
    return choice;
  }
  if (requested == Discovery::kAuto) return Automatic(*config);
  if (const char* option = FirstMissing(*config, WayFor(requested))) {
    return absl::FailedPreconditionError(
        absl::StrFormat("discovery %s needs %s=y, which this kernel does not have (%s); use "
                        "another discovery or another kernel",
                        DiscoveryName(requested), option, config->origin()));
  }
  choice.discovery = requested;
  choice.reason =
      absl::StrFormat("discovery %s: as asked for, and %s has %s", DiscoveryName(requested),
                      config->origin(), absl::StrJoin(WayFor(requested).options, ", "));
  choice.missing = FindMissing(*config, requested);
  return choice;
}

absl::StatusOr<DiscoveryChoice> ChooseDiscovery(const KernelImage& image, Discovery requested) {
  auto choice = ChooseDiscovery(image.config(), requested);
  if (choice.ok()) return choice;
  return absl::Status(choice.status().code(),
                      absl::StrCat("kernel ", image.path(), ": ", choice.status().message()));
}

}  // namespace stasis
