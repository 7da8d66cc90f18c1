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

/* Makes unknown to the verifier what the parser set to constants: it would follow
 * every class of both families through all that comes. */
static __always_inline void forget(const struct control *ctl, struct packet *p)
{
	__u32 zero = *(volatile __u32 *)&ctl->zero;

	p->class += zero;
	p->family += zero;
	p->protocol += zero;
	p->flags += zero;
	p->ports += zero;
}

static __always_inline void count_non_ip(__u32 region, const struct packet *p)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->non_ip += p->packets;
		t->non_ip_bytes += p->length;
	}
}

static __always_inline void count_malformed(__u32 region, const struct packet *p)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->malformed += p->packets;
		t->malformed_bytes += p->length;
	}
}

/* Counts a packet and returns what becomes of it. */
static __always_inline __u32 judge(const struct control *ctl, __u32 region, struct batch *b, int parsed,
				   struct packet *p)
{
	__u32 mode = ctl->mode[slot_id], reason = REASON_PASS_OFF, listed = 0;

	switch (parsed) {
	case PARSE_NON_IP:
		count_non_ip(region, p);
		return strict && mode == MODE_ENFORCE ? REASON_DROP_NON_IP : REASON_PASS_NON_IP;
	case PARSE_MALFORMED:
		count_malformed(region, p);
		return mode == MODE_OFF ? REASON_PASS_OFF : REASON_DROP_MALFORMED;
	}
	forget(ctl, p);
	if (mode != MODE_OFF)
		reason = filter(ctl, b, p, mode, &listed) + *(volatile __u32 *)&ctl->zero;
	count(region, b, p, is_drop(reason), listed);
	return reason;
}

/* The only way out: no packet leaves without a reason counted. */
static __always_inline __u32 decide(int parsed, struct packet *p)
{
	__u32 zero = 0, region, reason;
	struct control *ctl = bpf_map_lookup_elem(&control_page, &zero);
	struct batch *b;

	if (!ctl)
		return REASON_PASS;
	region = region_of(*(volatile __u32 *)&ctl->epoch);
	b = bpf_map_lookup_elem(&batches, &region);
	if (!b)
		return REASON_PASS;
	reason = judge(ctl, region, b, parsed, p);
	b->verdicts[slot_id & (MAX_SLOTS - 1)][reason & (NUM_REASONS - 1)] += p->packets;
	return reason;
}

/* "frags": a frame may be spread over several buffers, as jumbo frames are. Its
 * headers are in the first. */
SEC("xdp.frags")
int weir(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct packet packet = {};
	int parsed = parse(&c, &packet);

	packet.length = frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	return is_drop(decide(parsed, &packet)) ? XDP_DROP : XDP_PASS;
}

__noinline int decide_skb(int parsed, struct packet *p)
{
	return p ? decide(parsed, p) : REASON_PASS;
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
