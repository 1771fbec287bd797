// BootCase: one kernel on one topology, booted for real by the built binary.
#ifndef STASIS_TOOLS_E2E_BOOT_CASE_H_
#define STASIS_TOOLS_E2E_BOOT_CASE_H_

#include <string>

#include "nlohmann/json.hpp"
#include "tools/stasis/run_stasis.h"

namespace stasis {

struct BootCase {
  std::string name;
  std::string kernel;  // as --kernel takes it; empty: the default
  std::string topology;
  std::string memory = "512M";
  std::string discovery = "auto";
  std::string expected_discovery = "acpi";
};

struct BootResult {
  StasisRun run;
  nlohmann::json json;  // discarded when there was none
};

// Why `boot` cannot be tried on this machine (no lane, kernel not cached); empty if it can.
std::string WhyNot(const BootCase& boot);

// Runs a scenario of one second with a worker on each CPU: the least that counts as evidence of a
// working machine. Blocks for as long as that takes, 400 s at most.
BootResult Boot(const BootCase& boot);

}  // namespace stasis

#endif  // STASIS_TOOLS_E2E_BOOT_CASE_H_
