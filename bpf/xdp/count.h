/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count: source, target and interface counters of the open window.
 *
 *   epoch 0 ┌ CPU 0 ┬ CPU 1 ┬ …   the program writes the half that the control
 *   epoch 1 └ CPU 0 ┴ CPU 1 ┴ …   page names; the probe reads the other half
 *
 * A source has two sets of four records to live in, chosen by two halves of one
 * hash. Finding neither its record nor a free one, it is counted in "other":
 * bounded time and memory, exact totals, no eviction. Only the CPU that owns a
 * region writes it, with softirqs off, so plain adds suffice. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"

#define SET_WAYS 4
#define TARGET_SET_WAYS 8
#define KEY_SHIFT 48
#define KEY_USED 0x8000ULL

/* What the exit needs to count a drop. */
struct counted {
	__u32 *source_dropped;
	__u32 *target_dropped;
	struct totals *totals;
	__u8 in_other;
};

static __always_inline __u32 region(__u32 epoch)
{
	return (epoch & 1) * cpus + bpf_get_smp_processor_id();
}

static __always_inline struct totals *totals_of(__u32 epoch)
{
	__u32 i = region(epoch) * MAX_SLOTS + slot_id;

	return bpf_map_lookup_elem(&interface_totals, &i);
}

/* Returns the source's record, or NULL when both its sets are taken. */
static __always_inline struct source4 *find_source4(__u32 base, __u32 address, __u64 h)
{
	__u64 key = KEY_USED | slot_id;
	struct source4 *s;
	__u32 i;

#pragma unroll
	for (int choice = 0; choice < 2; choice++) {
		__u32 at = choice ? (__u32)(h >> 32) : (__u32)h;
		__u32 set = base + (at & (source4_ways - 1) & ~(SET_WAYS - 1));

#pragma unroll
		for (int w = 0; w < SET_WAYS; w++) {
			i = set + ((at + w) & (SET_WAYS - 1));
			s = bpf_map_lookup_elem(&sources4, &i);
			if (!s)
				return 0;
			if (s->address == address && s->bytes_key >> KEY_SHIFT == key)
				return s;
			if (!(s->bytes_key >> KEY_SHIFT)) {
				s->address = address;
				s->bytes_key = key << KEY_SHIFT;
				return s;
			}
		}
	}
	return 0;
}

static __always_inline struct source6 *find_source6(__u32 base, const struct address *a, __u64 h)
{
	__u64 key = KEY_USED | slot_id;
	struct source6 *s;
	__u32 i;

#pragma unroll
	for (int choice = 0; choice < 2; choice++) {
		__u32 at = choice ? (__u32)(h >> 32) : (__u32)h;
		__u32 set = base + (at & (source6_ways - 1) & ~(SET_WAYS - 1));

#pragma unroll
		for (int w = 0; w < SET_WAYS; w++) {
			i = set + ((at + w) & (SET_WAYS - 1));
			s = bpf_map_lookup_elem(&sources6, &i);
			if (!s)
				return 0;
			if (!(s->bytes_key >> KEY_SHIFT)) {
				s->address = *a;
				s->bytes_key = key << KEY_SHIFT;
				return s;
			}
			if (s->bytes_key >> KEY_SHIFT == key && s->address.w[3] == a->w[3] &&
			    s->address.w[2] == a->w[2] && s->address.w[1] == a->w[1] && s->address.w[0] == a->w[0])
				return s;
		}
	}
	return 0;
}

/* HyperLogLog: the register is chosen by the low bits, the rank by the rest. */
static __always_inline void sketch_add(__u8 *registers, __u64 h)
{
	__u64 rest = h >> SKETCH_BITS;
	__u8 rank = 1;

	/* 16 ranks suffice for 2^26 sources; the loop is cheaper than it looks:
	 * half of all hashes leave it at once. */
	for (int i = 0; i < 32; i++) {
		if (rest & 1)
			break;
		rest >>= 1;
		rank++;
	}
	if (registers[h & (SKETCH_SIZE - 1)] < rank)
		registers[h & (SKETCH_SIZE - 1)] = rank;
}

static __noinline int sketch_source(__u32 epoch, __u64 h, __u8 class)
{
	__u32 i = region(epoch) * MAX_SLOTS + slot_id;
	struct sketch *s = bpf_map_lookup_elem(&sketches, &i);

	if (!s)
		return 0;
	sketch_add(s->all, h);
	if (class == CLASS_SYN)
		sketch_add(s->syn, h);
	if (class == CLASS_SYNACK)
		sketch_add(s->synack, h);
	return 0;
}

