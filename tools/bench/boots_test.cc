#include "tools/bench/boots.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

const absl::Time kStarted = absl::FromUnixNanos(1000);

TEST(ParseShellJsonTest, StagesAddUpToTheFirstRun) {
  const auto times = ParseShellJson(
      R"({"times": {"first_run_monotonic_ns": 1900, "cpu_to_first_run_ns": 500,
                    "hello_monotonic_ns": 9000},
          "startup": [{"finished": "exec", "monotonic_ns": 1200, "cpu_ns": 150},
                      {"finished": "kernel file", "monotonic_ns": 1600, "cpu_ns": 250}]})",
      kStarted);

  ASSERT_TRUE(times.ok()) << times.status();
  EXPECT_EQ(times->to_hello, absl::Nanoseconds(8000));
  EXPECT_EQ(times->startup.cpu, absl::Nanoseconds(500));
  EXPECT_EQ(times->startup.elapsed, absl::Nanoseconds(900));
  ASSERT_EQ(times->startup.stages.size(), 3u);
  EXPECT_EQ(times->startup.stages[0].cpu, absl::Nanoseconds(150));
  EXPECT_EQ(times->startup.stages[0].elapsed, absl::Nanoseconds(200));
  EXPECT_EQ(times->startup.stages[1].name, "kernel file");
  EXPECT_EQ(times->startup.stages[1].cpu, absl::Nanoseconds(100));
  EXPECT_EQ(times->startup.stages[2].name, "first KVM_RUN");
  EXPECT_EQ(times->startup.stages[2].cpu, absl::Nanoseconds(250));
  EXPECT_EQ(times->startup.stages[2].elapsed, absl::Nanoseconds(300));
}

TEST(ParseShellJsonTest, WithoutAHelloTheTimeIsInfinite) {
  const auto times = ParseShellJson(
      R"({"times": {"first_run_monotonic_ns": 1900, "cpu_to_first_run_ns": 500}})", kStarted);

  ASSERT_TRUE(times.ok()) << times.status();
  EXPECT_EQ(times->to_hello, absl::InfiniteDuration());
}

TEST(ParseShellJsonTest, WhatIsMissingIsNamed) {
  EXPECT_FALSE(ParseShellJson("not JSON", kStarted).ok());
  EXPECT_EQ(ParseShellJson("{}", kStarted).status().message(),
            "stasis' JSON result lacks the first KVM_RUN");
  EXPECT_EQ(ParseShellJson(R"({"times": {"first_run_monotonic_ns": 1, "cpu_to_first_run_ns": 1},
                               "startup": [{"finished": 3}]})",
                           kStarted)
                .status()
                .message(),
            "stasis' JSON result lacks fields of a start-up stage");
}

TEST(QemuArgumentsTest, GuestIsTheOneThatStasisBoots) {
  const BootSpec spec{.qemu = "/q",
                      .initrd = "/initrd",
                      .cmdline = "quiet",
                      .acpi = false,
                      .cpus = 2,
                      .memory_bytes = uint64_t{512} << 20};

  const std::vector<std::string> arguments = QemuArguments(spec, "/image");

  auto after = [&arguments](const std::string& option) {
    const auto at = std::find(arguments.begin(), arguments.end(), option);
    return at == arguments.end() ? "" : *(at + 1);
  };
  EXPECT_EQ(arguments.front(), "/q");
  EXPECT_EQ(after("-kernel"), "/image");
  EXPECT_EQ(after("-initrd"), "/initrd");
  EXPECT_EQ(after("-append"), "quiet reboot=t");
  EXPECT_EQ(after("-smp"), "2");
  EXPECT_EQ(after("-m"), "512M");
  EXPECT_NE(after("-M").find("acpi=off"), std::string::npos);
}

}  // namespace
}  // namespace stasis::bench
