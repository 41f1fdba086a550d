/* SPDX-License-Identifier: MIT */
#include "gateway/route/route.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/route/cluster.h"
#include "gateway/route/coming.h"
#include "gateway/route/route_private.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { SWEEP_MS = 250, SERVICE_MIX = 8, HOLD_MORE_MS = 1000, MOVES_MAX = 8 };

/* RT_NEW   opened, not looked at yet      RT_WAITING  in its role's queue
 * RT_LEASED has a host                    RT_REFUSED  told so; only the close is still to come */
enum ticket_state { RT_NEW, RT_WAITING, RT_LEASED, RT_REFUSED };

struct route_ticket {
    struct route *route;
    enum ticket_state state;
    const struct route_ticket_ops *ops;
    void *arg;
    struct cluster_role *role; /* WAITING */
    struct cluster_host *host; /* LEASED */
    struct role_map *map;      /* the lease's names live here */
    char asked[NODE_NAME_MAX];
    char avoid[4][NODE_NAME_MAX];
    struct route_ask ask; /* role and avoid point into this struct */
    uint64_t opened_us, leased_us;
    uint64_t stood_ms; /* WAITING: the role's, when it began to wait there */
    uint64_t hold_ms; /* WAITING: for a host that is being loaded, until then at most; 0: has not */
    bool first_byte;
    bool fixed;                     /* the deadline came with the ask: it holds as it is */
    uint8_t moved;                  /* how often it went to a fallback */
    TAILQ_ENTRY(route_ticket) link; /* WAITING: the role's queue; else one of the route's lists */
};

static void route_on_wake(uv_idle_t *idle);

static void route_wake(struct route *r)
{
    if (!uv_is_active((uv_handle_t *)&r->idle))
        uv_idle_start(&r->idle, route_on_wake);
}

/* ---- tickets ---- */

static void ticket_refuse(struct route_ticket *t, int err, const char *text, uint32_t retry_after_s)
{
    struct route *r = t->route;

    assert(t->state == RT_NEW || t->state == RT_WAITING);
    if (t->state == RT_WAITING) {
        TAILQ_REMOVE(&t->role->waiting, t, link);
        t->role->n_waiting--;
        t->role->refused++;
    } else {
        TAILQ_REMOVE(&r->fresh, t, link);
    }
    t->state = RT_REFUSED;
    t->ops->on_refused(t, err, text, retry_after_s);
}

static void ticket_lease(struct route_ticket *t, struct cluster_host *h, const struct decision *d)
{
    const uint64_t now_us = rm_now_us();
    const struct route_lease lease = {
        .node = h->node->name,
        .role = h->role->name,
        .model = h->role->conf->model_name,
        .client = h->node->client,
        .target = h->target,
        .context = h->facts.context,
        .queued_us = now_us - t->opened_us,
        .decision = d,
    };

    assert(t->state == RT_WAITING);
    TAILQ_REMOVE(&t->role->waiting, t, link);
    t->role->n_waiting--;
    t->role->granted++;
    h->in_flight++;
    h->granted++;
    h->last_use_ms = h->role->last_use_ms = now_us / 1000;
    t->host = h;
    t->map = role_map_ref(t->route->map);
    t->leased_us = now_us;
    t->state = RT_LEASED;
    TAILQ_INSERT_TAIL(&t->route->leased, t, link);
    t->ops->on_lease(t, &lease);
}

int route_open(struct route *r, const struct route_ask *ask, const struct route_ticket_ops *ops,
               void *arg, struct route_ticket **out)
{
    struct route_ticket *t = calloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL)
        return UV_ENOMEM;
    t->route = r;
    t->ops = ops;
    t->arg = arg;
    t->ask = *ask;
    rm_text_copy(t->asked, sizeof t->asked, ask->role);
    t->ask.role = t->asked;
    t->fixed = ask->deadline_ms != 0;
    t->ask.avoid_n = ask->avoid_n < RM_COUNT(t->avoid) ? ask->avoid_n : RM_COUNT(t->avoid);
    for (uint32_t i = 0; i < t->ask.avoid_n; i++) {
        snprintf(t->avoid[i], sizeof t->avoid[i], "%s", ask->avoid[i]);
        t->ask.avoid[i] = t->avoid[i];
    }
    t->opened_us = rm_now_us();
    TAILQ_INSERT_TAIL(&r->fresh, t, link);
    route_wake(r);
    *out = t;
    return 0;
}

