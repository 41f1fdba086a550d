/* SPDX-License-Identifier: MIT */
#include "gateway/route/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cluster_init(struct cluster *c)
{
    TAILQ_INIT(&c->nodes);
    TAILQ_INIT(&c->roles);
}

static void node_free(struct cluster *c, struct cluster_node *n)
{
    struct cluster_role *r;
    struct cluster_host *h, *next;

    TAILQ_FOREACH(r, &c->roles, link)
    for (h = TAILQ_FIRST(&r->hosts); h != NULL; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->node == n) {
            TAILQ_REMOVE(&r->hosts, h, link);
            free(h);
        }
    }
    TAILQ_REMOVE(&c->nodes, n, link);
    node_state_clear(&n->state);
    free(n);
}

void cluster_clear(struct cluster *c)
{
    struct cluster_role *r;

    while (!TAILQ_EMPTY(&c->nodes))
        node_free(c, TAILQ_FIRST(&c->nodes));
    while ((r = TAILQ_FIRST(&c->roles)) != NULL) {
        TAILQ_REMOVE(&c->roles, r, link);
        free(r);
    }
}

struct cluster_role *cluster_role_find(const struct cluster *c, const char *role)
{
    struct cluster_role *r;

    TAILQ_FOREACH(r, &c->roles, link)
    if (strcmp(r->name, role) == 0)
        return r;
    return NULL;
}

struct cluster_node *cluster_node_find(const struct cluster *c, const char *node)
{
    struct cluster_node *n;

    TAILQ_FOREACH(n, &c->nodes, link)
    if (strcmp(n->name, node) == 0)
        return n;
    return NULL;
}

static struct cluster_role *role_add(struct cluster *c, const char *name)
{
    struct cluster_role *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->cluster = c;
    snprintf(r->name, sizeof r->name, "%s", name);
    TAILQ_INIT(&r->hosts);
    TAILQ_INIT(&r->waiting);
    TAILQ_INSERT_TAIL(&c->roles, r, link);
    return r;
}

static struct cluster_node *node_add(struct cluster *c, const char *name, uint64_t now_ms)
{
    struct cluster_node *n = calloc(1, sizeof *n);

    if (n == NULL)
        return NULL;
    snprintf(n->name, sizeof n->name, "%s", name);
    health_init(&n->health, HEALTH_DOWN, now_ms);
    n->rtt_ms = -1;
    TAILQ_INSERT_TAIL(&c->nodes, n, link);
    return n;
}

static struct cluster_host *host_of(const struct cluster_role *r, const struct cluster_node *n)
{
    struct cluster_host *h;

    TAILQ_FOREACH(h, &r->hosts, link)
    if (h->node == n)
        return h;
    return NULL;
}

struct cluster_host *cluster_host_find(const struct cluster_role *role, const char *node)
{
    struct cluster_host *h;

    TAILQ_FOREACH(h, &role->hosts, link)
    if (strcmp(h->node->name, node) == 0)
        return h;
    return NULL;
}

static struct cluster_host *host_add(struct cluster_role *r, struct cluster_node *n,
                                     uint64_t now_ms)
{
    struct cluster_host *h = calloc(1, sizeof *h);

    if (h == NULL)
        return NULL;
    h->node = n;
    h->role = r;
    health_init(&h->health, HEALTH_UP, now_ms);
    snprintf(h->target, sizeof h->target, "/node/v1/run/%s", r->name);
    TAILQ_INSERT_TAIL(&r->hosts, h, link);
    return h;
}

static bool is_loaded(enum node_host_state s)
{
    return s == HOST_READY || s == HOST_BUSY || s == HOST_DRAINING;
}

/* A host that is ready when it is heard of first was loaded before us. */
static void count_loads(struct cluster_host *h, enum node_host_state now)
{
    enum node_host_state was = h->facts.state;

    if (h->told && is_loaded(now) && !is_loaded(was))
        h->loads++;
    if (h->told && now == HOST_FAILED && was != HOST_FAILED && !is_loaded(was))
        h->load_fails++;
    h->told = true;
}

/* Takes what the state says of a host, NULL: nothing; notes when its load moved. */
static void host_facts(struct cluster_host *h, const struct node_host *facts, uint64_t now_ms)
{
    static const struct node_host absent = {.state = HOST_ABSENT};
    const struct node_host *f = facts != NULL ? facts : &absent;

    if (f->state != h->facts.state) {
        h->state_ms = h->risen_ms = now_ms;
        h->began = f->progress;
    } else if (f->progress > h->facts.progress) {
        h->risen_ms = now_ms;
    }
    count_loads(h, f->state);
    if (f->state == HOST_ABSENT)
        h->closed = false;
    if (f->prefill_tps > 0)
        h->prefill_tps = f->prefill_tps;
    h->facts = *f;
}

