/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/options.h - the command line of the test-model generator.
 * One struct holds every choice; options.c reads `key=value` words into it through a table, which
 * is also the text of --help. One thread. */
#ifndef RM_MKMODEL_OPTIONS_H
#define RM_MKMODEL_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

/* What an architecture is made of; several may be set. */
enum arch_trait {
    ARCH_MOE = 1 << 0,       /* experts instead of one feed-forward block */
    ARCH_QK_NORM = 1 << 1,   /* RMS norms on the heads of Q and K */
    ARCH_HEAD_DIM = 1 << 2,  /* writes attention.key_length and value_length */
    ARCH_POST_NORM = 1 << 3, /* post_attention_norm */
    ARCH_FFN_NORM = 1 << 4,  /* ffn_norm (the others use the post-attention norm) */
    ARCH_SWA = 1 << 5,       /* some layers see a sliding window only */
    ARCH_OSS = 1 << 6,       /* gpt-oss: biases and attention sinks */
    ARCH_GEMMA = 1 << 7,     /* gemma3: post_ffw_norm */
    ARCH_MLA = 1 << 8,       /* deepseek2: latent attention, shared expert */
    ARCH_MAMBA = 1 << 9,     /* recurrent layers only */
    ARCH_HYBRID = 1 << 10,   /* qwen35: gated delta net, every fourth layer attends */
};

struct arch {
    const char *name;  /* general.architecture */
    unsigned traits;   /* enum arch_trait */
    uint32_t layers;   /* default: the smallest number that has every kind of layer */
    const char *about; /* for --help */
};

struct options {
    const struct arch *arch;
    const char *out; /* file to write */
    uint32_t layers, embd, heads, kvheads, headdim, ff, experts, used, vocab, ctx, swa, seed;
    uint32_t tied, loop; /* 0 or 1 */
    const char *type;    /* of the matrices: f32 f16 q8_0 q4_0 q4_K */
    const char *name;    /* general.name */
    const char *tmpl;    /* chatml hermes think */
    const char *script;  /* NULL: random weights; owned when it came from a file */
    char *script_file;   /* text read for script=@FILE, freed by options_clear */
};

extern const struct arch arch_table[]; /* ends with a row whose name is NULL */

/* Reads argv[1..]. Returns 0; otherwise 1 (help was printed to stdout) or -1, and *why then says
 * what is wrong in one line (`why` has n_why bytes). Strings of argv are borrowed. */
int options_parse(int argc, char **argv, struct options *o, char *why, size_t n_why);
void options_clear(struct options *o);
void options_help(FILE *to);

#endif
