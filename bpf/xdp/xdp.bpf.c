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

static __always_inline void count_non_ip(__u32 region, __u32 packets, __u32 length)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->non_ip += packets;
		t->non_ip_bytes += length;
	}
}

static __always_inline void count_malformed(__u32 region, __u32 packets, __u32 length)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->malformed += packets;
		t->malformed_bytes += length;
	}
}

/* The only way out: no packet leaves without a reason counted. */
static __always_inline __u32 leave(struct batch *b, __u32 packets, __u32 reason)
{
	b->verdicts[slot_id & (MAX_SLOTS - 1)][reason & (NUM_REASONS - 1)] += packets;
	return reason;
}

static __always_inline struct control *this_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control_page, &zero);
}

/* Counts a packet that is not of IP, and returns what becomes of it. */
static __always_inline __u32 decide_other(int parsed, __u32 packets, __u32 length)
{
	struct control *ctl = this_control();
	__u32 region, mode;
	struct batch *b;

	if (!ctl)
		return REASON_PASS;
	region = region_of(*(volatile __u32 *)&ctl->epoch);
	mode = ctl->mode[slot_id];
	b = bpf_map_lookup_elem(&batches, &region);
	if (!b)
		return REASON_PASS;
	if (parsed == PARSE_NON_IP) {
		count_non_ip(region, packets, length);
		return leave(b, packets, strict && mode == MODE_ENFORCE ? REASON_DROP_NON_IP : REASON_PASS_NON_IP);
	}
	count_malformed(region, packets, length);
	return leave(b, packets, mode == MODE_OFF ? REASON_PASS_OFF : REASON_DROP_MALFORMED);
}

/* Counts a packet of IP and returns what becomes of it. */
static __always_inline __u32 decide(struct packet *p)
{
	__u32 region, mode, reason = REASON_PASS_OFF, listed = 0;
	struct control *ctl = this_control();
	struct batch *b;

	if (!ctl)
		return REASON_PASS;
	region = region_of(*(volatile __u32 *)&ctl->epoch);
	b = bpf_map_lookup_elem(&batches, &region);
	if (!b)
		return REASON_PASS;
	mode = ctl->mode[slot_id];
	/* The zero hides from the verifier which reason it is: it would follow each. */
	if (mode != MODE_OFF)
		reason = filter(ctl, b, p, mode, &listed) + *(volatile __u32 *)&ctl->zero;
	count(region, b, p, is_drop(reason), listed);
	return leave(b, p->packets, reason);
}

static __always_inline __u32 length_of(struct xdp_md *ctx)
{
	return frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
}

/* "frags": a frame may be spread over several buffers, as jumbo frames are. Its
 * headers are in the first. */
SEC("xdp.frags")
int weir(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct packet packet;
	int parsed;

	/* The packet is to stay in memory. In registers each of its fields would be set
	 * before every check that the parser makes, in case it fails. */
	asm volatile("" : : "r"(&packet) : "memory");
	parsed = parse(&c, &packet);
	if (parsed != PARSE_IP)
		return is_drop(decide_other(parsed, 1, length_of(ctx))) ? XDP_DROP : XDP_PASS;
	packet.length = length_of(ctx);
	return is_drop(decide(&packet)) ? XDP_DROP : XDP_PASS;
}

__noinline int decide_skb(int parsed, struct packet *p)
{
	if (!p)
		return REASON_PASS;
	return parsed == PARSE_IP ? decide(p) : decide_other(parsed, p->packets, p->length);
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
