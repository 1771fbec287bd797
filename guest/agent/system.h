// Small system helpers of the agent: text files of /proc and /sys, clocks, real-time threads.
#ifndef STASIS_GUEST_AGENT_SYSTEM_H_
#define STASIS_GUEST_AGENT_SYSTEM_H_

#include <pthread.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis::agent {

// The whole file, trailing white space removed. Errors: errno with the path.
absl::StatusOr<std::string> ReadText(const std::string& path);

// One write(2), as /proc and /sys want it. Errors: errno with path and text.
absl::Status WriteText(const std::string& path, absl::string_view text);

uint64_t MonotonicNs();
uint64_t BootNs();  // since boot, suspended time included

// SCHED_FIFO for the calling thread; what it forks later starts as normal again. A test scheduler
// that starves everything else must not silence the agent.
absl::Status MakeThreadRealTime(int priority);

// The value of `word=value` on the kernel's command line; "" when it is not there.
std::string CommandLineValue(absl::string_view cmdline, absl::string_view word);

// A mutex with priority inheritance: a starved holder runs at the priority of a real-time waiter.
class PiMutex {
 public:
  PiMutex();
  ~PiMutex() { pthread_mutex_destroy(&mutex_); }
  PiMutex(const PiMutex&) = delete;
  PiMutex& operator=(const PiMutex&) = delete;
  void lock() { pthread_mutex_lock(&mutex_); }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_SYSTEM_H_
