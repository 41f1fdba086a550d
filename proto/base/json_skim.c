/* SPDX-License-Identifier: MIT */
/* The machine: one step function per state takes what it can of the bytes at hand and returns how
 * many it took; 0 only when it moved to another state. s->at is the offset of the bytes handed to
 * the step, so "s->at + i" is an absolute offset wherever the text was cut into pieces. */
#include "proto/base/json_skim.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/json_text.h"
#include "proto/base/json_write.h"

enum sk_state {
    SK_START,      /* before the root */
    SK_KEY_OR_END, /* after '{' */
    SK_KEY,        /* after ',' in an object */
    SK_COLON,
    SK_VALUE_OR_END, /* after '[' */
    SK_VALUE,
    SK_AFTER, /* after a value: ',' or the end of its container */
    SK_STRING,
    SK_UTF8, /* inside a sequence of several bytes that the pieces have cut */
    SK_ESCAPE,
    SK_HEX,
    SK_LOW_SLASH, /* a first surrogate was read: "\u" of the second must follow */
    SK_LOW_U,
    SK_LITERAL,
    SK_MINUS,
    SK_ZERO,
    SK_INT,
    SK_DOT,
    SK_FRAC,
    SK_E,
    SK_E_SIGN,
    SK_EXP,
    SK_DONE, /* after the root */
    SK_STATES
};

static size_t fail(struct rm_skim *s, size_t i, const char *what)
{
    s->err = RM_ERR_JSON;
    s->error_text = what;
    s->error_offset = s->at + (uint32_t)i;
    return i;
}

static size_t blanks(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t'))
        i++;
    return i;
}

static bool in_array(const struct rm_skim *s)
{
    return (s->is_array >> (s->depth - 1)) & 1;
}

/* ---- the key of a top-level member ---- */

