/* SPDX-License-Identifier: MIT */
/* gateway/drive/plan.c - plans for people: where the roles are wanted now and how good that is,
 * what the map solved as a whole would be, and what an offered map would come to. What is known is
 * copied on the loop, solved and worded in the thread pool. For an offered map workers are asked
 * what its changed roles would take, each node one question after the other, until DRIVE_TRIAL_MS.
 *
 *   ask ──copy──► [questions to workers] ──► thread pool: solve, word ──► on_plan, from the loop */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/plan/plan_answer.h"

enum { PLAN_TEXT_MAX = 15 << 20 };

struct drive_listener {
    drive_plan_fn *on_plan;
    void *arg;
    STAILQ_ENTRY(drive_listener) link;
};

/* One question: the facts it is about, all copies, and who hears the answer. */
struct drive_plan {
    struct drive *drive;
    bool trial; /* of an offered map; else of the one that runs */
    uv_work_t work;
    struct role_map *map;      /* a reference */
    struct node_state *states; /* [node] */
    struct plan_live_node *nodes;
    const char **silent;              /* [node]; static texts */
    struct plan_live_pair *pairs;     /* [role * n_nodes + node] */
    struct node_forecast **forecasts; /* the same; owned; NULL: none */
    bool *asked;                      /* [role]: on demand, and stands or is wanted */
    uint64_t hosts[PLAN_ROLES_MAX];   /* where roles are wanted now */
    struct plan_live live;
    STAILQ_HEAD(, drive_listener) listeners;
    uint32_t n_listeners;
    /* a trial's questions to workers */
    size_t *next_role; /* [node]: the next one to ask for */
    uint32_t asking;   /* answers that are owed */
    uint64_t until_ms;
    bool solving, told;
    LIST_ENTRY(drive_plan) link;
    struct rm_buf out;
    int err;
};

/* ---- the facts ---- */

static void plan_free(struct drive_plan *p)
{
    size_t n_nodes = p->map->n_nodes, n_pairs = n_nodes * p->map->n_roles;

    for (size_t n = 0; p->states != NULL && n < n_nodes; n++)
        node_state_clear(&p->states[n]);
    for (size_t i = 0; p->forecasts != NULL && i < n_pairs; i++)
        free(p->forecasts[i]);
    free(p->states);
    free(p->nodes);
    free(p->silent);
    free(p->pairs);
    free(p->forecasts);
    free(p->asked);
    free(p->next_role);
    rm_buf_clear(&p->out);
    role_map_unref(p->map);
    free(p);
}

static struct drive_plan *plan_alloc(struct drive *d, struct role_map *map)
{
    size_t n_nodes = map->n_nodes, n_roles = map->n_roles;
    struct drive_plan *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->drive = d;
    p->map = role_map_ref(map);
    p->work.data = p;
    STAILQ_INIT(&p->listeners);
    rm_buf_init(&p->out, PLAN_TEXT_MAX);
    p->states = calloc(n_nodes + 1, sizeof *p->states);
    p->nodes = calloc(n_nodes + 1, sizeof *p->nodes);
    p->silent = calloc(n_nodes + 1, sizeof *p->silent);
    p->pairs = calloc(n_nodes * n_roles + 1, sizeof *p->pairs);
    p->forecasts = calloc(n_nodes * n_roles + 1, sizeof *p->forecasts);
    p->asked = calloc(n_roles + 1, sizeof *p->asked);
    p->next_role = calloc(n_nodes + 1, sizeof *p->next_role);
    p->live = (struct plan_live){.map = p->map,
                                 .nodes = p->nodes,
                                 .pairs = p->pairs,
                                 .asked = p->asked,
                                 .foreign_stay = false};
    if (p->states != NULL && p->nodes != NULL && p->silent != NULL && p->pairs != NULL &&
        p->forecasts != NULL && p->asked != NULL && p->next_role != NULL)
        return p;
    plan_free(p);
    return NULL;
}

/* The table's node that a map means; SIZE_MAX: there is no line to it. */
static size_t node_here(const struct drive *d, const struct map_node *conf)
{
    for (size_t i = 0; i < d->n_nodes; i++)
        if (drive_node_is_at(d->nodes[i], conf))
            return i;
    return SIZE_MAX;
}

