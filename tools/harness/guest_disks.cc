#include "tools/harness/guest_disks.h"

#include <errno.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "devices/block/bad_range.h"
#include "devices/block/virtio_block.h"
#include "devices/virtio/mmio_registers.h"
#include "devices/virtio/mmio_transport.h"
#include "guest/scenario/cpu_set.h"

namespace stasis {
namespace {

constexpr uint32_t kDefaultQueues = 4;

uint16_t Queues(const DiskOptions& disk, uint32_t cpus) {
  return disk.queues != 0 ? disk.queues : static_cast<uint16_t>(std::min(cpus, kDefaultQueues));
}

std::string DiskName(const DiskOptions& disk) {
  return disk.path.empty() ? absl::StrCat("scratch:", disk.scratch_bytes) : disk.path;
}

absl::StatusOr<std::vector<int>> ParseIoCpus(const std::string& text) {
  std::vector<int> cpus;
  if (text.empty()) return cpus;
  absl::StatusOr<CpuSet> set = CpuSet::Parse(text);
  if (!set.ok() || set->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("io-cpus '", text, "': expected a list of CPUs of this host, as 0-1,3"));
  }
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return absl::ErrnoToStatus(errno, "sched_getaffinity");
  }
  for (uint32_t cpu : set->Cpus()) {
    if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &allowed)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "io-cpus '%s': this process may not use CPU %d; see 'taskset -cp $$'", text, cpu));
    }
    cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

}  // namespace

absl::StatusOr<DiskSettings> ParseDiskSettings(const std::vector<std::string>& disks,
                                               const std::string& io_cpus) {
  DiskSettings settings;
  for (const std::string& text : disks) {
    absl::StatusOr<DiskOptions> disk = ParseDiskOptions(text);
    if (!disk.ok()) return disk.status();
    settings.disks.push_back(*std::move(disk));
  }
  absl::StatusOr<std::vector<int>> cpus = ParseIoCpus(io_cpus);
  if (!cpus.ok()) return cpus.status();
  settings.io_cpus = *std::move(cpus);
  return settings;
}

absl::Status CheckDiskQueues(const DiskSettings& settings, uint32_t cpus) {
  for (const DiskOptions& disk : settings.disks) {
    if (Queues(disk, cpus) <= cpus) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "disk '%s': queues=%d, but the machine has %d CPU(s); at most one queue for each",
        DiskName(disk), disk.queues, cpus));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<BackingFile>>> HoldDisks(const DiskSettings& settings) {
  std::vector<std::shared_ptr<BackingFile>> held;
  for (const DiskOptions& disk : settings.disks) {
    if (disk.path.empty()) continue;
    absl::StatusOr<std::shared_ptr<BackingFile>> file = OpenDisk(disk);
    if (!file.ok()) return file.status();
    held.push_back(*std::move(file));
  }
  return held;
}

std::vector<std::string> WritableDiskDirectories(const DiskSettings& settings) {
  std::vector<std::string> directories;
  for (const DiskOptions& disk : settings.disks) {
    if (disk.path.empty() || disk.read_only) continue;
    std::error_code ignored;  // HoldDisks has said what is wrong
    directories.push_back(std::filesystem::canonical(disk.path, ignored).parent_path().string());
  }
  return directories;
}

absl::StatusOr<GuestDisks> GuestDisks::Add(Machine* machine, const DiskSettings& settings) {
  GuestDisks disks;
  const uint32_t cpus = machine->config().topology.cpus();
  absl::Status status = CheckDiskQueues(settings, cpus);
  for (const DiskOptions& disk : settings.disks) {
    if (!status.ok()) return status;
    absl::StatusOr<std::shared_ptr<BackingFile>> file = OpenDisk(disk);
    if (!file.ok()) return file.status();
    VirtioBlock::Options options;
    options.name = absl::StrCat("virtio-blk", disks.disks_.size());
    options.serial = absl::StrCat("stasis", disks.disks_.size());
    options.queues = Queues(disk, cpus);
    options.engine = disk.engine;
    options.limits = disk.limits;
    options.cpus = settings.io_cpus;
    if (disk.bad.length > 0) options.faults = std::make_shared<BadRange>(disk.bad);
    auto factory = [&](const DeviceContext& context) -> absl::StatusOr<std::unique_ptr<BusDevice>> {
      const std::string name = options.name;
      absl::StatusOr<std::unique_ptr<VirtioBlock>> block =
          VirtioBlock::Create(std::move(options), *std::move(file));
      if (!block.ok()) return block.status();
      auto device = std::make_unique<VirtioMmioDevice>(context.memory, *std::move(block),
                                                       context.interrupt, name);
      disks.disks_.push_back(device.get());
      return device;
    };
    status =
        machine->AddMmioDevice("virtio_mmio", "virtio,mmio", kVirtioMmioWindow, factory).status();
  }
  if (!status.ok()) return status;
  return disks;
}

nlohmann::json GuestDisks::Report() const {
  nlohmann::json list = nlohmann::json::array();
  for (VirtioMmioDevice* disk : disks_) {
    auto* block = static_cast<VirtioBlock*>(disk->device());
    nlohmann::json report = nlohmann::json::parse(block->DumpState(), nullptr, false);
    report.erase("workers");
    report.erase("capacity_sectors");
    report["name"] = disk->name();
    report["bytes"] = block->file().size();
    const size_t queues = block->queue_max_sizes().size();
    uint64_t notifications = 0, interrupts = 0, suppressed = 0, poisonings = 0;
    for (size_t i = 0; i < queues; ++i) {
      const QueueCounters& counters = disk->queue_counters(i);
      notifications += counters.notifications.load(std::memory_order_relaxed);
      interrupts += counters.interrupts.load(std::memory_order_relaxed);
      suppressed += counters.interrupts_suppressed.load(std::memory_order_relaxed);
      poisonings += counters.poisonings.load(std::memory_order_relaxed);
    }
    report["queues"] = queues;
    report["notifications"] = notifications;
    report["interrupts"] = interrupts;
    report["interrupts_suppressed"] = suppressed;
    report["poisonings"] = poisonings;
    list.push_back(std::move(report));
  }
  return list;
}

}  // namespace stasis
