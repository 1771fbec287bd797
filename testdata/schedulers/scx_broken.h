/* SPDX-License-Identifier: GPL-2.0 */
/* What the broken scheduler and its loader share. */
#ifndef SCX_BROKEN_H_
#define SCX_BROKEN_H_

#define NAME_LENGTH 16

enum fault {
	FAULT_LOSE,	 /* tasks are forgotten: the watchdog finds them stalled */
	FAULT_STARVE,	 /* tasks of one cgroup or name run once in some seconds */
	FAULT_WRONG_CPU, /* tasks go to a CPU that they may not use */
	FAULT_LEAK_DSQ,	 /* tasks go to a queue that nobody consumes */
	FAULT_BURN,	 /* callbacks burn time */
	FAULT_HANG,	 /* a callback does not come back for half a minute */
};

#endif
