#include "vmm/x86_64/ioapic.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Memory-mapped registers (82093AA data sheet §3.1; EOI since version 0x20).
constexpr uint64_t kSelectOffset = 0x00;
constexpr uint64_t kWindowOffset = 0x10;
constexpr uint64_t kEoiOffset = 0x40;

// Registers behind the window (§3.2).
constexpr uint8_t kIdRegister = 0x00;
constexpr uint8_t kVersionRegister = 0x01;
constexpr uint8_t kArbitrationRegister = 0x02;
constexpr uint8_t kFirstEntryRegister = 0x10;
constexpr uint32_t kVersion = 0x20 | (kIoApicPins - 1) << 16;

// Redirection table entry (§3.2.4).
constexpr uint64_t kVectorMask = 0xff;
constexpr int kDeliveryModeShift = 8;
constexpr uint64_t kLogicalDestination = 1 << 11;
constexpr uint64_t kDeliveryStatus = 1 << 12;
constexpr uint64_t kRemoteIrr = 1 << 14;
constexpr uint64_t kLevelTriggered = 1 << 15;
constexpr uint64_t kMasked = 1 << 16;
constexpr int kDestinationShift = 56;
constexpr uint64_t kReadOnly = kDeliveryStatus | kRemoteIrr;

// Messages to local APICs (Intel SDM volume 3, "Message Signalled Interrupts").
constexpr uint64_t kMessageAddress = 0xfee00000;
constexpr int kMessageDestinationShift = 12;
constexpr uint64_t kMessageLogical = 1 << 2;
constexpr uint32_t kMessageLevel = 1 << 15;
constexpr uint32_t kMessageAssert = 1 << 14;

uint64_t MessageAddress(uint64_t entry) {
  return kMessageAddress | (entry >> kDestinationShift) << kMessageDestinationShift |
         ((entry & kLogicalDestination) != 0 ? kMessageLogical : 0);
}

uint32_t MessageData(uint64_t entry) {
  const uint32_t mode = entry >> kDeliveryModeShift & 7;
  const uint32_t trigger = (entry & kLevelTriggered) != 0 ? kMessageLevel | kMessageAssert : 0;
  return static_cast<uint32_t>(entry & kVectorMask) | mode << 8 | trigger;
}

}  // namespace

IoApic::IoApic(MsiRouter* router) : router_(router) { entries_.fill(kMasked); }

void IoApic::Read(uint64_t offset, absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), 0);
  if (data.size() != 4) return;
  uint32_t value = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (offset == kSelectOffset) value = select_;
    if (offset == kWindowOffset) value = ReadRegister();
  }
  std::memcpy(data.data(), &value, sizeof(value));
}

void IoApic::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  if (data.size() != 4) return;
  uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof(value));
  absl::MutexLock lock(&mutex_);
  if (offset == kSelectOffset) select_ = static_cast<uint8_t>(value);
  if (offset == kWindowOffset) WriteRegister(value);
  if (offset == kEoiOffset) CompleteVector(static_cast<uint8_t>(value));
}

uint32_t IoApic::ReadRegister() const {
  switch (select_) {
    case kIdRegister:
    case kArbitrationRegister:
      return uint32_t{id_} << 24;
    case kVersionRegister:
      return kVersion;
    default:
      break;
  }
  const uint32_t half = select_ - kFirstEntryRegister;
  if (select_ < kFirstEntryRegister || half / 2 >= kIoApicPins) return 0;
  return static_cast<uint32_t>(entries_[half / 2] >> (half % 2 * 32));
}

void IoApic::WriteRegister(uint32_t value) {
  if (select_ == kIdRegister) id_ = value >> 24 & 0xf;
  const uint32_t half = select_ - kFirstEntryRegister;
  if (select_ < kFirstEntryRegister || half / 2 >= kIoApicPins) return;
  WriteEntry(half / 2, half % 2 != 0, value);
}

void IoApic::WriteEntry(uint32_t pin, bool high_half, uint32_t value) {
  const uint64_t before = entries_[pin];
  uint64_t after = high_half ? (before & 0xffffffff) | uint64_t{value} << 32
                             : (before & ~uint64_t{0xffffffff}) | value;
  after = (after & ~kReadOnly) | (before & kReadOnly);
  // An entry turned to edges forgets the answer it waited for: kernels use that as an EOI.
  if ((after & kLevelTriggered) == 0) after &= ~kRemoteIrr;
  entries_[pin] = after;
  // The mask of an unmasked entry is what a kernel changes most; nothing else asks KVM again.
  const bool same = ((before ^ after) & ~kReadOnly) == 0;
  if (!same && ((before & kMasked) == 0 || (after & kMasked) == 0)) Route(pin);
  ServeLevel(pin);
}

void IoApic::Route(uint32_t pin) {
  const uint64_t entry = entries_[pin];
  const absl::Status status =
      router_->SetRoute(pin, MessageAddress(entry), MessageData(entry), (entry & kMasked) != 0);
  if (!status.ok()) ++route_errors_;
}

void IoApic::Send(uint32_t pin) {
  const uint64_t entry = entries_[pin];
  const absl::Status status = router_->SendMessage(MessageAddress(entry), MessageData(entry));
  ++messages_;
  if (!status.ok()) ++route_errors_;
}

// Sends for a level input that is high, unmasked and not waiting for an answer.
void IoApic::ServeLevel(uint32_t pin) {
  const uint64_t entry = entries_[pin];
  const bool high = (lines_ >> pin & 1) != 0;
  if (!high || (entry & kLevelTriggered) == 0 || (entry & (kMasked | kRemoteIrr)) != 0) return;
  entries_[pin] |= kRemoteIrr;
  Send(pin);
}

void IoApic::SetLine(uint32_t pin, bool high) {
  if (pin >= kIoApicPins) return;
  absl::MutexLock lock(&mutex_);
  const uint32_t bit = 1u << pin;
  const bool rises = high && (lines_ & bit) == 0;
  lines_ = high ? lines_ | bit : lines_ & ~bit;
  const uint64_t entry = entries_[pin];
  if ((entry & kLevelTriggered) != 0) {
    ServeLevel(pin);
  } else if (rises && (entry & kMasked) == 0) {
    Send(pin);
  }
}

void IoApic::EndOfInterrupt(uint8_t vector) {
  absl::MutexLock lock(&mutex_);
  CompleteVector(vector);
}

void IoApic::CompleteVector(uint8_t vector) {
  for (uint32_t pin = 0; pin < kIoApicPins; ++pin) {
    if ((entries_[pin] & kVectorMask) != vector || (entries_[pin] & kRemoteIrr) == 0) continue;
    entries_[pin] &= ~kRemoteIrr;
    ServeLevel(pin);
  }
}

std::string IoApic::DumpState() const {
  absl::MutexLock lock(&mutex_);
  std::string entries;
  for (const uint64_t entry : entries_) {
    absl::StrAppendFormat(&entries, "%s\"%#018x\"", entries.empty() ? "" : ",", entry);
  }
  return absl::StrFormat(
      "{\"select\":%d,\"lines\":%d,\"messages\":%d,\"route_errors\":%d,\"entries\":[%s]}", select_,
      lines_, messages_, route_errors_, entries);
}

}  // namespace stasis
