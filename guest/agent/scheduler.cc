#include "guest/agent/scheduler.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGKILL};
// A killed program's links are closed by the kernel, which then detaches: without limit of ours but
// this one.
constexpr uint64_t kAfterKillNs = 5000000000;
constexpr useconds_t kWaitPollUs = 2000;

uint64_t Ns(absl::Duration duration) {
  return static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
}

}  // namespace

Scheduler::Scheduler(Send send, std::string root, Limits limits)
    : send_(std::move(send)),
      root_(std::move(root)),
      limits_(limits),
      output_(send_),
      kernel_log_(root_ + "/dev/kmsg"),
      commands_([this](const wire::AgentMessage& message) { OnMessage(message); }) {}

Scheduler::~Scheduler() { StopAndWait(); }

absl::Status Scheduler::Start(const SchedulerSpec& spec) {
  seen_ = ReadSchedExt(root_);
  if (seen_.state.empty()) {
    return absl::UnimplementedError(
        "the kernel lacks sched_ext (CONFIG_SCHED_CLASS_EXT), which the scenario's scheduler "
        "needs");
  }
  if (phase_ != Phase::kNone || seen_.state != "disabled") {
    return absl::FailedPreconditionError(absl::StrCat(
        "a sched_ext scheduler is there already: ", seen_.ops, " (", seen_.state, ")"));
  }
  figures_ = {};
  in_run_ = false;
  Launch(spec, MonotonicNs());
  return absl::OkStatus();
}

void Scheduler::Launch(const SchedulerSpec& spec, uint64_t now) {
  spec_ = spec;
  next_.reset();
  output_.Begin();
  kernel_log_.SkipToEnd();
  figures_.command = CommandOf(spec);
  figures_.ops.clear();
  figures_.started_ns = now;
  figures_.attached_ns = 0;
  attached_once_ = false;
  attached_seq_ = seen_.sequence() + 1;
  signals_sent_ = 0;
  phase_ = Phase::kAttaching;
  deadline_ns_ = now + AttachLimitNs();
  program_runs_ = true;
  exit_ = {};
  wire::Exec exec{.id = ++program_, .argv = {spec.program}};
  exec.argv.insert(exec.argv.end(), spec.args.begin(), spec.args.end());
  commands_.Start(exec);
  commands_.Input(wire::ExecInput{.id = program_, .eof = true});
}

uint64_t Scheduler::AttachLimitNs() const {
  return Ns(spec_.attach_limit > absl::ZeroDuration() ? spec_.attach_limit : limits_.attach);
}

void Scheduler::OnMessage(const wire::AgentMessage& message) {
  if (const auto* output = std::get_if<wire::ExecOutput>(&message)) {
    output_.Append(output->stream, output->data.data);
  } else if (const auto* exit = std::get_if<wire::ExecExit>(&message)) {
    exit_ = *exit;
    program_runs_ = false;
  }
}

absl::Status Scheduler::Restart() { return BeginStop(spec_); }
absl::Status Scheduler::Switch(const SchedulerSpec& next) { return BeginStop(next); }
absl::Status Scheduler::Stop() { return BeginStop(std::nullopt); }

absl::Status Scheduler::BeginStop(std::optional<SchedulerSpec> next) {
  if (phase_ != Phase::kAttached) {
    return absl::FailedPreconditionError("no scheduler is attached that could be switched");
  }
  ++figures_.switches;
  next_ = std::move(next);
  phase_ = Phase::kStopping;
  signals_sent_ = 0;
  deadline_ns_ = 0;
  Follow(MonotonicNs());
  return absl::OkStatus();
}

void Scheduler::SignalProgram(int signal) {
  if (program_runs_) commands_.Signal(wire::ExecSignal{.id = program_, .signal = signal});
}

void Scheduler::BeginRun(uint64_t now) {
  in_run_ = true;
  Sample(now);
}

void Scheduler::Sample(uint64_t now) {
  if (phase_ == Phase::kNone || phase_ == Phase::kEnded) return;
  seen_ = ReadSchedExt(root_);
  FollowHotplug(now);
  Record(now);
  Follow(now);
}

