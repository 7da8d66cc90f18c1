/* SPDX-License-Identifier: GPL-2.0 */
/* Every map, in one place. Sizes marked (set at load) are written by Open. The
 * counting tables are flat arrays that the probe maps into its memory, one region
 * after another: region = epoch * cpus + cpu. */
#pragma once

#include "types.h"

/* Of a map with one value the program knows the address, and needs no lookup: it
 * refers to a section of the same name, in whose place the loader puts the map. */

/* Control page; written by the probe. */
struct control control_value SEC(".data.control_page");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control_page SEC(".maps");

/* Interfaces by slot; written by the probe. */
struct slot slot_values[MAX_SLOTS] SEC(".data.slots");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot); /* (set at load) MAX_SLOTS */
} slots SEC(".maps");

/* Sets of IPv4 sources; 64 B each; written by the program, cleared by the drain. A region
 * is one value: it is looked up for all packets of a batch at once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) 2 * cpus */
	__type(key, __u32);
	__type(value, struct set4); /* (set at load) sets */
} sources4 SEC(".maps");

/* Sets of IPv6 sources; 64 B each; as above. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) 2 * cpus */
	__type(key, __u32);
	__type(value, struct set6); /* (set at load) sets */
} sources6 SEC(".maps");

/* The sources of each set's records; 64 B each, where the set is: see sources.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) 2 * cpus */
	__type(key, __u32);
	__type(value, struct names6); /* (set at load) sets */
} names6 SEC(".maps");

/* Which groups of DIRTY_SETS sets are in use, a bit each, for the drain. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, __u64);
} dirty4 SEC(".maps");

/* The same for sources6. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, __u64);
} dirty6 SEC(".maps");

/* The buffers of packets that wait to be counted, one per (epoch, CPU). */
struct batch batch_values[1] SEC(".data.batches"); /* (set at load) 2 * cpus */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct batch); /* (set at load) 2 * cpus */
} batches SEC(".maps");

/* Verdicts; index (epoch * cpus + cpu) * MAX_SLOTS + slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct outcomes);
} verdicts SEC(".maps");

#define TARGET_WAYS (1 << 12) /* per region */
#define TARGET_SPARE 256
/* Targets; 64 B each; behind TARGET_WAYS of a region are two tables of TARGET_SPARE. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) 2 * cpus * (TARGET_WAYS + 2 * TARGET_SPARE) */
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

/* Interface totals; index (epoch * cpus + cpu) * MAX_SLOTS + slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct totals);
} interface_totals SEC(".maps");

/* Sketches of overflowed sources; index as totals. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct sketch);
} sketches SEC(".maps");

/* Leases; 192 B each; written by the probe, their counters by the program. The
 * maps below hold indexes into it, so that a renewal never resets a counter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct lease);
} leases SEC(".maps");

/* Which sources have a lease, by hash, four bits each in one word: addresses of
 * IPv4, and /24 where there are prefixes; /64 and /48 of IPv6. Most packets are past
 * the leases with it. As much of a half is used as keeps it nearly empty: the less,
 * the better it stays in the cache. */
#define PREFILTER_BITS 24
#define PREFILTER_HALF (1 << (PREFILTER_BITS - 3)) /* bytes */
#define PREFILTER_NET (1ULL << 32)		   /* beside a /24, which no address is mistaken for then */
__u64 prefilter_words[1] SEC(".data.prefilter");   /* (set at load) two halves */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* (set at load) two halves */
} prefilter SEC(".maps");

/* The same of IPv4 prefixes that are too short for it: their /16. */
#define WIDE_WORDS (1 << 10)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * WIDE_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} wide4 SEC(".maps");

/* What signatures ask for, by shape and hash, a bit each. */
#define TARGETED_WORDS (1 << 10)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TARGETED_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} targeted SEC(".maps");

/* Single IPv4 sources, whatever they send; those whose set is full are in the one
 * beside it, and if that is full as well, in exact. As
 * many sets are used as the leases need, so that few stay in the cache: n sets are
 * those from n on. So those of twice as many are filled while packets read these. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) twice as many sets as leases need at most */
	__type(key, __u32);
	__type(value, struct listed4);
} listed SEC(".maps");

/* The lease of each way of listed; written by the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) as listed */
	__type(key, __u32);
	__type(value, struct lease_set);
} listed_leases SEC(".maps");

/* What each way of listed lost that was counted in other; written by the program, emptied
 * by the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) as listed */
	__type(key, __u32);
	__type(value, struct listed_count);
} listed_counts SEC(".maps");

/* Single sources → lease; not preallocated: an empty filter costs no memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, struct exact_key);
	__type(value, __u32);
} exact SEC(".maps");

/* Source prefixes → lease. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, struct prefix_key);
	__type(value, struct prefix_value);
} prefixes SEC(".maps");

/* Allowed sources and destinations → lease. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, struct prefix_key);
	__type(value, struct prefix_value);
} allowed SEC(".maps");

/* Signatures, dense from 0 to control.signatures. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SIGNATURES);
	__type(key, __u32);
	__type(value, struct signature);
} signatures SEC(".maps");

/* Sources seen established: in some window they sent TCP that only comes after a
 * handshake. Written by the drain, asked only when a limit on SYN matches, so
 * that it costs nothing on other packets. The oldest give way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct exact_key);
	__type(value, __u32);
} established SEC(".maps");

/* Buckets of rate-limit leases that name several destinations: one each. */
struct bucket_key {
	__u32 lease;
	__u32 generation; /* what was owed to another lease or rate is forgotten */
	struct address destination;
};
struct bucket {
	__u64 packet_time;
	__u64 byte_time;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct bucket_key);
	__type(value, struct bucket);
} buckets SEC(".maps");

/* The limit on any source: a bucket each. The oldest give way, and with them
 * whoever sends least. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct exact_key);
	__type(value, __u64);
} meters SEC(".maps");

/* Whom that limit leaves alone, whatever the leases say. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct prefix_key);
	__type(value, __u32);
} exempt SEC(".maps");
