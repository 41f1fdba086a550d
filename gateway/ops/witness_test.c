/* SPDX-License-Identifier: MIT */
/* gateway/ops/witness_test.c - what is said when something changes: looks, one after the other, and
 * the events that each of them brings. */
#include "gateway/ops/witness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HOST(state, more) "{\"role\":\"ask\",\"node\":\"speed\",\"state\":\"" state "\"" more "}"
#define OTHER(role)       "{\"role\":\"" role "\",\"node\":\"speed\",\"state\":\"ready\"}"
#define NODE(health, boot, more, hosts)                                                            \
    "[{\"name\":\"speed\",\"host\":\"10.0.0.1\",\"port\":7070,\"health\":\"" health                \
    "\",\"last_error\":null,\"seen\":true,\"boot_id\":\"" boot "\",\"memory\":{" more              \
    "},\"hosts\":[" hosts "]}]"
#define UP(hosts) NODE("up", "b1", "\"refusing\":false", hosts)
#define MAP(at, outcome, revision)                                                                 \
    "{\"revision\":\"" revision "\",\"last_reload\":{\"at\":\"" at "\",\"by\":\"signal\","         \
    "\"outcome\":\"" outcome "\",\"error\":\"3 mistakes\"}}"
#define SAME MAP("t0", "applied", "0123456789abcdef")

struct look {
    const char *nodes, *shortfalls, *status, *map;
    uint64_t now_ms;
    const char *says; /* kinds and subjects of the events, in order */
};

static const struct story {
    const char *name;
    struct look look[5];
    const char *alarms; /* kinds, at the end */
} stories[] = {
    {"a host is loaded",
     {{UP(HOST("loading", "")), "[]", "{}", SAME, 1000, "node.up speed;host.loading ask@speed;"},
      {UP(HOST("warming", "")), "[]", "{}", SAME, 2000, "host.warming ask@speed;"},
      {UP(HOST("ready", "")), "[]", "{}", SAME, 3000, "host.ready ask@speed;"},
      {UP(HOST("busy", "")), "[]", "{}", SAME, 4000, ""},
      {UP(""), "[]", "{}", SAME, 5000, "host.gone ask@speed;"}},
     ""},
    {"a host fails and comes back",
     {{UP(HOST("ready", "")), "[]", "{}", SAME, 1000, "node.up speed;host.ready ask@speed;"},
      {UP(HOST("failed", ",\"last_error\":{\"cause\":\"oom\",\"text\":\"killed\"}")), "[]", "{}",
       SAME, 2000, "host.failed ask@speed;"},
      {UP(HOST("failed", ",\"last_error\":{\"cause\":\"oom\",\"text\":\"killed\"}")), "[]", "{}",
       SAME, 3000, ""},
      {UP(HOST("ready", ",\"restarts\":1")), "[]", "{}", SAME, 4000,
       "host.ready ask@speed;host.restarted ask@speed;host.failed.over ask@speed;"}},
     ""},
    {"a node goes: nothing is known of its hosts",
     {{UP(HOST("ready", "")), "[]", "{}", SAME, 1000, "node.up speed;host.ready ask@speed;"},
      {NODE("suspect", "b1", "", HOST("ready", "")), "[]", "{}", SAME, 2000, "node.suspect speed;"},
      {NODE("down", "b1", "", HOST("ready", "")), "[]", "{}", SAME, 3000, "node.down speed;"},
      {NODE("up", "b2", "", HOST("ready", "")), "[]", "{}", SAME, 4000,
       "node.up speed;node.restarted speed;node.down.over speed;"},
      {"[]", "[]", "{}", SAME, 5000, "host.gone ask@speed;node.gone speed;"}},
     ""},
    {"what is wrong stays an alarm",
     {{NODE("up", "b1", "\"refusing\":true",
            HOST("ready", ",\"drift\":true,\"notice\":\"new file\"")),
       "[{\"role\":\"big\",\"reason\":\"no room\",\"missing_bytes\":5}]",
       "{\"fenced\":true,\"draining\":true}", MAP("t0", "refused", ""), 1000,
       "node.up speed;node.memory speed;host.ready ask@speed;host.notice ask@speed;"
       "host.drift ask@speed;role.short big;map.refused gateway;gateway.fenced gateway;"
       "gateway.draining gateway;"}},
     "node.memory host.drift role.short map.refused gateway.fenced gateway.draining "},
    {"what operators drain is not forgotten",
     {{UP(HOST("ready", ",\"wanted\":null")), "[]", "{}", SAME, 1000,
       "node.up speed;host.ready ask@speed;"},
      {UP(HOST("ready", ",\"wanted\":\"drained\"")), "[]", "{}", SAME, 2000,
       "host.drained ask@speed;"},
      {UP(HOST("ready", ",\"wanted\":\"loaded\"")), "[]", "{}", SAME, 3000,
       "host.drained.over ask@speed;"},
      {"[{\"name\":\"speed\",\"health\":\"up\",\"seen\":true,\"drained\":true,\"hosts\":[]}]", "[]",
       "{}", SAME, 4000, "node.drained speed;host.gone ask@speed;"}},
     "node.drained "},
    {"hosts come in another order, and one between them goes",
     {{UP(OTHER("a") "," OTHER("b") "," OTHER("c")), "[]", "{}", SAME, 1000,
       "node.up speed;host.ready a@speed;host.ready b@speed;host.ready c@speed;"},
      {UP(OTHER("c") "," OTHER("a") "," OTHER("b")), "[]", "{}", SAME, 2000, ""},
      {UP(OTHER("c") "," OTHER("a")), "[]", "{}", SAME, 3000, "host.gone b@speed;"},
      {UP(OTHER("a") "," OTHER("d") "," OTHER("c")), "[]", "{}", SAME, 4000, "host.ready d@speed;"},
      {UP(OTHER("d")), "[]", "{}", SAME, 5000, "host.gone a@speed;host.gone c@speed;"}},
     ""},
    {"maps come and go",
     {{"[]", "[]", "{}", SAME, 1000, ""},
      {"[]", "[]", "{}", MAP("t1", "applied", "ffff"), 2000, "map.applied gateway;"},
      {"[]", "[]", "{}", MAP("t2", "refused", "ffff"), 3000, "map.refused gateway;"},
      {"[]", "[]", "{}", MAP("t3", "applied", "eeee"), 4000,
       "map.applied gateway;map.refused.over gateway;"}},
     ""},
    {"a node that has not spoken yet has its chance",
     {{"[{\"name\":\"speed\",\"health\":\"down\",\"seen\":false,\"hosts\":[]}]", "[]", "{}", SAME,
       1000, ""},
      {"[{\"name\":\"speed\",\"health\":\"down\",\"seen\":false,\"hosts\":[]}]", "[]", "{}", SAME,
       10000, ""},
      {"[{\"name\":\"speed\",\"health\":\"down\",\"seen\":false,\"hosts\":[]}]", "[]", "{}", SAME,
       11000, "node.down speed;"}},
     "node.down "},
};

