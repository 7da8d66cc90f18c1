/* SPDX-License-Identifier: GPL-2.0 */
/* Stage filter: which lease, if any, decides on this packet.
 *
 * exact source → source prefix → signatures, the strongest live lease wins;
 * only if that one would drop or limit is the allowlist asked. A stage without
 * entries is not asked at all. */
#pragma once

#include "consts.h"
#include "hash.h"
#include "maps.h"

#define SELECTOR_PROTOCOL 128 /* selectors from here on are protocols below 128 */

struct decision {
	struct lease *lease;
	__u64 now; /* 0: nobody has asked yet */
	__u32 index;
	__u8 action;
	__u8 reason;  /* of a drop by this lease; a limit's is 3 further on */
	__u8 several; /* the lease names several destinations */
	__u8 syn;     /* it is a signature of SYN */
};

/* The clock costs more than all that most packets need, so it is read at most
 * once and only when a lease is at hand. */
static __always_inline __u64 now_of(struct decision *d)
{
	if (!d->now)
		d->now = bpf_ktime_get_boot_ns();
	return d->now;
}

/* Takes lease i if it is live, meant for this interface and stronger. */
static __always_inline void consider(struct decision *d, __u32 i, __u8 reason)
{
	struct lease *l = bpf_map_lookup_elem(&leases, &i);

	if (!l || l->action <= d->action)
		return;
	if (!(l->interfaces & (1ULL << (slot_id & 63))))
		return;
	if (l->expires && l->expires <= now_of(d))
		return;
	d->lease = l;
	d->index = i;
	d->action = l->action;
	d->reason = reason;
}

static __always_inline __u64 bit_of(__u32 generation, int family6, __u32 i)
{
	__u32 at =
	    (generation & 1) * 2 * PREFILTER_WORDS + family6 * PREFILTER_WORDS + (i >> 6 & (PREFILTER_WORDS - 1));
	__u64 *word = bpf_map_lookup_elem(&prefilter, &at);

	return word ? *word >> (i & 63) & 1 : 0;
}

/* Can there be a lease on this source? Nearly always not, and one bit says so. */
static __always_inline int may_be_listed(const struct control *ctl, const struct packet *p)
{
	__u32 generation = *(volatile __u32 *)&ctl->generation;
	__u64 upper;

	if (p->family == 4)
		return bit_of(generation, 0, bpf_ntohl(p->src.w[0]) >> 8);
	upper = half_of(&p->src, 0);
	return ctl->wide6 || bit_of(generation, 1, mix(upper + seed) >> 40) ||
	       bit_of(generation, 1, mix((upper & bpf_cpu_to_be64(~0xffffULL)) + seed + 1) >> 40);
}

/* Asks the set of an IPv4 source. Returns whether it was full. */
static __always_inline int ask_listed(const struct packet *p, struct decision *d)
{
	__u32 address = p->src.w[0], i = (hash4(address) >> 16) & (listed_sets - 1), lease = 0;
	struct listed4 *s = bpf_map_lookup_elem(&listed, &i);

	if (!s)
		return 0;
#pragma unroll
	for (int w = 0; w < LISTED_WAYS; w++)
		lease |= s->lease[w] & (__u32)-is_zero(s->address[w] ^ address);
	if (lease)
		consider(d, lease - 1, REASON_DROP_SOURCE);
	return s->lease[LISTED_WAYS - 1] != 0;
}

static __always_inline void ask_exact(const struct control *ctl, const struct packet *p, struct decision *d)
{
	struct exact_key key = {.address = p->src, .family = p->family};
	__u32 *i;

	if (p->family != 4 || ask_listed(p, d)) {
		i = ctl->exact_any ? bpf_map_lookup_elem(&exact, &key) : 0;
		if (i)
			consider(d, *i, REASON_DROP_SOURCE);
	}
	if (ctl->exact_class) {
		key.selector = p->class + 1;
		i = bpf_map_lookup_elem(&exact, &key);
		if (i)
			consider(d, *i, REASON_DROP_SOURCE);
		key.selector = SELECTOR_PROTOCOL | p->protocol;
		i = p->protocol < SELECTOR_PROTOCOL ? bpf_map_lookup_elem(&exact, &key) : 0;
		if (i)
			consider(d, *i, REASON_DROP_SOURCE);
	}
}

/* A trie answers with the longest prefix, but a packet is subject to every lease
 * that covers it, and the longest may be expired, suspended, meant for another
 * interface, or the weaker one. So the trie is asked again for what is shorter,
 * until a lease settles it or none is left. Nested leases are rare: most packets
 * ask once. */
struct prefix_walk {
	struct prefix_key key;
	struct decision *decision;
	__u8 settled; /* the action that no other lease of this trie can beat */
	__u8 reason;
	__u8 allow; /* ask the allowed, not the blocked */
};

#define PREFIX_BITS 32 /* family and selector, before the address */
#define MAX_NESTED 129 /* prefix lengths of IPv6 */

