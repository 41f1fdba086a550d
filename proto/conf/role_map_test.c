/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map_test.c - role maps through the header: every malformed one of
 * tests/data/role-maps.txt with all that must be said about it, good ones by their values, reloads.
 */
#include "proto/conf/role_map.h"

#include "proto/conf/keys.h"
#include "tests/support/cases/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define CASES "tests/data/role-maps.txt"

/* --- the case file -------------------------------------------------------------------------------
 */

static const struct case_macro macros[] = {
    {'V', "version: 1\\n"},
    {'N', "nodes: {n: {address: \"127.0.0.1:7070\"}}\\n"},
    {'M', "models: {m: {source: /m.gguf}}\\n"},
    {'R', "roles: {a: {model: m}}\\n"},
    {0, NULL},
};
static const struct case_notation notation = {macros, CASE_BODY_JSON};

struct map_case {
    char name[128];
    char *yaml, *mistakes; /* mistakes: one per line */
    size_t n_yaml;
};

static struct map_case *cases;
static size_t n_cases;

struct wanted {
    size_t index;
    char *text;
};

static void on_mistakes(void *arg, const struct case_variant *v)
{
    struct wanted *w = arg;
    size_t n;

    if (v->index == w->index || (v->n_choices == 0 && v->index == 0)) {
        free(w->text);
        w->text = case_bytes(v, &n);
    }
}

static void on_yaml(void *arg, const struct case_variant *v)
{
    const struct case_row *row = arg;
    struct wanted w = {v->index, NULL};
    struct map_case *c;

    case_expand(row->column[3], &notation, on_mistakes, &w);
    cases = realloc(cases, (n_cases + 1) * sizeof *cases);
    c = &cases[n_cases++];
    snprintf(c->name, sizeof c->name, "%s.%zu %s", row->column[0], v->index, row->column[1]);
    c->yaml = case_bytes(v, &c->n_yaml);
    c->mistakes = w.text;
}

/* "LINE:COLUMN: what; hint" of each, as the case file lists them. */
static char *said_of(const struct conf_report *report)
{
    struct rm_buf out;

    rm_buf_init(&out, 64 * 1024);
    for (unsigned i = 0; i < report->n; i++) {
        const struct conf_mistake *m = &report->mistakes[i];

        if (i > 0)
            rm_buf_puts(&out, "\n");
        if (m->at.line == 0)
            rm_buf_printf(&out, "FILE: ");
        else
            rm_buf_printf(&out, "%u:%u: ", m->at.line, m->at.col);
        rm_buf_printf(&out, "%s%s%s", m->what, m->hint != NULL ? "; " : "",
                      m->hint != NULL ? m->hint : "");
    }
    return rm_buf_take(&out);
}

static void test_case(void **state)
{
    const struct map_case *c = *state;
    struct conf_report report;
    struct role_map *map;
    char *said;

    assert_non_null(c->mistakes); /* as many alternatives as the YAML has, or none */
    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", c->yaml, c->n_yaml, &report, &map), RM_ERR_CONF);
    assert_null(map);
    assert_true(report.total > 0);
    said = said_of(&report);
    assert_string_equal(said, c->mistakes);
    free(said);
    conf_report_clear(&report);
}

/* --- helpers -------------------------------------------------------------------------------------
 */

#define WHOLE                                                                                      \
    "version: 1\nnodes: {n: {address: \"127.0.0.1:7070\"}}\nmodels: {m: {source: /m.gguf}}\n"

static struct role_map *good(const char *yaml)
{
    struct conf_report report;
    struct role_map *map = NULL;
    struct rm_buf out;

    conf_report_init(&report);
    rm_buf_init(&out, 64 * 1024);
    if (role_map_parse("t.yaml", yaml, strlen(yaml), &report, &map) != 0) {
        conf_report_text(&report, &out);
        fail_msg("%s", out.data != NULL ? out.data : "?");
    }
    conf_report_clear(&report);
    rm_buf_clear(&out);
    return map;
}

