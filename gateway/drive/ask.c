/* SPDX-License-Identifier: MIT */
/* gateway/drive/ask.c - questions to workers: forecasts, hosts put and deleted. An answer may come
 * after the tables were made anew, so a question names its role and its node's id. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

struct drive_ask {
    struct drive *drive;
    enum { ASK_FORECAST, ASK_PUT, ASK_DELETE, ASK_UPDATE } kind;
    uint64_t node_id;
    char role[NODE_NAME_MAX], revision[33];
};

/* ---- what is asked for ---- */

void drive_desired(const struct drive *d, const struct map_role *role, struct desired_host *out)
{
    plan_desired_host(role, out);
    out->epoch = d->epoch;
}

/* A new residency, lane or overcommit touches no engine, but the worker must hear of it. */
bool drive_is_up_to_date(const struct node_host *h, const struct map_role *role)
{
    struct desired_host desired;

    plan_desired_host(role, &desired);
    return h->residency == desired.residency && h->lane == desired.lane && h->swap == desired.swap;
}

/* ---- a question's life ---- */

static int ask_send(struct drive *d, int kind, size_t role, size_t node, const char *method,
                    const char *target, struct rm_slice body, link_answer_cb cb)
{
    struct drive_ask *a = calloc(1, sizeof *a);
    int r;

    if (a == NULL)
        return UV_ENOMEM;
    a->drive = d;
    a->kind = kind;
    a->node_id = d->nodes[node]->id;
    snprintf(a->role, sizeof a->role, "%s", d->roles[role].name);
    snprintf(a->revision, sizeof a->revision, "%s", drive_pair(d, role, node)->wanted_rev);
    r = link_call(d->nodes[node]->link, method, target, body, cb, a);
    if (r < 0)
        free(a);
    else
        d->pending++;
    return r;
}

/* Where the answer belongs now; false: nowhere any more. */
static bool ask_place(const struct drive_ask *a, size_t *role, size_t *node)
{
    const struct drive *d = a->drive;

    if (d->closing)
        return false;
    for (*role = 0; *role < d->n_roles && strcmp(d->roles[*role].name, a->role) != 0; ++*role)
        ;
    for (*node = 0; *node < d->n_nodes && d->nodes[*node]->id != a->node_id; ++*node)
        ;
    return *role < d->n_roles && *node < d->n_nodes;
}

/* Frees the question; the drive too, when it was the last thing that kept it. */
static void ask_end(struct drive_ask *a)
{
    struct drive *d = a->drive;

    free(a);
    d->pending--;
    drive_free_when_idle(d);
}

/* The body that names what a host shall be; to be cleared. */
static int desired_body(const struct drive *d, size_t role, struct rm_buf *out)
{
    struct desired_host desired;

    drive_desired(d, d->roles[role].conf, &desired);
    rm_buf_init(out, DRIVE_BODY_MAX);
    return desired_host_encode(&desired, out);
}

/* ---- forecasts ---- */

static void take_forecast(struct drive *d, size_t role, size_t node, const struct drive_ask *a,
                          const struct node_forecast *f)
{
    struct drive_pair *p = drive_pair(d, role, node);
    enum plan_known was = p->known;

    if (strcmp(p->wanted_rev, a->revision) != 0 ||
        (p->forecast == NULL && (p->forecast = malloc(sizeof *p->forecast)) == NULL)) {
        p->ask_again_ms = 0;
        return;
    }
    *p->forecast = *f;
    p->known = f->error[0] == '\0' ? PLAN_FORECAST : PLAN_BAD; /* a host would fail likewise */
    p->ask_again_ms =
        rm_now_ms() + (p->known == PLAN_BAD ? DRIVE_BAD_AGAIN_MS : DRIVE_GOOD_AGAIN_MS);
    memcpy(p->forecast_for, a->revision, sizeof p->forecast_for);
    if (p->known == PLAN_BAD && was != PLAN_BAD) /* told once */
        rm_warn("drive", "a node cannot host a role", RM_S("role", a->role),
                RM_S("node", d->nodes[node]->name), RM_S("why", f->error));
}

static void on_forecast(void *arg, int err, int status, struct rm_slice body)
{
    struct drive_ask *a = arg;
    struct drive *d = a->drive;
    struct node_forecast *f = NULL;
    char why[128] = "";
    size_t role, node;

    if (!ask_place(a, &role, &node)) {
        ask_end(a);
        return;
    }
    drive_pair(d, role, node)->asking = false;
    if (err == 0 && status != 200)
        err = RM_ERR_UPSTREAM_INVALID;
    if (err == 0 && (f = calloc(1, sizeof *f)) == NULL)
        err = UV_ENOMEM;
    if (err == 0)
        err = node_forecast_decode(body, f, why);
    if (err == 0) {
        take_forecast(d, role, node, a, f);
    } else {
        drive_pair(d, role, node)->ask_again_ms = rm_now_ms() + DRIVE_RETRY_MS;
        rm_warn("drive", "no forecast", RM_S("role", a->role), RM_S("node", d->nodes[node]->name),
                RM_E("error", err), RM_S("why", why));
    }
    free(f);
    drive_run_soon(d); /* one round for all answers that came together: there may be a thousand */
    ask_end(a);
}

static void ask_forecast(struct drive *d, size_t role, size_t node, uint64_t now)
{
    struct drive_pair *p = drive_pair(d, role, node);
    struct rm_buf body;
    int r = desired_body(d, role, &body);

    if (r == 0)
        r = ask_send(d, ASK_FORECAST, role, node, "POST", "/node/v1/forecast",
                     (struct rm_slice){body.data, body.len}, on_forecast);
    rm_buf_clear(&body);
    p->asking = r == 0;
    if (r < 0)
        p->ask_again_ms = now + DRIVE_RETRY_MS;
}

