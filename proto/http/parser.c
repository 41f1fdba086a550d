/* SPDX-License-Identifier: MIT */
/* proto/http/parser.c - guard, llhttp and rules in one pass.
 *
 *   bytes ─► guard (every framing byte) ─► arena ─► llhttp ─► rules ─► on_head
 *                                  └─ body bytes ─► llhttp ─► on_body (not copied)
 *
 * A head is gathered in the arena and given to llhttp whole, so that its spans are contiguous.
 * Body bytes go through llhttp in runs that the guard or the length has bounded: llhttp never sees
 * a byte of the next message, no chunk extension and no trailer, and both must agree that this
 * message is over. */
#include "proto/http/parser.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/http/guard.h"
#include "proto/http/lex.h"
#include "proto/http/rules.h"

/* Line ends before a request line (RFC 9112 section 2.2), bytes. */
enum { PARSER_LEADING = 8, PARSER_FIELDS_FIRST = 16 };

enum parser_state { HP_START, HP_HEAD, HP_LENGTH, HP_CHUNKED, HP_EOF };

struct http_parser {
    const struct http_limits *limits;
    const struct http_parser_ops *ops;
    void *arg;
    struct http_lex *lex;
    struct http_guard guard;
    enum parser_state state;
    enum http_role role;
    int err;             /* the verdict that stays */
    uint8_t leading;     /* CR and LF bytes before the start line */
    bool hold;           /* a callback said RM_WAIT */
    bool head_answer;    /* the next response answers a HEAD */
    bool value_seen;     /* the last span was a value: the next name is a new field */
    uint32_t interim;    /* 1xx answers before this one */
    uint64_t left;       /* HP_LENGTH: bytes to come; HP_EOF: bytes still allowed */
    uint64_t body_limit; /* of this message */
    struct rm_buf arena; /* the head's bytes */
    struct http_field *fields;
    uint32_t fields_cap;
    struct http_head head;
};

/* ---- what llhttp says ---- */

static void parser_on_target(void *arg, const char *p, size_t n)
{
    struct http_parser *hp = arg;

    if (hp->head.target.n == 0)
        hp->head.target.p = p;
    hp->head.target.n += n;
}

/* The guard has counted the fields, and fields_cap is at least that. */
static void parser_on_name(void *arg, const char *p, size_t n)
{
    struct http_parser *hp = arg;
    struct http_head *h = &hp->head;

    if (!hp->value_seen && h->n_fields > 0 &&
        h->fields[h->n_fields - 1].name.p + h->fields[h->n_fields - 1].name.n == p) {
        hp->fields[h->n_fields - 1].name.n += n;
        return;
    }
    hp->value_seen = false;
    if (h->n_fields == hp->fields_cap) {
        hp->err = RM_ERR_HTTP_SYNTAX;
        return;
    }
    hp->fields[h->n_fields++] = (struct http_field){{p, n}, {p + n, 0}};
}

static void parser_on_value(void *arg, const char *p, size_t n)
{
    struct http_parser *hp = arg;
    struct http_field *f;

    if (hp->head.n_fields == 0)
        return;
    f = &hp->fields[hp->head.n_fields - 1];
    if (!hp->value_seen)
        f->value = (struct rm_slice){p, n};
    else
        f->value.n = (size_t)(p + n - f->value.p);
    hp->value_seen = true;
}

static void trim_values(struct http_parser *hp)
{
    for (uint32_t i = 0; i < hp->head.n_fields; i++)
        hp->fields[i].value = rm_slice_trim(hp->fields[i].value);
}

/* llhttp and we must have read the same framing. */
static int cross_check(const struct http_parser *hp, const struct http_lex_head *lh)
{
    const struct http_head *h = &hp->head;

    if (lh->major != 1 || lh->minor != h->minor || h->n_fields != hp->guard.n_fields)
        return RM_ERR_HTTP_SYNTAX;
    if (hp->role == HTTP_PARSE_RESPONSE && lh->status != h->status)
        return RM_ERR_HTTP_SYNTAX;
    if (h->framing == HTTP_BODY_CHUNKED && !lh->chunked)
        return RM_ERR_HTTP_SYNTAX;
    if (h->framing == HTTP_BODY_LENGTH && (lh->chunked || lh->content_length != h->content_length))
        return RM_ERR_HTTP_SYNTAX;
    return 0;
}

static int parser_on_lex_head(void *arg, const struct http_lex_head *lh)
{
    struct http_parser *hp = arg;
    struct http_head *h = &hp->head;
    const char *space = memchr(hp->arena.data, ' ', hp->arena.len);
    int r;

    if (hp->err != 0)
        return hp->err;
    trim_values(hp);
    h->minor = hp->guard.minor;
    h->status = hp->guard.status;
    if (hp->role == HTTP_PARSE_REQUEST) {
        h->method_text = (struct rm_slice){hp->arena.data, (size_t)(space - hp->arena.data)};
        r = http_rules_request(h);
    } else {
        r = http_rules_response(h, hp->head_answer);
    }
    if (r == 0)
        r = cross_check(hp, lh);
    if (r < 0)
        return r;
    return hp->role == HTTP_PARSE_RESPONSE && h->framing == HTTP_BODY_NONE ? 1 : 0;
}

