/* SPDX-License-Identifier: MIT */
#include "gateway/ops/witness.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "gateway/ops/list.h"
#include "proto/base/clock.h"
#include "proto/base/json_skim.h"
#include "proto/base/json_write.h"
#include "proto/base/om.h"

enum { KIND_MAX = 32, STATE_MAX = 16, VALUE_MAX = 400 };

/* A node or a host as it was seen last. */
struct seen {
    char name[WITNESS_NAME_MAX];
    char state[STATE_MAX]; /* a node's health, a host's state */
    char boot[40];         /* of a node */
    uint64_t restarts, since_ms;
    char notice[VALUE_MAX];
    bool here;  /* in this look */
    bool spoke; /* a node: it has told its pulls before */
};

struct alarm {
    char kind[KIND_MAX], subject[WITNESS_NAME_MAX];
    char text[EVENT_TEXT_MAX], next[EVENT_TEXT_MAX];
    enum event_severity severity;
    int64_t since_ms;
    bool here;
};

struct seen_table {
    struct seen *v;
    size_t n, cap;
    size_t next; /* where the next one probably is: facts come in the same order each time */
};

struct witness {
    void (*on_event)(void *arg, const struct event *event);
    void *arg;
    struct seen_table nodes, hosts, pulls;
    struct alarm *alarm; /* WITNESS_ALARMS_MAX of them */
    size_t n_alarms;
    char reload_at[RM_TIME_TEXT + 8], revision[40];
    int64_t wall_ms;
    char first_look[RM_TIME_TEXT]; /* a second before it: pulls tell whole seconds */
    bool looked;
};

int witness_new(void (*on_event)(void *arg, const struct event *event), void *arg,
                struct witness **out)
{
    struct witness *w = calloc(1, sizeof *w);

    *out = NULL;
    if (w == NULL || (w->alarm = calloc(WITNESS_ALARMS_MAX, sizeof *w->alarm)) == NULL) {
        free(w);
        return UV_ENOMEM;
    }
    w->on_event = on_event;
    w->arg = arg;
    *out = w;
    return 0;
}

void witness_free(struct witness *w)
{
    if (w == NULL)
        return;
    free(w->nodes.v);
    free(w->hosts.v);
    free(w->pulls.v);
    free(w->alarm);
    free(w);
}

/* ---- reading ---- */

/* A text member, cut to fit; "" when there is none. */
static const char *text_of(struct rm_slice object, const char *name, char *out, size_t size)
{
    struct rm_slice raw;
    struct rm_buf text;

    out[0] = '\0';
    rm_buf_init(&text, 64 * 1024);
    if (list_member(object, name, &raw) && rm_json_unquote(raw, &text) == 0 && text.data != NULL)
        rm_text_copy(out, size, text.data);
    rm_buf_clear(&text);
    return out;
}

static uint64_t number_of(struct rm_slice object, const char *name)
{
    struct rm_slice raw;
    char text[24];

    if (!list_member(object, name, &raw) || raw.n >= sizeof text)
        return 0;
    memcpy(text, raw.p, raw.n);
    text[raw.n] = '\0';
    return strtoull(text, NULL, 10);
}

static struct rm_slice array_of(struct rm_slice object, const char *name)
{
    struct rm_slice raw;

    return list_member(object, name, &raw) && raw.n > 0 && raw.p[0] == '[' ? raw : RM_LIT("[]");
}

static struct rm_slice object_of(struct rm_slice object, const char *name)
{
    struct rm_slice raw;

    return list_member(object, name, &raw) && raw.n > 0 && raw.p[0] != 'n' ? raw : RM_LIT("{}");
}

/* ---- what was seen ---- */

/* The entry of that name, made when it is new; NULL: no room. */
static struct seen *seen_of(struct seen_table *t, const char *name, bool *is_new)
{
    struct seen *more;

