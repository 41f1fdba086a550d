/* SPDX-License-Identifier: MIT */
/* proto/node/file_name_test.c - names by row, as text and percent-encoded; every two-byte text and
 * a stretch of pseudo-random ones hold what the rules promise; sources as they are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto/node/file_name.h"

static const struct {
    const char *path;
    const char *name; /* NULL: refused */
} rows[] = {
    {"m.gguf", "m.gguf"},
    {"org/repo/m-Q8_0-00001-of-00003.gguf", "org/repo/m-Q8_0-00001-of-00003.gguf"},
    {"a%20b.gguf", "a b.gguf"},
    {"%6D.gguf", "m.gguf"},
    {"%c3%a4.gguf", "\xc3\xa4.gguf"},
    {"a..b.gguf", "a..b.gguf"},
    {"m.gguf.gguf", "m.gguf.gguf"},
    {"", NULL},
    {".gguf", NULL},
    {"a/.gguf", NULL},
    {"m.GGUF", NULL},
    {"m.gguf.part", NULL},
    {"m.gguf/", NULL},
    {"m.gguf%00", NULL},
    {"m%00.gguf", NULL},
    {"/m.gguf", NULL},
    {"//m.gguf", NULL},
    {"a//m.gguf", NULL},
    {"../m.gguf", NULL},
    {"a/../m.gguf", NULL},
    {"./m.gguf", NULL},
    {"a/./m.gguf", NULL},
    {"..%2Fm.gguf", NULL},
    {"a%2fm.gguf", NULL},
    {"%2e%2e/m.gguf", NULL},
    {"%2E%2E%2Fm.gguf", NULL},
    {".hidden/m.gguf", NULL},
    {".m.gguf", NULL},
    {"a\\m.gguf", NULL},
    {"a%5cm.gguf", NULL},
    {"a%0am.gguf", NULL},
    {"a%0d%0aX: y.gguf", NULL},
    {"a%7f.gguf", NULL},
    {"a%1b[31m.gguf", NULL},
    {"a%c2%9b.gguf", NULL},
    {"a%ff.gguf", NULL},
    {"a%c0%af.gguf", NULL}, /* '/' in a form that UTF-8 forbids */
    {"a%ed%a0%80.gguf", NULL},
    {"a%.gguf", NULL},
    {"a%2.gguf", NULL},
    {"a%zz.gguf", NULL},
    {"%252e%252e/m.gguf", "%2e%2e/m.gguf"}, /* decoded once */
};

static void names_by_row(void **state)
{
    char name[NODE_FILE_MAX], escaped[NODE_FILE_ESCAPED], again[NODE_FILE_MAX];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        bool good = node_file_decode(rm_slice_of(rows[i].path), name);

        if (good != (rows[i].name != NULL) || (good && strcmp(name, rows[i].name) != 0))
            fail_msg("\"%s\" gave \"%s\"", rows[i].path, good ? name : "(refused)");
        if (!good)
            continue;
        node_file_escape(name, escaped);
        assert_true(node_file_decode(rm_slice_of(escaped), again));
        assert_string_equal(again, name);
    }
}

static void lengths(void **state)
{
    char text[NODE_FILE_MAX + 8], name[NODE_FILE_MAX], escaped[NODE_FILE_ESCAPED];

    (void)state;
    for (size_t n = NODE_FILE_MAX - 3; n < NODE_FILE_MAX + 3; n++) {
        memset(text, 'a', n);
        memcpy(text + n - 5, ".gguf", 6);
        assert_int_equal(node_file_ok(text), n < NODE_FILE_MAX);
        assert_int_equal(node_file_decode((struct rm_slice){text, n}, name), n < NODE_FILE_MAX);
    }
    memset(text, ' ', NODE_FILE_MAX - 1); /* the longest when escaped */
    memcpy(text + NODE_FILE_MAX - 6, ".gguf", 6);
    node_file_escape(text, escaped);
    assert_true(node_file_decode(rm_slice_of(escaped), name));
    assert_string_equal(name, text);
}

/* What every name that is let through has, however it was spelled. */
static void check(const char *name)
{
    size_t n = strlen(name);

    if (n < 6 || strcmp(name + n - 5, ".gguf") != 0 || name[0] == '/' || name[0] == '.' ||
        strstr(name, "//") != NULL || strstr(name, "/.") != NULL || strchr(name, '\\') != NULL ||
        strpbrk(name, "\r\n\t\x1b\x7f") != NULL)
        fail_msg("let through: \"%s\"", name);
}

