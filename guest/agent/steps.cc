#include "guest/agent/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr int kExitNotFound = 127;  // as a shell says it
constexpr size_t kMostOutput = 4096;  // that is looked at
constexpr size_t kMostLine = 300;

uint64_t Ns(absl::Duration duration) {
  return static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
}

// Of the last words of a program.
std::string LastLine(int file) {
  const off_t size = lseek(file, 0, SEEK_END);
  std::string text(kMostOutput, '\0');
  const off_t from = size > static_cast<off_t>(kMostOutput) ? size - kMostOutput : 0;
  const ssize_t got = pread(file, text.data(), text.size(), from);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  absl::StripTrailingAsciiWhitespace(&text);
  if (const size_t newline = text.rfind('\n'); newline != std::string::npos) {
    text.erase(0, newline + 1);
  }
  return text.substr(0, kMostLine);
}

[[noreturn]] void Exec(pid_t parent, int output, char** words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, 0);
  dup2(output, 1);
  dup2(output, 2);
  execv(words[0], words);
  const std::string error = strerror(errno);
  [[maybe_unused]] ssize_t put = write(2, error.data(), error.size());
  _exit(kExitNotFound);
}

}  // namespace

Steps::Steps(Context context)
    : context_(std::move(context)), state_(*context_.scenario, context_.cpus) {}

Steps::~Steps() {
  for (const Program& program : programs_) {
    kill(-program.pid, SIGKILL);
    kill(program.pid, SIGKILL);  // it may not have its own process group yet
    close(program.output);
  }
}

const CgroupSpec* Steps::SpecOf(const std::string& cgroup) const {
  for (const CgroupSpec& spec : context_.scenario->cgroups) {
    if (spec.name == cgroup) return &spec;
  }
  return nullptr;
}

absl::Status Steps::SetUp() {
  for (const CgroupSpec& spec : context_.scenario->cgroups) {
    if (!spec.at_start) continue;
    // Unknown CPUs are a matter of the machine, not of the scenario.
    auto cpus = ResolveCpus(spec.cpus, *context_.cpus);
    absl::Status status = cpus.ok() ? AddCgroup(spec.name) : cpus.status();
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("cgroup '", spec.name, "': ", status.message()));
    }
  }
  return absl::OkStatus();
}