    *is_new = false;
    for (size_t i = 0, at = t->next; i < t->n; i++, at++) {
        at = at < t->n ? at : 0;
        if (strcmp(t->v[at].name, name) == 0) {
            t->next = at + 1;
            return &t->v[at];
        }
    }
    if (t->n == t->cap) {
        size_t cap = t->cap > 0 ? t->cap * 2 : 16;

        if (cap > WITNESS_SEEN_MAX || (more = realloc(t->v, cap * sizeof *t->v)) == NULL)
            return NULL;
        t->v = more;
        t->cap = cap;
    }
    *is_new = true;
    t->v[t->n] = (struct seen){.here = false};
    rm_text_copy(t->v[t->n].name, WITNESS_NAME_MAX, name);
    return &t->v[t->n++];
}

static void say(struct witness *w, enum event_severity severity, const char *kind,
                const char *subject, const char *text, const char *next)
{
    const struct event e = {severity, kind, subject, text, next};

    w->on_event(w->arg, &e);
}

/* ---- alarms ---- */

/* Something is wrong in this look. The first time it is an event. */
static void alarm_raise(struct witness *w, enum event_severity severity, const char *kind,
                        const char *subject, const char *text, const char *next)
{
    struct alarm *a = NULL;

    for (size_t i = 0; i < w->n_alarms && a == NULL; i++)
        if (strcmp(w->alarm[i].kind, kind) == 0 && strcmp(w->alarm[i].subject, subject) == 0)
            a = &w->alarm[i];
    if (a == NULL) {
        say(w, severity, kind, subject, text, next);
        if (w->n_alarms == WITNESS_ALARMS_MAX)
            return;
        a = &w->alarm[w->n_alarms++];
        *a = (struct alarm){.since_ms = w->wall_ms};
        rm_text_copy(a->kind, sizeof a->kind, kind);
        rm_text_copy(a->subject, sizeof a->subject, subject);
    }
    a->severity = severity;
    a->here = true;
    rm_text_copy(a->text, sizeof a->text, text);
    rm_text_copy(a->next, sizeof a->next, next != NULL ? next : "");
}

/* Those that were not raised in this look are over. */
static void alarms_sweep(struct witness *w)
{
    char text[EVENT_TEXT_MAX + 32], kind[KIND_MAX + 8];
    size_t kept = 0;

    for (size_t i = 0; i < w->n_alarms; i++) {
        struct alarm *a = &w->alarm[i];

        if (a->here) {
            w->alarm[kept] = *a;
            w->alarm[kept++].here = false;
            continue;
        }
        snprintf(kind, sizeof kind, "%s.over", a->kind);
        snprintf(text, sizeof text, "no longer: %s", a->text);
        say(w, EVENT_INFO, kind, a->subject, text, NULL);
    }
    w->n_alarms = kept;
}

void witness_write_metrics(const struct witness *w, struct rm_om *om)
{
    uint64_t n[EVENT_ERROR + 1] = {0};

    for (size_t i = 0; i < w->n_alarms; i++)
        n[w->alarm[i].severity]++;
    rm_om_family(om, "rolemesh_alarms", RM_OM_GAUGE, "", "What is wrong now, as the status tells.");
    for (int s = EVENT_INFO; s <= EVENT_ERROR; s++) {
        rm_om_labels(om, "severity", event_severity_name((enum event_severity)s), NULL);
        rm_om_u64(om, n[s]);
    }
}

int witness_write_alarms(const struct witness *w, struct rm_buf *out)
{
    struct rm_jw j = rm_jw_to(out);
    char since[RM_TIME_TEXT];

    rm_jw_arr(&j, NULL);
    for (size_t i = 0; i < w->n_alarms; i++) {
        const struct alarm *a = &w->alarm[i];

        rm_jw_obj(&j, NULL);
        rm_jw_str(&j, "since", rm_time_text(a->since_ms, since));
        rm_jw_str(&j, "severity", event_severity_name(a->severity));
        rm_jw_str(&j, "kind", a->kind);
        rm_jw_str(&j, "subject", a->subject);
        rm_jw_str(&j, "text", a->text);
        rm_jw_str(&j, "next", a->next[0] != '\0' ? a->next : NULL);
        rm_jw_end(&j);
    }
    rm_jw_end(&j);
    return rm_jw_done(&j);
}

