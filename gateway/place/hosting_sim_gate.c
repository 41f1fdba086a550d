/* SPDX-License-Identifier: MIT */
/* The gateway of the simulator: what drive.c and route do around the machine, and the rules that
 * are checked at each step. */
#include "gateway/place/hosting_sim.h"

#include <stdio.h>
#include <string.h>

enum { GRACE_MS = 30000, HOLD_MS = 500, SETTLE_MS = 3000, FLIGHT_MAX_MS = 400, SILENCE_MS = 2000 };

/* ---- the machine's tables ---- */

size_t sim_place(const size_t *table, size_t n, size_t what)
{
    for (size_t i = 0; i < n; i++)
        if (table[i] == what)
            return i;
    return SIZE_MAX;
}

static const struct sim_engine *seen_engine(const struct sim *s, size_t role, size_t node)
{
    static const struct sim_engine none;

    return s->nodes[node].has_view ? &s->nodes[node].view.engines[role] : &none;
}

/* Something of the role stands, or may come to stand. */
static bool role_seen(const struct sim *s, size_t role)
{
    size_t i = sim_place(s->role_at, s->n_machine_roles, role);

    if (i != SIZE_MAX && !hosting_is_clear(s->hosting, i, SIZE_MAX))
        return true;
    for (size_t n = 0; n < s->n_nodes; n++)
        if (seen_engine(s, role, n)->seen != HOSTING_ABSENT)
            return true;
    return false;
}

static bool node_empty(const struct sim *s, size_t node)
{
    const struct sim_node *n = &s->nodes[node];
    size_t k = sim_place(s->node_at, s->n_machine_nodes, node);

    if (k != SIZE_MAX && !hosting_is_clear(s->hosting, SIZE_MAX, k))
        return false;
    for (size_t r = 0; r < s->n_roles; r++)
        if (seen_engine(s, r, node)->seen != HOSTING_ABSENT)
            return false;
    return n->link && n->has_view && n->view.taken_ms >= n->link_back_ms;
}

static size_t list_roles(const struct sim *s, size_t *out)
{
    size_t n = 0;

    for (int left = 0; left < 2; left++)
        for (size_t r = 0; r < s->n_roles; r++)
            if (s->roles[r].in_map ? left == 0 : left == 1 && role_seen(s, r))
                out[n++] = r;
    return n;
}

static size_t list_nodes(struct sim *s, size_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i].leaving && node_empty(s, i)) {
            s->nodes[i].leaving = false;
            s->nodes[i].has_view = s->nodes[i].has_next = false;
        }
        if (s->nodes[i].in_map || s->nodes[i].leaving)
            out[n++] = i;
    }
    return n;
}

void sim_gate_map(struct sim *s)
{
    size_t roles[SIM_ROLES], nodes[SIM_NODES], role_was[SIM_ROLES], node_was[SIM_NODES];
    size_t n_nodes = list_nodes(s, nodes), n_roles = list_roles(s, roles);

    if (n_roles == s->n_machine_roles && n_nodes == s->n_machine_nodes &&
        memcmp(roles, s->role_at, n_roles * sizeof *roles) == 0 &&
        memcmp(nodes, s->node_at, n_nodes * sizeof *nodes) == 0)
        return;
    for (size_t i = 0; i < n_roles; i++)
        role_was[i] = sim_place(s->role_at, s->n_machine_roles, roles[i]);
    for (size_t i = 0; i < n_nodes; i++)
        node_was[i] = sim_place(s->node_at, s->n_machine_nodes, nodes[i]);
    if (hosting_reshape(s->hosting, n_roles, n_nodes, role_was, node_was) < 0)
        sim_break(s, "no memory");
    memcpy(s->role_at, roles, sizeof roles);
    memcpy(s->node_at, nodes, sizeof nodes);
    s->n_machine_roles = n_roles;
    s->n_machine_nodes = n_nodes;
    s->plan_due = false;
}

/* ---- the facts ---- */

