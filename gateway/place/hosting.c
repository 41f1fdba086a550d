/* SPDX-License-Identifier: MIT */
#include "gateway/place/hosting.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gateway/place/hosting_impl.h"

/* ---- sums ---- */

bool hosting_holds(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);

    return hosting_pair(h, role, node)->seen != HOSTING_ABSENT || c->asked || c->unloading;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t hosting_held_bytes(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t bytes = 0;

    if (p->seen != HOSTING_ABSENT) { /* a failed one may be started again by its worker */
        bytes = p->held_bytes;
        if ((p->current || bytes == 0) && p->forecast == HOSTING_FITS)
            bytes = larger(bytes, p->bytes);
    }
    return c->asked || c->unloading || (p->seen != HOSTING_ABSENT && !p->current)
               ? larger(bytes, c->asked_bytes)
               : bytes;
}

uint64_t hosting_need_bytes(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    bool runs = p->seen == HOSTING_LOADING || p->seen == HOSTING_READY;

    if (p->forecast != HOSTING_FITS)
        return runs ? p->held_bytes : 0;
    return runs && p->current ? larger(p->bytes, p->held_bytes) : p->bytes;
}

bool hosting_stays_on(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);
    const struct hosting_pair *p = hosting_pair(h, role, node);

    return !h->f->roles[role].leaving && !h->f->roles[role].on_demand &&
           h->lines[role].target == 0 && p->allowed && p->operator_wish != HOSTING_WANT_UNLOADED &&
           p->seen == HOSTING_READY && !c->unloading && !c->evict &&
           (!c->closed || c->why == HOSTING_DRAINED);
}

void hosting_add(const struct hosting *h, struct load_sum *sum, size_t role, size_t node,
                 uint64_t bytes)
{
    load_add(sum, h->f->roles[role].swap, bytes, hosting_pair(h, role, node)->device_bytes);
}

void hosting_take(const struct hosting *h, struct load_sum *sum, size_t role, size_t node,
                  uint64_t bytes)
{
    load_take(sum, h->f->roles[role].swap, bytes, hosting_pair(h, role, node)->device_bytes);
}

bool hosting_fits(const struct hosting *h, struct load_sum sum, size_t role, size_t node,
                  uint64_t bytes)
{
    hosting_add(h, &sum, role, node, bytes);
    return load_over(&sum, &h->f->nodes[node].limits, 0) == 0;
}

struct load_sum hosting_future(const struct hosting *h, size_t node, bool base)
{
    struct load_sum sum = {0};

    for (size_t r = 0; r < h->n_roles; r++)
        if (base && !hosting_is_base(h, r, node))
            continue;
        else if (hosting_is_target(h, r, node))
            hosting_add(h, &sum, r, node, hosting_need_bytes(h, r, node));
        else if (hosting_stays_on(h, r, node))
            hosting_add(h, &sum, r, node, hosting_held_bytes(h, r, node));
    return sum;
}

/* What stands on the node now, and what may. */
static struct load_sum present(const struct hosting *h, size_t node)
{
    struct load_sum sum = {0};

    for (size_t r = 0; r < h->n_roles; r++)
        hosting_add(h, &sum, r, node, hosting_held_bytes(h, r, node));
    return sum;
}

void hosting_emit(struct hosting *h, const struct hosting_action *a)
{
    h->act(h->arg, a);
}

/* ---- what is seen ---- */

static uint64_t doubled(uint64_t first, uint64_t most, uint32_t times)
{
    while (times > 1 && first < most) {
        first *= 2;
        times--;
    }
    return first < most ? first : most;
}

void hosting_note_failure(struct hosting *h, size_t role, size_t node, bool for_good)
{
    struct hosting_cell *c = hosting_cell(h, role, node);
    struct hosting_line *line = &h->lines[role];

    if (c->fails < UINT32_MAX)
        c->fails++;
    if (line->fails < UINT32_MAX)
        line->fails++;
    line->for_good = for_good;
    c->blocked_until_ms = h->now_ms + doubled(HOSTING_RETRY_MIN_MS, HOSTING_RETRY_MAX_MS,
                                              c->fails + (for_good ? 2 : 0));
}

