//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/* Gives every packet of a test run another source, then runs the program under
 * test on it. BPF_PROG_TEST_RUN alone repeats one packet, which flatters every
 * cache; the cost of this program is measured and subtracted. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

/* Where in the frame the four bytes that vary are. */
volatile const __u32 offset = 26;
/* Write the four bytes before it as well, in one piece: half an IPv6 address is read so, and
 * a load that spans a store right before it waits, as it does of no frame from a NIC. */
volatile const __u32 whole = 0;
/* Those four bytes, as they stand there. */
volatile const __u32 before = 0;
/* Instead of running the subject, send live frames out of this interface. */
volatile const __u32 out = 0;
/* The sum of the IPv4 header's other words, for a checksum that the stack takes. */
volatile const __u32 other_words = 0;

/* The sources are numbers first to first + count - 1. */
__u32 first = 1;
__u32 count = 1;
__u32 next = 0;
__u64 state = 1;
/* Packets handed to the subject. */
__u64 sent = 0;

/* A bijection, so that n numbers are n addresses, spread over all of IPv4. Go's
 * Address does the same. */
static __always_inline __u32 scatter(__u32 x)
{
	x ^= x >> 16;
	x *= 0x85ebca6b;
	x ^= x >> 13;
	x *= 0xc2b2ae35;
	x ^= x >> 16;
	return x;
}

/* The checksum stands right before the source. */
static __always_inline void seal(void *source, __u32 address)
{
	__u32 sum = other_words + (address & 0xffff) + (address >> 16);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*(__u16 *)(source - 2) = ~sum;
}

static __always_inline int hand_over(struct xdp_md *ctx, __u32 number)
{
	void *data = (void *)(long)ctx->data;
	__u32 address = bpf_htonl(scatter(first + number));

	if (data + offset + 4 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (whole)
		*(__u64 *)(data + offset - 4) = (__u64)address << 32 | before;
	else
		*(__u32 *)(data + offset) = address;
	sent++;
	if (out) {
		seal(data + offset, address);
		return bpf_redirect(out, 0);
	}
	bpf_tail_call(ctx, &subject, 0);
	return XDP_ABORTED; /* there is no subject */
}

/* A source at random. */
SEC("xdp")
int pick(struct xdp_md *ctx)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return hand_over(ctx, (state >> 32) * count >> 32);
}

/* One source after the other. */
SEC("xdp")
int walk(struct xdp_md *ctx)
{
	__u32 number = next;

	next = number + 1 < count ? number + 1 : 0;
	return hand_over(ctx, number);
}

char _license[] SEC("license") = "GPL";
