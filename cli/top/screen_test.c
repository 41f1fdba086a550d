/* SPDX-License-Identifier: MIT */
/* cli/top/screen_test.c - the picture in a grid: what can be read on screens of any size, and that
 * nothing which others wrote - names with control bytes, wide and turned letters, 500 bytes -
 * leaves its place. Runs in a UTF-8 locale. */
#include "cli/top/screen.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cli/text.h"
#include "proto/base/json_write.h"

enum { WIDTH_MAX = 300, HEIGHT_MAX = 120 };

/* One character of at most four bytes in a place; "" behind a wide one. */
struct grid {
    unsigned width, height;
    char place[HEIGHT_MAX][WIDTH_MAX][5];
};

static void grid_put(void *arg, unsigned y, unsigned x, enum top_tone tone, const char *text)
{
    struct grid *g = arg;

    assert_true(y < g->height);
    assert_true(tone < TONE_COUNT);
    assert_true(x + text_width(text) <= g->width);
    while (*text != '\0') {
        size_t n = rm_utf8_len(text, strlen(text));
        char one[5] = "";
        unsigned columns;

        assert_true(n > 0);
        assert_true((unsigned char)*text >= 0x20 && *text != 0x7f);
        memcpy(one, text, n);
        columns = text_width(one);
        assert_true(columns == 1 || columns == 2);
        memcpy(g->place[y][x], one, sizeof one);
        if (columns == 2)
            g->place[y][x + 1][0] = '\0';
        x += columns;
        text += n;
    }
}

static struct grid *draw(struct top_model *m, unsigned width, unsigned height)
{
    static struct grid g;
    struct top_canvas canvas = {width, height, grid_put, &g};

    g.width = width;
    g.height = height;
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x++)
            strcpy(g.place[y][x], " ");
    top_screen_draw(m, &canvas, 10000);
    return &g;
}

/* All lines as one text. */
static const char *text_of(const struct grid *g)
{
    static char text[HEIGHT_MAX * (WIDTH_MAX * 4 + 1) + 1];
    size_t n = 0;

    for (unsigned y = 0; y < g->height; y++) {
        for (unsigned x = 0; x < g->width; x++)
            n += (size_t)sprintf(text + n, "%s", g->place[y][x]);
        text[n++] = '\n';
    }
    text[n] = '\0';
    return text;
}

static const char snapshot[] =
    "{\"status\":{\"version\":\"0.1.0\",\"uptime_ms\":61000,\"requests\":1,\"alarms\":[]},"
    "\"nodes\":{\"nodes\":[{\"name\":\"speed\",\"health\":\"up\",\"cpu_percent\":12.5,"
    "\"gpu_percent\":null,\"tokens_in_per_s\":120.2,\"tokens_out_per_s\":47.6,\"rtt_ms\":0.4,"
    "\"path\":\"loopback\",\"memory\":{\"total\":137438953472,\"available\":68719476736,"
    "\"committed\":34359738368,\"others\":34359738368,\"reserve\":12884901888},\"hosts\":["
    "{\"role\":\"ask\",\"node\":\"speed\",\"state\":\"busy\",\"slots\":[\"decode\",\"prefill\","
    "\"idle\"],\"slots_busy\":2,\"slots_total\":3,\"weights_bytes\":1073741824,\"kv_bytes\":2048,"
    "\"kv_used_bytes\":0,\"queue\":1}]}]},"
    "\"roles\":{\"roles\":[{\"name\":\"ask\",\"model\":\"gpt-oss-20b\",\"hosts_ready\":1,"
    "\"replicas\":2,\"in_flight\":1,\"waiting\":0,\"ttft_ms\":{\"p50\":321,\"p95\":1,\"p99\":1},"
    "\"decode_tps\":null,\"requests\":17,\"errors\":1,\"lane\":\"interactive\"}]},"
    "\"requests\":{\"requests\":[{\"id\":\"req-1\",\"state\":\"running\",\"role\":\"ask\","
    "\"served\":\"ask\",\"node\":\"speed\",\"age_ms\":5200,\"prompt_tokens\":300,"
    "\"completion_tokens\":42,\"ttft_ms\":321,\"key\":{\"id\":\"k\",\"name\":\"anna\"}}]}}";

