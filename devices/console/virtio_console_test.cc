#include "devices/console/virtio_console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "devices/virtio/features.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/testing/driver_queue.h"
#include "devices/virtio/testing/fake_interrupt_line.h"
#include "devices/virtio/testing/mmio_driver.h"

namespace stasis {
namespace {

constexpr uint32_t kPorts = 2;
constexpr uint32_t kAgent = 1;  // port number
constexpr uint64_t kBase = kVirtioFeatureVersion1 | kConsoleFeatureSize;
constexpr uint64_t kMultiport = kBase | kConsoleFeatureMultiport;

struct ControlMessage {
  ConsoleControl header;
  std::string payload;
};

std::string Pattern(size_t length) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<char>(i * 13 + i / 253);
  return bytes;
}

// A guest with a console driver on one side, two socket pairs on the other. The test is both the
// vCPU and the loop's thread.
class VirtioConsoleTest : public testing::Test {
 protected:
  VirtioConsoleTest()
      : loop_(*EventLoop::Create()),
        memory_(*GuestMemory::Create({{.base = GuestAddress(0), .size = 64 << 20}})),
        heap_(memory_.get(), GuestAddress(0x1000)) {
    for (uint32_t i = 0; i < kPorts; ++i) {
      int fds[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
      device_fds_[i] = fds[0];
      host_fds_[i] = fds[1];
    }
    VirtioConsole::Options options;
    options.ports = {
        {.name = "hvc",
         .is_console = true,
         .input_fd = device_fds_[0],
         .output_fd = device_fds_[0]},
        {.name = "stasis.agent", .input_fd = device_fds_[1], .output_fd = device_fds_[1]}};
    options.on_port_open = [this](uint32_t port, bool open) { changes_.push_back({port, open}); };
    auto console = VirtioConsole::Create(std::move(options), loop_.get());
    EXPECT_TRUE(console.ok()) << console.status();
    console_ = console->get();
    transport_ = std::make_unique<VirtioMmioDevice>(memory_.get(), *std::move(console), &line_,
                                                    "virtio-console0");
    driver_ = std::make_unique<MmioDriver>(transport_.get());
  }
  ~VirtioConsoleTest() override {
    transport_.reset();
    for (uint32_t i = 0; i < kPorts; ++i) {
      close(device_fds_[i]);
      if (host_fds_[i] >= 0) close(host_fds_[i]);
    }
  }

  void Turn(int times = 4) {
    for (int i = 0; i < times; ++i) loop_->RunOnce(absl::ZeroDuration());
  }

  // A driver that binds: queues, DRIVER_OK, control buffers.
  void Bind(uint64_t features = kMultiport, int control_buffers = 16, uint32_t control_size = 64) {
    queues_.clear();
    ASSERT_TRUE(driver_->Negotiate(features));
    const uint32_t count = (features & kConsoleFeatureMultiport) != 0 ? 2 * (kPorts + 1) : 2;
    for (uint32_t i = 0; i < count; ++i) {
      queues_.push_back(std::make_unique<DriverQueue>(&heap_, 64, features));
      ASSERT_TRUE(driver_->SetUpQueue(i, queues_[i]->layout()));
    }
    if (count > 2) {
      for (int i = 0; i < control_buffers; ++i) queues_[2]->AddWritable(control_size);
    }
    ASSERT_TRUE(driver_->DriverOk());
    Turn();
  }
  void SendControl(uint32_t id, uint16_t event, uint16_t value) {
    const ConsoleControl message{.id = id, .event = event, .value = value};
    queues_[3]->AddReadable(
        absl::string_view(reinterpret_cast<const char*>(&message), sizeof(message)));
    driver_->Notify(3);
    Turn();
    while (queues_[3]->TakeUsed().has_value()) {
    }
  }
  std::vector<ControlMessage> TakeControl() {
    std::vector<ControlMessage> messages;
    while (std::optional<UsedElement> used = queues_[2]->TakeUsed()) {
      const std::string bytes = queues_[2]->Written(*used);
      ControlMessage message;
      if (bytes.size() >= sizeof(message.header)) {
        std::memcpy(&message.header, bytes.data(), sizeof(message.header));
        message.payload = bytes.substr(sizeof(message.header));
      }
      messages.push_back(message);
      queues_[2]->AddWritable(64);
    }
    return messages;
  }
  // Up to open ports, with the control messages of the way there read and dropped.
  void BindAndOpen() {
    Bind();
    SendControl(0, kConsoleDeviceReady, 1);
    for (uint32_t port = 0; port < kPorts; ++port) {
      SendControl(port, kConsolePortReady, 1);
      SendControl(port, kConsolePortOpen, 1);
    }
    TakeControl();
  }
  DriverQueue& Receive(uint32_t port) { return *queues_[ReceiveQueueOf(port)]; }
  DriverQueue& Transmit(uint32_t port) { return *queues_[TransmitQueueOf(port)]; }

  std::string HostRead(uint32_t port) {
    std::string all;
    char bytes[4096];
    for (ssize_t got; (got = read(host_fds_[port], bytes, sizeof(bytes))) > 0;) {
      all.append(bytes, got);
    }
    return all;
  }
  void HostWrite(uint32_t port, const std::string& bytes) {
    ASSERT_EQ(write(host_fds_[port], bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string GuestRead(uint32_t port) {
    std::string all;
    while (std::optional<UsedElement> used = Receive(port).TakeUsed()) {
      all += Receive(port).Written(*used);
    }
    return all;
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<GuestMemory> memory_;
  DriverHeap heap_;
  FakeInterruptLine line_;
  int device_fds_[kPorts];
  int host_fds_[kPorts];
  VirtioConsole* console_ = nullptr;
  std::unique_ptr<VirtioMmioDevice> transport_;
  std::unique_ptr<MmioDriver> driver_;
  std::vector<std::unique_ptr<DriverQueue>> queues_;
  std::vector<std::pair<uint32_t, bool>> changes_;
};

TEST_F(VirtioConsoleTest, OffersConsoleFeaturesAndConfig) {
  EXPECT_EQ(driver_->Read(mmio::kDeviceId), 3u);
  EXPECT_EQ(driver_->device_features() & 0x3, 0x3u);
  EXPECT_EQ(driver_->Read(mmio::kConfig), (25u << 16) | 80u);
  EXPECT_EQ(driver_->Read(mmio::kConfig + 4), kPorts);
  EXPECT_EQ(driver_->Read(mmio::kConfig + 8), 0u) << "past the layout (T2)";
}

TEST_F(VirtioConsoleTest, DeviceReadyAddsEveryPortAndPortReadyDescribesIt) {
  Bind();
  SendControl(0, kConsoleDeviceReady, 1);
  std::vector<ControlMessage> messages = TakeControl();
  ASSERT_EQ(messages.size(), kPorts);
  for (uint32_t i = 0; i < kPorts; ++i) {
    EXPECT_EQ(messages[i].header.id, i);
    EXPECT_EQ(messages[i].header.event, kConsoleDeviceAdd);
  }
  SendControl(0, kConsolePortReady, 1);
  messages = TakeControl();
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].header.event, kConsoleConsolePort);
  EXPECT_EQ(messages[1].header.event, kConsoleResize);
  EXPECT_EQ(messages[1].payload, std::string("\x50\x00\x19\x00", 4));
  EXPECT_EQ(messages[2].header.event, kConsolePortName);
  EXPECT_EQ(messages[2].payload, "hvc");
  EXPECT_EQ(messages[3].header.event, kConsolePortOpen);
  EXPECT_EQ(messages[3].header.value, 1);
  SendControl(kAgent, kConsolePortReady, 1);
  messages = TakeControl();
  ASSERT_EQ(messages.size(), 2u) << "no console, no size";
  EXPECT_EQ(messages[0].payload, "stasis.agent");
  EXPECT_EQ(messages[1].header.event, kConsolePortOpen);
}

TEST_F(VirtioConsoleTest, ControlMessagesWaitForBuffersAndKeepTheirOrder) {
  Bind(kMultiport, /*control_buffers=*/0);
  SendControl(0, kConsoleDeviceReady, 1);
  SendControl(0, kConsolePortReady, 1);
  EXPECT_TRUE(TakeControl().empty());
  std::vector<uint16_t> events;
  for (int i = 0; i < 10; ++i) {
    if (i < 6) queues_[2]->AddWritable(64);
    driver_->Notify(2);
    Turn();
    for (const ControlMessage& message : TakeControl()) events.push_back(message.header.event);
  }
  EXPECT_EQ(events, (std::vector<uint16_t>{kConsoleDeviceAdd, kConsoleConsolePort, kConsoleResize,
                                           kConsolePortName, kConsolePortOpen, kConsoleDeviceAdd}));
}

TEST_F(VirtioConsoleTest, AskingAgainAndAgainMakesNoBacklogGrow) {
  Bind(kMultiport, /*control_buffers=*/0);
  for (int i = 0; i < 500; ++i) SendControl(0, kConsoleDeviceReady, 1);
  for (int i = 0; i < 10; ++i) queues_[2]->AddWritable(64);
  driver_->Notify(2);
  Turn();
  EXPECT_EQ(TakeControl().size(), kPorts);
}

TEST_F(VirtioConsoleTest, TooSmallControlBuffersComeBackEmptyAndTheMessageIsKept) {
  Bind(kMultiport, /*control_buffers=*/2, /*control_size=*/7);
  SendControl(0, kConsoleDeviceReady, 1);
  EXPECT_EQ(queues_[2]->TakeUsed()->length, 0u);
  EXPECT_EQ(queues_[2]->TakeUsed()->length, 0u);
  queues_[2]->AddWritable(8);
  driver_->Notify(2);
  Turn();
  EXPECT_EQ(queues_[2]->TakeUsed()->length, 8u);
}

TEST_F(VirtioConsoleTest, HostileControlMessagesAreReturnedAndCounted) {
  BindAndOpen();
  RefusalLog& refusals = transport_->signals().refusals();
  SendControl(kPorts, kConsolePortOpen, 1);
  SendControl(0xffffffff, kConsolePortReady, 1);
  SendControl(0, 99, 1);
  SendControl(0, kConsoleDeviceReady, 0);
  SendControl(1, kConsolePortReady, 0);
  EXPECT_EQ(refusals.count("control-port"), 2u);
  EXPECT_EQ(refusals.count("control-event"), 1u);
  EXPECT_EQ(refusals.count("driver-not-ready"), 1u);
  EXPECT_EQ(refusals.count("port-not-ready"), 1u);
  queues_[3]->AddReadable("short");
  queues_[3]->AddWritable(16);
  driver_->Notify(3);
  Turn();
  EXPECT_TRUE(queues_[3]->TakeUsed().has_value());
  EXPECT_TRUE(queues_[3]->TakeUsed().has_value());
  EXPECT_EQ(refusals.count("control-short"), 2u);
  EXPECT_EQ(driver_->status(), 0xfu);
}

TEST_F(VirtioConsoleTest, BytesGoBothWaysOnEachPort) {
  BindAndOpen();
  for (uint32_t port = 0; port < kPorts; ++port) {
    Transmit(port).AddReadable("to host");
    driver_->Notify(TransmitQueueOf(port));
    Receive(port).AddWritable(64);
    driver_->Notify(ReceiveQueueOf(port));
    HostWrite(port, "to guest");
    Turn();
    EXPECT_EQ(HostRead(port), "to host");
    EXPECT_EQ(GuestRead(port), "to guest");
    EXPECT_TRUE(Transmit(port).TakeUsed().has_value());
  }
  EXPECT_NE(driver_->TakeInterrupt() & kInterruptUsedBuffers, 0u);
}

TEST_F(VirtioConsoleTest, OpenAndCloseAreReportedOnce) {
  BindAndOpen();
  EXPECT_EQ(changes_, (std::vector<std::pair<uint32_t, bool>>{{0, true}, {1, true}}));
  EXPECT_TRUE(console_->IsPortOpen(kAgent));
  changes_.clear();
  SendControl(kAgent, kConsolePortOpen, 0);
  SendControl(kAgent, kConsolePortOpen, 0);
  EXPECT_EQ(changes_, (std::vector<std::pair<uint32_t, bool>>{{kAgent, false}}));
  EXPECT_FALSE(console_->IsPortOpen(kAgent));
  EXPECT_FALSE(console_->IsPortOpen(99));
}

TEST_F(VirtioConsoleTest, InputWaitsInTheHostUntilTheGuestOpensThePort) {
  Bind();
  SendControl(0, kConsoleDeviceReady, 1);
  SendControl(kAgent, kConsolePortReady, 1);
  Receive(kAgent).AddWritable(64);
  driver_->Notify(ReceiveQueueOf(kAgent));
  HostWrite(kAgent, "early");
  Turn();
  EXPECT_EQ(GuestRead(kAgent), "");
  SendControl(kAgent, kConsolePortOpen, 1);
  Turn();
  EXPECT_EQ(GuestRead(kAgent), "early");
}

TEST_F(VirtioConsoleTest, ASlowHostHoldsTheGuestsBufferAndNoByteIsLostOrDoubled) {
  BindAndOpen();
  const std::string sent = Pattern(3 << 20);
  size_t offset = 0;
  int in_flight = 0;
  std::string got;
  bool stalled = false;
  while (got.size() < sent.size()) {
    // The guest keeps the queue full of buffers of odd sizes, in two pieces each.
    while (in_flight < 20 && offset < sent.size()) {
      const std::string bytes = sent.substr(offset, 7001);
      const GuestAddress address = heap_.Put(bytes);
      const uint32_t half = bytes.size() / 2;
      Transmit(kAgent).Add({{address, half, false},
                            {address + half, static_cast<uint32_t>(bytes.size()) - half, false}});
      offset += bytes.size();
      ++in_flight;
    }
    driver_->Notify(TransmitQueueOf(kAgent));
    Turn();
    while (Transmit(kAgent).TakeUsed().has_value()) --in_flight;
    stalled = stalled || in_flight > 0;
    char bytes[3001];
    const ssize_t count = read(host_fds_[kAgent], bytes, sizeof(bytes));
    if (count > 0) got.append(bytes, count);
  }
  EXPECT_TRUE(got == sent);
  EXPECT_TRUE(stalled) << "the test must have seen flow control";
  EXPECT_GT(console_->PortCounters(kAgent).output_stalls, 0u);
  EXPECT_EQ(console_->PortCounters(kAgent).bytes_dropped, 0u);
}

TEST_F(VirtioConsoleTest, ASlowGuestLeavesInputInTheHostAndNoByteIsLostOrDoubled) {
  BindAndOpen();
  const std::string sent = Pattern(1 << 20);
  size_t offset = 0;
  std::string got;
  bool host_full = false;
  while (got.size() < sent.size()) {
    const ssize_t count = write(host_fds_[kAgent], sent.data() + offset, sent.size() - offset);
    if (count > 0) {
      offset += count;
    } else if (offset < sent.size()) {
      host_full = true;
    }
    Turn(2);  // no buffers: nothing may be taken
    ASSERT_EQ(GuestRead(kAgent), "");
    for (int i = 0; i < 8; ++i) Receive(kAgent).AddWritable(777);
    driver_->Notify(ReceiveQueueOf(kAgent));
    Turn(2);
    got += GuestRead(kAgent);
  }
  EXPECT_TRUE(got == sent);
  EXPECT_TRUE(host_full) << "the test must have seen flow control";
}

TEST_F(VirtioConsoleTest, OneStalledPortDoesNotStopTheOther) {
  BindAndOpen();
  for (int i = 0; i < 60; ++i) Transmit(0).AddReadable(Pattern(100000));
  driver_->Notify(TransmitQueueOf(0));
  Turn();
  Transmit(kAgent).AddReadable("still here");
  driver_->Notify(TransmitQueueOf(kAgent));
  Turn();
  EXPECT_EQ(HostRead(kAgent), "still here");
}

TEST_F(VirtioConsoleTest, AHostThatHungUpDropsOutputAndReturnsTheBuffers) {
  BindAndOpen();
  close(host_fds_[kAgent]);
  host_fds_[kAgent] = -1;
  Transmit(kAgent).AddReadable("nobody");
  driver_->Notify(TransmitQueueOf(kAgent));
  Receive(kAgent).AddWritable(16);
  driver_->Notify(ReceiveQueueOf(kAgent));
  Turn();
  EXPECT_TRUE(Transmit(kAgent).TakeUsed().has_value());
  EXPECT_EQ(console_->PortCounters(kAgent).bytes_dropped, 6u);
  EXPECT_FALSE(Receive(kAgent).TakeUsed().has_value());
}

TEST_F(VirtioConsoleTest, Q3_ChainsOfTheWrongDirectionAreReturnedAndCounted) {
  BindAndOpen();
  Transmit(0).AddWritable(16);
  driver_->Notify(TransmitQueueOf(0));
  Receive(0).AddReadable("x");
  driver_->Notify(ReceiveQueueOf(0));
  Turn();
  EXPECT_EQ(Transmit(0).TakeUsed()->length, 0u);
  EXPECT_EQ(Receive(0).TakeUsed()->length, 0u);
  EXPECT_EQ(console_->PortCounters(0).invalid_chains, 2u);
}

TEST_F(VirtioConsoleTest, Q2_APoisonedQueueStopsTheDeviceUntilTheNextBind) {
  BindAndOpen();
  Transmit(0).SetAvailIndex(1000);
  driver_->Notify(TransmitQueueOf(0));
  Turn();
  EXPECT_EQ(driver_->status(), 0x4fu);
  Transmit(kAgent).AddReadable("not served");
  driver_->Notify(TransmitQueueOf(kAgent));
  HostWrite(kAgent, "not taken");
  Turn();
  EXPECT_EQ(HostRead(kAgent), "");
  BindAndOpen();
  Receive(kAgent).AddWritable(64);
  driver_->Notify(ReceiveQueueOf(kAgent));
  Turn();
  EXPECT_EQ(GuestRead(kAgent), "not taken");
}

TEST_F(VirtioConsoleTest, ResetWithBuffersInHandAndRebindStartsAfresh) {
  BindAndOpen();
  for (int i = 0; i < 30; ++i) Transmit(kAgent).AddReadable(Pattern(100000));
  driver_->Notify(TransmitQueueOf(kAgent));
  Receive(kAgent).AddWritable(64);
  driver_->Notify(ReceiveQueueOf(kAgent));
  Turn();
  changes_.clear();
  driver_->Reset();
  EXPECT_FALSE(console_->IsPortOpen(kAgent));
  Turn();
  EXPECT_EQ(changes_, (std::vector<std::pair<uint32_t, bool>>{{0, false}, {1, false}}));
  EXPECT_EQ(driver_->Read(mmio::kInterruptStatus), 0u);
  HostRead(kAgent);  // what had gone out before the reset
  HostWrite(kAgent, "kept over the reset");
  Turn();
  BindAndOpen();
  Transmit(kAgent).AddReadable("again");
  driver_->Notify(TransmitQueueOf(kAgent));
  Receive(kAgent).AddWritable(64);
  driver_->Notify(ReceiveQueueOf(kAgent));
  Turn();
  EXPECT_EQ(HostRead(kAgent), "again");
  EXPECT_EQ(GuestRead(kAgent), "kept over the reset");
}

TEST_F(VirtioConsoleTest, R4_WhatWasQueuedBeforeDriverOkIsFoundOnTheFirstPass) {
  ASSERT_TRUE(driver_->Negotiate(kBase));
  DriverQueue receive(&heap_, 16);
  DriverQueue transmit(&heap_, 16);
  ASSERT_TRUE(driver_->SetUpQueue(0, receive.layout()));
  ASSERT_TRUE(driver_->SetUpQueue(1, transmit.layout()));
  transmit.AddReadable("early");
  ASSERT_TRUE(driver_->DriverOk());
  Turn();
  EXPECT_EQ(HostRead(0), "early");
}

TEST_F(VirtioConsoleTest, WithoutMultiportPortZeroIsOpenFromDriverOk) {
  Bind(kBase);
  EXPECT_TRUE(console_->IsPortOpen(0));
  Transmit(0).AddReadable("plain");
  driver_->Notify(1);
  Receive(0).AddWritable(16);
  driver_->Notify(0);
  HostWrite(0, "input");
  Turn();
  EXPECT_EQ(HostRead(0), "plain");
  EXPECT_EQ(GuestRead(0), "input");
}

TEST_F(VirtioConsoleTest, ADriverThatSetsUpNoQueueIsSurvived) {
  ASSERT_TRUE(driver_->Negotiate(kMultiport));
  ASSERT_TRUE(driver_->DriverOk());
  for (uint32_t i = 0; i < 6; ++i) driver_->Notify(i);
  HostWrite(0, "x");
  Turn();
  EXPECT_EQ(driver_->status(), 0xfu);
}

TEST_F(VirtioConsoleTest, T9_SetSizeChangesConfigGenerationAndTellsConsolePorts) {
  BindAndOpen();
  const uint32_t generation = driver_->Read(mmio::kConfigGeneration);
  console_->SetSize(132, 50);
  EXPECT_NE(driver_->Read(mmio::kConfigGeneration), generation);
  EXPECT_EQ(driver_->Read(mmio::kConfig), (50u << 16) | 132u);
  EXPECT_NE(driver_->Read(mmio::kInterruptStatus) & kInterruptConfigChanged, 0u);
  const std::vector<ControlMessage> messages = TakeControl();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].header.event, kConsoleResize);
  EXPECT_EQ(messages[0].payload, std::string("\x84\x00\x32\x00", 4));
}

TEST_F(VirtioConsoleTest, EventIdxWorksEndToEnd) {
  Bind(kMultiport | kVirtioFeatureEventIdx);
  SendControl(0, kConsoleDeviceReady, 1);
  SendControl(0, kConsolePortReady, 1);
  SendControl(0, kConsolePortOpen, 1);
  std::string got;
  for (int i = 0; i < 300; ++i) {
    const bool needed = (Transmit(0).AddReadable("0123456789"), Transmit(0).NeedsKick());
    if (needed) driver_->Notify(TransmitQueueOf(0));
    Turn(2);
    ASSERT_TRUE(Transmit(0).TakeUsed().has_value()) << i;
    got += HostRead(0);
  }
  EXPECT_EQ(got.size(), 3000u);
}

TEST_F(VirtioConsoleTest, P1_WhilePausedGuestMemoryIsLeftAloneAndResumeCatchesUp) {
  BindAndOpen();
  Receive(kAgent).AddWritable(64);
  driver_->Notify(ReceiveQueueOf(kAgent));
  Turn();
  console_->RequestPause();
  EXPECT_TRUE(console_->IsParked());
  Transmit(kAgent).AddReadable("later");
  driver_->Notify(TransmitQueueOf(kAgent));
  HostWrite(kAgent, "also later");
  Turn();
  EXPECT_EQ(HostRead(kAgent), "");
  EXPECT_EQ(GuestRead(kAgent), "");
  console_->Resume();
  EXPECT_FALSE(console_->IsParked());
  Turn();
  EXPECT_EQ(HostRead(kAgent), "later");
  EXPECT_EQ(GuestRead(kAgent), "also later");
}

TEST_F(VirtioConsoleTest, DumpStateNamesPortsAndCounts) {
  BindAndOpen();
  Transmit(kAgent).AddReadable("12345");
  driver_->Notify(TransmitQueueOf(kAgent));
  Turn();
  const nlohmann::json state = nlohmann::json::parse(transport_->DumpState());
  EXPECT_EQ(state["device"]["ports"][1]["name"], "stasis.agent");
  EXPECT_EQ(state["device"]["ports"][1]["bytes_to_host"], 5);
  EXPECT_EQ(state["device"]["ports"][1]["guest_open"], true);
  EXPECT_EQ(state["queues"][TransmitQueueOf(kAgent)]["notifications"], 1);
}

// Resets from a vCPU thread while the loop moves bytes: for the thread sanitizer, and for a reset
// that takes the queues from under the loop.
TEST_F(VirtioConsoleTest, ResetsFromAnotherThreadWhileTheLoopWorks) {
  std::string got;
  ASSERT_TRUE(loop_->Add(host_fds_[0], EPOLLIN, [&](uint32_t) { got += HostRead(0); }).ok());
  std::thread vcpu([&] {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::unique_ptr<DriverQueue>> queues;
      EXPECT_TRUE(driver_->Negotiate(kBase));
      for (uint32_t i = 0; i < 2; ++i) {
        queues.push_back(std::make_unique<DriverQueue>(&heap_, 16));
        EXPECT_TRUE(driver_->SetUpQueue(i, queues[i]->layout()));
      }
      EXPECT_TRUE(driver_->DriverOk());
      for (int i = 0; i < 8; ++i) queues[1]->AddReadable("x");
      queues[0]->AddWritable(16);
      driver_->Notify(1);
      driver_->Notify(0);
      while (round % 2 == 0 && queues[1]->used_index() < 8) std::this_thread::yield();
    }
    driver_->Reset();
    loop_->Stop();
  });
  loop_->Run();
  vcpu.join();
  got += HostRead(0);
  EXPECT_GE(got.size(), 25u * 8);
}

TEST(ConsolePortTest, OneHugeBufferIsMovedInBoundedPasses) {
  constexpr uint32_t kPiece = 1 << 20;
  constexpr uint64_t kTotal = uint64_t{8} * kPiece;
  auto loop = *EventLoop::Create();
  auto memory = *GuestMemory::Create({{.base = GuestAddress(0), .size = 4 << 20}});
  DriverHeap heap(memory.get(), GuestAddress(0x1000));
  DriverQueue driver(&heap, 16);
  FakeInterruptLine line;
  auto signals = std::make_shared<DriverSignals>("test", &line);
  auto queue = std::make_shared<Virtqueue>(memory.get(), driver.layout(), 0, "queue 1", signals,
                                           std::make_shared<QueueCounters>());
  const int null_fd = open("/dev/null", O_WRONLY | O_NONBLOCK);
  ASSERT_GE(null_fd, 0);
  {
    ConsolePort port(
        {.output_fd = null_fd}, loop.get(), [] {}, [] {});
    port.Start({}, {.queue = queue});
    driver.Add(std::vector<DriverBuffer>(8, {GuestAddress(0x100000), kPiece, false}));
    for (uint64_t moved = ConsolePort::kByteBudget; moved < kTotal;
         moved += ConsolePort::kByteBudget) {
      ASSERT_TRUE(port.PumpOutput());
      ASSERT_EQ(port.counters().bytes_to_host, moved);
    }
    EXPECT_FALSE(driver.TakeUsed().has_value());
    port.PumpOutput();
    EXPECT_FALSE(port.PumpOutput());
    EXPECT_EQ(port.counters().bytes_to_host, kTotal);
    EXPECT_TRUE(driver.TakeUsed().has_value());
    port.Stop();
  }
  close(null_fd);
}

TEST(VirtioConsoleCreateTest, BadOptionsAreRefusedByName) {
  auto loop = *EventLoop::Create();
  EXPECT_FALSE(VirtioConsole::Create({}, loop.get()).ok());
  VirtioConsole::Options twice;
  twice.ports = {{.name = "a"}, {.name = "a"}};
  EXPECT_NE(VirtioConsole::Create(twice, loop.get()).status().message().find("'a'"),
            absl::string_view::npos);
  VirtioConsole::Options closed;
  closed.ports = {{.name = "a", .input_fd = 12345}};
  EXPECT_FALSE(VirtioConsole::Create(closed, loop.get()).ok());
}

}  // namespace
}  // namespace stasis
