/* SPDX-License-Identifier: MIT */
#include "cli/plan_show.h"

#include "cli/ask.h"
#include "proto/base/json_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BAR_CELLS = 48, PLAN_JSON_MAX = 4 << 20 };

/* --- small facts -------------------------------------------------------------------------------
 */

static uint64_t free_bytes(const struct plan_answer *a, size_t node)
{
    uint64_t budget = a->problem.nodes[node].budget_bytes, used = a->plan.used_bytes[node];

    return budget > used ? budget - used : 0;
}

/* A way out as the line of the role map that it changes. */
static void way_text(const struct plan_answer *a, const struct plan_way *w, char *out, size_t size)
{
    const char *name = plan_answer_role(a, w->role)->name;

    switch (w->kind) {
    case PLAN_WAY_NODE:
        snprintf(out, size, "let role '%s' also use node '%s'", name,
                 plan_answer_node(a, w->value));
        break;
    case PLAN_WAY_KV:
        snprintf(out, size, "role '%s': kv: q8_0", name);
        break;
    case PLAN_WAY_CONTEXT:
        snprintf(out, size, "role '%s': context: %" PRIu32 " instead of %" PRIu32, name, w->value,
                 plan_answer_role(a, w->role)->context);
        break;
    case PLAN_WAY_SLOTS:
        snprintf(out, size, "role '%s': slots: %" PRIu32 " instead of %" PRIu32, name, w->value,
                 plan_answer_role(a, w->role)->slots);
        break;
    default:
        snprintf(out, size, "role '%s': residency: on-demand", name);
        break;
    }
}

/* --- for people --------------------------------------------------------------------------------
 */

static double gib(uint64_t bytes)
{
    return (double)bytes / (double)(UINT64_C(1) << 30);
}

static struct plan_parts node_parts(const struct plan_answer *a, size_t node)
{
    struct plan_parts sum = {.known = true};

    for (size_t r = 0; r < a->problem.in.n_roles; r++)
        if (plan_answer_hosts(a, r, node)) {
            struct plan_parts p = plan_live_parts(a->live, r, node, NULL);

            sum.weights_bytes += p.weights_bytes;
            sum.kv_bytes += p.kv_bytes;
            sum.compute_bytes += p.compute_bytes;
            sum.other_bytes += p.other_bytes;
        }
    return sum;
}

/* Each part ends at its rounded place, so the bar is always as long as the machine is large; what
 * is counted on swap makes the machine that much larger. */
static void show_bar(const struct plan_answer *a, size_t node)
{
    struct plan_parts p = node_parts(a, node);
    const uint64_t parts[] = {p.weights_bytes, p.kv_bytes, p.compute_bytes, p.other_bytes,
                              free_bytes(a, node)};
    uint64_t total = plan_node_total(a, node) + a->plan.swap_bytes[node], sum = 0;
    size_t at = 0;

    printf("  [");
    for (size_t i = 0; i < sizeof parts / sizeof *parts && total > 0; i++) {
        sum += parts[i];
        for (; at < (size_t)((double)sum / (double)total * BAR_CELLS + 0.5) && at < BAR_CELLS; at++)
            putchar("WKCO."[i]);
    }
    for (; at < BAR_CELLS; at++)
        putchar('R');
    puts("]");
}

static void show_host(const struct plan_answer *a, size_t r, size_t node)
{
    struct plan_parts p = plan_live_parts(a->live, r, node, NULL);
    bool stands = plan_answer_pair(a, r, node)->standing;
    char why[160];

    if (plan_answer_hosts(a, r, node)) {
        printf("  %-5s %-16s %6.1f GiB = weights %.1f + KV %.1f + compute %.1f",
               stands ? "keep" : "load", plan_answer_role(a, r)->name, gib(p.all_bytes),
               gib(p.weights_bytes), gib(p.kv_bytes), gib(p.compute_bytes));
        if (p.other_bytes > 0)
            printf(" + other %.1f", gib(p.other_bytes));
        printf("%s; %s\n",
               p.measured    ? " (measured)"
               : p.estimated ? " (at least)"
                             : "",
               plan_reason_text(plan_reason_of(&a->problem.in, &a->plan, r, node)));
    } else if (stands) {
        plan_stop_reason(a, r, node, why, sizeof why);
        printf("  %-5s %-16s %6.1f GiB; %s\n", "stop", plan_answer_role(a, r)->name,
               gib(p.all_bytes), why);
    }
}

/* Where the map allows a role that the node cannot host: its one line why. */
static void show_bad(const struct plan_answer *a, size_t r, size_t node)
{
    const char *why = plan_bad_of(a, r, node);
    char shown[ASK_TEXT_MAX];

    if (why != NULL)
        printf("  %-5s %-16s %s\n", "not", plan_answer_role(a, r)->name, ask_shown(why, shown));
}

