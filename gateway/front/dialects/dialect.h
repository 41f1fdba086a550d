/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/dialect.h - what an API family does differently; freq.c does the
 * rest.
 * A dialect reads a request body into a dialect_ask, says which bytes go to a worker (whose API is
 * always OpenAI's), turns what comes back into what its clients expect, and words errors. One
 * struct dialect per endpoint; a new family is a new file in this folder and rows in front.c's
 * table. Everything here is pure: bytes in, slices out. Loop thread. */
#ifndef RM_FRONT_DIALECT_H
#define RM_FRONT_DIALECT_H

#include "gateway/front/fault.h"
#include "gateway/front/metrics.h"
#include "gateway/route/route.h"
#include "proto/base/buf.h"
#include "proto/base/json_skim.h"

enum { DIALECT_PIECES_MAX = 12 };

/* What a request says. Spans are offsets into the body as held, which stays in place. */
struct dialect_ask {
    bool stream, include_usage;
    bool has_model;           /* the body names a model, not empty */
    struct rm_span model;     /* its value, raw with quotes; with has_model */
    struct rm_span model_any; /* the value whatever it is (null, ""); len 0: no such member */
    struct {
        struct rm_span value; /* a token bound; len 0: none */
        uint64_t tokens;
    } bound[2];
    uint32_t open;        /* offset behind the root's '{': where a member can be put in */
    uint64_t prefix_key;  /* of the prompt's stable beginning; 0: none */
    uint64_t session_key; /* from the body; 0: none */
};

/* Where a stream's bytes go. */
struct dialect_sink {
    int (*put)(void *arg, struct rm_slice piece); /* queued; stays valid until flush or until the
                                                     fed bytes go */
    int (*flush)(void *arg);
    void *arg;
};

/* How far an answer is; read by freq.c. */
struct dialect_progress {
    bool answered;            /* a part of the answer has been given to the sink */
    bool done;                /* the dialect's end mark has */
    bool failed;              /* the worker's own error event has: nothing may follow */
    uint32_t events;          /* parts given, for engines that tell no usage */
    struct route_usage usage; /* as the worker told it, where believable */
};

struct dialect_stream; /* of one request; the dialect's own */

struct dialect {
    const char *name;                          /* for logs: "chat" */
    enum metrics_operation operation;          /* for metrics */
    const char *upstream;                      /* "/v1/chat/completions" */
    const char *stream_type;                   /* Content-Type of a stream */
    const char *whole_type;                    /* Content-Type of everything else */
    struct rm_slice stream_alive;              /* a sign of life between events */
    struct rm_slice alive_before, alive_after; /* what stands around a text that clients skip;
                                                  empty: there is no such thing. See alive.h */
    struct rm_slice whole_alive;               /* the same before a late whole answer */
    bool big_body;                             /* takes bodies up to gateway.body_max */

    /* Reads a body that the skimmer found well formed. body may be changed in place (members that
     * must not reach an engine are made blanks). Returns 0, or what it set in why. */
    int (*read)(struct rm_buf *body, const struct rm_skim *skim, struct rm_skim *scratch,
                struct dialect_ask *ask, struct fault *why);

    /* The bytes for a worker: pieces of body with the model's value replaced by model (raw JSON
     * string) when that is not empty, and bounds above context lowered to it. note: room for what
     * is not in the body, at least 64 bytes; both live as long as the call. Returns the number of
     * pieces, at most DIALECT_PIECES_MAX. */
    size_t (*pieces)(const struct dialect_ask *ask, struct rm_slice body, struct rm_slice model,
                     uint32_t context, char *note, struct rm_slice *pieces);

    /* A stream's filter. model: raw JSON string that every part shall carry; borrowed until close.
     * NULL: no memory. */
    struct dialect_stream *(*stream_open)(const struct dialect_ask *ask, struct rm_slice model);
    void (*stream_close)(struct dialect_stream *s);
    const struct dialect_progress *(*stream_progress)(const struct dialect_stream *s);

    /* Bytes from the worker; whole parts go to the sink. Returns 0, RM_ERR_UPSTREAM_INVALID
     * (damaged: everything good before it has been given), or the sink's error. */
    int (*stream_feed)(struct dialect_stream *s, const char *bytes, size_t n,
                       struct rm_skim *scratch, const struct dialect_sink *sink);

    /* A whole answer: checks it and returns its pieces. Returns 0 or RM_ERR_UPSTREAM_INVALID. */
    int (*whole)(const struct dialect_ask *ask, struct rm_slice body, struct rm_slice model,
                 struct rm_skim *scratch, struct rm_slice *pieces, size_t *n_pieces,
                 struct route_usage *usage);

    /* An error as a body, and as a part of a stream. Return as rm_buf_put. */
    int (*error_body)(const struct fault *f, struct rm_buf *out);
    int (*error_event)(const struct fault *f, struct rm_buf *out);
};

#endif
