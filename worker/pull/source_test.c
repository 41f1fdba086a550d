/* SPDX-License-Identifier: MIT */
/* worker/pull/source_test.c - what people write, and what a hub's list makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "worker/pull/source.h"

#define HUB "https://hub.test"
#define OID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FILE_OF(path)                                                                              \
    "{\"type\":\"file\",\"path\":\"" path "\",\"size\":9,\"lfs\":{\"oid\":\"" OID                  \
    "\",\"size\":1000}}"

/* names: of the files, blank between; "!" and a part of the reason when it is refused. */
#define AT "127.0.0.1:7070"
#define THERE(path, files)                                                                         \
    "{\"dir\":\"/srv/models\",\"truncated\":false,\"models\":[{\"path\":\"" path                   \
    "\",\"bytes\":1000,\"files\":" files "}]}"

static const struct row {
    const char *name, *text, *list, *names;
} rows[] = {
    {"url", "https://h.test/a/m-Q8_0.gguf", NULL, "m-Q8_0.gguf"},
    {"url with a query", "http://h.test/m.gguf?sig=a/b.bin", NULL, "m.gguf"},
    {"url with an escape", "https://h.test/my%20model.gguf", NULL, "my model.gguf"},
    {"url of a split model", "https://h.test/a/m-00001-of-00003.gguf?sig=x", NULL,
     "m-00001-of-00003.gguf m-00002-of-00003.gguf m-00003-of-00003.gguf"},
    {"url of another part alone", "https://h.test/m-00002-of-00003.gguf", NULL,
     "m-00002-of-00003.gguf"},
    {"url of a split model of one", "https://h.test/m-00001-of-00001.gguf", NULL,
     "m-00001-of-00001.gguf"},
    {"url of a split model, escaped", "https://h.test/m-0000%31-of-00003.gguf", NULL,
     "m-00001-of-00003.gguf"},
    {"url of too many parts", "https://h.test/m-00001-of-99999.gguf", NULL,
     "m-00001-of-99999.gguf"},
    {"url that climbs", "https://h.test/..%2fm.gguf", NULL, "!must end in the name"},
    {"url of a hidden file", "https://h.test/.m.gguf", NULL, "!must end in the name"},
    {"url of a directory", "https://h.test/models/", NULL, "!must end in the name"},
    {"url of something else", "https://h.test/m.safetensors", NULL, "!must end in the name"},
    {"only the suffix", "https://h.test/.gguf", NULL, "!must end in the name"},
    {"no scheme", "h.test/m.gguf", NULL, "!expected hf:ORG/REPO:QUANT or a URL"},
    {"another scheme", "file:///etc/passwd", NULL, "!expected hf:ORG/REPO:QUANT or a URL"},
    {"blank", "https://h.test/a b.gguf", NULL, "!a blank or a byte"},
    {"no quant", "hf:org/repo", "[]", "!expected hf:ORG/REPO:QUANT"},
    {"no repo", "hf:org:Q8_0", "[]", "!expected hf:ORG/REPO:QUANT"},
    {"repo that climbs", "hf:org/..:Q8_0", "[]", "!expected hf:ORG/REPO:QUANT"},
    {"one of several", "hf:org/repo:Q4_K_M",
     "[" FILE_OF("m-Q4_K_M.gguf") "," FILE_OF("m-Q4_K_S.gguf") "," FILE_OF("README.md") "]",
     "org/repo/m-Q4_K_M.gguf"},
    {"case is forgiven", "hf:org/repo:q8_0", "[" FILE_OF("m-Q8_0.gguf") "]",
     "org/repo/m-Q8_0.gguf"},
    {"a shorter name is another", "hf:org/repo:Q4_K", "[" FILE_OF("m-Q4_K_M.gguf") "]",
     "!no .gguf file has Q4_K in its name; there are: m-Q4_K_M"},
    {"all parts, in order", "hf:org/repo:Q3_K_M",
     "[" FILE_OF("Q3_K_M/m-Q3_K_M-00002-of-00002.gguf") "," FILE_OF(
         "Q3_K_M/m-Q3_K_M-00001-of-00002.gguf") "]",
     "org/repo/Q3_K_M/m-Q3_K_M-00001-of-00002.gguf org/repo/Q3_K_M/m-Q3_K_M-00002-of-00002.gguf"},
    {"two models of it", "hf:org/repo:Q8_0",
     "[" FILE_OF("a-Q8_0.gguf") "," FILE_OF("b-Q8_0.gguf") "]",
     "!several models have Q8_0; say the whole name after the colon: a-Q8_0, b-Q8_0"},
    {"whole name", "hf:org/repo:b-Q8_0", "[" FILE_OF("a-Q8_0.gguf") "," FILE_OF("b-Q8_0.gguf") "]",
     "org/repo/b-Q8_0.gguf"},
    {"projectors are no models", "hf:org/repo:F16",
     "[" FILE_OF("mmproj-F16.gguf") "," FILE_OF("m-F16.gguf") "]", "org/repo/m-F16.gguf"},
    {"hostile paths", "hf:org/repo:F16",
     "[" FILE_OF("../../m-F16.gguf") "," FILE_OF("/m-F16.gguf") "," FILE_OF("a/.b/m-F16.gguf") "]",
     "!no .gguf file has F16"},
    {"no list", "hf:org/repo:F16", "{\"error\":\"x\"}", "!no list of files"},
    {"no JSON", "hf:org/repo:F16", "<html>", "!no list of files"},
    {"secrets in a URL stay there", "https://u:secret@h.test/m.bin?secret", NULL,
     "https://h.test/m.bin: the URL must end in the name of a .gguf file"},
    {"secrets in another text too", "ftp://u:secret@h.test/m.gguf", NULL,
     "ftp://h.test/m.gguf: expected hf:ORG/REPO:QUANT or a URL"},
    {"a node's file", "node:speed/org/m.gguf", THERE("org/m.gguf", "1"), "org/m.gguf"},
    {"by its absolute path", "node:speed//srv/models/org/m.gguf", THERE("org/m.gguf", "1"),
     "org/m.gguf"},
    {"beneath another directory", "node:speed//srv/modelsx/m.gguf", THERE("x/m.gguf", "1"),
     "!has no model /srv/modelsx/m.gguf; it has: x/m.gguf"},
    {"by its hub's name", "node:speed/hf:org/repo:Q8_0", THERE("org/repo/m-Q8_0.gguf", "1"),
     "org/repo/m-Q8_0.gguf"},
    {"of another repository", "node:speed/hf:org/rep:Q8_0", THERE("org/repo/m-Q8_0.gguf", "1"),
     "!has no model"},
    {"with blanks", "node:speed/my m.gguf", THERE("my m.gguf", "1"), "my m.gguf"},
    {"all parts there", "node:speed/m-00001-of-00002.gguf", THERE("m-00001-of-00002.gguf", "2"),
     "m-00001-of-00002.gguf m-00002-of-00002.gguf"},
    {"a part is missing", "node:speed/m-00001-of-00003.gguf", THERE("m-00001-of-00003.gguf", "2"),
     "!only 2 of the 3 parts"},
    {"the first part is missing", "node:speed/m-00002-of-00002.gguf",
     THERE("m-00002-of-00002.gguf", "1"), "!only 1 of the 2 parts"},
    {"by a socket", "unix:/run/w.sock node:speed/m.gguf", THERE("m.gguf", "1"), "m.gguf"},
    {"by IPv6", "[fd7a::1]:7070 node:speed/m.gguf", THERE("m.gguf", "1"), "m.gguf"},
    {"nowhere", " node:speed/m.gguf", "{}", "!needs --from"},
    {"an address with more", "u@h:7070 node:speed/m.gguf", "{}", "!needs --from"},
    {"an address with a path", "h:7070/x node:speed/m.gguf", "{}", "!needs --from"},
    {"an address without port", "host node:speed/m.gguf", "{}", "!needs --from"},
    {"a node's file that climbs", "node:speed/../m.gguf", "{}", "!expected node:NAME/FILE"},
    {"a node without file", "node:speed", "{}", "!expected node:NAME/FILE"},
    {"a hostile list", "node:speed/m.gguf",
     "{\"dir\":\"/srv\",\"models\":[1,{},{\"path\":\"../x.gguf\"},{\"path\":7}]}",
     "!has no model m.gguf; it has:"},
    {"no list of a node", "node:speed/m.gguf", "[]", "!does not answer with its models"},
    {"odd entries", "hf:org/repo:F16",
     "[1,null,{},{\"type\":\"file\"},{\"type\":\"file\",\"path\":7}," FILE_OF("m-F16.gguf") "]",
     "org/repo/m-F16.gguf"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct source_list files = {0};
    char why[SOURCE_WHY_MAX] = "", said[2048] = "";
    struct source s;
    const char *text = strstr(row->text, " node:"); /* behind the address of the node */
    char from[64] = AT;
    int r;

    if (text != NULL)
        snprintf(from, sizeof from, "%.*s", (int)(text++ - row->text), row->text);
    else
        text = row->text;
    r = source_parse(text, HUB "/", from, &s, &files, why);

    if (r == 0 && (s.hub || s.node))
        r = source_take_list(&s, rm_slice_of(row->list), &files, why);
    for (size_t i = 0; r == 0 && i < files.n; i++)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s", i > 0 ? " " : "",
                 files.v[i].name);
    source_list_clear(&files);
    if (row->names[0] != '!')
        assert_string_equal(r == 0 ? said : why, row->names);
    else if (r == 0 || strstr(why, row->names + 1) == NULL)
        fail_msg("said: %s", r == 0 ? said : why);
}

