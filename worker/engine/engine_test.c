/* SPDX-License-Identifier: MIT */
/* worker/engine/engine_test.c - engine.c: addresses of attached engines, the core's state and the
 * lines of its ready pipe, by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "worker/engine/engine.h"

static const struct url_row {
    const char *name, *url;
    int err;
    const char *host; /* or the reason's beginning */
    int port;
    const char *base;
} urls[] = {
    {"loopback", "http://127.0.0.1:8081", 0, "127.0.0.1", 8081, ""},
    {"with a path", "http://localhost:8081/api/", 0, "localhost", 8081, "/api"},
    {"v6", "http://[::1]:9", 0, "::1", 9, ""},
    {"own address", "http://192.0.2.7:80/x/y", 0, "192.0.2.7", 80, "/x/y"},
    {"unix", "unix:/run/engine.sock", 0, "/run/engine.sock", 0, ""},
    {"another machine", "http://192.0.2.8:80", RM_ERR_CONF, "not an address of this node", 0, ""},
    {"a name", "http://engine.example:80", RM_ERR_CONF, "not an address of this node", 0, ""},
    {"metadata service", "http://169.254.169.254:80", RM_ERR_CONF, "not an address of this", 0, ""},
    {"user info", "http://127.0.0.1:1@192.0.2.8:80", RM_ERR_CONF, "only HOST:PORT", 0, ""},
    {"query", "http://127.0.0.1:80/?x", RM_ERR_CONF, "only HOST:PORT", 0, ""},
    {"https", "https://127.0.0.1:80", RM_ERR_CONF, "expected http://", 0, ""},
    {"no port", "http://127.0.0.1", RM_ERR_CONF, "expected HOST:PORT", 0, ""},
    {"port 0", "http://127.0.0.1:0", RM_ERR_CONF, "expected HOST:PORT", 0, ""},
    {"unix behind http", "http://unix:/x:1", RM_ERR_CONF, "expected HOST:PORT", 0, ""},
    {"empty", "", RM_ERR_CONF, "expected http://", 0, ""},
    {"no socket path", "unix:", RM_ERR_CONF, "no socket path", 0, ""},
};

static void run_url(void **state)
{
    static const char *const local[] = {"192.0.2.7", "fd00::7"};
    const struct url_row *row = *state;
    struct http_address a;
    char base[256], why[128] = "";

    assert_int_equal(engine_url_parse(row->url, local, RM_COUNT(local), &a, base, why), row->err);
    if (row->err == 0) {
        assert_string_equal(a.host, row->host);
        assert_int_equal(a.port, row->port);
        assert_string_equal(base, row->base);
    } else if (strncmp(why, row->host, strlen(row->host)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", why, row->host);
    }
}

static void long_urls(void **state)
{
    char url[700] = "http://127.0.0.1:80/", base[256], why[128];
    struct http_address a;

    (void)state;
    memset(url + strlen(url), 'a', 400);
    assert_int_equal(engine_url_parse(url, NULL, 0, &a, base, why), RM_ERR_CONF);
    memset(url + 7, '1', 690);
    assert_int_equal(engine_url_parse(url, NULL, 0, &a, base, why), RM_ERR_CONF);
}

static void core_state(void **state)
{
    struct engine_measure m = {.slots_total = 99};

    (void)state;
    assert_int_equal(
        engine_measure_decode(
            RM_LIT("{\"model\":{\"name\":\"m\"},\"version\":\"0.1.0\",\"context\":4096,"
                   "\"slots\":4,\"slots_busy\":2,\"queue\":1,\"prefill_tps\":812.5,"
                   "\"decode_tps\":-1,\"kv_used\":7,\"kv_total\":9,\"prompt_tokens\":"
                   "1,\"cached_tokens\":2,\"generated_tokens\":3}"),
            &m),
        0);
    assert_int_equal(m.context, 4096);
    assert_int_equal(m.slots_total, 4);
    assert_int_equal(m.slots_busy, 2);
    assert_int_equal(m.queue, 1);
    assert_true(m.prefill_tps == 812.5 && m.decode_tps == 0);
    assert_int_equal(m.kv_used, 7);
    assert_int_equal(m.kv_total, 9);
    assert_int_equal(m.generated_tokens, 3);
    assert_true(m.read_tokens == 0 && m.slot[0] == SLOT_NONE); /* a core that does not tell */
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":\"4\"}"), &m), RM_ERR_FIELD);
    assert_int_equal(engine_measure_decode(RM_LIT("[]"), &m), RM_ERR_FIELD);
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":4"), &m), RM_ERR_JSON);
    assert_int_equal(engine_measure_decode(RM_LIT(""), &m), RM_ERR_JSON);
    assert_int_equal(m.slots_total, 4); /* untouched by the failures */
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":99999999999}"), &m), 0);
    assert_true(m.slots_total == UINT32_MAX);
}

