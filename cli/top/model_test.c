/* SPDX-License-Identifier: MIT */
/* cli/top/model_test.c - snapshots to rows, order, filter and selection, and what keys do. */
#include "cli/top/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define STATUS "\"status\":{\"version\":\"1\",\"uptime_ms\":1000,\"requests\":2,\"alarms\":[]}"
#define NODE(name, out, used)                                                                      \
    "{\"name\":\"" name "\",\"health\":\"up\",\"tokens_out_per_s\":" out                           \
    ",\"memory\":{\"total\":1000,\"available\":" used ",\"committed\":100,\"reserve\":50},"        \
    "\"hosts\":[{\"slots_busy\":1,\"slots_total\":2,\"queue\":3},{\"slots_busy\":1,"               \
    "\"slots_total\":4,\"queue\":0}]}"
#define REQUEST(id, state, tokens, age)                                                            \
    "{\"id\":\"" id "\",\"state\":\"" state                                                        \
    "\",\"role\":\"ask\",\"served\":\"ask\",\"node\":null,"                                        \
    "\"key\":null,\"completion_tokens\":" tokens ",\"age_ms\":" age ",\"prompt_tokens\":0,"        \
    "\"ttft_ms\":null,\"outcome\":null}"
#define SNAPSHOT(nodes, requests)                                                                  \
    "{" STATUS ",\"nodes\":{\"nodes\":[" nodes "],\"next\":null},\"roles\":{\"roles\":["           \
    "{\"name\":\"ask\",\"model\":\"m\",\"hosts_ready\":1,\"replicas\":1,\"in_flight\":0,"          \
    "\"waiting\":0}],\"next\":null},\"requests\":{\"requests\":[" requests "],\"next\":null}}"

static const char three_nodes[] =
    SNAPSHOT(NODE("b", "5", "400") "," NODE("a", "null", "900") "," NODE("c", "70", "100"), "");
static const char two_requests[] =
    SNAPSHOT(NODE("a", "5", "400"),
             REQUEST("r2", "running", "10", "1000") "," REQUEST(
                 "r1", "waiting", "0", "9000") "," REQUEST("r0", "done", "5", "99000"));
static const char later_requests[] =
    SNAPSHOT(NODE("a", "5", "400"),
             REQUEST("r3", "running", "0", "10") "," REQUEST("r2", "running", "60", "3000"));

static void take(struct top_model *m, const char *snapshot)
{
    assert_int_equal(top_model_snapshot(m, rm_slice_of(snapshot), 1), 0);
}

/* The keys of a pane in order, joined. */
static void assert_keys(const struct top_model *m, enum top_pane pane, const char *want)
{
    char got[256] = "";

    for (size_t i = 0; i < m->table[pane].n; i++) {
        strcat(got, i > 0 ? " " : "");
        strcat(got, m->table[pane].rows[i].key);
    }
    assert_string_equal(got, want);
}

/* ---- order: every column of every pane can be sorted by, either way ---- */

static const struct order_row {
    const char *name, *keys, *want;
} order_rows[] = {
    {"by name at first", "", "a b c"},
    {"turned round", "r", "c b a"},
    {"by memory: the fullest first", "ss", "c b a"},
    {"by tokens out: not known comes last", "sssssss", "c b a"},
    {"the same turned round: not known stays last", "sssssssr", "b c a"},
    {"backwards round the corner and on", "Ss", "a b c"},
    {"filter", "/c\n", "c"},
    {"filter of nothing", "/zzz\n", ""},
    {"filter given up", "/c\x1b", "a b c"},
    {"filter ended by Escape", "/c\n\x1b", "a b c"},
    {"filter corrected", "/cx\x7f\n", "c"},
    {"letters are letters while one types", "/j\n", ""},
};

static void run_order_row(void **state)
{
    const struct order_row *row = *state;
    struct top_model m;

    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, three_nodes);
    for (const char *k = row->keys; *k != '\0'; k++)
        assert_int_equal(top_model_key(&m, *k), TOP_NOTHING);
    assert_keys(&m, TOP_NODES, row->want);
    top_model_clear(&m);
}

