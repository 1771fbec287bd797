// What the kernel says of sched_ext: its state in sysfs, and why it ended a scheduler.
#ifndef STASIS_GUEST_AGENT_SCHED_EXT_H_
#define STASIS_GUEST_AGENT_SCHED_EXT_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace stasis::agent {

struct SchedExtState {
  std::string state;       // "enabled", "disabled", ...; empty: the kernel has no sched_ext
  std::string ops;         // empty while none is attached
  std::string enable_seq;  // empty on kernels without it

  bool attached() const { return state == "enabled" && !ops.empty(); }
  // enable_seq as a number; 0 without it.
  uint64_t sequence() const;
  bool operator==(const SchedExtState&) const = default;
};

// `root` is "" in the guest; files are those of <root>/sys/kernel/sched_ext.
SchedExtState ReadSchedExt(const std::string& root);
// root/events, where the kernel has it.
std::map<std::string, uint64_t> ReadSchedExtEvents(const std::string& root);

// Reads the kernel's log from now on. What a scheduler's program says of its end is its own word,
// and some say nothing; this is the kernel's. One thread.
class KernelLog {
 public:
  // Opened by SkipToEnd. Without the file (a kernel without printk) nothing is ever found.
  explicit KernelLog(std::string path) : path_(std::move(path)) {}
  ~KernelLog();
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  // Forgets what was read, and what is there so far.
  void SkipToEnd();

  struct Disabled {
    bool found = false;
    std::string ops;
    std::string reason;   // "runnable task stall"
    std::string message;  // may be empty
  };
  // Reads on. The last "disabled" since SkipToEnd.
  const Disabled& ReadDisabled();

 private:
  void TakeLine(absl::string_view line);

  const std::string path_;
  int fd_ = -1;
  std::string partial_;
  Disabled disabled_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_SCHED_EXT_H_
