/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, the buffer: packets are noted one by one and counted together.
 * sources.h has the table that they are counted in, and the reason. */
#pragma once

#include "listed.h"
#include "overflow.h"
#include "targets.h"

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
static __always_inline struct noted *noted_at(struct batch *b, __u64 n)
{
	struct noted *e;

	asm volatile("" : "+r"(n));
	e = &b->noted[n & (BATCH - 1)];
	asm volatile("" : "+r"(e));
	return e;
}

/* What was noted before e; in front of the first is room for nothing. */
static __always_inline struct noted *before(struct noted *e)
{
	return e - 1;
}

/* Where the next packet is noted. */
static __always_inline struct noted *next_of(struct batch *b)
{
	return noted_at(b, b->n);
}

/* Counts every packet in its set, or says that it is full. The loop that loads the
 * lines is as short as can be: the CPU must see all the loads at once. */
static __always_inline void count_sources_of(__u32 region, struct batch *b, int family)
{
	struct noted *e = b->noted;

#pragma clang loop unroll_count(4)
	for (int n = 0; n < BATCH; n++)
		touch_of(&b->noted[n], family);
	b->missed = 0;
	b->claimed[0] = 0;
	b->claimed[1] = 0;
	b->paired = 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++, e++) {
		asm volatile("" : "+r"(e));
		place_of(region, b, e, n, family);
	}
}

static __always_inline void count_sources(__u32 region, struct batch *b)
{
	if (!b->n6)
		count_sources_of(region, b, 4);
	else if (b->n6 == BATCH)
		count_sources_of(region, b, 6);
	else
		count_sources_of(region, b, ANY_FAMILY);
}

static __always_inline word *what_of(const struct noted *e)
{
	return (word *)&e->key;
}

/* What packets have in common whose targets are the same: of the word with the ports,
 * the bits that tell one attack from another. */
static __always_inline __u32 telling_bits(const struct packet *p)
{
	if (p->class == CLASS_SYN)
		return bpf_htonl(0x0000ffff);
	if (p->class == CLASS_SYNACK || p->class == CLASS_UDP)
		return bpf_htonl(0xffff0000);
	return 0;
}

/* What a packet of this family has in common with a run, in one word: no reason is so
 * great that it would need the uppermost bit. */
static __always_inline __u32 told_by(int family, __u32 what)
{
	return family == 4 ? what : what | 1U << 31;
}

/* Counts the run for its verdict and target, and begins another with the packet that is
 * next_of the buffer. */
__noinline int begin_run(__u32 region, __u32 what)
{
	struct batch *b = batch_at(region);
	struct run *r;
	struct noted *e;

	if (!b)
		return 0;
	r = &b->run;
	e = next_of(b);
	if (r->packets) {
		count_verdict(region, r->like.key & (MAX_SLOTS - 1), r->like.reason, r->packets);
		count_target(region, b, &r->like, r->packets, r->bytes, r->source_bits);
	}
	r->packets = 0; /* it is of nobody while it changes: the probe may look */
	asm volatile("" ::: "memory");
	r->like = *e;
	*what_of(&r->like) = what;
	r->bytes = 0;
	r->source_bits = 0;
	r->told = told_by(e->packet.family, what);
	r->telling = telling_bits(&e->packet);
	b->first = b->n;
	return 0;
}

/* Has something else become of a packet than of a run's, or was it for another target?
 * It looks at fields as they were written: read otherwise, what was written just now
 * takes time to get at. */
static __always_inline __u64 is_other(const struct packet *p, int family, __u32 what, const struct run *r)
{
	const struct packet *q = &r->like.packet;
	__u64 other = (half_of(&p->dst, 0) ^ half_of(&q->dst, 0)) | (told_by(family, what) ^ r->told) |
		      ((p->ports ^ q->ports) & r->telling);

	return family == 4 ? other : other | (half_of(&p->dst, 1) ^ half_of(&q->dst, 1));
}

/* Counts what became of the packet which is next_of the buffer, and for which target it
 * was. Most are of one kind for one target, as the packet before: such a run is added up
 * first. */
