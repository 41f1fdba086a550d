/* SPDX-License-Identifier: MIT */
/* worker/host/host_sm_test.c - host_sm.c: every phase with every event as one table, stories that
 * need several steps, and seeded random walks that watch the invariants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/host/host_sm.h"

#define REV_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define REV_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define T0    1000000ULL

static unsigned step(struct host_sm *sm, struct host_event ev, uint64_t now)
{
    return host_sm_step(sm, &ev, now);
}

#define WANT(rev)  ((struct host_event){.type = HOST_EV_WANT, .revision = (rev), .drain_ms = 5000})
#define EV(t)      ((struct host_event){.type = HOST_EV_##t, .random = 0.5})
#define ENDED(why) ((struct host_event){.type = HOST_EV_ENDED, .cause = (why), .random = 0.5})
#define RUNNING(n) ((struct host_event){.type = HOST_EV_RUNNING, .running = (n)})
#define PART(p)    ((struct host_event){.type = HOST_EV_PROGRESS, .part = (p)})
#define REFUSED    ((struct host_event){.type = HOST_EV_REFUSED, .cause = CAUSE_LOAD})
#define REMOVE(ms) ((struct host_event){.type = HOST_EV_REMOVE, .drain_ms = (ms)})

/* A host in each phase, as it comes there at T0; in READY and DRAINING one request runs. */
static struct host_sm in_phase(enum host_phase phase)
{
    struct host_sm sm;

    host_sm_init(&sm);
    if (phase == HOST_PH_ABSENT)
        return sm;
    step(&sm, WANT(REV_A), T0);
    if (phase == HOST_PH_CHECKING)
        return sm;
    if (phase == HOST_PH_FAILED) {
        step(&sm, REFUSED, T0);
        return sm;
    }
    step(&sm, EV(CHECKED), T0);
    if (phase == HOST_PH_LOADING)
        return sm;
    if (phase == HOST_PH_BACKOFF) {
        step(&sm, ENDED(CAUSE_SIGNAL), T0);
        return sm;
    }
    step(&sm, EV(LOADED), T0);
    if (phase == HOST_PH_WARMING)
        return sm;
    step(&sm, EV(READY), T0);
    step(&sm, RUNNING(1), T0);
    if (phase == HOST_PH_READY)
        return sm;
    step(&sm, WANT(REV_B), T0);
    if (phase == HOST_PH_STOPPING)
        step(&sm, RUNNING(0), T0);
    return sm;
}

/* ---- every phase with every event ---- */

static const struct {
    const char *name;
    struct host_event ev;
    uint64_t at; /* after T0 */
} events[] = {
    {"want the same", {.type = HOST_EV_WANT, .revision = REV_A}, 1},
    {"want another", {.type = HOST_EV_WANT, .revision = "cc", .drain_ms = 5000}, 1},
    {"remove", {.type = HOST_EV_REMOVE, .drain_ms = 2000}, 1},
    {"kill", {.type = HOST_EV_KILL}, 1},
    {"checked", {.type = HOST_EV_CHECKED}, 1},
    {"refused", {.type = HOST_EV_REFUSED, .cause = CAUSE_CONFIG}, 1},
    {"progress", {.type = HOST_EV_PROGRESS, .part = 0.5}, 1},
    {"loaded", {.type = HOST_EV_LOADED}, 1},
    {"ready", {.type = HOST_EV_READY}, 1},
    {"ended by signal", {.type = HOST_EV_ENDED, .cause = CAUSE_SIGNAL, .random = 0.5}, 1},
    {"ended: load error", {.type = HOST_EV_ENDED, .cause = CAUSE_LOAD, .random = 0.5}, 1},
    {"ended: unreachable", {.type = HOST_EV_ENDED, .cause = CAUSE_UNREACHABLE, .random = 0.5}, 1},
    {"nothing runs", {.type = HOST_EV_RUNNING, .running = 0}, 1},
    {"two run", {.type = HOST_EV_RUNNING, .running = 2}, 1},
    {"retry", {.type = HOST_EV_RETRY}, 1},
    {"tick, early", {.type = HOST_EV_TICK}, 1},
    {"tick, late", {.type = HOST_EV_TICK}, 3600 * 1000},
    {"evict", {.type = HOST_EV_EVICT, .drain_ms = 2000}, 1},
};

