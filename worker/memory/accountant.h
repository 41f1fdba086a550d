/* SPDX-License-Identifier: MIT */
/* worker/memory/accountant.h - what this folder answers for: how much memory the node has for
 * models, what a model will take (forecast.h), and who has to go when there is too little left
 * (guard.h). Here: facts to ONE budget, with nothing counted twice. Pure; facts.c does the reading.
 *
 *   MemTotal ── pools of huge pages ──► capped by the memory group's limit ──► "system"
 *   system [+ VRAM, where engines use the device] = total;  total - reserve = budget
 *
 * VRAM is memory that the kernel does not have (a card's own, or the firmware's carve-out of
 * unified memory), so it adds. GTT is a window into system memory, so it never adds: it only says
 * how much of the system part a device can reach. Swap and zram never add. */
#ifndef RM_MEMORY_ACCOUNTANT_H
#define RM_MEMORY_ACCOUNTANT_H

#include "proto/node/state.h"
#include "worker/memory/facts.h"

struct account_rules {
    uint64_t reserve; /* bytes kept free for others; 0: account_default_reserve() */
    bool use_vram;    /* engines put models on the devices: VRAM is theirs to use */
};

/* max(8 % of total, 6 GiB), but never more than half of total, so that a small machine can host
 * something. */
uint64_t account_default_reserve(uint64_t total);

/* Fills all of *out but `committed` and `refusing`. */
void account_make(const struct memory_facts *f, const struct account_rules *rules,
                  struct node_memory *out);

#endif
