/* SPDX-License-Identifier: MIT */
/* proto/node/state.h - what a worker says of itself: the body of GET /node/v1/state and of every
 * `state` event of /node/v1/watch. Plain data with an encoder and a decoder whose fields stand in
 * the order of PROTOCOL.md. A state is whole each time: nobody has to merge. No I/O. */
#ifndef RM_NODE_STATE_H
#define RM_NODE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/node/device.h"
#include "proto/node/pull.h"

enum {
    NODE_NAME_MAX = 64,
    NODE_HOSTS_MAX = 64,
    NODE_SLOTS_MAX = 64, /* that a state tells one by one */
    NODE_TEXT_MAX = 512,
    NODE_NOTICE_MAX = 384,
    NODE_LOG_LINES = 20
};

/* Host states of design section 2, in the order a host runs through them. */
#define NODE_HOST_STATES(X)                                                                        \
    X(HOST_ABSENT, "absent")                                                                       \
    X(HOST_FETCHING, "fetching")                                                                   \
    X(HOST_LOADING, "loading")                                                                     \
    X(HOST_WARMING, "warming")                                                                     \
    X(HOST_READY, "ready")                                                                         \
    X(HOST_BUSY, "busy") /* ready, and every slot taken */                                         \
    X(HOST_DRAINING, "draining")                                                                   \
    X(HOST_FAILED, "failed")

enum node_host_state {
#define NODE_STATE_ENUM(name, text) name,
    NODE_HOST_STATES(NODE_STATE_ENUM)
#undef NODE_STATE_ENUM
};
const char *node_host_state_name(enum node_host_state s);

/* Why an engine ended last. */
#define NODE_CAUSES(X)                                                                             \
    X(CAUSE_NONE, "none")                                                                          \
    X(CAUSE_EXIT, "exit")       /* code is the exit status */                                      \
    X(CAUSE_SIGNAL, "signal")   /* code is the signal */                                           \
    X(CAUSE_OOM, "oom")         /* killed by the kernel for memory */                              \
    X(CAUSE_LOAD, "load")       /* the model could not be loaded: a restart will not help */       \
    X(CAUSE_TIMEOUT, "timeout") /* not ready in time, or no progress */                            \
    X(CAUSE_UNREACHABLE, "unreachable") /* attach: nobody answers at the address */                \
    X(CAUSE_CONFIG, "config")           /* what was asked for cannot be hosted here */             \
    X(CAUSE_MEMORY, "memory")           /* too little is left: tried again soon */

enum node_cause {
#define NODE_CAUSE_ENUM(name, text) name,
    NODE_CAUSES(NODE_CAUSE_ENUM)
#undef NODE_CAUSE_ENUM
};
const char *node_cause_name(enum node_cause c);

/* How firmly a host stays, and how urgent its requests are: words of the role map. 0 is the default
 * of a message that does not say. */
enum node_residency { RESIDENCY_RESIDENT, RESIDENCY_PINNED, RESIDENCY_ON_DEMAND };
enum node_lane { LANE_INTERACTIVE, LANE_AUTOCOMPLETE, LANE_BATCH };
const char *node_residency_name(enum node_residency r);
const char *node_lane_name(enum node_lane l);
extern const char *const node_residency_words[], *const node_lane_words[]; /* NULL-terminated */

/* What a slot does. 0 ends a list of them. */
enum node_slot { SLOT_NONE, SLOT_IDLE, SLOT_PREFILL, SLOT_DECODE };
const char *node_slot_name(enum node_slot s);

struct node_error {
    enum node_cause cause; /* CAUSE_NONE: no error so far */
    int32_t code;
    char text[NODE_TEXT_MAX];       /* one line for people */
    char log[NODE_LOG_LINES * 200]; /* the engine's last lines, LF between; may be empty */
    uint64_t at_ms;                 /* uptime of the worker when it happened */
};

