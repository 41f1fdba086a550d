/* SPDX-License-Identifier: MIT */
/* worker/memory/accountant_test.c - facts.c and accountant.c over whole trees: those of
 * tests/data/memory with the budgets they must give, this machine, and ten thousand random trees'
 * facts that watch what must hold for all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/memory/accountant.h"
#include "worker/memory/sysread.h"

#define KIB 1024ULL
#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

enum { RANDOM_TREES = 10000 };

/* ---- trees ---- */

static const struct tree {
    const char *name;
    uint64_t system, available, limit, hugepages, vram, vram_used, gtt, swap, zram, reserve;
    double pressure;
    const char *id; /* of its card; NULL: the tree does not tell */
} trees[] = {
    /* 8 % of 65617412 KiB are below 6 GiB */
    {"unified-64-64", 65617412 * KIB, 61874220 * KIB, 0, 0, 64 * GIB, 412 * MIB, 33596112896, 0, 0,
     6 * GIB, 0, "0000:c1:00.0"},
    {"unified-96-32", 32489260 * KIB, 29101344 * KIB, 0, 0, 96 * GIB, 1200 * MIB, 16634499072, 0, 0,
     6 * GIB, 0, "0000:c1:00.0"},
    /* gtt_total says 128 GiB, ttm allows 120 */
    {"unified-05-127", 131415032 * KIB, 126710244 * KIB, 0, 0, 512 * MIB, 201 * MIB, 120 * GIB, 0,
     0, 131415032 * KIB / 100 * 8, 0, "0000:c1:00.0"},
    /* the render node and the connector are the card again; the other card has no figures */
    {"discrete-24", 65770044 * KIB, 60112340 * KIB, 0, 0, 25753026560, 3 * GIB, 33674260480,
     8388604 * KIB, 0, 6 * GIB, 1.25, "0000:03:00.0"},
    /* memory.high of our own group, 12 GiB, is below memory.max of the one above, 16 GiB;
       available: min(12 - (5 - 3), 16 - (6 - 4)) */
    {"container-v2", 12 * GIB, 10 * GIB, 12 * GIB, 0, 0, 0, 0, 0, 0, 6 * GIB, 12.34, NULL},
    {"container-v1", 8 * GIB, 6 * GIB, 8 * GIB, 0, 0, 0, 0, 0, 0, 4 * GIB, 0, NULL},
    {"no-gpu", 24684096 * KIB, 22845432 * KIB, 0, 0, 0, 0, 0, 0, 0, 6 * GIB, 0, NULL},
    {"hugepages", 65770044 * KIB - 32 * GIB, 26010112 * KIB, 0, 32 * GIB, 0, 0, 0, 0, 0, 6 * GIB, 0,
     NULL},
    {"hugepages-old", 65770044 * KIB - 2 * GIB, 57723800 * KIB, 0, 2 * GIB, 0, 0, 0, 0, 0, 6 * GIB,
     0, NULL},
    {"zram", 16314672 * KIB, 12001300 * KIB, 0, 0, 0, 0, 0, 12345336 * KIB, 8151036 * KIB, 6 * GIB,
     0, NULL},
    {"partitions", 65770044 * KIB, 60112340 * KIB, 0, 0, 64 * GIB, 0, 32 * GIB, 0, 0, 6 * GIB, 0,
     NULL},
};

static void read_tree(const char *name, struct memory_facts *f)
{
    char path[128];
    int root;

    snprintf(path, sizeof(path), "tests/data/memory/%s", name);
    assert_true((root = sys_root(path)) >= 0);
    assert_int_equal(facts_read(root, f), 0);
    close(root);
}

/* An engine's list: a CPU, and a device of that kind and id if kind is one. */
static struct node_devices engine(enum node_device_kind kind, const char *id, uint64_t total)
{
    struct node_devices d = {1, {{.name = "CPU", .kind = DEVICE_CPU, .total = 64 * GIB}}};

    if (kind == DEVICE_CPU)
        return d;
    d.device[d.n++] = (struct node_device){.name = "Vulkan0", .kind = kind, .total = total};
    snprintf(d.device[1].id, sizeof(d.device[1].id), "%s", id);
    return d;
}

