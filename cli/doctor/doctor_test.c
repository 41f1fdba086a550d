/* SPDX-License-Identifier: MIT */
/* cli/doctor/doctor_test.c - what facts and bodies mean: each row gives one and names the finding
 * that must come of it. And /proc as tests write it. */
#include "cli/doctor/doctor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define GIB(n) ((int64_t)(n) << 30)

/* The finding of a check (and subject, unless NULL); NULL: there is none. */
static const json_t *found(const struct doctor *d, const char *check, const char *result)
{
    const json_t *f;
    size_t i;

    json_array_foreach(d->checks, i, f)
    {
        if (strcmp(json_string_value(json_object_get(f, "check")), check) == 0 &&
            strcmp(json_string_value(json_object_get(f, "result")), result) == 0)
            return f;
    }
    return NULL;
}

static void assert_found(const struct doctor *d, const char *check, const char *result,
                         const char *saw)
{
    const json_t *f = found(d, check, result);
    char *all = json_dumps(d->checks, 0);

    if (f == NULL || strstr(json_string_value(json_object_get(f, "saw")), saw) == NULL)
        fail_msg("no %s %s \"%s\" in %s", check, result, saw, all);
    if (strcmp(result, "failure") == 0) /* what to do is always said */
        assert_true(json_is_string(json_object_get(f, "next")));
    free(all);
}

/* ---- this machine ---- */

static const struct machine_facts healthy = {.mem_total = GIB(128),
                                             .mem_available = GIB(100),
                                             .swap_total = GIB(8),
                                             .swap_free = GIB(8),
                                             .huge_total = 0,
                                             .huge_free = 0,
                                             .pressure_some = 0.1,
                                             .pressure_full = 0,
                                             .swappiness = 60,
                                             .thp = "madvise",
                                             .files_soft = 1024,
                                             .files_hard = 524288,
                                             .clock_synced = 1,
                                             .core = CORE_CPU_ONLY};

enum field {
    NONE,
    AVAILABLE,
    SOME,
    FULL,
    SWAP_FREE,
    SWAP_TOTAL,
    HUGE_FREE,
    PANIC,
    ALLOCATING,
    OVERCOMMIT,
    FILES,
    SYNCED,
    CORE,
    GPU,
    GPU_DENIED,
    GPU_CORE,
    UNKNOWN
};

static const struct row {
    const char *name;
    enum field field;
    int64_t value;
    const char *check, *result, *saw;
} rows[] = {
    {"memory is there", NONE, 0, "memory", "ok", "100 GiB of 128 GiB"},
    {"memory is low", AVAILABLE, GIB(3), "memory", "warning", "3.0 GiB of 128 GiB"},
    {"memory is not known", UNKNOWN, 0, "memory", "skipped", "nothing"},
    {"no pressure", NONE, 0, "memory pressure", "ok", "0.1 %"},
    {"some pressure", SOME, 12, "memory pressure", "warning", "12.0 %"},
    {"all stands still", FULL, 7, "memory pressure", "failure", "7.0 %"},
    {"no pressure is told", SOME, -1, "memory pressure", "skipped", "no /proc/pressure"},
    {"swap is unused", NONE, 0, "swap", "ok", "0 B of 8.0 GiB"},
    {"swap is full", SWAP_FREE, GIB(1), "swap", "warning", "7.0 GiB of 8.0 GiB"},
    {"no swap", SWAP_TOTAL, 0, "swap", "ok", "there is none"},
    {"huge pages lie about", HUGE_FREE, GIB(32), "huge pages", "warning", "32.0 GiB lie unused"},
    {"no huge pages", NONE, 0, "huge pages", "ok", "madvise"},
    {"panics", PANIC, 1, "out of memory", "warning", "vm.panic_on_oom=1"},
    {"kills who asks", ALLOCATING, 1, "out of memory", "warning", "oom_kill_allocating_task=1"},
    {"never promises", OVERCOMMIT, 2, "out of memory", "warning", "overcommit_memory=2"},
    {"oom as it should be", NONE, 0, "out of memory", "ok", "engines before workers"},
    {"few files", FILES, 1024, "open files", "warning", "at most 1024"},
    {"many files", NONE, 0, "open files", "ok", "at most 524288"},
    {"clock runs free", SYNCED, 0, "clock", "warning", "not synchronised"},
    {"clock is kept", NONE, 0, "clock", "ok", "synchronised"},
    {"clock is not known", SYNCED, -1, "clock", "skipped", "does not tell"},
    {"CPU only, no GPU", NONE, 0, "engine", "ok", "uses CPUs"},
    {"no core", CORE, CORE_MISSING, "engine", "warning", "no rolemesh-core"},
    {"a core that fails", CORE, CORE_FAILED, "engine", "failure", "failed"},
    {"a GPU that is not used", GPU, 0, "engine", "warning", "AMD GPU here, but the engine can use"},
    {"a GPU that is used", GPU_CORE, 0, "engine", "ok", "can use a GPU; seen here: AMD"},
    {"a GPU that is denied", GPU_DENIED, 0, "engine", "warning", "/dev/kfd may not be opened"},
};