/* "phase actions"; columns as `events`, rows as the phases. */
static const char *const cells[HOST_PHASES][RM_COUNT(events)] = {
    [HOST_PH_ABSENT] = {"checking check tell", "checking check tell", "absent tell forget",
                        "absent tell forget", "absent", "absent", "absent", "absent", "absent",
                        "absent", "absent", "absent", "absent", "absent", "absent", "absent",
                        "absent", "absent"},
    [HOST_PH_CHECKING] = {"checking", "checking check tell", "absent tell forget",
                          "absent tell forget", "loading start tell", "failed tell", "checking",
                          "checking", "checking", "checking", "checking", "checking", "checking",
                          "checking", "checking", "checking", "checking", "checking"},
    [HOST_PH_LOADING] = {"loading", "stopping stop tell", "stopping stop tell",
                         "stopping kill tell", "loading", "loading", "loading tell", "warming tell",
                         "ready tell", "backoff tell", "failed tell", "backoff tell", "loading",
                         "loading", "loading", "loading", "stopping stop tell",
                         "stopping stop tell"},
    [HOST_PH_WARMING] = {"warming", "stopping stop tell", "stopping stop tell",
                         "stopping kill tell", "warming", "warming", "warming tell", "warming",
                         "ready tell", "backoff tell", "failed tell", "backoff tell", "warming",
                         "warming", "warming", "warming", "stopping stop tell",
                         "stopping stop tell"},
    [HOST_PH_READY] = {"ready", "draining tell", "draining tell", "stopping cut kill tell", "ready",
                       "ready", "ready", "ready", "ready", "backoff tell", "failed tell",
                       "backoff tell", "ready", "ready", "ready", "ready", "ready",
                       "draining tell"},
    /* DRAINING and STOPPING: REV_B is wanted, the engine is of REV_A. */
    [HOST_PH_DRAINING] = {"ready tell", "draining tell", "draining", "stopping cut kill tell",
                          "draining", "draining", "draining", "draining", "draining",
                          "checking check tell", "checking check tell", "checking check tell",
                          "stopping stop tell", "draining", "draining", "draining",
                          "stopping cut stop tell", "draining"},
    [HOST_PH_STOPPING] = {"stopping tell", "stopping tell", "stopping", "stopping kill tell",
                          "stopping", "stopping", "stopping", "stopping", "stopping",
                          "checking check tell", "checking check tell", "checking check tell",
                          "stopping", "stopping", "stopping", "stopping", "stopping", "stopping"},
    [HOST_PH_BACKOFF] = {"backoff", "checking check tell", "absent tell forget",
                         "absent tell forget", "backoff", "backoff", "backoff", "backoff",
                         "backoff", "backoff", "backoff", "backoff", "backoff", "backoff",
                         "backoff", "backoff", "checking check tell", "backoff"},
    [HOST_PH_FAILED] = {"failed", "checking check tell", "absent tell forget", "absent tell forget",
                        "failed", "failed", "failed", "failed", "failed", "failed", "failed",
                        "failed", "failed", "failed", "checking check tell", "failed", "failed",
                        "failed"},
};

static void actions_text(unsigned actions, char *out, size_t n)
{
    static const char *const names[] = {" cut",   " stop", " kill",   " check",
                                        " start", " tell", " forget", " save"};

    for (size_t i = 0; i < RM_COUNT(names); i++)
        if (actions & (1u << i))
            strncat(out, names[i], n - strlen(out) - 1);
}

static void phase_by_event(void **state)
{
    enum host_phase phase = (enum host_phase)(uintptr_t)*state;

    for (size_t i = 0; i < RM_COUNT(events); i++) {
        struct host_sm sm = in_phase(phase);
        char got[128] = "";
        unsigned actions;

        assert_int_equal(sm.phase, phase);
        actions = host_sm_step(&sm, &events[i].ev, T0 + events[i].at);
        snprintf(got, sizeof(got), "%s", host_phase_name(sm.phase));
        actions_text(actions, got, sizeof(got));
        if (strcmp(got, cells[phase][i]) != 0)
            fail_msg("%s, %s: expected \"%s\", got \"%s\"", host_phase_name(phase), events[i].name,
                     cells[phase][i], got);
    }
}

/* ---- stories ---- */

static void idle_host_stops_without_a_drain(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, RUNNING(0), T0);
    assert_int_equal(step(&sm, REMOVE(0), T0), HOST_DO_STOP | HOST_DO_TELL);
    assert_int_equal(step(&sm, ENDED(CAUSE_EXIT), T0), HOST_DO_FORGET | HOST_DO_TELL);
}

