/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, overflow: packets whose first set is full.
 *
 * They look in their second set. If they are few, they stay in the buffer and meet it
 * together with the next packets' first, so that the misses overlap; if they are most of
 * the buffer, they overlap by themselves and meet it at once. Those that find it full as
 * well are counted in other.
 *
 * A flood of more sources than the table has room for would so cost two lines a packet,
 * though nearly all its sources are in neither. So above the keys of a set stands a bit for
 * each 64th of the sources, of IPv6 for each 16th: of these some went on and have a record in
 * their second set. Once second sets are nearly all full, the window is crowded with sources of this
 * family: then a packet goes on only if there may be a record of its source, and who has
 * none gets none. */
#pragma once

#include "listed.h"
#include "sketch.h"

#define CROWDED 256 /* so many second sets in a row were full: fewer than one in 20 is not */

/* Where the record of a source is looked for second: in the sets that are not hot, if
 * there are such, so that a flood that comes when few are finds room at once. It depends
 * on the kind, so that a source which sends of every kind does not fill its own sets; and
 * modulo the hot sets it is among the BLOCK_SETS around the first, but another. */
static __always_inline __u32 second_set(const struct batch *b, const struct packet *e, __u64 hash)
{
	__u32 hot = e->family == 4 ? b->hot4 : b->hot6, rest = CONSTANT(32, sets) - hot;
	__u32 h = (__u32)(hash >> 32) ^ (key_of(e) >> KIND_SHIFT & KIND_MASK) * 0x9e3779b1U;
	__u32 behind = (hash >> 32) * rest >> 32 & -hot; /* a multiple of hot */
	__u32 near = (hash & (hot - 1)) ^ ((h & (BLOCK_SETS - 1)) | 1);

	return set_at(hot + behind + near); /* modulo a region */
}

/* Where the record of a source is looked for, first: in a hot set. */
static __always_inline __u32 first_set(__u32 hot, __u64 hash)
{
	return set_at(hash & (hot - 1));
}

/* Notes in e's first set that there is a record of its source in the second. */
static __always_inline void note_gone_of(const struct tables *t, __u32 hot, const struct packet *e, __u64 hash,
					 int family)
{
	__u32 bit = gone_bit(e, family);
	half *w = gone_word(set_in(t, first_set(hot, hash), family), bit);

	if (*w)
		*w |= gone_mask(bit, family);
}

/* The same of all these packets of the buffer. */
__noinline int note_all_gone(__u32 region, __u32 packets)
{
	struct batch *b = batch_at(region);
	struct tables t;

	if (!b || !find_tables(&t, region, ANY_FAMILY))
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 n = 0; n < BATCH; n++) {
		struct packet *e = &b->noted[n];

		if (!(packets >> n & 1))
			continue;
		if (e->family == 4)
			note_gone_of(&t, b->hot4, e, hash_of4(e), 4);
		else
			note_gone_of(&t, b->hot6, e, hash_of6(e), 6);
	}
	return 0;
}

/* Sends a packet on to its second set: its first is full. */
static __always_inline void go_on(const struct batch *b, struct packet *e)
{
	e->set = second_set(b, e, hash_of(e));
}

/* Forgets what was found of the places of earlier packets. */
static __always_inline void begin_places(struct batch *b)
{
	b->missed = 0;
	b->claimed[0] = 0;
	b->claimed[1] = 0;
}

/* Says whose the new records of IPv6 are. None of them can be full, and so retired, already. */
__noinline int name_claimed(__u32 region)
{
	struct batch *b = batch_at(region);
	half *names = bpf_map_lookup_elem(&names6, &region);
	struct tables t;

	if (!b || !names || !find_tables(&t, region, 6))
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++)
		if (b->claimed[1] & 1U << n)
			*(volatile half *)names_in(names, &b->noted[n]); /* as the sets: all at once */
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct packet *e = &b->noted[n];

		if (b->claimed[1] & 1U << n)
			write_name(names, e, find_way(set_in(&t, e->set, 6), own_word(e, 6), 6));
	}
	return 0;
}

