#include "tools/monitor/monitor.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/monitor/live_memory.h"
#include "tools/monitor/live_view.h"

namespace stasis {
namespace {

using nlohmann::json;

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

absl::Duration ThreadCpu() {
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return absl::DurationFromTimespec(used);
}

int OpenSchedstat(pid_t thread) {
  const std::string path = thread == 0 ? "/proc/thread-self/schedstat"
                                       : absl::StrCat("/proc/self/task/", thread, "/schedstat");
  return open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

std::optional<ThreadSchedule> ReadSchedstat(int fd) {
  char text[128];
  const ssize_t length = fd < 0 ? -1 : pread(fd, text, sizeof(text), 0);
  if (length <= 0) return std::nullopt;
  return ParseSchedstat(absl::string_view(text, length));
}

int64_t Ns(absl::Duration duration) { return absl::ToInt64Nanoseconds(duration); }

}  // namespace

Monitor::Monitor(const GuestMemory* memory, MonitorSettings settings,
                 std::function<void(const MonitorEvent&)> on_event)
    : memory_(memory),
      settings_(std::move(settings)),
      on_event_(std::move(on_event)),
      detectors_(settings_.limits),
      period_(absl::Seconds(1) / settings_.hz) {}

Monitor::~Monitor() { Stop(); }

void Monitor::Start(std::optional<dump::VmcoreInfoHint> hint, std::vector<pid_t> vcpu_threads) {
  if (thread_.joinable()) return;
  for (const pid_t thread : vcpu_threads) vcpus_.push_back({OpenSchedstat(thread), std::nullopt});
  thread_ = std::thread([this, hint] { Run(hint); });
  pthread_setname_np(thread_.native_handle(), "monitor");
}

void Monitor::Pause() {
  frozen_since_ = MonotonicNow();
  freezes_.fetch_add(1, std::memory_order_acq_rel);
}

void Monitor::Resume() {
  frozen_ns_.fetch_add(Ns(MonotonicNow() - frozen_since_), std::memory_order_acq_rel);
  freezes_.fetch_add(1, std::memory_order_acq_rel);
}

void Monitor::Stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wanted_to_stop_ = true;
    wake_.notify_all();
  }
  thread_.join();
  for (VcpuThread& vcpu : vcpus_) {
    if (vcpu.schedstat >= 0) close(vcpu.schedstat);
    vcpu.schedstat = -1;
  }
}

bool Monitor::SleepUntil(absl::Time when) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!wanted_to_stop_) {
    const absl::Duration left = when - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    wake_.wait_for(lock, absl::ToChronoNanoseconds(left));
  }
  return true;
}

void Monitor::Run(std::optional<dump::VmcoreInfoHint> hint) {
  self_.schedstat = OpenSchedstat(0);
  PublishState("opening", "");
  const absl::Status opened =
      SleepUntil(MonotonicNow() + settings_.delay) ? absl::CancelledError() : Open(hint);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    opening_cpu_ = ThreadCpu();
    if (!opened.ok() && !wanted_to_stop_) unavailable_ = std::string(opened.message());
  }
  if (!opened.ok() && !stopping()) PublishState("unavailable", std::string(opened.message()));
  absl::Time next = MonotonicNow();
  while (opened.ok() && !SleepUntil(next)) {
    Look();
    const absl::Time now = MonotonicNow();
    // Who comes late does not make up for it.
    next = std::max(next + period_, now + period_ / 4);
  }
  if (self_.schedstat >= 0) close(self_.schedstat);
}

absl::Status Monitor::Open(const std::optional<dump::VmcoreInfoHint>& hint) {
  absl::StatusOr<dump::VmcoreInfo> info = dump::FindVmcoreInfo(*memory_, hint);
  if (!info.ok()) return info.status();
  image_ = std::make_unique<LiveMemoryImage>(memory_, info->text);
  if (stopping()) return absl::CancelledError();
  absl::StatusOr<Kallsyms> symbols = Kallsyms::Load(KernelMemory(image_.get()));
  if (!symbols.ok()) return symbols.status();
  if (stopping()) return absl::CancelledError();
  absl::StatusOr<std::unique_ptr<Kernel>> kernel = Kernel::Open(image_.get(), *std::move(symbols));
  if (!kernel.ok()) return kernel.status();
  if (stopping()) return absl::CancelledError();
  kernel_ = *std::move(kernel);
  absl::StatusOr<std::unique_ptr<SchedulerSampler>> sampler =
      SchedulerSampler::Create(kernel_.get());
  if (!sampler.ok()) return sampler.status();
  sampler_ = *std::move(sampler);
  return absl::OkStatus();
}