static void drain_deadlines(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, REMOVE(0), T0);
    assert_int_equal(sm.deadline_ms, T0 + HOST_DRAIN_MS);
    step(&sm, REMOVE(50000), T0); /* a longer one does not */
    assert_int_equal(sm.deadline_ms, T0 + HOST_DRAIN_MS);
    step(&sm, REMOVE(10), T0); /* a shorter one counts */
    assert_int_equal(sm.deadline_ms, T0 + 10);
    assert_int_equal(step(&sm, EV(TICK), T0 + 9), 0);
    assert_int_equal(step(&sm, EV(TICK), T0 + 10), HOST_DO_CUT | HOST_DO_STOP | HOST_DO_TELL);
}

static void wanted_again_while_draining(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, REMOVE(0), T0);
    assert_int_equal(host_sm_shown(&sm, false), HOST_DRAINING);
    assert_int_equal(step(&sm, WANT(REV_A), T0), HOST_DO_TELL);
    assert_int_equal(sm.phase, HOST_PH_READY);
    assert_int_equal(sm.deadline_ms, 0);
}

static void death_while_removed_is_no_failure(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, REMOVE(0), T0);
    assert_int_equal(step(&sm, ENDED(CAUSE_SIGNAL), T0), HOST_DO_FORGET | HOST_DO_TELL);
}

/* An engine that ends at once: 1, 2, 4, 8 s, failed, and again after ten minutes. */
static void crash_loop(void **state)
{
    static const uint64_t waits[] = {1000, 2000, 4000, 8000};
    struct host_sm sm = in_phase(HOST_PH_LOADING);
    uint64_t now = T0;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(waits); i++) {
        step(&sm, ENDED(CAUSE_EXIT), now);
        assert_int_equal(sm.phase, HOST_PH_BACKOFF);
        assert_int_equal(host_sm_shown(&sm, false), HOST_LOADING);
        assert_int_equal(host_sm_retry_ms(&sm, now), waits[i]);
        now += waits[i];
        assert_int_equal(step(&sm, EV(TICK), now), HOST_DO_CHECK | HOST_DO_TELL);
        step(&sm, EV(CHECKED), now);
        assert_int_equal(host_sm_restarts(&sm), i + 1);
    }
    step(&sm, ENDED(CAUSE_EXIT), now);
    assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
    assert_int_equal(host_sm_retry_ms(&sm, now), HOST_ENDS_WINDOW_MS);
    now += HOST_ENDS_WINDOW_MS;
    assert_int_equal(step(&sm, EV(TICK), now), HOST_DO_CHECK | HOST_DO_TELL);
    step(&sm, EV(CHECKED), now);
    step(&sm, ENDED(CAUSE_EXIT), now);
    assert_int_equal(host_sm_retry_ms(&sm, now), 1000);
}

/* Ends that lie far apart never add up. */
static void rare_ends(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_LOADING);
    uint64_t now = T0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        step(&sm, EV(READY), now);
        now += HOST_ENDS_WINDOW_MS / 2;
        step(&sm, ENDED(CAUSE_SIGNAL), now);
        assert_int_equal(sm.phase, HOST_PH_BACKOFF);
        assert_true(host_sm_retry_ms(&sm, now) <= 2000);
        now += 2000;
        step(&sm, EV(TICK), now);
        step(&sm, EV(CHECKED), now);
    }
    assert_int_equal(host_sm_restarts(&sm), 20);
}

static void attached_engine_is_asked_for_ever(void **state)
{
    static const uint64_t waits[] = {1000, 2000, 4000, 8000, 10000, 10000, 10000};
    struct host_sm sm = in_phase(HOST_PH_LOADING);
    uint64_t now = T0;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(waits); i++) {
        step(&sm, ENDED(CAUSE_UNREACHABLE), now);
        assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
        assert_int_equal(host_sm_retry_ms(&sm, now), waits[i]);
        now += waits[i];
        step(&sm, EV(TICK), now);
        assert_int_equal(host_sm_retry_ms(&sm, now), 1); /* 0 would be "for good" */
        step(&sm, EV(CHECKED), now);
        assert_int_equal(host_sm_retry_ms(&sm, now), 1);
        assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
    }
    step(&sm, EV(READY), now);
    assert_int_equal(host_sm_retry_ms(&sm, now), 0);
    assert_int_equal(host_sm_shown(&sm, false), HOST_READY);
    step(&sm, ENDED(CAUSE_UNREACHABLE), now);
    assert_int_equal(host_sm_retry_ms(&sm, now), 1000);
}

