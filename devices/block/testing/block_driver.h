// BlockDriver: a guest's driver of a VirtioBlock in a process without KVM, for tests.
#ifndef STASIS_DEVICES_BLOCK_TESTING_BLOCK_DRIVER_H_
#define STASIS_DEVICES_BLOCK_TESTING_BLOCK_DRIVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/block/block_protocol.h"
#include "devices/block/virtio_block.h"
#include "devices/virtio/features.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/testing/driver_queue.h"
#include "devices/virtio/testing/fake_interrupt_line.h"
#include "devices/virtio/testing/mmio_driver.h"

namespace stasis {

std::string BlockHeader(uint32_t type, uint64_t sector);
std::string BlockRangeBytes(uint64_t sector, uint32_t sectors, uint32_t flags = 0);

// Spins (with yields) until `done` is true; false after a time that means "never".
bool Eventually(const std::function<bool()>& done);

// One request as the driver gets it back.
struct BlockReply {
  uint32_t used_length = 0;
  int status = -1;   // -1: no status byte in the chain
  std::string data;  // device-writable bytes before the status
};

// Owns guest memory, transport and device. The test is the vCPU; the workers are real.
class BlockDriver {
 public:
  // Everything that the device offers.
  static constexpr uint64_t kAll = UINT64_MAX;

  BlockDriver(VirtioBlock::Options options, std::shared_ptr<BackingFile> file);

  // From reset to DRIVER_OK, with fresh queues of `size`.
  void Bind(uint64_t features = kAll, uint16_t size = 256, uint32_t queues = 1);
  // The same up to, but not including, DRIVER_OK.
  void Prepare(uint64_t features = kAll, uint16_t size = 256, uint32_t queues = 1);

  // Makes a request available, without a notification; returns its head.
  uint16_t Add(const std::vector<std::string>& readable, const std::vector<uint32_t>& writable,
               uint32_t queue = 0, bool indirect = false);
  void Notify(uint32_t queue = 0) { mmio_->Notify(queue); }
  // Waits for the next reply of the queue; nothing if it never comes.
  std::optional<BlockReply> Wait(uint32_t queue = 0);
  std::optional<BlockReply> WaitFor(uint16_t head, uint32_t queue = 0);

  // Add, Notify, Wait. A status of -2 stands for no reply.
  BlockReply Do(const std::vector<std::string>& readable, const std::vector<uint32_t>& writable,
                uint32_t queue = 0);
  BlockReply Read(uint64_t sector, uint32_t sectors, uint32_t queue = 0);
  BlockReply Write(uint64_t sector, const std::string& data, uint32_t queue = 0);
  BlockReply Flush() { return Do({BlockHeader(kBlockFlush, 0)}, {1}); }

  VirtioBlock& device() { return *device_; }
  VirtioMmioDevice& transport() { return *transport_; }
  MmioDriver& mmio() { return *mmio_; }
  DriverQueue& queue(uint32_t index = 0) { return *queues_.at(index); }
  FakeInterruptLine& line() { return line_; }
  Freezable& worker(uint32_t index = 0) { return *device_->Freezables().at(index); }
  const BlockCounters& counters() { return device_->counters(); }
  void Destroy() { transport_.reset(); }

 private:
  struct Request {
    GuestAddress data;
    uint32_t data_length = 0;
    std::optional<GuestAddress> status;
  };

  BlockReply Take(uint32_t queue, const UsedElement& used);

  std::unique_ptr<GuestMemory> memory_;
  DriverHeap heap_;
  FakeInterruptLine line_;
  VirtioBlock* device_ = nullptr;
  std::unique_ptr<VirtioMmioDevice> transport_;
  std::unique_ptr<MmioDriver> mmio_;
  std::vector<std::unique_ptr<DriverQueue>> queues_;
  std::vector<std::map<uint16_t, Request>> requests_;  // per queue, by head
  std::vector<std::map<uint16_t, BlockReply>> early_;  // came while another one was waited for
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_TESTING_BLOCK_DRIVER_H_
