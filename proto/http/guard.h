/* SPDX-License-Identifier: MIT */
/* proto/http/guard.h - the strict reader in front of llhttp: raw head blocks and raw chunk lines.
 * It sees every framing byte before llhttp does and refuses what RFC 9112 leaves to the reader's
 * courage: a CR or LF alone, NUL and other controls, folded lines (section 5.2), names that are no
 * token (5.1), other versions than 1.0 and 1.1, chunk sizes of more than 16 digits, whitespace
 * around a chunk size, chunk extensions outside the grammar of 7.1.1, and everything over its
 * limit. Pure and incremental: the verdict does not depend on how the bytes were cut. It keeps
 * counts only, no bytes. parser.c is its only user; its states are in guard.c. */
#ifndef RM_HTTP_GUARD_H
#define RM_HTTP_GUARD_H

#include "proto/http/parser.h"

/* Chunk extensions of one message together, bytes: they are read, bounded and dropped. */
enum { HTTP_GUARD_EXT_BYTES = 4096, HTTP_GUARD_METHOD_BYTES = 32 };

struct http_guard {
    const struct http_limits *limits; /* borrowed */
    uint8_t role;                     /* enum http_role */
    uint8_t state;                    /* enum in guard.c */
    uint8_t at;                       /* position inside a fixed text or number */
    bool trailer;                     /* the field block after a last chunk */
    bool outer_blanks;                /* a value had blanks after it */
    uint8_t major, minor;
    uint16_t status;      /* responses */
    uint32_t n_fields;    /* complete fields of this block */
    uint32_t name, value; /* bytes of the name and value being read */
    uint32_t blanks;      /* blanks at the end of that value, so far */
    uint32_t block;       /* bytes of this block */
    uint32_t word;        /* bytes of the method or target */
    uint32_t ext;         /* bytes of chunk extensions */
    uint64_t chunk;       /* size being read, then bytes of data left */
    uint64_t body;        /* sizes of all chunks so far */
};

void http_guard_init(struct http_guard *g, enum http_role role, const struct http_limits *limits);

/* Reads head bytes, start line first. *used: bytes read. Returns 0 (all read, more wanted),
 * RM_AGAIN (the blank line was read), RM_ERR_HTTP_SYNTAX, _VERSION, _TARGET or _FIELDS. */
RM_MUST_USE int http_guard_head(struct http_guard *g, const char *bytes, size_t n, size_t *used);

/* After the head of a chunked message: the next bytes are its body. */
void http_guard_start_chunks(struct http_guard *g);

/* Reads body bytes in chunked coding and stops after the data of one chunk at the latest, so that
 * the caller may pause there. body_max: most data bytes of the whole message. *used: bytes read;
 * on an error the good bytes before the bad one. *dropped: they are chunk extensions or
 * trailers, which end here: no reader after the guard sees them. Returns 0, RM_AGAIN (the message
 * has ended), RM_ERR_HTTP_SYNTAX, RM_ERR_HTTP_FIELDS (trailers) or RM_ERR_BODY_TOO_LARGE. */
RM_MUST_USE int http_guard_chunks(struct http_guard *g, const char *bytes, size_t n,
                                  uint64_t body_max, size_t *used, bool *dropped);

#endif