/* The lines as a person reads them. */
static char *lines_of(const char *yaml)
{
    struct conf_report report;
    struct role_map *map;
    struct rm_buf out;

    conf_report_init(&report);
    rm_buf_init(&out, 256 * 1024);
    assert_int_equal(role_map_parse("t.yaml", yaml, strlen(yaml), &report, &map), RM_ERR_CONF);
    assert_int_equal(conf_report_text(&report, &out), 0);
    conf_report_clear(&report);
    return rm_buf_take(&out);
}

static char *file_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = malloc(1 << 16);

    assert_non_null(f);
    assert_non_null(bytes);
    *n = fread(bytes, 1, (1 << 16) - 1, f);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

/* --- what is said, and how
 * ------------------------------------------------------------------------ */

static void lines_have_source_and_caret(void **state)
{
    char *said = lines_of(WHOLE "roles:\n  \xc3\xa4: {modle: m}\n  b: {model: m, sluts: 3}\n");

    (void)state;
    assert_string_equal(
        said, "t.yaml:5:3: error: '\xc3\xa4' is no name for a role; use up to 63 letters, digits, "
              "'-', '_' and '.'\n"
              "  \xc3\xa4: {modle: m}\n"
              "  ^\n"
              "t.yaml:6:17: error: unknown key 'sluts' in role 'b'; did you mean 'slots'?\n"
              "  b: {model: m, sluts: 3}\n"
              "                ^\n");
    free(said);
}

static void at_most_twenty_are_told(void **state)
{
    struct rm_buf yaml;
    char *said;
    unsigned carets = 0;

    (void)state;
    rm_buf_init(&yaml, 1 << 16);
    rm_buf_puts(&yaml, WHOLE "roles: {a: {model: m}}\n");
    for (int i = 0; i < 50; i++)
        rm_buf_printf(&yaml, "zebra%d: 1\n", i);
    said = lines_of(yaml.data);
    for (const char *p = said; (p = strstr(p, "^\n")) != NULL; p++)
        carets++;
    assert_int_equal(carets, CONF_MISTAKES_MAX);
    assert_non_null(strstr(said, "t.yaml: 30 more mistakes\n"));
    free(said);
    rm_buf_clear(&yaml);
}

/* None of these may show "hunter2", wherever the slip is. */
static const char *const secrets[] = {
    "api_key: hunter2\n",
    "roles: {a: {model: m, api-key: hunter2}}\n",
    "password: \"hunter2\n",
    "token: |\n  hunter2\n  \x01hunter2\n",
    "token:\n  - hunter2\n  -hunter2: [\n",
    "{secret:\nhunter2: x: y}\n",
    "auth: &hunter2 x\n",
    "auth: !hunter2 x\n",
    "auth: *hunter2\n",
    "secret hunter2\nx: 1\n  y: 2\n",
    "nodes: {n: {address: \"http://user:hunter2@host:1\"}}\n",
    "roles: {a: {model: m, engine: {kind: attach, url: \"http://u:hunter2@h:1\"}}}\n",
    "x: @\nclient_secret: hunter2 \xff\n",
    "PASSWORD = hunter2 \xff\n",
    "api_key: \"line one\nhunter2 \xff\"\n",
};

static void secrets_are_not_shown(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(secrets); i++) {
        char *said = lines_of(secrets[i]);

        if (strstr(said, "hunter2") != NULL)
            fail_msg("%s\nsaid:\n%s", secrets[i], said);
        free(said);
    }
}

