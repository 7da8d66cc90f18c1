/* SPDX-License-Identifier: GPL-2.0 */
/* Stage filter, the prefilter: what leases can there be on a packet at all?
 *
 * One word of the control page says which kinds there are, and one word of the prefilter,
 * of nearly every source, that it has none. Of a single source of IPv4 that is found by
 * the hash that its records are found by, so that most packets hash once. */
#pragma once

#include "hash.h"
#include "maps.h"

/* Is a key in the prefilter? It has four bits there, all in one word: the upper bits of
 * its hash say in which, the lowest which. */
static __always_inline int is_marked(__u64 prefilter_of, __u64 hash)
{
	__u64 at = shifted(hash, prefilter_of) & (PREFILTER_HALF - 8), half = prefilter_of & PREFILTER_HALF, word;
	void *words = prefilter_words;

	/* The verifier of Linux 6.1 knows the bounds of a sum, not of an or. */
	asm volatile("" : "+r"(words), "+r"(half));
	at += half;
	word = *(volatile __u64 *)(words + at);
	return shifted(word, hash) & shifted(word, hash >> 6) & shifted(word, hash >> 12) & shifted(word, hash >> 18) &
	       1;
}

/* The same of the short prefixes of IPv4, by the upper 16 bits of the address. */
static __always_inline __u64 is_wide(__u32 half, __u32 i)
{
	__u32 at = half * WIDE_WORDS + (i >> 6 & (WIDE_WORDS - 1));
	__u64 *word = bpf_map_lookup_elem(&wide4, &at);

	return word ? *word >> (i & 63) & 1 : 0;
}

#define MAYBE_EXACT 1
#define MAYBE_PREFIX 2
#define MAYBE_SIGNATURE 4

/* What kinds of leases can there be on this source, of those that there are? Nearly
 * always none, and one word says so. */
static __always_inline __u32 may_have(const struct control *ctl, const struct packet *p, int family, __u64 hash4,
				      __u32 kinds)
{
	__u32 now = *(volatile __u32 *)&ctl->prefilter, maybe = 0;
	__u64 upper;

	if (family == 4) {
		if (kinds & KINDS_EXACT4 && is_marked(now, hash4))
			maybe = MAYBE_EXACT;
		if (kinds & (KINDS_NARROW4 | KINDS_WIDE4)) {
			__u64 address = bpf_ntohl(p->src.w[0]);

			if (kinds & KINDS_NARROW4 &&
			    is_marked(now, mix((address >> 8 | PREFILTER_NET) + CONSTANT(64, seed))))
				maybe |= MAYBE_PREFIX;
			if (kinds & KINDS_WIDE4 && is_wide(now & PREFILTER_HALF ? 1 : 0, address >> 16))
				maybe |= MAYBE_PREFIX;
		}
		return maybe;
	}
	upper = half_of(&p->src, 0);
	if (kinds & KINDS_SOURCE6 &&
	    (is_marked(now, mix(upper + CONSTANT(64, seed))) ||
	     is_marked(now, mix((upper & bpf_cpu_to_be64(~0xffffULL)) + CONSTANT(64, seed) + 1))))
		return MAYBE_EXACT | MAYBE_PREFIX;
	return kinds & KINDS_WIDE6 ? MAYBE_PREFIX : 0;
}
