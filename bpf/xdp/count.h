/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count: every packet of IP is counted for its source and its target, with
 * what became of it. An interface's totals are the sum over its sources. */
#pragma once

#include "batch.h"
#include "targets.h"

/* The tables of this CPU in this epoch. */
static __always_inline __u32 region_of(__u32 epoch)
{
	return (epoch & 1) * cpus + bpf_get_smp_processor_id();
}

static __always_inline void count(__u32 region, const struct packet *p, const struct slot *slot, struct totals *t,
				  int dropped)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (b)
		count_target(region, b, p, count_source(region, b, p, slot, dropped), dropped, t);
}