static void change(struct machine_facts *f, const struct row *row)
{
    switch (row->field) {
    case NONE:
        break;
    case AVAILABLE:
        f->mem_available = row->value;
        break;
    case SOME:
        f->pressure_some = (double)row->value;
        break;
    case FULL:
        f->pressure_full = (double)row->value;
        break;
    case SWAP_FREE:
        f->swap_free = row->value;
        break;
    case SWAP_TOTAL:
        f->swap_total = f->swap_free = row->value;
        break;
    case HUGE_FREE:
        f->huge_total = f->huge_free = row->value;
        break;
    case PANIC:
        f->panic_on_oom = (int)row->value;
        break;
    case ALLOCATING:
        f->oom_kill_allocating = (int)row->value;
        break;
    case OVERCOMMIT:
        f->overcommit = (int)row->value;
        break;
    case FILES:
        f->files_hard = row->value;
        break;
    case SYNCED:
        f->clock_synced = (int)row->value;
        break;
    case CORE:
        f->core = (enum doctor_core)row->value;
        break;
    case GPU_CORE:
        f->core = CORE_HAS_GPU;
        strcpy(f->gpu, "AMD");
        break;
    case GPU_DENIED:
        strcpy(f->gpu_denied, "/dev/kfd");
        strcpy(f->gpu, "AMD");
        break;
    case GPU:
        strcpy(f->gpu, "AMD");
        break;
    case UNKNOWN:
        f->mem_total = f->mem_available = -1;
        break;
    }
}

static void run_row(void **state)
{
    const struct row *row = *state;
    struct machine_facts f = healthy;
    struct doctor d = {.checks = NULL};

    change(&f, row);
    machine_judge(&f, &d);
    assert_found(&d, row->check, row->result, row->saw);
    assert_int_equal(d.n[DOCTOR_OK] + d.n[DOCTOR_WARNING] + d.n[DOCTOR_FAILURE] +
                         d.n[DOCTOR_SKIPPED],
                     8); /* every check says something, whatever it saw */
    json_decref(d.checks);
}

/* ---- bodies of the API ---- */

#define NODE(more) "{\"nodes\":[{\"name\":\"speed\",\"version\":\"" RM_VERSION "\"," more "}]}"
#define ROLE(more) "{\"shortfalls\":[],\"roles\":[{\"name\":\"ask\"," more "}]}"
#define MODEL(more)                                                                                \
    "{\"models\":[{\"name\":\"m\",\"roles\":[\"ask\"],\"source\":\"/m.gguf\"," more "}]}"

