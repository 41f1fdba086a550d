/* SPDX-License-Identifier: MIT */
/* gateway/front/inflate_test.c - gzip whole and byte by byte, damaged, endless. The data was made
 * by zlib itself. */
#include "gateway/front/inflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* {"messages":[]} */
static const unsigned char small[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                      0x03, 0xab, 0x56, 0xca, 0x4d, 0x2d, 0x2e, 0x4e, 0x4c,
                                      0x4f, 0x2d, 0x56, 0xb2, 0x8a, 0x8e, 0xad, 0x05, 0x00,
                                      0x91, 0xc3, 0x30, 0x00, 0x0f, 0x00, 0x00, 0x00};

static int put(void *arg, const char *bytes, size_t n)
{
    return rm_buf_put(arg, bytes, n);
}

static int inflate_all(const unsigned char *bytes, size_t n, size_t step, struct rm_buf *out)
{
    struct inflater *i;
    int r = 0;

    rm_buf_init(out, 1 << 20);
    assert_int_equal(inflater_new(&i), 0);
    for (size_t at = 0; at < n && r == 0; at += step)
        r = inflater_feed(i, (const char *)bytes + at, step < n - at ? step : n - at, put, out);
    if (r == 0)
        r = inflater_end(i);
    inflater_free(i);
    return r;
}

static void test_good(void **state)
{
    struct rm_buf out;

    (void)state;
    for (size_t step = 1; step <= sizeof(small); step++) {
        assert_int_equal(inflate_all(small, sizeof(small), step, &out), 0);
        assert_string_equal(out.data, "{\"messages\":[]}");
        rm_buf_clear(&out);
    }
}

static void test_cut(void **state)
{
    struct rm_buf out;

    (void)state;
    for (size_t n = 0; n < sizeof(small); n++) {
        assert_int_equal(inflate_all(small, n, n + 1, &out), RM_ERR_FIELD);
        rm_buf_clear(&out);
    }
}

static void test_damaged(void **state)
{
    unsigned char bad[sizeof(small) + 1];
    struct rm_buf out;

    (void)state;
    memcpy(bad, small, sizeof(small));
    bad[sizeof(small)] = 'x'; /* a byte after the end */
    assert_int_equal(inflate_all(bad, sizeof(bad), sizeof(bad), &out), RM_ERR_FIELD);
    rm_buf_clear(&out);
    assert_int_equal(inflate_all(bad, sizeof(bad), 1, &out), RM_ERR_FIELD);
    rm_buf_clear(&out);
    bad[sizeof(small) - 6] ^= 1; /* the checksum */
    assert_int_equal(inflate_all(bad, sizeof(small), 5, &out), RM_ERR_FIELD);
    rm_buf_clear(&out);
    assert_int_equal(inflate_all((const unsigned char *)"{}", 2, 2, &out), RM_ERR_FIELD);
    rm_buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
    };

    if (!inflate_available())
        return 0; /* nothing is there to be tested */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