static bool is_reachable(const struct sim_node *n)
{
    return n->link && n->has_view && n->view.taken_ms >= n->link_back_ms;
}

static void fill_role(struct sim *s, size_t i)
{
    const struct sim_role *r = &s->roles[s->role_at[i]];
    struct hosting_role *to = &s->f_roles[i];

    *to = (struct hosting_role){.leaving = !r->in_map,
                                .on_demand = r->on_demand,
                                .wish = r->wish,
                                .replicas = r->replicas,
                                .idle_unload_ms = r->idle_unload_ms};
    for (size_t k = 0; k < SIM_REQS; k++)
        if (s->reqs[k].state == REQ_WAITS && s->reqs[k].role == s->role_at[i]) {
            to->waiting++;
            if (s->now_ms - s->reqs[k].came_ms > to->oldest_ms)
                to->oldest_ms = s->now_ms - s->reqs[k].came_ms;
        }
}

static void fill_pair(struct sim *s, size_t i, size_t k)
{
    size_t role = s->role_at[i], node = s->node_at[k];
    const struct sim_role *r = &s->roles[role];
    const struct sim_engine *e = seen_engine(s, role, node);

    s->f_pairs[i * s->n_machine_nodes + k] = (struct hosting_pair){
        .allowed = (r->allowed & 1u << node) != 0,
        .operator_wish = r->wished[node],
        .forecast = r->forecast[node].known,
        .file = true,
        .bytes = r->bytes[node],
        .load_ms = r->load_ms[node],
        .seen = e->seen,
        .current = e->revision == r->revision,
        .for_good = e->fate == FATE_FAIL_FOR_GOOD,
        .progress = e->seen == HOSTING_LOADING && e->until_ms > e->since_ms && e->fate != FATE_HANG
                        ? (double)(s->nodes[node].view.taken_ms - e->since_ms) /
                              (double)(e->until_ms - e->since_ms)
                        : 0,
        .held_bytes = e->held_bytes,
        .in_flight = s->leases[role][node] > e->running ? s->leases[role][node] : e->running,
        .used_ms = s->used_ms[role][node],
    };
}

static void fill_facts(struct sim *s)
{
    for (size_t k = 0; k < s->n_machine_nodes; k++) {
        const struct sim_node *n = &s->nodes[s->node_at[k]];

        s->f_nodes[k] = (struct hosting_node){
            .limits = {.usable = n->has_view && (n->link || s->now_ms - n->heard_ms < GRACE_MS),
                       .budget_bytes = n->budget},
            .reachable = is_reachable(n),
            .refusing = n->view.refusing,
            .drained = n->drained,
            .leaving = n->leaving};
    }
    for (size_t i = 0; i < s->n_machine_roles; i++) {
        fill_role(s, i);
        for (size_t k = 0; k < s->n_machine_nodes; k++)
            fill_pair(s, i, k);
    }
    s->facts = (struct hosting_facts){.nodes = s->f_nodes,
                                      .roles = s->f_roles,
                                      .pairs = s->f_pairs,
                                      .settled = s->now_ms > SETTLE_MS};
}

/* ---- rules ---- */

static uint64_t turn_of(const struct sim *s, size_t role, size_t node)
{
    uint64_t ms = s->roles[role].load_ms[node];

    return ms < HOSTING_TURN_MIN_MS   ? HOSTING_TURN_MIN_MS
           : ms > HOSTING_TURN_MAX_MS ? HOSTING_TURN_MAX_MS
                                      : ms;
}

static bool wants(const struct sim *s, size_t role, size_t node)
{
    size_t i = sim_place(s->role_at, s->n_machine_roles, role);
    size_t k = sim_place(s->node_at, s->n_machine_nodes, node);

    return i != SIZE_MAX && k != SIZE_MAX && hosting_wants(s->hosting, i, k);
}

/* The plan places it. */
static bool is_base(const struct sim *s, size_t role)
{
    return s->roles[role].in_map && (!s->roles[role].on_demand || sim_any_loaded(s, role));
}

