/* SPDX-License-Identifier: MIT */
#include "gateway/drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/mesh/link.h"
#include "gateway/place/place.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"
#include "proto/node/desired.h"
#include "proto/plan/plan_live.h"

enum {
    TICK_MS = 1000,
    SETTLE_MS = 3000,      /* nothing is deleted before every node had its chance to speak */
    NODE_GRACE_MS = 30000, /* a node that was lost keeps its roles for so long */
    RETRY_MS = 2000,       /* between two tries of the same thing */
    BAD_AGAIN_MS = 10000,  /* a node that could not host a role may have its model by now */
    BODY_MAX = 16 * 1024
};

struct drive_node {
    struct drive *drive;
    struct link *link;
    struct http_address address;
    char name[NODE_NAME_MAX];
    struct node_state state; /* the last one heard */
    bool has_state;
    uint64_t heard_ms;
};

/* One role on one node. */
struct drive_pair {
    struct drive *drive;
    size_t role, node;
    struct place_forecast forecast;
    char forecast_for[33]; /* revision the forecast is of */
    char wanted_rev[33];   /* revision that the role map asks for */
    bool asking, putting;
    uint64_t next_try_ms;
    uint64_t ask_again_ms; /* of a forecast that was bad */
};

struct drive {
    uv_loop_t *loop;
    uv_timer_t tick;
    struct role_map *map; /* a reference */
    struct route *route;
    struct drive_node **nodes; /* map->n_nodes, in the map's order */
    struct drive_pair *pairs;  /* [role * n_nodes + node] */
    bool *wanted;
    struct place_verdict *verdicts;
    uint64_t epoch, started_ms;
    uint64_t generation; /* rises with each map: answers to an older one's questions are dropped */
    uint32_t asks;       /* answers still to come, of any generation */
    bool fenced, closing, timer_closed;
};

/* One question on its way. */
struct drive_ask {
    struct drive *drive;
    uint64_t generation;
    size_t pair;
    char what[NODE_NAME_MAX + 16];
};

static void drive_run(struct drive *d);

static struct drive_pair *pair_of(struct drive *d, size_t role, size_t node)
{
    return &d->pairs[role * d->map->n_nodes + node];
}

static bool node_usable(const struct drive_node *n)
{
    return n->has_state && !n->state.draining &&
           (link_is_up(n->link) || rm_now_ms() - n->heard_ms < NODE_GRACE_MS);
}

static uint64_t node_budget(const struct drive *d, size_t node)
{
    const struct node_memory *m = &d->nodes[node]->state.memory;
    uint64_t reserve = d->map->nodes[node].reserve_bytes;

    if (reserve == 0)
        return m->budget;
    return m->total > reserve ? m->total - reserve : 0;
}

static void desired_of(const struct drive *d, const struct map_role *role, struct desired_host *out)
{
    plan_desired_host(role, out);
    out->epoch = d->epoch;
}

/* ---- questions to workers ---- */

static int ask_worker(struct drive *d, size_t pair, const char *method, const char *target,
                      struct rm_slice body, link_answer_cb cb)
{
    struct drive_ask *a = calloc(1, sizeof *a);
    size_t node = d->pairs[pair].node;
    int r;

    if (a == NULL)
        return UV_ENOMEM;
    *a = (struct drive_ask){.drive = d, .generation = d->generation, .pair = pair};
    snprintf(a->what, sizeof a->what, "%s %s", method, d->map->roles[d->pairs[pair].role].name);
    r = link_call(d->nodes[node]->link, method, target, body, cb, a);
    if (r < 0)
        free(a);
    else
        d->asks++;
    return r;
}

static void drive_free_when_idle(struct drive *d)
{
    if (d->closing && d->timer_closed && d->asks == 0)
        free(d);
}

/* Frees the ask; the drive too, when it was the last thing that kept it. */
static void ask_end(struct drive_ask *a)
{
    a->drive->asks--;
    drive_free_when_idle(a->drive);
    free(a);
}

/* The pair that an answer belongs to; NULL when the map has changed since. Ends the ask. */
static struct drive_pair *answer_pair(struct drive_ask *a)
{
    struct drive *d = a->drive;
    struct drive_pair *p =
        !d->closing && a->generation == d->generation ? &d->pairs[a->pair] : NULL;

    ask_end(a);
    return p;
}