static void set_closed(struct hosting *h, size_t role, size_t node, bool closed,
                       enum hosting_why why)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    if (c->closed == closed)
        return;
    c->closed = closed;
    c->closed_ms = h->now_ms;
    if (closed)
        h->lines[role].bare_ms = h->now_ms;
    hosting_emit(h, &(struct hosting_action){.what = closed ? HOSTING_CLOSE : HOSTING_OPEN,
                                             .why = why,
                                             .role = role,
                                             .node = node});
}

/* Nothing is there any more. */
static void see_absent(struct hosting *h, size_t role, size_t node)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    if (c->asked && (c->load_owed || h->now_ms < c->doubt_until_ms))
        return;
    c->asked = false;
    if (c->unloading && c->unload_owed)
        return;
    c->unloading = c->dropped = c->hung = c->failed = c->evict = c->retry = false;
    c->unloads = 0;
    c->started_ms = c->moved_ms = c->ready_ms = 0;
    c->progress = 0;
    set_closed(h, role, node, false, HOSTING_KEPT);
}

static void see_loading(struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t limit = larger(HOSTING_HANG_MS, 2 * p->load_ms);

    c->ready_ms = 0;
    if (c->started_ms == 0)
        c->started_ms = h->now_ms;
    if (c->moved_ms == 0 || p->progress > c->progress || !h->f->nodes[node].reachable) {
        c->moved_ms = h->now_ms;
        c->progress = p->progress;
    }
    if (h->now_ms - c->moved_ms >= limit && !c->hung && p->current) {
        c->hung = true;
        hosting_note_failure(h, role, node, false);
    }
}

static void see(struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    struct hosting_cell *c = hosting_cell(h, role, node);

    if (p->seen == HOSTING_ABSENT) {
        see_absent(h, role, node);
        return;
    }
    if (c->asked && (p->current || (!c->load_owed && h->now_ms >= c->doubt_until_ms)))
        c->asked = false;
    if (!c->asked && !c->unloading && p->current && p->forecast == HOSTING_FITS)
        c->asked_bytes = p->bytes; /* what was forecast for it, when its settings have changed */
    c->failed = c->failed && p->seen == HOSTING_FAILED;
    c->retry = c->retry && p->seen == HOSTING_FAILED;
    if (p->seen == HOSTING_LOADING) {
        see_loading(h, role, node);
    } else if (p->seen == HOSTING_READY && p->current) {
        c->started_ms = c->moved_ms = 0;
        c->progress = 0;
        c->fails = c->refused = 0;
        c->blocked_until_ms = 0;
        c->hung = false;
        h->lines[role].fails = 0;
        if (c->ready_ms == 0)
            c->ready_ms = h->now_ms;
    } else if (p->seen == HOSTING_FAILED && p->current && !c->failed && !c->unloading) {
        c->failed = true;
        c->ready_ms = 0;
        hosting_note_failure(h, role, node, p->for_good);
    }
}

/* ---- what goes ---- */

/* A target of the node waits for room: to be loaded, or to be loaded with other settings. */
static bool room_needed(const struct hosting *h, size_t node)
{
    struct load_sum sum = present(h, node), without;

    for (size_t r = 0; r < h->n_roles; r++) {
        const struct hosting_pair *p = hosting_pair(h, r, node);
        bool holds = hosting_holds(h, r, node);
        bool stale = holds && p->seen != HOSTING_ABSENT && !p->current &&
                     p->forecast == HOSTING_FITS && !hosting_cell(h, r, node)->asked;

        if (!hosting_is_target(h, r, node) || (holds && !stale))
            continue;
        without = sum;
        hosting_take(h, &without, r, node, hosting_held_bytes(h, r, node));
        if (!hosting_fits(h, without, r, node, hosting_need_bytes(h, r, node)))
            return true;
    }
    return false;
}

