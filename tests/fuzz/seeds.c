/* SPDX-License-Identifier: MIT */
/* tests/fuzz/seeds.c - runs a fuzz target over its seeds, in builds without libFuzzer.
 * Arguments are pairs: `maps`, `requests`, `responses` or `gguf` and a case file, or `file` and a
 * file.
 * Every seed also comes with one byte changed at a few places. The bytes lie in a block of their
 * own, so that a sanitizer sees a read past them. With SEEDS_TO=DIR the seeds are also written
 * there, as a corpus for libFuzzer to begin with. */
#include "tests/support/cases/cases.h"
#include "tests/support/cases/gguf_case.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SEED_MAX = 2 << 20, SEED_CHANGES = 16 };

static unsigned long ran;

static void seed_write(const char *bytes, size_t n)
{
    const char *dir = getenv("SEEDS_TO");
    char path[512];
    FILE *f;

    if (dir == NULL)
        return;
    snprintf(path, sizeof path, "%s/seed-%lu", dir, ran);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        exit(2);
}

static void seed_run_bytes(const char *bytes, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);

    if (copy == NULL)
        exit(2);
    memcpy(copy, bytes, n);
    LLVMFuzzerTestOneInput(copy, n);
    for (size_t i = 0; i < SEED_CHANGES && n > 0 && n < 65536; i++) {
        size_t at = n * i / SEED_CHANGES;
        uint8_t was = copy[at];

        copy[at] = (uint8_t)(i * 37 + was);
        LLVMFuzzerTestOneInput(copy, n);
        copy[at] = was;
    }
    free(copy);
    seed_write(bytes, n);
    ran++;
}

static void seed_on_variant(void *arg, const struct case_variant *v)
{
    size_t n;
    char *bytes = case_bytes(v, &n);

    (void)arg;
    seed_run_bytes(bytes, n);
    free(bytes);
}

/* role-maps.txt has macros of its own; `map` says so. */
static void seed_cases(const char *path, const char *kind)
{
    static const struct case_macro macros[] = {
        {'V', "version: 1\\n"},
        {'N', "nodes: {n: {address: \"127.0.0.1:7070\"}}\\n"},
        {'M', "models: {m: {source: /m.gguf}}\\n"},
        {'R', "roles: {a: {model: m}}\\n"},
        {0, NULL},
    };
    static const struct case_notation maps = {macros, CASE_BODY_JSON};
    const struct case_notation *notation = strcmp(kind, "maps") == 0       ? &maps
                                           : strcmp(kind, "requests") == 0 ? &case_requests
                                                                           : &case_responses;
    struct case_file file = case_file_load(path);

    for (size_t i = 0; i < file.n; i++)
        case_expand(file.rows[i].column[2], notation, seed_on_variant, NULL);
    case_file_free(&file);
}

/* Every recipe of gguf.txt but the sweep, which seeds of one good file make up for. */
static void seed_gguf(const char *path)
{
    struct case_file file = case_file_load(path);
    unsigned char *bytes = malloc(SEED_MAX);
    char *next;

    if (bytes == NULL)
        exit(2);
    for (size_t i = 0; i < file.n; i++)
        for (char *recipe = file.rows[i].column[2]; recipe != NULL; recipe = next) {
            if ((next = strstr(recipe, " ; ")) != NULL) {
                *next = '\0';
                next += 3;
            }
            if (strcmp(recipe, "sweep") != 0)
                seed_run_bytes((const char *)bytes, gguf_case_bytes(recipe, bytes, SEED_MAX));
        }
    free(bytes);
    case_file_free(&file);
}

static void seed_file(const char *path)
{
    char *bytes = malloc(SEED_MAX);
    FILE *f = fopen(path, "rb");
    size_t n;

    if (bytes == NULL || f == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    n = fread(bytes, 1, SEED_MAX, f);
    fclose(f);
    seed_run_bytes(bytes, n);
    free(bytes);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "file") == 0)
            seed_file(argv[i + 1]);
        else if (strcmp(argv[i], "gguf") == 0)
            seed_gguf(argv[i + 1]);
        else
            seed_cases(argv[i + 1], argv[i]);
    printf("%lu seeds\n", ran);
    return ran > 0 ? 0 : 1;
}
