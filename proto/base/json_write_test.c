/* SPDX-License-Identifier: MIT */
/* proto/base/json_write_test.c - json_write.c: texts as they are and escaped, numbers to their
 * limits, whole values put in, and what does not fit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/json_write.h"

enum { ROOM = 256 };

static void texts(void **state)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        {"", "\"\""},
        {"ready", "\"ready\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"line\nfeed", "\"line\\nfeed\""},
        {"\x01", "\"\\u0001\""},
        {"\x7f", "\"\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"half \xc3", "\"half \xef\xbf\xbd\""},
        {"plain to the last\t", "\"plain to the last\\t\""},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct rm_buf out;

        rm_buf_init(&out, ROOM);
        assert_int_equal(rm_json_quote(&out, rm_slice_of(rows[i].text)), 0);
        assert_string_equal(out.data, rows[i].json);
        rm_buf_clear(&out);
    }
}

/* A string that does not fit leaves what was there before it. */
static void too_long(void **state)
{
    static const char *const texts[] = {"12345", "1234\n"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(texts); i++)
        for (size_t room = 0; room < 12; room++) {
            bool fits = room >= strlen(i == 0 ? "x\"12345\"" : "x\"1234\\n\"");
            struct rm_buf out;

            rm_buf_init(&out, room);
            if (rm_buf_puts(&out, "x") < 0)
                continue;
            assert_int_equal(rm_json_quote(&out, rm_slice_of(texts[i])), fits ? 0 : RM_ERR_TOO_BIG);
            assert_true(out.len == 1 ? !fits : fits);
            assert_int_equal(strlen(out.data), out.len);
            rm_buf_clear(&out);
        }
}

static void values(void **state)
{
    struct rm_buf out;
    struct rm_jw w;

    (void)state;
    rm_buf_init(&out, ROOM);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    rm_jw_u64(&w, "zero", 0);
    rm_jw_u64(&w, "most", UINT64_MAX);
    rm_jw_i64(&w, "least", INT64_MIN);
    rm_jw_dbl(&w, "short", 0.1);
    rm_jw_exact(&w, "exact", 0.1);
    rm_jw_dbl(&w, "tiny", -2.2250738585072014e-308);
    rm_jw_dbl(&w, "none", INFINITY);
    rm_jw_raw(&w, "raw", RM_LIT("[\"idle\",\"decode\"]"));
    rm_jw_arr(&w, "list");
    rm_jw_raw(&w, NULL, RM_LIT("{}"));
    rm_jw_raw(&w, NULL, RM_LIT("[]"));
    rm_jw_end(&w);
    rm_jw_end(&w);
    assert_int_equal(rm_jw_done(&w), 0);
    assert_string_equal(out.data,
                        "{\"zero\":0,\"most\":18446744073709551615,\"least\":-9223372036854775808,"
                        "\"short\":0.1,\"exact\":0.10000000000000001,\"tiny\":-2.22507386e-308,"
                        "\"none\":null,\"raw\":[\"idle\",\"decode\"],\"list\":[{},[]]}");
    rm_buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(too_long),
        cmocka_unit_test(values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
