/* SPDX-License-Identifier: MIT */
/* gateway/drive/run.c - rounds of the hosting machine: its actions carried out, its plans solved in
 * the thread pool, its view of roles told to route. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"

/* ---- plans ---- */

/* A question that is being solved; copies, for another thread. */
struct drive_solve {
    uv_work_t work;
    struct drive *drive;
    uint64_t ticket;
    struct replan_in in;
    struct plan_node *nodes;
    struct replan_role *roles;
    struct replan_pair *pairs;
    struct replan_out out;
    int result;
};

static void solve_free(struct drive_solve *s)
{
    if (s == NULL)
        return;
    free(s->nodes);
    free(s->roles);
    free(s->pairs);
    free(s);
}

static void *copy(const void *from, size_t n, size_t size)
{
    void *to = calloc(n + 1, size);

    if (to != NULL && n > 0)
        memcpy(to, from, n * size);
    return to;
}

static void solve_run(uv_work_t *work)
{
    struct drive_solve *s = work->data;

    s->result = replan_solve(&s->in, &s->out);
}

static void solve_on_done(uv_work_t *work, int status)
{
    struct drive_solve *s = work->data;
    struct drive *d = s->drive;

    if (!d->closing) {
        if (status < 0 || s->result < 0)
            rm_error("drive", "the plan could not be solved",
                     RM_E("error", status < 0 ? status : s->result));
        hosting_planned(d->hosting, s->ticket, status < 0 || s->result < 0 ? NULL : &s->out,
                        rm_now_ms());
        rm_debug("drive", "planned", RM_U("solves", s->out.solves), RM_U("exact", s->out.exact));
        drive_run(d);
    }
    d->pending--;
    drive_free_when_idle(d);
    solve_free(s);
}

static int solve_start(struct drive *d, const struct replan_in *in, uint64_t ticket)
{
    struct drive_solve *s = calloc(1, sizeof *s);
    int r;

    if (s == NULL)
        return UV_ENOMEM;
    s->drive = d;
    s->ticket = ticket;
    s->work.data = s;
    s->nodes = copy(in->nodes, in->n_nodes, sizeof *s->nodes);
    s->roles = copy(in->roles, in->n_roles, sizeof *s->roles);
    s->pairs = copy(in->pairs, in->n_nodes * in->n_roles, sizeof *s->pairs);
    s->in = *in;
    s->in.nodes = s->nodes;
    s->in.roles = s->roles;
    s->in.pairs = s->pairs;
    r = s->nodes == NULL || s->roles == NULL || s->pairs == NULL
            ? UV_ENOMEM
            : uv_queue_work(d->loop, &s->work, solve_run, solve_on_done);
    if (r < 0)
        solve_free(s);
    else
        d->pending++;
    return r;
}

/* ---- actions ---- */

/* The last error of a host of the role, or of its forecast: why it cannot be loaded. */
static const char *reason_of(const struct drive *d, size_t role)
{
    for (size_t n = 0; n < d->n_nodes; n++) {
        const struct node_host *h = node_state_find(&d->nodes[n]->state, d->roles[role].name);
        const struct drive_pair *p = drive_pair(d, role, n);

        if (h != NULL && h->last_error.cause != CAUSE_NONE)
            return h->last_error.text;
        if (p->known == PLAN_BAD && p->forecast != NULL)
            return p->forecast->error;
    }
    return "";
}

/* Who asks hears whose affair it is. */
static void kept_off_text(const struct drive *d, size_t role, size_t node, char *out, size_t n)
{
    const char *name = d->roles[role].name, *at = d->nodes[node]->name;

    if (drive_pair(d, role, node)->wish == HOSTING_WANT_UNLOADED)
        snprintf(out, n, "an operator has unloaded %s from %s, and no other node can host it", name,
                 at);
    else if (d->nodes[node]->drained)
        snprintf(out, n, "an operator drains the node %s, and no other host can serve %s", at,
                 name);
    else
        snprintf(out, n, "an operator drains %s on %s, and no other host can serve it", name, at);
}

static void fail_waiting(struct drive *d, const struct hosting_action *a)
{
    const char *role = d->roles[a->role].name, *reason = reason_of(d, a->role);
    char text[NODE_TEXT_MAX + 128];

    if (a->why == HOSTING_KEPT_OFF)
        kept_off_text(d, a->role, a->node, text, sizeof text);
    else if (a->why == HOSTING_NO_ROOM)
        snprintf(text, sizeof text,
                 "%s fits on no node beside the hosts that stay: %.2f GiB more "
                 "would be needed",
                 role, (double)a->bytes / (1 << 30));
    else if (a->why == HOSTING_LOAD_FAILS)
        snprintf(text, sizeof text, "%s could not be loaded, %u times in a row%s%.400s", role,
                 a->count, reason[0] != '\0' ? ": " : "", reason);
    else
        snprintf(text, sizeof text, "no node can host %s%s%.400s", role,
                 reason[0] != '\0' ? ": " : "", reason);
    rm_warn("drive", "requests are refused", RM_S("role", role), RM_S("why", text));
    route_role_note(d->route, role, &(struct route_note){.state = ROUTE_NOTE_CANNOT, .text = text});
    d->roles[a->role].noted = ROUTE_NOTE_CANNOT;
    route_role_fail(d->route, role, RM_ERR_NO_HOST, text);
}