static void check_account(const struct memory_facts *f, const struct tree *t, uint64_t reserve,
                          const struct node_devices *d, uint64_t vram)
{
    struct node_memory m;

    account_make(f, &(struct account_rules){reserve, d}, &m);
    assert_int_equal(m.total, t->system + vram);
    assert_int_equal(m.reserve, reserve > 0 ? reserve : t->reserve);
    assert_int_equal(m.budget, t->system + vram - m.reserve);
    assert_int_equal(m.vram_counted, vram);
    assert_int_equal(m.vram_total, t->vram); /* shown, whether it counts or not */
}

static void check_tree(void **state)
{
    const struct tree *t = *state;
    const char *id = t->id != NULL ? t->id : "0000:03:00.0";
    struct node_devices cpu = engine(DEVICE_CPU, "", 0), gpu = engine(DEVICE_GPU, id, t->vram),
                        igpu = engine(DEVICE_IGPU, id, t->vram + t->gtt),
                        nameless = engine(DEVICE_IGPU, "", t->vram + t->gtt),
                        smaller = engine(DEVICE_GPU, t->id != NULL ? t->id : "", t->vram / 2),
                        other = engine(DEVICE_IGPU, "0000:99:00.0", 8 * GIB);
    struct memory_facts f;
    struct node_memory m = {.committed = 7, .refusing = true};

    read_tree(t->name, &f);
    account_make(&f, &(struct account_rules){0, NULL}, &m);
    assert_int_equal(m.available, t->available);
    assert_int_equal(m.limit, t->limit);
    assert_int_equal(m.hugepages, t->hugepages);
    assert_int_equal(m.vram_used, t->vram_used);
    assert_int_equal(m.gtt_total, t->gtt);
    assert_int_equal(m.swap_total, t->swap);
    assert_int_equal(m.swap_zram, t->zram);
    assert_true(m.pressure == t->pressure);
    assert_int_equal(m.committed, 7);
    assert_true(m.refusing);
    assert_int_equal(account_system(&f), t->system);
    check_account(&f, t, 0, NULL, 0);
    check_account(&f, t, 3 * GIB, NULL, 0);
    check_account(&f, t, 0, &cpu, 0);
    check_account(&f, t, 0, &gpu, t->vram);
    check_account(&f, t, 0, &igpu, t->vram);
    check_account(&f, t, 3 * GIB, &nameless, t->vram);
    check_account(&f, t, 0, &smaller, t->id != NULL ? t->vram / 2 : t->vram);
    check_account(&f, t, 0, &other, t->id != NULL ? 0 : t->vram);
}

/* The three ways to cut 128 GiB must come to nearly the same, wherever the carve-out is. */
static void carve_outs_agree(void **state)
{
    static const char *const names[] = {"unified-64-64", "unified-96-32", "unified-05-127"};
    struct node_devices igpu = engine(DEVICE_IGPU, "0000:c1:00.0", 120 * GIB);

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        struct memory_facts f;
        struct node_memory m;

        read_tree(names[i], &f);
        account_make(&f, &(struct account_rules){0, &igpu}, &m);
        assert_in_range(m.total, 125 * GIB, 128 * GIB);
    }
}

/* How busy the processors of a tree are, as far as it tells. */
static void busy_trees(void **state)
{
    static const struct {
        const char *name;
        bool cpu;
        uint64_t busy, total;
        double gpu;
    } rows[] = {
        {"unified-96-32", true, 1843 + 12 + 905 + 55, 1843 + 12 + 905 + 74211 + 310 + 55, 37},
        {"partitions", false, 0, 0, 80},   /* two cards that are one device: once */
        {"discrete-24", false, 0, 0, -1},  /* another line; more than all of it */
        {"unified-64-64", false, 0, 0, -1} /* neither file */
    };
    struct memory_facts f;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        read_tree(rows[i].name, &f);
        assert_int_equal(f.has_cpu, rows[i].cpu);
        assert_int_equal(f.cpu.busy, rows[i].busy);
        assert_int_equal(f.cpu.total, rows[i].total);
        assert_true(facts_gpu_percent(&f) == rows[i].gpu);
    }
}

