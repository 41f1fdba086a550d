/* SPDX-License-Identifier: MIT */
/* gateway/drive/drive.c - drive's life, and its tables: the nodes and roles of the map, in its
 * order, and behind them those that left it and have hosts still. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

/* Tables that are being made. */
struct tables {
    struct drive_node **nodes;
    struct drive_role *roles;
    struct drive_pair *pairs;
    struct hosting_node *f_nodes;
    struct hosting_role *f_roles;
    struct hosting_pair *f_pairs;
    size_t *node_was, *role_was;
    size_t n_nodes, n_roles;
};

/* ---- what has left the map ---- */

static bool node_shows_hosts(const struct drive_node *n)
{
    for (uint32_t i = 0; i < n->state.n_hosts; i++)
        if (n->state.hosts[i].state != HOST_ABSENT)
            return true;
    return false;
}

/* A node that left the map may be let go: it is empty, or is not there. */
static bool node_is_over(const struct drive *d, size_t node)
{
    const struct drive_node *n = d->nodes[node];
    uint64_t now = rm_now_ms();

    if (!link_is_up(n->link))
        return now - n->leaving_ms >= DRIVE_LEAVE_MS && now - n->heard_ms >= DRIVE_LEAVE_MS;
    return d->fenced || (hosting_is_clear(d->hosting, SIZE_MAX, node) && !node_shows_hosts(n));
}

static bool role_is_over(const struct drive *d, size_t role)
{
    if (!hosting_is_clear(d->hosting, role, SIZE_MAX))
        return false;
    for (size_t n = 0; n < d->n_nodes; n++) {
        const struct node_host *h = node_state_find(&d->nodes[n]->state, d->roles[role].name);

        if (h != NULL && h->state != HOST_ABSENT)
            return false;
    }
    return true;
}

static bool role_is_listed(const struct tables *t, const char *name)
{
    for (size_t i = 0; i < t->n_roles; i++)
        if (strcmp(t->roles[i].name, name) == 0)
            return true;
    return false;
}

/* ---- making tables ---- */

static void tables_free(struct tables *t)
{
    free(t->nodes);
    free(t->roles);
    free(t->pairs);
    free(t->f_nodes);
    free(t->f_roles);
    free(t->f_pairs);
    free(t->node_was);
    free(t->role_was);
}

static size_t node_of(const struct drive *d, const struct map_node *conf)
{
    for (size_t i = 0; i < d->n_nodes; i++)
        if (drive_node_is_at(d->nodes[i], conf))
            return i;
    return SIZE_MAX;
}

/* The map's nodes, opened where they are new, and those that are not over. A name is there once: a
 * node that moved to another address is another one, and the old one is just let go. */
static int list_nodes(struct drive *d, const struct role_map *map, struct tables *t)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < map->n_nodes; i++) {
        t->node_was[i] = node_of(d, &map->nodes[i]);
        if (t->node_was[i] != SIZE_MAX)
            t->nodes[i] = d->nodes[t->node_was[i]];
        else
            r = drive_node_open(d, &map->nodes[i], &t->nodes[i]);
        t->n_nodes += r == 0;
    }
    for (size_t i = 0; r == 0 && i < d->n_nodes && t->n_nodes < PLAN_NODES_MAX; i++)
        if (role_map_node(map, rm_slice_of(d->nodes[i]->name)) == NULL &&
            !(d->nodes[i]->leaving ? node_is_over(d, i) : !d->nodes[i]->has_state)) {
            t->node_was[t->n_nodes] = i;
            t->nodes[t->n_nodes++] = d->nodes[i];
        }
    return r;
}

static void add_role(const struct drive *d, struct tables *t, const char *name,
                     const struct map_role *conf)
{
    struct drive_role *to = &t->roles[t->n_roles];

    t->role_was[t->n_roles] = SIZE_MAX;
    for (size_t i = 0; i < d->n_roles; i++)
        if (strcmp(d->roles[i].name, name) == 0) {
            t->role_was[t->n_roles] = i;
            *to = d->roles[i];
        }
    snprintf(to->name, sizeof to->name, "%s", name);
    to->conf = conf;
    t->n_roles++;
}

/* The map's roles, and those of which something stands, or may come to stand. */
static void list_roles(const struct drive *d, const struct role_map *map, struct tables *t,
                       size_t most)
{
    for (size_t i = 0; i < map->n_roles; i++)
        add_role(d, t, map->roles[i].name, &map->roles[i]);
    for (size_t i = 0; i < d->n_roles && t->n_roles < most; i++)
        if (!role_is_listed(t, d->roles[i].name) && !role_is_over(d, i))
            add_role(d, t, d->roles[i].name, NULL);
    for (size_t n = 0; n < t->n_nodes; n++) {
        const struct node_state *s = &t->nodes[n]->state;

        for (uint32_t i = 0; i < s->n_hosts && t->n_roles < most; i++)
            if (s->hosts[i].state != HOST_ABSENT && !role_is_listed(t, s->hosts[i].role))
                add_role(d, t, s->hosts[i].role, NULL);
    }
}