static enum plan_wish wish_of(const struct sim *s, size_t role)
{
    return sim_any_loaded(s, role) ? PLAN_PINNED : s->roles[role].wish;
}

static uint32_t ready_hosts(const struct sim *s, size_t role, size_t but)
{
    uint32_t n = 0;

    for (size_t k = 0; k < s->n_nodes; k++)
        n += k != but && seen_engine(s, role, k)->seen == HOSTING_READY;
    return n;
}

/* It is a target, and not there, or with other settings. */
static bool is_to_come(const struct sim *s, size_t role, size_t node)
{
    const struct sim_engine *e = seen_engine(s, role, node);

    return wants(s, role, node) &&
           (e->seen != HOSTING_READY || e->revision != s->roles[role].revision);
}

/* A first host of a more important wish, or of any wish against a further host, is to come. */
static bool wish_before(const struct sim *s, size_t role, size_t node)
{
    bool further = ready_hosts(s, role, node) > 0;

    for (size_t r = 0; r < s->n_roles; r++)
        for (size_t n = 0; is_base(s, r) && r != role && n < s->n_nodes; n++)
            if (is_to_come(s, r, n) &&
                (wish_of(s, r) < wish_of(s, role) || (further && wish_of(s, role) != PLAN_PINNED)))
                return true;
    return false;
}

/* A base host that could serve is told to end: may it? */
static void check_stop(struct sim *s, size_t role, size_t node, const char *how)
{
    const struct sim_engine *e = seen_engine(s, role, node);
    const struct sim_role *r = &s->roles[role];

    if (!r->in_map || (r->on_demand && !sim_is_loaded(s, role, node)) || e->seen != HOSTING_READY ||
        e->revision != r->revision)
        return;
    if (s->nodes[node].leaving || (r->allowed & 1u << node) == 0 || s->nodes[node].over)
        return;
    if (ready_hosts(s, role, node) >= r->replicas)
        return;
    if (s->now_ms - r->named_ms < 600000 && r->named_ms > 0) /* the map did name it */
        return;
    if (wish_of(s, role) != PLAN_PINNED && wish_before(s, role, node))
        return;
    sim_break(s, "role %zu on node %zu is %s although nobody named it", role, node, how);
}

/* An on-demand host makes room: it had its turn, unless it is for a pinned or resident role. */
static void check_turn(struct sim *s, size_t role, size_t node)
{
    uint64_t turn = turn_of(s, role, node), since = s->ready_ms[role][node];

    if (s->nodes[node].over || seen_engine(s, role, node)->seen != HOSTING_READY || since == 0 ||
        seen_engine(s, role, node)->revision != s->roles[role].revision)
        return;
    for (size_t r = 0; r < s->n_roles; r++)
        if (is_base(s, r) && is_to_come(s, r, node))
            return;
    if (s->now_ms - since <
        (turn < HOSTING_BOUND_AUTOCOMPLETE_MS ? turn : HOSTING_BOUND_AUTOCOMPLETE_MS))
        sim_break(s, "role %zu on node %zu makes room after %llu ms", role, node,
                  (unsigned long long)(s->now_ms - since));
}

/* A load was asked for before the node's budget was cut, say. */
static bool is_on_its_way(const struct sim *s, size_t node)
{
    for (size_t i = 0; i < SIM_MSGS; i++)
        if (s->msgs[i].state == MSG_GOES && s->msgs[i].what == HOSTING_LOAD &&
            s->msgs[i].node == node)
            return true;
    return false;
}

