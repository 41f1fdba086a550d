/* SPDX-License-Identifier: MIT */
/* worker/memory/accountant.h - what this folder answers for: how much memory the node has for
 * models, what a model will take (forecast.h), and who has to go when there is too little left
 * (guard.h). Here: facts to ONE budget, with nothing counted twice. Pure; facts.c does the reading.
 *
 *   MemTotal ── pools of huge pages ──► capped by the memory group's limit ──► "system"
 *   system + VRAM that the engine can use = total;  total - reserve = budget
 *
 * VRAM is memory that the kernel does not have (a card's own, or the firmware's carve-out of
 * unified memory), so it adds; but only for a device in the engine's own list. GTT is a window into
 * system memory, so it never adds: it only says how much of the system part a device can reach.
 * Swap and zram never add. */
#ifndef RM_MEMORY_ACCOUNTANT_H
#define RM_MEMORY_ACCOUNTANT_H

#include "proto/node/state.h"
#include "worker/memory/facts.h"

struct account_rules {
    uint64_t reserve; /* bytes kept free for others; 0: account_default_reserve() */
    const struct node_devices *devices; /* the engine's; NULL: not known, so none */
};

/* What the kernel may give out: the memory group's limit, or all but the pools of huge pages. */
uint64_t account_system(const struct memory_facts *f);

/* The VRAM that counts. Of a device that the kernel or NVML describes: what it says, when the
 * engine lists that device (by PCI address where both tell it, else any device of its own or
 * integrated), and for one with memory of its own at most what the engine sees. A device that only
 * the engine describes counts as it says when it has memory of its own (ggml's kind "gpu"), once
 * however many backends list it: without addresses those of the first such backend alone. One whose
 * memory is as large as all of MemTotal is that memory: nothing. */
uint64_t account_vram(const struct memory_facts *f, const struct node_devices *devices);

/* max(8 % of total, 6 GiB), but never more than half of total, so that a small machine can host
 * something. */
uint64_t account_default_reserve(uint64_t total);

/* What our engines hold, all together. */
struct account_use {
    uint64_t system;    /* anonymous and shared memory: what the kernel cannot drop; mapped weights
                           are not in it, since `available` counts them as well */
    uint64_t vram, gtt; /* as measured (measure.h) */
    uint64_t device;    /* of those not measured yet: on devices, by their forecast; VRAM is taken
                           first */
};

/* Bytes in use by anything else: what is not available of system memory, and the VRAM that counts,
 * less what is ours. Our parts are never more than what is in use, so that a reading which is a
 * second old makes nothing negative. */
uint64_t account_others(const struct node_memory *m, const struct account_use *ours);

/* Fills all of *out but `committed`, `others` and `refusing`. */
void account_make(const struct memory_facts *f, const struct account_rules *rules,
                  struct node_memory *out);

#endif
