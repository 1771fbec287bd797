#include "vmm/dump/machine_dump.h"

#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "vmm/dump/format.h"

namespace stasis::dump {
namespace {

using nlohmann::json;

std::string Hex(uint64_t value) { return absl::StrFormat("0x%x", value); }

int64_t MonotonicNs(absl::Time at) { return absl::ToUnixNanos(at); }

const char* KindName(ParticipantKind kind) {
  return kind == ParticipantKind::kVcpu ? "vcpu" : "device";
}

json Unavailable(absl::string_view why) { return {{"unavailable", std::string(why)}}; }

// What the host says of the thread's running and waiting; nothing without schedstats.
void AddSchedule(pid_t thread_id, json& vcpu) {
  std::ifstream file(absl::StrCat("/proc/self/task/", thread_id, "/schedstat"));
  uint64_t ran = 0;
  uint64_t waited = 0;
  if (file >> ran >> waited) {
    vcpu["run_ns"] = ran;
    vcpu["run_delay_ns"] = waited;
  }
}

json VcpuJson(const VcpuSnapshot& snapshot) {
  json vcpu = {{"index", snapshot.index},
               {"id", snapshot.id},
               {"thread_id", snapshot.stats.thread_id},
               {"parked", snapshot.parked},
               {"last_exit", snapshot.last_exit},
               {"exits", snapshot.stats.exits},
               {"mmio_exits", snapshot.stats.mmio_exits},
               {"port_exits", snapshot.stats.port_exits}};
  AddSchedule(snapshot.stats.thread_id, vcpu);
  if (snapshot.unavailable.empty()) {
    vcpu.update(json::parse(snapshot.registers_json));
  } else {
    for (const char* key : {"regs", "sregs", "debugregs", "fpu", "xsave_base64", "xcrs", "msrs",
                            "lapic_base64", "events", "mp_state"}) {
      vcpu[key] = Unavailable(snapshot.unavailable);
    }
  }
  return vcpu;
}

json DeviceJson(const DeviceSnapshot& snapshot) {
  json device = {{"name", snapshot.name},
                 {"bus", snapshot.is_port ? "port" : "mmio"},
                 {"base", Hex(snapshot.base)},
                 {"size", Hex(snapshot.size)}};
  if (snapshot.gsi.has_value()) device["gsi"] = *snapshot.gsi;
  json state = json::parse(snapshot.state_json, nullptr, /*allow_exceptions=*/false);
  device["state"] =
      state.is_discarded() ? Unavailable("the model's state is no JSON") : std::move(state);
  return device;
}

json FreezeJson(const MachineSnapshot& snapshot) {
  const FreezeReport& report = snapshot.freeze;
  json participants = json::array();
  for (const FreezeAttendance& attendance : report.participants) {
    participants.push_back({{"name", attendance.name},
                            {"kind", KindName(attendance.kind)},
                            {"parked", attendance.parked},
                            {"captured", attendance.captured},
                            {"latency_ns", absl::ToInt64Nanoseconds(attendance.latency)}});
  }
  json absentees = json::array();
  for (const FreezeAbsentee& absentee : report.absentees) {
    absentees.push_back({{"name", absentee.name},
                         {"kind", KindName(absentee.kind)},
                         {"thread_id", absentee.thread_id},
                         {"last_exit", absentee.last_exit},
                         {"kernel_stack", absentee.kernel_stack}});
  }
  const FreezeLatencies& all = snapshot.latencies;
  return {{"number", report.number},
          {"latency_ns", absl::ToInt64Nanoseconds(report.latency)},
          {"capture_latency_ns", absl::ToInt64Nanoseconds(report.capture_latency)},
          {"deadline_ns", absl::ToInt64Nanoseconds(report.deadline)},
          {"latencies",
           {{"count", all.count},
            {"min_ns", absl::ToInt64Nanoseconds(all.min)},
            {"p50_ns", absl::ToInt64Nanoseconds(all.p50)},
            {"p99_ns", absl::ToInt64Nanoseconds(all.p99)},
            {"max_ns", absl::ToInt64Nanoseconds(all.max)}}},
          {"participants", std::move(participants)},
          {"absentees", std::move(absentees)}};
}

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

// The module behind /dev/kvm; built-in ones show in /sys/module as well.
std::string KvmFlavour() {
  for (const char* name : {"kvm_intel", "kvm_amd", "kvm_pvm"}) {
    if (access(absl::StrCat("/sys/module/", name).c_str(), F_OK) == 0) return name;
  }
  return "unknown";
}

json MachineJson(const Machine& machine) {
  const MachineConfig& config = machine.config();
  json regions = json::array();
  for (const MemoryRegion& region : machine.memory().regions()) {
    regions.push_back({{"base", Hex(region.base.value())},
                       {"size", Hex(region.size)},
                       {"numa_node", region.numa_node}});
  }
  return {{"topology", config.topology.ToString()},
          {"cpus", config.topology.cpus()},
          {"memory_bytes", machine.memory().size()},
          {"memory", std::move(regions)},
          {"discovery", std::string(DiscoveryName(config.discovery))},
          {"cmdline", machine.kernel_cmdline()},
          {"fdt_base64", absl::Base64Escape(machine.device_tree().blob())}};
}

// `more` into `object`; the sections that both sides fill in are merged.
void Merge(const json& more, json& object) {
  for (const auto& [key, value] : more.items()) {
    const bool shared = (key == "times" || key == "machine" || key == "host") && value.is_object();
    if (shared && object.contains(key)) {
      object[key].update(value);
    } else {
      object[key] = value;
    }
  }
}

}  // namespace

json SnapshotJson(const MachineSnapshot& snapshot) {
  json vcpus = json::array();
  for (const VcpuSnapshot& vcpu : snapshot.vcpus) vcpus.push_back(VcpuJson(vcpu));
  json devices = json::array();
  for (const DeviceSnapshot& device : snapshot.devices) devices.push_back(DeviceJson(device));
  json times = {{"frozen_monotonic_ns", MonotonicNs(snapshot.freeze.frozen)},
                {"frozen_before_ns", absl::ToInt64Nanoseconds(snapshot.frozen_before)}};
  if (snapshot.guest_clock_ns.has_value()) times["guest_clock_ns"] = *snapshot.guest_clock_ns;
  return {{"vcpus", std::move(vcpus)},
          {"devices", std::move(devices)},
          {"freeze", FreezeJson(snapshot)},
          {"times", std::move(times)}};
}

json HostJson() {
  utsname host = {};
  uname(&host);
  double load[3] = {};
  const int loads = getloadavg(load, 3);
  return {{"cpu_model", CpuModel()},
          {"kernel", host.release},
          {"kvm", KvmFlavour()},
          {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
          {"load", loads == 3 ? json(load) : json::array()}};
}

std::string UtcStamp() {
  return absl::FormatTime("%Y%m%dT%H%M%SZ", absl::Now(), absl::UTCTimeZone());
}

absl::StatusOr<VmcoreResult> WriteMachineDump(const Machine& machine,
                                              const MachineSnapshot& snapshot,
                                              const MachineDumpRequest& request) {
  json object = SnapshotJson(snapshot);
  object["format"] = kFormat;
  object["host"] = HostJson();
  object["machine"] = MachineJson(machine);
  object["times"]["written_utc"] =
      absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
  if (machine.first_run() != absl::InfiniteFuture()) {
    object["times"]["start_monotonic_ns"] = MonotonicNs(machine.first_run());
  }
  json incomplete = json::array();
  for (const FreezeAbsentee& absentee : snapshot.freeze.absentees) {
    incomplete.push_back(absl::StrCat(absentee.name, " did not stand still within ",
                                      absl::FormatDuration(snapshot.freeze.latency)));
  }
  for (const FreezeAttendance& attendance : snapshot.freeze.participants) {
    if (!attendance.parked || attendance.captured) continue;
    incomplete.push_back(absl::StrCat(attendance.name, " stood still, but did not tell its state within ",
                                      absl::FormatDuration(snapshot.freeze.capture_latency)));
  }

  VmcoreContent content;
  for (const VcpuSnapshot& vcpu : snapshot.vcpus) {
    content.prstatus.push_back(vcpu.prstatus);
    content.qemu.push_back(vcpu.qemu);
  }
  absl::StatusOr<VmcoreInfo> info = FindVmcoreInfo(machine.memory(), request.vmcoreinfo);
  if (info.ok()) {
    content.vmcoreinfo = info->text;
    object["vmcoreinfo"] = {{"source", info->source}, {"address", Hex(info->address.value())}};
    if (std::optional<int64_t> base = VmcoreInfoNumber(info->text, "phys_base")) {
      content.phys_base = static_cast<uint64_t>(*base);
      object["vmcoreinfo"]["phys_base"] = Hex(*content.phys_base);
    }
  } else {
    // A guest without one (a payload, a kernel before its first initcalls) is no incomplete dump.
    object["vmcoreinfo"] = Unavailable(info.status().message());
  }
  Merge(request.more, object);
  if (object.contains("incomplete_because")) {
    for (const json& line : object["incomplete_because"]) incomplete.push_back(line);
  }
  content.json = [&object, &incomplete](const std::string& cut) {
    json lines = incomplete;
    if (!cut.empty()) lines.push_back(cut);
    object["complete"] = lines.empty();
    object["incomplete_because"] = std::move(lines);
    // Text of the guest (its console) may be no UTF-8: replaced, not thrown about.
    return object.dump(-1, ' ', false, json::error_handler_t::replace);
  };
  return WriteVmcore(machine.memory(), content, request.file);
}

}  // namespace stasis::dump