// As the state has it: the cgroup is there, and so is the work of it that starts with it.
absl::Status Steps::AddCgroup(const std::string& name) {
  const CgroupSpec* spec = SpecOf(name);
  absl::Status status = context_.cgroups->Create(*spec, state_.Resolved(spec->cpus));
  if (!status.ok()) return status;
  const size_t cgroup = spec - context_.scenario->cgroups.data();
  for (size_t work = 0; work < spec->work.size(); ++work) {
    if (!spec->work[work].at_start || state_.PlaceOf(cgroup, work) != name) continue;
    status = StartWork(cgroup, work);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Steps::StartWork(size_t cgroup, size_t work) {
  const CgroupSpec& spec = context_.scenario->cgroups[cgroup];
  const std::string& affinity = spec.work[work].cpus;
  const CpuSet of_cgroup = state_.CpusOf(spec.name);
  if (!affinity.empty()) {
    auto cpus = ResolveCpus(affinity, *context_.cpus);
    if (!cpus.ok()) return cpus.status();
    if ((*cpus & of_cgroup).empty()) {
      return absl::FailedPreconditionError(absl::StrCat("work on CPUs ", cpus->ToString(),
                                                        ", but the cgroup has ",
                                                        of_cgroup.ToString()));
    }
  }
  return context_.workers->Fork(cgroup, work, spec.name, state_.CpusOf(spec.name, affinity));
}

// Everything that runs in it, wherever it came from, is killed first.
absl::Status Steps::RemoveCgroup(const std::string& name) {
  const std::vector<CgroupSpec>& cgroups = context_.scenario->cgroups;
  const uint64_t now = MonotonicNs();
  for (size_t cgroup = 0; cgroup < cgroups.size(); ++cgroup) {
    for (size_t work = 0; work < cgroups[cgroup].work.size(); ++work) {
      if (state_.PlaceOf(cgroup, work) != name) continue;
      absl::Status status = context_.workers->Stop(cgroup, work, now);
      if (!status.ok()) return status;
    }
  }
  return context_.cgroups->Remove(name);
}

template <typename Function>
absl::Status Steps::ForWork(const std::string& name, Function function) {
  const std::vector<CgroupSpec>& cgroups = context_.scenario->cgroups;
  for (size_t cgroup = 0; cgroup < cgroups.size(); ++cgroup) {
    for (size_t work = 0; work < cgroups[cgroup].work.size(); ++work) {
      if (cgroups[cgroup].work[work].name == name) return function(cgroup, work);
    }
  }
  return absl::NotFoundError(absl::StrCat("there is no work '", name, "'"));
}

absl::Status Steps::SetOnline(const std::string& cpus, bool online) {
  for (uint32_t cpu : state_.Resolved(cpus).Cpus()) {
    const std::string path = absl::StrCat(context_.cpu_root, "/cpu", cpu, "/online");
    if (access(path.c_str(), W_OK) != 0) {
      return absl::UnimplementedError(absl::StrCat("CPU ", cpu, " cannot be unplugged: there is no ",
                                                   path, " (CONFIG_HOTPLUG_CPU)"));
    }
    absl::Status status = WriteText(path, online ? "1" : "0");
    if (!status.ok()) return status;
    if (context_.cpus_changed) context_.cpus_changed();
  }
  return absl::OkStatus();
}

absl::Status Steps::Start(const Action& action, const std::string& step) {
  if (access(action.command[0].c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(action.command[0], ": ", strerror(errno),
                                                      " in the guest; is it in its initramfs?"));
  }
  Program program{.output = memfd_create("step", MFD_CLOEXEC), .name = step};
  if (program.output < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  std::vector<char*> words;
  for (const std::string& word : action.command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = getpid();
  program.pid = fork();
  if (program.pid == 0) Exec(parent, program.output, words.data());
  if (program.pid < 0) {
    const int error = errno;
    close(program.output);
    return absl::ErrnoToStatus(error, "fork");
  }
  programs_.push_back(std::move(program));
  return absl::OkStatus();
}

absl::Status Steps::Do(const Action& action, const std::string& step) {
  Cgroups& cgroups = *context_.cgroups;
  Workers& workers = *context_.workers;
  const uint64_t now = MonotonicNs();
  // Those that need to know what was there before.
  if (action.kind == ActionKind::kRemoveCgroup) {
    absl::Status status = RemoveCgroup(action.target);
    if (!status.ok()) return status;
  } else if (action.kind == ActionKind::kStopWork) {
    absl::Status status = ForWork(action.target, [&](size_t cgroup, size_t work) {
      return workers.Stop(cgroup, work, now);
    });
    if (!status.ok()) return status;
  }
  absl::Status possible = state_.Apply(action);
  if (!possible.ok()) return possible;
  switch (action.kind) {
    case ActionKind::kSetCpus:
      return cgroups.SetCpus(action.target, state_.Resolved(action.cpus));
    case ActionKind::kSetWeight:
      return cgroups.SetWeight(action.target, action.weight);
    case ActionKind::kSetMax:
      return cgroups.SetMax(action.target, action.max);
    case ActionKind::kSetMemoryMax:
      return cgroups.SetMemoryMax(action.target, action.memory_max_bytes);
    case ActionKind::kAddCgroup:
      return AddCgroup(action.target);
    case ActionKind::kRemoveCgroup:
    case ActionKind::kStopWork:
      return absl::OkStatus();
    case ActionKind::kFreezeCgroup: {
      absl::Status status = cgroups.Freeze(action.target);
      UpdateFrozen(MonotonicNs());
      return status;
    }
    case ActionKind::kThawCgroup:
      UpdateFrozen(now);
      return cgroups.Thaw(action.target);
    case ActionKind::kStartWork:
      return ForWork(action.target,
                     [&](size_t cgroup, size_t work) { return StartWork(cgroup, work); });
    case ActionKind::kMoveWork:
      return ForWork(action.target, [&](size_t cgroup, size_t work) {
        return workers.Move(cgroup, work, action.to);
      });
    case ActionKind::kUnplugCpus:
      return SetOnline(action.cpus, false);
    case ActionKind::kPlugCpus:
      return SetOnline(action.cpus, true);
    case ActionKind::kRun:
      return Start(action, step);
    case ActionKind::kSnapshot:
      return context_.request_dump();
    case ActionKind::kSwitchScheduler:
    case ActionKind::kRestartScheduler:
      return context_.change_scheduler(action);
  }
  return absl::OkStatus();
}

absl::Status Steps::UpdateAllowed() {
  const std::vector<CgroupSpec>& cgroups = context_.scenario->cgroups;
  for (size_t cgroup = 0; cgroup < cgroups.size(); ++cgroup) {
    for (size_t work = 0; work < cgroups[cgroup].work.size(); ++work) {
      const std::string& place = state_.PlaceOf(cgroup, work);
      if (place.empty()) continue;
      absl::Status status = context_.workers->SetAllowed(
          cgroup, work, state_.CpusOf(place, cgroups[cgroup].work[work].cpus));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

void Steps::UpdateFrozen(uint64_t now) {
  const std::vector<CgroupSpec>& cgroups = context_.scenario->cgroups;
  for (size_t cgroup = 0; cgroup < cgroups.size(); ++cgroup) {
    for (size_t work = 0; work < cgroups[cgroup].work.size(); ++work) {
      const std::string& place = state_.PlaceOf(cgroup, work);
      if (!place.empty()) {
        context_.workers->SetFrozen(cgroup, work, state_.IsFrozen(place), now);
      }
    }
  }
}

std::optional<uint64_t> Steps::NextNs() const {
  if (done_.size() >= context_.scenario->steps.size()) return std::nullopt;
  return Ns(context_.scenario->steps[done_.size()].at);
}

StepMeasurement Steps::RunNext(uint64_t start_ns) {
  const StepSpec& spec = context_.scenario->steps[done_.size()];
  StepMeasurement step;
  step.index = static_cast<uint32_t>(done_.size());
  step.what = StepText(spec);
  step.planned_ns = Ns(spec.at);
  step.began_ns = MonotonicNs() - start_ns;
  for (const Action& action : spec.actions) {
    const std::string name = absl::StrCat("step ", step.index + 1, " at ",
                                          absl::FormatDuration(spec.at), " (", ActionText(action),
                                          ")");
    absl::Status status = Do(action, name);
    // A task that was moved into a frozen cgroup, or out of one, has what that has.
    UpdateFrozen(MonotonicNs());
    if (status.ok()) status = UpdateAllowed();
    if (status.ok()) continue;
    step.error = std::string(status.message());
    status_ = absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
    break;
  }
  context_.workers->Go(MonotonicNs());
  step.ended_ns = MonotonicNs() - start_ns;
  done_.push_back(step);
  return step;
}

bool Steps::OnChildExit(pid_t pid, int wait_status) {
  for (size_t i = 0; i < programs_.size(); ++i) {
    if (programs_[i].pid != pid) continue;
    const Program program = programs_[i];
    programs_.erase(programs_.begin() + static_cast<ptrdiff_t>(i));
    const std::string last = LastLine(program.output);
    close(program.output);
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return true;
    if (!status_.ok()) return true;
    status_ = absl::AbortedError(absl::StrCat(
        program.name, ": ",
        WIFSIGNALED(wait_status) ? absl::StrCat("killed by signal ", WTERMSIG(wait_status))
                                 : absl::StrCat("exit code ", WEXITSTATUS(wait_status)),
        last.empty() ? "" : ": ", last));
    return true;
  }
  return false;
}

}  // namespace stasis::agent
