#include "guest/scenario/cpu_set.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

bool ParseNumber(absl::string_view text, uint32_t* number) {
  // SimpleAtoi takes signs and blanks, a CPU list does not.
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, number);
}

absl::Status AddRange(absl::string_view part, CpuSet* set) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(part, absl::MaxSplits('-', 1));
  uint32_t first, last;
  if (!ParseNumber(ends.first, &first)) {
    return absl::InvalidArgumentError(absl::StrCat("'", part, "' is no CPU number or range"));
  }
  last = first;
  if (absl::StrContains(part, "-") && !ParseNumber(ends.second, &last)) {
    return absl::InvalidArgumentError(absl::StrCat("'", part, "' is no CPU range"));
  }
  if (last < first) {
    return absl::InvalidArgumentError(absl::StrCat("'", part, "' runs backwards"));
  }
  if (last >= CpuSet::kMaxCpus) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", part, "': CPU numbers end at ", CpuSet::kMaxCpus - 1));
  }
  for (uint32_t cpu = first; cpu <= last; ++cpu) set->Add(cpu);
  return absl::OkStatus();
}

struct Term {
  std::string kind;  // "half", "llc", "node", "all", "cpus"
  uint32_t index = 0;
  CpuSet cpus;
};

absl::StatusOr<Term> ParseTerm(absl::string_view text) {
  Term term;
  if (text == "all") {
    term.kind = "all";
    return term;
  }
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) {
    term.kind = "cpus";
    absl::Status status = AddRange(text, &term.cpus);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(status.message(),
                       "; expected 'half:i', 'llc:i', 'node:i', 'all', or a list "
                       "such as '0-3,6'"));
    }
    return term;
  }
  term.kind = std::string(text.substr(0, colon));
  if (term.kind != "half" && term.kind != "llc" && term.kind != "node") {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "': unknown group '", term.kind, "'; expected half, llc or node"));
  }
  if (!ParseNumber(text.substr(colon + 1), &term.index)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "': expected a number after '", term.kind, ":'"));
  }
  if (term.kind == "half" && term.index > 1) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': halves are half:0 and half:1"));
  }
  return term;
}

absl::StatusOr<std::vector<Term>> ParseTerms(absl::string_view expression) {
  expression = absl::StripAsciiWhitespace(expression);
  std::vector<Term> terms;
  if (expression.empty()) expression = "all";
  for (absl::string_view part : absl::StrSplit(expression, ',')) {
    auto term = ParseTerm(absl::StripAsciiWhitespace(part));
    if (!term.ok()) return term.status();
    terms.push_back(*std::move(term));
  }
  return terms;
}

CpuSet Half(const CpuSet& online, uint32_t index) {
  const std::vector<uint32_t> cpus = online.Cpus();
  const size_t middle = (cpus.size() + 1) / 2;
  return index == 0 ? CpuSet::Of({cpus.begin(), cpus.begin() + middle})
                    : CpuSet::Of({cpus.begin() + middle, cpus.end()});
}

absl::StatusOr<CpuSet> ResolveTerm(const Term& term, const CpuGroups& groups) {
  if (term.kind == "all") return groups.online;
  if (term.kind == "half") {
    CpuSet half = Half(groups.online, term.index);
    if (half.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("'half:", term.index, "': this machine has only ", groups.online.size(),
                       " CPU; give it at least 2"));
    }
    return half;
  }
  if (term.kind == "cpus") {
    const CpuSet missing = term.cpus.Without(groups.online);
    if (!missing.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("CPUs ", missing.ToString(),
                                                        " are not online; this machine has ",
                                                        groups.online.ToString()));
    }
    return term.cpus;
  }
  const std::vector<CpuSet>& sets = term.kind == "llc" ? groups.llcs : groups.nodes;
  if (term.index >= sets.size() || sets[term.index].empty()) {
    return absl::FailedPreconditionError(absl::StrCat("'", term.kind, ":", term.index,
                                                      "': this machine has ", sets.size(), " ",
                                                      term.kind, "s, counted from 0"));
  }
  return sets[term.index];
}

}  // namespace

absl::StatusOr<CpuSet> CpuSet::Parse(absl::string_view list) {
  CpuSet set;
  list = absl::StripAsciiWhitespace(list);
  if (list.empty()) return set;
  for (absl::string_view part : absl::StrSplit(list, ',')) {
    absl::Status status = AddRange(part, &set);
    if (!status.ok()) return status;
  }
  return set;
}

CpuSet CpuSet::Of(const std::vector<uint32_t>& cpus) {
  CpuSet set;
  for (uint32_t cpu : cpus) set.Add(cpu);
  return set;
}

std::vector<uint32_t> CpuSet::Cpus() const {
  std::vector<uint32_t> cpus;
  for (uint32_t cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (bits_.test(cpu)) cpus.push_back(cpu);
  }
  return cpus;
}

std::string CpuSet::ToString() const {
  std::string text;
  for (uint32_t cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (!bits_.test(cpu)) continue;
    uint32_t last = cpu;
    while (last + 1 < kMaxCpus && bits_.test(last + 1)) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ",", cpu);
    if (last > cpu) absl::StrAppend(&text, "-", last);
    cpu = last;
  }
  return text;
}

absl::StatusOr<CpuSet> ResolveCpus(absl::string_view expression, const CpuGroups& groups) {
  auto terms = ParseTerms(expression);
  if (!terms.ok()) return terms.status();
  CpuSet all;
  for (const Term& term : *terms) {
    auto cpus = ResolveTerm(term, groups);
    if (!cpus.ok()) return cpus.status();
    all = all | *cpus;
  }
  return all;
}

absl::Status CheckCpuExpression(absl::string_view expression) {
  return ParseTerms(expression).status();
}

}  // namespace stasis
