/* SPDX-License-Identifier: GPL-2.0 */
/* What lies in the maps. Every struct is padded by hand; a test holds the Go
 * side against the offsets in the object's BTF. */
#pragma once

#include "../include/parse.h"

#define MAX_SLOTS 64   /* interfaces of one probe: bits of a 64-bit mask */
#define MAX_ON_LINK 4  /* IPv6 on-link prefixes per interface */
#define SKETCH_BITS 10 /* HyperLogLog registers: 2^10, error 3.3 % */
#define SKETCH_SIZE (1 << SKETCH_BITS)
#define MAX_RANK 33
#define MAX_SIGNATURES 256

/* How a probe treats leases on one interface. */
enum filter_mode { MODE_OBSERVE, MODE_ENFORCE, MODE_OFF };

/* What a lease orders, from the weakest to the strongest. */
enum action { ACTION_NONE, ACTION_OBSERVE, ACTION_RATE_LIMIT, ACTION_DROP, ACTION_ALLOW };

/* Why a packet went where it went. Stable numbers: append only. */
enum reason {
	REASON_PASS,
	REASON_PASS_NON_IP,
	REASON_PASS_ALLOW,
	REASON_PASS_OFF,
	REASON_PASS_OBSERVED, /* an observe lease, or a limit not reached */
	REASON_WOULD_DROP,    /* mode observe: enforce would have dropped it */
	REASON_DROP_MALFORMED,
	REASON_DROP_NON_IP, /* strict */
	REASON_DROP_SOURCE,
	REASON_DROP_PREFIX,
	REASON_DROP_SIGNATURE,
	REASON_LIMIT_SOURCE,
	REASON_LIMIT_PREFIX,
	REASON_LIMIT_SIGNATURE,
	REASON_LIMIT_ANY_SOURCE, /* over what any source may send */
	/* 16-23 sessions, 24-31 firewall, 32-39 extensions, 40-47 fragments */
	NUM_REASONS = 64, /* a power of two */
};

static __always_inline int is_drop(__u32 reason)
{
	return reason >= REASON_DROP_MALFORMED && reason <= REASON_LIMIT_ANY_SOURCE;
}

/* One kind of packets of one source in one window, on one CPU; sources.h tells
 * the idea. The key is: in use (bits 15 and 13), retired (14), kind (12 to 8), slot
 * (5 to 0). The upper 24 bits of packets_bytes count packets, the lower 40 bytes. */
struct source4 {
	__u32 address;
	__u32 key;
	__u64 packets_bytes;
};

/* Of IPv6, part of the hash stands below the key in place of the address. */
struct source6 {
	__u64 hash_key;
	__u64 packets_bytes;
};

#define SET_WAYS 4
struct set4 {
	struct source4 way[SET_WAYS];
};

struct set6 {
	struct source6 way[SET_WAYS];
};

/* The sources of their records. */
struct names6 {
	struct address of[SET_WAYS];
};

#define DIRTY_SETS 8  /* sets per bit of the maps of sets in use */
#define BLOCK_SETS 64 /* neighbours: a page of memory */

/* A packet waits to be counted in a cache line, which the parser fills in place. Its source
 * is the one that is counted then, and its other fields are:
 *
 *   listed  of IPv4, the way of the listed source that dropped it, plus one; or 0
 *   mark    of IPv4, what its record is found by beside the key: the source
 *           (of IPv6, these two are the hash of the source, of which the upper 44 bits are that)
 *   what    the key of its record; above that, protocol and reason; and WHAT_IPV6
 *   set     where the set of its record begins in the region, in bytes */
_Static_assert(sizeof(struct packet) == 64, "a packet is a line");

#define WHAT_IPV6 (1U << 31)
#define WHAT_KEPT (1U << 30) /* of a packet that was counted in a run: others are not joined with it */

/* Packets of one kind for one target that follow each other, and are still to be counted
 * for their verdict and target: a cache line. */
struct run {
	struct address dst;
	__u32 what; /* as of a noted packet */
	__u32 ports;
	__u64 telling; /* which bits of what and ports tell */
	__u64 volume;  /* as of a packet: it ends before that runs over */
	__u64 source_bits;
};

/* There are two, so that a flood that is dropped at once does not end the run of those
 * that pass with every packet. */
enum runs {
	RUN_NOTED,  /* of packets that were noted */
	RUN_DIRECT, /* of those that were not: direct.h */
	NUM_RUNS,
};

#define LISTED_WAYS 8

