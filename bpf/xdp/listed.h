/* SPDX-License-Identifier: GPL-2.0 */
/* What listed sources lose, counted for their leases when it finds no place in the table
 * of sources: for each way of the listed sources in a word, which lies close to those of
 * other ways. The probe adds them to the leases as each window is committed, the program
 * only what a word cannot hold. Whatever has a place is added to the leases from there. */
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

/* Counts for its lease packet n, which was dropped because its source is listed. */
__noinline int count_listed(__u32 region, __u32 n)
{
	struct batch *b = batch_at(region);
	__u64 *count, more;
	struct packet *e;

	if (!b)
		return 0;
	e = &b->noted[n & (BATCH - 1)];
	count = listed_count_at(e->listed - 1);
	if (!count)
		return 0;
	more = e->volume;
	if ((__sync_fetch_and_add(count, more) + more) & FULL)
		empty_listed_count(e->listed - 1, count, b->now);
	return 0;
}
