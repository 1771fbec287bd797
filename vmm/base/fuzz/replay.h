// ReplayCorpus: a fuzz target's inputs as a test, so that what the fuzzer found stays mended.
#ifndef STASIS_VMM_BASE_FUZZ_REPLAY_H_
#define STASIS_VMM_BASE_FUZZ_REPLAY_H_

#include <string>

namespace stasis {

// Runs the LLVMFuzzerTestOneInput that is linked in once over every file of `directory`. Fails the
// current test for a directory that cannot be read or is nearly empty.
void ReplayCorpus(const std::string& directory);

}  // namespace stasis

#endif  // STASIS_VMM_BASE_FUZZ_REPLAY_H_