/* ---- hosts ---- */

/* What helps against a cause (names: proto/node/state.h). */
static const char *advice_of(const char *cause)
{
    static const struct {
        const char *cause, *next;
    } rows[] = {
        {"oom", "rolemesh forecast MODEL shows what it needs: give the role less context, fewer "
                "slots or another node"},
        {"memory", "free memory on the node, or give its roles less: rolemesh plan, rolemesh "
                   "forecast MODEL"},
        {"load", "check the file: rolemesh forecast FILE; fetch it again with rolemesh pull"},
        {"config", "mend the role in the role map: rolemesh check FILE"},
        {"unreachable", "start the server that the role's engine.url names"},
        {"timeout", "read the engine's last lines: GET /api/v1/nodes/NODE, last_error.log"},
    };

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        if (strcmp(rows[i].cause, cause) == 0)
            return rows[i].next;
    return "read the engine's last lines: GET /api/v1/nodes/NODE, last_error.log";
}

static void host_failed(struct witness *w, const char *name, struct rm_slice host)
{
    struct rm_slice error = object_of(host, "last_error");
    char cause[STATE_MAX], why[VALUE_MAX], text[EVENT_TEXT_MAX];

    text_of(error, "cause", cause, sizeof cause);
    text_of(error, "text", why, sizeof why);
    snprintf(text, sizeof text, "%s has failed (%s): %s", name, cause, why);
    alarm_raise(w, EVENT_ERROR, "host.failed", name, text, advice_of(cause));
}

static void host_changed(struct witness *w, const struct seen *s, const char *state,
                         uint64_t now_ms, bool is_new)
{
    char text[EVENT_TEXT_MAX], kind[KIND_MAX];

    if (strcmp(state, "failed") == 0) /* an alarm */
        return;
    snprintf(kind, sizeof kind, "host.%s", state);
    if (strcmp(state, "ready") == 0 && !is_new &&
        (strcmp(s->state, "loading") == 0 || strcmp(s->state, "warming") == 0))
        snprintf(text, sizeof text, "%s is ready, after %.1f s of %s", s->name,
                 (double)(now_ms - s->since_ms) / 1000, s->state);
    else
        snprintf(text, sizeof text, "%s is %s", s->name, state);
    say(w, EVENT_INFO, kind, s->name, text, NULL);
}

static void look_at_host(struct witness *w, struct rm_slice host, uint64_t now_ms)
{
    char role[64], node[64], name[WITNESS_NAME_MAX], state[STATE_MAX], notice[VALUE_MAX];
    uint64_t restarts = number_of(host, "restarts");
    char text[EVENT_TEXT_MAX], next[192];
    struct seen *s;
    bool is_new;

    snprintf(name, sizeof name, "%s@%s", text_of(host, "role", role, sizeof role),
             text_of(host, "node", node, sizeof node));
    text_of(host, "state", state, sizeof state);
    if (strcmp(state, "busy") == 0) /* ready, and every slot taken: traffic is no event */
        rm_text_copy(state, sizeof state, "ready");
    if ((s = seen_of(&w->hosts, name, &is_new)) == NULL)
        return;
    s->here = true;
    if (strcmp(s->state, state) != 0) {
        host_changed(w, s, state, now_ms, is_new);
        if (!(strcmp(s->state, "loading") == 0 && strcmp(state, "warming") == 0))
            s->since_ms = now_ms;
        rm_text_copy(s->state, sizeof s->state, state);
    }
    if (strcmp(state, "failed") == 0)
        host_failed(w, name, host);
    if (!is_new && restarts > s->restarts) {
        char why[VALUE_MAX];

        text_of(object_of(host, "last_error"), "text", why, sizeof why);
        snprintf(text, sizeof text, "the engine of %s was started again: %s", name, why);
        say(w, EVENT_WARNING, "host.restarted", name, text, NULL);
    }
    s->restarts = restarts;
    if (strcmp(text_of(host, "notice", notice, sizeof notice), s->notice) != 0) {
        rm_text_copy(s->notice, sizeof s->notice, notice);
        if (notice[0] != '\0')
            say(w, EVENT_WARNING, "host.notice", name, notice, NULL);
    }
    if (list_member_is(host, "drift", "true")) {
        snprintf(text, sizeof text,
                 "%s serves another file than the other hosts of its role: it gets no requests",
                 name);
        alarm_raise(w, EVENT_WARNING, "host.drift", name, text,
                    "give all nodes of the role the same model file");
    }
    if (strcmp(text_of(host, "wanted", notice, sizeof notice), "drained") == 0) {
        snprintf(text, sizeof text, "%s is drained by an operator: it gets no new request", name);
        snprintf(next, sizeof next, "when that is over: rolemesh undrain %s %s", role, node);
        alarm_raise(w, EVENT_WARNING, "host.drained", name, text, next);
    }
}

