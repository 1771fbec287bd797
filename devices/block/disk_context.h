// DiskContext: what the workers of all queues of one disk share.
#ifndef STASIS_DEVICES_BLOCK_DISK_CONTEXT_H_
#define STASIS_DEVICES_BLOCK_DISK_CONTEXT_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "devices/block/backing_file.h"
#include "devices/block/block_counters.h"
#include "devices/block/engine.h"
#include "devices/block/throttle.h"

namespace stasis {

// Constant, atomic or locked in itself, so any thread. It outlives the device for a worker that had
// to be abandoned (rule R3).
struct DiskContext {
  DiskContext(std::string disk_name, const ThrottleLimits& limits, Throttle::Time now)
      : name(std::move(disk_name)), throttle(limits, now) {}

  const std::string name;
  std::string serial;  // for GET_ID
  std::shared_ptr<BackingFile> file;
  EngineKind engine = EngineKind::kSync;
  std::vector<int> cpus;  // where workers may run; empty: anywhere
  std::shared_ptr<IoFaults> faults;

  BlockCounters counters;
  Throttle throttle;
  // The cache mode now: false, and every write is durable before it completes (rule B7).
  std::atomic<bool> write_back{false};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_DISK_CONTEXT_H_