static void every_column_sorts(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, two_requests);
    for (int pane = 0; pane < TOP_PANES; pane++) {
        size_t n;

        (void)top_columns((enum top_pane)pane, &n);
        assert_int_equal(top_model_key(&m, '1' + pane), TOP_NOTHING);
        for (size_t i = 0; i <= 2 * n; i++) {
            top_model_key(&m, i % 2 == 0 ? 's' : 'r');
            assert_int_equal(m.table[pane].n, pane == TOP_REQUESTS ? 2 : 1);
        }
    }
    top_model_clear(&m);
}

/* ---- cells ---- */

static void cells(void **state)
{
    struct top_model m;
    const struct top_row *row;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, three_nodes);
    row = &m.table[TOP_NODES].rows[1]; /* b */
    assert_string_equal(row->cell[0].text, "b");
    assert_string_equal(row->cell[1].text, "up");
    assert_string_equal(row->cell[2].text, "60%");
    assert_false(row->cell[4].known); /* no cpu_percent */
    assert_false(row->cell[5].known);
    assert_string_equal(row->cell[7].text, "5.0");
    assert_string_equal(row->cell[8].text, "2/6");
    assert_string_equal(row->cell[9].text, "3");
    assert_false(m.table[TOP_NODES].rows[0].cell[7].known); /* a: null */
    assert_true(row->bar.hosts > 0.09 && row->bar.hosts < 0.11);
    assert_true(row->bar.others > 0.49 && row->bar.others < 0.51);
    assert_true(row->bar.reserve > 0.04 && row->bar.reserve < 0.06);
    top_model_clear(&m);
}

static void rates(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, two_requests);
    assert_keys(&m, TOP_REQUESTS, "r1 r2"); /* the oldest first; r0 is over */
    assert_false(m.table[TOP_REQUESTS].rows[1].cell[7].known);
    take(&m, later_requests);
    assert_keys(&m, TOP_REQUESTS, "r2 r3");
    assert_true(m.table[TOP_REQUESTS].rows[0].cell[7].known);
    assert_string_equal(m.table[TOP_REQUESTS].rows[0].cell[7].text, "25"); /* 50 in 2 s */
    assert_false(m.table[TOP_REQUESTS].rows[1].cell[7].known);
    top_model_clear(&m);
}

static const struct figure_row {
    const char *name;
    const char *(*make)(double v, char out[TOP_FIGURE]);
    double v;
    const char *want;
} figure_rows[] = {
    {"no bytes", top_bytes, 0, "0B"},
    {"few bytes", top_bytes, 136, "136B"},
    {"kibibytes", top_bytes, 2048, "2K"},
    {"below zero", top_bytes, -5, "0B"},
    {"mebibytes", top_bytes, 512.0 * 1048576, "512M"},
    {"gibibytes", top_bytes, 6.25 * 1073741824, "6.2G"},
    {"many gibibytes", top_bytes, 112.4 * 1073741824, "112G"},
    {"beyond all", top_bytes, 1e40, "9999E"},
    {"milliseconds", top_time, 87, "87ms"},
    {"seconds", top_time, 4210, "4.2s"},
    {"minutes", top_time, 190000, "3m10s"},
    {"hours", top_time, 18120000, "5h02m"},
    {"days", top_time, 9e8, "10d"},
    {"no time", top_time, -1, "0ms"},
    {"no rate", top_rate, 0, "0"},
    {"slow", top_rate, 4.71, "4.7"},
    {"fast", top_rate, 132.4, "132"},
    {"very fast", top_rate, 12345, "12k"},
};

static void run_figure_row(void **state)
{
    const struct figure_row *row = *state;
    char text[TOP_FIGURE];

    assert_string_equal(row->make(row->v, text), row->want);
}

/* ---- selection ---- */

static void selection_stays(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, three_nodes);
    assert_string_equal(m.table[TOP_NODES].chosen, "a");
    top_model_key(&m, TOP_KEY_DOWN);
    assert_string_equal(m.table[TOP_NODES].chosen, "b");
    top_model_key(&m, 'r'); /* c b a */
    top_model_key(&m, TOP_KEY_DOWN);
    assert_string_equal(m.table[TOP_NODES].chosen, "a");
    take(&m, three_nodes);
    assert_string_equal(m.table[TOP_NODES].chosen, "a");
    assert_int_equal(m.table[TOP_NODES].at, 2);
    take(&m, SNAPSHOT(NODE("c", "1", "1") "," NODE("b", "1", "1"), "")); /* a has gone */
    assert_string_equal(m.table[TOP_NODES].chosen, "b");
    take(&m, SNAPSHOT("", "")); /* all have */
    assert_int_equal(m.table[TOP_NODES].n, 0);
    assert_int_equal(top_model_key(&m, TOP_KEY_DOWN), TOP_NOTHING);
    assert_int_equal(top_model_key(&m, TOP_KEY_ENTER), TOP_NOTHING);
    assert_int_equal(m.view, TOP_LIST);
    top_model_clear(&m);
}

