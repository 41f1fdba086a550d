/* SPDX-License-Identifier: MIT */
/* Raw strings and numbers of a JSON text to values. */
#include "proto/base/json_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_skim.h"
#include "proto/base/json_write.h"

int rm_json_escape_byte(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return -1;
    }
}

int rm_json_hex(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t rm_json_utf8_put(uint32_t code, unsigned char out[4])
{
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xe0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (code & 0x3f));
    return 4;
}

/* "u" and four hexadecimal digits at p, or -1. */
static int32_t unit_at(const unsigned char *p, size_t n)
{
    int32_t unit = 0;

    if (n < 5 || p[0] != 'u')
        return -1;
    for (int i = 1; i <= 4; i++) {
        int digit = rm_json_hex(p[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* The escape after a backslash: its bytes into out. *used: bytes of p. Returns their number, 0: not
 * a valid one. */
static size_t escape_at(const unsigned char *p, size_t n, size_t *used, unsigned char out[4])
{
    int c = n > 0 ? rm_json_escape_byte(p[0]) : -1;
    int32_t unit, low;

    *used = 1;
    if (c >= 0) {
        out[0] = (unsigned char)c;
        return 1;
    }
    unit = unit_at(p, n);
    *used = 5;
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return 0;
    if (unit < 0xd800 || unit > 0xdbff)
        return rm_json_utf8_put((uint32_t)unit, out);
    low = n > 5 && p[5] == '\\' ? unit_at(p + 6, n - 6) : -1;
    *used = 11;
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    return rm_json_utf8_put(0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00),
                            out);
}

/* The next stretch of a string's inside: plain bytes as they lie, or one escape in `esc`.
 * Returns 0 or RM_ERR_JSON. */
static int next_piece(const unsigned char *p, size_t n, size_t *used, struct rm_slice *piece,
                      unsigned char esc[4])
{
    size_t i = 0, len;

    if (p[0] == '\\') {
        len = escape_at(p + 1, n - 1, used, esc);
        *used += 1;
        *piece = (struct rm_slice){(const char *)esc, len};
        return len > 0 ? 0 : RM_ERR_JSON;
    }
    while (i < n && p[i] != '\\') {
        if (p[i] < 0x20 || p[i] == '"')
            return RM_ERR_JSON;
        len = p[i] < 0x80 ? 1 : rm_utf8_len((const char *)p + i, n - i);
        if (len == 0)
            return RM_ERR_JSON;
        i += len;
    }
    *used = i;
    *piece = (struct rm_slice){(const char *)p, i};
    return 0;
}

static bool quoted(struct rm_slice raw)
{
    return raw.n >= 2 && raw.p[0] == '"' && raw.p[raw.n - 1] == '"';
}

int rm_json_unquote(struct rm_slice raw, struct rm_buf *out)
{
    const unsigned char *p = (const unsigned char *)raw.p + 1;
    struct rm_slice piece;
    unsigned char esc[4];
    size_t n, used;
    int r;

    if (!quoted(raw))
        return RM_ERR_JSON;
    for (n = raw.n - 2; n > 0; p += used, n -= used)
        if ((r = next_piece(p, n, &used, &piece, esc)) < 0 ||
            (r = rm_buf_put(out, piece.p, piece.n)) < 0)
            return r;
    return 0;
}

bool rm_json_string_eq(struct rm_slice raw, const char *text)
{
    const unsigned char *p = (const unsigned char *)raw.p + 1;
    size_t left = strlen(text), n, used;
    struct rm_slice piece;
    unsigned char esc[4];

    if (!quoted(raw))
        return false;
    for (n = raw.n - 2; n > 0; p += used, n -= used) {
        if (next_piece(p, n, &used, &piece, esc) < 0 || piece.n > left ||
            memcmp(piece.p, text, piece.n) != 0)
            return false;
        text += piece.n;
        left -= piece.n;
    }
    return left == 0;
}

/* ---- numbers ---- */

static size_t digits(struct rm_slice s, size_t i)
{
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return i;
}

/* Length of the number grammar of RFC 8259 section 6 at the start of s; 0: none. *whole: neither
 * fraction nor exponent. */
static size_t number_len(struct rm_slice s, bool *whole)
{
    size_t i = s.n > 0 && s.p[0] == '-', start = i, d;

    *whole = true;
    i = digits(s, i);
    if (i == start || (s.p[start] == '0' && i > start + 1))
        return 0;
    if (i < s.n && s.p[i] == '.') {
        *whole = false;
        d = i + 1;
        i = digits(s, d);
        if (i == d)
            return 0;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        *whole = false;
        d = i + 1;
        if (d < s.n && (s.p[d] == '-' || s.p[d] == '+'))
            d++;
        i = digits(s, d);
        if (i == d)
            return 0;
    }
    return i;
}

int rm_json_dbl(struct rm_slice raw, double *out)
{
    char small[64], *copy = small;
    bool whole;
    double v;

    if (raw.n == 0 || number_len(raw, &whole) != raw.n)
        return RM_ERR_JSON;
    if (raw.n >= sizeof(small) && (copy = rm_slice_dup(raw)) == NULL)
        return RM_ERR_FIELD;
    if (copy == small) {
        memcpy(small, raw.p, raw.n);
        small[raw.n] = '\0';
    }
    v = strtod(copy, NULL);
    if (copy != small)
        free(copy);
    if (isinf(v))
        return RM_ERR_FIELD;
    *out = v;
    return 0;
}

int rm_json_int(struct rm_slice raw, int64_t *out)
{
    char text[24];
    bool whole;
    double v;
    int r;

    if (raw.n == 0 || number_len(raw, &whole) != raw.n)
        return RM_ERR_JSON;
    if (whole) {
        if (raw.n >= sizeof(text))
            return RM_ERR_FIELD;
        memcpy(text, raw.p, raw.n);
        text[raw.n] = '\0';
        errno = 0;
        *out = strtoll(text, NULL, 10);
        return errno == ERANGE ? RM_ERR_FIELD : 0;
    }
    if ((r = rm_json_dbl(raw, &v)) < 0)
        return r;
    if (v != floor(v) || fabs(v) > 9007199254740992.0) /* 2^53: beyond, doubles skip integers */
        return RM_ERR_FIELD;
    *out = (int64_t)v;
    return 0;
}
