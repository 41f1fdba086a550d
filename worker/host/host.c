/* SPDX-License-Identifier: MIT */
#include "worker/host/host.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/host/figures.h"
#include "worker/host/kvfiles.h"
#include "worker/host/look.h"
#include "worker/memory/accountant.h"
#include "worker/memory/forecast.h"
#include "worker/memory/measure_host.h"
#include "worker/memory/guard.h"
#include "worker/memory/process.h"
#include "worker/models/swap.h"

enum {
    RETRY_LOOK_S = 10, /* how often a file that failed is looked at for a change */
    SEEN_TICKS = 3     /* after so many a reading of the memory has surely seen a loaded engine */
};

struct host {
    struct host_env *env;
    struct host_sm sm;
    struct desired_host wanted;
    struct desired_host serving; /* what the engine that lives was started for */
    char role[NODE_NAME_MAX];
    struct host_look *look; /* under way; who asked for it is told */
    struct model_file file; /* as the last look found it, good or not */
    struct model_id loaded; /* what its engine has, had last or was to get; files 0: none */
    bool moving;            /* the file changed while it was loaded: it has to be still first */
    bool condemned;         /* the engine goes for that; why is in `verdict` */
    bool grown;             /* the file needs more than was planned for, and there is no room */
    bool forecast_is_new;   /* forecast_bytes were made for `file` before a start */
    struct node_error verdict;
    char notice[NODE_NOTICE_MAX];
    uint64_t forecast_bytes;
    struct figures_plan plan; /* parts of the forecast */
    struct engine *engine;
    struct engine_measure measure;
    struct meter *meter; /* of the engine; NULL: it is not measured */
    struct memory_resident resident;
    uint64_t evicted_bytes; /* what its engine had when it had to go for memory; 0: it is back */
    struct node_error last_error;
    struct host_run *runs;
    uint32_t n_runs;
    uv_timer_t timer;
    unsigned ticks, ready_ticks; /* ready_ticks: since it was ready */
    bool gone;
    uint64_t started_ms;
};

static void host_step(struct host *h, const struct host_event *ev);

static bool host_is_busy(const struct host *h)
{
    return h->measure.slots_total > 0 && h->measure.slots_busy >= h->measure.slots_total;
}

static double host_random(void)
{
    return (double)randombytes_random() / 4294967295.0;
}

/* ---- errors ---- */

static void host_note_error(struct host *h, const struct node_error *e)
{
    bool again = h->sm.misses > 0 && e->cause == h->last_error.cause &&
                 (e->cause == CAUSE_MEMORY ||
                  (e->cause == CAUSE_UNREACHABLE && strcmp(e->text, h->last_error.text) == 0));

    h->last_error = *e;
    h->last_error.at_ms = rm_now_ms() - h->env->start_ms;
    if (again) /* asked every few seconds: told once */
        return;
    rm_warn("host", "engine ended", RM_S("role", h->role), RM_S("cause", node_cause_name(e->cause)),
            RM_I("code", e->code), RM_S("why", e->text));
}

/* ---- the look at the model ---- */

/* Asked before the look, which reads the file, and again after it, when time has passed. */
static bool host_is_refused(struct host *h)
{
    struct host_event ev = {
        .type = HOST_EV_REFUSED, .cause = CAUSE_MEMORY, .random = host_random()};
    char why[NODE_TEXT_MAX];
    struct node_error e;

    if (h->wanted.engine != ENGINE_CORE ||
        !h->env->refuse_start(h->env->arg, h->evicted_bytes, why, sizeof(why)))
        return false;
    engine_error(&e, CAUSE_MEMORY, "not started: %s", why);
    host_note_error(h, &e);
    host_step(h, &ev);
    return true;
}

static int host_look(struct host *h, bool want_hash,
                     void (*on_done)(void *arg, const struct look_result *r))
{
    struct look_where where = {h->env->loop, h->env->models_fd, h->env->models_dir};

    return host_look_start(&where, h->wanted.source, want_hash, on_done, h, &h->look);
}