/* ---- nodes ---- */

static void node_is_down(struct witness *w, const char *name, struct rm_slice node)
{
    char why[VALUE_MAX], host[300], text[EVENT_TEXT_MAX], next[EVENT_TEXT_MAX];

    text_of(node, "last_error", why, sizeof why);
    text_of(node, "host", host, sizeof host);
    snprintf(text, sizeof text, "node %s is down%s%s", name, why[0] != '\0' ? ": " : "", why);
    snprintf(next, sizeof next,
             "see that rolemesh-worker runs there and can be reached: curl "
             "http://%s:%llu/node/v1/state",
             host, (unsigned long long)number_of(node, "port"));
    alarm_raise(w, EVENT_ERROR, "node.down", name, text, next);
}

static void node_is_drained(struct witness *w, const char *name)
{
    char text[EVENT_TEXT_MAX], next[128];

    snprintf(text, sizeof text, "node %s is drained by an operator: it gets no new request", name);
    snprintf(next, sizeof next, "when that is over: rolemesh undrain %s", name);
    alarm_raise(w, EVENT_WARNING, "node.drained", name, text, next);
}

static void look_at_node(struct witness *w, struct rm_slice node, uint64_t now_ms)
{
    struct rm_slice hosts = array_of(node, "hosts"), host;
    char name[64], state[STATE_MAX], boot[40], text[EVENT_TEXT_MAX];
    struct seen *s;
    bool is_new;

    text_of(node, "name", name, sizeof name);
    text_of(node, "health", state, sizeof state);
    text_of(node, "boot_id", boot, sizeof boot);
    if ((s = seen_of(&w->nodes, name, &is_new)) == NULL)
        return;
    s->here = true;
    if (is_new && strcmp(state, "up") != 0) { /* nothing was heard of it yet */
        rm_text_copy(s->state, sizeof s->state, state);
        s->since_ms = now_ms;
    }
    if (strcmp(s->state, state) != 0 && strcmp(state, "down") != 0) {
        snprintf(text, sizeof text, "node %s is %s", name, state);
        say(w, strcmp(state, "up") == 0 ? EVENT_INFO : EVENT_WARNING,
            strcmp(state, "up") == 0 ? "node.up" : "node.suspect", name, text, NULL);
    }
    rm_text_copy(s->state, sizeof s->state, state);
    /* a node that has not spoken yet is no alarm before it had its chance */
    if (strcmp(state, "down") == 0 &&
        (list_member_is(node, "seen", "true") || now_ms - s->since_ms >= 10000))
        node_is_down(w, name, node);
    if (boot[0] != '\0' && s->boot[0] != '\0' && strcmp(boot, s->boot) != 0) {
        snprintf(text, sizeof text, "the worker of node %s was started again", name);
        say(w, EVENT_WARNING, "node.restarted", name, text, NULL);
    }
    if (boot[0] != '\0')
        rm_text_copy(s->boot, sizeof s->boot, boot);
    if (list_member_is(object_of(node, "memory"), "refusing", "true")) {
        snprintf(text, sizeof text, "node %s is short of memory: it starts no engine now", name);
        alarm_raise(w, EVENT_WARNING, "node.memory", name, text, advice_of("memory"));
    }
    if (list_member_is(node, "drained", "true"))
        node_is_drained(w, name);
    while (strcmp(state, "down") != 0 && list_next(&hosts, &host))
        look_at_host(w, host, now_ms);
}

