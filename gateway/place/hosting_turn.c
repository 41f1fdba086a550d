/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_turn.c - on-demand roles: who is loaded, and who must go for it.
 * Sets targets; hosting.c drains and loads to them. The targets of a node always fit together, so a
 * target waits only for hosts that are going already. The rules and bounds are in hosting.h. */
#include <string.h>

#include "gateway/place/hosting_impl.h"

uint64_t hosting_bound_ms(enum plan_wish wish)
{
    switch (wish) {
    case PLAN_PINNED:
    case PLAN_AUTOCOMPLETE:
        return HOSTING_BOUND_AUTOCOMPLETE_MS;
    case PLAN_INTERACTIVE:
        return HOSTING_BOUND_INTERACTIVE_MS;
    default:
        return HOSTING_BOUND_BATCH_MS;
    }
}

static bool on_demand(const struct hosting *h, size_t role)
{
    return h->f->roles[role].on_demand && !h->f->roles[role].leaving;
}

static void drop(struct hosting *h, size_t role, size_t node, enum hosting_why why)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    h->lines[role].target &= ~hosting_bit(node);
    c->dropped = hosting_holds(h, role, node);
    c->why = why;
}

static void aim(struct hosting *h, size_t role, size_t node)
{
    h->lines[role].target |= hosting_bit(node);
    hosting_cell(h, role, node)->dropped = false;
}

static bool is_busy(const struct hosting *h, size_t role, size_t node)
{
    return (h->f->roles[role].waiting > 0 && !hosting_is_shut(h, role, node)) ||
           hosting_pair(h, role, node)->in_flight > 0;
}

static uint64_t used_ms(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t used = hosting_pair(h, role, node)->used_ms;

    return used > c->ready_ms ? used : c->ready_ms;
}

static uint64_t idle_ms(const struct hosting *h, size_t role, size_t node)
{
    uint64_t used = used_ms(h, role, node);

    return h->now_ms > used ? h->now_ms - used : 0;
}

/* How long the role has waited for a turn: its oldest request, but not from before the end of its
 * last turn. */
static uint64_t age_ms(const struct hosting *h, size_t role)
{
    uint64_t bare = h->now_ms - h->lines[role].bare_ms, oldest = h->f->roles[role].oldest_ms;

    return oldest < bare ? oldest : bare;
}

/* When it may end others' turns: later than now, as a difference. */
static int64_t due_in_ms(const struct hosting *h, size_t role)
{
    return (int64_t)hosting_bound_ms(h->f->roles[role].wish) - (int64_t)age_ms(h, role);
}

/* ---- what no longer counts ---- */

bool hosting_can_load(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_node *n = &h->f->nodes[node];
    const struct hosting_pair *p = hosting_pair(h, role, node);

    return n->limits.usable && n->reachable && !n->refusing && !n->leaving &&
           hosting_may_host(h, role, node) && !hosting_cell(h, role, node)->evict &&
           p->forecast == HOSTING_FITS && p->seen != HOSTING_FAILED &&
           h->now_ms >= hosting_cell(h, role, node)->blocked_until_ms &&
           (n->limits.largest_bytes == 0 || p->largest_bytes <= n->limits.largest_bytes);
}

/* Is the target to be given up? */
static bool is_over(const struct hosting *h, size_t role, size_t node, enum hosting_why *why)
{
    const struct hosting_role *r = &h->f->roles[role];
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);

    if (hosting_is_kept(h, role, node))
        return false;
    *why = HOSTING_ASKED;
    if (c->evict)
        return true;
    *why = HOSTING_BROKEN;
    if (p->seen == HOSTING_FAILED || c->hung)
        return true;
    *why = HOSTING_MOVED;
    if (!h->f->nodes[node].limits.usable || !hosting_may_host(h, role, node))
        return true;
    *why = HOSTING_IDLE;
    if (!hosting_holds(h, role, node))
        return r->waiting == 0 || !hosting_can_load(h, role, node);
    if (p->seen == HOSTING_DRAINING && !c->unloading) /* its worker lets it go */
        return true;
    *why = HOSTING_CHANGED;
    if (p->seen != HOSTING_ABSENT && !p->current && !c->asked && !is_busy(h, role, node))
        return true;
    *why = HOSTING_IDLE;
    return p->seen == HOSTING_READY && !hosting_is_shut(h, role, node) && r->idle_unload_ms > 0 &&
           !is_busy(h, role, node) && idle_ms(h, role, node) >= r->idle_unload_ms;
}

