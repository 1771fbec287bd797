#include "tools/monitor/lock_watch.h"

#include <algorithm>
#include <utility>

namespace stasis {
namespace {

constexpr double kLeastRan = 0.1;

}  // namespace

std::vector<LockWatch::Held> LockWatch::Add(const Sample& sample) {
  std::vector<Held> found;
  cpus_.resize(std::max(cpus_.size(), sample.cpus.size()));
  for (size_t i = 0; i < sample.cpus.size(); ++i) {
    const CpuSample& now = sample.cpus[i];
    Cpu& cpu = cpus_[i];
    if (!now.locked.has_value() || !now.online) continue;
    if (now.host_ran.has_value() && *now.host_ran < sample.interval * kLeastRan) continue;
    ++cpu.looks;
    if (*now.locked) ++cpu.held;
    cpu.lasted += sample.interval;
    if (cpu.looks < kLooks || cpu.lasted < limit_) continue;
    const Cpu over = std::exchange(cpu, Cpu{});
    cpu.told = over.held >= over.looks * kShare;
    if (!cpu.told || over.told) continue;
    found.push_back({.cpu = now.cpu,
                     .looks = over.looks,
                     .held = over.held,
                     .lasted = over.lasted,
                     .comm = now.comm,
                     .pid = now.pid});
  }
  return found;
}

}  // namespace stasis
