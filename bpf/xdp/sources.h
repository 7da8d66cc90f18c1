/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, sources: who sent how much of what in the open window.
 *
 *            sources4: one region per (epoch, CPU)          one set = one cache line
 *   epoch 0 ┌ CPU 0 ┬ CPU 1 ┬ …  ┐      ┌ set 0 ┬ set 1 ┬ …   ┌──────┬──────┬──────┬──────┐
 *   epoch 1 └ CPU 0 ┴ CPU 1 ┴ …  ┘  →   └───────┴───────┴─  → │record│record│record│record│
 *                                                             └──────┴──────┴──────┴──────┘
 *   record (16 B) = address │ in use, kind, interface │ packets │ bytes
 *
 * A record counts one kind of packets of one source: a class, passed or dropped.
 * So a flood of one kind takes one small record per source, and a packet changes
 * one cache line. Only the CPU that owns a region writes it, with softirqs off: plain
 * adds suffice.
 *
 * An address of IPv6 is as large as a record. So it stands in a line of names beside the
 * set's, which is written when the record is begun, and not read before the window is
 * drained. The record itself has 44 bits of the keyed hash. That a new source is taken for
 * another so has a chance of 2^-41, which nobody can better who does not know the seed: a
 * flood that brings a million a second meets it once a month, and the totals are exact even
 * then. To read the names of all packets cost half as much again as IPv4 does.
 *
 * Memory latency is what a million sources cost, and only overlapping hides it.
 * So a packet is noted in a small buffer; when that is full, the lines of all of
 * them are touched, which the CPU does at once, and then counted one by one.
 * What is in the buffer when the window ends is counted by the drain.
 *
 * What became of a packet, and for which target it was, needs no such care: most are as
 * those before, and are added up in a run that is counted when it ends.
 *
 * A record has two sets to live in, chosen by the halves of one hash, the second
 * by the kind as well; it is used when the first is full (overflow.h). When both are full,
 * its packets are counted in the interface's "other": bounded time and memory, exact
 * totals, no eviction.
 *
 * The first set is a hot one. Those are at the beginning of a region, as many as the
 * windows before needed: so few sources lie in few pages, in a table that has room for
 * a million. The second set is behind them; if all sets are hot, it is anywhere.
 *
 *     hot: the first of a record     the second, if the first is full
 *   ┌──────────────────────────────┬──────────────────────────── … ─────┐
 *   └──────────────────────────────┴──────────────────────────── … ─────┘
 *
 * How many are hot is for the probe to say, of each region while that is not written.
 *
 * Nothing wraps: a record with 2^23 packets or 2^39 bytes is retired after the batch that
 * made it so, and the source gets another one. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"

/* The tables of this CPU in this epoch. */
static __always_inline __u32 this_region(void)
{
	return (*(volatile __u32 *)&control_value.epoch & 1) * CONSTANT(32, cpus) + bpf_get_smp_processor_id();
}

/* The buffer of a region. The compiler must not know that only one is declared, nor
 * use another copy of the number than the one that is checked. */
static __always_inline struct batch *batch_at(__u32 region)
{
	struct batch *b = batch_values;
	__u64 i = region;

	asm volatile("" : "+r"(b), "+r"(i));
	if (i >= 2 * CONSTANT(32, cpus))
		return 0;
	b += i;
	asm volatile("" : "+r"(b));
	if (!b)
		__builtin_unreachable();
	return b;
}

/* What is counted of the interface as a whole. */
static __always_inline struct totals *totals_of(__u32 region)
{
	__u32 i = region * MAX_SLOTS + CONSTANT(32, slot_id);

	return bpf_map_lookup_elem(&interface_totals, &i);
}

#define KEY_USED 0xa000	   /* two bits: see find_way */
#define KEY_RETIRED 0x4000 /* full: counts no more */
#define KIND_SHIFT 8	   /* so that a class is where packets have it; below it: the slot */
#define KIND_MASK 31
#define KIND_DROPPED 8
#define KIND_LISTED 24		       /* dropped because the source is listed: direct.h */
#define KIND_PAIRS 16		       /* not packets but a bitmap of port pairs */
#define FULL (1ULL << 63 | 1ULL << 39) /* half of what either count can hold */
/* Port pairs are noted from this packet on: the rules ask for 32 different ones, and a
 * flood of sources with a packet each must not fill the table twice. The rules ask of UDP;
 * of what else a source sends, and that is floods of SYN as well as scans, they are noted
 * once it sends so much that there cannot be many such sources; but see direct.h. */