static void sweep(struct witness *w, struct seen_table *t, const char *kind, const char *what)
{
    char text[EVENT_TEXT_MAX];
    size_t kept = 0;

    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].here) {
            if (kept != i)
                t->v[kept] = t->v[i];
            t->v[kept++].here = false;
            continue;
        }
        snprintf(text, sizeof text, "%s %s", t->v[i].name, what);
        say(w, EVENT_INFO, kind, t->v[i].name, text, NULL);
    }
    t->n = kept;
}

/* ---- the gateway ---- */

static void look_at_shortfalls(struct witness *w, struct rm_slice array)
{
    char role[64], why[VALUE_MAX], text[EVENT_TEXT_MAX];
    struct rm_slice item;

    while (list_next(&array, &item)) {
        text_of(item, "role", role, sizeof role);
        text_of(item, "reason", why, sizeof why);
        snprintf(text, sizeof text, "role %s has fewer hosts than it wants: %s", role, why);
        alarm_raise(w, EVENT_WARNING, "role.short", role, text,
                    "rolemesh plan shows what does not fit, and ways out");
    }
}

static void look_at_map(struct witness *w, struct rm_slice map)
{
    struct rm_slice last = object_of(map, "last_reload");
    char at[RM_TIME_TEXT + 8], outcome[STATE_MAX], by[STATE_MAX], why[VALUE_MAX], rev[40];
    char text[EVENT_TEXT_MAX];
    bool bad;

    text_of(last, "at", at, sizeof at);
    text_of(last, "outcome", outcome, sizeof outcome);
    text_of(last, "by", by, sizeof by);
    text_of(last, "error", why, sizeof why);
    text_of(map, "revision", rev, sizeof rev);
    bad = outcome[0] != '\0' && strcmp(outcome, "applied") != 0;
    snprintf(text, sizeof text, "the role map was not taken over (%s): %s", by, why);
    if (bad)
        alarm_raise(w, EVENT_ERROR, "map.refused", "gateway", text,
                    "mend the file: rolemesh check FILE; GET /api/v1/map has the mistakes");
    if (w->looked && !bad && (strcmp(at, w->reload_at) != 0 || strcmp(rev, w->revision) != 0)) {
        snprintf(text, sizeof text, "the role map was taken over (%s): revision %.8s", by, rev);
        say(w, EVENT_INFO, "map.applied", "gateway", text, NULL);
    }
    rm_text_copy(w->reload_at, sizeof w->reload_at, at);
    rm_text_copy(w->revision, sizeof w->revision, rev);
}

/* ---- pulls ---- */

static void pull_changed(struct witness *w, struct rm_slice pull, const char *state, bool is_new)
{
    char node[64], source[VALUE_MAX], why[VALUE_MAX], text[EVENT_TEXT_MAX];

    text_of(pull, "node", node, sizeof node);
    text_of(pull, "source", source, sizeof source);
    text_of(pull, "text", why, sizeof why);
    if (is_new) {
        snprintf(text, sizeof text, "node %s fetches %s", node, source);
        say(w, EVENT_INFO, "pull.begun", node, text, NULL);
    }
    if (strcmp(state, "done") == 0) {
        snprintf(text, sizeof text, "node %s has fetched %s (%.1f MB)", node, source,
                 (double)number_of(pull, "bytes") / 1e6);
        say(w, EVENT_INFO, "pull.done", node, text, NULL);
    } else if (strcmp(state, "failed") == 0) {
        snprintf(text, sizeof text, "node %s could not fetch %.250s: %.250s", node, source, why);
        say(w, EVENT_ERROR, "pull.failed", node, text,
            "mend what it says and pull it again: it goes on where it was");
    } else if (strcmp(state, "cancelled") == 0) {
        snprintf(text, sizeof text, "node %s does not fetch %s any more: cancelled", node, source);
        say(w, EVENT_INFO, "pull.cancelled", node, text, NULL);
    }
}