/* What was forecast for the same revision on the same node is still true. */
static void carry_pair(const struct drive *d, struct tables *t, size_t role, size_t node,
                       const char *revision)
{
    struct drive_pair *to = &t->pairs[role * t->n_nodes + node];

    if (t->role_was[role] != SIZE_MAX && t->node_was[node] != SIZE_MAX)
        *to = *drive_pair(d, t->role_was[role], t->node_was[node]);
    snprintf(to->wanted_rev, sizeof to->wanted_rev, "%s", revision);
    if (strcmp(to->forecast_for, to->wanted_rev) != 0) {
        to->known = PLAN_UNASKED;
        to->ask_again_ms = to->load_took_ms = 0;
    }
}

static int tables_make(struct drive *d, const struct role_map *map, struct tables *t)
{
    size_t most_nodes = PLAN_NODES_MAX, most_roles = map->n_roles + HOSTING_LEAVING_MAX;
    size_t most = most_nodes * most_roles;
    int r;

    *t = (struct tables){.nodes = calloc(most_nodes, sizeof(struct drive_node *)),
                         .roles = calloc(most_roles, sizeof *t->roles),
                         .f_nodes = calloc(most_nodes, sizeof *t->f_nodes),
                         .f_roles = calloc(most_roles, sizeof *t->f_roles),
                         .node_was = calloc(most_nodes, sizeof *t->node_was),
                         .role_was = calloc(most_roles, sizeof *t->role_was)};
    if (t->nodes == NULL || t->roles == NULL || t->f_nodes == NULL || t->f_roles == NULL ||
        t->node_was == NULL || t->role_was == NULL || map->n_nodes > most_nodes)
        return UV_ENOMEM;
    if ((r = list_nodes(d, map, t)) < 0)
        return r;
    list_roles(d, map, t, most_roles);
    most = t->n_nodes * t->n_roles + 1;
    t->pairs = calloc(most, sizeof *t->pairs);
    t->f_pairs = calloc(most, sizeof *t->f_pairs);
    if (t->pairs == NULL || t->f_pairs == NULL)
        return UV_ENOMEM;
    for (size_t role = 0; role < t->n_roles; role++) {
        char revision[33] = "";

        if (t->roles[role].conf != NULL) {
            struct desired_host desired;

            drive_desired(d, t->roles[role].conf, &desired);
            desired_host_revision(&desired, revision);
        }
        for (size_t n = 0; n < t->n_nodes; n++)
            carry_pair(d, t, role, n, revision);
    }
    return hosting_reshape(d->hosting, t->n_roles, t->n_nodes, t->role_was, t->node_was);
}

static bool is_in(const struct drive_node *n, struct drive_node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i] == n)
            return true;
    return false;
}

/* Frees the forecasts that the new tables (NULL: none) did not take over. */
static void free_forecasts(struct drive *d, const struct tables *t)
{
    for (size_t r = 0; t != NULL && r < t->n_roles; r++)
        for (size_t n = 0; n < t->n_nodes; n++)
            if (t->role_was[r] != SIZE_MAX && t->node_was[n] != SIZE_MAX)
                drive_pair(d, t->role_was[r], t->node_was[n])->forecast = NULL;
    for (size_t i = 0; i < d->n_roles * d->n_nodes; i++)
        free(d->pairs[i].forecast);
}

static void drop_nodes(struct drive *d, const struct role_map *map, const struct tables *t)
{
    for (size_t i = 0; i < d->n_nodes; i++) {
        struct drive_node *n = d->nodes[i];

        if (is_in(n, t->nodes, t->n_nodes))
            continue;
        if (role_map_node(map, rm_slice_of(n->name)) == NULL)
            route_node_gone(d->route, n->name);
        rm_info("drive", "node let go", RM_S("node", n->name));
        drive_node_free(n);
    }
}

static void mark_leaving(const struct role_map *map, struct tables *t)
{
    for (size_t i = 0; i < t->n_nodes; i++) {
        struct drive_node *n = t->nodes[i];
        bool leaving = i >= map->n_nodes;

        if (leaving && !n->leaving) {
            n->leaving_ms = rm_now_ms();
            rm_info("drive", "node leaves: its hosts are given up", RM_S("node", n->name));
        }
        n->leaving = leaving;
    }
}

