/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_test.c - the GGUF reader: every row of tests/data/gguf.txt (its notation is
 * explained there), split models, sources that change, models of the generator whole, cut and
 * mutated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cases/cases.h"
#include "tests/support/cases/gguf_case.h"
#include "tests/support/models/models.h"
#include "proto/gguf/gguf.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
enum { MADE_MAX = 4 << 20, MEMORY_MAX = 64 << 20, VERDICT_MS = 50 };

struct made {
    unsigned char *v;
    size_t n;
};

static void make(struct made *m, const char *recipe)
{
    m->n = gguf_case_bytes(recipe, m->v, MADE_MAX);
}

/* ---- readings ---- */

static ssize_t read_memory(void *arg, void *into, size_t n, uint64_t at)
{
    const struct made *m = arg;

    n = at >= m->n ? 0 : n < m->n - at ? n : m->n - (size_t)at;
    memcpy(into, m->v + at, n);
    return (ssize_t)n;
}

static ssize_t read_one(void *arg, void *into, size_t n, uint64_t at)
{
    return read_memory(arg, into, n > 0 ? 1 : 0, at);
}

static int read_head(const struct gguf_source *source, struct gguf_head *h, char *why)
{
    struct gguf_reading *g;
    int r, ended;

    assert_int_equal(gguf_begin(h, &g), 0);
    r = gguf_add(g, source, "dir/x.gguf", 1, why);
    assert_true((r == 0) == (why[0] == '\0'));
    ended = gguf_end(g, "dir/x.gguf", why);
    assert_true(r == 0 || ended == r);
    return ended;
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Reads the bytes from memory, byte by byte and from a file: always the same verdict. */
static int verdict(struct made *m, struct gguf_head *h, char *why)
{
    static struct gguf_head again;
    struct gguf_source from_memory = {m, read_memory, m->n}, by_one = {m, read_one, m->n};
    struct gguf_source from_file;
    char other[GGUF_WHY_MAX];
    double began = cpu_ms();
    int r = read_head(&from_memory, h, why), fd;

    assert_true(SANITIZED || cpu_ms() - began < VERDICT_MS);
    assert_true(r == 0 || r == RM_ERR_MODEL_FILE);
    assert_int_equal(read_head(&by_one, &again, other), r);
    assert_string_equal(other, why);
    fd = memfd_create("gguf", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, m->v, m->n) == (ssize_t)m->n);
    from_file = gguf_source_fd(fd, m->n);
    assert_int_equal(read_head(&from_file, &again, other), r);
    assert_string_equal(other, why);
    assert_memory_equal(h, &again, sizeof(*h));
    close(fd);
    return r;
}

static void check_verdict(struct made *m, const char *expect)
{
    static struct gguf_head h;
    char why[GGUF_WHY_MAX];
    int r = verdict(m, &h, why);
    bool warned = false;

    if (strncmp(expect, "good", 4) != 0) {
        if (r == 0 || strstr(why, expect) == NULL)
            fail_msg("expected \"%s\", got \"%s\"", expect, why);
        assert_int_equal(strncmp(why, "dir/x.gguf: offset ", 19), 0);
        for (const char *p = why; *p != '\0'; p++)
            assert_true(*p >= 0x20 && *p < 0x7f);
        return;
    }
    if (r != 0)
        fail_msg("expected it to be good, got \"%s\"", why);
    for (uint32_t i = 0; expect[4] != '\0' && i < h.n_warnings; i++)
        warned = warned || strstr(h.warnings[i], expect + 6) != NULL;
    if (warned != (h.n_warnings > 0) || warned != (expect[4] == ':'))
        fail_msg("warnings: %u, the first: %s", h.n_warnings, h.warnings[0]);
}

/* ---- the rows ---- */

static struct made made;

/* Takes the next piece of a column up to the separator; false: there is none. */
static bool next_piece(const char **at, const char *separator, char *to, size_t n_to)
{
    const char *end;
    size_t n;

    if (*at == NULL)
        return false;
    end = strstr(*at, separator);
    n = end != NULL ? (size_t)(end - *at) : strlen(*at);
    assert_true(n < n_to);
    memcpy(to, *at, n);
    to[n] = '\0';
    *at = end != NULL ? end + strlen(separator) : NULL;
    return true;
}

