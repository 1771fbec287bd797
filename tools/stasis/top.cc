// stasis top: what the scheduler of a running guest does, redrawn as it goes.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/harness/terminal.h"
#include "tools/monitor/live_directory.h"
#include "tools/monitor/live_view.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

constexpr int kPollMs = 250;
constexpr double kMostWaitSeconds = 2;  // of --once, for a view that is being made

struct TopOptions {
  std::string target;
  bool once = false;
  bool json = false;
};

double Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string PidList(const std::vector<LiveProcess>& processes) {
  return absl::StrJoin(processes, ", ", [](std::string* out, const LiveProcess& process) {
    absl::StrAppend(out, process.pid);
  });
}

struct Target {
  int pid = 0;  // 0: a file
  std::string file;
  Finding finding;  // without a file
};

Target Refuse(std::string what, std::string to_do) {
  return {.finding = {Verdict::kUsage, Layer::kNone, std::move(what), std::move(to_do)}};
}

Target FindTarget(const std::string& target) {
  const std::vector<LiveProcess> processes = LiveProcesses(LiveRoot());
  if (target.empty()) {
    if (processes.size() == 1) return {processes[0].pid, processes[0].file, {}};
    if (processes.empty()) {
      return Refuse("no stasis of this user runs a guest",
                    "start 'stasis run' or 'stasis shell' first");
    }
    return Refuse(absl::StrCat("several run guests: ", PidList(processes)),
                  "give the process id of one");
  }
  int pid = 0;
  if (!absl::SimpleAtoi(target, &pid)) return {.file = target};
  for (const LiveProcess& process : processes) {
    if (process.pid == pid) return {pid, process.file, {}};
  }
  const std::string name = ProcessName(pid);
  if (name.empty()) return Refuse(absl::StrCat("no process ", pid), "");
  if (name != "stasis") {
    return Refuse(absl::StrFormat("process %d (%s) is no stasis", pid, OneLine(name, 40)),
                  "give the process id of 'stasis run' or 'stasis shell'");
  }
  std::vector<LiveProcess> children;
  for (const LiveProcess& process : processes) {
    if (process.parent == pid) children.push_back(process);
  }
  if (children.size() == 1) return {children[0].pid, children[0].file, {}};
  if (!children.empty()) {
    return Refuse(absl::StrCat("process ", pid, " has several runs: ", PidList(children)),
                  "give the process id of one");
  }
  return Refuse(absl::StrCat("process ", pid, " shows no guest"),
                "it is another user's, or not a 'stasis run' or 'stasis shell'");
}

// The terminal's other page, and the cursor away; back in the destructor.
class Page {
 public:
  explicit Page(bool on) : on_(on) { Enter(); }
  ~Page() { Leave(); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  void Enter() {
    if (!on_) return;
    if (absl::StatusOr<std::unique_ptr<RawTerminal>> raw = RawTerminal::Enter(STDIN_FILENO); raw.ok()) {
      keys_ = *std::move(raw);
    }
    Put("\x1b[?1049h\x1b[?25l");
  }
  void Leave() {
    if (!on_) return;
    Put("\x1b[?25h\x1b[?1049l");
    keys_.reset();
  }
  bool reads_keys() const { return keys_ != nullptr; }
  void Draw(const std::string& page) {
    if (!on_) return Put(page + "\n");
    std::string text = "\x1b[H";
    for (const char c : page) text += c == '\n' ? "\x1b[K\r\n" : std::string(1, c);
    Put(text + "\x1b[K\x1b[J");
  }

 private:
  static void Put(const std::string& text) {
    fwrite(text.data(), 1, text.size(), stdout);
    fflush(stdout);
  }
  const bool on_;
  std::unique_ptr<RawTerminal> keys_;
};

bool IsRunning(const nlohmann::json& view) {
  return view.contains("state") && view["state"] == "running";
}

int Once(const TopOptions& options, const Target& target) {
  absl::StatusOr<nlohmann::json> view = ReadLiveView(target.file);
  // A guest that is booting, or a monitor that reads the kernel's tables, is not waited for long.
  const double until = Now() + kMostWaitSeconds;
  while (view.ok() && target.pid != 0 && !IsRunning(*view) && (*view)["state"] == "opening" &&
         Now() < until) {
    poll(nullptr, 0, kPollMs);
    view = ReadLiveView(target.file);
  }
  if (!view.ok()) return Complain(FindingFromStatus(Layer::kNone, absl::InvalidArgumentError(view.status().message())));
  if (options.json) {
    printf("%s\n", view->dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  printf("%s", LivePage(*view, 0, 0, 0).c_str());
  return 0;
}

int Follow(const Target& target) {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH}) sigaddset(&ends, signal);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  const int signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  Page page(terminal);
  std::string last;
  double changed = Now();
  std::string end;
  int code = 0;
  while (end.empty()) {
    absl::StatusOr<nlohmann::json> view = ReadLiveView(target.file);
    if (!view.ok()) {
      const bool gone = view.status().code() == absl::StatusCode::kNotFound;
      end = gone && target.pid != 0 ? absl::StrCat("stasis ", target.pid, " has ended")
                                    : std::string(view.status().message());
      code = gone && !last.empty() ? 0 : ExitCode(Verdict::kUsage);
      break;
    }
    const std::string text = view->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const bool is_new = text != last;
    if (is_new) changed = Now();
    last = text;
    const std::optional<WindowSize> size = TerminalSize(STDOUT_FILENO);
    if (terminal || is_new) {
      page.Draw(LivePage(*view, size ? size->rows : 0, size ? size->columns : 0,
                         target.pid == 0 ? 0 : Now() - changed));
    }
    pollfd ready[2] = {{signals, POLLIN, 0}, {page.reads_keys() ? STDIN_FILENO : -1, POLLIN, 0}};
    poll(ready, 2, kPollMs * 2);
    char key = 0;
    if (ready[1].revents != 0 && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 3)) break;
    signalfd_siginfo info;
    while (read(signals, &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo == SIGWINCH) continue;
      if (info.ssi_signo == SIGTSTP) {
        page.Leave();
        raise(SIGSTOP);
        page.Enter();
        continue;
      }
      page.Leave();
      close(signals);
      // As a process that does not handle it ends.
      sigprocmask(SIG_UNBLOCK, &ends, nullptr);
      signal(static_cast<int>(info.ssi_signo), SIG_DFL);
      raise(static_cast<int>(info.ssi_signo));
      return 128 + static_cast<int>(info.ssi_signo);
    }
  }
  page.Leave();
  close(signals);
  if (!end.empty()) fprintf(stderr, "stasis: %s\n", end.c_str());
  return code;
}

int Top(const TopOptions& options) {
  const Target target = FindTarget(options.target);
  if (target.file.empty()) return Complain(target.finding);
  return options.once || options.json ? Once(options, target) : Follow(target);
}

}  // namespace

void AddTopCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* command = app->add_subcommand(
      "top", "Shows what the scheduler of a running guest does, as its host sees it");
  command->add_option("target", options->target,
                      "Process id of 'stasis run' or 'stasis shell', or a file with a view; default: "
                      "the only one that runs");
  command->add_flag("--once", options->once, "One page, and the end");
  command->add_flag("--json", options->json, "The view as JSON, once");
  command->footer(
      "q or Ctrl-C leaves. Where the output is no terminal, each view is a page below the last.\n"
      "Examples:\n"
      "  stasis top\n"
      "  stasis top 4711 --once\n"
      "  stasis top --json | jq .waiting");
  command->callback([options, invocation] { invocation->action = [options] { return Top(*options); }; });
}

}  // namespace stasis
