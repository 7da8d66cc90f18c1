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
#include "batch.h"
#include "direct.h"
#include "filter.h"
#include "meter.h"
#include "skb.h"

static __always_inline void count_non_ip(__u32 region, __u64 volume)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->non_ip += packets_in(volume);
		t->non_ip_bytes += bytes_in(volume);
	}
}

static __always_inline void count_malformed(__u32 region, __u64 volume)
{
	struct totals *t = totals_of(region);

	if (t) {
		t->malformed += packets_in(volume);
		t->malformed_bytes += bytes_in(volume);
	}
}

/* Counts a packet that is not of IP, and returns what becomes of it. */
__noinline int decide_other(__u32 region, __u32 parsed, __u64 volume)
{
	__u32 mode = control_value.mode[CONSTANT(32, slot_id)], reason;

	if (parsed == PARSE_NON_IP) {
		count_non_ip(region, volume);
		reason = CONSTANT(8, strict) && mode == MODE_ENFORCE ? REASON_DROP_NON_IP : REASON_PASS_NON_IP;
	} else {
		count_malformed(region, volume);
		reason = mode == MODE_OFF ? REASON_PASS_OFF : REASON_DROP_MALFORMED;
	}
	count_verdict(region, CONSTANT(32, slot_id), reason, packets_in(volume));
	return reason;
}

/* Notes what became of a packet of IP, which is next_of b: none leaves without a reason
 * counted. Last of all it counts what the buffer holds, if that is full. */
static __always_inline void finish(struct batch *b, __u32 region, struct packet *e, int family, __u64 hash4,
				   __u32 reason)
{
	if (note(b, e, family, hash4, reason))
		flush(region);
}

/* Decides on a packet of this family, which is next_of b, and returns whether it passes.
 * Packets that pass have copies of what follows to themselves, with little left to ask:
 * one for hosts without leases, one for the others. */
static __always_inline int decide_on(struct batch *b, __u32 region, struct packet *e, int family)
{
	__u32 kinds = kinds_asked(), reason;
	__u64 hash = 0;

	if (is_nothing_asked(kinds)) {
		finish(b, region, e, family, 0, REASON_PASS);
		return 1;
	}
	if (family == 4)
		hash = hash4(e->src.w[0]);
	if (family == 4 && kinds & KINDS_PLAIN && b->dropping) {
		if (drop_again(&control_value, b, e, region, hash))
			return 0;
		b->dropping--;
		kinds = kinds_asked(); /* rather than keep it all the way */
	}
	reason = filter(&control_value, b, e, region, family, kinds, hash);
	if (reason == REASON_PASS) {
		finish(b, region, e, family, hash, REASON_PASS);
		return 1;
	}
	if (e->listed)
		b->listed = b->dropping = DROPPING;
	finish(b, region, e, family, hash, reason);
	return !is_drop(reason);
}

/* Decides on the packet that was parsed into the buffer, with this result; returns
 * whether it passes. */
__noinline int decide_parsed(__u32 region, int parsed)
{
	struct batch *b = batch_at(region);
	struct packet *e;

	if (!b)
		return 1;
	e = next_of(b);
	if (parsed != PARSE_IP)
		return !is_drop(decide_other(region, parsed, e->volume));
	return e->family == 4 ? decide_on(b, region, e, 4) : decide_on(b, region, e, 6);
}

/* Of frames that are spread over several buffers, the length is for the kernel to say. */
static __always_inline void measure(struct xdp_md *ctx, struct packet *p)
{
	if (CONSTANT(8, frags))
		p->volume = volume_of(1, bpf_xdp_get_buff_len(ctx));
}

/* Parses a frame that is not plain; as parse_network. */
__noinline int parse_frame(struct xdp_md *ctx, __u32 region)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct batch *b = batch_at(region);
	struct packet *p;

	if (!b)
		return PARSE_MALFORMED;
	p = next_of(b);
	p->volume = volume_of(1, c.end - c.pos);
	measure(ctx, p);
	return parse_network(&c, parse_ethernet(&c, MAX_VLAN_TAGS), p);
}

/* "frags": a frame may be spread over several buffers, as jumbo frames are. Its
 * headers are in the first. What few packets need is in functions of its own: it
 * would take up registers here. */
SEC("xdp.frags")
int weir(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	__u32 region = this_region();
	struct batch *b = batch_at(region);
	struct packet *e;

	if (!b)
		return XDP_PASS;
	e = next_of(b);
	switch (parse_plain(&c, e)) {
	case 4:
		measure(ctx, e);
		return decide_on(b, region, e, 4) ? XDP_PASS : XDP_DROP;
	case 6:
		measure(ctx, e);
		return decide_on(b, region, e, 6) ? XDP_PASS : XDP_DROP;
	}
	return decide_parsed(region, parse_frame(ctx, region)) ? XDP_PASS : XDP_DROP;
}

/* The same for interfaces that have packets rather than frames to offer. */
SEC("tcx/ingress")
int weir_tcx(struct __sk_buff *skb)
{
	__u32 region = this_region();
	struct batch *b = batch_at(region);

	if (!b)
		return TCX_NEXT;
	return decide_parsed(region, parse_skb(skb, next_of(b))) ? TCX_NEXT : TCX_DROP;
}

char _license[] SEC("license") = "GPL";