#define NOTED 64 /* bytes of a packet: more than packets of a batch, so that they count beside it */
#define BATCH 32 /* twice as many misses as a core overlaps, so that it never has too few */
struct batch {
	struct packet before; /* nothing: so that there is something before the first */
	struct packet noted[BATCH];
	__u32 filled;	   /* NOTED for each packet noted, and one more if it is of IPv6 */
	__u32 first;	   /* of them, those before have been counted in a run */
	__u16 kept;	   /* of these, from the last batch: their first set was full */
	__u16 dropping;	   /* so many packets are looked for first among those that were dropped: direct.h */
	__u32 missed;	   /* so many found their set full */
	__u32 listed;	   /* not 0: in this window some were dropped because their source is listed */
	__u32 raised;	   /* by bit: counted in other, and to be entered in the sketches */
	__u64 source_bits; /* of the sources noted since the last batch, as in a run */
	__u64 jiffies;	   /* when now was read */
	__u64 now;	   /* boot-time ns */
	__u32 hot4;	   /* sets that IPv4 records are looked for in first; from the probe */
	__u32 hot6;
	__u32 known_until; /* the first of the leases that dropped them ends; in the units of struct listed4 */
	__u32 generation;  /* of the leases when the window began */
	struct run runs[NUM_RUNS];
	__u32 claimed[2];      /* by family and bit: a free record was taken */
	__u32 paired;	       /* by bit: the port pair is to be noted */
	__u32 target;	       /* where the last packet's target is */
	__u8 missed_at[BATCH]; /* which found their set full */
	__u32 fruitless[2];    /* by family: packets in a row whose second set was full too */
	__u64 others;	       /* packets and bytes of a kind that are to be counted in other, as in a record */
	__u64 known_at;	       /* a jiffy in which known_until had not come yet */
	__u64 turn;	       /* counts packets that were counted at once */
	__u64 pad[2];
};
_Static_assert(sizeof(struct batch) % 64 == 0, "a line of two CPUs");

/* Packets of one interface by reason since load, on one CPU. */
struct outcomes {
	__u64 by_reason[NUM_REASONS];
};

/* Traffic of one class to one destination and port. */
struct target {
	struct address destination;
	__u16 port;
	__u8 class;
	__u8 protocol;
	__u8 slot;
	__u8 family; /* 0: free */
	__u8 pad[2];
	__u64 packets;
	__u64 bytes;
	__u64 dropped;
	__u64 source_bits;
	__u64 pad2;
};

/* Blocked IPv4 sources: eight to a cache line. */
struct listed4 {
	__u32 address[LISTED_WAYS];
	/* Boot time in units of 2^UNTIL_SHIFT ns before which the source is dropped for
	 * certain, on every interface; or UNTIL_ASK: its lease has to be asked; or 0:
	 * the way is free. */
	__u32 until[LISTED_WAYS];
};

/* Their leases; any number that no lease has: none. */
struct lease_set {
	__u32 of[LISTED_WAYS];
};

/* What they lost that was counted in other, since the probe last looked: the upper 24
 * bits count packets, the lower 40 bytes. */
struct listed_count {
	__u64 of[LISTED_WAYS];
};

#define UNTIL_SHIFT 27 /* 134 ms */
#define UNTIL_ASK 1
#define UNTIL_NEVER 0xffffffffU

struct counters {
	__u64 by_class[NUM_CLASSES];
	__u64 bytes;
	__u64 udp_bytes;
	__u64 dropped;
};

/* What is not counted by source, of one interface in one window, on one CPU. */
struct totals {
	struct counters other; /* packets whose source found no place */
	__u64 non_ip;
	__u64 non_ip_bytes;
	__u64 malformed;
	__u64 malformed_bytes;
	__u64 no_target; /* packets whose target found no place */
};

/* HyperLogLog registers of the sources that found no place in the table; those
 * that did are counted from the table. */
struct sketch {
	__u8 all[SKETCH_SIZE];
	__u8 syn[SKETCH_SIZE];
	__u8 synack[SKETCH_SIZE];
};

struct on_link {
	__u64 value; /* upper half of the address, network order */
	__u64 mask;
};

/* One interface: what the program reads of it, and the number of its window. */
struct slot {
	__u32 ifindex; /* 0: not attached */
	__u32 pad;
	__u64 seq;	   /* windows ended since boot_id began */
	__u64 pending_seq; /* of the window that is not yet committed */
	__u32 on_links;
	__u32 attach_mode;
	struct on_link on_link[MAX_ON_LINK];
};

/* Kinds of leases that there may be on a packet. */
enum kinds {
	KINDS_EXACT4 = 1,   /* on single sources of IPv4 */
	KINDS_NARROW4 = 2,  /* on prefixes of IPv4 that the prefilter has */
	KINDS_WIDE4 = 4,    /* on shorter ones */
	KINDS_SOURCE6 = 8,  /* on sources and prefixes of IPv6 that the prefilter has */
	KINDS_WIDE6 = 16,   /* on shorter ones */
	KINDS_SHAPES = 256, /* signatures: times 1 << shape, if some signature has it */
	/* Beside them, if there are any: whoever is listed is dropped, for the interface's mode
	 * is to enforce, and nobody is allowed. */
	KINDS_PLAIN = 1 << 29,
	KINDS_OFF = 1 << 30 /* nothing is asked: it is off */
};

