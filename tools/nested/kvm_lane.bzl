"""kvm_lane_test: runs a cc_test that needs /dev/kvm where there is one for certain."""

def kvm_lane_test(name, test, size = "medium", tags = [], **kwargs):
    """Runs `test` (a label of a cc_test tagged "kvm") in the nested lane's emulated host.

    The target `test` itself runs on the machine's own /dev/kvm and skips where there is none.
    """
    native.sh_test(
        name = name,
        size = size,
        srcs = ["//tools/nested:kvm_lane_test.sh"],
        args = [
            "$(rootpath //tools/nested:nested_run)",
            "$(rootpath %s)" % test,
        ],
        data = [
            test,
            "//tools/nested:nested_run",
        ],
        tags = tags + [
            "cpu:1",
            "nested",
        ],
        **kwargs
    )
