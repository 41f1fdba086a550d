/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_begin.c - facts to masks, limits and questions; see plan_search.h.
 *
 * Swap: hosts of roles that may be swapped share the budget with the others and the swap besides;
 * the others must fit into the budget by themselves, whichever pages the kernel then moves. So with
 * swap there is a second limit (the UNSWAPPED ones), which swapped roles take nothing of. */
#include "proto/plan/plan_search.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define UNLIMITED (UINT64_MAX / 256) /* 64 PiB: the sum over all nodes stays a number */
#define GIB       (UINT64_C(1) << 30)

/* --- limits -------------------------------------------------------------------------------------
 */

static uint64_t clamp(uint64_t a)
{
    return a < UNLIMITED ? a : UNLIMITED;
}

static uint64_t more(uint64_t a, uint64_t b)
{
    return clamp(clamp(a) + clamp(b));
}

static uint64_t limit_of(const struct plan_node *n, enum dim dim)
{
    if (!n->usable)
        return 0;
    switch (dim) {
    case DIM_ALL:
        return more(n->budget_bytes, n->swap_bytes);
    case DIM_MAIN:
        return n->split ? more(n->main_bytes, n->swap_bytes) : UNLIMITED;
    case DIM_DEVICE:
        return n->split ? clamp(n->device_bytes) : UNLIMITED;
    case DIM_ALL_UNSWAPPED:
        return clamp(n->budget_bytes);
    case DIM_MAIN_UNSWAPPED:
        return n->split ? clamp(n->main_bytes) : UNLIMITED;
    case DIMS:
        break;
    }
    return UNLIMITED;
}

static uint64_t need_of(const struct plan_role *r, const struct plan_pair *p, enum dim dim)
{
    uint64_t device = p->device_bytes < p->bytes ? p->device_bytes : p->bytes;

    switch (dim) {
    case DIM_ALL:
        return p->bytes;
    case DIM_MAIN:
        return p->bytes - device;
    case DIM_DEVICE:
        return device;
    case DIM_ALL_UNSWAPPED:
        return r->swap ? 0 : p->bytes;
    case DIM_MAIN_UNSWAPPED:
        return r->swap ? 0 : p->bytes - device;
    case DIMS:
        break;
    }
    return 0;
}

static void choose_dims(struct search *s)
{
    bool split = false, swap_here = false, swap_wanted = false;

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        split = split || s->in->nodes[n].split;
        swap_here = swap_here || s->in->nodes[n].swap_bytes > 0;
    }
    for (size_t r = 0; r < s->in->n_roles; r++)
        swap_wanted = swap_wanted || s->in->roles[r].swap;
    s->dims[s->n_dims++] = swap_here && !swap_wanted ? DIM_ALL_UNSWAPPED : DIM_ALL;
    if (split) {
        s->dims[s->n_dims++] = swap_here && !swap_wanted ? DIM_MAIN_UNSWAPPED : DIM_MAIN;
        s->dims[s->n_dims++] = DIM_DEVICE;
    }
    if (swap_here && swap_wanted) {
        s->dims[s->n_dims++] = DIM_ALL_UNSWAPPED;
        if (split)
            s->dims[s->n_dims++] = DIM_MAIN_UNSWAPPED;
    }
}

/* --- masks --------------------------------------------------------------------------------------
 */

static bool pair_possible(const struct search *s, size_t role, size_t node)
{
    const struct plan_pair *p = &s->in->pairs[role * s->in->n_nodes + node];
    const struct plan_node *n = &s->in->nodes[node];
    const uint64_t *need = plan_need(s, role, node);

    for (size_t d = 0; d < s->n_dims; d++)
        if (need[d] > s->cap[node][d])
            return false;
    return p->allowed && n->usable &&
           (n->largest_bytes == 0 || p->largest_bytes <= n->largest_bytes);
}

static void read_pair(struct search *s, size_t role, size_t node)
{
    const struct plan_pair *p = &s->in->pairs[role * s->in->n_nodes + node];
    uint64_t *need = &s->need[(role * s->in->n_nodes + node) * s->n_dims];

    for (size_t d = 0; d < s->n_dims; d++)
        need[d] = need_of(&s->in->roles[role], p, s->dims[d]);
    if (!pair_possible(s, role, node))
        return;
    s->may[role] |= plan_bit(node);
    s->stands[role] |= p->standing ? plan_bit(node) : 0;
    s->files[role] |= p->file ? plan_bit(node) : 0;
    for (size_t d = 0; d < s->n_dims; d++)
        if (need[d] < s->least[role][d])
            s->least[role][d] = need[d];
}

