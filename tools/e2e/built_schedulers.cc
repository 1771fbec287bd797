#include "tools/e2e/built_schedulers.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "tools/harness/lane.h"
#include "tools/kernels/kernel_store.h"

namespace stasis {

BuiltSchedulers FindBuiltSchedulers() {
  const absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto);
  if (!lane.ok()) return {.why_not = std::string(lane.status().message())};
  const Environment environment = ProcessEnvironment();
  const absl::StatusOr<std::string> cache = CacheDirectory(environment);
  if (!cache.ok()) return {.why_not = std::string(cache.status().message())};
  const absl::StatusOr<ResolvedKernel> kernel =
      KernelStore(*cache).Resolve(kSchedulerKernel, environment);
  if (!kernel.ok()) {
    return {.why_not = absl::StrCat("no kernel ", kSchedulerKernel,
                                    " in the cache: run 'stasis kernel build --source debian "
                                    "--fragment testdata/kernel/sched-test.fragment --name ",
                                    kSchedulerKernel, "'")};
  }
  const std::string folder = absl::StrCat(*cache, "/schedulers/", kernel->release);
  if (access((folder + "/scx_broken").c_str(), X_OK) != 0) {
    return {.why_not = absl::StrCat("no schedulers for kernel ", kernel->release,
                                    " in the cache: run 'tools/schedulers/build'")};
  }
  return {.folder = folder};
}

}  // namespace stasis