/* By how much a counter of an engine rose; one that is new began at 0. */
static uint64_t risen(uint64_t before, uint64_t now, bool new_engine)
{
    return new_engine ? now : now > before ? now - before : 0;
}

/* Adds to the node's totals what a host did since the state before this one: by what it tells, so
 * hosts of roles that the map lacks count as well. */
static void node_count(struct cluster_node *n, const struct node_state *before, bool new_boot,
                       uint64_t now_ms)
{
    for (uint32_t i = 0; i < n->state.n_hosts; i++) {
        const struct node_host *h = &n->state.hosts[i], *old = node_state_find(before, h->role);
        bool new_engine = new_boot || old == NULL || old->pid != h->pid;

        n->rate.in += risen(new_engine ? 0 : old->read_tokens, h->read_tokens, new_engine);
        n->rate.out +=
            risen(new_engine ? 0 : old->generated_tokens, h->generated_tokens, new_engine);
    }
    rate_note(&n->rate, now_ms);
}

/* Brings the hosts of one role on a node up to date with the node's state. */
static int role_facts(struct cluster_role *r, struct cluster_node *n, bool new_boot,
                      uint64_t now_ms)
{
    const struct node_host *facts = node_state_find(&n->state, r->name);
    struct cluster_host *h = host_of(r, n);

    if (h == NULL && facts != NULL && (h = host_add(r, n, now_ms)) == NULL)
        return UV_ENOMEM;
    if (h == NULL)
        return 0;
    if (new_boot || facts == NULL || facts->pid != h->facts.pid) {
        health_init(&h->health, HEALTH_UP, now_ms); /* another engine: its record starts anew */
        h->held_until_ms = 0;
    }
    host_facts(h, facts, now_ms);
    return 0;
}

int cluster_node_state(struct cluster *c, struct cluster_node *n, const struct node_state *state,
                       uint64_t now_ms)
{
    bool new_boot = !n->has_state || strcmp(n->state.boot_id, state->boot_id) != 0;
    struct node_host *hosts = NULL;
    struct node_state before = n->state;
    bool first = !n->has_state;
    struct cluster_role *r;
    int err = 0;

    if (state->n_hosts > 0) {
        if ((hosts = malloc(state->n_hosts * sizeof *hosts)) == NULL)
            return UV_ENOMEM;
        memcpy(hosts, state->hosts, state->n_hosts * sizeof *hosts);
    }
    n->state = *state;
    n->state.hosts = hosts;
    n->has_state = true;
    if (first) /* what was done before we came is not of the last seconds */
        rate_note(&n->rate, now_ms);
    else
        node_count(n, &before, new_boot, now_ms);
    node_state_clear(&before);
    TAILQ_FOREACH(r, &c->roles, link)
    if (err == 0)
        err = role_facts(r, n, new_boot, now_ms);
    return err;
}

struct cluster_host *cluster_host_get(struct cluster *c, const char *role, const char *node,
                                      uint64_t now_ms)
{
    struct cluster_role *r = cluster_role_find(c, role);
    struct cluster_node *n = cluster_node_find(c, node);
    struct cluster_host *h = r != NULL && n != NULL ? host_of(r, n) : NULL;

    return h != NULL || r == NULL || n == NULL ? h : host_add(r, n, now_ms);
}

/* A role that is new here may be hosted already. */
static int role_add_hosts(struct cluster *c, struct cluster_role *r, uint64_t now_ms)
{
    struct cluster_node *n;
    int err = 0;

    TAILQ_FOREACH(n, &c->nodes, link)
    if (err == 0 && n->has_state)
        err = role_facts(r, n, false, now_ms);
    return err;
}

int cluster_set_map(struct cluster *c, const struct role_map *map, uint64_t now_ms)
{
    struct cluster_role *r;
    struct cluster_node *n;

    TAILQ_FOREACH(r, &c->roles, link)
    r->conf = NULL;
    TAILQ_FOREACH(n, &c->nodes, link)
    n->gone = true;
    for (size_t i = 0; i < map->n_roles; i++) {
        r = cluster_role_find(c, map->roles[i].name);
        if (r == NULL &&
            ((r = role_add(c, map->roles[i].name)) == NULL || role_add_hosts(c, r, now_ms) < 0))
            return UV_ENOMEM;
        r->conf = &map->roles[i];
    }
    for (size_t i = 0; i < map->n_nodes; i++) {
        n = cluster_node_find(c, map->nodes[i].name);
        if (n == NULL && (n = node_add(c, map->nodes[i].name, now_ms)) == NULL)
            return UV_ENOMEM;
        n->gone = false;
    }
    return 0;
}