// Evidence: what every sample showed, equal neighbours together.
void Scheduler::Record(uint64_t now) {
  const bool switching = figures_.switches + figures_.restarts > 0 && phase_ != Phase::kAttached;
  if (in_run_ && phase_ != Phase::kEnding) {
    ++figures_.samples;
    if (switching) ++figures_.switching_samples;
    const bool shown = seen_.attached() && (figures_.ops.empty() || seen_.ops == figures_.ops);
    figures_.attached_last = !switching && shown;
    if (figures_.attached_last) ++figures_.attached_samples;
  }
  SchedulerSpan* last = figures_.spans.empty() ? nullptr : &figures_.spans.back();
  if (last == nullptr || last->state != seen_.state || last->ops != seen_.ops ||
      last->enable_seq != seen_.enable_seq || last->in_run != in_run_ ||
      last->switching != switching) {
    if (figures_.spans.size() >= SchedulerMeasurement::kMaxSpans) return;
    last = &figures_.spans.emplace_back();
    *last = {.from_ns = now,
             .state = seen_.state,
             .ops = seen_.ops,
             .enable_seq = seen_.enable_seq,
             .in_run = in_run_,
             .switching = switching};
  }
  last->to_ns = now;
  ++last->samples;
}

void Scheduler::Follow(uint64_t now) {
  switch (phase_) {
    case Phase::kAttaching:
      return FollowAttaching(now);
    case Phase::kAttached:
      if (!program_runs_) return BeginEnding(SchedulerEndKind::kExited, now);
      if (!seen_.attached()) return BeginEnding(SchedulerEndKind::kKernel, now);
      if (seen_.ops != figures_.ops) return BeginEnding(SchedulerEndKind::kReplaced, now);
      if (came_back()) return BeginEnding(SchedulerEndKind::kKernel, now);
      if (auto events = ReadSchedExtEvents(root_); !events.empty()) {
        figures_.events = std::move(events);
      }
      return;
    case Phase::kStopping:
      return FollowStopping(now);
    case Phase::kRestarting:
      return FollowRestarting(now);
    case Phase::kEnding:
      return FollowEnding(now);
    case Phase::kNone:
    case Phase::kEnded:
      return;
  }
}

void Scheduler::FollowAttaching(uint64_t now) {
  if (!program_runs_) return BeginEnding(SchedulerEndKind::kExited, now);
  if (seen_.attached() && (spec_.ops.empty() || seen_.ops == spec_.ops)) {
    figures_.ops = seen_.ops;
    figures_.attached_ns = now;
    attached_once_ = true;
    phase_ = Phase::kAttached;
    return;
  }
  if (kernel_log_.ReadDisabled().found) return BeginEnding(SchedulerEndKind::kKernel, now);
  if (now > deadline_ns_) {
    figures_.ops = seen_.ops;  // a name that was not asked for explains itself
    BeginEnding(SchedulerEndKind::kNotAttached, now);
  }
}

void Scheduler::FollowHotplug(uint64_t now) {
  if (phase_ != Phase::kAttached || !program_runs_ || !cpus_changed_ns_.has_value()) return;
  if (seen_.attached() && (!came_back() || seen_.ops != figures_.ops)) return;
  if (now > *cpus_changed_ns_ + Ns(limits_.after_hotplug)) return;
  ++figures_.restarts;
  attached_seq_ = std::max(attached_seq_ + 1, seen_.sequence());
  phase_ = Phase::kRestarting;
  deadline_ns_ = now + AttachLimitNs();
}

void Scheduler::FollowRestarting(uint64_t now) {
  if (!program_runs_) return BeginEnding(SchedulerEndKind::kExited, now);
  // Hotplug may also have shown a fault, after which a program comes back as well.
  const KernelLog::Disabled& kernel = kernel_log_.ReadDisabled();
  if (kernel.found && KindOfReason(kernel.reason) != SchedulerEndKind::kUnregistered) {
    return BeginEnding(SchedulerEndKind::kKernel, now);
  }
  if (seen_.attached() && seen_.ops != figures_.ops) {
    return BeginEnding(SchedulerEndKind::kReplaced, now);
  }
  if (seen_.attached()) {
    attached_seq_ = std::max(attached_seq_, seen_.sequence());
    phase_ = Phase::kAttached;
  } else if (now > deadline_ns_) {
    BeginEnding(SchedulerEndKind::kKernel, now);
  }
}