static void end_turns(struct hosting *h, size_t role)
{
    enum hosting_why why;

    for (uint64_t t = h->lines[role].target; t != 0; t &= t - 1) {
        size_t node = (size_t)__builtin_ctzll(t);

        if (is_over(h, role, node, &why))
            drop(h, role, node, why);
    }
}

static uint32_t n_open(const struct hosting *h, size_t role)
{
    return (uint32_t)__builtin_popcountll(hosting_open_targets(h, role));
}

/* More hosts than replicas: the least used go. Those that get no request do not count. */
static void drop_surplus(struct hosting *h, size_t role)
{
    while (n_open(h, role) > h->f->roles[role].replicas) {
        size_t worst = SIZE_MAX;

        for (uint64_t t = hosting_open_targets(h, role) & ~h->lines[role].kept; t != 0;
             t &= t - 1) {
            size_t n = (size_t)__builtin_ctzll(t);
            bool ready = hosting_pair(h, role, n)->seen == HOSTING_READY;

            if (worst == SIZE_MAX || !ready ||
                (hosting_pair(h, role, worst)->seen == HOSTING_READY &&
                 idle_ms(h, role, n) > idle_ms(h, role, worst)))
                worst = n;
        }
        if (worst == SIZE_MAX)
            return;
        drop(h, role, worst, HOSTING_MOVED);
    }
}

static bool fits(const struct hosting *h, size_t role, size_t node)
{
    return hosting_fits(h, hosting_future(h, node, false), role, node,
                        hosting_need_bytes(h, role, node));
}

/* Hosts that stand and are no targets: found at the start, back with their node, or on the way out
 * for a room that is not needed any more. */
static void take_up(struct hosting *h, size_t role)
{
    const struct hosting_role *r = &h->f->roles[role];

    for (size_t n = 0; n < h->n_nodes; n++) {
        const struct hosting_pair *p = hosting_pair(h, role, n);
        const struct hosting_cell *c = hosting_cell(h, role, n);

        if (hosting_is_target(h, role, n) || c->unloading || c->hung || c->evict || !p->current ||
            (p->seen != HOSTING_READY && p->seen != HOSTING_LOADING) ||
            !hosting_may_host(h, role, n) || !h->f->nodes[n].limits.usable ||
            h->f->nodes[n].leaving)
            continue;
        if (c->dropped && (c->why != HOSTING_ROOM || h->lines[role].target != 0))
            continue;
        if ((hosting_is_shut(h, role, n) || n_open(h, role) < r->replicas) && fits(h, role, n))
            aim(h, role, n);
    }
}

/* ---- room ---- */

/* How long it may serve, once it is loaded, before others that wait may end it. */
static uint64_t turn_ms(const struct hosting *h, size_t role, size_t node)
{
    uint64_t load = hosting_pair(h, role, node)->load_ms;

    if (load < HOSTING_TURN_MIN_MS)
        return HOSTING_TURN_MIN_MS;
    return load < HOSTING_TURN_MAX_MS ? load : HOSTING_TURN_MAX_MS;
}

/* May the host go for a request that has waited so long? */
static bool may_go(const struct hosting *h, size_t role, size_t node, uint64_t age,
                   uint64_t bound_ms)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t linger = turn_ms(h, role, node);

    if (hosting_pair(h, role, node)->seen != HOSTING_READY)
        return h->f->roles[role].waiting == 0; /* it loads for nobody */
    if (!is_busy(h, role, node))
        return idle_ms(h, role, node) >= (linger < bound_ms ? linger : bound_ms);
    return age >= bound_ms && h->now_ms - c->ready_ms >= linger;
}

