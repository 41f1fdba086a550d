/* SPDX-License-Identifier: MIT */
/* worker/memory/measure_host_test.c - meters over a loop and a ledger: this process stands in for
 * an engine. What a life leaves in the ledger, lives that end too early, engines that cannot be
 * measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "worker/memory/measure_host.h"

enum { START_MS = 1000 };

struct rig {
    char dir[64], path[96];
    uv_loop_t loop;
    struct ledger *ledger;
    struct meters *meters;
    struct desired_host d;
    unsigned not_measured; /* lines that say so */
};

static void rig_hear(void *arg, const char *line)
{
    ((struct rig *)arg)->not_measured += strstr(line, "cannot be measured") != NULL;
}

static int rig_open(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct ledger_conf conf = {.core_path = "/nonexistent"};

    assert_non_null(r);
    strcpy(r->dir, "/tmp/rm-meter-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/l.db", r->dir);
    conf.path = r->path;
    r->d = (struct desired_host){.context = 100, .slots = 2, .kv = "f16", .gpu_layers = -1};
    strcpy(r->d.role, "code");
    strcpy(r->d.model, "qwen");
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(ledger_open(&conf, &r->ledger), 0);
    assert_int_equal(meters_new(&r->loop, r->ledger, &r->meters), 0);
    rm_log_set_sink(rig_hear, r);
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *r = *state;

    rm_log_set_sink(NULL, NULL);
    meters_close(r->meters);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    ledger_close(r->ledger);
    assert_int_equal(unlink(r->path), 0);
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
    return 0;
}

static struct meter *begin(struct rig *r, double cached)
{
    struct meter *x;

    assert_int_equal(meter_begin(r->meters, &r->d, "aa", cached, &x), 0);
    return x;
}

static struct engine_measure told(uint64_t deepest, uint64_t used)
{
    struct engine_measure m = {.context = 100,
                               .slots_total = 2,
                               .kv_used = used,
                               .kv_total = 200,
                               .kv_deepest = deepest,
                               .batch = 512,
                               .batch_most = 20};

    strcpy(m.build, "0.1.0/0.5.0");
    return m;
}

static const struct node_ledger_row *row_of(struct rig *r)
{
    struct ledger_key key;

    ledger_key_of(&r->d, "aa", "0.1.0/0.5.0", &key);
    return ledger_find(r->ledger, &key);
}

/* Runs what is under way in the thread pool to its end. */
static void settle(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_DEFAULT); /* a loop without handles ends with its last work */
}

static void a_whole_life(void **state)
{
    struct rig *r = *state;
    struct node_forecast f = {
        .known = true, .weights = 10, .kv = 20, .compute = 30, .other = 40, .total = 5};
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 0.95);

    meter_note(x, &m, 1, START_MS);
    settle(r);
    assert_null(row_of(r)); /* not ready yet */
    meter_predicted(x, &f);
    meter_ready(x, getpid(), 812);
    meter_note(x, &m, 1 << 20, START_MS);
    settle(r);
    assert_non_null(row_of(r));
    assert_string_equal(row_of(r)->model, "qwen");
    assert_int_equal(row_of(r)->predicted, 100);
    assert_int_equal(row_of(r)->compute, 30);
    assert_int_equal(row_of(r)->loads, 1);
    assert_int_equal(row_of(r)->warm_ms, 812);
    assert_int_equal(row_of(r)->cold_ms, 0);
    assert_true(row_of(r)->loaded.system > 100 * 1024);
    assert_int_equal(row_of(r)->full.system, 0);
    assert_int_equal(meter_measured(x), ledger_bytes_sum(&row_of(r)->peak)); /* above 100 bytes */
    assert_string_equal(ledger_build(r->ledger), "0.1.0/0.5.0");
    m = told(96, 100);
    meter_note(x, &m, 1 << 20, START_MS + 1);
    settle(r);
    assert_true(row_of(r)->full.system > 0 && !row_of(r)->all_full);
    m = told(100, 195);
    meter_note(x, &m, 1 << 20, START_MS + 2);
    settle(r);
    assert_true(row_of(r)->all_full);
    meter_end(x);
    assert_int_equal(meters_loads(r->meters).warm, 1);
    assert_int_equal(meters_loads(r->meters).warm_ms, 812);
    assert_int_equal(meters_loads(r->meters).cold, 0);
}

