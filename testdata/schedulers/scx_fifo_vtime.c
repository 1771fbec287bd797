/* SPDX-License-Identifier: GPL-2.0 */
/* Loader of the correct scheduler: attaches it and waits until it is told to stop or is kicked out. */
#include <bpf/bpf.h>
#include <scx/common.h>
#include <stdio.h>

#include "loader.h"
#include "scx_fifo_vtime.bpf.skel.h"

int main(int argc, char **argv)
{
	struct scx_fifo_vtime *skel;
	struct bpf_link *link;
	int failed;

	catch_signals();
	skel = SCX_OPS_OPEN(fifo_vtime_ops, scx_fifo_vtime);
	SCX_OPS_LOAD(skel, fifo_vtime_ops, scx_fifo_vtime, uei);
	link = SCX_OPS_ATTACH(skel, fifo_vtime_ops, scx_fifo_vtime);
	printf("fifo_vtime attached\n");
	fflush(stdout);
	failed = STAY_ATTACHED(skel, uei);
	bpf_link__destroy(link);
	UEI_REPORT(skel, uei);
	scx_fifo_vtime__destroy(skel);
	return failed;
}
