/* SPDX-License-Identifier: GPL-2.0 */
/* Packet parser. It takes (data, end), not a program context, so that XDP and
 * TC programs share it, and reads each header once: what later stages need is
 * in struct packet. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_8021Q 0x8100
#define ETHERTYPE_8021AD 0x88a8
#define ETHERTYPE_QINQ_OLD 0x9100 /* in use before 802.1ad, and still */
#define MAX_VLAN_TAGS 3
/* As many as a sane sender stacks; a packet with more is class other. */
#define MAX_EXTENSION_HEADERS 6

#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60

#define TCP_FLAG_SYN 0x02

/* The class of a packet; the numbers are those of schemas.Class. */
enum class {
	CLASS_SYN,
	CLASS_SYNACK,
	CLASS_RST,
	CLASS_TCP_OTHER,
	CLASS_UDP,
	CLASS_ICMP,
	CLASS_FRAG_LATER,
	CLASS_OTHER,
	NUM_CLASSES,
};

enum parse_result {
	PARSE_IP,	 /* struct packet is filled */
	PARSE_NON_IP,	 /* ARP, LLDP, MPLS, a fourth VLAN tag, ... */
	PARSE_MALFORMED, /* too short for Ethernet or IP, or not the IP it claims */
};

struct __attribute__((aligned(8))) address {
	__u32 w[4]; /* network order; IPv4 in w[0], the rest 0 */
};

/* An IPv6 address is handled by halves. */
typedef __u64 __attribute__((may_alias)) half;

static __always_inline __u64 half_of(const struct address *a, int i)
{
	return ((const half *)a)[i];
}

static __always_inline void set_half(struct address *a, int i, __u64 value)
{
	((half *)a)[i] = value;
}

struct packet {
	struct address src;
	struct address dst;
	__u64 volume; /* packets, above the bytes of their frames, Ethernet headers included */
	__u8 family;  /* 4 or 6 */
	__u8 class;
	__u8 protocol;
	__u8 flags;   /* TCP flags */
	__u32 listed; /* 0; this and the next two are for whoever keeps packets */
	__u32 mark;   /* with what it is read as one word */
	__u32 what;   /* so it is with the ports */
	__u32 ports;  /* source, destination, as on the wire; 0 when there are none */
	__u32 set;    /* for whoever keeps packets */
};

#define PACKETS_SHIFT 40 /* in a volume: so a few of them, and many small ones, add up as they are */

/* There is one packet, unless the kernel merged several into this one. */
static __always_inline __u64 volume_of(__u32 packets, __u64 bytes)
{
	return (__u64)packets << PACKETS_SHIFT | bytes;
}

static __always_inline __u64 packets_in(__u64 volume)
{
	return volume >> PACKETS_SHIFT;
}

static __always_inline __u64 bytes_in(__u64 volume)
{
	return volume & ((1ULL << PACKETS_SHIFT) - 1);
}

static __always_inline __u16 source_port(const struct packet *p)
{
	return bpf_ntohs(p->ports);
}

static __always_inline __u16 destination_port(const struct packet *p)
{
	return bpf_ntohs(p->ports >> 16);
}

struct cursor {
	void *pos;
	void *end;
};

struct ethernet_header {
	__u8 dst[6];
	__u8 src[6];
	__be16 type;
};

struct vlan_header {
	__be16 tci;
	__be16 type;
};

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__u32 src;
	__u32 dst;
};

struct ipv6_header {
	__u8 version_class;
	__u8 rest[3];
	__be16 payload_length;
	__u8 next;
	__u8 hop_limit;
	struct address src;
	struct address dst;
};

struct extension_header {
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a fragment header */
	__u32 id;
};

/* Returns the next n bytes and moves past them, or NULL when they are not there. */
static __always_inline void *take(struct cursor *c, __u32 n)
{
	void *at = c->pos;

	if (at + n > c->end)
		return 0;
	c->pos = at + n;
	return at;
}

/* Returns the EtherType behind at most that many VLAN tags, or -1. */
static __always_inline int parse_ethernet(struct cursor *c, int tags)
{
	struct ethernet_header *eth = take(c, sizeof(*eth));
	__u16 type;

	if (!eth)
		return -1;
	type = bpf_ntohs(eth->type);
	for (int i = 0; i < tags; i++) {
		struct vlan_header *vlan;

		if (type != ETHERTYPE_8021Q && type != ETHERTYPE_8021AD && type != ETHERTYPE_QINQ_OLD)
			break;
		vlan = take(c, sizeof(*vlan));
		if (!vlan)
			return -1;
		type = bpf_ntohs(vlan->type);
	}
	return type;
}

