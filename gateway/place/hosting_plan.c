/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_plan.c - the question to replan, its answer, and how a role stands.
 * A question is put when what it depends on has changed since the last one (a digest tells), never
 * while another is being solved. Loads that run or are about to count as standing, so that the
 * answer does not change while it is being carried out. */
#include <string.h>

#include "gateway/place/hosting_impl.h"

enum { PLAN_AGAIN_MS = 5000 }; /* after a question that could not be answered */

static const char *const do_names[] = {"load", "close", "open", "unload", "replan", "fail"};
static const char *const why_texts[] = {
    [HOSTING_PLANNED] = "planned",
    [HOSTING_DEMANDED] = "requests wait for it",
    [HOSTING_CHANGED] = "its entry in the role map has changed",
    [HOSTING_LEFT] = "the role map names it no longer",
    [HOSTING_MOVED] = "hosted elsewhere",
    [HOSTING_IDLE] = "not used for idle_unload",
    [HOSTING_ROOM] = "its room is needed",
    [HOSTING_BROKEN] = "its load failed",
    [HOSTING_ASKED] = "an operator wants it so",
    [HOSTING_DRAINED] = "drained by an operator",
    [HOSTING_KEPT] = "kept",
    [HOSTING_NO_ROOM] = "it fits on no node beside the hosts that stay",
    [HOSTING_NO_NODE] = "no allowed node can host it",
    [HOSTING_LOAD_FAILS] = "its loads fail",
    [HOSTING_KEPT_OFF] = "operators keep it off its nodes",
};

const char *hosting_do_name(enum hosting_do what)
{
    return (unsigned)what < RM_COUNT(do_names) ? do_names[what] : "unknown";
}

const char *hosting_why_text(enum hosting_why why)
{
    return (unsigned)why < RM_COUNT(why_texts) ? why_texts[why] : "unknown";
}

/* ---- the question ---- */

/* How well it stands: 0 not; ready before loading, a target before others, and all before those
 * that get no request. */
static uint8_t standing_of(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);
    bool target = hosting_is_target(h, role, node);

    if (c->unloading || c->hung || c->evict || p->seen == HOSTING_FAILED ||
        p->seen == HOSTING_DRAINING || (c->dropped && !target))
        return 0;
    if (p->seen == HOSTING_READY && hosting_is_shut(h, role, node))
        return 2;
    if (p->seen == HOSTING_READY)
        return target ? 5 : 4;
    if (p->seen == HOSTING_LOADING || c->asked)
        return target ? 3 : 2;
    return target && !h->f->roles[role].on_demand ? 1 : 0; /* on demand and only about to load:
                                                              nobody goes round it */
}

static struct replan_pair question_of(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);
    const struct hosting_node *n = &h->f->nodes[node];
    uint8_t stands = standing_of(h, role, node);
    bool there = hosting_may_host(h, role, node) && n->limits.usable && !n->leaving,
         known = p->forecast == HOSTING_FITS;
    bool fails = c->hung || h->now_ms < c->blocked_until_ms;

    known = known || (p->forecast == HOSTING_UNASKED && stands > 1) ||
            (p->seen == HOSTING_READY && p->current && stands > 1); /* what runs, runs */
    return (struct replan_pair){
        .may = there && known && !fails && (stands > 1 || (n->reachable && !n->refusing)),
        .bad = there && ((p->forecast == HOSTING_BAD && !known) || fails),
        .waits = there && !known && p->forecast == HOSTING_UNASKED && !fails,
        .file = p->file,
        .stands = stands,
        .loads = stands == 1 || (stands > 1 && !p->current && p->forecast == HOSTING_FITS),
        .bytes = hosting_need_bytes(h, role, node),
        .device_bytes = p->device_bytes,
        .largest_bytes = p->largest_bytes,
    };
}

/* An operator wants the role on these nodes: pinned, these first; of an on-demand one only these.
 */
