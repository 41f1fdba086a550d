/* SPDX-License-Identifier: MIT */
/* gateway/ops/history_test.c - rows in, what is kept of them and for how long, and what is
 * recalled: on real files, with a real loop. Waits are for answers, never for time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <inttypes.h>
#include <sqlite3.h>

#include "gateway/ops/history_impl.h"
#include "gateway/ops/recall.h"
#include "proto/base/clock.h"

#define DAY 86400000ll

struct rig {
    uv_loop_t loop;
    char dir[64], path[96];
    struct history *history;
    bool closed;
    int answers, err;
    char text[512 * 1024];
    struct recall_events events;
};

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

static void rig_open(struct rig *g)
{
    assert_int_equal(history_open(&g->loop, g->dir, &g->history), 0);
    g->closed = false;
}

static void rig_close(struct rig *g)
{
    history_close(g->history, on_closed, g);
    while (!g->closed)
        uv_run(&g->loop, UV_RUN_ONCE);
}

static int setup(void **state)
{
    struct rig *g = calloc(1, sizeof *g);

    assert_int_equal(uv_loop_init(&g->loop), 0);
    strcpy(g->dir, "/tmp/rm-history-XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    snprintf(g->path, sizeof g->path, "%s/history.db", g->dir);
    rig_open(g);
    *state = g;
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".damaged"};
    struct rig *g = *state;
    char path[128];

    if (!g->closed)
        rig_close(g);
    assert_int_equal(uv_loop_close(&g->loop), 0);
    for (size_t i = 0; i < RM_COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", g->path, ends[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(g->dir), 0);
    free(g);
    return 0;
}

/* ---- asking ---- */

static void on_json(void *arg, int err, struct rm_slice json)
{
    struct rig *g = arg;

    g->answers++;
    g->err = err;
    assert_true(json.n < sizeof g->text);
    if (json.n > 0)
        memcpy(g->text, json.p, json.n);
    g->text[json.n] = '\0';
}

static void on_events(void *arg, int err, const struct recall_events *e, struct rm_slice frames)
{
    struct rig *g = arg;

    g->events = *e;
    on_json(g, err, frames);
}

static void wait_answer(struct rig *g)
{
    int before = g->answers;

    while (g->answers == before)
        uv_run(&g->loop, UV_RUN_ONCE);
}

static int ask_request(struct rig *g, const char *id, bool why)
{
    int r = recall_request(g->history, id, why, on_json, g);

    if (r < 0)
        return r;
    wait_answer(g);
    return g->err;
}

struct query {
    struct rig *rig;
    const char *sql;
};

static int number_run(struct sqlite3 *db, void *arg, struct rm_buf *out)
{
    const struct query *query = arg;
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db, query->sql, -1, &q, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        (void)rm_buf_printf(out, "%lld", (long long)sqlite3_column_int64(q, 0));
        rc = SQLITE_DONE;
    }
    sqlite3_finalize(q);
    return rc;
}

static void on_number(void *arg, int err, struct rm_slice text)
{
    on_json(((struct query *)arg)->rig, err, text);
}

/* The first column of the first row. */
static long number(struct rig *g, const char *sql)
{
    struct query query = {g, sql};
    struct history_read read = {number_run, on_number, &query};

    assert_int_equal(history_read(g->history, &read), 0);
    wait_answer(g);
    assert_int_equal(g->err, 0);
    return strtol(g->text, NULL, 10);
}

/* ---- rows ---- */

static const char *id_of(int64_t at_ms, unsigned n, char out[40])
{
    snprintf(out, 40, "req_%012" PRIx64 "%020x", (uint64_t)at_ms, n);
    return out;
}

/* One decision, made when the request began; why: its time. */
static int write_decision(const void *why, struct rm_buf *out)
{
    char at[RM_TIME_TEXT];

    return rm_buf_printf(out,
                         "[{\"at\":\"%s\",\"role\":\"ask\",\"node\":\"speed\",\"candidates\":[]}]",
                         rm_time_text(*(const int64_t *)why, at));
}

