// The messages between host and guest agent.
//
// Agent to host: Hello once per transport, then Topology, Symbols, and Heartbeat every second for
// good. The answer to RunScenario is Progress, WorkerSamples and, after each step, StepDone while it
// runs, then Result, or Error{layer}; SchedulerOutput may come at any time of it. The answer to Exec
// is ExecOutput and then one ExecExit; Shell is answered by one
// ExecExit with the same id.
// Host to agent: see HostMessage. Ping is answered by a Heartbeat at once.
#ifndef STASIS_GUEST_WIRE_MESSAGES_H_
#define STASIS_GUEST_WIRE_MESSAGES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "guest/json/fields.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"

namespace stasis::wire {

// Raised by every change that an older peer would misunderstand.
inline constexpr uint32_t kProtocolVersion = 3;

// The name of the agent's virtio-console port.
inline constexpr char kPortName[] = "stasis.agent";

// Kernel command line words that the agent obeys.
inline constexpr char kEndWord[] = "stasis.end";  // =poweroff|reboot: how Shutdown{kEnd} leaves

// ---- agent to host ----

struct VmcoreInfo {
  uint64_t address = 0;  // physical address of the note
  uint64_t size = 0;     // bytes

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("address", self.address);
    v("size", self.size);
  }
};

// First message on a transport; sent before anything slow is done.
struct Hello {
  static constexpr char kType[] = "hello";
  uint32_t protocol = kProtocolVersion;
  std::string kernel_release;  // uname -r
  std::string kernel_version;  // uname -v
  std::string machine;         // uname -m
  uint32_t cpus_online = 0;
  uint32_t cpus_possible = 0;
  std::optional<VmcoreInfo> vmcoreinfo;  // absent when the kernel has none
  std::string cmdline;
  uint64_t uptime_ns = 0;                       // CLOCK_BOOTTIME
  std::string transport;                        // "virtio" or "serial"
  bool has_shell = false;                       // /bin/sh is there
  std::vector<std::string> cgroup_controllers;  // of the root; empty without cgroup v2

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("protocol", self.protocol);
    v("kernel_release", self.kernel_release);
    v("kernel_version", self.kernel_version);
    v("machine", self.machine);
    v("cpus_online", self.cpus_online);
    v("cpus_possible", self.cpus_possible);
    v("vmcoreinfo", self.vmcoreinfo);
    v("cmdline", self.cmdline);
    v("uptime_ns", self.uptime_ns);
    v("transport", self.transport);
    v.Optional("has_shell", self.has_shell);
    v.Optional("cgroup_controllers", self.cgroup_controllers);
  }
};

// Kernel addresses from /proc/kallsyms (a scan that takes a while, hence not in Hello). Names that
// the kernel lacks are absent; wanted are _text, _stext, init_task, swapper_pg_dir (or
// init_top_pgt), runqueues, __per_cpu_offset, phys_base, linux_banner, vmcoreinfo_data and a few
// scx_*.
struct Symbols {
  static constexpr char kType[] = "symbols";
  std::map<std::string, uint64_t> address;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("address", self.address);
  }
};

struct CacheFacts {
  uint32_t level = 0;
  std::string type;   // "Data", "Instruction", "Unified"
  uint64_t size = 0;  // bytes
  CpuSet shared;      // shared_cpu_list

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("level", self.level);
    v("type", self.type);
    v("size", self.size);
    v("shared", self.shared);
  }
};

// What sysfs says about one CPU; -1 where the kernel says nothing.
struct CpuFacts {
  uint32_t cpu = 0;
  int package = -1;  // physical_package_id
  int die = -1;
  int core = -1;  // core_id: unique in its package only
  int node = -1;
  CpuSet threads;  // of its core (thread_siblings_list)
  CpuSet package_cpus;
  std::vector<CacheFacts> caches;  // by sysfs index: the last one is the LLC

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("cpu", self.cpu);
    v("package", self.package);
    v("die", self.die);
    v("core", self.core);
    v("node", self.node);
    v("threads", self.threads);
    v("package_cpus", self.package_cpus);
    v("caches", self.caches);
  }
};