/* The class of TCP with these flags, so many bits further up, without branches: which come
 * next cannot be predicted. SYN, RST and ACK are bits 0, 1 and 3 of i. */
static __always_inline __u32 tcp_class(__u32 flags, int up)
{
	__u32 i = flags >> 1 & 0xb;
	__u32 classes = CLASS_TCP_OTHER << 0 | CLASS_SYN << 2 | CLASS_RST << 4 | CLASS_SYN << 6 |
			CLASS_TCP_OTHER << 16 | CLASS_SYNACK << 18 | CLASS_RST << 20 | CLASS_SYNACK << 22;

	return classes << up >> 2 * i & 3 << up;
}

typedef __u32 __attribute__((may_alias)) word;

static __always_inline __u32 ports_at(const __u8 *l4)
{
	return *(const word *)l4;
}

/* A transport header that is cut short leaves the class at other. */
static __always_inline void parse_transport(struct cursor *c, struct packet *p)
{
	__u8 *l4;

	switch (p->protocol) {
	case PROTO_TCP:
		l4 = take(c, 20);
		if (!l4)
			return;
		p->ports = ports_at(l4);
		p->flags = l4[13];
		p->class = tcp_class(p->flags, 0);
		return;
	case PROTO_UDP:
		l4 = take(c, 8);
		if (!l4)
			return;
		p->ports = ports_at(l4);
		p->class = CLASS_UDP;
		return;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		p->class = CLASS_ICMP;
		return;
	}
}

enum extension_result {
	EXT_MORE,      /* p->protocol is the next header to look at */
	EXT_DONE,      /* p->protocol is the transport */
	EXT_CUT_SHORT, /* there is no transport header to be had */
};

/* Steps over one extension header. */
static __always_inline int skip_extension(struct cursor *c, struct packet *p)
{
	struct extension_header *ext;
	__u32 length;

	switch (p->protocol) {
	case PROTO_HOPOPTS:
	case PROTO_ROUTING:
	case PROTO_DSTOPTS:
		ext = take(c, 8);
		if (!ext)
			return EXT_CUT_SHORT;
		length = (__u32)ext->length * 8;
		break;
	case PROTO_FRAGMENT:
		ext = take(c, 8);
		if (!ext)
			return EXT_CUT_SHORT;
		if (ext->fragment & bpf_htons(0xfff8)) {
			p->protocol = ext->next;
			p->class = CLASS_FRAG_LATER;
			return EXT_CUT_SHORT;
		}
		length = 0;
		break;
	case PROTO_AH: /* its length counts 4-byte words, less two */
		ext = take(c, 8);
		if (!ext)
			return EXT_CUT_SHORT;
		length = (__u32)ext->length * 4;
		break;
	default:
		return EXT_DONE;
	}
	p->protocol = ext->next;
	return length && !take(c, length) ? EXT_CUT_SHORT : EXT_MORE;
}

static __always_inline int parse_ipv4(struct cursor *c, struct packet *p)
{
	void *start = c->pos;
	struct ipv4_header *ip = take(c, sizeof(*ip));
	__u32 length;

	if (!ip)
		return PARSE_MALFORMED;
	length = (ip->version_ihl & 0x0f) * 4;
	if (ip->version_ihl >> 4 != 4 || length < sizeof(*ip))
		return PARSE_MALFORMED;
	p->family = 4;
	/* By halves, as they are read: a load that spans two stores waits for both. */
	set_half(&p->src, 0, ip->src);
	set_half(&p->dst, 0, ip->dst);
	set_half(&p->src, 1, 0);
	set_half(&p->dst, 1, 0);
	p->protocol = ip->protocol;
	if (ip->fragment & bpf_htons(0x1fff)) {
		p->class = CLASS_FRAG_LATER;
		return PARSE_IP;
	}
	c->pos = start + length;
	if (c->pos > c->end)
		return PARSE_IP; /* options cut short: no transport header */
	if (p->protocol == PROTO_AH && skip_extension(c, p) == EXT_CUT_SHORT)
		return PARSE_IP;
	parse_transport(c, p);
	return PARSE_IP;
}

