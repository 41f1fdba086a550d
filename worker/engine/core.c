/* SPDX-License-Identifier: MIT */
/* Engine kind "core": rolemesh-core as a supervised child. It is ready when it says so on its
 * channel; its state is asked over a connection of its own, with a deadline, so that a stopped or
 * busy engine delays nobody. Before it ends it may be asked for its KV state (core_save_stop): TERM
 * follows the answer, or the end of the time there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "worker/core/ready.h"
#include "worker/engine/engine.h"
#include "worker/host/cause.h"
#include "worker/host/supervise.h"

enum { LINE_MAX_BYTES = 8192, STATE_MAX_BYTES = 65536, STATE_MS = 2000, ARGS_MAX = 40 };
enum {
    SAVED_MAX_BYTES = 4096,
    SAVE_LEAST_MS = 50, /* with less time left, nothing is begun */
    SAVE_MARGIN = 10    /* the core gets all but a tenth of the budget: its answer has to travel */
};

struct core {
    struct engine e;
    struct engine_env *env;
    const struct engine_events *ev;
    void *arg;
    struct child *child; /* NULL once it has ended */
    struct http_client *asker;
    struct http_call *asking, *saving;
    struct rm_buf line, state, saved;
    struct ready_line failed; /* its {"error":..} line */
    bool loaded, ready;
    bool ask_again; /* asked while an answer was under way: it may be older than the question */
    char socket[108], role[NODE_NAME_MAX];
};

/* ---- the channel ---- */

static int core_connect(struct core *c)
{
    struct http_client_conf conf = http_client_conf_default;
    struct http_address a = {.is_unix = true};
    int r;

    snprintf(a.host, sizeof(a.host), "%s", c->socket);
    if ((r = http_client_new(c->env->loop, &a, &conf, &c->e.client)) < 0)
        return r;
    conf.head_ms = conf.idle_ms = conf.connect_ms = STATE_MS;
    conf.keep_max = 1;
    return http_client_new(c->env->loop, &a, &conf, &c->asker);
}

static void core_tell_restored(const struct core *c, const struct ready_line *line)
{
    if (line->restored > 0)
        rm_info("engine", "KV state restored", RM_S("role", c->role),
                RM_U("tokens", line->restored));
    else if (line->text[0] != '\0')
        rm_warn("engine", "the saved KV state is not used, and removed", RM_S("role", c->role),
                RM_S("why", line->text));
}

static void core_on_line(struct core *c, struct rm_slice text)
{
    struct ready_line line;

    ready_line_decode(text, &line);
    if (line.what == READY_ERROR) {
        c->failed = line;
    } else if (line.what == READY_PROGRESS && !c->ready) {
        c->ev->on_progress(c->arg, line.progress);
        if (line.progress >= 1 && !c->loaded) {
            c->loaded = true;
            c->ev->on_loaded(c->arg);
        }
    } else if (line.what == READY_DONE && !c->ready) {
        c->ready = true;
        core_tell_restored(c, &line);
        if (core_connect(c) < 0)
            child_kill(c->child); /* no memory: a new start is the way out */
        else
            c->ev->on_ready(c->arg);
    }
}

static void core_on_channel(void *arg, const char *bytes, size_t n)
{
    struct core *c = arg;

    for (size_t i = 0, from = 0; i < n; i++) {
        if (bytes[i] != '\n' && i + 1 < n)
            continue;
        if (rm_buf_put(&c->line, bytes + from, i + (bytes[i] != '\n') - from) < 0)
            c->line.len = 0; /* over-long: not a line of the protocol */
        from = i + 1;
        if (bytes[i] == '\n') {
            core_on_line(c, (struct rm_slice){c->line.data, c->line.len});
            c->line.len = 0;
        }
    }
}

static void core_on_end(void *arg, const struct child_end *end)
{
    struct core *c = arg;
    struct end_facts facts = {
        .wait_status = end->wait_status,
        .told_to_end = end->told_to_end,
        .oom_before = end->oom_before,
        .oom_after = end->oom_after,
        .said = c->failed.what == READY_ERROR ? c->failed.text : NULL,
        .said_cause = c->failed.what == READY_ERROR ? c->failed.cause : NULL,
        .log = end->log,
        .core_codes = true,
    };
    struct node_error why;

    c->child = NULL;
    c->e.ended = true;
    c->e.pid = 0;
    unlink(c->socket);
    cause_of_end(&facts, &why);
    c->ev->on_end(c->arg, &why);
}

