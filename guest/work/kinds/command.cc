// command: somebody else's program. It cannot report: its CPU time is added when it ends.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr int kExitNotFound = 127;  // as a shell says it

uint64_t NsOf(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u +
         static_cast<uint64_t>(time.tv_usec) * 1000u;
}

[[noreturn]] void Exec(pid_t parent, char** words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  signal(SIGTERM, SIG_DFL);
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 2 && null >= 0; ++fd) dup2(null, fd);
  execv(words[0], words);
  _exit(kExitNotFound);
}

}  // namespace

void RunCommand(Worker& worker) {
  const pid_t self = getpid();
  std::vector<char*> words;
  for (const std::string& word : worker.spec.command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  while (!worker.stopped()) {
    const uint64_t asked = worker.meter.Tick();
    const pid_t pid = fork();
    if (pid < 0) _exit(kExitRefused);
    if (pid == 0) Exec(self, words.data());
    // At its start: a program that runs until it is stopped is at work all the same.
    worker.meter.CountIteration();
    worker.meter.BeginWait(kWaitsForDevice);
    rusage use = {};
    int status = 0;
    while (wait4(pid, &status, 0, &use) < 0 && errno == EINTR) {
    }
    worker.meter.EndWait();
    worker.meter.AddChildTime(NsOf(use.ru_utime) + NsOf(use.ru_stime));
    worker.meter.StoreRunTime();
    // What became of it becomes of the worker, where the report shows it.
    if (WIFSIGNALED(status)) {
      signal(WTERMSIG(status), SIG_DFL);
      raise(WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) _exit(WEXITSTATUS(status));
    worker.meter.CountResponse(asked);
  }
}

}  // namespace stasis::work
