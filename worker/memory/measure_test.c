/* SPDX-License-Identifier: MIT */
/* worker/memory/measure_test.c - texts of smaps_rollup and fdinfo by row, a process in a tree of
 * our own, and when an engine is measured and what becomes of its row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "worker/memory/measure.h"
#include "worker/memory/measure_host.h"
#include "worker/memory/nvml.h"
#include "worker/memory/sysread.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)

/* ---- smaps_rollup ---- */

#define HEAD "55d0-7ffd ---p 00000000 00:00 0    [rollup]\n"

static const struct rollup_row {
    const char *name, *text;
    int err;
    uint64_t alone, shared; /* KiB */
} rollup_rows[] = {
    {"a process alone",
     HEAD "Rss:  1000 kB\nPss:  990 kB\nPss_Anon:  300 kB\nPss_File:  690 kB\nPss_Shmem: 0 kB\n"
          "Anonymous:  300 kB\nSwap: 9 kB\nSwapPss:  5 kB\n",
     0, 995, 1005},
    {"weights shared by two",
     HEAD "Rss:  1000 kB\nPss:  650 kB\nPss_Anon:  300 kB\nPss_File:  350 kB\nPss_Shmem: 0 kB\n"
          "Anonymous:  300 kB\nSwapPss:  0 kB\n",
     0, 650, 1000},
    {"an old kernel: no parts, no swap", HEAD "Rss:  1000 kB\nPss:  650 kB\n", 0, 650, 650},
    {"no Pss", HEAD "Rss:  1000 kB\n", RM_ERR_FIELD, 0, 0},
    {"a zombie", "", RM_ERR_FIELD, 0, 0},
    {"no number", HEAD "Rss:  x kB\nPss: 1 kB\n", RM_ERR_FIELD, 0, 0},
    {"anonymous above Rss",
     HEAD "Rss: 10 kB\nPss: 10 kB\nPss_File: 0 kB\nPss_Shmem: 0 kB\n"
          "Anonymous: 99 kB\n",
     0, 10, 10},
};

static void run_rollup(void **state)
{
    const struct rollup_row *row = *state;
    struct measure_process p;

    assert_int_equal(measure_parse_rollup(rm_slice_of(row->text), &p), row->err);
    assert_int_equal(measure_system(&p, false), row->alone * KIB);
    assert_int_equal(measure_system(&p, true), row->shared * KIB);
}

/* ---- fdinfo ---- */

#define AMD "pos:\t0\nflags:\t02100002\nmnt_id:\t24\ndrm-driver:\tamdgpu\n"

static const struct fdinfo_row {
    const char *name, *text;
    bool client;
    uint64_t id, vram, gtt; /* KiB */
    const char *device;
} fdinfo_rows[] = {
    {"no device", "pos:\t0\nflags:\t0100002\n", false, 0, 0, 0, ""},
    {"amdgpu of Linux 6.1",
     AMD "drm-pdev:\t0000:c4:00.0\ndrm-client-id:\t53\ndrm-memory-vram:\t2048 KiB\n"
         "drm-memory-gtt: \t16 KiB\ndrm-memory-cpu: \t4 KiB\n",
     true, 53, 2048, 20, "0000:c4:00.0"},
    {"amdgpu of Linux 6.13: both spellings, the newer counts",
     AMD "drm-client-id:\t7\ndrm-total-vram:\t9000 KiB\ndrm-shared-vram:\t1 KiB\n"
         "drm-active-vram:\t3 KiB\ndrm-resident-vram:\t8000 KiB\ndrm-memory-vram:\t7000 KiB\n"
         "drm-resident-gtt:\t100 KiB\ndrm-memory-gtt:\t90 KiB\ndrm-resident-doorbell:\t8 KiB\n",
     true, 7, 8000, 100, ""},
    {"xe: units, numbered regions",
     "drm-driver:\txe\ndrm-client-id:\t9\ndrm-resident-system:\t2 MiB\ndrm-resident-gtt:\t0\n"
     "drm-resident-vram0:\t3 MiB\ndrm-resident-vram1:\t1048576\n",
     true, 9, 4096, 2048, ""},
    {"i915 with memory of its own",
     "drm-driver: i915\ndrm-client-id: 4\ndrm-resident-local0: 5 MiB\n"
     "drm-resident-system0: 64 KiB\ndrm-resident-stolen-local0: 1 MiB\n",
     true, 4, 5120, 64, ""},
    {"no client id", AMD "drm-resident-vram:\t8000 KiB\n", false, 0, 8000, 0, ""},
    {"figures that are none",
     AMD "drm-client-id:\t1\ndrm-resident-vram:\tmany\ndrm-resident-gtt:\t99999999999999999999\n"
         "drm-resident-gtt:\t9999999999999999 KiB\ndrm-resident-vram\ndrm-resident-vram:\t1 KiB\n",
     true, 1, 1, 0, ""},
    {"a device name that is too long",
     AMD "drm-client-id:\t1\ndrm-pdev:\t0123456789012345678901234567890123456789\n", true, 1, 0, 0,
     "0123456789012345678901234567890"},
};

