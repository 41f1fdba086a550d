/* SPDX-License-Identifier: MIT */
/* The HTTP parser, in both roles: the same heads, bodies and verdict however the bytes are cut;
 * nothing over a limit is let through; framing that is let through is unambiguous. */
#include <string.h>

#include "proto/http/parser.h"
#include "tests/fuzz/fuzz.h"

static const struct http_limits limits = {
    .fields = 20,
    .name_bytes = 64,
    .value_bytes = 256,
    .head_bytes = 1024,
    .target_bytes = 128,
    .interim = 2,
    .body_bytes = 4096,
};

struct run {
    struct http_parser *parser;
    struct rm_buf said;
    uint64_t body;
    int fed_err;
};

static void put(struct rm_buf *b, struct rm_slice s)
{
    FUZZ_CHECK(rm_buf_printf(b, "%zu:", s.n) == 0 && rm_buf_put(b, s.p, s.n) == 0);
}

static bool clean(struct rm_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
            return false;
    return true;
}

static int on_head(void *arg, const struct http_head *h)
{
    struct run *run = arg;
    const bool length = http_head_find(h, "Content-Length") != NULL;
    const bool coding = http_head_find(h, "Transfer-Encoding") != NULL;

    run->body = 0;
    FUZZ_CHECK(!(length && coding) && h->minor <= 1 && h->n_fields <= limits.fields);
    FUZZ_CHECK(h->framing != HTTP_BODY_CHUNKED || (coding && h->minor == 1));
    FUZZ_CHECK(h->framing != HTTP_BODY_LENGTH || (length && h->content_length > 0));
    FUZZ_CHECK(h->target.n <= limits.target_bytes && clean(h->target) && clean(h->host));
    FUZZ_CHECK(h->status == 0 || (h->status >= 200 && h->status <= 599));
    put(&run->said, h->method_text);
    put(&run->said, h->path);
    put(&run->said, h->query);
    for (uint32_t i = 0; i < h->n_fields; i++) {
        FUZZ_CHECK(h->fields[i].name.n > 0 && h->fields[i].name.n <= limits.name_bytes);
        FUZZ_CHECK(h->fields[i].value.n <= limits.value_bytes);
        FUZZ_CHECK(clean(h->fields[i].name) && clean(h->fields[i].value));
        put(&run->said, h->fields[i].name);
        put(&run->said, h->fields[i].value);
    }
    return 0;
}

static int on_body(void *arg, const char *bytes, size_t n)
{
    struct run *run = arg;

    run->body += n;
    FUZZ_CHECK(run->body <= limits.body_bytes);
    return rm_buf_put(&run->said, bytes, n);
}

static int on_end(void *arg)
{
    return rm_buf_puts(&((struct run *)arg)->said, "\nend\n");
}

static const struct http_parser_ops ops = {on_head, on_body, on_end};

static void feed(struct run *run, const char *bytes, size_t n)
{
    size_t at = 0, used;

    while (at < n && run->fed_err >= 0) {
        run->fed_err = http_parser_feed(run->parser, bytes + at, n - at, &used);
        FUZZ_CHECK(used <= n - at && (run->fed_err != 0 || used == n - at));
        at += used;
    }
}

/* step 0: whole; else pieces of at most step bytes. */
static void read_all(struct run *run, enum http_role role, const char *bytes, size_t n, size_t step)
{
    memset(run, 0, sizeof(*run));
    rm_buf_init(&run->said, 64 * n + 65536);
    FUZZ_CHECK(http_parser_new(role, &limits, &ops, run, &run->parser) == 0);
    for (size_t at = 0, k; at < n; at += k) {
        k = step == 0 || step > n - at ? n - at : step;
        feed(run, bytes + at, k);
    }
    if (run->fed_err >= 0)
        run->fed_err = http_parser_eof(run->parser);
    http_parser_free(run->parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int role = HTTP_PARSE_REQUEST; role <= HTTP_PARSE_RESPONSE; role++) {
        struct run whole, cut;

        read_all(&whole, (enum http_role)role, (const char *)data, size, 0);
        for (size_t step = 1; step <= 7; step += 6) {
            read_all(&cut, (enum http_role)role, (const char *)data, size, step);
            FUZZ_CHECK(cut.fed_err == whole.fed_err && cut.said.len == whole.said.len);
            FUZZ_CHECK(cut.said.len == 0 ||
                       memcmp(cut.said.data, whole.said.data, cut.said.len) == 0);
            rm_buf_clear(&cut.said);
        }
        rm_buf_clear(&whole.said);
    }
    return 0;
}