static void check_budget(struct sim *s)
{
    for (size_t n = 0; n < s->n_nodes; n++) {
        uint64_t sum = 0, failed = 0; /* failed: their worker may start them again */

        for (size_t r = 0; r < s->n_roles; r++)
            if (sim_engine_alive(&s->nodes[n].engines[r]))
                sum += s->nodes[n].engines[r].bytes;
            else if (s->nodes[n].engines[r].seen == HOSTING_FAILED)
                failed += s->nodes[n].engines[r].bytes;
        for (size_t r = 0; sum > s->nodes[n].budget && !s->nodes[n].over && r < s->n_roles; r++)
            sim_say(s, "  role %zu: state %d, %llu bytes of revision %u", r,
                    (int)s->nodes[n].engines[r].seen,
                    (unsigned long long)s->nodes[n].engines[r].bytes,
                    s->nodes[n].engines[r].revision);
        if (sum + failed <= s->nodes[n].budget && !is_on_its_way(s, n))
            s->nodes[n].over = false;
        else if (sum > s->nodes[n].budget && !s->nodes[n].over)
            sim_break(s, "node %zu: %llu of %llu bytes", n, (unsigned long long)sum,
                      (unsigned long long)s->nodes[n].budget);
    }
}

static uint64_t wait_bound(const struct sim *s, size_t role)
{
    uint64_t k = 1, load = s->load_max_ms * 3 / 2;
    uint64_t turn = load < HOSTING_TURN_MAX_MS ? load : HOSTING_TURN_MAX_MS;

    for (size_t r = 0; r < s->n_roles; r++)
        k += s->roles[r].in_map && s->roles[r].on_demand;
    return hosting_bound_ms(s->roles[role].wish) +
           k * (turn + s->run_max_ms + load + HOSTING_SLACK_MS);
}

/* Requests wait, and nobody serves them: how long? Only where nothing else is at fault. */
static void check_waits(struct sim *s)
{
    for (size_t i = 0; i < s->n_machine_roles; i++) {
        size_t role = s->role_at[i];
        struct sim_role *r = &s->roles[role];
        bool serves = false;

        for (size_t n = 0; n < s->n_nodes; n++)
            serves = serves || (seen_engine(s, role, n)->seen == HOSTING_READY &&
                                !s->closed[role][n] && s->nodes[n].link);
        if (s->faults || s->f_roles[i].waiting == 0 || serves || !r->in_map || !r->on_demand)
            r->bare_since_ms = 0;
        else if (r->bare_since_ms == 0 || r->bare_since_ms < r->faulted_ms)
            r->bare_since_ms = s->now_ms;
        else if (s->now_ms - r->bare_since_ms > wait_bound(s, role))
            sim_break(s, "role %zu has waited for %llu ms", role,
                      (unsigned long long)(s->now_ms - r->bare_since_ms));
    }
}

/* What waits is told that it cannot be loaded: is it true? */
static void check_fail(struct sim *s, size_t role, enum hosting_why why)
{
    const struct sim_role *r = &s->roles[role];
    bool allowed = false, off = false;

    for (size_t n = 0; n < s->n_nodes; n++)
        off = off ||
              ((r->allowed & 1u << n) != 0 && s->nodes[n].in_map && sim_is_kept_off(s, role, n));
    if (off != (why == HOSTING_KEPT_OFF))
        sim_break(s, "role %zu: told \"%s\"", role, hosting_why_text(why));
    if (s->faults || off)
        return;
    for (size_t n = 0; n < s->n_nodes; n++)
        allowed = allowed || ((r->allowed & 1u << n) != 0 && s->nodes[n].in_map);
    if (why != HOSTING_NO_ROOM && !(why == HOSTING_NO_NODE && !allowed))
        sim_break(s, "role %zu: told \"%s\" without a fault", role, hosting_why_text(why));
    for (size_t n = 0; n < s->n_nodes; n++) {
        uint64_t sum = r->bytes[n];

        if ((r->allowed & 1u << n) == 0 || !s->nodes[n].in_map || !s->nodes[n].has_view)
            continue;
        for (size_t k = 0; k < s->n_roles; k++)
            if (is_base(s, k) && (wants(s, k, n) || seen_engine(s, k, n)->seen == HOSTING_READY))
                sum += s->roles[k].forecast[n].known == HOSTING_FITS ? s->roles[k].bytes[n]
                                                                     : s->nodes[n].budget;
        if (sum + sum / 25 <= s->nodes[n].budget)
            sim_break(s, "role %zu would fit on node %zu", role, n);
    }
}

