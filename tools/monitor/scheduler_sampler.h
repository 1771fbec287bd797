// SchedulerSampler: reads runqueues and waiting tasks of a kernel that runs meanwhile.
#ifndef STASIS_TOOLS_MONITOR_SCHEDULER_SAMPLER_H_
#define STASIS_TOOLS_MONITOR_SCHEDULER_SAMPLER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/inspect/kernel.h"
#include "tools/monitor/sample.h"

namespace stasis {

// Made for being called often: where the fields are is looked up once, addresses are translated
// once per sample. What must agree is read twice; what does not is left out and counted. Whatever
// the guest makes of its memory, a sample ends: lists are bounded, pointers are checked. One thread.
class SchedulerSampler {
 public:
  // `kernel` outlives it. Error: FailedPrecondition, with the field that this kernel lacks.
  static absl::StatusOr<std::unique_ptr<SchedulerSampler>> Create(const Kernel* kernel);

  // All but `time`, `interval`, `stopped` and what the host's threads did.
  Sample Read();

  static constexpr size_t kMostTasks = 32768;  // the kernel's default for pid_max
  static constexpr size_t kMostWaiting = 1024;
  static constexpr int kMostCpus = 1024;
  static constexpr int kTries = 3;

 private:
  struct Slot {
    bool present = false;
    uint64_t offset = 0;
    uint32_t size = 0;
    int bit_offset = 0;
    int bit_size = 0;
  };
  struct RqSlots {
    Slot online, clock, nr_running, nr_switches, curr, idle, rt_throttled, scx_flags, fair_weight,
        lock;
  };
  struct TaskSlots {
    Slot on_rq, on_cpu, pid, tgid, start_time, policy, static_prio, rt_priority, cpu, cpus_ptr, comm,
        tasks_next, tasks_prev, thread_node_next, signal, cgroups, throttled, dl_throttled,
        sched_delayed, arrivals, last_queued, run_ns, weight, cfs_rq, scx_flags, scx_dsq;
  };
  struct OtherSlots {
    Slot signal_thread_head, signal_nr_threads, se_weight, se_parent, se_cfs_rq, cfs_weight,
        cfs_throttle_count, dsq_id, tick_stopped, tick_flags, exit_kind, timeout_ms;
  };

  explicit SchedulerSampler(const Kernel* kernel) : kernel_(*kernel) {}
  absl::Status Prepare();
  Slot Find(const char* type, std::initializer_list<const char*> paths) const;

  bool Read(uint64_t address, void* to, size_t length);
  std::optional<uint64_t> Load(uint64_t structure, const Slot& slot);
  uint64_t LoadOr(uint64_t structure, const Slot& slot, uint64_t otherwise) {
    return Load(structure, slot).value_or(otherwise);
  }
  std::string Comm(uint64_t task);

  void ReadCpu(int cpu, CpuSample* out);
  bool ReadTasks(Sample* sample);
  // False: what was read there is no task.
  bool Visit(uint64_t task, Sample* sample);
  void ReadWaiting(uint64_t task, Sample* sample);
  bool IsThrottled(uint64_t task);
  std::optional<double> ShareOf(uint64_t task);
  CpuSet MaskAt(uint64_t address);
  std::string CgroupOf(uint64_t task);
  std::optional<std::string> QueueOf(uint64_t task);
  void ReadScx(ScxSample* scx);

  const Kernel& kernel_;
  int cpus_ = 1;
  std::vector<uint64_t> runqueues_;
  std::vector<uint64_t> ticks_;
  uint64_t init_task_ = 0;
  RqSlots rq_;
  TaskSlots task_;
  OtherSlots other_;
  uint64_t bypass_bit_ = 0;
  uint64_t scx_queued_bit_ = 0;
  uint64_t scx_error_ = 1024;  // SCX_EXIT_ERROR
  std::optional<uint64_t> active_mask_;
  std::optional<uint64_t> scx_state_at_;
  std::map<uint64_t, std::string> scx_states_;
  std::optional<uint64_t> scx_root_at_, scx_ops_at_, scx_exit_info_at_;

  bool scx_enabled_ = false;
  ScxSample last_scx_;
  uint64_t last_scx_object_ = 0;

  // Pages translated in this sample.
  struct Translation {
    uint64_t page = ~uint64_t{0};
    uint64_t physical = 0;
  };
  static constexpr size_t kTranslations = 1024;
  std::vector<Translation> translations_ = std::vector<Translation>(kTranslations);
  // Names of cgroups by css_set, which may be used again: forgotten now and then.
  std::unordered_map<uint64_t, std::string> cgroups_;
  int samples_until_forgotten_ = 0;
  std::unordered_map<uint64_t, size_t> waiting_by_cpu_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_SCHEDULER_SAMPLER_H_
