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
 * one cache line (IPv6: records of 32 B, sets of two lines). Only the CPU that owns a
 * region writes it, with softirqs off: plain adds suffice.
 *
 * Memory latency is what a million sources cost, and only overlapping hides it.
 * So a packet is noted in a small buffer; when 32 are there, the lines of all of
 * them are touched, which the CPU does at once, and then counted one by one.
 * What is in the buffer when the window ends is counted by the drain.
 *
 * A source has two sets to live in, chosen by the halves of one hash; the second
 * is used when the first is full. When both are, the packet is counted in the
 * interface's "other": bounded time and memory, exact totals, no eviction.
 *
 * Nothing wraps: a record with 2^23 packets or 2^39 bytes is retired and the
 * source gets another one. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"

#define KEY_USED 0x8000
#define KEY_RETIRED 0x4000 /* full: counts no more */
#define KIND_SHIFT 6	   /* below it: the slot */
#define KIND_DROPPED 8
#define KIND_PAIRS 16 /* not packets but a bitmap of port pairs */
#define PACKETS_SHIFT 40
#define FULL (1ULL << 63 | 1ULL << 39) /* half of what either count can hold */
/* Port pairs are noted from this packet on: the rules ask for 32 different
 * ones, and a flood of sources with a packet each must not fill the table twice. */
#define PAIRS_FROM 16
#define PAIRS_OF 4 /* one in so many packets is looked at */
#define NO_PAIR 64
#define PAIR_MULTIPLIER 0x9e3779b97f4a7c15ULL /* 2^64 over the golden ratio */

/* Records are handled as words. Those of IPv4 are two: address and key, counts.
 * Those of IPv6 are four: address, key, counts. */
#define WORDS4 (sizeof(struct source4) / 8)
#define WORDS6 (sizeof(struct source6) / 8)
#define KEY_SHIFT4 32 /* of the key in the word that it shares with the address */

static __always_inline __u16 key_of(__u32 slot, __u32 kind)
{
	return KEY_USED | kind << KIND_SHIFT | slot;
}

static __always_inline half *set_of(__u32 region, __u32 h, int words, __u32 *set)
{
	__u32 sets = words == WORDS4 ? sets4 : sets6, i;

	*set = h & (sets - 1);
	i = region * sets + *set;
	return words == WORDS4 ? bpf_map_lookup_elem(&sources4, &i) : bpf_map_lookup_elem(&sources6, &i);
}

/* Notes that a set of this group is in use, so that the drain need not look at
 * the others. */
static __always_inline void mark_dirty(__u32 region, __u32 set, int words)
{
	__u32 sets = words == WORDS4 ? sets4 : sets6;
	__u32 i = region * ((sets + DIRTY_SETS * 64 - 1) / (DIRTY_SETS * 64)) + set / (DIRTY_SETS * 64);
	__u64 *dirty = words == WORDS4 ? bpf_map_lookup_elem(&dirty4, &i) : bpf_map_lookup_elem(&dirty6, &i);

	if (dirty)
		*dirty |= 1ULL << (set / DIRTY_SETS & 63);
}

/* Returns the way of a set that has e's address under key, or else the first free
 * one, or SET_WAYS. Without branches: which way it is cannot be predicted, and the
 * verifier would follow each. */
static __always_inline __u32 find_way(const half *set, const struct noted *e, __u64 key, int words)
{
	__u64 found = 0, own = key << KEY_SHIFT4 | e->address.w[0];

#pragma unroll
	for (int w = 0; w < SET_WAYS; w++) {
		const half *r = set + w * words;

		if (words == WORDS4)
			found |= (is_zero(r[0] ^ own) | is_zero(r[0])) << w;
		else
			found |= (is_zero((r[0] ^ half_of(&e->address, 0)) | (r[1] ^ half_of(&e->address, 1)) |
					  (r[2] ^ key)) |
				  is_zero(r[2]))
				 << w;
	}
	/* The lowest bit of found, from a table of 16 nibbles. */
	return 0x0102010301020104ULL >> found * 4 & 7;
}