static void run_sweep(const char *expect)
{
    struct made whole = {malloc(MADE_MAX), 0}, prefix;

    make(&whole, "OK");
    for (size_t n = 0; n < whole.n; n++) {
        prefix = (struct made){malloc(n + 1), n}; /* of its own, so that a sanitizer sees its end */
        memcpy(prefix.v, whole.v, n);
        check_verdict(&prefix, expect);
        free(prefix.v);
    }
    free(whole.v);
}

static void run_row(void **state)
{
    const struct case_row *row = *state;
    const char *recipes = row->column[2], *expects = row->column[3];
    char recipe[2048], expect[512] = "";
    size_t n = 0, n_expects = 0;

    while (next_piece(&recipes, " ; ", recipe, sizeof(recipe))) {
        n_expects += next_piece(&expects, " / ", expect, sizeof(expect));
        n++;
        if (strcmp(recipe, "sweep") == 0) {
            run_sweep(expect);
            continue;
        }
        make(&made, recipe);
        check_verdict(&made, expect);
    }
    assert_true(n_expects == n || n_expects == 1);
    assert_null(expects);
}

/* ---- more than one file ---- */

static int read_parts(const char *const *recipes, uint32_t parts, struct gguf_head *h, char *why)
{
    struct gguf_reading *g;
    struct gguf_source source = {&made, read_memory, 0};
    char file[40];
    int r = 0;

    assert_int_equal(gguf_begin(h, &g), 0);
    for (uint32_t i = 0; r == 0 && i < parts; i++) {
        make(&made, recipes[i]);
        source.size = made.n;
        snprintf(file, sizeof(file), "m-%05u-of-%05u.gguf", i + 1, parts);
        r = gguf_add(g, &source, file, parts, why);
    }
    return gguf_end(g, "m.gguf", why);
}

#define SPLIT(no, count, tensors)                                                                  \
    " key:split.no,u16 u16:" #no " key:split.count,u16 u16:" #count                                \
    " key:split.tensors.count,i32 i32:" #tensors " "
static const struct split_row {
    const char *name, *parts[2], *why;
} split_rows[] = {
    {"two files",
     {"head:1,8 BASE" SPLIT(0, 2, 2) "tensor:a,64,0,0 pad fill:256",
      "head:1,3" SPLIT(1, 2, 2) "tensor:b,32,0,0 pad fill:128"},
     ""},
    {"no tensors in the first",
     {"head:0,8 BASE" SPLIT(0, 2, 1), "head:1,3" SPLIT(1, 2, 1) "tensor:b,32,0,0 pad fill:128"},
     ""},
    {"the second cut short",
     {"head:1,8 BASE" SPLIT(0, 2, 2) "tensor:a,64,0,0 pad fill:256",
      "head:1,3" SPLIT(1, 2, 2) "tensor:b,32,0,0 pad fill:127"},
     "m-00002-of-00002.gguf: offset 287: cut short: tensor 'b' needs 128 bytes at offset 160"},
    {"twice the first",
     {"head:1,8 BASE" SPLIT(0, 2, 2) "tensor:a,64,0,0 pad fill:256",
      "head:1,8 BASE" SPLIT(0, 2, 2) "tensor:a,64,0,0 pad fill:256"},
     "m-00002-of-00002.gguf: offset 238: this is part 1, expected part 2"},
    {"one tensor in both",
     {"head:1,8 BASE" SPLIT(0, 2, 2) "tensor:a,64,0,0 pad fill:256",
      "head:1,3" SPLIT(1, 2, 2) "tensor:a,32,0,0 pad fill:128"},
     "tensor 'a' appears twice"},
    {"a tensor is missing",
     {"head:1,8 BASE" SPLIT(0, 2, 3) "tensor:a,64,0,0 pad fill:256",
      "head:1,3" SPLIT(1, 2, 3) "tensor:b,32,0,0 pad fill:128"},
     "m.gguf: offset 296: split.tensors.count says 3, there are 2 in all files"},
    {"of another split",
     {"head:1,8 BASE" SPLIT(0, 3, 2) "tensor:a,64,0,0 pad fill:256", ""},
     "split.count 3, the file's name says 2 parts"},
    {"no split at all",
     {"head:1,5 BASE tensor:a,64,0,0 pad fill:256", ""},
     "split.count is missing, the file's name says 2 parts"},
};

