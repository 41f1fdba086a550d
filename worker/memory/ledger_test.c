/* SPDX-License-Identifier: MIT */
/* worker/memory/ledger_test.c - the rule by row, keys, averages, and the ledger over its file: what
 * is kept, what damage costs, what goes when it is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/log.h"
#include "worker/memory/ledger.h"
#include "worker/memory/ledger_file.h"

/* ---- the rule ---- */

static const struct rule_row {
    const char *name;
    uint64_t loaded, full, peak;
    bool all_full;
    uint64_t predicted;
    bool estimated;
    uint64_t expected;
    bool measured;
    uint64_t compute; /* batch: 512 */
    uint32_t batch_most;
} rule_rows[] = {
    /* four slots */
    {"nothing measured", 0, 0, 0, false, 1000, false, 1000, false, 0, 0},
    {"nothing measured, nothing predicted", 0, 0, 0, false, 0, false, 0, false, 0, 0},
    {"only loaded, below the prediction", 900, 0, 900, false, 1000, false, 1000, false, 0, 0},
    {"only loaded, above the prediction", 1100, 0, 1100, false, 1000, false, 1100, true, 0, 0},
    {"only loaded, a peak above", 900, 0, 1050, false, 1000, false, 1050, true, 0, 0},
    {"one slot full, nothing added", 900, 900, 905, false, 1000, false, 905, true, 0, 0},
    {"one slot full, some added", 900, 910, 910, false, 1000, false, 940, true, 0, 0},
    {"one slot full, less than when loaded", 900, 850, 900, false, 1000, false, 900, true, 0, 0},
    {"one slot full, more than predicted", 900, 990, 990, false, 1000, false, 1000, true, 0, 0},
    {"one slot full, peak over prediction", 900, 1010, 1010, false, 1000, false, 1010, true, 0, 0},
    {"one slot full, the prediction is a lower bound", 900, 990, 990, false, 500, true, 1260, false,
     0, 0},
    {"the same, with the largest batch", 900, 990, 990, false, 500, true, 1260, true, 0, 512},
    {"the same, and a bound above", 900, 990, 990, true, 1500, true, 1500, true, 0, 512},
    {"one slot full, no prediction", 900, 910, 920, false, 0, false, 940, false, 0, 0},
    {"all slots full", 900, 990, 995, true, 1000, false, 995, true, 0, 0},
    {"all slots full, above the prediction", 900, 990, 1200, true, 1000, false, 1200, true, 0, 0},
    {"no batch of the largest size yet", 900, 910, 910, true, 2000, false, 1294, true, 512, 128},
    {"the same, capped", 900, 910, 910, true, 1000, false, 1000, true, 512, 128},
    {"one slot full, small batches", 900, 910, 910, false, 2000, false, 1708, true, 1024, 128},
    {"the largest batch was there", 900, 910, 910, true, 2000, false, 910, true, 512, 512},
    {"small batches, no prediction", 900, 910, 910, true, 0, false, 910, false, 0, 128},
    {"the largest batch, no prediction", 900, 910, 910, true, 0, false, 910, true, 0, 512},
    {"only loaded, no prediction", 900, 0, 900, false, 0, false, 900, false, 0, 512},
    {"only loaded, above a lower bound", 900, 0, 900, false, 500, true, 900, false, 0, 512},
};

static void run_rule(void **state)
{
    const struct rule_row *t = *state;
    struct node_ledger_row row = {.key.slots = 4,
                                  .loaded.system = t->loaded / 2,
                                  .loaded.vram = t->loaded - t->loaded / 2,
                                  .full.system = t->full,
                                  .peak.gtt = t->peak,
                                  .all_full = t->all_full,
                                  .compute = t->compute,
                                  .batch = 512,
                                  .batch_most = t->batch_most};
    bool measured = !t->measured;

    assert_int_equal(ledger_expect(&row, t->predicted, t->estimated, &measured), t->expected);
    assert_int_equal(measured, t->measured);
}

static void no_row_gives_the_prediction(void **state)
{
    bool measured = true;

    (void)state;
    assert_int_equal(ledger_expect(NULL, 77, false, &measured), 77);
    assert_false(measured);
}