static void host_drop_look(struct host *h)
{
    host_look_drop(h->look);
    h->look = NULL;
}

static void host_refuse(struct host *h, const struct node_error *e)
{
    struct host_event ev = {.type = HOST_EV_REFUSED, .cause = e->cause, .random = host_random()};

    host_note_error(h, e);
    host_step(h, &ev);
}

/* The file is good and its forecast is up to date. */
static void host_go_on(struct host *h)
{
    char why[NODE_TEXT_MAX / 2];
    struct node_error e;

    h->grown = h->grown && !h->env->has_room(h->env->arg, h, h->forecast_bytes, why, sizeof(why));
    if (h->grown) {
        engine_error(&e, CAUSE_MEMORY, "not started: %.200s was replaced by a larger file: %s",
                     h->wanted.source, why);
        host_refuse(h, &e);
        return;
    }
    if (!host_is_refused(h))
        host_step(h, &(struct host_event){.type = HOST_EV_CHECKED});
}

/* The forecast of a file that has taken another's place. */
static void host_on_new_forecast(void *arg, const struct node_forecast *a)
{
    struct host *h = arg;
    size_t n = strlen(h->notice);
    uint64_t planned = h->forecast_bytes;
    char ignored[NODE_TEXT_MAX];

    if (h->sm.phase != HOST_PH_CHECKING)
        return;
    if (a->known) {
        h->forecast_bytes = a->total;
        figures_of_forecast(a, &h->plan);
        h->forecast_is_new = true;
        h->grown = a->total > planned &&
                   h->env->has_room(h->env->arg, h, planned, ignored, sizeof(ignored));
        snprintf(h->notice + n, sizeof(h->notice) - n, "; forecast %llu bytes, was %llu",
                 (unsigned long long)a->total, (unsigned long long)planned);
    }
    rm_info("host", "forecast made anew", RM_S("role", h->role), RM_U("bytes", h->forecast_bytes),
            RM_U("was", planned), RM_S("why", a->error));
    h->env->on_change(h->env->arg);
    host_go_on(h);
}

/* Is the file another one than its forecast was made for, or than the engine had loaded before?
 * Tells it. *planned: what was forecast for the other one. Returns true when a new forecast is
 * needed. */
static bool host_notice_swap(struct host *h, uint64_t *planned)
{
    struct model_id now = model_id_of(&h->file), was = h->loaded;
    bool stale = forecaster_made_for(h->env->forecaster, &h->wanted, &was, planned) &&
                 !model_id_same(&was, &now);
    char change[NODE_NOTICE_MAX - 64];

    if (!stale)
        was = h->loaded;
    if (!stale && (was.files == 0 || model_id_same(&was, &now)))
        return false;
    model_id_change(&was, &now, change, sizeof(change));
    snprintf(h->notice, sizeof(h->notice), "the model file was replaced: %s", change);
    rm_warn("host", "the model file was replaced", RM_S("role", h->role),
            RM_S("file", h->wanted.source), RM_S("change", change),
            RM_S("since", stale ? "its forecast" : "it was loaded"));
    h->env->on_change(h->env->arg);
    return stale;
}

static void host_on_checked(void *arg, const struct look_result *r)
{
    struct host *h = arg;
    uint64_t planned = 0;
    char beyond[MODELS_WHY_MAX];
    struct node_error e;

    h->look = NULL;
    h->file = r->file;
    if (r->err < 0) {
        engine_error(&e, r->err == RM_ERR_CONF ? CAUSE_CONFIG : CAUSE_LOAD, "%s",
                     r->why[0] != '\0' ? r->why : rm_strerror(r->err));
        host_refuse(h, &e);
        return;
    }
    if (model_context_beyond(h->wanted.source, h->wanted.context, r->trained, beyond)) {
        engine_error(&e, CAUSE_CONFIG, "%s", beyond);
        host_refuse(h, &e);
        return;
    }
    if (host_notice_swap(h, &planned)) {
        h->forecast_bytes = planned;
        if (forecaster_ask(h->env->forecaster, &h->wanted, host_on_new_forecast, h) == 0)
            return; /* goes on when it has come */
    }
    host_go_on(h);
}

