//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/* Weir's XDP program: parse → count → filter → one exit that counts the reason.
 *
 * Order of verdicts, empty stages named: malformed, [fragments], [sessions],
 * [firewall], allow, exact source, source prefix, signature, token bucket,
 * [extensions]. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "consts.h"
#include "maps.h"
#include "count.h"
#include "filter.h"

static __always_inline int is_drop(__u32 reason)
{
	return reason >= REASON_DROP_MALFORMED && reason <= REASON_LIMIT_SIGNATURE;
}

/* The only way out: no packet leaves without a reason counted. */
static __always_inline int leave(__u32 reason)
{
	__u32 i = slot_id * NUM_REASONS + reason;
	__u64 *n = bpf_map_lookup_elem(&verdicts, &i);

	if (n)
		(*n)++;
	return is_drop(reason) ? XDP_DROP : XDP_PASS;
}

static __always_inline __u32 decide(struct xdp_md *ctx)
{
	__u32 zero = 0, id = slot_id;
	struct counted counted = {};
	struct control *ctl = bpf_map_lookup_elem(&control_page, &zero);
	struct slot *slot = bpf_map_lookup_elem(&slots, &id);
	struct packet packet;
	__u32 epoch, reason;

	if (!ctl || !slot)
		return REASON_PASS;
	epoch = *(volatile __u32 *)&ctl->epoch;
	counted.totals = totals_of(epoch);
	if (!counted.totals)
		return REASON_PASS;
	switch (parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &packet)) {
	case PARSE_NON_IP:
		counted.totals->non_ip++;
		counted.totals->non_ip_bytes += packet.length;
		if (strict && slot->mode == MODE_ENFORCE)
			return REASON_DROP_NON_IP;
		return REASON_PASS_NON_IP;
	case PARSE_MALFORMED:
		counted.totals->malformed++;
		counted.totals->malformed_bytes += packet.length;
		return slot->mode == MODE_OFF ? REASON_PASS_OFF : REASON_DROP_MALFORMED;
	}
	count(epoch, &packet, slot, &counted);
	if (slot->mode == MODE_OFF)
		return REASON_PASS_OFF;
	reason = filter(ctl, &packet, slot->mode);
	if (is_drop(reason))
		count_drop(&counted);
	return reason;
}

SEC("xdp")
int weir(struct xdp_md *ctx)
{
	return leave(decide(ctx));
}

char _license[] SEC("license") = "GPL";