/* ---- what others use ---- */

#define G(n) ((n)*GIB)

/* What is counted of a machine with system memory of 100 GiB and VRAM of vram_counted. */
static const struct others_row {
    const char *name;
    uint64_t available, vram_counted, vram_used, gtt_used; /* GiB, as the rest */
    struct account_use ours;
    uint64_t others;
} others_rows[] = {
    {"nothing is ours", 70, 0, 0, 0, {0, 0, 0, 0}, 30},
    {"KV and buffers of an engine are not others'", 50, 0, 0, 0, {G(20), 0, 0, 0}, 30},
    /* 60 GiB of weights are mapped: the kernel has them in `available`, and so they are in neither
     */
    {"mapped weights count nowhere", 68, 0, 0, 0, {G(2), 0, 0, 0}, 30},
    {"a reading that is a second old", 75, 0, 0, 0, {G(30), 0, 0, 0}, 0},
    {"more available than there is", 101, 0, 0, 0, {0, 0, 0, 0}, 0},
    {"VRAM of a game", 70, 24, 10, 0, {0, 0, 0, 0}, 40},
    {"VRAM of an engine", 70, 24, 10, 0, {0, G(9), 0, 0}, 31},
    {"VRAM of an engine, measured when it had more", 70, 24, 10, 0, {0, G(12), 0, 0}, 30},
    {"VRAM that does not count", 70, 0, 10, 0, {0, G(9), 0, 0}, 30},
    {"VRAM that counts in part", 70, 8, 10, 0, {0, 0, 0, 0}, 38},
    {"GTT is system memory", 50, 0, 0, 20, {0, 0, G(18), 0}, 32},
    {"GTT that is not mapped any more", 50, 0, 0, 5, {0, 0, G(18), 0}, 45},
    {"not measured yet: VRAM first", 70, 24, 20, 0, {0, 0, 0, G(18)}, 32},
    {"not measured yet: then GTT", 50, 24, 10, 20, {0, 0, 0, G(28)}, 32},
    {"not measured yet, beside one that is", 70, 24, 20, 0, {0, G(8), 0, G(10)}, 32},
    {"not measured yet, nor taken", 70, 24, 0, 0, {0, 0, 0, G(18)}, 30},
};

static void run_others(void **state)
{
    const struct others_row *r = *state;
    const struct node_memory m = {.total = G(100 + r->vram_counted),
                                  .available = G(r->available),
                                  .vram_total = G(24),
                                  .vram_counted = G(r->vram_counted),
                                  .vram_used = G(r->vram_used),
                                  .gtt_used = G(r->gtt_used)};

    assert_int_equal(account_others(&m, &r->ours), G(r->others));
}

/* ---- devices ---- */

#define ID_A "0000:01:00.0"
#define ID_B "0000:02:00.0"
#define NAME(n, k, i, gib)                                                                         \
    {                                                                                              \
        .name = (n), .kind = DEVICE_##k, .id = (i), .total = (gib)*GIB                             \
    }

