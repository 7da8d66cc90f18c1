/* SPDX-License-Identifier: GPL-2.0 */
/* Stage limit: what any source may send, without a decision and so without the
 * time that one takes. Off by default; then it is not in the program at all. It
 * costs every packet a lookup in a hash, and a source that is many clients (a
 * proxy, a carrier's NAT) is one source to it: leases are the finer tool. */
#pragma once

#include "batch.h"
#include "filter.h"

/* Has the source sent more than any may? */
static __always_inline int is_over(const struct packet *p, const struct slot *slot, __u64 now)
{
	struct exact_key key = {.address = p->src, .family = p->family};
	__u64 ticks = now << 4, cost = source_limit * p->packets, fresh = ticks + cost, *tat;

	if (p->family == 6 && group_off_link && !is_on_link(slot, half_of(&p->src, 0)))
		set_half(&key.address, 1, 0);
	tat = bpf_map_lookup_elem(&meters, &key);
	if (!tat) {
		bpf_map_update_elem(&meters, &key, &fresh, BPF_ANY);
		return 0;
	}
	return !conforms(tat, ticks, cost, cost > BURST ? cost : BURST);
}

static __always_inline __u32 limit(const struct control *ctl, const struct packet *p, const struct slot *slot)
{
	struct prefix_key key = {
	    .bits = PREFIX_BITS + (p->family == 4 ? 32 : 128),
	    .family = p->family,
	    .address = p->src,
	};
	__u64 now = bpf_ktime_get_boot_ns();

	if (!is_over(p, slot, now) || bpf_map_lookup_elem(&exempt, &key))
		return REASON_PASS;
	if ((ctl->allow_source | ctl->allow_destination) && is_allowed(ctl, p, now))
		return REASON_PASS_ALLOW;
	return slot->mode == MODE_OBSERVE ? REASON_WOULD_DROP : REASON_LIMIT_ANY_SOURCE;
}

/* Returns what becomes of a packet and why. */
static __always_inline __u32 filter(const struct control *ctl, const struct packet *p, const struct slot *slot)
{
	__u32 reason = ask_leases(ctl, p, slot->mode);

	if (source_limit && reason == REASON_PASS)
		reason = limit(ctl, p, slot);
	return reason;
}