/* A look made because the host had failed: is it another file now, and a good one? One that changed
 * under a load must be the same twice before it is tried again. */
static void host_on_looked_again(void *arg, const struct look_result *r)
{
    struct host *h = arg;
    struct model_id was = model_id_of(&h->file), now = model_id_of(&r->file);
    bool same = model_id_same(&was, &now), ripe = h->moving ? same : !same;

    h->look = NULL;
    if (h->sm.phase != HOST_PH_FAILED)
        return;
    if (h->moving) {
        h->file = r->file;
        h->moving = !same;
    }
    if (r->err < 0 || !ripe)
        return;
    rm_info("host", "the model file has changed, trying again", RM_S("role", h->role));
    host_step(h, &(struct host_event){.type = HOST_EV_RETRY});
}

static void host_do_check(struct host *h)
{
    struct node_error e;
    int r = 0;

    host_drop_look(h);
    forecaster_drop(h->env->forecaster, h);
    h->moving = h->condemned = h->forecast_is_new = false;
    if (host_is_refused(h))
        return;
    if (h->wanted.engine != ENGINE_CORE) {
        memset(&h->file, 0, sizeof(h->file));
        host_step(h, &(struct host_event){.type = HOST_EV_CHECKED});
        return;
    }
    if ((r = host_look(h, true, host_on_checked)) == 0)
        return;
    memset(&h->file, 0, sizeof(h->file));
    engine_error(&e, CAUSE_EXIT, "the model could not be looked at: %s", rm_strerror(r));
    host_refuse(h, &e);
}

/* ---- a file that changes while it is loaded ---- */

/* Did the file stay as it was before the load? False: *e says how it changed. */
static bool host_file_stood(struct host *h, const struct look_result *r, struct node_error *e)
{
    struct model_id was = model_id_of(&h->file), now = model_id_of(&r->file);
    char change[NODE_TEXT_MAX / 2];

    if (r->err == 0 && model_id_same(&was, &now))
        return true;
    if (r->err == 0)
        model_id_change(&was, &now, change, sizeof(change));
    else
        snprintf(change, sizeof(change), "it had %llu bytes; now %.200s",
                 (unsigned long long)was.bytes, r->why[0] != '\0' ? r->why : rm_strerror(r->err));
    engine_error(e, CAUSE_LOAD, "%.160s changed while role '%s' loaded it: %s", h->serving.source,
                 h->role, change);
    h->file = r->file;
    h->loaded = was; /* what the next check compares with */
    h->moving = true;
    h->ticks = 0; /* looked at again with the next tick */
    return false;
}

static void host_is_ready(struct host *h)
{
    h->evicted_bytes = h->ready_ticks = 0;
    if (h->serving.engine == ENGINE_CORE)
        h->loaded = model_id_of(&h->file);
    host_step(h, &(struct host_event){.type = HOST_EV_READY});
    rm_info("host", "ready", RM_S("role", h->role), RM_I("pid", h->engine->pid),
            RM_U("load_ms", rm_now_ms() - h->started_ms));
    meter_ready(h->meter, h->engine->pid, rm_now_ms() - h->started_ms);
    host_tick(h);
}

static bool host_is_loading(const struct host *h)
{
    return h->sm.phase == HOST_PH_LOADING || h->sm.phase == HOST_PH_WARMING;
}

/* The engine is ready: with which file? */
static void host_on_looked_ready(void *arg, const struct look_result *r)
{
    struct host *h = arg;

    h->look = NULL;
    if (!host_is_loading(h) || h->engine == NULL)
        return;
    if (host_file_stood(h, r, &h->verdict)) {
        host_is_ready(h);
        return;
    }
    h->condemned = true;
    h->engine->kind->stop(h->engine, true);
}