/* A machine of 64 GiB; what the system describes, what the engine lists, what counts. */
static const struct listing {
    const char *name;
    bool unified;
    struct memory_device described[3];
    struct node_device listed[4];
    uint64_t gib;
} listings[] = {
    {"nothing described, nothing listed", false, {{.id = ""}}, {{.name = ""}}, 0},
    {"listed only by the engine", false, {{.id = ""}}, {NAME("CUDA0", GPU, ID_A, 24)}, 24},
    {"integrated and listed only by the engine",
     false,
     {{.id = ""}},
     {NAME("V0", IGPU, "", 48)},
     0},
    {"an accelerator has no memory", false, {{.id = ""}}, {NAME("NPU0", ACCEL, "", 16)}, 0},
    {"two backends, one device",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, ID_A, 24), NAME("Vulkan0", GPU, ID_A, 23)},
     24},
    {"two backends, one of them without an address",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, ID_A, 24), NAME("Vulkan0", GPU, "", 24)},
     24},
    {"two backends without addresses, two devices",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, "", 24), NAME("CUDA1", GPU, "", 16), NAME("Vulkan0", GPU, "", 24),
      NAME("Vulkan1", GPU, "", 16)},
     40},
    {"two devices with addresses",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, ID_A, 24), NAME("CUDA1", GPU, ID_B, 16)},
     40},
    {"described and listed",
     false,
     {{.id = ID_A, .vram_total = 24 * GIB}},
     {NAME("CUDA0", GPU, ID_A, 23), NAME("Vulkan0", GPU, "", 24)},
     23},
    {"a listed device that does not tell its memory",
     false,
     {{.id = ID_A, .vram_total = 24 * GIB}},
     {NAME("CUDA0", GPU, ID_A, 0)},
     24},
    {"one of two is listed",
     false,
     {{.id = ID_A, .vram_total = 24 * GIB}, {.id = ID_B, .vram_total = 16 * GIB}},
     {NAME("CUDA0", GPU, ID_B, 16)},
     16},
    {"one described, another listed",
     false,
     {{.id = ID_A, .vram_total = 1 * GIB}},
     {NAME("CUDA0", GPU, ID_B, 16)},
     16},
    {"described without an address: nobody can tell them apart",
     false,
     {{.vram_total = 8 * GIB}},
     {NAME("CUDA0", GPU, ID_B, 16)},
     8},
    {"listed with its window into system memory",
     false,
     {{.id = ID_A, .vram_total = 1 * GIB}},
     {NAME("Vulkan0", GPU, ID_A, 60)},
     1},
    {"one address twice: once",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, ID_A, 10), NAME("CUDA1", GPU, ID_A, 10)},
     10},
    {"as large as system memory: it is that",
     false,
     {{.id = ""}},
     {NAME("CUDA0", GPU, ID_A, 64)},
     0},
    {"Apple: nothing of its own", true, {{.id = ""}}, {NAME("Metal", GPU, "", 48)}, 0},
};

static void run_listing(void **state)
{
    const struct listing *l = *state;
    struct memory_facts f = {.total = 64 * GIB, .available = 60 * GIB, .unified = l->unified};
    struct node_devices d = {0};
    struct node_memory m;

    while (f.n_devices < RM_COUNT(l->described) && l->described[f.n_devices].vram_total > 0)
        f.devices[f.n_devices] = l->described[f.n_devices], f.n_devices++;
    while (d.n < RM_COUNT(l->listed) && l->listed[d.n].name[0] != '\0')
        d.device[d.n] = l->listed[d.n], d.n++;
    assert_int_equal(account_vram(&f, &d), l->gib * GIB);
    account_make(&f, &(struct account_rules){GIB, &d}, &m);
    assert_int_equal(m.budget, (63 + l->gib) * GIB);
}

static void missing_tree(void **state)
{
    struct memory_facts f = {.total = 5};
    int root;

    (void)state;
    assert_true(sys_root("tests/data/memory/none") < 0);
    assert_true((root = sys_root("tests/data/memory/zram/sys")) >= 0); /* no proc in there */
    assert_true(facts_read(root, &f) < 0);
    assert_int_equal(f.total, 5);
    close(root);
}

static void this_machine(void **state)
{
    struct memory_facts f;
    struct node_memory m = {0};
    int root = sys_root("/");

    (void)state;
    assert_true(root >= 0);
    assert_int_equal(facts_read(root, &f), 0);
    close(root);
    account_make(&f, &(struct account_rules){0}, &m);
    assert_true(m.total > 0 && m.available > 0 && m.budget < m.total);
}

static void default_reserve(void **state)
{
    struct memory_facts f = {.total = 16 * GIB, .available = 9 * GIB};
    struct node_memory m;

    (void)state;
    assert_int_equal(account_default_reserve(128 * GIB), 128 * GIB / 100 * 8);
    assert_int_equal(account_default_reserve(32 * GIB), 6 * GIB);
    assert_int_equal(account_default_reserve(8 * GIB), 4 * GIB);
    account_make(&f, &(struct account_rules){.reserve = 200 * GIB}, &m);
    assert_int_equal(m.reserve, 200 * GIB);
    assert_int_equal(m.budget, 0);
}

