/* SPDX-License-Identifier: GPL-2.0 */
/* Stage limit: what any source may send, without a decision and so without the
 * time that one takes. Off by default; then it is not in the program at all. It
 * costs every packet a lookup in a hash, and a source that is many clients (a
 * proxy, a carrier's NAT) is one source to it: leases are the finer tool. */
#pragma once

#include "batch.h"
#include "filter.h"

/* Has the source sent more than any may? */
static __always_inline int is_over(const struct packet *p, __u64 now)
{
	struct exact_key key = {.address = counted_source(p), .family = p->family};
	__u64 ticks = now << 4, cost = CONSTANT(64, source_limit) * p->packets, fresh = ticks + cost, *tat;

	tat = bpf_map_lookup_elem(&meters, &key);
	if (!tat) {
		bpf_map_update_elem(&meters, &key, &fresh, BPF_ANY);
		return 0;
	}
	return !conforms(tat, ticks, cost, cost > BURST ? cost : BURST);
}

/* Returns what that makes of the packet which is next_of the buffer. */
__noinline int limit(__u32 region, __u32 mode)
{
	const struct control *ctl = &control_value;
	struct batch *b = batch_at(region);
	struct prefix_key key = {};
	const struct packet *p;

	if (!b)
		return REASON_PASS;
	p = &next_of(b)->packet;
	key.bits = PREFIX_BITS + (p->family == 4 ? 32 : 128);
	key.family = p->family;
	key.address = p->src;
	if (!is_over(p, now_of(b)) || bpf_map_lookup_elem(&exempt, &key))
		return REASON_PASS;
	if ((ctl->allow_source | ctl->allow_destination) && is_allowed(ctl, p, b))
		return REASON_PASS_ALLOW;
	return mode == MODE_OBSERVE ? REASON_WOULD_DROP : REASON_LIMIT_ANY_SOURCE;
}

/* Is the packet dropped because its source is listed, and need nothing else be asked?
 * Most of an attack is, once its sources are known. Where its way is, is in e then. */
static __always_inline int is_plain_drop(const struct control *ctl, struct batch *b, struct noted *e, __u32 region,
					 __u32 kinds, __u32 mode)
{
	if (!(kinds & MAYBE_EXACT) || kinds & MAYBE_SIGNATURE || e->packet.family != 4 || mode != MODE_ENFORCE)
		return 0;
	if (ctl->allow_source | ctl->allow_destination)
		return 0;
	e->listed = ask_first(ctl, b, region, e->packet.src.w[0]);
	return e->listed != 0;
}

/* Returns what becomes of e, which is next_of b, and why. */
static __always_inline __u32 filter(const struct control *ctl, struct batch *b, struct noted *e, __u32 region)
{
	__u32 mode = ctl->mode[CONSTANT(32, slot_id)], reason = REASON_PASS, kinds;

	e->listed = 0;
	if (unlikely(mode == MODE_OFF))
		return REASON_PASS_OFF;
	if (ctl->any) {
		kinds = may_be_listed(ctl, &e->packet);
		if (ctl->signature_shapes && is_targeted(ctl, &e->packet))
			kinds |= MAYBE_SIGNATURE;
		if (unlikely(kinds)) {
			if (is_plain_drop(ctl, b, e, region, kinds, mode))
				return REASON_DROP_SOURCE;
			reason = ask_leases(region, kinds);
		}
	}
	if (CONSTANT(64, source_limit) && reason == REASON_PASS)
		reason = limit(region, mode);
	return reason;
}