/* ---- keys and figures ---- */

static struct desired_host wish(void)
{
    struct desired_host d = {.context = 4096, .slots = 4, .kv = "f16", .gpu_layers = -1};

    return d;
}

static void every_part_of_the_key_matters(void **state)
{
    struct desired_host d = wish(), x;
    struct ledger_key a, b;
    const char *hash = "aa", *build = "0.1.0/0.5.0";

    (void)state;
    ledger_key_of(&d, hash, build, &a);
    ledger_key_of(&d, hash, build, &b);
    assert_true(ledger_key_same(&a, &b));
    assert_string_equal(a.flags, "batch=0 threads=0 layers=-1");
#define DIFFERS(change)                                                                            \
    x = d;                                                                                         \
    change;                                                                                        \
    ledger_key_of(&x, hash, build, &b);                                                            \
    assert_false(ledger_key_same(&a, &b))
    DIFFERS(x.context = 8192);
    DIFFERS(x.slots = 3);
    DIFFERS(strcpy(x.kv, "q8_0"));
    DIFFERS(x.batch = 256);
    DIFFERS(x.threads = 2);
    DIFFERS(x.gpu_layers = 0);
    ledger_key_of(&d, "bb", build, &b);
    assert_false(ledger_key_same(&a, &b));
    ledger_key_of(&d, hash, "0.1.0/0.6.0", &b);
    assert_false(ledger_key_same(&a, &b));
    x = d; /* and who asks, or how many may wait, does not */
    strcpy(x.role, "code");
    strcpy(x.model, "m");
    x.queue_max = 9;
    x.epoch = 3;
    ledger_key_of(&x, hash, build, &b);
    assert_true(ledger_key_same(&a, &b));
    d.batch = d.threads = UINT32_MAX; /* the longest flags fit */
    d.gpu_layers = INT32_MIN;
    ledger_key_of(&d, hash, build, &a);
    assert_true(strlen(a.flags) < sizeof(a.flags) - 1);
}

static void averages_give_the_newest_half(void **state)
{
    (void)state;
    assert_int_equal(ledger_average_ms(0, 100), 100);
    assert_int_equal(ledger_average_ms(100, 200), 150);
    assert_int_equal(ledger_average_ms(0, 0), 1); /* 0 would say: none yet */
}

static void speeds_keep_their_rate_and_stay_small(void **state)
{
    struct ledger_speed sum = {0}, more = {.prefill_tokens = 600000,
                                           .prefill_us = 6000000,
                                           .decode_tokens = 10,
                                           .decode_us = 1000};

    (void)state;
    for (int i = 0; i < 100; i++)
        ledger_add_speed(&sum, &more);
    assert_true(sum.prefill_tokens <= LEDGER_SPEED_TOKENS);
    assert_int_equal(sum.prefill_us / sum.prefill_tokens, 10);
    assert_int_equal(sum.decode_tokens, 1000);
    assert_int_equal(sum.decode_us, 100000);
}

static void errors_over_rows(void **state)
{
    struct node_ledger_row rows[12];
    double scratch[12];
    struct node_ledger_errors e;

    (void)state;
    memset(rows, 0, sizeof(rows));
    node_ledger_errors_of(rows, 12, scratch, &e);
    assert_int_equal(e.count, 0);
    for (uint32_t i = 0; i < 12;
         i++) { /* predictions from 1 % to 10 % above, two that do not count */
        rows[i].predicted = 1010 + i * 10;
        rows[i].peak.system = 1000;
        rows[i].full.system = 1000;
    }
    rows[10].full.system = 0;
    rows[11].estimated = true;
    rows[0].predicted = 800;
    node_ledger_errors_of(rows, 12, scratch, &e);
    assert_int_equal(e.count, 10);
    assert_int_equal(e.low, 1);
    assert_true(fabs(e.p50 - 0.06) < 1e-9);
    assert_true(fabs(e.p90 - 0.10) < 1e-9);
    assert_true(fabs(e.worst - 0.20) < 1e-9);
}

/* ---- over a file ---- */

struct rig {
    char dir[64], path[96], core[96];
    unsigned damaged, ill;
};