void *route_ticket_arg(const struct route_ticket *t)
{
    return t->arg;
}

void route_first_byte(struct route_ticket *t)
{
    uint64_t now = rm_now_ms();

    if (t->state != RT_LEASED || t->first_byte)
        return;
    t->first_byte = true;
    health_good(&t->host->health, &health_host_rule, now);
}

/* What a lease came to, told to the host's record. */
static void lease_end(struct route_ticket *t, enum route_outcome how,
                      const struct route_usage *usage)
{
    struct cluster_host *h = t->host;
    const uint64_t now_us = rm_now_us(), now = now_us / 1000;
    double s = (double)(now_us - t->leased_us) / 1e6;

    h->in_flight--;
    h->last_use_ms = h->role->last_use_ms = now;
    if (how == ROUTE_DONE) {
        h->service_s = h->service_s > 0 ? h->service_s + (s - h->service_s) / SERVICE_MIX : s;
        health_good(&h->health, &health_host_rule, now);
        cluster_note_prefix(h, t->ask.prefix_key,
                            usage != NULL && usage->prompt_tokens > 0 ? usage->prompt_tokens
                                                                      : t->ask.prompt_tokens);
    } else if (how == ROUTE_LOST || how == ROUTE_INVALID) {
        h->lost++;
        if (health_bad(&h->health, &health_host_rule, now))
            rm_warn("route", "requests to a host fail", RM_S("role", h->role->name),
                    RM_S("node", h->node->name),
                    RM_S("health", health_state_name(h->health.state)));
    }
    if (how == ROUTE_LOST || how == ROUTE_BUSY)
        cluster_hold(h, now);
    TAILQ_REMOVE(&t->route->leased, t, link);
    role_map_unref(t->map);
    route_wake(t->route); /* a slot is free */
}

void route_close(struct route_ticket *t, enum route_outcome how, const struct route_usage *usage)
{
    if (t == NULL)
        return;
    switch (t->state) {
    case RT_NEW:
        TAILQ_REMOVE(&t->route->fresh, t, link);
        break;
    case RT_WAITING:
        TAILQ_REMOVE(&t->role->waiting, t, link);
        t->role->n_waiting--;
        break;
    case RT_LEASED:
        lease_end(t, how, usage);
        break;
    case RT_REFUSED:
        break;
    }
    free(t);
}

void route_ticket_status(const struct route_ticket *t, char *out, size_t n)
{
    const struct route_ticket *o;
    uint32_t before = 0;

    if (t->state == RT_LEASED) {
        snprintf(out, n, "%s is answering on %s", t->host->role->name, t->host->node->name);
        return;
    }
    if (t->state != RT_WAITING) {
        snprintf(out, n, "%s: looking for a host", t->asked);
        return;
    }
    if (cluster_usable(t->role) == 0) {
        coming_why(t->role, rm_now_ms(), out, n);
        return;
    }
    if (t->hold_ms > rm_now_ms()) {
        snprintf(out, n, "%s waits for a faster host, which is being loaded", t->role->name);
        return;
    }
    TAILQ_FOREACH(o, &t->role->waiting, link)
    {
        if (o == t)
            break;
        before++;
    }
    snprintf(out, n, "every slot of %s is taken, %u requests are before this one", t->role->name,
             before);
}

/* ---- the queues ---- */

/* Will the role be loaded when somebody waits for it? */
static bool role_may_come(const struct cluster_role *role)
{
    const uint64_t now = rm_now_ms();
    struct coming c;

    coming_of(role, now, &c);
    return c.is || (role->conf->residency == MAP_ON_DEMAND && !coming_hopeless(role, now));
}

/* The first fallback that could take a request now. cold: when there is none, the first that may
 * come. NULL: none. */
static struct cluster_role *fallback_of(struct route *r, const struct cluster_role *role, bool cold)
{
    struct cluster_role *maybe = NULL;

