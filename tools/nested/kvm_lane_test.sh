#!/bin/bash
# kvm_lane_test.sh NESTED_RUN TEST: runs a test that needs /dev/kvm in the emulated host, whose kvm_amd is the
# same on every machine; where the nested lane is not installed, here, on whatever KVM there is.
set -u
nested_run=$1
test=$PWD/$2
if ! why=$("$nested_run" --check 2>&1); then
  echo "kvm lane: on this machine's own KVM; $why"
  exec "$test"
fi
output=$(dirname "$XML_OUTPUT_FILE")
exec "$nested_run" --writable "$output" --writable "$TEST_TMPDIR" --time-limit "${TEST_TIMEOUT}s" -- "$test"
