// Fuzz target: a hostile guest against a whole virtio disk (registers, rings, memory, worker).
//
// An input is a list of operations, mostly those of a good driver. While only those were used since
// the last reset the guest is `tame`, and the device must answer every request; whatever else the
// guest does, the device must survive, park when asked to, and work again after a reset.
#include <glog/logging.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "devices/block/block_protocol.h"
#include "vmm/base/fuzz/input.h"
#include "devices/block/virtio_block.h"
#include "devices/virtio/features.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/testing/driver_queue.h"
#include "devices/virtio/testing/fake_interrupt_line.h"
#include "devices/virtio/testing/mmio_driver.h"

namespace stasis {
namespace {

constexpr uint64_t kMemory = 4 << 20;
constexpr uint64_t kDisk = 64 << 10;
constexpr int kQueues = 2;
constexpr int kMostOperations = 48;
constexpr uint64_t kMostMemory = kMemory - (64 << 10);  // of the heap: room for the last requests
constexpr uint8_t kUntouched = 0xee;

// The device broke its word. The fuzzer keeps the input.
[[noreturn]] void Broken(const char* what) {
  fprintf(stderr, "block_fuzz: %s\n", what);
  abort();
}

template <typename Done>
void Await(const char* what, Done done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (int spins = 0; !done(); ++spins) {
    if (spins > 100) std::this_thread::yield();
    if (spins % 1000 == 999 && std::chrono::steady_clock::now() > limit) Broken(what);
  }
}

class Guest {
 public:
  explicit Guest(FuzzInput* input)
      : in_(*input),
        memory_(*GuestMemory::Create({{.base = GuestAddress(0), .size = kMemory}})),
        heap_(memory_.get(), GuestAddress(0x1000)) {
    const EngineKind engine = in_.Byte() % 8 == 0 ? EngineKind::kUring : EngineKind::kSync;
    auto device = VirtioBlock::Create({.queues = kQueues, .engine = engine},
                                      *BackingFile::CreateScratch(kDisk));
    if (!device.ok()) Broken("no device");
    device_ = device->get();
    transport_ = std::make_unique<VirtioMmioDevice>(memory_.get(), *std::move(device), &line_, "d");
    mmio_ = std::make_unique<MmioDriver>(transport_.get());
  }

  void Run() {
    Bind();
    for (int i = 0; i < kMostOperations && !in_.empty() && heap_.used() < kMostMemory; ++i) {
      Operation();
    }
    if (tame_) {
      for (uint32_t queue = 0; queue < queues_.size(); ++queue) Settle(queue);
    }
    MustRecover();
  }

 private:
  struct Request {
    GuestAddress status;
    bool has_status = false;
    uint32_t writable = 0;
  };

  void Operation();
  void Bind();
  void AddRequest();
  void Settle(uint32_t queue);
  void TakeReplies(uint32_t queue);
  void RegisterWrite();
  void RegisterRead();
  void WildDescriptor();
  void WildMemory();
  void WildLayout();
  void Pause();
  void MustRecover();

  uint32_t AnyQueue() { return in_.Byte() % std::max<size_t>(queues_.size(), 1); }
  DriverQueue* Queue(uint32_t index) {
    return index < queues_.size() ? queues_[index].get() : nullptr;
  }
  // Addresses near something: the heap's beginning, the end of memory, the end of the address
  // space.
  uint64_t Address() {
    switch (in_.Byte() % 8) {
      case 0:
        return in_.Number(8);
      case 1:
        return kMemory - in_.Number(2);
      case 2:
        return UINT64_MAX - in_.Number(2);
      default:
        return 0x1000 + in_.Number(2);
    }
  }

