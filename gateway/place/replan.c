/* SPDX-License-Identifier: MIT */
#include "gateway/place/replan.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gateway/place/load.h"

/* The work of one call. A part is a question to proto/plan about some of the roles. */
struct replan {
    const struct replan_in *in;
    struct replan_out *out;
    uint64_t kept[PLAN_ROLES_MAX];  /* decided so far: bit n: stands on node n */
    uint64_t found[PLAN_ROLES_MAX]; /* with the hosts that the last part added */
    /* the part */
    uint64_t fixed[PLAN_ROLES_MAX]; /* of kept: not in question */
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_role roles[PLAN_ROLES_MAX];
    uint16_t role_of[PLAN_ROLES_MAX]; /* [role of the part] */
    size_t n_roles;
    struct plan_pair *pairs; /* [role of the part * n_nodes + node] */
    struct plan_out plan;
};

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static uint32_t ones(uint64_t mask)
{
    return (uint32_t)__builtin_popcountll(mask);
}

static const struct replan_pair *pair_of(const struct replan *s, size_t role, size_t node)
{
    return &s->in->pairs[role * s->in->n_nodes + node];
}

static bool is_base(const struct replan *s, size_t role)
{
    return s->in->roles[role].wish != PLAN_IF_ASKED;
}

/* The hosts in `masks` on the node. */
static struct load_sum sum_of(const struct replan *s, const uint64_t *masks, size_t node)
{
    struct load_sum sum = {0};

    for (size_t r = 0; r < s->in->n_roles; r++)
        if ((masks[r] & bit(node)) != 0)
            load_add(&sum, s->in->roles[r].swap, pair_of(s, r, node)->bytes,
                     pair_of(s, r, node)->device_bytes);
    return sum;
}

/* How many bytes are too much when the role joins what is kept on the node. */
static uint64_t over_with(const struct replan *s, size_t role, size_t node, uint64_t drift)
{
    struct load_sum sum = sum_of(s, s->kept, node);

    load_add(&sum, s->in->roles[role].swap, pair_of(s, role, node)->bytes,
             pair_of(s, role, node)->device_bytes);
    return load_over(&sum, &s->in->nodes[node], drift);
}

/* Among what is kept on the node is a load to come: that needs its room now. */
static bool loads_on(const struct replan *s, size_t node)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if ((s->kept[r] & bit(node)) != 0 && pair_of(s, r, node)->loads)
            return true;
    return false;
}

static bool may_stay(const struct replan *s, size_t role, size_t node)
{
    const struct replan_pair *p = pair_of(s, role, node);
    const struct plan_node *n = &s->in->nodes[node];
    uint64_t drift = p->loads || loads_on(s, node) ? 0 : s->in->drift;

    return p->may && n->usable && over_with(s, role, node, drift) == 0 &&
           (n->largest_bytes == 0 || p->largest_bytes <= n->largest_bytes);
}

/* ---- what stands ---- */

/* Keeps the best standing host of the role that is not kept yet; loads: one that is still to be
 * loaded. False: there is none that fits. */
static bool keep_one(struct replan *s, size_t role, bool loads)
{
    size_t best = SIZE_MAX;

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        const struct replan_pair *p = pair_of(s, role, n);

        if (p->stands == 0 || p->loads != loads || (s->kept[role] & bit(n)) != 0 ||
            !may_stay(s, role, n) ||
            (best != SIZE_MAX && p->stands <= pair_of(s, role, best)->stands))
            continue;
        best = n;
    }
    if (best == SIZE_MAX)
        return false;
    s->kept[role] |= bit(best);
    return true;
}

/* Of all roles with the wish, at most so many hosts each. What changed, and may have grown, comes
 * after what did not. */
static void keep_wish(struct replan *s, int wish, uint32_t most)
{
    for (int loads = 0; loads < 2; loads++)
        for (size_t r = 0; r < s->in->n_roles; r++)
            if ((int)s->in->roles[r].wish == wish)
                while (ones(s->kept[r]) < s->in->roles[r].replicas && ones(s->kept[r]) < most &&
                       keep_one(s, r, loads != 0))
                    ;
}