int drive_retable(struct drive *d, struct role_map *map)
{
    struct role_map *old = d->map;
    struct tables t;
    int r = tables_make(d, map, &t);

    if (r < 0) {
        for (size_t i = 0; t.nodes != NULL && i < t.n_nodes; i++)
            if (!is_in(t.nodes[i], d->nodes, d->n_nodes))
                drive_node_free(t.nodes[i]);
        tables_free(&t);
        return r;
    }
    mark_leaving(map, &t);
    free_forecasts(d, &t);
    drop_nodes(d, map, &t);
    tables_free(&(struct tables){.nodes = d->nodes,
                                 .roles = d->roles,
                                 .pairs = d->pairs,
                                 .f_nodes = d->f_nodes,
                                 .f_roles = d->f_roles,
                                 .f_pairs = d->f_pairs});
    d->nodes = t.nodes;
    d->roles = t.roles;
    d->pairs = t.pairs;
    d->f_nodes = t.f_nodes;
    d->f_roles = t.f_roles;
    d->f_pairs = t.f_pairs;
    d->n_nodes = t.n_nodes;
    d->n_roles = t.n_roles;
    free(t.node_was);
    free(t.role_was);
    d->facts = (struct hosting_facts){
        .nodes = d->f_nodes, .roles = d->f_roles, .pairs = d->f_pairs, .settled = false};
    d->map = role_map_ref(map);
    role_map_unref(old);
    drive_take_wishes(d);
    return 0;
}

static bool role_is_known(const struct drive *d, const char *name)
{
    for (size_t i = 0; i < d->n_roles; i++)
        if (strcmp(d->roles[i].name, name) == 0)
            return true;
    return false;
}

/* Hosts of roles that are in no table; HOSTING_LEAVING_MAX at a time. */
static bool has_strangers(const struct drive *d)
{
    if (d->n_roles >= d->map->n_roles + HOSTING_LEAVING_MAX)
        return false;
    for (size_t n = 0; n < d->n_nodes; n++)
        for (uint32_t i = 0; i < d->nodes[n]->state.n_hosts; i++)
            if (d->nodes[n]->state.hosts[i].state != HOST_ABSENT &&
                !role_is_known(d, d->nodes[n]->state.hosts[i].role))
                return true;
    return false;
}

void drive_follow(struct drive *d)
{
    bool changes = has_strangers(d);

    for (size_t r = d->map->n_roles; !changes && r < d->n_roles; r++)
        changes = role_is_over(d, r);
    for (size_t n = d->map->n_nodes; !changes && n < d->n_nodes; n++)
        changes = node_is_over(d, n);
    if (changes && drive_retable(d, d->map) < 0)
        rm_error("drive", "no memory to follow what left the role map");
}

/* ---- life ---- */

static void on_tick(uv_timer_t *timer)
{
    drive_mind_trials(timer->data, rm_now_ms());
    drive_run(timer->data);
}

void drive_run_soon(struct drive *d)
{
    uv_timer_start(&d->tick, on_tick, 0, DRIVE_TICK_MS);
}

static void on_wanted(void *arg, const char *role)
{
    (void)role;
    drive_run_soon(arg);
}

int drive_set_map(struct drive *d, struct role_map *map)
{
    int r = drive_retable(d, map);

    if (r < 0)
        return r;
    for (size_t i = 0; i < map->n_nodes; i++)
        route_node_here(d->route, d->nodes[i]->name, link_run_client(d->nodes[i]->link));
    drive_follow_wishes(d);
    for (size_t i = 0; i < map->n_roles; i++) { /* what could not be done before may be done now */
        route_role_note(d->route, d->roles[i].name, &(struct route_note){.state = ROUTE_NOTE_NONE});
        d->roles[i].noted = ROUTE_NOTE_NONE;
    }
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
    d->started_ms = rm_now_ms();
    if ((r = hosting_new(0, 0, &d->hosting)) == 0)
        r = drive_set_map(d, map);
    if (r < 0) {
        hosting_free(d->hosting);
        free(d);
        return r;
    }
    uv_timer_init(loop, &d->tick);
    d->tick.data = d;
    uv_timer_start(&d->tick, on_tick, DRIVE_TICK_MS, DRIVE_TICK_MS);
    route_on_wanted(route, on_wanted, d);
    *out = d;
    return 0;
}

void drive_free_when_idle(struct drive *d)
{
    if (!d->closing || !d->timer_closed || d->pending > 0)
        return;
    wishes_clear(&d->wishes);
    free(d->keep.path);
    free(d);
}

static void on_closed(uv_handle_t *handle)
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
    route_on_wanted(d->route, NULL, NULL);
    free_forecasts(d, NULL);
    for (size_t i = 0; i < d->n_nodes; i++) {
        route_node_here(d->route, d->nodes[i]->name, NULL);
        drive_node_free(d->nodes[i]);
    }
    tables_free(&(struct tables){.nodes = d->nodes,
                                 .roles = d->roles,
                                 .pairs = d->pairs,
                                 .f_nodes = d->f_nodes,
                                 .f_roles = d->f_roles,
                                 .f_pairs = d->f_pairs});
    hosting_free(d->hosting);
    role_map_unref(d->map);
    uv_close((uv_handle_t *)&d->tick, on_closed);
}