#define PAIRS_FROM 16
#define PAIRS_FROM_OTHER 128
#define PAIRS_OF 4 /* one in so many packets is looked at */
/* Up to this packet; of a source with enough different pairs, 32 are noted by then. */
#define PAIRS_TO 512
#define PAIRS_LATER 8 /* then the first packet of one batch in so many is looked at */
/* 2^64 over the golden ratio: neighbours get different bits. */
#define PAIR_MULTIPLIER 0x9e3779b97f4a7c15ULL

/* Records are handled as two words: what they are found by, and the counts. */
#define WORDS 2
#define RECORD (WORDS * sizeof(half))
_Static_assert(sizeof(struct source4) == RECORD && sizeof(struct source6) == RECORD, "of both families");
/* Of the key in the first, above the address of IPv4, or above part of the hash of IPv6. */
#define KEY_SHIFT4 32
#define KEY_SHIFT6 44
/* Above the keys of a set: who went on from it, see overflow.h. */
#define KEY_BITS 16

static __always_inline int key_shift(int family)
{
	return family == 4 ? KEY_SHIFT4 : KEY_SHIFT6;
}

/* Where a set begins in a region, in bytes. */
static __always_inline __u32 set_at(__u32 set)
{
	return set * (SET_WAYS * RECORD);
}

/* The sets of a region. */
static __always_inline half *table_of(__u32 region, int family)
{
	return family == 4 ? bpf_map_lookup_elem(&sources4, &region) : bpf_map_lookup_elem(&sources6, &region);
}

#define ANY_FAMILY 0

/* The tables that packets of either family are counted in, and the bits that there are
 * of where a set begins. */
struct tables {
	half *of4, *of6;
	__u64 bits;
};

/* Returns whether those of a family, or of any, are there. */
static __always_inline int find_tables(struct tables *t, __u32 region, int family)
{
	t->of4 = family == 6 ? 0 : table_of(region, 4);
	t->of6 = family == 4 ? 0 : table_of(region, 6);
	t->bits = CONSTANT(64, set_bits);
	return (family == 6 || t->of4) && (family == 4 || t->of6);
}

static __always_inline half *set_in(const struct tables *t, __u64 at, int family)
{
	return (void *)(family == 4 ? t->of4 : t->of6) + (at & t->bits);
}

/* Notes that a set of this group is in use, so that the drain need not look at
 * the others. */
static __always_inline void mark_dirty(__u32 region, const struct packet *e, int family)
{
	__u32 sets = CONSTANT(32, sets), set = e->set / set_at(1) & (sets - 1);
	__u32 i = region * ((sets + DIRTY_SETS * 64 - 1) / (DIRTY_SETS * 64)) + set / (DIRTY_SETS * 64);
	__u64 *dirty = family == 4 ? bpf_map_lookup_elem(&dirty4, &i) : bpf_map_lookup_elem(&dirty6, &i);

	if (dirty)
		*dirty |= 1ULL << (set / DIRTY_SETS & 63);
}

/* The key of the record that counts e. */
static __always_inline __u64 key_of(const struct packet *e)
{
	return e->what & 0xffff;
}

/* The hash of the source that a packet is noted with. */
static __always_inline __u64 hash_of4(const struct packet *e)
{
	return hash4(e->src.w[0]) ^ (e->what & (MAX_SLOTS - 1)) * SLOT_SALT;
}

static __always_inline half *hash_at6(struct packet *e)
{
	return (half *)&e->listed;
}

static __always_inline __u64 hash_of6(const struct packet *e)
{
	return *hash_at6((struct packet *)e);
}

static __always_inline __u64 hash_of(const struct packet *e)
{
	return e->family == 4 ? hash_of4(e) : hash_of6(e);
}