static void spellings(void **state)
{
    static const char bytes[] = "././%%2fFeE5cC00aagguf..gguf\\\r\n\xc3\xa4\xff";
    char path[48], name[NODE_FILE_MAX];
    uint64_t seed = 88172645463325252u;
    unsigned good = 0;

    (void)state;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            snprintf(path, sizeof path, "%%%02x%%%02x.gguf", a, b);
            if (node_file_decode(rm_slice_of(path), name))
                check(name), good++;
            memcpy(path, (char[]){(char)a, (char)b}, 2);
            memcpy(path + 2, "/m.gguf", 7);
            if (node_file_decode((struct rm_slice){path, 9}, name))
                check(name), good++;
        }
    for (unsigned i = 0; i < 200000; i++) {
        size_t n;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        n = seed % 24;
        for (size_t k = 0; k < n; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            path[k] = bytes[seed % (sizeof bytes - 1)];
        }
        memcpy(path + n, ".gguf", 5);
        if (node_file_decode((struct rm_slice){path, n + 5}, name))
            check(name), good++;
    }
    assert_true(good > 1000);
}

static void hubs(void **state)
{
    static const struct {
        const char *text, *repo, *quant; /* repo NULL: none */
    } names[] = {
        {"hf:org/repo:Q8_0", "org/repo", "Q8_0"},
        {"hf:o.r-g_1/re.po:a.b", "o.r-g_1/re.po", "a.b"},
        {"hf:org/repo", NULL, NULL},
        {"hf:org:Q8_0", NULL, NULL},
        {"hf:org/:Q8_0", NULL, NULL},
        {"hf:org/repo:", NULL, NULL},
        {"hf:../org:Q8_0", NULL, NULL},
        {"hf:org/..:Q8_0", NULL, NULL},
        {"hf:org/repo:..", NULL, NULL},
        {"hf:org/a/b:Q8_0", NULL, NULL},
        {"hf:org/repo:Q8/0", NULL, NULL},
        {"hf:org/re po:Q8_0", NULL, NULL},
        {"org/repo:Q8_0", NULL, NULL},
        {"", NULL, NULL},
    };
    static const struct {
        const char *file, *quant;
        bool fits;
    } files[] = {
        {"m-Q8_0.gguf", "Q8_0", true},       {"m-q8_0.gguf", "Q8_0", true},
        {"m-Q4_K_M.gguf", "Q4_K", false},    {"m-IQ4_K.gguf", "Q4_K", false},
        {"Q4_K/m.gguf", "Q4_K", true},       {"m.Q8_0-00001-of-00002.gguf", "Q8_0", true},
        {"mmproj-Q8_0.gguf", "Q8_0", false}, {"m-Q8_0x.gguf", "Q8_0", false},
    };
    char repo[NODE_HUB_REPO], quant[NODE_HUB_QUANT], text[400];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        bool good = node_hub_read(names[i].text, repo, quant);

        assert_int_equal(good, names[i].repo != NULL);
        if (good) {
            assert_string_equal(repo, names[i].repo);
            assert_string_equal(quant, names[i].quant);
        }
    }
    for (size_t i = 0; i < RM_COUNT(files); i++)
        assert_int_equal(node_hub_fits(files[i].file, files[i].quant), files[i].fits);
    snprintf(text, sizeof text, "hf:o/%0190d:Q8", 0); /* too long */
    assert_false(node_hub_read(text, repo, quant));
    snprintf(text, sizeof text, "hf:o/r:%064d", 0);
    assert_false(node_hub_read(text, repo, quant));
}

static void sources_as_shown(void **state)
{
    static const struct {
        const char *source, *shown;
    } shown[] = {
        {"hf:org/repo:Q8_0", "hf:org/repo:Q8_0"},
        {"node:speed/m.gguf", "node:speed/m.gguf"},
        {"https://h.test/a/m.gguf", "https://h.test/a/m.gguf"},
        {"https://u:secret@h.test/m.gguf", "https://h.test/m.gguf"},
        {"https://u@v:secret@h.test:8443/m.gguf", "https://h.test:8443/m.gguf"},
        {"https://h.test/m.gguf?token=secret", "https://h.test/m.gguf"},
        {"https://h.test/m.gguf#secret", "https://h.test/m.gguf"},
        {"https://u:secret@h.test?token=secret", "https://h.test"},
        {"https://h.test/a@b/m.gguf", "https://h.test/a@b/m.gguf"},
        {"https://h.test\\u:secret@x/m.gguf", "https://h.test\\u:secret@x/m.gguf"},
        {"?https://u:secret@h.test/", ""},
        {"https://h.test/\x1b[31m\xc3.gguf", "https://h.test/?[31m?.gguf"},
        {"", ""},
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(shown); i++)
        assert_string_equal(node_source_shown(shown[i].source, out, sizeof out), shown[i].shown);
    assert_string_equal(node_source_shown("https://h.test/m.gguf", out, 9), "https://");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_by_row),     cmocka_unit_test(lengths),
        cmocka_unit_test(spellings),        cmocka_unit_test(hubs),
        cmocka_unit_test(sources_as_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