static void take(struct top_model *m, const char *json)
{
    assert_int_equal(top_model_init(m, "http://127.0.0.1:8080"), 0);
    assert_int_equal(top_model_snapshot(m, rm_slice_of(json), 9000), 0);
}

static const struct row {
    const char *name, *keys;
    unsigned width, height;
    const char *has[8];
} rows[] = {
    {"80 x 24",
     "",
     80,
     24,
     {"rolemesh top  127.0.0.1:8080  up 1m01s", "48", "speed", "2/3", "64G/128G", "req-1",
      "? help"}},
    {"wide shows all columns", "", 160, 24, {"loopback", "0.4ms", "interactive", "anna", "12%"}},
    {"narrow keeps the names", "", 30, 24, {"speed", "ask", "req-1"}},
    {"very narrow", "", 10, 10, {"speed", "rolemesh ~"}},
    {"low shows one pane", "", 80, 8, {"NODE", "speed"}},
    {"low shows the one in focus", "3", 80, 8, {"REQUEST", "req-1"}},
    {"too small", "", 9, 3, {"too small"}},
    {"help", "?", 80, 24, {"keys", "cancel the request", "q              quit"}},
    {"a node closely",
     "\n",
     80,
     40,
     {"weights 1.0G, KV 2K (0B used), compute -", "node speed", "ask@speed", "slots dp.",
      "of 128G"}},
    {"a role closely", "2\n", 80, 40, {"role ask", "gpt-oss-20b", "p50 321ms"}},
    {"a request closely", "3\n", 80, 40, {"request req-1", "why: asking", "anna"}},
    {"the question", "3c", 80, 24, {"cancel request req-1? y/n"}},
    {"a filter is seen while typed", "/spe", 80, 24, {"/spe_", "speed"}},
    {"a filter that leaves nothing", "/zz\n", 80, 24, {"the filter leaves nothing", "Esc ends it"}},
    {"the sorted column is marked", "sssssss", 120, 24, {"OUT/Sv"}},
    {"what is not known", "", 160, 24, {" -"}},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct top_model m;
    const char *text;

    take(&m, snapshot);
    for (const char *k = row->keys; *k != '\0'; k++)
        top_model_key(&m, *k);
    text = text_of(draw(&m, row->width, row->height));
    for (size_t i = 0; i < RM_COUNT(row->has) && row->has[i] != NULL; i++)
        if (strstr(text, row->has[i]) == NULL)
            fail_msg("no \"%s\" in\n%s", row->has[i], text);
    top_model_clear(&m);
}

/* ---- hostile names, in every field that is text, on every size ---- */

#define X20(s) s s s s s s s s s s s s s s s s s s s s

