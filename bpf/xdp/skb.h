/* SPDX-License-Identifier: GPL-2.0 */
/* What TCX has to do before a packet is as XDP would have seen it. A socket
 * buffer differs from a frame in three ways:
 *
 *   - only its beginning may be in reach; the rest has to be pulled in,
 *   - the outer VLAN tag is beside it, not in it,
 *   - it may be several packets in one: merged by GRO, or never cut because the
 *     sender is on this machine. Then headers are there once, for all of them. */
#pragma once

#include "consts.h"
#include "types.h"

/* What TCX programs return; older headers lack them. */
#define TCX_NEXT -1 /* pass, unless a program behind this one objects */
#define TCX_DROP 2

#define VLAN_TAG 4
/* Pulled in at most: Ethernet, two tags, IPv6, some extensions and TCP. */
#define PULL 256

/* Returns the bytes that precede the payload. */
static __always_inline __u32 headers_of(struct __sk_buff *skb, const struct packet *p, __u32 parsed)
{
	__u8 offset;

	/* The parser stands 20 bytes into TCP; the options are behind. */
	if (p->class > CLASS_TCP_OTHER || bpf_skb_load_bytes(skb, parsed - 8, &offset, 1))
		return parsed;
	return parsed + (offset >> 4) * 4 - 20;
}

/* The packets and bytes of skb, which may stand for several that have so many bytes of
 * headers each. */
static __always_inline __u64 unmerged(struct __sk_buff *skb, __u32 headers)
{
	__u32 size = skb->gso_size, bytes = skb->len, packets = skb->gso_segs;

	/* Some senders, virtual machines above all, leave the number out. */
	if (!packets && bytes > headers)
		packets = (bytes - headers + size - 1) / size;
	if (!packets)
		packets = 1;
	return volume_of(packets, bytes + (packets - 1) * headers);
}

/* Parses what is in reach. Returns what parse does and, above its byte, how many
 * bytes the parser took.
 *
 * This and decide_parsed are functions of their own, which the verifier goes through
 * once, with any arguments; inlined, every way through the parser would be one
 * through all that follows. */
__noinline int parse_reachable(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data;
	struct cursor c = {.pos = data, .end = (void *)(long)skb->data_end};
	int tags = skb->vlan_present ? MAX_VLAN_TAGS - 1 : MAX_VLAN_TAGS;
	int result;

	if (!p)
		return PARSE_MALFORMED;
	result = parse_network(&c, CONSTANT(8, bare_ip) ? bpf_ntohs(skb->protocol) : parse_ethernet(&c, tags), p);
	return (__u32)(c.pos - data) << 8 | result;
}

/* Were there headers out of reach that pulling brings in? */
static __always_inline int is_short(struct __sk_buff *skb, int parsed, const struct packet *p)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear >= PULL || linear >= skb->len)
		return 0;
	parsed &= 0xff;
	return parsed == PARSE_MALFORMED || (parsed == PARSE_IP && p->class == CLASS_OTHER);
}

/* Parses skb like the frame that it was. Returns as parse does. */
static __always_inline int parse_skb(struct __sk_buff *skb, struct packet *p)
{
	__u32 tag = skb->vlan_present ? VLAN_TAG : 0;
	int parsed = parse_reachable(skb, p);

	if (is_short(skb, parsed, p) && !bpf_skb_pull_data(skb, skb->len < PULL ? skb->len : PULL))
		parsed = parse_reachable(skb, p);
	if (skb->gso_size)
		p->volume = unmerged(skb, headers_of(skb, p, (__u32)parsed >> 8));
	else
		p->volume = volume_of(1, skb->len);
	p->volume += packets_in(p->volume) * tag;
	return parsed & 0xff;
}
