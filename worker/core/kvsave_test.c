/* SPDX-License-Identifier: MIT */
/* worker/core/kvsave_test.c - a decoder's KV memory to the disk and back, with a tiny model: what
 * is chosen, what is refused, what a next core finds. That the answers stay right is
 * equality_test.c's matter, the file's own accidents are kvfile_test.c's. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

#include "tests/support/models/models.h"
#include "worker/core/llama_env.h"
#include "worker/core/test_jobs.h"

enum { PROMPT = 600, MINUTE_MS = 60000 };
#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct kvplan_speeds always = {1e12, 1e12, 1}, never = {1, 1, 1e12};
static char model[512], path[540];
static struct test_job story;

/* One core: a decoder and its file. */
struct rig {
    struct decoder_conf conf;
    struct kvdisk_conf disk;
    struct decoder *d;
    struct kvdisk *k;
    struct kvsave_report restored;
};

static void rig_open(struct rig *g, uint32_t slots, const char *hash,
                     const struct kvplan_speeds *speeds)
{
    memset(g, 0, sizeof(*g));
    g->conf = (struct decoder_conf){
        .model_path = model, .context = 1024, .slots = slots, .batch = 64, .threads = 1};
    g->disk = (struct kvdisk_conf){.path = path,
                                   .model_hash = hash,
                                   .most_bytes = 1 << 30,
                                   .decoder = &g->conf,
                                   .speeds = speeds};
    assert_int_equal(kvdisk_open(&g->disk, &g->k), 0);
    g->d = test_open(&g->conf);
    g->restored = test_restore(g->d, g->k);
}

static void rig_close(struct rig *g)
{
    test_close(g->d);
    kvdisk_close(g->k);
}

/* A prompt of n tokens that begins like no other `id`; returns how many came from a cache. */
static uint32_t prompt(struct rig *g, int id, uint32_t n)
{
    int32_t tokens[1024] = {0};
    struct job_spec spec = test_greedy(tokens, n, 1);

    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(id * 37 + (int)i * 31) % 250;
    test_run(g->d, &spec, &story);
    assert_true(story.done);
    return story.cached;
}

static bool is_there(void)
{
    return access(path, F_OK) == 0;
}

/* ---- tests ---- */

static void kept_over_a_restart(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 2, HASH_A, &always);
    assert_false(g.restored.done);
    assert_string_equal(g.restored.why, "");
    assert_int_equal(prompt(&g, 1, PROMPT), 0);
    assert_int_equal(prompt(&g, 2, 300), 0);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_true(r.done);
    assert_int_equal(r.sequences, 2);
    assert_int_equal(r.tokens, PROMPT + 300);
    rig_close(&g);
    assert_true(is_there());
    rig_open(&g, 2, HASH_A, &always);
    assert_true(g.restored.done);
    assert_int_equal(g.restored.tokens, PROMPT + 300);
    assert_false(is_there()); /* it is read once */
    assert_int_equal(prompt(&g, 1, PROMPT + 100), PROMPT);
    assert_int_equal(prompt(&g, 2, 300), 299);
    rig_close(&g);
    rig_open(&g, 2, HASH_A, &always); /* ended without a save: as cold as ever */
    assert_false(g.restored.done);
    assert_int_equal(prompt(&g, 1, PROMPT), 0);
    rig_close(&g);
}

/* A core that has only restored still knows what a prompt costs. */
static void saved_again_without_a_prompt(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 2, HASH_A, NULL);
    prompt(&g, 1, PROMPT);
    g.disk.speeds = NULL;
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_true(r.speeds.write_bps > 0 && r.speeds.read_bps > 0 && r.speeds.prefill_tps > 0);
    rig_close(&g);
    if (!r.done) { /* this disk is slower than this model: nothing to go on with */
        assert_false(is_there());
        skip();
    }
    rig_open(&g, 2, HASH_A, NULL);
    assert_true(g.restored.done);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_true(r.speeds.prefill_tps > 0);
    rig_close(&g);
    unlink(path);
}

static void not_worth_it(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 1, HASH_A, &never);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_false(r.done);
    assert_string_equal(r.why, "nothing is cached");
    prompt(&g, 1, PROMPT);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_false(r.done);
    assert_string_equal(r.why, "reading the prompt again is faster");
    assert_int_equal(r.of, 1);
    assert_int_equal(r.bytes, 0);
    assert_false(is_there());
    rig_close(&g);
}

static void a_prefix_of_another_is_not_saved_twice(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 3, HASH_A, &always);
    prompt(&g, 1, 300);
    assert_int_equal(prompt(&g, 1, 700), 300); /* takes the first over */
    prompt(&g, 2, 200);
    assert_int_equal(prompt(&g, 1, 200), 199); /* less than half of it: a copy */
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_true(r.done);
    assert_int_equal(r.of, 3);
    assert_int_equal(r.sequences, 2);
    assert_int_equal(r.tokens, 900);
    rig_close(&g);
    rig_open(&g, 3, HASH_A, &always);
    assert_int_equal(prompt(&g, 1, 200), 199);
    assert_int_equal(prompt(&g, 2, 200), 199);
    rig_close(&g);
}