void Scheduler::FollowStopping(uint64_t now) {
  if (!program_runs_ && detached()) {
    output_.Flush();
    if (next_.has_value()) {
      const SchedulerSpec next = *next_;
      Launch(next, now);
    } else {
      phase_ = Phase::kNone;
    }
    return;
  }
  if (now < deadline_ns_) return;
  if (signals_sent_ < 3) {
    SignalProgram(kStopSignals[signals_sent_++]);
    deadline_ns_ = now + (signals_sent_ == 3 ? kAfterKillNs : Ns(limits_.stop) / 2);
    return;
  }
  BeginEnding(SchedulerEndKind::kKernel, now);  // the kernel does not let it go
}

void Scheduler::BeginEnding(SchedulerEndKind kind, uint64_t now) {
  figures_.end =
      SchedulerEnd{.kind = kind, .attached = attached_once_, .at_ns = now, .state = seen_.state};
  if (kind == SchedulerEndKind::kReplaced) {
    figures_.end->message = absl::StrCat("it shows ", seen_.ops);
  }
  phase_ = Phase::kEnding;
  deadline_ns_ = now + Ns(limits_.last_words);
  signals_sent_ = 0;
  // A program that did not attach is not going to end for that reason.
  if (kind == SchedulerEndKind::kNotAttached || kind == SchedulerEndKind::kReplaced) {
    SignalProgram(SIGINT);
  }
  FollowEnding(now);
}

// The kernel writes its reason before the state is "disabled", the program its report after that.
void Scheduler::FollowEnding(uint64_t now) {
  if (program_runs_ && now > deadline_ns_) {
    if (signals_sent_ == 0) {
      figures_.end->running = true;
      SignalProgram(SIGKILL);
      signals_sent_ = 1;
      deadline_ns_ = now + kAfterKillNs;
      return;
    }
  } else if (program_runs_ || (!detached() && now <= deadline_ns_)) {
    return;
  }
  Conclude();
}

void Scheduler::Conclude() {
  SchedulerEnd& end = *figures_.end;
  output_.Flush();
  const LoaderReport report = ReadLoaderReport(output_.Tail(2));
  const KernelLog::Disabled& kernel = kernel_log_.ReadDisabled();
  end.reason = kernel.found ? kernel.reason : report.reason;
  if (end.kind != SchedulerEndKind::kReplaced) {
    end.message = kernel.found ? kernel.message : report.message;
  }
  end.debug_dump = report.debug_dump;
  end.exit_code = exit_.code;
  end.exit_signal = exit_.signal;
  end.error = exit_.error;
  end.last_line = output_.LastLine();
  // That the kernel unregistered it follows from the exit of its program, and from the signal that
  // one gets that was not attached; any other reason of the kernel's is the cause.
  if (!end.reason.empty() && end.kind != SchedulerEndKind::kReplaced) {
    const SchedulerEndKind kind = KindOfReason(end.reason);
    if (kind != SchedulerEndKind::kUnregistered || end.kind == SchedulerEndKind::kKernel) {
      end.kind = kind;
    } else if (end.kind == SchedulerEndKind::kNotAttached) {
      end.reason.clear();
    }
  }
  phase_ = Phase::kEnded;
}

bool Scheduler::OnChildExit(pid_t pid, int wait_status) {
  if (!commands_.OnChildExit(pid, wait_status)) return false;
  const uint64_t now = MonotonicNs();
  seen_ = ReadSchedExt(root_);
  Follow(now);
  return true;
}

void Scheduler::StopAndWait() {
  if (phase_ == Phase::kNone || phase_ == Phase::kEnded) {
    phase_ = Phase::kNone;
    return;
  }
  uint64_t next_signal_ns = 0;
  for (int sent = 0; program_runs_ || !detached();) {
    const uint64_t now = MonotonicNs();
    if (now >= next_signal_ns) {
      if (sent == 3) break;
      SignalProgram(kStopSignals[sent++]);
      next_signal_ns = now + (sent == 3 ? kAfterKillNs : Ns(limits_.stop) / 2);
    }
    std::vector<pollfd> fds;
    commands_.AddPollFds(&fds);
    if (poll(fds.data(), fds.size(), 0) > 0) commands_.HandleEvents(fds);
    int status;
    const pid_t pid = program_runs_ ? commands_.PidOf(program_) : -1;
    if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid) commands_.OnChildExit(pid, status);
    seen_ = ReadSchedExt(root_);
    if (program_runs_ || !detached()) usleep(kWaitPollUs);
  }
  output_.Flush();
  phase_ = Phase::kNone;
}

}  // namespace stasis::agent
