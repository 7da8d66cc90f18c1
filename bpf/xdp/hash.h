/* SPDX-License-Identifier: GPL-2.0 */
/* The keyed hash of the tables: multiply and fold, seeded at load. */
#pragma once

#include "consts.h"
#include "types.h"

/* A shift by as many bits as the lowest six of n say; so the instruction is defined (RFC
 * 9669, 4.1), where C leaves it open and the compiler would mask n first. */
static __always_inline __u64 shifted(__u64 x, __u64 n)
{
	asm volatile("%0 >>= %1" : "+r"(x) : "r"(n));
	return x;
}

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 32;
	x *= 0x9fb21c651e98df25ULL;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	return x;
}

#define SLOT_SALT 0x9e3779b97f4a7c15ULL /* times the interface's number */

/* Of a source of IPv6. Of those that have an upper half alone, and that is all that are not
 * on the link, no two have the same hash; nor has anyone without the seed a way to choose two
 * others that do. */
static __always_inline __u64 hash6(__u64 upper, __u64 lower, __u64 slot)
{
	__u64 x = upper + CONSTANT(64, seed);

	if (lower)
		x = mix(x) ^ lower;
	return mix(x ^ (slot + MAX_SLOTS) << 56); /* so that it is not that of an address of IPv4 */
}

/* Of a source of IPv4, on whatever interface. */
static __always_inline __u64 hash4(__u64 address)
{
	return mix(address + CONSTANT(64, seed));
}
