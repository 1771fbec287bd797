// ExitHandler: where a vCPU takes the accesses that leave the guest.
#ifndef STASIS_VMM_VCPU_EXIT_HANDLER_H_
#define STASIS_VMM_VCPU_EXIT_HANDLER_H_

#include <cstdint>

#include "absl/types/span.h"

namespace stasis {

// Called on vCPU threads, several at a time; each call returns within a bounded time.
class ExitHandler {
 public:
  virtual ~ExitHandler() = default;
  virtual void MmioRead(uint64_t address, absl::Span<uint8_t> data) = 0;
  virtual void MmioWrite(uint64_t address, absl::Span<const uint8_t> data) = 0;
  virtual void PortRead(uint16_t port, absl::Span<uint8_t> data) = 0;
  virtual void PortWrite(uint16_t port, absl::Span<const uint8_t> data) = 0;
  // A level interrupt's end was signalled for `vector`, with the split interrupt chip only.
  virtual void EndOfInterrupt(uint8_t vector) = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_EXIT_HANDLER_H_
