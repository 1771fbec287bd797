#include "tools/harness/guest_shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "tools/harness/console_io.h"
#include "tools/harness/guest_cmdline.h"
#include "tools/harness/guest_session.h"

namespace stasis {
namespace {

constexpr uint32_t kExecId = 1;
// Input is sent in small frames, and no more of it before the agent has shown that it is alive.
constexpr size_t kMostUnsentInput = 256 * 1024;
constexpr size_t kMostPendingOutput = 1024 * 1024;

class GuestShell {
 public:
  GuestShell(const GuestSetup& setup, const GuestShellOptions& options, ProgressLine* progress)
      : setup_(setup), options_(options), progress_(progress) {}

  GuestShellResult Run() {
    absl::StatusOr<std::unique_ptr<GuestSession>> session =
        GuestSession::Create(SessionOptions(), setup_.kernel);
    if (!session.ok()) return Failed(session.status());
    session_ = *std::move(session);
    if (options_.verbose) {
      session_->console()->set_tee([](absl::string_view bytes) {
        [[maybe_unused]] ssize_t put = write(STDERR_FILENO, bytes.data(), bytes.size());
      });
    }
    absl::Status opened = options_.command.has_value() ? OpenStreams() : OpenConsole();
    if (!opened.ok()) return Failed(opened);
    progress_->Stage(absl::StrCat("booting ", setup_.kernel.release()));
    absl::StatusOr<GuestEndFacts> end = session_->Run();
    progress_->Clear();
    const bool whole = Flush();
    if (!end.ok()) return Failed(end.status());
    if (!whole) {
      end->cause = EndCause::kInterrupted;
      end->detail = "a signal before all output was taken";
    }
    return Conclude(*end);
  }

 private:
  GuestSessionOptions SessionOptions() const {
    GuestSessionOptions session;
    session.machine = setup_.machine;
    session.initrd = setup_.initrd;
    session.disks = setup_.disks;
    session.cmdline = GuestCmdline({.discovery = setup_.machine.discovery,
                                    .verbose = options_.verbose,
                                    .user_append = options_.append});
    session.boot_limit = options_.boot_limit;
    session.heartbeat_limit *= options_.patience;
    session.end_limit *= options_.patience;
    session.total_limit = options_.time_limit;
    session.dump = options_.dump;
    session.monitor = options_.monitor;
    session.freeze_stress = options_.freeze_stress;
    session.kernel_path = setup_.kernel_path;
    session.kernel_release = setup_.kernel.release();
    session.lane = options_.lane;
    return session;
  }

  static GuestShellResult Failed(const absl::Status& status) {
    GuestShellResult result;
    result.finding = FindingFromStatus(Layer::kHost, status);
    result.finding->verdict = Verdict::kError;
    return result;
  }

  absl::Status OpenStreams() {
    session_->set_callbacks(
        {.on_message =
             [this](const wire::AgentMessage& message) {
               std::visit([this](const auto& m) { On(m); }, message);
             },
         .on_finding = [this](const MonitorFinding& finding) { OnFinding(finding); }});
    for (int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      absl::StatusOr<std::unique_ptr<ByteChannel>> channel =
          ByteChannel::Create(session_->loop(), fd, /*owned=*/false,
                              {.on_drained = [this] { session_->SetAgentReading(true); }});
      if (!channel.ok()) return channel.status();
      output_[fd] = *std::move(channel);
    }
    return absl::OkStatus();
  }

  absl::Status OpenConsole() {
    absl::StatusOr<std::unique_ptr<ConsoleIo>> console =
        ConsoleIo::Create(session_.get(), {.escape_keys = true});
    if (!console.ok()) return console.status();
    console_ = *std::move(console);
    console_->set_on_message([this](const wire::AgentMessage& message) {
      std::visit([this](const auto& m) { On(m); }, message);
    });
    return absl::OkStatus();
  }

  // Topology is the last that the agent says by itself: it is ready.
  void On(const wire::Topology&) {
    if (started_) return;
    started_ = true;
    progress_->Clear();
    session_->BeginRun();
    if (options_.command.has_value()) {
      wire::Exec exec;
      exec.id = kExecId;
      exec.shell = *options_.command;
      session_->Send(exec);
      OpenInput();
    } else {
      const char* term = getenv("TERM");
      if (std::optional<WindowSize> size = TerminalSize(STDIN_FILENO)) session_->ResizeHvc0(*size);
      session_->Send(wire::Shell{kExecId, term == nullptr ? "vt100" : term});
    }
  }

