#include "tools/harness/incident.h"

#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "vmm/dump/machine_dump.h"

namespace stasis {
namespace {

using nlohmann::json;

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::ToUnixNanos(absl::TimeFromTimespec(now));
}

// The machine stands still for as long as one lives.
class Frozen {
 public:
  explicit Frozen(Machine* machine)
      : machine_(machine), snapshot_(machine->Snapshot(machine->Freeze())) {}
  ~Frozen() { machine_->Thaw(); }
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;

  const MachineSnapshot& snapshot() const { return snapshot_; }

 private:
  Machine* const machine_;
  const MachineSnapshot snapshot_;
};

}  // namespace

std::string DescribeDump(const DumpRecord& record) {
  if (record.path.empty()) return absl::StrCat("no dump  ", OneLine(record.error));
  return absl::StrFormat("dump      %s (%s, %d MiB%s)", record.path, record.trigger,
                         record.memory_bytes >> 20, record.complete ? "" : ", incomplete");
}

void IncidentRecorder::Note(std::string what) {
  if (timeline_.size() >= kMostEvents) timeline_.erase(timeline_.begin());
  timeline_.push_back({{"at_monotonic_ns", MonotonicNs()}, {"what", OneLine(what)}});
}

json IncidentRecorder::TriggerJson(const DumpTrigger& trigger) const {
  return {{"kind", trigger.kind},
          {"source", trigger.source},
          {"message", OneLine(trigger.message)},
          {"vcpu", trigger.vcpu}};
}

void IncidentRecorder::TakeEarly(const DumpTrigger& trigger) {
  Note(absl::StrCat("early snapshot: ", trigger.message));
  const int64_t triggered = MonotonicNs();
  const Frozen frozen(machine_);
  Early early{.object = dump::SnapshotJson(frozen.snapshot()), .vcpus = frozen.snapshot().vcpus};
  early.object["trigger"] = TriggerJson(trigger);
  early.object["times"]["trigger_monotonic_ns"] = triggered;
  if (context_.scheduler_view) {
    early.object["scheduler"] = context_.scheduler_view(machine_->memory(), frozen.snapshot());
  }
  early_ = std::move(early);
}

std::vector<VcpuSnapshot> IncidentRecorder::Look() {
  const Frozen frozen(machine_);
  return frozen.snapshot().vcpus;
}

std::string IncidentRecorder::CompareWithEarly() {
  if (!early_.has_value()) return "";
  return DescribeSpinning(early_->vcpus, Look());
}

const DumpRecord& IncidentRecorder::Dump(const DumpTrigger& trigger,
                                         const std::optional<Finding>& verdict) {
  Note(absl::StrCat("dump: ", trigger.kind, ": ", trigger.message));
  const int64_t triggered = MonotonicNs();
  const Frozen frozen(machine_);

  dump::MachineDumpRequest request;
  request.file.directory = settings_.directory;
  request.file.name = absl::StrCat("stasis-", dump::UtcStamp(), "-", getpid(), "-", trigger.kind);
  if (context_.vmcoreinfo) request.vmcoreinfo = context_.vmcoreinfo();
  if (context_.more) request.more = context_.more();
  json& more = request.more;
  json trigger_json = TriggerJson(trigger);
  if (more.contains("phase")) trigger_json["phase"] = more["phase"];
  more.erase("phase");
  more["trigger"] = std::move(trigger_json);
  more["times"]["trigger_monotonic_ns"] = triggered;
  more["timeline"] = timeline_;
  if (verdict.has_value()) {
    more["verdict"] = {{"verdict", std::string(VerdictName(verdict->verdict))},
                       {"layer", std::string(LayerName(verdict->layer))},
                       {"message", OneLine(verdict->what)}};
  }
  if (early_.has_value()) more["early"] = early_->object;
  if (context_.scheduler_view) {
    more["scheduler"] = context_.scheduler_view(machine_->memory(), frozen.snapshot());
  }

  absl::StatusOr<dump::VmcoreResult> result =
      dump::WriteMachineDump(*machine_, frozen.snapshot(), request);
  DumpRecord record{.trigger = trigger.kind};
  if (result.ok()) {
    std::error_code ignored;
    record.path = std::filesystem::absolute(result->path, ignored).lexically_normal().string();
    record.memory_bytes = result->memory_bytes;
    for (const std::string& path : result->leftovers) {
      Note(absl::StrCat("removed ", path, ", left by a writer that was killed"));
    }
    record.complete = result->cut.empty() && frozen.snapshot().freeze.complete();
  } else {
    record.error = std::string(result.status().message());
  }
  dumps_.push_back(std::move(record));
  return dumps_.back();
}

}  // namespace stasis