struct NodeFacts {
  uint32_t node = 0;
  CpuSet cpus;
  std::vector<uint32_t> distance;  // to each node that is there, in order
  uint64_t memory_bytes = 0;       // MemTotal

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("node", self.node);
    v("cpus", self.cpus);
    v("distance", self.distance);
    v("memory_bytes", self.memory_bytes);
  }
};

struct Topology {
  static constexpr char kType[] = "topology";
  CpuSet online;
  std::vector<CpuFacts> cpus;    // online ones
  std::vector<NodeFacts> nodes;  // empty without CONFIG_NUMA
  uint64_t memory_bytes = 0;     // /proc/meminfo MemTotal
  std::string clocksource;
  std::string cpu_vendor;
  std::string cpu_model;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("online", self.online);
    v("cpus", self.cpus);
    v("nodes", self.nodes);
    v("memory_bytes", self.memory_bytes);
    v("clocksource", self.clocksource);
    v("cpu_vendor", self.cpu_vendor);
    v("cpu_model", self.cpu_model);
  }
};

struct Heartbeat {
  static constexpr char kType[] = "heartbeat";
  uint64_t seq = 0;
  uint64_t uptime_ns = 0;  // CLOCK_BOOTTIME

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("seq", self.seq);
    v("uptime_ns", self.uptime_ns);
  }
};

struct Log {
  static constexpr char kType[] = "log";
  std::string level;  // "info", "warning"
  std::string text;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("level", self.level);
    v("text", self.text);
  }
};

struct Progress {
  static constexpr char kType[] = "progress";
  std::string what;  // "cgroups", "workers", "running"
  uint64_t elapsed_ns = 0;
  uint64_t total_ns = 0;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("what", self.what);
    v("elapsed_ns", self.elapsed_ns);
    v("total_ns", self.total_ns);
  }
};

// One worker's state at the time of a sample; the rest is in Result.
struct WorkerSample {
  uint32_t index = 0;
  uint64_t iterations = 0;
  uint64_t run_ns = 0;
  uint64_t max_gap_ns = 0;
  uint64_t current_gap_ns = 0;  // runnable without running since then; 0 if just seen
  uint32_t cpu = 0;             // where it was last seen

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("index", self.index);
    v("iterations", self.iterations);
    v("run_ns", self.run_ns);
    v("max_gap_ns", self.max_gap_ns);
    v("current_gap_ns", self.current_gap_ns);
    v("cpu", self.cpu);
  }
};

struct WorkerSamples {
  static constexpr char kType[] = "worker_samples";
  uint64_t time_ns = 0;  // CLOCK_MONOTONIC
  std::vector<WorkerSample> samples;
  std::string scheduler;  // of a scenario that names one: state and ops, as "enabled simple"

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("time_ns", self.time_ns);
    v("samples", self.samples);
    v.Optional("scheduler", self.scheduler);
  }
};

// What the program of the scenario's scheduler printed; the beginning as it comes, the end when that
// program ended, if there was more than should be sent.
struct SchedulerOutput {
  static constexpr char kType[] = "scheduler_output";
  uint32_t stream = 1;   // 1 stdout, 2 stderr
  uint64_t omitted = 0;  // bytes left out before these
  fields::Bytes data;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("stream", self.stream);
    v("omitted", self.omitted);
    v("data", self.data);
  }
};

// A step of the scenario was carried out, or failed (then an Error follows).
struct StepDone {
  static constexpr char kType[] = "step_done";
  StepMeasurement step;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("step", self.step);
  }
};

struct Result {
  static constexpr char kType[] = "result";
  Measurements measurements;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("measurements", self.measurements);
  }
};

struct ExecOutput {
  static constexpr char kType[] = "exec_output";
  uint32_t id = 0;
  uint32_t stream = 1;  // 1 stdout, 2 stderr
  fields::Bytes data;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v("stream", self.stream);
    v("data", self.data);
  }
};

// The command is over and all of its output was sent. `error` is set when it could not be started.
struct ExecExit {
  static constexpr char kType[] = "exec_exit";
  uint32_t id = 0;
  int code = 0;    // exit code, 127 when not found, 126 when not executable
  int signal = 0;  // nonzero: killed by it
  std::string error;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v("code", self.code);
    v("signal", self.signal);
    v("error", self.error);
  }
};

