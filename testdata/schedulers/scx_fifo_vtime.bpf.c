/* SPDX-License-Identifier: GPL-2.0 */
/* A correct scheduler: one global queue, ordered by virtual time, first in first out among equals. */
#include <scx/common.bpf.h>

char _license[] SEC("license") = "GPL";

#define GLOBAL_DSQ 0

static u64 vtime_now;
UEI_DEFINE(uei);

static bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

s32 BPF_STRUCT_OPS(fifo_vtime_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle)
		scx_bpf_dispatch(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, 0);
	return cpu;
}

void BPF_STRUCT_OPS(fifo_vtime_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 vtime = p->scx.dsq_vtime;

	/* Who slept long comes first, but saves up one slice at most. */
	if (before(vtime, vtime_now - SCX_SLICE_DFL))
		vtime = vtime_now - SCX_SLICE_DFL;
	scx_bpf_dispatch_vtime(p, GLOBAL_DSQ, SCX_SLICE_DFL, vtime, enq_flags);
}

void BPF_STRUCT_OPS(fifo_vtime_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_consume(GLOBAL_DSQ);
}

void BPF_STRUCT_OPS(fifo_vtime_running, struct task_struct *p)
{
	/* CPUs race here; an error is small and does not last. */
	if (before(vtime_now, p->scx.dsq_vtime))
		vtime_now = p->scx.dsq_vtime;
}

void BPF_STRUCT_OPS(fifo_vtime_stopping, struct task_struct *p, bool runnable)
{
	p->scx.dsq_vtime += (SCX_SLICE_DFL - p->scx.slice) * 100 / p->scx.weight;
}

void BPF_STRUCT_OPS(fifo_vtime_enable, struct task_struct *p)
{
	p->scx.dsq_vtime = vtime_now;
}

s32 BPF_STRUCT_OPS_SLEEPABLE(fifo_vtime_init)
{
	return scx_bpf_create_dsq(GLOBAL_DSQ, -1);
}

void BPF_STRUCT_OPS(fifo_vtime_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
}

SCX_OPS_DEFINE(fifo_vtime_ops,
	       .select_cpu	= (void *)fifo_vtime_select_cpu,
	       .enqueue		= (void *)fifo_vtime_enqueue,
	       .dispatch	= (void *)fifo_vtime_dispatch,
	       .running		= (void *)fifo_vtime_running,
	       .stopping	= (void *)fifo_vtime_stopping,
	       .enable		= (void *)fifo_vtime_enable,
	       .init		= (void *)fifo_vtime_init,
	       .exit		= (void *)fifo_vtime_exit,
	       .name		= "fifo_vtime");