/* Of the hosts that an operator wants, those that stand, or those that are to be loaded. */
static void keep_asked(struct replan *s, bool loads)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        for (size_t n = 0; s->in->roles[r].wish == PLAN_PINNED && n < s->in->n_nodes; n++)
            if (pair_of(s, r, n)->asked && pair_of(s, r, n)->loads == loads &&
                ones(s->kept[r]) < s->in->roles[r].replicas && may_stay(s, r, n))
                s->kept[r] |= bit(n);
}

static uint32_t asked_open(const struct replan *s, size_t role)
{
    uint32_t count = 0;

    for (size_t n = 0; n < s->in->n_nodes; n++)
        count +=
            pair_of(s, role, n)->asked && pair_of(s, role, n)->may && (s->kept[role] & bit(n)) == 0;
    return count;
}

/* What stands of pinned roles, but for the places of what an operator wants loaded. */
static void keep_pinned(struct replan *s)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->in->roles[r].wish == PLAN_PINNED)
            while (ones(s->kept[r]) + asked_open(s, r) < s->in->roles[r].replicas &&
                   keep_one(s, r, false))
                ;
}

static void keep_standing(struct replan *s)
{
    keep_asked(s, false);
    keep_pinned(s);
    keep_asked(s, true);
    keep_wish(s, PLAN_PINNED, PLAN_NODES_MAX);
    for (int wish = PLAN_AUTOCOMPLETE; wish <= PLAN_BATCH; wish++)
        keep_wish(s, wish, 1);
    for (int wish = PLAN_AUTOCOMPLETE; wish <= PLAN_BATCH; wish++)
        keep_wish(s, wish, PLAN_NODES_MAX);
}

/* The best of the kept ones, as a mask. */
static uint64_t best_kept(const struct replan *s, size_t role)
{
    uint64_t best = s->kept[role] & -s->kept[role];

    for (uint64_t m = s->kept[role]; m != 0; m &= m - 1)
        if (pair_of(s, role, (size_t)__builtin_ctzll(m))->stands >
            pair_of(s, role, (size_t)__builtin_ctzll(best))->stands)
            best = m & -m;
    return best;
}

/* ---- one part ---- */

/* Takes a host that is not in question off the part's node. */
static void part_take(struct replan *s, size_t role, size_t node)
{
    const struct replan_pair *p = pair_of(s, role, node);

    plan_node_take(&s->nodes[node], &(struct plan_role){.swap = s->in->roles[role].swap},
                   &(struct plan_pair){.bytes = p->bytes, .device_bytes = p->device_bytes});
}

static void part_nodes(struct replan *s, bool around_guests)
{
    for (size_t n = 0; n < s->in->n_nodes; n++) {
        s->nodes[n] = s->in->nodes[n];
        for (size_t r = 0; r < s->in->n_roles; r++)
            if ((s->fixed[r] & bit(n)) != 0 ||
                (around_guests && !is_base(s, r) && pair_of(s, r, n)->stands > 0))
                part_take(s, r, n);
    }
}

static void part_add(struct replan *s, size_t role, enum plan_wish wish, uint32_t replicas)
{
    struct plan_pair *to = &s->pairs[s->n_roles * s->in->n_nodes];
    uint64_t moving = s->kept[role] & ~s->fixed[role];

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        const struct replan_pair *p = pair_of(s, role, n);

        to[n] = (struct plan_pair){.allowed = p->may && (s->fixed[role] & bit(n)) == 0,
                                   .standing = (moving & bit(n)) != 0,
                                   .file = p->file,
                                   .bytes = p->bytes,
                                   .device_bytes = p->device_bytes,
                                   .largest_bytes = p->largest_bytes};
    }
    s->roles[s->n_roles] =
        (struct plan_role){.wish = wish, .replicas = replicas, .swap = s->in->roles[role].swap};
    s->role_of[s->n_roles++] = (uint16_t)role;
}

static bool stands_somewhere(const struct replan *s, size_t role)
{
    for (size_t n = 0; n < s->in->n_nodes; n++)
        if (pair_of(s, role, n)->stands > 0)
            return true;
    return false;
}

