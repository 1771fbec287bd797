#!/bin/bash
# An outside project loads tools/scenario.bzl: Bazel runs on testdata/external_workspace, offline, with an
# output base of its own.
#
#   external_workspace_test.sh WORKSPACE_FILE SCENARIO_BZL STASIS AGENT
#
# All of stasis is loaded and analysed as its dependency, but not compiled again: the tests take the
# program that was built here, as an outside project may that has one.
set -euo pipefail
sample=$(dirname "$(readlink -f "$1")")
root=$(dirname "$(dirname "$(readlink -f "$2")")")
stasis=$(readlink -f "$3")
agent=$(readlink -f "$4")
work=$TEST_TMPDIR/external
mkdir -p "$work/prebuilt"
cp -L "$sample"/{WORKSPACE,BUILD.bazel,.bazelrc,hand_over.toml} "$work"
chmod -R u+w "$work"
sed -i "s|path = \"../..\"|path = \"$root\"|" "$work/WORKSPACE"
cp "$stasis" "$work/prebuilt/stasis"
cp "$agent" "$work/prebuilt/stasis-agent"
echo 'exports_files(["stasis", "stasis-agent"])' >"$work/prebuilt/BUILD.bazel"
# Its own kernel and scheduler, as files of the build. 'tiny' needs no modules beside it.
cache=${STASIS_CACHE:-$HOME/.cache/stasis}
kernel=$(grep -ls '"name": *"tiny"' "$cache"/kernels/*/origin.json | head -1)
[[ -n $kernel ]] || {
  echo "FAILED: no kernel 'tiny'; run tools/setup --tests"
  exit 1
}
mkdir -p "$work/own"
cp -L "$sample/hand_over.toml" "$work/own/"
cp -L "${kernel%/*}/vmlinuz" "$work/own/bzImage"
printf '#!/bin/sh\nexec sleep 1000\n' >"$work/own/scheduler"
chmod +x "$work/own/scheduler"
cat >"$work/own/BUILD.bazel" <<'END'
load("@stasis//tools:scenario.bzl", "scheduler_scenario_test")

scheduler_scenario_test(
    name = "own_kernel",
    kernel = ":bzImage",
    scenario = "hand_over.toml",
)

scheduler_scenario_test(
    name = "own_scheduler",
    kernel = ":bzImage",
    scenario = "hand_over.toml",
    scheduler = ":scheduler",
)
END
cd "$work"

# Nothing of the Bazel around it.
inner() {
  env -i PATH="$PATH" HOME="$HOME" ${STASIS_CACHE:+STASIS_CACHE="$STASIS_CACHE"} \
    ${STASIS_KERNEL:+STASIS_KERNEL="$STASIS_KERNEL"} ${STASIS_ACCEL:+STASIS_ACCEL="$STASIS_ACCEL"} \
    bazel --nohome_rc --output_user_root="$TEST_TMPDIR/bazel" --output_base="$TEST_TMPDIR/base" \
    --host_jvm_args=-Xmx512m --max_idle_secs=60 "$@"
}
trap 'inner shutdown >/dev/null 2>&1; chmod -R u+w "$TEST_TMPDIR/base" 2>/dev/null || true' EXIT
prebuilt=(
  --@stasis//tools:stasis_of_tests=//prebuilt:stasis
  --@stasis//tools:agent_of_tests=//prebuilt:stasis-agent
)
problem() {
  echo "FAILED: $*"
  exit 1
}

echo "== the suite is the cross product"
inner query 'tests(//:matrix)' 2>/dev/null | sort >tests
diff tests - <<'END' || problem "other tests than expected"
//:matrix.hand_over.1n1l1c1t
//:matrix.hand_over.1n1l2c1t
//:matrix.steady.1n1l1c1t
//:matrix.steady.1n1l2c1t
END

echo "== every action of a build of stasis itself is known"
inner build --nobuild //... || problem "the analysis with stasis as a dependency"

echo "== tests run, in Bazel's sandbox"
inner test "${prebuilt[@]}" --spawn_strategy=linux-sandbox --test_output=errors //:hand_over \
  //:matrix.steady.1n1l1c1t || problem "tests of the outside project"
grep -q 'tests="1" failures="0" errors="0" skipped="0"' bazel-testlogs/hand_over/test.xml ||
  problem "hand_over has no passed case: $(cat bazel-testlogs/hand_over/test.xml)"
grep -q '<skipped message="INCONCLUSIVE: scenario steady needs at least 2 CPUs' \
  bazel-testlogs/matrix.steady.1n1l1c1t/test.xml ||
  problem "one CPU was not skipped: $(cat bazel-testlogs/matrix.steady.1n1l1c1t/test.xml)"

echo "== kernel and scheduler are files of the build"
inner test "${prebuilt[@]}" --spawn_strategy=linux-sandbox --test_output=errors //own:own_kernel \
  //own:own_scheduler || problem "tests with files of their own"
grep -q 'tests="1" failures="0" errors="0" skipped="0"' bazel-testlogs/own/own_kernel/test.xml ||
  problem "own_kernel has no passed case: $(cat bazel-testlogs/own/own_kernel/test.xml)"
python3 -c 'import sys, zipfile
outputs = zipfile.ZipFile(sys.argv[1])
sys.exit(not any(b"own/bzImage" in outputs.read(name) for name in outputs.namelist()))' \
  bazel-testlogs/own/own_kernel/test.outputs/outputs.zip || problem "own_kernel ran another kernel"
# A kernel without sched_ext runs no scheduler, and the test says so.
grep -q '<skipped message="INCONCLUSIVE: .*SCHED_CLASS_EXT' \
  bazel-testlogs/own/own_scheduler/test.xml ||
  problem "own_scheduler: $(cat bazel-testlogs/own/own_scheduler/test.xml)"

echo "== a run that cannot be is a test that fails"
if inner test "${prebuilt[@]}" --test_arg=--topology=0n //:hand_over >log 2>&1; then
  problem "passed with a topology that there is not"
fi
grep -q 'USAGE' bazel-testlogs/hand_over/test.log || problem "$(cat log)"
echo "passed"