static const struct body_row {
    const char *name;
    enum { STATUS, MAP, NODES, ROLES, MODELS } what;
    const char *json, *check, *result, *saw;
} body_rows[] = {
    {"a gateway of this version", STATUS, "{\"version\":\"" RM_VERSION "\",\"uptime_ms\":5000}",
     "gateway", "ok", "version " RM_VERSION},
    {"another version", STATUS, "{\"version\":\"9.9\"}", "gateway", "warning", "version 9.9"},
    {"fenced", STATUS, "{\"fenced\":true}", "gateway", "failure", "newer gateway"},
    {"just started", STATUS, "{\"settled\":false}", "gateway", "warning", "just started"},
    {"an alarm", STATUS,
     "{\"alarms\":[{\"kind\":\"map.refused\",\"severity\":\"error\",\"subject\":\"gateway\","
     "\"text\":\"bad map\",\"next\":\"mend it\"}]}",
     "alarm", "failure", "bad map"},
    {"a map that runs", MAP,
     "{\"path\":\"/m.yaml\",\"nodes\":2,\"models\":1,\"roles\":3,\"last_reload\":{\"outcome\":"
     "\"applied\"}}",
     "running map", "ok", "2 nodes, 1 models, 3 roles"},
    {"a map that was refused", MAP,
     "{\"last_reload\":{\"outcome\":\"refused\",\"error\":null,\"mistakes\":[{\"what\":\"a "
     "typo\"}]}}",
     "running map", "failure", "a typo"},
    {"a node that is well", NODES,
     NODE("\"health\":\"up\",\"memory\":{\"available\":1073741824,\"total\":2147483648}"), "node",
     "ok", "1.0 GiB of 2.0 GiB"},
    {"a node that is down", NODES, NODE("\"health\":\"down\",\"last_error\":\"refused\""), "node",
     "failure", "it is down: refused"},
    {"a node that is silent", NODES, NODE("\"health\":\"suspect\""), "node", "warning", "silent"},
    {"a node that refuses", NODES, NODE("\"health\":\"up\",\"memory\":{\"refusing\":true}"), "node",
     "warning", "short of memory"},
    {"a node under pressure", NODES, NODE("\"health\":\"up\",\"memory\":{\"pressure\":20.5}"),
     "node", "warning", "waiting for memory"},
    {"a node in swap", NODES,
     NODE("\"health\":\"up\",\"memory\":{\"swap_used\":7000000000,\"swap_total\":8000000000}"),
     "node", "warning", "swap"},
    {"a node of another version", NODES,
     "{\"nodes\":[{\"name\":\"a\",\"version\":\"0.0.9\",\"health\":\"up\"}]}", "node", "warning",
     "another version"},
    {"no nodes", NODES, "{\"nodes\":[]}", "nodes", "failure", "none"},
    {"a role that is ready", ROLES, ROLE("\"hosts_ready\":1,\"replicas\":2"), "role", "ok",
     "1 of 2"},
    {"a role without host", ROLES, ROLE("\"hosts_ready\":0,\"reason\":\"no room\""), "role",
     "failure", "no host is ready: no room"},
    {"a role on demand", ROLES, ROLE("\"hosts_ready\":0,\"residency\":\"on-demand\""), "role", "ok",
     "first request"},
    {"a role that loads", ROLES, ROLE("\"hosts_ready\":0,\"loading\":{\"state\":\"loading\"}"),
     "role", "warning", "loading"},
    {"a role that is stuck", ROLES,
     ROLE("\"hosts_ready\":0,\"loading\":{\"state\":\"loading\",\"stalled\":true}"), "role",
     "failure", "no progress"},
    {"a host that failed", ROLES,
     ROLE("\"hosts\":[{\"role\":\"ask\",\"node\":\"a\",\"state\":\"failed\",\"last_error\":{"
          "\"cause\":\"oom\",\"text\":\"killed\"}}]"),
     "host", "failure", "oom: killed"},
    {"a host that drifts", ROLES, ROLE("\"hosts\":[{\"drift\":true}]"), "host", "warning",
     "not that of most"},
    {"fewer hosts than wanted", ROLES,
     "{\"roles\":[],\"shortfalls\":[{\"role\":\"ask\",\"reason\":\"no room\",\"missing_bytes\":"
     "1073741824}]}",
     "role", "warning", "no room (1.0 GiB missing)"},
    {"a model that is there", MODELS,
     MODEL("\"nodes\":[{\"node\":\"a\",\"file\":\"/m\",\"complete\":true}]"), "model", "ok",
     "on 1 node"},
    {"a model that is nowhere", MODELS, MODEL("\"nodes\":[]"), "model", "warning", "no node"},
    {"half a model", MODELS,
     MODEL("\"nodes\":[{\"node\":\"a\",\"file\":\"/m\",\"complete\":false}]"), "model", "failure",
     "parts of /m are missing"},
};

static void judge_body(struct doctor *d, int what, const json_t *body)
{
    if (what == STATUS)
        cluster_judge_status(d, body);
    else if (what == MAP)
        cluster_judge_map(d, body);
    else if (what == NODES)
        cluster_judge_nodes(d, body, RM_VERSION);
    else if (what == ROLES)
        cluster_judge_roles(d, body);
    else
        cluster_judge_models(d, body);
}

static void run_body_row(void **state)
{
    const struct body_row *row = *state;
    json_t *body = json_loads(row->json, 0, NULL);
    struct doctor d = {.checks = NULL};

    assert_non_null(body);
    judge_body(&d, row->what, body);
    assert_found(&d, row->check, row->result, row->saw);
    json_decref(body);
    json_decref(d.checks);
}