/* ---- requests ---- */

static void request_end(struct sim *s, struct sim_request *q)
{
    if (q->state == REQ_RUNS) {
        s->leases[q->role][q->node]--;
        if (s->nodes[q->node].engines[q->role].running > 0)
            s->nodes[q->node].engines[q->role].running--;
        s->used_ms[q->role][q->node] = s->now_ms;
    }
    q->state = REQ_FREE;
}

void sim_gate_lost(struct sim *s, size_t role, size_t node)
{
    for (size_t i = 0; i < SIM_REQS; i++)
        if (s->reqs[i].state == REQ_RUNS && s->reqs[i].role == role && s->reqs[i].node == node) {
            request_end(s, &s->reqs[i]);
            s->lost++;
        }
}

static void requests_end(struct sim *s)
{
    for (size_t i = 0; i < SIM_REQS; i++) {
        struct sim_request *q = &s->reqs[i];

        if (q->state == REQ_FREE)
            continue;
        if (q->leaves_ms > 0 && s->now_ms >= q->leaves_ms) {
            request_end(s, q);
            s->left++;
        } else if (q->state == REQ_RUNS && s->now_ms >= q->end_ms) {
            request_end(s, q);
            s->served++;
        } else if (q->state == REQ_WAITS && !s->roles[q->role].in_map) { /* route says so */
            request_end(s, q);
            s->told++;
        }
    }
}

static size_t best_host(const struct sim *s, size_t role)
{
    size_t best = SIZE_MAX;

    for (size_t n = 0; n < s->n_nodes; n++)
        if (seen_engine(s, role, n)->seen == HOSTING_READY && !s->closed[role][n] &&
            s->nodes[n].in_map && s->nodes[n].link && s->now_ms >= s->held_until_ms[role][n] &&
            s->leases[role][n] < s->roles[role].slots &&
            (best == SIZE_MAX || s->leases[role][n] < s->leases[role][best]))
            best = n;
    return best;
}

static void lease(struct sim *s, struct sim_request *q)
{
    struct sim_engine *e;
    size_t node;

    while ((node = best_host(s, q->role)) != SIZE_MAX) {
        if (sim_is_shut(s, q->role, node))
            sim_break(s, "role %zu on node %zu is drained and gets a request", q->role, node);
        e = &s->nodes[node].engines[q->role];
        if (e->seen != HOSTING_READY) { /* 503: the state that shows it is still on its way */
            s->held_until_ms[q->role][node] = s->now_ms + HOLD_MS;
            continue;
        }
        q->state = REQ_RUNS;
        q->node = node;
        q->end_ms = s->now_ms + q->run_ms;
        e->running++;
        s->leases[q->role][node]++;
        s->used_ms[q->role][node] = s->now_ms;
        return;
    }
}

static void lease_all(struct sim *s)
{
    size_t order[SIM_REQS], n = 0;

    for (size_t i = 0; i < SIM_REQS; i++) {
        size_t at = n;

        if (s->reqs[i].state != REQ_WAITS)
            continue;
        for (; at > 0 && s->reqs[order[at - 1]].order > s->reqs[i].order; at--)
            order[at] = order[at - 1];
        order[at] = i;
        n++;
    }
    for (size_t i = 0; i < n; i++)
        lease(s, &s->reqs[order[i]]);
}

/* ---- messages ---- */

static void see_engine(struct sim *s, size_t role, size_t node)
{
    enum hosting_seen seen = s->nodes[node].view.engines[role].seen;
    size_t i = sim_place(s->role_at, s->n_machine_roles, role);
    size_t k = sim_place(s->node_at, s->n_machine_nodes, node);

    if (seen != HOSTING_READY)
        s->ready_ms[role][node] = 0;
    else if (s->ready_ms[role][node] == 0)
        s->ready_ms[role][node] = s->now_ms;
    s->closed[role][node] =
        (i != SIZE_MAX && k != SIZE_MAX && hosting_is_closed(s->hosting, i, k)) ||
        sim_is_shut(s, role, node); /* drive says so before a state arrives */
}

