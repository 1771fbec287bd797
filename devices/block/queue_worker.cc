#include "devices/block/queue_worker.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "devices/block/queue_run.h"

namespace stasis {
namespace {

// What the thread takes with it.
struct ThreadArgument {
  std::shared_ptr<WorkerControl> control;
  std::unique_ptr<QueueRun> run;
};

void* ThreadMain(void* opaque) {
  std::unique_ptr<ThreadArgument> argument(static_cast<ThreadArgument*>(opaque));
  const std::shared_ptr<WorkerControl> control = argument->control;
  control->ThreadBegins();
  argument->run->Run();
  argument.reset();  // its descriptors too, before anybody is told
  control->ThreadEnds();
  return nullptr;
}

class ThreadAttributes {
 public:
  ThreadAttributes() { pthread_attr_init(&attributes_); }
  ~ThreadAttributes() { pthread_attr_destroy(&attributes_); }
  pthread_attr_t* get() { return &attributes_; }

 private:
  pthread_attr_t attributes_;
};

}  // namespace

QueueWorker::~QueueWorker() {
  RequestStop();
  if (!Join(std::chrono::steady_clock::now())) pthread_detach(thread_);
}

absl::Status QueueWorker::Start(const ActiveQueue& queue, const BlockLimits& limits,
                                std::shared_ptr<DriverSignals> signals) {
  auto control = WorkerControl::Create();
  if (!control.ok()) return control.status();
  auto run = QueueRun::Create(disk_, *control, std::move(signals), queue, limits);
  if (!run.ok()) return run.status();

  std::lock_guard<std::mutex> lock(mutex_);
  (*control)->set_on_parked(on_parked_);
  if (pause_) (*control)->RequestPause();
  engine_ = std::string((*run)->engine_name());
  control_ = *control;
  absl::Status status = StartThread(*std::move(run));
  if (!status.ok()) control_ = nullptr;
  return status;
}

absl::Status QueueWorker::StartThread(std::unique_ptr<QueueRun> run) {
  ThreadAttributes attributes;
  if (!disk_->cpus.empty()) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int cpu : disk_->cpus) {
      if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &cpus);
    }
    const int error = pthread_attr_setaffinity_np(attributes.get(), sizeof(cpus), &cpus);
    if (error != 0) return absl::ErrnoToStatus(error, "CPUs for disk workers");
  }
  // All signals but the kick and those that a fault raises belong to other threads.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (int signal : {SIGRTMIN, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigdelset(&blocked, signal);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  auto argument = std::make_unique<ThreadArgument>(ThreadArgument{control_, std::move(run)});
  const int error = pthread_create(&thread_, attributes.get(), ThreadMain, argument.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("thread for ", name_));
  (void)argument.release();  // the thread's
  pthread_setname_np(thread_, name_.substr(0, 15).c_str());
  return absl::OkStatus();
}

void QueueWorker::RequestStop() {
  std::lock_guard<std::mutex> lock(mutex_);
  pause_ = false;
  if (control_ != nullptr) control_->RequestStop();
}

bool QueueWorker::Join(std::chrono::steady_clock::time_point deadline) {
  std::shared_ptr<WorkerControl> control;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    control = control_;
    if (abandoned_) deadline = {};
  }
  if (control == nullptr) return true;
  // Without the lock: the freeze coordinator must get through meanwhile.
  const bool done = control->WaitUntilDone(deadline);
  if (done) {
    pthread_join(thread_, nullptr);
  } else {
    control->Abandon();
  }
  std::lock_guard<std::mutex> lock(mutex_);
  abandoned_ = !done;
  if (done) control_ = nullptr;
  return done;
}

bool QueueWorker::live() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return control_ != nullptr && !abandoned_;
}

std::string QueueWorker::engine() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return control_ == nullptr ? "" : engine_;
}

void QueueWorker::SetOnParked(std::function<void()> on_parked) {
  std::lock_guard<std::mutex> lock(mutex_);
  on_parked_ = std::move(on_parked);
}

void QueueWorker::RequestPause() {
  std::lock_guard<std::mutex> lock(mutex_);
  pause_ = true;
  if (control_ != nullptr && !abandoned_) control_->RequestPause();
}

bool QueueWorker::IsParked() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (control_ == nullptr || abandoned_) return true;  // P3
  if (control_->parked()) return true;
  if (pause_) control_->KickAgain();  // the first one may have come just before a system call
  return false;
}

void QueueWorker::Resume() {
  std::lock_guard<std::mutex> lock(mutex_);
  pause_ = false;
  if (control_ != nullptr) control_->Resume();
}

}  // namespace stasis
