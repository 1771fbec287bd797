"""Prints the runqueues of a dump: their lengths, what runs, and the trees of the fair class in order.

    drgn -q -c DUMP -s VMLINUX tools/drgn/queues.py
"""

from drgn import container_of
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

REAL_TIME_PRIORITIES = 100


def print_fair(cpu, queue, depth):
    """The tree of `queue`, the current entity first; groups are followed by what is in them."""
    entities = []
    if queue.curr and queue.curr.on_rq.value_():
        entities.append(queue.curr)
    entities += rbtree_inorder_for_each_entry(
        "struct sched_entity", queue.tasks_timeline.rb_root.address_of_(), "run_node"
    )
    for entity in entities:
        who = "group"
        if not entity.my_q:
            task = container_of(entity, "struct task_struct", "se")
            who = "pid %d" % task.pid.value_()
        print(
            "fair", cpu, depth, who, entity.vruntime.value_(), entity.load.weight.value_()
        )
        if entity.my_q:
            print_fair(cpu, entity.my_q, depth + 1)


# A panic takes all other CPUs offline before it is dumped.
for cpu in for_each_possible_cpu(prog):  # noqa: F821: drgn defines prog
    rq = per_cpu(prog["runqueues"], cpu)  # noqa: F821
    print(
        "rq",
        cpu,
        rq.nr_running.value_(),
        rq.cfs.h_nr_running.value_(),
        rq.rt.rt_nr_running.value_(),
        rq.dl.dl_nr_running.value_(),
        rq.nr_switches.value_(),
        rq.clock.value_(),
        rq.curr.pid.value_(),
    )
    print_fair(cpu, rq.cfs, 0)
    for index in range(REAL_TIME_PRIORITIES):
        for entity in list_for_each_entry(
            "struct sched_rt_entity", rq.rt.active.queue[index].address_of_(), "run_list"
        ):
            task = container_of(entity, "struct task_struct", "rt")
            print("rt", cpu, REAL_TIME_PRIORITIES - 1 - index, task.pid.value_())
    domain = rq.sd
    while domain:
        print("domain", cpu, domain.name.string_().decode(), domain.level.value_())
        domain = domain.parent