    for (size_t i = 0; i < role->conf->fallback.n; i++) {
        struct cluster_role *other = cluster_role_find(&r->cluster, role->conf->fallback.item[i]);

        if (other == NULL || other->conf == NULL || other->n_waiting >= other->conf->queue_max)
            continue;
        if (cluster_usable(other) > 0)
            return other;
        if (cold && maybe == NULL && role_may_come(other))
            maybe = other;
    }
    return maybe;
}

static uint32_t retry_after(const struct cluster_role *role)
{
    double worst = 1;
    const struct cluster_host *h;

    if (cluster_usable(role) == 0)
        return coming_retry_after(role, rm_now_ms());
    TAILQ_FOREACH(h, &role->hosts, link)
    {
        uint32_t slots = h->facts.slots_total > 0 ? h->facts.slots_total : 1;
        double s = h->service_s * (double)(role->n_waiting + 1) / (double)slots;

        worst = s > worst ? s : worst;
    }
    return worst > 60 ? 60 : (uint32_t)ceil(worst);
}

/* Into a role's queue, with that role's deadline. The ticket is in no list. */
static void ticket_wait(struct route_ticket *t, struct cluster_role *role)
{
    const uint64_t now = rm_now_ms();

    coming_clock(role, now);
    if (!t->fixed)
        t->ask.deadline_ms =
            (t->moved > 0 ? now : t->opened_us / 1000) + role->conf->queue_deadline_ms;
    TAILQ_INSERT_TAIL(&role->waiting, t, link);
    role->n_waiting++;
    t->role = role;
    t->stood_ms = role->stood_ms;
    t->state = RT_WAITING;
    role->wanted = true;
}

/* A waiting ticket's role will not serve it (cold: never): to a fallback, if there is one. The map
 * has no loops of fallbacks, but a ticket may see several maps. */
static bool ticket_move(struct route_ticket *t, bool cold)
{
    struct cluster_role *role = t->role, *other;

    if (t->moved == MOVES_MAX || role->conf == NULL ||
        (other = fallback_of(t->route, role, cold)) == NULL)
        return false;
    TAILQ_REMOVE(&role->waiting, t, link);
    role->n_waiting--;
    t->moved++;
    role->moved++;
    ticket_wait(t, other);
    route_wake(t->route);
    return true;
}

/* Fresh tickets go to their role's queue, or are refused. */
static void take_one(struct route_ticket *t)
{
    struct route *r = t->route;
    struct cluster_role *role = cluster_role_find(&r->cluster, t->asked), *other;
    char why[NODE_TEXT_MAX];

    if (r->draining) {
        ticket_refuse(t, RM_ERR_DRAINING, "the gateway is shutting down", 5);
        return;
    }
    if (role == NULL || role->conf == NULL) {
        ticket_refuse(t, RM_ERR_MODEL, "the role is not in the role map any more", 0);
        return;
    }
    role->last_ask_ms = t->opened_us / 1000;
    if (coming_hopeless(role, rm_now_ms())) {
        if ((other = fallback_of(r, role, true)) == NULL) {
            coming_why(role, rm_now_ms(), why, sizeof why);
            role->refused++;
            ticket_refuse(t, RM_ERR_NO_HOST, why, COMING_RETRY_S);
            return;
        }
        role->moved++;
        role = other;
        t->moved++;
    }
    if (role->n_waiting >= role->conf->queue_max) {
        snprintf(why, sizeof why, "%u requests wait for %s already", role->n_waiting, role->name);
        role->refused++;
        ticket_refuse(t, RM_ERR_QUEUE_FULL, why, retry_after(role));
        return;
    }
    TAILQ_REMOVE(&r->fresh, t, link);
    ticket_wait(t, role);
}

static void take_fresh(struct route *r)
{
    struct route_ticket *t;

    while ((t = TAILQ_FIRST(&r->fresh)) != NULL)
        take_one(t);
}

/* A host is free for the ticket, done in `seconds`: is it better off with one that is still being
 * loaded? Such a wait is decided once and ends when the load should have been over. */
