"""Prints the table of tasks that `stasis dump tasks` prints, the longest waiting first.

    drgn -q -c DUMP -s VMLINUX tools/drgn/tasks.py
"""

from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

POLICIES = ("normal", "fifo", "rr", "batch", "?", "idle", "deadline", "ext")
MOST_DEPTH = 64


def cgroup_of(task):
    """The path of the task's cgroup in the default hierarchy."""
    names = []
    node = task.cgroups.dfl_cgrp.kn
    while node and node.parent and len(names) < MOST_DEPTH:
        names.append(node.name.string_().decode())
        node = node.parent
    return "/" + "/".join(reversed(names))


def cpus_of(mask, cpus):
    """A list of CPUs ("0-3,6") of a mask."""
    ranges = []
    for cpu in range(cpus):
        if not (mask.bits[cpu // 64].value_() >> (cpu % 64)) & 1:
            continue
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in ranges)


clocks = {
    cpu: per_cpu(prog["runqueues"], cpu).clock.value_()  # noqa: F821: drgn defines prog
    for cpu in for_each_possible_cpu(prog)  # noqa: F821
}
cpus = prog["nr_cpu_ids"].value_()  # noqa: F821
rows = []
for task in for_each_task(prog):  # noqa: F821
    cpu = task.thread_info.cpu.value_()
    queued, running = task.on_rq.value_() != 0, task.on_cpu.value_() != 0
    since = task.sched_info.last_queued.value_()
    waits = max(0, clocks.get(cpu, 0) - since) if queued and not running and since else 0
    rows.append(
        (
            -waits,
            task.pid.value_(),
            "%7d %7d  %-16s %s%s %3d  %-10s %4d %12d %12d %12d  %-8s %s"
            % (
                task.pid.value_(),
                task.tgid.value_(),
                task.comm.string_().decode(),
                task_state_to_char(task),
                "*" if running else "+" if queued else " ",
                cpu,
                POLICIES[task.policy.value_()],
                task.static_prio.value_() - 120,
                waits,
                task.se.sum_exec_runtime.value_(),
                task.sched_info.run_delay.value_(),
                cpus_of(task.cpus_ptr, cpus),
                cgroup_of(task),
            ),
        )
    )
for _, _, row in sorted(rows):
    print(row)