static struct seen *node_seen(struct witness *w, const char *name)
{
    for (size_t i = 0; i < w->nodes.n; i++)
        if (strcmp(w->nodes.v[i].name, name) == 0)
            return &w->nodes.v[i];
    return NULL;
}

static void look_at_pull(struct witness *w, struct rm_slice pull)
{
    char id[32], node[64], name[WITNESS_NAME_MAX], state[STATE_MAX];
    char began[RM_TIME_TEXT + 8];
    const struct seen *n;
    struct seen *s;
    bool is_new;

    snprintf(name, sizeof name, "%s@%s", text_of(pull, "id", id, sizeof id),
             text_of(pull, "node", node, sizeof node));
    text_of(pull, "state", state, sizeof state);
    n = node_seen(w, node);
    if (n == NULL || (s = seen_of(&w->pulls, name, &is_new)) == NULL)
        return;
    s->here = true;
    if (strcmp(s->state, state) == 0)
        return;
    rm_text_copy(s->state, sizeof s->state, state);
    text_of(pull, "began", began, sizeof began);
    if (n->spoke || !is_new || strcmp(began, w->first_look) >= 0)
        pull_changed(w, pull, state, is_new);
}

/* What a node has when it speaks first, from before us, is no news; a pull that leaves the list is
 * none either. */
static void look_at_pulls(struct witness *w, struct rm_slice array)
{
    struct rm_slice pull;
    size_t kept = 0;

    while (list_next(&array, &pull))
        look_at_pull(w, pull);
    for (size_t i = 0; i < w->pulls.n; i++)
        if (w->pulls.v[i].here) {
            w->pulls.v[kept] = w->pulls.v[i];
            w->pulls.v[kept++].here = false;
        }
    w->pulls.n = kept;
    for (size_t i = 0; i < w->nodes.n; i++)
        w->nodes.v[i].spoke |= strcmp(w->nodes.v[i].state, "up") == 0;
}

void witness_look(struct witness *w, const struct witness_facts *facts, uint64_t now_ms,
                  int64_t wall_ms)
{
    struct rm_slice nodes = facts->nodes, node;

    w->wall_ms = wall_ms;
    if (!w->looked)
        rm_time_text(wall_ms - 1000, w->first_look);
    while (list_next(&nodes, &node))
        look_at_node(w, node, now_ms);
    for (size_t i = 0; i < w->hosts.n; i++) { /* of a node that is down, nothing is known */
        const char *at = strrchr(w->hosts.v[i].name, '@');

        for (size_t k = 0; k < w->nodes.n; k++)
            if (strcmp(w->nodes.v[k].state, "down") == 0 && strcmp(w->nodes.v[k].name, at + 1) == 0)
                w->hosts.v[i].here = true;
    }
    sweep(w, &w->hosts, "host.gone", "is gone");
    sweep(w, &w->nodes, "node.gone", "left the role map");
    look_at_shortfalls(w, facts->shortfalls);
    look_at_map(w, facts->map);
    look_at_pulls(w, facts->pulls);
    if (list_member_is(facts->status, "fenced", "true"))
        alarm_raise(w, EVENT_ERROR, "gateway.fenced", "gateway",
                    "a newer gateway is in charge of placing; this one only routes",
                    "stop one of the two, or restart this one to put it in charge");
    if (list_member_is(facts->status, "draining", "true"))
        alarm_raise(w, EVENT_WARNING, "gateway.draining", "gateway",
                    "the gateway is stopping: new requests are refused", NULL);
    alarms_sweep(w);
    w->looked = true;
}
