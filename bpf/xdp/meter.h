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
	__u64 ticks = now << 4, cost = source_limit * p->packets, fresh = ticks + cost, *tat;

	tat = bpf_map_lookup_elem(&meters, &key);
	if (!tat) {
		bpf_map_update_elem(&meters, &key, &fresh, BPF_ANY);
		return 0;
	}
	return !conforms(tat, ticks, cost, cost > BURST ? cost : BURST);
}

static __always_inline __u32 limit(const struct control *ctl, struct batch *b, const struct packet *p, __u32 mode)
{
	struct prefix_key key = {
	    .bits = PREFIX_BITS + (p->family == 4 ? 32 : 128),
	    .family = p->family,
	    .address = p->src,
	};

	if (!is_over(p, now_of(b)) || bpf_map_lookup_elem(&exempt, &key))
		return REASON_PASS;
	if ((ctl->allow_source | ctl->allow_destination) && is_allowed(ctl, p, b))
		return REASON_PASS_ALLOW;
	return mode == MODE_OBSERVE ? REASON_WOULD_DROP : REASON_LIMIT_ANY_SOURCE;
}

/* Returns what becomes of a packet and why; listed is that of ask_leases. */
static __always_inline __u32 filter(const struct control *ctl, struct batch *b, const struct packet *p, __u32 mode,
				    __u32 *listed)
{
	__u32 reason = ask_leases(ctl, b, p, mode, listed);

	if (source_limit && reason == REASON_PASS)
		reason = limit(ctl, b, p, mode);
	return reason;
}