static void add(struct rig *g, int64_t at_ms, unsigned n)
{
    int64_t *why = malloc(sizeof *why);
    struct ops_done d = {.at_ms = at_ms,
                         .seq = n,
                         .status = 200,
                         .tries = 1,
                         .known = OPS_LEASED,
                         .prompt_tokens = n,
                         .rewrites = "[\"a token bound was lowered to the context\"]"};

    (void)id_of(at_ms, n, d.id);
    rm_text_copy(d.role, sizeof d.role, "ask");
    rm_text_copy(d.served, sizeof d.served, "ask");
    rm_text_copy(d.node, sizeof d.node, "speed");
    rm_text_copy(d.key, sizeof d.key, "k_0123456789");
    rm_text_copy(d.key_name, sizeof d.key_name, "a \"quoted\" name");
    rm_text_copy(d.dialect, sizeof d.dialect, "chat");
    rm_text_copy(d.outcome, sizeof d.outcome, "ok");
    assert_non_null(why);
    *why = at_ms;
    d.why = why;
    d.why_write = write_decision;
    history_add_request(g->history, &d);
}

static void a_request_is_recalled(void **state)
{
    struct rig *g = *state;
    int64_t now = rm_wall_ms();
    char id[40], want[300];

    for (unsigned i = 0; i < 3000; i++)
        add(g, now - DAY + i, i + 1);
    assert_int_equal(ask_request(g, id_of(now - DAY + 1234, 1235, id), false), 0);
    snprintf(want, sizeof want, "{\"id\":\"%s\",\"seq\":1235,\"at\":\"", id);
    assert_int_equal(strncmp(g->text, want, strlen(want)), 0);
    assert_non_null(strstr(g->text,
                           "\"state\":\"done\",\"key\":{\"id\":\"k_0123456789\",\"name\":\"a "
                           "\\\"quoted\\\" name\"},\"role\":\"ask\",\"served\":\"ask\","
                           "\"mode\":null,\"dialect\":\"chat\",\"node\":\"speed\""));
    assert_non_null(strstr(g->text, "\"queue_ms\":0,\"ttft_ms\":null,\"prompt_tokens\":1235,"));
    assert_non_null(strstr(g->text, "\"status\":200,\"outcome\":\"ok\",\"error\":null,"));
    assert_int_equal(ask_request(g, id, true), 0);
    assert_int_equal(strncmp(g->text, "{\"request\":{\"id\":\"req_", 22), 0);
    assert_non_null(strstr(g->text,
                           "\",\"role\":\"ask\",\"node\":\"speed\",\"candidates\":[]}],"
                           "\"rewrites\":[\"a token bound was lowered to the context\"]}"));
    /* right time, another one; right one, another time; nothing of ours */
    assert_int_equal(ask_request(g, id_of(now - DAY + 1234, 77777, id), false), RM_ERR_NOT_FOUND);
    assert_int_equal(ask_request(g, id_of(now, 1235, id), false), RM_ERR_NOT_FOUND);
    assert_int_equal(ask_request(g, "req_nobody", false), RM_ERR_NOT_FOUND);
    assert_int_equal(ask_request(g, "' OR 1=1", false), RM_ERR_NOT_FOUND);
    rig_close(g); /* and over a restart */
    rig_open(g);
    assert_int_equal(ask_request(g, id_of(now - DAY + 2999, 3000, id), false), 0);
}