/* The engine ended while it loaded: did the file make it end? */
static void host_on_looked_end(void *arg, const struct look_result *r)
{
    struct host *h = arg;
    struct node_error e;

    h->look = NULL;
    if (!host_file_stood(h, r, &e)) {
        memcpy(e.log, h->verdict.log, sizeof(e.log));
        h->verdict = e;
    }
    host_note_error(h, &h->verdict);
    host_step(h, &(struct host_event){
                     .type = HOST_EV_ENDED, .cause = h->verdict.cause, .random = host_random()});
}

/* Ends that a changed file may be behind. */
static bool is_file_like(enum node_cause c)
{
    return c == CAUSE_EXIT || c == CAUSE_SIGNAL || c == CAUSE_LOAD || c == CAUSE_CONFIG;
}

/* ---- the engine ---- */

static void host_on_progress(void *arg, double part)
{
    host_step(arg, &(struct host_event){.type = HOST_EV_PROGRESS, .part = part});
}

static void host_on_loaded(void *arg)
{
    host_step(arg, &(struct host_event){.type = HOST_EV_LOADED});
}

static void host_on_ready(void *arg)
{
    struct host *h = arg;

    if (h->serving.engine == ENGINE_CORE && host_is_loading(h) &&
        host_look(h, true, host_on_looked_ready) == 0)
        return;
    host_is_ready(h);
}

/* What was measured by now is what counts as taken. Returns whether that is news. */
static bool host_take_measured(struct host *h)
{
    uint64_t measured = meter_measured(h->meter);

    if (measured == 0 || measured == h->forecast_bytes)
        return false;
    h->forecast_bytes = measured;
    return true;
}

static void host_on_measure(void *arg, const struct engine_measure *m)
{
    struct host *h = arg;
    bool was = host_is_busy(h);

    h->measure = *m;
    meter_note(h->meter, m, h->resident.rss, rm_now_ms());
    if (host_take_measured(h) || was != host_is_busy(h))
        h->env->on_change(h->env->arg);
}

static void host_on_end(void *arg, const struct node_error *why)
{
    struct host *h = arg;
    struct engine *e = h->engine;
    struct host_event ev = {.type = HOST_EV_ENDED, .cause = why->cause, .random = host_random()};
    bool expected = h->sm.phase == HOST_PH_STOPPING && !h->sm.stalled;
    struct node_error told = *why;
    bool waits;

    if (h->sm.phase == HOST_PH_STOPPING && h->sm.stalled)
        engine_error(&told, CAUSE_TIMEOUT, "no progress for %d s while loading",
                     HOST_LOAD_STALL_MS / 1000);
    if (h->condemned) {
        memcpy(h->verdict.log, why->log, sizeof(h->verdict.log));
        told = h->verdict;
        ev.cause = told.cause;
    }
    waits = !h->condemned && h->serving.engine == ENGINE_CORE && host_is_loading(h) &&
            is_file_like(told.cause);
    h->condemned = false;
    h->engine = NULL;
    meter_end(h->meter);
    h->meter = NULL;
    h->resident = (struct memory_resident){0};
    memset(&h->measure, 0, sizeof(h->measure));
    host_drop_look(h);
    h->verdict = told;
    waits = waits && host_look(h, true, host_on_looked_end) == 0;
    if (expected)
        rm_info("host", "engine stopped", RM_S("role", h->role));
    else if (!waits)
        host_note_error(h, &told);
    for (struct host_run *r = h->runs; r != NULL; r = r->next)
        r->host = NULL; /* they end by themselves: their engine closes its sockets */
    h->runs = NULL;
    h->n_runs = 0;
    if (h->serving.engine == ENGINE_CORE)
        kvfiles_settle(h->env->kvfiles, h->role);
    if (!waits)
        host_step(h, &ev);
    engine_unref(e);
}

static const struct engine_events host_engine_events = {
    .on_progress = host_on_progress,
    .on_loaded = host_on_loaded,
    .on_ready = host_on_ready,
    .on_measure = host_on_measure,
    .on_end = host_on_end,
};