static void selection_is_in_sight(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, three_nodes);
    top_model_fit(&m, TOP_NODES, 2);
    top_model_key(&m, 'G');
    assert_int_equal(m.table[TOP_NODES].first, 1);
    top_model_key(&m, 'g');
    assert_int_equal(m.table[TOP_NODES].first, 0);
    top_model_key(&m, TOP_KEY_PAGE_DOWN);
    top_model_key(&m, TOP_KEY_PAGE_DOWN);
    top_model_key(&m, TOP_KEY_PAGE_DOWN);
    assert_int_equal(m.table[TOP_NODES].at, 2);
    top_model_fit(&m, TOP_NODES, 10);
    assert_int_equal(m.table[TOP_NODES].first, 0);
    top_model_fit(&m, TOP_NODES, 0); /* no room at all */
    top_model_key(&m, 'k');
    top_model_clear(&m);
}

/* ---- what keys ask for ---- */

static void cancel_asks_first(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, two_requests);
    assert_int_equal(top_model_key(&m, 'c'), TOP_NOTHING); /* a node is chosen */
    assert_false(m.asks_cancel);
    assert_true(m.note[0] != '\0');
    top_model_key(&m, '3');
    assert_int_equal(top_model_key(&m, 'c'), TOP_NOTHING);
    assert_true(m.asks_cancel);
    assert_string_equal(m.target, "r1");
    assert_int_equal(top_model_key(&m, 'x'), TOP_NOTHING); /* anything but y */
    assert_false(m.asks_cancel);
    top_model_key(&m, 'c');
    assert_int_equal(top_model_key(&m, TOP_KEY_ENTER), TOP_NOTHING);
    top_model_key(&m, 'c');
    take(&m, later_requests); /* r1 has gone meanwhile: what was asked about stays */
    assert_int_equal(top_model_key(&m, 'y'), TOP_CANCEL);
    assert_string_equal(m.target, "r1");
    top_model_clear(&m);
}

static void look_closely(void **state)
{
    struct top_model m;
    size_t n;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, two_requests);
    assert_int_equal(top_model_key(&m, TOP_KEY_ENTER), TOP_NOTHING); /* a node: nothing to ask */
    assert_int_equal(m.view, TOP_DETAIL);
    assert_string_equal(m.lines.v[0], "node a");
    top_model_key(&m, TOP_KEY_ESCAPE);
    assert_int_equal(m.view, TOP_LIST);
    top_model_key(&m, '2');
    top_model_key(&m, TOP_KEY_ENTER);
    assert_string_equal(m.lines.v[0], "role ask");
    top_model_key(&m, TOP_KEY_ESCAPE);
    top_model_key(&m, '3');
    assert_int_equal(top_model_key(&m, TOP_KEY_ENTER), TOP_ASK_WHY);
    assert_string_equal(m.target, "r1");
    n = m.lines.n;
    top_model_why(&m, "another", json_object(), "");
    assert_int_equal(m.lines.n, n);
    top_model_why(&m, "r1",
                  json_loads("{\"request\":{},\"decisions\":[{\"at\":\"t\",\"node\":\"a\","
                             "\"role\":\"ask\",\"queue_ms\":7,\"prompt\":3,\"candidates\":["
                             "{\"node\":\"a\",\"chosen\":true,\"reject\":null,\"seconds\":"
                             "{\"total\":1.5}},{\"node\":\"b\",\"reject\":\"down\"}]}],"
                             "\"rewrites\":[\"model\"]}",
                             0, NULL),
                  "");
    assert_int_equal(m.lines.n, n + 4);
    assert_non_null(strstr(m.lines.v[n + 1], "1.500 s"));
    assert_non_null(strstr(m.lines.v[n + 2], "b: not taken: down"));
    take(&m, later_requests); /* r1 has gone: what was seen stays */
    assert_string_equal(m.lines.v[0], "request r1");
    assert_true(m.lines.n > 10);
    assert_int_equal(top_model_key(&m, 'c'), TOP_NOTHING);
    assert_int_equal(top_model_key(&m, 'y'), TOP_CANCEL);
    assert_int_equal(top_model_key(&m, 'q'), TOP_QUIT);
    top_model_clear(&m);
}