static void run_fdinfo(void **state)
{
    const struct fdinfo_row *row = *state;
    struct measure_client c;

    assert_int_equal(measure_parse_fdinfo(rm_slice_of(row->text), &c), row->client);
    assert_int_equal(c.id, row->id);
    assert_int_equal(c.vram, row->vram * KIB);
    assert_int_equal(c.gtt, row->gtt * KIB);
    assert_string_equal(c.device, row->device);
}

/* ---- a process in a tree ---- */

struct file {
    const char *path, *text; /* text NULL: a directory */
};

static const struct file tree[] = {
    {"proc", NULL},
    {"proc/77", NULL},
    {"proc/77/fdinfo", NULL},
    {"proc/77/smaps_rollup", HEAD "Rss: 100 kB\nPss: 90 kB\nSwapPss: 10 kB\n"},
    {"proc/77/fdinfo/0", "pos:\t0\n"},
    {"proc/77/fdinfo/5", AMD "drm-pdev:\ta\ndrm-client-id:\t1\ndrm-resident-vram:\t10 KiB\n"},
    {"proc/77/fdinfo/6", AMD "drm-pdev:\ta\ndrm-client-id:\t1\ndrm-resident-vram:\t10 KiB\n"},
    {"proc/77/fdinfo/7", AMD "drm-pdev:\tb\ndrm-client-id:\t1\ndrm-resident-vram:\t30 KiB\n"
                             "drm-resident-gtt:\t5 KiB\n"},
    {"sys", NULL},
    {"sys/class", NULL},
    {"sys/class/kfd", NULL},
    {"sys/class/kfd/kfd", NULL},
    {"sys/class/kfd/kfd/proc", NULL},
    {"sys/class/kfd/kfd/proc/77", NULL},
    {"sys/class/kfd/kfd/proc/77/pasid", "32770\n"},
    {"sys/class/kfd/kfd/proc/77/vram_1", "20480\n"},
    {"sys/class/kfd/kfd/proc/77/vram_2", "40960\n"},
};

static int tree_make(const char *dir, const struct file *files, size_t n)
{
    char path[256];
    FILE *f;

    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i].path);
        if (files[i].text == NULL) {
            assert_int_equal(mkdir(path, 0700), 0);
            continue;
        }
        assert_non_null(f = fopen(path, "we"));
        fputs(files[i].text, f);
        assert_int_equal(fclose(f), 0);
    }
    return sys_root(dir);
}

static void tree_remove(const char *dir, const struct file *files, size_t n)
{
    char path[256];

    while (n-- > 0) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[n].path);
        remove(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void a_process_with_devices(void **state)
{
    enum { WITHOUT_KFD = 8 };
    static const size_t parts[] = {WITHOUT_KFD, RM_COUNT(tree)};
    struct ledger_bytes b;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(parts); i++) {
        char dir[] = "/tmp/rm-measure-XXXXXX";
        int root;

        assert_non_null(mkdtemp(dir));
        assert_true((root = tree_make(dir, tree, parts[i])) >= 0);
        assert_int_equal(measure_process(root, NULL, 77, false, &b), 0);
        assert_int_equal(b.system, 100 * KIB);
        assert_int_equal(b.vram, (i == 0 ? 40 : 60) * KIB); /* KFD's when it is more */
        assert_int_equal(b.gtt, 5 * KIB);
        assert_int_equal(measure_process(root, NULL, 78, false, &b), UV_ENOENT);
        close(root);
        tree_remove(dir, tree, parts[i]);
    }
}

