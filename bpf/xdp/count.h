/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count: every packet of IP is counted for its source and its target, with
 * what became of it. An interface's totals are the sum over its sources. */
#pragma once

#include "batch.h"
#include "targets.h"

static __always_inline void count(__u32 region, struct batch *b, const struct packet *p, int dropped, __u32 listed)
{
	struct address source = counted_source(p);

	count_source(region, b, p, source, dropped, listed);
	count_target(region, b, p, &source, dropped);
}