static void read_role(struct search *s, size_t role)
{
    for (size_t d = 0; d < s->n_dims; d++)
        s->least[role][d] = UINT64_MAX;
    for (size_t n = 0; n < s->in->n_nodes; n++)
        read_pair(s, role, n);
    if (s->in->roles[role].replicas > plan_ones(s->files[role]))
        s->must_fetch[role] = s->in->roles[role].replicas - plan_ones(s->files[role]);
    if (s->in->roles[role].wish == PLAN_IF_ASKED)
        s->asked[s->n_asked++] = (uint16_t)role;
}

static size_t units_wanted(const struct plan_in *in)
{
    size_t n = 0;

    for (size_t r = 0; r < in->n_roles; r++)
        n += in->roles[r].replicas < in->n_nodes ? in->roles[r].replicas : in->n_nodes;
    return n + 1;
}

int plan_begin(struct search *s)
{
    size_t units = units_wanted(s->in);
    bool ok;

    choose_dims(s);
    s->need = calloc(s->in->n_roles * s->in->n_nodes * s->n_dims + 1, sizeof *s->need);
    s->units = calloc(units, sizeof *s->units);
    s->placed = calloc(units, sizeof *s->placed);
    s->half = calloc(units, sizeof *s->half);
    s->differ_depth = calloc((size_t)PLAN_NODES_MAX * PLAN_NODES_MAX, sizeof *s->differ_depth);
    ok = s->need != NULL && s->units != NULL && s->placed != NULL && s->half != NULL &&
         s->differ_depth != NULL;
    for (size_t d = 0; d < s->n_dims; d++) {
        s->ascending[d] = calloc(units, sizeof **s->ascending);
        ok = ok && s->ascending[d] != NULL;
    }
    if (!ok)
        return UV_ENOMEM;
    for (size_t n = 0; n < s->in->n_nodes; n++)
        for (size_t d = 0; d < s->n_dims; d++)
            s->cap[n][d] = limit_of(&s->in->nodes[n], s->dims[d]);
    for (size_t r = 0; r < s->in->n_roles; r++)
        read_role(s, r);
    return 0;
}

void plan_end(struct search *s)
{
    for (size_t d = 0; d < DIMS; d++)
        free(s->ascending[d]);
    free(s->need);
    free(s->units);
    free(s->placed);
    free(s->half);
    free(s->differ_depth);
    free(s->memo);
}

uint64_t plan_swap_of(const struct search *s, size_t node)
{
    const struct plan_node *n = &s->in->nodes[node];
    uint64_t most = 0;

    if (!n->usable || n->swap_bytes == 0)
        return 0;
    for (size_t d = 0; d < s->n_dims && d < 2; d++) { /* the two that swap extends */
        uint64_t without = s->dims[d] == DIM_ALL    ? limit_of(n, DIM_ALL_UNSWAPPED)
                           : s->dims[d] == DIM_MAIN ? limit_of(n, DIM_MAIN_UNSWAPPED)
                                                    : UNLIMITED;
        uint64_t used = s->cap[node][d] - s->free[node][d];

        if (used > without && used - without > most)
            most = used - without;
    }
    return most;
}

uint32_t plan_swapped(const struct search *s)
{
    uint64_t gib = 0;

    for (size_t n = 0; n < s->in->n_nodes; n++)
        gib += (plan_swap_of(s, n) + GIB - 1) / GIB;
    return gib < UINT32_MAX ? (uint32_t)gib : UINT32_MAX;
}

/* --- the question -------------------------------------------------------------------------------
 */

static enum plan_count further_level(enum plan_wish wish)
{
    return wish == PLAN_LOADED ? PLAN_NO_LOADED_REPLICAS : PLAN_NO_REPLICAS;
}

