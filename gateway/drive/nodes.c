/* SPDX-License-Identifier: MIT */
/* gateway/drive/nodes.c - links to workers, and what they hear. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

bool drive_node_usable(const struct drive_node *n)
{
    return n->has_state && !n->state.draining &&
           (link_is_up(n->link) || rm_now_ms() - n->heard_ms < DRIVE_GRACE_MS);
}

/* ---- states ---- */

static size_t node_index(const struct drive_node *n)
{
    const struct drive *d = n->drive;

    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i] == n)
            return i;
    return SIZE_MAX;
}

static bool is_loading(const struct node_host *h)
{
    return h != NULL &&
           (h->state == HOST_FETCHING || h->state == HOST_LOADING || h->state == HOST_WARMING);
}

/* How fast loads are here, for those that are still to come. */
static void note_load(struct drive_node *n, struct drive_pair *p, uint64_t now)
{
    uint64_t took = now - p->load_began_ms;

    p->load_took_ms = took > 0 ? took : 1;
    p->load_began_ms = 0;
    if (p->known != PLAN_FORECAST)
        return;
    if (p->ask_again_ms > now + DRIVE_LOADED_AGAIN_MS)
        p->ask_again_ms = now + DRIVE_LOADED_AGAIN_MS; /* its ledger knows more now */
    if (p->forecast->model_bytes > 0) {
        double pace = (double)p->forecast->model_bytes / (double)p->load_took_ms;

        n->bytes_ms = n->bytes_ms > 0 ? n->bytes_ms + (pace - n->bytes_ms) / 4 : pace;
    }
}

static void follow_loads(struct drive_node *n, size_t node, uint64_t now)
{
    struct drive *d = n->drive;

    for (size_t r = 0; r < d->n_roles; r++) {
        const struct node_host *h = node_state_find(&n->state, d->roles[r].name);
        struct drive_pair *p = drive_pair(d, r, node);

        if (is_loading(h)) {
            if (p->load_began_ms == 0)
                p->load_began_ms = now;
        } else if (h != NULL && (h->state == HOST_READY || h->state == HOST_BUSY)) {
            if (p->load_began_ms > 0)
                note_load(n, p, now);
        } else {
            p->load_began_ms = 0;
        }
    }
}

/* A higher epoch than ours: of a gateway before us that this worker tells of only now, or of one
 * that took over. */
static void mind_epoch(struct drive_node *n, bool first)
{
    struct drive *d = n->drive;

    if (!d->settled || d->fenced || n->state.epoch <= d->epoch)
        return;
    if (!first) {
        drive_fence(d, n->name);
        return;
    }
    d->epoch = n->state.epoch + 1;
    rm_warn("drive", "a worker remembers a higher epoch; ours is raised above it",
            RM_S("node", n->name), RM_U("epoch", d->epoch));
}

static void tell_line(const struct drive_node *n)
{
    route_node_line(n->drive->route, n->name, mesh_path_name(link_path(n->link)),
                    link_rtt_ms(n->link));
}

static bool was_done(const struct node_state *s, const char *id)
{
    for (uint32_t i = 0; i < s->n_pulls; i++)
        if (strcmp(s->pulls[i].id, id) == 0)
            return s->pulls[i].state == PULL_DONE;
    return false;
}

/* A model has come onto the node: what it could not host it may host now. */
static void mind_pulls(struct drive_node *n, const struct node_state *now)
{
    struct drive *d = n->drive;
    size_t node = node_index(n);
    bool came = false;

    for (uint32_t i = 0; i < now->n_pulls; i++)
        came |= now->pulls[i].state == PULL_DONE && !was_done(&n->state, now->pulls[i].id);
    for (size_t r = 0; came && node < d->n_nodes && r < d->n_roles; r++)
        if (drive_pair(d, r, node)->known == PLAN_BAD)
            drive_pair(d, r, node)->ask_again_ms = 0;
}

static void on_state(struct link *l, const struct node_state *state)
{
    struct drive_node *n = link_arg(l);
    bool first = !n->has_state;
    bool changed =
        first || n->state.seq != state->seq || strcmp(n->state.boot_id, state->boot_id) != 0;
    struct node_host *hosts = NULL;

    if (state->n_hosts > 0) {
        if ((hosts = malloc(state->n_hosts * sizeof *hosts)) == NULL)
            return;
        memcpy(hosts, state->hosts, state->n_hosts * sizeof *hosts);
    }
    mind_pulls(n, state);
    node_state_clear(&n->state);
    n->state = *state;
    n->state.hosts = hosts;
    n->has_state = true;
    n->heard_ms = rm_now_ms();
    drive_shut_before(n->drive, node_index(n), state);
    route_node_state(n->drive->route, n->name, state);
    tell_line(n);
    follow_loads(n, node_index(n), n->heard_ms);
    mind_epoch(n, first);
    if (changed)
        drive_run(n->drive);
}

static void on_lost(struct link *l, int err)
{
    struct drive_node *n = link_arg(l);

    route_node_lost(n->drive->route, n->name, err);
    tell_line(n);
}

static const struct link_ops ops = {.on_state = on_state, .on_lost = on_lost};

/* ---- life ---- */

void drive_node_free(struct drive_node *n)
{
    if (n == NULL)
        return;
    link_close(n->link);
    node_state_clear(&n->state);
    free(n);
}

static int address_of(const struct map_node *conf, struct http_address *out)
{
    *out = (struct http_address){.port = conf->address.port};
    if (strlen(conf->address.host) >= sizeof out->host)
        return UV_EINVAL;
    snprintf(out->host, sizeof out->host, "%s", conf->address.host);
    return 0;
}

bool drive_node_is_at(const struct drive_node *n, const struct map_node *conf)
{
    return strcmp(n->name, conf->name) == 0 && n->address.port == conf->address.port &&
           strcmp(n->address.host, conf->address.host) == 0;
}

int drive_node_open(struct drive *d, const struct map_node *conf, struct drive_node **out)
{
    struct drive_node *n = calloc(1, sizeof *n);
    int r;

    *out = NULL;
    if (n == NULL)
        return UV_ENOMEM;
    n->drive = d;
    n->id = ++d->last_id;
    snprintf(n->name, sizeof n->name, "%s", conf->name);
    if ((r = address_of(conf, &n->address)) == 0)
        r = link_open(d->loop, n->name, &n->address, &ops, n, &n->link);
    if (r < 0) {
        free(n);
        return r;
    }
    *out = n;
    return 0;
}
