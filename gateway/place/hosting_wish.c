/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_wish.c - what operators want of hosts and nodes, as the rest of the machine
 * asks for it: where a role may stand, which hosts get no request, what is kept; and whether a
 * wish can be taken at all. The rules are in hosting.h. */
#include "gateway/place/hosting_impl.h"

/* By the map, an operator keeps the role, or requests, off the node. */
bool hosting_is_kept_off(const struct hosting *h, size_t role, size_t node)
{
    enum hosting_wish wish = hosting_pair(h, role, node)->operator_wish;

    return h->f->nodes[node].drained || wish == HOSTING_WANT_UNLOADED ||
           wish == HOSTING_WANT_DRAINED;
}

bool hosting_is_shut(const struct hosting *h, size_t role, size_t node)
{
    return h->f->nodes[node].drained ||
           hosting_pair(h, role, node)->operator_wish == HOSTING_WANT_DRAINED;
}

bool hosting_may_host(const struct hosting *h, size_t role, size_t node)
{
    const struct hosting_pair *p = hosting_pair(h, role, node);

    if (!p->allowed || h->f->nodes[node].drained)
        return false;
    return p->operator_wish == HOSTING_WANT_DRAINED
               ? hosting_holds(h, role, node) && !hosting_cell(h, role, node)->evict
               : p->operator_wish != HOSTING_WANT_UNLOADED;
}

bool hosting_is_loaded_for_good(const struct hosting *h, size_t role, size_t node)
{
    return hosting_pair(h, role, node)->operator_wish == HOSTING_WANT_LOADED &&
           hosting_may_host(h, role, node);
}

uint64_t hosting_open_targets(const struct hosting *h, size_t role)
{
    uint64_t open = h->lines[role].target;

    for (uint64_t t = open; t != 0; t &= t - 1)
        if (hosting_is_shut(h, role, (size_t)__builtin_ctzll(t)))
            open &= ~(t & -t);
    return open;
}

bool hosting_is_kept(const struct hosting *h, size_t role, size_t node)
{
    return (h->lines[role].kept & hosting_bit(node)) != 0;
}

bool hosting_is_base(const struct hosting *h, size_t role, size_t node)
{
    return !h->f->roles[role].on_demand || h->f->roles[role].leaving ||
           hosting_is_kept(h, role, node);
}

/* What was kept is so only as long as it is wanted. */
void hosting_follow_wishes(struct hosting *h)
{
    for (size_t r = 0; r < h->n_roles; r++)
        for (uint64_t t = h->lines[r].kept; t != 0; t &= t - 1)
            if (!h->f->roles[r].on_demand || (h->lines[r].target & (t & -t)) == 0 ||
                !hosting_is_loaded_for_good(h, r, (size_t)__builtin_ctzll(t)))
                h->lines[r].kept &= ~(t & -t);
}

/* ---- what operators do once ---- */

void hosting_evict(struct hosting *h, size_t role, size_t node)
{
    hosting_cell(h, role, node)->evict = true;
}

void hosting_retry(struct hosting *h, size_t role, size_t node)
{
    struct hosting_cell *c = hosting_cell(h, role, node);

    c->evict = false;
    c->retry = true;
    c->blocked_until_ms = c->load_again_ms = 0;
    c->fails = c->refused = 0;
    h->lines[role].fails = 0;
    h->lines[role].for_good = false;
}

/* ---- can it be? ---- */

enum hosting_fault hosting_load_fault(const struct hosting *h, const struct hosting_facts *f,
                                      size_t role, size_t node, uint64_t *missing_bytes)
{
    struct hosting view = *h;
    const struct hosting_node *n = &f->nodes[node];
    const struct hosting_pair *p;
    struct load_sum sum;

    view.f = f;
    *missing_bytes = 0;
    p = hosting_pair(&view, role, node);
    if (!p->allowed)
        return HOSTING_FAULT_MAP;
    if (n->drained)
        return HOSTING_FAULT_DRAINED;
    if (!n->limits.usable || !n->reachable)
        return HOSTING_FAULT_AWAY;
    if (p->forecast == HOSTING_BAD)
        return HOSTING_FAULT_BAD;
    if (p->forecast != HOSTING_FITS || hosting_holds(&view, role, node))
        return HOSTING_FAULT_NONE; /* what stands, stands; what is not known yet will show */
    sum = hosting_future(&view, node, true);
    if (hosting_is_target(&view, role, node) && hosting_is_base(&view, role, node))
        hosting_take(&view, &sum, role, node, hosting_need_bytes(&view, role, node));
    hosting_add(&view, &sum, role, node, p->bytes);
    *missing_bytes = load_over(&sum, &n->limits, 0);
    if (*missing_bytes == 0 && n->limits.largest_bytes > 0 &&
        p->largest_bytes > n->limits.largest_bytes)
        *missing_bytes = p->largest_bytes - n->limits.largest_bytes;
    return *missing_bytes > 0 ? HOSTING_FAULT_NO_ROOM : HOSTING_FAULT_NONE;
}
