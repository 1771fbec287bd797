// FuzzInput: a fuzzer's bytes, read as numbers. What lies behind the end reads as zero.
#ifndef STASIS_VMM_BASE_FUZZ_INPUT_H_
#define STASIS_VMM_BASE_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace stasis {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  bool empty() const { return at_ == end_; }
  uint8_t Byte() { return empty() ? 0 : *at_++; }
  // Little endian, of at most 8 bytes.
  uint64_t Number(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint64_t{Byte()} << (8 * i);
    return value;
  }
  std::string Bytes(size_t length) {
    const size_t have = std::min<size_t>(length, end_ - at_);
    std::string bytes(reinterpret_cast<const char*>(at_), have);
    at_ += have;
    return bytes;
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

}  // namespace stasis

#endif  // STASIS_VMM_BASE_FUZZ_INPUT_H_
