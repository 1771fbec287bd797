// IncidentRecorder: early and late snapshots of an incident, the time line, and the dump file.
#ifndef STASIS_TOOLS_HARNESS_INCIDENT_H_
#define STASIS_TOOLS_HARNESS_INCIDENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "tools/harness/dump_trigger.h"
#include "tools/harness/verdict.h"
#include "vmm/dump/vmcoreinfo.h"
#include "vmm/machine.h"

namespace stasis {

struct DumpSettings {
  DumpWhen when = DumpWhen::kNever;
  std::string directory = "stasis-dumps";
};

// A dump that was written, or could not be.
struct DumpRecord {
  std::string trigger;  // kind
  std::string path;     // empty: see error
  std::string error;
  uint64_t memory_bytes = 0;  // on the disk
  bool complete = true;
};

// "dump      /x/y.vmcore (guest-panic, 61 MiB)": one line for people.
std::string DescribeDump(const DumpRecord& record);

// One thread: the session's loop. Freezes the machine, and thaws it when it is to go on.
class IncidentRecorder {
 public:
  // What others know at the time of a snapshot.
  struct Context {
    // `console`, `scenario`, `workers`, `symbols`, ...: members of the dump's JSON.
    std::function<nlohmann::json()> more;
    std::function<std::optional<dump::VmcoreInfoHint>()> vmcoreinfo;
    // `scheduler` of the JSON, read from the memory of a frozen guest; may be null.
    std::function<nlohmann::json(const GuestMemory& memory, const MachineSnapshot& snapshot)>
        scheduler_view;
  };

  IncidentRecorder(Machine* machine, DumpSettings settings, Context context)
      : machine_(machine), settings_(std::move(settings)), context_(std::move(context)) {}

  // A line of the time line, of which the last kMostEvents are kept.
  void Note(std::string what);

  // Trouble is suspected: freezes, keeps registers, devices and the scheduler's view, and thaws.
  void TakeEarly(const DumpTrigger& trigger);
  // It came to nothing.
  void DropEarly() { early_.reset(); }
  bool has_early() const { return early_.has_value(); }

  // Freezes and writes. The guest goes on afterwards unless it has ended.
  const DumpRecord& Dump(const DumpTrigger& trigger, const std::optional<Finding>& verdict);
  // Freezes, and says what the vCPUs were doing compared with the early snapshot.
  std::string CompareWithEarly();

  const DumpSettings& settings() const { return settings_; }
  const std::vector<DumpRecord>& dumps() const { return dumps_; }

  static constexpr size_t kMostEvents = 1000;

 private:
  // Freezes for a moment and copies the vCPUs out.
  std::vector<VcpuSnapshot> Look();
  nlohmann::json TriggerJson(const DumpTrigger& trigger) const;

  Machine* const machine_;
  const DumpSettings settings_;
  const Context context_;
  nlohmann::json timeline_ = nlohmann::json::array();
  struct Early {
    nlohmann::json object;
    std::vector<VcpuSnapshot> vcpus;
  };
  std::optional<Early> early_;
  std::vector<DumpRecord> dumps_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INCIDENT_H_