static void short_memory_is_waited_for(void **state)
{
    static const uint64_t waits[] = {1000, 2000, 4000, 8000, 10000, 10000, 10000};
    struct host_event refused = {.type = HOST_EV_REFUSED, .cause = CAUSE_MEMORY, .random = 0.5};
    struct host_sm sm = in_phase(HOST_PH_CHECKING);
    uint64_t now = T0;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(waits); i++) {
        assert_int_equal(step(&sm, refused, now), HOST_DO_TELL);
        assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
        assert_int_equal(host_sm_retry_ms(&sm, now), waits[i]);
        now += waits[i];
        assert_int_equal(step(&sm, EV(TICK), now), HOST_DO_CHECK | HOST_DO_TELL);
        assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED); /* still, while it is looked at */
        assert_int_equal(host_sm_retry_ms(&sm, now), 1);
    }
    step(&sm, EV(CHECKED), now);
    assert_int_equal(host_sm_shown(&sm, false), HOST_LOADING);
    assert_int_equal(host_sm_restarts(&sm), 0); /* the refusals were no starts */
    step(&sm, EV(READY), now);
    step(&sm, ENDED(CAUSE_EXIT), now); /* and no ends */
    assert_int_equal(sm.phase, HOST_PH_BACKOFF);
    assert_int_equal(host_sm_retry_ms(&sm, now), 1000);
}

#define HURRY ((struct host_event){.type = HOST_EV_EVICT, .drain_ms = 500})
#define EVICT ((struct host_event){.type = HOST_EV_EVICT, .drain_ms = 2000})

/* It drains, goes, and waits for room as one that was never started; its end was no failure. */
static void evicted_host_waits_for_room(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    assert_int_equal(step(&sm, EVICT, T0), HOST_DO_TELL);
    assert_int_equal(host_sm_shown(&sm, false), HOST_DRAINING);
    assert_int_equal(sm.deadline_ms, T0 + 2000);
    assert_int_equal(step(&sm, WANT(REV_A), T0), 0); /* the wish is an old one */
    assert_int_equal(step(&sm, EVICT, T0 + 1000), 0);
    assert_int_equal(sm.deadline_ms, T0 + 2000);
    assert_int_equal(step(&sm, HURRY, T0 + 100), 0);
    assert_int_equal(sm.deadline_ms, T0 + 600);
    assert_int_equal(step(&sm, RUNNING(0), T0), HOST_DO_STOP | HOST_DO_SAVE | HOST_DO_TELL);
    assert_int_equal(step(&sm, HURRY, T0 + 100), 0); /* it is told already */
    assert_int_equal(step(&sm, ENDED(CAUSE_SIGNAL), T0), HOST_DO_TELL);
    assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
    assert_int_equal(sm.cause, CAUSE_MEMORY);
    assert_int_equal(host_sm_retry_ms(&sm, T0), 1000);
    assert_int_equal(sm.n_ends, 0);
    step(&sm, EV(TICK), T0 + 1000);
    step(&sm, EV(CHECKED), T0 + 1000);
    step(&sm, EV(READY), T0 + 1000);
    assert_int_equal(host_sm_shown(&sm, false), HOST_READY);
    assert_int_equal(step(&sm, ENDED(CAUSE_OOM), T0), HOST_DO_TELL); /* not evicted any more */
    assert_int_equal(sm.cause, CAUSE_OOM);
}

/* Removed and wanted again while it drains for memory: it still goes, and then waits. */
static void evicted_host_does_not_stay(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, EVICT, T0);
    step(&sm, REMOVE(0), T0);
    assert_int_equal(step(&sm, WANT(REV_A), T0), HOST_DO_TELL);
    assert_int_equal(sm.phase, HOST_PH_DRAINING);
    step(&sm, RUNNING(0), T0);
    step(&sm, ENDED(CAUSE_EXIT), T0);
    assert_int_equal(host_sm_shown(&sm, false), HOST_FAILED);
    /* Another revision is another question. */
    sm = in_phase(HOST_PH_LOADING);
    assert_int_equal(step(&sm, EVICT, T0), HOST_DO_STOP | HOST_DO_TELL);
    step(&sm, WANT(REV_B), T0);
    assert_int_equal(step(&sm, ENDED(CAUSE_EXIT), T0), HOST_DO_CHECK | HOST_DO_TELL);
    /* And one that was removed is gone. */
    sm = in_phase(HOST_PH_READY);
    step(&sm, EVICT, T0);
    step(&sm, REMOVE(0), T0);
    assert_int_equal(step(&sm, ENDED(CAUSE_EXIT), T0), HOST_DO_FORGET | HOST_DO_TELL);
}