static void core_slots(void **state)
{
    struct engine_measure m;
    struct rm_buf b;

    (void)state;
    assert_int_equal(
        engine_measure_decode(RM_LIT("{\"slots\":4,\"read_tokens\":77,\"slot_states\":["
                                     "\"decode\",\"idle\",\"prefill\",7,\"odd\"]}"),
                              &m),
        0);
    assert_int_equal(m.read_tokens, 77);
    assert_memory_equal(
        m.slot,
        ((uint8_t[]){SLOT_DECODE, SLOT_IDLE, SLOT_PREFILL, SLOT_IDLE, SLOT_IDLE, SLOT_NONE}), 6);
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":1,\"slot_states\":{}}"), &m), 0);
    assert_int_equal(m.slot[0], SLOT_NONE);
    rm_buf_init(&b, 65536);
    rm_buf_puts(&b, "{\"slots\":99,\"slot_states\":[\"decode\"");
    for (int i = 1; i < 99; i++)
        rm_buf_puts(&b, ",\"decode\"");
    rm_buf_puts(&b, "]}");
    assert_int_equal(engine_measure_decode((struct rm_slice){b.data, b.len}, &m), 0);
    assert_int_equal(m.slot[NODE_SLOTS_MAX - 1], SLOT_DECODE);
    rm_buf_clear(&b);
}

/* What the ledger keeps: speeds by depth, the longest sequence, the build. */
static void core_state_for_the_ledger(void **state)
{
    struct engine_measure m;

    (void)state;
    assert_int_equal(
        engine_measure_decode(
            RM_LIT("{\"slots\":1,\"version\":\"0.1.0\",\"llama\":\"0.5\\u001b0\",\"kv_deepest\":77,"
                   "\"batch\":512,\"batch_most\":64,"
                   "\"depth\":[{\"from\":1024,\"prefill_tokens\":1,\"prefill_us\":2,"
                   "\"decode_tokens\":3,\"decode_us\":4},{\"from\":1000,\"decode_us\":9},"
                   "{\"prefill_us\":9},7,{\"from\":0,\"decode_us\":5},{\"from\":4096,"
                   "\"decode_us\":-5}]}"),
            &m),
        0);
    assert_int_equal(m.kv_deepest, 77);
    assert_int_equal(m.batch, 512);
    assert_int_equal(m.batch_most, 64);
    assert_string_equal(m.build, "0.1.0/0.5?0");
    assert_int_equal(m.speed[0].decode_us, 5);
    assert_int_equal(m.speed[0].prefill_us, 0);
    assert_int_equal(m.speed[1].prefill_tokens + 10 * m.speed[1].prefill_us +
                         100 * m.speed[1].decode_tokens + 1000 * m.speed[1].decode_us,
                     4321);
    assert_int_equal(m.speed[2].decode_us, 0);
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":1,\"version\":\"0.1.0\"}"), &m), 0);
    assert_string_equal(m.build, "");
    assert_int_equal(engine_measure_decode(RM_LIT("{\"slots\":1,\"version\":\"012345678901234567890"
                                                  "1234\",\"llama\":\"0123456789012345678901234567"
                                                  "\"}"),
                                           &m),
                     0);
    assert_string_equal(m.build, "01234567890123456789/012345678901234567890123");
}