static void states_step(struct sim *s)
{
    for (size_t i = 0; i < s->n_nodes; i++) {
        struct sim_node *n = &s->nodes[i];

        if (!n->in_map && !n->leaving)
            continue;
        if (n->has_next && n->link && s->now_ms >= n->next.due_ms) {
            n->view = n->next;
            n->has_view = true;
            n->has_next = false;
            n->heard_ms = s->now_ms;
            for (size_t r = 0; r < s->n_roles; r++)
                see_engine(s, r, i);
        }
        if (!n->has_next && n->link) {
            memcpy(n->next.engines, n->engines, sizeof n->engines);
            n->next.refusing = n->refusing;
            n->next.taken_ms = s->now_ms;
            n->next.due_ms = s->now_ms + sim_between(s, 20, 600);
            n->has_next = true;
        }
    }
}

static void message_send(struct sim *s, enum hosting_do what, size_t role, size_t node)
{
    struct sim_message *m = NULL;

    for (size_t i = 0; i < SIM_MSGS && m == NULL; i++)
        if (s->msgs[i].state == MSG_FREE)
            m = &s->msgs[i];
    if (m == NULL) {
        sim_break(s, "too many messages");
        return;
    }
    *m = (struct sim_message){.state = MSG_GOES,
                              .what = what,
                              .role = role,
                              .node = node,
                              .revision = s->roles[role].revision,
                              .bytes = s->roles[role].bytes[node],
                              .due_ms = s->now_ms + sim_between(s, 5, FLIGHT_MAX_MS)};
    m->bad = s->roles[role].forecast[node].known == HOSTING_BAD;
    m->lost_there = s->faults && !s->calm && sim_chance(s, 20);
    m->lost_back = s->faults && !s->calm && sim_chance(s, 20);
    m->outcome = s->faults && !s->calm && sim_chance(s, 30) ? HOSTING_REFUSED : HOSTING_OK;
}

static void message_arrive(struct sim *s, struct sim_message *m)
{
    m->state = MSG_RETURNS;
    m->due_ms = s->now_ms + sim_between(s, 5, FLIGHT_MAX_MS);
    if (m->lost_there || !s->nodes[m->node].link) {
        m->outcome = HOSTING_SILENT;
        m->due_ms = s->now_ms + SILENCE_MS;
        return;
    }
    if (m->outcome == HOSTING_REFUSED) {
        s->unloading[m->role][m->node] = false;
        return;
    }
    if (m->what == HOSTING_LOAD)
        sim_engine_put(s, m->role, m->node, m->revision, m->bytes, m->bad);
    else
        sim_engine_delete(s, m->role, m->node);
    if (m->lost_back) {
        m->outcome = HOSTING_SILENT;
        m->due_ms = s->now_ms + SILENCE_MS;
    }
}

static void messages_step(struct sim *s)
{
    for (size_t i = 0; i < SIM_MSGS; i++) {
        struct sim_message *m = &s->msgs[i];
        size_t role, node;

        if (m->state == MSG_FREE || s->now_ms < m->due_ms)
            continue;
        if (m->state == MSG_GOES) {
            message_arrive(s, m);
            continue;
        }
        m->state = MSG_FREE;
        role = sim_place(s->role_at, s->n_machine_roles, m->role);
        node = sim_place(s->node_at, s->n_machine_nodes, m->node);
        if (role != SIZE_MAX && node != SIZE_MAX)
            hosting_answer(s->hosting, role, node, m->what, m->outcome, s->now_ms);
    }
}

/* ---- the machine's actions ---- */

