#include "tools/harness/run_set/junit.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

// Length of the UTF-8 sequence at the front; 0 if there is none, or none that XML may hold.
size_t SequenceLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : byte(0) >= 0xc2 ? 2 : 0;
  if (length == 0 || byte(0) > 0xf4 || text.size() < length) return 0;
  uint32_t code = byte(0) & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kLeast[length] || code > 0x10ffff || surrogate || (code & 0xfffe) == 0xfffe) return 0;
  return length;
}

std::string Escaped(absl::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const char c = text[0];
    if (length == 0) {
      escaped += kReplacement;
    } else if (length > 1) {
      escaped.append(text.data(), length);
    } else if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else if (c == '\n' || c == '\t' || !absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      escaped += c;
    } else if (c != '\r') {
      escaped += kReplacement;
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return escaped;
}

// In an attribute a newline would become a space.
std::string Attribute(const char* name, absl::string_view value) {
  return absl::StrCat(" ", name, "=\"", Escaped(value), "\"");
}

const char* ElementOf(RunState state) {
  switch (state) {
    case RunState::kPass:
      return nullptr;
    case RunState::kFail:
      return "failure";
    case RunState::kSkipped:
      return "skipped";
    default:
      return "error";
  }
}

void AppendCase(const RunOutcome& outcome, std::string* xml) {
  absl::StrAppend(xml, "    <testcase", Attribute("classname", outcome.run.name),
                  Attribute("name", absl::StrCat("run ", outcome.run.repeat)),
                  absl::StrFormat(" time=\"%.3f\"", absl::ToDoubleSeconds(outcome.wall)), ">\n");
  if (const char* element = ElementOf(outcome.state); element != nullptr) {
    absl::StrAppend(xml, "      <", element, Attribute("message", FirstLine(outcome.finding)),
                    outcome.state == RunState::kSkipped
                        ? ""
                        : Attribute("type", RunStateName(outcome.state)),
                    "/>\n");
  }
  if (!outcome.text.empty()) {
    absl::StrAppend(xml, "      <system-out>", Escaped(outcome.text), "</system-out>\n");
  }
  absl::StrAppend(xml, "    </testcase>\n");
}

}  // namespace

std::string JunitXml(const std::vector<RunOutcome>& outcomes) {
  size_t failures = 0;
  size_t errors = 0;
  size_t skipped = 0;
  absl::Duration time;
  for (const RunOutcome& outcome : outcomes) {
    failures += outcome.state == RunState::kFail;
    skipped += outcome.state == RunState::kSkipped;
    errors += outcome.state != RunState::kFail && outcome.state != RunState::kSkipped &&
              outcome.state != RunState::kPass;
    time += outcome.wall;
  }
  std::string xml = absl::StrFormat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "  <testsuite name=\"stasis\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" "
      "time=\"%.3f\">\n",
      outcomes.size(), failures, errors, skipped, absl::ToDoubleSeconds(time));
  for (const RunOutcome& outcome : outcomes) AppendCase(outcome, &xml);
  absl::StrAppend(&xml, "  </testsuite>\n</testsuites>\n");
  return xml;
}

}  // namespace stasis
