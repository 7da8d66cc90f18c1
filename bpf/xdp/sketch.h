/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, sketches: how many sources found no place in the table. HyperLogLog
 * registers, which those that did are added to when the window is drained. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"
#include "sources.h"

/* HyperLogLog: the register is chosen by the low bits, the rank is the number
 * of zeros that the rest begins with, plus one. */
static __always_inline __u8 *register_of(__u8 *registers, __u64 hash, __u64 *rest)
{
	__u64 h = hash / BLOCK_SETS; /* then all sources of a block have one register: see sketch.go */

	*rest = h >> SKETCH_BITS;
	return &registers[h & (SKETCH_SIZE - 1)];
}

/* Would a hash raise its register? After a while nearly none does. */
static __always_inline int raises(__u8 *registers, __u64 hash)
{
	__u64 rest;
	__u8 rank = *register_of(registers, hash, &rest);

	return !(rest & ((1ULL << (rank & 63)) - 1));
}

static __always_inline void sketch_add(__u8 *registers, __u64 hash)
{
	__u64 rest;
	__u8 *r = register_of(registers, hash, &rest);
	__u8 rank = *r;

	if (!raises(registers, hash))
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

/* Those registers of an interface that a source's packet of a kind would raise if it
 * would raise any: what is counted of all is never less than what is of one class. */
static __always_inline __u8 *registers_of(__u32 region, __u32 key)
{
	__u32 class = key >> KIND_SHIFT & (NUM_CLASSES - 1), i = region * MAX_SLOTS + (key & (MAX_SLOTS - 1));
	struct sketch *s = bpf_map_lookup_elem(&sketches, &i);
	__u64 which = (1 << 2 * CLASS_SYN | 2 << 2 * CLASS_SYNACK) >> 2 * class & 3; /* all, syn, synack */

	if (!s)
		return 0;
	/* As a number that the verifier knows no more of: it would follow each of three. */
	asm volatile("" : "+r"(s), "+r"(which));
	return which > 2 ? 0 : s->all + which * SKETCH_SIZE;
}

/* Enters the source of packet n in the sketches of those that found no place. */
__noinline int sketch_other(__u32 region, __u32 n)
{
	struct batch *b = batch_at(region);
	struct packet *e;
	struct sketch *s;
	__u32 class, i;
	__u64 hash;

	if (!b)
		return 0;
	e = &b->noted[n & (BATCH - 1)];
	class = e->what >> KIND_SHIFT & (NUM_CLASSES - 1);
	i = region * MAX_SLOTS + (e->what & (MAX_SLOTS - 1));
	s = bpf_map_lookup_elem(&sketches, &i);
	if (!s)
		return 0;
	hash = hash_of(e);
	sketch_add(s->all, hash);
	if (class == CLASS_SYN)
		sketch_add(s->syn, hash);
	if (class == CLASS_SYNACK)
		sketch_add(s->synack, hash);
	return 0;
}
