/* SPDX-License-Identifier: MIT */
/* proto/http/message.c - looking things up in a message head. Pure; any thread. */
#include "proto/http/message.h"

#include <string.h>
#include <strings.h>

const struct http_limits http_limits_default = HTTP_LIMITS(64ull * 1024 * 1024);

const struct http_field *http_head_find(const struct http_head *h, const char *name)
{
    const size_t n = strlen(name);

    for (uint32_t i = 0; i < h->n_fields; i++)
        if (h->fields[i].name.n == n && strncasecmp(h->fields[i].name.p, name, n) == 0)
            return &h->fields[i];
    return NULL;
}

struct rm_slice http_head_value(const struct http_head *h, const char *name)
{
    const struct http_field *f = http_head_find(h, name);

    return f != NULL ? f->value : (struct rm_slice){NULL, 0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next element of a comma list without its outer blanks; false at the end of the list. */
static bool list_next(struct rm_slice *rest, struct rm_slice *element)
{
    const char *comma;
    struct rm_slice e;

    if (rest->n == 0)
        return false;
    comma = memchr(rest->p, ',', rest->n);
    e = (struct rm_slice){rest->p, comma != NULL ? (size_t)(comma - rest->p) : rest->n};
    rest->p += e.n + (comma != NULL);
    rest->n -= e.n + (comma != NULL);
    for (; e.n > 0 && is_blank(e.p[0]); e.n--)
        e.p++;
    while (e.n > 0 && is_blank(e.p[e.n - 1]))
        e.n--;
    *element = e;
    return true;
}

static bool list_has(struct rm_slice list, struct rm_slice token)
{
    struct rm_slice element;

    while (list_next(&list, &element))
        if (element.n == token.n && token.n > 0 && strncasecmp(element.p, token.p, token.n) == 0)
            return true;
    return false;
}

static bool head_lists(const struct http_head *h, const char *name, struct rm_slice token)
{
    const size_t n = strlen(name);

    for (uint32_t i = 0; i < h->n_fields; i++)
        if (h->fields[i].name.n == n && strncasecmp(h->fields[i].name.p, name, n) == 0 &&
            list_has(h->fields[i].value, token))
            return true;
    return false;
}

bool http_head_has_token(const struct http_head *h, const char *name, const char *token)
{
    return head_lists(h, name, rm_slice_of(token));
}

bool http_field_is_hop(const struct http_head *h, const struct http_field *f)
{
    static const char *const hop[] = {"Connection",        "Keep-Alive", "TE",
                                      "Trailer",           "Upgrade",    "Content-Length",
                                      "Transfer-Encoding", "Host",       "Expect"};

    for (size_t i = 0; i < RM_COUNT(hop); i++)
        if (rm_slice_ieq(f->name, hop[i]))
            return true;
    if (f->name.n >= 6 && strncasecmp(f->name.p, "Proxy-", 6) == 0)
        return true;
    return head_lists(h, "Connection", f->name);
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {529, "Overloaded"},
    };

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "";
}