/* Notes which sets have got their first record, maybe, for the drain. */
__noinline int mark_claimed(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	if (b->claimed[1])
		name_claimed(region);
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		if (b->claimed[0] & 1U << n)
			mark_dirty(region, &b->noted[n], 4);
		else if (b->claimed[1] & 1U << n)
			mark_dirty(region, &b->noted[n], 6);
	}
	return 0;
}

/* The flush, and what of it few batches need, are global functions, which the verifier
 * looks at once and by themselves; and what their passes over the buffer find out goes to
 * the buffer, not to a variable, of which it would follow every value. So they read it
 * there anew. */
#define ANEW(member) (*(volatile __u32 *)&(member))

/* Notes for which of these packets, which looked in their second set, there was room. */
static __always_inline void note_room(__u32 region, struct batch *b, __u32 packets)
{
	__u32 claimed = 0;

#pragma unroll
	for (int of6 = 0; of6 < 2; of6++) {
		claimed |= b->claimed[of6] & packets;
		if (b->claimed[of6] & packets && b->fruitless[of6] < CROWDED)
			b->fruitless[of6] = 0;
	}
	if (claimed)
		note_all_gone(region, claimed);
}

/* Counts packets of one kind in other. */
__noinline int count_other(__u32 region, __u32 key, __u64 volume)
{
	__u64 packets = packets_in(volume), bytes = bytes_in(volume);
	__u32 kind = key >> KIND_SHIFT, class = kind & (NUM_CLASSES - 1);
	__u32 i = region * MAX_SLOTS + (key & (MAX_SLOTS - 1));
	struct totals *t = bpf_map_lookup_elem(&interface_totals, &i);

	if (!t)
		return 0;
	t->other.by_class[class] += packets;
	t->other.bytes += bytes;
	if (class == CLASS_UDP)
		t->other.udp_bytes += bytes;
	if (kind & KIND_DROPPED)
		t->other.dropped += packets;
	return 0;
}

/* Counts packets whose first set was full in other, and keeps the rest of them: those
 * before looked in the buffer have looked in both their sets, and in a crowded window
 * there is no record of most of the others. Most are of one kind, and are added up. */
static __always_inline void count_others_of(__u32 region, struct batch *b, __u32 looked, int family)
{
	__u32 missed = b->missed, key = key_of(&b->noted[b->missed_at[0] & (BATCH - 1)]);
	__u8 *registers = registers_of(region, key);

	if (!registers)
		return;
	b->missed = 0;
	b->others = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH && i < missed; i++) {
		__u32 at = b->missed_at[i], n = at & (BATCH - 1);
		struct packet *e = &b->noted[n];
		__u32 *fruitless = &b->fruitless[!is_ipv4(e, family)];

		if (n >= looked && (at & GONE_ON || *fruitless < CROWDED)) {
			miss(b, n);
			continue;
		}
		if (*fruitless < CROWDED)
			++*fruitless;
		if (key_of(e) != key) {
			count_other(region, key, b->others);
			b->others = 0;
			key = key_of(e);
			registers = registers_of(region, key);
			if (!registers)
				return;
		}
		b->others += e->volume;
		if (is_ipv4(e, family) && e->listed)
			count_listed(region, n);
		if (raises(registers, is_ipv4(e, family) ? hash_of4(e) : hash_of6(e)))
			sketch_other(region, n);
	}
	count_other(region, key, b->others);
}

/* Enters those sources in the sketches that raise a register there. */
__noinline int sketch_others(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 n = 0; n < BATCH; n++)
		if (b->raised & 1U << n)
			sketch_other(region, n);
	return 0;
}

/* As place, in a crowded window: packets that go nowhere else, of one kind, are counted in
 * other at once. */
static __always_inline __u64 place_crowded(const struct tables *t, struct batch *b, const struct packet *e, __u32 n,
					   __u32 key, __u8 *registers)
{
	half *s = set_in(t, e->set, 4), *r = find_record(s, own_word(e, 4), 4);
	int gone;

	if (r)
		return count_in(b, r, e, n, 4);
	gone = is_gone(s, e, 4);
	if (gone || key_of(e) != key || e->listed) {
		miss(b, gone ? n | GONE_ON : n);
		return 0;
	}
	b->others += e->volume;
	if (raises(registers, hash_of4(e)))
		b->raised |= 1U << n;
	return 0;
}