static void on_forecast(void *arg, int err, int status, struct rm_slice body)
{
    struct drive_pair *p = answer_pair(arg);
    struct node_forecast f = {0};
    enum place_known was;
    char why[128] = "";
    struct drive *d;

    if (p == NULL)
        return;
    d = p->drive;
    p->asking = false;
    if (err == 0 && status == 200)
        err = node_forecast_decode(body, &f, why);
    else if (err == 0)
        err = RM_ERR_UPSTREAM_INVALID;
    if (err < 0) {
        p->next_try_ms = rm_now_ms() + RETRY_MS;
        rm_warn("drive", "no forecast", RM_S("role", d->map->roles[p->role].name),
                RM_S("node", d->nodes[p->node]->name), RM_E("error", err), RM_S("why", why));
        return;
    }
    was = p->forecast.known;
    p->forecast.known = f.error[0] == '\0' ? PLACE_FITS : PLACE_BAD;
    p->ask_again_ms = rm_now_ms() + BAD_AGAIN_MS;
    p->forecast.bytes = f.known ? f.total : 0;
    snprintf(p->forecast_for, sizeof p->forecast_for, "%s", p->wanted_rev);
    if (f.error[0] != '\0' && was != PLACE_BAD) /* told once */
        rm_warn("drive", "a node cannot host a role", RM_S("role", d->map->roles[p->role].name),
                RM_S("node", d->nodes[p->node]->name), RM_S("why", f.error));
    drive_run(d);
}

static void ask_forecast(struct drive *d, struct drive_pair *p)
{
    struct desired_host desired;
    struct rm_buf body;
    int r;

    desired_of(d, &d->map->roles[p->role], &desired);
    rm_buf_init(&body, BODY_MAX);
    r = desired_host_encode(&desired, &body);
    if (r == 0)
        r = ask_worker(d, (size_t)(p - d->pairs), "POST", "/node/v1/forecast",
                       (struct rm_slice){body.data, body.len}, on_forecast);
    rm_buf_clear(&body);
    if (r < 0)
        p->next_try_ms = rm_now_ms() + RETRY_MS;
    else
        p->asking = true;
}

static void on_asked(void *arg, int err, int status, struct rm_slice body)
{
    struct drive_ask *a = arg;
    char what[sizeof a->what], why[200];
    struct drive_pair *p;

    memcpy(what, a->what, sizeof what);
    p = answer_pair(a);
    if (p == NULL)
        return;
    p->putting = false;
    if (err == 0 && status >= 200 && status < 300)
        return;
    p->next_try_ms = rm_now_ms() + RETRY_MS;
    if (status == 404 && strncmp(what, "DELETE", 6) == 0)
        return; /* gone already */
    if (status == 409 && !p->drive->fenced) {
        p->drive->fenced = true;
        rm_error(
            "drive",
            "a newer gateway is in charge of placing; this one only routes until it is restarted",
            RM_S("node", p->drive->nodes[p->node]->name));
    }
    snprintf(why, sizeof why, "%.*s", (int)(body.n < 180 ? body.n : 180), body.n > 0 ? body.p : "");
    rm_warn("drive", "a worker refused", RM_S("node", p->drive->nodes[p->node]->name),
            RM_S("what", what), RM_I("status", status), RM_E("error", err), RM_S("answer", why));
}

static void put_host(struct drive *d, struct drive_pair *p)
{
    struct desired_host desired;
    char target[NODE_NAME_MAX + 32];
    struct rm_buf body;
    int r;

    desired_of(d, &d->map->roles[p->role], &desired);
    snprintf(target, sizeof target, "/node/v1/hosts/%s", desired.role);
    rm_buf_init(&body, BODY_MAX);
    r = desired_host_encode(&desired, &body);
    if (r == 0)
        r = ask_worker(d, (size_t)(p - d->pairs), "PUT", target,
                       (struct rm_slice){body.data, body.len}, on_asked);
    rm_buf_clear(&body);
    p->next_try_ms = rm_now_ms() + RETRY_MS;
    p->putting = r == 0;
    if (r == 0)
        rm_info("drive", "host asked for", RM_S("role", desired.role),
                RM_S("node", d->nodes[p->node]->name), RM_U("forecast_bytes", p->forecast.bytes));
}

static void on_deleted(void *arg, int err, int status, struct rm_slice body)
{
    struct drive_ask *a = arg;

    (void)body;
    if (err != UV_ECANCELED && (err < 0 || (status != 404 && status >= 300)))
        rm_warn("drive", "a host was not given up", RM_S("what", a->what), RM_I("status", status),
                RM_E("error", err));
    ask_end(a);
}

