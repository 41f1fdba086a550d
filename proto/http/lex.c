/* SPDX-License-Identifier: MIT */
/* proto/http/lex.c - llhttp's callbacks as ours. See lex.h. */
#include "proto/http/lex.h"

#include <llhttp.h>
#include <stdlib.h>
#include <uv.h>

struct http_lex {
    llhttp_t ll; /* .data is this struct */
    const struct http_lex_ops *ops;
    void *arg;
    int err;    /* what a callback refused with */
    bool ended; /* on_message_complete was seen */
};

static struct http_lex *lex_of(llhttp_t *ll)
{
    return ll->data;
}

static int lex_on_url(llhttp_t *ll, const char *p, size_t n)
{
    lex_of(ll)->ops->on_target(lex_of(ll)->arg, p, n);
    return 0;
}

static int lex_on_name(llhttp_t *ll, const char *p, size_t n)
{
    lex_of(ll)->ops->on_name(lex_of(ll)->arg, p, n);
    return 0;
}

static int lex_on_value(llhttp_t *ll, const char *p, size_t n)
{
    lex_of(ll)->ops->on_value(lex_of(ll)->arg, p, n);
    return 0;
}

static int lex_on_head(llhttp_t *ll)
{
    struct http_lex *x = lex_of(ll);
    struct http_lex_head h = {
        .status = ll->status_code,
        .major = ll->http_major,
        .minor = ll->http_minor,
        .chunked = (ll->flags & F_CHUNKED) != 0,
        .content_length = (ll->flags & F_CONTENT_LENGTH) != 0 ? ll->content_length : 0,
    };
    int r = x->ops->on_head(x->arg, &h);

    if (r < 0) {
        x->err = r;
        return -1;
    }
    ll->upgrade = 0; /* Upgrade is not taken up here: the message is what its framing says */
    return r;
}

static int lex_on_body(llhttp_t *ll, const char *p, size_t n)
{
    struct http_lex *x = lex_of(ll);
    int r = n > 0 && x->err == 0 ? x->ops->on_body(x->arg, p, n) : 0;

    if (r >= 0)
        return 0;
    x->err = r;
    return -1;
}

static int lex_on_end(llhttp_t *ll)
{
    lex_of(ll)->ended = true;
    return 0;
}

/* Set once; the same for every parser. */
static const llhttp_settings_t lex_settings = {
    .on_url = lex_on_url,
    .on_header_field = lex_on_name,
    .on_header_value = lex_on_value,
    .on_headers_complete = lex_on_head,
    .on_body = lex_on_body,
    .on_message_complete = lex_on_end,
};

void http_lex_reset(struct http_lex *x)
{
    llhttp_type_t type = (llhttp_type_t)x->ll.type;

    llhttp_init(&x->ll, type, &lex_settings);
    x->ll.data = x;
    x->err = 0;
    x->ended = false;
}

int http_lex_new(bool response, const struct http_lex_ops *ops, void *arg, struct http_lex **out)
{
    struct http_lex *x = calloc(1, sizeof(*x));

    *out = x;
    if (x == NULL)
        return UV_ENOMEM;
    x->ops = ops;
    x->arg = arg;
    x->ll.type = response ? HTTP_RESPONSE : HTTP_REQUEST;
    http_lex_reset(x);
    return 0;
}

void http_lex_free(struct http_lex *x)
{
    free(x);
}

static int lex_result(const struct http_lex *x, llhttp_errno_t e)
{
    if (x->err != 0)
        return x->err;
    if (e == HPE_OK)
        return 0;
    return e == HPE_INVALID_METHOD ? RM_ERR_NOT_SUPPORTED : RM_ERR_HTTP_SYNTAX;
}

int http_lex_feed(struct http_lex *x, const char *bytes, size_t n)
{
    if (n == 0)
        return 0;
    if (x->ended)
        return RM_ERR_HTTP_SYNTAX; /* llhttp and the guard disagree about where the message ends */
    return lex_result(x, llhttp_execute(&x->ll, bytes, n));
}

int http_lex_eof(struct http_lex *x)
{
    return lex_result(x, llhttp_finish(&x->ll));
}

bool http_lex_ended(const struct http_lex *x)
{
    return x->ended;
}