static int parser_on_lex_body(void *arg, const char *p, size_t n)
{
    struct http_parser *hp = arg;
    int r = hp->ops->on_body(hp->arg, p, n);

    if (r == RM_WAIT)
        hp->hold = true;
    return r < 0 ? r : 0;
}

static const struct http_lex_ops parser_lex_ops = {
    parser_on_target, parser_on_name, parser_on_value, parser_on_lex_head, parser_on_lex_body,
};

/* ---- life ---- */

static void parser_start(struct http_parser *p)
{
    p->state = HP_START;
    p->leading = 0;
}

int http_parser_new(enum http_role role, const struct http_limits *limits,
                    const struct http_parser_ops *ops, void *arg, struct http_parser **out)
{
    struct http_parser *p = calloc(1, sizeof(*p));

    *out = NULL;
    if (p == NULL || http_lex_new(role == HTTP_PARSE_RESPONSE, &parser_lex_ops, p, &p->lex) < 0) {
        free(p);
        return UV_ENOMEM;
    }
    p->limits = limits;
    p->ops = ops;
    p->arg = arg;
    p->role = role;
    rm_buf_init(&p->arena, limits->head_bytes);
    parser_start(p);
    *out = p;
    return 0;
}

void http_parser_free(struct http_parser *p)
{
    if (p == NULL)
        return;
    http_lex_free(p->lex);
    rm_buf_clear(&p->arena);
    free(p->fields);
    free(p);
}

void http_parser_trim(struct http_parser *p)
{
    assert(p->state == HP_START);
    rm_buf_clear(&p->arena);
    free(p->fields);
    p->fields = NULL;
    p->fields_cap = 0;
    p->head = (struct http_head){0};
}

bool http_parser_idle(const struct http_parser *p)
{
    return p->state == HP_START;
}

void http_parser_set_body_limit(struct http_parser *p, uint64_t bytes)
{
    p->body_limit = bytes;
}

void http_parser_set_head_answer(struct http_parser *p, bool is_head)
{
    p->head_answer = is_head;
}

/* ---- one message ---- */

static int fields_reserve(struct http_parser *p, uint32_t n)
{
    struct http_field *more;

    if (n <= p->fields_cap)
        return 0;
    n = n < PARSER_FIELDS_FIRST ? PARSER_FIELDS_FIRST : n;
    more = realloc(p->fields, n * sizeof(*more));
    if (more == NULL)
        return UV_ENOMEM;
    p->fields = more;
    p->fields_cap = n;
    return 0;
}

/* Blank lines before a request line; the first other byte begins a message. */
static int parser_leading(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    for (*took = 0; *took < n; (*took)++) {
        const char c = bytes[*took];
        const bool after_cr = p->leading % 2 == 1;

        if (p->role == HTTP_PARSE_RESPONSE || (!after_cr && c != '\r'))
            break;
        if (c != (after_cr ? '\n' : '\r') || ++p->leading > PARSER_LEADING)
            return RM_ERR_HTTP_SYNTAX;
    }
    if (*took == n)
        return 0;
    p->state = HP_HEAD;
    p->arena.len = 0;
    p->interim = 0;
    http_guard_init(&p->guard, p->role, p->limits);
    return 0;
}

static int message_end(struct http_parser *p)
{
    int r;

    if (!http_lex_ended(p->lex))
        return RM_ERR_HTTP_SYNTAX;
    parser_start(p);
    p->head_answer = false;
    r = p->ops->on_end(p->arg);
    return r < 0 ? r : RM_AGAIN;
}

/* After on_head: the state that its framing asks for. */
static int enter_body(struct http_parser *p)
{
    switch (p->head.framing) {
    case HTTP_BODY_NONE:
        break;
    case HTTP_BODY_LENGTH:
        if (p->head.content_length > p->body_limit)
            return RM_ERR_BODY_TOO_LARGE;
        p->left = p->head.content_length;
        p->state = HP_LENGTH;
        return 0;
    case HTTP_BODY_CHUNKED:
        http_guard_start_chunks(&p->guard);
        p->state = HP_CHUNKED;
        return 0;
    case HTTP_BODY_EOF:
        p->left = p->body_limit;
        p->state = HP_EOF;
        return 0;
    }
    return message_end(p);
}

/* Blanks after a value are legal and mean nothing (RFC 9112 section 5), but llhttp's versions
 * differ about a tab after a length: they all see none. */
static void drop_outer_blanks(struct rm_buf *arena)
{
    size_t to = 0;

    for (size_t i = 0; i < arena->len; i++) {
        while (arena->data[i] == '\r' &&
               (arena->data[to - 1] == ' ' || arena->data[to - 1] == '\t'))
            to--;
        arena->data[to++] = arena->data[i];
    }
    arena->len = to;
}