/* As they stand in JSON. */
static const char *const hostile[] = {
    "\\u001b[2J\\u001b]0;owned\\u0007",
    "\\u001b[31m",
    "\\u001b(0lqqk",
    "\\u001bc",
    "\\u001b[999;999H",
    "\\u001b[?1049l",
    "\\u001bP1;1|17/ab\\u001b\\\\",
    "\\u001b_apc\\u001b\\\\",
    "\\u001b]8;;http://x\\u0007link\\u001b]8;;\\u0007",
    "\\u001b]52;c;cm0gLXJm\\u0007",
    "line\\nfeed\\r\\ttab\\u0000nul",
    "\\n\\n\\n",
    "\\r\\r",
    "\\t\\t\\t\\t\\t\\t\\t\\t\\t\\t",
    "\\u0008\\u0008\\u0008",
    "\\u0007\\u000b\\u000c\\u000e\\u000f",
    "\\u007f\\u007f",
    "\\u202eright to left\\u2066",
    "\\u200e\\u200f\\u061c",
    "\\u2067\\u2069",
    "\\u05d0\\u05d1\\u05d2 \\u0627\\u0644",
    "\\ufeffmark",
    "\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b",
    "\\uff21\\uff22\\uff23",
    "e\\u0301e\\u0301\\u200b\\u200d",
    "a\\u0300\\u0301\\u0302\\u0303\\u0304\\u0305\\u0306\\u0307\\u0308",
    "\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00",
    "\\ud83d\\udc69\\u200d\\ud83d\\udcbb",
    "\\ud83c\\udde9\\ud83c\\uddea",
    "\\u2028\\u2029\\u0085",
    "\\u00a0\\u00ad\\u3000",
    "\\ufffd\\ufffe",
    "\\udb40\\udc41",
    "%s%n%d%100000d",
    "$(reboot)`id`",
    "<script>alert(1)</script>",
    "\\\"\\\\\\\"",
    "-rf --help",
    "",
    " ",
    "~",
    X20("0123456789abcdefghijklmno"),
    X20("\\u6a21\\u578b"),
    X20("\\u001b[31m"),
    "\\u009b31m\\u0080",
};

/* Puts a text in the place of each name. */
static void hostile_snapshot(const char *name, struct rm_buf *out)
{
    rm_buf_init(out, 1 << 20);
    assert_int_equal(
        rm_buf_printf(
            out,
            "{\"status\":{\"version\":\"%1$s\",\"uptime_ms\":1,\"requests\":1,\"alarms\":["
            "{\"severity\":\"error\",\"subject\":\"%1$s\",\"text\":\"%1$s\",\"next\":\"%1$s\"}]},"
            "\"nodes\":{\"nodes\":[{\"name\":\"%1$s\",\"health\":\"%1$s\",\"path\":\"%1$s\","
            "\"host\":\"%1$s\",\"version\":\"%1$s\",\"last_error\":\"%1$s\",\"memory\":{"
            "\"total\":5},\"hosts\":[{\"role\":\"%1$s\",\"node\":\"%1$s\",\"state\":\"%1$s\","
            "\"notice\":\"%1$s\",\"wanted\":\"%1$s\",\"slots\":[\"%1$s\"],\"last_error\":{"
            "\"cause\":\"%1$s\",\"text\":\"%1$s\"}}]}]},"
            "\"roles\":{\"roles\":[{\"name\":\"%1$s\",\"model\":\"%1$s\",\"lane\":\"%1$s\","
            "\"reason\":\"%1$s\",\"modes\":[\"%1$s\"],\"urls\":[\"%1$s\",\"%1$s\"],\"loading\":{"
            "\"state\":\"%1$s\",\"node\":\"%1$s\",\"progress\":0.5}}]},"
            "\"requests\":{\"requests\":[{\"id\":\"%1$s\",\"state\":\"running\",\"role\":\"%1$s\","
            "\"served\":\"x%1$s\",\"node\":\"%1$s\",\"key\":{\"name\":\"%1$s\"},\"dialect\":"
            "\"%1$s\",\"mode\":\"%1$s\",\"error\":\"%1$s\",\"at\":\"%1$s\",\"outcome\":\"%1$s\"}]}"
            "}",
            name),
        0);
}

