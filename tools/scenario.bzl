"""Scheduler scenarios as Bazel tests; docs/bazel.md is the manual.

    load("@stasis//tools:scenario.bzl", "scheduler_scenario_suite", "scheduler_scenario_test")

    scheduler_scenario_test(
        name = "bursty_on_mine",
        kernel = "//kernel:bzImage",
        scenario = "bursty.toml",
        scheduler = "//scheduler:scx_mine",
        topology = "1n2l4c2t",
    )

What a scenario needs (CPUs, SMT, kernel options) is written in its file and nowhere else: Bazel
cannot read TOML while it loads packages, and a second copy in BUILD files would go stale. So every
combination of a suite is a target, and one that does not go together says so when it is run, within
a fraction of a second and without a guest: its test case is skipped.
"""

# What a remote worker must have, see `build:remote` in .bazelrc.
_EXEC_PROPERTIES = {"kvm": "true"}

def _is_label(text):
    return text != None and (":" in text or text.startswith("//") or text.startswith("@"))

def _quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"

def _program(target):
    """The executable of a target, or the file that it is."""
    info = target[DefaultInfo]
    if info.files_to_run.executable:
        return info.files_to_run.executable
    files = info.files.to_list()
    if len(files) != 1:
        fail("%s: expected one program, found %d files" % (target.label, len(files)))
    return files[0]

def _in_runfiles(option, file):
    return "%s=\"$runfiles/\"%s" % (option, _quoted(file.short_path))

def _scenario_test_impl(ctx):
    stasis = _program(ctx.attr._stasis)
    agent = _program(ctx.attr._agent)
    files = [ctx.file.scenario, stasis, agent]
    with_runfiles = [ctx.attr._stasis]
    options = []
    for option, value in [
        ("--topology", ctx.attr.topology),
        ("--memory", ctx.attr.memory),
        ("--kernel", ctx.attr.kernel_name),
        ("--scheduler", ctx.attr.scheduler_name),
    ]:
        if value:
            options.append(_quoted(option + "=" + value))
    if ctx.file.kernel_file:
        options.append(_in_runfiles("--kernel", ctx.file.kernel_file))
        files.append(ctx.file.kernel_file)
    if ctx.attr.scheduler_program:
        scheduler = _program(ctx.attr.scheduler_program)
        options.append(_in_runfiles("--scheduler", scheduler))
        files.append(scheduler)
        with_runfiles.append(ctx.attr.scheduler_program)
    if ctx.attr.repeat != 1:
        options.append("--repeat=%d" % ctx.attr.repeat)
    options += [_quoted(word) for word in ctx.attr.stasis_args]
    behind = ["--"] + [_quoted(word) for word in ctx.attr.scheduler_args] if ctx.attr.scheduler_args else []

    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.expand_template(
        template = ctx.file._template,
        output = script,
        is_executable = True,
        substitutions = {
            "%{agent}": _quoted(agent.short_path),
            "%{options}": " ".join(options),
            "%{scenario}": _quoted(ctx.file.scenario.short_path),
            "%{scheduler_args}": " ".join(behind),
            "%{stasis}": _quoted(stasis.short_path),
        },
    )
    runfiles = ctx.runfiles(files = files)
    for target in with_runfiles:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return [DefaultInfo(executable = script, runfiles = runfiles)]

_scenario_test = rule(
    implementation = _scenario_test_impl,
    test = True,
    attrs = {
        "kernel_file": attr.label(allow_single_file = True),
        "kernel_name": attr.string(),
        "memory": attr.string(),
        "repeat": attr.int(default = 1),
        "scenario": attr.label(
            allow_single_file = [".toml"],
            mandatory = True,
        ),
        "scheduler_args": attr.string_list(),
        "scheduler_name": attr.string(),
        "scheduler_program": attr.label(allow_files = True),
        "stasis_args": attr.string_list(),
        "topology": attr.string(),
        "_agent": attr.label(
            allow_files = True,
            default = Label("//tools:agent_of_tests"),
        ),
        "_stasis": attr.label(
            allow_files = True,
            default = Label("//tools:stasis_of_tests"),
        ),
        "_template": attr.label(
            allow_single_file = True,
            default = Label("//tools:scenario_test.sh.tpl"),
        ),
    },
)

