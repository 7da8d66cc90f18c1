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
 * dropped so in the window: then there is none. As long as such packets come and nobody is
 * allowed, the record is looked for before all else: being listed outweighs every other
 * lease. Otherwise who is not listed should not have to wait for it. */
#pragma once

#include "batch.h"
#include "filter.h"

#define DROPPING 8 /* after each that was: an attack is more than one in so many */

/* Has none of the leases ended yet that dropped somebody in this window? Then none does
 * before the clock is read anew, nor one that drops somebody meanwhile: that was asked. */
static __always_inline int ask_clock(struct batch *b)
{
	if (now_of(b) >> UNTIL_SHIFT >= b->known_until)
		return 0;
	b->known_at = b->jiffies;
	return 1;
}

/* Is whoever was dropped in this window because its source is listed so still? */
static __always_inline int are_still_listed(const struct control *ctl, struct batch *b)
{
	return *(volatile __u32 *)&ctl->generation == b->generation &&
	       (likely(b->known_at == bpf_jiffies64()) || ask_clock(b));
}

/* Is a record of IPv4 in use? */
static __always_inline int has_key(const half *r)
{
	typedef __u16 __attribute__((may_alias)) quarter;

	return ((const quarter *)r)[KEY_SHIFT4 / 16] != 0;
}

/* Is the source of the packet that is next_of the buffer listed? */
__noinline int ask_again(__u32 region)
{
	struct batch *b = batch_at(region);
	int unlisted;
	__u32 source;

	if (!b)
		return 0;
	source = next_of(b)->src.w[0];
	return ask_first(&control_value, b, source, hash4(source), &unlisted) != 0;
}

/* Returns the record of what the source of e, of IPv4, lost as a listed one in this
 * window; or null. What the packet is then is left in e. */
static __always_inline half *direct_record(__u32 region, const struct batch *b, struct packet *e, __u64 hash4)
{
	__u32 what = what_is(e, 4, REASON_DROP_SOURCE, 1);
	struct tables t;
	__u64 way;
	half *r;

	if (!find_tables(&t, region, 4))
		return 0;
	e->what = what;
	r = set_in(&t, first_set4(b, hash4), 4);
	way = find_way(r, (__u64)(what & 0xffff) << KEY_SHIFT4 | e->src.w[0], 4);
	r = (void *)r + way;
	if (way >= SET_WAYS * RECORD || !has_key(r))
		return 0;
	if (!r)
		__builtin_unreachable(); /* so that nobody asks again */
	return r;
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
	e->set = first_set4(b, hash4(e->mark));
	note_pair(region, &t, e, 4);
	return 0;
}

/* Counts the packet in e, which is dropped as one of a record. */
static __always_inline void count_directly(__u32 region, struct batch *b, struct packet *e, half *r, __u64 hash4)
{
	struct run *run = &b->runs[RUN_DIRECT];
	__u64 sum = r[1] += e->volume, all;

	b->dropping = DROPPING;
	if (unlikely(is_other(e, (__u64)e->ports << 32 | e->what, 4, run)))
		begin_run(region, RUN_DIRECT, b->filled / NOTED);
	run->source_bits |= source_bit(hash4);
	all = run->volume += e->volume;
	if (unlikely((sum | all) & FULL)) {
		if (sum & FULL)
			r[0] |= (__u64)KEY_RETIRED << KEY_SHIFT4;
		if (all & FULL)
			begin_run(region, RUN_DIRECT, b->filled / NOTED);
	}
	/* Only of UDP: what the rules ask of TCP is whether a source may be many, and that was
	 * before it was listed; a record less for each is worth more. One in a few is looked at, in
	 * turns that the CPU can predict, as it could not if they were by source; and whoever keeps
	 * step with them is not left out for long. */
	if (e->class == CLASS_UDP && !((b->turn++ + (b->known_at >> 6)) & (PAIRS_OF - 1)) &&
	    unlikely(are_pairs_wanted(e, sum >> PACKETS_SHIFT, 1)))
		note_direct_pair(region);
}

/* Is the packet dropped as one of a record, for its source is listed still? Then it is counted. */
static __always_inline int drop_again(const struct control *ctl, struct batch *b, struct packet *e, __u32 region,
				      __u64 hash4)
{
	half *record = direct_record(region, b, e, hash4);

	if (!record || (!are_still_listed(ctl, b) && !ask_again(region)))
		return 0;
	count_directly(region, b, e, record, hash4);
	return 1;
}