static void one_load(struct rig *r, double cached, uint64_t ms)
{
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, cached);

    meter_ready(x, getpid(), ms);
    meter_note(x, &m, 1, START_MS);
    settle(r);
    meter_end(x);
}

static void cold_and_warm(void **state)
{
    struct rig *r = *state;

    one_load(r, 0.5, 4000); /* half of it was not there */
    assert_int_equal(row_of(r)->cold_ms, 4000);
    one_load(r, 1, 100);
    one_load(r, 0.9, 300);
    assert_int_equal(row_of(r)->warm_ms, 200);
    one_load(r, 0, 2000);
    assert_int_equal(row_of(r)->cold_ms, 3000);
    assert_int_equal(row_of(r)->loads, 4);
}

/* By kind; by flags where there is such a row, else by the newest of the model. */
static void how_long_a_load_took(void **state)
{
    struct rig *r = *state;
    struct meter *x = begin(r, 1);

    assert_int_equal(meter_load_ms(NULL), 0);
    assert_int_equal(meter_load_ms(x), 0); /* never */
    assert_int_equal(ledger_bytes_sum(&(struct ledger_bytes){0}), 0);
    meter_end(x);
    one_load(r, 1, 100);
    x = begin(r, 0);
    assert_int_equal(meter_load_ms(x), 100); /* no cold one is known */
    meter_end(x);
    one_load(r, 0, 4000);
    x = begin(r, 0);
    assert_int_equal(meter_load_ms(x), 4000);
    meter_end(x);
    x = begin(r, 1);
    assert_int_equal(meter_load_ms(x), 100);
    meter_end(x);
    r->d.slots = 3; /* other flags: what is known of the model will do */
    x = begin(r, 0);
    assert_int_equal(meter_load_ms(x), 4000);
    meter_end(x);
    one_load(r, 0, 7000);
    x = begin(r, 0);
    assert_int_equal(meter_load_ms(x), 7000);
    meter_end(x);
    r->d.slots = 2;
    x = begin(r, 0);
    assert_int_equal(meter_load_ms(x), 4000); /* its own flags, though the other is newer */
    meter_end(x);
    assert_int_equal(meter_begin(r->meters, &r->d, "bb", 0, &x), 0); /* another model */
    assert_int_equal(meter_load_ms(x), 0);
    meter_end(x);
}

static void the_most_that_was_measured(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 1);
    struct ledger_bytes peak = meter_peak(NULL);

    assert_int_equal(ledger_bytes_sum(&peak), 0);
    meter_ready(x, getpid(), 100);
    peak = meter_peak(x);
    assert_int_equal(ledger_bytes_sum(&peak), 0); /* not yet */
    meter_note(x, &m, 1, START_MS);
    settle(r);
    peak = meter_peak(x);
    assert_true(peak.system > 100 * 1024);
    assert_int_equal(ledger_bytes_sum(&peak), ledger_bytes_sum(&row_of(r)->peak));
    meter_end(x);
}

static void without_the_kernels_word_the_first_load_is_cold(void **state)
{
    struct rig *r = *state;

    one_load(r, -1, 4000);
    r->d.slots = 3; /* another row of the same file */
    one_load(r, -1, 100);
    assert_int_equal(row_of(r)->warm_ms, 100);
    assert_int_equal(row_of(r)->cold_ms, 0);
    r->d.slots = 2;
    assert_int_equal(row_of(r)->cold_ms, 4000);
}