static void json_has_the_same(void **state)
{
    const char *yaml = WHOLE "roles: {a: {modle: m}}\n";
    struct conf_report report;
    struct role_map *map;
    struct rm_buf out;

    (void)state;
    conf_report_init(&report);
    rm_buf_init(&out, 4096);
    assert_int_equal(role_map_parse("t.yaml", yaml, strlen(yaml), &report, &map), RM_ERR_CONF);
    assert_int_equal(conf_report_json(&report, &out), 0);
    assert_string_equal(
        out.data,
        "{\"file\":\"t.yaml\",\"ok\":false,\"mistakes\":[{\"line\":4,\"column\":13,"
        "\"what\":\"unknown key 'modle' in role 'a'\",\"hint\":\"did you mean 'model'?\"}],"
        "\"more\":0}\n");
    conf_report_clear(&report);
    rm_buf_clear(&out);
}

/* --- costs and limits
 * ------------------------------------------------------------------------------ */

/* What reading costs, in milliseconds of CPU. */
static double cost_of(const char *yaml, size_t n)
{
    struct conf_report report;
    struct role_map *map;
    clock_t start = clock();
    double ms;

    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", yaml, n, &report, &map), RM_ERR_CONF);
    ms = (double)(clock() - start) * 1000 / CLOCKS_PER_SEC;
    conf_report_clear(&report);
    return ms;
}

/* A nesting bomb costs raw libyaml seconds. The bound is twenty times what it should take, and far
 * below what it takes without the limit. */
static void nesting_bombs_are_cheap(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_cases; i++) {
        double ms;

        if (strncmp(cases[i].name, "Y21", 3) != 0)
            continue;
        ms = cost_of(cases[i].yaml, cases[i].n_yaml);
        print_message("%s: %.1f ms of CPU for %zu bytes\n", cases[i].name, ms, cases[i].n_yaml);
        assert_true(ms < 200);
    }
}

/* As much of `part` as a file may have, between a head and a tail. */
static const struct big_row {
    const char *head, *part, *tail;
    size_t times;
} big_rows[] = {
    {"", "%TAG !a! x\n", "---\na: b\n", 90000},
    {"x: {}\n...\n", "%FOO\n", "", 200000},
    {"a: [", "\n", "", 1000000},
    {"a: [", "a,", "]\n", 500000},
    {"a: \"", "a\n", "", 500000},
    {"a: {", "a: b, ", "}\n", 170000},
    {"", "#\n", "a: @\n", 500000},
    {"a:\n    b: c\n", "    c: d\n", "   e: f\n", 100000},
    {"a:\n", "  b\n", "    c: d\n", 250000},
    {"", "a", ": b: c\n", 1000000},
    {"a: ", "://", ": x: y\n", 300000},
    {"", "\n", "\tb: c\n", 1000000},
    {"", " token:", " x\n", 140000},
    {"", "\xff\n", "", 500000},
    {"version: 1\nmodels: {}\nnodes: {}\nroles: {a: {modes: [", "a,", "]}}\n", 9000},
};

static void big_files_are_cheap(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(big_rows); i++) {
        struct rm_buf yaml;
        double ms;

        rm_buf_init(&yaml, CONF_FILE_MAX);
        assert_int_equal(rm_buf_puts(&yaml, big_rows[i].head), 0);
        for (size_t k = 0; k < big_rows[i].times; k++)
            assert_int_equal(rm_buf_put(&yaml, big_rows[i].part, strlen(big_rows[i].part)), 0);
        assert_int_equal(rm_buf_puts(&yaml, big_rows[i].tail), 0);
        ms = cost_of(yaml.data, yaml.len);
        print_message("row %zu: %.1f ms of CPU for %zu bytes\n", i, ms, yaml.len);
        assert_true(ms < 2000); /* under a sanitizer too; the quadratic ways took tens of seconds */
        rm_buf_clear(&yaml);
    }
}

/* The most that the limits let through: every role with every list full of names that are not
 * there. */
