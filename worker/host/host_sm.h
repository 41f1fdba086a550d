/* SPDX-License-Identifier: MIT */
/* worker/host/host_sm.h - the life of one host: what happens next, given what happened.
 * Pure: events, time and randomness in, actions out; no I/O, no allocation. host.c carries the
 * actions out and reports back. The engine process is "alive" from HOST_DO_START until
 * HOST_EV_ENDED, and never twice at once.
 *
 *             want            checked          loaded          ready
 *   ABSENT ─────────► CHECKING ──────► LOADING ──────► WARMING ─────► READY
 *      ▲                 │ refused        │ ended         │ ended       │ ended      │ remove, want
 *      │                 ▼                ▼               ▼             ▼            ▼ another
 *      │               FAILED ◄──────── BACKOFF (1 s .. 60 s) ─┐               DRAINING
 *      │  a load error,   │ 5 ends         ▲                   │ time over        │ idle or
 *      │  or 5 ends       │ in 10 min:     └───────────────────┘ -> CHECKING      ▼ deadline
 *      └──────────────────┴── 10 min later -> CHECKING ◄───────────────────── STOPPING ── ended
 *
 * Why an engine ended decides what a restart is worth:
 *   CAUSE_LOAD, CAUSE_CONFIG  FAILED at once; only another revision, or a changed file
 *                             (HOST_EV_RETRY), starts it again
 *   CAUSE_UNREACHABLE         (attach) tried again for ever, every 1 to 10 s; never counted
 *   CAUSE_MEMORY              refused before a start, or the engine had to go (HOST_EV_EVICT): as
 *                             CAUSE_UNREACHABLE
 *   others                    back-off 1, 2, 4, .. 60 s with 20 % jitter; the fifth end within ten
 *                             minutes: FAILED, tried again after ten minutes */
#ifndef RM_HOST_SM_H
#define RM_HOST_SM_H

#include "proto/node/state.h"

enum {
    HOST_BACKOFF_MIN_MS = 1000,
    HOST_BACKOFF_MAX_MS = 60 * 1000,
    HOST_PROBE_MAX_MS = 10 * 1000, /* back-off of CAUSE_UNREACHABLE, _MEMORY */
    HOST_ENDS_MAX = 5,             /* within HOST_ENDS_WINDOW_MS: FAILED */
    HOST_ENDS_WINDOW_MS = 10 * 60 * 1000,
    HOST_LOAD_STALL_MS = 10 * 60 * 1000, /* no progress for so long while loading: stopped */
    HOST_DRAIN_MS = 30 * 1000            /* default of drain_ms */
};

enum host_phase {
    HOST_PH_ABSENT,
    HOST_PH_CHECKING, /* the model file is looked at; shown as "fetching" */
    HOST_PH_LOADING,
    HOST_PH_WARMING,
    HOST_PH_READY,
    HOST_PH_DRAINING, /* running requests may finish */
    HOST_PH_STOPPING, /* the engine was told to end; shown as "draining" */
    HOST_PH_BACKOFF,  /* a restart is planned; shown as "loading" (CAUSE_UNREACHABLE and
                          CAUSE_MEMORY: "failed") */
    HOST_PH_FAILED,
    HOST_PHASES
};
const char *host_phase_name(enum host_phase p);

enum host_event_type {
    HOST_EV_WANT,     /* revision, drain_ms: this shall be hosted; may come again */
    HOST_EV_REMOVE,   /* drain_ms, save: it shall go */
    HOST_EV_KILL,     /* it shall go at once */
    HOST_EV_EVICT,    /* drain_ms: memory is short, its engine shall go; the wish stays */
    HOST_EV_CHECKED,  /* the model can be used */
    HOST_EV_REFUSED,  /* cause: it cannot; random */
    HOST_EV_PROGRESS, /* part */
    HOST_EV_LOADED,   /* the weights are read */
    HOST_EV_READY,
    HOST_EV_ENDED,   /* cause: the engine is gone, or could not be started; random */
    HOST_EV_RUNNING, /* running: requests in the engine now */
    HOST_EV_RETRY,   /* the facts behind a failure have changed */
    HOST_EV_TICK,    /* time has passed */
    HOST_EVENTS
};

struct host_event {
    enum host_event_type type;
    const char *revision;  /* WANT; 32 hex digits */
    uint32_t drain_ms;     /* WANT, REMOVE, EVICT; 0: HOST_DRAIN_MS */
    enum node_cause cause; /* REFUSED, ENDED */
    double part;           /* PROGRESS; 0..1 */
    double random;         /* REFUSED, ENDED; 0..1, uniform */
    uint32_t running;      /* RUNNING */
    bool save;             /* REMOVE: it will be wanted again, its KV state is to be kept */
};

/* What the owner must do, any number at once, in this order. */
enum host_action {
    HOST_DO_CUT = 1 << 0,    /* end the requests that still run */
    HOST_DO_STOP = 1 << 1,   /* end the engine: TERM, later KILL */
    HOST_DO_KILL = 1 << 2,   /* end the engine: KILL */
    HOST_DO_CHECK = 1 << 3,  /* look at the model of the wanted revision; an older look is void */
    HOST_DO_START = 1 << 4,  /* start the engine of the wanted revision */
    HOST_DO_TELL = 1 << 5,   /* what is shown has changed */
    HOST_DO_FORGET = 1 << 6, /* nothing is left: the host may be freed */
    HOST_DO_SAVE = 1 << 7    /* with HOST_DO_STOP: its KV state first, until leave_by_ms */
};

struct host_sm {
    enum host_phase phase;
    bool wanted;
    char revision[33];   /* wanted */
    char engine_rev[33]; /* of the engine that lives, or lived last */
    uint32_t drain_ms;
    double part;
    uint32_t running;
    bool stalled;                 /* STOPPING because the load did not move */
    bool evicted;                 /* DRAINING or STOPPING because memory is short */
    bool save;                    /* what it leaves on the disk, and saves now, is to be kept */
    uint64_t leave_by_ms;         /* end of the drain: the saving ends by then as well */
    enum node_cause cause;        /* of the last end or refusal; NONE after READY */
    uint32_t starts;              /* of this revision */
    uint32_t misses;              /* CAUSE_UNREACHABLE in a row */
    uint64_t ends[HOST_ENDS_MAX]; /* times of the last ones, newest first */
    uint32_t n_ends;
    uint64_t deadline_ms; /* when HOST_EV_TICK is due; 0: never */
};

void host_sm_init(struct host_sm *sm);

/* Takes one event and returns actions. An event that cannot be in a phase changes nothing. */
unsigned host_sm_step(struct host_sm *sm, const struct host_event *ev, uint64_t now_ms);

/* What the state shows. busy: every slot is taken. */
enum node_host_state host_sm_shown(const struct host_sm *sm, bool busy);
double host_sm_progress(const struct host_sm *sm);
uint32_t host_sm_retry_ms(const struct host_sm *sm, uint64_t now_ms);
uint32_t host_sm_restarts(const struct host_sm *sm);

/* True while an engine started for this host has not been reported ended. */
bool host_sm_alive(const struct host_sm *sm);

/* The back-off before start number `ends` + 1 in milliseconds: HOST_BACKOFF_MIN_MS doubled each
 * time up to `cap`, times 0.8 .. 1.2 by random. */
uint64_t host_sm_backoff(uint32_t ends, uint64_t cap, double random);

#endif
