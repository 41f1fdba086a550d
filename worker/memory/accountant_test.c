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
} trees[] = {
    /* 8 % of 65617412 KiB are below 6 GiB */
    {"unified-64-64", 65617412 * KIB, 61874220 * KIB, 0, 0, 64 * GIB, 412 * MIB, 33596112896, 0, 0,
     6 * GIB, 0},
    {"unified-96-32", 32489260 * KIB, 29101344 * KIB, 0, 0, 96 * GIB, 1200 * MIB, 16634499072, 0, 0,
     6 * GIB, 0},
    /* gtt_total says 128 GiB, ttm allows 120 */
    {"unified-05-127", 131415032 * KIB, 126710244 * KIB, 0, 0, 512 * MIB, 201 * MIB, 120 * GIB, 0,
     0, 131415032 * KIB / 100 * 8, 0},
    /* the render node and the connector are the card again; the other card has no figures */
    {"discrete-24", 65770044 * KIB, 60112340 * KIB, 0, 0, 25753026560, 3 * GIB, 33674260480,
     8388604 * KIB, 0, 6 * GIB, 1.25},
    /* memory.high of our own group, 12 GiB, is below memory.max of the one above, 16 GiB;
       available: min(12 - (5 - 3), 16 - (6 - 4)) */
    {"container-v2", 12 * GIB, 10 * GIB, 12 * GIB, 0, 0, 0, 0, 0, 0, 6 * GIB, 12.34},
    {"container-v1", 8 * GIB, 6 * GIB, 8 * GIB, 0, 0, 0, 0, 0, 0, 4 * GIB, 0},
    {"no-gpu", 24684096 * KIB, 22845432 * KIB, 0, 0, 0, 0, 0, 0, 0, 6 * GIB, 0},
    {"hugepages", 65770044 * KIB - 32 * GIB, 26010112 * KIB, 0, 32 * GIB, 0, 0, 0, 0, 0, 6 * GIB,
     0},
    {"hugepages-old", 65770044 * KIB - 2 * GIB, 57723800 * KIB, 0, 2 * GIB, 0, 0, 0, 0, 0, 6 * GIB,
     0},
    {"zram", 16314672 * KIB, 12001300 * KIB, 0, 0, 0, 0, 0, 12345336 * KIB, 8151036 * KIB, 6 * GIB,
     0},
    {"partitions", 65770044 * KIB, 60112340 * KIB, 0, 0, 64 * GIB, 0, 32 * GIB, 0, 0, 6 * GIB, 0},
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

static void check_tree(void **state)
{
    const struct tree *t = *state;
    struct memory_facts f;
    struct node_memory m = {.committed = 7, .refusing = true};

    read_tree(t->name, &f);
    account_make(&f, &(struct account_rules){0, false}, &m);
    assert_int_equal(m.total, t->system);
    assert_int_equal(m.available, t->available);
    assert_int_equal(m.limit, t->limit);
    assert_int_equal(m.hugepages, t->hugepages);
    assert_int_equal(m.vram_total, t->vram);
    assert_int_equal(m.vram_used, t->vram_used);
    assert_int_equal(m.gtt_total, t->gtt);
    assert_int_equal(m.swap_total, t->swap);
    assert_int_equal(m.swap_zram, t->zram);
    assert_int_equal(m.reserve, t->reserve);
    assert_int_equal(m.budget, t->system - t->reserve);
    assert_true(m.pressure == t->pressure);
    assert_int_equal(m.committed, 7);
    assert_true(m.refusing);
    account_make(&f, &(struct account_rules){0, true}, &m);
    assert_int_equal(m.total, t->system + t->vram);
    assert_int_equal(m.reserve, t->reserve);
    assert_int_equal(m.budget, t->system + t->vram - t->reserve);
    account_make(&f, &(struct account_rules){3 * GIB, false}, &m);
    assert_int_equal(m.reserve, 3 * GIB);
    assert_int_equal(m.budget, t->system - 3 * GIB);
}

/* The three ways to cut 128 GiB must come to nearly the same, wherever the carve-out is. */
static void carve_outs_agree(void **state)
{
    static const char *const names[] = {"unified-64-64", "unified-96-32", "unified-05-127"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        struct memory_facts f;
        struct node_memory m;

        read_tree(names[i], &f);
        account_make(&f, &(struct account_rules){0, true}, &m);
        assert_in_range(m.total, 125 * GIB, 128 * GIB);
    }
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

static void rnd_facts(uint64_t *s, struct memory_facts *f)
{
    memset(f, 0, sizeof(*f));
    f->total = 1 + rnd_bytes(s, 256 * GIB) % FACTS_BYTES_MAX;
    f->available = rnd_bytes(s, f->total);
    f->hugepages = rnd_bytes(s, f->total);
    f->swap_total = rnd_bytes(s, 64 * GIB);
    f->swap_used = rnd_bytes(s, f->swap_total);
    f->swap_zram = rnd_bytes(s, f->swap_total);
    f->limited = rnd(s) % 2;
    f->limit = rnd_bytes(s, 2 * f->total);
    f->limit_available = rnd_bytes(s, f->limit);
    f->n_devices = (uint32_t)(rnd(s) % (FACTS_DEVICES_MAX + 1));
    f->ttm_limit = rnd_bytes(s, f->total);
    for (uint32_t i = 0; i < f->n_devices; i++) {
        f->devices[i].vram_total = rnd_bytes(s, 192 * GIB);
        f->devices[i].vram_used = rnd_bytes(s, f->devices[i].vram_total);
        f->devices[i].gtt_total = rnd_bytes(s, 2 * f->total);
        f->devices[i].gtt_used = rnd_bytes(s, f->devices[i].gtt_total);
    }
}

/* What the machine has is counted here by itself, from the facts alone. */
static void check_random(const struct memory_facts *f, const struct account_rules *rules)
{
    struct node_memory m, more;
    struct memory_facts g = *f;
    uint64_t vram = 0, kernel = f->total > f->hugepages ? f->total - f->hugepages : 0;

    for (uint32_t i = 0; i < f->n_devices; i++)
        vram += f->devices[i].vram_total;
    account_make(f, rules, &m);
    assert_true(m.budget <= f->total + vram);
    assert_true(m.total <= kernel + (rules->use_vram ? vram : 0));
    assert_true(!f->limited || m.total <= f->limit + (rules->use_vram ? vram : 0));
    assert_true(m.budget <= m.total && (m.budget == 0 || m.budget == m.total - m.reserve));
    assert_true(m.available <= f->available && m.available <= kernel);
    assert_true(m.gtt_total <= kernel);
    /* GTT, swap and zram are other names of memory that is counted already: more adds nothing. */
    for (uint32_t i = 0; i < g.n_devices; i++)
        g.devices[i].gtt_total += GIB;
    g.ttm_limit += GIB;
    g.swap_total += GIB;
    g.swap_zram += GIB;
    account_make(&g, rules, &more);
    assert_true(more.total == m.total && more.budget == m.budget);
    /* A carve-out moves memory from one side to the other: the sum stays. */
    if (rules->use_vram && rules->reserve > 0 && !f->limited && f->n_devices > 0 && kernel > GIB) {
        g = *f;
        g.total -= GIB;
        g.devices[0].vram_total += GIB;
        account_make(&g, rules, &more);
        assert_true(more.total == m.total && more.budget == m.budget);
    }
}

static void random_trees(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= RANDOM_TREES; seed++) {
        uint64_t s = seed * 0x9e3779b97f4a7c15ULL;
        struct account_rules rules;
        struct memory_facts f;

        rnd_facts(&s, &f);
        rules.reserve = rnd(&s) % 3 == 0 ? 0 : rnd_bytes(&s, 64 * GIB);
        rules.use_vram = rnd(&s) % 2;
        check_random(&f, &rules);
    }
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
        account_make(&f, &(struct account_rules){1, true}, &m);
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
        cmocka_unit_test(random_trees),     cmocka_unit_test(written_trees)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(trees)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(trees); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){trees[i].name, check_tree, NULL, NULL, (void *)&trees[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
