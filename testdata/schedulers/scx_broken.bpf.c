/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler with one fault, chosen by its loader. It spares tasks for `grace_ns` after its start,
 * so that the machine is seen healthy first, and never hurts anything but the tasks of cgroups below
 * the root (the workers of a scenario): what should be seen is the fault, not a guest that is dead.
 */
#include <scx/common.bpf.h>

char _license[] SEC("license") = "GPL";

#include "scx_broken.h"

#define GLOBAL_DSQ 0
#define HIDDEN_DSQ 1

const volatile u32 fault;
const volatile u64 grace_ns = 1000000000;
const volatile u64 burn_ns = 20000000;
/* Well below the watchdog, which would take starvation for a stall otherwise. */
const volatile u64 mercy_ns = 4000000000;
const volatile u64 hang_ns = 30000000000;
const volatile char victim[NAME_LENGTH];

static u64 start_ns;
static u32 hung;
static u64 next_mercy_ns;
UEI_DEFINE(uei);

static bool named(const char *name)
{
	int i;

	for (i = 0; i < NAME_LENGTH; i++) {
		if (victim[i] != name[i])
			return false;
		if (!victim[i])
			return true;
	}
	return true;
}

static bool is_named(struct task_struct *p)
{
	char name[NAME_LENGTH] = {};
	struct cgroup *cgrp;
	bool same;

	bpf_probe_read_kernel_str(name, sizeof(name), p->comm);
	if (named(name))
		return true;
	cgrp = scx_bpf_task_cgroup(p);
	__builtin_memset(name, 0, sizeof(name));
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cgrp, kn, name));
	same = named(name);
	bpf_cgroup_release(cgrp);
	return same;
}

/* A task that the fault may strike: not of the root cgroup, and late enough. */
static bool is_target(struct task_struct *p)
{
	struct cgroup *cgrp;
	bool below;

	if (p->flags & PF_KTHREAD || bpf_ktime_get_ns() - start_ns < grace_ns)
		return false;
	cgrp = scx_bpf_task_cgroup(p);
	below = cgrp->level > 0;
	bpf_cgroup_release(cgrp);
	return below;
}

static void burn(void)
{
	u64 until = bpf_ktime_get_ns() + burn_ns;
	int i;

	bpf_for(i, 0, 1 << 22) {
		if (bpf_ktime_get_ns() > until)
			break;
	}
}

/* Once: the other CPU soon waits for this one's lock. */
static void hang(void)
{
	u64 until = bpf_ktime_get_ns() + hang_ns;
	int i, j;

	if (__sync_lock_test_and_set(&hung, 1))
		return;
	bpf_for(i, 0, 1 << 20) {
		if (bpf_ktime_get_ns() > until)
			break;
		bpf_for(j, 0, 1 << 12) {
			if (bpf_ktime_get_ns() > until)
				break;
		}
	}
}

/* The first CPU that the task may not use; one past the last if it may use all: wrong as well. */
static s32 wrong_cpu(struct task_struct *p)
{
	s32 cpus = scx_bpf_nr_cpu_ids();
	s32 wrong = cpus;
	s32 cpu;

	bpf_for(cpu, 0, cpus) {
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
			wrong = cpu;
			break;
		}
	}
	return wrong;
}

void BPF_STRUCT_OPS(broken_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 dsq = GLOBAL_DSQ;

	if (is_target(p)) {
		switch (fault) {
		case FAULT_LOSE:
			return; /* nobody knows of it any more */
		case FAULT_STARVE:
			if (is_named(p))
				dsq = HIDDEN_DSQ;
			break;
		case FAULT_WRONG_CPU:
			dsq = SCX_DSQ_LOCAL_ON | wrong_cpu(p);
			break;
		case FAULT_LEAK_DSQ:
			dsq = HIDDEN_DSQ;
			break;
		case FAULT_BURN:
			burn();
			break;
		case FAULT_HANG:
			hang();
			break;
		}
	}
	scx_bpf_dispatch(p, dsq, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(broken_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 now = bpf_ktime_get_ns();

	if (fault == FAULT_STARVE && now > next_mercy_ns) {
		next_mercy_ns = now + mercy_ns;
		if (scx_bpf_consume(HIDDEN_DSQ))
			return;
	}
	scx_bpf_consume(GLOBAL_DSQ);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(broken_init)
{
	s32 error = scx_bpf_create_dsq(GLOBAL_DSQ, -1);

	start_ns = bpf_ktime_get_ns();
	return error ?: scx_bpf_create_dsq(HIDDEN_DSQ, -1);
}

void BPF_STRUCT_OPS(broken_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
}

SCX_OPS_DEFINE(broken_ops,
	       .enqueue		= (void *)broken_enqueue,
	       .dispatch	= (void *)broken_dispatch,
	       .init		= (void *)broken_init,
	       .exit		= (void *)broken_exit,
	       .name		= "broken");
