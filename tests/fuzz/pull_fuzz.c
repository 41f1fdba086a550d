/* SPDX-License-Identifier: MIT */
/* Names of model files, ranges and wishes for pulls: what is let through holds what its header
 * promises; what may be secret in a source is never shown. The first byte of the input chooses. */
#include <string.h>

#include "proto/node/pull.h"
#include "tests/fuzz/fuzz.h"
#include "worker/models/range.h"
#include "worker/pull/source.h"

/* A path of plain parts, and the same when it is escaped and read again. */
static void check_name(const char *name)
{
    char escaped[NODE_FILE_ESCAPED], again[NODE_FILE_MAX];
    size_t n = strlen(name);

    FUZZ_CHECK(n > 5 && n < NODE_FILE_MAX && strcmp(name + n - 5, ".gguf") == 0);
    FUZZ_CHECK(name[0] != '/' && name[0] != '.' && strstr(name, "//") == NULL);
    FUZZ_CHECK(strstr(name, "/.") == NULL && strpbrk(name, "\\\r\n\t\x1b\x7f") == NULL);
    node_file_escape(name, escaped);
    FUZZ_CHECK(node_file_decode(rm_slice_of(escaped), again) && strcmp(again, name) == 0);
}

static void try_name(struct rm_slice text)
{
    char name[NODE_FILE_MAX];

    if (node_file_decode(text, name))
        check_name(name);
}

static void try_range(struct rm_slice text)
{
    static const uint64_t sizes[] = {0, 1, 100, UINT64_MAX / 2};
    uint64_t from, n;

    for (size_t i = 0; i < RM_COUNT(sizes); i++)
        if (range_read(text, sizes[i], &from, &n) == RANGE_PART)
            FUZZ_CHECK(n > 0 && from < sizes[i] && n <= sizes[i] - from);
    (void)range_tag_listed(text, "\"a-1\"");
}

/* Behind the user and before the path stands no '@', and nothing of a query or fragment is left. */
static void check_shown(const char *source)
{
    char shown[600];
    const char *scheme;

    node_source_shown(source, shown, sizeof shown);
    for (const char *p = shown; *p != '\0'; p++)
        FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
    scheme = strstr(source, "://");
    if (scheme == NULL || (scheme = strstr(shown, "://")) == NULL)
        return;
    FUZZ_CHECK(memchr(scheme + 3, '@', strcspn(scheme + 3, "/?\\")) == NULL);
    FUZZ_CHECK(strchr(shown, '#') == NULL);
}

static void try_source(const char *text)
{
    struct source_list files;
    char why[SOURCE_WHY_MAX];
    struct source s;

    if (source_parse(text, "https://hub.test", "127.0.0.1:7070", &s, &files, why) == 0)
        for (size_t i = 0; i < files.n; i++)
            check_name(files.v[i].name);
    source_list_clear(&files);
    check_shown(text);
}

static void try_wish(struct rm_slice json)
{
    struct node_pull_wish w;
    char why[128]; /* as node_state_decode asks for */

    if (node_pull_wish_decode(json, &w, why) == 0)
        try_source(w.source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rm_slice rest = {(const char *)data + 1, size - 1};
    char *text;

    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        try_name(rest);
        break;
    case 1:
        try_range(rest);
        break;
    case 2:
        try_wish(rest);
        break;
    default:
        if ((text = rm_slice_dup(rest)) != NULL)
            try_source(text);
        free(text);
    }
    return 0;
}
