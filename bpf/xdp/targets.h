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

#define TARGET_SET_WAYS 8

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

/* Port, class, protocol, slot and family in one word; 0 when the record is free. */
static __always_inline half *id_of(const struct target *t)
{
	return (half *)&t->port;
}

static __always_inline struct target *find_target(__u32 base, __u32 ways, const struct target *key, __u64 h)
{
	__u32 set = base + ((__u32)h & (ways - 1) & ~(TARGET_SET_WAYS - 1));

#pragma clang loop unroll(disable)
	for (int w = 0; w < TARGET_SET_WAYS; w++) {
		__u32 i = set + (((__u32)h + w) & (TARGET_SET_WAYS - 1));
		struct target *t = bpf_map_lookup_elem(&targets, &i);

		if (!t)
			return 0;
		if (!*id_of(t)) {
			t->destination = key->destination;
			*id_of(t) = *id_of(key);
			return t;
		}
		if (*id_of(t) == *id_of(key) && t->destination.w[0] == key->destination.w[0] &&
		    t->destination.w[1] == key->destination.w[1] && t->destination.w[2] == key->destination.w[2] &&
		    t->destination.w[3] == key->destination.w[3])
			return t;
	}
	return 0;
}

static __always_inline __u64 hash_target(const struct target *key)
{
	return mix(half_of(&key->destination, 0) + mix(half_of(&key->destination, 1) + *id_of(key) + seed));
}

static __noinline struct target *find_spare_target(__u32 base, struct target *key)
{
	struct target *t;
	__u16 port = key->port;

	key->port = 0;
	t = find_target(base + target_ways, TARGET_SPARE, key, hash_target(key));
	if (t)
		return t;
	key->port = port;
	__builtin_memset(&key->destination, 0, sizeof(key->destination));
	return find_target(base + target_ways + TARGET_SPARE, TARGET_SPARE, key, hash_target(key));
}

static __always_inline void count_target(__u32 region, const struct packet *p, __u64 source_hash, int dropped,
					 struct totals *totals)
{
	__u32 base = region * (target_ways + 2 * TARGET_SPARE);
	struct target key = {
	    .destination = p->dst,
	    .port = telling_port(p),
	    .class = p->class,
	    .protocol = p->protocol,
	    .slot = slot_id,
	    .family = p->family,
	};
	struct target *t = find_target(base, target_ways, &key, hash_target(&key));

	if (!t)
		t = find_spare_target(base, &key);
	if (!t) {
		totals->no_target += p->packets;
		return;
	}
	t->packets += p->packets;
	t->bytes += p->length;
	t->source_bits |= 1ULL << ((source_hash >> 20) & 63);
	if (dropped)
		t->dropped += p->packets;
}
