#include "devices/block/disk_options.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "devices/block/block_protocol.h"
#include "devices/block/virtio_block.h"

namespace stasis {
namespace {

constexpr absl::string_view kAllowed =
    "ro, direct, iops=N, bps=SIZE, burst=TIME, queues=N, engine=uring|sync, bad=OFFSET+LENGTH";
constexpr absl::string_view kScratch = "scratch:";

// At single commas; two of them stand for one in a piece.
std::vector<std::string> Split(absl::string_view text) {
  std::vector<std::string> pieces(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      pieces.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      pieces.back() += ',';
      ++i;
    } else {
      pieces.emplace_back();
    }
  }
  return pieces;
}

// Digits only, so that signs and blanks are refused.
bool ParseNumber(absl::string_view text, uint64_t* value) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, value);
}

bool ParseSize(absl::string_view text, uint64_t* bytes) {
  int shift = 0;
  if (!text.empty()) {
    const size_t unit = absl::string_view("KMGT").find(absl::ascii_toupper(text.back()));
    if (unit != absl::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      text.remove_suffix(1);
    }
  }
  if (!ParseNumber(text, bytes) || *bytes > (UINT64_MAX >> shift)) return false;
  *bytes <<= shift;
  return true;
}

class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  absl::StatusOr<DiskOptions> Parse() {
    const std::vector<std::string> pieces = Split(text_);
    absl::Status status = Backing(pieces[0]);
    for (size_t i = 1; i < pieces.size() && status.ok(); ++i) status = Option(pieces[i]);
    if (status.ok()) status = Together();
    if (!status.ok()) return status;
    return options_;
  }

 private:
  absl::Status Bad(absl::string_view why) const {
    return absl::InvalidArgumentError(absl::StrCat("disk '", text_, "': ", why));
  }

  absl::Status Backing(absl::string_view name) {
    if (absl::ConsumePrefix(&name, kScratch)) {
      if (!ParseSize(name, &options_.scratch_bytes) || options_.scratch_bytes < kSectorSize ||
          options_.scratch_bytes > INT64_MAX) {
        return Bad(absl::StrCat("'", name,
                                "' is not a size of 512 bytes or more; write for "
                                "example scratch:1G"));
      }
      return absl::OkStatus();
    }
    if (name.empty()) return Bad("begins with a file's name, or with scratch:SIZE");
    options_.path = std::string(name);
    return absl::OkStatus();
  }

  absl::Status Option(absl::string_view option) {
    const size_t equals = option.find('=');
    const absl::string_view key = option.substr(0, equals);
    const bool has_value = equals != absl::string_view::npos;
    const absl::string_view value = has_value ? option.substr(equals + 1) : "";
    if (!seen_.insert(std::string(key)).second) return Bad(absl::StrCat("'", key, "' twice"));
    if (key == "ro" || key == "direct") {
      if (has_value) return Bad(absl::StrCat("'", key, "' takes no value"));
      (key == "ro" ? options_.read_only : options_.direct) = true;
      return absl::OkStatus();
    }
    if (key == "iops") return Limit(key, value, ParseNumber, &options_.limits.ops_per_second);
    if (key == "bps") return Limit(key, value, ParseSize, &options_.limits.bytes_per_second);
    if (key == "burst") return Burst(value);
    if (key == "queues") {
      uint64_t queues = 0;
      if (!ParseNumber(value, &queues) || queues < 1 || queues > VirtioBlock::kMaxQueues) {
        return Bad(absl::StrFormat("queues='%s'; must be 1 to %d", value, VirtioBlock::kMaxQueues));
      }
      options_.queues = queues;
      return absl::OkStatus();
    }
    if (key == "engine") {
      if (value != "uring" && value != "sync") {
        return Bad(absl::StrCat("engine='", value, "'; must be uring or sync"));
      }
      options_.engine = value == "uring" ? EngineKind::kUring : EngineKind::kSync;
      return absl::OkStatus();
    }
    if (key == "bad") return BadBytes(value);
    return Bad(absl::StrCat("unknown option '", key, "'; allowed: ", kAllowed,
                            " (a comma in a file's name is written twice)"));
  }

  absl::Status Limit(absl::string_view key, absl::string_view value,
                     bool (*parse)(absl::string_view, uint64_t*), uint64_t* limit) {
    if (parse(value, limit) && *limit > 0) return absl::OkStatus();
    return Bad(absl::StrCat(key, "='", value, "'; must be a number above 0",
                            key == "bps" ? " (bytes, or with K, M, G, T)" : ""));
  }

  absl::Status BadBytes(absl::string_view value) {
    const size_t plus = value.find('+');
    IoRange& bad = options_.bad;
    if (plus != absl::string_view::npos && ParseSize(value.substr(0, plus), &bad.offset) &&
        ParseSize(value.substr(plus + 1), &bad.length) && bad.length > 0 &&
        bad.offset + bad.length > bad.offset) {
      return absl::OkStatus();
    }
    return Bad(absl::StrCat("bad='", value, "'; must be two sizes, as in bad=1M+4K"));
  }

  absl::Status Burst(absl::string_view value) {
    if (!absl::ParseDuration(value, &burst_) || burst_ <= absl::ZeroDuration() ||
        burst_ > absl::Hours(24)) {
      return Bad(absl::StrCat("burst='", value, "'; must be a time up to 24h, as 500ms or 2s"));
    }
    return absl::OkStatus();
  }

  absl::Status Together() {
    ThrottleLimits& limits = options_.limits;
    if (burst_ > absl::ZeroDuration()) {
      if (!limits.limited()) return Bad("burst without iops or bps limits nothing");
      limits.ops_burst = Worth(limits.ops_per_second);
      limits.bytes_burst = Worth(limits.bytes_per_second);
    }
    if (options_.path.empty() && (options_.read_only || options_.direct)) {
      return Bad(
          absl::StrCat("a scratch disk cannot be '", options_.read_only ? "ro" : "direct", "'"));
    }
    return absl::OkStatus();
  }

  // The burst of a bucket with this rate: at least one token, or it would stand for the default.
  uint64_t Worth(uint64_t rate) const {
    if (rate == 0) return 0;
    const double tokens = std::floor(static_cast<double>(rate) * absl::ToDoubleSeconds(burst_));
    return static_cast<uint64_t>(std::clamp(tokens, 1.0, 9e18));
  }

  const absl::string_view text_;
  DiskOptions options_;
  absl::Duration burst_;
  std::set<std::string> seen_;
};

}  // namespace

absl::StatusOr<DiskOptions> ParseDiskOptions(absl::string_view text) {
  return Parser(text).Parse();
}

absl::StatusOr<std::shared_ptr<BackingFile>> OpenDisk(const DiskOptions& options) {
  if (options.path.empty()) return BackingFile::CreateScratch(options.scratch_bytes);
  return BackingFile::Open(options.path,
                           {.read_only = options.read_only, .direct = options.direct});
}

}  // namespace stasis