static bool serves(const struct hosting *h, size_t role, size_t node)
{
    return hosting_pair(h, role, node)->seen == HOSTING_READY &&
           !hosting_cell(h, role, node)->closed && h->f->nodes[node].limits.usable;
}

/* Another host of the role is on its way up. */
static bool others_come(const struct hosting *h, size_t role, size_t node)
{
    for (size_t n = 0; n < h->n_nodes; n++)
        if (n != node && hosting_is_target(h, role, n) &&
            (hosting_cell(h, role, n)->asked || hosting_pair(h, role, n)->seen == HOSTING_LOADING))
            return true;
    return false;
}

/* A host that was let go before its successor stands: only one at a time. */
static bool someone_goes_early(const struct hosting *h)
{
    for (size_t r = 0; r < h->n_roles; r++)
        for (size_t n = 0; n < h->n_nodes; n++)
            if (hosting_cell(h, r, n)->closed && h->f->nodes[n].reachable &&
                hosting_cell(h, r, n)->why == HOSTING_ROOM && !h->f->roles[r].on_demand &&
                !h->f->roles[r].leaving)
                return true;
    return false;
}

/* The target does its work, or is not to. */
static bool is_in_place(const struct hosting *h, size_t role, size_t node)
{
    return serves(h, role, node) ||
           (hosting_is_shut(h, role, node) && hosting_pair(h, role, node)->seen == HOSTING_READY);
}

/* A pinned or resident host without a target: does it go now? */
static bool base_goes(const struct hosting *h, size_t role, size_t node, enum hosting_why *why)
{
    uint64_t target = h->lines[role].target;
    bool all = true;

    *why = target != 0 ? HOSTING_MOVED : HOSTING_ROOM;
    if (hosting_pair(h, role, node)->seen == HOSTING_FAILED) {
        *why = HOSTING_BROKEN;
        return true;
    }
    if (hosting_cell(h, role, node)->closed && hosting_cell(h, role, node)->why == HOSTING_ROOM) {
        *why = HOSTING_ROOM;
        return true;
    }
    if (hosting_stays_on(h, role, node)) /* nowhere else: it goes when somebody needs its room */
        return room_needed(h, node);
    for (; target != 0; target &= target - 1)
        all = all && is_in_place(h, role, (size_t)__builtin_ctzll(target));
    if (all)
        return true;
    *why = HOSTING_ROOM;
    return room_needed(h, node) && !others_come(h, role, node) && !someone_goes_early(h);
}

/* A target with other settings than wanted: is its engine to be replaced now? One at a time. */
static bool is_replaced(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);

    if (p->seen == HOSTING_ABSENT || p->seen == HOSTING_DRAINING || p->current || c->asked)
        return false;
    if (p->seen == HOSTING_FAILED)
        return p->forecast != HOSTING_UNASKED;
    if (p->forecast != HOSTING_FITS)
        return false;
    if (p->seen != HOSTING_READY || (c->closed && c->why != HOSTING_DRAINED))
        return true;
    if (!h->f->roles[role].on_demand && !h->fresh)
        return false; /* is there room for it as it is wanted now? The plan has still to say */
    if (hosting_is_shut(h, role, node))
        return true;
    for (size_t n = 0; n < h->n_nodes; n++)
        if (n != node && hosting_is_target(h, role, n) && hosting_holds(h, role, n) &&
            !is_in_place(h, role, n) && h->f->nodes[n].reachable)
            return false;
    return true;
}

/* Its worker gave it up, but it would fit: taken away, so that it can be asked for anew. */
static bool is_tried_again(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);

    const struct hosting_cell *c = hosting_cell(h, role, node);

    return p->seen == HOSTING_FAILED && p->current && p->forecast == HOSTING_FITS &&
           (c->retry || (p->for_good && h->now_ms >= c->blocked_until_ms));
}

