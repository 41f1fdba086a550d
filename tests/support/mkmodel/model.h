/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/model.h - one GGUF model from the options: metadata, tensors, file. */
#ifndef RM_MKMODEL_MODEL_H
#define RM_MKMODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>

struct options;

/* What was written, for the line that main.c prints. */
struct model_summary {
    uint32_t vocab, merges, pieces; /* pieces: tokens of the script, 0 without one */
    uint64_t tensors, params;
};

/* Writes o->out. Returns 0, or -1 and one line in `why`; a file that could not be finished is
 * removed. */
int model_write(const struct options *o, struct model_summary *sum, char *why, size_t n_why);

#endif