/* tests/support/nvml: process 4711 has 3 GiB on two devices. */
static void devices_of_nvml_come_on_top(void **state)
{
    static const struct file files[] = {
        {"proc", NULL},
        {"proc/4711", NULL},
        {"proc/4711/fdinfo", NULL},
        {"proc/4711/smaps_rollup", HEAD "Rss: 100 kB\nPss: 90 kB\n"},
        {"proc/4711/fdinfo/5", AMD "drm-client-id:\t1\ndrm-resident-vram:\t10 KiB\n"},
    };
    char dir[] = "/tmp/rm-measure-XXXXXX";
    struct ledger_bytes b;
    struct nvml *nvml;
    int root;

    (void)state;
    assert_int_equal(nvml_open(getenv("FAKE_NVML_SO"), &nvml), 0);
    assert_non_null(mkdtemp(dir));
    assert_true((root = tree_make(dir, files, RM_COUNT(files))) >= 0);
    assert_int_equal(measure_process(root, nvml, 4711, false, &b), 0);
    assert_int_equal(b.system, 90 * KIB);
    assert_int_equal(b.vram, 3072 * MIB + 10 * KIB);
    nvml_close(nvml);
    close(root);
    tree_remove(dir, files, RM_COUNT(files));
}

static void this_process_grows_by_what_it_touches(void **state)
{
    enum { SIZE = 32 << 20 };
    int root = sys_root("/");
    struct ledger_bytes before, after;
    void *p;

    (void)state;
    assert_true(root >= 0);
    assert_int_equal(measure_process(root, NULL, getpid(), false, &before), 0);
    /* Touched by the kernel: where we do it, a sanitizer's own memory grows as well. */
    p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(measure_process(root, NULL, getpid(), false, &after), 0);
    munmap(p, SIZE);
    close(root);
    /* Our part of libraries falls and rises as others who use them come and go. */
    assert_in_range(after.system - before.system, SIZE - SIZE / 8, SIZE + SIZE / 8);
}

/* ---- when ---- */

static const struct want_row {
    const char *name;
    struct meter_state s;
    struct meter_facts f;
    enum meter_want want;
} want_rows[] = {
    {"not measured yet",
     {.at_ms = 0},
     {.now_ms = 5, .context = 100, .kv_deepest = 100},
     METER_LOADED},
    {"nothing new",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 30000, .rss = 100 * MIB, .context = 100, .kv_deepest = 94},
     METER_NOTHING},
    {"a slot is full",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1001, .rss = 100 * MIB, .context = 100, .kv_deepest = 95},
     METER_FULL},
    {"a slot is full, and was",
     {.loaded = true, .full = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1001, .rss = 100 * MIB, .context = 100, .kv_deepest = 95},
     METER_NOTHING},
    {"all slots are full",
     {.loaded = true, .full = true, .at_ms = 1000},
     {.now_ms = 1001, .context = 100, .kv_deepest = 100, .kv_used = 380, .kv_total = 400},
     METER_ALL_FULL},
    {"both at once",
     {.loaded = true, .at_ms = 1000},
     {.now_ms = 1001, .context = 400, .kv_deepest = 400, .kv_used = 400, .kv_total = 400},
     METER_ALL_FULL},
    {"an engine that tells no context",
     {.loaded = true, .at_ms = 1000},
     {.now_ms = 1001},
     METER_NOTHING},
    {"grown, too soon",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1000 + METER_GAP_MS - 1, .rss = 200 * MIB},
     METER_NOTHING},
    {"grown",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1000 + METER_GAP_MS, .rss = 200 * MIB},
     METER_PEAK},
    {"grown by little",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1000 + METER_GAP_MS, .rss = 104 * MIB},
     METER_NOTHING},
    {"grown by little for its size",
     {.loaded = true, .at_ms = 1000, .rss = 10000 * MIB},
     {.now_ms = 1000 + METER_GAP_MS, .rss = 10099 * MIB},
     METER_NOTHING},
    {"after a minute",
     {.loaded = true, .at_ms = 1000, .rss = 100 * MIB},
     {.now_ms = 1000 + METER_EVERY_MS, .rss = 100 * MIB},
     METER_PEAK},
    {"failed just now", {.at_ms = 1000, .fails = 1}, {.now_ms = 1500}, METER_NOTHING},
    {"failed a while ago",
     {.at_ms = 1000, .fails = 1},
     {.now_ms = 1000 + METER_GAP_MS},
     METER_LOADED},
    {"failed for good",
     {.at_ms = 1000, .fails = METER_FAILS_MAX},
     {.now_ms = 1 << 30},
     METER_NOTHING},
};

