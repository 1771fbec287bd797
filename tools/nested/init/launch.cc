#include "tools/nested/init/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <vector>

namespace stasis::nested {
namespace {

std::string Failure(const std::string& what) { return what + ": " + strerror(errno); }

// The slave's end, with the line discipline that the terminal outside expects of us.
int OpenSlave(int master, const Order& order) {
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) != 0) return -1;
  const int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return -1;
  if (!order.raw) {
    // The terminal outside still cooks: doing it twice would double carriage returns and echo.
    termios mode;
    if (tcgetattr(slave, &mode) != 0) return -1;
    mode.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (tcsetattr(slave, TCSANOW, &mode) != 0) return -1;
  }
  const winsize size = {order.window.rows, order.window.columns, 0, 0};
  ioctl(master, TIOCSWINSZ, &size);
  return slave;
}

// In the child: never returns. Reports through `report` what failed.
[[noreturn]] void Execute(const Order& order, const int (&fds)[3], int slave, int report) {
  auto fail = [report](const std::string& what) {
    WriteAll(report, Failure(what));
    _exit(127);
  };
  setsid();
  if (slave >= 0 && ioctl(slave, TIOCSCTTY, 0) != 0) fail("take the terminal");
  for (int i = 0; i < 3; ++i) {
    if (dup2(fds[i], i) < 0) fail("dup2");
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  if (chdir(order.working_directory.c_str()) != 0) fail("enter " + order.working_directory);
  std::vector<char*> argv;
  for (const std::string& arg : order.argv) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  clearenv();
  for (const auto& [name, value] : order.env) setenv(name.c_str(), value.c_str(), 1);
  execv(argv[0], argv.data());
  fail("execute " + order.argv[0]);
  _exit(127);
}

// Empty when the child was executed (its end of the pipe closed itself), else what it said.
std::string AwaitExecution(int report) {
  std::string said;
  char bytes[256];
  for (;;) {
    const ssize_t n = read(report, bytes, sizeof bytes);
    if (n > 0) said.append(bytes, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) return said;
  }
}

// Ends that the parent keeps and ends that the child gets.
struct Ends {
  Program parent;
  int child[3] = {-1, -1, -1};
  int slave = -1;
};

bool MakeEnds(const Order& order, Ends* ends, std::string* error) {
  int* const kept[3] = {&ends->parent.in, &ends->parent.out, &ends->parent.err};
  if (order.terminal[0] || order.terminal[1] || order.terminal[2]) {
    ends->parent.terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (ends->parent.terminal >= 0) ends->slave = OpenSlave(ends->parent.terminal, order);
    if (ends->slave < 0) return *error = Failure("open a pseudo-terminal"), false;
  }
  for (int i = 0; i < 3; ++i) {
    if (order.terminal[i]) {
      ends->child[i] = ends->slave;
      if (i == 0) *kept[i] = ends->parent.terminal;
      continue;
    }
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) return *error = Failure("pipe"), false;
    ends->child[i] = pipe_ends[i == 0 ? 0 : 1];
    *kept[i] = pipe_ends[i == 0 ? 1 : 0];
    fcntl(*kept[i], F_SETFL, O_NONBLOCK);
  }
  return true;
}

}  // namespace

bool Launch(const Order& order, Program* program, std::string* error) {
  if (order.argv.empty()) return *error = "no program to run", false;
  Ends ends;
  if (!MakeEnds(order, &ends, error)) return false;
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return *error = Failure("pipe"), false;
  const pid_t pid = fork();
  if (pid < 0) return *error = Failure("fork"), false;
  if (pid == 0) Execute(order, ends.child, ends.slave, report[1]);
  close(report[1]);
  for (int i = 0; i < 3; ++i) {
    if (ends.child[i] != ends.slave) close(ends.child[i]);
  }
  *error = AwaitExecution(report[0]);
  close(report[0]);
  if (ends.slave >= 0) close(ends.slave);
  if (!error->empty()) return waitpid(pid, nullptr, 0), false;
  ends.parent.pid = pid;
  *program = ends.parent;
  return true;
}

}  // namespace stasis::nested
