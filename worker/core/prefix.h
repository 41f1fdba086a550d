/* SPDX-License-Identifier: MIT */
/* worker/core/prefix.h - which cached sequence a prompt may continue, and from where. Pure.
 * A wrong cache is a wrong answer, so the rules are those that were measured against cold runs:
 *   plain attention    any common prefix may be kept; the rest is removed
 *   sliding window     layers with a window have dropped old cells, although the memory reports
 *                      success when a tail is removed: keeping `keep` tokens is right only if the
 *                      oldest cell is at or before keep - n_swa; else a checkpoint of the window
 *                      cells must be restored. The last n_swa - 1
 *                      cells are always there, so a sequence that is kept whole needs nothing
 *   recurrent, hybrid  the state cannot go back: all of the sequence is kept, or a checkpoint is
 *                      restored
 * At least the prompt's last token is always decoded again, for its logits. */
#ifndef RM_CORE_PREFIX_H
#define RM_CORE_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum prefix_kind { PREFIX_ATTENTION, PREFIX_WINDOW, PREFIX_STATE };

/* One sequence of the KV memory, as far as the choice needs it. */
struct prefix_source {
    const int32_t *tokens; /* what the sequence holds, n of them; position i holds token i */
    uint32_t n;
    int32_t pos_min; /* llama_memory_seq_pos_min: oldest cell of every layer; -1: empty */
    const uint32_t *checkpoints; /* positions (number of tokens before), ascending */
    uint32_t n_checkpoints;
    bool busy;          /* a job runs on it: may be copied, not taken over */
    uint64_t last_used; /* any rising number */
};

struct prefix_hit {
    uint32_t keep;  /* tokens that need not be decoded again; 0: none */
    int checkpoint; /* index of the checkpoint to restore first, -1: none */
};

/* Length of the common beginning. */
uint32_t prefix_common(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b);

/* What `source` gives for the prompt (n_prompt >= 1 tokens). n_swa: llama_model_n_swa. */
struct prefix_hit prefix_match(enum prefix_kind kind, uint32_t n_swa,
                               const struct prefix_source *source, const int32_t *prompt,
                               uint32_t n_prompt);

/* The best source: longest hit, then an idle one, then the one used last. Returns its index, or -1
 * and an empty hit. */
int prefix_choose(enum prefix_kind kind, uint32_t n_swa, const struct prefix_source *sources,
                  uint32_t n_sources, const int32_t *prompt, uint32_t n_prompt,
                  struct prefix_hit *hit);

/* The idle sequence that the job shall run on: the source itself when most of it is kept, else an
 * empty one, else the one unused longest. from: from prefix_choose, -1: none. Returns -1 when all
 * are busy. */
int prefix_place(const struct prefix_source *sources, uint32_t n_sources, int from, uint32_t keep);

/* Where the next prefill chunk should end so that a checkpoint can be taken, given `done` tokens of
 * n_prompt; n_prompt if none is wanted. The last stop is before the last token, where the same
 * prompt would continue. */
uint32_t prefix_next_stop(enum prefix_kind kind, uint32_t done, uint32_t n_prompt);

/* The checkpoint to drop when there are too many: the one whose loss leaves the smallest gap; never
 * the last. n >= 2. */
uint32_t prefix_thin(const uint32_t *checkpoints, uint32_t n);

#endif
