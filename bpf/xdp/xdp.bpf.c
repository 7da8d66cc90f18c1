//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/* Weir's program, for XDP and for TCX: parse → count → filter → one exit that
 * counts the reason.
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
#include "meter.h"
#include "skb.h"

static __always_inline int is_drop(__u32 reason)
{
	return reason >= REASON_DROP_MALFORMED && reason <= REASON_LIMIT_ANY_SOURCE;
}

/* The only way out: no packet leaves without a reason counted. */
static __always_inline __u32 leave(const struct packet *p, __u32 reason)
{
	__u32 i = (bpf_get_smp_processor_id() * MAX_SLOTS + slot_id) * NUM_REASONS + reason;
	__u64 *n = bpf_map_lookup_elem(&verdicts, &i);

	if (n)
		*n += p->packets;
	return reason;
}

/* Makes unknown to the verifier what the parser set to constants: it would follow
 * every class of both families through all that comes. */
static __always_inline void forget(const struct control *ctl, struct packet *p)
{
	__u32 zero = *(volatile __u32 *)&ctl->zero;

	p->class += zero;
	p->family += zero;
	p->protocol += zero;
	p->flags += zero;
	p->sport += zero;
	p->dport += zero;
}

static __always_inline __u32 decide(int parsed, struct packet *p)
{
	__u32 zero = 0, id = slot_id;
	struct control *ctl = bpf_map_lookup_elem(&control_page, &zero);
	struct slot *slot = bpf_map_lookup_elem(&slots, &id);
	__u32 region, i, reason = REASON_PASS_OFF;
	struct totals *totals;

	if (!ctl || !slot)
		return REASON_PASS;
	region = region_of(*(volatile __u32 *)&ctl->epoch);
	i = region * MAX_SLOTS + slot_id;
	totals = bpf_map_lookup_elem(&interface_totals, &i);
	if (!totals)
		return REASON_PASS;
	switch (parsed) {
	case PARSE_NON_IP:
		totals->non_ip += p->packets;
		totals->non_ip_bytes += p->length;
		if (strict && slot->mode == MODE_ENFORCE)
			return REASON_DROP_NON_IP;
		return REASON_PASS_NON_IP;
	case PARSE_MALFORMED:
		totals->malformed += p->packets;
		totals->malformed_bytes += p->length;
		return slot->mode == MODE_OFF ? REASON_PASS_OFF : REASON_DROP_MALFORMED;
	}
	forget(ctl, p);
	if (slot->mode != MODE_OFF)
		reason = filter(ctl, p, slot) + *(volatile __u32 *)&ctl->zero;
	count(region, p, slot, totals, is_drop(reason));
	return reason;
}

/* "frags": a frame may be spread over several buffers, as jumbo frames are. Its
 * headers are in the first. */
SEC("xdp.frags")
int weir(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct packet packet;
	int parsed = parse(&c, &packet);

	packet.length = frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	return is_drop(leave(&packet, decide(parsed, &packet))) ? XDP_DROP : XDP_PASS;
}

__noinline int decide_skb(int parsed, struct packet *p)
{
	return p ? leave(p, decide(parsed, p)) : REASON_PASS;
}

/* The same for interfaces that have packets rather than frames to offer. */
SEC("tcx/ingress")
int weir_tcx(struct __sk_buff *skb)
{
	struct packet packet = {};
	int parsed = parse_skb(skb, &packet);

	return is_drop(decide_skb(parsed, &packet)) ? TCX_DROP : TCX_NEXT;
}

char _license[] SEC("license") = "GPL";
