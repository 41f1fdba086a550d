/* SPDX-License-Identifier: MIT */
/* The reader finds the blank line that ends a frame with a small state machine that remembers where
 * the last piece stopped, so no byte is looked at twice; the frame's lines are read when it is
 * whole.
 *
 * A CR may be the first half of CRLF. When a blank line is a CR and the line before it ended with
 * CR alone, the frame ends there; otherwise the next byte decides, so that a CRLF pair always stays
 * in one frame, whatever the pieces. */
#include "proto/http/sse.h"

#include <string.h>
#include <uv.h>

enum { SR_LINE_START, SR_LINE, SR_LINE_CR, SR_BLANK_CR };
enum { EOL_LF, EOL_CR };
enum { KEEP_BYTES = 16 * 1024 }; /* more than this is given back after the frame */

void sse_reader_init(struct sse_reader *r, size_t max_bytes)
{
    *r = (struct sse_reader){.state = SR_LINE_START};
    rm_buf_init(&r->held, max_bytes);
    rm_buf_init(&r->data, max_bytes);
}

void sse_reader_clear(struct sse_reader *r)
{
    size_t max = r->held.max;

    rm_buf_clear(&r->held);
    rm_buf_clear(&r->data);
    sse_reader_init(r, max);
}

size_t sse_reader_held(const struct sse_reader *r)
{
    return r->held.len;
}

/* ---- one whole frame ---- */

/* First CR or LF in p[0..n), or n. */
static size_t line_len(const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n), *cr;

    if (lf != NULL)
        n = (size_t)(lf - p);
    cr = memchr(p, '\r', n);
    return cr != NULL ? (size_t)(cr - p) : n;
}

/* Bytes of the line end at p: CRLF is one. */
static size_t eol_len(const char *p, size_t n)
{
    if (n == 0)
        return 0;
    return n > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 1;
}

static int frame_data(struct sse_reader *r, struct sse_event *e, struct rm_slice value)
{
    int err = 0;

    if (!e->has_data) {
        e->has_data = true;
        e->data = value;
        return 0;
    }
    if (e->data.p != r->data.data || r->data.len == 0) {
        r->data.len = 0;
        err = rm_buf_put(&r->data, e->data.p, e->data.n);
    }
    if (err == 0)
        err = rm_buf_put(&r->data, "\n", 1);
    if (err == 0)
        err = rm_buf_put(&r->data, value.p, value.n);
    e->data = (struct rm_slice){r->data.data, r->data.len};
    return err;
}

static int frame_line(struct sse_reader *r, struct sse_event *e, struct rm_slice line)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct rm_slice name = line, value = {line.p + line.n, 0};

    if (colon != NULL) {
        name.n = (size_t)(colon - line.p);
        value = (struct rm_slice){colon + 1, line.n - name.n - 1};
        if (value.n > 0 && value.p[0] == ' ') {
            value.p++;
            value.n--;
        }
    }
    if (rm_slice_eq(name, "data"))
        return frame_data(r, e, value);
    if (rm_slice_eq(name, "event"))
        e->type = value;
    else if (rm_slice_eq(name, "id") && (value.n == 0 || memchr(value.p, '\0', value.n) == NULL))
        e->id = value;
    return 0;
}

static int frame_read(struct sse_reader *r, struct rm_slice raw,
                      int (*on_event)(void *, const struct sse_event *), void *arg)
{
    struct sse_event e = {.has_data = false};
    bool any = false;
    size_t n;
    int err;

    if (raw.n > r->held.max)
        return RM_ERR_TOO_BIG;
    if (!r->bom_done && raw.n >= 3 && memcmp(raw.p, "\xef\xbb\xbf", 3) == 0) {
        raw.p += 3;
        raw.n -= 3;
    }
    r->bom_done = true;
    e.raw = raw;
    for (struct rm_slice rest = raw; rest.n > 0; rest.p += n, rest.n -= n) {
        n = line_len(rest.p, rest.n);
        any = any || n > 0;
        if (n > 0 && (err = frame_line(r, &e, (struct rm_slice){rest.p, n})) < 0)
            return err;
        n += eol_len(rest.p + n, rest.n - n);
    }
    return any ? on_event(arg, &e) : 0;
}

