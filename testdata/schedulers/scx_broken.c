/* SPDX-License-Identifier: GPL-2.0 */
/* Loader of the broken scheduler: takes the fault as its argument. */
#include <bpf/bpf.h>
#include <scx/common.h>
#include <stdio.h>
#include <string.h>

#include "loader.h"
#include "scx_broken.h"
#include "scx_broken.bpf.skel.h"

static const char *const names[] = {
	[FAULT_LOSE] = "lose",		 [FAULT_STARVE] = "starve", [FAULT_WRONG_CPU] = "wrong_cpu",
	[FAULT_LEAK_DSQ] = "leak_dsq", [FAULT_BURN] = "burn",
	[FAULT_HANG] = "hang",
};

static int fault_named(const char *word)
{
	for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++)
		if (!strcmp(names[i], word))
			return i;
	return -1;
}

int main(int argc, char **argv)
{
	const int fault = argc > 1 ? fault_named(argv[1]) : -1;
	struct scx_broken *skel;
	struct bpf_link *link;
	int failed;

	if (fault < 0 || argc != (fault == FAULT_STARVE ? 3 : 2)) {
		fprintf(stderr, "usage: scx_broken lose | starve CGROUP-or-comm | wrong_cpu | leak_dsq | burn | hang\n");
		return 2;
	}
	catch_signals();
	skel = SCX_OPS_OPEN(broken_ops, scx_broken);
	skel->rodata->fault = fault;
	if (fault == FAULT_STARVE)
		strncpy((char *)skel->rodata->victim, argv[2], NAME_LENGTH - 1);
	/* A lost task should not take long to be found; what is only slow must outlast the watchdog. */
	if (fault != FAULT_STARVE && fault != FAULT_BURN && fault != FAULT_HANG)
		skel->struct_ops.broken_ops->timeout_ms = 2000;
	SCX_OPS_LOAD(skel, broken_ops, scx_broken, uei);
	link = SCX_OPS_ATTACH(skel, broken_ops, scx_broken);
	printf("broken attached: %s\n", argv[1]);
	fflush(stdout);
	failed = STAY_ATTACHED(skel, uei);
	bpf_link__destroy(link);
	UEI_REPORT(skel, uei);
	scx_broken__destroy(skel);
	return failed;
}