/* save: the role is still in the map, so its conversations may come back to this node. */
static void delete_host(struct drive *d, size_t node, const char *role, bool save)
{
    struct drive_ask *a = calloc(1, sizeof *a);
    char target[NODE_NAME_MAX + 64];

    if (a == NULL)
        return;
    a->drive = d;
    snprintf(a->what, sizeof a->what, "DELETE %.63s", role);
    snprintf(target, sizeof target, "/node/v1/hosts/%s?epoch=%" PRIu64 "%s", role, d->epoch,
             save ? "&save=1" : "");
    if (link_call(d->nodes[node]->link, "DELETE", target, (struct rm_slice){NULL, 0}, on_deleted,
                  a) < 0) {
        free(a);
        return;
    }
    d->asks++;
    rm_info("drive", "host given up", RM_S("role", role), RM_S("node", d->nodes[node]->name));
}

/* ---- one round ---- */

bool drive_is_settled(const struct drive *d)
{
    if (rm_now_ms() - d->started_ms >= SETTLE_MS)
        return true;
    for (size_t i = 0; i < d->map->n_nodes; i++)
        if (!d->nodes[i]->has_state)
            return false;
    return true;
}

static void ask_forecasts(struct drive *d, uint64_t now)
{
    for (size_t i = 0; i < d->map->n_roles * d->map->n_nodes; i++) {
        struct drive_pair *p = &d->pairs[i];
        struct drive_node *n = d->nodes[p->node];

        bool due = p->forecast.known == PLACE_UNASKED ||
                   (p->forecast.known == PLACE_BAD && now >= p->ask_again_ms);

        if (due && !p->asking && now >= p->next_try_ms && link_is_up(n->link) &&
            map_role_allows(&d->map->roles[p->role], n->name))
            ask_forecast(d, p);
    }
}

/* One that failed where it can never work does not: it may go where it can. */
static bool host_stands(const struct node_host *h, const struct place_forecast *f)
{
    if (h->state == HOST_FAILED && f->known == PLACE_BAD)
        return false;
    return h->state != HOST_ABSENT && h->state != HOST_DRAINING;
}

static int decide(struct drive *d)
{
    size_t n_pairs = d->map->n_roles * d->map->n_nodes;
    struct place_node *nodes = calloc(d->map->n_nodes + 1, sizeof *nodes);
    struct place_forecast *forecasts = calloc(n_pairs + 1, sizeof *forecasts);
    bool *standing = calloc(n_pairs + 1, sizeof *standing);
    int r = nodes == NULL || forecasts == NULL || standing == NULL ? UV_ENOMEM : 0;

    for (size_t i = 0; r == 0 && i < d->map->n_nodes; i++)
        nodes[i] =
            (struct place_node){.usable = node_usable(d->nodes[i]), .budget = node_budget(d, i)};
    for (size_t i = 0; r == 0 && i < n_pairs; i++) {
        const struct drive_node *n = d->nodes[d->pairs[i].node];
        const struct node_host *h =
            node_state_find(&n->state, d->map->roles[d->pairs[i].role].name);

        forecasts[i] = d->pairs[i].forecast;
        standing[i] = n->has_state && h != NULL && host_stands(h, &forecasts[i]);
    }
    if (r == 0)
        place_first_fit(&(struct place_input){d->map, nodes, forecasts, standing}, d->wanted,
                        d->verdicts);
    free(nodes);
    free(forecasts);
    free(standing);
    return r;
}

/* The node's hosts that nobody wants there. A role that waits for a forecast keeps what it has. */
static void give_up_unwanted(struct drive *d, size_t node)
{
    const struct node_state *s = &d->nodes[node]->state;

    for (uint32_t i = 0; i < s->n_hosts; i++) {
        const struct map_role *role = role_map_role(d->map, rm_slice_of(s->hosts[i].role));

        if (s->hosts[i].state == HOST_ABSENT || s->hosts[i].state == HOST_DRAINING)
            continue;
        if (role == NULL || (!pair_of(d, role->index, node)->putting &&
                             !d->wanted[role->index * d->map->n_nodes + node] &&
                             d->verdicts[role->index].why != PLACE_WAITS))
            delete_host(d, node, s->hosts[i].role, role != NULL);
    }
}

/* A new residency or lane touches no engine, but the worker must hear of it. */
static bool host_is_as_wanted(const struct node_host *h, const struct map_role *role,
                              const char *revision)
{
    struct desired_host d;

    plan_desired_host(role, &d);
    return h != NULL && h->state != HOST_ABSENT && strcmp(h->revision, revision) == 0 &&
           h->residency == d.residency && h->lane == d.lane;
}