static bool ticket_holds(struct route_ticket *t, double seconds, uint32_t *ahead)
{
    const uint64_t now = rm_now_ms();
    uint64_t eta_ms;
    double cold;

    if (coming_best(t->role, &t->ask, now, *ahead, &cold, &eta_ms) == NULL || cold >= seconds)
        return false;
    if (t->hold_ms == 0 && now + eta_ms < t->ask.deadline_ms)
        t->hold_ms = now + eta_ms + HOLD_MORE_MS;
    if (now >= t->hold_ms)
        return false;
    (*ahead)++;
    return true;
}

static void serve_role(struct cluster_role *role)
{
    uint32_t ahead = 0; /* tickets that wait for a host that is being loaded */
    struct route_ticket *t, *next;
    struct cluster_host *h;
    struct decision d;

    if (role->conf == NULL)
        return;
    for (t = TAILQ_FIRST(&role->waiting); t != NULL; t = next) {
        next = TAILQ_NEXT(t, link);
        h = cluster_best(role, &t->ask, rm_now_ms(), &d);
        if (h == NULL)
            return; /* no slot for the oldest: none for the others */
        if (!ticket_holds(t, d.terms.total, &ahead))
            ticket_lease(t, h, &d);
    }
}

/* Until when a ticket waits: time in which its role was coming is given back to it. */
static uint64_t ticket_deadline(const struct route_ticket *t)
{
    uint64_t late = t->ask.deadline_ms + (t->role->stood_ms - t->stood_ms);
    uint64_t cap = t->opened_us / 1000 + COMING_CAP_MS;

    if (t->fixed || late <= cap)
        return t->fixed ? t->ask.deadline_ms : late;
    return cap > t->ask.deadline_ms ? cap : t->ask.deadline_ms;
}

static void expire_role(struct cluster_role *role, uint64_t now_ms)
{
    bool left = role->conf == NULL, hopeless, usable;
    struct route_ticket *t, *next;
    char why[NODE_TEXT_MAX];

    coming_clock(role, now_ms);
    if (role->n_waiting == 0)
        return;
    hopeless = !left && coming_hopeless(role, now_ms);
    usable = cluster_usable(role) > 0;
    for (t = TAILQ_FIRST(&role->waiting); t != NULL; t = next) {
        next = TAILQ_NEXT(t, link);
        if (left) {
            ticket_refuse(t, RM_ERR_MODEL, "the role is not in the role map any more", 0);
            continue;
        }
        if (!usable && (now_ms >= t->ask.deadline_ms ? !t->fixed : hopeless) &&
            ticket_move(t, hopeless))
            continue;
        if (!hopeless && now_ms < ticket_deadline(t))
            continue;
        route_ticket_status(t, why, sizeof why);
        ticket_refuse(t, usable ? RM_ERR_DEADLINE : RM_ERR_NO_HOST, why, retry_after(role));
    }
}

/* Leases on a node that is down will not be answered: their owners are told, oldest first. */
static void tell_lost(struct route *r, struct cluster_node *n)
{
    struct route_ticket *t, *next;

    for (t = TAILQ_FIRST(&r->leased); t != NULL; t = next) {
        next = TAILQ_NEXT(t, link);
        if (t->host->node == n && t->ops->on_lost != NULL)
            t->ops->on_lost(t);
    }
}

/* Who wants to know hears which roles are asked for that nobody serves. */
static void tell_wanted(struct route *r)
{
    struct cluster_role *role;

    TAILQ_FOREACH(role, &r->cluster.roles, link)
    {
        bool tell = role->wanted && role->n_waiting > 0 && cluster_usable(role) == 0;

        role->wanted = false;
        if (tell && r->on_wanted != NULL)
            r->on_wanted(r->on_wanted_arg, role->name);
    }
}

static void serve_all(struct route *r)
{
    struct cluster_role *role;

    take_fresh(r);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    if (role->n_waiting > 0)
        serve_role(role);
    tell_wanted(r);
}

static void route_on_wake(uv_idle_t *idle)
{
    struct route *r = idle->data;

    uv_idle_stop(idle);
    serve_all(r);
}

static void node_changed(struct route *r, struct cluster_node *n)
{
    rm_info("route", "node health", RM_S("node", n->name),
            RM_S("health", health_state_name(n->health.state)),
            RM_S("last_error", n->last_err != 0 ? rm_strerror(n->last_err) : "none"));
    if (n->health.state == HEALTH_DOWN)
        tell_lost(r, n);
    route_wake(r);
}