def scheduler_scenario_test(
        name,
        scenario,
        topology = None,
        memory = None,
        kernel = None,
        scheduler = None,
        scheduler_args = [],
        repeat = 1,
        stasis_args = [],
        cpus = 1,
        tags = [],
        timeout = "long",
        exec_properties = {},
        **kwargs):
    """Runs a scenario in a guest; its verdict is the test's.

    Passes if every run passes, or is skipped because the topology or the kernel does not do for the
    scenario (its test case says so). Anything else, an inconclusive verdict because of a noisy host
    among it, is no pass.

    Args:
      name: of the test.
      scenario: label of the scenario file.
      topology: "1n2l4c2t"; default: the scenario's own.
      memory: of the guest, "512M"; default: the scenario's own.
      kernel: label of a kernel image: an input like all others. Or a name in this machine's cache of
        kernels ("6.12") or an absolute path, which Bazel does not watch. Default: $STASIS_KERNEL,
        else the cache's default. What is a label has a ':' or begins with '//' or '@'.
      scheduler: label of a sched_ext scheduler (a program with its runfiles); or a name that
        tools/schedulers/build made for the kernel ("scx_simple"); or "none", the kernel's own.
        Default: the scenario's own, which is mostly none.
      scheduler_args: its arguments.
      repeat: runs in one test, each a test case.
      stasis_args: more options of `stasis run`.
      cpus: CPUs of the machine that Bazel keeps free for the test. An emulated host takes one;
        where there is hardware virtualization, as many as the topology has.
      tags: besides those that the macro sets ("nested", "cpu:N").
      timeout: of the test; "long" is 15 minutes.
      exec_properties: for remote execution, on top of {"kvm": "true"}.
      **kwargs: what all tests have: visibility, size, flaky, ...
    """
    properties = dict(_EXEC_PROPERTIES)
    properties.update(exec_properties)
    _scenario_test(
        name = name,
        exec_properties = properties,
        kernel_file = kernel if _is_label(kernel) else None,
        kernel_name = None if _is_label(kernel) else kernel,
        memory = memory,
        repeat = repeat,
        scenario = scenario,
        scheduler_args = scheduler_args,
        scheduler_name = None if _is_label(scheduler) else scheduler,
        scheduler_program = scheduler if _is_label(scheduler) else None,
        stasis_args = stasis_args,
        tags = tags + [
            "cpu:%d" % cpus,
            "nested",
        ],
        timeout = timeout,
        topology = topology,
        **kwargs
    )

def _last_part(text):
    """Of a label or path, without what a target's name should not have."""
    return text.split(":")[-1].split("/")[-1]

def _stem(label):
    file = _last_part(label)
    return file[:-len(".toml")] if file.endswith(".toml") else file

def scheduler_scenario_suite(
        name,
        scenarios,
        topologies = [None],
        kernels = [None],
        schedulers = [None],
        tags = [],
        visibility = None,
        **kwargs):
    """One scheduler_scenario_test for every combination, and a test_suite of them all.

    The tests are called after the suite, the scenario and what varies:
    `gauntlet.bursty.1n1l4c1t.sched-test.scx_simple`. A combination that does not go together is
    skipped when it is run (see above).

    Args:
      name: of the suite.
      scenarios: labels of scenario files.
      topologies: as in scheduler_scenario_test; None: each scenario's own.
      kernels: as `kernel` there; None: the default.
      schedulers: as `scheduler` there, or a pair of that and a list of its arguments; None: each
        scenario's own.
      tags: of all tests. "manual" keeps them out of `bazel test //...`.
      visibility: of the suite and the tests.
      **kwargs: of all tests.
    """
    tests = []
    for scenario in scenarios:
        for topology in topologies:
            for kernel in kernels:
                for entry in schedulers:
                    scheduler, args = entry if type(entry) == "tuple" else (entry, [])
                    parts = [name, _stem(scenario)]
                    parts += [_last_part(part) for part in [topology, kernel, scheduler] if part]
                    parts += [word.strip("-") for word in args]
                    test = ".".join(parts)
                    scheduler_scenario_test(
                        name = test,
                        kernel = kernel,
                        scenario = scenario,
                        scheduler = scheduler,
                        scheduler_args = args,
                        tags = tags,
                        topology = topology,
                        visibility = visibility,
                        **kwargs
                    )
                    tests.append(":" + test)
    native.test_suite(
        name = name,
        tags = ["manual"] if "manual" in tags else [],
        tests = tests,
        visibility = visibility,
    )