static __always_inline int ask_prefix(struct prefix_walk *w)
{
	struct prefix_value *v =
	    w->allow ? bpf_map_lookup_elem(&allowed, &w->key) : bpf_map_lookup_elem(&prefixes, &w->key);

	if (!v)
		return 1;
	consider(w->decision, v->lease, w->reason);
	if (w->decision->action >= w->settled || v->bits == 0)
		return 1;
	w->key.bits = PREFIX_BITS + v->bits - 1;
	return 0;
}

static long ask_shorter(__u32 i, void *context)
{
	return ask_prefix(context);
}

static __always_inline void ask_all_prefixes(struct prefix_walk *w)
{
	if (!ask_prefix(w))
		bpf_loop(MAX_NESTED, ask_shorter, w, 0);
}

static __always_inline void ask_prefixes(const struct control *ctl, const struct packet *p, struct decision *d)
{
	__u32 bits = PREFIX_BITS + (p->family == 4 ? 32 : 128);
	struct prefix_walk w = {
	    .key = {.bits = bits, .family = p->family, .address = p->src},
	    .decision = d,
	    .settled = ACTION_DROP,
	    .reason = REASON_DROP_PREFIX,
	};

	if (ctl->prefix_any)
		ask_all_prefixes(&w);
	if (ctl->prefix_class) {
		w.key.bits = bits;
		w.key.selector = p->class + 1;
		ask_all_prefixes(&w);
		w.key.bits = bits;
		w.key.selector = SELECTOR_PROTOCOL | p->protocol;
		if (p->protocol < SELECTOR_PROTOCOL)
			ask_all_prefixes(&w);
	}
}

static __always_inline int within(const struct address *a, const struct address *mask, const struct address *value)
{
	return (a->w[0] & mask->w[0]) == value->w[0] && (a->w[1] & mask->w[1]) == value->w[1] &&
	       (a->w[2] & mask->w[2]) == value->w[2] && (a->w[3] & mask->w[3]) == value->w[3];
}

struct signature_walk {
	const struct packet *packet;
	struct decision *decision;
	__u32 count;
};

static long ask_signature(__u32 i, void *context)
{
	struct signature_walk *walk = context;
	const struct packet *p = walk->packet;
	struct decision *d = walk->decision;
	struct lease *before = d->lease;
	struct signature *s;

	if (i >= walk->count)
		return 1;
	s = bpf_map_lookup_elem(&signatures, &i);
	if (!s)
		return 1;
	if (s->family && s->family != p->family)
		return 0;
	if (!s->any_protocol && s->protocol != p->protocol)
		return 0;
	if (!within(&p->dst, &s->destination_mask, &s->destination) || !within(&p->src, &s->source_mask, &s->source))
		return 0;
	if (s->fragments && p->class != CLASS_FRAG_LATER)
		return 0;
	/* A later fragment has no ports and no flags: it matches none that asks. */
	if (s->source_port && s->source_port != p->sport)
		return 0;
	if (s->destination_port && s->destination_port != p->dport)
		return 0;
	if (s->flag_mask && (p->protocol != PROTO_TCP || p->class == CLASS_FRAG_LATER || p->class == CLASS_OTHER ||
			     (p->flags & s->flag_mask) != s->flag_value))
		return 0;
	consider(d, s->lease, REASON_DROP_SIGNATURE);
	if (d->lease != before)
		d->syn = s->flag_mask & s->flag_value & TCP_FLAG_SYN && p->class == CLASS_SYN;
	return 0;
}

/* Has the source had a conversation before? A flood's made-up sources have not;
 * those that have may open another while SYN are limited. */
static __always_inline int is_established(const struct packet *p)
{
	struct exact_key key = {.address = p->src, .family = p->family};

	if (bpf_map_lookup_elem(&established, &key))
		return 1;
	if (p->family == 4)
		return 0;
	key.address.w[2] = 0; /* counted by its upper 64 bits */
	key.address.w[3] = 0;
	return bpf_map_lookup_elem(&established, &key) != 0;
}

static __always_inline int is_targeted(const struct packet *p)
{
	__u32 bit = mix((half_of(&p->dst, 0) ^ half_of(&p->dst, 1)) + seed), at = bit >> 6 & (TARGETED_WORDS - 1);
	__u64 *word = bpf_map_lookup_elem(&targeted, &at);

	return word ? *word >> (bit & 63) & 1 : 0;
}

static __always_inline void ask_signatures(const struct control *ctl, const struct packet *p, struct decision *d)
{
	struct signature_walk walk = {.packet = p, .decision = d, .count = ctl->signatures};

	if (ctl->wide_signatures || is_targeted(p))
		bpf_loop(MAX_SIGNATURES, ask_signature, &walk, 0);
}

