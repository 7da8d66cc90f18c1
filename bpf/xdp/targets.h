/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, targets: what an attack that has no single source is aimed at,
 * or comes from. A destination and the port that tells one attack from another,
 * by class, with an estimate of the distinct sources in a bitmap.
 *
 * Three tables, each a fallback for the one before: (destination, port), then
 * (destination, any port), then (any destination, port), so that a scan of many
 * ports and a flood of many addresses both stay visible. What finds no place is
 * counted as such. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"
#include "sources.h"

#define TARGET_SET_WAYS 8

/* Of the word with key, protocol, reason and family of a noted packet or a run. */
static __always_inline __u32 class_of(__u32 what)
{
	return what >> KIND_SHIFT & (NUM_CLASSES - 1);
}

static __always_inline __u32 reason_of(__u32 what)
{
	return what >> 24 & (NUM_REASONS - 1);
}

/* The port that tells one attack from another: where a SYN goes to, and where
 * reflected traffic comes from. */
static __always_inline __u16 telling_port(__u32 class, __u32 ports)
{
	if (class == CLASS_SYN)
		return bpf_ntohs(ports >> 16);
	if (class == CLASS_SYNACK || class == CLASS_UDP)
		return bpf_ntohs(ports);
	return 0;
}

/* What a record of the table is told by. */
struct target_key {
	__u64 destination[2];
	__u64 id; /* port, class, protocol, slot and family, as they lie in struct target */
};

static __always_inline half *id_of(const struct target *t)
{
	return (half *)&t->port;
}

static __always_inline __u64 hash_target(const struct target_key *key)
{
	return mix(key->destination[0] + key->destination[1] * 0x9fb21c651e98df25ULL + key->id * 0xd6e8feb86659fd93ULL +
		   CONSTANT(64, seed));
}

static __always_inline int is_target(const struct target *t, const struct target_key *key)
{
	return *id_of(t) == key->id && half_of(&t->destination, 0) == key->destination[0] &&
	       half_of(&t->destination, 1) == key->destination[1];
}

/* Returns the record of a target, which it makes where there is none, and its
 * place. */
static __always_inline struct target *find_target(__u32 base, __u32 ways, const struct target_key *key, __u32 *place)
{
	__u32 h = hash_target(key), set = base + (h & (ways - 1) & ~(TARGET_SET_WAYS - 1));

#pragma clang loop unroll(disable)
	for (int w = 0; w < TARGET_SET_WAYS; w++) {
		__u32 i = set + ((h + w) & (TARGET_SET_WAYS - 1));
		struct target *t = bpf_map_lookup_elem(&targets, &i);

		if (!t)
			return 0;
		if (is_target(t, key)) {
			*place = i;
			return t;
		}
		if (!*id_of(t)) {
			set_half(&t->destination, 0, key->destination[0]);
			set_half(&t->destination, 1, key->destination[1]);
			*id_of(t) = key->id;
			*place = i;
			return t;
		}
	}
	return 0;
}

/* Finds or makes the record of a target in the spare tables. */
static __always_inline struct target *find_spare_target(__u32 base, struct target_key *key, __u32 *place)
{
	__u64 id = key->id;
	struct target *t;

	key->id &= ~0xffffULL; /* any port */
	t = find_target(base + TARGET_WAYS, TARGET_SPARE, key, place);
	if (t)
		return t;
	key->destination[0] = 0;
	key->destination[1] = 0;
	key->id = id;
	return find_target(base + TARGET_WAYS + TARGET_SPARE, TARGET_SPARE, key, place);
}

/* Counts a run of such a volume for its target. */
static __always_inline void count_target(__u32 region, struct batch *b, const struct run *r, __u64 volume)
{
	__u32 slot = r->what & (MAX_SLOTS - 1), class = class_of(r->what);
	__u32 base = region * (TARGET_WAYS + 2 * TARGET_SPARE);
	struct target_key key = {
	    .destination = {half_of(&r->dst, 0), half_of(&r->dst, 1)},
	    .id = telling_port(class, r->ports) | class << 16 | (r->what << 8 & 0xff000000) | (__u64)slot << 32 |
		  (r->what & WHAT_IPV6 ? 6ULL : 4ULL) << 40,
	};
	__u64 packets = packets_in(volume);
	__u32 last = base + (b->target & (TARGET_WAYS - 1)), place;
	struct target *t = bpf_map_lookup_elem(&targets, &last);

	if (!t || !is_target(t, &key)) { /* most packets are for the target of the one before */
		t = find_target(base, TARGET_WAYS, &key, &place);
		if (t)
			b->target = place - base;
	}
	if (!t)
		t = find_spare_target(base, &key, &place);
	if (!t) {
		__u32 i = region * MAX_SLOTS + slot;
		struct totals *totals = bpf_map_lookup_elem(&interface_totals, &i);

		if (totals)
			totals->no_target += packets;
		return;
	}
	t->packets += packets;
	t->bytes += bytes_in(volume);
	t->source_bits |= r->source_bits;
	if (is_drop(reason_of(r->what)))
		t->dropped += packets;
}
