/* SPDX-License-Identifier: GPL-2.0 */
/* What the loaders of this folder share: stay attached until a signal or the kernel ends it. */
#ifndef STASIS_TESTDATA_SCHEDULERS_LOADER_H_
#define STASIS_TESTDATA_SCHEDULERS_LOADER_H_

#include <signal.h>
#include <unistd.h>

static volatile int stop;

static void on_signal(int signal)
{
	stop = 1;
}

static inline void catch_signals(void)
{
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
}

/* True if the kernel ended it for an error (SCX_EXIT_ERROR and above). */
#define STAY_ATTACHED(skel, uei)                               \
	({                                                     \
		while (!stop && !UEI_EXITED(skel, uei))        \
			usleep(100000);                        \
		UEI_EXITED(skel, uei) >= 1024;                 \
	})

#endif