#define KINDS_SIGNATURES (((1 << NUM_SHAPES) - 1) * KINDS_SHAPES)
/* Of a packet of IPv4, all but single sources: most lists have nothing else. */
#define KINDS_OTHER4 (KINDS_OFF | KINDS_SIGNATURES | KINDS_NARROW4 | KINDS_WIDE4)

/* The control page: read once per packet, written by the probe through mmap. */
struct control {
	__u64 pad;   /* so that the layout is where all layouts have it */
	__u32 epoch; /* 0 or 1: which half of every counting table is written */
	__u32 layout;
	__u64 seed;		/* of the keyed hash */
	__u32 prefilter;	/* the shift of the hash, and the bit of PREFILTER_HALF if that is in use */
	__u32 listed;		/* sets of listed sources in use, a power of two */
	__u32 kinds[MAX_SLOTS]; /* by slot, enum kinds: what leases there are but those of allow; near
				 * the epoch, so that on most hosts a packet reads one line */
	/* How many entries each stage has: an empty one is not asked. */
	__u32 exact_any; /* not in a set of listed4 */
	__u32 exact_class;
	__u32 prefix_any;
	__u32 prefix_class;
	__u32 allow_source;
	__u32 allow_destination;
	__u32 signatures;
	__u32 generation; /* another as soon as a source is listed no longer, or less long */
	/* The window that has ended and is not yet committed. */
	__u32 pending;
	__u64 window_start; /* of the open window, boot-time ns */
	__u64 pending_start;
	__u64 pending_end;
	__u8 mode[MAX_SLOTS]; /* enum filter_mode, by slot */
	__u8 boot_id[32];
	__u8 pending_boot_id[32];
};

/* One lease: the first line is what a packet reads, the second what it writes,
 * the third says what the lease is, for the probe's restart. */
struct lease {
	__u64 expires; /* boot-time ns; 0: never */
	__u64 interfaces;
	__u32 action; /* enum action; ACTION_NONE: free or suspended */
	__u32 used;
	__u64 packet_cost; /* 1/16 ns of the bucket per packet; 0: no limit */
	__u64 byte_cost;   /* 1/4096 ns per byte; 0: no limit */
	__u64 packet_time; /* theoretical arrival times of the two buckets, 1/16 ns */
	__u64 byte_time;
	__u32 generation; /* counts the leases and rates that this record has held */
	__u32 pad0;

	__u64 packets;
	__u64 bytes;
	__u64 would;
	__u64 would_bytes;
	__u64 last;
	__u64 pad1[3];

	struct address source;
	struct address destination;
	__u8 source_family; /* 4, 6, or 0: any */
	__u8 source_bits;
	__u8 destination_family;
	__u8 destination_bits;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 flag_mask;
	__u8 flag_value;
	__u8 wanted; /* the action asked for, kept while suspended */
	__u8 variant;
	__u8 fragments;
	__u8 pad2[2];
	__u64 offset; /* of the command, plus one */
	__u64 pps;
	__u64 bps;
	__u64 pad3[2];
};

/* Key of a source: selector 0 is any class, c+1 is class c only. */
struct exact_key {
	struct address address;
	__u8 family;
	__u8 selector;
	__u16 pad;
	__u32 pad2;
};

struct prefix_key {
	__u32 bits; /* 32 + prefix length */
	__u8 family;
	__u8 selector; /* allow: 0 source, 1 destination */
	__u16 pad;
	struct address address;
};

/* What a trie holds: the lease, and the length of its prefix. */
struct prefix_value {
	__u32 lease;
	__u32 bits;
};

/* By what a signature is looked for: its destination if that is one address, and
 * what it says of the transport. */
enum signature_shape {
	SHAPE_PLAIN,
	SHAPE_PROTOCOL,
	SHAPE_DESTINATION_PORT,
	SHAPE_SOURCE_PORT,
	SHAPE_ANYWHERE, /* added when it does not name one destination */
	NUM_SHAPES = 2 * SHAPE_ANYWHERE,
};

/* A signature, as the packet is compared with it: (packet & mask) == value. */
struct signature {
	struct address source, source_mask;
	struct address destination, destination_mask;
	__u16 source_port;
	__u16 destination_port;
	__u8 family;   /* 0: any */
	__u8 protocol; /* 0: any */
	__u8 flag_mask;
	__u8 flag_value;
	__u32 lease;
	__u16 any_protocol; /* protocol 0 was not asked for */
	__u16 fragments;    /* later ones only */
};
