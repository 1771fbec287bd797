#include "tools/harness/scenario_run.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "guest/scenario/judge.h"
#include "tools/harness/guest_cmdline.h"
#include "tools/harness/monitor_policy.h"
#include "tools/harness/sample_log.h"
#include "tools/harness/scenario_verdict.h"
#include "tools/harness/time_line.h"
#include "tools/harness/topology_check.h"

namespace stasis {
namespace {

constexpr size_t kConsoleTail = 15;
constexpr size_t kMostWarnings = 20;
constexpr absl::Duration kAttachLimit = absl::Seconds(20);  // as patient as the lane

Verdict VerdictOf(wire::ErrorKind kind) {
  switch (kind) {
    case wire::ErrorKind::kMissingFeature:
      return Verdict::kInconclusive;
    case wire::ErrorKind::kTooLate:
      return Verdict::kFail;
    case wire::ErrorKind::kFailed:
      return Verdict::kError;
  }
  return Verdict::kError;
}

// The conversation with the agent. Lives as long as the session runs.
class ScenarioRun {
 public:
  ScenarioRun(const Scenario& scenario, const GuestSetup& setup, const ScenarioRunOptions& options,
              ProgressLine* progress)
      : scenario_(scenario), setup_(setup), options_(options), progress_(progress) {
    PrepareScheduler();
  }

  RunReport Run() {
    FillRequest();
    absl::StatusOr<std::unique_ptr<GuestSession>> session =
        GuestSession::Create(SessionOptions(), setup_.kernel);
    if (!session.ok()) return Failed(session.status());
    session_ = session->get();
    report_.cmdline = session_->machine().kernel_cmdline();  // with the words of the discovery
    if (options_.verbose) {
      session_->console()->set_tee([](absl::string_view bytes) {
        [[maybe_unused]] ssize_t put = write(STDERR_FILENO, bytes.data(), bytes.size());
      });
    }
    session_->set_callbacks(
        {.on_message =
             [this](const wire::AgentMessage& message) {
               std::visit([this](const auto& m) { On(m); }, message);
             },
         .on_finding = [this](const MonitorFinding& finding) { OnFinding(finding); }});
    session_->set_dump_more([this] {
      return nlohmann::json{{"scenario", fields::ToJson(scenario_)}};
    });
    progress_->Stage(absl::StrCat("booting ", setup_.kernel.release(), " with ",
                                  setup_.machine.topology.cpus(), " CPUs"));
    absl::StatusOr<GuestEndFacts> end = session_->Run();
    progress_->Clear();
    if (!end.ok()) return Failed(end.status());
    FillResult(*end);
    return std::move(report_);
  }

 private:
  GuestSessionOptions SessionOptions() const {
    GuestSessionOptions session;
    session.machine = setup_.machine;
    session.cmdline = report_.cmdline;
    session.dump = options_.dump;
    session.monitor = options_.monitor;
    session.monitor.limits = LimitsFor(scenario_, options_.monitor.limits);
    session.kernel_path = setup_.kernel_path;
    session.kernel_release = setup_.kernel.release();
    session.lane = options_.lane;
    session.initrd = setup_.initrd;
    session.disks = setup_.disks;
    session.boot_limit = options_.boot_limit;
    session.heartbeat_limit *= options_.patience;
    session.end_limit *= options_.patience;
    session.total_limit = options_.time_limit > absl::ZeroDuration()
                              ? options_.time_limit
                              : DefaultTimeLimit(scenario_, options_.patience);
    return session;
  }

  // What only the host knows of it.
  void PrepareScheduler() {
    if (!scenario_.scheduler.has_value()) return;
    const std::vector<SchedulerSpec*> schedulers = SchedulersOf(&scenario_);
    for (size_t i = 0; i < schedulers.size(); ++i) {
      if (i < setup_.scheduler_programs.size()) {
        schedulers[i]->program = setup_.scheduler_programs[i];
      }
      if (schedulers[i]->attach_limit == absl::ZeroDuration()) {
        schedulers[i]->attach_limit = kAttachLimit * options_.patience;
      }
    }
    report_.scheduler = SchedulerReport{.command = CommandOf(*scenario_.scheduler)};
  }

