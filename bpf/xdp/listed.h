/* SPDX-License-Identifier: GPL-2.0 */
/* What listed sources lose, counted for their leases: what direct.h leaves, when there
 * are very many of them, or one sends packets of several classes.
 *
 * A drop is counted with others for its way of the listed sources, in one word that
 * lies close to those of other ways: of ten thousand leases that are all flooding,
 * the words fit a core's cache, and the leases do not. The probe adds them to the
 * leases as each window is committed, the program only what a word cannot hold. */
#pragma once

#include "sources.h"

/* Returns the lease of a way of the listed sources; counted from the first set. */
static __always_inline __u32 lease_at(__u32 way)
{
	__u32 set = way / LISTED_WAYS;
	struct lease_set *l = bpf_map_lookup_elem(&listed_leases, &set);

	return l ? l->of[way % LISTED_WAYS] : ~0U;
}

static __always_inline __u64 *listed_count_at(__u32 way)
{
	__u32 set = way / LISTED_WAYS;
	struct listed_count *c = bpf_map_lookup_elem(&listed_counts, &set);

	return c ? &c->of[way % LISTED_WAYS] : 0;
}

/* Loads the records of a set's ways, or the line with the first of them, which most
 * sources have; and waits for nothing. */
static __always_inline void touch_direct(__u32 region, __u32 set)
{
	__u32 i = region * LISTED_DIRECT + (set * LISTED_WAYS & (LISTED_DIRECT - 1));
	volatile half *r = bpf_map_lookup_elem(&listed_sources, &i);

	if (r)
		*r;
}

/* Moves the count of a way to its lease. */
static __always_inline void empty_listed_count(__u32 way, __u64 *count, __u64 now)
{
	__u64 sum = __sync_lock_test_and_set(count, 0);
	__u32 i = lease_at(way);
	struct lease *l = bpf_map_lookup_elem(&leases, &i);

	if (!l)
		return;
	__sync_fetch_and_add(&l->packets, packets_in(sum));
	__sync_fetch_and_add(&l->bytes, bytes_in(sum));
	l->last = now;
}

/* Counts what was dropped because its source is listed: first the lines, then the
 * counts, so that the misses overlap here too. */
__noinline int count_listed(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		volatile __u64 *count = listed_count_at(b->noted[n].listed - 1);

		if (count)
			*count;
	}
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];
		__u64 *count = listed_count_at(e->listed - 1), more;

		if (!e->listed || !count)
			continue;
		more = e->packet.volume;
		if ((__sync_fetch_and_add(count, more) + more) & FULL)
			empty_listed_count(e->listed - 1, count, b->now);
	}
	b->listed = 0;
	return 0;
}
