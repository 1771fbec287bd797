#include <gtest/gtest.h>

#include "vmm/base/fuzz/replay.h"

namespace stasis {
namespace {

TEST(InspectFuzzReplayTest, EveryInputOfTheCorpusIsReadToItsEndAndShownHarmlessly) {
  ReplayCorpus("testdata/fuzz/inspect");
}

}  // namespace
}  // namespace stasis
