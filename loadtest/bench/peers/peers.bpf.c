//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/* What Weir is measured against: the floor of each step, and plain re-creations
 * of the designs that others use. Each does no more than its name says, so that
 * it is as fast as its design can be. All count packets and bytes per source. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define WAYS 4	 /* records per set: one cache line */
#define BATCH 32 /* packets whose cache misses overlap */

struct value {
	__u64 packets;
	__u64 bytes;
};

struct way {
	__u32 source;
	__u32 packets;
	__u64 bytes;
};

struct set {
	struct way way[WAYS];
};

struct waiting {
	__u32 source;
	__u32 set;
	__u32 length;
	__u32 pad;
};

struct batch {
	struct waiting at[BATCH];
	__u32 n;
	__u32 touched;
	struct value other; /* packets whose set was full */
};

/* Set at load: sets per CPU, a power of two, and the seed of the hash. */
volatile const __u32 sets_per_cpu = 1;
volatile const __u64 seed = 1;

/* Mapped only so that a set is one cache line: such maps begin on a page. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* (set at load) cpus * sets_per_cpu */
	__type(key, __u32);
	__type(value, struct set);
} sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct batch);
} batches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct value);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* (set at load) */
	__type(key, __u32);
	__type(value, __u32);
} blocked SEC(".maps");

/* The IPv4 source behind at most two VLAN tags; 0 for everything else. */
static __always_inline __u32 source_of(struct xdp_md *ctx, __u32 *length)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u16 type;

	*length = end - at;
	if (at + 14 > end)
		return 0;
	type = *(__u16 *)(at + 12);
	at += 14;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != bpf_htons(0x8100) && type != bpf_htons(0x88a8))
			break;
		if (at + 4 > end)
			return 0;
		type = *(__u16 *)(at + 2);
		at += 4;
	}
	if (type != bpf_htons(0x0800) || at + 20 > end || *(__u8 *)at >> 4 != 4)
		return 0;
	return *(__u32 *)(at + 12);
}

static __always_inline __u32 set_of(__u32 source)
{
	__u64 x = source + seed;

	x *= 0x9fb21c651e98df25ULL;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93ULL;
	return bpf_get_smp_processor_id() * sets_per_cpu + (x >> 40 & (sets_per_cpu - 1));
}

static __always_inline void add(struct set *s, __u32 source, __u32 length, struct value *other)
{
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		struct way *w = &s->way[i];

		if (w->source != source) {
			if (w->source)
				continue;
			w->source = source;
		}
		w->packets++;
		w->bytes += length;
		return;
	}
	other->packets++;
	other->bytes += length;
}

/* The first loop's loads do not depend on one another, so the CPU waits for all
 * of them at once. */
static __always_inline void flush(struct batch *b)
{
	__u32 touched = 0;
	struct set *s;

	for (int i = 0; i < BATCH; i++) {
		s = bpf_map_lookup_elem(&sets, &b->at[i].set);
		if (s)
			touched += *(volatile __u32 *)&s->way[0].source;
	}
	b->touched = touched;
	for (int i = 0; i < BATCH; i++) {
		s = bpf_map_lookup_elem(&sets, &b->at[i].set);
		if (s)
			add(s, b->at[i].source, b->at[i].length, &b->other);
	}
}

static __always_inline struct batch *this_batch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&batches, &zero);
}

/* What the measuring itself costs. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int parse(struct xdp_md *ctx)
{
	__u32 length, source = source_of(ctx, &length);

	return source + length == 1 ? XDP_PASS : XDP_DROP; /* uses both */
}

/* One record in one cache line, looked for at once. */
SEC("xdp")
int flat(struct xdp_md *ctx)
{
	__u32 length, source = source_of(ctx, &length), at;
	struct batch *b = this_batch();
	struct set *s;

	if (!source || !b)
		return XDP_PASS;
	at = set_of(source);
	s = bpf_map_lookup_elem(&sets, &at);
	if (s)
		add(s, source, length, &b->other);
	return XDP_PASS;
}

/* The floor: the same, 32 packets together. */
SEC("xdp")
int flat_batch(struct xdp_md *ctx)
{
	__u32 length, source = source_of(ctx, &length), n;
	struct batch *b = this_batch();

	if (!source || !b)
		return XDP_PASS;
	n = b->n & (BATCH - 1);
	b->at[n].source = source;
	b->at[n].set = set_of(source);
	b->at[n].length = length;
	b->n = n + 1;
	if (n == BATCH - 1)
		flush(b);
	return XDP_PASS;
}

/* The design of most programs that count per source. */
SEC("xdp")
int lru_percpu(struct xdp_md *ctx)
{
	__u32 length, source = source_of(ctx, &length);
	struct value *v, fresh = {};

	if (!source)
		return XDP_PASS;
	v = bpf_map_lookup_elem(&lru, &source);
	if (!v) {
		bpf_map_update_elem(&lru, &source, &fresh, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&lru, &source);
		if (!v)
			return XDP_PASS;
	}
	v->packets++;
	v->bytes += length;
	return XDP_PASS;
}

/* K-ONE's design: a hash of blocked sources, and one of counters that all CPUs share. */
SEC("xdp")
int kone(struct xdp_md *ctx)
{
	__u32 length, source = source_of(ctx, &length);
	struct value *v, fresh = {};

	if (!source)
		return XDP_DROP;
	if (bpf_map_lookup_elem(&blocked, &source))
		return XDP_DROP;
	v = bpf_map_lookup_elem(&hash, &source);
	if (!v) {
		bpf_map_update_elem(&hash, &source, &fresh, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&hash, &source);
		if (!v)
			return XDP_PASS;
	}
	__sync_fetch_and_add(&v->packets, 1);
	__sync_fetch_and_add(&v->bytes, length);
	return XDP_PASS;
}

/* The least that a program on an interface can do. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

#define TCX_NEXT -1 /* older headers lack it */

/* The same at TCX. The section's name is one that kernels without TCX take too. */
SEC("tc")
int next(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

char _license[] SEC("license") = "GPL";