/* The word of the record that counts e, with more above it. */
static __always_inline __u64 own_word(const struct packet *e, int family)
{
	_Static_assert(__builtin_offsetof(struct packet, what) == __builtin_offsetof(struct packet, mark) + 4 &&
			   __builtin_offsetof(struct packet, mark) == __builtin_offsetof(struct packet, listed) + 4,
		       "they are read as one");
	return family == 4 ? *(const half *)&e->mark : hash_of6(e) >> (64 - KEY_SHIFT6) | (__u64)e->what << KEY_SHIFT6;
}

/* The word of the record that counts what e's source has of another key. */
static __always_inline __u64 word_of(const struct packet *e, __u64 key, int family)
{
	return key << key_shift(family) | (own_word(e, family) & ((1ULL << key_shift(family)) - 1));
}

/* Returns where in a set the way with this word begins, in bytes; or else the first free
 * one, or the set's end. Without branches: which way it is cannot be predicted, and the
 * verifier would follow each.
 *
 * The uppermost bit of the key says that it is in use. So it is also
 * the uppermost of the difference to a free record, even if one is subtracted, because in a
 * key another bit is always set as well; and of what is one less than no difference.
 * Whatever is above them does not matter. */
static __always_inline __u64 find_way(const half *set, __u64 own, int family)
{
	__u64 found = 0;

#pragma unroll
	for (int w = 0; w < SET_WAYS; w++)
		found |= ((set[w * WORDS] ^ own) - 1) >> (key_shift(family) + 13 - w) & (4U << w);
	/* The lowest bit of found, which is shifted for that, from a table of 16 nibbles. */
	return shifted(0x0102010301020104ULL * RECORD, found) & 7 * RECORD;
}

/* Returns the record of a set with this word; if there is none, a free one, which has no key
 * yet; or null: then the set is full. */
static __always_inline half *find_record(half *set, __u64 own, int family)
{
	__u64 way = find_way(set, own, family);
	half *r = (void *)set + way;

	if (way >= SET_WAYS * RECORD)
		return 0;
	if (!r)
		__builtin_unreachable(); /* so that nobody asks again */
	return r;
}

/* The names of the records of e's set of IPv6. */
static __always_inline half *names_in(half *names, const struct packet *e)
{
	void *at = names;

	return at + (e->set & CONSTANT(64, set_bits));
}

/* Says whose record it is that begins so far into e's set of IPv6. */
static __always_inline void write_name(half *names, const struct packet *e, __u64 way)
{
	half *to = (void *)names_in(names, e) + (way & (SET_WAYS - 1) * RECORD);

	to[0] = half_of(&e->src, 0);
	to[1] = half_of(&e->src, 1);
}

/* Is the port pair to be noted of packet n of a batch, which is so many packets into the
 * source's record? */
static __always_inline int are_pairs_wanted(const struct packet *p, __u64 packets, __u32 n)
{
	__u64 from = p->class == CLASS_UDP ? PAIRS_FROM : PAIRS_FROM_OTHER;

	return packets > from && p->ports && (packets <= PAIRS_TO || !(n | (packets & (PAIRS_LATER - 1))));
}

/* Which of the bits above a set's keys is for sources like e's: see overflow.h. */
static __always_inline __u32 gone_bit(const struct packet *e, int family)
{
	return e->mark * CONSTANT(64, seed) >> (family == 4 ? 58 : 60);
}

/* The word of a set that has a bit, and the bit in it. */
static __always_inline half *gone_word(half *set, __u32 bit)
{
	return set + (bit & (SET_WAYS - 1)) * WORDS;
}

static __always_inline __u64 gone_mask(__u32 bit, int family)
{
	return 1ULL << (key_shift(family) + KEY_BITS + bit / SET_WAYS);
}

#define GONE_ON 0x80 /* beside a packet's number: there may be a record in its second set */

/* Notes that packet n found its set full. */
static __always_inline void miss(struct batch *b, __u32 n)
{
	b->missed_at[b->missed & (BATCH - 1)] = n;
	b->missed++;
}