/* Places a batch of IPv4 in a crowded window. */
__noinline int place_all_crowded(__u32 region)
{
	struct batch *b = batch_at(region);
	struct packet *e;
	__u8 *registers;
	struct tables t;
	__u64 full = 0;
	__u32 key;

	if (!b || !find_tables(&t, region, 4))
		return 0;
	e = b->noted;
	key = key_of(e);
	registers = registers_of(region, key);
	if (!registers)
		return 0;
	b->others = 0;
	b->raised = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++, e++) {
		__u64 sum;

		asm volatile("" : "+r"(e));
		sum = place_crowded(&t, b, e, n, key, registers);
		if (!(n % PAIRS_OF))
			want_pair(b, e, n, sum);
		full |= sum;
	}
	count_other(region, key, b->others);
	if (b->raised)
		sketch_others(region);
	if (full & FULL)
		retire_full(region);
	return 0;
}

__noinline int count_others(__u32 region, __u32 looked)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	if (b->filled % NOTED)
		count_others_of(region, b, looked, ANY_FAMILY);
	else
		count_others_of(region, b, looked, 4);
	return 0;
}

/* Sends packets on to their second set, and keeps them for the next batch, so that the
 * misses overlap with others. */
__noinline int keep_missed(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	b->filled = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH && i < ANEW(b->missed); i++) {
		struct packet *to = &b->noted[i];

		*to = b->noted[b->missed_at[i] & (BATCH - 1)];
		go_on(b, to);
		to->what |= WHAT_KEPT;
		b->filled += to->family == 6 ? NOTED + 1 : NOTED;
	}
	b->kept = b->missed;
	b->first = b->missed; /* they have been counted in a run */
	return 0;
}

/* Sends packets on to their second set. */
__noinline int go_on_all(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH && i < ANEW(b->missed); i++)
		go_on(b, &b->noted[b->missed_at[i] & (BATCH - 1)]);
	return 0;
}

/* Looks at once for packets in their second set, when they are so many that the misses
 * overlap by themselves, and there is little room to keep them. */
__noinline int count_missed(__u32 region)
{
	struct batch *b = batch_at(region);
	struct tables t;
	__u64 full = 0;
	__u32 missed;

	if (!b || !find_tables(&t, region, ANY_FAMILY))
		return 0;
	go_on_all(region);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH && i < ANEW(b->missed); i++)
		touch_of(&t, &b->noted[b->missed_at[i] & (BATCH - 1)], ANY_FAMILY);
	missed = ANEW(b->missed);
	begin_places(b);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH && i < missed; i++) {
		__u32 n = b->missed_at[i] & (BATCH - 1);
		__u64 sum = place_of(&t, b, &b->noted[n], n, ANY_FAMILY);

		if (!(n % PAIRS_OF))
			want_pair(b, &b->noted[n], n, sum);
		full |= sum;
	}
	if (full & FULL)
		retire_full(region);
	mark_claimed(region);
	note_room(region, b, ~0U);
	count_others(region, BATCH);
	return 0;
}

/* Forgets all that is noted. */
static __always_inline void forget(struct batch *b)
{
	b->filled = 0;
	asm volatile("" ::: "memory"); /* until now, what is noted has been counted in a run */
	b->first = 0;
	b->kept = 0;
}

/* Finds places for the packets whose first set was full, or counts them in other. Of
 * those that were kept for it, what was full was the second. */
__noinline int find_places(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	if (b->fruitless[0] >= CROWDED || b->fruitless[1] >= CROWDED || (b->missed_at[0] & (BATCH - 1)) < b->kept)
		count_others(region, b->kept);
	if (!b->missed) {
		forget(b);
		return 0;
	}
	if (b->missed <= BATCH / 2) {
		keep_missed(region);
		return 0;
	}
	count_missed(region);
	forget(b);
	return 0;
}
