/* SPDX-License-Identifier: MIT */
/* worker/core/kvfile.h - the file that holds the KV state of a host while the host is away.
 * libllama's sequence state is bytes without a head, and its readers may abort on others: so the
 * bytes get a head that says what they belong to, and a checksum that is compared before libllama
 * sees any. Blocking; any thread, one at a time per object. The file holds what people wrote: it is
 * made with mode 0600 in a directory that the worker keeps 0700, never under its final name before
 * it is whole, and it is unlinked the moment it is opened for reading: whatever happens while it is
 * used, no later start meets it again.
 *
 * The format, version 1. Integers are little-endian; texts are padded with NUL.
 *      0  magic "rmkvsave"           8      48  llama build             80
 *      8  format version             4     128  model hash, hex         64
 *     12  bytes of this head (416)   4     192  flags of the context   192
 *     16  bytes of the file          8     384  BLAKE2b-256 of the head with
 *     24  seconds since 1970, UTC    8          these 32 bytes as zero, then
 *     32  prefill, tokens/1000 s     8          of everything that follows
 *     40  sequences                  4     416  the sequences, used longest ago first
 *     44  zero                       4
 * A sequence: tokens 4, checkpoints 4, bytes of state 8; per checkpoint: tokens before it 4, zero
 * 4, bytes 8; the tokens, 4 each; the state; the checkpoints. Each of the last three parts and each
 * checkpoint begins at a multiple of 8. */
#ifndef RM_CORE_KVFILE_H
#define RM_CORE_KVFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum {
    KVFILE_VERSION = 1,
    KVFILE_POINTS_MAX = 16,
    KVFILE_SEQS_MAX = 64,
    KVFILE_WHY_MAX = 160,
    KVFILE_PROBE_MAX = 16 << 20, /* bytes; what kvfile_measure writes at most */
    KVFILE_PROBE_MIN = 1 << 20,
};

/* What the state belongs to: all of it must be equal. NUL-terminated. */
struct kvfile_identity {
    char llama[80];      /* version and content of the library */
    char model_hash[65]; /* 64 hex digits */
    char flags[192];     /* everything that shapes the KV memory */
};

struct kvfile_point {
    uint32_t at; /* tokens before it; ascending */
    uint64_t n;
    const uint8_t *bytes; /* reading only */
};

struct kvfile_seq {
    const int32_t *tokens;
    uint32_t n_tokens, n_points;
    uint64_t n_state;
    const uint8_t *state; /* reading only */
    struct kvfile_point points[KVFILE_POINTS_MAX];
};

/* ---- writing ---- */

struct kvfile_writer;

/* Bytes that the sequence takes in the file; those of the file are kvfile_head_bytes() and these.
 */
uint64_t kvfile_seq_bytes(const struct kvfile_seq *seq);
uint64_t kvfile_head_bytes(void);

struct kvfile_facts {
    double prefill_tps; /* measured by the core that saves */
    int64_t saved_s;    /* seconds since 1970, UTC */
    uint32_t n_seqs;
};

/* Makes PATH.tmp, with room on the disk for all `bytes` of the file. Returns 0, UV_ENOSPC,
 * UV_EFBIG, another libuv code. */
RM_MUST_USE int kvfile_begin(const char *path, const struct kvfile_identity *id,
                             const struct kvfile_facts *facts, uint64_t bytes,
                             struct kvfile_writer **out);

/* The next sequence: what seq says, without the bytes of state and checkpoints. Returns 0 or
 * RM_ERR_TOO_BIG: not announced. */
RM_MUST_USE int kvfile_put_seq(struct kvfile_writer *w, const struct kvfile_seq *seq);

/* Where the next n bytes go (state, then checkpoint by checkpoint); to be filled before the next
 * call. NULL: not announced. The memory belongs to the file's pages, not to the heap. */
uint8_t *kvfile_place(struct kvfile_writer *w, uint64_t n);

/* Writes out, and the file has its name. Frees w. Returns 0 or a libuv code; then nothing is left.
 */
RM_MUST_USE int kvfile_commit(struct kvfile_writer *w);
void kvfile_abandon(struct kvfile_writer *w); /* removes PATH.tmp, frees; NULL is fine */

/* ---- reading ---- */

struct kvfile; /* whole, checked, and already unlinked */

/* Opens PATH, unlinks it, compares identity and checksum. most_bytes: a larger file is refused.
 * Returns 0; UV_ENOENT: there is none; RM_ERR_FIELD: refused, with the reason in why
 * (KVFILE_WHY_MAX); a libuv code: could not be read, why is filled. */
RM_MUST_USE int kvfile_open(const char *path, const struct kvfile_identity *id, uint64_t most_bytes,
                            struct kvfile **out, char *why);
struct kvfile_facts kvfile_facts(const struct kvfile *f);

/* The next sequence, pointing into the file. False: there is none, or the lengths do not add up. */
bool kvfile_next(struct kvfile *f, struct kvfile_seq *seq);
void kvfile_close(struct kvfile *f); /* NULL is fine */

/* ---- the disk ---- */

/* Writes `bytes` (KVFILE_PROBE_MIN..MAX) beside PATH, flushes them, drops them from the page cache,
 * reads them, each with the checksum as a save and a restore do it, and removes them. Bytes per
 * second. Returns 0 or a libuv code. */
RM_MUST_USE int kvfile_measure(const char *path, uint64_t bytes, double *write_bps,
                               double *read_bps);

/* Of the file system PATH's directory is on. Returns 0 or a libuv code. */
RM_MUST_USE int kvfile_room(const char *path, uint64_t *free_bytes, uint64_t *all_bytes);

#endif