static void run_want(void **state)
{
    const struct want_row *row = *state;

    assert_int_equal(meter_want(&row->s, &row->f), row->want);
}

static void a_life_in_the_row(void **state)
{
    struct meter_state s = {.fails = 2};
    struct meter_facts f = {.now_ms = 7, .rss = 70, .batch = 512, .batch_most = 20};
    struct node_ledger_row row = {.loads = 3};

    (void)state;
    meter_take(&s, &f, METER_LOADED, &(struct ledger_bytes){100, 10, 1}, &row);
    assert_true(s.loaded && !s.full && s.at_ms == 7 && s.rss == 70 && s.fails == 0);
    assert_int_equal(ledger_bytes_sum(&row.loaded), 111);
    assert_int_equal(ledger_bytes_sum(&row.peak), 111);
    assert_int_equal(ledger_bytes_sum(&row.full), 0);
    meter_take(&s, &f, METER_PEAK, &(struct ledger_bytes){90, 0, 0}, &row); /* never lower */
    assert_int_equal(ledger_bytes_sum(&row.peak), 111);
    meter_take(&s, &f, METER_FULL, &(struct ledger_bytes){120, 10, 1}, &row);
    assert_int_equal(ledger_bytes_sum(&row.full), 131);
    assert_int_equal(ledger_bytes_sum(&row.peak), 131);
    assert_true(s.full && !s.all_full && !row.all_full);
    meter_take(&s, &f, METER_ALL_FULL, &(struct ledger_bytes){150, 10, 1}, &row);
    assert_true(s.all_full && row.all_full);
    assert_int_equal(ledger_bytes_sum(&row.full), 161);
    assert_int_equal(row.batch, 512);
    assert_int_equal(row.batch_most, 20);
    f.batch_most = 3;
    memset(&s, 0, sizeof(s)); /* another life */
    meter_take(&s, &f, METER_LOADED, &(struct ledger_bytes){80, 10, 1}, &row);
    assert_int_equal(ledger_bytes_sum(&row.loaded), 111);
    assert_true(row.all_full && row.loads == 3 && row.batch_most == 20);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(a_process_with_devices),
        cmocka_unit_test(devices_of_nvml_come_on_top),
        cmocka_unit_test(this_process_grows_by_what_it_touches),
        cmocka_unit_test(a_life_in_the_row),
    };
    struct CMUnitTest tests[RM_COUNT(rollup_rows) + RM_COUNT(fdinfo_rows) + RM_COUNT(want_rows) +
                            RM_COUNT(others)];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rollup_rows); i++)
        tests[n++] = (struct CMUnitTest){rollup_rows[i].name, run_rollup, NULL, NULL,
                                         (void *)&rollup_rows[i]};
    for (size_t i = 0; i < RM_COUNT(fdinfo_rows); i++)
        tests[n++] = (struct CMUnitTest){fdinfo_rows[i].name, run_fdinfo, NULL, NULL,
                                         (void *)&fdinfo_rows[i]};
    for (size_t i = 0; i < RM_COUNT(want_rows); i++)
        tests[n++] =
            (struct CMUnitTest){want_rows[i].name, run_want, NULL, NULL, (void *)&want_rows[i]};
    memcpy(tests + n, others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
