/* SPDX-License-Identifier: MIT */
/* worker/engine/engine.h - what this folder answers for: one running model behind an HTTP address
 * that speaks OpenAI chat, whatever kind of program it is. The host starts, stops and measures it
 * through the table below and never asks which kind it has.
 *
 *   core     rolemesh-core as a child, over a Unix socket in the run directory (core.c)
 *   attach   a server that already runs at an address on this node (attach.c)
 *
 * An engine is reference counted: the host holds one until on_end, each relayed request one more,
 * so that what a dying engine has sent already can still be read. Loop thread only; callbacks come
 * from the loop, never inside the call that asked. */
#ifndef RM_ENGINE_H
#define RM_ENGINE_H

#include <uv.h>

#include "proto/http/client.h"
#include "proto/node/desired.h"
#include "proto/node/ledger.h"

struct supervisor;
struct engine;

/* What every engine of a worker shares; borrowed for the life of the engines. */
struct engine_env {
    uv_loop_t *loop;
    struct supervisor *supervisor;
    const char *core_path; /* rolemesh-core; it may be missing */
    const char *run_dir;   /* for sockets */
    unsigned serial;       /* of the last socket made */
};

/* What an engine says of itself, measured or counted. */
struct engine_measure {
    uint32_t context, slots_total, slots_busy, queue;
    uint8_t slot[NODE_SLOTS_MAX];   /* enum node_slot of the first ones */
    double prefill_tps, decode_tps; /* 0: not measured yet */
    uint64_t kv_used, kv_total;
    uint64_t kv_deepest;                      /* tokens of the longest sequence */
    struct ledger_speed speed[LEDGER_DEPTHS]; /* since its start; see proto/node/ledger.h */
    uint32_t batch, batch_most;   /* tokens of a decode call: as many as may be, as there were */
    char build[LEDGER_BUILD_MAX]; /* "VERSION/LLAMA"; "": an engine that is not ours */
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
    uint64_t read_tokens; /* of prompts, by now, without those from a cache */
};

/* What a kind "core" starts from: the model's file, and where it may keep KV state. */
struct engine_model {
    const char *path, *hash; /* hash: 64 hex digits */
    const char *kv_file;     /* NULL: nowhere */
    uint64_t kv_file_max;    /* bytes */
};

/* Answer of the core's POST /core/save, see worker/core/ready.h. */
struct engine_saved {
    bool saved;
    char why[160];
    uint64_t sequences, tokens, bytes, ms;
};

struct engine_events {
    void (*on_progress)(void *arg, double part); /* 0..1 of the weights */
    void (*on_loaded)(void *arg);                /* the weights are read */
    void (*on_ready)(void *arg);                 /* requests are taken */
    void (*on_measure)(void *arg, const struct engine_measure *m);
    /* The engine has ended, or could not be started; told when it was stopped as well. The last
     * callback; the host then drops its reference. */
    void (*on_end)(void *arg, const struct node_error *why);
};

/* A request that went through the engine, for those that do not count themselves. */
struct engine_traffic {
    uint64_t sent_us, first_us, last_us; /* request passed on, first and last byte of the answer */
    uint64_t events;                     /* server-sent events with data */
    uint64_t prompt_tokens, cached_tokens, completion_tokens; /* of its `usage`; 0: none was seen */
};

struct engine_kind {
    const char *name;
    /* Starts one. ev is borrowed until on_end, model for the call; it is for core only. Returns 0
     * or an error with why filled; then there is no engine and no on_end. */
    int (*start)(struct engine_env *env, const struct desired_host *d,
                 const struct engine_model *model, const struct engine_events *ev, void *arg,
                 struct engine **out, struct node_error *why);
    void (*stop)(struct engine *e, bool at_once);
    /* Saves its KV state if that is worth it, for budget_ms at most, then stops. NULL: it has none.
     */
    void (*save_stop)(struct engine *e, uint32_t budget_ms);
    void (*measure)(struct engine *e); /* asks; on_measure follows, or not */
    void (*traffic)(struct engine *e, const struct engine_traffic *t);
    void (*release)(struct engine *e); /* the last reference is gone */
};
extern const struct engine_kind engine_core, engine_attach;

/* The head of every kind's struct. */
struct engine {
    const struct engine_kind *kind;
    unsigned refs;
    int pid;                  /* 0: no process of ours */
    bool ended;               /* on_end was called */
    uint32_t running;         /* relayed requests */
    uint32_t answering;       /* of them, those whose answer has begun; and the events of these: */
    uint64_t answered_events; /* (both only of engines that do not count themselves) */
    struct http_client *client; /* NULL until ready */
    char base[256];             /* path before the engine's own, without a slash at its end */
    bool counts_itself;         /* traffic need not be looked at */
};

const struct engine_kind *engine_kind_of(enum desired_engine e);
void engine_ref(struct engine *e);
void engine_unref(struct engine *e); /* NULL is fine */

/* Fills an error of the given cause; text is cut. */
void engine_error(struct node_error *out, enum node_cause cause, const char *fmt, ...)
    RM_PRINTF(3, 4);

/* "http://HOST:PORT[/PATH]" or "unix:PATH" to address and base path. Only addresses of this node:
 * loopback, "localhost", one of `local` (n of them), or a Unix socket. Returns 0 or RM_ERR_CONF
 * with the reason in why (128 bytes). Pure. */
RM_MUST_USE int engine_url_parse(const char *url, const char *const *local, size_t n_local,
                                 struct http_address *a, char base[256], char *why);

/* Reads the body of GET /core/state. Returns 0, RM_ERR_JSON or RM_ERR_FIELD; *out is untouched on
 * an error. Pure. */
RM_MUST_USE int engine_measure_decode(struct rm_slice json, struct engine_measure *out);

/* As engine_measure_decode, of POST /core/save's answer. Pure. */
RM_MUST_USE int engine_saved_decode(struct rm_slice json, struct engine_saved *out);

/* One line of the ready pipe, see worker/core/ready.h. */
struct ready_line {
    enum { READY_OTHER, READY_PROGRESS, READY_DONE, READY_ERROR } what;
    double progress;
    uint64_t restored;                   /* READY_DONE: tokens of KV state from the disk */
    char text[NODE_TEXT_MAX], cause[16]; /* READY_ERROR; text of READY_DONE: why none were */
};
void ready_line_decode(struct rm_slice line, struct ready_line *out); /* pure */

#endif
