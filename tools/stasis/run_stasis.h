// RunStasis: starts the built program as a child, for tests.
#ifndef STASIS_TOOLS_STASIS_RUN_STASIS_H_
#define STASIS_TOOLS_STASIS_RUN_STASIS_H_

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace stasis {

struct RunStasisOptions {
  std::map<std::string, std::string> environment;  // on top of this process's
  std::string input;                               // of standard input, then its end
  std::chrono::seconds time_limit{60};
  std::optional<uint64_t> file_size_limit;  // RLIMIT_FSIZE
  // Sent to the child once this text has appeared on its stderr.
  std::optional<int> signal;
  std::string signal_after;
  bool signal_each_time = false;  // once for every time that it appears
};

struct StasisRun {
  int exit_code = -1;  // 128 + signal when one killed it, -1: beyond the time limit, and killed
  std::string output;
  std::string error;
  int processes_left = 0;  // of its process group, when it had ended
};

StasisRun RunStasis(const std::vector<std::string>& arguments, const RunStasisOptions& options);

std::vector<std::string> SplitLines(const std::string& text);

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_RUN_STASIS_H_
