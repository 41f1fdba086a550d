/* SPDX-License-Identifier: MIT */
/* tests/bench/planbench.c - how long a plan takes and how often it is proved, over random maps.
 * Maps are made as people's are: machines of the usual sizes, models of the usual sizes, roles with
 * contexts, slots, lanes, replicas, node lists and files, at several loads; each kind empty (all is
 * new), standing (the plan of before stands, then something changed) or with on-demand roles. The
 * sizes go up to PLAN_EXACT_NODES x PLAN_EXACT_ROLES. Prints the distribution of CPU times and
 * steps, how many plans were not proved, and in how many of these it is open whether more could be
 * hosted (in the others only swap, room for more, stops or fetches are); passes or fails nothing.
 * Bytes are not rounded: equal sizes come from equal models only.
 *
 *   planbench [--maps N] [--seed N] [--steps N] [--nodes N] [--roles N] [--slow] */
#include "proto/plan/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MB  UINT64_C(1000000)
#define KIB UINT64_C(1024)
#define GIB (UINT64_C(1) << 30)

static uint64_t rng;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = (rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* --- maps ---------------------------------------------------------------------------------------
 */

/* File sizes and KV bytes per token (f16) of models that people run. */
static const struct {
    uint64_t mb, kv;
} models[] = {
    {640, 112 * KIB},   {2000, 112 * KIB},  {3800, 36 * KIB},   {5030, 144 * KIB},
    {8500, 128 * KIB},  {9000, 160 * KIB},  {12100, 48 * KIB},  {15900, 160 * KIB},
    {17000, 80 * KIB},  {18600, 96 * KIB},  {19900, 256 * KIB}, {25300, 96 * KIB},
    {32500, 96 * KIB},  {34800, 256 * KIB}, {42500, 320 * KIB}, {48000, 48 * KIB},
    {63400, 72 * KIB},  {65400, 192 * KIB}, {74900, 320 * KIB}, {86000, 368 * KIB},
    {90200, 376 * KIB},
};
enum { MODELS = sizeof models / sizeof *models };

struct kind {
    const char *name;
    unsigned load_percent; /* what all that shall stand takes of all budgets, about */
    bool mixed;            /* machines of several sizes; false: all are 128 GB ones */
    bool lists, on_demand, replicas, files;
    enum { NEW, NODE_LOST, ROLE_GROWN, RELOADED } change; /* after a first plan that stands */
    bool swap;                                            /* some roles may be swapped */
    bool devices;                                         /* cards of their own beside memory */
};

static const struct kind kinds[] = {
    {"new, light", 45, false, false, true, true, false, NEW, false, false},
    {"new, usual", 70, true, true, true, true, true, NEW, false, false},
    {"new, full", 90, false, true, true, true, true, NEW, false, false},
    {"new, too full", 120, true, true, false, false, true, NEW, false, false},
    {"a node is lost, usual", 70, true, true, true, true, true, NODE_LOST, false, false},
    {"a node is lost, full", 85, false, true, false, true, true, NODE_LOST, false, false},
    {"a role grows, usual", 75, true, true, true, true, true, ROLE_GROWN, false, false},
    {"a role grows, full", 88, true, true, true, true, true, ROLE_GROWN, false, false},
    {"nothing changes", 85, true, true, true, true, true, RELOADED, false, false},
    {"with swap", 75, true, true, true, true, true, NEW, true, false},
    {"with cards", 60, true, true, true, true, true, NEW, false, true},
    {"with cards, a node is lost", 60, true, true, true, true, true, NODE_LOST, false, true},
};
enum { KINDS = sizeof kinds / sizeof *kinds, HOSTING = PLAN_NO_LOADED_REPLICAS + 1 };

struct map {
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_role roles[PLAN_ROLES_MAX];
    struct plan_pair *pairs;
    struct plan_in in;
};

static struct plan_pair *pair(struct map *m, size_t role, size_t node)
{
    return &m->pairs[role * m->in.n_nodes + node];
}

static void make_nodes(struct map *m, const struct kind *k)
{
    static const uint64_t gib[] = {125, 125, 125, 94, 62, 62, 46, 187};
    static const uint64_t cards[] = {24, 24, 16, 32, 48, 96};

    for (size_t n = 0; n < m->in.n_nodes; n++) {
        uint64_t total = (k->mixed ? gib[draw(sizeof gib / sizeof *gib)] : 125) * GIB;
        uint64_t reserve = total / 100 * 8 > 6 * GIB ? total / 100 * 8 : 6 * GIB;
        bool card = k->devices && draw(3) > 0;

        m->nodes[n] = (struct plan_node){.usable = true, .budget_bytes = total - reserve};
        if (k->swap && draw(2) == 0)
            m->nodes[n].swap_bytes = (8 + draw(57)) * GIB;
        if (card) {
            m->nodes[n].split = true;
            m->nodes[n].main_bytes = m->nodes[n].budget_bytes;
            m->nodes[n].device_bytes = cards[draw(sizeof cards / sizeof *cards)] * GIB;
            m->nodes[n].budget_bytes += m->nodes[n].device_bytes;
        }
    }
}

static uint64_t role_bytes(size_t model)
{
    static const uint64_t context[] = {8, 16, 32, 32, 64, 64, 128};
    uint64_t tokens = context[draw(sizeof context / sizeof *context)] * KIB;
    uint64_t slots = 1 + draw(4);

    while (slots > 1 && tokens * slots * models[model].kv > models[model].mb * MB)
        slots--;
    return models[model].mb * MB + tokens * slots * models[model].kv + 700 * MB;
}

static enum plan_wish draw_wish(bool on_demand)
{
    uint64_t d = draw(20);

    return d < 2                  ? PLAN_PINNED
           : d < 5                ? PLAN_AUTOCOMPLETE
           : d < 13               ? PLAN_INTERACTIVE
           : d < 16 || !on_demand ? PLAN_BATCH
           : d < 18               ? PLAN_LOADED
                                  : PLAN_IF_ASKED;
}

/* A role of `bytes`; on a card as much as fits of it. */
static void make_role(struct map *m, const struct kind *k, size_t r, uint64_t bytes)
{
    bool listed = k->lists && draw(4) == 0, everywhere = !k->files || draw(3) == 0;

    m->roles[r] =
        (struct plan_role){.wish = draw_wish(k->on_demand),
                           .replicas = k->replicas && draw(4) == 0 ? 2 + (uint32_t)draw(2) : 1,
                           .swap = k->swap && r == 5};
    for (size_t n = 0; n < m->in.n_nodes; n++) {
        const struct plan_node *node = &m->nodes[n];
        uint64_t device = 0;

        if (node->split)
            device = bytes <= node->device_bytes ? bytes / 100 * 97 : 0;
        *pair(m, r, n) = (struct plan_pair){.allowed = !listed || draw(3) == 0,
                                            .file = everywhere || draw(3) == 0,
                                            .bytes = bytes,
                                            .device_bytes = device};
    }
}

static uint64_t all_budgets(const struct map *m)
{
    uint64_t sum = 0;

    for (size_t n = 0; n < m->in.n_nodes; n++)
        sum += m->nodes[n].budget_bytes;
    return sum;
}

/* Models are drawn so that the sum comes near the load: nobody writes a map of 64 large roles. */
static void make_roles(struct map *m, const struct kind *k)
{
    uint64_t want = all_budgets(m) / 100 * k->load_percent, used = 0;

    for (size_t r = 0; r < m->in.n_roles; r++) {
        uint64_t rest = m->in.n_roles - r, mean = want > used ? (want - used) / rest : 0, bytes;

        do
            bytes = role_bytes(draw(MODELS));
        while (bytes > 3 * mean && bytes > 4 * GIB);
        if (k->swap && r == 5)
            bytes = (140 + draw(60)) * GIB; /* larger than most machines */
        make_role(m, k, r, bytes);
        if (bytes > 30 * GIB && bytes > mean) /* nobody wants the large ones twice */
            m->roles[r].replicas = 1;
        if (m->roles[r].wish != PLAN_IF_ASKED)
            used += bytes * m->roles[r].replicas;
    }
}

static int stand(struct map *m)
{
    struct plan_out out;
    int r;

    m->in.steps_max = 300; /* as a gateway that was in a hurry left it */
    r = plan_solve(&m->in, &out);
    m->in.steps_max = 0;
    for (size_t i = 0; r == 0 && i < m->in.n_roles; i++)
        for (size_t n = 0; n < m->in.n_nodes; n++)
            if ((out.hosts[i] >> n & 1) != 0)
                pair(m, i, n)->standing = pair(m, i, n)->file = true;
    return r;
}

static int make_map(struct map *m, const struct kind *k, size_t n_nodes, size_t n_roles)
{
    int r = 0;

    m->in = (struct plan_in){.nodes = m->nodes,
                             .roles = m->roles,
                             .pairs = m->pairs,
                             .n_nodes = n_nodes,
                             .n_roles = n_roles};
    make_nodes(m, k);
    make_roles(m, k);
    if (k->change != NEW)
        r = stand(m);
    if (k->change == NODE_LOST)
        m->nodes[draw(n_nodes)].usable = false;
    if (k->change == ROLE_GROWN) {
        size_t role = draw(n_roles);

        for (size_t n = 0; n < n_nodes; n++) {
            pair(m, role, n)->bytes += pair(m, role, n)->bytes / 2;
            pair(m, role, n)->device_bytes = 0;
        }
    }
    return r;
}

/* --- the run ------------------------------------------------------------------------------------
 */

struct args {
    size_t maps, nodes, roles;
    uint64_t seed, steps;
    bool slow;
};

static double ms_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* the machine may be busy */
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double at(const double *sorted, size_t n, double part)
{
    return sorted[(size_t)((double)(n - 1) * part + 0.5)];
}

static void print_counts(const char *name, const uint32_t *count)
{
    printf("  %-6s", name);
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        printf(" %4" PRIu32, count[i]);
    putchar('\n');
}

static void tell_slow(const struct kind *k, uint64_t seed, const struct plan_out *out, double ms)
{
    printf("%s, seed %" PRIu64 ": %.1f ms, %" PRIu64 " steps%s\n", k->name, seed, ms, out->steps,
           out->exact ? "" : ", not proved");
    print_counts("count", out->count);
    print_counts("bound", out->bound);
}

struct tally {
    double *ms;
    size_t n, not_exact, not_hosted; /* not proved at all, not in what is hosted */
    double all_ms;
    uint64_t all_steps, most_steps;
};

static int run_kind(const struct args *a, const struct kind *k, struct map *m, struct tally *t)
{
    for (size_t i = 0; i < a->maps; i++) {
        struct plan_out out;
        double began, ms;
        int r;

        rng = a->seed + i;
        r = make_map(m, k, a->nodes, a->roles);
        if (r < 0)
            return r;
        m->in.steps_max = a->steps;
        began = ms_now();
        r = plan_solve(&m->in, &out);
        ms = ms_now() - began;
        if (r < 0)
            return r;
        if (a->slow && (!out.exact || ms > 20))
            tell_slow(k, a->seed + i, &out, ms);
        t->ms[t->n++] = ms;
        t->all_ms += ms;
        t->all_steps += out.steps;
        t->most_steps = out.steps > t->most_steps ? out.steps : t->most_steps;
        t->not_exact += !out.exact;
        t->not_hosted += memcmp(out.count, out.bound, HOSTING * sizeof *out.count) != 0;
    }
    return 0;
}

static void tell(const char *name, struct tally *t)
{
    qsort(t->ms, t->n, sizeof *t->ms, by_value);
    printf("%-28s %5zu %8zu %8zu %8.2f %8.2f %8.2f %10" PRIu64 " %8.0f\n", name, t->n, t->not_exact,
           t->not_hosted, at(t->ms, t->n, 0.5), at(t->ms, t->n, 0.99), t->ms[t->n - 1],
           t->most_steps, t->all_ms > 0 ? (double)t->all_steps / t->all_ms : 0);
}

static int run(const struct args *a)
{
    struct map *m = calloc(1, sizeof *m);
    struct tally all = {.ms = calloc(a->maps * KINDS, sizeof(double))};
    int r = 0;

    m->pairs = calloc(PLAN_NODES_MAX * PLAN_ROLES_MAX, sizeof *m->pairs);
    printf("%zu nodes x %zu roles\n%-28s %5s %8s %8s %8s %8s %8s %10s %8s\n", a->nodes, a->roles,
           "", "maps", "unproved", "hosting", "p50 ms", "p99 ms", "worst", "most steps",
           "steps/ms");
    for (size_t i = 0; i < KINDS && r == 0; i++) {
        struct tally one = {.ms = all.ms + all.n};

        r = run_kind(a, &kinds[i], m, &one);
        if (r < 0 || one.n == 0)
            break;
        all.n += one.n;
        all.not_exact += one.not_exact;
        all.not_hosted += one.not_hosted;
        all.all_ms += one.all_ms;
        all.all_steps += one.all_steps;
        all.most_steps = one.most_steps > all.most_steps ? one.most_steps : all.most_steps;
        tell(kinds[i].name, &one);
        fflush(stdout);
    }
    if (r == 0 && all.n > 0)
        tell("all", &all);
    free(m->pairs);
    free(m);
    free(all.ms);
    return r;
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;

    *out = strtoull(text, &end, 10);
    return *end == '\0' && end != text && *out >= least && *out <= most;
}

int main(int argc, char **argv)
{
    struct args a = {.maps = 100, .nodes = PLAN_EXACT_NODES, .roles = PLAN_EXACT_ROLES, .seed = 1};

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        uint64_t v;

        if (strcmp(argv[i], "--slow") == 0) {
            a.slow = true;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--maps") == 0 && number(value, 1, 100000, &v))
            a.maps = (size_t)v;
        else if (strcmp(argv[i - 1], "--seed") == 0 && number(value, 0, UINT64_MAX, &v))
            a.seed = v;
        else if (strcmp(argv[i - 1], "--steps") == 0 && number(value, 0, UINT64_MAX, &v))
            a.steps = v;
        else if (strcmp(argv[i - 1], "--nodes") == 0 && number(value, 1, PLAN_NODES_MAX, &v))
            a.nodes = (size_t)v;
        else if (strcmp(argv[i - 1], "--roles") == 0 && number(value, 1, PLAN_ROLES_MAX, &v))
            a.roles = (size_t)v;
        else {
            fputs("planbench [--maps N] [--seed N] [--steps N] [--nodes N] [--roles N] [--slow]\n",
                  stderr);
            return 2;
        }
    }
    return run(&a) == 0 ? 0 : 1;
}
