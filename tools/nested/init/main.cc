// PID 1 of the emulated host: makes it look like the machine outside and runs one program in it.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "tools/nested/init/host.h"
#include "tools/nested/init/launch.h"
#include "tools/nested/init/relay.h"
#include "tools/nested/protocol.h"

namespace stasis::nested {
namespace {

using Kind = ControlMessage::Kind;

// Lines are far below what a port takes at once, so the two threads' lines do not mix.
void Send(int control, const ControlMessage& message) { WriteAll(control, EncodeControl(message)); }

// The proof of life. Real-time priority: only a machine that stands still keeps it from running.
void* Beat(void* argument) {
  const int control = *static_cast<int*>(argument);
  sched_param priority = {};
  priority.sched_priority = sched_get_priority_max(SCHED_FIFO);
  pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority);
  for (uint64_t beat = 1;; ++beat) {
    Send(control, {.kind = Kind::kBeat, .a = beat});
    const timespec second = {1, 0};
    nanosleep(&second, nullptr);
  }
}

bool ReadOrder(Order* order) {
  std::string bytes;
  const int fd = open(kOrderPath, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) {
    bytes.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  std::optional<Order> read = DecodeOrder(bytes);
  if (read) *order = *std::move(read);
  return read.has_value();
}

void StartBeat(int* control) {
  pthread_t thread;
  pthread_create(&thread, nullptr, Beat, control);
  pthread_detach(thread);
}

// Until the control port is there, the console is all we have.
bool Prepare(const Order& order, Ports* ports, std::string* error) {
  if (!LoadModules(order, error) || !OpenPorts(ports, error)) return false;
  utsname name = {};
  uname(&name);
  Send(ports->control, {.kind = Kind::kHello, .text = name.release});
  StartBeat(&ports->control);
  constexpr std::string_view kHostName = "stasis-nested";
  if (sethostname(kHostName.data(), kHostName.size()) != 0) {
    return *error = std::string("set the host name: ") + strerror(errno), false;
  }
  return EnterSharedTree(order, error);
}

bool Serve(const Order& order, const Ports& ports, std::string* error) {
  Program program;
  if (!Launch(order, &program, error)) return false;
  Send(ports.control, {.kind = Kind::kStarted});
  const RelayResult result = RunRelay(ports, program, order);
  if (!ReleaseSharedTree(order, error)) return false;
  Send(ports.control, {.kind = Kind::kExit,
                       .code = result.exit_code,
                       .a = result.stdout_bytes,
                       .b = result.stderr_bytes});
  return true;
}

}  // namespace

int Main() {
  // Before there is a second thread: it would take SIGCHLD away from the relay's signalfd.
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  signal(SIGPIPE, SIG_IGN);
  static Ports ports;  // the heartbeat outlives every scope
  Order order;
  std::string error;
  bool ok = MountEarly(&error);
  if (ok && !ReadOrder(&order)) ok = (error = "no readable order in the initramfs", false);
  if (ok) ok = Prepare(order, &ports, &error);
  if (ok) ok = Serve(order, ports, &error);
  if (!ok) {
    dprintf(STDERR_FILENO, "stasis nested init: %s\n", error.c_str());
    if (ports.control >= 0) Send(ports.control, {.kind = Kind::kFailed, .text = error});
  }
  // The outside ends the machine when it has the last message; this is for when it is not there.
  sleep(ok ? 10 : 2);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

}  // namespace stasis::nested

int main() { return stasis::nested::Main(); }
