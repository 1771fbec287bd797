// ProcessUse: what this process holds at a moment, so that a leak shows.
#ifndef STASIS_TOOLS_HARNESS_PROCESS_USE_H_
#define STASIS_TOOLS_HARNESS_PROCESS_USE_H_

namespace stasis {

struct ProcessUse {
  int threads = 0;  // without the kernel's own workers for io_uring, which come and go
  int descriptors = 0;
};

// Of this process, now. Zeroes where /proc is not to be had.
ProcessUse ReadProcessUse();

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_PROCESS_USE_H_
