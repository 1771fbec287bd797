#include "guest/agent/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis::agent {
namespace {

constexpr size_t kOutputChunk = 32 << 10;
constexpr size_t kMaxPendingInput = 1 << 20;
constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Everything that the child needs, made before fork: after it, a child of a process with several
// threads must not allocate.
struct Plan {
  std::vector<std::string> words;
  std::vector<std::string> variables;
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::string cwd;
  bool tty = false;
};

std::vector<char*> Pointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  for (std::string& text : *strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

Plan MakePlan(const wire::Exec& request) {
  Plan plan;
  plan.words = request.argv;
  if (plan.words.empty()) plan.words = {"/bin/sh", "-c", request.shell};
  std::map<std::string, std::string> environment = request.env;
  environment.try_emplace("PATH", kDefaultPath);
  environment.try_emplace("HOME", "/root");
  environment.try_emplace("TERM", "linux");
  for (const auto& [name, value] : environment) {
    plan.variables.push_back(absl::StrCat(name, "=", value));
  }
  plan.cwd = request.cwd.empty() ? "/" : request.cwd;
  plan.tty = request.tty;
  plan.argv = Pointers(&plan.words);
  plan.envp = Pointers(&plan.variables);
  return plan;
}

// What a person expects of a terminal; whatever ran before may have left it raw.
void MakeSane(int fd) {
  termios settings;
  if (tcgetattr(fd, &settings) != 0) return;
  settings.c_iflag = ICRNL | IXON | IUTF8;
  settings.c_oflag = OPOST | ONLCR;
  settings.c_cflag |= CS8 | CREAD;
  settings.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
  settings.c_cc[VINTR] = 3;
  settings.c_cc[VQUIT] = 28;
  settings.c_cc[VERASE] = 127;
  settings.c_cc[VKILL] = 21;
  settings.c_cc[VEOF] = 4;
  settings.c_cc[VSUSP] = 26;
  settings.c_cc[VSTART] = 17;
  settings.c_cc[VSTOP] = 19;
  settings.c_cc[VWERASE] = 23;
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  tcsetattr(fd, TCSANOW, &settings);
}

// In the child: reports errno through `error_pipe` and ends. What failed is told by `step`.
enum Step { kTerminal, kDirectory, kProgram };
struct StartFailure {
  int step;
  int error;
};

[[noreturn]] void Fail(int error_pipe, Step step) {
  const StartFailure failure = {.step = step, .error = errno};
  [[maybe_unused]] ssize_t put = write(error_pipe, &failure, sizeof(failure));
  _exit(127);
}

[[noreturn]] void RunChild(const Plan& plan, const int stdio[3], int error_pipe) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  if (plan.tty) {
    const int terminal = open(kConsoleDevice, O_RDWR);
    if (terminal < 0) Fail(error_pipe, kTerminal);
    MakeSane(terminal);
    if (ioctl(terminal, TIOCSCTTY, 1) != 0) Fail(error_pipe, kTerminal);
    for (int fd = 0; fd < 3; ++fd) dup2(terminal, fd);
    if (terminal > 2) close(terminal);
  } else {
    for (int fd = 0; fd < 3; ++fd) dup2(stdio[fd], fd);
  }
  if (chdir(plan.cwd.c_str()) != 0) Fail(error_pipe, kDirectory);
  execvpe(plan.argv[0], plan.argv.data(), plan.envp.data());
  Fail(error_pipe, kProgram);
}

void CloseIfOpen(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

}  // namespace

Commands::~Commands() {
  for (auto& [pid, command] : commands_) Close(&command);
}

void Commands::Close(Command* command) {
  for (int* fd :
       {&command->input, &command->output[0], &command->output[1], &command->start_failure}) {
    CloseIfOpen(fd);
  }
}

void Commands::Start(const wire::Exec& request) {
  if (request.argv.empty() && request.shell.empty()) {
    send_(wire::ExecExit{.id = request.id, .code = 127, .error = "no command given"});
    return;
  }
  Launch(request);
}

void Commands::Start(const wire::Shell& request) {
  wire::Exec shell{.id = request.id, .argv = {"/bin/sh", "-l"}, .cwd = "/root", .tty = true};
  if (!request.term.empty()) shell.env["TERM"] = request.term;
  Launch(shell);
}

void Commands::Launch(const wire::Exec& request) {
  const Plan plan = MakePlan(request);
  // [0] stdin, [1] stdout, [2] stderr; error_pipe closes by itself when exec succeeds.
  int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  int error_pipe[2] = {-1, -1};
  bool ok = pipe2(error_pipe, O_CLOEXEC) == 0;
  for (int i = 0; i < 3 && ok && !plan.tty; ++i) ok = pipe2(pipes[i], O_CLOEXEC) == 0;
  const pid_t pid = ok ? fork() : -1;
  if (pid == 0) {
    const int stdio[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
    RunChild(plan, stdio, error_pipe[1]);
  }
  const int fork_error = errno;
  CloseIfOpen(&pipes[0][0]);
  CloseIfOpen(&pipes[1][1]);
  CloseIfOpen(&pipes[2][1]);
  CloseIfOpen(&error_pipe[1]);
  Command command{.id = request.id,
                  .input = pipes[0][1],
                  .output = {pipes[1][0], pipes[2][0]},
                  .pending = "",
                  .start_failure = error_pipe[0],
                  .program = plan.words[0],
                  .cwd = plan.cwd};
  if (pid < 0) {
    Close(&command);
    send_(wire::ExecExit{
        .id = request.id, .code = 127, .error = absl::StrCat("fork: ", strerror(fork_error))});
    return;
  }
  for (int fd : {command.input, command.output[0], command.output[1], command.start_failure}) {
    if (fd >= 0) fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  commands_.emplace(pid, std::move(command));
}

void Commands::Input(const wire::ExecInput& input) {
  for (auto& [pid, command] : commands_) {
    if (command.id != input.id || command.input < 0) continue;
    command.pending += input.data.data;
    command.input_ended |= input.eof;
    PumpInput(&command);
  }
}

void Commands::Signal(const wire::ExecSignal& signal) {
  for (auto& [pid, command] : commands_) {
    if (command.id == signal.id) kill(-pid, signal.signal);
  }
}

pid_t Commands::PidOf(uint32_t id) const {
  for (const auto& [pid, command] : commands_) {
    if (command.id == id) return pid;
  }
  return -1;
}

std::string Commands::StartError(const Command& command, int* code) const {
  StartFailure failure;
  if (read(command.start_failure, &failure, sizeof(failure)) != sizeof(failure)) return "";
  const char* subject = failure.step == kTerminal    ? kConsoleDevice
                        : failure.step == kDirectory ? command.cwd.c_str()
                                                     : command.program.c_str();
  *code = failure.step == kProgram && failure.error == EACCES ? 126 : 127;
  return absl::StrCat(subject, ": ", strerror(failure.error));
}

void Commands::PumpInput(Command* command) {
  while (!command->pending.empty()) {
    const ssize_t put = write(command->input, command->pending.data(), command->pending.size());
    if (put > 0) {
      command->pending.erase(0, static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {  // EPIPE: it does not want more
      command->pending.clear();
      command->input_ended = true;
    }
  }
  if (command->input_ended) CloseIfOpen(&command->input);
}

bool Commands::PumpOutput(Command* command, int stream) {
  int* fd = &command->output[stream];
  if (*fd < 0) return false;
  wire::ExecOutput output{
      .id = command->id, .stream = static_cast<uint32_t>(stream + 1), .data = {}};
  output.data.data.resize(kOutputChunk);
  const ssize_t got = read(*fd, output.data.data.data(), kOutputChunk);
  if (got < 0) return errno == EINTR;
  if (got == 0) {
    CloseIfOpen(fd);
    return false;
  }
  output.data.data.resize(static_cast<size_t>(got));
  send_(output);
  return true;
}

void Commands::AddPollFds(std::vector<pollfd>* fds) const {
  for (const auto& [pid, command] : commands_) {
    for (int fd : command.output) {
      if (fd >= 0) fds->push_back({.fd = fd, .events = POLLIN});
    }
    if (command.input >= 0 && !command.pending.empty()) {
      fds->push_back({.fd = command.input, .events = POLLOUT});
    }
  }
}

void Commands::HandleEvents(const std::vector<pollfd>& fds) {
  for (const pollfd& event : fds) {
    if (event.revents == 0) continue;
    for (auto& [pid, command] : commands_) {
      if (event.fd == command.input) PumpInput(&command);
      for (int stream = 0; stream < 2; ++stream) {
        if (event.fd == command.output[stream]) PumpOutput(&command, stream);
      }
    }
  }
}

bool Commands::OnChildExit(pid_t pid, int wait_status) {
  auto it = commands_.find(pid);
  if (it == commands_.end()) return false;
  Command& command = it->second;
  // A pipe holds 64 KiB or, grown, 1 MiB: bounded even if somebody goes on writing.
  for (int stream = 0; stream < 2; ++stream) {
    for (int chunk = 0; chunk < 64 && PumpOutput(&command, stream); ++chunk) {
    }
  }
  wire::ExecExit exit{.id = command.id, .error = ""};
  if (WIFSIGNALED(wait_status)) {
    exit.signal = WTERMSIG(wait_status);
  } else {
    exit.code = WEXITSTATUS(wait_status);
    exit.error = StartError(command, &exit.code);
  }
  Close(&command);
  commands_.erase(it);
  send_(exit);
  return true;
}

bool Commands::InputIsFull() const {
  for (const auto& [pid, command] : commands_) {
    if (command.pending.size() > kMaxPendingInput) return true;
  }
  return false;
}

}  // namespace stasis::agent