static bool goes(const struct hosting *h, size_t role, size_t node, enum hosting_why *why)
{
    const struct hosting_role *r = &h->f->roles[role];
    const struct hosting_cell *c = hosting_cell(h, role, node);

    *why = HOSTING_LEFT;
    if (r->leaving || h->f->nodes[node].leaving)
        return true;
    *why = HOSTING_ASKED;
    if (c->evict || hosting_pair(h, role, node)->operator_wish == HOSTING_WANT_UNLOADED)
        return true;
    *why = HOSTING_BROKEN;
    if (c->hung || is_tried_again(h, role, node))
        return true;
    if (hosting_is_target(h, role, node))
        return false;
    if (!r->on_demand)
        return h->fresh && h->f->nodes[node].limits.usable && base_goes(h, role, node, why);
    *why = c->dropped ? c->why : HOSTING_MOVED;
    return true;
}

static bool is_drained(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);

    return c->closed && hosting_pair(h, role, node)->in_flight == 0 &&
           (c->closed_ms < h->now_ms || hosting_pair(h, role, node)->seen != HOSTING_READY);
}

static void unload(struct hosting *h, size_t role, size_t node, enum hosting_why why)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    if (c->unload_owed || !h->f->nodes[node].reachable || h->now_ms < c->unload_again_ms)
        return;
    if (!c->unloading)
        c->asked_bytes = hosting_held_bytes(h, role, node);
    c->unloading = c->unload_owed = true;
    c->unloads++;
    c->unload_again_ms = h->now_ms + doubled(HOSTING_AGAIN_MS, HOSTING_AGAIN_MAX_MS, c->unloads);
    hosting_emit(h, &(struct hosting_action){
                        .what = HOSTING_UNLOAD, .why = why, .role = role, .node = node});
}

static void let_go(struct hosting *h, size_t role, size_t node)
{
    struct hosting_cell *c = hosting_cell(h, role, node);
    enum hosting_why why;

    if (!hosting_holds(h, role, node))
        return;
    if (c->unloading) {
        unload(h, role, node, c->why); /* said again, if need be */
        return;
    }
    if (c->asked && c->replaces && c->closed && hosting_pair(h, role, node)->seen != HOSTING_ABSENT)
        return; /* the old engine stands, or comes back, until its worker has heard */
    if (goes(h, role, node, &why)) {
        c->why = why;
        set_closed(h, role, node, true, why);
        if (!c->asked && is_drained(h, role, node) &&
            hosting_pair(h, role, node)->seen != HOSTING_ABSENT)
            unload(h, role, node, why);
    } else if (hosting_is_target(h, role, node) && is_replaced(h, role, node)) {
        c->why = HOSTING_CHANGED;
        set_closed(h, role, node, true, HOSTING_CHANGED);
    } else if (hosting_is_shut(h, role, node)) {
        c->why = HOSTING_DRAINED;
        set_closed(h, role, node, true, HOSTING_DRAINED);
    } else {
        set_closed(h, role, node, false, HOSTING_KEPT);
    }
}

/* ---- what loads ---- */

static void load(struct hosting *h, size_t role, size_t node, enum hosting_why why)
{
    struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t need = hosting_need_bytes(h, role, node);
    bool seen = hosting_pair(h, role, node)->seen != HOSTING_ABSENT;

    c->asked = c->load_owed = true;
    c->replaces = seen;
    c->asked_bytes = larger(need, seen ? c->asked_bytes : 0); /* of the two, while either may be */
    c->doubt_until_ms = 0;
    c->started_ms = c->moved_ms = h->now_ms;
    c->progress = 0;
    c->ready_ms = 0;
    c->hung = c->failed = false;
    hosting_emit(h,
                 &(struct hosting_action){
                     .what = HOSTING_LOAD, .why = why, .role = role, .node = node, .bytes = need});
}