/* The word of a record with the key, and the key in it. */
static __always_inline half *key_word(half *r, int words)
{
	return words == WORDS4 ? r : r + 2;
}

/* Makes a free record that of e. */
static __always_inline void claim(half *r, const struct noted *e, __u64 key, int words)
{
	if (words == WORDS4) {
		r[0] = key << KEY_SHIFT4 | e->address.w[0];
	} else {
		r[0] = half_of(&e->address, 0);
		r[1] = half_of(&e->address, 1);
		r[2] = key;
	}
	r[words - 1] = 0;
}

/* Counts noted[n] in the set that h names. Returns 0 when that is full. */
static __always_inline int place(__u32 region, struct batch *b, struct noted *e, int n, __u32 h, int words)
{
	__u32 set, way;
	half *s = set_of(region, h, words, &set), *r;
	__u64 sum;

	if (!s)
		return 0;
	way = find_way(s, e, e->key, words);
	if (way >= SET_WAYS)
		return 0;
	r = s + way * words;
	if (!*key_word(r, words)) {
		claim(r, e, e->key, words);
		mark_dirty(region, set, words);
	}
	sum = r[words - 1] += (__u64)e->packets << PACKETS_SHIFT | e->length;
	if (sum & FULL)
		*key_word(r, words) |= (__u64)KEY_RETIRED << (words == WORDS4 ? KEY_SHIFT4 : 0);
	if (sum >> PACKETS_SHIFT > PAIRS_FROM && e->pair != NO_PAIR && !(n & (PAIRS_OF - 1))) {
		e->set = set;
		b->paired |= 1U << n;
	}
	return 1;
}

/* Notes the port pair of a packet in the set that counted it. */
static __always_inline void note_pair(__u32 region, const struct noted *e, int words)
{
	__u64 key = (e->key & (KEY_USED | (MAX_SLOTS - 1))) | KIND_PAIRS << KIND_SHIFT;
	__u32 set, way;
	half *s = set_of(region, e->set, words, &set), *r;

	if (!s)
		return;
	way = find_way(s, e, key, words);
	if (way >= SET_WAYS)
		return;
	r = s + way * words;
	if (!*key_word(r, words))
		claim(r, e, key, words);
	r[words - 1] |= 1ULL << (e->pair & 63);
}

static __always_inline int place_any(__u32 region, struct batch *b, struct noted *e, int n, __u32 h)
{
	return e->family == 4 ? place(region, b, e, n, h, WORDS4) : place(region, b, e, n, h, WORDS6);
}

/* Loads the lines of a set, and waits for nothing. */
static __always_inline void touch(__u32 region, __u32 h, int words)
{
	__u32 set;
	volatile half *s = set_of(region, h, words, &set);

	if (!s)
		return;
	s[0];
	if (words == WORDS6)
		s[8];
}

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

/* Loads the lines of the packets in mask, and waits for none of them. */
static __always_inline void touch_all(__u32 region, struct batch *b, __u32 mask, int shift)
{
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(mask & 1U << n))
			continue;
		if (e->family == 4)
			touch(region, e->hash >> shift, WORDS4);
		else
			touch(region, e->hash >> shift, WORDS6);
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

		if (!place_any(region, b, e, n, e->hash))
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
	touch_all(region, b, b->missed, 32);
#pragma clang loop unroll(disable)
	for (int n = 0; n < BATCH; n++) {
		struct noted *e = &b->noted[n];

		if (!(b->missed & 1U << n))
			continue;
		if (!place_any(region, b, e, n, e->hash >> 32))
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
		hash = hash4(a.w[0]);
	} else {
		if (group_off_link && !is_on_link(slot, half_of(&a, 0)))
			set_half(&a, 1, 0);
		hash = hash6(&a);
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