void drive_ask_forecasts(struct drive *d, uint64_t now)
{
    for (size_t r = 0; r < d->map->n_roles; r++)
        for (size_t n = 0; n < d->map->n_nodes; n++) {
            struct drive_pair *p = drive_pair(d, r, n);

            if (!p->asking && now >= p->ask_again_ms && link_is_up(d->nodes[n]->link) &&
                map_role_allows(d->roles[r].conf, d->nodes[n]->name))
                ask_forecast(d, r, n, now);
        }
}

/* ---- hosts ---- */

static enum hosting_outcome outcome_of(const struct drive_ask *a, int err, int status)
{
    if (err < 0)
        return err == UV_ECONNREFUSED || err == UV_EHOSTUNREACH ? HOSTING_REFUSED : HOSTING_SILENT;
    if ((status >= 200 && status < 300) || (status == 404 && a->kind == ASK_DELETE))
        return HOSTING_OK; /* 404: gone already */
    return HOSTING_REFUSED;
}

static const char *what_of(const struct drive_ask *a)
{
    return a->kind == ASK_DELETE ? "give up a host" : "host a role";
}

static void tell_refusal(const struct drive_ask *a, const char *node, int err, int status,
                         struct rm_slice body)
{
    char text[200];

    snprintf(text, sizeof text, "%.*s", (int)(body.n < 180 ? body.n : 180),
             body.n > 0 ? body.p : "");
    rm_warn("drive", "a worker did not do as asked", RM_S("node", node), RM_S("what", what_of(a)),
            RM_S("role", a->role), RM_I("status", status), RM_E("error", err),
            RM_S("answer", text));
}

static void take_answer(struct drive *d, const struct drive_ask *a, size_t role, size_t node,
                        enum hosting_outcome how)
{
    struct drive_pair *p = drive_pair(d, role, node);

    if (a->kind != ASK_UPDATE) {
        hosting_answer(d->hosting, role, node, a->kind == ASK_PUT ? HOSTING_LOAD : HOSTING_UNLOAD,
                       how, rm_now_ms());
        return;
    }
    p->updating = false;
    if (p->unload_after) {
        p->unload_after = false;
        drive_delete(d, role, node);
    }
}

static void on_asked(void *arg, int err, int status, struct rm_slice body)
{
    struct drive_ask *a = arg;
    struct drive *d = a->drive;
    enum hosting_outcome how = outcome_of(a, err, status);
    size_t role, node;

    if (ask_place(a, &role, &node)) {
        if (how != HOSTING_OK)
            tell_refusal(a, d->nodes[node]->name, err, status, body);
        if (err == 0 && status == 409)
            drive_fence(d, d->nodes[node]->name);
        take_answer(d, a, role, node, how);
        drive_run(d);
    }
    ask_end(a);
}

/* As if a worker had refused: it was never sent. */
static void ask_failed(struct drive *d, size_t role, size_t node, enum hosting_do what)
{
    hosting_answer(d->hosting, role, node, what, HOSTING_REFUSED, rm_now_ms());
}

static int put(struct drive *d, int kind, size_t role, size_t node)
{
    char target[NODE_NAME_MAX + 32];
    struct rm_buf body;
    int r = desired_body(d, role, &body);

    snprintf(target, sizeof target, "/node/v1/hosts/%s", d->roles[role].name);
    if (r == 0)
        r = ask_send(d, kind, role, node, "PUT", target, (struct rm_slice){body.data, body.len},
                     on_asked);
    rm_buf_clear(&body);
    return r;
}

void drive_put(struct drive *d, size_t role, size_t node)
{
    if (put(d, ASK_PUT, role, node) < 0)
        ask_failed(d, role, node, HOSTING_LOAD);
}

void drive_update(struct drive *d, size_t role, size_t node)
{
    struct drive_pair *p = drive_pair(d, role, node);

    p->update_again_ms = rm_now_ms() + DRIVE_RETRY_MS;
    p->updating = put(d, ASK_UPDATE, role, node) == 0;
}

/* A host of the same settings may come back to this node, and its conversations with it. */
static bool saves(const struct drive *d, size_t role, size_t node)
{
    return d->roles[role].conf != NULL && !d->nodes[node]->leaving &&
           d->f_pairs[role * d->n_nodes + node].current;
}

void drive_delete(struct drive *d, size_t role, size_t node)
{
    struct drive_pair *p = drive_pair(d, role, node);
    char target[NODE_NAME_MAX + 64];

    if (p->updating) { /* or the two might arrive in the other order */
        p->unload_after = true;
        return;
    }
    snprintf(target, sizeof target, "/node/v1/hosts/%s?epoch=%" PRIu64 "%s", d->roles[role].name,
             d->epoch, saves(d, role, node) ? "&save=1" : "");
    if (ask_send(d, ASK_DELETE, role, node, "DELETE", target, (struct rm_slice){NULL, 0},
                 on_asked) < 0)
        ask_failed(d, role, node, HOSTING_UNLOAD);
}

/* ---- what people ask for ---- */

int drive_get(struct drive *d, const char *node, const char *target, link_answer_cb on_answer,
              void *arg)
{
    for (size_t i = 0; i < d->map->n_nodes; i++)
        if (strcmp(d->nodes[i]->name, node) == 0)
            return link_is_up(d->nodes[i]->link)
                       ? link_call(d->nodes[i]->link, "GET", target, RM_LIT(""), on_answer, arg)
                       : RM_ERR_UPSTREAM;
    return RM_ERR_NOT_FOUND;
}