void route_sweep(struct route *r)
{
    uint64_t now = rm_now_ms();
    struct cluster_node *n;
    struct cluster_role *role;
    struct cluster_host *h;

    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    if (n->has_state && health_tick(&n->health, &health_node_rule, now))
        node_changed(r, n);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    health_tick(&h->health, &health_host_rule, now);
    serve_all(r); /* first: after a pause of our own, a free host is better than a deadline */
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    expire_role(role, now);
    cluster_sweep(&r->cluster);
}

static void route_on_sweep(uv_timer_t *timer)
{
    route_sweep(timer->data);
}

/* ---- what mesh and gateway.c tell ---- */

int route_new(uv_loop_t *loop, struct role_map *map, struct route **out)
{
    struct route *r = calloc(1, sizeof *r);
    int err;

    *out = NULL;
    if (r == NULL)
        return UV_ENOMEM;
    cluster_init(&r->cluster);
    TAILQ_INIT(&r->fresh);
    TAILQ_INIT(&r->leased);
    err = cluster_set_map(&r->cluster, map, rm_now_ms());
    if (err < 0) {
        cluster_clear(&r->cluster);
        free(r);
        return err;
    }
    r->map = role_map_ref(map);
    uv_idle_init(loop, &r->idle);
    uv_timer_init(loop, &r->sweep);
    r->idle.data = r->sweep.data = r;
    r->open_handles = 2;
    uv_timer_start(&r->sweep, route_on_sweep, SWEEP_MS, SWEEP_MS);
    *out = r;
    return 0;
}

static void route_on_closed(uv_handle_t *handle)
{
    struct route *r = handle->data;

    if (--r->open_handles > 0)
        return;
    role_map_unref(r->map);
    cluster_clear(&r->cluster);
    free(r);
}

void route_free(struct route *r)
{
    struct cluster_role *role;
    struct route_ticket *t;

    if (r == NULL)
        return;
    while ((t = TAILQ_FIRST(&r->fresh)) != NULL)
        ticket_refuse(t, RM_ERR_DRAINING, "the gateway is shutting down", 5);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    while ((t = TAILQ_FIRST(&role->waiting)) != NULL)
        ticket_refuse(t, RM_ERR_DRAINING, "the gateway is shutting down", 5);
    assert(TAILQ_EMPTY(&r->leased));
    uv_close((uv_handle_t *)&r->idle, route_on_closed);
    uv_close((uv_handle_t *)&r->sweep, route_on_closed);
}

void route_set_map(struct route *r, struct role_map *map)
{
    struct role_map *old = r->map;

    if (cluster_set_map(&r->cluster, map, rm_now_ms()) < 0)
        rm_error(
            "route",
            "no memory for the new role map's roles; some have no queue until the next reload");
    r->map = role_map_ref(map);
    role_map_unref(old);
    route_wake(r);
}

void route_set_draining(struct route *r)
{
    r->draining = true;
}

void route_node_here(struct route *r, const char *node, struct http_client *client)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);

    if (n != NULL)
        n->client = client;
}

void route_node_gone(struct route *r, const char *node)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);

    if (n == NULL)
        return;
    n->client = NULL;
    n->gone = true;
    tell_lost(r, n);
}

/* The queues' clocks, before something changes that they go by. */
static void clocks(struct route *r, uint64_t now_ms)
{
    struct cluster_role *role;

    TAILQ_FOREACH(role, &r->cluster.roles, link)
    coming_clock(role, now_ms);
}

void route_node_state(struct route *r, const char *node, const struct node_state *state)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);
    uint64_t now = rm_now_ms();
    int err;

    if (n == NULL)
        return;
    clocks(r, now);
    err = cluster_node_state(&r->cluster, n, state, now);
    if (err < 0)
        rm_error("route", "a node's state was not taken", RM_S("node", node), RM_E("error", err));
    if (health_good(&n->health, &health_node_rule, now))
        node_changed(r, n);
    route_wake(r);
}

void route_node_line(struct route *r, const char *node, const char *path, double rtt_ms)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);

    if (n == NULL)
        return;
    n->path = path;
    n->rtt_ms = rtt_ms;
}