  void FillRequest() {
    report_.scenario = scenario_;
    report_.lane = options_.lane;
    report_.kernel_path = setup_.kernel_path;
    report_.discovery = DiscoveryName(setup_.machine.discovery);
    report_.discovery_reason = setup_.discovery.reason;
    report_.asked = setup_.machine.topology;
    report_.memory_bytes = setup_.machine.memory_bytes;
    report_.warnings = setup_.warnings;
    report_.cmdline = GuestCmdline({.discovery = setup_.machine.discovery,
                                    .verbose = options_.verbose,
                                    .scenario_append = scenario_.machine.cmdline,
                                    .user_append = options_.append});
  }

  RunReport Failed(const absl::Status& status) {
    report_.finding = FindingFromStatus(Layer::kHost, status);
    report_.finding.verdict = Verdict::kError;
    return std::move(report_);
  }

  void Warn(std::string text) {
    if (report_.warnings.size() < kMostWarnings) report_.warnings.push_back(std::move(text));
  }

  // A guest that cannot go on is told to end; what it said stands.
  void GiveUp(Finding finding) {
    if (!evidence_.early.has_value()) evidence_.early = std::move(finding);
    if (session_->phase() != GuestPhase::kEnding) session_->BeginEnd();
  }

  // Only ACPI tells an x86 kernel about nodes, and only if it was built to listen.
  bool KernelKnowsNuma() const {
    const KernelConfig* config = setup_.kernel.config();
    return setup_.machine.discovery == Discovery::kAcpi &&
           (config == nullptr || config->IsEnabled("CONFIG_ACPI_NUMA"));
  }

  // The host's own look at the scheduler.
  void OnFinding(const MonitorFinding& found) {
    if (IsLegal(scenario_, found)) return;
    if (found.severity != Severity::kFailure) {
      Warn(absl::StrCat("monitor: ", OneLine(found.text)));
      return;
    }
    if (evidence_.monitor.has_value()) return;
    evidence_.monitor = Finding{Verdict::kFail, Layer::kScheduler, OneLine(found.text)};
    if (session_->dumps().empty()) {
      session_->Dump({.kind = "scheduler-stall",
                      .source = "monitor",
                      .message = found.text,
                      .vcpu = found.cpu},
                     evidence_.monitor);
    }
  }

  void On(const wire::Hello& hello) { report_.hello = hello; }

  // The agent has said what it sees: the run begins.
  void On(const wire::Topology& topology) {
    if (report_.seen.has_value()) return;  // said again on a second transport
    report_.seen = topology;
    report_.topology_differences =
        CompareTopology(setup_.machine.topology, topology, {.numa = KernelKnowsNuma()});
    if (!report_.topology_differences.empty()) {
      GiveUp({Verdict::kFail, Layer::kBoot,
              absl::StrCat("the guest does not see the topology that was asked for: ",
                           report_.topology_differences.front())});
      return;
    }
    session_->BeginRun();
    session_->Send(wire::RunScenario{scenario_});
    progress_->Stage(absl::StrCat("running ", scenario_.name));
  }

  void On(const wire::Progress& progress) {
    if (progress.total_ns == 0) return progress_->Detail(OneLine(progress.what, 60));
    progress_->Detail(absl::StrFormat("%s, %.0f of %.0f s", OneLine(progress.what, 40),
                                      progress.elapsed_ns * 1e-9, progress.total_ns * 1e-9));
  }

  void On(const wire::Log& log) {
    if (log.level != "info") Warn(absl::StrCat("agent: ", OneLine(log.text)));
  }

  void On(const wire::Result& result) {
    if (session_->phase() != GuestPhase::kRunning) return;  // asked for nothing: no evidence
    report_.measurements = result.measurements;
    // A failure that is the scenario's own is dumped before the guest is told to end.
    evidence_.measurements = report_.measurements;
    evidence_.alarms = session_->console()->alarms();
    evidence_.host_delay = HostDelay();
    evidence_.emulated = options_.emulated;
    const Finding finding = JudgeScenario(scenario_, evidence_).finding;
    if (finding.verdict == Verdict::kFail && session_->dumps().empty()) {
      session_->Dump({.kind = "scenario-failed", .source = "scenario", .message = finding.what},
                     finding);
    }
    progress_->Stage("ending the guest");
    session_->BeginEnd();
  }