static void host_on_forecast(void *arg, const struct node_forecast *a)
{
    struct host *h = arg;

    meter_predicted(h->meter, a);
    if (!a->known || strcmp(a->model_hash, h->file.hash) != 0)
        return;
    figures_of_forecast(a, &h->plan);
    if (a->total != h->forecast_bytes) {
        h->forecast_bytes = a->total;
        h->env->on_change(h->env->arg);
    }
}

/* Where this role with this revision keeps its state; other revisions' state is of no use any more.
 */
static void host_kv(struct host *h, char path[KVFILES_PATH_MAX], struct engine_model *m)
{
    struct kvfiles *k = h->env->kvfiles;

    if (k == NULL || h->wanted.engine != ENGINE_CORE || h->file.hash[0] == '\0' ||
        !kvfiles_path(k, h->role, h->sm.revision, path))
        return;
    kvfiles_keep_only(k, h->role, h->sm.revision);
    m->kv_file = path;
    m->kv_file_max = kvfiles_max_bytes(k);
}

/* What was forecast for this wish and this very file before; 0: nothing. It counts from the start
 * on: the answer that is asked for anew may come after the engine is ready. */
static uint64_t host_foreseen(const struct host *h)
{
    struct model_id now = model_id_of(&h->file), made;
    uint64_t bytes = 0;

    return forecaster_made_for(h->env->forecaster, &h->wanted, &made, &bytes) &&
                   model_id_same(&made, &now)
               ? bytes
               : 0;
}

static void host_do_start(struct host *h)
{
    const struct engine_kind *kind = engine_kind_of(h->wanted.engine);
    struct engine_model model = {.path = h->file.path, .hash = h->file.hash};
    char kv_path[KVFILES_PATH_MAX];
    struct host_event ev = {.type = HOST_EV_ENDED, .random = host_random()};
    struct node_error why;

    h->serving = h->wanted;
    if (!h->forecast_is_new) {
        h->forecast_bytes = host_foreseen(h);
        h->plan = (struct figures_plan){0};
    }
    h->started_ms = rm_now_ms();
    rm_info("host", "starting", RM_S("role", h->role), RM_S("engine", kind->name),
            RM_S("model", h->wanted.model), RM_U("restarts", host_sm_restarts(&h->sm)));
    if (h->env->meters != NULL && h->wanted.engine == ENGINE_CORE &&
        meter_begin(h->env->meters, &h->serving, h->file.hash, h->file.cached, &h->meter) < 0)
        rm_debug("host", "not measured", RM_S("role", h->role));
    host_kv(h, kv_path, &model);
    if (kind->start(h->env->engines, &h->serving, &model, &host_engine_events, h, &h->engine,
                    &why) < 0) {
        meter_end(h->meter);
        h->meter = NULL;
        host_note_error(h, &why);
        ev.cause = why.cause;
        host_step(h, &ev);
        return;
    }
    forecaster_drop(h->env->forecaster, h);
    if (h->wanted.engine == ENGINE_CORE &&
        forecaster_ask(h->env->forecaster, &h->serving, host_on_forecast, h) < 0)
        rm_debug("host", "no forecast", RM_S("role", h->role));
}

static void host_do_stop(struct host *h, bool save)
{
    const struct engine_kind *kind = h->engine->kind;
    uint64_t now = rm_now_ms();

    if (save && kind->save_stop != NULL && h->env->kvfiles != NULL && h->sm.leave_by_ms > now)
        kind->save_stop(h->engine, (uint32_t)(h->sm.leave_by_ms - now));
    else
        kind->stop(h->engine, false);
}

static void host_do_cut(struct host *h)
{
    struct host_run *r, *next;

    for (r = h->runs; r != NULL; r = next) {
        next = r->next;
        r->cut(r);
    }
}

/* ---- steps and timers ---- */

static void host_on_timer(uv_timer_t *t)
{
    host_step(t->data, &(struct host_event){.type = HOST_EV_TICK});
}

static void host_arm(struct host *h)
{
    uint64_t now = rm_now_ms();

    if (h->sm.deadline_ms == 0)
        uv_timer_stop(&h->timer);
    else
        uv_timer_start(&h->timer, host_on_timer,
                       h->sm.deadline_ms > now ? h->sm.deadline_ms - now : 0, 0);
}

