"""The repositories that stasis is built from, for its own WORKSPACE and for those of others.

Everything comes from Debian packages (tools/setup installs them): no downloads.
"""

load(":system_repos.bzl", "debian_rules_cc", "system_absl")

def stasis_repositories(path = "."):
    """Declares them all.

    Args:
      path: of the source tree of stasis, from the workspace that calls this; what its
        local_repository says.
    """

    # Debian 12's bazel-rules-cc 0.0.4 needs use_cpp_toolchain() (Bazel >= 5); Bazel 4.2.3
    # has no such symbol.  debian_rules_cc symlinks /usr/share/bazel/rules/cc and patches two files.
    debian_rules_cc(
        name = "rules_cc",
        path = "/usr/share/bazel/rules/cc",
    )
    native.local_repository(
        name = "bazel_skylib",
        path = "/usr/share/bazel/tools/skylib",
    )
    native.local_repository(
        name = "platforms",
        path = "/usr/share/bazel/tools/platforms",
    )

    # Stand-in: @bazel_tools//tools/jdk loads it while Bazel resolves toolchains, even for C++ only.
    native.local_repository(
        name = "rules_java",
        path = path + "/third_party/bazel/rules_java",
    )

    # Stand-in: an implicit dependency of every *_test rule.
    native.local_repository(
        name = "remote_coverage_tools",
        path = path + "/third_party/bazel/remote_coverage_tools",
    )

    # Generated from the installed pkg-config files: @com_google_absl//:strings etc.
    system_absl(name = "com_google_absl")
    native.new_local_repository(
        name = "com_google_googletest",
        build_file = "@stasis//third_party:googletest.BUILD.bazel",
        path = "/usr/include/gtest",
    )
    native.new_local_repository(
        name = "com_github_google_glog",
        build_file = "@stasis//third_party:glog.BUILD.bazel",
        path = "/usr/include/glog",
    )
    native.local_repository(
        name = "libfdt",
        path = path + "/third_party/libfdt",
    )
