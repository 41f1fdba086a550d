/* SPDX-License-Identifier: MIT */
#include "worker/host/host_sm.h"

#include <string.h>

static const char *const phase_names[] = {"absent",   "checking", "loading", "warming", "ready",
                                          "draining", "stopping", "backoff", "failed"};

const char *host_phase_name(enum host_phase p)
{
    return (unsigned)p < RM_COUNT(phase_names) ? phase_names[p] : "unknown";
}

void host_sm_init(struct host_sm *sm)
{
    memset(sm, 0, sizeof(*sm));
}

bool host_sm_alive(const struct host_sm *sm)
{
    return sm->phase >= HOST_PH_LOADING && sm->phase <= HOST_PH_STOPPING;
}

uint64_t host_sm_backoff(uint32_t ends, uint64_t cap, double random)
{
    uint64_t ms = HOST_BACKOFF_MIN_MS;

    while (ends > 1 && ms < cap) {
        ms *= 2;
        ends--;
    }
    if (ms > cap)
        ms = cap;
    return (uint64_t)((double)ms * (0.8 + 0.4 * random));
}

/* The only place that sets `phase`; deadline 0: none. */
static unsigned sm_to(struct host_sm *sm, enum host_phase phase, uint64_t deadline_ms)
{
    sm->phase = phase;
    sm->deadline_ms = deadline_ms;
    return HOST_DO_TELL;
}

static unsigned sm_check(struct host_sm *sm)
{
    sm->part = 0;
    sm->stalled = sm->evicted = false;
    return sm_to(sm, HOST_PH_CHECKING, 0) | HOST_DO_CHECK;
}

static unsigned sm_forget(struct host_sm *sm)
{
    return sm_to(sm, HOST_PH_ABSENT, 0) | HOST_DO_FORGET;
}

/* A ready engine without requests ends. */
static unsigned sm_stop(struct host_sm *sm)
{
    return sm_to(sm, HOST_PH_STOPPING, 0) | HOST_DO_STOP | (sm->save ? HOST_DO_SAVE : 0);
}

/* The engine shall end: at once when nothing runs, else after a drain. What loads has nothing to
 * save. */
static unsigned sm_drain(struct host_sm *sm, uint32_t drain_ms, uint64_t now)
{
    sm->leave_by_ms = now + (drain_ms > 0 ? drain_ms : HOST_DRAIN_MS);
    if (sm->phase < HOST_PH_READY)
        return sm_to(sm, HOST_PH_STOPPING, 0) | HOST_DO_STOP | (sm->running > 0 ? HOST_DO_CUT : 0);
    return sm->running == 0 ? sm_stop(sm) : sm_to(sm, HOST_PH_DRAINING, sm->leave_by_ms);
}

/* A wish is new; the one before it, if any, does not count any more. */
static void sm_note_wish(struct host_sm *sm, const char *revision)
{
    memcpy(sm->revision, revision, strnlen(revision, sizeof(sm->revision) - 1) + 1);
    sm->revision[sizeof(sm->revision) - 1] = '\0';
    sm->cause = CAUSE_NONE;
    sm->starts = sm->misses = sm->n_ends = 0;
}

static unsigned sm_want(struct host_sm *sm, const struct host_event *ev, uint64_t now)
{
    bool fresh = !sm->wanted || strcmp(sm->revision, ev->revision) != 0;

    sm->drain_ms = ev->drain_ms;
    if (!fresh)
        return 0;
    sm->wanted = true;
    sm_note_wish(sm, ev->revision);
    sm->save = sm->evicted && strcmp(sm->engine_rev, sm->revision) == 0;
    switch (sm->phase) {
    case HOST_PH_ABSENT:
    case HOST_PH_CHECKING:
    case HOST_PH_BACKOFF:
    case HOST_PH_FAILED:
        return sm_check(sm);
    case HOST_PH_LOADING:
    case HOST_PH_WARMING:
    case HOST_PH_READY:
        return sm_drain(sm, ev->drain_ms, now);
    case HOST_PH_DRAINING: /* wanted again as it is: stay, but not when there is no room */
        if (!sm->evicted && strcmp(sm->engine_rev, sm->revision) == 0) {
            sm->starts = 1;
            return sm_to(sm, HOST_PH_READY, 0);
        }
        return HOST_DO_TELL;
    default: /* STOPPING goes on to the new wish when the engine has ended */
        sm->stalled = false;
        return HOST_DO_TELL;
    }
}

static unsigned sm_remove(struct host_sm *sm, const struct host_event *ev, uint64_t now)
{
    uint64_t until = now + (ev->drain_ms > 0 ? ev->drain_ms : HOST_DRAIN_MS);

    sm->wanted = false;
    sm->save = ev->save;
    switch (sm->phase) {
    case HOST_PH_LOADING:
    case HOST_PH_WARMING:
    case HOST_PH_READY:
        return sm_drain(sm, ev->drain_ms, now);
    case HOST_PH_DRAINING: /* a shorter deadline counts */
        if (until < sm->deadline_ms)
            sm->deadline_ms = sm->leave_by_ms = until;
        return 0;
    case HOST_PH_STOPPING:
        return 0;
    default:
        return sm_forget(sm);
    }
}