static void host_on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void host_do_forget(struct host *h)
{
    assert(h->engine == NULL && h->runs == NULL);
    h->gone = true;
    host_drop_look(h);
    forecaster_drop(h->env->forecaster, h);
    if (!h->sm.save)
        kvfiles_forget(h->env->kvfiles, h->role);
    rm_info("host", "gone", RM_S("role", h->role));
    h->env->on_gone(h->env->arg, h);
    uv_close((uv_handle_t *)&h->timer, host_on_closed);
}

/* Every event goes through here. Actions may bring events of their own: those run inside, so the
 * phase is read again afterwards only where it matters. */
static void host_step(struct host *h, const struct host_event *ev)
{
    enum host_phase before = h->sm.phase;
    unsigned actions;

    if (h->gone)
        return;
    actions = host_sm_step(&h->sm, ev, rm_now_ms());
    if (before != h->sm.phase)
        rm_debug("host", "phase", RM_S("role", h->role), RM_S("from", host_phase_name(before)),
                 RM_S("to", host_phase_name(h->sm.phase)));
    host_arm(h);
    if (actions & HOST_DO_CUT)
        host_do_cut(h);
    if ((actions & HOST_DO_STOP) && h->engine != NULL)
        host_do_stop(h, (actions & HOST_DO_SAVE) != 0);
    if ((actions & HOST_DO_KILL) && h->engine != NULL)
        h->engine->kind->stop(h->engine, true);
    if (actions & HOST_DO_TELL)
        h->env->on_change(h->env->arg);
    if (actions & HOST_DO_FORGET)
        host_do_forget(h);
    else if (actions & HOST_DO_CHECK)
        host_do_check(h);
    else if (actions & HOST_DO_START)
        host_do_start(h);
}

/* ---- the contract ---- */

int host_new(struct host_env *env, const char *role, struct host **out)
{
    struct host *h = calloc(1, sizeof(*h));

    *out = h;
    if (h == NULL)
        return UV_ENOMEM;
    h->env = env;
    snprintf(h->role, sizeof(h->role), "%s", role);
    host_sm_init(&h->sm);
    uv_timer_init(env->loop, &h->timer);
    h->timer.data = h;
    return 0;
}

void host_want(struct host *h, const struct desired_host *d)
{
    bool told = h->wanted.residency != d->residency || h->wanted.lane != d->lane ||
                h->wanted.swap != d->swap;
    char revision[33];

    h->wanted = *d;
    desired_host_revision(d, revision);
    if (strcmp(revision, h->sm.revision) != 0) { /* it will take something else */
        h->evicted_bytes = 0;
        h->loaded = (struct model_id){.files = 0};
        h->notice[0] = '\0';
        h->grown = false;
    }
    if (told) /* shown, though nothing is done about it now */
        h->env->on_change(h->env->arg);
    host_step(h, &(struct host_event){
                     .type = HOST_EV_WANT, .revision = revision, .drain_ms = d->drain_ms});
}

void host_remove(struct host *h, uint32_t drain_ms, bool save)
{
    host_step(h, &(struct host_event){.type = HOST_EV_REMOVE,
                                      .save = save,
                                      .drain_ms = drain_ms > 0 ? drain_ms : h->wanted.drain_ms});
}

void host_kill(struct host *h)
{
    host_step(h, &(struct host_event){.type = HOST_EV_KILL});
}

/* What the engine holds of system memory, or will hold when it is loaded. */
static uint64_t host_system_bytes(const struct host *h)
{
    uint64_t vram = meter_vram(h->meter), bytes = h->forecast_bytes;

    bytes -= vram < bytes ? vram : bytes;
    return h->resident.rss > bytes ? h->resident.rss : bytes;
}