static void drive_run(struct drive *d)
{
    uint64_t now = rm_now_ms();

    if (d->closing || d->fenced)
        return;
    ask_forecasts(d, now);
    if (!drive_is_settled(d) || decide(d) < 0)
        return;
    for (size_t i = 0; i < d->map->n_roles * d->map->n_nodes; i++) {
        struct drive_pair *p = &d->pairs[i];
        const struct drive_node *n = d->nodes[p->node];
        const struct node_host *h = node_state_find(&n->state, d->map->roles[p->role].name);

        if (!d->wanted[i] || p->putting || now < p->next_try_ms || !link_is_up(n->link))
            continue;
        if (!host_is_as_wanted(h, &d->map->roles[p->role], p->wanted_rev))
            put_host(d, p);
    }
}

static void drive_on_tick(uv_timer_t *timer)
{
    struct drive *d = timer->data;

    drive_run(d);
    if (!d->closing && !d->fenced && drive_is_settled(d))
        for (size_t i = 0; i < d->map->n_nodes; i++)
            if (link_is_up(d->nodes[i]->link))
                give_up_unwanted(d, i);
}

/* ---- links ---- */

static void drive_on_state(struct link *l, const struct node_state *state)
{
    struct drive_node *n = link_arg(l);
    bool changed = !n->has_state || n->state.seq != state->seq ||
                   strcmp(n->state.boot_id, state->boot_id) != 0;
    struct node_host *hosts = NULL;

    if (state->n_hosts > 0) {
        if ((hosts = malloc(state->n_hosts * sizeof *hosts)) == NULL)
            return;
        memcpy(hosts, state->hosts, state->n_hosts * sizeof *hosts);
    }
    node_state_clear(&n->state);
    n->state = *state;
    n->state.hosts = hosts;
    n->has_state = true;
    n->heard_ms = rm_now_ms();
    route_node_state(n->drive->route, n->name, state);
    if (changed)
        drive_run(n->drive);
}

static void drive_on_lost(struct link *l, int err)
{
    struct drive_node *n = link_arg(l);

    route_node_lost(n->drive->route, n->name, err);
}

static const struct link_ops drive_link_ops = {.on_state = drive_on_state,
                                               .on_lost = drive_on_lost};

static void node_free(struct drive_node *n)
{
    if (n == NULL)
        return;
    link_close(n->link);
    node_state_clear(&n->state);
    free(n);
}

static int node_open(struct drive *d, const struct map_node *conf,
                     const struct http_address *address, struct drive_node **out)
{
    struct drive_node *n = calloc(1, sizeof *n);
    int r;

    *out = NULL;
    if (n == NULL)
        return UV_ENOMEM;
    n->drive = d;
    n->address = *address;
    snprintf(n->name, sizeof n->name, "%s", conf->name);
    r = link_open(d->loop, n->name, address, &drive_link_ops, n, &n->link);
    if (r < 0) {
        free(n);
        return r;
    }
    *out = n;
    return 0;
}

static int address_of(const struct map_node *conf, struct http_address *out)
{
    *out = (struct http_address){.port = conf->address.port};
    if (strlen(conf->address.host) >= sizeof out->host)
        return UV_EINVAL;
    snprintf(out->host, sizeof out->host, "%s", conf->address.host);
    return 0;
}

static struct drive_node *node_at(struct drive *d, const char *name, const struct http_address *a)
{
    for (size_t i = 0; d->map != NULL && i < d->map->n_nodes; i++) {
        struct drive_node *n = d->nodes[i];

        if (n != NULL && strcmp(n->name, name) == 0 && n->address.port == a->port &&
            strcmp(n->address.host, a->host) == 0)
            return n;
    }
    return NULL;
}

/* What was forecast for the same revision on the same node is still true. */
static void carry_forecasts(struct drive *d, const struct role_map *map, struct drive_node **nodes,
                            struct drive_pair *pairs)
{
    for (size_t i = 0; d->map != NULL && i < map->n_roles * map->n_nodes; i++) {
        const struct map_role *old =
            role_map_role(d->map, rm_slice_of(map->roles[pairs[i].role].name));

        for (size_t n = 0; old != NULL && n < d->map->n_nodes; n++) {
            const struct drive_pair *p = pair_of(d, old->index, n);

            if (d->nodes[n] == nodes[pairs[i].node] &&
                strcmp(p->forecast_for, pairs[i].wanted_rev) == 0) {
                pairs[i].forecast = p->forecast;
                memcpy(pairs[i].forecast_for, p->forecast_for, sizeof pairs[i].forecast_for);
            }
        }
    }
}

/* What is made anew for each map; the nodes themselves may go on. */
static void tables_free(struct drive_node **nodes, struct drive_pair *pairs, bool *wanted,
                        struct place_verdict *verdicts)
{
    free(nodes);
    free(pairs);
    free(wanted);
    free(verdicts);
}

