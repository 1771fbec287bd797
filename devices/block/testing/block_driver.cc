#include "devices/block/testing/block_driver.h"

#include <glog/logging.h>

#include <chrono>
#include <thread>
#include <utility>

namespace stasis {
namespace {

constexpr uint64_t kMemory = 256 << 20;
constexpr uint8_t kUntouched = 0xee;  // what a status byte holds before the device writes it

}  // namespace

std::string BlockHeader(uint32_t type, uint64_t sector) {
  const BlockRequestHeader header{.type = type, .sector = sector};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header));
}

std::string BlockRangeBytes(uint64_t sector, uint32_t sectors, uint32_t flags) {
  const BlockRange range{.sector = sector, .sectors = sectors, .flags = flags};
  return std::string(reinterpret_cast<const char*>(&range), sizeof(range));
}

bool Eventually(const std::function<bool()>& done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!done()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

BlockDriver::BlockDriver(VirtioBlock::Options options, std::shared_ptr<BackingFile> file)
    : memory_(*GuestMemory::Create({{.base = GuestAddress(0), .size = kMemory}})),
      heap_(memory_.get(), GuestAddress(0x1000)) {
  auto device = VirtioBlock::Create(std::move(options), std::move(file));
  CHECK(device.ok()) << device.status();
  device_ = device->get();
  transport_ =
      std::make_unique<VirtioMmioDevice>(memory_.get(), *std::move(device), &line_, "virtio-blk0");
  mmio_ = std::make_unique<MmioDriver>(transport_.get());
}

void BlockDriver::Prepare(uint64_t features, uint16_t size, uint32_t queues) {
  features &= mmio_->device_features();
  CHECK(mmio_->Negotiate(features));
  queues_.clear();
  requests_.assign(queues, {});
  early_.assign(queues, {});
  for (uint32_t i = 0; i < queues; ++i) {
    queues_.push_back(std::make_unique<DriverQueue>(&heap_, size, features));
    CHECK(mmio_->SetUpQueue(i, queues_[i]->layout()));
  }
}

void BlockDriver::Bind(uint64_t features, uint16_t size, uint32_t queues) {
  Prepare(features, size, queues);
  CHECK(mmio_->DriverOk());
}

uint16_t BlockDriver::Add(const std::vector<std::string>& readable,
                          const std::vector<uint32_t>& writable, uint32_t queue, bool indirect) {
  std::vector<DriverBuffer> buffers;
  for (const std::string& bytes : readable) {
    buffers.push_back({heap_.Put(bytes), static_cast<uint32_t>(bytes.size()), false});
  }
  uint32_t length = 0;
  for (uint32_t piece : writable) length += piece;
  // The pieces lie side by side, so that data and status are easily found again.
  const GuestAddress area = heap_.Allocate(length + 1);
  uint32_t at = 0;
  for (uint32_t piece : writable) {
    buffers.push_back({area + at, piece, true});
    at += piece;
  }
  Request request{.data = area, .data_length = length == 0 ? 0 : length - 1};
  if (length > 0) {
    request.status = area + (length - 1);
    CHECK(memory_->Store<uint8_t>(*request.status, kUntouched));
  }
  DriverQueue& driver_queue = *queues_.at(queue);
  // What is known about the head must be known before the device can answer.
  const uint16_t head = indirect ? driver_queue.AddIndirect(buffers) : driver_queue.Add(buffers);
  requests_[queue][head] = request;
  return head;
}

BlockReply BlockDriver::Take(uint32_t queue, const UsedElement& used) {
  const Request request = requests_[queue].at(used.head);
  requests_[queue].erase(used.head);
  BlockReply reply{.used_length = used.length};
  if (request.status.has_value()) reply.status = *memory_->Load<uint8_t>(*request.status);
  reply.data = heap_.Get(request.data, request.data_length);
  return reply;
}

std::optional<BlockReply> BlockDriver::Wait(uint32_t queue) {
  std::optional<UsedElement> used;
  if (!Eventually([&] { return (used = queues_[queue]->TakeUsed()).has_value(); })) {
    return std::nullopt;
  }
  return Take(queue, *used);
}

std::optional<BlockReply> BlockDriver::WaitFor(uint16_t head, uint32_t queue) {
  while (early_[queue].find(head) == early_[queue].end()) {
    std::optional<UsedElement> used;
    if (!Eventually([&] { return (used = queues_[queue]->TakeUsed()).has_value(); })) {
      return std::nullopt;
    }
    early_[queue][used->head] = Take(queue, *used);
  }
  BlockReply reply = early_[queue][head];
  early_[queue].erase(head);
  return reply;
}

BlockReply BlockDriver::Do(const std::vector<std::string>& readable,
                           const std::vector<uint32_t>& writable, uint32_t queue) {
  const uint16_t head = Add(readable, writable, queue);
  if (queues_[queue]->NeedsKick()) Notify(queue);
  return WaitFor(head, queue).value_or(BlockReply{.status = -2});
}

BlockReply BlockDriver::Read(uint64_t sector, uint32_t sectors, uint32_t queue) {
  return Do({BlockHeader(kBlockIn, sector)}, {sectors * 512, 1}, queue);
}

BlockReply BlockDriver::Write(uint64_t sector, const std::string& data, uint32_t queue) {
  return Do({BlockHeader(kBlockOut, sector), data}, {1}, queue);
}

}  // namespace stasis
