/* SPDX-License-Identifier: GPL-2.0 */
/* Loader of the correct scheduler: attaches it and waits until it is told to stop or is kicked out. */
#include <bpf/bpf.h>
#include <scx/common.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "scx_fifo_vtime.bpf.skel.h"

static volatile int stop;

static void on_signal(int signal)
{
	stop = 1;
}

int main(int argc, char **argv)
{
	struct scx_fifo_vtime *skel;
	struct bpf_link *link;
	int failed;

	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	skel = SCX_OPS_OPEN(fifo_vtime_ops, scx_fifo_vtime);
	SCX_OPS_LOAD(skel, fifo_vtime_ops, scx_fifo_vtime, uei);
	link = SCX_OPS_ATTACH(skel, fifo_vtime_ops, scx_fifo_vtime);
	printf("fifo_vtime attached\n");
	fflush(stdout);
	while (!stop && !UEI_EXITED(skel, uei))
		usleep(100000);
	failed = UEI_EXITED(skel, uei) >= 1024; /* SCX_EXIT_ERROR */
	bpf_link__destroy(link);
	UEI_REPORT(skel, uei);
	scx_fifo_vtime__destroy(skel);
	return failed;
}