/* A file of the version before ids carried the time: its rows stay, with what was known. */
static void an_older_file_is_taken_over(void **state)
{
    struct rig *g = *state;
    static const char *const odd[] = {"", "[", "{}", "[7]", "[{\"at\":null}]", "no"};
    int64_t at = rm_wall_ms() - 5000;
    char id[40], sql[1000];
    sqlite3 *db = NULL;

    rig_close(g);
    assert_int_equal(unlink(g->path), 0);
    assert_int_equal(sqlite3_open(g->path, &db), SQLITE_OK);
    snprintf(sql, sizeof sql,
             "CREATE TABLE request(id TEXT NOT NULL, at_ms INTEGER NOT NULL, key TEXT NOT NULL,"
             " role TEXT NOT NULL, served TEXT NOT NULL, mode TEXT NOT NULL, node TEXT NOT NULL,"
             " dialect TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL, error TEXT "
             "NOT NULL, tries INTEGER NOT NULL, queue_ms INTEGER NOT NULL, ttft_ms INTEGER NOT "
             "NULL, duration_ms INTEGER NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT "
             "NULL, completion INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT "
             "NULL, why TEXT NOT NULL); CREATE INDEX request_at ON request(at_ms);"
             "CREATE TABLE event(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, json TEXT NOT "
             "NULL); PRAGMA user_version=1");
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql,
             "INSERT INTO request VALUES('%s', %lld, '', 'ask', 'ask', '', 'speed', 'chat', 200, "
             "'ok', '', 1, 5, 6, 7, 8, 9, 10, 11, 12, '%s')",
             id_of(at, 1, id), (long long)at,
             "[{\"at\":\"2026-01-01T00:00:00.000Z\",\"role\":\"ask\",\"node\":\"speed\"}]");
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < RM_COUNT(odd); i++) {
        snprintf(sql, sizeof sql,
                 "INSERT INTO request VALUES('%s', 1, '', '', '', '', '', '', 200, 'ok', '', 1, 5, "
                 "6, 7, 8, 9, 10, 11, 12, '%s')",
                 id, odd[i]);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    rig_open(g);
    assert_int_equal(ask_request(g, id, false), 0);
    assert_non_null(strstr(g->text, "\"duration_ms\":7,\"queue_ms\":5,\"ttft_ms\":6,"));
    assert_non_null(strstr(g->text, "\"key\":null"));
    assert_int_equal(number(g, "SELECT count(*) FROM decision WHERE node = 'speed'"), 1);
    assert_int_equal(number(g, "SELECT count(*) FROM decision"), 1);
}

/* ---- retention ---- */

static void what_is_too_old_goes(void **state)
{
    struct rig *g = *state;
    int64_t now = rm_wall_ms();
    const struct sample s = {.node = "speed"};

    for (unsigned i = 0; i < 10; i++) { /* the first batch is swept */
        add(g, now - (HISTORY_DAYS + 1) * DAY + i, i + 1);
        add(g, now - (HISTORY_DAYS - 1) * DAY + i, i + 100);
        history_add_event(g->history, i + 1, now - (HISTORY_DAYS + 1) * DAY, "{}");
        history_add_event(g->history, i + 100, now - (HISTORY_DAYS - 1) * DAY, "{}");
        history_add_samples(g->history, &s, 1, now - (HISTORY_DAYS + 1) * DAY);
        history_add_samples(g->history, &s, 1, now - (HISTORY_DAYS - 1) * DAY + i);
    }
    assert_int_equal(number(g, "SELECT count(*) FROM request"), 10);
    assert_int_equal(number(g, "SELECT min(seq) FROM request"), 100);
    assert_int_equal(number(g, "SELECT count(*) FROM event"), 10);
    assert_int_equal(number(g, "SELECT min(id) FROM event"), 100);
    assert_int_equal(number(g, "SELECT count(*) FROM sample"), 10);
    assert_int_equal(number(g, "SELECT count(*) FROM decision d JOIN request r ON r.rowid = "
                               "d.request_row AND r.id = d.request"),
                     10);
    assert_int_equal(number(g, "SELECT count(*) FROM decision"), 10);
}

