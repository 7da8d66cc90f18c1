/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, the buffer: packets are noted one by one and counted together.
 * sources.h has the table that they are counted in, and the reason. */
#pragma once

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
static __always_inline struct packet *noted_at(struct batch *b, __u64 n)
{
	struct packet *e;

	asm volatile("" : "+r"(n));
	e = &b->noted[n & (BATCH - 1)];
	asm volatile("" : "+r"(e));
	return e;
}

/* What was noted before e; in front of the first is room for nothing. */
static __always_inline struct packet *before(struct packet *e)
{
	return e - 1;
}

/* Where the next packet is noted; as noted_at. */
static __always_inline struct packet *next_of(struct batch *b)
{
	__u64 at = b->filled;
	void *in = b;

	asm volatile("" : "+r"(at));
	in += at & (BATCH - 1) * NOTED;
	asm volatile("" : "+r"(in));
	return in + __builtin_offsetof(struct batch, noted);
}

/* What a packet is, and above that its ports, as one word; of a packet that was written
 * just now it takes time to get at. */
static __always_inline __u64 told_by(const __u32 *what)
{
	return *(const half *)what;
}

/* What of that packets of one run have in common: of the ports, the bits that tell one
 * attack from another. */
static __always_inline __u64 telling_bits(__u32 class)
{
	__u64 what = ~WHAT_KEPT;

	if (class == CLASS_SYN)
		return what | (__u64)bpf_htonl(0x0000ffff) << 32;
	if (class == CLASS_SYNACK || class == CLASS_UDP)
		return what | (__u64)bpf_htonl(0xffff0000) << 32;
	return what;
}

/* Counts a run for its verdict and target. First it is of nobody: whoever looks at both
 * meanwhile is not to see its packets twice. */
static __always_inline void end_run(__u32 region, struct batch *b, struct run *r)
{
	__u64 volume = r->volume;

	if (!volume)
		return;
	r->volume = 0;
	asm volatile("" ::: "memory");
	count_verdict(region, r->what & (MAX_SLOTS - 1), reason_of(r->what), packets_in(volume));
	count_target(region, b, r, volume);
}

/* Ends a run, and begins another with what is noted at n. */
__noinline int begin_run(__u32 region, __u32 which, __u32 n)
{
	struct batch *b = batch_at(region);
	struct packet *e;
	struct run *r;

	if (!b)
		return 0;
	e = noted_at(b, n);
	r = &b->runs[which & (NUM_RUNS - 1)];
	end_run(region, b, r);
	r->dst = e->dst;
	r->ports = e->ports;
	r->what = e->what;
	r->telling = telling_bits(e->class);
	r->source_bits = 0;
	return 0;
}

/* Was the packet for another target than those of a run? */
static __always_inline __u64 is_elsewhere(const struct packet *p, int family, const struct run *r)
{
	__u64 other = half_of(&p->dst, 0) ^ half_of(&r->dst, 0);

	return family == 4 ? other : other | (half_of(&p->dst, 1) ^ half_of(&r->dst, 1));
}

/* Has something else become of a packet, of which is told so much, than of a run's, or was
 * it for another target? */
static __always_inline __u64 is_other(const struct packet *p, __u64 told, int family, const struct run *r)
{
	return is_elsewhere(p, family, r) | ((told ^ told_by(&r->what)) & r->telling);
}

/* One of 64 bits for a source, by its hash: how many are set says about how many sources
 * there are. */
static __always_inline __u64 source_bit(__u64 hash)
{
	__u64 bit = 1;

	asm volatile("%0 <<= %1" : "+r"(bit) : "r"(hash)); /* by its lowest six bits: see shifted */
	return bit;
}

/* The hash for source_bit. A run is of one interface, so that needs no salt. */
static __always_inline __u64 spread_of(const struct packet *e)
{
	return e->family == 4 ? hash4(e->src.w[0]) : hash_of6(e);
}

/* Counts what was noted since the last batch, run by run. */
__noinline int count_runs(__u32 region)
{
	struct batch *b = batch_at(region);
	struct run *r;

	if (!b)
		return 0;
	r = &b->runs[RUN_NOTED];
#pragma clang loop unroll(disable)
	for (__u32 n = 0; n < BATCH; n++) {
		struct packet *e = noted_at(b, n);

		if (n < b->kept)
			continue;
		if (is_other(e, told_by(&e->what), ANY_FAMILY, r))
			begin_run(region, RUN_NOTED, n);
		r->volume += e->volume;
		r->source_bits |= source_bit(spread_of(e));
	}
	return 0;
}

/* Counts what became of the packets noted since the last batch, and for which target they
 * were. Most are of one kind for one target, as those before: then one look at all of them
 * is enough. */
static __always_inline void count_run(__u32 region, struct batch *b, int family)
{
	struct run *r = &b->runs[RUN_NOTED];
	__u64 other = 0, told = 0, sum = 0, source_bits = b->source_bits;

	b->first = BATCH; /* before it is in a run: see end_run */
	b->source_bits = 0;
	asm volatile("" ::: "memory");
#pragma clang loop unroll_count(4)
	for (int n = 0; n < BATCH; n++) {
		const struct packet *p = &b->noted[n];

		other |= is_elsewhere(p, family, r);
		told |= told_by(&p->what) ^ told_by(&r->what);
		sum += p->volume;
	}
	if (other | (told & r->telling)) {
		count_runs(region);
		return;
	}
#pragma clang loop unroll(disable)
	for (__u32 n = 0; n < BATCH && n < b->kept; n++)
		sum -= noted_at(b, n)->volume;
	r->source_bits |= source_bits;
	/* Of what count_runs adds no more than a batch comes in between: it ends the run, but
	 * where only kept packets are not like it, and none is kept twice. */
	if (unlikely((r->volume += sum) & FULL))
		begin_run(region, RUN_NOTED, 0);
}

