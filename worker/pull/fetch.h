/* SPDX-License-Identifier: MIT */
/* worker/pull/fetch.h - one file from a web server to the disk: in parallel ranges, resumed after
 * anything, checked before it gets its name.
 *
 *   probe ──► room on the disk? ──► ranges ──► all there? ──► SHA-256 ──► synced, renamed
 *    size, version of the source      │ ▲ a connection failed: again, later and later
 *                                     ▼ │ FETCH_TRIES in a row without a byte: the end, resumable
 *
 * The data lie in NAME.part, the notes in NAME.part.map (pieces.h), until the file is whole; NAME
 * itself is never there half. A source that changed while we were at it (size, ETag) is begun anew.
 * A server without ranges is read in one go. Another node is asked for the file's SHA-256, which it
 * makes while we read (Want-Repr-Digest, RFC 9530). Blocking, for a process of its own. One thread.
 */
#ifndef RM_PULL_FETCH_H
#define RM_PULL_FETCH_H

#include <signal.h>

#include "worker/pull/source.h"

enum {
    FETCH_CONNECTIONS_MAX = 16,
    FETCH_PIECE_BYTES = 8 * 1024 * 1024,
    FETCH_TRIES = 8,
    FETCH_STALL_S = 30, /* a connection that gives nothing for so long is dropped */
    FETCH_CHANGES = 3   /* times a source may change while it is read */
};

enum fetch_phase { FETCH_READING, FETCH_CHECKING };

struct fetch_progress {
    const char *name;
    enum fetch_phase phase;
    uint64_t there, total; /* bytes read or checked */
    uint64_t fetched;      /* bytes that came over the network, in this run */
    double rate;           /* bytes a second, lately */
};

struct fetch_conf {
    const char *dir;          /* the models directory */
    unsigned connections;     /* 1..FETCH_CONNECTIONS_MAX */
    uint64_t keep_free_bytes; /* room that must be left on the disk */
    uint64_t rate_max;        /* bytes a second in all; 0: no limit */
    bool node;             /* another node's worker: no proxy, no redirects; it says the SHA-256 */
    const char *unix_path; /* node: of its socket; "" or NULL: TCP */
    const char *token;     /* sent as a bearer to the source's own host, over TLS or to this
                              machine only; NULL: none */
    const volatile sig_atomic_t *stop;                              /* becomes 1: end soon */
    void (*on_progress)(void *arg, const struct fetch_progress *p); /* some times a second */
    void *arg;
};

enum fetch_end {
    FETCH_DONE,
    FETCH_THERE_ALREADY, /* a file of that name and size */
    FETCH_STOPPED,       /* by `stop`: may be gone on with */
    FETCH_FAILED,        /* may be tried again: what is there is kept */
    FETCH_WRONG, /* will fail again: refused by the server, bad checksum, another file there */
    FETCH_NO_ROOM
};

struct fetch_result {
    uint64_t fetched; /* bytes that came over the network */
    char sha256[65];  /* checked; "": nobody said what it shall be */
};

/* why: SOURCE_WHY_MAX bytes, one line for people, also for THERE_ALREADY. */
enum fetch_end fetch_file(const struct fetch_conf *conf, const struct source_file *file, char *why,
                          struct fetch_result *result);

/* Reads a small document (a list of files). Returns 0, or RM_ERR_UPSTREAM with why, RM_ERR_TOO_BIG,
 * UV_ENOMEM. */
RM_MUST_USE int fetch_text(const struct fetch_conf *conf, const char *url, struct rm_buf *out,
                           char *why);

#endif
