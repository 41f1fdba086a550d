/* SPDX-License-Identifier: MIT */
/* worker/pull/sha256_test.c - sha256.c: the examples of FIPS 180-4, and for every length up to some
 * blocks, whole and in odd pieces, the same sum both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/pull/sha256.h"

static void sum(bool own, const unsigned char *p, size_t n, unsigned seed, char out[65])
{
    unsigned char raw[SHA256_BYTES];
    struct sha256 s;

    sha256_init(&s, own);
    while (n > 0 && seed != 0) {
        size_t part;

        seed = seed * 1103515245u + 12345u;
        part = (seed >> 16) % 150;
        part = part < n ? part : n;
        sha256_update(&s, p, part);
        p += part;
        n -= part;
    }
    sha256_update(&s, p, n);
    sha256_final(&s, raw);
    sodium_bin2hex(out, 65, raw, sizeof raw);
}

static void examples(void **state)
{
    static const struct {
        const char *text, *hex;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[65];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int own = 0; own <= sha256_has_instructions(); own++) {
            sum(own, (const unsigned char *)rows[i].text, strlen(rows[i].text), 0, hex);
            assert_string_equal(hex, rows[i].hex);
        }
}

static void both_ways_the_same(void **state)
{
    enum { MOST = 700 };
    unsigned char *bytes = malloc(MOST);
    char a[65], b[65];

    (void)state;
    if (!sha256_has_instructions())
        skip();
    randombytes_buf_deterministic(bytes, MOST, (const unsigned char[32]){7});
    for (size_t n = 0; n <= MOST; n++)
        for (unsigned seed = 0; seed < 3; seed++) {
            sum(false, bytes, n, 0, a);
            sum(true, bytes, n, seed, b);
            assert_string_equal(a, b);
        }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(both_ways_the_same),
    };

    return sodium_init() < 0 || cmocka_run_group_tests(tests, NULL, NULL);
}