static void saved(void **state)
{
    struct engine_saved s = {.tokens = 77};

    (void)state;
    assert_int_equal(engine_saved_decode(RM_LIT("{}"), &s), RM_ERR_FIELD);
    assert_int_equal(engine_saved_decode(RM_LIT("{\"saved\":1}"), &s), RM_ERR_FIELD);
    assert_int_equal(engine_saved_decode(RM_LIT("{\"saved\":true"), &s), RM_ERR_JSON);
    assert_int_equal(engine_saved_decode(RM_LIT(""), &s), RM_ERR_JSON);
    assert_int_equal(s.tokens, 77); /* untouched by the failures */
    assert_int_equal(
        engine_saved_decode(RM_LIT("{\"saved\":true,\"why\":\"a\\nb\",\"sequences\":2,\"of\":3,"
                                   "\"tokens\":4096,\"bytes\":123456,\"ms\":40,\"new\":1}"),
                            &s),
        0);
    assert_true(s.saved);
    assert_string_equal(s.why, "a?b");
    assert_int_equal(s.sequences, 2);
    assert_int_equal(s.tokens, 4096);
    assert_int_equal(s.bytes, 123456);
    assert_int_equal(s.ms, 40);
}

static const struct line_row {
    const char *line;
    int what;
    double progress;
    const char *text, *cause;
} lines[] = {
    {"{\"progress\":0.43}", READY_PROGRESS, 0.43, "", ""},
    {"{\"progress\":1}", READY_PROGRESS, 1, "", ""},
    {"{\"progress\":7}", READY_PROGRESS, 1, "", ""},
    {"{\"progress\":-7}", READY_PROGRESS, 0, "", ""},
    {"{\"progress\":\"x\"}", READY_OTHER, 0, "", ""},
    {"{\"ready\":true,\"context\":4096,\"slots\":4}", READY_DONE, 0, "", ""},
    {"{\"ready\":true,\"restored_tokens\":0,\"not_restored\":\"cut\"}", READY_DONE, 0, "cut", ""},
    {"{\"ready\":true,\"not_restored\":7}", READY_DONE, 0, "", ""},
    {"{\"ready\":1}", READY_OTHER, 0, "", ""},
    {"{\"error\":\"bad\\u001b magic\",\"cause\":\"load\"}", READY_ERROR, 0, "bad? magic", "load"},
    {"{\"error\":\"x\",\"cause\":7}", READY_ERROR, 0, "x", ""},
    {"{\"error\":\"x\",\"cause\":\"aaaaaaaaaaaaaaaaaaaaaaaa\"}", READY_ERROR, 0, "x",
     "aaaaaaaaaaaaaaa"},
    {"{\"something\":1}", READY_OTHER, 0, "", ""},
    {"ready", READY_OTHER, 0, "", ""},
    {"", READY_OTHER, 0, "", ""},
    {"[1]", READY_OTHER, 0, "", ""},
};

static void ready_lines(void **state)
{
    struct ready_line line;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(lines); i++) {
        ready_line_decode(rm_slice_of(lines[i].line), &line);
        if ((int)line.what != lines[i].what || line.progress != lines[i].progress ||
            strcmp(line.text, lines[i].text) != 0 || strcmp(line.cause, lines[i].cause) != 0)
            fail_msg("%s: %d %g \"%s\" \"%s\"", lines[i].line, (int)line.what, line.progress,
                     line.text, line.cause);
    }
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(long_urls),  cmocka_unit_test(core_state),
        cmocka_unit_test(core_slots), cmocka_unit_test(core_state_for_the_ledger),
        cmocka_unit_test(saved),      cmocka_unit_test(ready_lines)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(urls)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(urls); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){urls[i].name, run_url, NULL, NULL, (void *)&urls[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