/* Nothing, other types, and hostile text: no finding may be damaged. */
static void odd_bodies(void **state)
{
    static const char *const odd[] = {
        "{}", "[]",
        "{\"nodes\":7,\"roles\":\"x\",\"alarms\":{},\"shortfalls\":[1],\"models\":[null]}",
        "{\"nodes\":[{\"name\":\"\\u001b[2J\\u202e\",\"health\":\"down\",\"last_error\":\"%s%n\"}],"
        "\"roles\":[{\"name\":\"%n\",\"reason\":\"\\u0007\",\"hosts\":[{\"state\":\"failed\"}]}]}"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(odd); i++)
        for (int what = STATUS; what <= MODELS; what++) {
            json_t *body = json_loads(odd[i], 0, NULL);
            struct doctor d = {.checks = json_array()};

            judge_body(&d, what, body);
            judge_body(&d, what, NULL);
            json_decref(body);
            json_decref(d.checks);
        }
}

/* ---- disks, state, clocks ---- */

static void disks_states_clocks(void **state)
{
    struct doctor d = {.checks = json_array()};

    (void)state;
    place_judge_disk(&d, "a", 100ULL << 30, 50ULL << 30, false, "");
    assert_found(&d, "disk", "ok", "50.0 GiB of 100 GiB");
    place_judge_disk(&d, "a", 100ULL << 30, 5ULL << 30, false, "");
    assert_found(&d, "disk", "warning", "5.0 GiB");
    place_judge_disk(&d, "a", 100ULL << 30, 1ULL << 20, false, "");
    assert_found(&d, "disk", "failure", "only 1.0 MiB");
    place_judge_disk(&d, "a", 0, 0, false, "no such thing");
    assert_found(&d, "disk", "skipped", "no such thing");
    place_judge_state(&d, "s", true, 040700);
    assert_found(&d, "state", "ok", "0700");
    place_judge_state(&d, "s", true, 040755);
    assert_found(&d, "state", "warning", "0755");
    place_judge_state(&d, "s", true, 040770);
    assert_found(&d, "state", "failure", "0770");
    json_decref(d.checks);
    d.checks = json_array();
    cluster_judge_clock(&d, "x", 0.7, 0.6);
    assert_found(&d, "clock", "ok", "within 2 s");
    cluster_judge_clock(&d, "x", -30, 0.6);
    assert_found(&d, "clock", "warning", "30 s behind");
    cluster_judge_clock(&d, "x", 3600, 0.6);
    assert_found(&d, "clock", "failure", "3600 s ahead of");
    json_decref(d.checks);
}

/* ---- /proc ---- */

static void put(const char *root, const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; *p != '\0'; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(full, 0700);
            *p = '/';
        }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void reads_proc(void **state)
{
    char root[] = "/tmp/rm-doctor-XXXXXX", command[64];
    struct machine_facts f;

    (void)state;
    assert_non_null(mkdtemp(root));
    machine_read(root, "", &f); /* nothing there */
    assert_int_equal(f.mem_total, -1);
    assert_int_equal(f.overcommit, -1);
    assert_true(f.pressure_some < 0);
    assert_string_equal(f.thp, "");
    assert_int_equal(f.core, CORE_MISSING);
    put(root, "/proc/meminfo",
        "MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\nSwapTotal: 8 kB\n"
        "SwapFree: 4 kB\nHugePages_Total: 3\nHugePages_Free: 2\nHugepagesize: 2048 kB\n");
    put(root, "/proc/pressure/memory",
        "some avg10=1.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.25 avg60=0 avg300=0 "
        "total=0\n");
    put(root, "/proc/sys/vm/overcommit_memory", "2\n");
    put(root, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put(root, "/sys/class/drm/card0/device/vendor", "0x1002\n");
    put(root, "/sys/class/drm/card0-HDMI-A-1/status", "connected\n");
    machine_read(root, "/nonexistent/core", &f);
    assert_int_equal(f.mem_total, 1024 * 1024);
    assert_int_equal(f.mem_available, 512 * 1024);
    assert_int_equal(f.swap_total - f.swap_free, 4096);
    assert_int_equal(f.huge_free, 2 * 2048 * 1024);
    assert_true(f.pressure_some == 1.5 && f.pressure_full == 0.25);
    assert_int_equal(f.overcommit, 2);
    assert_string_equal(f.thp, "madvise");
    assert_string_equal(f.gpu, "AMD");
    assert_int_equal(f.core, CORE_FAILED);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(body_rows) + 3];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(body_rows); i++)
        tests[n++] =
            (struct CMUnitTest){body_rows[i].name, run_body_row, NULL, NULL, (void *)&body_rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(odd_bodies);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(disks_states_clocks);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(reads_proc);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