/* May there be a record of e's source in its second set? */
static __always_inline int is_gone(half *set, const struct packet *e, int family)
{
	__u32 bit = gone_bit(e, family);

	return (*gone_word(set, bit) & gone_mask(bit, family)) != 0;
}

/* Counts noted[n] in a record, which may be a free one. Returns what that has counted then. */
static __always_inline __u64 count_in(struct batch *b, half *r, const struct packet *e, __u32 n, int family)
{
	if (!r[0]) {
		r[0] = word_of(e, key_of(e), family);
		r[1] = 0;
		b->claimed[family == 6] |= 1U << n;
	}
	return r[1] += e->volume;
}

/* Counts noted[n] in its set, or notes that this is full. Returns what its record has
 * counted then, or 0. */
static __always_inline __u64 place(const struct tables *t, struct batch *b, const struct packet *e, __u32 n, int family)
{
	half *s = set_in(t, e->set, family), *r = find_record(s, own_word(e, family), family);

	if (r)
		return count_in(b, r, e, n, family);
	miss(b, is_gone(s, e, family) ? n | GONE_ON : n);
	return 0;
}

/* Retires the record that counts e, if it is full. */
static __always_inline void retire(const struct tables *t, const struct packet *e, int family)
{
	half *r = find_record(set_in(t, e->set, family), own_word(e, family), family);

	if (r && r[1] & FULL)
		r[0] |= (__u64)KEY_RETIRED << key_shift(family);
}

/* Retires those records that count what is noted which are full. No batch adds as much as
 * they still have room for then. */
__noinline int retire_full(__u32 region)
{
	struct batch *b = batch_at(region);
	struct tables t;

	if (!b || !find_tables(&t, region, ANY_FAMILY))
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		const struct packet *e = &b->noted[n];

		if (e->family == 4)
			retire(&t, e, 4);
		else
			retire(&t, e, 6);
	}
	return 0;
}

/* One of 64 bits for a port pair. */
static __always_inline __u64 pair_bit(__u32 ports)
{
	return 1ULL << ((bpf_ntohl(ports) + CONSTANT(64, seed)) * PAIR_MULTIPLIER >> 58);
}

static __always_inline void name_record(__u32 region, const struct packet *e, __u64 way)
{
	half *names = bpf_map_lookup_elem(&names6, &region);

	if (names)
		write_name(names, e, way);
}

/* Notes the port pair of a packet in the set that counted it. */
static __always_inline void note_pair(__u32 region, const struct tables *t, const struct packet *e, int family)
{
	__u64 own = word_of(e, (e->what & (KEY_USED | (MAX_SLOTS - 1))) | KIND_PAIRS << KIND_SHIFT, family);
	half *s = set_in(t, e->set, family);
	__u64 way = find_way(s, own, family);

	if (way >= SET_WAYS * RECORD)
		return;
	s = (void *)s + way;
	if (!s[0]) {
		s[0] = own;
		s[1] = 0;
		if (family == 6)
			name_record(region, e, way);
	}
	s[1] |= pair_bit(e->ports);
}

/* Is e of IPv4, where it is known to be of a family, or may be of any? */
static __always_inline int is_ipv4(const struct packet *e, int family)
{
	return family == ANY_FAMILY ? e->family == 4 : family == 4;
}

/* Counts noted[n]; as place. */
static __always_inline __u64 place_of(const struct tables *t, struct batch *b, struct packet *e, __u32 n, int family)
{
	return is_ipv4(e, family) ? place(t, b, e, n, 4) : place(t, b, e, n, 6);
}

/* Notes that the port pair of noted[n] is to be, of whose record so much was counted. */
static __always_inline void want_pair(struct batch *b, const struct packet *e, __u32 n, __u64 sum)
{
	if (are_pairs_wanted(e, sum >> PACKETS_SHIFT, n))
		b->paired |= 1U << n;
}

/* Loads the line of e's set, and waits for nothing. */
static __always_inline void touch_of(const struct tables *t, const struct packet *e, int family)
{
	volatile half *s = is_ipv4(e, family) ? set_in(t, e->set, 4) : set_in(t, e->set, 6);

	s[0];
}