struct node_host {
    char role[NODE_NAME_MAX], model[NODE_NAME_MAX]; /* names of the role map */
    char engine[16];                                /* "core", "attach" */
    char revision[33];   /* of the desired host this one follows: 32 hex digits of
                            desired_host_revision() */
    char model_hash[65]; /* hex; "" until known. Hosts of a role with different ones must not share
                            traffic */
    enum node_residency residency; /* as desired last */
    enum node_lane lane;
    bool swap;
    enum node_host_state state;
    double progress;         /* 0..1 while fetching, loading, warming; else 1 (ready) or 0 */
    uint32_t eta_ms;         /* until it should be ready; 0: not loading, or unknown */
    int32_t pid;             /* 0: no engine process of ours */
    uint64_t rss_bytes;      /* of the engine process */
    uint64_t forecast_bytes; /* 0: unknown */
    /* Parts of what the host takes; their sum is what it adds to `committed`: forecast_bytes while
     * it has an engine, else 0. kv_used_bytes is the part of kv_bytes that tokens are in. */
    uint64_t weights_bytes, kv_bytes, kv_used_bytes, compute_bytes, other_bytes;
    uint64_t measured_bytes; /* the most that was measured of such an engine; 0: not yet */
    uint32_t context;        /* tokens per slot */
    uint32_t slots_total, slots_busy;
    uint8_t slots[NODE_SLOTS_MAX]; /* enum node_slot, the first 64; empty while not ready */
    uint32_t queue;
    double prefill_tps, decode_tps; /* 0: not measured yet; decode: one stream's pace */
    uint64_t kv_used, kv_total;     /* tokens */
    uint64_t prompt_tokens, cached_tokens, generated_tokens; /* since the engine's start */
    uint64_t read_tokens; /* of prompts, decoded by now; counted as it goes on */
    uint32_t restarts;
    uint32_t retry_ms; /* failed or restarting: time to the next start; 0: none planned */
    char notice[NODE_NOTICE_MAX]; /* what people should know of it though it is no error: the model
                                     file was replaced; one line; "": nothing */
    struct node_error last_error;
};

struct node_memory {
    uint64_t total;                 /* what counts: see worker/memory/accountant.h */
    uint64_t available;             /* of system memory, without swapping */
    uint64_t limit;                 /* of the memory group; 0: none */
    uint64_t hugepages;             /* pools of huge pages: not in total */
    uint64_t swap_total, swap_used; /* all swap, as the system says */
    uint64_t swap_zram;             /* of swap_total: compressed, in memory */
    uint64_t vram_total, vram_used; /* of the devices; not system memory */
    uint64_t vram_counted;          /* of vram_total, what counts in total: the engine can use it */
    uint64_t gtt_total, gtt_used;   /* system memory that devices may map, have mapped */
    double pressure;                /* percent of the last 10 s in which some task waited
                                       for memory */
    uint64_t reserve;               /* kept free for others */
    uint64_t budget;                /* what hosts may use in all: total - reserve */
    uint64_t committed;             /* forecasts of what is hosted or loading */
    uint64_t others;                /* in use by other things than our engines: not available, and
                                       not in `committed` */
    bool refusing;                  /* too little is left: engines are not started now */
};

struct node_state {
    char node[NODE_NAME_MAX];
    char boot_id[37]; /* made anew at every start of the worker */
    char version[16]; /* of the worker's build */
    uint64_t seq;     /* rises by one with every change of anything but the measurements */
    uint64_t epoch;   /* highest gateway epoch seen, also before a restart */
    uint64_t uptime_ms;
    bool draining;      /* the worker is stopping: no new work */
    double cpu_percent; /* 0..100, all CPUs, mean of the last seconds; < 0: unknown */
    double gpu_percent; /* the same of the devices that tell it */
    struct node_memory memory;
    struct node_devices devices; /* empty until the engine has told */
    uint32_t n_hosts;
    struct node_host *hosts; /* owned; at most NODE_HOSTS_MAX */
    uint32_t n_pulls;
    struct node_pull pulls[NODE_PULLS_SHOWN]; /* those under way first, then the newest */
};

void node_state_clear(struct node_state *s); /* frees hosts, zeroes */

/* Appends the JSON object. Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. */
int node_state_encode(const struct node_state *s, struct rm_buf *out);

/* Reads one; unknown members are ignored, missing ones are zero, except node and boot_id. why (at
 * least 128 bytes) names what is wrong. Returns 0, RM_ERR_JSON, RM_ERR_FIELD or UV_ENOMEM; *out is
 * cleared on an error. */
RM_MUST_USE int node_state_decode(struct rm_slice json, struct node_state *out, char *why);

const struct node_host *node_state_find(const struct node_state *s, const char *role);

#endif