void route_node_lost(struct route *r, const char *node, int err)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);

    if (n == NULL)
        return;
    n->last_err = err;
    if (health_bad(&n->health, &health_node_rule, rm_now_ms()))
        node_changed(r, n);
}

/* ---- what drive reads and tells ---- */

void route_demand_of(const struct route *r, const char *name, struct route_demand *out)
{
    const struct cluster_role *role = cluster_role_find(&r->cluster, name);
    const struct route_ticket *t;
    const struct cluster_host *h;

    *out = (struct route_demand){0};
    if (role == NULL)
        return;
    out->waiting = role->n_waiting;
    out->last_ask_ms = role->last_ask_ms;
    out->last_use_ms = role->last_use_ms;
    TAILQ_FOREACH(t, &role->waiting, link) /* a fallback's come later, but may be older */
    {
        uint64_t waited = (rm_now_us() - t->opened_us) / 1000;

        out->oldest_ms = waited > out->oldest_ms ? waited : out->oldest_ms;
    }
    TAILQ_FOREACH(h, &role->hosts, link)
    out->in_flight += h->in_flight;
}

static struct cluster_host *host_find(const struct route *r, const char *role, const char *node)
{
    const struct cluster_role *k = cluster_role_find(&r->cluster, role);

    return k != NULL ? cluster_host_find(k, node) : NULL;
}

void route_host_use_of(const struct route *r, const char *role, const char *node,
                       struct route_host_use *out)
{
    const struct cluster_host *h = host_find(r, role, node);

    *out = (struct route_host_use){0};
    if (h != NULL)
        *out = (struct route_host_use){h->in_flight, h->closed, h->last_use_ms};
}

void route_on_wanted(struct route *r, void (*on_wanted)(void *arg, const char *role), void *arg)
{
    r->on_wanted = on_wanted;
    r->on_wanted_arg = arg;
}

void route_host_close(struct route *r, const char *role, const char *node, bool closed)
{
    struct cluster_host *h =
        closed ? cluster_host_get(&r->cluster, role, node, rm_now_ms()) : host_find(r, role, node);

    if (h == NULL || h->closed == closed)
        return;
    clocks(r, rm_now_ms());
    h->closed = closed;
    rm_info("route", closed ? "host closed: it drains" : "host opened", RM_S("role", role),
            RM_S("node", node), RM_U("in_flight", h->in_flight));
    route_wake(r);
}

void route_host_wanted(struct route *r, const char *role, const char *node, const char *wanted)
{
    struct cluster_host *h = wanted != NULL ? cluster_host_get(&r->cluster, role, node, rm_now_ms())
                                            : host_find(r, role, node);

    if (h != NULL)
        h->wanted = wanted;
}

void route_node_drained(struct route *r, const char *node, bool drained)
{
    struct cluster_node *n = cluster_node_find(&r->cluster, node);

    if (n != NULL)
        n->drained = drained;
}

void route_role_note(struct route *r, const char *name, const struct route_note *note)
{
    struct cluster_role *role = cluster_role_find(&r->cluster, name);
    const uint64_t now = rm_now_ms();

    if (role == NULL)
        return;
    coming_clock(role, now);
    if (role->note.state != note->state || note->state == ROUTE_NOTE_CANNOT)
        role->note.since_ms = now;
    role->note.state = note->state;
    coming_text(role->note.node, sizeof role->note.node, note->node != NULL ? note->node : "");
    coming_text(role->note.text, sizeof role->note.text, note->text != NULL ? note->text : "");
    role->note.ready_ms = note->eta_ms > 0 ? now + note->eta_ms : 0;
    route_wake(r);
}

void route_role_fail(struct route *r, const char *name, int err, const char *text)
{
    struct cluster_role *role = cluster_role_find(&r->cluster, name);
    char why[NODE_TEXT_MAX];
    uint32_t left;

    if (role == NULL)
        return;
    coming_text(why, sizeof why, text);
    for (left = role->n_waiting; left > 0; left--) { /* those that come meanwhile are later ones */
        struct route_ticket *t = TAILQ_FIRST(&role->waiting);

        if (!ticket_move(t, true))
            ticket_refuse(t, err, why, coming_retry_after(role, rm_now_ms()));
    }
}
