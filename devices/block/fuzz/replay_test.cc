#include <gtest/gtest.h>

#include "vmm/base/fuzz/replay.h"

namespace stasis {
namespace {

TEST(BlockFuzzReplayTest, TheDeviceKeepsItsWordOnEveryInputOfTheCorpus) {
  ReplayCorpus("testdata/fuzz/block");
}

}  // namespace
}  // namespace stasis