static void load_if_room(struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_node *n = &h->f->nodes[node];
    const struct hosting_cell *c = hosting_cell(h, role, node);
    bool replaces = c->closed && c->why == HOSTING_CHANGED && !c->unloading && !c->asked;
    struct load_sum sum;

    if (!n->reachable || n->refusing || n->leaving || h->now_ms < c->load_again_ms)
        return;
    if (!hosting_may_host(h, role, node))
        return; /* the plan has still to hear of it */
    if (p->forecast == HOSTING_UNASKED || (hosting_holds(h, role, node) && !replaces))
        return;
    if (p->forecast == HOSTING_FITS && h->now_ms < c->blocked_until_ms)
        return;
    if (replaces && !is_drained(h, role, node))
        return;
    sum = present(h, node);
    if (replaces)
        hosting_take(h, &sum, role, node, hosting_held_bytes(h, role, node));
    if (p->forecast == HOSTING_FITS && !hosting_fits(h, sum, role, node, p->bytes))
        return;
    load(h, role, node,
         replaces                                    ? HOSTING_CHANGED
         : hosting_is_loaded_for_good(h, role, node) ? HOSTING_ASKED
         : h->f->roles[role].on_demand               ? HOSTING_DEMANDED
                                                     : HOSTING_PLANNED);
}

/* ---- the round ---- */

static void forget_leaving(struct hosting *h)
{
    uint64_t stay = 0;

    for (size_t n = 0; n < h->n_nodes; n++)
        if (!h->f->nodes[n].leaving)
            stay |= hosting_bit(n);
    for (size_t r = 0; r < h->n_roles; r++)
        h->lines[r].target &= h->f->roles[r].leaving ? 0 : stay;
}

void hosting_step(struct hosting *h, const struct hosting_facts *f, uint64_t now_ms,
                  hosting_act *act, void *arg)
{
    h->f = f;
    h->now_ms = now_ms;
    h->act = act;
    h->arg = arg;
    forget_leaving(h);
    hosting_follow_wishes(h);
    for (size_t r = 0; r < h->n_roles; r++)
        for (size_t n = 0; n < h->n_nodes; n++)
            see(h, r, n);
    if (f->settled) {
        hosting_ask_plan(h);
        hosting_turns(h);
        for (size_t r = 0; r < h->n_roles; r++)
            for (size_t n = 0; n < h->n_nodes; n++)
                let_go(h, r, n);
        for (size_t r = 0; r < h->n_roles; r++)
            for (uint64_t t = h->lines[r].target; t != 0; t &= t - 1)
                load_if_room(h, r, (size_t)__builtin_ctzll(t));
    }
    h->f = NULL;
}

void hosting_answer(struct hosting *h, size_t role, size_t node, enum hosting_do what,
                    enum hosting_outcome how, uint64_t now_ms)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    if (what == HOSTING_UNLOAD) {
        c->unload_owed = false;
        if (how == HOSTING_REFUSED)
            c->unloading = false; /* thought over */
        return;
    }
    c->load_owed = false;
    if (how == HOSTING_REFUSED) {
        c->asked = false;
        c->refused++;
        c->load_again_ms = now_ms + doubled(HOSTING_AGAIN_MS, HOSTING_AGAIN_MAX_MS, c->refused);
    } else {
        c->doubt_until_ms = now_ms + HOSTING_DOUBT_MS;
    }
}

/* ---- life ---- */

struct tables {
    struct hosting_line *lines;
    struct hosting_cell *cells;
    struct plan_node *nodes;
    struct replan_role *roles;
    struct replan_pair *pairs;
};

static void tables_free(struct tables *t)
{
    free(t->lines);
    free(t->cells);
    free(t->nodes);
    free(t->roles);
    free(t->pairs);
}