static void speeds_add_up_over_lives(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);

    for (int life = 1; life <= 2; life++) {
        struct meter *x = begin(r, 1);

        m.speed[1] = (struct ledger_speed){100, 1000, 10, 500};
        meter_ready(x, getpid(), 1);
        meter_note(x, &m, 1, START_MS);
        settle(r);
        m.speed[1] = (struct ledger_speed){150, 1500, 20, 900};
        meter_note(x, &m, 1, START_MS + 1);
        settle(r);
        assert_int_equal(row_of(r)->speed[1].decode_tokens, 20 * life - 10); /* not each second */
        meter_note(x, &m, 1, START_MS + METER_EVERY_MS + 1);
        settle(r);
        assert_int_equal(row_of(r)->speed[1].decode_tokens, 20 * life);
        m.speed[1].decode_tokens = 5; /* no engine does that */
        meter_note(x, &m, 1, START_MS + 3 * METER_EVERY_MS);
        settle(r);
        meter_end(x);
        assert_int_equal(row_of(r)->speed[1].decode_tokens, 20 * life);
        assert_int_equal(row_of(r)->speed[1].decode_us, 900 * life);
        assert_int_equal(row_of(r)->speed[1].prefill_tokens, 150 * life);
    }
}

static void an_engine_that_ends_while_it_is_measured(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 1), *y = begin(r, 1);

    meter_ready(x, getpid(), 5);
    meter_ready(y, getpid(), 7);
    meter_note(x, &m, 1, START_MS); /* under way in the thread pool */
    meter_note(y, &m, 1, START_MS); /* waits for its turn */
    meter_end(x);
    settle(r);
    assert_int_equal(row_of(r)->loads, 1); /* y's; x left nothing, nor harm */
    assert_int_equal(row_of(r)->warm_ms, 7);
    meter_end(y);
    meter_end(NULL);
}

static void a_worker_that_ends_while_it_measures(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 1);

    meter_ready(x, getpid(), 5);
    meter_note(x, &m, 1, START_MS);
    meter_end(x);
    meters_close(r->meters);
    settle(r);
    assert_null(row_of(r));
    assert_int_equal(meters_new(&r->loop, r->ledger, &r->meters), 0); /* for rig_close */
}

static void a_process_that_is_gone(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 1);
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    meter_ready(x, pid, 5);
    for (uint64_t i = 0; i < 3 * METER_FAILS_MAX; i++) {
        assert_int_equal(r->not_measured, i < METER_FAILS_MAX ? 0 : 1);
        meter_note(x, &m, 1, START_MS + i * METER_GAP_MS);
        settle(r);
    }
    assert_int_equal(row_of(r)->loads, 1); /* that it loaded is known all the same */
    assert_int_equal(ledger_bytes_sum(&row_of(r)->peak), 0);
    assert_int_equal(meter_measured(x), 0);
    meter_end(x);
}

static void engines_that_do_not_say_what_they_are(void **state)
{
    struct rig *r = *state;
    struct engine_measure m = told(1, 1);
    struct meter *x = begin(r, 1), *y;
    uint32_t n;

    m.build[0] = '\0';
    meter_ready(x, getpid(), 5);
    meter_note(x, &m, 1, START_MS);
    settle(r);
    meter_end(x);
    m = told(1, 1);
    assert_int_equal(meter_begin(r->meters, &r->d, "", 1, &y), 0); /* a file without a hash */
    meter_ready(y, getpid(), 5);
    meter_note(y, &m, 1, START_MS);
    settle(r);
    meter_end(y);
    ledger_rows(r->ledger, &n);
    assert_int_equal(n, 0);
}

#define IN_RIG(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(a_whole_life),
        IN_RIG(cold_and_warm),
        IN_RIG(how_long_a_load_took),
        IN_RIG(the_most_that_was_measured),
        IN_RIG(without_the_kernels_word_the_first_load_is_cold),
        IN_RIG(speeds_add_up_over_lives),
        IN_RIG(an_engine_that_ends_while_it_is_measured),
        IN_RIG(a_worker_that_ends_while_it_measures),
        IN_RIG(a_process_that_is_gone),
        IN_RIG(engines_that_do_not_say_what_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
