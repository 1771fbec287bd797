#include "devices/block/virtio_block.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "devices/virtio/features.h"
#include "vmm/freeze/kick.h"

namespace stasis {
namespace {

constexpr uint64_t kConfigBytes = 60;  // BlockConfig without the host's padding

// For an engine that is only tried.
class OpenGate : public BlockingGate {
 public:
  void Leave() override {}
  bool Enter() override { return true; }
  bool Checkpoint() override { return true; }
};

BlockConfig MakeConfig(const BackingFile& file, uint16_t queues) {
  BlockConfig config;
  config.capacity = file.size() / kSectorSize;
  config.size_max = kBlockSizeMax;
  config.seg_max = kBlockSegMax;
  config.blk_size = file.logical_block();
  const uint32_t ratio = file.physical_block() / file.logical_block();
  config.physical_block_exp = std::countr_zero(ratio);
  config.min_io_size = ratio;
  config.num_queues = queues;
  if (file.read_only()) return config;
  const uint32_t alignment = file.physical_block() / kSectorSize;
  config.max_discard_sectors = kBlockMaxRangeSectors / alignment * alignment;
  config.max_discard_seg = kBlockMaxRanges;
  config.discard_sector_alignment = alignment;
  config.max_write_zeroes_sectors = kBlockMaxRangeSectors;
  config.max_write_zeroes_seg = kBlockMaxRanges;
  config.write_zeroes_may_unmap = 1;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<VirtioBlock>> VirtioBlock::Create(
    Options options, std::shared_ptr<BackingFile> file) {
  if (options.queues < 1 || options.queues > kMaxQueues) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %d queues; must be 1 to %d",
                                                      options.name, options.queues, kMaxQueues));
  }
  if (options.serial.size() > kBlockIdLength) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: serial '%s' is longer than %d bytes", options.name, options.serial, kBlockIdLength));
  }
  if (absl::Status status = InstallKickHandler(); !status.ok()) return status;
  auto disk =
      std::make_shared<DiskContext>(options.name, options.limits, std::chrono::steady_clock::now());
  disk->serial = options.serial;
  disk->file = std::move(file);
  disk->engine = options.engine;
  disk->cpus = options.cpus;
  disk->faults = options.faults;
  if (options.engine == EngineKind::kUring) {  // B8: chosen now
    OpenGate gate;
    auto engine = CreateUringEngine(disk->file->fd(), &gate, nullptr);
    if (!engine.ok()) {
      LOG(WARNING) << options.name << ": " << engine.status().message()
                   << "; using the synchronous engine";
      disk->engine = EngineKind::kSync;
    }
  }
  return std::unique_ptr<VirtioBlock>(new VirtioBlock(std::move(options), std::move(disk)));
}

VirtioBlock::VirtioBlock(Options options, std::shared_ptr<DiskContext> disk)
    : options_(std::move(options)),
      disk_(std::move(disk)),
      config_(MakeConfig(*disk_->file, options_.queues)) {
  for (int i = 0; i < options_.queues; ++i) {
    workers_.push_back(std::make_unique<QueueWorker>(disk_, absl::StrCat(options_.name, "/q", i)));
  }
}

VirtioBlock::~VirtioBlock() {
  absl::Status status = StopWorkers();  // R9; nothing to do after the transport's reset
  if (!status.ok()) LOG(ERROR) << options_.name << ": " << status.message();
}

uint64_t VirtioBlock::features() const {
  const uint64_t common = kVirtioFeatureVersion1 | kVirtioFeatureEventIdx |
                          kVirtioFeatureIndirectDesc | kBlockFeatureSizeMax | kBlockFeatureSegMax |
                          kBlockFeatureBlockSize | kBlockFeatureFlush | kBlockFeatureTopology |
                          kBlockFeatureConfigWce | kBlockFeatureMultiQueue;
  return common | (disk_->file->read_only() ? kBlockFeatureReadOnly
                                            : kBlockFeatureDiscard | kBlockFeatureWriteZeroes);
}

std::vector<uint16_t> VirtioBlock::queue_max_sizes() const {
  return std::vector<uint16_t>(options_.queues, kBlockQueueSize);
}