static void rig_hear(void *arg, const char *line)
{
    struct rig *r = arg; /* the store's thread, while ours waits for it or is joined with it */

    r->damaged += strstr(line, "is damaged") != NULL;
    r->ill += strstr(line, "cannot be kept") != NULL;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int rig_open(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    strcpy(r->dir, "/tmp/rm-ledger-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/l.db", r->dir);
    snprintf(r->core, sizeof(r->core), "%s/core", r->dir);
    write_file(r->core, "v1");
    rm_log_set_sink(rig_hear, r);
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    static const char *const names[] = {"l.db", "l.db.damaged", "core"};
    struct rig *r = *state;
    char path[128];

    rm_log_set_sink(NULL, NULL);
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
    return 0;
}

static struct ledger *open_ledger(const struct rig *r)
{
    struct ledger_conf conf = {.path = r->path, .core_path = r->core};
    struct ledger *l;

    assert_int_equal(ledger_open(&conf, &l), 0);
    return l;
}

static struct node_ledger_row sample(uint32_t i)
{
    struct desired_host d = wish();
    struct node_ledger_row row = {.model = "qwen",
                                  .predicted = 1000 + i,
                                  .compute = 77,
                                  .batch = 512,
                                  .batch_most = 512,
                                  .loaded = {900, 1, 2},
                                  .full = {950, 3, 4},
                                  .peak = {960, 5, 6},
                                  .loads = 7,
                                  .cold_ms = 8000,
                                  .warm_ms = 900};
    char hash[65];

    snprintf(hash, sizeof(hash), "%064x", i);
    ledger_key_of(&d, hash, "0.1.0/0.5.0", &row.key);
    row.speed[0] = (struct ledger_speed){1, 2, 3, 4};
    row.speed[5] = (struct ledger_speed){0, 0, 5, 6};
    return row;
}

static void rows_come_back_whole(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);
    struct node_ledger_row row = sample(1), first;

    assert_null(ledger_find(l, &row.key));
    ledger_put(l, &row);
    first = *ledger_find(l, &row.key);
    assert_int_equal(first.id, 1);
    assert_true(first.first_s > 1000000000 && first.last_s >= first.first_s);
    assert_int_equal(first.expected, 1001); /* 971 once full, 957 - 903 more for each: capped */
    assert_true(first.measured);
    ledger_close(l);
    l = open_ledger(r);
    assert_non_null(ledger_find(l, &row.key));
    assert_memory_equal(ledger_find(l, &row.key), &first, sizeof(first));
    row.all_full = true; /* the same key again: changed, not added */
    ledger_put(l, &row);
    assert_int_equal(ledger_find(l, &row.key)->id, 1);
    assert_int_equal(ledger_find(l, &row.key)->first_s, first.first_s);
    assert_int_equal(ledger_find(l, &row.key)->expected, 971);
    ledger_close(l);
    l = open_ledger(r);
    assert_true(ledger_find(l, &row.key)->all_full);
    ledger_close(l);
    assert_int_equal(r->ill + r->damaged, 0);
}

