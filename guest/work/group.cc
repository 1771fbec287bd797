#include "guest/work/group.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

#include "absl/strings/str_cat.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

// Until workers are let go for the `go`th time: those that a step starts wait for their own.
void WaitForGo(Control* control, uint32_t go) {
  uint32_t now;
  while ((now = control->go.load(std::memory_order_acquire)) < go) {
    syscall(SYS_futex, &control->go, FUTEX_WAIT, now, nullptr, nullptr, 0);
  }
}

// A worker may be blocked when it is to stop: the signal ends it wherever it is.
void ExitOnSignal(int) { _exit(0); }

}  // namespace

absl::StatusOr<std::unique_ptr<WorkGroup>> WorkGroup::Create(const WorkSpec& spec,
                                                             const CpuSet& allowed,
                                                             SlotArena* arena, size_t first) {
  std::unique_ptr<WorkGroup> group(new WorkGroup(spec, allowed, arena, first));
  absl::Status status = group->MakeMailboxes();
  if (status.ok() && spec.kind == WorkKind::kIoSync) status = group->OpenFile();
  if (status.ok() && spec.kind == WorkKind::kCommand &&
      access(spec.command[0].c_str(), X_OK) != 0) {
    status = absl::FailedPreconditionError(absl::StrCat("command ", spec.command[0], ": ",
                                                        strerror(errno),
                                                        " in the guest; is it in its initramfs?"));
  }
  if (!status.ok()) return status;
  return group;
}

WorkGroup::~WorkGroup() {
  ClosePipes();
  if (file_ >= 0) close(file_);
  if (mailboxes_ != nullptr) munmap(mailboxes_, mailbox_bytes_);
}

absl::Status WorkGroup::MakeMailboxes() {
  mailbox_bytes_ = (spec_.workers + 1) * sizeof(Mailbox);
  void* memory = mmap(nullptr, mailbox_bytes_, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of a work group");
  mailboxes_ = static_cast<Mailbox*>(memory);
  for (uint32_t i = 0; i <= spec_.workers; ++i) new (mailboxes_ + i) Mailbox();
  return absl::OkStatus();
}

absl::Status WorkGroup::OpenFile() {
  // A path in /dev that is missing must not become a file in memory: that would test nothing.
  const int create = spec_.path.rfind("/dev/", 0) == 0 ? 0 : O_CREAT;
  file_ = open(spec_.path.c_str(), O_RDWR | O_CLOEXEC | create, 0600);
  if (file_ >= 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("io_sync: open ", spec_.path, ": ", strerror(errno),
                   errno == ENOENT ? "; [machine] disks or --disk gives the guest one" : ""));
}

absl::Status WorkGroup::OpenPipes() {
  for (auto& ends : pipes_) {
    if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe of a work group");
  }
  return absl::OkStatus();
}

void WorkGroup::ClosePipes() {
  for (auto& ends : pipes_) {
    for (int& end : ends) {
      if (end >= 0) close(end);
      end = -1;
    }
  }
}

absl::StatusOr<pid_t> WorkGroup::Fork(uint32_t index) {
  const bool pipes = spec_.kind == WorkKind::kPipePing;
  if (pipes && index % 2 == 0) {
    absl::Status status = OpenPipes();
    if (!status.ok()) return status;
  }
  const pid_t parent = getpid();
  const uint32_t go = arena_.control().go.load(std::memory_order_relaxed) + 1;
  const pid_t pid = fork();
  if (pid == 0) RunInChild(index, parent, go);
  const int error = errno;
  // Only the pair holds its pipes: when one of them dies, the other one sees it.
  if (index % 2 == 1) ClosePipes();
  if (pid < 0) return absl::ErrnoToStatus(error, "fork of a worker");
  return pid;
}

void WorkGroup::RunInChild(uint32_t index, pid_t parent, uint32_t go) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);  // it died before the line above
  // The kernel names its tasks when it complains of a scheduler ("cpu_spin[45] failed to run").
  prctl(PR_SET_NAME, fields::NameOf(spec_.kind).c_str());
  prctl(PR_SET_TIMERSLACK, 1UL);      // 50 us by default: that would be the kernel's, not a latency
  struct sigaction action = {};
  action.sa_handler = ExitOnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);

  WorkerSlot* slots = &arena_.slot(first_);
  Worker worker{.spec = spec_,
                .allowed = allowed_,
                .index = index,
                .control = &arena_.control(),
                .slots = slots,
                .mailboxes = mailboxes_,
                .files = {file_, -1},
                .meter = Meter(slots + index)};
  if (spec_.kind == WorkKind::kPipePing) {
    const int mine = static_cast<int>(index % 2);
    worker.files[0] = pipes_[mine][0];
    worker.files[1] = pipes_[1 - mine][1];
    close(pipes_[mine][1]);
    close(pipes_[1 - mine][0]);
  }
  WaitForGo(worker.control, go);
  worker.meter.Tick();
  slots[index].started.store(true, std::memory_order_relaxed);
  RunOf(spec_.kind)(worker);
  worker.meter.StoreRunTime();
  _exit(0);
}

}  // namespace stasis::work