static void tell_action(const struct drive *d, const struct hosting_action *a)
{
    static const char *const texts[] = {[HOSTING_LOAD] = "host asked for",
                                        [HOSTING_CLOSE] = "host closed: it drains",
                                        [HOSTING_OPEN] = "host open again",
                                        [HOSTING_UNLOAD] = "host given up"};

    if (a->what == HOSTING_OPEN || a->what >= RM_COUNT(texts))
        return;
    rm_info("drive", texts[a->what], RM_S("role", d->roles[a->role].name),
            RM_S("node", d->nodes[a->node]->name), RM_S("why", hosting_why_text(a->why)),
            RM_U("forecast_bytes", a->bytes));
}

static void act(void *arg, const struct hosting_action *a)
{
    struct drive *d = arg;
    struct replan_in in;
    uint64_t ticket;

    tell_action(d, a);
    switch (a->what) {
    case HOSTING_LOAD:
        drive_put(d, a->role, a->node);
        break;
    case HOSTING_UNLOAD:
        d->roles[a->role].given_up[a->why]++;
        drive_delete(d, a->role, a->node);
        break;
    case HOSTING_CLOSE:
    case HOSTING_OPEN:
        route_host_close(d->route, d->roles[a->role].name, d->nodes[a->node]->name,
                         a->what == HOSTING_CLOSE);
        break;
    case HOSTING_REPLAN:
        hosting_plan_in(d->hosting, &in, &ticket);
        d->unsolved = solve_start(d, &in, ticket) < 0 ? ticket : 0;
        break;
    case HOSTING_FAIL:
        fail_waiting(d, a);
        break;
    }
}

/* ---- what route is told ---- */

/* What a role that is not there yet waits for, as people say it. */
static void waits_text(const struct drive *d, size_t role, const struct hosting_view *v, char *out,
                       size_t n)
{
    for (size_t r = 0; v->node != SIZE_MAX && r < d->n_roles; r++)
        if (r != role && hosting_is_closed(d->hosting, r, v->node) &&
            d->f_pairs[r * d->n_nodes + v->node].seen != HOSTING_ABSENT) {
            snprintf(out, n, "%s on %s to finish", d->roles[r].name, d->nodes[v->node]->name);
            return;
        }
    snprintf(out, n, v->node != SIZE_MAX ? "room on %s" : "its turn",
             v->node != SIZE_MAX ? d->nodes[v->node]->name : "");
}

static void tell_role(struct drive *d, size_t role, uint64_t now)
{
    struct route_note note = {.state = ROUTE_NOTE_NONE};
    struct hosting_view v;
    char text[2 * NODE_NAME_MAX + 32] = "";

    hosting_role_view(d->hosting, &d->facts, role, now, &v);
    if (v.state == HOSTING_IS_LOADING) {
        note.state = ROUTE_NOTE_LOADING;
        note.node = d->nodes[v.node]->name;
        note.eta_ms = v.eta_ms;
    } else if (v.state == HOSTING_IS_NEXT || v.state == HOSTING_IS_WAITING) {
        note.state = ROUTE_NOTE_WAITS;
        waits_text(d, role, &v, text, sizeof text);
        note.text = text;
        note.eta_ms = v.eta_ms;
    } else if (v.state != HOSTING_IS_SERVING && d->roles[role].noted == ROUTE_NOTE_CANNOT) {
        return; /* it holds for its minute */
    }
    if (note.state == ROUTE_NOTE_NONE && d->roles[role].noted == ROUTE_NOTE_NONE)
        return;
    route_role_note(d->route, d->roles[role].name, &note);
    d->roles[role].noted = note.state;
}

/* Closed hosts stay closed whatever a state said since; see hosting_is_closed. */
static void tell_route(struct drive *d, uint64_t now)
{
    for (size_t r = 0; r < d->n_roles; r++) {
        if (d->roles[r].conf != NULL)
            tell_role(d, r, now);
        for (size_t n = 0; n < d->n_nodes; n++)
            if (hosting_is_closed(d->hosting, r, n))
                route_host_close(d->route, d->roles[r].name, d->nodes[n]->name, true);
    }
}

/* ---- rounds ---- */