/* A file of the first version, as it was written then. */
static void an_older_file_keeps_its_rows(void **state)
{
    struct rig *r = *state;
    const struct node_ledger_row *found;
    struct ledger *l;
    sqlite3 *db;
    uint32_t n;

    assert_int_equal(sqlite3_open(r->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, ledger_migrations[0], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA user_version = 1;"
                     "INSERT INTO ledger VALUES(1, 'aa', 4096, 2, 'f16', 'batch=0', '0.1.0/0.5.0', "
                     "'qwen', 1000, 0, 900, 1, 2, 950, 3, 4, 960, 5, 6, 1, 7, 8000, 900, 10, 11)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    l = open_ledger(r);
    found = ledger_rows(l, &n);
    assert_int_equal(n, 1);
    assert_string_equal(found->model, "qwen");
    assert_int_equal(found->expected, 971);
    assert_int_equal(found->last_s, 11);
    assert_int_equal(found->compute + found->batch + found->batch_most, 0);
    ledger_close(l);
    assert_int_equal(r->ill + r->damaged, 0);
}

/* What a forecast becomes: parts 100 + 200 + 300 + 400. */
static void forecasts_are_the_measured_ones(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);
    struct desired_host d = wish();
    struct node_ledger_row row = sample(1);
    const struct node_forecast said = {
        .known = true, .weights = 100, .kv = 200, .compute = 300, .other = 400, .total = 1000};
    struct node_forecast f = said;

    ledger_set_build(l, "0.1.0/0.5.0");
    strcpy(f.model_hash, row.key.model_hash);
    ledger_apply(l, &d, &f);
    assert_true(f.total == 1000 && !f.measured && f.load_ms == 0); /* no row */
    row.predicted = 0; /* its prediction has not come yet */
    row.full = (struct ledger_bytes){0, 0, 0};
    ledger_put(l, &row);
    ledger_apply(l, &d, &f);
    assert_true(f.total == 1000 && !f.measured && f.load_ms == 8000); /* peak: 971 */
    row = sample(1);
    row.all_full = true;
    ledger_put(l, &row);
    ledger_apply(l, &d, &f);
    assert_true(f.total == 971 && f.measured && f.weights + f.kv + f.compute + f.other == 1000);
    f = said;
    strcpy(f.model_hash, row.key.model_hash);
    d.slots++; /* another key of the same file: the load takes as long */
    ledger_apply(l, &d, &f);
    assert_true(f.total == 1000 && !f.measured && f.load_ms == 8000);
    d.slots--;
    ledger_set_build(l, "0.2.0/0.5.0"); /* another engine */
    ledger_apply(l, &d, &f);
    assert_true(f.total == 1000 && !f.measured);
    ledger_set_build(l, "0.1.0/0.5.0");
    f = (struct node_forecast){.known = false};
    strcpy(f.model_hash, row.key.model_hash);
    ledger_apply(l, &d, &f);
    assert_true(f.total == 0 && !f.measured && f.load_ms == 0);
    ledger_close(l);
}

static void the_build_is_known_while_the_program_stays(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);

    assert_string_equal(ledger_build(l), "");
    ledger_set_build(l, "0.1.0/0.5.0");
    assert_string_equal(ledger_build(l), "0.1.0/0.5.0");
    ledger_close(l);
    l = open_ledger(r);
    assert_string_equal(ledger_build(l), "0.1.0/0.5.0");
    ledger_close(l);
    write_file(r->core, "version 2");
    l = open_ledger(r);
    assert_string_equal(ledger_build(l), "");
    ledger_set_build(l, "0.2.0/0.6.0");
    ledger_close(l);
    l = open_ledger(r);
    assert_string_equal(ledger_build(l), "0.2.0/0.6.0");
    ledger_close(l);
}

static void pages_go_by_id(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);
    struct node_ledger page;
    uint64_t after = 0;
    uint32_t seen = 0, pages = 0;

    ledger_page(l, 0, 10, &page);
    assert_int_equal(page.n, 0);
    assert_int_equal(page.next, 0);
    for (uint32_t i = 0; i < 25; i++) {
        struct node_ledger_row row = sample(i);

        ledger_put(l, &row);
    }
    do {
        ledger_page(l, after, 10, &page);
        for (uint32_t i = 0; i < page.n; i++)
            assert_int_equal(page.rows[i].predicted, 1000 + seen++);
        assert_int_equal(page.errors.count, 25);
        after = page.next;
        assert_true(++pages < 9);
    } while (after != 0);
    assert_int_equal(seen, 25);
    assert_int_equal(pages, 3);
    ledger_page(l, UINT64_MAX, 10, &page);
    assert_int_equal(page.n, 0);
    ledger_close(l);
}

static void the_oldest_row_goes_when_it_is_full(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);
    struct node_ledger_row row = sample(0);
    uint32_t n;

    for (uint32_t i = 0; i < LEDGER_ROWS_MAX + 3; i++) {
        row = sample(i);
        ledger_put(l, &row);
    }
    ledger_rows(l, &n);
    assert_int_equal(n, LEDGER_ROWS_MAX);
    row = sample(2);
    assert_null(ledger_find(l, &row.key));
    row = sample(3);
    assert_non_null(ledger_find(l, &row.key));
    ledger_close(l);
    l = open_ledger(r);
    ledger_rows(l, &n);
    assert_int_equal(n, LEDGER_ROWS_MAX);
    assert_non_null(ledger_find(l, &row.key));
    row = sample(LEDGER_ROWS_MAX + 2);
    assert_non_null(ledger_find(l, &row.key));
    ledger_close(l);
}

