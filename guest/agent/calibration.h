// Calibration: how fast this machine's kernel is.
#ifndef STASIS_GUEST_AGENT_CALIBRATION_H_
#define STASIS_GUEST_AGENT_CALIBRATION_H_

#include <cstdint>

namespace stasis::agent {

// What it takes to write a byte to a pipe and to read it back, in ns: two system calls and the
// kernel's own work in them, in which nobody waits for the tested scheduler. The best of a few
// rounds, some milliseconds in all. 0 if it cannot be done.
uint64_t Calibrate();

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_CALIBRATION_H_
