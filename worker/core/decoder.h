/* SPDX-License-Identifier: MIT */
/* worker/core/decoder.h - the decode thread: one llama_context, its slots, and the mailbox.
 * The decoder owns the model and the context; nobody else calls llama_decode or touches the KV
 * memory. It knows tokens, text and sampling, and nothing of HTTP, JSON or chat templates
 * (api.c, request.c and template.c do).
 *
 *   loop thread                                    decode thread
 *   decoder_submit ──► inbox (jobs, cancels) ──►   admit to a slot, reuse a prefix
 *                                                  fill a batch: one token per running slot,
 *                                                  then prefill up to the chunk budget
 *                                                  (chunk_ms at the measured speed)
 *   decoder_poll  ◄── outbox (events) ◄── wake()   llama_decode, sample, cut UTF-8 and stop
 *                                                  strings, emit
 *
 * All functions are for the loop thread unless they say otherwise. */
#ifndef RM_CORE_DECODER_H
#define RM_CORE_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "worker/core/depth.h"

struct llama_model;
struct decoder;

enum { DECODER_SLOTS_MAX = 64 };

/* What a slot does. */
enum decoder_slot { DECODER_IDLE, DECODER_PREFILL, DECODER_DECODE };

enum decoder_kv { DECODER_KV_F16, DECODER_KV_Q8_0 };

/* How a model is loaded; the same flags give the same forecast (forecast.h). */
struct decoder_conf {
    const char *model_path; /* GGUF, first file of a split; borrowed until decoder_open returns */
    uint32_t context;       /* tokens per slot; 0: the model's own maximum */
    uint32_t slots;         /* sequences decoded together, 1..64 */
    uint32_t kv_tokens;     /* that all slots together hold; 0: context * slots, else >= context */
    enum decoder_kv kv;
    uint32_t batch;     /* n_ubatch, tokens; 0: 512 */
    uint32_t threads;   /* 0: cores - 1, at least 1 */
    int32_t gpu_layers; /* -1: all that a device takes */
    uint32_t queue_max; /* jobs beyond the slots that may wait; 0: 64 */
    uint32_t chunk_ms;  /* longest prefill chunk; 0: 100 */
    /* Called from the decode thread whenever the outbox turns non-empty; must be thread-safe
     * (uv_async_send). */
    void (*wake)(void *arg);
    /* Called from the opening thread while weights load, 0..1; NULL: not wanted. */
    void (*load_progress)(void *arg, float part);
    void *arg; /* for wake and load_progress */
};

struct job_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids the token */
};

struct job_sampling {
    float temperature;  /* <= 0: greedy */
    float top_p, min_p; /* 1 and 0: off */
    int32_t top_k;      /* 0: off */
    float presence, frequency;
    uint32_t seed;
    const struct job_bias *bias; /* copied by submit */
    size_t n_bias;
};

enum { JOB_STOPS_MAX = 16, JOB_STOP_BYTES_MAX = 256 };

struct job_spec {
    const int32_t *tokens; /* the whole prompt; copied by submit; 1..context-1 of them */
    size_t n_tokens;
    uint32_t max_tokens;      /* 0: as many as the context holds */
    const char *const *stops; /* NUL-terminated, each 1..JOB_STOP_BYTES_MAX bytes; copied; matched
                                 across token borders */
    size_t n_stops;
    struct job_sampling sampling;
    bool cache_prompt; /* reuse a cached prefix */
    bool progress;     /* send JOB_PROGRESS after each prefill chunk */
};

enum job_event_type {
    JOB_STARTED,  /* has a slot; `cached` is final */
    JOB_PROGRESS, /* another prefill chunk is done */
    JOB_TEXT,     /* text: whole UTF-8 characters, never part of a stop string */
    JOB_DONE,
    JOB_FAILED, /* err says why; nothing follows */
};

enum job_finish { JOB_FINISH_STOP, JOB_FINISH_LENGTH };

/* What is known of a job when the event was made. Milliseconds are measured on the decode thread.
 */
