#!/bin/bash
# Made by tools/scenario.bzl: one scenario as a test. Arguments go to `stasis run`.
set -u
runfiles=$PWD
export STASIS_AGENT=$runfiles/%{agent}
# Where the kernels are; Bazel passes no HOME on unless it is told to.
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
exec "$runfiles/"%{stasis} run "$runfiles/"%{scenario} --skip-unsupported %{options} "$@" %{scheduler_args}
