/* SPDX-License-Identifier: MIT */
/* worker/models/sums_test.c - sums.c: found while the file stays the same, bounded, and the text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/models/sums.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void found_while_the_file_stays(void **state)
{
    struct sums *s = calloc(1, sizeof *s);
    const struct file_stamp was = {10, -20, 30};

    (void)state;
    assert_null(sums_find(s, "m.gguf", &was));
    sums_put(s, "m.gguf", &was, HEX);
    assert_string_equal(sums_find(s, "m.gguf", &was), HEX);
    assert_null(sums_find(s, "n.gguf", &was));
    for (int i = 0; i < 3; i++) {
        struct file_stamp now = was;

        now.bytes += i == 0, now.mtime_ns += i == 1, now.inode += i == 2;
        assert_null(sums_find(s, "m.gguf", &now));
    }
    sums_put(s, "m.gguf", &was, HEX);
    assert_int_equal(s->n, 1);
    free(s);
}

static void the_oldest_goes(void **state)
{
    struct sums *s = calloc(1, sizeof *s), *back = calloc(1, sizeof *back);
    const struct file_stamp stamp = {1, 2, 3};
    char name[32];
    struct rm_buf text;

    (void)state;
    for (int i = 0; i < SUMS_MAX + 5; i++) {
        snprintf(name, sizeof name, "m %d.gguf", i);
        sums_put(s, name, &stamp, HEX);
    }
    assert_int_equal(s->n, SUMS_MAX);
    assert_null(sums_find(s, "m 4.gguf", &stamp));
    assert_non_null(sums_find(s, "m 5.gguf", &stamp));
    rm_buf_init(&text, SUMS_TEXT_MAX);
    assert_int_equal(sums_write(s, &text), 0);
    sums_read(back, (struct rm_slice){text.data, text.len});
    assert_memory_equal(back, s, sizeof *s);
    rm_buf_clear(&text);
    free(s), free(back);
}

static void damaged_lines(void **state)
{
    struct sums *s = calloc(1, sizeof *s);

    (void)state;
    sums_read(s, RM_LIT("x\n" HEX " 1 2 3 ../m.gguf\n" HEX "a 1 2 3 m.gguf\n" HEX " 1 2 m.gguf\n"
                        "\n" HEX " 1 -2 3 m.gguf\n" HEX " 1 2 3 cut"));
    assert_int_equal(s->n, 1);
    assert_int_equal(s->v[0].stamp.mtime_ns, -2);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_while_the_file_stays),
        cmocka_unit_test(the_oldest_goes),
        cmocka_unit_test(damaged_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