void host_guarded(const struct host *h, struct guard_host *out)
{
    bool leaving = h->sm.phase == HOST_PH_DRAINING || h->sm.phase == HOST_PH_STOPPING;
    bool loading = h->sm.phase == HOST_PH_LOADING || h->sm.phase == HOST_PH_WARMING;
    bool unseen = h->sm.phase == HOST_PH_READY && h->ready_ticks < SEEN_TICKS;
    uint64_t bytes = host_system_bytes(h);

    *out = (struct guard_host){
        .role = h->role,
        .residency = h->wanted.residency,
        .lane = h->wanted.lane,
        .swap = h->wanted.swap,
        .bytes = bytes,
        .to_come = loading || unseen ? bytes : 0,
        .alive = h->engine != NULL && h->engine->pid > 0 && !leaving,
        .leaving = h->engine != NULL && h->engine->pid > 0 && leaving,
    };
}

void host_evict(struct host *h, uint32_t drain_ms, const char *why)
{
    uint32_t own = h->wanted.drain_ms > 0 ? h->wanted.drain_ms : HOST_DRAIN_MS;
    struct node_error e;

    h->evicted_bytes = host_system_bytes(h);
    engine_error(&e, CAUSE_MEMORY, "%s", why); /* told by whoever decided it */
    h->last_error = e;
    h->last_error.at_ms = rm_now_ms() - h->env->start_ms;
    host_step(h, &(struct host_event){.type = HOST_EV_EVICT,
                                      .drain_ms = drain_ms > 0 && drain_ms < own ? drain_ms : own});
}

const char *host_role(const struct host *h)
{
    return h->role;
}

const struct desired_host *host_desired(const struct host *h)
{
    return &h->wanted;
}

uint64_t host_forecast_bytes(const struct host *h)
{
    return host_sm_alive(&h->sm) ? h->forecast_bytes : 0;
}

void host_add_use(const struct host *h, struct account_use *sum)
{
    const struct ledger_bytes peak = meter_peak(h->meter);

    if (h->engine == NULL || h->engine->pid <= 0)
        return;
    sum->system += h->resident.own;
    sum->vram += peak.vram;
    sum->gtt += peak.gtt;
    if (ledger_bytes_sum(&peak) == 0)
        sum->device += h->plan.device;
}

static uint32_t host_eta(const struct host *h)
{
    if (!host_is_loading(h))
        return 0;
    return figures_eta(meter_load_ms(h->meter), rm_now_ms() - h->started_ms,
                       host_sm_progress(&h->sm));
}

void host_fill(const struct host *h, struct node_host *out)
{
    const struct engine_measure *m = &h->measure;
    bool ready = h->sm.phase == HOST_PH_READY || h->sm.phase == HOST_PH_DRAINING;
    const struct ledger_bytes peak = meter_peak(h->meter);

    *out = (struct node_host){
        .residency = h->wanted.residency,
        .lane = h->wanted.lane,
        .swap = h->wanted.swap,
        .state = host_sm_shown(&h->sm, host_is_busy(h)),
        .progress = host_sm_progress(&h->sm),
        .pid = h->engine != NULL ? h->engine->pid : 0,
        .eta_ms = host_eta(h),
        .rss_bytes = h->resident.rss,
        .forecast_bytes = h->forecast_bytes,
        .measured_bytes = ledger_bytes_sum(&peak),
        .context = ready && m->context > 0 ? m->context : h->wanted.context,
        .slots_total = ready && m->slots_total > 0 ? m->slots_total : h->wanted.slots,
        .slots_busy = m->slots_busy,
        .queue = m->queue,
        .prefill_tps = m->prefill_tps,
        .decode_tps = m->decode_tps,
        .kv_used = m->kv_used,
        .kv_total = m->kv_total,
        .prompt_tokens = m->prompt_tokens,
        .cached_tokens = m->cached_tokens,
        .generated_tokens = m->generated_tokens,
        .read_tokens = m->read_tokens,
        .restarts = host_sm_restarts(&h->sm),
        .retry_ms = host_sm_retry_ms(&h->sm, rm_now_ms()),
        .last_error = h->last_error,
    };
    figures_parts(&h->plan, host_forecast_bytes(h), out);
    out->kv_used_bytes = figures_kv_used(out->kv_bytes, m->kv_used, m->kv_total);
    if (ready)
        memcpy(out->slots, m->slot, sizeof(out->slots));
    memcpy(out->role, h->role, sizeof(out->role));
    memcpy(out->model, h->wanted.model, sizeof(out->model));
    snprintf(out->engine, sizeof(out->engine), "%s", engine_kind_of(h->wanted.engine)->name);
    memcpy(out->revision, h->sm.revision, sizeof(out->revision));
    memcpy(out->model_hash, h->file.hash, sizeof(out->model_hash));
    memcpy(out->notice, h->notice, sizeof(out->notice));
}