static void a_damaged_file_costs_the_history_only(void **state)
{
    struct rig *r = *state;
    struct node_ledger_row row = sample(1);
    struct node_ledger page;
    struct ledger *l;

    write_file(r->path, "this is no database, and it is long enough to be looked at as one\n");
    l = open_ledger(r);
    assert_int_equal(r->damaged, 1);
    assert_null(ledger_find(l, &row.key));
    ledger_put(l, &row);
    ledger_page(l, 0, 10, &page);
    assert_true(page.usable);
    assert_int_equal(page.n, 1);
    ledger_close(l);
    l = open_ledger(r);
    assert_non_null(ledger_find(l, &row.key));
    ledger_close(l);
    assert_int_equal(r->damaged, 1);
}

static void without_a_file_rows_live_in_memory(void **state)
{
    struct rig *r = *state;
    struct node_ledger_row row = sample(1);
    struct node_ledger page;
    struct ledger *l;

    snprintf(r->path, sizeof(r->path), "%s/no/l.db", r->dir);
    l = open_ledger(r);
    for (uint32_t i = 0; i < 3000; i++) { /* more than the queue holds */
        row.predicted++;
        ledger_put(l, &row);
    }
    assert_int_equal(ledger_find(l, &row.key)->predicted, 4001);
    ledger_page(l, 0, 10, &page);
    assert_false(page.usable);
    ledger_poll(l);
    ledger_close(l);
    assert_int_equal(r->ill, 1);
}

static void what_a_file_may_hold(void **state)
{
    struct rig *r = *state;
    struct ledger *l = open_ledger(r);
    struct node_ledger_row row = sample(1);
    const struct node_ledger_row *found;
    sqlite3 *db;
    uint32_t n;

    ledger_put(l, &row);
    ledger_close(l);
    assert_int_equal(sqlite3_open(r->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "UPDATE ledger SET predicted = -5, loads = 99999999999, "
                                  "model = hex(zeroblob(500)), warm_ms = -1;"
                                  "INSERT INTO speed SELECT model_hash, context, slots, kv, flags, "
                                  "build, 777, 1, 1, 1, 1 FROM ledger",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    l = open_ledger(r);
    found = ledger_rows(l, &n);
    assert_int_equal(n, 1);
    assert_int_equal(found->predicted, 0);
    assert_int_equal(found->loads, UINT32_MAX);
    assert_int_equal(strlen(found->model), sizeof(found->model) - 1);
    assert_int_equal(found->warm_ms, 0);
    assert_int_equal(found->speed[0].decode_us, 4);
    ledger_close(l);
}

#define IN_RIG(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(no_row_gives_the_prediction),
        cmocka_unit_test(every_part_of_the_key_matters),
        cmocka_unit_test(averages_give_the_newest_half),
        cmocka_unit_test(speeds_keep_their_rate_and_stay_small),
        cmocka_unit_test(errors_over_rows),
        IN_RIG(rows_come_back_whole),
        IN_RIG(an_older_file_keeps_its_rows),
        IN_RIG(forecasts_are_the_measured_ones),
        IN_RIG(the_build_is_known_while_the_program_stays),
        IN_RIG(pages_go_by_id),
        IN_RIG(the_oldest_row_goes_when_it_is_full),
        IN_RIG(a_damaged_file_costs_the_history_only),
        IN_RIG(without_a_file_rows_live_in_memory),
        IN_RIG(what_a_file_may_hold),
    };
    struct CMUnitTest tests[RM_COUNT(rule_rows) + RM_COUNT(others)];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rule_rows); i++)
        tests[n++] =
            (struct CMUnitTest){rule_rows[i].name, run_rule, NULL, NULL, (void *)&rule_rows[i]};
    memcpy(tests + n, others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
