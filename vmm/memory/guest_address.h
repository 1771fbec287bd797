// GuestAddress: a guest-physical address (GPA), distinct from host pointers and plain offsets.
#ifndef STASIS_VMM_MEMORY_GUEST_ADDRESS_H_
#define STASIS_VMM_MEMORY_GUEST_ADDRESS_H_

#include <compare>
#include <cstdint>

namespace stasis {

class GuestAddress {
 public:
  constexpr GuestAddress() = default;
  constexpr explicit GuestAddress(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }

  // Wraps modulo 2^64, as guest arithmetic does; GuestMemory checks every range for overflow.
  constexpr GuestAddress operator+(uint64_t offset) const { return GuestAddress(value_ + offset); }
  constexpr uint64_t operator-(GuestAddress other) const { return value_ - other.value_; }
  constexpr auto operator<=>(const GuestAddress&) const = default;

 private:
  uint64_t value_ = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_MEMORY_GUEST_ADDRESS_H_