static uint64_t hash_bytes(uint64_t h, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
#define HASH_START 0xcbf29ce484222325u /* FNV-1a, 64 bits */

static void name_put(struct rm_skim *s, const unsigned char *p, size_t n)
{
    if (s->name_n < sizeof(s->name))
        memcpy(s->name + s->name_n, p,
               n < sizeof(s->name) - s->name_n ? n : sizeof(s->name) - s->name_n);
    s->name_n += (uint32_t)n;
    s->name_hash = hash_bytes(s->name_hash, p, n);
}

static bool name_is(const struct rm_skim *s, const char *text)
{
    return s->name_n == strlen(text) && memcmp(s->name, text, s->name_n) == 0;
}

static int member_begin(struct rm_skim *s, size_t i)
{
    uint32_t cap = s->members_cap > 0 ? s->members_cap * 2 : 16;
    struct rm_json_member *grown;

    if (s->n_members == RM_SKIM_MEMBERS) {
        fail(s, i, "more than 1024 members in the object");
        return -1;
    }
    if (s->n_members == s->members_cap) {
        grown = realloc(s->members, cap * sizeof(*grown));
        if (grown == NULL) {
            s->err = UV_ENOMEM;
            s->error_text = "out of memory";
            return -1;
        }
        s->members = grown;
        s->members_cap = cap;
    }
    s->members[s->n_members] = (struct rm_json_member){.key.offset = s->at + (uint32_t)i};
    s->name_n = 0;
    s->name_hash = HASH_START;
    s->naming = true;
    return 0;
}

static size_t member_named(struct rm_skim *s, size_t i)
{
    struct rm_json_member *m = &s->members[s->n_members];

    s->naming = false;
    m->key.len = s->at + (uint32_t)i - m->key.offset;
    m->key_hash = s->name_hash;
    for (uint32_t k = 0; k < s->n_members; k++)
        if (s->members[k].key_hash == m->key_hash)
            return fail(s, i - 1, "the same key twice");
    return i;
}

/* ---- values ---- */

static int item_put(struct rm_skim *s, uint32_t end)
{
    struct rm_skim_items *items = s->items;
    uint32_t cap = items->cap > 0 ? items->cap * 2 : 32;
    struct rm_span *grown;

    if (items->total++ >= RM_SKIM_ITEMS)
        return 0;
    if (items->n == items->cap) {
        grown = realloc(items->v, cap * sizeof(*grown));
        if (grown == NULL) {
            s->err = UV_ENOMEM;
            s->error_text = "out of memory";
            return -1;
        }
        items->v = grown;
        items->cap = cap;
    }
    items->v[items->n++] = (struct rm_span){s->item_at, end - s->item_at};
    return 0;
}

/* A value ended before offset s->at + i. */
static void value_end(struct rm_skim *s, size_t i)
{
    uint32_t end = s->at + (uint32_t)i;
    struct rm_json_member *m;

    if (s->depth == 1) {
        m = &s->members[s->n_members++];
        m->value.len = end - m->value.offset;
        s->items = NULL;
    } else if (s->depth == 2 && s->items != NULL && item_put(s, end) < 0) {
        return;
    }
    s->state = s->depth == 0 ? SK_DONE : SK_AFTER;
}

static size_t push(struct rm_skim *s, size_t i, bool array)
{
    if (s->depth == RM_SKIM_DEPTH)
        return fail(s, i, "nested more than 64 deep");
    if (array)
        s->is_array |= (uint64_t)1 << s->depth;
    else
        s->is_array &= ~((uint64_t)1 << s->depth);
    s->depth++;
    s->state = array ? SK_VALUE_OR_END : SK_KEY_OR_END;
    return i + 1;
}

static size_t pop(struct rm_skim *s, size_t i)
{
    s->depth--;
    value_end(s, i + 1);
    return i + 1;
}

static void number_begin(struct rm_skim *s, unsigned char c);

static size_t value_of(struct rm_skim *s, size_t i, unsigned char c, enum rm_json_type *type)
{
    switch (c) {
    case '{':
        *type = RM_JSON_OBJECT;
        return push(s, i, false);
    case '[':
        *type = RM_JSON_ARRAY;
        return push(s, i, true);
    case '"':
        *type = RM_JSON_STRING;
        s->in_key = false;
        s->state = SK_STRING;
        return i + 1;
    case 't':
        *type = RM_JSON_TRUE;
        s->literal = "rue";
        break;
    case 'f':
        *type = RM_JSON_FALSE;
        s->literal = "alse";
        break;
    case 'n':
        *type = RM_JSON_NULL;
        s->literal = "ull";
        break;
    default:
        if (c != '-' && (c < '0' || c > '9'))
            return fail(s, i, "a value was expected");
        *type = RM_JSON_NUMBER;
        number_begin(s, c);
        return i + 1;
    }
    s->state = SK_LITERAL;
    return i + 1;
}

static size_t value_begin(struct rm_skim *s, size_t i, unsigned char c)
{
    bool member = s->depth == 1, item = s->depth == 2 && s->items != NULL;
    enum rm_json_type type = 0;
    size_t used = value_of(s, i, c, &type);

    if (s->err != 0)
        return used;
    if (member) {
        struct rm_json_member *m = &s->members[s->n_members];

        m->value.offset = s->at + (uint32_t)i;
        m->type = type;
        if (type == RM_JSON_ARRAY)
            s->items = name_is(s, "messages") ? &s->messages
                       : name_is(s, "input")  ? &s->input
                                              : NULL;
    } else if (item) {
        s->item_at = s->at + (uint32_t)i;
    }
    return used;
}

/* ---- steps: structure ---- */

static size_t step_start(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    if (i == n)
        return i;
    if (p[i] != '{')
        return fail(s, i, p[i] == 0xef ? "a byte order mark" : "the text is not an object");
    return push(s, i, false);
}

static size_t key_begin(struct rm_skim *s, size_t i)
{
    s->in_key = true;
    if (s->depth == 1 && member_begin(s, i) < 0)
        return i;
    s->state = SK_STRING;
    return i + 1;
}

static size_t step_key_or_end(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    if (i == n)
        return i;
    if (p[i] == '"')
        return key_begin(s, i);
    return p[i] == '}' ? pop(s, i) : fail(s, i, "a key or '}' was expected");
}

static size_t step_key(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    if (i == n)
        return i;
    return p[i] == '"' ? key_begin(s, i) : fail(s, i, "a key was expected");
}

static size_t step_colon(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    if (i == n)
        return i;
    if (p[i] != ':')
        return fail(s, i, "':' was expected");
    s->state = SK_VALUE;
    return i + 1;
}

static size_t step_value(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    return i == n ? i : value_begin(s, i, p[i]);
}

static size_t step_value_or_end(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    if (i == n)
        return i;
    return p[i] == ']' ? pop(s, i) : value_begin(s, i, p[i]);
}

static size_t step_after(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);
    bool array = in_array(s);

    if (i == n)
        return i;
    if (p[i] == ',') {
        s->state = array ? SK_VALUE : SK_KEY;
        return i + 1;
    }
    if (p[i] == (array ? ']' : '}'))
        return pop(s, i);
    return fail(s, i, array ? "',' or ']' was expected" : "',' or '}' was expected");
}