/* What must go for a load on a node. */
struct eviction {
    uint64_t victims[(PLAN_ROLES_MAX + HOSTING_LEAVING_MAX) / 64]; /* bit: role */
    uint32_t n, busy;
    uint64_t left_bytes; /* free afterwards */
};

static bool is_victim(const struct eviction *r, size_t role)
{
    return (r->victims[role / 64] >> (role % 64) & 1) != 0;
}

/* a goes rather than b. */
static bool goes_first(const struct hosting *h, size_t a, size_t b, size_t node)
{
    bool busy_a = is_busy(h, a, node), busy_b = is_busy(h, b, node);
    bool holds_a = hosting_holds(h, a, node), holds_b = hosting_holds(h, b, node);
    bool current_a = hosting_pair(h, a, node)->current,
         current_b = hosting_pair(h, b, node)->current;

    if (holds_a != holds_b)
        return holds_b; /* nothing stands yet */
    if (holds_a && current_a != current_b)
        return current_b; /* it was to be replaced anyway */
    if (busy_a != busy_b)
        return busy_b;
    if (busy_a && h->f->roles[a].wish != h->f->roles[b].wish)
        return h->f->roles[a].wish > h->f->roles[b].wish; /* the lesser lane */
    return used_ms(h, a, node) < used_ms(h, b, node);
}

/* The host to go first among those that may; force: any. SIZE_MAX: none. */
static size_t next_victim(const struct hosting *h, const struct eviction *room, size_t role,
                          size_t node, bool force)
{
    uint64_t bound = 0, age = UINT64_MAX;
    size_t best = SIZE_MAX;

    if (!force) {
        bound = hosting_bound_ms(h->f->roles[role].wish);
        age = age_ms(h, role);
    }
    for (size_t r = 0; r < h->n_roles; r++) {
        if (r == role || !on_demand(h, r) || !hosting_is_target(h, r, node) ||
            hosting_is_kept(h, r, node) || is_victim(room, r))
            continue;
        if (!force && !may_go(h, r, node, age, bound))
            continue;
        if (best == SIZE_MAX || goes_first(h, r, best, node))
            best = r;
    }
    return best;
}

/* Finds who must go from the node so that the role fits, too (SIZE_MAX: so that the rest does);
 * false: not enough may go. */
static bool find_room(const struct hosting *h, size_t role, size_t node, bool force,
                      struct eviction *out)
{
    const struct plan_node *limits = &h->f->nodes[node].limits;
    struct load_sum sum = hosting_future(h, node, false);
    size_t r;

    memset(out, 0, sizeof *out);
    if (role != SIZE_MAX)
        hosting_add(h, &sum, role, node, hosting_need_bytes(h, role, node));
    while (load_over(&sum, limits, 0) > 0) {
        if ((r = next_victim(h, out, role, node, force)) == SIZE_MAX)
            return false;
        out->victims[r / 64] |= hosting_bit(r % 64);
        hosting_take(h, &sum, r, node, hosting_need_bytes(h, r, node));
    }
    for (r = 0; r < h->n_roles; r++) { /* some may have been more than enough */
        if (!is_victim(out, r))
            continue;
        hosting_add(h, &sum, r, node, hosting_need_bytes(h, r, node));
        if (load_over(&sum, limits, 0) == 0) {
            out->victims[r / 64] &= ~hosting_bit(r % 64);
            continue;
        }
        hosting_take(h, &sum, r, node, hosting_need_bytes(h, r, node));
        out->n++;
        out->busy += is_busy(h, r, node);
    }
    out->left_bytes = limits->budget_bytes > sum.all ? limits->budget_bytes - sum.all : 0;
    return true;
}

static void clear_room(struct hosting *h, size_t node, const struct eviction *room)
{
    for (size_t r = 0; r < h->n_roles; r++)
        if (is_victim(room, r))
            drop(h, r, node, HOSTING_ROOM);
}

