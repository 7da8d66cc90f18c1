/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, the buffer: packets are noted one by one and counted together.
 * sources.h has the table that they are counted in, and the reason. */
#pragma once

#include "listed.h"
#include "sources.h"
#include "targets.h"

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

/* Counts packets of an interface by what became of them. */
static __always_inline void count_verdict(__u32 region, __u32 slot, __u32 reason, __u64 packets)
{
	__u32 i = region * MAX_SLOTS + slot;
	struct outcomes *v = bpf_map_lookup_elem(&verdicts, &i);

	if (v)
		v->by_reason[reason & (NUM_REASONS - 1)] += packets;
}

static __always_inline __u64 hash_of(const struct noted *e)
{
	const struct address *a = &e->packet.src;
	__u64 slot = e->key & (MAX_SLOTS - 1);

	if (e->packet.family == 4)
		return mix((slot << 32 | a->w[0]) + seed);
	return mix(mix(half_of(a, 0) + seed) ^ half_of(a, 1) ^ slot << 56);
}

/* How many sets of the packet's family are hot. */
static __always_inline __u32 hot_of(const struct batch *b, const struct noted *e)
{
	return e->packet.family == 4 ? b->hot4 : b->hot6;
}

/* Where the record of a packet is looked for, first. */
static __always_inline __u32 first_set(__u32 region, const struct batch *b, const struct noted *e)
{
	return set_at(region, hash_of(e) & (hot_of(b, e) - 1), e->packet.family == 4 ? WORDS4 : WORDS6);
}

/* And then: in the sets that are not hot, if there are such, so that a flood that comes
 * when few are finds room at once. It depends on the kind, so that a source which sends
 * of every kind does not fill its own sets; and modulo the hot sets it is among the
 * BLOCK_SETS around the first, but another. */
static __always_inline __u32 second_set(__u32 region, const struct batch *b, const struct noted *e)
{
	__u64 hash = hash_of(e);
	__u32 hot = hot_of(b, e), rest = (e->packet.family == 4 ? sets4 : sets6) - hot;
	__u32 h = (__u32)(hash >> 32) ^ (e->key >> KIND_SHIFT) * 0x9e3779b1U;
	__u32 behind = (hash >> 32) * rest >> 32 & -hot; /* a multiple of hot */
	__u32 near = (hash & (hot - 1)) ^ ((h & (BLOCK_SETS - 1)) | 1);

	return set_at(region, hot + behind + near, e->packet.family == 4 ? WORDS4 : WORDS6);
}

static __always_inline void touch_any(const struct noted *e)
{
	if (e->packet.family == 4)
		touch(e, WORDS4);
	else
		touch(e, WORDS6);
}

/* The passes over the buffer are global functions, which the verifier looks at
 * once and by themselves; and what they find out goes to the buffer, not to a
 * variable, of which it would follow every value. So they read it there anew. */
#define ANEW(member) (*(volatile __u32 *)&(member))

/* Counts packet n, whose source found no place. */
__noinline int count_other(__u32 region, __u32 n)
{
	struct batch *b = batch_at(region);
	struct noted *e;
	struct totals *t;
	struct sketch *s;
	__u32 kind, class, i;
	__u64 hash;

	if (!b)
		return 0;
	e = &b->noted[n & (BATCH - 1)];
	kind = e->key >> KIND_SHIFT;
	class = kind & (NUM_CLASSES - 1);
	i = region * MAX_SLOTS + (e->key & (MAX_SLOTS - 1));
	t = bpf_map_lookup_elem(&interface_totals, &i);
	s = bpf_map_lookup_elem(&sketches, &i);
	if (!t || !s)
		return 0;
	hash = hash_of(e);
	t->other.by_class[class] += e->packet.packets;
	t->other.bytes += e->packet.length;
	if (class == CLASS_UDP)
		t->other.udp_bytes += e->packet.length;
	if (kind & KIND_DROPPED)
		t->other.dropped += e->packet.packets;
	sketch_add(s->all, hash);
	if (class == CLASS_SYN)
		sketch_add(s->syn, hash);
	if (class == CLASS_SYNACK)
		sketch_add(s->synack, hash);
	return 0;
}

/* Counts every packet in its set, or says that it is full. The loop that loads the
 * lines is as short as can be: the CPU must see all the loads at once. */
__noinline int count_sources(__u32 region)
{
	struct batch *b = batch_at(region);

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

static __always_inline word *what_of(const struct noted *e)
{
	return (word *)&e->key;
}

/* Did the same become of two packets, for the same target? */
static __always_inline int is_alike(const struct noted *e, const struct noted *o)
{
	const struct packet *p = &e->packet, *q = &o->packet;

	return !((half_of(&p->dst, 0) ^ half_of(&q->dst, 0)) | (half_of(&p->dst, 1) ^ half_of(&q->dst, 1)) |
		 (*what_of(e) ^ *what_of(o)) | (telling_port(p) ^ telling_port(q)) | (p->family ^ q->family));
}

/* Counts packets like packet n, or like those of the open run if that is BATCH: what
 * became of them, and for which target they were. */
__noinline int count_run(__u32 region, __u32 n, __u32 packets, __u64 bytes, __u64 source_bits)
{
	struct batch *b = batch_at(region);
	const struct noted *e;

	if (!b)
		return 0;
	e = n == BATCH ? &b->run.like : &b->noted[n & (BATCH - 1)];
	count_verdict(region, e->key & (MAX_SLOTS - 1), e->reason, packets);
	count_target(region, b, e, packets, bytes, source_bits);
	return 0;
}

/* Counts what became of the packets, and for which target they were. Most are of one
 * kind for one target, as the packet before: such a run is added up first. */
__noinline int count_outcomes(__u32 region)
{
	struct batch *b = batch_at(region);
	__u64 packets = 0, bytes = 0, bits = 0;

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		const struct noted *e = &b->noted[n], *next = &b->noted[(n + 1) & (BATCH - 1)];

		if (n < ANEW(b->kept))
			continue;
		packets += e->packet.packets;
		bytes += e->packet.length;
		bits |= source_bit(&e->packet.src);
		if (n < BATCH - 1 && is_alike(e, next))
			continue;
		count_run(region, n, packets, bytes, bits);
		packets = 0;
		bytes = 0;
		bits = 0;
	}
	return 0;
}

