#include "guest/agent/sched_ext.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr char kSysfs[] = "/sys/kernel/sched_ext/";
constexpr size_t kLongestLine = 4096;
constexpr int kMostRecords = 10000;  // of one call: somebody may write without end

std::string TextOf(const std::string& path) {
  auto text = ReadText(path);
  return text.ok() ? *std::move(text) : "";
}

}  // namespace

uint64_t SchedExtState::sequence() const {
  uint64_t value = 0;
  return absl::SimpleAtoi(enable_seq, &value) ? value : 0;
}

SchedExtState ReadSchedExt(const std::string& root) {
  const std::string folder = root + kSysfs;
  return {.state = TextOf(folder + "state"),
          .ops = TextOf(folder + "root/ops"),
          .enable_seq = TextOf(folder + "enable_seq")};
}

std::map<std::string, uint64_t> ReadSchedExtEvents(const std::string& root) {
  std::map<std::string, uint64_t> events;
  for (absl::string_view line : absl::StrSplit(TextOf(absl::StrCat(root, kSysfs, "root/events")),
                                               '\n', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    uint64_t count;
    if (words.size() == 2 && absl::SimpleAtoi(words[1], &count)) {
      events[std::string(words[0])] = count;
    }
  }
  return events;
}

KernelLog::~KernelLog() {
  if (fd_ >= 0) close(fd_);
}

void KernelLog::SkipToEnd() {
  if (fd_ < 0) fd_ = open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd_ >= 0) lseek(fd_, 0, SEEK_END);
  partial_.clear();
  disabled_ = {};
}

// "priority,sequence,time,flags;text", one record per read; lines of more about a record begin with
// a space.
const KernelLog::Disabled& KernelLog::ReadDisabled() {
  char buffer[8192];  // the longest record
  for (int record = 0; fd_ >= 0 && record < kMostRecords; ++record) {
    const ssize_t got = read(fd_, buffer, sizeof(buffer));
    if (got < 0 && (errno == EPIPE || errno == EINTR)) continue;  // records were overwritten
    if (got <= 0) break;
    partial_.append(buffer, static_cast<size_t>(got));
    size_t end;
    while ((end = partial_.find('\n')) != std::string::npos) {
      TakeLine(absl::string_view(partial_).substr(0, end));
      partial_.erase(0, end + 1);
    }
    if (partial_.size() > kLongestLine) partial_.clear();
  }
  return disabled_;
}

void KernelLog::TakeLine(absl::string_view line) {
  const size_t text = line.find(';');
  if (text == absl::string_view::npos) return;
  line.remove_prefix(text + 1);
  if (!absl::ConsumePrefix(&line, "sched_ext: ")) return;
  absl::string_view rest = line;
  if (absl::ConsumePrefix(&rest, "BPF scheduler \"")) {
    const size_t end = rest.find("\" disabled (");
    if (end == absl::string_view::npos) return;  // "enabled"
    absl::string_view reason = absl::StripTrailingAsciiWhitespace(rest.substr(end + 12));
    absl::ConsumeSuffix(&reason, ")");
    disabled_ = {.found = true,
                 .ops = std::string(rest.substr(0, end)),
                 .reason = std::string(reason),
                 .message = ""};
    return;
  }
  // The message stands in the line behind it.
  if (disabled_.found && disabled_.message.empty() &&
      absl::ConsumePrefix(&rest, absl::StrCat(disabled_.ops, ": "))) {
    disabled_.message = std::string(absl::StripTrailingAsciiWhitespace(rest));
  }
}

}  // namespace stasis::agent
