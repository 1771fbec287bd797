#include "vmm/x86_64/ioapic.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

namespace stasis {
namespace {

struct Message {
  uint64_t address = 0;
  uint32_t data = 0;
  bool operator==(const Message&) const = default;
};

class FakeRouter : public MsiRouter {
 public:
  absl::Status SetRoute(uint32_t gsi, uint64_t address, uint32_t data, bool masked) override {
    ++calls;
    routes.erase(gsi);
    if (!masked) routes[gsi] = {address, data};
    return result;
  }
  absl::Status SendMessage(uint64_t address, uint32_t data) override {
    sent.push_back({address, data});
    return result;
  }

  std::map<uint32_t, Message> routes;
  std::vector<Message> sent;
  int calls = 0;
  absl::Status result;
};

constexpr uint32_t kMask = 1 << 16;
constexpr uint32_t kLevel = 1 << 15;

class IoApicTest : public ::testing::Test {
 protected:
  void Store(uint64_t offset, uint32_t value) {
    uint8_t bytes[4];
    std::memcpy(bytes, &value, 4);
    io_apic_.Write(offset, bytes);
  }
  uint32_t Load(uint64_t offset) {
    uint8_t bytes[4];
    io_apic_.Read(offset, absl::MakeSpan(bytes));
    uint32_t value = 0;
    std::memcpy(&value, bytes, 4);
    return value;
  }
  void SetRegister(uint8_t number, uint32_t value) {
    Store(0x00, number);
    Store(0x10, value);
  }
  uint32_t Register(uint8_t number) {
    Store(0x00, number);
    return Load(0x10);
  }
  // As Linux does: high half first, so that an entry is never live with a wrong destination.
  void Program(uint32_t pin, uint32_t low, uint8_t destination) {
    SetRegister(0x11 + 2 * pin, uint32_t{destination} << 24);
    SetRegister(0x10 + 2 * pin, low);
  }