/* ---- random trees ---- */

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Now and then nothing, an edge, or nonsense. */
static uint64_t rnd_bytes(uint64_t *s, uint64_t max)
{
    switch (rnd(s) % 8) {
    case 0:
        return 0;
    case 1:
        return max;
    case 2:
        return FACTS_BYTES_MAX;
    default:
        return rnd(s) % (max + 1);
    }
}

/* A machine as it is, and what kernel, NVML and engine say of it. */
struct machine {
    struct memory_facts f;
    struct node_devices d;
    bool knows_engine;
    uint64_t vram; /* truly there, once each, of devices that the engine lists */
};

static void rnd_system(uint64_t *s, struct memory_facts *f)
{
    f->total = 1 + rnd_bytes(s, 256 * GIB) % FACTS_BYTES_MAX;
    f->available = rnd_bytes(s, f->total);
    f->hugepages = rnd_bytes(s, f->total);
    f->swap_total = rnd_bytes(s, 64 * GIB);
    f->swap_used = rnd_bytes(s, f->swap_total);
    f->swap_zram = rnd_bytes(s, f->swap_total);
    f->limited = rnd(s) % 2;
    f->limit = rnd_bytes(s, 2 * f->total);
    f->limit_available = rnd_bytes(s, f->limit);
    f->ttm_limit = rnd_bytes(s, f->total);
    f->unified = rnd(s) % 16 == 0;
}

/* What one backend says of a device: of one that works in system memory as much of it as it likes,
 * and if it calls it "gpu", all of it. */
static void rnd_listed(uint64_t *s, struct machine *m, int backend, unsigned i, uint64_t own,
                       const char *id)
{
    static const char *const backends[] = {"CUDA", "Vulkan"};
    struct node_device *e = &m->d.device[m->d.n++];
    uint64_t t = m->f.total;

    *e = (struct node_device){.kind = own > 0 && rnd(s) % 4 > 0 ? DEVICE_GPU : DEVICE_IGPU};
    snprintf(e->name, sizeof(e->name), "%s%u", backends[backend], i);
    if (rnd(s) % 3 > 0)
        snprintf(e->id, sizeof(e->id), "%s", id);
    if (own > 0)
        e->total = rnd(s) % 5 == 0 ? 0 : own - own / 64 * (rnd(s) % 3);
    else if (rnd(s) % 3 == 0)
        e->kind = DEVICE_GPU, e->total = t - t / 64 * (rnd(s) % 2);
    else
        e->total = rnd_bytes(s, t);
    if (e->kind == DEVICE_IGPU)
        e->total += rnd_bytes(s, t); /* with its window into system memory */
}

static void rnd_machine(uint64_t *s, struct machine *m)
{
    unsigned n = (unsigned)(rnd(s) % 7), backends = (unsigned)(rnd(s) % 3);

    memset(m, 0, sizeof(*m));
    rnd_system(s, &m->f);
    m->knows_engine = rnd(s) % 8 > 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t own = rnd(s) % 4 == 0 ? 0 : 1 + rnd_bytes(s, 192 * GIB) % (FACTS_BYTES_MAX - 1);
        bool described = own > 0 && rnd(s) % 3 > 0, listed = false;
        char id[FACTS_ID_MAX];

        snprintf(id, sizeof(id), "0000:%02x:00.0", i + 1);
        if (described) {
            struct memory_device *k = &m->f.devices[m->f.n_devices++];

            *k = (struct memory_device){.vram_total = own,
                                        .vram_used = rnd_bytes(s, own),
                                        .gtt_total = rnd_bytes(s, 2 * m->f.total)};
            k->gtt_used = rnd_bytes(s, k->gtt_total);
            if (rnd(s) % 4 > 0)
                memcpy(k->id, id, sizeof(id));
        }
        for (unsigned b = 0; b < backends; b++)
            if (rnd(s) % 3 > 0) {
                rnd_listed(s, m, (int)b, i, own, id);
                listed = true;
            }
        /* Without addresses a described device cannot be told from one that is listed. */
        m->vram += listed || described ? own : 0;
    }
}