static __always_inline void add(struct counters *c, const struct packet *p)
{
	c->by_class[p->class & (NUM_CLASSES - 1)] += p->packets;
	c->bytes += p->length;
	if (p->class == CLASS_UDP)
		c->udp_bytes += p->length;
}

/* The port that tells one attack from another: where a SYN goes to, and where
 * reflected traffic comes from. */
static __always_inline __u16 telling_port(const struct packet *p)
{
	if (p->class == CLASS_SYN)
		return p->dport;
	if (p->class == CLASS_SYNACK || p->class == CLASS_UDP)
		return p->sport;
	return 0;
}

static __always_inline struct target *find_target(__u32 base, __u32 ways, const struct packet *p, __u16 port, __u32 at)
{
	__u32 set = base + (at & (ways - 1) & ~(TARGET_SET_WAYS - 1));

#pragma unroll
	for (int w = 0; w < TARGET_SET_WAYS; w++) {
		__u32 i = set + ((at + w) & (TARGET_SET_WAYS - 1));
		struct target *t = bpf_map_lookup_elem(&targets, &i);

		if (!t)
			return 0;
		if (!t->family) {
			t->destination = p->dst;
			t->port = port;
			t->class = p->class;
			t->protocol = p->protocol;
			t->slot = slot_id;
			t->family = p->family;
			return t;
		}
		if (t->port == port && t->class == p->class && t->protocol == p->protocol && t->slot == slot_id &&
		    t->family == p->family && t->destination.w[0] == p->dst.w[0] &&
		    t->destination.w[1] == p->dst.w[1] && t->destination.w[2] == p->dst.w[2] &&
		    t->destination.w[3] == p->dst.w[3])
			return t;
	}
	return 0;
}

static __always_inline void count_target(__u32 epoch, const struct packet *p, __u64 source_hash, struct counted *c)
{
	__u32 base = region(epoch) * (target_ways + TARGET_SPARE);
	__u16 port = telling_port(p);
	__u64 h = hash_address(&p->dst);
	struct target *t;
	__u32 spare;

	spare = (__u32)(h >> 32) + p->class * 8;
	h = mix(h + ((__u64)port << 16 | p->class << 8 | p->protocol));
	t = find_target(base, target_ways, p, port, (__u32)h);
	if (!t)
		t = find_target(base + target_ways, TARGET_SPARE, p, 0, spare);
	if (!t)
		return;
	t->packets += p->packets;
	t->bytes += p->length;
	t->source_bits |= 1ULL << ((source_hash >> 20) & 63);
	c->target_dropped = &t->dropped;
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

static __always_inline __u64 count_source(__u32 epoch, const struct packet *p, const struct slot *slot,
					  struct counted *c)
{
	__u64 pair = 1ULL << (mix(((__u64)p->sport << 16 | p->dport) + seed) & 63);
	struct address a = p->src;
	__u64 h;

	if (!p->sport && !p->dport)
		pair = 0;
	if (p->family == 4) {
		struct source4 *s;

		h = hash_address(&a);
		s = find_source4(region(epoch) * source4_ways, a.w[0], h);
		if (s) {
			s->by_class[p->class & (NUM_CLASSES - 1)] += p->packets;
			s->bytes_key += p->length;
			if (p->class == CLASS_UDP)
				s->udp_bytes += p->length;
			s->port_pairs |= pair;
			c->source_dropped = &s->dropped;
			return h;
		}
	} else {
		struct source6 *s;

		if (group_off_link && !is_on_link(slot, (__u64)a.w[1] << 32 | a.w[0])) {
			a.w[2] = 0;
			a.w[3] = 0;
		}
		h = hash_address(&a);
		s = find_source6(region(epoch) * source6_ways, &a, h);
		if (s) {
			s->by_class[p->class & (NUM_CLASSES - 1)] += p->packets;
			s->bytes_key += p->length;
			s->port_pairs |= pair;
			if (p->class == CLASS_UDP)
				s->udp_bytes += p->length;
			c->source_dropped = &s->dropped;
			return h;
		}
	}
	c->in_other = 1;
	add(&c->totals->other, p);
	sketch_source(epoch, h, p->class);
	return h;
}

static __always_inline void count(__u32 epoch, const struct packet *p, const struct slot *slot, struct counted *c)
{
	__u64 h;

	add(&c->totals->all, p);
	h = count_source(epoch, p, slot, c);
	count_target(epoch, p, h, c);
}

static __always_inline void count_drop(const struct packet *p, struct counted *c)
{
	c->totals->all.dropped += p->packets;
	if (c->in_other)
		c->totals->other.dropped += p->packets;
	if (c->source_dropped)
		*c->source_dropped += p->packets;
	if (c->target_dropped)
		*c->target_dropped += p->packets;
}
