/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, the buffer: packets are noted one by one and counted together.
 * sources.h has the table that they are counted in, and the reason. */
#pragma once

#include "sources.h"

/* HyperLogLog: the register is chosen by the low bits, the rank is the number
 * of zeros that the rest begins with, plus one. A register that is high enough
 * already, as after a while nearly all are, costs one comparison. */
static __always_inline void sketch_add(__u8 *registers, __u64 h)
{
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

/* The passes over the buffer are global functions, which the verifier looks at
 * once and by themselves; and what they find out goes to the buffer, not to a
 * variable, of which it would follow every value. */

/* The two sets of a packet's record. The second depends on the kind, so that a
 * source which sends of every kind does not fill its own sets; and it is another
 * than the first. */
static __always_inline __u32 set_hash(const struct noted *e, int second)
{
	__u32 h = e->hash;

	if (second)
		h ^= ((__u32)(e->hash >> 32) ^ (e->key >> KIND_SHIFT) * 0x9e3779b1U) | 1;
	return h;
}

/* Loads the lines of the packets in mask, and waits for none of them. */
static __always_inline void touch_all(__u32 region, struct batch *b, __u32 mask, int second)
{
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(mask & 1U << n))
			continue;
		if (e->family == 4)
			touch(region, set_hash(e, second), WORDS4);
		else
			touch(region, set_hash(e, second), WORDS6);
	}
}

/* Counts every packet in its first set, or says that it is missing. */
__noinline int count_first(__u32 region)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (!b)
		return 0;
	touch_all(region, b, ~0U, 0);
	b->missed = 0;
	b->paired = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!place_any(region, b, e, n, set_hash(e, 0)))
			b->missed |= 1U << n;
	}
	return 0;
}

/* Counts the missing in their second set, or in the interface's other. */
__noinline int count_second(__u32 region)
{
	struct batch *b = bpf_map_lookup_elem(&batches, &region);

	if (!b)
		return 0;
	touch_all(region, b, b->missed, 1);
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(b->missed & 1U << n))
			continue;
		if (!place_any(region, b, e, n, set_hash(e, 1)))
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
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(b->paired & 1U << n))
			continue;
		if (e->family == 4)
			note_pair(region, e, WORDS4);
		else
			note_pair(region, e, WORDS6);
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
}

/* Is the IPv6 source one of the interface's own link, and so a host of its own?
 * Elsewhere a host is a /64: whoever has one address of it has them all. */
static __always_inline int is_on_link(const struct slot *s, __u64 upper)
{
	if ((upper & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL))
		return 1;
#pragma unroll
	for (int i = 0; i < MAX_ON_LINK; i++)
		if (i < s->on_links && (upper & s->on_link[i].mask) == s->on_link[i].value)
			return 1;
	return 0;
}

typedef __u32 __attribute__((may_alias)) word;

static __always_inline word *what_of(struct noted *e)
{
	return (word *)&e->key;
}

/* Joins a packet with the one noted before, if that is of the same flow, as in
 * trains of packets it is. Returns whether it did. */
static __always_inline int join(struct noted *e, const struct address *a, __u64 hash, __u32 what,
				const struct packet *p)
{
	if (e->hash != hash || *what_of(e) != what || e->length >= 1U << 31 || e->packets >= 1U << 16)
		return 0;
	if (half_of(&e->address, 0) != half_of(a, 0) || half_of(&e->address, 1) != half_of(a, 1))
		return 0;
	e->packets += p->packets;
	e->length += p->length;
	return 1;
}

/* Notes a packet for counting, and returns the hash of its source. */
static __always_inline __u64 count_source(__u32 region, struct batch *b, const struct packet *p,
					  const struct slot *slot, int dropped)
{
	__u32 n = b->n & (BATCH - 1), pair = NO_PAIR, what;
	struct noted *e = &b->noted[n];
	struct address a = p->src;
	__u64 hash;

	if (p->family == 4) {
		hash = mix(((__u64)slot_id << 32 | a.w[0]) + seed);
	} else {
		if (group_off_link && !is_on_link(slot, half_of(&a, 0)))
			set_half(&a, 1, 0);
		hash = mix(mix(half_of(&a, 0) + seed) ^ half_of(&a, 1) ^ (__u64)slot_id << 56);
	}
	if (p->sport | p->dport)
		pair = (((__u32)p->sport << 16 | p->dport) + seed) * PAIR_MULTIPLIER >> 58;
	what = key_of(slot_id, p->class | (dropped ? KIND_DROPPED : 0)) | p->family << 16 | pair << 24;
	if (n && join(&b->noted[(n - 1) & (BATCH - 1)], &a, hash, what, p))
		return hash;
	e->address = a;
	e->hash = hash;
	e->length = p->length;
	e->packets = p->packets;
	*what_of(e) = what;
	if (n < BATCH - 1) {
		b->n = n + 1;
		return hash;
	}
	flush(region, b);
	b->n = 0;
	return hash;
}
