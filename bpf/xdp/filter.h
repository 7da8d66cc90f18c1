/* SPDX-License-Identifier: GPL-2.0 */
/* Stage filter: which lease, if any, decides on this packet.
 *
 * exact source → source prefix → signatures, the strongest live lease wins;
 * only if that one would drop or limit is the allowlist asked. A stage without
 * entries is not asked at all. */
#pragma once

#include "batch.h"
#include "prefilter.h"

#define SELECTOR_PROTOCOL 128 /* selectors from here on are protocols below 128 */

struct decision {
	struct lease *lease;
	struct batch *batch;
	__u32 index;
	__u32 listed; /* in place of lease: the way of a listed source, plus one */
	__u8 action;
	__u8 reason; /* of a drop by this lease; a limit's is 3 further on */
	__u8 syn;    /* it is a signature of SYN */
};

/* Boot time, in steps of a jiffy: the clock costs more than all that most packets
 * need. */
static __always_inline __u64 now_of(struct batch *b)
{
	__u64 jiffies = bpf_jiffies64();

	if (b->jiffies != jiffies) {
		b->now = bpf_ktime_get_boot_ns();
		b->jiffies = jiffies;
	}
	return b->now;
}

/* Takes lease i if it is live, meant for this interface and stronger. */
static __always_inline void consider(struct decision *d, __u32 i, __u8 reason)
{
	struct lease *l = bpf_map_lookup_elem(&leases, &i);

	if (!l || l->action <= d->action)
		return;
	if (!(l->interfaces & (1ULL << (CONSTANT(32, slot_id) & 63))))
		return;
	if (l->expires && l->expires <= now_of(d->batch))
		return;
	d->lease = l;
	d->listed = 0;
	d->index = i;
	d->action = l->action;
	d->reason = reason;
}

/* The number of the lowest bit that is set, of eight: de Bruijn's sequence moves another
 * three bits to the top for each, and a table of nibbles says for which. */
static __always_inline __u32 lowest_bit(__u32 bits)
{
	__u32 top = (bits & -bits) * 0x17 >> 5 & 7;

	return 0x56374210U >> top * 4 & 7;
}

/* Looks an address up in a set, and leaves which way it is, counted from the first
 * set. Returns until when its source is dropped, or 0 if it is not in the set.
 *
 * Ways are taken in order: what free ones still hold stands behind what the others do.
 * So it is the first way with the address. */
static __always_inline __u32 look_up(__u32 set, __u32 address, __u32 *at, __u32 *full)
{
	struct listed4 *s = bpf_map_lookup_elem(&listed, &set);
	__u32 found = 0, way;

	*full = 0;
	if (!s)
		return 0;
#pragma unroll
	for (int w = 0; w < LISTED_WAYS; w++)
		found |= ((__u64)(s->address[w] ^ address) - 1) >> (63 - w) & (1U << w);
	*full = s->until[LISTED_WAYS - 1];
	if (!found)
		return 0;
	way = lowest_bit(found);
	*at = set * LISTED_WAYS + way;
	return s->until[way];
}

/* The set of a source that is listed: by the same bits of its hash as its set in the table
 * of sources, so that who goes through that goes through this. */
static __always_inline __u32 listed_set(const struct control *ctl, __u64 hash4)
{
	__u32 sets = *(volatile __u32 *)&ctl->listed;

	return sets | (hash4 & (sets - 1));
}

/* Is a source dropped for certain that is listed until then? Notes how long one may go by
 * that: see direct.h. */
static __always_inline int is_dropped_until(struct batch *b, __u32 until)
{
	if (until <= now_of(b) >> UNTIL_SHIFT)
		return 0;
	if (until < b->known_until)
		b->known_until = until;
	return 1;
}

/* Returns the way, plus one, of a source that the first set it can be in says is dropped
 * for certain; or 0, and whether it is in no set, nor in the map for those without. */
static __always_inline __u32 ask_first(const struct control *ctl, struct batch *b, __u32 address, __u64 hash4,
				       int *unlisted)
{
	__u32 set = listed_set(ctl, hash4), at = 0, full;
	__u32 until = look_up(set, address, &at, &full);

	*unlisted = !(at | full); /* of one that moves, the former way still has the address */
	return is_dropped_until(b, until) ? at + 1 : 0;
}

/* Asks the set of an IPv4 source; if that is full, the one beside it. Returns whether
 * it was full. */
static __always_inline int ask_listed(const struct control *ctl, const struct packet *p, struct decision *d)
{
	__u32 address = p->src.w[0], at = 0, full, full_too, set = listed_set(ctl, hash4(address));
	__u32 until = look_up(set, address, &at, &full);

	if (!until && full)
		until = look_up(set ^ 1, address, &at, &full_too);
	if (!until)
		return full != 0;
	if (is_dropped_until(d->batch, until)) {
		d->action = ACTION_DROP;
		d->reason = REASON_DROP_SOURCE;
		d->listed = at + 1;
		return 0;
	}
	consider(d, lease_at(at), REASON_DROP_SOURCE);
	return 0;
}