/* Counts every packet in its set, or says that this is full. */
static __always_inline void place_all(__u32 region, const struct tables *t, struct batch *b, int family)
{
	struct packet *e = b->noted;
	__u64 full = 0, sum;

#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n += PAIRS_OF, e += PAIRS_OF) {
		asm volatile("" : "+r"(e));
		sum = place_of(t, b, e, n, family);
		want_pair(b, e, n, sum);
		full |= sum;
#pragma unroll
		for (int i = 1; i < PAIRS_OF; i++)
			full |= place_of(t, b, e + i, n + i, family);
	}
	if (full & FULL)
		retire_full(region);
}

/* Counts every packet in the run and in its set, or says that this is full. The loop that
 * loads the sets' lines is as short as can be: the CPU must see all the loads at once. The
 * run is counted while they come. */
static __always_inline void count_batch_of(__u32 region, struct batch *b, int family)
{
	struct tables t;

	if (!find_tables(&t, region, family))
		return;
#pragma clang loop unroll_count(4)
	for (int n = 0; n < BATCH; n++)
		touch_of(&t, &b->noted[n], family);
	count_run(region, b, family);
	begin_places(b);
	b->paired = 0;
	if (family == 4 && b->fruitless[0] >= CROWDED)
		place_all_crowded(region);
	else
		place_all(region, &t, b, family);
}

static __always_inline void count_batch(__u32 region, struct batch *b)
{
	__u32 of6 = b->filled % NOTED;

	if (!of6)
		count_batch_of(region, b, 4);
	else if (of6 == BATCH)
		count_batch_of(region, b, 6);
	else
		count_batch_of(region, b, ANY_FAMILY);
}

/* Notes the port pairs of those packets of the buffer that are to be noted. */
__noinline int note_pairs(__u32 region)
{
	struct batch *b = batch_at(region);
	struct tables t;

	if (!b || !find_tables(&t, region, ANY_FAMILY))
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n += PAIRS_OF) {
		struct packet *e = &b->noted[n];

		if (!(b->paired & 1U << n))
			continue;
		if (e->family == 4)
			note_pair(region, &t, e, 4);
		else
			note_pair(region, &t, e, 6);
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
	count_batch(region, b);
	if (b->claimed[0] | b->claimed[1])
		mark_claimed(region);
	if (b->paired)
		note_pairs(region);
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
	const struct slot *s;

	if ((upper & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL))
		return 1;
	if (!OF_SLOT(slot_values, __builtin_offsetof(struct slot, on_links)))
		return 0;
	s = &slot_values[CONSTANT(32, slot_id)];
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

/* What is noted of a packet of this family, which may be dropped because its source is
 * listed: key, protocol, reason, WHAT_IPV6. */
static __always_inline __u32 what_is(const struct packet *p, int family, __u32 reason, __u32 listed)
{
	__u32 about = *(const word *)&p->family & 0x00ffff00; /* class and protocol, where they have to be */
	__u32 kind = !is_drop(reason) ? 0 : listed ? KIND_LISTED : KIND_DROPPED;

	return about | CONSTANT(32, slot_id) | KEY_USED | kind << KIND_SHIFT | reason << 24 |
	       (family == 6 ? WHAT_IPV6 : 0);
}

/* No packet is joined with so many, of so many bytes: the volumes of a batch add up. */
#define JOINED (0xffULL << (PACKETS_SHIFT + 16) | 0x1ffULL << 31)

/* Joins a packet with the one noted before, if it is of the same flow and the same became
 * of it, as in trains of packets it is. Returns whether it did. */
static __always_inline int join(struct packet *before, const struct packet *e, int family, __u32 what, __u32 reason)
{
	__u64 other = half_of(&before->dst, 0) ^ half_of(&e->dst, 0);

	if (half_of(&before->src, 0) != half_of(&e->src, 0))
		return 0;
	if (family == 6)
		other |=
		    (half_of(&before->src, 1) ^ half_of(&e->src, 1)) | (half_of(&before->dst, 1) ^ half_of(&e->dst, 1));
	if (family == 4 && reason != REASON_PASS)
		other |= before->listed ^ e->listed;
	other |= (before->what ^ what) | (before->ports ^ e->ports);
	if (other || before->volume & JOINED)
		return 0;
	before->volume += e->volume;
	return 1;
}

/* Where the record of a source of IPv4 is looked for, first. */
static __always_inline __u32 first_set4(const struct batch *b, __u64 hash4)
{
	return first_set(b->hot4, hash4 ^ CONSTANT(64, slot_salt));
}

/* Notes the packet that is in e, which is next_of b, for counting; returns whether the
 * buffer is full. Of IPv4 the hash4 of its source may be known, and is not 0 then: most of
 * a train are joined without. */
static __always_inline int note(struct batch *b, struct packet *e, int family, __u64 known, __u32 reason)
{
	__u32 what = what_is(e, family, reason, e->listed), filled = b->filled;
	__u64 source = half_of(&e->src, 0), hash;

	if (family == 6 && is_grouped(e))
		set_half(&e->src, 1, 0);
	if (join(before(e), e, family, what, reason))
		return 0;
	e->what = what;
	if (family == 4) {
		hash = known ? known : hash4(source);
		e->mark = source;
		e->set = first_set4(b, hash);
		filled += NOTED;
	} else {
		hash = hash6(source, half_of(&e->src, 1), CONSTANT(32, slot_id));
		*hash_at6(e) = hash;
		e->set = first_set(b->hot6, hash);
		filled += NOTED + 1;
	}
	b->source_bits |= source_bit(hash);
	b->filled = filled;
	return filled >= BATCH * NOTED;
}