/* Pinned and resident targets come first: on-demand ones that do not fit beside them go. */
static void trim_node(struct hosting *h, size_t node)
{
    struct load_sum sum = hosting_future(h, node, false);
    bool loads = false;
    struct eviction room;

    for (size_t r = 0; r < h->n_roles; r++)
        loads = loads || (hosting_is_target(h, r, node) &&
                          (!hosting_holds(h, r, node) || !hosting_pair(h, r, node)->current));
    if (load_over(&sum, &h->f->nodes[node].limits, loads ? 0 : HOSTING_DRIFT) == 0)
        return;
    if (find_room(h, SIZE_MAX, node, true, &room)) {
        clear_room(h, node, &room);
        return;
    }
    for (size_t r = 0; r < h->n_roles; r++) /* not even then: the next plan says what goes */
        if (!hosting_is_base(h, r, node) && hosting_is_target(h, r, node))
            drop(h, r, node, HOSTING_ROOM);
}

/* ---- the turn ---- */

/* Room a for node na is the better choice. */
static bool is_better(const struct hosting *h, size_t role, const struct eviction *a, size_t na,
                      const struct eviction *b, size_t nb)
{
    bool file_a = hosting_pair(h, role, na)->file, file_b = hosting_pair(h, role, nb)->file;
    bool here_a =
        hosting_pair(h, role, na)->seen == HOSTING_READY && !hosting_cell(h, role, na)->unloading;
    bool here_b =
        hosting_pair(h, role, nb)->seen == HOSTING_READY && !hosting_cell(h, role, nb)->unloading;

    if (here_a != here_b)
        return here_a; /* still stands there: only to be opened */
    if (a->busy != b->busy)
        return a->busy < b->busy;
    if (a->n != b->n)
        return a->n < b->n;
    if (file_a != file_b)
        return file_a;
    return a->left_bytes > b->left_bytes;
}

static bool take_turn(struct hosting *h, size_t role, uint64_t not_on, bool may_evict)
{
    struct eviction best, room;
    size_t node = SIZE_MAX;

    for (size_t n = 0; n < h->n_nodes; n++) {
        if ((not_on & hosting_bit(n)) != 0 || hosting_is_target(h, role, n) ||
            !hosting_can_load(h, role, n) || !find_room(h, role, n, false, &room) ||
            (!may_evict && room.n > 0))
            continue;
        if (node == SIZE_MAX || is_better(h, role, &room, n, &best, node)) {
            best = room;
            node = n;
        }
    }
    if (node == SIZE_MAX)
        return false;
    clear_room(h, node, &best);
    aim(h, role, node);
    return true;
}

/* All its hosts serve, and still requests wait. */
static bool wants_more(const struct hosting *h, size_t role)
{
    uint64_t target = hosting_open_targets(h, role);

    if (n_open(h, role) >= h->f->roles[role].replicas)
        return false;
    for (; target != 0; target &= target - 1)
        if (hosting_pair(h, role, (size_t)__builtin_ctzll(target))->seen != HOSTING_READY)
            return false;
    return true;
}