static __always_inline void ask_exact(const struct control *ctl, const struct packet *p, struct decision *d)
{
	struct exact_key key = {.address = p->src, .family = p->family};
	__u32 *i;

	if (p->family != 4 || ask_listed(ctl, p, d)) {
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
	if (s->source_port && s->source_port != source_port(p))
		return 0;
	if (s->destination_port && s->destination_port != destination_port(p))
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

/* Is there a signature of this shape for what the packet is? */
static __always_inline int has_shape(const struct packet *p, int shape)
{
	__u64 asked = shape < SHAPE_ANYWHERE ? half_of(&p->dst, 0) ^ half_of(&p->dst, 1) : 0;
	__u32 transport = p->protocol << 16, bit, at;
	__u64 *word;

	if (shape % SHAPE_ANYWHERE == SHAPE_PLAIN)
		transport = 0;
	else if (shape % SHAPE_ANYWHERE == SHAPE_DESTINATION_PORT)
		transport |= destination_port(p);
	else if (shape % SHAPE_ANYWHERE == SHAPE_SOURCE_PORT)
		transport |= source_port(p);
	bit = mix(mix(asked + CONSTANT(64, seed)) + transport + ((__u64)shape << 32));
	at = bit >> 6 & (TARGETED_WORDS - 1);
	word = bpf_map_lookup_elem(&targeted, &at);
	return word ? *word >> (bit & 63) & 1 : 0;
}

/* Can a signature be meant for this packet? Going through them costs far more. */
static __always_inline int is_targeted(__u32 kinds, const struct packet *p)
{
#pragma unroll
	for (int shape = 0; shape < NUM_SHAPES; shape++)
		if (kinds & KINDS_SHAPES << shape && has_shape(p, shape))
			return 1;
	return 0;
}

static __always_inline void ask_signatures(const struct control *ctl, const struct packet *p, struct decision *d)
{
	struct signature_walk walk = {.packet = p, .decision = d, .count = ctl->signatures};

	bpf_loop(MAX_SIGNATURES, ask_signature, &walk, 0);
}

static __always_inline int is_allowed(const struct control *ctl, const struct packet *p, struct batch *b)
{
	__u32 bits = PREFIX_BITS + (p->family == 4 ? 32 : 128);
	struct decision d = {.batch = b};
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
	cost = l->packet_cost * packets_in(p->volume);
	if (cost && !conforms(packet_time, ticks, cost, cost > BURST ? cost : BURST))
		return 1;
	cost = (l->byte_cost * bytes_in(p->volume)) >> 8;
	if (cost && !conforms(byte_time, ticks, cost, cost > BURST ? cost : BURST))
		return 1;
	return 0;
}

/* Returns what the leases make of the packet which is next_of the buffer: the reason of
 * a drop, or of a pass. maybe says which there may be. Of a drop that is still to be
 * counted for its lease, it notes where that is. */
__noinline int ask_leases(__u32 region, __u32 maybe)
{
	__u32 mode = control_value.mode[CONSTANT(32, slot_id)], reason;
	const struct control *ctl = &control_value;
	struct batch *b = batch_at(region);
	struct decision d = {.batch = b};
	const struct packet *p;
	__u64 now;

	if (!b)
		return REASON_PASS;
	p = next_of(b);
	if (maybe & MAYBE_EXACT)
		ask_exact(ctl, p, &d);
	if (maybe & MAYBE_PREFIX && d.action < ACTION_DROP)
		ask_prefixes(ctl, p, &d);
	if (maybe & MAYBE_SIGNATURE)
		ask_signatures(ctl, p, &d);
	if (!d.action)
		return REASON_PASS;
	/* An allow for more than one address (a signature) is among the decisions,
	 * a plain one is asked only now. */
	if (d.action == ACTION_ALLOW)
		return REASON_PASS_ALLOW;
	if ((ctl->allow_source | ctl->allow_destination) && is_allowed(ctl, p, b))
		return REASON_PASS_ALLOW;
	if (d.listed) {
		if (mode != MODE_OBSERVE) {
			next_of(b)->listed = d.listed;
			return REASON_DROP_SOURCE;
		}
		d.index = lease_at(d.listed - 1);
		d.lease = bpf_map_lookup_elem(&leases, &d.index);
	}
	if (!d.lease)
		return REASON_PASS;
	now = now_of(b);
	if (d.action == ACTION_RATE_LIMIT && d.syn && is_established(p))
		return REASON_PASS;
	if (d.action == ACTION_OBSERVE || (d.action == ACTION_RATE_LIMIT && !exceeds(&d, p, now))) {
		if (d.action == ACTION_OBSERVE) {
			__sync_fetch_and_add(&d.lease->would, packets_in(p->volume));
			__sync_fetch_and_add(&d.lease->would_bytes, bytes_in(p->volume));
			d.lease->last = now;
		}
		return REASON_PASS_OBSERVED;
	}
	reason = d.reason + (d.action == ACTION_RATE_LIMIT ? REASON_LIMIT_SOURCE - REASON_DROP_SOURCE : 0);
	d.lease->last = now;
	if (mode == MODE_OBSERVE) {
		__sync_fetch_and_add(&d.lease->would, packets_in(p->volume));
		__sync_fetch_and_add(&d.lease->would_bytes, bytes_in(p->volume));
		return REASON_WOULD_DROP;
	}
	__sync_fetch_and_add(&d.lease->packets, packets_in(p->volume));
	__sync_fetch_and_add(&d.lease->bytes, bytes_in(p->volume));
	return reason;
}
