/* SPDX-License-Identifier: GPL-2.0 */
/* Load-time constants, set by the probe before the program is loaded; the
 * verifier removes the branches that they switch off. */
#pragma once

#include <linux/types.h>

/* Reads one of them. Its address is loaded right before, for this alone: so the probe
 * can write the value into the program in place of both (constants.go). */
#define CONSTANT(bits, name)                                                                                           \
	({                                                                                                             \
		__u64 constant_value;                                                                                  \
		asm volatile("%0 = " #name " ll\n%0 = *(u" #bits " *)(%0 + 0)" : "=r"(constant_value));                \
		constant_value;                                                                                        \
	})

/* Reads what an array of the section of that name has first, at this offset; where the probe
 * makes it what it has for the interface (constants.go). */
#define OF_SLOT(section, offset)                                                                                       \
	({                                                                                                             \
		__u64 of_slot_value;                                                                                   \
		asm volatile("%0 = " #section " ll\n%0 = *(u32 *)(%0 + %1)" : "=r"(of_slot_value) : "i"(offset));      \
		(__u32) of_slot_value;                                                                                 \
	})

/* The interface's number: one copy of the program is loaded per interface. */
volatile const __u32 slot_id = 0;
/* Possible CPUs: the stride of the tables. */
volatile const __u32 cpus = 1;
/* Sets per family, epoch and CPU, a power of two. */
volatile const __u32 sets = 1 << 15;
/* The bits that there are of where in them a set begins, in bytes: that number says so as
 * well, but for a packet that is dropped at once it is quicker to read than to reckon. */
volatile const __u64 set_bits = 0;
/* The program takes frames that are spread over several buffers. */
volatile const __u8 frags = 0;
/* Seed of the keyed hash: an attacker who does not know it cannot aim at a set. */
volatile const __u64 seed = 0;
/* What tells hashes of one interface's sources of IPv4 from those of another. */
volatile const __u64 slot_salt = 0;
/* What a packet costs of what any source may send, in 1/16 ns; 0: no such limit. */
volatile const __u64 source_limit = 0;
/* Drop everything that is not IPv4 or IPv6, as the K-ONE program did. */
volatile const __u8 strict = 0;
/* TCX: the interface has no link layer, its packets begin with the IP header. */
volatile const __u8 bare_ip = 0;
/* Count off-link IPv6 sources by their upper 64 bits. */
volatile const __u8 group_off_link = 1;