/* Who drains anyway may be told to be quicker; without an engine there is nothing to give back. */
static unsigned sm_evict(struct host_sm *sm, uint32_t drain_ms, uint64_t now)
{
    uint64_t until = now + (drain_ms > 0 ? drain_ms : HOST_DRAIN_MS);

    if (sm->phase == HOST_PH_DRAINING && until < sm->deadline_ms)
        sm->deadline_ms = sm->leave_by_ms = until;
    if (sm->phase < HOST_PH_LOADING || sm->phase > HOST_PH_READY)
        return 0;
    sm->evicted = sm->save = true;
    return sm_drain(sm, drain_ms, now);
}

static unsigned sm_kill(struct host_sm *sm)
{
    sm->wanted = false;
    if (!host_sm_alive(sm))
        return sm_forget(sm);
    return sm_to(sm, HOST_PH_STOPPING, 0) | HOST_DO_KILL | (sm->running > 0 ? HOST_DO_CUT : 0);
}

/* How many ends lie within the window, this one included. */
static uint32_t sm_count_end(struct host_sm *sm, uint64_t now)
{
    uint32_t n = 0;

    memmove(sm->ends + 1, sm->ends, sizeof(sm->ends) - sizeof(sm->ends[0]));
    sm->ends[0] = now;
    if (sm->n_ends < HOST_ENDS_MAX)
        sm->n_ends++;
    while (n < sm->n_ends && now - sm->ends[n] < HOST_ENDS_WINDOW_MS)
        n++;
    sm->n_ends = n;
    return n;
}

/* An engine that was to stay has ended. */
static unsigned sm_lost(struct host_sm *sm, enum node_cause cause, double random, uint64_t now)
{
    uint32_t n;

    sm->cause = cause;
    sm->part = 0;
    if (cause == CAUSE_LOAD || cause == CAUSE_CONFIG)
        return sm_to(sm, HOST_PH_FAILED, 0);
    if (cause == CAUSE_UNREACHABLE || cause == CAUSE_MEMORY) {
        if (sm->misses < UINT32_MAX)
            sm->misses++;
        return sm_to(sm, HOST_PH_BACKOFF,
                     now + host_sm_backoff(sm->misses, HOST_PROBE_MAX_MS, random));
    }
    n = sm_count_end(sm, now);
    if (n >= HOST_ENDS_MAX)
        return sm_to(sm, HOST_PH_FAILED, now + HOST_ENDS_WINDOW_MS);
    return sm_to(sm, HOST_PH_BACKOFF, now + host_sm_backoff(n, HOST_BACKOFF_MAX_MS, random));
}

static unsigned sm_ended(struct host_sm *sm, const struct host_event *ev, uint64_t now)
{
    bool stalled = sm->stalled, evicted = sm->evicted;

    if (!host_sm_alive(sm))
        return 0;
    sm->running = 0;
    sm->stalled = sm->evicted = false;
    if (!sm->wanted)
        return sm_forget(sm);
    if (sm->phase == HOST_PH_STOPPING && stalled)
        return sm_lost(sm, CAUSE_TIMEOUT, ev->random, now);
    if (evicted && strcmp(sm->engine_rev, sm->revision) == 0)
        return sm_lost(sm, CAUSE_MEMORY, ev->random, now);
    if (sm->phase == HOST_PH_STOPPING || strcmp(sm->engine_rev, sm->revision) != 0)
        return sm_check(sm);
    return sm_lost(sm, ev->cause, ev->random, now);
}

static unsigned sm_running(struct host_sm *sm, uint32_t running)
{
    sm->running = running;
    if (sm->phase == HOST_PH_DRAINING && running == 0)
        return sm_stop(sm);
    return 0;
}

static unsigned sm_tick(struct host_sm *sm, uint64_t now)
{
    if (sm->deadline_ms == 0 || now < sm->deadline_ms)
        return 0;
    switch (sm->phase) {
    case HOST_PH_LOADING:
    case HOST_PH_WARMING:
        sm->stalled = true;
        return sm_to(sm, HOST_PH_STOPPING, 0) | HOST_DO_STOP;
    case HOST_PH_DRAINING:
        return sm_to(sm, HOST_PH_STOPPING, 0) | HOST_DO_CUT | HOST_DO_STOP;
    case HOST_PH_FAILED:
        sm->n_ends = 0;
        return sm_check(sm);
    case HOST_PH_BACKOFF:
        return sm_check(sm);
    default:
        sm->deadline_ms = 0;
        return 0;
    }
}