static __always_inline void count_in_run(__u32 region, struct batch *b, const struct packet *p, int family, __u32 what)
{
	struct run *r = &b->run;

	if (unlikely(is_other(p, family, what, r)))
		begin_run(region, what);
	r->bytes += p->length;
	r->packets += p->packets;
}

/* Counts in the open run that it has packets of the source with a hash, as one of 64
 * bits: how many are set says about how many sources there are. */
static __always_inline void count_source(struct batch *b, __u64 hash)
{
	b->run.source_bits |= 1ULL << (hash & 63);
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
	if (b->paired)
		note_pairs(region);
	if (b->listed)
		count_listed(region);
	if (b->kept)
		note_room(region, b, (1ULL << (b->kept & 63)) - 1);
	if (b->missed)
		find_places(region);
	else
		forget(b);
	return 0;
}

/* Is the IPv6 source one of the interface's own link, and so a host of its own?
 * Elsewhere a host is a /64: whoever has one address of it has them all. */
static __always_inline int is_on_link(__u64 upper)
{
	__u32 id = CONSTANT(32, slot_id);
	struct slot *s = bpf_map_lookup_elem(&slots, &id);

	if ((upper & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL))
		return 1;
	if (!s)
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_ON_LINK; i++) {
		if (i >= s->on_links)
			break;
		if ((upper & s->on_link[i].mask) == s->on_link[i].value)
			return 1;
	}
	return 0;
}

/* Is the packet of IPv6 counted by the upper half of its source? */
static __always_inline int is_grouped(const struct packet *p)
{
	return CONSTANT(8, group_off_link) && !is_on_link(half_of(&p->src, 0));
}

/* The address that a packet is counted under. */
static __always_inline struct address counted_source(const struct packet *p)
{
	struct address a = p->src;

	if (p->family == 6 && is_grouped(p))
		set_half(&a, 1, 0);
	return a;
}

/* What is noted of a packet beside what it is: key, protocol, reason. */
static __always_inline __u32 what_is(const struct packet *p, __u32 reason)
{
	__u32 about = *(const word *)&p->family; /* family, protocol, flags, class */
	__u32 class = about >> (24 - KIND_SHIFT) & (NUM_CLASSES - 1) << KIND_SHIFT;
	__u32 dropped = is_drop(reason) ? KIND_DROPPED << KIND_SHIFT : 0;

	return class | (about << 8 & 0xff0000) | CONSTANT(32, slot_id) | KEY_USED | dropped | reason << 24;
}

/* Joins a packet with the one noted before, which is of the same run, if it is of the
 * same flow as well, as in trains of packets it is. Returns whether it did. */
static __always_inline int join(struct noted *before, const struct noted *e, int family, __u32 reason)
{
	const struct packet *p = &e->packet;
	struct packet *q = &before->packet;
	__u64 other = q->ports ^ p->ports;

	if (half_of(&q->src, 0) != half_of(&p->src, 0))
		return 0;
	if (family == 6)
		other |= half_of(&q->src, 1) ^ half_of(&p->src, 1);
	if (reason != REASON_PASS)
		other |= before->listed ^ e->listed;
	if (other || q->length >= 1U << 31 || q->packets >= 1U << 16)
		return 0;
	q->packets += p->packets;
	q->length += p->length;
	return 1;
}

/* Notes the packet that is in e, which is next_of b, for counting. Of IPv4 the hash4 of
 * its source may be known, and is not 0 then: most of a train are joined without. */
static __always_inline void note(__u32 region, struct batch *b, struct noted *e, int family, __u64 known, __u32 reason)
{
	struct packet *p = &e->packet;
	__u32 what = what_is(p, reason), n;
	__u64 hash;

	if (family == 6 && is_grouped(p))
		set_half(&p->src, 1, 0);
	count_in_run(region, b, p, family, what);
	n = b->n;
	if (n > b->first && join(before(e), e, family, reason))
		return;
	*what_of(e) = what;
	if (family == 4) {
		hash = (known ? known : hash4(p->src.w[0])) ^ CONSTANT(64, slot_salt);
		e->set = first_set(b->begin4, b->hot4, hash);
	} else {
		hash = hash_of6(e);
		e->hash = hash >> 32;
		e->set = first_set(b->begin6, b->hot6, hash);
		b->n6++;
	}
	count_source(b, hash);
	b->n = n + 1;
}
