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

/* What is noted at n. The compiler is to know neither n, or it would leave out the
 * bound that the verifier needs, nor how this is found: it would find it again for
 * every field. */
static __always_inline struct noted *noted_at(struct batch *b, __u32 n)
{
	struct noted *e;

	asm volatile("" : "+r"(n));
	e = &b->noted[n & (BATCH - 1)];
	asm volatile("" : "+r"(e));
	return e;
}

/* Where the next packet is noted. */
static __always_inline struct noted *next_of(struct batch *b)
{
	return noted_at(b, b->n);
}

/* The hash of a source of IPv4 on an interface. */
static __always_inline __u64 hash4_of(__u64 slot, __u32 address)
{
	return mix((slot << 32 | address) + seed);
}

static __always_inline __u64 hash_of(const struct noted *e)
{
	const struct address *a = &e->packet.src;
	__u64 slot = e->key & (MAX_SLOTS - 1);

	if (e->packet.family == 4)
		return hash4_of(slot, a->w[0]);
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

/* The flush, and what of it few batches need, are global functions, which the verifier
 * looks at once and by themselves; and what their passes over the buffer find out goes to
 * the buffer, not to a variable, of which it would follow every value. So they read it
 * there anew. */
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
static __always_inline void count_sources(__u32 region, struct batch *b)
{
#pragma clang loop unroll_count(4)
	for (int n = 0; n < BATCH; n++)
		touch_any(&b->noted[n]);
	b->missed = 0;
	b->paired = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++)
		if (!place_any(region, b, noted_at(b, n), n))
			b->missed |= 1U << n;
}

/* Two fields that lie in one word are loaded at once. */
static __always_inline __u64 as_half(const void *fields)
{
	return *(const half *)fields;
}

static __always_inline word *what_of(const struct noted *e)
{
	return (word *)&e->key;
}

/* Counts packets like e: what became of them, and for which target they were. */
__noinline int count_run(__u32 region, const struct noted *e, __u64 packets, __u64 bytes, __u64 source_bits)
{
	struct batch *b = batch_at(region);

	if (!b || !e)
		return 0;
	count_verdict(region, e->key & (MAX_SLOTS - 1), e->reason, packets);
	count_target(region, b, e, packets, bytes, source_bits);
	return 0;
}

/* What two packets have in common whose targets are the same: of the word with the
 * ports, those that tell one attack from another, and the family. */
static __always_inline __u64 telling_bits(const struct packet *p)
{
	__u64 ports = 0;

	if (p->class == CLASS_SYN)
		ports = bpf_htonl(0x0000ffff);
	else if (p->class == CLASS_SYNACK || p->class == CLASS_UDP)
		ports = bpf_htonl(0xffff0000);
	return 0xffULL << 32 | ports;
}

/* Has something else become of packet e than of o, or was it for another target? */
static __always_inline __u64 differs(const struct noted *e, const struct noted *o, __u64 telling)
{
	return (half_of(&e->packet.dst, 0) ^ half_of(&o->packet.dst, 0)) |
	       (half_of(&e->packet.dst, 1) ^ half_of(&o->packet.dst, 1)) | (as_half(&e->key) ^ as_half(&o->key)) << 32 |
	       ((as_half(&e->packet.ports) ^ as_half(&o->packet.ports)) & telling);
}

/* One of 64 bits for the source, by its hash: how many are set says about how many
 * sources there are. */
static __always_inline __u64 source_bit(const struct noted *e)
{
	return 1ULL << (as_half(&e->key) >> 32 & 63);
}

/* Counts what became of the packets, and for which target they were. Most are of one
 * kind for one target, as the packet before: such a run is added up first. */
static __always_inline void count_outcomes(__u32 region, struct batch *b)
{
	__u64 packets = 0, bytes = 0, bits = 0, telling;
	const struct noted *first;

	first = noted_at(b, b->kept);
	telling = telling_bits(&first->packet);
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		const struct noted *e = noted_at(b, n);

		if (n < ANEW(b->kept))
			continue;
		if (unlikely(differs(e, first, telling))) {
			count_run(region, first, packets, bytes, bits);
			packets = 0;
			bytes = 0;
			bits = 0;
			b->first = n;
			first = noted_at(b, ANEW(b->first));
			telling = telling_bits(&first->packet);
		}
		packets += as_half(&e->packet.length) >> 32;
		bytes += (__u32)as_half(&e->packet.length);
		bits |= source_bit(e);
	}
	count_run(region, first, packets, bytes, bits);
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

/* Counts what is noted, and leaves room for more. It is called last: on top of a
 * filter's, the stack of all that is called here would be too much. */
__noinline int flush(__u32 region)
{
	struct batch *b = batch_at(region);

	if (!b)
		return 0;
	count_sources(region, b);
	count_outcomes(region, b);
	if (b->paired)
		note_pairs(region);
	if (b->listed)
		count_listed(region);
	b->n = 0;
	if (!b->missed) {
		b->kept = 0;
		return 0;
	}
	keep_missed(region);
	if (b->n > BATCH / 2)
		count_kept(region);
	return 0;
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
static __always_inline int join(struct noted *before, const struct noted *e, __u32 what)
{
	const struct packet *p = &e->packet;
	struct packet *q = &before->packet;

	if (half_of(&q->src, 0) != half_of(&p->src, 0))
		return 0;
	if ((half_of(&q->dst, 0) ^ half_of(&p->dst, 0)) | (half_of(&q->src, 1) ^ half_of(&p->src, 1)) |
	    (half_of(&q->dst, 1) ^ half_of(&p->dst, 1)) | (q->ports ^ p->ports) | (q->family ^ p->family) |
	    (*what_of(before) ^ what) | (before->listed ^ e->listed))
		return 0;
	if (q->length >= 1U << 31 || q->packets >= 1U << 16)
		return 0;
	q->packets += p->packets;
	q->length += p->length;
	return 1;
}

/* What is noted of a packet beside what it is: key, protocol, reason. */
static __always_inline __u32 what_is(const struct packet *p, __u32 reason)
{
	__u32 kind = p->class | is_drop(reason) * KIND_DROPPED;

	return key_of(slot_id, kind) | p->protocol << 16 | reason << 24;
}

/* Notes the packet that is in e, which is next_of b, for counting. */
static __always_inline void note(__u32 region, struct batch *b, struct noted *e, __u32 reason)
{
	struct packet *p = &e->packet;
	__u32 n = b->n & (BATCH - 1), what = what_is(p, reason);

	if (is_grouped(p))
		set_half(&p->src, 1, 0);
	if (n > b->kept && join(noted_at(b, n - 1), e, what))
		return;
	*what_of(e) = what;
	e->set = first_set(region, b, e);
	b->n = n + 1;
}