/* ---- frames out of bytes ---- */

/* Moves over p[*i..n), at least one byte or to another state. Returns true when a frame ends at *i.
 * `fresh`: not a byte of this frame has come yet, so a blank line is only skipped. */
static bool frame_ends(struct sse_reader *r, const char *p, size_t n, size_t *i, bool fresh)
{
    char c = p[*i];

    switch (r->state) {
    case SR_LINE_START:
        if (c != '\n' && c != '\r') {
            r->state = SR_LINE;
            return false;
        }
        *i += 1;
        if (fresh)
            return false;
        if (c == '\n' || r->eol == EOL_CR)
            return true;
        r->state = SR_BLANK_CR;
        return false;
    case SR_LINE:
        *i += line_len(p + *i, n - *i);
        if (*i < n) {
            r->eol = EOL_LF;
            r->state = p[*i] == '\r' ? SR_LINE_CR : SR_LINE_START;
            *i += 1;
        }
        return false;
    case SR_LINE_CR:
        r->state = SR_LINE_START;
        r->eol = c == '\n' ? EOL_LF : EOL_CR;
        *i += c == '\n';
        return false;
    default: /* SR_BLANK_CR */
        *i += c == '\n';
        return true;
    }
}

/* The frame ends with these bytes. */
static int frame_done(struct sse_reader *r, struct rm_slice piece,
                      int (*on_event)(void *, const struct sse_event *), void *arg)
{
    int err;

    r->state = SR_LINE_START;
    r->eol = EOL_LF;
    if (r->held.len == 0) {
        err = frame_read(r, piece, on_event, arg);
    } else {
        if ((err = rm_buf_put(&r->held, piece.p, piece.n)) < 0)
            return err;
        err = frame_read(r, (struct rm_slice){r->held.data, r->held.len}, on_event, arg);
        r->held.len = 0;
        if (r->held.cap > KEEP_BYTES)
            rm_buf_clear(&r->held);
    }
    r->data.len = 0;
    if (r->data.cap > KEEP_BYTES)
        rm_buf_clear(&r->data);
    return err;
}

int sse_reader_feed(struct sse_reader *r, const char *bytes, size_t n,
                    int (*on_event)(void *arg, const struct sse_event *e), void *arg)
{
    size_t start = 0, i = 0;
    int err;

    while (i < n) {
        bool fresh = r->held.len == 0 && i == start && r->state == SR_LINE_START;

        if (frame_ends(r, bytes, n, &i, fresh)) {
            err = frame_done(r, (struct rm_slice){bytes + start, i - start}, on_event, arg);
            if (err != 0)
                return err;
            start = i;
        } else if (fresh && r->state == SR_LINE_START) {
            start = i; /* a blank line before the frame */
        }
    }
    return start < n ? rm_buf_put(&r->held, bytes + start, n - start) : 0;
}

/* ---- writing ---- */

static int put_lines(struct rm_buf *out, const char *prefix, struct rm_slice text)
{
    size_t n;
    int err;
    bool more = true;

    while (more) {
        n = line_len(text.p, text.n);
        if ((err = rm_buf_puts(out, prefix)) < 0 || (err = rm_buf_put(out, text.p, n)) < 0 ||
            (err = rm_buf_put(out, "\n", 1)) < 0)
            return err;
        more = n < text.n;
        n += eol_len(text.p + n, text.n - n);
        text.p += n;
        text.n -= n;
    }
    return 0;
}

static int put_end(struct rm_buf *out, size_t before, int err)
{
    if (err == 0)
        err = rm_buf_put(out, "\n", 1);
    if (err < 0 && out->data != NULL) {
        out->len = before;
        out->data[before] = '\0';
    }
    return err;
}

int sse_put(struct rm_buf *out, const char *type, struct rm_slice data)
{
    size_t before = out->len;
    int err = 0;

    if (type != NULL && strpbrk(type, "\r\n") != NULL)
        return UV_EINVAL;
    if (data.n == 0)
        data.p = "";
    if (type != NULL)
        err = put_lines(out, "event: ", rm_slice_of(type));
    if (err == 0)
        err = put_lines(out, "data: ", data);
    return put_end(out, before, err);
}
