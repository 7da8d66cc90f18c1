/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, listed sources: the drops of a source that is blocked.
 *
 * Once a packet was dropped because its source is listed, a record of that kind stands
 * in the table of sources. So of the next packet of the source and class, of which an
 * attack consists once it is blocked, the record says in one line what it is counted in
 * and what becomes of it: the list need not be asked, nor the packet noted. The probe adds
 * these records to the leases when their window is committed.
 *
 * That holds for the window in which the record was begun, and in it until the first of
 * the leases on such sources ends, or one is taken back: from then on the list is asked
 * again. Only the record in the first set is looked for, and none before some packet was
 * dropped so in the window: then there is none. As long as such packets come, the record is
 * looked for before all else; otherwise who is not listed should not have to wait for it. */
#pragma once

#include "batch.h"
#include "filter.h"

#define DROPPING 8 /* after each that was: an attack is more than one in so many */

/* Is whoever was dropped in this window because its source is listed so still? */
static __always_inline int are_still_listed(const struct control *ctl, struct batch *b)
{
	return *(volatile __u32 *)&ctl->generation == b->generation && now_of(b) >> UNTIL_SHIFT < b->known_until;
}

/* Returns the record of what the source of e, of IPv4, lost as a listed one in this
 * window; or null. What the packet is then, and where its set begins, is left in e. */
static __always_inline half *direct_record(__u32 region, const struct batch *b, struct packet *e, __u64 hash4)
{
	__u32 what = what_is(e, 4, REASON_DROP_SOURCE, 1);
	struct tables t;
	__u64 way;
	half *r;

	if (!find_tables(&t, region, 4))
		return 0;
	e->what = what;
	e->set = first_set(b->hot4, hash4 ^ CONSTANT(64, slot_salt), WORDS4);
	r = set_in(&t, e->set, WORDS4);
	way = find_way(r, (__u64)(what & 0xffff) << KEY_SHIFT | e->src.w[0], WORDS4);
	r = (void *)r + way;
	return way < SET_WAYS * RECORD(WORDS4) && *r << (64 - GONE_ON_SHIFT) ? r : 0;
}

/* Notes the port pair of the packet that is next_of the buffer, in its set. */
__noinline int note_direct_pair(__u32 region)
{
	struct batch *b = batch_at(region);
	struct packet *e;
	struct tables t;

	if (!b || !find_tables(&t, region, 4))
		return 0;
	e = next_of(b);
	e->mark = e->src.w[0];
	note_pair(&t, e, WORDS4);
	return 0;
}

/* Counts the packet in e, which is dropped as one of a record. */
static __always_inline void count_directly(__u32 region, struct batch *b, struct packet *e, half *r, __u64 hash4)
{
	struct run *run = &b->runs[RUN_DIRECT];
	__u64 sum = r[1] += e->volume;

	b->dropping = DROPPING;
	if (unlikely(sum & FULL))
		r[0] |= (__u64)KEY_RETIRED << KEY_SHIFT;
	/* One in a few is looked at, in turns that the CPU can predict, as it could not if they
	 * were by source; and whoever keeps step with them is not left out for long. */
	if (!((run->turn++ + (b->jiffies >> 6)) & (PAIRS_OF - 1)) &&
	    unlikely(are_pairs_wanted(e, sum >> PACKETS_SHIFT, 1)))
		note_direct_pair(region);
	if (unlikely(is_other(e, (__u64)e->ports << 32 | e->what, 4, run)))
		begin_run(region, RUN_DIRECT, b->filled / NOTED);
	run->packets += packets_in(e->volume);
	run->bytes += bytes_in(e->volume);
	run->source_bits |= source_bit(hash4 ^ CONSTANT(64, slot_salt));
}
