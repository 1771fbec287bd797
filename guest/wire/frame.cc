#include "guest/wire/frame.h"

#include <zlib.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace stasis::wire {
namespace {

constexpr char kRecordSeparator = 0x1e;
constexpr absl::string_view kMarker = "\x1estasis ";
constexpr size_t kCrcDigits = 8;

uint32_t Crc(absl::string_view text) {
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
}

// The JSON of a whole line (without newline), or an empty view if the line is damaged.
absl::string_view Payload(absl::string_view line) {
  if (!absl::StartsWith(line, kMarker)) return {};
  line.remove_prefix(kMarker.size());
  if (line.size() <= kCrcDigits || line[kCrcDigits] != ' ') return {};
  uint32_t crc;
  if (!absl::SimpleHexAtoi(line.substr(0, kCrcDigits), &crc)) return {};
  line.remove_prefix(kCrcDigits + 1);
  // A terminal driver on the way may have turned "\n" into "\r\n".
  if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
  return Crc(line) == crc ? line : absl::string_view();
}

bool MayBecomeFrame(absl::string_view line) {
  const size_t known = std::min(line.size(), kMarker.size());
  return line.substr(0, known) == kMarker.substr(0, known);
}

}  // namespace

std::string EncodeFrame(absl::string_view json) {
  return absl::StrCat(kMarker, absl::Hex(Crc(json), absl::kZeroPad8), " ", json, "\n");
}

void Decoder::Feed(absl::string_view bytes, std::vector<std::string>* payloads,
                   std::string* console) {
  while (!bytes.empty()) {
    if (line_.empty()) {
      const size_t start = std::min(bytes.find(kRecordSeparator), bytes.size());
      console->append(bytes.data(), start);
      bytes.remove_prefix(start);
      if (bytes.empty()) return;
      line_.push_back(kRecordSeparator);
      bytes.remove_prefix(1);
      continue;
    }
    const size_t room = kMaxLine - line_.size();
    const size_t end = bytes.substr(0, room).find_first_of("\n\x1e");
    const size_t take = std::min({end, room, bytes.size()});
    line_.append(bytes.data(), take);
    bytes.remove_prefix(take);
    if (end != absl::string_view::npos && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      EndLine(payloads, console);
    } else if (end != absl::string_view::npos || line_.size() >= kMaxLine ||
               !MayBecomeFrame(line_)) {
      GiveUp(console);
    }
  }
}

void Decoder::EndLine(std::vector<std::string>* payloads, std::string* console) {
  const absl::string_view payload = Payload(line_);
  if (payload.empty()) {
    line_.push_back('\n');
    GiveUp(console);
    return;
  }
  payloads->emplace_back(payload);
  line_.clear();
}

void Decoder::GiveUp(std::string* console) {
  if (MayBecomeFrame(line_)) ++bad_frames_;  // a lone RS in console output is no frame
  console->append(line_);
  line_.clear();
}

}  // namespace stasis::wire