static char said[4096];

static void on_event(void *arg, const struct event *e)
{
    size_t n = strlen(said);

    (void)arg;
    assert_true(e->text[0] != '\0');
    snprintf(said + n, sizeof said - n, "%s %s;", e->kind, e->subject);
}

static void run_story(void **state)
{
    const struct story *story = *state;
    struct witness *w;
    struct rm_buf out;
    char kinds[1024] = "", *at;

    assert_int_equal(witness_new(on_event, NULL, &w), 0);
    for (size_t i = 0; i < RM_COUNT(story->look) && story->look[i].nodes != NULL; i++) {
        const struct look *l = &story->look[i];
        const struct witness_facts facts = {rm_slice_of(l->nodes), rm_slice_of(l->shortfalls),
                                            rm_slice_of(l->status), rm_slice_of(l->map),
                                            RM_LIT("[]")};

        said[0] = '\0';
        witness_look(w, &facts, l->now_ms, 0);
        assert_string_equal(said, l->says);
    }
    rm_buf_init(&out, 65536);
    assert_int_equal(witness_write_alarms(w, &out), 0);
    for (at = out.data; (at = strstr(at, "\"kind\":\"")) != NULL; at++) {
        size_t n = strcspn(at + 8, "\"");

        snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds), "%.*s ", (int)n, at + 8);
    }
    assert_string_equal(kinds, story->alarms);
    rm_buf_clear(&out);
    witness_free(w);
}

#define PULL(id, state)                                                                            \
    "{\"node\":\"speed\",\"id\":\"p-" id "\",\"source\":\"hf:o/r:Q8\",\"state\":\"" state          \
    "\",\"bytes\":7,\"text\":\"why\",\"began\":\"" BEGAN "\"}"
#define BEGAN "2026-01-02T03:04:05.000Z"

static void pulls(void **state)
{
    static const struct {
        const char *nodes, *pulls, *says;
    } looks[] = {
        {"[]", "[]", ""},
        {UP(""), "[" PULL("1", "done") "," PULL("2", "running") "]",
         "node.up speed;"}, /* no news */
        {UP(""), "[" PULL("2", "verifying") "," PULL("1", "done") "]", ""},
        {UP(""), "[" PULL("3", "queued") "," PULL("2", "done") "]",
         "pull.begun speed;pull.done speed;"},
        {UP(""), "[" PULL("3", "failed") "," PULL("4", "done") "," PULL("5", "running") "]",
         "pull.failed speed;pull.begun speed;pull.done speed;pull.begun speed;"},
        {UP(""), "[" PULL("5", "cancelled") "]", "pull.cancelled speed;"},
        {UP(""), "[]", ""},
    };
    struct witness *w;

    (void)state;
    assert_int_equal(witness_new(on_event, NULL, &w), 0);
    for (size_t i = 0; i < RM_COUNT(looks); i++) {
        const struct witness_facts facts = {rm_slice_of(looks[i].nodes), RM_LIT("[]"), RM_LIT("{}"),
                                            rm_slice_of(SAME), rm_slice_of(looks[i].pulls)};

        said[0] = '\0';
        witness_look(w, &facts, 1000 * (i + 1), 1800000000000);
        assert_string_equal(said, looks[i].says);
    }
    witness_free(w);
}

/* One that was wished for before the node was first looked at, but not before we were there. */
static void a_pull_before_the_first_look(void **state)
{
    struct witness *w;

    (void)state;
    for (int64_t later = 0; later < 2; later++) {
        const struct witness_facts facts = {RM_LIT(UP("")), RM_LIT("[]"), RM_LIT("{}"),
                                            rm_slice_of(SAME), RM_LIT("[" PULL("1", "done") "]")};

        assert_int_equal(witness_new(on_event, NULL, &w), 0);
        said[0] = '\0';
        witness_look(w, &facts, 1000, 1767323045900 + later * 200);
        assert_string_equal(said, later ? "node.up speed;"
                                        : "node.up speed;pull.begun speed;pull.done speed;");
        witness_free(w);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(stories) + 2];

    tests[RM_COUNT(stories) + 1] =
        (struct CMUnitTest)cmocka_unit_test(a_pull_before_the_first_look);
    tests[RM_COUNT(stories)] = (struct CMUnitTest)cmocka_unit_test(pulls);
    for (size_t i = 0; i < RM_COUNT(stories); i++)
        tests[i] = (struct CMUnitTest){stories[i].name, run_story, NULL, NULL, (void *)&stories[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
