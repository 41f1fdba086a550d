/* SPDX-License-Identifier: MIT */
/* proto/http/guard.c - one state per place in the grammar, one byte at a time.
 *
 *   request  METHOD SP TARGET SP VERSION CR LF   response  VERSION SP STATUS [SP REASON] CR LF
 *   field    NAME ":" VALUE CR LF ... CR LF
 *   chunks   SIZE [;EXT] CR LF  DATA CR LF  ...  0 CR LF  [trailer fields] CR LF */
#include "proto/http/guard.h"

#include <string.h>

enum guard_state {
    G_METHOD,
    G_TARGET,
    G_VERSION,
    G_STATUS,
    G_STATUS_END,
    G_REASON,
    G_START_LF,
    G_FIELD, /* first byte of a line */
    G_NAME,
    G_BLANK, /* blanks before the value */
    G_VALUE,
    G_VALUE_LF,
    G_END_LF,
    G_DONE,
    G_SIZE,
    G_EXT_NAME,
    G_EXT_EQUALS, /* inside the name, after its first byte */
    G_EXT_VALUE,
    G_EXT_TOKEN,
    G_EXT_QUOTED,
    G_EXT_ESCAPE,
    G_EXT_QUOTED_END,
    G_SIZE_LF,
    G_DATA,
    G_DATA_CR,
    G_DATA_LF,
};

enum { T_TOKEN = 1, T_VALUE = 2, T_TARGET = 4, T_HEX = 8, T_VISIBLE = 16 };

/* Per byte: RFC 9110 tchar; field-vchar, obs-text, SP and HTAB; what a target may hold (printable
 * ASCII without # " < > and backslash); HEXDIG; what T_VALUE has without its blanks. */
static const uint8_t byte_class[256] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,  /* controls */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* controls */
    2,  23, 18, 19, 23, 23, 23, 23, 22, 22, 23, 23, 22, 23, 23, 22, /* SP to / */
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 22, 22, 18, 22, 18, 22, /* 0 to ? */
    22, 31, 31, 31, 31, 31, 31, 23, 23, 23, 23, 23, 23, 23, 23, 23, /* @ to O */
    23, 23, 23, 23, 23, 23, 23, 23, 23, 23, 23, 22, 18, 22, 23, 23, /* P to _ */
    23, 31, 31, 31, 31, 31, 31, 23, 23, 23, 23, 23, 23, 23, 23, 23, /* ` to o */
    23, 23, 23, 23, 23, 23, 23, 23, 23, 23, 23, 22, 23, 22, 23, 0,  /* p to DEL */
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18,
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18,
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, /* obs-text */
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18,
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18,
    18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18,
};