/* All that is missing, and room for what may be asked for; nothing that is kept moves. */
static void part_missing(struct replan *s, bool around_guests)
{
    s->n_roles = 0;
    memcpy(s->fixed, s->kept, sizeof s->fixed);
    part_nodes(s, around_guests);
    for (size_t r = 0; r < s->in->n_roles; r++) {
        const struct replan_role *role = &s->in->roles[r];
        uint32_t have = ones(s->kept[r]);

        if (!is_base(s, r)) {
            if (!around_guests || !stands_somewhere(s, r))
                part_add(s, r, PLAN_IF_ASKED, 1);
        } else if (have < role->replicas) {
            part_add(s, r, have == 0 ? role->wish : PLAN_LOADED, role->replicas - have);
        }
    }
}

/* The first hosts still missing of wishes up to `wish`; hosts of the later ones may move or go. */
static void part_for(struct replan *s, enum plan_wish wish)
{
    s->n_roles = 0;
    for (size_t r = 0; r < s->in->n_roles; r++)
        s->fixed[r] = s->in->roles[r].wish == PLAN_PINNED ? s->kept[r]
                      : s->in->roles[r].wish <= wish      ? best_kept(s, r)
                                                          : 0;
    part_nodes(s, false);
    for (size_t r = 0; r < s->in->n_roles; r++) {
        const struct replan_role *role = &s->in->roles[r];
        uint32_t moving = ones(s->kept[r] & ~s->fixed[r]);

        if (!is_base(s, r))
            continue;
        if (moving > 0)
            part_add(s, r, s->fixed[r] != 0 ? PLAN_LOADED : role->wish, moving);
        else if (s->kept[r] == 0 && role->wish <= wish)
            part_add(s, r, role->wish, 1);
    }
}

static int part_solve(struct replan *s)
{
    const struct plan_in in = {.nodes = s->nodes,
                               .roles = s->roles,
                               .pairs = s->pairs,
                               .n_nodes = s->in->n_nodes,
                               .n_roles = s->n_roles,
                               .steps_max = s->in->steps_max};
    int r = plan_solve(&in, &s->plan);

    if (r < 0)
        return r;
    s->out->solves++;
    s->out->exact = s->out->exact && s->plan.exact;
    memcpy(s->found, s->kept, sizeof s->found);
    for (size_t i = 0; i < s->n_roles; i++)
        if (is_base(s, s->role_of[i]))
            s->found[s->role_of[i]] = s->fixed[s->role_of[i]] | s->plan.hosts[i];
    return 0;
}

/* ---- the whole ---- */

static bool any_missing(const struct replan *s)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (is_base(s, r) && ones(s->kept[r]) < s->in->roles[r].replicas)
            return true;
    return false;
}

static bool any_guest(const struct replan *s)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (!is_base(s, r) && stands_somewhere(s, r))
            return true;
    return false;
}