static size_t step_literal(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && *s->literal != '\0') {
        if (p[i] != (unsigned char)*s->literal)
            return fail(s, i, "a value was expected");
        s->literal++;
        i++;
    }
    if (*s->literal == '\0')
        value_end(s, i);
    return i;
}

static size_t step_done(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = blanks(p, n);

    return i == n ? i : fail(s, i, "text after the object");
}

/* ---- steps: strings ---- */

static uint64_t load8(const unsigned char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

/* Not 0 when one of the eight bytes is a quote, a backslash, a control byte or not ASCII: then the
 * top bit of that byte is set. A borrow may mark bytes above the lowest such one by mistake. */
static uint64_t special8(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');

    return ((quote - ones) | (slash - ones) | (w - ones * 0x20) | w) & tops;
}

/* Sixteen bytes as one vector of the compiler's: SSE2 on x86-64, NEON on arm64. */
typedef int8_t bytes16 __attribute__((vector_size(16)));

/* As special8, per byte; one signed comparison finds both control bytes and what is not ASCII. */
static bytes16 special16(const unsigned char *p)
{
    bytes16 v;

    memcpy(&v, p, sizeof(v));
    return (v < 0x20) | (v == '"') | (v == '\\');
}

static bool any16(bytes16 v)
{
    uint64_t half[2];

    memcpy(half, &v, sizeof(half));
    return (half[0] | half[1]) != 0;
}

/* Whole vectors of bytes that stand for themselves; strings are mostly shorter than one. */
static size_t plain_vectors(const unsigned char *p, size_t n)
{
    size_t i = 16;

    if (n < 16 || any16(special16(p)))
        return 0;
    while (n - i >= 64 && !any16(special16(p + i) | special16(p + i + 16) | special16(p + i + 32) |
                                 special16(p + i + 48)))
        i += 64;
    while (n - i >= 16 && !any16(special16(p + i)))
        i += 16;
    return i;
}

/* Bytes at p that stand for themselves in a string. */
static size_t plain_run(const unsigned char *p, size_t n)
{
    uint64_t special = n >= 8 ? special8(load8(p)) : 0;
    size_t i = special == 0 ? plain_vectors(p, n) : 0; /* most strings end in their first bytes */

    for (; n - i >= 8; i += 8)
        if ((special = special8(load8(p + i))) != 0) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ /* the lowest mark is always right: see special8 */
            return i + (size_t)__builtin_ctzll(special) / 8;
#else
            break;
#endif
        }
    while (i < n && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static bool follows(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes at p that are whole sequences of two to four; the usual ones without a call. */
static size_t wide_run(const unsigned char *p, size_t n)
{
    size_t i = 0, len;

    while (i < n && p[i] >= 0x80) {
        unsigned char c = p[i];

        if (n - i >= 3 && c > 0xe0 && c < 0xf0 && c != 0xed && follows(p[i + 1]) &&
            follows(p[i + 2]))
            len = 3;
        else if (n - i >= 2 && c >= 0xc2 && c < 0xe0 && follows(p[i + 1]))
            len = 2;
        else if ((len = rm_utf8_len((const char *)p + i, n - i)) == 0)
            break;
        i += len;
    }
    return i;
}

static size_t string_end(struct rm_skim *s, size_t i)
{
    if (!s->in_key) {
        value_end(s, i);
        return i;
    }
    s->state = SK_COLON;
    return s->naming ? member_named(s, i) : i;
}

/* The first byte of a sequence that is damaged or cut by the end of the piece: which bytes may
 * follow it (RFC 3629, section 4). */
static size_t utf8_begin(struct rm_skim *s, size_t i, unsigned char c)
{
    if (c < 0xc2 || c > 0xf4)
        return fail(s, i, "not UTF-8");
    s->utf8_need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    s->utf8_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    s->utf8_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    s->state = SK_UTF8;
    if (s->naming)
        name_put(s, &c, 1);
    return i + 1;
}

static size_t step_utf8(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (p[0] < s->utf8_low || p[0] > s->utf8_high)
        return fail(s, 0, "not UTF-8");
    s->utf8_low = 0x80;
    s->utf8_high = 0xbf;
    if (--s->utf8_need == 0)
        s->state = SK_STRING;
    if (s->naming)
        name_put(s, p, 1);
    return 1;
}

static size_t step_string(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = 0, run;

    while (i < n) {
        run = plain_run(p + i, n - i);
        if (i + run < n && p[i + run] >= 0x80)
            run += wide_run(p + i + run, n - i - run);
        if (s->naming)
            name_put(s, p + i, run);
        i += run;
        if (i == n)
            break;
        if (p[i] == '"')
            return string_end(s, i + 1);
        if (p[i] == '\\') {
            s->state = SK_ESCAPE;
            return i + 1;
        }
        if (p[i] < 0x20)
            return fail(s, i, "a control byte in a string");
        if (p[i] >= 0x80)
            return utf8_begin(s, i, p[i]);
    }
    return i;
}

static size_t step_escape(struct rm_skim *s, const unsigned char *p, size_t n)
{
    int c = rm_json_escape_byte(p[0]);
    unsigned char byte = (unsigned char)c;

    (void)n;
    if (p[0] == 'u') {
        s->hex = s->high = 0;
        s->hex_n = 0;
        s->state = SK_HEX;
        return 1;
    }
    if (c < 0)
        return fail(s, 0, "an unknown escape");
    if (s->naming)
        name_put(s, &byte, 1);
    s->state = SK_STRING;
    return 1;
}

static size_t step_low_slash(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (p[0] != '\\')
        return fail(s, 0, "half a surrogate pair");
    s->state = SK_LOW_U;
    return 1;
}

static size_t step_low_u(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (p[0] != 'u')
        return fail(s, 0, "half a surrogate pair");
    s->hex = 0;
    s->hex_n = 0;
    s->state = SK_HEX;
    return 1;
}

/* Four digits are there. */
static size_t hex_end(struct rm_skim *s, size_t i)
{
    bool low = s->hex >= 0xdc00 && s->hex <= 0xdfff;
    unsigned char utf8[4];
    uint32_t code = s->hex;

    if (low != (s->high != 0))
        return fail(s, i, "half a surrogate pair");
    if (code >= 0xd800 && code <= 0xdbff) {
        s->high = code;
        s->state = SK_LOW_SLASH;
        return i + 1;
    }
    if (low)
        code = 0x10000 + ((s->high - 0xd800) << 10) + (code - 0xdc00);
    if (s->naming)
        name_put(s, utf8, rm_json_utf8_put(code, utf8));
    s->high = 0;
    s->state = SK_STRING;
    return i + 1;
}

static size_t step_hex(struct rm_skim *s, const unsigned char *p, size_t n)
{
    int digit;

    for (size_t i = 0; i < n; i++) {
        digit = rm_json_hex(p[i]);
        if (digit < 0)
            return fail(s, i, "four hexadecimal digits were expected");
        s->hex = s->hex << 4 | (uint32_t)digit;
        if (++s->hex_n == 4)
            return hex_end(s, i);
    }
    return n;
}

/* ---- steps: numbers ---- */

enum { EXP_MAX = 100000000, SCALE_MAX = 1000000000 };

/* One digit before the point. */
static void digit_int(struct rm_skim *s, unsigned char c)
{
    if (s->num.n == 0 && c == '0')
        return;
    if (s->num.n > 0 && s->num.scale < SCALE_MAX)
        s->num.scale++;
    if (s->num.n < sizeof(s->num.digits))
        s->num.digits[s->num.n++] = (char)c;
}

static void digit_frac(struct rm_skim *s, unsigned char c)
{
    if (s->num.n == 0) {
        if (s->num.scale > -SCALE_MAX)
            s->num.scale--;
        if (c == '0')
            return;
    }
    if (s->num.n < sizeof(s->num.digits))
        s->num.digits[s->num.n++] = (char)c;
}

static void number_begin(struct rm_skim *s, unsigned char c)
{
    s->num.n = 0;
    s->num.scale = s->num.exp = 0;
    s->num.neg_exp = false;
    s->state = c == '-' ? SK_MINUS : c == '0' ? SK_ZERO : SK_INT;
    if (c != '-')
        digit_int(s, c);
}

/* Only near the greatest double the digits decide; 24 of them are far more than a double has. */
static bool number_fits(const struct rm_skim *s)
{
    int64_t scale = (int64_t)s->num.scale + (s->num.neg_exp ? -s->num.exp : s->num.exp);
    char text[40];
    size_t n = s->num.n;

    if (n == 0 || scale < 308)
        return true;
    if (scale > 308)
        return false;
    text[0] = s->num.digits[0];
    text[1] = '.';
    memcpy(text + 2, s->num.digits + 1, n - 1);
    memcpy(text + 1 + n, "e308", 5);
    if (n == 1)
        memcpy(text + 1, "e308", 5);
    return !isinf(strtod(text, NULL));
}

/* The byte at s->at + i is no part of the number any more; the next step takes it. */
static size_t number_end(struct rm_skim *s, size_t i)
{
    if (!number_fits(s))
        return fail(s, i, "a number that does not fit a double");
    value_end(s, i);
    return i;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static size_t step_minus(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (!is_digit(p[0]))
        return fail(s, 0, "a digit was expected");
    s->state = p[0] == '0' ? SK_ZERO : SK_INT;
    digit_int(s, p[0]);
    return 1;
}

/* After a whole part or a fraction. */
static size_t number_goes_on(struct rm_skim *s, const unsigned char *p, size_t i, bool dot)
{
    if (p[i] == '.' && dot) {
        s->state = SK_DOT;
        return i + 1;
    }
    if (p[i] == 'e' || p[i] == 'E') {
        s->state = SK_E;
        return i + 1;
    }
    return number_end(s, i);
}

static size_t step_zero(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (is_digit(p[0]))
        return fail(s, 0, "a number with a leading zero");
    return number_goes_on(s, p, 0, true);
}

static size_t step_int(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = 0;

    for (; i < n && is_digit(p[i]); i++)
        digit_int(s, p[i]);
    return i == n ? i : number_goes_on(s, p, i, true);
}

static size_t step_dot(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (!is_digit(p[0]))
        return fail(s, 0, "a digit was expected");
    digit_frac(s, p[0]);
    s->state = SK_FRAC;
    return 1;
}

static size_t step_frac(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = 0;

    for (; i < n && is_digit(p[i]); i++)
        digit_frac(s, p[i]);
    return i == n ? i : number_goes_on(s, p, i, false);
}

static void digit_exp(struct rm_skim *s, unsigned char c)
{
    if (s->num.exp < EXP_MAX)
        s->num.exp = s->num.exp * 10 + (c - '0');
    s->state = SK_EXP;
}

static size_t step_e_sign(struct rm_skim *s, const unsigned char *p, size_t n)
{
    (void)n;
    if (!is_digit(p[0]))
        return fail(s, 0, "a digit was expected");
    digit_exp(s, p[0]);
    return 1;
}

static size_t step_e(struct rm_skim *s, const unsigned char *p, size_t n)
{
    if (p[0] != '-' && p[0] != '+')
        return step_e_sign(s, p, n);
    s->num.neg_exp = p[0] == '-';
    s->state = SK_E_SIGN;
    return 1;
}

static size_t step_exp(struct rm_skim *s, const unsigned char *p, size_t n)
{
    size_t i = 0;

    for (; i < n && is_digit(p[i]); i++)
        digit_exp(s, p[i]);
    return i == n ? i : number_end(s, i);
}

static size_t (*const sk_step[SK_STATES])(struct rm_skim *, const unsigned char *, size_t) = {
    [SK_START] = step_start,
    [SK_KEY_OR_END] = step_key_or_end,
    [SK_KEY] = step_key,
    [SK_COLON] = step_colon,
    [SK_VALUE_OR_END] = step_value_or_end,
    [SK_VALUE] = step_value,
    [SK_AFTER] = step_after,
    [SK_STRING] = step_string,
    [SK_UTF8] = step_utf8,
    [SK_ESCAPE] = step_escape,
    [SK_HEX] = step_hex,
    [SK_LOW_SLASH] = step_low_slash,
    [SK_LOW_U] = step_low_u,
    [SK_LITERAL] = step_literal,
    [SK_MINUS] = step_minus,
    [SK_ZERO] = step_zero,
    [SK_INT] = step_int,
    [SK_DOT] = step_dot,
    [SK_FRAC] = step_frac,
    [SK_E] = step_e,
    [SK_E_SIGN] = step_e_sign,
    [SK_EXP] = step_exp,
    [SK_DONE] = step_done,
};

/* ---- the contract ---- */

void rm_skim_init(struct rm_skim *s)
{
    *s = (struct rm_skim){.state = SK_START};
}

void rm_skim_clear(struct rm_skim *s)
{
    free(s->members);
    free(s->messages.v);
    free(s->input.v);
    rm_skim_init(s);
}

void rm_skim_reset(struct rm_skim *s)
{
    struct rm_skim old = *s;

    rm_skim_init(s);
    s->members = old.members;
    s->members_cap = old.members_cap;
    s->messages.v = old.messages.v;
    s->messages.cap = old.messages.cap;
    s->input.v = old.input.v;
    s->input.cap = old.input.cap;
}

int rm_skim_feed(struct rm_skim *s, const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    size_t used;

    if (s->err == 0 && n > UINT32_MAX - s->at) {
        fail(s, 0, "the text is over 4 GiB");
        s->err = RM_ERR_TOO_BIG;
    }
    while (n > 0 && s->err == 0) {
        used = sk_step[s->state](s, p, n);
        s->at += (uint32_t)used;
        p += used;
        n -= used;
    }
    return s->err;
}

int rm_skim_end(struct rm_skim *s)
{
    if (s->err == 0 && s->state != SK_DONE)
        fail(s, 0, s->state == SK_START ? "empty" : "the text ends too early");
    return s->err;
}

struct rm_slice rm_span_of(struct rm_slice body, struct rm_span span)
{
    assert((size_t)span.offset + span.len <= body.n);
    return (struct rm_slice){body.p + span.offset, span.len};
}

const struct rm_json_member *rm_skim_member(const struct rm_skim *s, struct rm_slice body,
                                            const char *name)
{
    uint64_t hash = hash_bytes(HASH_START, (const unsigned char *)name, strlen(name));

    for (uint32_t i = 0; i < s->n_members; i++)
        if (s->members[i].key_hash == hash &&
            rm_json_string_eq(rm_span_of(body, s->members[i].key), name))
            return &s->members[i];
    return NULL;
}

int rm_json_check(struct rm_slice text, struct rm_skim *s)
{
    int r;

    rm_skim_reset(s);
    r = rm_skim_feed(s, text.p, text.n);
    return r < 0 ? r : rm_skim_end(s);
}
