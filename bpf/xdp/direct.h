/* SPDX-License-Identifier: GPL-2.0 */
/* Stage count, listed sources: the drops of a source that is blocked.
 *
 * Its way in the sets of listed sources is known, and that is as good as a place in the
 * table of sources: a record of the same form stands there, with the source's address
 * and key. So such a packet, of which an attack consists once it is blocked, needs no
 * hash, no place in the buffer, and no cache line that few others are in. The record is
 * counted in by the packets whose address and key it has; those of another class, and
 * those that come when it is full, go the ordinary way. The drain reads these records
 * with the others, and adds them to the leases.
 */
#pragma once

#include "batch.h"

/* Returns the record of a way of the listed sources, counted from the first set. Of
 * other sizes of the sets other ways have the same record: the address in it tells. */
static __always_inline half *direct_record(__u32 region, __u32 way, __u32 *place)
{
	*place = region * LISTED_DIRECT + (way & (LISTED_DIRECT - 1));
	return way < 2 * LISTED_DIRECT ? bpf_map_lookup_elem(&listed_sources, place) : 0;
}

/* Notes one port pair in a few, as note_pairs does. */
static __always_inline void note_direct_pair(__u32 place, __u32 ports)
{
	struct listed_detail *detail = bpf_map_lookup_elem(&listed_details, &place);

	if (detail)
		detail->pairs |= pair_bit(ports);
}

/* Counts the packet in e, which was dropped because its source is listed at a way.
 * Returns 0 if that is for note to do. */
static __always_inline int count_directly(__u32 region, struct batch *b, struct noted *e, __u32 way, __u64 hash4)
{
	__u32 what = what_is(&e->packet, 4, REASON_DROP_SOURCE), place;
	struct run *run = &b->runs[RUN_DIRECT];
	half *r = direct_record(region, way, &place);
	__u64 own = (__u64)(what & 0xffff) << KEY_SHIFT | e->packet.src.w[0], sum;

	if (!r)
		return 0;
	if (unlikely(r[0] != own)) {
		if (r[0])
			return 0;
		r[0] = own;
		b->direct[way / (LISTED_WAYS * 64) & (DIRECT_WORDS - 1)] |= 1ULL << (way / LISTED_WAYS & 63);
	}
	if (unlikely(r[1] & FULL))
		return 0;
	sum = r[1] += e->packet.volume;
	sum >>= PACKETS_SHIFT;
	if (unlikely(are_pairs_wanted(&e->packet, sum, 1)) && !(sum & (PAIRS_OF - 1)))
		note_direct_pair(place, e->packet.ports);
	if (unlikely(is_other(&e->packet, (__u64)what << 32 | e->packet.ports, 4, run))) {
		e->packet.what = what;
		begin_run(region, RUN_DIRECT, b->n);
	}
	run->packets += packets_in(e->packet.volume);
	run->bytes += bytes_in(e->packet.volume);
	run->source_bits |= source_bit(hash4 ^ CONSTANT(64, slot_salt));
	return 1;
}
