/* SPDX-License-Identifier: MIT */
#include "proto/base/json_write.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

size_t rm_utf8_len(const char *p, size_t n)
{
    const unsigned char *b = (const unsigned char *)p;
    size_t len = b[0] < 0x80   ? 1
                 : b[0] < 0xc2 ? 0
                 : b[0] < 0xe0 ? 2
                 : b[0] < 0xf0 ? 3
                 : b[0] < 0xf5 ? 4
                               : 0;

    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] >= 0xa0) ||
        (b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] >= 0x90))
        return 0;
    return len;
}

/* The longest run from p that needs no escape. */
static size_t plain_run(const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && (unsigned char)p[i] >= 0x20 && (unsigned char)p[i] < 0x7f && p[i] != '"' &&
           p[i] != '\\')
        i++;
    return i;
}

static int put_escape(struct rm_buf *out, unsigned char c)
{
    static const char *const two[] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\b'] = "\\b", ['\f'] = "\\f",
        ['\n'] = "\\n", ['\r'] = "\\r",  ['\t'] = "\\t"};

    if (c < RM_COUNT(two) && two[c] != NULL)
        return rm_buf_put(out, two[c], 2);
    return rm_buf_printf(out, "\\u%04x", c);
}

/* Nearly every name and text: at once. */
static int quote_plain(struct rm_buf *out, struct rm_slice text)
{
    int r = rm_buf_reserve(out, text.n + 2);
    char *p;

    if (r < 0)
        return r;
    p = out->data + out->len;
    p[0] = p[text.n + 1] = '"';
    if (text.n > 0)
        memcpy(p + 1, text.p, text.n);
    p[text.n + 2] = '\0';
    out->len += text.n + 2;
    return 0;
}

int rm_json_quote(struct rm_buf *out, struct rm_slice text)
{
    size_t start = out->len, run;
    int r;

    if (plain_run(text.p, text.n) == text.n)
        return quote_plain(out, text);
    r = rm_buf_put(out, "\"", 1);
    for (size_t i = 0; r == 0 && i < text.n; i += run) {
        run = plain_run(text.p + i, text.n - i);
        if (run > 0) {
            r = rm_buf_put(out, text.p + i, run);
        } else if ((unsigned char)text.p[i] < 0x80) {
            r = put_escape(out, (unsigned char)text.p[i]);
            run = 1;
        } else if ((run = rm_utf8_len(text.p + i, text.n - i)) > 0) {
            r = rm_buf_put(out, text.p + i, run);
        } else {
            r = rm_buf_puts(out, "\xef\xbf\xbd");
            run = 1;
        }
    }
    if (r == 0)
        r = rm_buf_put(out, "\"", 1);
    if (r < 0 && out->data != NULL) {
        out->len = start; /* nothing is left of a string that did not fit */
        out->data[start] = '\0';
    }
    return r;
}

struct rm_jw rm_jw_to(struct rm_buf *out)
{
    return (struct rm_jw){.out = out};
}

static void jw_keep(struct rm_jw *w, int r)
{
    if (w->err == 0 && r < 0)
        w->err = r;
}

/* Comma and name before a value. Returns false once an error stuck. */
static bool jw_before(struct rm_jw *w, const char *key)
{
    uint32_t bit;

    if (w->err != 0)
        return false;
    if (w->depth == 0)
        return true;
    bit = 1u << (w->depth - 1);
    assert(((w->is_array & bit) != 0) == (key == NULL));
    if ((w->has_member & bit) != 0)
        jw_keep(w, rm_buf_put(w->out, ",", 1));
    w->has_member |= bit;
    if (key != NULL) {
        jw_keep(w, rm_json_quote(w->out, rm_slice_of(key)));
        jw_keep(w, rm_buf_put(w->out, ":", 1));
    }
    return w->err == 0;
}

static void jw_open(struct rm_jw *w, const char *key, const char *mark, bool array)
{
    uint32_t bit;

    if (!jw_before(w, key))
        return;
    assert(w->depth < RM_JW_DEPTH);
    jw_keep(w, rm_buf_put(w->out, mark, 1));
    bit = 1u << w->depth++;
    w->has_member &= ~bit;
    w->is_array = array ? w->is_array | bit : w->is_array & ~bit;
}

void rm_jw_obj(struct rm_jw *w, const char *key)
{
    jw_open(w, key, "{", false);
}

void rm_jw_arr(struct rm_jw *w, const char *key)
{
    jw_open(w, key, "[", true);
}

void rm_jw_end(struct rm_jw *w)
{
    if (w->err != 0)
        return;
    assert(w->depth > 0);
    w->depth--;
    jw_keep(w, rm_buf_put(w->out, (w->is_array & (1u << w->depth)) != 0 ? "]" : "}", 1));
}

void rm_jw_slice(struct rm_jw *w, const char *key, struct rm_slice text)
{
    if (jw_before(w, key))
        jw_keep(w, rm_json_quote(w->out, text));
}

void rm_jw_str(struct rm_jw *w, const char *key, const char *text)
{
    if (text == NULL)
        rm_jw_null(w, key);
    else
        rm_jw_slice(w, key, rm_slice_of(text));
}

void rm_jw_u64(struct rm_jw *w, const char *key, uint64_t v)
{
    if (jw_before(w, key))
        jw_keep(w, rm_buf_put_u64(w->out, v));
}

void rm_jw_i64(struct rm_jw *w, const char *key, int64_t v)
{
    if (jw_before(w, key))
        jw_keep(w, rm_buf_printf(w->out, "%" PRId64, v));
}

/* A list may hold ten thousand numbers: each is formatted once. */
static int put_double(struct rm_buf *out, int digits, double v)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.*g", digits, v);

    return rm_buf_put(out, text, (size_t)n);
}

void rm_jw_dbl(struct rm_jw *w, const char *key, double v)
{
    if (!isfinite(v))
        rm_jw_null(w, key);
    else if (jw_before(w, key))
        jw_keep(w, put_double(w->out, 9, v));
}

void rm_jw_exact(struct rm_jw *w, const char *key, double v)
{
    if (!isfinite(v))
        rm_jw_null(w, key);
    else if (jw_before(w, key))
        jw_keep(w, put_double(w->out, 17, v));
}

void rm_jw_bool(struct rm_jw *w, const char *key, bool v)
{
    if (jw_before(w, key))
        jw_keep(w, rm_buf_puts(w->out, v ? "true" : "false"));
}

void rm_jw_raw(struct rm_jw *w, const char *key, struct rm_slice json)
{
    if (jw_before(w, key))
        jw_keep(w, rm_buf_put(w->out, json.p, json.n));
}

void rm_jw_null(struct rm_jw *w, const char *key)
{
    if (jw_before(w, key))
        jw_keep(w, rm_buf_puts(w->out, "null"));
}

int rm_jw_done(const struct rm_jw *w)
{
    return w->err;
}
