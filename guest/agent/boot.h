// What PID 1 does first: mounts, and the modules that the host chose.
#ifndef STASIS_GUEST_AGENT_BOOT_H_
#define STASIS_GUEST_AGENT_BOOT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace stasis::agent {

// Mounts proc, sysfs, devtmpfs, devpts, tmpfs, cgroup2 and, where the kernel has them, debugfs,
// tracefs, bpf. Returns what went wrong with a mount that the agent cannot do without.
std::vector<absl::Status> MountAll();

// Loads the uncompressed modules that `list` names, one path per line in dependency order. Goes on
// after a failure: a transport may work all the same, and is needed to report it.
std::vector<absl::Status> LoadModules(const std::string& list);

inline constexpr char kModuleList[] = "/stasis/modules";  // written by tools/harness/initramfs

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_BOOT_H_