void Monitor::ReadHost(Sample* sample) {
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    const auto now = ReadSchedstat(vcpus_[i].schedstat);
    if (now.has_value() && vcpus_[i].last.has_value() && i < sample->cpus.size()) {
      sample->cpus[i].host_ran = now->ran - vcpus_[i].last->ran;
      sample->cpus[i].host_delay = now->run_delay - vcpus_[i].last->run_delay;
    }
    vcpus_[i].last = now;
  }
  const auto now = ReadSchedstat(self_.schedstat);
  if (now.has_value() && self_.last.has_value()) {
    // We came late, although we neither ran nor waited for a CPU: the whole host stood still.
    const absl::Duration busy =
        now->ran + now->run_delay - self_.last->ran - self_.last->run_delay;
    const absl::Duration late = sample->interval - period_ * 1.25 - busy;
    if (late > period_ / 2) sample->stopped = late;
  }
  self_.last = now;
}

void Monitor::Look() {
  const absl::Duration cpu_before = ThreadCpu();
  const uint64_t freezes = freezes_.load(std::memory_order_acquire);
  const int64_t frozen_ns = frozen_ns_.load(std::memory_order_acquire);
  Sample sample = sampler_->Read();
  sample.time = MonotonicNow();
  if (freezes % 2 != 0 || freezes_.load(std::memory_order_acquire) != freezes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++dropped_frozen_;
    return;
  }
  if (last_look_ != absl::InfinitePast()) {
    sample.interval = std::max(absl::ZeroDuration(),
                               sample.time - last_look_ - absl::Nanoseconds(frozen_ns - last_frozen_ns_));
  }
  last_look_ = sample.time;
  last_frozen_ns_ = frozen_ns;
  ReadHost(&sample);

  const bool armed = armed_.load(std::memory_order_relaxed);
  std::vector<MonitorEvent> events;
  if (armed && !was_armed_) detectors_.Reset();
  // Also between runs, for those that look on; what is found then counts for nothing.
  events = detectors_.Add(sample);
  if (!armed) events.clear();
  was_armed_ = armed;
  const absl::Duration cpu = ThreadCpu() - cpu_before;
  std::vector<Detectors::Wait> waits = detectors_.Waits();
  waits.resize(std::min(waits.size(), kMostWaitsShown));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (samples_++ == 0) first_sample_ = sample.time;
    last_sample_ = sample.time;
    torn_walks_ += sample.tasks_torn;
    for (const CpuSample& one : sample.cpus) torn_cpus_ += one.torn;
    raced_tasks_ += sample.raced;
    most_tasks_ = std::max<uint64_t>(most_tasks_, sample.all_tasks);
    sampling_cpu_ += cpu;
    longest_sample_cpu_ = std::max(longest_sample_cpu_, cpu);
    if (armed) series_.Add(sample);
    if (armed) findings_ = detectors_.findings();
    recent_.push_back({sample.time, sample.cpus, waits});
    if (recent_.size() > kMostRecent) recent_.pop_front();
    // So much of one CPU and no more.
    const absl::Duration mean = sampling_cpu_ / static_cast<int64_t>(samples_);
    period_ = std::max(absl::Seconds(1) / settings_.hz, mean / kMostCpuShare);
  }
  for (const MonitorEvent& event : events) on_event_(event);
  if (sample.time >= next_publishing_) {
    next_publishing_ = sample.time + kLivePeriod;
    const absl::Duration before = ThreadCpu();
    Publish(sample);
    const std::lock_guard<std::mutex> lock(mutex_);
    publishing_cpu_ += ThreadCpu() - before;
  }
}

