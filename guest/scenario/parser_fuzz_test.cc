// The parser on scenarios that were damaged at random: it says what is wrong, or reads them; it
// never crashes, and what it reads can be shown and read again.
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "gtest/gtest.h"
#include "guest/scenario/parser.h"
#include "guest/scenario/scenario_text.h"

namespace stasis {
namespace {

constexpr int kRounds = 150;  // for each scenario

std::vector<std::string> Corpus() {
  std::vector<std::string> corpus;
  for (const auto& entry : std::filesystem::directory_iterator("testdata/scenarios")) {
    if (entry.path().extension() != ".toml") continue;
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    corpus.push_back(text.str());
  }
  return corpus;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus) {}

  std::string Mutate(std::string text) {
    const int changes = 1 + static_cast<int>(Below(4));
    for (int i = 0; i < changes && !text.empty(); ++i) Change(&text);
    return text;
  }

 private:
  size_t Below(size_t limit) { return random_() % limit; }

  void Change(std::string* text) {
    static constexpr const char* kWords[] = {
        "\"\"",     "-1",      "0",      "9223372036854775807", "1e308",   "nan",  "true", "[]",
        "{}",       "\"50%\"", "\"1s\"", "\"0-1023\"",          "\"9e99s\"", "[[", "]]",   "\n",
        "\"left\"", "half:1",  "\"max\"", "\xff\xfe",           "\"a/b/c\"", "=",  "'",    "1979-05-27"};
    const size_t at = Below(text->size());
    switch (Below(6)) {
      case 0:
        (*text)[at] = static_cast<char>(random_());
        break;
      case 1:
        text->erase(at, 1 + Below(20));
        break;
      case 2:
        text->insert(at, kWords[Below(std::size(kWords))]);
        break;
      case 3: {  // another value
        const size_t equals = text->find("= ", at);
        if (equals == std::string::npos) break;
        const size_t end = text->find_first_of(",}\n", equals);
        text->replace(equals + 2, end == std::string::npos ? 0 : end - equals - 2,
                      kWords[Below(std::size(kWords))]);
        break;
      }
      case 4: {  // a line of another scenario
        const std::string& other = corpus_[Below(corpus_.size())];
        const size_t from = other.find('\n', Below(other.size()));
        if (from == std::string::npos) break;
        text->insert(at, other.substr(from, 1 + Below(80)));
        break;
      }
      case 5:  // a part twice
        text->insert(at, text->substr(Below(text->size()), Below(100)));
        break;
    }
  }

  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_{20260101};
};

TEST(ParserFuzzTest, DamagedScenariosNeverCrashTheParser) {
  const std::vector<std::string> corpus = Corpus();
  ASSERT_FALSE(corpus.empty());
  CpuGroups groups;
  groups.online = *CpuSet::Parse("0-3");
  groups.llcs = groups.nodes = {groups.online};
  Mutator mutator(corpus);
  int good = 0, bad = 0;
  for (const std::string& seed : corpus) {
    for (int round = 0; round < kRounds; ++round) {
      const std::string text = mutator.Mutate(seed);
      const std::vector<std::string> errors = CheckScenario(text, "x.toml", &groups);
      auto scenario = ParseScenario(text, "x.toml", &groups);
      ASSERT_EQ(scenario.ok(), errors.empty()) << text;
      ++(scenario.ok() ? good : bad);
      for (const std::string& error : errors) {
        ASSERT_EQ(error.substr(0, 7), "x.toml:") << error;
      }
      if (!scenario.ok()) continue;
      ASSERT_LE(WorkerCount(*scenario), kMaxWorkers);
      const std::string shown = ScenarioText(*scenario, &groups);
      ASSERT_TRUE(ParseScenario(shown, "x.toml").ok())
          << ParseScenario(shown, "x.toml").status() << "\n" << text << "\n" << shown;
    }
  }
  // Both happened, often: otherwise this tests little.
  EXPECT_GT(good, 100);
  EXPECT_GT(bad, 100);
}

}  // namespace
}  // namespace stasis