static bool node_in_use(const struct cluster *c, const struct cluster_node *n)
{
    struct cluster_role *r;
    struct cluster_host *h;

    TAILQ_FOREACH(r, &c->roles, link)
    if ((h = host_of(r, n)) != NULL && h->in_flight > 0)
        return true;
    return false;
}

static bool role_in_use(const struct cluster_role *r)
{
    struct cluster_host *h;

    if (r->n_waiting > 0)
        return true;
    TAILQ_FOREACH(h, &r->hosts, link)
    if (h->in_flight > 0)
        return true;
    return false;
}

void cluster_sweep(struct cluster *c)
{
    struct cluster_node *n, *next_node;
    struct cluster_role *r, *next_role;
    struct cluster_host *h;

    for (n = TAILQ_FIRST(&c->nodes); n != NULL; n = next_node) {
        next_node = TAILQ_NEXT(n, link);
        if (n->gone && !node_in_use(c, n))
            node_free(c, n);
    }
    for (r = TAILQ_FIRST(&c->roles); r != NULL; r = next_role) {
        next_role = TAILQ_NEXT(r, link);
        if (r->conf != NULL || role_in_use(r))
            continue;
        while ((h = TAILQ_FIRST(&r->hosts)) != NULL) {
            TAILQ_REMOVE(&r->hosts, h, link);
            free(h);
        }
        TAILQ_REMOVE(&c->roles, r, link);
        free(r);
    }
}

/* ---- choice ---- */

static bool host_stands(const struct cluster_host *h)
{
    const struct cluster_node *n = h->node;

    return h->role->conf != NULL && !h->closed && n->client != NULL && !n->gone &&
           !n->state.draining && n->health.state != HEALTH_DOWN &&
           (h->facts.state == HOST_READY || h->facts.state == HOST_BUSY);
}

static bool has_wanted_model(const struct cluster_host *h)
{
    return strcmp(h->facts.model, h->role->conf->model_name) == 0;
}

/* A host of the model that the map had before serves until one of the new model stands: the new one
 * may take minutes to load, or never load at all. */
static bool host_serves(const struct cluster_host *h)
{
    const struct cluster_host *other;

    if (!host_stands(h) || has_wanted_model(h))
        return host_stands(h);
    TAILQ_FOREACH(other, &h->role->hosts, link)
    if (host_stands(other) && has_wanted_model(other))
        return false;
    return true;
}

/* Two hosts with other model hashes must not share traffic: the hash that most serving hosts have
 * is the role's, the first one of equals. */
static const char *role_hash(const struct cluster_role *r)
{
    const struct cluster_host *a, *b;
    const char *best = "";
    uint32_t most = 0, n;

    TAILQ_FOREACH(a, &r->hosts, link)
    {
        if (!host_serves(a) || a->facts.model_hash[0] == '\0')
            continue;
        n = 0;
        TAILQ_FOREACH(b, &r->hosts, link)
        n += host_serves(b) && strcmp(a->facts.model_hash, b->facts.model_hash) == 0;
        if (n > most) {
            most = n;
            best = a->facts.model_hash;
        }
    }
    return best;
}

static bool host_drifts(const struct cluster_host *h, const char *hash)
{
    return h->facts.model_hash[0] != '\0' && hash[0] != '\0' &&
           strcmp(h->facts.model_hash, hash) != 0;
}

bool cluster_host_usable(const struct cluster_host *h)
{
    return host_serves(h) && !host_drifts(h, role_hash(h->role));
}

bool cluster_host_drifts(const struct cluster_host *h)
{
    return host_serves(h) && host_drifts(h, role_hash(h->role));
}

static bool avoided(const struct route_ask *ask, const char *node)
{
    for (uint32_t i = 0; i < ask->avoid_n; i++)
        if (strcmp(ask->avoid[i], node) == 0)
            return true;
    return false;
}

static uint32_t cached_for(const struct cluster_host *h, uint64_t key)
{
    if (key != 0)
        for (uint32_t i = 0; i < CLUSTER_PREFIXES; i++)
            if (h->prefix[i].key == key)
                return h->prefix[i].tokens;
    return 0;
}

