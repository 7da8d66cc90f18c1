/* SPDX-License-Identifier: GPL-2.0 */
/* Stage limit: what any source may send, without a decision and so without the
 * time that one takes. Off by default; then it is not in the program at all. It
 * costs every packet a lookup in a hash, and a source that is many clients (a
 * proxy, a carrier's NAT) is one source to it: leases are the finer tool. */
#pragma once

#include "direct.h"
#include "filter.h"

/* Has the source sent more than any may? */
static __always_inline int is_over(const struct packet *p, __u64 now)
{
	struct exact_key key = {.address = counted_source(p), .family = p->family};
	__u64 ticks = now << 4, cost = CONSTANT(64, source_limit) * packets_in(p->volume), fresh = ticks + cost, *tat;

	tat = bpf_map_lookup_elem(&meters, &key);
	if (!tat) {
		bpf_map_update_elem(&meters, &key, &fresh, BPF_ANY);
		return 0;
	}
	return !conforms(tat, ticks, cost, cost > BURST ? cost : BURST);
}

/* Returns what that makes of the packet which is next_of the buffer. */
__noinline int limit(__u32 region)
{
	__u32 mode = control_value.mode[CONSTANT(32, slot_id)];
	const struct control *ctl = &control_value;
	struct batch *b = batch_at(region);
	struct prefix_key key = {};
	const struct packet *p;

	if (!b)
		return REASON_PASS;
	p = next_of(b);
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
 * Most of an attack is, once its sources are known. Then it is counted, or noted in e where
 * its way is. What there may be on the source is less than that if it turns out not to be
 * listed. */
static __always_inline int is_plain_drop(const struct control *ctl, struct batch *b, struct packet *e, __u64 hash4,
					 __u32 *maybe, __u32 kinds)
{
	int unlisted;

	if (!(*maybe & MAYBE_EXACT) || *maybe & MAYBE_SIGNATURE || !(kinds & KINDS_PLAIN))
		return 0;
	e->listed = ask_first(ctl, b, e->src.w[0], hash4, &unlisted);
	if (unlisted && !ctl->exact_class)
		*maybe &= ~MAYBE_EXACT;
	return e->listed != 0;
}

/* Which kinds of leases there may be on packets of the interface. */
static __always_inline __u32 kinds_asked(void)
{
	return OF_SLOT(control_value, __builtin_offsetof(struct control, kinds));
}

/* Does every packet pass that is of IP, if there are leases of these kinds? */
static __always_inline int is_nothing_asked(__u32 kinds)
{
	return !kinds && !CONSTANT(64, source_limit);
}

/* Returns what becomes of e, which is next_of b, and why. Of a source of IPv4 the hash4 is
 * known. */
static __always_inline __u32 filter(const struct control *ctl, struct batch *b, struct packet *e, __u32 region,
				    int family, __u32 kinds, __u64 hash4)
{
	__u32 reason = REASON_PASS, maybe = 0;

	if (kinds && family == 4 && !(kinds & KINDS_OTHER4)) {
		maybe = is_marked(*(volatile __u32 *)&ctl->prefilter, hash4) ? MAYBE_EXACT : 0;
	} else if (kinds) {
		if (kinds & KINDS_OFF)
			return REASON_PASS_OFF;
		maybe = may_have(ctl, e, family, hash4, kinds);
		if (kinds & KINDS_SIGNATURES && is_targeted(kinds, e))
			maybe |= MAYBE_SIGNATURE;
	}
	if (unlikely(maybe)) {
		if (family == 4 && is_plain_drop(ctl, b, e, hash4, &maybe, kinds))
			return REASON_DROP_SOURCE;
		if (maybe)
			reason = ask_leases(region, maybe);
	}
	if (CONSTANT(64, source_limit) && reason == REASON_PASS)
		reason = limit(region);
	return reason;
}