  void On(const wire::StepDone& done) {
    if (report_.steps.size() >= scenario_.steps.size()) return;
    report_.steps.push_back(done.step);
    session_->Note(StepLine(done.step, scenario_.steps.size()));
  }

  void On(const wire::Error& error) {
    const Layer layer = LayerByName(error.layer);
    const Finding finding = {VerdictOf(error.kind), layer == Layer::kNone ? Layer::kAgent : layer,
                             OneLine(error.text)};
    // As it is now: who is it that does not get to run?
    if (finding.verdict == Verdict::kFail && session_->dumps().empty()) {
      session_->Dump({.kind = "scenario-failed", .source = "scenario", .message = finding.what},
                     finding);
    }
    GiveUp(finding);
  }

  void On(const wire::Symbols&) {}
  void On(const wire::Heartbeat&) {}
  void On(const wire::WorkerSamples& samples) {
    samples_.Add(samples);
    if (report_.scheduler.has_value()) {
      report_.scheduler->last_seen = OneLine(samples.scheduler, 160);
    }
  }
  void On(const wire::SchedulerOutput& output) {
    if (report_.scheduler.has_value()) AddOutput(output, &*report_.scheduler);
  }
  void On(const wire::ExecOutput&) {}
  void On(const wire::ExecExit&) {}
  void On(const wire::Goodbye&) {}

  std::function<absl::Duration(const CpuSet&, uint64_t, uint64_t)> HostDelay() const {
    return [&agent = session_->agent(), &noise = session_->noise()](
               const CpuSet& cpus, uint64_t from_ns, uint64_t to_ns) {
      std::optional<absl::Time> from = agent.HostTime(from_ns);
      std::optional<absl::Time> to = agent.HostTime(to_ns);
      absl::Duration most;
      if (!from.has_value() || !to.has_value()) return most;
      for (uint32_t cpu : cpus.Cpus()) most = std::max(most, noise.DelayOf(cpu, *from, *to));
      return most;
    };
  }

  void FillResult(const GuestEndFacts& end) {
    if (end.cause == EndCause::kMachine) report_.machine_end = end.machine_end;
    report_.alarms = session_->console()->alarms();
    report_.console_tail = session_->console()->LastLines(kConsoleTail);
    report_.noise = session_->noise().Totals();
    report_.to_first_run = session_->times().to_first_run;
    report_.to_hello = session_->times().to_hello;
    report_.total = session_->times().total;
    evidence_.guest_end = JudgeGuestEnd(end);
    evidence_.alarms = report_.alarms;
    evidence_.measurements = report_.measurements;
    evidence_.host_delay = HostDelay();
    report_.dumps = session_->dumps();
    report_.disks = session_->disks().Report();
    report_.samples = samples_.ToJson();
    report_.monitor = session_->monitor();
    ScenarioVerdict verdict = JudgeScenario(scenario_, evidence_);
    report_.finding = std::move(verdict.finding);
    report_.expectations = std::move(verdict.expectations);
    report_.default_limits = std::move(verdict.default_limits);
    for (std::string& warning : verdict.warnings) Warn(std::move(warning));
  }

  Scenario scenario_;
  const GuestSetup& setup_;
  const ScenarioRunOptions& options_;
  ProgressLine* const progress_;
  GuestSession* session_ = nullptr;
  RunReport report_;
  ScenarioEvidence evidence_;
  SampleLog samples_;
};

}  // namespace

absl::Duration DefaultTimeLimit(const Scenario& scenario, double patience) {
  // Boot, set-up of workers and the end, each with what it may take on a slow host.
  return scenario.duration + absl::Seconds(120) * patience;
}

RunReport RunScenario(const Scenario& scenario, const GuestSetup& setup,
                      const ScenarioRunOptions& options, ProgressLine* progress) {
  return ScenarioRun(scenario, setup, options, progress).Run();
}

}  // namespace stasis