/* Swept again and again the file comes under its bound, from its oldest end, and does not grow. */
static void what_is_too_much_goes(void **state)
{
    enum { BOUND = 1024 * 1024 };
    struct rig *g = *state;
    int64_t now = rm_wall_ms(), before, after;
    sqlite3 *db = NULL;

    for (unsigned i = 0; i < 6000; i++)
        add(g, now - 6000 + i, i + 1);
    for (unsigned i = 0; i < 500; i++)
        history_add_event(g->history, i + 1, now, "{\"text\":\"something of some length\"}");
    assert_int_equal(number(g, "SELECT count(*) FROM request"), 6000);
    before = number(g, "PRAGMA page_count") * number(g, "PRAGMA page_size");
    assert_true(before > BOUND);
    rig_close(g);
    assert_int_equal(sqlite3_open(g->path, &db), SQLITE_OK);
    for (int i = 0; i < 60; i++)
        assert_int_equal(history_sweep(db, now, BOUND), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    rig_open(g);
    after = (number(g, "PRAGMA page_count") - number(g, "PRAGMA freelist_count")) *
            number(g, "PRAGMA page_size");
    assert_true(after <= BOUND / 4 * 3 && after > BOUND / 4);
    assert_int_equal(number(g, "SELECT max(seq) FROM request"), 6000); /* the newest stay */
    assert_int_equal(number(g, "SELECT max(seq) - min(seq) + 1 - count(*) FROM request"), 0);
    assert_int_equal(number(g, "SELECT max(id) FROM event"), 500);
    assert_true(number(g, "SELECT count(*) FROM decision") <=
                number(g, "SELECT count(*) FROM request") + 1);
    for (unsigned i = 0; i < 1000; i++) /* freed pages are used again */
        add(g, now + i, 7000 + i);
    assert_int_equal(number(g, "SELECT max(seq) FROM request"), 7999);
    assert_true(number(g, "PRAGMA page_count") * number(g, "PRAGMA page_size") <= before);
}

/* ---- events ---- */

static void events_are_replayed_in_steps(void **state)
{
    struct rig *g = *state;
    int64_t now = rm_wall_ms();
    uint64_t after = 5;
    unsigned n = 0, steps = 0;
    char json[64];

    for (unsigned i = 1; i <= 350; i++) {
        snprintf(json, sizeof json, "{\"id\":%u}", i);
        history_add_event(g->history, i, now, json);
    }
    do {
        assert_int_equal(recall_events(g->history, after, 340, on_events, g), 0);
        wait_answer(g);
        assert_int_equal(g->err, 0);
        assert_false(g->events.cut);
        assert_int_equal(g->events.last, after + g->events.n);
        snprintf(json, sizeof json, "id: %u\nevent: event\ndata: {\"id\":%u}\n\n",
                 (unsigned)after + 1, (unsigned)after + 1);
        assert_int_equal(strncmp(g->text, json, strlen(json)), 0);
        n += g->events.n;
        after = g->events.last;
        steps++;
    } while (g->events.more);
    assert_int_equal(n, 334); /* 6 to 339 */
    assert_int_equal(steps, 4);
    assert_int_equal(recall_events(g->history, 350, 400, on_events, g), 0);
    wait_answer(g);
    assert_true(g->events.n == 0 && !g->events.more && g->events.last == 0);
}

static void too_many_events_are_cut(void **state)
{
    struct rig *g = *state;
    int64_t now = rm_wall_ms();

    for (unsigned i = 1; i <= RECALL_EVENTS_MAX + 50; i++)
        history_add_event(g->history, i, now, "{}");
    assert_int_equal(recall_events(g->history, 10, UINT32_MAX, on_events, g), 0);
    wait_answer(g);
    assert_true(g->events.cut);
    assert_int_equal(strncmp(g->text, "id: 51\n", 7), 0);
}

/* Who asks when the gateway stops hears so. */
static void a_question_at_the_end(void **state)
{
    struct rig *g = *state;
    char id[40];

    assert_int_equal(recall_request(g->history, id_of(rm_wall_ms(), 1, id), false, on_json, g), 0);
    rig_close(g);
    assert_int_equal(g->answers, 1);
    assert_int_equal(g->err, RM_ERR_DRAINING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_is_recalled, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_file_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_too_old_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_too_much_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(events_are_replayed_in_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_events_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_question_at_the_end, setup, teardown),
    };

    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