static void run_split_row(void **state)
{
    const struct split_row *row = *state;
    static struct gguf_head h;
    char why[GGUF_WHY_MAX];
    int r = read_parts(row->parts, 2, &h, why);

    if (strstr(why, row->why) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", row->why, why);
    assert_int_equal(r, row->why[0] != '\0' ? RM_ERR_MODEL_FILE : 0);
    if (r == 0) {
        assert_int_equal(h.weights, h.tensors == 2 ? 256 + 128 : 128);
        assert_int_equal(h.params, h.tensors == 2 ? 64 + 32 : 32);
        assert_int_equal(h.files, 2);
    }
}

/* ---- what is told of a good one ---- */

static void summary(void **state)
{
    static struct gguf_head h;
    char why[GGUF_WHY_MAX];

    (void)state;
    make(&made, "head:3,9 BASE key:general.name,str str:a\\x0ab "
                "arr:llama.attention.head_count_kv,u32,2 u32:2 u32:0 "
                "arr:llama.attention.sliding_window_pattern,bool,2 u8:1 u8:0 "
                "key:llama.attention.sliding_window,u32 u32:128 "
                "tensor:a,64,0,0 tensor:b,32.3,8,256 tensor:c,3,0,384 pad fill:396");
    assert_int_equal(verdict(&made, &h, why), 0);
    assert_string_equal(h.arch, "llama");
    assert_string_equal(h.name, "a\\x0ab");
    assert_int_equal(h.tensors, 3);
    assert_int_equal(h.params, 64 + 96 + 3);
    assert_int_equal(h.weights, 256 + 128 + 32); /* 102 and 12 bytes are padded */
    assert_int_equal(h.n_mix, 2);
    assert_true(h.mix[0].type == 0 && h.mix[0].tensors == 2 && h.mix[0].bytes == 268);
    assert_true(h.mix[1].type == 8 && h.mix[1].tensors == 1 && h.mix[1].bytes == 102);
    assert_int_equal(gguf_number_at(&h, GGUF_CONTEXT, 0, 0), 4096);
    assert_int_equal(gguf_number_at(&h, GGUF_HEADS, 1, 0), 4);
    assert_int_equal(gguf_number_at(&h, GGUF_HEADS_KV, 0, 9), 2);
    assert_int_equal(gguf_number_at(&h, GGUF_HEADS_KV, 1, 9), 0);
    assert_int_equal(gguf_number_at(&h, GGUF_HEADS_KV, 2, 9), 9); /* not told */
    assert_int_equal(gguf_number_at(&h, GGUF_SWA_PATTERN, 0, 0), 1);
    assert_int_equal(gguf_number_at(&h, GGUF_EXPERTS, 0, 7), 7);
    assert_true(h.numbers[GGUF_HEADS_KV].varies && !h.numbers[GGUF_HEADS].varies);
    assert_int_equal(h.n_warnings, 0);
}

/* ---- sources that change or fail ---- */

static ssize_t read_failing(void *arg, void *into, size_t n, uint64_t at)
{
    (void)arg, (void)into, (void)n, (void)at;
    return -5; /* EIO */
}

static void changing_sources(void **state)
{
    static struct gguf_head h;
    struct gguf_source source = {&made, read_memory, 0};
    char why[GGUF_WHY_MAX];
    size_t whole;

    (void)state;
    make(&made, "OK");
    whole = made.n;
    source.size = whole;
    for (made.n = 0; made.n < whole - 256 - 32; made.n++) { /* shrinks while it is read */
        assert_int_equal(read_head(&source, &h, why), RM_ERR_MODEL_FILE);
        assert_non_null(strstr(why, "became shorter while it was read"));
    }
    made.n = whole;
    source.size = INT64_MAX; /* a sparse file of 8 EiB */
    assert_int_equal(read_head(&source, &h, why), 0);
    assert_int_equal(h.weights, 256);
    source = (struct gguf_source){NULL, read_failing, 4096};
    assert_int_equal(read_head(&source, &h, why), RM_ERR_MODEL_FILE);
    assert_non_null(strstr(why, "offset 0: i/o error, in the header"));
}

static void long_file_names(void **state)
{
    struct gguf_source source = {&made, read_memory, 0};
    static struct gguf_head h;
    struct gguf_reading *g;
    char name[2000], why[GGUF_WHY_MAX];

    (void)state;
    made.n = 0;
    memset(name, '\n', sizeof(name));
    strcpy(name + sizeof(name) - 13, "%s\x01end.gguf");
    assert_int_equal(gguf_begin(&h, &g), 0);
    assert_int_equal(gguf_add(g, &source, name, 1, why), RM_ERR_MODEL_FILE);
    assert_int_equal(gguf_end(g, name, why), RM_ERR_MODEL_FILE);
    for (const char *p = why; *p != '\0'; p++)
        assert_true(*p >= 0x20 && *p < 0x7f);
    assert_non_null(strstr(why, "offset 0: truncated header"));
}

/* ---- models of the generator ---- */

static uint64_t random_next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void load(struct made *m, const char *path)
{
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    m->n = fread(m->v, 1, MADE_MAX, f);
    assert_true(m->n > 1000 && m->n < MADE_MAX && fclose(f) == 0);
}

/* Cut anywhere: an error, always. Changed anywhere in the header: never a crash, and the same
 * verdict however it is read. */
static void generated(void **state)
{
    enum { CUTS = 60, CHANGES = 60 };
    const char *arch = *state;
    static struct gguf_head h;
    uint64_t s = 88172645463325252u;
    size_t whole, head, at;
    char path[512], why[GGUF_WHY_MAX];
    unsigned char was;

    if (getenv("MKMODEL") == NULL)
        skip(); /* a build without llama.cpp has no generator */
    models_make(path, sizeof(path), "m", arch, NULL);
    load(&made, path);
    whole = made.n;
    assert_int_equal(verdict(&made, &h, why), 0);
    assert_string_equal(h.arch, arch);
    assert_string_equal(h.name, "test model");
    assert_int_equal(h.n_warnings, 0);
    assert_true(h.weights < whole && h.weights > whole / 2);
    head = whole - (size_t)h.weights;
    for (int i = 0; i < CUTS; i++) {
        made.n = (size_t)(random_next(&s) % (i % 2 != 0 ? whole : head));
        assert_int_equal(verdict(&made, &h, why), RM_ERR_MODEL_FILE);
    }
    made.n = whole;
    for (int i = 0; i < CHANGES; i++) {
        at = (size_t)(random_next(&s) % head);
        was = made.v[at];
        made.v[at] = (unsigned char)random_next(&s);
        (void)verdict(&made, &h, why);
        made.v[at] = was;
    }
}

/* Nothing that a header says may make the reader allocate more than MEMORY_MAX. */
static int set_up(void **state)
{
    struct rlimit limit = {0, RLIM_INFINITY};
    unsigned long pages;
    FILE *f = fopen("/proc/self/statm", "r");

    (void)state;
    made.v = malloc(MADE_MAX);
    if (made.v == NULL || f == NULL || fscanf(f, "%lu", &pages) != 1)
        return -1;
    fclose(f);
    limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY_MAX;
    return SANITIZED ? 0 : setrlimit(RLIMIT_AS, &limit);
}

static int tear_down(void **state)
{
    (void)state;
    free(made.v);
    return 0;
}

int main(void)
{
    static const char *const archs[] = {"llama",   "qwen3",     "qwen3moe", "gemma3",
                                        "gpt-oss", "deepseek2", "mamba",    "qwen35"};
    static const struct CMUnitTest fixed[] = {cmocka_unit_test(summary),
                                              cmocka_unit_test(changing_sources),
                                              cmocka_unit_test(long_file_names)};
    struct case_file cases = case_file_load("tests/data/gguf.txt");
    struct CMUnitTest tests[128];
    size_t n = 0;
    int failed;

    assert_true(cases.n + RM_COUNT(split_rows) + RM_COUNT(archs) + RM_COUNT(fixed) < 128);
    for (size_t i = 0; i < cases.n; i++)
        tests[n++] =
            (struct CMUnitTest){cases.rows[i].column[1], run_row, NULL, NULL, &cases.rows[i]};
    for (size_t i = 0; i < RM_COUNT(split_rows); i++)
        tests[n++] = (struct CMUnitTest){split_rows[i].name, run_split_row, NULL, NULL,
                                         (void *)(uintptr_t)&split_rows[i]};
    for (size_t i = 0; i < RM_COUNT(archs); i++)
        tests[n++] =
            (struct CMUnitTest){archs[i], generated, NULL, NULL, (void *)(uintptr_t)archs[i]};
    for (size_t i = 0; i < RM_COUNT(fixed); i++)
        tests[n++] = fixed[i];
    failed = _cmocka_run_group_tests("gguf", tests, n, set_up, tear_down);
    case_file_free(&cases);
    return failed;
}