/* The first n counts: does a come before b? -1, 0, 1 */
static int compare(const uint32_t *a, const uint32_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* found: kept and what can be added to it. count: what is still open. */
static int add_missing(struct replan *s, uint32_t *count)
{
    static const uint32_t none[PLAN_COUNTS];
    uint64_t found[PLAN_ROLES_MAX];
    int r;

    if (any_guest(s)) {
        part_missing(s, true);
        if ((r = part_solve(s)) < 0)
            return r;
        memcpy(count, s->plan.count, sizeof s->plan.count);
        if (compare(count, none, PLAN_NO_HEADROOM + 1) == 0)
            return 0;
        memcpy(found, s->found, sizeof found);
        part_missing(s, false);
        if ((r = part_solve(s)) < 0)
            return r;
        if (compare(count, s->plan.count, PLAN_NO_HEADROOM + 1) <= 0)
            memcpy(s->found, found, sizeof found);
        else
            memcpy(count, s->plan.count, sizeof s->plan.count);
        return 0;
    }
    part_missing(s, false);
    if ((r = part_solve(s)) == 0)
        memcpy(count, s->plan.count, sizeof s->plan.count);
    return r;
}

static bool can_yield(const struct replan *s, int wish)
{
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (is_base(s, r) && s->in->roles[r].wish != PLAN_PINNED &&
            ones(s->kept[r]) > ((int)s->in->roles[r].wish <= wish ? 1u : 0u))
            return true;
    return false;
}

/* Lets less important hosts make room for a wish. True: it hosts more; kept is as found then. */
static int make_room(struct replan *s, int wish, const uint32_t *count, bool *better)
{
    int r;

    *better = false;
    if (count[wish] == 0 || !can_yield(s, wish))
        return 0;
    part_for(s, (enum plan_wish)wish);
    if ((r = part_solve(s)) < 0)
        return r;
    *better = compare(s->plan.count, count, (size_t)wish + 1) < 0;
    if (*better)
        memcpy(s->kept, s->found, sizeof s->kept);
    return 0;
}

static int solve_parts(struct replan *s)
{
    uint32_t count[PLAN_COUNTS];
    uint64_t added[PLAN_ROLES_MAX];
    int tried = -1, r = 0;
    bool better = true;

    while (better && any_missing(s)) {
        if ((r = add_missing(s, count)) < 0)
            return r;
        memcpy(added, s->found, sizeof added);
        for (better = false; !better && tried < PLAN_BATCH;)
            if ((r = make_room(s, ++tried, count, &better)) < 0)
                return r;
        if (!better)
            memcpy(s->kept, added, sizeof s->kept);
    }
    return 0;
}

/* A role that nobody can host: one worker shall say why. */
static void give_to_one(struct replan *s, size_t role)
{
    size_t best = SIZE_MAX;

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        const struct replan_pair *p = pair_of(s, role, n);

        if (p->may || p->waits)
            return;
        if (p->bad && (best == SIZE_MAX || p->stands > pair_of(s, role, best)->stands))
            best = n;
    }
    if (best != SIZE_MAX)
        s->kept[role] = bit(best);
}

static struct replan_verdict judge(const struct replan *s, size_t role)
{
    uint32_t want = is_base(s, role) ? s->in->roles[role].replicas : 1;
    bool waits = false, bad = false, fits = false;
    struct replan_verdict v = {REPLAN_NO_NODE, 0};

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        const struct replan_pair *p = pair_of(s, role, n);
        uint64_t over;

        waits = waits || p->waits;
        bad = bad || p->bad;
        if (!p->may || !s->in->nodes[n].usable || (s->kept[role] & bit(n)) != 0)
            continue;
        over = over_with(s, role, n, 0);
        fits = fits || over == 0;
        if (over > 0 && (v.missing_bytes == 0 || over < v.missing_bytes))
            v.missing_bytes = over;
    }
    if (ones(s->kept[role]) >= want || (!is_base(s, role) && fits))
        v = (struct replan_verdict){REPLAN_OK, 0};
    else if (waits)
        v.why = REPLAN_WAITS;
    else if (v.missing_bytes > 0)
        v.why = REPLAN_NO_ROOM;
    else if (bad)
        v.why = REPLAN_BAD;
    return v;
}

int replan_solve(const struct replan_in *in, struct replan_out *out)
{
    struct replan *s;
    int r;

    memset(out, 0, sizeof *out);
    if (in->n_nodes > PLAN_NODES_MAX || in->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    if ((s = calloc(1, sizeof *s)) == NULL)
        return UV_ENOMEM;
    s->in = in;
    s->out = out;
    out->exact = true;
    s->pairs = calloc(in->n_roles * in->n_nodes + 1, sizeof *s->pairs);
    r = s->pairs == NULL ? UV_ENOMEM : 0;
    if (r == 0) {
        keep_standing(s);
        r = solve_parts(s);
    }
    for (size_t i = 0; r == 0 && i < in->n_roles; i++)
        out->verdict[i] = judge(s, i);
    for (size_t i = 0; r == 0 && i < in->n_roles; i++)
        if (is_base(s, i) && s->kept[i] == 0)
            give_to_one(s, i);
    memcpy(out->hosts, s->kept, sizeof out->hosts);
    free(s->pairs);
    free(s);
    return r;
}