static __always_inline int parse_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6_header *ip = take(c, sizeof(*ip));

	if (!ip || ip->version_class >> 4 != 6)
		return PARSE_MALFORMED;
	p->family = 6;
	p->src = ip->src;
	p->dst = ip->dst;
	p->protocol = ip->next;
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		int r = skip_extension(c, p);

		if (r == EXT_CUT_SHORT)
			return PARSE_IP;
		if (r == EXT_DONE)
			break;
	}
	parse_transport(c, p);
	return PARSE_IP;
}

/* Parses what an EtherType says; -1 stands for a frame too short to have one.
 * Sets all of p but its volume, and leaves c behind the last header taken. */
static __always_inline int parse_network(struct cursor *c, int type, struct packet *p)
{
	p->ports = 0;
	p->protocol = 0;
	p->flags = 0;
	p->family = 0;
	p->listed = 0;
	p->class = CLASS_OTHER;
	if (type < 0)
		return PARSE_MALFORMED;
	if (type == ETHERTYPE_IPV4)
		return parse_ipv4(c, p);
	if (type == ETHERTYPE_IPV6)
		return parse_ipv6(c, p);
	return PARSE_NON_IP;
}

/* What follows is as long as the headers of a plain packet. */
#define PLAIN4 (sizeof(struct ethernet_header) + sizeof(struct ipv4_header) + 20)
#define PLAIN6 (sizeof(struct ethernet_header) + sizeof(struct ipv6_header) + 20)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Fills in what a packet is but for its addresses. Returns its family, or 0 when it is
 * neither of TCP nor of UDP. */
static __always_inline int parse_plain_transport(const __u8 *l4, struct packet *p, int family, __u32 protocol)
{
	__u32 rest = family;

	if (protocol == PROTO_TCP)
		rest |= tcp_class(l4[13], 8) | PROTO_TCP << 16 | (__u32)l4[13] << 24;
	else if (protocol == PROTO_UDP)
		rest |= CLASS_UDP << 8 | PROTO_UDP << 16;
	else
		return 0;
	p->ports = ports_at(l4);
	/* At once: what is written in pieces is slow to read as a word. And listed is 0. */
	*(half *)&p->family = rest;
	return family;
}

/* Parses what nearly every frame is, with hardly a branch: at most one VLAN tag,
 * IP without options, extensions and fragments, a whole header of TCP, or of UDP
 * with some payload. Returns its family, or 0 when it is anything else: that is for
 * parse_network. */
static __always_inline int parse_plain(const struct cursor *c, struct packet *p)
{
	struct ethernet_header *eth = c->pos;
	__u64 one = volume_of(1, 0), length; /* one packet, and what of it lies before eth */
	__u32 type;

	if (unlikely((void *)eth + PLAIN4 > c->end))
		return 0;
	type = eth->type;
	if (type != bpf_htons(ETHERTYPE_IPV4)) {
		asm volatile("" : "+r"(type)); /* or the compiler would ask this before */
		if (type == bpf_htons(ETHERTYPE_8021Q) || type == bpf_htons(ETHERTYPE_8021AD)) {
			eth = (void *)eth + sizeof(struct vlan_header); /* its type is now the inner one */
			one = volume_of(1, sizeof(struct vlan_header));
			if (unlikely((void *)eth + PLAIN4 > c->end))
				return 0;
			type = eth->type;
		}
	}
	length = c->end - (void *)eth;
	asm volatile("" : "+r"(length)); /* the verifier forbids to begin with a sum */
	p->volume = one + length;
	if (type == bpf_htons(ETHERTYPE_IPV4)) {
		struct ipv4_header *ip = (void *)(eth + 1);

		if (unlikely(ip->version_ihl != 0x45 || ip->fragment & bpf_htons(0x1fff)))
			return 0;
		set_half(&p->src, 0, ip->src);
		set_half(&p->src, 1, 0);
		set_half(&p->dst, 0, ip->dst);
		set_half(&p->dst, 1, 0);
		return parse_plain_transport((void *)(ip + 1), p, 4, ip->protocol);
	}
	if (type == bpf_htons(ETHERTYPE_IPV6)) {
		struct ipv6_header *ip = (void *)(eth + 1);

		if (unlikely((void *)eth + PLAIN6 > c->end || ip->version_class >> 4 != 6))
			return 0;
		p->src = ip->src;
		p->dst = ip->dst;
		return parse_plain_transport((void *)(ip + 1), p, 6, ip->next);
	}
	return 0;
}