static void a_hubs_file_has_size_sum_and_url(void **state)
{
    struct source_list files;
    char why[SOURCE_WHY_MAX];
    struct source s;

    (void)state;
    assert_int_equal(source_parse("hf:org/repo:F16", HUB, NULL, &s, &files, why), 0);
    assert_string_equal(s.list_url, HUB "/api/models/org/repo/tree/main?recursive=true");
    assert_int_equal(source_take_list(&s, RM_LIT("[" FILE_OF("a b/m#-F16.gguf") "]"), &files, why),
                     0);
    assert_string_equal(files.v[0].url, HUB "/org/repo/resolve/main/a%20b/m%23-F16.gguf");
    assert_string_equal(files.v[0].sha256, OID);
    assert_int_equal(files.v[0].bytes, 1000);
    source_list_clear(&files);
}

static void a_split_models_urls(void **state)
{
    struct source_list files;
    char why[SOURCE_WHY_MAX];
    struct source s;

    (void)state;
    assert_int_equal(source_parse("https://h.test/a-00001-of-00002.gguf/m-00001-of-00002.gguf?q=1",
                                  HUB, NULL, &s, &files, why),
                     0);
    assert_int_equal(files.n, 2);
    assert_string_equal(files.v[0].url,
                        "https://h.test/a-00001-of-00002.gguf/m-00001-of-00002.gguf?q=1");
    assert_string_equal(files.v[1].url,
                        "https://h.test/a-00001-of-00002.gguf/m-00002-of-00002.gguf?q=1");
    source_list_clear(&files);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2] = {
        cmocka_unit_test(a_hubs_file_has_size_sum_and_url), cmocka_unit_test(a_split_models_urls)};

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i + 2] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