/* ---- start and stop ---- */

/* Arguments as strings in one arena. */
struct args {
    const char *v[ARGS_MAX];
    size_t n;
    char text[512];
    size_t used;
};

static void args_text(struct args *a, const char *name, const char *value)
{
    a->v[a->n++] = name;
    a->v[a->n++] = value;
}

static void args_number(struct args *a, const char *name, long long v)
{
    char *at = a->text + a->used;

    a->used += (size_t)snprintf(at, sizeof(a->text) - a->used, "%lld", v) + 1;
    args_text(a, name, at);
}

static void core_arguments(const struct core *c, const struct desired_host *d,
                           const struct engine_model *model, struct args *a)
{
    memset(a, 0, sizeof(*a));
    a->v[a->n++] = c->env->core_path;
    args_text(a, "--model", model->path);
    args_text(a, "--socket", c->socket);
    args_number(a, "--ready-fd", CHILD_CHANNEL_FD);
    args_number(a, "--parent-pid", getpid());
    args_number(a, "--slots", d->slots);
    args_text(a, "--kv", d->kv);
    args_number(a, "--gpu-layers", d->gpu_layers);
    args_text(a, "--alias", d->model);
    if (d->context > 0)
        args_number(a, "--context", d->context);
    if (d->batch > 0)
        args_number(a, "--batch", d->batch);
    if (d->threads > 0)
        args_number(a, "--threads", d->threads);
    if (d->queue_max > 0)
        args_number(a, "--queue-max", d->queue_max);
    if (model->kv_file == NULL)
        return;
    args_text(a, "--kv-file", model->kv_file);
    args_number(a, "--kv-file-max", (long long)model->kv_file_max);
    args_text(a, "--model-hash", model->hash);
}

static void core_free(struct core *c)
{
    rm_buf_clear(&c->line);
    rm_buf_clear(&c->state);
    rm_buf_clear(&c->saved);
    free(c);
}

static int core_start(struct engine_env *env, const struct desired_host *d,
                      const struct engine_model *model, const struct engine_events *ev, void *arg,
                      struct engine **out, struct node_error *why)
{
    static const struct child_ops ops = {core_on_channel, core_on_end};
    struct child_spec spec = {.name = d->role};
    struct core *c;
    struct args args;
    int r;

    *out = NULL;
    if (access(env->core_path, X_OK) != 0) {
        engine_error(why, CAUSE_CONFIG,
                     "this build has no inference core (%s): run deploy/setup and build again",
                     env->core_path);
        return RM_ERR_CONF;
    }
    if ((c = calloc(1, sizeof(*c))) == NULL) {
        engine_error(why, CAUSE_EXIT, "%s", rm_strerror(UV_ENOMEM));
        return UV_ENOMEM;
    }
    c->e = (struct engine){.kind = &engine_core, .refs = 1, .counts_itself = true};
    c->env = env;
    c->ev = ev;
    c->arg = arg;
    rm_buf_init(&c->line, LINE_MAX_BYTES);
    rm_buf_init(&c->state, STATE_MAX_BYTES);
    rm_buf_init(&c->saved, SAVED_MAX_BYTES);
    rm_text_copy(c->role, sizeof(c->role), d->role);
    snprintf(c->socket, sizeof(c->socket), "%s/%u.sock", env->run_dir, ++env->serial);
    core_arguments(c, d, model, &args);
    spec.argv = args.v;
    if ((r = child_start(env->supervisor, &spec, &ops, c, &c->child)) < 0) {
        engine_error(why, CAUSE_EXIT, "the engine could not be started: %s", rm_strerror(r));
        core_free(c);
        return r;
    }
    c->e.pid = child_pid(c->child);
    *out = &c->e;
    return 0;
}

static void core_stop(struct engine *e, bool at_once)
{
    struct core *c = (struct core *)e;

    if (c->child == NULL)
        return;
    if (at_once)
        child_kill(c->child);
    else
        child_stop(c->child);
}

/* ---- its KV state, before it ends ---- */

