/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_model_test.c - models by path: one file or the parts of a split one, and each way
 * in which a path is none. What a damaged header says is gguf_test.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/gguf/gguf_model.h"
#include "tests/support/cases/gguf_case.h"

#define SPLIT(no, count)                                                                           \
    "key:split.no,u16 u16:" #no " key:split.count,u16 u16:" #count                                 \
    " key:split.tensors.count,i32 i32:2 "
#define FIRST  "head:1,8 BASE " SPLIT(0, 2) "tensor:a,64,0,0 pad fill:256"
#define SECOND "head:1,3 " SPLIT(1, 2) "tensor:b,32,0,0 pad fill:128"

static char dir[] = "/tmp/rolemesh-gguf-XXXXXX";

/* A recipe; "dir" and "fifo" are what they are called. */
static const struct row {
    const char *name;
    struct {
        const char *path, *recipe;
    } files[2];
    const char *ask, *why; /* why: what must stand behind the directory; NULL: good */
    uint32_t n_files;
} rows[] = {
    {"one file", {{"m.gguf", "OK"}}, "m.gguf", NULL, 1},
    {"whatever it is called", {{"weights", "OK"}}, "weights", NULL, 1},
    {"two parts",
     {{"m-00001-of-00002.gguf", FIRST}, {"m-00002-of-00002.gguf", SECOND}},
     "m-00001-of-00002.gguf",
     NULL,
     2},
    {"none", {{"m.gguf", "OK"}}, "n.gguf", "n.gguf: no such file", 0},
    {"a directory", {{"m.gguf", "dir"}}, "m.gguf", "m.gguf: not a regular file", 0},
    {"a pipe", {{"m.gguf", "fifo"}}, "m.gguf", "m.gguf: not a regular file", 0},
    {"text", {{"m.gguf", "text:this_is_no_model"}}, "m.gguf", "m.gguf: offset 0: ", 0},
    {"half there",
     {{"m.gguf", "head:1,5 BASE tensor:t,64,0,0 pad fill:128"}},
     "m.gguf",
     "m.gguf: offset 0: cut short: tensor 't' needs 256 bytes at offset ",
     0},
    {"a part is missing",
     {{"m-00001-of-00002.gguf", FIRST}},
     "m-00001-of-00002.gguf",
     "m-00002-of-00002.gguf: no such file",
     0},
    {"the second part",
     {{"m-00001-of-00002.gguf", FIRST}, {"m-00002-of-00002.gguf", SECOND}},
     "m-00002-of-00002.gguf",
     "m-00002-of-00002.gguf: not the first part of the model: name that one",
     0},
    {"a part under a name of its own",
     {{"m.gguf", FIRST}},
     "m.gguf",
     "m.gguf: offset 0: part 2 is missing",
     0},
};

static const char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void make(const char *name, const char *recipe)
{
    static unsigned char bytes[1 << 20];
    size_t n;
    FILE *f;

    if (strcmp(recipe, "dir") == 0) {
        assert_int_equal(mkdir(path_of(name), 0700), 0);
    } else if (strcmp(recipe, "fifo") == 0) {
        assert_int_equal(mkfifo(path_of(name), 0600), 0);
    } else {
        n = gguf_case_bytes(recipe, bytes, sizeof(bytes));
        assert_non_null(f = fopen(path_of(name), "w"));
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        fclose(f);
    }
}

/* The message with its offset made 0: where things lie is gguf_test.c's. */
static void check_why(const char *why, const char *want)
{
    char expect[512], said[GGUF_WHY_MAX];
    const char *at = strstr(why, "offset ");

    if (at != NULL && strstr(want, "offset 0") != NULL)
        snprintf(said, sizeof(said), "%.*soffset 0%s", (int)(at - why), why,
                 at + 7 + strspn(at + 7, "0123456789"));
    else
        snprintf(said, sizeof(said), "%s", why);
    snprintf(expect, sizeof(expect), "%s/%s", dir, want);
    if (strncmp(said, expect, strlen(expect)) != 0)
        fail_msg("expected \"%s\", got \"%s\"", expect, why);
}

static void run_row(void **state)
{
    static struct gguf_head h;
    const struct row *row = *state;
    char why[GGUF_WHY_MAX];
    uint64_t bytes = 0;
    int r;

    for (size_t i = 0; i < RM_COUNT(row->files) && row->files[i].path != NULL; i++)
        make(row->files[i].path, row->files[i].recipe);
    r = gguf_read_model(path_of(row->ask), &h, &bytes, why);
    for (size_t i = 0; i < RM_COUNT(row->files) && row->files[i].path != NULL; i++)
        remove(path_of(row->files[i].path));
    if (row->why == NULL) {
        assert_string_equal(why, "");
        assert_int_equal(r, 0);
        assert_int_equal(h.files, row->n_files);
        assert_true(bytes > h.weights);
    } else {
        assert_int_equal(r, RM_ERR_MODEL_FILE);
        check_why(why, row->why);
    }
}

static void long_paths(void **state)
{
    static struct gguf_head h;
    static char path[8192];
    char why[GGUF_WHY_MAX];

    (void)state;
    memset(path, 'x', sizeof(path) - 1);
    assert_int_equal(gguf_read_model(path, &h, NULL, why), RM_ERR_MODEL_FILE);
    assert_non_null(strstr(why, "x: the path is too long"));
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];
    int r;

    if (mkdtemp(dir) == NULL)
        return 1;
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(long_paths);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return r;
}
