// The reference page of scenario files.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "guest/scenario/expect_table.h"
#include "guest/scenario/judge.h"
#include "guest/scenario/parser.h"
#include "guest/scenario/scenario_text.h"
#include "guest/scenario/step_table.h"
#include "guest/scenario/work_table.h"

namespace stasis {
namespace {

std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

void AppendKeys(const TableReference& table, std::string* text) {
  absl::StrAppend(text, "| key | form | what |\n|---|---|---|\n");
  for (const KeyReference& key : table.keys) {
    absl::StrAppend(text, "| `", key.name, "` | ", Cell(key.form), " | ", Cell(key.what), " |\n");
  }
  absl::StrAppend(text, "\n");
}

std::string ParameterLine(const WorkParameter& parameter) {
  std::string text = absl::StrCat("`", parameter.name, "`: ", parameter.what);
  if (parameter.required) return text + " (must be written)";
  if (parameter.unit == ParameterUnit::kTime || parameter.unit == ParameterUnit::kSize ||
      parameter.unit == ParameterUnit::kCount) {
    absl::StrAppend(&text, " (", ParameterText(parameter.unit, parameter.fallback), ")");
  }
  return text;
}

void AppendWork(std::string* text) {
  absl::StrAppend(text,
                  "### Kinds of work\n\n| kind | what a worker does | an iteration is | "
                  "parameters (defaults) |\n|---|---|---|---|\n");
  for (const WorkKindInfo& info : WorkKinds()) {
    std::vector<std::string> parameters;
    if (info.group.min_workers > 1) {
      parameters.push_back(absl::StrCat("at least ", info.group.min_workers, " workers",
                                        info.group.multiple_of > 1 ? ", in pairs" : ""));
    }
    for (const WorkParameter& parameter : info.parameters) {
      parameters.push_back(ParameterLine(parameter));
    }
    absl::StrAppend(text, "| `", info.name, "` | ", Cell(info.what), " | ", Cell(info.iteration),
                    " | ", Cell(absl::StrJoin(parameters, "; ")), " |\n");
  }
  absl::StrAppend(text, "\n");
}

void AppendSteps(std::string* text) {
  absl::StrAppend(
      text, "## [[step]]\n\n",
      "`at` says when, as a part of the duration (`\"50%\"`) or a time (`\"3s\"`), and `do` lists "
      "what is done then, one after the other. Steps stand in the order of their times, at most ",
      kMaxSteps, " of them. An action that cannot be done ends the scenario. For ",
      absl::FormatDuration(kStepTransition),
      " after a step nothing is judged that goes by phases (`isolation`, `max_spread`, "
      "`max_variation`, `ratio` with `phase`): a phase is the time from then until the next step. "
      "Names, CPUs and what is there at which time are checked before the machine is booted.\n\n",
      "| action | what | as it is written |\n|---|---|---|\n");
  for (const ActionInfo& info : Actions()) {
    absl::StrAppend(text, "| `", info.name, "` | ", Cell(info.what), " | `", Cell(info.example),
                    "` |\n");
  }
  absl::StrAppend(text, "\n");
}

void AppendExpectations(std::string* text) {
  absl::StrAppend(
      text, "## [expect]\n\n",
      "Besides what is written here, every run needs evidence: it lasted for its duration, all "
      "steps were carried out, all workers ran and were there until the end, or until a step ended "
      "them. `max_gap` is always judged, by default with ",
      absl::FormatDuration(DefaultLimits().max_gap),
      ". On an emulated host that default is multiplied by how much longer a byte takes through a "
      "pipe and back there than on hardware (",
      kReferenceCalibrationNs,
      " ns), at most by 10, and the report says so; limits that are written are never scaled.\n\n",
      "| key | what must hold | as it is written |\n|---|---|---|\n");
  for (const ExpectationInfo& info : Expectations()) {
    absl::StrAppend(text, "| `", info.name, "` | ", Cell(info.what), " | `", Cell(info.example),
                    "` |\n");
  }
  absl::StrAppend(text, "\n`should_fail = \"max_gap\"` turns one of them around: it must not hold "
                        "(of a list, at least one entry), while everything else must.\n");
}

}  // namespace

std::string ScenarioReference() {
  std::string text =
      "# Scenario files: reference\n\n"
      "Made by `stasis scenario reference` from the tables that the parser reads by; a test "
      "compares them.\n\n"
      "A scenario is a TOML file. Times are written with their unit (`\"10s\"`, `\"5ms\"`, "
      "`\"1m30s\"`), sizes as well (`\"512M\"`, powers of 1024). CPUs are `\"0-3,6\"`, or relative "
      "to the topology: `half:0` and `half:1`, `llc:N`, `node:N`, `all`. What is not known is "
      "refused with its line and column.\n\n";
  for (const TableReference& table : ScenarioTables()) {
    absl::StrAppend(&text, table.name == "work" ? "### work" : "## ",
                    table.name == "work" ? "" : table.name.empty() ? "The file" : table.name,
                    "\n\n");
    AppendKeys(table, &text);
  }
  AppendWork(&text);
  AppendSteps(&text);
  AppendExpectations(&text);
  return text;
}

}  // namespace stasis
