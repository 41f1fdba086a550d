/* SPDX-License-Identifier: MIT */
/* proto/node/ledger.h - the answer of GET /node/v1/ledger: what a worker forecast for its hosts and
 * what it then measured. Plain data with encoder and decoder in the order of PROTOCOL.md; the rules
 * are in worker/memory/ledger.h. No I/O. */
#ifndef RM_NODE_LEDGER_H
#define RM_NODE_LEDGER_H

#include "proto/node/state.h"

enum { LEDGER_DEPTHS = 6, LEDGER_FLAGS_MAX = 64, LEDGER_BUILD_MAX = 48, LEDGER_PAGE_MAX = 100 };

/* Where the buckets of depth begin, in tokens that a sequence holds already: 0, 1 Ki, 4 Ki, 16 Ki,
 * 64 Ki, 256 Ki. Shared by the core, which counts, and the ledger, which keeps. */
extern const uint32_t ledger_depths[LEDGER_DEPTHS];

/* The same model file, flags and engine: what was measured once holds again. */
struct ledger_key {
    char model_hash[65]; /* as in node_host */
    uint32_t context;    /* tokens per slot as wanted; 0: the model's own */
    uint32_t slots;
    char kv[8];
    char flags[LEDGER_FLAGS_MAX]; /* of ledger_flags() */
    char build[LEDGER_BUILD_MAX]; /* rolemesh's version, "/", llama.cpp's version */
};

/* What one engine process took at one moment; all 0: not measured. */
struct ledger_bytes {
    uint64_t system; /* PSS plus what of it is swapped out; see worker/memory/measure.h */
    uint64_t vram;   /* memory of devices */
    uint64_t gtt;    /* system memory that devices have mapped, not in `system` */
};

/* Decode calls at one depth, sums over all engines of the row. */
struct ledger_speed {
    uint64_t prefill_tokens, prefill_us; /* calls that read one prompt and did nothing else */
    uint64_t decode_tokens, decode_us;   /* calls that read none; tokens of one stream */
};

struct node_ledger_row {
    uint64_t id; /* 1 and up, since the worker's start; rises with every new row; pages go by it */
    struct ledger_key key;
    char model[NODE_NAME_MAX];  /* the role map's name at the last load */
    uint64_t predicted;         /* bytes, without the ledger, at the last load; 0: unknown */
    uint64_t compute;           /* of them, buffers of the computation */
    bool estimated;             /* from the file's header only: not in the errors */
    struct ledger_bytes loaded; /* when the engine was ready */
    struct ledger_bytes full;   /* when a slot was first full */
    struct ledger_bytes peak;   /* the most ever seen */
    uint32_t batch;             /* tokens that a decode call may take */
    uint32_t batch_most;        /* the most that one had taken when the peak was measured */
    bool all_full;              /* all slots were once full together */
    uint64_t expected;          /* bytes that the next forecast gives */
    bool measured;              /* `expected` comes from measurements */
    uint32_t loads;             /* that became ready */
    uint64_t cold_ms, warm_ms;  /* start to ready; moving averages; 0: none of that kind yet */
    uint64_t first_s, last_s;   /* wall clock: first and last change */
    struct ledger_speed speed[LEDGER_DEPTHS];
};

/* How far predictions were off, over the rows with `full` that are not estimated: |predicted / peak
 * - 1|. */
struct node_ledger_errors {
    uint32_t count;
    double p50, p90, worst;
    uint32_t low; /* predictions below the peak */
};

struct node_ledger {
    char node[NODE_NAME_MAX];
    bool usable;                      /* the file can be written */
    uint64_t lost;                    /* writes that did not reach the file */
    uint64_t next;                    /* ask again with after=next; 0: that was all */
    struct node_ledger_errors errors; /* of all rows, not only of this page */
    uint32_t n;
    struct node_ledger_row *rows; /* owned when decoded; at most LEDGER_PAGE_MAX */
};

uint64_t ledger_bytes_sum(const struct ledger_bytes *b);

/* Peak and prediction of a row as a ratio (predicted / peak). False: the row does not count. */
bool node_ledger_ratio(const struct node_ledger_row *r, double *out);

/* Over rows; p50 and p90 by nearest rank. scratch: room for n numbers. */
void node_ledger_errors_of(const struct node_ledger_row *rows, uint32_t n, double *scratch,
                           struct node_ledger_errors *out);

/* Parts of the message as members of what is open in w. */
struct rm_jw;
void node_ledger_row_put(struct rm_jw *w, const char *key, const struct node_ledger_row *row);
void node_ledger_errors_put(struct rm_jw *w, const char *key, const struct node_ledger_errors *e);

void node_ledger_clear(struct node_ledger *l);                           /* frees rows, zeroes */
int node_ledger_encode(const struct node_ledger *l, struct rm_buf *out); /* as node_state_encode */
RM_MUST_USE int node_ledger_decode(struct rm_slice json, struct node_ledger *out,
                                   char *why); /* as node_state_decode */

#endif