static void tell_plan(const struct sim *s, const struct replan_in *in)
{
    for (size_t n = 0; n < in->n_nodes; n++)
        sim_say(s, "  node %zu: %s, %llu units", s->node_at[n],
                in->nodes[n].usable ? "usable" : "lost",
                (unsigned long long)in->nodes[n].budget_bytes >> 20);
    for (size_t r = 0; r < in->n_roles; r++)
        for (size_t n = 0; n < in->n_nodes; n++) {
            const struct replan_pair *p = &in->pairs[r * in->n_nodes + n];

            sim_say(s, "  role %zu node %zu: wish %d x %u%s%s%s stands %u, %llu units: %s (%d)",
                    s->role_at[r], s->node_at[n], (int)in->roles[r].wish, in->roles[r].replicas,
                    p->may ? " may" : "", p->bad ? " bad" : "", p->waits ? " waits" : "", p->stands,
                    (unsigned long long)p->bytes >> 20,
                    (s->plan.hosts[r] >> n & 1) != 0 ? "hosted" : "-", (int)s->plan.verdict[r].why);
        }
}

static void act_plan(struct sim *s)
{
    struct replan_in in;

    hosting_plan_in(s->hosting, &in, &s->plan_ticket);
    if (replan_solve(&in, &s->plan) < 0)
        sim_break(s, "the plan was not solved");
    tell_plan(s, &in);
    s->plan_due = true;
    s->plan_due_ms = s->now_ms + sim_between(s, 0, 800);
    s->replans++;
}

static void act_fail(struct sim *s, size_t role, enum hosting_why why)
{
    check_fail(s, role, why);
    for (size_t i = 0; i < SIM_REQS; i++)
        if (s->reqs[i].state == REQ_WAITS && s->reqs[i].role == role) {
            request_end(s, &s->reqs[i]);
            s->told++;
        }
}

static void act_end(struct sim *s, enum hosting_do what, size_t role, size_t node,
                    enum hosting_why why)
{
    if (what == HOSTING_CLOSE) {
        s->closed[role][node] = true;
        if (s->roles[role].on_demand && why == HOSTING_ROOM)
            check_turn(s, role, node);
        return;
    }
    if (!s->closed[role][node])
        sim_break(s, "role %zu on node %zu is unloaded without being closed", role, node);
    if (s->leases[role][node] > 0)
        sim_break(s, "role %zu on node %zu is unloaded under %u requests", role, node,
                  s->leases[role][node]);
    if (!s->unloading[role][node])
        check_stop(s, role, node, "unloaded");
    s->unloading[role][node] = true;
    s->unloads++;
    message_send(s, what, role, node);
}

static void act(void *arg, const struct hosting_action *a)
{
    struct sim *s = arg;
    size_t role = a->role == SIZE_MAX ? SIZE_MAX : s->role_at[a->role];
    size_t node = a->node == SIZE_MAX ? SIZE_MAX : s->node_at[a->node];

    sim_say(s, "%s role %d node %d: %s, %llu", hosting_do_name(a->what), (int)role, (int)node,
            hosting_why_text(a->why), (unsigned long long)a->bytes >> 20);
    switch (a->what) {
    case HOSTING_REPLAN:
        act_plan(s);
        break;
    case HOSTING_FAIL:
        act_fail(s, role, a->why);
        break;
    case HOSTING_LOAD:
        if (!is_reachable(&s->nodes[node]) || s->nodes[node].view.refusing)
            sim_break(s, "role %zu is loaded on node %zu, which takes none", role, node);
        sim_check_load(s, role, node);
        s->loads++;
        message_send(s, a->what, role, node);
        break;
    case HOSTING_OPEN:
        s->closed[role][node] = false;
        break;
    default:
        act_end(s, a->what, role, node, a->why);
    }
}

/* ---- the round ---- */

void sim_gate_open(struct sim *s)
{
    if (hosting_new(0, 0, &s->hosting) < 0)
        sim_break(s, "no memory");
    sim_gate_map(s);
}

void sim_gate_close(struct sim *s)
{
    hosting_free(s->hosting);
    s->hosting = NULL;
}