static void full_map_is_cheap(void **state)
{
    struct rm_buf yaml;
    double ms;

    (void)state;
    rm_buf_init(&yaml, CONF_FILE_MAX);
    rm_buf_puts(&yaml, WHOLE "roles:\n");
    for (int role = 0; role < 256; role++) {
        rm_buf_printf(&yaml, "  r%d-%060d:\n    model: m%d\n    nodes: [", role, role, role);
        for (int k = 0; k < 30; k++)
            rm_buf_printf(&yaml, "n%d, ", k);
        rm_buf_puts(&yaml, "]\n    modes: [");
        for (int k = 0; k < 16; k++)
            rm_buf_printf(&yaml, "m%d-%d, ", role, k);
        rm_buf_puts(&yaml, "]\n    fallback: [");
        for (int k = 0; k < 16; k++)
            rm_buf_printf(&yaml, "r%d-%060d, ", (role + k + 1) % 256, (role + k + 1) % 256);
        rm_buf_puts(&yaml, "]\n");
    }
    ms = cost_of(yaml.data, yaml.len);
    print_message("full map: %.1f ms of CPU for %zu bytes\n", ms, yaml.len);
    assert_true(ms < 2000);
    rm_buf_clear(&yaml);
}

static void files_that_cannot_be_read(void **state)
{
    static const char *const paths[] = {"/nonexistent/map.yaml", "/", "/dev/zero", "/dev/null", ""};
    struct conf_report report;
    struct role_map *map;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(paths); i++) {
        conf_report_init(&report);
        assert_int_equal(role_map_load(paths[i], &report, &map), RM_ERR_CONF);
        assert_null(map);
        assert_int_equal(report.total, 1);
        assert_int_equal(report.mistakes[0].at.line, 0);
        conf_report_clear(&report);
    }
}

static void file_over_a_mebibyte(void **state)
{
    size_t n = (size_t)CONF_FILE_MAX + 1;
    char *bytes = malloc(n), *said;
    struct conf_report report;
    struct role_map *map;

    (void)state;
    assert_non_null(bytes);
    memset(bytes, '#', n);
    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", bytes, n, &report, &map), RM_ERR_CONF);
    said = said_of(&report);
    assert_string_equal(said, "FILE: is larger than 1048576 bytes");
    free(said);
    free(bytes);
    conf_report_clear(&report);
}

/* Cut anywhere, the example is a good map or has mistakes; never anything else. */
static void every_prefix_of_the_example(void **state)
{
    size_t n;
    char *bytes = file_bytes("configs/role-map.yaml", &n);

    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        char *part = malloc(cut + 1); /* its own block, so that a sanitizer sees a read past it */
        struct conf_report report;
        struct role_map *map;
        int r;

        assert_non_null(part);
        memcpy(part, bytes, cut);
        conf_report_init(&report);
        r = role_map_parse("t.yaml", part, cut, &report, &map);
        assert_true((r == 0 && map != NULL && report.total == 0) ||
                    (r == RM_ERR_CONF && map == NULL && report.total > 0));
        role_map_unref(map);
        conf_report_clear(&report);
        free(part);
    }
    free(bytes);
}

/* --- good maps
 * --------------------------------------------------------------------------------------- */

static void defaults_are_those_of_the_table(void **state)
{
    struct role_map *map = good(WHOLE "roles: {a: {model: m}}\n");
    const struct map_role *a = role_map_role(map, RM_LIT("a"));

    (void)state;
    assert_non_null(a);
    assert_int_equal(map->version, 1);
    assert_int_equal(map->gateway.listen.n, 1);
    assert_string_equal(map->gateway.listen.item[0].host, "127.0.0.1");
    assert_int_equal(map->gateway.listen.item[0].port, 8080);
    assert_int_equal(map->gateway.body_max_bytes, 64 << 20);
    assert_int_equal(map->gateway.log_level, RM_LOG_INFO);
    assert_int_equal(map->gateway.cors_origins.n, 0);
    assert_int_equal(map->nodes[0].reserve_bytes, 0); /* its worker decides */
    assert_int_equal(a->context, 8192);
    assert_int_equal(a->slots, 2);
    assert_int_equal(a->lane, MAP_LANE_INTERACTIVE);
    assert_int_equal(a->residency, MAP_RESIDENT);
    assert_int_equal(a->overcommit, MAP_OVERCOMMIT_NONE);
    assert_string_equal(map_overcommit_name(a->overcommit), "none");
    assert_int_equal(a->replicas, 1);
    assert_int_equal(a->threads, 0);
    assert_int_equal(a->gpu_layers, -1);
    assert_int_equal(a->queue_max, 64);
    assert_int_equal(a->queue_deadline_ms, 600000);
    assert_int_equal(a->engine.kind, MAP_ENGINE_CORE);
    assert_int_equal(a->modes.n, 1);
    assert_string_equal(a->modes.item[0], "a");
    assert_string_equal(a->model->path, "/m.gguf");
    role_map_unref(map);
}