/* What the machine has is counted here by itself, from what it is. */
static void check_random(const struct machine *mm, uint64_t reserve)
{
    const struct memory_facts *f = &mm->f;
    struct account_rules rules = {reserve, mm->knows_engine ? &mm->d : NULL};
    struct node_memory m, more;
    struct memory_facts g = *f;
    struct account_use ours, none = {0};
    uint64_t all;
    uint64_t kernel = f->total > f->hugepages ? f->total - f->hugepages : 0;
    uint64_t vram = mm->knows_engine && !f->unified ? mm->vram : 0;

    account_make(f, &rules, &m);
    assert_true(m.budget <= f->total + vram);
    assert_true(m.total <= kernel + vram);
    assert_true(!f->limited || m.total <= f->limit + vram);
    assert_true(m.budget <= m.total && (m.budget == 0 || m.budget == m.total - m.reserve));
    assert_true(m.available <= f->available && m.available <= kernel);
    assert_true(m.gtt_total <= kernel);
    assert_true(m.total == account_system(f) + account_vram(f, rules.devices));
    /* Whatever is ours, others have no more than what is in use, and nothing is negative. */
    ours = (struct account_use){m.available / 2, m.vram_used / 2, m.gtt_used / 2, m.vram_used / 4};
    all = account_others(&m, &none);
    assert_true(all <= m.total && account_others(&m, &ours) <= all);
    ours = (struct account_use){UINT64_MAX / 4, UINT64_MAX / 4, UINT64_MAX / 4, UINT64_MAX / 4};
    assert_int_equal(account_others(&m, &ours), 0);
    /* GTT, swap and zram are other names of memory that is counted already: more adds nothing. */
    for (uint32_t i = 0; i < g.n_devices; i++)
        g.devices[i].gtt_total += GIB;
    g.ttm_limit += GIB;
    g.swap_total += GIB;
    g.swap_zram += GIB;
    account_make(&g, &rules, &more);
    assert_true(more.total == m.total && more.budget == m.budget);
}

/* A carve-out moves memory from one side to the other: the sum stays, wherever it is cut. */
static void check_carve_out(uint64_t *s, uint64_t reserve)
{
    uint64_t all = 8 * GIB + rnd(s) % (248 * GIB), cut = MIB + rnd(s) % (all - 2 * GIB);
    struct memory_facts f = {.total = all - cut, .available = all - cut, .n_devices = 1};
    struct node_devices d = engine(DEVICE_IGPU, rnd(s) % 2 ? ID_A : "", rnd_bytes(s, all));
    struct node_memory m;

    f.devices[0] = (struct memory_device){.id = ID_A, .vram_total = cut, .gtt_total = all - cut};
    account_make(&f, &(struct account_rules){reserve, &d}, &m);
    assert_int_equal(m.total, all);
}

static void random_trees(void **state)
{
    const char *fixed = getenv("ROLEMESH_SEED");
    uint64_t first = fixed != NULL ? strtoull(fixed, NULL, 10) : 1, counted = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + RANDOM_TREES; seed++) {
        uint64_t s = seed * 0x9e3779b97f4a7c15ULL, reserve;
        struct machine m;

        rnd_machine(&s, &m);
        reserve = rnd(&s) % 3 == 0 ? 0 : rnd_bytes(&s, 64 * GIB);
        check_random(&m, reserve);
        check_carve_out(&s, reserve);
        counted += m.knows_engine && account_vram(&m.f, &m.d) > 0;
    }
    assert_true(counted > RANDOM_TREES / 4); /* it is about devices too */
}

/* The same through real files: trees written at random and read back. A figure may be spoilt; then
 * only what must hold for every tree is asked. */
enum { WRITTEN_TREES = 200 };

static void write_file(int root, const char *path, const char *fmt, uint64_t v)
{
    int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    dprintf(fd, fmt, v);
    close(fd);
}

static const char *const written_dirs[] = {"proc",
                                           "proc/self",
                                           "sys",
                                           "sys/class",
                                           "sys/class/drm",
                                           "sys/class/drm/card0",
                                           "sys/class/drm/card0/device",
                                           "sys/fs",
                                           "sys/fs/cgroup",
                                           "sys/fs/cgroup/a",
                                           "sys/fs/cgroup/a/b"};