/* The guard has seen a token where the method stands, but llhttp knows only those of its list. With
 * one of these in its place the rest is read as ever, and the method's text, which is taken from
 * the arena, is what routes judge: 405, with what they take. */
static int feed_other_method(struct http_parser *p)
{
    static const char known[] = "PURGE";
    const char *space = memchr(p->arena.data, ' ', p->arena.len);
    int r;

    if (space == NULL)
        return RM_ERR_HTTP_SYNTAX;
    http_lex_reset(p->lex);
    r = http_lex_feed(p->lex, known, sizeof known - 1);
    return r < 0 ? r : http_lex_feed(p->lex, space, p->arena.len - (size_t)(space - p->arena.data));
}

/* The arena holds a whole head that the guard let through. */
static int head_complete(struct http_parser *p)
{
    int r;

    p->head = (struct http_head){0};
    p->value_seen = false;
    p->body_limit = p->limits->body_bytes;
    if ((r = fields_reserve(p, p->guard.n_fields)) < 0)
        return r;
    p->head.fields = p->fields;
    if (p->guard.outer_blanks)
        drop_outer_blanks(&p->arena);
    http_lex_reset(p->lex);
    r = http_lex_feed(p->lex, p->arena.data, p->arena.len);
    if (r == RM_ERR_NOT_SUPPORTED && p->role == HTTP_PARSE_REQUEST)
        r = feed_other_method(p);
    if (r < 0)
        return r;
    if (p->role == HTTP_PARSE_RESPONSE && p->head.status < 200) {
        if (!http_lex_ended(p->lex))
            return RM_ERR_HTTP_SYNTAX;
        if (++p->interim > p->limits->interim)
            return RM_ERR_HTTP_FIELDS;
        p->arena.len = 0;
        http_guard_init(&p->guard, p->role, p->limits);
        return 0;
    }
    r = p->ops->on_head(p->arg, &p->head);
    if (r < 0)
        return r;
    p->hold = r == RM_WAIT;
    return enter_body(p);
}

static int parser_head(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    int r = http_guard_head(&p->guard, bytes, n, took), put;

    if (r < 0)
        return r;
    put = rm_buf_put(&p->arena, bytes, *took);
    if (put < 0)
        return put == RM_ERR_TOO_BIG ? RM_ERR_HTTP_FIELDS : put;
    return r == RM_AGAIN ? head_complete(p) : 0;
}

static int parser_length(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    int r;

    *took = n < p->left ? n : (size_t)p->left;
    p->left -= *took;
    r = http_lex_feed(p->lex, bytes, *took);
    if (r < 0)
        return r;
    return p->left == 0 ? message_end(p) : 0;
}

/* The good bytes before a bad one are delivered, however the bytes were cut. */
static int parser_chunked(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    bool dropped;
    int r = http_guard_chunks(&p->guard, bytes, n, p->body_limit, took, &dropped);
    int fed = dropped ? 0 : http_lex_feed(p->lex, bytes, *took);

    if (fed < 0)
        return fed;
    if (r == 0 && http_lex_ended(p->lex))
        return RM_ERR_HTTP_SYNTAX;
    return r == RM_AGAIN ? message_end(p) : r;
}

static int parser_until_eof(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    int r;

    *took = n < p->left ? n : (size_t)p->left;
    p->left -= *took;
    r = http_lex_feed(p->lex, bytes, *took);
    if (r < 0)
        return r;
    return *took < n ? RM_ERR_BODY_TOO_LARGE : 0;
}

static int parser_step(struct http_parser *p, const char *bytes, size_t n, size_t *took)
{
    switch (p->state) {
    case HP_START:
        return parser_leading(p, bytes, n, took);
    case HP_HEAD:
        return parser_head(p, bytes, n, took);
    case HP_LENGTH:
        return parser_length(p, bytes, n, took);
    case HP_CHUNKED:
        return parser_chunked(p, bytes, n, took);
    case HP_EOF:
        return parser_until_eof(p, bytes, n, took);
    }
    return RM_ERR_INTERNAL;
}

int http_parser_feed(struct http_parser *p, const char *bytes, size_t n, size_t *used)
{
    int r = p->err;

    *used = 0;
    while (r == 0 && *used < n && !p->hold) {
        size_t took = 0;

        r = parser_step(p, bytes + *used, n - *used, &took);
        *used += took;
    }
    if (r < 0)
        p->err = r;
    if (r == 0 && p->hold)
        r = RM_WAIT;
    p->hold = false;
    return r;
}

int http_parser_eof(struct http_parser *p)
{
    int r = p->err;

    if (r == 0 && p->state == HP_START && p->leading % 2 == 0)
        return 0;
    if (r == 0 && p->state == HP_EOF) {
        r = http_lex_eof(p->lex);
        if (r == 0)
            r = message_end(p);
    } else if (r == 0) {
        r = RM_ERR_HTTP_SYNTAX;
    }
    if (r < 0)
        p->err = r;
    return r < 0 ? r : 0;
}
