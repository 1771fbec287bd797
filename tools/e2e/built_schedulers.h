// The sched_ext schedulers that tools/schedulers/build has made for the kernel to test them with.
#ifndef STASIS_TOOLS_E2E_BUILT_SCHEDULERS_H_
#define STASIS_TOOLS_E2E_BUILT_SCHEDULERS_H_

#include <string>

namespace stasis {

// As --kernel takes it.
inline constexpr char kSchedulerKernel[] = "sched-test";

struct BuiltSchedulers {
  std::string why_not;  // they cannot be tried on this machine, and what to do; empty if they can
  std::string folder;   // of the programs
};
BuiltSchedulers FindBuiltSchedulers();

}  // namespace stasis

#endif  // STASIS_TOOLS_E2E_BUILT_SCHEDULERS_H_
