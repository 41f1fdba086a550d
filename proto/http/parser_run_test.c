/* SPDX-License-Identifier: MIT */
/* proto/http/parser_run_test.c - see parser_test.h. Linked into the parser's tests. */
#include <stdlib.h>
#include <string.h>

#include "proto/http/parser_test.h"

static void say_slice(struct rm_buf *b, const char *what, struct rm_slice s)
{
    rm_buf_printf(b, "%s(%zu)", what, s.n);
    rm_buf_put(b, s.p, s.n);
    rm_buf_puts(b, "\n");
}

static int run_on_head(void *arg, const struct http_head *h)
{
    struct parser_run *run = arg;

    run->heads++;
    for (size_t i = 0; i < h->target.n; i++)
        run->targets = (run->targets ^ (unsigned char)h->target.p[i]) * 16777619u;
    run->keep_alive = h->keep_alive;
    rm_buf_printf(&run->said, "head 1.%u %d %u %d %llu keep=%d expect=%d\n", h->minor, h->method,
                  h->status, h->framing, (unsigned long long)h->content_length, h->keep_alive,
                  h->expect_continue);
    say_slice(&run->said, "method", h->method_text);
    say_slice(&run->said, "target", h->target);
    say_slice(&run->said, "path", h->path);
    say_slice(&run->said, "query", h->query);
    say_slice(&run->said, "host", h->host);
    for (uint32_t i = 0; i < h->n_fields; i++) {
        say_slice(&run->said, "name", h->fields[i].name);
        say_slice(&run->said, "value", h->fields[i].value);
    }
    rm_buf_puts(&run->said, "body:");
    return 0;
}

static int run_on_body(void *arg, const char *bytes, size_t n)
{
    struct parser_run *run = arg;

    run->body += n;
    rm_buf_put(&run->said, bytes, n);
    return 0;
}

static int run_on_end(void *arg)
{
    struct parser_run *run = arg;

    run->messages++;
    rm_buf_puts(&run->said, "\nend\n");
    return 0;
}

static const struct http_parser_ops run_ops = {run_on_head, run_on_body, run_on_end};

size_t parser_cut_whole(size_t n, uint64_t *seed)
{
    (void)seed;
    return n;
}

size_t parser_cut_bytes(size_t n, uint64_t *seed)
{
    (void)n;
    (void)seed;
    return 1;
}

uint64_t parser_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t parser_cut_random(size_t n, uint64_t *seed)
{
    return 1 + parser_random(seed) % (n < 64 ? n : 64);
}

static int feed_piece(struct parser_run *run, const char *piece, size_t n)
{
    size_t at = 0, used;
    int r = 0;

    while (at < n && r >= 0) {
        r = http_parser_feed(run->p, piece + at, n - at, &used);
        at += used;
        if (r == 0 && at < n)
            r = RM_ERR_INTERNAL; /* "all taken" it said */
    }
    return r < 0 ? r : 0;
}

void parser_run(struct parser_run *run, enum http_role role, const struct http_limits *limits,
                const char *bytes, size_t n, bool eof, parser_cut *cut, uint64_t seed)
{
    *run = (struct parser_run){.targets = 2166136261u};
    rm_buf_init(&run->said, 8 * 1024 * 1024);
    run->err = http_parser_new(role, limits, &run_ops, run, &run->p);
    for (size_t at = 0; at < n && run->err == 0;) {
        size_t k = cut(n - at, &seed);
        char *piece = malloc(k);

        if (piece == NULL)
            abort();
        memcpy(piece, bytes + at, k);
        run->err = feed_piece(run, piece, k);
        free(piece);
        at += k;
    }
    if (run->err == 0 && eof)
        run->err = http_parser_eof(run->p);
    rm_buf_printf(&run->said, "verdict %d\n", run->err);
}

void parser_run_clear(struct parser_run *run)
{
    http_parser_free(run->p);
    rm_buf_clear(&run->said);
}
