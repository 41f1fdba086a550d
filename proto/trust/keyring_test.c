/* SPDX-License-Identifier: MIT */
/* proto/trust/keyring_test.c - keys in memory and in their files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/file.h"
#include "proto/conf/role_map.h"
#include "proto/trust/keyring.h"

enum { NOW = 1700000000 };

static char dir[] = "/tmp/keyring_test.XXXXXX";
static char why[KEYRING_WHY_MAX];

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static void put_file(const char *name, const char *bytes, size_t n, mode_t mode)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(rm_file_replace(path, (struct rm_slice){bytes, n}, mode), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int remove_files(void **state)
{
    static const char *const names[] = {"keys.json", "keys.secret", "keys.lock"};
    char path[256];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return 0;
}

static int remove_dir(void **state)
{
    remove_files(state);
    return rmdir(dir);
}

struct adding {
    struct api_key want;
    char text[API_KEY_TEXT + 1];
};

static int add(void *arg, struct keyring *k)
{
    struct adding *a = arg;

    return keyring_add(k, &a->want, NOW, a->text);
}

static struct adding added(const char *name)
{
    struct adding a = {.want = {.admin = false}};

    snprintf(a.want.name, sizeof a.want.name, "%s", name);
    assert_int_equal(keyring_change(dir, add, &a, why), 0);
    return a;
}

static const char *find(const struct keyring *k, const char *text, uint64_t now_s,
                        const struct api_key **out)
{
    const char *what = "";

    return keyring_find(k, rm_slice_of(text), now_s, out, &what) == 0 ? "" : what;
}

static void what_was_added_is_found_again(void **state)
{
    struct adding a = {.want = {.name = "laptop",
                                .admin = true,
                                .n_roles = 2,
                                .roles = {"code", "ask"},
                                .lanes = 1u << MAP_LANE_BATCH,
                                .expires_s = NOW + 10,
                                .requests_per_min = 60,
                                .concurrency = 4,
                                .tokens_per_min = 100000,
                                .tokens_per_day = 5000000}};
    const struct api_key *key;
    struct keyring k;
    char other[API_KEY_TEXT + 1];
    struct stat st;
    char path[256];

    (void)state;
    assert_int_equal(keyring_load(dir, &k, why), 0);
    assert_int_equal(k.n, 0);
    assert_string_equal(find(&k, "", NOW, &key), "an API key is needed");
    keyring_clear(&k);

    assert_int_equal(keyring_change(dir, add, &a, why), 0);
    assert_int_equal(keyring_load(dir, &k, why), 0);
    assert_string_equal(find(&k, a.text, NOW, &key), "");
    assert_string_equal(key->name, "laptop");
    assert_true(key->admin);
    assert_int_equal(key->n_roles, 2);
    assert_string_equal(key->roles[1], "ask");
    assert_int_equal(key->lanes, 1u << MAP_LANE_BATCH);
    assert_int_equal(key->created_s, NOW);
    assert_int_equal(key->requests_per_min, 60);
    assert_int_equal(key->concurrency, 4);
    assert_int_equal(key->tokens_per_min, 100000);
    assert_int_equal(key->tokens_per_day, 5000000);
    assert_true(api_key_allows(key, "ask", MAP_LANE_BATCH));
    assert_false(api_key_allows(key, "ask", MAP_LANE_INTERACTIVE));
    assert_false(api_key_allows(key, "architect", MAP_LANE_BATCH));

    api_key_make(other);
    assert_string_equal(find(&k, other, NOW, &key), "the API key is not known");
    assert_string_equal(find(&k, "sk-foreign", NOW, &key),
                        "that is not an API key of this gateway");
    a.text[20] ^= 1;
    assert_string_equal(find(&k, a.text, NOW, &key), "the API key is mistyped or cut short");
    a.text[20] ^= 1;
    assert_string_equal(find(&k, a.text, NOW + 10, &key), "the API key has expired");
    assert_null(key);
    keyring_named(&k, "laptop")->revoked_s = NOW;
    assert_string_equal(find(&k, a.text, NOW, &key), "the API key was revoked");
    keyring_clear(&k);

    snprintf(path, sizeof path, "%s/keys.json", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* Neither the key nor its random bytes are in any file. */
static void the_key_itself_is_not_kept(void **state)
{
    struct adding a = added("canary");
    struct rm_buf b;
    char path[256];

    (void)state;
    rm_buf_init(&b, 1 << 20);
    snprintf(path, sizeof path, "%s/keys.json", dir);
    assert_int_equal(rm_file_read(path, &b), 0);
    snprintf(path, sizeof path, "%s/keys.secret", dir);
    assert_int_equal(rm_file_read(path, &b), 0);
    for (size_t i = 3; i + 8 <= API_KEY_TEXT; i++)
        assert_null(memmem(b.data, b.len, a.text + i, 8));
    rm_buf_clear(&b);
}

static void names_are_taken_once(void **state)
{
    struct adding a = added("one");
    struct keyring k;

    (void)state;
    assert_int_equal(keyring_change(dir, add, &a, why), RM_ERR_FIELD);
    a.want.name[0] = '\0';
    assert_int_equal(keyring_change(dir, add, &a, why), RM_ERR_FIELD);
    assert_int_equal(keyring_load(dir, &k, why), 0);
    assert_int_equal(k.n, 1);
    keyring_clear(&k);
}