void VirtioBlock::ReadConfig(uint64_t offset, absl::Span<uint8_t> data) {
  if (offset >= kConfigBytes) return;
  BlockConfig config = config_;
  // Before a driver has chosen, what it would get by choosing CONFIG_WCE and FLUSH.
  config.writeback = negotiated_ == 0 || disk_->write_back.load(std::memory_order_acquire);
  std::memcpy(data.data(), reinterpret_cast<const uint8_t*>(&config) + offset,
              std::min<uint64_t>(data.size(), kConfigBytes - offset));
}

void VirtioBlock::WriteConfig(uint64_t offset, absl::Span<const uint8_t> data) {
  const uint64_t needed = kBlockFeatureConfigWce | kBlockFeatureFlush;
  if (offset != offsetof(BlockConfig, writeback) || data.size() != 1) return;  // T2
  if ((negotiated_ & needed) != needed || data[0] > 1) return;
  const bool write_back = data[0] == 1;
  if (disk_->write_back.exchange(write_back, std::memory_order_acq_rel) != write_back) {
    signals()->BumpGeneration();  // T9; no interrupt: the driver knows
  }
}

void VirtioBlock::FeaturesNegotiated(uint64_t features) {
  negotiated_ = features;
  // A driver that cannot flush, or cannot be asked, gets a write-through cache (B7, §5.2.5.2).
  const uint64_t needed = kBlockFeatureConfigWce | kBlockFeatureFlush;
  disk_->write_back.store((features & needed) == needed, std::memory_order_release);
}

absl::Status VirtioBlock::Activate(Activation activation) {
  const BlockLimits limits{.capacity_sectors = config_.capacity,
                           .read_only = disk_->file->read_only(),
                           .features = activation.features};
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (activation.queues[i].queue == nullptr) continue;  // the driver uses fewer
    absl::Status status = workers_[i]->Start(activation.queues[i], limits, signals());
    if (status.ok()) continue;
    absl::Status stopped = StopWorkers();  // R6: all or none
    return absl::Status(status.code(), absl::StrCat(workers_[i]->name(), ": ", status.message(),
                                                    stopped.ok() ? "" : "; ", stopped.message()));
  }
  return absl::OkStatus();
}

absl::Status VirtioBlock::StopWorkers() {
  for (auto& worker : workers_) worker->RequestStop();
  const auto deadline = std::chrono::steady_clock::now() + kStopLimit;
  std::vector<std::string> stuck;
  for (auto& worker : workers_) {
    if (!worker->Join(deadline)) stuck.push_back(worker->name());
  }
  if (stuck.empty()) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrFormat(
      "stuck in the backing file %s: %s", disk_->file->path(), absl::StrJoin(stuck, ", ")));
}

absl::Status VirtioBlock::Reset() {
  absl::Status status = StopWorkers();
  negotiated_ = 0;
  disk_->write_back.store(false, std::memory_order_release);
  disk_->throttle.Refill(std::chrono::steady_clock::now());  // R7
  return status;
}

std::vector<Freezable*> VirtioBlock::Freezables() {
  std::vector<Freezable*> freezables;
  for (auto& worker : workers_) freezables.push_back(worker.get());
  return freezables;
}

std::string VirtioBlock::DumpState() const {
  using nlohmann::json;
  const BlockCounters& counters = disk_->counters;
  json workers = json::array();
  for (const auto& worker : workers_) {
    workers.push_back({{"name", worker->name()},
                       {"live", worker->live()},
                       {"engine", worker->engine()},
                       {"stands_still", worker->IsParked()}});
  }
  const json state = {
      {"file", disk_->file->path()},
      {"read_only", disk_->file->read_only()},
      {"capacity_sectors", config_.capacity},
      {"engine", disk_->engine == EngineKind::kUring ? "uring" : "sync"},
      {"write_back", disk_->write_back.load()},
      {"reads", counters.reads.load()},
      {"writes", counters.writes.load()},
      {"flushes", counters.flushes.load()},
      {"discards", counters.discards.load()},
      {"write_zeroes", counters.write_zeroes.load()},
      {"get_ids", counters.get_ids.load()},
      {"bytes_read", counters.bytes_read.load()},
      {"bytes_written", counters.bytes_written.load()},
      {"io_errors", counters.io_errors.load()},
      {"invalid_requests", counters.invalid_requests.load()},
      {"throttle_events", counters.throttle_events.load()},
      {"throttle_pending", counters.throttle_pending.load()},
      {"workers", std::move(workers)},
  };
  return state.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace stasis
