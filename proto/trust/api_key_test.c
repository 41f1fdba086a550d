/* SPDX-License-Identifier: MIT */
/* proto/trust/api_key_test.c - what a key's text is, and that nothing but the key itself passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>

#include "proto/trust/api_key.h"

static const unsigned char secret[API_KEY_SECRET] = "a test's secret, 32 bytes long.";

static int hash_of(const char *text, size_t n, unsigned char out[API_KEY_HASH])
{
    return api_key_hash((struct rm_slice){text, n}, secret, out);
}

static void a_new_key_has_its_shape(void **state)
{
    char a[API_KEY_TEXT + 1], b[API_KEY_TEXT + 1];
    unsigned char ha[API_KEY_HASH], hb[API_KEY_HASH], again[API_KEY_HASH];

    (void)state;
    api_key_make(a);
    api_key_make(b);
    assert_int_equal(strlen(a), API_KEY_TEXT);
    assert_memory_equal(a, "rm-", 3);
    assert_int_equal(
        strspn(a + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        API_KEY_TEXT - 3);
    assert_string_not_equal(a, b);
    assert_int_equal(hash_of(a, API_KEY_TEXT, ha), 0);
    assert_int_equal(hash_of(b, API_KEY_TEXT, hb), 0);
    assert_int_equal(hash_of(a, API_KEY_TEXT, again), 0);
    assert_memory_equal(ha, again, API_KEY_HASH);
    assert_memory_not_equal(ha, hb, API_KEY_HASH);
}

static void another_secret_gives_another_hash(void **state)
{
    static const unsigned char other[API_KEY_SECRET] = {1};
    unsigned char ha[API_KEY_HASH], hb[API_KEY_HASH];
    char a[API_KEY_TEXT + 1];

    (void)state;
    api_key_make(a);
    assert_int_equal(hash_of(a, API_KEY_TEXT, ha), 0);
    assert_int_equal(api_key_hash((struct rm_slice){a, API_KEY_TEXT}, other, hb), 0);
    assert_memory_not_equal(ha, hb, API_KEY_HASH);
}

/* Every other character at every place, and every cut. */
static void no_near_miss_passes(void **state)
{
    static const unsigned char zero[API_KEY_HASH];
    unsigned char h[API_KEY_HASH];
    char a[API_KEY_TEXT + 2];

    (void)state;
    api_key_make(a);
    for (size_t n = 0; n < API_KEY_TEXT; n++)
        assert_int_equal(hash_of(a, n, h), RM_ERR_AUTH);
    for (size_t i = 0; i < API_KEY_TEXT; i++) {
        const char was = a[i];

        for (int c = 0; c < 256; c++) {
            a[i] = (char)c;
            if (a[i] != was) {
                assert_int_equal(hash_of(a, API_KEY_TEXT, h), RM_ERR_AUTH);
                assert_memory_equal(h, zero, API_KEY_HASH);
            }
        }
        a[i] = was;
    }
    a[API_KEY_TEXT] = 'A';
    assert_int_equal(hash_of(a, API_KEY_TEXT + 1, h), RM_ERR_AUTH);
    assert_int_equal(hash_of(a, API_KEY_TEXT, h), 0);
}

static void foreign_keys_are_told_apart(void **state)
{
    (void)state;
    assert_true(api_key_is_ours(RM_LIT("rm-short")));
    assert_false(api_key_is_ours(RM_LIT("sk-proj-abc")));
    assert_false(api_key_is_ours(RM_LIT("rm")));
    assert_false(api_key_is_ours((struct rm_slice){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_key_has_its_shape),
        cmocka_unit_test(another_secret_gives_another_hash),
        cmocka_unit_test(no_near_miss_passes),
        cmocka_unit_test(foreign_keys_are_told_apart),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
