/* SPDX-License-Identifier: MIT */
/* The event reader: the same events and the same verdict however the bytes are cut, nothing held
 * beyond its limit, and what the writer makes of an event's data is read back as that data. */
#include <string.h>

#include "proto/http/sse.h"
#include "tests/fuzz/fuzz.h"

enum { EVENT_MAX = 200 };

static void put(struct rm_buf *b, struct rm_slice s)
{
    FUZZ_CHECK(rm_buf_printf(b, "%zu:", s.n) == 0 && rm_buf_put(b, s.p, s.n) == 0);
}

static int note(void *arg, const struct sse_event *e)
{
    struct rm_buf *b = arg;

    put(b, e->type);
    put(b, e->data);
    put(b, e->id);
    put(b, e->raw);
    FUZZ_CHECK(e->has_data || e->data.n == 0);
    FUZZ_CHECK(e->raw.n <= EVENT_MAX);
    return rm_buf_puts(b, e->has_data ? "d\n" : "-\n");
}

static int read_all(struct rm_buf *events, const char *bytes, size_t n, unsigned seed)
{
    struct sse_reader r;
    int err = 0;

    sse_reader_init(&r, EVENT_MAX);
    for (size_t i = 0, k; i < n && err == 0; i += k) {
        seed = seed * 1103515245u + 12345u;
        k = seed % 2 ? 1 : 1 + (seed >> 16) % 9;
        k = k > n - i ? n - i : k;
        err = sse_reader_feed(&r, bytes + i, k, note, events);
        FUZZ_CHECK(sse_reader_held(&r) <= EVENT_MAX);
    }
    sse_reader_clear(&r);
    return err;
}

/* ---- written and read again ---- */

static int take_data(void *arg, const struct sse_event *e)
{
    struct rm_buf *b = arg;

    FUZZ_CHECK(e->has_data && e->type.n == 0 && e->id.n == 0);
    return rm_buf_put(b, e->data.p, e->data.n);
}

static void write_and_read(struct rm_slice data)
{
    struct rm_buf frame, back, want;
    struct sse_reader r;

    rm_buf_init(&frame, data.n * 8 + 64);
    rm_buf_init(&back, data.n + 64);
    rm_buf_init(&want, data.n + 64);
    for (size_t i = 0; i < data.n; i++) { /* every line end becomes LF */
        if (data.p[i] == '\n' && i > 0 && data.p[i - 1] == '\r')
            continue;
        FUZZ_CHECK(rm_buf_put(&want, data.p[i] == '\r' ? "\n" : &data.p[i], 1) == 0);
    }
    FUZZ_CHECK(sse_put(&frame, NULL, data) == 0);
    sse_reader_init(&r, frame.max);
    FUZZ_CHECK(sse_reader_feed(&r, frame.data, frame.len, take_data, &back) == 0);
    FUZZ_CHECK(sse_reader_held(&r) == 0);
    FUZZ_CHECK(back.len == want.len);
    FUZZ_CHECK(back.len == 0 || memcmp(back.data, want.data, back.len) == 0);
    sse_reader_clear(&r);
    rm_buf_clear(&frame);
    rm_buf_clear(&back);
    rm_buf_clear(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rm_slice bytes = {(const char *)data, size};
    struct rm_buf whole, pieces;
    struct sse_reader r;
    int err;

    rm_buf_init(&whole, 64 * size + 4096);
    rm_buf_init(&pieces, 64 * size + 4096);
    sse_reader_init(&r, EVENT_MAX);
    err = sse_reader_feed(&r, bytes.p, bytes.n, note, &whole);
    sse_reader_clear(&r);
    for (unsigned seed = 0; seed < 2; seed++) {
        pieces.len = 0;
        FUZZ_CHECK(read_all(&pieces, bytes.p, bytes.n, seed + (unsigned)size) == err);
        FUZZ_CHECK(pieces.len == whole.len);
        FUZZ_CHECK(whole.len == 0 || memcmp(pieces.data, whole.data, whole.len) == 0);
    }
    rm_buf_clear(&whole);
    rm_buf_clear(&pieces);
    write_and_read(bytes);
    return 0;
}
