// BlockRequest: one chain of the driver, parsed and judged (rules B3, B4, Q3, Q4).
#ifndef STASIS_DEVICES_BLOCK_REQUEST_H_
#define STASIS_DEVICES_BLOCK_REQUEST_H_

#include <cstdint>
#include <string>

#include "devices/block/block_protocol.h"
#include "devices/block/io_transfer.h"
#include "devices/virtio/descriptor_chain.h"

namespace stasis {

// What requests are judged by.
struct BlockLimits {
  uint64_t capacity_sectors = 0;
  bool read_only = false;
  uint64_t features = 0;  // negotiated
};

struct BlockRequest {
  enum class Action {
    kIo,       // `io` is to be carried out
    kGetId,    // the identification is to be written
    kRefused,  // goes back with `status` and nothing else done
  };
  Action action = Action::kRefused;
  uint8_t status = kBlockStatusIoError;  // of a refused one
  // Nowhere to write a status to: goes back with length 0, untouched (rule Q4).
  bool no_status = false;
  const char* defect = "";  // of a refused one, for the log
  uint32_t type = 0;
  uint64_t data_bytes = 0;  // moved between guest and file
  IoRequest io;
};

// Reads the header and ranges once, into host copies (rule Q6). The chain's data is not touched.
// `io` points into the chain's guest memory.
BlockRequest ParseBlockRequest(const DescriptorChain& chain, const BlockLimits& limits);

// Writes the status byte, and for GET_ID the identification (cut or zero padded to 20 bytes)
// before it. Returns the length for the used ring: bytes written into the guest (rule B6).
uint32_t FinishBlockRequest(const DescriptorChain& chain, const BlockRequest& request,
                            uint8_t status, const std::string& serial);

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_REQUEST_H_