/* Residency and lane reach a worker that has the right engine already. */
static void update_hosts(struct drive *d, uint64_t now)
{
    for (size_t r = 0; r < d->map->n_roles; r++)
        for (size_t n = 0; n < d->map->n_nodes; n++) {
            const struct node_host *h = node_state_find(&d->nodes[n]->state, d->roles[r].name);
            const struct hosting_pair *f = &d->f_pairs[r * d->n_nodes + n];
            struct drive_pair *p = drive_pair(d, r, n);

            if (h != NULL && f->current && hosting_wants(d->hosting, r, n) && !p->updating &&
                !hosting_is_closed(d->hosting, r, n) && now >= p->update_again_ms &&
                (f->seen == HOSTING_READY || f->seen == HOSTING_LOADING) &&
                link_is_up(d->nodes[n]->link) && !drive_is_up_to_date(h, d->roles[r].conf))
                drive_update(d, r, n);
        }
}

bool drive_is_settled(const struct drive *d)
{
    if (rm_now_ms() - d->started_ms >= DRIVE_SETTLE_MS)
        return true;
    for (size_t i = 0; i < d->map->n_nodes; i++)
        if (!d->nodes[i]->has_state)
            return false;
    return true;
}

void drive_status(const struct drive *d, struct drive_status *out)
{
    *out = (struct drive_status){
        .epoch = d->epoch, .fenced = d->fenced, .settled = drive_is_settled(d)};
}

/* The epoch is above all that were before it. */
static void settle(struct drive *d)
{
    if (d->settled || !drive_is_settled(d))
        return;
    if (!drive_has_forecasts(d) && rm_now_ms() - d->started_ms < DRIVE_SETTLE_MS)
        return;
    d->settled = true;
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i]->has_state && d->nodes[i]->state.epoch >= d->epoch)
            d->epoch = d->nodes[i]->state.epoch + 1;
    rm_info("drive", "placing begins", RM_U("epoch", d->epoch));
}

void drive_fence(struct drive *d, const char *node)
{
    if (d->fenced)
        return;
    d->fenced = true;
    rm_error("drive",
             "a newer gateway is in charge of placing; this one only routes until it is restarted",
             RM_S("node", node));
    for (size_t r = 0; r < d->n_roles; r++) {
        if (d->roles[r].conf != NULL)
            route_role_note(d->route, d->roles[r].name,
                            &(struct route_note){.state = ROUTE_NOTE_NONE});
        for (size_t n = 0; n < d->n_nodes; n++)
            route_host_close(d->route, d->roles[r].name, d->nodes[n]->name, false);
    }
}

static void round_once(struct drive *d)
{
    uint64_t now = rm_now_ms();

    drive_follow(d);
    drive_keep(d);
    drive_ask_forecasts(d, now);
    settle(d);
    if (drive_fill_facts(d, now) < 0)
        return;
    hosting_step(d->hosting, &d->facts, now, act, d);
    if (d->unsolved != 0)
        hosting_planned(d->hosting, d->unsolved, NULL, now);
    d->unsolved = 0;
    if (!d->settled)
        return;
    update_hosts(d, now);
    tell_route(d, now);
}

/* What a round does may ask for another one: after it, not within. */
void drive_run(struct drive *d)
{
    if (d->closing || d->fenced)
        return;
    if (d->running) {
        d->again = true;
        return;
    }
    d->running = true;
    round_once(d);
    d->running = false;
    if (d->again) {
        d->again = false;
        drive_run_soon(d);
    }
}

/* ---- shortfalls ---- */

static bool is_kept_off(const struct drive *d, size_t role)
{
    for (size_t n = 0; n < d->map->n_nodes; n++)
        if (map_role_allows(d->roles[role].conf, d->nodes[n]->name) &&
            drive_is_kept_off(d, role, n))
            return true;
    return false;
}

int drive_write_shortfalls(const struct drive *d, struct rm_buf *out)
{
    static const char *const words[] = {
        [REPLAN_OK] = "",
        [REPLAN_WAITS] = "a forecast is still to come",
        [REPLAN_NO_NODE] = "no allowed node answers",
        [REPLAN_BAD] = "no allowed node can host it",
        [REPLAN_NO_ROOM] = "no allowed node has room",
    };
    static const char kept_off[] =
        "an operator keeps it off a node, and there is no room elsewhere";
    struct rm_jw w = rm_jw_to(out);
    struct hosting_view v;

    rm_jw_arr(&w, NULL);
    for (size_t i = 0; d->facts.roles != NULL && i < d->map->n_roles; i++) {
        hosting_role_view(d->hosting, &d->facts, i, rm_now_ms(), &v);
        if (v.verdict.why == REPLAN_OK)
            continue;
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "role", d->map->roles[i].name);
        rm_jw_str(&w, "reason",
                  v.verdict.why != REPLAN_WAITS && is_kept_off(d, i) ? kept_off
                                                                     : words[v.verdict.why]);
        rm_jw_u64(&w, "missing_bytes", v.verdict.missing_bytes);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