static struct score_host score_facts(const struct cluster_host *h, const struct route_ask *ask)
{
    return (struct score_host){
        .slots = h->facts.slots_total,
        .in_flight = h->in_flight,
        .queued = h->facts.queue,
        .prefill_tps = h->facts.prefill_tps,
        .service_s = h->service_s,
        .cached = cached_for(h, ask->prefix_key),
        .suspect = h->node->health.state == HEALTH_SUSPECT || h->health.state != HEALTH_UP,
    };
}

double cluster_cold_score(const struct cluster_host *h, const struct route_ask *ask,
                          uint64_t load_ms, uint32_t ahead)
{
    const struct score_host facts = {
        .slots = h->facts.slots_total > 0 ? h->facts.slots_total : h->role->conf->slots,
        .in_flight = ahead,
        .prefill_tps = h->prefill_tps,
        .service_s = h->service_s,
        .load_s = (double)load_ms / 1000,
        .suspect = h->node->health.state == HEALTH_SUSPECT,
    };

    return h->prefill_tps > 0 ? score_host_for(&facts, ask->prompt_tokens).total : 0;
}

/* Why a host cannot be taken now; NULL: it can. hash: the role's. */
static const char *host_reject(const struct cluster_host *h, const char *hash, uint64_t now_ms)
{
    const uint32_t slots = h->facts.slots_total > 0 ? h->facts.slots_total : 1;

    if (!host_serves(h))
        return h->closed                                  ? "it drains"
               : h->node->client == NULL || h->node->gone ? "no link to its node"
               : h->node->health.state == HEALTH_DOWN     ? "its node is down"
               : h->node->state.draining                  ? "its node is stopping"
               : h->facts.state != HOST_READY && h->facts.state != HOST_BUSY
                   ? node_host_state_name(h->facts.state)
                   : "it has another model";
    if (host_drifts(h, hash))
        return "its model content is not that of most";
    if (now_ms < h->held_until_ms)
        return "it has just lost a request";
    return h->in_flight >= slots ? "full" : NULL;
}

static void decision_add(struct decision *d, const struct cluster_host *h,
                         const struct route_ask *ask, const char *reject)
{
    if (d->n == DECISION_MAX) {
        d->cut = true;
        return;
    }
    d->host[d->n++] = (struct decision_host){
        .node = h->node->name,
        .reject = reject,
        .failing = h->health.state == HEALTH_DOWN,
        .avoided = avoided(ask, h->node->name),
        .score = reject == NULL ? score_facts(h, ask) : (struct score_host){.slots = 0},
    };
}

struct cluster_host *cluster_best(const struct cluster_role *role, const struct route_ask *ask,
                                  uint64_t now_ms, struct decision *d)
{
    const char *hash = role_hash(role), *reject;
    struct cluster_host *h;

    d->prompt = ask->prompt_tokens;
    d->n = 0;
    d->cut = false;
    TAILQ_FOREACH(h, &role->hosts, link)
    if (host_reject(h, hash, now_ms) == NULL)
        decision_add(d, h, ask, NULL);
    decision_choose(d);
    if (d->chosen < 0)
        return NULL;
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->facts.state != HOST_ABSENT && (reject = host_reject(h, hash, now_ms)) != NULL)
        decision_add(d, h, ask, reject);
    return cluster_host_find(role, d->host[d->chosen].node);
}

uint32_t cluster_usable(const struct cluster_role *role)
{
    const char *hash = role_hash(role);
    struct cluster_host *h;
    uint32_t n = 0;

    TAILQ_FOREACH(h, &role->hosts, link)
    n += host_serves(h) && !host_drifts(h, hash);
    return n;
}

void cluster_hold(struct cluster_host *h, uint64_t now_ms)
{
    h->held_until_ms = now_ms + CLUSTER_HOLD_MS;
}

void cluster_note_prefix(struct cluster_host *h, uint64_t key, uint32_t tokens)
{
    if (key == 0)
        return;
    for (uint32_t i = 0; i < CLUSTER_PREFIXES; i++)
        if (h->prefix[i].key == key) {
            h->prefix[i].tokens = tokens;
            return;
        }
    h->prefix[h->next_prefix].key = key;
    h->prefix[h->next_prefix].tokens = tokens;
    h->next_prefix = (h->next_prefix + 1) % CLUSTER_PREFIXES;
}