const char *host_model_path(const struct host *h)
{
    return h->file.path;
}

void host_files_changed(struct host *h)
{
    h->ticks = 0;
}

void host_tick(struct host *h)
{
    if (h->ready_ticks < SEEN_TICKS)
        h->ready_ticks++;
    if (h->engine != NULL) {
        if (h->engine->pid > 0)
            h->resident = memory_resident(h->engine->pid);
        h->engine->kind->measure(h->engine);
    }
    /* A file that could not be used may be replaced by a good one. */
    if (h->sm.phase == HOST_PH_FAILED && h->wanted.engine == ENGINE_CORE && h->look == NULL &&
        (h->ticks++ % RETRY_LOOK_S == 0 || h->moving) &&
        host_look(h, false, host_on_looked_again) < 0)
        rm_debug("host", "no look", RM_S("role", h->role));
}

/* ---- requests ---- */

static void host_why_not(const struct host *h, char *why, uint32_t *retry_s)
{
    enum node_host_state s = host_sm_shown(&h->sm, false);
    uint32_t retry_ms = host_sm_retry_ms(&h->sm, rm_now_ms());

    *retry_s = retry_ms > 0 ? (retry_ms + 999) / 1000 : 2;
    if (s == HOST_FAILED && retry_ms == 0)
        *retry_s = RETRY_LOOK_S;
    if (s == HOST_LOADING && retry_ms == 0)
        snprintf(why, 256, "%s is loading, %.0f %%", h->role, 100 * host_sm_progress(&h->sm));
    else if (s == HOST_LOADING)
        snprintf(why, 256, "%s is being restarted: %.150s", h->role, h->last_error.text);
    else if (s == HOST_FAILED)
        snprintf(why, 256, "%s has failed: %.150s", h->role, h->last_error.text);
    else
        snprintf(why, 256, "%s is %s", h->role, node_host_state_name(s));
}

int host_run_begin(struct host *h, struct host_run *r, void (*cut)(struct host_run *r), char *why,
                   uint32_t *retry_s)
{
    if (h->sm.phase != HOST_PH_READY || h->engine == NULL || h->engine->client == NULL) {
        host_why_not(h, why, retry_s);
        return h->sm.phase == HOST_PH_DRAINING || h->sm.phase == HOST_PH_STOPPING ? RM_ERR_DRAINING
                                                                                  : RM_ERR_NO_HOST;
    }
    *r = (struct host_run){.host = h, .engine = h->engine, .cut = cut, .next = h->runs};
    r->link = &h->runs;
    if (r->next != NULL)
        r->next->link = &r->next;
    h->runs = r;
    engine_ref(r->engine);
    r->engine->running++;
    host_step(h, &(struct host_event){.type = HOST_EV_RUNNING, .running = ++h->n_runs});
    return 0;
}

void host_run_end(struct host_run *r, const struct engine_traffic *t)
{
    struct host *h = r->host;
    struct engine *e = r->engine;

    if (t->first_us > 0)
        e->kind->traffic(e, t);
    e->running--;
    if (h != NULL) {
        *r->link = r->next;
        if (r->next != NULL)
            r->next->link = r->link;
        if (!e->ended)
            e->kind->measure(e);
        host_step(h, &(struct host_event){.type = HOST_EV_RUNNING, .running = --h->n_runs});
    }
    r->engine = NULL;
    engine_unref(e);
}