  FuzzInput& in_;
  std::unique_ptr<GuestMemory> memory_;
  DriverHeap heap_;
  FakeInterruptLine line_;
  VirtioBlock* device_ = nullptr;
  std::unique_ptr<VirtioMmioDevice> transport_;
  std::unique_ptr<MmioDriver> mmio_;
  bool tame_ = false;
  bool indirect_negotiated_ = false;
  std::vector<std::unique_ptr<DriverQueue>> queues_;
  std::vector<std::map<uint32_t, Request>> requests_;
};

void Guest::Operation() {
  switch (in_.Byte() % 24) {
    default:
      return AddRequest();
    case 10:
    case 11:
    case 12:
      return Settle(AnyQueue());
    case 13:  // a kick that nobody asked for
      return mmio_->Notify(in_.Byte() % 4 == 0 ? in_.Number(4) : AnyQueue());
    case 14: {
      const std::vector<NotifyEvent> events = transport_->NotifyEvents();
      eventfd_write(events[in_.Byte() % events.size()].event_fd, 1);
      return;
    }
    case 15:
      return RegisterWrite();
    case 16:
      return RegisterRead();
    case 17:
      return WildDescriptor();
    case 18:
      return WildMemory();
    case 19:
      if (DriverQueue* queue = Queue(AnyQueue())) {
        if (in_.Byte() % 2 == 0) {
          queue->SetUsedEvent(in_.Number(2));
        } else {
          queue->SetNoInterrupt(in_.Byte() % 2 == 0);
        }
      }
      return;
    case 20:
      if (DriverQueue* queue = Queue(AnyQueue())) {
        tame_ = false;
        if (in_.Byte() % 2 == 0) {
          queue->SetAvailIndex(in_.Number(2));
        } else {
          queue->PutAvail(in_.Number(2));
        }
      }
      return;
    case 21:
      return Pause();
    case 22:
      return in_.Byte() % 4 == 0 ? WildLayout() : Bind();
    case 23:
      (void)mmio_->TakeInterrupt();
      return;
  }
}

void Guest::Bind() {
  tame_ = false;
  uint64_t features = mmio_->device_features();
  const uint8_t choice = in_.Byte();
  if ((choice & 1) != 0) features &= ~kVirtioFeatureEventIdx;
  if ((choice & 2) != 0) features &= ~kVirtioFeatureIndirectDesc;
  if ((choice & 4) != 0) features &= ~kBlockFeatureConfigWce;
  if ((choice & 8) != 0) features &= ~(kBlockFeatureDiscard | kBlockFeatureWriteZeroes);
  indirect_negotiated_ = (features & kVirtioFeatureIndirectDesc) != 0;
  const uint32_t count = (choice & 16) != 0 ? kQueues : 1;
  const uint16_t size = 1 << (in_.Byte() % 9);
  queues_.clear();
  requests_.assign(count, {});
  if (!mmio_->Negotiate(features)) Broken("a good negotiation was refused");
  for (uint32_t i = 0; i < count; ++i) {
    queues_.push_back(std::make_unique<DriverQueue>(&heap_, size, features));
    if (!mmio_->SetUpQueue(i, queues_[i]->layout())) Broken("a good queue was refused");
  }
  if (!mmio_->DriverOk()) Broken("DRIVER_OK was refused");
  tame_ = true;
}

void Guest::AddRequest() {
  const uint32_t index = AnyQueue();
  DriverQueue* const queue = Queue(index);
  if (queue == nullptr) return;
  static constexpr uint32_t kTypes[] = {kBlockIn,    kBlockOut,   kBlockIn,      kBlockOut,
                                        kBlockFlush, kBlockGetId, kBlockDiscard, kBlockWriteZeroes};
  const uint8_t choice = in_.Byte();
  const uint32_t type = choice >= 250 ? in_.Number(4) : kTypes[choice % 8];
  const bool indirect = (choice & 8) != 0;
  const uint64_t sector = (choice & 16) != 0 ? in_.Number(8) : in_.Byte() % (kDisk / 512);
  uint32_t bytes = (1 + in_.Byte() % 8) * 512;
  if ((choice & 32) != 0) bytes = in_.Number(2) % 8192;
  std::vector<DriverBuffer> buffers;
  Request request;
  const auto put = [&](absl::string_view content) {
    buffers.push_back({heap_.Put(content), static_cast<uint32_t>(content.size()), false});
  };
  const auto room = [&](uint32_t length) {
    buffers.push_back({heap_.Allocate(length), length, true});
    request.writable += length;
  };
  const BlockRequestHeader header{.type = type, .sector = sector};
  put(absl::string_view(reinterpret_cast<const char*>(&header),
                        choice == 249 ? in_.Byte() % 17 : sizeof(header)));
  if (type == kBlockOut) put(std::string(bytes, static_cast<char>(in_.Byte())));
  if (type == kBlockDiscard || type == kBlockWriteZeroes) {
    const BlockRange range{.sector = sector, .sectors = bytes / 512, .flags = in_.Byte() % 4u};
    put(absl::string_view(reinterpret_cast<const char*>(&range), sizeof(range)));
  }
  if (type == kBlockIn) {
    const uint32_t first = bytes * (in_.Byte() % 4) / 4;
    if (first > 0) room(first);
    room(bytes - first);
  }
  if (type == kBlockGetId) room(in_.Byte() % 32);
  if (choice != 248) {
    room(1);
    request.status = buffers.back().address;
    request.has_status = true;
    (void)memory_->Store<uint8_t>(request.status, kUntouched);
  }
  const bool may_indirect = in_.Byte() % 2 == 0 && indirect;
  TakeReplies(index);
  if (queue->free_descriptors() < buffers.size() || buffers.size() > queue->layout().size) return;
  // An indirect chain that was not negotiated poisons the queue, as it should.
  if (may_indirect && !indirect_negotiated_) tame_ = false;
  const uint16_t head = may_indirect ? queue->AddIndirect(buffers) : queue->Add(buffers);
  requests_[index][head] = request;
}

void Guest::TakeReplies(uint32_t index) {
  // A used ring that the guest itself has overwritten may look endless.
  for (int taken = 0; taken <= UINT16_MAX; ++taken) {
    std::optional<UsedElement> used = queues_[index]->TakeUsed();
    if (!used.has_value()) return;
    const auto found = requests_[index].find(used->head);
    if (!tame_) {
      if (found != requests_[index].end()) requests_[index].erase(found);
      continue;
    }
    if (found == requests_[index].end()) Broken("an answer to no request");
    const Request& request = found->second;
    if (used->length > request.writable) Broken("more written than there was room for");
    if (request.has_status && memory_->Load<uint8_t>(request.status) == kUntouched) {
      Broken("answered without a status");
    }
    requests_[index].erase(found);
  }
}

void Guest::Settle(uint32_t index) {
  DriverQueue* const queue = Queue(index);
  if (queue == nullptr) return;
  if (!tame_) return mmio_->Notify(index);
  if (queue->NeedsKick()) mmio_->Notify(index);
  Await("a request of a good driver stays unanswered",
        [&] { return queue->used_index() == queue->avail_index(); });
  if (transport_->signals().needs_reset()) Broken("NEEDS_RESET for a good driver");
  TakeReplies(index);
  if (!requests_[index].empty()) Broken("a request was lost");
}

void Guest::RegisterWrite() {
  static constexpr uint64_t kOffsets[] = {mmio::kDeviceFeaturesSel,
                                          mmio::kDriverFeatures,
                                          mmio::kDriverFeaturesSel,
                                          mmio::kQueueSel,
                                          mmio::kQueueNum,
                                          mmio::kQueueReady,
                                          mmio::kQueueNotify,
                                          mmio::kInterruptAck,
                                          mmio::kStatus,
                                          mmio::kStatus,
                                          mmio::kQueueDescLow,
                                          mmio::kQueueDriverHigh,
                                          mmio::kQueueDeviceLow,
                                          mmio::kConfig + 32};
  tame_ = false;
  const uint8_t which = in_.Byte();
  const uint64_t offset =
      which >= 240 ? in_.Number(2) % kVirtioMmioWindow : kOffsets[which % std::size(kOffsets)];
  const uint64_t value = in_.Byte() % 4 == 0 ? in_.Number(4) : in_.Byte();
  uint8_t data[8] = {};
  std::memcpy(data, &value, sizeof(value));
  const size_t width = which % 16 == 0 ? size_t{1} << in_.Byte() % 4 : 4;
  transport_->Write(offset, absl::MakeConstSpan(data, width));
}

void Guest::RegisterRead() {
  uint8_t data[8] = {};
  const size_t width = size_t{1} << in_.Byte() % 4;
  transport_->Read(in_.Number(2) % kVirtioMmioWindow, absl::MakeSpan(data, width));
  (void)transport_->DumpState();
}

void Guest::WildDescriptor() {
  DriverQueue* const queue = Queue(AnyQueue());
  if (queue == nullptr) return;
  tame_ = false;
  const uint16_t index = in_.Byte() % queue->layout().size;
  queue->SetDescriptor(index, {.address = Address(),
                               .length = static_cast<uint32_t>(in_.Number(in_.Byte() % 5)),
                               .flags = static_cast<uint16_t>(in_.Byte() % 8),
                               .next = static_cast<uint16_t>(in_.Number(in_.Byte() % 3))});
  queue->PutAvail(index);
}

void Guest::WildMemory() {
  tame_ = false;
  const uint64_t address = 0x1000 + in_.Number(2);
  const std::string bytes = in_.Bytes(1 + in_.Byte() % 16);
  (void)memory_->Write(GuestAddress(address), bytes.data(), bytes.size());
}

void Guest::WildLayout() {
  tame_ = false;
  queues_.clear();
  requests_.clear();
  if (!mmio_->Negotiate(mmio_->device_features())) Broken("a good negotiation was refused");
  const QueueLayout layout{.size = static_cast<uint32_t>(in_.Number(in_.Byte() % 3)),
                           .descriptors = GuestAddress(Address()),
                           .avail = GuestAddress(Address()),
                           .used = GuestAddress(Address())};
  (void)mmio_->SetUpQueue(in_.Byte() % 3, layout);
  (void)mmio_->DriverOk();
  mmio_->Notify(0);
}

void Guest::Pause() {
  for (Freezable* worker : transport_->Freezables()) worker->RequestPause();
  for (Freezable* worker : transport_->Freezables()) {
    Await("a worker does not park", [&] { return worker->IsParked(); });
  }
  for (Freezable* worker : transport_->Freezables()) worker->Resume();
}

void Guest::MustRecover() {
  mmio_->Reset();
  if (mmio_->status() != 0) Broken("the status is not 0 after a reset");
  const uint64_t features = mmio_->device_features();
  if (!mmio_->Negotiate(features)) Broken("no negotiation after a reset");
  DriverQueue queue(&heap_, 8, features);
  if (!mmio_->SetUpQueue(0, queue.layout()) || !mmio_->DriverOk()) Broken("no queue after a reset");
  const std::string content(512, '\x5a');
  const BlockRequestHeader out{.type = kBlockOut, .sector = 3};
  const BlockRequestHeader in{.type = kBlockIn, .sector = 3};
  const auto bytes = [](const BlockRequestHeader& header) {
    return absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header));
  };
  const GuestAddress back = heap_.Allocate(513);
  for (bool write : {true, false}) {
    std::vector<DriverBuffer> buffers = {{heap_.Put(bytes(write ? out : in)), 16, false}};
    if (write) buffers.push_back({heap_.Put(content), 512, false});
    buffers.push_back({back, write ? 1u : 513u, true});
    queue.Add(buffers);
    if (queue.NeedsKick()) mmio_->Notify(0);
    Await("no answer after a reset", [&] { return queue.TakeUsed().has_value(); });
  }
  if (heap_.Get(back, 512) != content) Broken("other bytes read than written after a reset");
  if (memory_->Load<uint8_t>(back + 512) != kBlockStatusOk) Broken("an error after a reset");
}

}  // namespace
}  // namespace stasis

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FLAGS_minloglevel = google::GLOG_FATAL;  // every refusal has a log line
  stasis::FuzzInput input(data, size);
  stasis::Guest(&input).Run();
  return 0;
}