enum class ErrorKind {
  kFailed,          // verdict: error
  kMissingFeature,  // the kernel or machine lacks what the scenario needs; verdict: inconclusive
  kTooLate,         // the tested scheduler did not let somebody run in time; verdict: fail
};
absl::Span<const fields::EnumName<ErrorKind>> EnumNames(ErrorKind);

struct Error {
  static constexpr char kType[] = "error";
  std::string layer;  // "agent", "scheduler load", "workload"
  ErrorKind kind = ErrorKind::kFailed;
  std::string text;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("layer", self.layer);
    v("kind", self.kind);
    v("text", self.text);
  }
};

// The last message: the VM ends next.
struct Goodbye {
  static constexpr char kType[] = "goodbye";
  std::string how;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("how", self.how);
  }
};

// ---- host to agent ----

struct RunScenario {
  static constexpr char kType[] = "run_scenario";
  Scenario scenario;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("scenario", self.scenario);
  }
};

struct Exec {
  static constexpr char kType[] = "exec";
  uint32_t id = 0;                         // chosen by the host, returned in the answers
  std::vector<std::string> argv;           // either this
  std::string shell;                       // or a command for /bin/sh -c
  std::map<std::string, std::string> env;  // added to PATH, HOME, TERM
  std::string cwd;
  bool tty = false;  // on /dev/hvc0 instead of pipes: no ExecOutput, no ExecInput

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v.Optional("argv", self.argv);
    v.Optional("shell", self.shell);
    v.Optional("env", self.env);
    v.Optional("cwd", self.cwd);
    v.Optional("tty", self.tty);
  }
};

// Until eof, the command's standard input stays open.
struct ExecInput {
  static constexpr char kType[] = "exec_input";
  uint32_t id = 0;
  fields::Bytes data;
  bool eof = false;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v("data", self.data);
    v("eof", self.eof);
  }
};

// To the command's whole process group.
struct ExecSignal {
  static constexpr char kType[] = "exec_signal";
  uint32_t id = 0;
  int signal = 0;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v("signal", self.signal);
  }
};

// An interactive shell on /dev/hvc0, whose window size the console device knows.
struct Shell {
  static constexpr char kType[] = "shell";
  uint32_t id = 0;
  std::string term;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("id", self.id);
    v.Optional("term", self.term);
  }
};

enum class ShutdownHow {
  kEnd,       // by the stasis.end word of the kernel's command line; poweroff without it
  kPoweroff,  // RB_POWER_OFF
  kReboot,    // RB_AUTOBOOT
  kPanic,     // for tests: the kernel panics
};
absl::Span<const fields::EnumName<ShutdownHow>> EnumNames(ShutdownHow);

struct Shutdown {
  static constexpr char kType[] = "shutdown";
  ShutdownHow how = ShutdownHow::kEnd;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("how", self.how);
  }
};

struct Ping {
  static constexpr char kType[] = "ping";

  template <typename V, typename Self>
  static void VisitFields(V&, Self&) {}
};

using AgentMessage = std::variant<Hello, Symbols, Topology, Heartbeat, Log, Progress, WorkerSamples,
                                  StepDone, SchedulerOutput, Result, ExecOutput, ExecExit, Error,
                                  Goodbye>;
using HostMessage = std::variant<RunScenario, Exec, ExecInput, ExecSignal, Shell, Shutdown, Ping>;

// The message as one frame, ready for the wire (newline included).
std::string EncodeLine(const AgentMessage& message);
std::string EncodeLine(const HostMessage& message);

// From a frame's payload. Errors: InvalidArgument (no JSON, unknown type, which field is wrong);
// a Hello of another protocol version is FailedPrecondition, naming both versions.
absl::StatusOr<AgentMessage> ParseAgentMessage(absl::string_view json);
absl::StatusOr<HostMessage> ParseHostMessage(absl::string_view json);

}  // namespace stasis::wire

#endif  // STASIS_GUEST_WIRE_MESSAGES_H_