static void show_foreign(const struct plan_answer *a, size_t node)
{
    const struct node_state *s = a->live->nodes[node].state;
    char shown[ASK_TEXT_MAX];

    for (uint32_t i = 0; s != NULL && i < s->n_hosts; i++)
        if (role_map_role(a->live->map, rm_slice_of(s->hosts[i].role)) == NULL)
            printf("  %-5s %-16s %6.1f GiB; the role map has no such role\n", "stop",
                   ask_shown(s->hosts[i].role, shown), gib(s->hosts[i].forecast_bytes));
}

static void show_node(const struct plan_answer *a, size_t node)
{
    if (a->silent != NULL && a->silent[node] != NULL) {
        printf("%s: not planned with: %s\n", plan_answer_node(a, node), a->silent[node]);
        return;
    }
    printf("%s: %.1f GiB: hosts %.1f, free %.1f, reserve %.1f\n", plan_answer_node(a, node),
           gib(plan_node_total(a, node)), gib(a->plan.used_bytes[node]), gib(free_bytes(a, node)),
           gib(plan_node_reserve(a, node)));
    show_bar(a, node);
    for (size_t r = 0; r < a->problem.in.n_roles; r++)
        show_host(a, r, node);
    for (size_t r = 0; r < a->problem.in.n_roles; r++)
        show_bad(a, r, node);
    show_foreign(a, node);
    if (a->plan.swap_bytes[node] > 0)
        printf("  warning: %" PRIu64
               " bytes (%.1f GiB) of this do not fit into memory and will lie "
               "in swap\n",
               a->plan.swap_bytes[node], gib(a->plan.swap_bytes[node]));
}

static void show_role_without(const struct plan_answer *a, size_t role)
{
    const char *name = plan_answer_role(a, role)->name;
    double size = gib(plan_role_parts(a, role).all_bytes);

    switch (plan_lack_of(a, role)) {
    case PLAN_LACKS_HOST:
        printf("no host: %s (%s, %.1f GiB)\n", name,
               map_residency_name(plan_answer_role(a, role)->residency), size);
        break;
    case PLAN_LACKS_HOSTS:
        printf("fewer hosts: %s has %d of %" PRIu32 "\n", name,
               __builtin_popcountll(a->plan.hosts[role]), a->problem.roles[role].replicas);
        break;
    case PLAN_LACKS_HEADROOM:
        printf("no room left: %s (on-demand, %.1f GiB) cannot be loaded beside the others\n", name,
               size);
        break;
    case PLAN_LACKS_NOTHING:
        if (a->problem.roles[role].wish == PLAN_IF_ASKED)
            printf("on demand: %s (%.1f GiB) can be loaded on %s\n", name, size,
                   plan_answer_node(a, plan_home_of(a, role)));
        break;
    }
}

static void show_conflict(const struct plan_answer *a)
{
    const struct plan_conflict *c = &a->conflict;
    char text[320];

    if (c->n_roles == 0)
        return;
    printf("%s that cannot be hosted%s:", c->n_roles == 1 ? "a role" : "roles",
           c->n_roles == 1 ? "" : " together");
    for (size_t i = 0; i < c->n_roles; i++)
        printf(" %s (%.1f GiB)", plan_answer_role(a, c->roles[i])->name,
               gib(plan_role_parts(a, c->roles[i]).all_bytes));
    puts(c->smallest && c->n_roles > 1 ? "; no smaller set is in conflict" : "");
    if (c->node != SIZE_MAX)
        printf("missing: %" PRIu64 " bytes (%.1f GiB) on %s%s\n", c->missing_bytes,
               gib(c->missing_bytes), plan_answer_node(a, c->node),
               c->least ? "; less on any one node is not enough" : "; maybe less is enough");
    for (size_t i = 0; i < a->n_ways; i++) {
        way_text(a, &a->ways[i], text, sizeof text);
        printf("way out: %s\n", text);
    }
    if (a->n_ways == 0)
        puts("way out: no single change of node list, KV type, context, slots or residency is "
             "enough");
}

void plan_show_text(const struct plan_answer *a)
{
    for (size_t n = 0; n < a->problem.in.n_nodes; n++)
        show_node(a, n);
    puts("bar: W weights, K KV cache and state, C compute, O other, . free, R reserve");
    for (size_t r = 0; r < a->problem.in.n_roles; r++)
        show_role_without(a, r);
    if (!plan_is_feasible(&a->plan))
        show_conflict(a);
    printf("%s%s\n", plan_is_feasible(&a->plan) ? "fits" : "does not fit",
           a->plan.exact ? "; no plan is better"
                         : "; the best plan found, a better one is not ruled out");
}

int plan_show_json(const struct plan_answer *a)
{
    struct rm_buf out;
    struct rm_jw w;
    int r;

    rm_buf_init(&out, PLAN_JSON_MAX);
    w = rm_jw_to(&out);
    plan_answer_write(a, &w, NULL);
    r = rm_jw_done(&w);
    if (r == 0)
        puts(out.data);
    rm_buf_clear(&out);
    return r;
}