static __always_inline int is_allowed(const struct control *ctl, const struct packet *p, __u64 now)
{
	__u32 bits = PREFIX_BITS + (p->family == 4 ? 32 : 128);
	struct decision d = {.now = now};
	struct prefix_walk w = {
	    .key = {.bits = bits, .family = p->family, .address = p->src},
	    .decision = &d,
	    .settled = ACTION_ALLOW,
	    .reason = REASON_PASS_ALLOW,
	    .allow = 1,
	};

	if (ctl->allow_source)
		ask_all_prefixes(&w);
	if (ctl->allow_destination && !d.lease) {
		w.key.bits = bits;
		w.key.address = p->dst;
		w.key.selector = 1;
		ask_all_prefixes(&w);
	}
	return d.action == ACTION_ALLOW;
}

/* A token bucket as one number, the theoretical arrival time of the next
 * packet (GCRA): a packet conforms while that time is less than a burst ahead
 * of now. Compare-and-swap keeps it right on several CPUs. */
static __always_inline int conforms(__u64 *tat, __u64 now, __u64 cost, __u64 burst)
{
#pragma unroll
	for (int attempt = 0; attempt < 4; attempt++) {
		__u64 seen = *tat;
		__u64 from = seen > now ? seen : now;

		if (from + cost > now + burst)
			return 0;
		if (__sync_val_compare_and_swap(tat, seen, from + cost) == seen)
			return 1;
	}
	return 0; /* so contended that the rate is well exceeded */
}

#define BURST (250000000ULL << 4) /* a quarter second, in 1/16 ns */

/* Does the packet exceed the lease's rate? A burst is at least one packet. */
static __always_inline int exceeds(struct decision *d, const struct packet *p, __u64 now)
{
	struct lease *l = d->lease;
	__u64 *packet_time = &l->packet_time, *byte_time = &l->byte_time;
	__u64 ticks = now << 4;
	__u64 cost;

	if (l->destination_family && l->destination_bits != (l->destination_family == 4 ? 32 : 128)) {
		struct bucket_key key = {.lease = d->index, .generation = l->generation, .destination = p->dst};
		struct bucket fresh = {}, *b;

		b = bpf_map_lookup_elem(&buckets, &key);
		if (!b) {
			bpf_map_update_elem(&buckets, &key, &fresh, BPF_NOEXIST);
			b = bpf_map_lookup_elem(&buckets, &key);
		}
		if (b) {
			packet_time = &b->packet_time;
			byte_time = &b->byte_time;
		}
	}
	cost = l->packet_cost * p->packets;
	if (cost && !conforms(packet_time, ticks, cost, cost > BURST ? cost : BURST))
		return 1;
	cost = (l->byte_cost * p->length) >> 8;
	if (cost && !conforms(byte_time, ticks, cost, cost > BURST ? cost : BURST))
		return 1;
	return 0;
}

/* Returns what the leases make of a packet: the reason of a drop, or of a pass. */
static __always_inline __u32 ask_leases(const struct control *ctl, const struct packet *p, __u32 mode)
{
	struct decision d = {};
	__u32 reason;
	__u64 now;

	if (!ctl->any)
		return REASON_PASS;
	if (may_be_listed(ctl, p)) {
		ask_exact(ctl, p, &d);
		if (ctl->prefix_any | ctl->prefix_class)
			ask_prefixes(ctl, p, &d);
	}
	if (ctl->signatures)
		ask_signatures(ctl, p, &d);
	if (!d.lease)
		return REASON_PASS;
	now = now_of(&d);
	/* An allow for more than one address (a signature) is among the decisions,
	 * a plain one is asked only now. */
	if (d.action == ACTION_ALLOW)
		return REASON_PASS_ALLOW;
	if ((ctl->allow_source | ctl->allow_destination) && is_allowed(ctl, p, now))
		return REASON_PASS_ALLOW;
	if (d.action == ACTION_RATE_LIMIT && d.syn && is_established(p))
		return REASON_PASS;
	if (d.action == ACTION_OBSERVE || (d.action == ACTION_RATE_LIMIT && !exceeds(&d, p, now))) {
		if (d.action == ACTION_OBSERVE) {
			__sync_fetch_and_add(&d.lease->would, p->packets);
			__sync_fetch_and_add(&d.lease->would_bytes, p->length);
			d.lease->last = now;
		}
		return REASON_PASS_OBSERVED;
	}
	reason = d.reason + (d.action == ACTION_RATE_LIMIT ? REASON_LIMIT_SOURCE - REASON_DROP_SOURCE : 0);
	d.lease->last = now;
	if (mode == MODE_OBSERVE) {
		__sync_fetch_and_add(&d.lease->would, p->packets);
		__sync_fetch_and_add(&d.lease->would_bytes, p->length);
		return REASON_WOULD_DROP;
	}
	__sync_fetch_and_add(&d.lease->packets, p->packets);
	__sync_fetch_and_add(&d.lease->bytes, p->length);
	return reason;
}
