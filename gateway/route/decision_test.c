/* SPDX-License-Identifier: MIT */
/* gateway/route/decision_test.c - choices: by rows, and ten thousand random ones that are kept,
 * written as JSON, read again and made again with the same result. */
#include "gateway/route/decision.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <jansson.h>
#include <cmocka.h>

#include "proto/base/json_write.h"

static const struct row {
    const char *name;
    struct decision d;
    int chosen, pass;
} rows[] = {
    {"nobody", {.n = 0}, -1, 3},
    {"all are rejected", {.n = 1, .host = {{.node = "a", .reject = "full"}}}, -1, 3},
    {"the first of equals",
     {.prompt = 500,
      .n = 2,
      .host = {{.node = "a", .score = {.slots = 1}}, {.node = "b", .score = {.slots = 1}}}},
     0,
     0},
    {"the faster one",
     {.prompt = 500,
      .n = 2,
      .host = {{.node = "a", .score = {.slots = 1}},
               {.node = "b", .score = {.slots = 1, .prefill_tps = 900}}}},
     1,
     0},
    {"the one that is well, though slower",
     {.prompt = 500,
      .n = 2,
      .host = {{.node = "a", .failing = true, .score = {.slots = 1, .prefill_tps = 900}},
               {.node = "b", .score = {.slots = 1}}}},
     1,
     0},
    {"a failing one rather than an avoided one",
     {.prompt = 500,
      .n = 2,
      .host = {{.node = "a", .avoided = true, .score = {.slots = 1}},
               {.node = "b", .failing = true, .score = {.slots = 1}}}},
     1,
     1},
    {"an avoided one rather than none",
     {.prompt = 500,
      .n = 2,
      .host = {{.node = "a", .avoided = true, .failing = true, .score = {.slots = 1}},
               {.node = "b", .reject = "loading"}}},
     0,
     2},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct decision d = row->d;

    decision_choose(&d);
    assert_int_equal(d.chosen, row->chosen);
    assert_int_equal(d.pass, row->pass);
}

/* ---- kept and made again ---- */

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 11) % below);
}

static double real(double below)
{
    return rnd(4) == 0 ? 0 : below * (double)rnd(1000003) / 1000003;
}

static struct score_host any_facts(void)
{
    return (struct score_host){.slots = rnd(9),
                               .in_flight = rnd(9),
                               .queued = rnd(3),
                               .prefill_tps = real(5000),
                               .service_s = real(60),
                               .load_s = real(100),
                               .rtt_s = real(0.2),
                               .cached = rnd(3) > 0 ? 0 : rnd(100000),
                               .suspect = rnd(5) == 0};
}

static void any_decision(struct decision *d, char names[DECISION_MAX][NODE_NAME_MAX])
{
    *d = (struct decision){.prompt = rnd(200000), .n = rnd(rnd(3) > 0 ? 6 : DECISION_MAX + 1)};
    for (uint32_t i = 0; i < d->n; i++) {
        bool bad = rnd(6) == 0;

        snprintf(names[i], NODE_NAME_MAX, "node-%u \"%c\"", i, (char)('a' + rnd(26)));
        d->host[i] = (struct decision_host){.node = names[i],
                                            .reject = bad ? "loading" : NULL,
                                            .failing = rnd(4) == 0,
                                            .avoided = rnd(6) == 0};
        if (!bad && i > 0 && rnd(5) == 0 && d->host[i - 1].reject == NULL)
            d->host[i].score = d->host[i - 1].score; /* equals */
        else if (!bad)
            d->host[i].score = any_facts();
    }
}

static uint32_t whole(const json_t *o, const char *name)
{
    return (uint32_t)json_integer_value(json_object_get(o, name));
}

static double number(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

/* What was written, as inputs again. */
static void read_again(const json_t *o, struct decision *out)
{
    const json_t *all = json_object_get(o, "candidates"), *c;
    size_t i;

    *out = (struct decision){.prompt = whole(o, "prompt"), .n = (uint32_t)json_array_size(all)};
    json_array_foreach(all, i, c)
    {
        const json_t *f = json_object_get(c, "facts");

        out->host[i] = (struct decision_host){
            .node = json_string_value(json_object_get(c, "node")),
            .reject = json_string_value(json_object_get(c, "reject")),
            .failing = json_is_true(json_object_get(c, "failing")),
            .avoided = json_is_true(json_object_get(c, "avoided")),
            .score = {.slots = whole(f, "slots"),
                      .in_flight = whole(f, "in_flight"),
                      .queued = whole(f, "queued"),
                      .cached = whole(f, "cached"),
                      .prefill_tps = number(f, "prefill_tps"),
                      .service_s = number(f, "service_s"),
                      .load_s = number(f, "load_s"),
                      .rtt_s = number(f, "rtt_s"),
                      .suspect = json_is_true(json_object_get(f, "suspect"))}};
    }
}

static void same_choice(const struct decision *was, struct decision *again)
{
    decision_choose(again);
    assert_true(again->chosen >= 0);
    assert_string_equal(again->host[again->chosen].node, was->host[was->chosen].node);
    assert_int_equal(again->pass, was->pass);
    assert_memory_equal(&again->terms, &was->terms, sizeof was->terms);
}

static void made_again(void **state)
{
    static char names[DECISION_MAX][NODE_NAME_MAX];
    static struct decision_record kept;
    static struct decision d, again;
    uint32_t n = 0, cut = 0;
    struct rm_buf out;

    (void)state;
    rm_buf_init(&out, 1 << 20);
    for (seed = 88172645463325252u; n < 10000;) {
        struct rm_jw w;
        json_t *o;

        any_decision(&d, names);
        decision_choose(&d);
        if (d.chosen < 0)
            continue; /* nothing is kept of it */
        n++;
        decision_keep(&d, &kept);
        cut += kept.cut;
        decision_again(&kept, &again);
        same_choice(&d, &again);
        out.len = 0;
        w = rm_jw_to(&out);
        decision_write(&kept, NULL, &w);
        assert_int_equal(rm_jw_done(&w), 0);
        assert_non_null(o = json_loadb(out.data, out.len, 0, NULL));
        assert_string_equal(json_string_value(json_object_get(o, "node")), d.host[d.chosen].node);
        read_again(o, &again);
        same_choice(&d, &again);
        json_decref(o);
    }
    assert_true(cut > 1000);
    rm_buf_clear(&out);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest){"made again", made_again, NULL, NULL, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
