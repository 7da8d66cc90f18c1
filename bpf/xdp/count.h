/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count: every packet of IP is counted for its interface, its source and
 * its target, with what became of it. */
#pragma once

#include "sources.h"
#include "targets.h"

/* The tables of this CPU in this epoch. */
static __always_inline __u32 region_of(__u32 epoch)
{
	return (epoch & 1) * cpus + bpf_get_smp_processor_id();
}

static __always_inline void count(__u32 region, const struct packet *p, const struct slot *slot, struct totals *t,
				  int dropped)
{
	__u64 h;

	t->all.by_class[p->class & (NUM_CLASSES - 1)] += p->packets;
	t->all.bytes += p->length;
	if (p->class == CLASS_UDP)
		t->all.udp_bytes += p->length;
	if (dropped)
		t->all.dropped += p->packets;
	h = count_source(region, p, slot, dropped);
	count_target(region, p, h, dropped, t);
}
