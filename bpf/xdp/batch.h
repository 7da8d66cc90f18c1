/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, the buffer: packets are noted one by one and counted together.
 * sources.h has the table that they are counted in, and the reason. */
#pragma once

#include "listed.h"
#include "sources.h"

/* HyperLogLog: the register is chosen by the low bits, the rank is the number
 * of zeros that the rest begins with, plus one. A register that is high enough
 * already, as after a while nearly all are, costs one comparison. */
static __always_inline void sketch_add(__u8 *registers, __u64 hash)
{
	__u64 h = hash / BLOCK_SETS; /* then all sources of a block have one register: see sketch.go */
	__u8 *r = &registers[h & (SKETCH_SIZE - 1)];
	__u64 rest = h >> SKETCH_BITS;
	__u8 rank = *r;

	if (rest & ((1ULL << (rank & 63)) - 1))
		return;
	for (int i = 0; i < MAX_RANK; i++) {
		if (rank >= MAX_RANK)
			break;
		rank++;
		if (rest & 1ULL << ((rank - 1) & 63))
			break;
	}
	*r = rank;
}

/* Counts a packet whose source found no place. */
static __always_inline void count_other(__u32 region, const struct noted *e)
{
	__u32 kind = e->key >> KIND_SHIFT, class = kind & (NUM_CLASSES - 1);
	__u32 i = region * MAX_SLOTS + (e->key & (MAX_SLOTS - 1));
	struct totals *t = bpf_map_lookup_elem(&interface_totals, &i);
	struct sketch *s = bpf_map_lookup_elem(&sketches, &i);

	if (!t || !s)
		return;
	t->other.by_class[class] += e->packets;
	t->other.bytes += e->length;
	if (class == CLASS_UDP)
		t->other.udp_bytes += e->length;
	if (kind & KIND_DROPPED)
		t->other.dropped += e->packets;
	sketch_add(s->all, e->hash);
	if (class == CLASS_SYN)
		sketch_add(s->syn, e->hash);
	if (class == CLASS_SYNACK)
		sketch_add(s->synack, e->hash);
}

/* The second set of a packet's record. It is among the BLOCK_SETS around the first,
 * on the same page of memory; it is another than the first; and it depends on the
 * kind, so that a source which sends of every kind does not fill its own sets. */
static __always_inline __u32 second_hash(const struct noted *e)
{
	__u32 h = (__u32)(e->hash >> 32) ^ (e->key >> KIND_SHIFT) * 0x9e3779b1U;

	return e->hash ^ ((h & (BLOCK_SETS - 1)) | 1);
}

static __always_inline void touch_any(const struct noted *e)
{
	if (e->family == 4)
		touch(e, WORDS4);
	else
		touch(e, WORDS6);
}

/* The passes over the buffer are global functions, which the verifier looks at
 * once and by themselves; and what they find out goes to the buffer, not to a
 * variable, of which it would follow every value. */

/* Counts every packet in its first set, or says that it is missing. The loop that
 * loads the lines is as short as can be: the CPU must see all the loads at once. */
__noinline int count_first(__u32 region)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (!b)
		return 0;
#pragma clang loop unroll_count(4)
	for (int n = 0; n < BATCH; n++)
		touch_any(&b->noted[n]);
	b->missed = 0;
	b->paired = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++)
		if (!place_any(region, b, &b->noted[n], n))
			b->missed |= 1U << n;
	return 0;
}

/* Counts the missing in their second set, or in the interface's other. */
__noinline int count_second(__u32 region)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(b->missed & 1U << n))
			continue;
		e->set = set_at(region, second_hash(e), e->family == 4 ? WORDS4 : WORDS6);
		touch_any(e);
	}
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(b->missed & 1U << n))
			continue;
		if (!place_any(region, b, e, n))
			count_other(region, e);
	}
	return 0;
}

__noinline int note_pairs(__u32 region)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n += PAIRS_OF) {
		struct noted *e = &b->noted[n];

		if (!(b->paired & 1U << n))
			continue;
		if (e->family == 4)
			note_pair(e, WORDS4);
		else
			note_pair(e, WORDS6);
	}
	return 0;
}

static __always_inline void flush(__u32 region, struct batch *b)
{
	count_first(region);
	if (b->missed)
		count_second(region);
	if (b->paired)
		note_pairs(region);
	if (b->listed)
		count_listed(region);
}

/* Is the IPv6 source one of the interface's own link, and so a host of its own?
 * Elsewhere a host is a /64: whoever has one address of it has them all. */
static __always_inline int is_on_link(__u64 upper)
{
	__u32 id = slot_id;
	struct slot *s = bpf_map_lookup_elem(&slots, &id);

	if ((upper & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL))
		return 1;
	if (!s)
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_ON_LINK; i++)
		if (i < s->on_links && (upper & s->on_link[i].mask) == s->on_link[i].value)
			return 1;
	return 0;
}

/* The address that a packet is counted under. */
static __always_inline struct address counted_source(const struct packet *p)
{
	struct address a = p->src;

	if (p->family == 6 && group_off_link && !is_on_link(half_of(&a, 0)))
		set_half(&a, 1, 0);
	return a;
}

static __always_inline word *what_of(struct noted *e)
{
	return (word *)&e->key;
}

/* Joins a packet with the one noted before, if that is of the same flow, as in
 * trains of packets it is. Returns whether it did. */
static __always_inline int join(struct noted *e, const struct address *a, __u32 what, __u32 listed,
				const struct packet *p)
{
	if (half_of(&e->address, 0) != half_of(a, 0) || e->ports != p->ports || *what_of(e) != what)
		return 0;
	if (half_of(&e->address, 1) != half_of(a, 1) || e->listed != listed)
		return 0;
	if (e->length >= 1U << 31 || e->packets >= 1U << 16)
		return 0;
	e->packets += p->packets;
	e->length += p->length;
	return 1;
}

/* Notes a packet for counting. */
static __always_inline void count_source(__u32 region, struct batch *b, const struct packet *p, struct address a,
					 int dropped, __u32 listed)
{
	__u32 n = b->n & (BATCH - 1), what = key_of(slot_id, p->class | dropped * KIND_DROPPED) | p->family << 16;
	struct noted *e = &b->noted[n];

	if (n && join(&b->noted[(n - 1) & (BATCH - 1)], &a, what, listed, p))
		return;
	if (p->family == 4) {
		e->hash = mix(((__u64)slot_id << 32 | a.w[0]) + seed);
		e->set = set_at(region, e->hash, WORDS4);
	} else {
		e->hash = mix(mix(half_of(&a, 0) + seed) ^ half_of(&a, 1) ^ (__u64)slot_id << 56);
		e->set = set_at(region, e->hash, WORDS6);
	}
	e->address = a;
	e->length = p->length;
	e->packets = p->packets;
	e->ports = p->ports;
	*what_of(e) = what;
	e->listed = listed;
	b->listed |= listed;
	if (n < BATCH - 1) {
		b->n = n + 1;
		return;
	}
	flush(region, b);
	b->n = 0;
}