struct job_event {
    uint64_t job; /* from decoder_submit */
    enum job_event_type type;
    const char
        *text; /* JOB_TEXT, and JOB_DONE with the rest: borrowed for the call; not NUL-terminated */
    size_t n_text;
    uint32_t prompt;    /* tokens of the prompt */
    uint32_t cached;    /* of them, taken from a cache */
    uint32_t processed; /* of them, in the cache by now (cached ones included) */
    uint32_t generated; /* tokens sampled so far, the end-of-turn token included */
    double prompt_ms, predicted_ms;
    enum job_finish finish; /* JOB_DONE */
    const char
        *stop_word; /* JOB_DONE: the stop string that ended it, or NULL; borrowed for the call */
    int err;        /* JOB_FAILED */
    /* JOB_DONE: what was generated, without the end-of-turn token; borrowed for the call. */
    const int32_t *tokens;
    size_t n_tokens;
};

struct kvcache;

/* Something that the decode thread does between two decode calls; fields are set by the caller. */
struct decoder_errand {
    /* Decode thread. prefill_tps: as in decoder_stats. */
    void (*run)(void *arg, struct kvcache *kv, double prefill_tps);
    void (*done)(void *arg); /* loop thread, from decoder_poll */
    void *arg;
    struct decoder_errand *next; /* the decoder's */
};

/* A snapshot for /core/state and the worker's node state. */
struct decoder_stats {
    uint32_t slots, slots_busy, slots_prefill; /* busy includes those in prefill */
    uint8_t slot[DECODER_SLOTS_MAX];           /* enum decoder_slot of each */
    uint32_t queued;
    uint64_t kv_tokens_used;  /* busy and cached ones; a shared prefix counts for each slot */
    uint64_t kv_tokens_total; /* what the KV memory holds */
    uint32_t kv_deepest;      /* the longest sequence, busy or cached */
    /* Moving averages, tokens per second; 0: not measured yet. decode: one stream's pace. */
    double prefill_tps, decode_tps;
    /* Since start: */
    uint64_t prompt_tokens, cached_tokens, generated_tokens, jobs_done, jobs_failed, decode_calls;
    uint64_t read_tokens; /* of prompts: decoded, call by call; not those from a cache */
    uint64_t preempted;   /* jobs put back to the queue because the KV memory was full */
    struct depth_sums depth[DEPTH_BUCKETS]; /* speeds by depth */
    uint32_t batch, batch_most; /* tokens of one decode call: as many as may be; the most so far */
    uint64_t ticks;             /* rises with every decode call: a stall watchdog's pulse */
};

/* Loads the model, makes a first decode call and starts the thread. Blocks while weights are read
 * (the engine process has nothing else to do).
 * why   what libllama said last, for the user; NUL-terminated, at most n_why bytes
 * Returns 0, RM_ERR_MODEL_FILE, RM_ERR_ABI (llama_version() of another major.minor), RM_ERR_FIELD
 * (a flag that cannot be), RM_ERR_ENGINE (no backend, or decoding fails) or UV_ENOMEM. */
RM_MUST_USE int decoder_open(const struct decoder_conf *conf, struct decoder **out, char *why,
                             size_t n_why);

/* Stops the thread after its current decode call, fails what is left without events, frees all.
 * NULL is fine. */
void decoder_close(struct decoder *d);

/* The model, for templates and tokenizing (both are thread-safe in libllama). Lives as long as the
 * decoder. */
const struct llama_model *decoder_model(const struct decoder *d);

uint32_t
decoder_context(const struct decoder *d); /* tokens one slot can hold; read back from libllama */

/* Queues a job. Returns 0 and its id (never 0), RM_ERR_QUEUE_FULL, RM_ERR_CONTEXT, RM_ERR_FIELD or
 * UV_ENOMEM. */
RM_MUST_USE int decoder_submit(struct decoder *d, const struct job_spec *spec, uint64_t *id);

/* Ends a job between two decode calls; no event of it is delivered after this call. Unknown ids are
 * ignored. */
void decoder_cancel(struct decoder *d, uint64_t id);

/* Queues an errand; it must live until `done`, or until decoder_close has returned: then `done`
 * never comes. */
void decoder_send(struct decoder *d, struct decoder_errand *e);

/* Hands every waiting event to on_event, oldest first, then calls `done` of errands. */
void decoder_poll(struct decoder *d, void (*on_event)(void *arg, const struct job_event *e),
                  void *arg);

/* Any thread. */
void decoder_stats(struct decoder *d, struct decoder_stats *out);

#endif
