#include "guest/scenario/work_parser.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/scenario/parser.h"
#include "guest/scenario/work_table.h"

namespace stasis {
namespace {

absl::StatusOr<Scenario> Parse(const std::string& work) {
  return ParseScenario(absl::StrCat("duration = \"1s\"\n[expect]\nisolation = true\n[[cgroup]]\n",
                                    "name = \"a\"\nwork = [{ ", work, " }]\n"),
                       "w.toml");
}

WorkSpec Read(const std::string& work) {
  auto scenario = Parse(work);
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return scenario.ok() ? scenario->cgroups[0].work[0] : WorkSpec();
}

std::string ErrorOf(const std::string& work) {
  auto scenario = Parse(work);
  return scenario.ok() ? "ok" : std::string(scenario.status().message());
}

// What a kind needs besides its name.
std::string Required(WorkKind kind) {
  switch (kind) {
    case WorkKind::kIoSync:
      return ", path = \"/dev/vda\"";
    case WorkKind::kCommand:
      return ", command = [\"/bin/true\"]";
    default:
      return "";
  }
}

class WorkKindTest : public testing::TestWithParam<WorkKind> {
 protected:
  std::string Start() const {
    return absl::StrCat("kind = \"", fields::NameOf(GetParam()), "\"", Required(GetParam()));
  }
};

TEST_P(WorkKindTest, TableIsInOrderAndSaysWhatItIs) {
  const WorkKindInfo& info = InfoOf(GetParam());

  EXPECT_EQ(info.kind, GetParam());
  EXPECT_STRNE(info.what, "");
  EXPECT_STRNE(info.iteration, "");
  for (const WorkParameter& parameter : info.parameters) {
    EXPECT_STRNE(parameter.what, "") << parameter.name;
    EXPECT_LE(parameter.low, parameter.fallback) << parameter.name;
    EXPECT_LE(parameter.fallback, parameter.high) << parameter.name;
  }
}

TEST_P(WorkKindTest, NameAloneGivesTheDefaults) {
  const WorkSpec work = Read(Start());
  WorkSpec expected = DefaultWork(GetParam());
  expected.path = work.path;
  expected.command = work.command;

  EXPECT_EQ(fields::ToJson(work), fields::ToJson(expected));
}

TEST_P(WorkKindTest, EveryNumberIsReadAndItsBoundsHold) {
  for (const WorkParameter& parameter : InfoOf(GetParam()).parameters) {
    if (parameter.low == parameter.high) continue;  // no number
    const bool quoted = parameter.unit != ParameterUnit::kCount;
    auto with = [&](int64_t value) {
      const std::string text = ParameterText(parameter.unit, value);
      return absl::StrCat(Start(), ", ", parameter.name, " = ",
                          quoted ? absl::StrCat("\"", text, "\"") : text);
    };
    if (GetParam() != WorkKind::kRtPeriodic && GetParam() != WorkKind::kIoSync) {
      EXPECT_EQ(ErrorOf(with(parameter.low)), "ok") << parameter.name;
      EXPECT_EQ(ErrorOf(with(parameter.high)), "ok") << parameter.name;
    }
    EXPECT_TRUE(absl::StrContains(ErrorOf(with(2 * parameter.high)), "out of range"))
        << ErrorOf(with(2 * parameter.high));
  }
}

TEST_P(WorkKindTest, ParameterOfAnotherKindIsRefused) {
  for (const WorkKindInfo& other : WorkKinds()) {
    for (const WorkParameter& foreign : other.parameters) {
      bool own = false;
      for (const WorkParameter& parameter : InfoOf(GetParam()).parameters) {
        own = own || std::string(parameter.name) == foreign.name;
      }
      if (own) continue;
      EXPECT_TRUE(absl::StrContains(ErrorOf(absl::StrCat(Start(), ", ", foreign.name, " = 1")),
                                    absl::StrCat("'", foreign.name, "' belongs to work of kind ")));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllKinds, WorkKindTest, testing::ValuesIn([] {
                           std::vector<WorkKind> kinds;
                           for (const WorkKindInfo& info : WorkKinds()) kinds.push_back(info.kind);
                           return kinds;
                         }()),
                         [](const auto& info) { return fields::NameOf(info.param); });

TEST(ReadWorkTest, EveryParameterLandsInItsPlace) {
  const WorkSpec bursty = Read("kind = \"bursty\", run = \"7ms\", sleep = \"9us\"");
  EXPECT_EQ(bursty.run, absl::Milliseconds(7));
  EXPECT_EQ(bursty.sleep, absl::Microseconds(9));
  const WorkSpec io = Read(
      "kind = \"io_sync\", path = \"/dev/vdb\", block = \"8K\", span = \"64K\", sleep = \"0s\"");
  EXPECT_EQ(io.path, "/dev/vdb");
  EXPECT_EQ(io.block_bytes, 8192u);
  EXPECT_EQ(io.span_bytes, 65536u);
  EXPECT_EQ(Read("kind = \"pipe_ping\", message = 100").message_bytes, 100u);
  EXPECT_EQ(Read("kind = \"wake_chain\", workers = 5, tokens = 3").tokens, 3u);
  EXPECT_EQ(Read("kind = \"cache_pressure\", memory = \"2M\"").memory_bytes, 2097152u);
  const WorkSpec nice = Read("kind = \"nice_sweep\", nice_from = 5, nice_to = -5");
  EXPECT_EQ(nice.nice_from, 5);
  EXPECT_EQ(nice.nice_to, -5);
  const WorkSpec mutex = Read("kind = \"mutex_contention\", hold = \"1ms\", run = \"2ms\"");
  EXPECT_EQ(mutex.hold, absl::Milliseconds(1));
  EXPECT_EQ(mutex.run, absl::Milliseconds(2));
  EXPECT_EQ(Read("kind = \"timer_wake\", period = \"3ms\"").period, absl::Milliseconds(3));
  const WorkSpec churn =
      Read("kind = \"policy_churn\", policies = [\"idle\", \"rr\"], rt_priority = 7");
  EXPECT_EQ(churn.policies,
            (std::vector<SchedPolicy>{SchedPolicy::kIdle, SchedPolicy::kRoundRobin}));
  EXPECT_EQ(churn.rt_priority, 7);
  EXPECT_EQ(Read("kind = \"command\", command = [\"/bin/a\", \"b c\"]").command,
            (std::vector<std::string>{"/bin/a", "b c"}));
}

TEST(ReadWorkTest, PeriodicWorkIsRealTimeUnlessItSaysOtherwise) {
  EXPECT_EQ(Read("kind = \"rt_periodic\"").policy, SchedPolicy::kFifo);
  EXPECT_EQ(Read("kind = \"rt_periodic\"").rt_priority, 1);
  const WorkSpec normal = Read("kind = \"rt_periodic\", policy = \"normal\", nice = -5");
  EXPECT_EQ(normal.policy, SchedPolicy::kNormal);
  EXPECT_EQ(normal.rt_priority, 0);
}

TEST(ReadWorkTest, MistakesAreSaid) {
  struct Case {
    const char* work;
    const char* says;
  };
  for (const Case& c : {
           Case{"workers = 1", "work without 'kind'"},
           Case{"kind = \"pipe_pong\"", "did you mean 'pipe_ping'"},
           Case{"kind = \"pipe_ping\", workers = 3", "needs a multiple of 2"},
           Case{"kind = \"schbench\", workers = 1", "needs at least 2"},
           Case{"kind = \"io_sync\"", "work of kind io_sync without 'path'"},
           Case{"kind = \"io_sync\", path = \"vda\"", "expected a path from the root"},
           Case{"kind = \"io_sync\", path = \"/f\", block = \"3K\"", "not a multiple of 'block'"},
           Case{"kind = \"command\"", "work of kind command without 'command'"},
           Case{"kind = \"command\", command = []", "expected 1 to 64 words"},
           Case{"kind = \"command\", command = [\"ls\"]", "expected 1 to 64 words"},
           Case{"kind = \"command\", command = \"/bin/ls\"", "expected an array"},
           Case{"kind = \"cache_pressure\", memory = 5", "a number without a unit"},
           Case{"kind = \"cache_pressure\", memory = \"5Q\"", "unknown unit 'Q'"},
           Case{"kind = \"timer_wake\", period = 5", "a number without a unit"},
           Case{"kind = \"timer_wake\", period = \"0s\"", "0s is out of range; expected 10us to"},
           Case{"kind = \"rt_periodic\", run = \"10ms\"", "is not less than 'period'"},
           Case{"kind = \"rt_periodic\", nice = 5", "use 'rt_priority'"},
           Case{"kind = \"nice_sweep\", nice = 5", "kind nice_sweep sets it"},
           Case{"kind = \"nice_sweep\", policy = \"rr\"", "have no effect"},
           Case{"kind = \"policy_churn\", policy = \"rr\"", "use 'policies'"},
           Case{"kind = \"policy_churn\", policies = []", "expected 1 to 64 policies"},
           Case{"kind = \"policy_churn\", policies = [\"fofi\"]", "unknown word 'fofi'"},
           Case{"kind = \"cpu_spin\", rt_priority = 5", "needs policy"},
       }) {
    const std::string error = ErrorOf(c.work);
    EXPECT_TRUE(absl::StrContains(error, c.says)) << c.work << ": " << error;
    EXPECT_TRUE(absl::StartsWith(error, "w.toml:6:")) << error;
  }
}

}  // namespace
}  // namespace stasis