static void example_has_what_it_says(void **state)
{
    struct conf_report report;
    struct role_map *map;
    const struct map_role *role;

    (void)state;
    conf_report_init(&report);
    assert_int_equal(role_map_load("configs/role-map.yaml", &report, &map), 0);
    assert_string_equal(map->file, "configs/role-map.yaml");
    role = role_map_mode(map, RM_LIT("debug"));
    assert_string_equal(role->name, "code");
    assert_int_equal(role->context, 64 * 1024);
    assert_int_equal(role->kv, MAP_KV_Q8_0);
    assert_int_equal(role->queue_deadline_ms, 120000);
    assert_string_equal(role->model->repo, "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF");
    assert_string_equal(role->model->quant, "Q8_0");
    role = role_map_role(map, RM_LIT("architect"));
    assert_int_equal(role->lane, MAP_LANE_BATCH);
    assert_int_equal(role->residency, MAP_ON_DEMAND);
    assert_true(map_role_allows(role, "reasoning"));
    assert_false(map_role_allows(role, "speed"));
    assert_false(map_role_allows(role_map_role(map, RM_LIT("autocomplete")), "reasoning"));
    role = role_map_role(map, RM_LIT("small"));
    assert_int_equal(role->engine.kind, MAP_ENGINE_ATTACH);
    assert_string_equal(role->engine.url, "http://127.0.0.1:11434");
    assert_string_equal(role->model->attached, "gemma3:12b");
    assert_string_equal(role_map_resolve(map, RM_LIT("think"))->name, "architect");
    assert_string_equal(role_map_resolve(map, RM_LIT("gpt-oss-20b"))->name, "ask");
    assert_null(role_map_resolve(map, RM_LIT("nobody")));
    assert_null(role_map_resolve(map, RM_LIT("")));
    assert_int_equal(role_map_node(map, RM_LIT("speed"))->address.port, 7070);
    role_map_unref(role_map_ref(map));
    role_map_unref(map);
    conf_report_clear(&report);
}

/* Is `key` written anywhere in the file as a key, outside comments? */
static bool example_shows(const char *bytes, const char *key)
{
    size_t n = strlen(key);
    bool comment = false;

    for (const char *p = bytes; *p != '\0'; p++) {
        comment = *p == '\n' ? false : comment || *p == '#';
        if (!comment && strncmp(p, key, n) == 0 && p[n] == ':' &&
            (p == bytes || strchr(" {\n", p[-1]) != NULL))
            return true;
    }
    return false;
}

static void examples_show_every_key(void **state)
{
    const struct {
        const char *file;
        const struct conf_table *const *tables;
    } files[] = {{"configs/role-map.yaml", role_map_tables()},
                 {"configs/worker.yaml", worker_conf_tables()}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(files); i++) {
        size_t n;
        char *bytes = file_bytes(files[i].file, &n);

        for (const struct conf_table *const *t = files[i].tables; *t != NULL; t++)
            for (const struct conf_key *k = (*t)->keys; k->key != NULL; k++)
                if (!example_shows(bytes, k->key))
                    fail_msg("%s does not show %s", files[i].file, k->key);
        free(bytes);
    }
}

