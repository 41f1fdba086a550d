/* SPDX-License-Identifier: MIT */
/* worker/pull/pieces.h - which bytes of a file that is being fetched are there already.
 * Kept in a small file beside the data (NAME.part.map) that is mapped into memory: a note is a
 * memory write, so that it outlives the process whatever kills it, and what was fetched is not
 * fetched again. (After a power cut the notes may be ahead of the data; the checksum at the end
 * finds that.) The file is divided into pieces; every piece is filled from its beginning, by one
 * connection at a time. One process per file (flock). One thread. */
#ifndef RM_PULL_PIECES_H
#define RM_PULL_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum { PIECES_TAG = 32, PIECES_MAX = 1 << 20 };

struct pieces;

/* Opens or makes the map at path.
 * tag    32 bytes that stand for what is fetched (source, size, version): a map of another tag is
 *        begun anew, *fresh says so
 * bytes  of the whole file, at least 1; piece_bytes: at least 1; at most PIECES_MAX pieces
 * Returns 0, UV_EBUSY (another process fetches this file), UV_EFBIG (too many pieces), another
 * libuv code. */
RM_MUST_USE int pieces_open(const char *path, const unsigned char tag[PIECES_TAG], uint64_t bytes,
                            uint32_t piece_bytes, bool *fresh, struct pieces **out);
void pieces_close(struct pieces *p); /* the map stays; NULL is fine */

struct pieces_range {
    uint32_t piece;
    uint64_t at, n; /* bytes that are missing of it */
};

/* Gives the first piece that is not whole and that nobody has claimed. False: there is none. */
bool pieces_claim(struct pieces *p, struct pieces_range *out);

/* n more bytes of a claimed piece are in the data file. n is cut at the piece's end; returns how
 * many were taken. */
uint64_t pieces_add(struct pieces *p, uint32_t piece, uint64_t n);

/* Nobody works on it any more, whole or not. */
void pieces_release(struct pieces *p, uint32_t piece);

/* Forgets everything: the data are no good. */
void pieces_forget(struct pieces *p);

uint64_t pieces_there(const struct pieces *p); /* bytes */
bool pieces_whole(const struct pieces *p);

#endif