/* Nothing will load it: tells why. A reason to wait is any node that may still do. */
static void fail_waiting(struct hosting *h, size_t role)
{
    struct hosting_action a = {
        .what = HOSTING_FAIL, .role = role, .node = SIZE_MAX, .count = h->lines[role].fails};
    bool small = false, bad = false, fails = false, absent = false, off = false;

    if (h->solving)
        return; /* the answer may change it */
    for (size_t n = 0; n < h->n_nodes; n++) {
        const struct hosting_pair *p = hosting_pair(h, role, n);
        const struct hosting_node *node = &h->f->nodes[n];
        struct load_sum sum = hosting_future(h, n, true);
        uint64_t missing;

        if (!p->allowed || node->leaving)
            continue;
        if (hosting_is_kept_off(h, role, n)) {
            a.node = off ? a.node : n;
            off = true;
            continue;
        }
        if (!node->limits.usable) {
            absent = true;
            continue;
        }
        if (p->forecast == HOSTING_UNASKED)
            return;
        hosting_add(h, &sum, role, n, p->bytes);
        missing = load_over(&sum, &node->limits, 0);
        if (p->forecast == HOSTING_BAD) {
            bad = true;
        } else if (missing > 0 || (node->limits.largest_bytes > 0 &&
                                   p->largest_bytes > node->limits.largest_bytes)) {
            a.bytes = !small || missing < a.bytes ? missing : a.bytes;
            small = true;
        } else if (h->now_ms < hosting_cell(h, role, n)->blocked_until_ms) {
            fails = true;
        } else {
            return;
        }
    }
    if (fails && !h->lines[role].for_good && h->lines[role].fails < HOSTING_TRIES)
        return;
    if (!fails && !small && !bad && absent) /* also with nodes that operators keep it from */
        return; /* its node may come back: its queue's deadline ends the wait */
    a.why = off     ? HOSTING_KEPT_OFF
            : fails ? HOSTING_LOAD_FAILS
            : small ? HOSTING_NO_ROOM
                    : HOSTING_NO_NODE;
    hosting_emit(h, &a);
}

/* Pinned and resident: told when the plan has no place for it, or none that may get requests. */
static void fail_base(struct hosting *h, size_t role)
{
    uint64_t target = h->lines[role].target;

    if (h->f->roles[role].on_demand || h->f->roles[role].leaving || h->f->roles[role].waiting == 0)
        return;
    if (target == 0)
        fail_waiting(h, role);
    else if (hosting_open_targets(h, role) == 0 && !h->solving)
        hosting_emit(h, &(struct hosting_action){.what = HOSTING_FAIL,
                                                 .why = HOSTING_KEPT_OFF,
                                                 .role = role,
                                                 .node = (size_t)__builtin_ctzll(target)});
}

/* The waiting role whose turn is due first; not one of `seen`. */
static size_t first_due(const struct hosting *h, const struct eviction *seen)
{
    size_t best = SIZE_MAX;

    for (size_t r = 0; r < h->n_roles; r++)
        if (on_demand(h, r) && h->f->roles[r].waiting > 0 && !is_victim(seen, r) &&
            (best == SIZE_MAX || due_in_ms(h, r) < due_in_ms(h, best)))
            best = r;
    return best;
}

/* The nodes on which an overdue role waits for the ends of turns: others must not take the room
 * that it is given bit by bit. */
static uint64_t nodes_for(const struct hosting *h, size_t role)
{
    struct eviction room;
    uint64_t nodes = 0;

    for (size_t n = 0; n < h->n_nodes; n++)
        if (hosting_can_load(h, role, n) && find_room(h, role, n, true, &room))
            nodes |= hosting_bit(n);
    return nodes;
}

void hosting_turns(struct hosting *h)
{
    struct eviction seen = {.n = 0};
    uint64_t kept_free = 0;
    size_t role;

    for (size_t r = 0; r < h->n_roles; r++)
        if (on_demand(h, r)) {
            end_turns(h, r);
            drop_surplus(h, r);
        }
    for (size_t n = 0; n < h->n_nodes; n++)
        trim_node(h, n);
    for (size_t r = 0; r < h->n_roles; r++)
        if (on_demand(h, r))
            take_up(h, r);
    if (!h->planned)
        return; /* where pinned and resident roles go is not known yet */
    for (size_t r = 0; r < h->n_roles; r++)
        fail_base(h, r);
    while ((role = first_due(h, &seen)) != SIZE_MAX) {
        seen.victims[role / 64] |= hosting_bit(role % 64);
        if (hosting_open_targets(h, role) != 0) {
            if (wants_more(h, role))
                take_turn(h, role, kept_free, false);
        } else if (!take_turn(h, role, kept_free, true)) {
            fail_waiting(h, role);
            if (due_in_ms(h, role) <= 0)
                kept_free |= nodes_for(h, role);
        }
    }
}