static void question_of_operator(struct hosting *h, size_t role)
{
    struct replan_role *to = &h->plan_roles[role];
    struct replan_pair *pairs = &h->plan_pairs[role * h->n_nodes];
    bool guest = h->f->roles[role].on_demand;
    uint64_t asked = 0;

    for (size_t n = 0; n < h->n_nodes; n++)
        if (hosting_is_loaded_for_good(h, role, n))
            asked |= hosting_bit(n);
    h->lines[role].asked = guest ? asked : 0;
    h->lines[role].as_guest = guest;
    if (asked == 0)
        return;
    to->wish = PLAN_PINNED;
    if (guest || to->replicas < (uint32_t)__builtin_popcountll(asked))
        to->replicas = (uint32_t)__builtin_popcountll(asked);
    for (size_t n = 0; n < h->n_nodes; n++)
        if ((asked & hosting_bit(n)) != 0) {
            pairs[n].loads = pairs[n].loads || pairs[n].stands == 0;
            pairs[n].asked = true;
        } else if (guest) {
            pairs[n].may = pairs[n].bad = pairs[n].waits = false;
        }
}

static void fill_question(struct hosting *h)
{
    h->n_plan_roles = 0;
    for (size_t n = 0; n < h->n_nodes; n++) {
        h->plan_nodes[n] = h->f->nodes[n].limits;
        h->plan_nodes[n].usable = h->plan_nodes[n].usable && !h->f->nodes[n].leaving;
    }
    for (size_t r = 0; r < h->n_roles && r < PLAN_ROLES_MAX && !h->f->roles[r].leaving; r++) {
        const struct hosting_role *from = &h->f->roles[r];

        h->plan_roles[r] =
            (struct replan_role){.wish = from->on_demand ? PLAN_IF_ASKED : from->wish,
                                 .replicas = from->replicas,
                                 .swap = from->swap};
        for (size_t n = 0; n < h->n_nodes; n++)
            h->plan_pairs[r * h->n_nodes + n] = question_of(h, r, n);
        question_of_operator(h, r);
        h->n_plan_roles++;
    }
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ (hash >> 31);
}

/* Of what the answer depends on. Whether a host loads or is ready matters only where one of several
 * is to be chosen; of on-demand hosts it is no reason to ask again that they come and go. */
static uint64_t digest(const struct hosting *h)
{
    uint64_t d = 1;

    for (size_t n = 0; n < h->n_nodes; n++) {
        const struct plan_node *node = &h->plan_nodes[n];

        d = mix(mix(d, node->usable | (uint64_t)node->split << 1), node->budget_bytes);
        d = mix(mix(d, node->swap_bytes), node->largest_bytes);
        d = node->split ? mix(mix(d, node->main_bytes), node->device_bytes) : d;
    }
    for (size_t r = 0; r < h->n_plan_roles; r++) {
        const struct replan_pair *pairs = &h->plan_pairs[r * h->n_nodes];
        bool base = h->plan_roles[r].wish != PLAN_IF_ASKED;
        uint32_t standing = 0;

        for (size_t n = 0; n < h->n_nodes; n++)
            standing += pairs[n].stands > 0;
        d = mix(mix(d, (uint64_t)h->plan_roles[r].wish | (uint64_t)h->plan_roles[r].swap << 8),
                h->plan_roles[r].replicas);
        for (size_t n = 0; base && n < h->n_nodes; n++) {
            d = mix(d, pairs[n].may | (uint64_t)pairs[n].bad << 1 | (uint64_t)pairs[n].waits << 2 |
                           (uint64_t)(pairs[n].stands > 0) << 3 | (uint64_t)pairs[n].loads << 4 |
                           (uint64_t)pairs[n].asked << 5);
            d = mix(d, pairs[n].may ? pairs[n].bytes : 0);
            d = mix(d, pairs[n].may ? pairs[n].device_bytes : 0);
            if (standing > h->plan_roles[r].replicas)
                d = mix(d, pairs[n].stands);
        }
    }
    return d != 0 ? d : 1;
}

void hosting_ask_plan(struct hosting *h)
{
    uint64_t d;

    h->fresh = false;
    if (h->solving || h->now_ms < h->plan_again_ms)
        return;
    fill_question(h);
    d = digest(h);
    h->fresh = h->planned && d == h->asked_digest;
    if (d == h->asked_digest)
        return;
    h->asked_digest = d;
    h->solving = true;
    h->ticket++;
    hosting_emit(
        h, &(struct hosting_action){.what = HOSTING_REPLAN, .role = SIZE_MAX, .node = SIZE_MAX});
}

