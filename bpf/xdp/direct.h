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
 * again. Only the record in the first set is looked for. */
#pragma once

#include "batch.h"
#include "filter.h"

/* Is whoever was dropped in this window because its source is listed so still? */
static __always_inline int are_still_listed(const struct control *ctl, struct batch *b)
{
	return *(volatile __u32 *)&ctl->generation == b->generation && now_of(b) >> UNTIL_SHIFT < b->known_until;
}

/* Returns the record of what the source of e, of IPv4, lost as a listed one in this
 * window; or null. */
static __always_inline half *direct_record(__u32 region, const struct batch *b, const struct noted *e, __u64 hash4)
{
	__u64 own = (__u64)(what_is(&e->packet, 4, REASON_DROP_SOURCE, 1) & 0xffff) << KEY_SHIFT | e->packet.src.w[0];
	struct tables t;
	half *s, *r;
	__u32 way;

	if (!find_tables(&t, region, 4))
		return 0;
	s = set_in(&t, first_set(b->hot4, hash4 ^ CONSTANT(64, slot_salt), WORDS4), WORDS4);
	way = find_way(s, own, WORDS4);
	r = s + way * WORDS4;
	return way < SET_WAYS && *r << (64 - GONE_ON_SHIFT) ? r : 0;
}

/* Notes the port pair of the packet that is next_of the buffer, in its first set. */
__noinline int note_direct_pair(__u32 region, __u64 hash4)
{
	struct batch *b = batch_at(region);
	struct noted *e;
	struct tables t;

	if (!b || !find_tables(&t, region, 4))
		return 0;
	e = next_of(b);
	e->set = first_set(b->hot4, hash4 ^ CONSTANT(64, slot_salt), WORDS4);
	e->packet.what = what_is(&e->packet, 4, REASON_DROP_SOURCE, 1);
	note_pair(&t, e, WORDS4);
	return 0;
}

/* Counts the packet in e, which is dropped as one of a record. */
static __always_inline void count_directly(__u32 region, struct batch *b, struct noted *e, half *r, __u64 hash4)
{
	__u32 what = what_is(&e->packet, 4, REASON_DROP_SOURCE, 1);
	struct run *run = &b->runs[RUN_DIRECT];
	__u64 sum = r[1] += e->packet.volume;

	if (unlikely(sum & FULL))
		r[0] |= (__u64)KEY_RETIRED << KEY_SHIFT;
	sum >>= PACKETS_SHIFT;
	if (unlikely(are_pairs_wanted(&e->packet, sum, 1)) && !(sum & (PAIRS_OF - 1)))
		note_direct_pair(region, hash4);
	if (unlikely(is_other(&e->packet, (__u64)what << 32 | e->packet.ports, 4, run))) {
		e->packet.what = what;
		begin_run(region, RUN_DIRECT, b->n);
	}
	run->packets += packets_in(e->packet.volume);
	run->bytes += bytes_in(e->packet.volume);
	run->source_bits |= source_bit(hash4 ^ CONSTANT(64, slot_salt));
}