static unsigned sm_progress(struct host_sm *sm, const struct host_event *ev, uint64_t now)
{
    if (sm->phase != HOST_PH_LOADING && sm->phase != HOST_PH_WARMING)
        return 0;
    if (ev->type == HOST_EV_LOADED)
        return sm->phase == HOST_PH_WARMING ? 0
                                            : sm_to(sm, HOST_PH_WARMING, now + HOST_LOAD_STALL_MS);
    if (!(ev->part > sm->part)) /* also NaN */
        return 0;
    sm->part = ev->part < 1 ? ev->part : 1;
    sm->deadline_ms = now + HOST_LOAD_STALL_MS;
    return HOST_DO_TELL;
}

unsigned host_sm_step(struct host_sm *sm, const struct host_event *ev, uint64_t now_ms)
{
    switch (ev->type) {
    case HOST_EV_WANT:
        return sm_want(sm, ev, now_ms);
    case HOST_EV_REMOVE:
        return sm_remove(sm, ev, now_ms);
    case HOST_EV_KILL:
        return sm_kill(sm);
    case HOST_EV_EVICT:
        return sm_evict(sm, ev->drain_ms, now_ms);
    case HOST_EV_CHECKED:
        if (sm->phase != HOST_PH_CHECKING)
            return 0;
        memcpy(sm->engine_rev, sm->revision, sizeof(sm->engine_rev));
        sm->starts++;
        return sm_to(sm, HOST_PH_LOADING, now_ms + HOST_LOAD_STALL_MS) | HOST_DO_START;
    case HOST_EV_REFUSED:
        if (sm->phase != HOST_PH_CHECKING)
            return 0;
        return sm_lost(sm, ev->cause, ev->random, now_ms);
    case HOST_EV_PROGRESS:
    case HOST_EV_LOADED:
        return sm_progress(sm, ev, now_ms);
    case HOST_EV_READY:
        if (sm->phase != HOST_PH_LOADING && sm->phase != HOST_PH_WARMING)
            return 0;
        sm->cause = CAUSE_NONE;
        sm->misses = 0;
        sm->save = false; /* what lay on the disk was taken */
        return sm_to(sm, HOST_PH_READY, 0);
    case HOST_EV_ENDED:
        return sm_ended(sm, ev, now_ms);
    case HOST_EV_RUNNING:
        return sm_running(sm, ev->running);
    case HOST_EV_RETRY:
        return sm->phase == HOST_PH_FAILED ? sm_check(sm) : 0;
    case HOST_EV_TICK:
        return sm_tick(sm, now_ms);
    default:
        return 0;
    }
}

/* An attached engine that does not answer stays "failed" while it is asked again, and so does a
 * host for which there is no room while that is looked at. */
static bool is_asked_again(const struct host_sm *sm)
{
    if (sm->cause == CAUSE_MEMORY)
        return sm->phase == HOST_PH_CHECKING;
    return sm->cause == CAUSE_UNREACHABLE &&
           (sm->phase == HOST_PH_CHECKING || sm->phase == HOST_PH_LOADING);
}

enum node_host_state host_sm_shown(const struct host_sm *sm, bool busy)
{
    static const enum node_host_state shown[] = {
        [HOST_PH_ABSENT] = HOST_ABSENT,     [HOST_PH_CHECKING] = HOST_FETCHING,
        [HOST_PH_LOADING] = HOST_LOADING,   [HOST_PH_WARMING] = HOST_WARMING,
        [HOST_PH_READY] = HOST_READY,       [HOST_PH_DRAINING] = HOST_DRAINING,
        [HOST_PH_STOPPING] = HOST_DRAINING, [HOST_PH_BACKOFF] = HOST_LOADING,
        [HOST_PH_FAILED] = HOST_FAILED,
    };

    if (sm->phase == HOST_PH_READY && busy)
        return HOST_BUSY;
    if (is_asked_again(sm) || (sm->phase == HOST_PH_BACKOFF &&
                               (sm->cause == CAUSE_UNREACHABLE || sm->cause == CAUSE_MEMORY)))
        return HOST_FAILED;
    return shown[sm->phase];
}

double host_sm_progress(const struct host_sm *sm)
{
    switch (sm->phase) {
    case HOST_PH_LOADING:
    case HOST_PH_WARMING:
        return sm->part;
    case HOST_PH_READY:
        return 1;
    default:
        return 0;
    }
}

uint32_t host_sm_retry_ms(const struct host_sm *sm, uint64_t now_ms)
{
    if (is_asked_again(sm))
        return 1; /* now; 0 would say that it has failed for good */
    if (sm->phase != HOST_PH_BACKOFF && sm->phase != HOST_PH_FAILED)
        return 0;
    if (sm->deadline_ms == 0)
        return 0;
    return sm->deadline_ms > now_ms ? (uint32_t)(sm->deadline_ms - now_ms) : 1;
}

uint32_t host_sm_restarts(const struct host_sm *sm)
{
    return sm->starts > 0 ? sm->starts - 1 : 0;
}