void hosting_plan_in(const struct hosting *h, struct replan_in *in, uint64_t *ticket)
{
    *in = (struct replan_in){.nodes = h->plan_nodes,
                             .roles = h->plan_roles,
                             .pairs = h->plan_pairs,
                             .drift = HOSTING_DRIFT,
                             .n_nodes = h->n_nodes,
                             .n_roles = h->n_plan_roles};
    *ticket = h->ticket;
}

void hosting_planned(struct hosting *h, uint64_t ticket, const struct replan_out *plan,
                     uint64_t now_ms)
{
    if (!h->solving || ticket != h->ticket)
        return;
    h->solving = false;
    if (plan == NULL) {
        h->asked_digest = 0;
        h->plan_again_ms = now_ms + PLAN_AGAIN_MS;
        return;
    }
    h->planned = true;
    for (size_t r = 0; r < h->n_plan_roles; r++) {
        h->lines[r].verdict = plan->verdict[r];
        if (!h->lines[r].as_guest) {
            h->lines[r].target = plan->hosts[r];
        } else {
            h->lines[r].kept = plan->hosts[r] & h->lines[r].asked;
            h->lines[r].target |= h->lines[r].kept;
        }
    }
}

/* ---- how a role stands ---- */

static uint64_t load_left_ms(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);
    const struct hosting_cell *c = hosting_cell(h, role, node);
    uint64_t gone = c->started_ms > 0 ? h->now_ms - c->started_ms : 0, left;

    if (p->load_ms == 0)
        return 0;
    left = p->load_ms > gone ? p->load_ms - gone : 0;
    if (p->seen == HOSTING_LOADING && p->progress > 0.02) { /* its own pace, once there is one */
        double by_pace = (double)gone * (1 - p->progress) / p->progress;

        left = (left + (uint64_t)by_pace) / 2;
    }
    return left > 0 ? left : 1;
}

static void view_target(const struct hosting *h, size_t role, size_t node, struct hosting_view *v)
{
    const struct hosting_cell *c = hosting_cell(h, role, node);
    bool loading = c->asked || hosting_pair(h, role, node)->seen == HOSTING_LOADING;

    if (v->state == HOSTING_IS_LOADING || (v->state == HOSTING_IS_NEXT && !loading) ||
        !h->f->nodes[node].reachable) /* nobody knows what comes of it */
        return;
    v->state = loading ? HOSTING_IS_LOADING : HOSTING_IS_NEXT;
    v->node = node;
    v->eta_ms = loading ? load_left_ms(h, role, node) : hosting_pair(h, role, node)->load_ms;
}

void hosting_role_view(const struct hosting *h, const struct hosting_facts *f, size_t role,
                       uint64_t now_ms, struct hosting_view *out)
{
    struct hosting view = *h; /* with facts and time */
    const struct hosting_role *r = &f->roles[role];

    view.f = f;
    view.now_ms = now_ms;
    *out = (struct hosting_view){.state = r->on_demand ? HOSTING_IS_OFF : HOSTING_IS_SHORT,
                                 .node = SIZE_MAX,
                                 .fails = h->lines[role].fails,
                                 .verdict = h->lines[role].verdict};
    for (size_t n = 0; n < h->n_nodes; n++)
        if (hosting_pair(&view, role, n)->seen == HOSTING_READY && f->nodes[n].limits.usable &&
            !hosting_cell(h, role, n)->closed) {
            out->state = HOSTING_IS_SERVING;
            out->node = n;
            return;
        }
    for (uint64_t t = hosting_open_targets(&view, role); t != 0; t &= t - 1)
        if (hosting_pair(&view, role, (size_t)__builtin_ctzll(t))->seen != HOSTING_FAILED)
            view_target(&view, role, (size_t)__builtin_ctzll(t), out);
    for (size_t n = 0; n < h->n_nodes && r->waiting > 0 && !r->leaving; n++) {
        uint64_t bound = hosting_bound_ms(r->wish);

        if (out->state != HOSTING_IS_OFF || !hosting_can_load(&view, role, n))
            continue;

        out->state = HOSTING_IS_WAITING;
        out->eta_ms = bound > r->oldest_ms ? bound - r->oldest_ms : 0;
    }
}