static const struct {
    const char *path, *fmt;
    unsigned shift; /* bytes to the file's unit */
} written_files[] = {
    {"proc/meminfo", "MemTotal: %" PRIu64 " kB\nMemAvailable: 9 kB\nHugetlb: 4 kB\n", 10},
    {"proc/self/cgroup", "0::/a/b\n", 0},
    {"sys/fs/cgroup/a/b/memory.max", "%" PRIu64 "\n", 0},
    {"sys/fs/cgroup/a/memory.max", "%" PRIu64 "\n", 0},
    {"sys/class/drm/card0/device/mem_info_vram_total", "%" PRIu64 "\n", 0},
    {"sys/class/drm/card0/device/mem_info_gtt_total", "%" PRIu64 "\n", 0},
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void written_trees(void **state)
{
    static const char *const broken[] = {"", "max\n", "-1\n", "99999999999999999999999\n", "\xff"};
    char dir[] = "/tmp/rolemesh-memory-XXXXXX";
    struct node_devices igpu = engine(DEVICE_IGPU, "", 0);
    uint64_t s = 42, v[RM_COUNT(written_files)];
    int root;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_true((root = sys_root(dir)) >= 0);
    for (size_t i = 0; i < RM_COUNT(written_dirs); i++)
        assert_int_equal(mkdirat(root, written_dirs[i], 0700), 0);
    for (int tree = 0; tree < WRITTEN_TREES; tree++) {
        size_t spoilt = rnd(&s) % (2 * RM_COUNT(written_files));
        struct memory_facts f = {0};
        struct node_memory m = {0};
        int r;

        for (size_t i = 0; i < RM_COUNT(written_files); i++) {
            v[i] = (1 + rnd(&s) % (200 * GIB)) | MIB;
            write_file(root, written_files[i].path,
                       i == spoilt ? broken[rnd(&s) % RM_COUNT(broken)] : written_files[i].fmt,
                       v[i] >> written_files[i].shift);
        }
        v[0] &= ~1023ULL;
        r = facts_read(root, &f);
        assert_int_equal(r, spoilt == 0 ? RM_ERR_FIELD : 0);
        account_make(&f, &(struct account_rules){1, &igpu}, &m);
        assert_true(m.budget <= v[0] + v[4]);
        if (spoilt >= RM_COUNT(written_files))
            assert_int_equal(m.total, least(v[0] - 4096, least(v[2], v[3])) + v[4]);
    }
    for (size_t i = 0; i < RM_COUNT(written_files); i++)
        assert_int_equal(unlinkat(root, written_files[i].path, 0), 0);
    for (size_t i = RM_COUNT(written_dirs); i-- > 0;)
        assert_int_equal(unlinkat(root, written_dirs[i], AT_REMOVEDIR), 0);
    close(root);
    rmdir(dir);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(carve_outs_agree), cmocka_unit_test(missing_tree),
        cmocka_unit_test(this_machine),     cmocka_unit_test(default_reserve),
        cmocka_unit_test(random_trees),     cmocka_unit_test(written_trees),
        cmocka_unit_test(busy_trees)};
    struct CMUnitTest
        tests[RM_COUNT(fixed) + RM_COUNT(trees) + RM_COUNT(listings) + RM_COUNT(others_rows)];
    size_t n = RM_COUNT(fixed) + RM_COUNT(trees) + RM_COUNT(listings);

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(trees); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){trees[i].name, check_tree, NULL, NULL, (void *)&trees[i]};
    for (size_t i = 0; i < RM_COUNT(listings); i++)
        tests[RM_COUNT(fixed) + RM_COUNT(trees) + i] =
            (struct CMUnitTest){listings[i].name, run_listing, NULL, NULL, (void *)&listings[i]};
    for (size_t i = 0; i < RM_COUNT(others_rows); i++)
        tests[n + i] = (struct CMUnitTest){others_rows[i].name, run_others, NULL, NULL,
                                           (void *)&others_rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