  FakeRouter router_;
  IoApic io_apic_{&router_};
};

TEST_F(IoApicTest, VersionSaysTwentyFourPinsWithEoiRegister) {
  EXPECT_EQ(Register(1), 0x00170020u);
  SetRegister(1, 0);
  EXPECT_EQ(Register(1), 0x00170020u);
  SetRegister(0, 0x0f000000);
  EXPECT_EQ(Register(0), 0x0f000000u);
  EXPECT_EQ(Load(0x00), 0u);  // what was selected last
}

TEST_F(IoApicTest, EntriesStartMaskedWithoutRoute) {
  for (uint32_t pin = 0; pin < 24; ++pin) EXPECT_EQ(Register(0x10 + 2 * pin), kMask);
  EXPECT_EQ(router_.calls, 0);
  EXPECT_EQ(Register(0x40), 0u);  // behind the last entry
}

TEST_F(IoApicTest, UnmaskedEntryBecomesARouteAndMaskingTakesItBack) {
  Program(16, 0x31, 5);
  ASSERT_EQ(router_.routes.count(16), 1u);
  EXPECT_EQ(router_.routes[16], (Message{0xfee05000, 0x31}));
  SetRegister(0x10 + 32, 0x31 | kMask);
  EXPECT_TRUE(router_.routes.empty());
}

TEST_F(IoApicTest, ModesGoIntoTheMessage) {
  Program(3, 0x44 | 1 << 8 | 1 << 11, 0xff);  // lowest priority, logical, all
  EXPECT_EQ(router_.routes[3], (Message{0xfeeff004, 0x144}));
  Program(4, 0x45 | kLevel, 1);
  EXPECT_EQ(router_.routes[4], (Message{0xfee01000, 0xc045}));
}

TEST_F(IoApicTest, WritingTheSameValueAsksKvmNothing) {
  Program(16, 0x31, 5);
  const int calls = router_.calls;
  SetRegister(0x10 + 32, 0x31);
  EXPECT_EQ(router_.calls, calls);
}

TEST_F(IoApicTest, EdgeSendsOncePerRiseAndNothingWhileMasked) {
  Program(7, 0x50, 0);
  io_apic_.SetLine(7, true);
  io_apic_.SetLine(7, true);
  EXPECT_EQ(router_.sent.size(), 1u);
  io_apic_.SetLine(7, false);
  io_apic_.SetLine(7, true);
  EXPECT_EQ(router_.sent.size(), 2u);
  io_apic_.SetLine(7, false);
  Program(7, 0x50 | kMask, 0);
  io_apic_.SetLine(7, true);
  EXPECT_EQ(router_.sent.size(), 2u);
}

TEST_F(IoApicTest, LevelWaitsForEndOfInterruptAndSendsAgainWhileHigh) {
  Program(9, 0x60 | kLevel, 2);
  io_apic_.SetLine(9, true);
  io_apic_.SetLine(9, true);
  ASSERT_EQ(router_.sent.size(), 1u);
  EXPECT_EQ(router_.sent[0], (Message{0xfee02000, 0xc060}));
  EXPECT_TRUE(Register(0x10 + 18) & 1 << 14);  // remote IRR
  io_apic_.EndOfInterrupt(0x61);               // another vector
  EXPECT_EQ(router_.sent.size(), 1u);
  io_apic_.EndOfInterrupt(0x60);
  EXPECT_EQ(router_.sent.size(), 2u);
  io_apic_.SetLine(9, false);
  io_apic_.EndOfInterrupt(0x60);
  EXPECT_EQ(router_.sent.size(), 2u);
  EXPECT_FALSE(Register(0x10 + 18) & 1 << 14);
}

TEST_F(IoApicTest, LevelThatRoseWhileMaskedIsSentOnUnmask) {
  Program(9, 0x60 | kLevel | kMask, 2);
  io_apic_.SetLine(9, true);
  EXPECT_TRUE(router_.sent.empty());
  Program(9, 0x60 | kLevel, 2);
  EXPECT_EQ(router_.sent.size(), 1u);
}

TEST_F(IoApicTest, EoiRegisterAnswersLikeTheBroadcast) {
  Program(9, 0x60 | kLevel, 2);
  io_apic_.SetLine(9, true);
  Store(0x40, 0x60);
  EXPECT_EQ(router_.sent.size(), 2u);
}

TEST_F(IoApicTest, RemoteIrrIsReadOnlyButGoesWithTheLevelTrigger) {
  Program(9, 0x60 | kLevel, 2);
  io_apic_.SetLine(9, true);
  SetRegister(0x10 + 18, 0x60 | kLevel);  // the guest writes it as 0
  EXPECT_TRUE(Register(0x10 + 18) & 1 << 14);
  io_apic_.SetLine(9, false);
  SetRegister(0x10 + 18, 0x60 | kMask);
  EXPECT_FALSE(Register(0x10 + 18) & 1 << 14);
  Program(5, 0x61 | 1 << 14 | 1 << 12, 0);  // both read-only bits
  EXPECT_EQ(Register(0x10 + 10), 0x61u);
}

TEST_F(IoApicTest, OddAccessesAreHarmless) {
  uint8_t wide[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  io_apic_.Write(0x10, wide);
  io_apic_.Read(0x10, absl::MakeSpan(wide));
  EXPECT_EQ(wide[0], 0);
  SetRegister(0xff, 0xffffffff);
  SetRegister(0x40, 0xffffffff);
  io_apic_.SetLine(24, true);
  io_apic_.SetLine(~0u, true);
  EXPECT_EQ(router_.calls, 0);
  EXPECT_TRUE(router_.sent.empty());
}

TEST_F(IoApicTest, RouterErrorsAreCountedInTheDump) {
  router_.result = absl::InternalError("no");
  Program(16, 0x31, 5);
  EXPECT_NE(io_apic_.DumpState().find("\"route_errors\":1"), std::string::npos)
      << io_apic_.DumpState();
}

}  // namespace
}  // namespace stasis