  void OpenInput() {
    absl::StatusOr<std::unique_ptr<ByteChannel>> input =
        ByteChannel::Create(session_->loop(), STDIN_FILENO, /*owned=*/false,
                            {.on_bytes =
                                 [this](absl::string_view bytes) {
                                   wire::ExecInput message;
                                   message.id = kExecId;
                                   message.data.data = std::string(bytes);
                                   session_->Send(message);
                                   if (session_->unsent_to_agent() > kMostUnsentInput)
                                     input_->SetReading(false);
                                 },
                             .on_end = [this] { SendInputEnd(); }});
    if (input.ok()) {
      input_ = *std::move(input);
      session_->set_on_agent_drained([this] { input_->SetReading(true); });
    } else {
      SendInputEnd();  // no usable stdin: the command finds its end at once
    }
  }

  void SendInputEnd() {
    wire::ExecInput end;
    end.id = kExecId;
    end.eof = true;
    session_->Send(end);
  }

  void On(const wire::ExecOutput& output) {
    if (output.id != kExecId || (output.stream != 1 && output.stream != 2)) return;
    ByteChannel* channel = output_[output.stream].get();
    if (channel == nullptr) return;
    channel->Write(output.data.data);
    if (channel->pending() > kMostPendingOutput) session_->SetAgentReading(false);
  }

  void On(const wire::ExecExit& exit) {
    if (exit.id != kExecId || exit_.has_value()) return;
    exit_ = exit;
    session_->BeginEnd();
  }

  void On(const wire::Error& error) {
    error_ = Finding{Verdict::kError, Layer::kAgent, OneLine(error.text)};
    if (session_->phase() != GuestPhase::kEnding) session_->BeginEnd();
  }

  template <typename Message>
  void On(const Message&) {}

  // A shell is the user's: it goes on.
  void OnFinding(const MonitorFinding& found) {
    if (found.severity == Severity::kNote) return;
    fprintf(stderr, "stasis: monitor: %s\n", OneLine(found.text).c_str());
    if (found.severity != Severity::kFailure || stall_dumped_) return;
    stall_dumped_ = true;
    session_->Dump({.kind = "scheduler-stall",
                    .source = "monitor",
                    .message = found.text,
                    .vcpu = found.cpu},
                   std::nullopt);
  }

  // What the readers of our output have not taken yet. False: interrupted.
  bool Flush() {
    bool whole = true;
    for (int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      if (output_[fd] != nullptr) whole = whole && session_->Flush(output_[fd].get(), fd);
    }
    if (console_ != nullptr) whole = whole && console_->Finish();
    return whole;
  }

  GuestShellResult Conclude(const GuestEndFacts& end) {
    GuestShellResult result;
    result.times = session_->times();
    result.dumps = session_->dumps();
    result.disks = session_->disks().Report();
    result.freezes = session_->freezes();
    result.monitor = session_->monitor();
    result.finding = JudgeGuestEnd(end);
    if (!result.finding.has_value() && error_.has_value()) result.finding = error_;
    if (result.finding.has_value()) return result;
    if (!exit_.has_value()) {
      // Left by Ctrl-A x.
      if (end.cause != EndCause::kHandler) {
        result.finding = Finding{Verdict::kError, Layer::kAgent, "the command gave no exit code"};
      }
      return result;
    }
    if (!exit_->error.empty()) fprintf(stderr, "stasis: %s\n", OneLine(exit_->error).c_str());
    result.exit_code = exit_->signal != 0 ? 128 + exit_->signal : exit_->code;
    return result;
  }

  const GuestSetup& setup_;
  const GuestShellOptions& options_;
  ProgressLine* const progress_;
  std::unique_ptr<GuestSession> session_;
  // Behind the session, on whose loop they are.
  std::unique_ptr<ByteChannel> output_[3];  // by descriptor
  std::unique_ptr<ByteChannel> input_;
  std::unique_ptr<ConsoleIo> console_;
  bool started_ = false;
  bool stall_dumped_ = false;
  std::optional<wire::ExecExit> exit_;
  std::optional<Finding> error_;
};

}  // namespace

GuestShellResult RunGuestShell(const GuestSetup& setup, const GuestShellOptions& options,
                               ProgressLine* progress) {
  return GuestShell(setup, options, progress).Run();
}

}  // namespace stasis
