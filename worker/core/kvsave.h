/* SPDX-License-Identifier: MIT */
/* worker/core/kvsave.h - the KV memory's cached sequences to a file, and back into a KV memory made
 * with the same model, build and flags. kvplan.h decides which ones, kvfile.h has the format.
 * Decode thread only (as errands of the decoder); kvdisk.h has the loop's side.
 *
 * What is saved of a sequence is exactly what kvcache.c keeps of it, so the rules of prefix.h hold
 * for a restored one as for the one that was saved:
 *   plain attention    tokens and cells; a sequence that another one holds whole is left out
 *   sliding window     the same, with the window's cells as they are, and the checkpoints: a prompt
 *                      that leaves the saved one before its end needs them
 *   recurrent, hybrid  tokens, cells if any, the state at the end, and the checkpoints
 * Nothing is cut or derived: a restored sequence is what it was, or it is not there. */
#ifndef RM_CORE_KVSAVE_H
#define RM_CORE_KVSAVE_H

#include "worker/core/kvfile.h"
#include "worker/core/kvplan.h"

struct kvcache;

struct kvsave_order {
    const char *path;
    const struct kvfile_identity *identity;
    uint64_t most_bytes, budget_ms;
    double prefill_tps;                 /* measured now; 0: not */
    double earlier_prefill_tps;         /* of the file that was restored; 0: none */
    const struct kvplan_speeds *speeds; /* taken as they are; NULL: measured. For tests */
};

struct kvsave_report {
    bool done;              /* saved, or restored */
    uint32_t sequences, of; /* of those that held something */
    uint64_t tokens, bytes, ms;
    struct kvplan_speeds speeds; /* saving only */
    char why[KVFILE_WHY_MAX];    /* not done: the reason; "" when there is nothing to be said */
};

/* Saves what is worth it; an older file of the name is replaced, or removed when nothing is. */
void kvsave_write(struct kvcache *kv, const struct kvsave_order *order, struct kvsave_report *out);

/* Fills empty sequences from a file that was checked already. What does not fit is left out. */
void kvsave_read(struct kvcache *kv, struct kvfile *f, struct kvsave_report *out);

#endif