int drive_set_map(struct drive *d, struct role_map *map)
{
    size_t n_pairs = map->n_roles * map->n_nodes;
    struct drive_node **nodes = calloc(map->n_nodes + 1, sizeof(struct drive_node *));
    struct drive_pair *pairs = calloc(n_pairs + 1, sizeof *pairs);
    bool *wanted = calloc(n_pairs + 1, sizeof *wanted);
    struct place_verdict *verdicts = calloc(map->n_roles + 1, sizeof *verdicts);
    int r = nodes == NULL || pairs == NULL || wanted == NULL || verdicts == NULL ? UV_ENOMEM : 0;
    struct http_address address;

    for (size_t i = 0; r == 0 && i < map->n_nodes; i++) {
        r = address_of(&map->nodes[i], &address);
        if (r == 0 && (nodes[i] = node_at(d, map->nodes[i].name, &address)) == NULL)
            r = node_open(d, &map->nodes[i], &address, &nodes[i]);
    }
    if (r < 0) {
        for (size_t i = 0; nodes != NULL && i < map->n_nodes; i++)
            if (nodes[i] != NULL && node_at(d, nodes[i]->name, &nodes[i]->address) != nodes[i])
                node_free(nodes[i]);
        tables_free(nodes, pairs, wanted, verdicts);
        return r;
    }
    for (size_t i = 0; i < n_pairs; i++) {
        struct desired_host desired;

        pairs[i] =
            (struct drive_pair){.drive = d, .role = i / map->n_nodes, .node = i % map->n_nodes};
        desired_of(d, &map->roles[pairs[i].role], &desired);
        desired_host_revision(&desired, pairs[i].wanted_rev);
    }
    carry_forecasts(d, map, nodes, pairs);
    for (size_t i = 0; i < map->n_nodes; i++)
        route_node_here(d->route, nodes[i]->name, link_run_client(nodes[i]->link));
    for (size_t i = 0; d->map != NULL && i < d->map->n_nodes; i++) {
        bool kept = false;

        for (size_t k = 0; k < map->n_nodes; k++)
            kept |= nodes[k] == d->nodes[i];
        if (!kept) {
            if (role_map_node(map, rm_slice_of(d->nodes[i]->name)) == NULL)
                route_node_gone(d->route, d->nodes[i]->name);
            node_free(d->nodes[i]);
        }
    }
    tables_free(d->nodes, d->pairs, d->wanted, d->verdicts);
    role_map_unref(d->map);
    d->nodes = nodes;
    d->pairs = pairs;
    d->wanted = wanted;
    d->verdicts = verdicts;
    d->map = role_map_ref(map);
    d->generation++;
    d->started_ms = rm_now_ms();
    return 0;
}

int drive_new(uv_loop_t *loop, struct role_map *map, struct route *route, uint64_t epoch,
              struct drive **out)
{
    struct drive *d = calloc(1, sizeof *d);
    int r;

    *out = NULL;
    if (d == NULL)
        return UV_ENOMEM;
    d->loop = loop;
    d->route = route;
    d->epoch = epoch;
    r = drive_set_map(d, map);
    if (r < 0) {
        free(d);
        return r;
    }
    uv_timer_init(loop, &d->tick);
    d->tick.data = d;
    uv_timer_start(&d->tick, drive_on_tick, TICK_MS, TICK_MS);
    *out = d;
    return 0;
}

static void drive_on_closed(uv_handle_t *handle)
{
    struct drive *d = handle->data;

    d->timer_closed = true;
    drive_free_when_idle(d);
}

void drive_close(struct drive *d)
{
    if (d == NULL)
        return;
    d->closing = true;
    for (size_t i = 0; i < d->map->n_nodes; i++) {
        route_node_here(d->route, d->nodes[i]->name, NULL);
        node_free(d->nodes[i]);
    }
    tables_free(d->nodes, d->pairs, d->wanted, d->verdicts);
    role_map_unref(d->map);
    uv_close((uv_handle_t *)&d->tick, drive_on_closed);
}

int drive_write_shortfalls(const struct drive *d, struct rm_buf *out)
{
    static const char *const words[] = {"", "a forecast is still to come",
                                        "no allowed node answers", "no allowed node has room"};
    struct rm_jw w = rm_jw_to(out);

    rm_jw_arr(&w, NULL);
    for (size_t i = 0; i < d->map->n_roles; i++) {
        if (d->verdicts[i].why == PLACE_OK)
            continue;
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "role", d->map->roles[i].name);
        rm_jw_str(&w, "reason", words[d->verdicts[i].why]);
        rm_jw_u64(&w, "missing_bytes", d->verdicts[i].missing);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