#define LEAVE(ms) ((struct host_event){.type = HOST_EV_REMOVE, .drain_ms = (ms), .save = true})

/* Told to go with the wish to be kept: its state is saved within what the drain leaves of its time.
 */
static void leaves_and_will_be_back(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, LEAVE(3000), T0);
    assert_int_equal(sm.phase, HOST_PH_DRAINING);
    assert_int_equal(step(&sm, RUNNING(0), T0 + 1000), HOST_DO_STOP | HOST_DO_SAVE | HOST_DO_TELL);
    assert_int_equal(sm.leave_by_ms, T0 + 3000);
    assert_int_equal(step(&sm, ENDED(CAUSE_EXIT), T0 + 2000), HOST_DO_FORGET | HOST_DO_TELL);
    assert_true(sm.save);
    /* nothing runs: at once */
    sm = in_phase(HOST_PH_READY);
    step(&sm, RUNNING(0), T0);
    assert_int_equal(step(&sm, LEAVE(0), T0), HOST_DO_STOP | HOST_DO_SAVE | HOST_DO_TELL);
    assert_int_equal(sm.leave_by_ms, T0 + HOST_DRAIN_MS);
    /* the drain took all the time there was */
    sm = in_phase(HOST_PH_READY);
    step(&sm, LEAVE(3000), T0);
    assert_int_equal(step(&sm, EV(TICK), T0 + 3000), HOST_DO_CUT | HOST_DO_STOP | HOST_DO_TELL);
    /* what loads has nothing to save */
    sm = in_phase(HOST_PH_LOADING);
    assert_int_equal(step(&sm, LEAVE(3000), T0), HOST_DO_STOP | HOST_DO_TELL);
    /* nothing is alive, but a file may lie there */
    sm = in_phase(HOST_PH_FAILED);
    assert_int_equal(step(&sm, LEAVE(3000), T0), HOST_DO_FORGET | HOST_DO_TELL);
    assert_true(sm.save);
}

/* The last wish counts. */
static void kept_or_not(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_READY);

    (void)state;
    step(&sm, LEAVE(3000), T0);
    step(&sm, REMOVE(2000), T0); /* for good, and sooner */
    assert_int_equal(sm.leave_by_ms, T0 + 2000);
    assert_int_equal(step(&sm, RUNNING(0), T0), HOST_DO_STOP | HOST_DO_TELL);
    assert_false(sm.save);
    sm = in_phase(HOST_PH_READY);
    step(&sm, REMOVE(3000), T0);
    step(&sm, LEAVE(3000), T0);
    assert_int_equal(step(&sm, RUNNING(0), T0), HOST_DO_STOP | HOST_DO_SAVE | HOST_DO_TELL);
    step(&sm, REMOVE(0), T0); /* while it saves: what it wrote is not to stay */
    assert_int_equal(step(&sm, ENDED(CAUSE_EXIT), T0), HOST_DO_FORGET | HOST_DO_TELL);
    assert_false(sm.save);
    /* wanted with other flags: they could not use it */
    sm = in_phase(HOST_PH_READY);
    step(&sm, LEAVE(3000), T0);
    step(&sm, WANT(REV_B), T0);
    assert_int_equal(step(&sm, RUNNING(0), T0), HOST_DO_STOP | HOST_DO_TELL);
    /* wanted again as it is: it stays, and a later end is another matter */
    sm = in_phase(HOST_PH_READY);
    step(&sm, LEAVE(3000), T0);
    assert_int_equal(step(&sm, WANT(REV_A), T0), HOST_DO_TELL);
    assert_int_equal(sm.phase, HOST_PH_READY);
    assert_false(sm.save);
    /* had to go for memory, removed and wanted again meanwhile: it will be back */
    sm = in_phase(HOST_PH_READY);
    step(&sm, EVICT, T0);
    step(&sm, REMOVE(0), T0);
    step(&sm, WANT(REV_A), T0);
    assert_int_equal(step(&sm, RUNNING(0), T0), HOST_DO_STOP | HOST_DO_SAVE | HOST_DO_TELL);
}

