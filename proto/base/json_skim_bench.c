/* SPDX-License-Identifier: MIT */
/* Speed of the skimmer beside jansson's json_loadb, in one run, interleaved, medians. Not a test.
 *   ninja -C build/release json_skim_bench && build/release/bench/json_skim_bench */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/json_skim.h"
#include "proto/base/json_write.h"

enum { ROUNDS = 15, PIECE = 64 * 1024 };

struct body {
    const char *name;
    struct rm_buf text;
};

static void must(int r)
{
    if (r < 0) {
        fprintf(stderr, "%s\n", rm_strerror(r));
        exit(1);
    }
}

/* A chat of n messages of `bytes` bytes each, made of the words again and again. */
static void chat(struct body *b, const char *name, int n, size_t bytes, const char *words)
{
    struct rm_buf content;
    struct rm_jw w;

    b->name = name;
    rm_buf_init(&b->text, 256u << 20);
    rm_buf_init(&content, bytes + 256);
    while (content.len < bytes)
        must(rm_buf_puts(&content, words));
    w = rm_jw_to(&b->text);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "model", "code");
    rm_jw_arr(&w, "messages");
    for (int i = 0; i < n; i++) {
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "role", i % 2 ? "assistant" : "user");
        rm_jw_slice(&w, "content", (struct rm_slice){content.data, content.len});
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_bool(&w, "stream", true);
    rm_jw_end(&w);
    must(rm_jw_done(&w));
    rm_buf_clear(&content);
}

static uint64_t time_skim(const struct rm_buf *b, struct rm_skim *s)
{
    uint64_t began = rm_now_us();

    rm_skim_reset(s);
    for (size_t i = 0; i < b->len; i += PIECE) /* as it comes from a socket */
        must(rm_skim_feed(s, b->data + i, b->len - i < PIECE ? b->len - i : PIECE));
    must(rm_skim_end(s));
    return rm_now_us() - began;
}

static uint64_t time_jansson(const struct rm_buf *b)
{
    uint64_t began = rm_now_us();
    json_t *tree = json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, NULL);

    must(tree != NULL ? 0 : RM_ERR_JSON);
    json_decref(tree);
    return rm_now_us() - began;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void run(struct body *b)
{
    uint64_t skim[ROUNDS], tree[ROUNDS];
    double mb = (double)b->text.len / 1e6, a, c;
    struct rm_skim s;

    rm_skim_init(&s);
    for (int i = 0; i < ROUNDS; i++) {
        skim[i] = time_skim(&b->text, &s);
        tree[i] = time_jansson(&b->text);
    }
    qsort(skim, ROUNDS, sizeof(*skim), by_size);
    qsort(tree, ROUNDS, sizeof(*tree), by_size);
    a = mb / ((double)skim[ROUNDS / 2] / 1e6);
    c = mb / ((double)tree[ROUNDS / 2] / 1e6);
    printf("%-34s %8.2f MB  skim %7.0f MB/s  jansson %6.0f MB/s  %5.1f x\n", b->name, mb, a, c,
           a / c);
    rm_skim_clear(&s);
    rm_buf_clear(&b->text);
}

int main(void)
{
    struct body b;

    chat(&b, "one message, prose", 1, 4000000, "The quick brown fox jumps over the lazy dog. ");
    run(&b);
    chat(&b, "80 messages of code, \\n every 40", 80, 50000,
         "    if (value == NULL) return -1; /* x */\n");
    run(&b);
    chat(&b, "Chinese", 4, 1000000, "\xe6\xa8\xa1\xe5\x9e\x8b\xe8\xb7\xaf\xe7\x94\xb1");
    run(&b);
    chat(&b, "20000 tiny messages", 20000, 8, "ok then!");
    run(&b);
    return 0;
}
