#include "tools/harness/guest_cmdline.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(GuestCmdlineTest, QuietUnlessVerbose) {
  EXPECT_THAT(GuestCmdline({.verbose = false}), StartsWith("quiet "));
  EXPECT_THAT(GuestCmdline({.verbose = true}), Not(HasSubstr("quiet")));
}

TEST(GuestCmdlineTest, AgentPowersOffWithAcpiAndRestartsWithout) {
  EXPECT_THAT(GuestCmdline({.discovery = Discovery::kAcpi}), HasSubstr("stasis.end=poweroff"));
  EXPECT_THAT(GuestCmdline({.discovery = Discovery::kCmdline}), HasSubstr("stasis.end=reboot"));
  EXPECT_THAT(GuestCmdline({.discovery = Discovery::kFdt}), HasSubstr("stasis.end=reboot"));
  EXPECT_THAT(GuestCmdline({.agent = false}), Not(HasSubstr("stasis.end")));
}

TEST(GuestCmdlineTest, UsersWordsStandLastSoThatTheyWin) {
  EXPECT_THAT(GuestCmdline({.scenario_append = "a=1", .user_append = "a=2"}), EndsWith(" a=1 a=2"));
}

TEST(GuestCmdlineTest, PanicEndsTheMachine) {
  EXPECT_THAT(GuestCmdline({}), HasSubstr("panic=-1 reboot=k"));
}

}  // namespace
}  // namespace stasis