/* Keeps the packets whose first set was full for the next batch, so that the misses
 * of their second overlap with others. What was kept already is counted in other. */
__noinline int keep_missed(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	b->n = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n], *to = &b->noted[ANEW(b->n) & (BATCH - 1)];

		if (!(ANEW(b->missed) & 1U << n))
			continue;
		if (n < ANEW(b->kept)) {
			count_other(region, n);
			continue;
		}
		*to = *e;
		to->set = second_set(region, b, to);
		to->listed = 0; /* it has been counted */
		b->n++;
	}
	b->kept = b->n;
	return 0;
}

/* Counts the packets that are kept, when they are too many to wait. */
__noinline int count_kept(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++)
		if (n < ANEW(b->n))
			touch_any(&b->noted[n]);
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++)
		if (n < ANEW(b->n) && !place_any(region, b, &b->noted[n], n))
			count_other(region, n);
	b->n = 0;
	b->kept = 0;
	return 0;
}

__noinline int note_pairs(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n += PAIRS_OF) {
		struct noted *e = &b->noted[n];

		if (!(b->paired & 1U << n))
			continue;
		if (e->packet.family == 4)
			note_pair(e, WORDS4);
		else
			note_pair(e, WORDS6);
	}
	return 0;
}

/* Counts what is noted once the buffer is full, and leaves room for more. That is the
 * last thing that is done for a packet: on top of a filter's, the stack of all that is
 * called here would be too much. */
static __always_inline void flush_if_full(__u32 region, struct batch *b)
{
	if (b->n < BATCH)
		return;
	count_sources(region);
	count_outcomes(region);
	if (b->paired)
		note_pairs(region);
	if (b->listed)
		count_listed(region);
	b->n = 0;
	if (!b->missed) {
		b->kept = 0;
		return;
	}
	keep_missed(region);
	if (b->n > BATCH / 2)
		count_kept(region);
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

/* Is the packet's source counted by the upper half of its address? */
static __always_inline int is_grouped(const struct packet *p)
{
	return p->family == 6 && group_off_link && !is_on_link(half_of(&p->src, 0));
}

/* The address that a packet is counted under. */
static __always_inline struct address counted_source(const struct packet *p)
{
	struct address a = p->src;

	if (is_grouped(p))
		set_half(&a, 1, 0);
	return a;
}

/* Joins a packet with the one noted before, if that is of the same flow and met with
 * the same, as in trains of packets it is. Returns whether it did. */
static __always_inline int join(struct noted *before, const struct noted *e, __u32 what, __u32 listed)
{
	const struct packet *p = &e->packet;
	struct packet *q = &before->packet;

	if (half_of(&q->src, 0) != half_of(&p->src, 0) || q->ports != p->ports || *what_of(before) != what)
		return 0;
	if (half_of(&q->dst, 0) != half_of(&p->dst, 0) || half_of(&q->src, 1) != half_of(&p->src, 1) ||
	    half_of(&q->dst, 1) != half_of(&p->dst, 1) || q->family != p->family || before->listed != listed)
		return 0;
	if (q->length >= 1U << 31 || q->packets >= 1U << 16)
		return 0;
	q->packets += p->packets;
	q->length += p->length;
	return 1;
}

/* Where the next packet is noted. */
static __always_inline struct noted *next_of(struct batch *b)
{
	return &b->noted[b->n & (BATCH - 1)];
}

/* What is noted of a packet beside what it is: key, protocol, reason. */
static __always_inline __u32 what_is(const struct packet *p, __u32 reason)
{
	__u32 kind = p->class | is_drop(reason) * KIND_DROPPED;

	return key_of(slot_id, kind) | p->protocol << 16 | reason << 24;
}

/* Notes the packet that is in e, which is next_of, for counting. */
static __always_inline void note(__u32 region, struct batch *b, struct noted *e, __u32 reason, __u32 listed)
{
	struct packet *p = &e->packet;
	__u32 n = b->n & (BATCH - 1), what = what_is(p, reason);

	if (is_grouped(p))
		set_half(&p->src, 1, 0);
	if (n > b->kept && join(&b->noted[(n - 1) & (BATCH - 1)], e, what, listed))
		return;
	*what_of(e) = what;
	e->set = first_set(region, b, e);
	e->listed = listed;
	if (listed)
		b->listed = 1;
	b->n = n + 1;
}
