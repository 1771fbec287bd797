#include "guest/agent/system.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace stasis::agent {
namespace {

uint64_t ClockNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

absl::StatusOr<std::string> ReadText(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  std::string text;
  char buffer[8192];
  ssize_t got;
  while ((got = read(fd, buffer, sizeof(buffer))) > 0 || (got < 0 && errno == EINTR)) {
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
  const int error = errno;
  close(fd);
  if (got < 0) return absl::ErrnoToStatus(error, absl::StrCat("read ", path));
  absl::StripTrailingAsciiWhitespace(&text);
  return text;
}

absl::Status WriteText(const std::string& path, absl::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  const ssize_t put = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (put < 0) return absl::ErrnoToStatus(error, absl::StrCat("write '", text, "' to ", path));
  return absl::OkStatus();
}

uint64_t MonotonicNs() { return ClockNs(CLOCK_MONOTONIC); }
uint64_t BootNs() { return ClockNs(CLOCK_BOOTTIME); }

absl::Status MakeThreadRealTime(int priority) {
  const sched_param param = {.sched_priority = priority};
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "real-time priority for the agent");
}

std::string CommandLineValue(absl::string_view cmdline, absl::string_view word) {
  for (absl::string_view part : absl::StrSplit(cmdline, ' ', absl::SkipWhitespace())) {
    if (absl::ConsumePrefix(&part, word) && absl::ConsumePrefix(&part, "=")) {
      return std::string(part);
    }
  }
  return "";
}

PiMutex::PiMutex() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  pthread_mutex_init(&mutex_, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

}  // namespace stasis::agent