static void stalled_load(void **state)
{
    struct host_sm sm = in_phase(HOST_PH_LOADING);

    (void)state;
    step(&sm, PART(0.25), T0 + 1000);
    assert_int_equal(sm.deadline_ms, T0 + 1000 + HOST_LOAD_STALL_MS);
    step(&sm, PART(0.25), T0 + 2000); /* no progress */
    assert_int_equal(sm.deadline_ms, T0 + 1000 + HOST_LOAD_STALL_MS);
    assert_float_equal(host_sm_progress(&sm), 0.25, 0);
    assert_int_equal(step(&sm, EV(TICK), T0 + 1000 + HOST_LOAD_STALL_MS),
                     HOST_DO_STOP | HOST_DO_TELL);
    step(&sm, ENDED(CAUSE_EXIT), T0 + 2 * HOST_LOAD_STALL_MS);
    assert_int_equal(sm.phase, HOST_PH_BACKOFF);
    assert_int_equal(sm.cause, CAUSE_TIMEOUT);
}

static void shown_states(void **state)
{
    static const enum node_host_state expected[HOST_PHASES] = {
        HOST_ABSENT,   HOST_FETCHING, HOST_LOADING, HOST_WARMING, HOST_READY,
        HOST_DRAINING, HOST_DRAINING, HOST_LOADING, HOST_FAILED};

    (void)state;
    for (int p = 0; p < HOST_PHASES; p++) {
        struct host_sm sm = in_phase((enum host_phase)p);

        assert_int_equal(host_sm_shown(&sm, false), expected[p]);
        assert_int_equal(host_sm_shown(&sm, true), p == HOST_PH_READY ? HOST_BUSY : expected[p]);
        assert_float_equal(host_sm_progress(&sm), p == HOST_PH_READY ? 1 : 0, 0);
    }
}

static void backoff_bounds(void **state)
{
    (void)state;
    assert_int_equal(host_sm_backoff(1, HOST_BACKOFF_MAX_MS, 0), 800);
    assert_int_equal(host_sm_backoff(1, HOST_BACKOFF_MAX_MS, 1), 1200);
    assert_int_equal(host_sm_backoff(6, HOST_BACKOFF_MAX_MS, 0.5), 32000);
    assert_int_equal(host_sm_backoff(7, HOST_BACKOFF_MAX_MS, 0.5), 60000);
    assert_int_equal(host_sm_backoff(UINT32_MAX, HOST_BACKOFF_MAX_MS, 1), 72000);
}

/* ---- random walks ---- */

static uint32_t walk_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(*seed >> 33);
}

static void walk_watch(const struct host_sm *sm, unsigned actions, bool alive)
{
    assert_true(alive == host_sm_alive(sm));
    if (actions & HOST_DO_FORGET)
        assert_true(!alive && !sm->wanted && sm->phase == HOST_PH_ABSENT);
    if (!alive && sm->wanted) /* never stuck: looking, waiting with an end, or failed for good */
        assert_true(sm->phase == HOST_PH_CHECKING || sm->deadline_ms > 0 ||
                    (sm->phase == HOST_PH_FAILED &&
                     (sm->cause == CAUSE_LOAD || sm->cause == CAUSE_CONFIG)));
    if (sm->phase == HOST_PH_DRAINING || sm->phase == HOST_PH_BACKOFF)
        assert_true(sm->deadline_ms > 0);
    if (sm->phase == HOST_PH_READY)
        assert_true(sm->wanted && strcmp(sm->revision, sm->engine_rev) == 0);
    if (!sm->wanted)
        assert_true(alive || sm->phase == HOST_PH_ABSENT);
}