static void no_time(void **state)
{
    static const struct kvplan_speeds slow = {1000, 1e12, 1e-3};
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 1, HASH_A, &slow);
    prompt(&g, 1, PROMPT);
    r = test_save(g.d, g.k, 10);
    assert_false(r.done);
    assert_string_equal(r.why, "no time left");
    assert_false(is_there());
    rig_close(&g);
}

static void over_the_bound(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 1, HASH_A, &always);
    rig_close(&g);
    g.disk.most_bytes = 4096;
    assert_int_equal(kvdisk_open(&g.disk, &g.k), 0);
    g.d = test_open(&g.conf);
    test_restore(g.d, g.k);
    prompt(&g, 1, PROMPT);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_false(r.done);
    assert_string_equal(r.why, "over the size bound");
    rig_close(&g);
}

/* Saves a core's state for the tests below. */
static void save_one(const char *hash)
{
    struct rig g;

    rig_open(&g, 1, hash, &always);
    prompt(&g, 1, PROMPT);
    assert_true(test_save(g.d, g.k, MINUTE_MS).done);
    rig_close(&g);
    assert_true(is_there());
}

static void expect_cold(uint32_t slots, const char *hash, const char *why)
{
    struct rig g;

    rig_open(&g, slots, hash, &always);
    assert_false(g.restored.done);
    assert_string_equal(g.restored.why, why);
    assert_false(is_there());
    assert_int_equal(prompt(&g, 1, PROMPT), 0);
    rig_close(&g);
}

static void of_another_model_or_flags(void **state)
{
    (void)state;
    save_one(HASH_A);
    expect_cold(1, HASH_B, "the model is another one now");
    save_one(HASH_A);
    expect_cold(2, HASH_A, "it was made with other flags");
}

static void damaged_or_cut(void **state)
{
    struct stat st;
    FILE *f;

    (void)state;
    save_one(HASH_A);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    expect_cold(1, HASH_A, "it is cut short");
    save_one(HASH_A);
    assert_non_null(f = fopen(path, "r+"));
    fseek(f, 4000, SEEK_SET); /* within the state that libllama would get */
    fputs("garbage", f);
    fclose(f);
    expect_cold(1, HASH_A, "its checksum is wrong");
    assert_non_null(f = fopen(path, "w"));
    for (int i = 0; i < 10000; i++)
        fputs("garbage", f);
    fclose(f);
    chmod(path, 0600);
    expect_cold(1, HASH_A, "it is none of ours");
}

/* A file size limit stands for a full disk; what was saved before goes as well, for it is older
 * than what the core holds now. */
static void disk_full(void **state)
{
    struct rlimit old, few;
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 1, HASH_A, &always);
    prompt(&g, 1, PROMPT);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    few = (struct rlimit){8192, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &few);
    r = test_save(g.d, g.k, MINUTE_MS);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_false(r.done);
    assert_non_null(strstr(r.why, "not saved: "));
    assert_false(is_there());
    assert_int_equal(prompt(&g, 1, PROMPT + 1), PROMPT); /* the core goes on */
    rig_close(&g);
}

static void no_directory(void **state)
{
    struct kvsave_report r;
    struct rig g;

    (void)state;
    rig_open(&g, 1, HASH_A, NULL);
    rig_close(&g);
    g.disk.path = "/nowhere/at/all.kv";
    assert_int_equal(kvdisk_open(&g.disk, &g.k), 0);
    g.d = test_open(&g.conf);
    assert_false(test_restore(g.d, g.k).done);
    prompt(&g, 1, PROMPT);
    r = test_save(g.d, g.k, MINUTE_MS);
    assert_false(r.done);
    assert_non_null(strstr(r.why, "the disk cannot be used"));
    rig_close(&g);
}

/* Between two decode calls of a job that goes on: what was decoded by then is saved. */
static void saved_while_a_job_runs(void **state)
{
    int32_t tokens[PROMPT] = {0};
    struct job_spec spec = test_greedy(tokens, PROMPT, 200);
    struct kvsave_report r;
    struct rig g;

    (void)state;
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (37 + i * 31) % 250;
    rig_open(&g, 1, HASH_A, &always);
    assert_int_equal(test_submit(g.d, &spec, &story), 0);
    r = test_save(g.d, g.k, MINUTE_MS);
    test_until_done(g.d, &story);
    assert_true(story.done);
    rig_close(&g);
    rig_open(&g, 1, HASH_A, &always);
    assert_int_equal(g.restored.tokens, r.tokens);
    if (r.done && r.tokens < PROMPT)
        assert_int_equal(prompt(&g, 1, PROMPT), r.tokens);
    rig_close(&g);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_over_a_restart),
        cmocka_unit_test(saved_again_without_a_prompt),
        cmocka_unit_test(not_worth_it),
        cmocka_unit_test(a_prefix_of_another_is_not_saved_twice),
        cmocka_unit_test(no_time),
        cmocka_unit_test(over_the_bound),
        cmocka_unit_test(of_another_model_or_flags),
        cmocka_unit_test(damaged_or_cut),
        cmocka_unit_test(disk_full),
        cmocka_unit_test(no_directory),
        cmocka_unit_test(saved_while_a_job_runs),
    };
    char why[256];

    if (llama_env_init(why, sizeof(why)) < 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    models_make(model, sizeof(model), "kvsave", "llama", (const char *const[]){"seed=3", NULL});
    snprintf(path, sizeof(path), "%s.kv", model);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