static size_t role_here(const struct drive *d, const char *name)
{
    for (size_t i = 0; i < d->n_roles; i++)
        if (strcmp(d->roles[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

static const char *silence_of(const struct drive_node *n)
{
    if (n == NULL)
        return "the gateway has no line to it: it is not in the role map that runs";
    if (!n->has_state)
        return "its worker has not answered yet";
    if (n->state.draining)
        return "its worker is stopping";
    return drive_node_usable(n) ? NULL : "its worker does not answer any more";
}

static int copy_node(struct drive_plan *p, size_t node, const struct drive_node *n)
{
    struct node_state *to = &p->states[node];

    p->silent[node] = silence_of(n);
    if (n == NULL || !n->has_state)
        return 0;
    *to = n->state;
    to->hosts = NULL;
    if (n->state.n_hosts > 0) {
        to->n_hosts = 0;
        if ((to->hosts = malloc(n->state.n_hosts * sizeof *to->hosts)) == NULL)
            return UV_ENOMEM;
        to->n_hosts = n->state.n_hosts;
        memcpy(to->hosts, n->state.hosts, n->state.n_hosts * sizeof *to->hosts);
    }
    p->nodes[node] = (struct plan_live_node){.usable = drive_node_usable(n), .state = to};
    return 0;
}

static void set_forecast(struct drive_plan *p, size_t i, struct node_forecast *f)
{
    p->forecasts[i] = f;
    p->pairs[i].forecast = f;
    p->pairs[i].known = f->error[0] == '\0' ? PLAN_FORECAST : PLAN_BAD;
    p->pairs[i].file = p->pairs[i].known == PLAN_FORECAST;
}

/* What was forecast for the same settings holds for an offered map as well. */
static int copy_pair(struct drive_plan *p, size_t role, size_t node, const struct drive_pair *from,
                     const char *revision)
{
    struct node_forecast *f;

    if (from->known == PLAN_UNASKED || from->forecast == NULL ||
        strcmp(revision, from->forecast_for) != 0)
        return 0;
    if ((f = malloc(sizeof *f)) == NULL)
        return UV_ENOMEM;
    *f = *from->forecast;
    set_forecast(p, role * p->map->n_nodes + node, f);
    return 0;
}

static bool stands(const struct node_state *s, const char *role)
{
    const struct node_host *h = node_state_find(s, role);

    return h != NULL && h->state != HOST_ABSENT && h->state != HOST_DRAINING &&
           h->state != HOST_FAILED;
}

/* Before there was a plan, what stands is to stay. */
static bool is_wanted(const struct drive_plan *p, size_t role, size_t node, size_t role_at,
                      size_t node_at)
{
    const struct hosting *h = p->drive->hosting;

    return hosting_wants(h, role_at, node_at) ||
           (!hosting_is_planned(h) && p->pairs[role * p->map->n_nodes + node].standing);
}

static int copy_role(struct drive_plan *p, size_t role)
{
    const struct drive *d = p->drive;
    const struct map_role *conf = &p->map->roles[role];
    size_t role_at = role_here(d, conf->name);
    struct desired_host desired;
    char revision[33];

    plan_desired_host(conf, &desired); /* once for all nodes: a sum over its text is not cheap */
    desired_host_revision(&desired, revision);
    for (size_t n = 0; n < p->map->n_nodes; n++) {
        size_t node_at = node_here(d, &p->map->nodes[n]);
        int r;

        p->pairs[role * p->map->n_nodes + n].standing =
            p->nodes[n].state != NULL && stands(&p->states[n], conf->name);
        p->asked[role] |= p->pairs[role * p->map->n_nodes + n].standing;
        if (role_at == SIZE_MAX || node_at == SIZE_MAX)
            continue;
        p->pairs[role * p->map->n_nodes + n].kept_off =
            drive_is_kept_off(d, role_at, node_at) &&
            (drive_pair(d, role_at, node_at)->wish != HOSTING_WANT_DRAINED ||
             d->nodes[node_at]->drained || !p->pairs[role * p->map->n_nodes + n].standing);
        if ((r = copy_pair(p, role, n, drive_pair(d, role_at, node_at), revision)) < 0)
            return r;
        if (!p->trial && is_wanted(p, role, n, role_at, node_at)) {
            p->hosts[role] |= UINT64_C(1) << n;
            p->asked[role] = true;
        }
    }
    return 0;
}

static int plan_new(struct drive *d, struct role_map *map, bool trial, struct drive_plan **out)
{
    struct drive_plan *p;
    int r = 0;

    *out = NULL;
    if (map->n_nodes > PLAN_NODES_MAX || map->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    if ((p = plan_alloc(d, map)) == NULL)
        return UV_ENOMEM;
    p->trial = trial;
    for (size_t n = 0; r == 0 && n < map->n_nodes; n++) {
        size_t at = node_here(d, &map->nodes[n]);

        r = copy_node(p, n, at != SIZE_MAX ? d->nodes[at] : NULL);
    }
    for (size_t i = 0; r == 0 && i < map->n_roles; i++)
        r = copy_role(p, i);
    if (r < 0)
        plan_free(p);
    else
        *out = p;
    return r;
}

/* ---- in a thread: solved and worded ---- */

static void word_unknown(const struct drive_plan *p, struct rm_jw *w)
{
    rm_jw_arr(w, "unknown");
    for (size_t r = 0; r < p->map->n_roles; r++)
        for (size_t n = 0; n < p->map->n_nodes; n++) {
            if (p->pairs[r * p->map->n_nodes + n].known != PLAN_UNASKED ||
                !map_role_allows(&p->map->roles[r], p->map->nodes[n].name))
                continue;
            rm_jw_obj(w, NULL);
            rm_jw_str(w, "role", p->map->roles[r].name);
            rm_jw_str(w, "node", p->map->nodes[n].name);
            rm_jw_end(w);
        }
    rm_jw_end(w);
}

static int word(struct drive_plan *p, struct plan_answer *solved, struct plan_answer *current)
{
    struct rm_jw w = rm_jw_to(&p->out);
    int r = plan_answer_solve(&p->live, p->silent, solved);

    if (r < 0)
        return r;
    rm_jw_obj(&w, NULL);
    if (p->trial) {
        plan_answer_write(solved, &w, "plan");
        word_unknown(p, &w);
    } else if ((r = plan_answer_judge(&p->live, p->silent, p->hosts, &solved->plan, current)) ==
               0) {
        plan_answer_write(current, &w, "current");
        if (plan_compare(solved->plan.count, current->plan.count) < 0)
            plan_answer_write(solved, &w, "proposed");
        else
            rm_jw_null(&w, "proposed");
        plan_answer_clear(current);
    }
    rm_jw_end(&w);
    plan_answer_clear(solved);
    return r < 0 ? r : rm_jw_done(&w);
}

static void plan_run(uv_work_t *work)
{
    struct drive_plan *p = work->data;
    struct plan_answer *both = calloc(2, sizeof *both);

    p->err = both != NULL ? word(p, &both[0], &both[1]) : UV_ENOMEM;
    free(both);
}

/* ---- a question's life ---- */

/* Freed when nobody waits for it and no worker's answer is owed to it. */
static void plan_drop(struct drive_plan *p)
{
    struct drive *d = p->drive;

    if (!p->told || p->asking > 0)
        return;
    if (p->trial)
        LIST_REMOVE(p, link);
    d->n_trials -= p->trial;
    plan_free(p);
    d->pending--;
    drive_free_when_idle(d);
}

static void plan_tell(struct drive_plan *p, int err)
{
    struct drive_listener *l;

    if (!p->trial)
        p->drive->plan = NULL;
    p->told = true;
    while ((l = STAILQ_FIRST(&p->listeners)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->listeners, link);
        l->on_plan(l->arg, err, err == 0 ? (struct rm_slice){p->out.data, p->out.len} : RM_LIT(""));
        free(l);
    }
    plan_drop(p);
}

static void plan_on_done(uv_work_t *work, int status)
{
    struct drive_plan *p = work->data;

    plan_tell(p, p->drive->closing ? RM_ERR_DRAINING : status < 0 ? status : p->err);
}

static void plan_solve_it(struct drive_plan *p)
{
    p->solving = true;
    (void)uv_queue_work(p->drive->loop, &p->work, plan_run,
                        plan_on_done); /* fails without a function only */
}

static int listen_to(struct drive_plan *p, drive_plan_fn *on_plan, void *arg)
{
    struct drive_listener *l;

    if (p->n_listeners == DRIVE_PLAN_LISTENERS)
        return RM_ERR_OVERLOAD;
    if ((l = malloc(sizeof *l)) == NULL)
        return UV_ENOMEM;
    *l = (struct drive_listener){.on_plan = on_plan, .arg = arg};
    p->n_listeners++;
    STAILQ_INSERT_TAIL(&p->listeners, l, link);
    return 0;
}

static int plan_begin(struct drive *d, struct role_map *map, bool trial, drive_plan_fn *on_plan,
                      void *arg, struct drive_plan **out)
{
    int r = plan_new(d, map, trial, out);

    if (r == 0 && (r = listen_to(*out, on_plan, arg)) < 0)
        plan_free(*out);
    d->pending += r == 0;
    return r;
}

int drive_ask_plans(struct drive *d, drive_plan_fn *on_plan, void *arg)
{
    int r;

    if (d->plan != NULL)
        return listen_to(d->plan, on_plan, arg);
    if ((r = plan_begin(d, d->map, false, on_plan, arg, &d->plan)) < 0) {
        d->plan = NULL;
        return r;
    }
    plan_solve_it(d->plan);
    return 0;
}

/* ---- an offered map: workers are asked ---- */

struct trial_ask {
    struct drive_plan *plan;
    size_t role, node;
};

static void ask_node(struct drive_plan *p, size_t node);

static void on_forecast(void *arg, int err, int status, struct rm_slice body)
{
    struct trial_ask *a = arg;
    struct drive_plan *p = a->plan;
    size_t role = a->role, node = a->node;
    struct node_forecast *f = NULL;
    char why[128] = "";

    free(a);
    p->asking--;
    if (p->solving) { /* too late */
        plan_drop(p);
        return;
    }
    if (err == 0 && status == 200 && (f = malloc(sizeof *f)) != NULL) {
        if (node_forecast_decode(body, f, why) == 0)
            set_forecast(p, role * p->map->n_nodes + node, f);
        else
            free(f);
    }
    if (err < 0)
        p->next_role[node] = p->map->n_roles; /* it will not answer the next one either */
    if (p->drive->closing && p->asking == 0 && !p->told) {
        plan_tell(p, RM_ERR_DRAINING);
        return;
    }
    ask_node(p, node);
    if (p->asking == 0)
        plan_solve_it(p);
}

static int ask_forecast(struct drive_plan *p, size_t role, size_t node, struct link *link)
{
    struct trial_ask *a = malloc(sizeof *a);
    struct desired_host desired;
    struct rm_buf body;
    int r;

    if (a == NULL)
        return UV_ENOMEM;
    *a = (struct trial_ask){p, role, node};
    plan_desired_host(&p->map->roles[role], &desired);
    desired.epoch = p->drive->epoch;
    rm_buf_init(&body, DRIVE_BODY_MAX);
    r = desired_host_encode(&desired, &body);
    if (r == 0)
        r = link_call(link, "POST", "/node/v1/forecast", (struct rm_slice){body.data, body.len},
                      on_forecast, a);
    rm_buf_clear(&body);
    if (r < 0)
        free(a);
    else
        p->asking++;
    return r;
}

/* The node's next question, if it has one. */
static void ask_node(struct drive_plan *p, size_t node)
{
    struct drive *d = p->drive;
    size_t n_roles = p->map->n_roles, at = SIZE_MAX;

    if (!d->closing)
        at = node_here(d, &p->map->nodes[node]);
    if (at == SIZE_MAX || !link_is_up(d->nodes[at]->link))
        p->next_role[node] = n_roles;
    while (p->next_role[node] < n_roles) {
        size_t r = p->next_role[node]++;

        if (p->pairs[r * p->map->n_nodes + node].known == PLAN_UNASKED &&
            map_role_allows(&p->map->roles[r], p->map->nodes[node].name) &&
            ask_forecast(p, r, node, d->nodes[at]->link) == 0)
            return;
    }
}

void drive_mind_trials(struct drive *d, uint64_t now)
{
    struct drive_plan *p;

    LIST_FOREACH(p, &d->trials, link)
    if (!p->solving && now >= p->until_ms)
        plan_solve_it(p);
}

int drive_try_map(struct drive *d, struct role_map *map, drive_plan_fn *on_plan, void *arg)
{
    struct drive_plan *p;
    int r;

    if (d->n_trials == DRIVE_TRIALS)
        return RM_ERR_OVERLOAD;
    if ((r = plan_begin(d, map, true, on_plan, arg, &p)) < 0)
        return r;
    LIST_INSERT_HEAD(&d->trials, p, link);
    d->n_trials++;
    p->until_ms = rm_now_ms() + DRIVE_TRIAL_MS;
    for (size_t n = 0; n < map->n_nodes; n++)
        ask_node(p, n);
    if (p->asking == 0)
        plan_solve_it(p);
    return 0;
}