static void walk(uint64_t seed)
{
    static const char *const revs[] = {REV_A, REV_B, "c"};
    static const enum node_cause causes[] = {CAUSE_EXIT, CAUSE_SIGNAL, CAUSE_OOM,
                                             CAUSE_LOAD, CAUSE_CONFIG, CAUSE_UNREACHABLE};
    struct host_sm sm;
    uint64_t now = T0;
    bool alive = false;

    host_sm_init(&sm);
    for (int i = 0; i < 4000; i++) {
        struct host_event ev = {
            .type = (enum host_event_type)(walk_next(&seed) % HOST_EVENTS),
            .revision = revs[walk_next(&seed) % 3],
            .drain_ms = walk_next(&seed) % 3000,
            .cause = causes[walk_next(&seed) % RM_COUNT(causes)],
            .part = (walk_next(&seed) % 100) / 100.0,
            .random = (walk_next(&seed) % 1001) / 1000.0,
            .running = walk_next(&seed) % 3,
        };
        enum host_phase before = sm.phase;
        enum node_host_state shown = host_sm_shown(&sm, false);
        unsigned actions;

        if (ev.type == HOST_EV_ENDED && !alive)
            continue; /* the owner reports no end of what never began */
        if (ev.type == HOST_EV_ENDED)
            alive = false;
        actions = host_sm_step(&sm, &ev, now += walk_next(&seed) % 2000);
        if (actions & (HOST_DO_STOP | HOST_DO_KILL))
            assert_true(alive);
        if (actions & HOST_DO_START) {
            assert_false(alive);
            alive = true;
        }
        if (before != sm.phase)
            assert_true(actions & HOST_DO_TELL);
        assert_true(shown == host_sm_shown(&sm, false) || (actions & HOST_DO_TELL));
        walk_watch(&sm, actions, alive);
        if (actions & HOST_DO_FORGET)
            host_sm_init(&sm);
    }
    /* And it always goes when it shall. */
    step(&sm, REMOVE(1), now);
    step(&sm, EV(TICK), now + HOST_DRAIN_MS + 1);
    step(&sm, RUNNING(0), now);
    if (alive) {
        assert_int_equal(sm.phase, HOST_PH_STOPPING);
        assert_true(step(&sm, ENDED(CAUSE_EXIT), now) & HOST_DO_FORGET);
    }
    assert_int_equal(sm.phase, HOST_PH_ABSENT);
}

static void random_walks(void **state)
{
    const char *fixed = getenv("ROLEMESH_SEED");
    uint64_t seed =
        fixed != NULL ? strtoull(fixed, NULL, 10) : (uint64_t)(uintptr_t)&fixed ^ 0x5eed;

    (void)state;
    print_message("seed %llu (ROLEMESH_SEED sets it)\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 200; i++)
        walk(seed + i);
}

/* An engine that dies at once, with nobody asking: few starts in ten minutes whatever the jitter.
 */
static void starts_are_bounded(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct host_sm sm = in_phase(HOST_PH_LOADING);
        uint64_t now = T0, s = seed;
        int starts = 1;

        while (now < T0 + 600000) {
            struct host_event ended = ENDED(CAUSE_EXIT);

            ended.random = (walk_next(&s) % 1001) / 1000.0;
            step(&sm, ended, now);
            assert_true(sm.deadline_ms > now);
            now = sm.deadline_ms;
            step(&sm, EV(TICK), now);
            if (step(&sm, EV(CHECKED), now) & HOST_DO_START)
                starts++;
        }
        assert_true(starts <= 15);
    }
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(idle_host_stops_without_a_drain),
        cmocka_unit_test(drain_deadlines),
        cmocka_unit_test(wanted_again_while_draining),
        cmocka_unit_test(death_while_removed_is_no_failure),
        cmocka_unit_test(crash_loop),
        cmocka_unit_test(rare_ends),
        cmocka_unit_test(attached_engine_is_asked_for_ever),
        cmocka_unit_test(short_memory_is_waited_for),
        cmocka_unit_test(evicted_host_waits_for_room),
        cmocka_unit_test(evicted_host_does_not_stay),
        cmocka_unit_test(leaves_and_will_be_back),
        cmocka_unit_test(kept_or_not),
        cmocka_unit_test(stalled_load),
        cmocka_unit_test(shown_states),
        cmocka_unit_test(backoff_bounds),
        cmocka_unit_test(random_walks),
        cmocka_unit_test(starts_are_bounded),
    };
    struct CMUnitTest tests[HOST_PHASES + RM_COUNT(fixed)];

    for (int p = 0; p < HOST_PHASES; p++)
        tests[p] = (struct CMUnitTest){host_phase_name((enum host_phase)p), phase_by_event, NULL,
                                       NULL, (void *)(uintptr_t)p};
    memcpy(tests + HOST_PHASES, fixed, sizeof(fixed));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