static void core_on_save_body(struct http_call *k, const char *bytes, size_t n)
{
    struct core *c = http_call_arg(k);

    if (rm_buf_put(&c->saved, bytes, n) < 0)
        http_call_abort(k);
}

static void core_on_save_end(struct http_call *k)
{
    struct core *c = http_call_arg(k);
    struct engine_saved s;

    if (engine_saved_decode((struct rm_slice){c->saved.data, c->saved.len}, &s) < 0)
        rm_warn("engine", "KV state not saved", RM_S("role", c->role),
                RM_S("why", "the core refused"));
    else
        rm_info("engine", s.saved ? "KV state saved" : "KV state not saved", RM_S("role", c->role),
                RM_S("why", s.why), RM_U("sequences", s.sequences), RM_U("tokens", s.tokens),
                RM_U("bytes", s.bytes), RM_U("ms", s.ms));
}

static void core_on_save_fail(struct http_call *k, int err)
{
    struct core *c = http_call_arg(k);

    rm_warn("engine", "KV state not saved", RM_S("role", c->role), RM_E("why", err));
}

static void core_on_save_done(struct http_call *k)
{
    struct core *c = http_call_arg(k);

    c->saving = NULL;
    core_stop(&c->e, false);
    engine_unref(&c->e);
}

static void core_save_stop(struct engine *e, uint32_t budget_ms)
{
    static const struct http_call_ops ops = {.on_body = core_on_save_body,
                                             .on_end = core_on_save_end,
                                             .on_fail = core_on_save_fail,
                                             .on_done = core_on_save_done};
    struct core *c = (struct core *)e;
    struct http_call_spec spec = {.method = "POST", .head_ms = budget_ms};
    char target[64];

    if (c->saving != NULL)
        return;
    snprintf(target, sizeof(target), "/core/save?budget_ms=%u",
             budget_ms - budget_ms / SAVE_MARGIN);
    spec.target = rm_slice_of(target);
    if (c->asker == NULL || e->ended || budget_ms < SAVE_LEAST_MS ||
        http_call_start(c->asker, &spec, &ops, c, &c->saving) < 0)
        core_stop(e, false);
    else
        engine_ref(e); /* the call's callbacks use c */
}

/* ---- measurements ---- */

static void core_on_state_body(struct http_call *k, const char *bytes, size_t n)
{
    struct core *c = http_call_arg(k);

    if (rm_buf_put(&c->state, bytes, n) < 0)
        http_call_abort(k);
}

static void core_on_state_end(struct http_call *k)
{
    struct core *c = http_call_arg(k);
    struct engine_measure m;

    if (!c->e.ended &&
        engine_measure_decode((struct rm_slice){c->state.data, c->state.len}, &m) == 0)
        c->ev->on_measure(c->arg, &m);
}

static void core_measure(struct engine *e);

static void core_on_state_done(struct http_call *k)
{
    struct core *c = http_call_arg(k);

    c->asking = NULL;
    if (c->ask_again)
        core_measure(&c->e);
    engine_unref(&c->e);
}

static void core_measure(struct engine *e)
{
    static const struct http_call_ops ops = {
        .on_body = core_on_state_body, .on_end = core_on_state_end, .on_done = core_on_state_done};
    struct http_call_spec spec = {.method = "GET", .target = RM_LIT("/core/state")};
    struct core *c = (struct core *)e;

    c->ask_again = c->asking != NULL;
    if (c->asking != NULL || c->asker == NULL || e->ended)
        return;
    c->state.len = 0;
    if (http_call_start(c->asker, &spec, &ops, c, &c->asking) == 0)
        engine_ref(e); /* the call's callbacks use c */
}

static void core_traffic(struct engine *e, const struct engine_traffic *t)
{
    (void)e, (void)t; /* the core counts for itself */
}

static void core_release(struct engine *e)
{
    struct core *c = (struct core *)e;

    http_client_close(c->e.client);
    http_client_close(c->asker);
    core_free(c);
}

const struct engine_kind engine_core = {
    .name = "core",
    .start = core_start,
    .stop = core_stop,
    .save_stop = core_save_stop,
    .measure = core_measure,
    .traffic = core_traffic,
    .release = core_release,
};
