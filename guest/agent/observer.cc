#include "guest/agent/observer.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/system.h"

namespace stasis::agent {

Imbalance ImbalanceOf(const std::vector<Runnable>& tasks) {
  std::map<uint32_t, uint64_t> count;
  for (const Runnable& task : tasks) {
    ++count[task.cpu];
    for (uint32_t cpu : task.allowed.Cpus()) count.try_emplace(cpu, 0);
  }
  Imbalance found;
  for (const Runnable& task : tasks) {
    for (uint32_t cpu : task.allowed.Cpus()) {
      const uint64_t here = count[task.cpu], there = count[cpu];
      if (here <= there || here - there <= found.most) continue;
      found = {here - there, task.cpu, cpu};
    }
  }
  return found;
}

std::optional<TaskPlace> ParseStat(absl::string_view text) {
  // The name, field 2, may have anything in it, but ends with the last ')'.
  const size_t name_end = text.rfind(')');
  if (name_end == absl::string_view::npos || name_end + 2 > text.size()) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kState = 3 - 3, kProcessor = 39 - 3;
  TaskPlace place;
  if (fields.size() <= kProcessor || fields[kState].size() != 1 ||
      !absl::SimpleAtoi(fields[kProcessor], &place.cpu)) {
    return std::nullopt;
  }
  place.state = fields[kState][0];
  return place;
}

Observer::Observer(const Scenario& scenario) {
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    cgroups_[cgroup.name] = first_.size();
    first_.push_back(groups_.size());
    for (uint32_t work = 0; work < cgroup.work.size(); ++work) {
      Group& group = groups_.emplace_back();
      group.figures.cgroup = cgroup.name;
      group.figures.work = work;
    }
  }
  if (scenario.expect.max_imbalance.has_value()) imbalance_.emplace();
}

void Observer::Begin(uint64_t now) {
  for (Group& group : groups_) group.moving_since_ns = now;
  next_mark_ns_ = now;
  Mark(now);
}

void Observer::LookAtGroups(const Workers& workers, uint64_t now) {
  std::vector<uint64_t> done(groups_.size());
  std::vector<bool> wants(groups_.size());
  for (const Workers::Worker& worker : workers.all()) {
    const size_t group = first_[cgroups_[worker.figures.cgroup]] + worker.figures.work;
    done[group] += worker.figures.iterations;
    if (workers.WantsCpu(worker, now)) wants[group] = true;
  }
  for (size_t i = 0; i < groups_.size(); ++i) {
    Group& group = groups_[i];
    if (done[i] != group.done || !wants[i]) group.moving_since_ns = now;
    group.done = done[i];
    if (now - group.moving_since_ns <= group.figures.stall_ns) continue;
    group.figures.stall_ns = now - group.moving_since_ns;
    group.figures.stall_at_ns = group.moving_since_ns;
  }
}

// Evenly spaced, and never too many: when there is no room left every second one goes.
void Observer::Mark(uint64_t now) {
  if (now < next_mark_ns_) return;
  if (marks_ns_.size() == kMostMarks) {
    const auto halve = [](std::vector<uint64_t>* values) {
      for (size_t i = 0; i < values->size() / 2; ++i) (*values)[i] = (*values)[2 * i];
      values->resize(values->size() / 2);
    };
    halve(&marks_ns_);
    for (Group& group : groups_) halve(&group.figures.iterations);
    period_ns_ *= 2;
  }
  marks_ns_.push_back(now);
  for (Group& group : groups_) group.figures.iterations.push_back(group.done);
  next_mark_ns_ += period_ns_;
  if (next_mark_ns_ <= now) next_mark_ns_ = now + period_ns_;
}

void Observer::LookAtCpus(const Workers& workers, uint64_t now) {
  std::vector<Runnable> tasks;
  for (const Workers::Worker& worker : workers.all()) {
    if (worker.pid <= 0 || worker.frozen) continue;
    auto text = ReadText(absl::StrCat("/proc/", worker.pid, "/stat"));
    if (!text.ok()) continue;
    const std::optional<TaskPlace> place = ParseStat(*text);
    if (place.has_value() && place->state == 'R') tasks.push_back({place->cpu, worker.allowed});
  }
  const Imbalance seen = ImbalanceOf(tasks);
  ++imbalance_->samples;
  imbalance_sum_ += static_cast<double>(seen.most);
  imbalance_->mean = imbalance_sum_ / static_cast<double>(imbalance_->samples);
  if (seen.most <= imbalance_->most) return;
  imbalance_->most = seen.most;
  imbalance_->most_at_ns = now;
  imbalance_->busy_cpu = seen.busy_cpu;
  imbalance_->free_cpu = seen.free_cpu;
}

void Observer::Look(const Workers& workers, uint64_t now) {
  LookAtGroups(workers, now);
  Mark(now);
  if (imbalance_.has_value()) LookAtCpus(workers, now);
}

void Observer::Fill(Measurements* measurements) const {
  measurements->marks_ns = marks_ns_;
  for (const Group& group : groups_) measurements->groups.push_back(group.figures);
  measurements->imbalance = imbalance_;
}

}  // namespace stasis::agent