/* Each process adds ten: with the lock none is lost. */
static void writers_do_not_lose_each_others_keys(void **state)
{
    enum { WRITERS = 4, EACH = 10 };
    pid_t pids[WRITERS];
    struct keyring k;

    (void)state;
    for (int w = 0; w < WRITERS; w++)
        if ((pids[w] = fork()) == 0) {
            int bad = 0;

            for (int i = 0; i < EACH; i++) {
                struct adding a = {.want = {.admin = false}};

                snprintf(a.want.name, sizeof a.want.name, "w%d-%d", w, i);
                bad |= keyring_change(dir, add, &a, why) != 0;
            }
            _exit(bad);
        }
    for (int w = 0; w < WRITERS; w++) {
        int status = -1;

        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(keyring_load(dir, &k, why), 0);
    assert_int_equal(k.n, WRITERS * EACH);
    keyring_clear(&k);
}

#define HEX64     "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ONE(rest) "{\"version\":1,\"keys\":[{\"id\":\"k_0\",\"name\":\"n\"" rest "}]}"

static const struct bad_row {
    const char *name, *json, *why;
} bad_rows[] = {
    {"no JSON", "{", "keys.json: damaged: "},
    {"another version", "{\"version\":2,\"keys\":[]}", "written by another version of rolemesh"},
    {"no list", "{\"version\":1}", "keys: expected a list of at most 1000"},
    {"not an object", "{\"version\":1,\"keys\":[7]}", "key 1: a key must be an object"},
    {"no hash", ONE(""), "key 1: hash: expected 64 hex digits"},
    {"short hash", ONE(",\"hash\":\"00\""), "key 1: hash: expected 64 hex digits"},
    {"a limit from the future", ONE(",\"hash\":\"" HEX64 "\",\"dollars\":1"),
     "key 1: dollars: not known to this version"},
    {"lane", ONE(",\"hash\":\"" HEX64 "\",\"lanes\":[\"fast\"]"), "key 1: lanes: expected"},
    {"roles", ONE(",\"hash\":\"" HEX64 "\",\"roles\":\"code\""), "key 1: roles: expected"},
    {"name too long", "{\"version\":1,\"keys\":[{\"id\":\"k_0123456789abcdef\",\"name\":\"n\"}]}",
     "key 1: id"},
};

static void a_damaged_list_is_refused_and_kept(void **state)
{
    const struct bad_row *row = *state;
    static const char secret[API_KEY_SECRET];
    struct rm_buf b;
    struct keyring k;
    char path[256];

    remove_files(NULL);
    put_file("keys.secret", secret, sizeof secret, 0600);
    put_file("keys.json", row->json, strlen(row->json), 0600);
    assert_int_equal(keyring_load(dir, &k, why), RM_ERR_CONF);
    if (strstr(why, row->why) == NULL)
        fail_msg("said: %s", why);
    struct adding a = {.want = {.name = "x"}};
    assert_int_equal(keyring_change(dir, add, &a, why), RM_ERR_CONF);
    rm_buf_init(&b, 4096);
    snprintf(path, sizeof path, "%s/keys.json", dir);
    assert_int_equal(rm_file_read(path, &b), 0);
    assert_string_equal(b.data, row->json);
    rm_buf_clear(&b);
    remove_files(NULL);
}

static void files_that_others_can_read_are_refused(void **state)
{
    struct keyring k;
    char path[256];

    (void)state;
    added("x");
    snprintf(path, sizeof path, "%s/keys.secret", dir);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(keyring_load(dir, &k, why), RM_ERR_CONF);
    assert_non_null(strstr(why, "chmod 600"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(keyring_load(dir, &k, why), RM_ERR_CONF);
    assert_non_null(strstr(why, "keys.secret: missing"));
    put_file("keys.secret", "short", 5, 0600);
    assert_int_equal(keyring_load(dir, &k, why), RM_ERR_CONF);
    assert_non_null(strstr(why, "32 bytes"));
}

static void a_directory_that_is_not_there(void **state)
{
    struct adding a = {.want = {.name = "x"}};

    (void)state;
    assert_int_equal(keyring_change("/nonexistent/rolemesh", add, &a, why), UV_ENOENT);
    assert_non_null(strstr(why, "/nonexistent/rolemesh/keys.lock: "));
}

int main(void)
{
    struct CMUnitTest tests[6 + RM_COUNT(bad_rows)] = {
        cmocka_unit_test_teardown(what_was_added_is_found_again, remove_files),
        cmocka_unit_test_teardown(the_key_itself_is_not_kept, remove_files),
        cmocka_unit_test_teardown(names_are_taken_once, remove_files),
        cmocka_unit_test_teardown(writers_do_not_lose_each_others_keys, remove_files),
        cmocka_unit_test_teardown(files_that_others_can_read_are_refused, remove_files),
        cmocka_unit_test(a_directory_that_is_not_there),
    };

    for (size_t i = 0; i < RM_COUNT(bad_rows); i++)
        tests[6 + i] = (struct CMUnitTest){bad_rows[i].name, a_damaged_list_is_refused_and_kept,
                                           NULL, NULL, (void *)&bad_rows[i]};
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, make_dir, remove_dir);
}