static void run_hostile(void **state)
{
    static const unsigned sizes[][2] = {{80, 24}, {200, 60}, {40, 12}, {20, 9}, {10, 4},
                                        {11, 5},  {300, 9},  {1, 1},   {5, 50}, {33, 100}};
    const char *name = *state;
    struct rm_buf json;
    struct top_model m;

    hostile_snapshot(name, &json);
    assert_int_equal(top_model_init(&m, "http://\x1b[31m"), 0);
    if (top_model_snapshot(&m, (struct rm_slice){json.data, json.len}, 1) < 0)
        assert_non_null(strstr(name, "\\u0000")); /* the reader refuses a NUL: nothing is shown */
    top_model_event(&m, (struct rm_slice){json.data, json.len});
    for (size_t i = 0; i < RM_COUNT(sizes); i++)
        for (int pane = 0; pane < TOP_PANES; pane++) {
            top_model_key(&m, '1' + pane);
            draw(&m, sizes[i][0], sizes[i][1]);
            top_model_key(&m, TOP_KEY_ENTER);
            draw(&m, sizes[i][0], sizes[i][1]);
            top_model_key(&m, 'c');
            draw(&m, sizes[i][0], sizes[i][1]);
            top_model_key(&m, 'n');
            top_model_lost(&m, "\x1b[31mlost");
            draw(&m, sizes[i][0], sizes[i][1]);
            top_model_key(&m, TOP_KEY_ESCAPE);
        }
    rm_buf_clear(&json);
    top_model_clear(&m);
}

/* ---- columns and lines are shared out for every size ---- */

static void share(void **state)
{
    (void)state;
    for (int pane = 0; pane < TOP_PANES; pane++)
        for (unsigned width = 1; width < 250; width++) {
            unsigned out[TOP_COLUMNS_MAX] = {0}, sum = 0;
            size_t n;

            (void)top_columns((enum top_pane)pane, &n);
            top_screen_share((enum top_pane)pane, width, out);
            for (size_t i = 0; i < n; i++)
                sum += out[i] > 0 ? out[i] + (i > 0) : 0;
            assert_true(out[0] > 0);
            assert_true(sum <= width);
        }
}

static void lost_line(void **state)
{
    struct top_model m;
    const char *text;

    (void)state;
    take(&m, snapshot);
    top_model_lost(&m, "http://127.0.0.1:8080: connection refused");
    text = text_of(draw(&m, 80, 24));
    assert_non_null(strstr(text, "connection refused; trying again"));
    assert_non_null(strstr(text, "1.0s old"));
    assert_non_null(strstr(text, "speed")); /* what was last known stays */
    top_model_clear(&m);
}

/* Ids begin alike: where there is no room their ends are seen. */
static void ids_are_cut_in_front(void **state)
{
    struct top_model m;

    (void)state;
    take(&m, "{\"status\":{},\"requests\":{\"requests\":[{\"id\":\"req_01a1ff48aaaac11038f836ac\","
             "\"state\":\"running\"}]}}");
    assert_non_null(strstr(text_of(draw(&m, 80, 24)), "38f836ac "));
    assert_null(strstr(text_of(draw(&m, 80, 24)), "req_01"));
    assert_non_null(strstr(text_of(draw(&m, 160, 24)), "req_01a1ff48aaaac11038f836ac "));
    top_model_clear(&m);
}

static void alarm_line(void **state)
{
    struct top_model m;

    (void)state;
    take(&m,
         "{\"status\":{\"alarms\":[{\"severity\":\"warning\",\"subject\":\"a\",\"text\":\"b\","
         "\"next\":null},{\"severity\":\"error\",\"subject\":\"speed\",\"text\":\"speed is down\","
         "\"next\":\"look there\"}]}}");
    assert_non_null(strstr(text_of(draw(&m, 80, 24)), "2 alarms: speed is down; look there"));
    top_model_clear(&m);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(hostile) + 4];
    size_t n = 0;

    if (setlocale(LC_ALL, "C.UTF-8") == NULL) {
        fputs("no locale C.UTF-8\n", stderr);
        return 2;
    }
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(hostile); i++)
        tests[n++] =
            (struct CMUnitTest){hostile[i], run_hostile, NULL, NULL, (void *)(uintptr_t)hostile[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(share);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(lost_line);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(alarm_line);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(ids_are_cut_in_front);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
