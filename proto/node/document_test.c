/* SPDX-License-Identifier: MIT */
#include "proto/node/document_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/buf.h"

/* Appends the first column of the table under a heading: names between backquotes. */
static void document_names(const char *heading, struct rm_buf *out)
{
    FILE *f = fopen("proto/PROTOCOL.md", "r");
    char line[1024];
    bool here = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (line[0] == '#')
            here = strstr(line, heading) != NULL;
        else if (here && strncmp(line, "| `", 3) == 0)
            rm_buf_printf(out, "%.*s ", (int)strcspn(line + 3, "`"), line + 3);
    }
    fclose(f);
}

void assert_documented(const char *name, const json_t *object)
{
    struct rm_buf said, wrote;
    char heading[64];
    const char *key;
    json_t *v;

    rm_buf_init(&said, 4096);
    rm_buf_init(&wrote, 4096);
    snprintf(heading, sizeof(heading), "# `%s`", name);
    document_names(heading, &said);
    json_object_foreach((json_t *)object, key, v) rm_buf_printf(&wrote, "%s ", key);
    assert_true(said.len > 10);
    assert_string_equal(said.data, wrote.data);
    rm_buf_clear(&said);
    rm_buf_clear(&wrote);
}
