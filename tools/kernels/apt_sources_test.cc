#include "tools/kernels/apt_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(OneLineSourcesTest, OptionsCommentsAndSourcePackagesAreUnderstood) {
  const auto sources = ParseOneLineSources(
      "# a comment\n"
      "deb-src http://deb.debian.org/debian bookworm main\n"
      "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main contrib # x\n"
      "deb http://two.example/debian bookworm\n"
      "deb [broken http://three.example/debian bookworm main\n");
  ASSERT_EQ(sources.size(), 1u);
  EXPECT_EQ(sources[0].uri, "http://mirror.example/debian");
  EXPECT_EQ(sources[0].suite, "bookworm");
  EXPECT_THAT(sources[0].components, ElementsAre("main", "contrib"));
  EXPECT_EQ(sources[0].signed_by, "/k.gpg");
}

TEST(Deb822SourcesTest, EveryUriAndSuiteIsAnEntryAndCommentsInsideAreSkipped) {
  const auto sources = ParseDeb822Sources(
      "Types: deb\n"
      "# http://snapshot.example/debian\n"
      "URIs: http://deb.debian.org/debian\n"
      "Suites: bookworm bookworm-updates\n"
      "Components: main\n"
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
      "\n"
      "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\n"
      "Components: main\n");
  ASSERT_EQ(sources.size(), 2u);
  EXPECT_EQ(sources[1].suite, "bookworm-updates");
  EXPECT_EQ(sources[0].signed_by, "/usr/share/keyrings/debian-archive-keyring.gpg");
}

TEST(Deb822SourcesTest, AKeyWrittenOutInTheFileIsNoPath) {
  const auto sources = ParseDeb822Sources(
      "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\n"
      "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n");
  ASSERT_EQ(sources.size(), 1u);
  EXPECT_EQ(sources[0].signed_by, "");
}

TEST(ChooseTest, OtherVendorsArchivesAreNotTakenForDebians) {
  const auto chosen = ChooseDebianSources({
      {"https://packages.example/apt", "cloud-sdk-bookworm", {"main"}, ""},
      {"http://mirror.example/debian", "bookworm", {"main"}, "/k.gpg"},
  });
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->Line("sid"),
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian sid main");
  EXPECT_EQ(chosen->Line("bookworm-security"),
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian-security "
            "bookworm-security main");
}

TEST(ChooseTest, ASecurityMirrorOfItsOwnIsUsed) {
  const auto chosen = ChooseDebianSources({
      {"http://a.example/debian", "bookworm", {"main"}, ""},
      {"http://b.example/debian-security", "bookworm-security", {"main"}, ""},
  });
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_THAT(chosen->Line("bookworm-security"), HasSubstr("http://b.example/debian-security"));
  EXPECT_THAT(chosen->Line("bookworm-backports"), HasSubstr("http://a.example/debian "));
}

TEST(ChooseTest, NoDebianArchiveSaysWhatToDo) {
  const auto status =
      ChooseDebianSources({{"http://x.example/ubuntu", "noble", {"main"}, ""}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("add one"));
}

TEST(SystemTest, BothKindsOfFilesAreRead) {
  testing::TemporaryDirectory etc;
  etc.Write("sources.list.d/other.list", std::string("deb http://o.example/apt x main\n"));
  etc.Write("sources.list.d/debian.sources",
            std::string("Types: deb\nURIs: http://d.example/debian\nSuites: bookworm\n"
                        "Components: main\n"));
  const auto sources = SystemAptSources(etc.path());
  ASSERT_TRUE(sources.ok()) << sources.status();
  EXPECT_EQ(sources->main.uri, "http://d.example/debian");
}

}  // namespace
}  // namespace stasis
