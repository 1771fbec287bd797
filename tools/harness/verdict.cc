#include "tools/harness/verdict.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace stasis {

int ExitCode(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return 0;
    case Verdict::kFail:
      return 1;
    case Verdict::kUsage:
      return 2;
    case Verdict::kError:
      return 3;
    case Verdict::kInconclusive:
      return 4;
  }
  return 3;
}

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kFail:
      return "fail";
    case Verdict::kUsage:
      return "usage";
    case Verdict::kError:
      return "error";
    case Verdict::kInconclusive:
      return "inconclusive";
  }
  return "error";
}

absl::string_view LayerName(Layer layer) {
  switch (layer) {
    case Layer::kNone:
      return "";
    case Layer::kHost:
      return "host";
    case Layer::kBoot:
      return "boot";
    case Layer::kAgent:
      return "agent";
    case Layer::kSchedulerLoad:
      return "scheduler load";
    case Layer::kScheduler:
      return "scheduler";
    case Layer::kWorkload:
      return "workload";
  }
  return "";
}

Layer LayerByName(absl::string_view name) {
  for (Layer layer : {Layer::kHost, Layer::kBoot, Layer::kAgent, Layer::kSchedulerLoad,
                      Layer::kScheduler, Layer::kWorkload}) {
    if (LayerName(layer) == name) return layer;
  }
  return Layer::kNone;
}

std::string OneLine(absl::string_view text, size_t most) {
  std::string line;
  for (char c : absl::StripAsciiWhitespace(text)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (control && !line.empty() && line.back() == ' ') continue;
    line.push_back(control ? ' ' : c);
  }
  if (line.size() > most) line = absl::StrCat(line.substr(0, most), "...");
  return line;
}

std::string FirstLine(const Finding& finding) {
  std::string line = absl::AsciiStrToUpper(VerdictName(finding.verdict));
  if (finding.layer != Layer::kNone) absl::StrAppend(&line, ": ", LayerName(finding.layer));
  if (!finding.what.empty()) absl::StrAppend(&line, ": ", OneLine(finding.what));
  if (!finding.to_do.empty()) absl::StrAppend(&line, "; ", OneLine(finding.to_do));
  return line;
}

Finding FindingFromStatus(Layer layer, const absl::Status& status) {
  Finding finding;
  finding.verdict = absl::IsInvalidArgument(status) ? Verdict::kUsage : Verdict::kError;
  finding.layer = layer;
  finding.what = OneLine(std::string(status.message()), 2000);
  return finding;
}

}  // namespace stasis