void Monitor::PublishState(const char* state, const std::string& reason) {
  if (settings_.live_file.empty()) return;
  json view = settings_.live_head;
  view["state"] = state;
  if (!reason.empty()) view["reason"] = reason;
  WriteLiveView(settings_.live_file, view);
}

void Monitor::Publish(const Sample& sample) {
  if (settings_.live_file.empty()) return;
  json view = settings_.live_head;
  view["state"] = "running";
  view["sequence"] = ++publishings_;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    view["monitor"] = CostJson();
    json findings = json::array();
    for (const MonitorFinding& finding : findings_) findings.push_back(finding.text);
    view["findings"] = std::move(findings);
  }
  view["tasks"] = sample.all_tasks;
  AddCpus(sample, &view);
  AddWaits(detectors_.Waits(), kMostWaitsShown, &view);
  AddScx(sample.scx, &view);
  WriteLiveView(settings_.live_file, view);
}

json Monitor::CostJson() const {
  json cost = {{"rate_hz", settings_.hz},
               {"samples", samples_},
               {"dropped",
                {{"frozen", dropped_frozen_},
                 {"torn_walks", torn_walks_},
                 {"torn_cpus", torn_cpus_},
                 {"raced_tasks", raced_tasks_}}},
               {"most_tasks", most_tasks_},
               {"opening_cpu_ns", Ns(opening_cpu_)},
               {"sampling_cpu_ns", Ns(sampling_cpu_)},
               {"longest_sample_cpu_ns", Ns(longest_sample_cpu_)},
               {"publishing_cpu_ns", Ns(publishing_cpu_)}};
  if (samples_ > 0) cost["mean_sample_cpu_ns"] = Ns(sampling_cpu_ / static_cast<int64_t>(samples_));
  if (samples_ > 1) {
    cost["seen_hz"] = static_cast<double>(samples_ - 1) /
                      std::max(1e-9, absl::ToDoubleSeconds(last_sample_ - first_sample_));
  }
  return cost;
}

json Monitor::ToJson(const std::function<uint64_t(absl::Time)>& guest_ns) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  json object = CostJson();
  if (!unavailable_.empty()) object["unavailable"] = unavailable_;
  object["limits"] = {{"stall_ns", Ns(settings_.limits.stall)},
                      {"idle_beside_waiters_ns", Ns(settings_.limits.idle_beside_waiters)},
                      {"imbalance_ns", Ns(settings_.limits.imbalance)},
                      {"bypass_ns", Ns(settings_.limits.bypass)}};
  json findings = json::array();
  for (const MonitorFinding& finding : findings_) {
    json one = {{"kind", FindingKindName(finding.kind)},
                {"severity", SeverityName(finding.severity)},
                {"text", finding.text},
                {"began_ns", guest_ns(finding.began)},
                {"lasted_ns", Ns(finding.lasted)},
                {"excused_ns", Ns(finding.excused)},
                {"limit_ns", Ns(finding.limit)}};
    if (finding.cpu >= 0) one["cpu"] = finding.cpu;
    if (finding.pid != 0) {
      one["pid"] = finding.pid;
      one["comm"] = finding.comm;
    }
    if (!finding.cgroup.empty()) one["cgroup"] = finding.cgroup;
    findings.push_back(std::move(one));
  }
  object["findings"] = std::move(findings);
  if (json series = series_.ToJson(guest_ns); !series.is_null()) {
    object["series"] = std::move(series);
  }
  return object;
}

json Monitor::Recent() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!unavailable_.empty()) return {{"unavailable", unavailable_}};
  json samples = json::array();
  for (const Recorded& one : recent_) {
    Sample sample{.time = one.time, .cpus = one.cpus};
    json object = {{"at_monotonic_ns", absl::ToUnixNanos(one.time)}};
    AddCpus(sample, &object);
    AddWaits(one.waits, 3, &object);
    samples.push_back(std::move(object));
  }
  return {{"rate_hz", settings_.hz}, {"samples", std::move(samples)}};
}

std::string Monitor::unavailable() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return unavailable_;
}

}  // namespace stasis