static void held(void **state)
{
    struct top_model m;

    (void)state;
    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, two_requests);
    top_model_key(&m, 'p');
    take(&m, later_requests);
    assert_keys(&m, TOP_REQUESTS, "r1 r2");
    top_model_key(&m, 'p');
    take(&m, later_requests);
    assert_keys(&m, TOP_REQUESTS, "r2 r3");
    top_model_key(&m, 'a');
    take(&m, two_requests);
    assert_keys(&m, TOP_REQUESTS, "r0 r1 r2");
    top_model_clear(&m);
}

/* ---- what comes damaged ---- */

static const struct bad_row {
    const char *name, *json;
    int want;
} bad_rows[] = {
    {"nothing", "", RM_ERR_JSON},
    {"no object", "[1]", RM_ERR_JSON},
    {"half of it", "{\"status\":{", RM_ERR_JSON},
    {"no status", "{\"nodes\":{}}", RM_ERR_JSON},
    {"a status alone", "{\"status\":{}}", 0},
    {"other types everywhere",
     "{\"status\":{\"alarms\":7,\"uptime_ms\":\"x\"},\"nodes\":{\"nodes\":[1,null,{\"name\":7,"
     "\"memory\":[],\"hosts\":{}},{}]},\"roles\":{\"roles\":[{\"loading\":1,\"ttft_ms\":3}]},"
     "\"requests\":{\"requests\":[{\"id\":null,\"key\":\"x\",\"age_ms\":\"y\"}]}}",
     0},
    {"figures beyond all",
     "{\"status\":{},\"nodes\":{\"nodes\":[{\"name\":\"a\",\"cpu_percent\":1e300,"
     "\"tokens_out_per_s\":1e300,\"memory\":{\"total\":1,\"available\":-1e300,\"committed\":1e300,"
     "\"reserve\":-1e300},\"hosts\":[{\"slots_busy\":1e300,\"slots_total\":-1e300,"
     "\"queue\":1e300}],\"rtt_ms\":1e300}]}}",
     0},
};

static void run_bad_row(void **state)
{
    const struct bad_row *row = *state;
    struct top_model m;

    assert_int_equal(top_model_init(&m, "here"), 0);
    take(&m, three_nodes);
    assert_int_equal(top_model_snapshot(&m, rm_slice_of(row->json), 2), row->want);
    for (int pane = 0; pane < TOP_PANES; pane++) {
        top_model_key(&m, '1' + pane);
        top_model_key(&m, TOP_KEY_ENTER);
        top_model_key(&m, TOP_KEY_ESCAPE);
    }
    top_model_event(&m, rm_slice_of(row->json));
    top_model_clear(&m);
}

#define ROWS(list, run)                                                                            \
    for (size_t i = 0; i < RM_COUNT(list); i++)                                                    \
        tests[n++] = (struct CMUnitTest)                                                           \
        {                                                                                          \
            list[i].name, run, NULL, NULL, (void *)&list[i]                                        \
        }

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(every_column_sorts),
        cmocka_unit_test(cells),
        cmocka_unit_test(rates),
        cmocka_unit_test(selection_stays),
        cmocka_unit_test(selection_is_in_sight),
        cmocka_unit_test(cancel_asks_first),
        cmocka_unit_test(look_closely),
        cmocka_unit_test(held),
    };
    struct CMUnitTest
        tests[RM_COUNT(order_rows) + RM_COUNT(figure_rows) + RM_COUNT(bad_rows) + RM_COUNT(single)];
    size_t n = 0;

    ROWS(order_rows, run_order_row);
    ROWS(figure_rows, run_figure_row);
    ROWS(bad_rows, run_bad_row);
    for (size_t i = 0; i < RM_COUNT(single); i++)
        tests[n++] = single[i];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