void sim_gate_step(struct sim *s)
{
    messages_step(s);
    requests_end(s);
    states_step(s);
    sim_gate_map(s);
    if (s->plan_due && s->now_ms >= s->plan_due_ms) {
        s->plan_due = false;
        hosting_planned(s->hosting, s->plan_ticket, &s->plan, s->now_ms);
    }
    lease_all(s);
    fill_facts(s);
    if (sim_operator_step(s))
        fill_facts(s);
    hosting_step(s->hosting, &s->facts, s->now_ms, act, s);
    lease_all(s);
    check_budget(s);
    check_waits(s);
}

/* ---- the end ---- */

/* Could a role without a host have one, if less important ones made room? */
static bool has_room(const struct sim *s, size_t role, size_t node)
{
    const struct sim_role *r = &s->roles[role];
    uint64_t sum = r->bytes[node];

    if ((r->allowed & 1u << node) == 0 || !s->nodes[node].in_map || sim_is_kept_off(s, role, node))
        return false;
    for (size_t k = 0; k < s->n_roles; k++)
        if (is_base(s, k) && k != role && seen_engine(s, k, node)->seen != HOSTING_ABSENT &&
            wish_of(s, k) <= wish_of(s, role))
            sum += s->nodes[node].engines[k].held_bytes > s->roles[k].bytes[node]
                       ? s->nodes[node].engines[k].held_bytes
                       : s->roles[k].bytes[node];
    return sum <= s->nodes[node].budget;
}

static bool role_is_quiet(const struct sim *s, size_t role)
{
    const struct sim_role *r = &s->roles[role];
    uint32_t ready = 0, all = 0, loaded = 0; /* ready: with the settings of the map */

    for (size_t n = 0; n < s->n_nodes; n++) {
        const struct sim_engine *e = &s->nodes[n].engines[role];

        if (e->seen != HOSTING_ABSENT && e->seen != HOSTING_READY)
            return false;
        if (!sim_wish_holds(s, role, n))
            return false;
        if (e->seen == HOSTING_READY &&
            (!r->in_map || !s->nodes[n].in_map || s->closed[role][n] != sim_is_shut(s, role, n) ||
             (e->revision != r->revision && !is_base(s, role))))
            return false;
        ready += e->seen == HOSTING_READY && e->revision == r->revision;
        all += e->seen == HOSTING_READY && !sim_is_shut(s, role, n);
        loaded += sim_is_loaded(s, role, n);
    }
    if (all > (!r->in_map ? 0 : r->replicas > loaded ? r->replicas : loaded))
        return false;
    for (size_t n = 0; is_base(s, role) && !r->on_demand && ready == 0 && n < s->n_nodes; n++)
        if (has_room(s, role, n))
            return false;
    return true;
}

bool sim_gate_quiet(const struct sim *s)
{
    for (size_t i = 0; i < SIM_REQS; i++)
        if (s->reqs[i].state != REQ_FREE)
            return false;
    for (size_t i = 0; i < SIM_MSGS; i++)
        if (s->msgs[i].state != MSG_FREE)
            return false;
    for (size_t r = 0; r < s->n_roles; r++)
        if (!role_is_quiet(s, r))
            return false;
    for (size_t n = 0; n < s->n_nodes; n++)
        if (s->nodes[n].leaving)
            return false;
    return !s->plan_due;
}

void sim_gate_end(struct sim *s)
{
    for (size_t r = 0; r < s->n_roles; r++)
        if (!role_is_quiet(s, r))
            sim_break(s, "role %zu does not come to rest", r);
    for (size_t i = 0; i < SIM_REQS; i++)
        if (s->reqs[i].state != REQ_FREE)
            sim_break(s, "a request for role %zu was never answered", s->reqs[i].role);
    if (s->came != s->served + s->told + s->left + s->lost)
        sim_break(s, "requests are missing");
    if (!sim_gate_quiet(s))
        sim_break(s, "something goes on");
}