static int tables_alloc(struct tables *t, size_t n_roles, size_t n_nodes)
{
    size_t n = n_roles * n_nodes + 1;

    *t = (struct tables){.lines = calloc(n_roles + 1, sizeof *t->lines),
                         .cells = calloc(n, sizeof *t->cells),
                         .nodes = calloc(n_nodes + 1, sizeof *t->nodes),
                         .roles = calloc(n_roles + 1, sizeof *t->roles),
                         .pairs = calloc(n, sizeof *t->pairs)};
    if (t->lines != NULL && t->cells != NULL && t->nodes != NULL && t->roles != NULL &&
        t->pairs != NULL)
        return 0;
    tables_free(t);
    return UV_ENOMEM;
}

static void tables_set(struct hosting *h, const struct tables *t, size_t n_roles, size_t n_nodes)
{
    h->lines = t->lines;
    h->cells = t->cells;
    h->plan_nodes = t->nodes;
    h->plan_roles = t->roles;
    h->plan_pairs = t->pairs;
    h->n_roles = n_roles;
    h->n_nodes = n_nodes;
}

int hosting_new(size_t n_roles, size_t n_nodes, struct hosting **out)
{
    struct hosting *h = calloc(1, sizeof *h);
    struct tables t;
    int r = h == NULL ? UV_ENOMEM : tables_alloc(&t, n_roles, n_nodes);

    *out = NULL;
    if (r < 0) {
        free(h);
        return r;
    }
    tables_set(h, &t, n_roles, n_nodes);
    *out = h;
    return 0;
}

void hosting_free(struct hosting *h)
{
    if (h == NULL)
        return;
    tables_free(&(struct tables){h->lines, h->cells, h->plan_nodes, h->plan_roles, h->plan_pairs});
    free(h);
}

static uint64_t target_moved(uint64_t was, size_t n_nodes, const size_t *node_was)
{
    uint64_t now = 0;

    for (size_t n = 0; n < n_nodes; n++)
        if (node_was[n] != SIZE_MAX && (was & hosting_bit(node_was[n])) != 0)
            now |= hosting_bit(n);
    return now;
}

int hosting_reshape(struct hosting *h, size_t n_roles, size_t n_nodes, const size_t *role_was,
                    const size_t *node_was)
{
    struct tables old = {h->lines, h->cells, h->plan_nodes, h->plan_roles, h->plan_pairs}, t;
    int err = tables_alloc(&t, n_roles, n_nodes);

    if (err < 0)
        return err;
    for (size_t r = 0; r < n_roles; r++) {
        if (role_was[r] == SIZE_MAX)
            continue;
        t.lines[r] = h->lines[role_was[r]];
        t.lines[r].target = target_moved(t.lines[r].target, n_nodes, node_was);
        t.lines[r].kept = target_moved(t.lines[r].kept, n_nodes, node_was);
        for (size_t n = 0; n < n_nodes; n++)
            if (node_was[n] != SIZE_MAX)
                t.cells[r * n_nodes + n] = *hosting_cell(h, role_was[r], node_was[n]);
    }
    tables_set(h, &t, n_roles, n_nodes);
    tables_free(&old);
    h->solving = h->planned = false;
    h->asked_digest = 0;
    h->n_plan_roles = 0;
    return 0;
}

bool hosting_is_closed(const struct hosting *h, size_t role, size_t node)
{
    return hosting_cell(h, role, node)->closed;
}

bool hosting_is_clear(const struct hosting *h, size_t role, size_t node)
{
    for (size_t r = 0; r < h->n_roles; r++)
        for (size_t n = 0; n < h->n_nodes; n++) {
            const struct hosting_cell *c = hosting_cell(h, r, n);

            if ((role == SIZE_MAX || r == role) && (node == SIZE_MAX || n == node) &&
                (c->asked || c->load_owed || c->unloading || c->unload_owed))
                return false;
        }
    return true;
}

bool hosting_is_planned(const struct hosting *h)
{
    return h->planned;
}

bool hosting_wants(const struct hosting *h, size_t role, size_t node)
{
    return hosting_is_target(h, role, node);
}