static enum plan_count first_level(enum plan_wish wish)
{
    return wish == PLAN_LOADED ? PLAN_NO_LOADED : (enum plan_count)wish; /* same order above */
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void open_role(struct search *s, size_t role, size_t roles_max)
{
    const struct plan_role *r = &s->in->roles[role];
    uint32_t fixed = plan_ones(s->hosts[role]), most = plan_ones(s->may[role]);
    uint32_t want = at_most(r->replicas, most), open = want > fixed ? want - fixed : 0;

    open = at_most(open, plan_ones(s->may[role] & s->scope & ~s->hosts[role]));
    if (s->n_active == roles_max)
        open = 0;
    for (uint32_t i = fixed; i < r->replicas; i++) {
        enum plan_count level = i == 0 ? first_level(r->wish) : further_level(r->wish);

        if (i < fixed + open)
            s->units[s->n_units++] = (struct unit){.role = (uint16_t)role,
                                                   .level = (uint8_t)level,
                                                   .further = i > 0,
                                                   .stands = (s->stands[role] & s->scope) != 0};
        else
            s->base[level]++;
    }
    s->open_units[role] = open;
    s->slot[role] = 0;
    if (open > 0) {
        s->slot[role] = s->n_active < SLOTS ? plan_bit(s->n_active) : 0;
        s->active[s->n_active++] = (uint16_t)role;
    }
}

/* What is new comes first in its level: what it pushes out is then seen early. */
static bool comes_before(const struct search *s, const struct unit *a, const struct unit *b)
{
    uint64_t a_bytes = s->least[a->role][0], b_bytes = s->least[b->role][0];

    if (a->level != b->level)
        return a->level < b->level;
    if (a->stands != b->stands)
        return b->stands;
    if (a_bytes != b_bytes)
        return a_bytes > b_bytes;
    return a->role < b->role;
}

static void sort_units(struct search *s)
{
    for (uint32_t u = 1; u < s->n_units; u++) {
        struct unit unit = s->units[u];
        uint32_t i = u;

        for (; i > 0 && comes_before(s, &unit, &s->units[i - 1]); i--)
            s->units[i] = s->units[i - 1];
        s->units[i] = unit;
    }
    for (uint32_t u = 0; u < s->n_units; u++)
        s->last_unit[s->units[u].role] = u + 1;
}

static void sort_ascending(struct search *s, size_t d)
{
    uint32_t at = 0, u = 0;

    for (uint32_t level = 0; level < LEVELS; level++) {
        s->level_at[level] = at;
        for (; u < s->n_units && s->units[u].level == level; u++) { /* levels are in order */
            uint32_t i = at++;

            while (i > s->level_at[level] && s->least[s->units[s->ascending[d][i - 1]].role][d] >
                                                 s->least[s->units[u].role][d]) {
                s->ascending[d][i] = s->ascending[d][i - 1];
                i--;
            }
            s->ascending[d][i] = u;
        }
    }
    s->level_at[LEVELS] = at;
}

static void start_empty(struct search *s, uint64_t scope, const uint64_t *hosts)
{
    s->scope = scope;
    s->question++;
    s->n_units = 0;
    s->n_active = 0;
    s->given_up = 0;
    memset(s->base, 0, sizeof s->base);
    memset(s->last_unit, 0, sizeof s->last_unit);
    memset(s->carried, 0, sizeof s->carried);
    memset(s->stood, 0, sizeof s->stood);
    memcpy(s->free, s->cap, sizeof s->free);
    for (size_t r = 0; r < s->in->n_roles; r++) {
        s->hosts[r] = hosts != NULL ? hosts[r] : 0;
        for (uint64_t m = s->hosts[r]; m != 0; m &= m - 1)
            for (size_t d = 0; d < s->n_dims; d++)
                s->free[plan_first(m)][d] -= plan_need(s, r, plan_first(m))[d];
    }
}

/* Stops and fetches of roles that have nothing open are counted once. */
static void count_closed(struct search *s)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->last_unit[r] == 0 && s->in->roles[r].wish != PLAN_IF_ASKED) {
            s->base[PLAN_STOPPED] += plan_ones(s->stands[r] & ~s->hosts[r]);
            s->base[PLAN_FETCHED] += plan_fetched(s, r);
        }
}

void plan_question(struct search *s, uint64_t scope, const uint64_t *hosts, size_t roles_max)
{
    start_empty(s, scope, hosts);
    for (int wish = PLAN_PINNED; wish <= PLAN_LOADED; wish++)
        for (size_t r = 0; r < s->in->n_roles; r++)
            if ((int)s->in->roles[r].wish == wish)
                open_role(s, r, roles_max);
    sort_units(s);
    for (size_t d = 0; d < s->n_dims; d++)
        sort_ascending(s, d);
    count_closed(s);
    memcpy(s->left_out, s->base, sizeof s->left_out);
    for (size_t a = 0; a < s->n_active; a++)
        for (uint64_t m = s->stands[s->active[a]] & scope; m != 0; m &= m - 1)
            s->stood[plan_first(m)] |= s->slot[s->active[a]];
    for (size_t a = 0; a < s->n_active; a++)
        s->room[s->active[a]] = 0;
    for (uint64_t m = scope; m != 0; m &= m - 1)
        plan_refresh(s, plan_first(m));
}