static bool is(char c, int what)
{
    return (byte_class[(unsigned char)c] & what) != 0;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

void http_guard_init(struct http_guard *g, enum http_role role, const struct http_limits *limits)
{
    *g = (struct http_guard){.limits = limits,
                             .role = (uint8_t)role,
                             .state = role == HTTP_PARSE_REQUEST ? G_METHOD : G_VERSION};
}

void http_guard_start_chunks(struct http_guard *g)
{
    g->state = G_SIZE;
    g->at = 0;
    g->chunk = 0;
    g->body = 0;
    g->ext = 0;
}

/* ---- start line ---- */

static int read_method(struct http_guard *g, char c)
{
    if (c == ' ' && g->word > 0) {
        g->word = 0;
        g->state = G_TARGET;
        return 0;
    }
    return is(c, T_TOKEN) && ++g->word <= HTTP_GUARD_METHOD_BYTES ? 0 : RM_ERR_HTTP_SYNTAX;
}

static int read_target(struct http_guard *g, char c)
{
    if (c == ' ' && g->word > 0) {
        g->at = 0;
        g->state = G_VERSION;
        return 0;
    }
    if (!is(c, T_TARGET))
        return RM_ERR_HTTP_SYNTAX;
    return ++g->word <= g->limits->target_bytes ? 0 : RM_ERR_HTTP_TARGET;
}

static int version_known(const struct http_guard *g)
{
    return g->major == 1 && g->minor <= 1 ? 0 : RM_ERR_HTTP_VERSION;
}

/* "HTTP/" digit "." digit, then CR (requests) or SP (responses). */
static int read_version(struct http_guard *g, char c)
{
    static const char text[] = "HTTP/";
    const bool digit = c >= '0' && c <= '9';
    const uint8_t at = g->at++;

    if (at < 5)
        return c == text[at] ? 0 : RM_ERR_HTTP_SYNTAX;
    if (at == 5 && digit) {
        g->major = (uint8_t)(c - '0');
        return 0;
    }
    if (at == 6)
        return c == '.' ? 0 : RM_ERR_HTTP_SYNTAX;
    if (at == 7 && digit) {
        g->minor = (uint8_t)(c - '0');
        return 0;
    }
    if (at != 8 || c != (g->role == HTTP_PARSE_REQUEST ? '\r' : ' '))
        return RM_ERR_HTTP_SYNTAX;
    g->at = 0;
    g->state = g->role == HTTP_PARSE_REQUEST ? G_START_LF : G_STATUS;
    return version_known(g);
}

static int read_status(struct http_guard *g, char c)
{
    if (c < '0' || c > '9')
        return RM_ERR_HTTP_SYNTAX;
    g->status = (uint16_t)(g->status * 10 + (c - '0'));
    if (++g->at < 3)
        return 0;
    g->state = G_STATUS_END;
    return g->status >= 100 && g->status <= 599 ? 0 : RM_ERR_HTTP_SYNTAX;
}

static int read_reason(struct http_guard *g, char c)
{
    if (c == '\r')
        g->state = G_START_LF;
    else if (g->state == G_STATUS_END && c == ' ')
        g->state = G_REASON;
    else if (g->state == G_STATUS_END || !is(c, T_VALUE))
        return RM_ERR_HTTP_SYNTAX;
    return 0;
}

/* ---- fields ---- */

static int read_field_first(struct http_guard *g, char c)
{
    if (c == '\r') {
        g->state = G_END_LF;
        return 0;
    }
    if (!is(c, T_TOKEN))
        return RM_ERR_HTTP_SYNTAX; /* a fold, an empty name, a bare LF, a control byte */
    g->state = G_NAME;
    g->name = 1;
    return g->n_fields < g->limits->fields ? 0 : RM_ERR_HTTP_FIELDS;
}

static int read_name(struct http_guard *g, char c)
{
    if (c == ':') {
        g->state = G_BLANK;
        g->value = g->blanks = 0;
        return 0;
    }
    if (!is(c, T_TOKEN))
        return RM_ERR_HTTP_SYNTAX;
    return ++g->name <= g->limits->name_bytes ? 0 : RM_ERR_HTTP_FIELDS;
}

/* Blanks at the end do not count as value, those in the middle do. */
static int read_value(struct http_guard *g, char c)
{
    if (c == '\r') {
        g->outer_blanks |= g->blanks > 0;
        g->state = G_VALUE_LF;
        return 0;
    }
    if (!is(c, T_VALUE))
        return RM_ERR_HTTP_SYNTAX;
    if (c == ' ' || c == '\t') {
        g->blanks += g->state == G_VALUE;
        return 0;
    }
    g->state = G_VALUE;
    g->value += g->blanks + 1;
    g->blanks = 0;
    return g->value <= g->limits->value_bytes ? 0 : RM_ERR_HTTP_FIELDS;
}

static int read_lf(struct http_guard *g, char c, enum guard_state next)
{
    g->state = (uint8_t)next;
    return c == '\n' ? 0 : RM_ERR_HTTP_SYNTAX;
}

static int head_byte(struct http_guard *g, char c)
{
    switch ((enum guard_state)g->state) {
    case G_METHOD:
        return read_method(g, c);
    case G_TARGET:
        return read_target(g, c);
    case G_VERSION:
        return read_version(g, c);
    case G_STATUS:
        return read_status(g, c);
    case G_STATUS_END:
    case G_REASON:
        return read_reason(g, c);
    case G_START_LF:
        return read_lf(g, c, G_FIELD);
    case G_FIELD:
        return read_field_first(g, c);
    case G_NAME:
        return read_name(g, c);
    case G_BLANK:
    case G_VALUE:
        return read_value(g, c);
    case G_VALUE_LF:
        g->n_fields++;
        return read_lf(g, c, G_FIELD);
    case G_END_LF:
        return read_lf(g, c, G_DONE);
    default:
        return RM_ERR_HTTP_SYNTAX;
    }
}

/* The same as head_byte for as many bytes as change nothing but a count; 0: head_byte decides. */
static size_t head_run(struct http_guard *g, const char *p, size_t n)
{
    size_t i = 0, room = g->limits->head_bytes - g->block;
    uint32_t *count, most;
    int what;

    if (g->state == G_TARGET) {
        count = &g->word;
        most = g->limits->target_bytes;
        what = T_TARGET;
    } else if (g->state == G_NAME) {
        count = &g->name;
        most = g->limits->name_bytes;
        what = T_TOKEN;
    } else if (g->state == G_VALUE && g->blanks == 0) {
        count = &g->value;
        most = g->limits->value_bytes;
        what = T_VISIBLE;
    } else {
        return 0;
    }
    room = most - *count < room ? most - *count : room;
    n = n < room ? n : room;
    while (i < n && is(p[i], what))
        i++;
    *count += (uint32_t)i;
    g->block += (uint32_t)i;
    return i;
}

int http_guard_head(struct http_guard *g, const char *bytes, size_t n, size_t *used)
{
    size_t i = 0;
    int r = 0;

    while (i < n && g->state != G_DONE) {
        i += head_run(g, bytes + i, n - i);
        if (i == n)
            break;
        r = head_byte(g, bytes[i]);
        if (r == 0 && ++g->block > g->limits->head_bytes)
            r = RM_ERR_HTTP_FIELDS;
        if (r < 0)
            break;
        i++;
    }
    *used = i;
    return r < 0 ? r : g->state == G_DONE ? RM_AGAIN : 0;
}

/* ---- chunks ---- */

/* The size line is over: data, or the trailer block after a last chunk. */
static int size_done(struct http_guard *g, uint64_t body_max)
{
    if (g->chunk > body_max || g->body > body_max - g->chunk)
        return RM_ERR_BODY_TOO_LARGE;
    g->body += g->chunk;
    g->state = G_SIZE_LF;
    return 0;
}

static int read_size(struct http_guard *g, char c, uint64_t body_max)
{
    if (is(c, T_HEX)) {
        if (++g->at > 16)
            return RM_ERR_HTTP_SYNTAX;
        g->chunk = g->chunk << 4 | (uint64_t)digit_of(c);
        return 0;
    }
    if (g->at == 0)
        return RM_ERR_HTTP_SYNTAX;
    if (c == ';') {
        g->state = G_EXT_NAME;
        return 0;
    }
    return c == '\r' ? size_done(g, body_max) : RM_ERR_HTTP_SYNTAX;
}

/* After a complete name or value: another extension, the value, or the end of the line. */
static int ext_next(struct http_guard *g, char c, bool equals, uint64_t body_max)
{
    if (c == '\r')
        return size_done(g, body_max);
    if (c != ';' && !(c == '=' && equals))
        return RM_ERR_HTTP_SYNTAX;
    g->state = c == ';' ? G_EXT_NAME : G_EXT_VALUE;
    return 0;
}

static int read_ext(struct http_guard *g, char c, uint64_t body_max)
{
    const enum guard_state s = (enum guard_state)g->state;

    if (++g->ext > HTTP_GUARD_EXT_BYTES)
        return RM_ERR_HTTP_SYNTAX;
    if (s == G_EXT_QUOTED || s == G_EXT_ESCAPE) {
        if (!is(c, T_VALUE))
            return RM_ERR_HTTP_SYNTAX;
        g->state = s == G_EXT_ESCAPE ? G_EXT_QUOTED
                   : c == '\\'       ? G_EXT_ESCAPE
                   : c == '"'        ? G_EXT_QUOTED_END
                                     : G_EXT_QUOTED;
        return 0;
    }
    if (is(c, T_TOKEN) && s != G_EXT_QUOTED_END) {
        if (s == G_EXT_NAME || s == G_EXT_VALUE)
            g->state++; /* G_EXT_EQUALS, G_EXT_TOKEN */
        return 0;
    }
    if (s == G_EXT_VALUE && c == '"') {
        g->state = G_EXT_QUOTED;
        return 0;
    }
    if (s == G_EXT_NAME || s == G_EXT_VALUE)
        return RM_ERR_HTTP_SYNTAX;
    return ext_next(g, c, s == G_EXT_EQUALS, body_max);
}

static int read_size_lf(struct http_guard *g, char c)
{
    if (c != '\n')
        return RM_ERR_HTTP_SYNTAX;
    if (g->chunk > 0) {
        g->state = G_DATA;
        return 0;
    }
    g->trailer = true;
    g->n_fields = g->block = 0;
    g->state = G_FIELD;
    return 0;
}

static int chunk_byte(struct http_guard *g, char c, uint64_t body_max)
{
    switch ((enum guard_state)g->state) {
    case G_SIZE:
        return read_size(g, c, body_max);
    case G_EXT_NAME:
    case G_EXT_EQUALS:
    case G_EXT_VALUE:
    case G_EXT_TOKEN:
    case G_EXT_QUOTED:
    case G_EXT_ESCAPE:
    case G_EXT_QUOTED_END:
        return read_ext(g, c, body_max);
    case G_SIZE_LF:
        return read_size_lf(g, c);
    case G_DATA_CR:
        g->state = G_DATA_LF;
        return c == '\r' ? 0 : RM_ERR_HTTP_SYNTAX;
    case G_DATA_LF:
        g->at = 0;
        return read_lf(g, c, G_SIZE);
    default:
        break;
    }
    if (++g->block > g->limits->head_bytes)
        return RM_ERR_HTTP_FIELDS;
    return head_byte(g, c);
}

/* True when c is part of an extension (";" to before the CR) or of a trailer line. */
static bool byte_is_dropped(const struct http_guard *g, char c)
{
    if (g->state >= G_EXT_NAME && g->state <= G_EXT_QUOTED_END)
        return c != '\r';
    if (g->state >= G_NAME && g->state <= G_VALUE_LF)
        return true;
    return (g->state == G_SIZE && c == ';') || (g->state == G_FIELD && c != '\r');
}

int http_guard_chunks(struct http_guard *g, const char *bytes, size_t n, uint64_t body_max,
                      size_t *used, bool *dropped)
{
    size_t i = 0;
    int r = 0;

    *dropped = n > 0 && byte_is_dropped(g, bytes[0]);
    while (i < n && g->state != G_DATA && g->state != G_DONE &&
           byte_is_dropped(g, bytes[i]) == *dropped) {
        r = chunk_byte(g, bytes[i], body_max);
        if (r < 0)
            break;
        i++;
    }
    if (r == 0 && g->state == G_DATA && i < n) {
        size_t run = n - i < g->chunk ? n - i : (size_t)g->chunk;

        i += run;
        g->chunk -= run;
        if (g->chunk == 0)
            g->state = G_DATA_CR;
    }
    *used = i;
    return r < 0 ? r : g->state == G_DONE ? RM_AGAIN : 0;
}
