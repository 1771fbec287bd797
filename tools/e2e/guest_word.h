// GuestWord: what a guest's /proc and /sys say, to compare with what the host read from its memory.
#ifndef STASIS_TOOLS_E2E_GUEST_WORD_H_
#define STASIS_TOOLS_E2E_GUEST_WORD_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace stasis {

// Of the output of GuestWordScript(): one line for each line of a file.
class GuestWord {
 public:
  // A shell function `look NAME` that prints it.
  static std::string Script();
  // The part of `output` that `look NAME` printed.
  static GuestWord Parse(const std::string& output, const std::string& name);

  // The value behind "KEY:" or "KEY :" in a file, trimmed; "" without.
  std::string Of(const std::string& file, const std::string& key) const;
  // A number, or milliseconds with six decimals as nanoseconds.
  std::optional<int64_t> Number(const std::string& file, const std::string& key) const;
  bool Has(const std::string& file) const { return files_.count(file) != 0; }
  const std::map<std::string, std::map<std::string, std::string>>& files() const { return files_; }

 private:
  // File, key, value. The runqueues of sched/debug are files "cpu#0", "rt_rq[0]:", "dl_rq[0]:".
  std::map<std::string, std::map<std::string, std::string>> files_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_E2E_GUEST_WORD_H_