static void tables_are_alphabetical_and_complete(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++)
        for (const struct conf_table *const *t = which ? worker_conf_tables() : role_map_tables();
             *t != NULL; t++)
            for (const struct conf_key *k = (*t)->keys; k->key != NULL; k++) {
                assert_non_null(k->help);
                assert_int_not_equal(k->effect, 0);
                assert_true(k == (*t)->keys || strcmp(k[-1].key, k->key) < 0);
            }
}

static const char *const fine[] = {
    "gateway: {listen: [\"0.0.0.0:0\", \"[::]:8080\"], listen_without_keys: true}\nroles: {a: "
    "{model: m}}\n",
    "gateway: {listen: [\"localhost:8080\", \"[::1]:8080\", \"127.9.9.9:1\"], cors_origins: "
    "[\"*\"]}\nroles: {a: {model: m}}\n",
    "roles: {a: {model: m, context: 1Mi, threads: 8, gpu_layers: 0, fallback: [b]}, b: {model: "
    "m}}\n",
    "roles: {\"1\": {model: m, modes: [x]}, A.b_c-9: {model: m, modes: [\"2\"]}}\n",
    "# comment: with \"quotes\xe2\x80\x9d and a \xc2\xa0\nroles: {a: {model: \"m\"}} # end",
};

static void good_ones_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(fine); i++) {
        char yaml[1024];

        snprintf(yaml, sizeof yaml, WHOLE "%s", fine[i]);
        role_map_unref(good(yaml));
    }
}

/* --- reload
 * --------------------------------------------------------------------------------------------- */

#define BASE(gateway, node, source, rest)                                                          \
    "version: 1\ngateway: {" gateway "}\nnodes: {n: {address: \"" node                             \
    "\"}}\nmodels: {m: {source: " source "}, x: {source: /x.gguf}}\nroles: {" rest "}\n"
#define PLAIN BASE("", "h:1", "/m.gguf", "a: {model: m}")

static const struct diff_row {
    const char *name, *from, *to, *told;
} diff_rows[] = {
    {"nothing", PLAIN, PLAIN, ""},
    {"gateway, live", PLAIN, BASE("queue_max: 5", "h:1", "/m.gguf", "a: {model: m}"),
     "0 ~gateway queue_max 1\n2 ~a queue_max 1\n"},
    {"gateway, restart", PLAIN,
     BASE("listen: [\"127.0.0.1:1\"]", "h:1", "/m.gguf", "a: {model: m}"), "0 ~gateway listen 8\n"},
    {"node moved", PLAIN, BASE("", "h:2", "/m.gguf", "a: {model: m}"), "1 ~n address 2\n"},
    {"another file behind the same name", PLAIN, BASE("", "h:1", "/n.gguf", "a: {model: m}"),
     "2 ~a model 4\n"},
    {"another model", PLAIN, BASE("", "h:1", "/m.gguf", "a: {model: x}"), "2 ~a model 4\n"},
    {"context and lane", PLAIN,
     BASE("", "h:1", "/m.gguf", "a: {model: m, context: 4Ki, lane: batch}"),
     "2 ~a context,lane 5\n"},
    {"live only", PLAIN, BASE("", "h:1", "/m.gguf", "a: {model: m, lane: batch, modes: [a, z]}"),
     "2 ~a lane,modes 1\n"},
    {"placement", PLAIN, BASE("", "h:1", "/m.gguf", "a: {model: m, nodes: [n]}"), "2 ~a nodes 2\n"},
    {"overcommit", PLAIN, BASE("", "h:1", "/m.gguf", "a: {model: m, overcommit: swap}"),
     "2 ~a overcommit 2\n"},
    {"overcommit, the default written out", PLAIN,
     BASE("", "h:1", "/m.gguf", "a: {model: m, overcommit: none}"), ""},
    {"a default written out", PLAIN,
     BASE("", "h:1", "/m.gguf", "a: {model: m, slots: 2, context: 8192}"), ""},
    {"role added and removed", PLAIN, BASE("", "h:1", "/m.gguf", "b: {model: m}"),
     "2 +b  2\n2 -a  2\n"},
    {"an edit to one role names no other",
     BASE("", "h:1", "/m.gguf", "a: {model: m}, b: {model: m}"),
     BASE("", "h:1", "/m.gguf", "a: {model: m}, b: {model: m, slots: 3}"), "2 ~b slots 4\n"},
    {"order does not matter", BASE("", "h:1", "/m.gguf", "a: {model: m}, b: {model: m}"),
     BASE("", "h:1", "/m.gguf", "b: {model: m}, a: {model: m}"), ""},
    {"engine",
     BASE("", "h:1", "\"attach:q\"", "a: {model: m, engine: {kind: attach, url: \"http://h:1\"}}"),
     BASE("", "h:1", "\"attach:q\"", "a: {model: m, engine: {kind: attach, url: \"http://h:2\"}}"),
     "2 ~a engine 4\n"},
};

static void on_change(void *arg, const struct map_change *c)
{
    rm_buf_printf(arg, "%d %c%s %s %u\n", c->subject, "+-~"[c->how], c -> name, c -> keys,
                  c -> effects);
}

static void diff_row(void **state)
{
    const struct diff_row *row = *state;
    struct role_map *from = good(row->from), *to = good(row->to);
    struct rm_buf told;

    rm_buf_init(&told, 4096);
    rm_buf_puts(&told, "");
    role_map_diff(from, to, on_change, &told);
    assert_string_equal(told.data, row->told);
    rm_buf_clear(&told);
    role_map_unref(from);
    role_map_unref(to);
}

/* --- all of them
 * ------------------------------------------------------------------------------------------ */

static const struct CMUnitTest others[] = {
    cmocka_unit_test(lines_have_source_and_caret),
    cmocka_unit_test(at_most_twenty_are_told),
    cmocka_unit_test(secrets_are_not_shown),
    cmocka_unit_test(json_has_the_same),
    cmocka_unit_test(nesting_bombs_are_cheap),
    cmocka_unit_test(big_files_are_cheap),
    cmocka_unit_test(full_map_is_cheap),
    cmocka_unit_test(files_that_cannot_be_read),
    cmocka_unit_test(file_over_a_mebibyte),
    cmocka_unit_test(every_prefix_of_the_example),
    cmocka_unit_test(defaults_are_those_of_the_table),
    cmocka_unit_test(example_has_what_it_says),
    cmocka_unit_test(examples_show_every_key),
    cmocka_unit_test(tables_are_alphabetical_and_complete),
    cmocka_unit_test(good_ones_pass),
};

int main(void)
{
    struct case_file file = case_file_load(CASES);
    struct CMUnitTest *tests;
    size_t n = 0;
    int r;

    for (size_t i = 0; i < file.n; i++)
        case_expand(file.rows[i].column[2], &notation, on_yaml, &file.rows[i]);
    tests = calloc(n_cases + RM_COUNT(diff_rows) + RM_COUNT(others), sizeof *tests);
    if (tests == NULL)
        return 1;
    for (size_t i = 0; i < n_cases; i++)
        tests[n++] = (struct CMUnitTest){cases[i].name, test_case, NULL, NULL, &cases[i]};
    for (size_t i = 0; i < RM_COUNT(diff_rows); i++)
        tests[n++] =
            (struct CMUnitTest){diff_rows[i].name, diff_row, NULL, NULL, (void *)&diff_rows[i]};
    for (size_t i = 0; i < RM_COUNT(others); i++)
        tests[n++] = others[i];
    r = _cmocka_run_group_tests("role maps", tests, n, NULL, NULL);
    for (size_t i = 0; i < n_cases; i++) {
        free(cases[i].yaml);
        free(cases[i].mistakes);
    }
    free(cases);
    free(tests);
    case_file_free(&file);
    return r;
}
