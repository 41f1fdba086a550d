/* SPDX-License-Identifier: MIT */
/* proto/http/rules.c - the semantic checks of a tokenized head. See rules.h. */
#include "proto/http/rules.h"

#include <string.h>
#include <strings.h>

/* Fields that a message may have once: a second one is how two readers come to see two messages. */
enum once {
    ONCE_AUTHORIZATION,
    ONCE_CONTENT_LENGTH,
    ONCE_CONTENT_TYPE,
    ONCE_HOST,
    ONCE_TRANSFER_ENCODING,
    ONCE_EXPECT,
    ONCE_ORIGIN,
    ONCE_X_API_KEY,
    ONCE_COUNT
};

static const struct rm_slice once_names[ONCE_COUNT] = {
    [ONCE_AUTHORIZATION] = {"Authorization", 13},
    [ONCE_CONTENT_LENGTH] = {"Content-Length", 14},
    [ONCE_CONTENT_TYPE] = {"Content-Type", 12},
    [ONCE_HOST] = {"Host", 4},
    [ONCE_TRANSFER_ENCODING] = {"Transfer-Encoding", 17},
    [ONCE_EXPECT] = {"Expect", 6},
    [ONCE_ORIGIN] = {"Origin", 6},
    [ONCE_X_API_KEY] = {"X-Api-Key", 9},
};

/* Where each of them is, NULL when it is not. */
struct found {
    const struct http_field *at[ONCE_COUNT];
};

static int find_once(const struct http_head *h, struct found *found)
{
    *found = (struct found){{NULL}};
    for (uint32_t i = 0; i < h->n_fields; i++) {
        const struct http_field *f = &h->fields[i];

        for (size_t k = 0; k < ONCE_COUNT; k++)
            if (f->name.n == once_names[k].n &&
                strncasecmp(f->name.p, once_names[k].p, f->name.n) == 0) {
                if (found->at[k] != NULL)
                    return RM_ERR_HTTP_SYNTAX;
                found->at[k] = f;
            }
    }
    return 0;
}

/* One Transfer-Encoding value: "chunked" alone is what we speak. Something unknown before a final
 * chunked is a coding we lack; every other shape has no certain end. */
static int read_codings(struct rm_slice list, bool response)
{
    bool other = false;

    for (;;) {
        const char *comma = list.n > 0 ? memchr(list.p, ',', list.n) : NULL;
        size_t n = comma != NULL ? (size_t)(comma - list.p) : list.n;
        struct rm_slice coding = rm_slice_trim((struct rm_slice){list.p, n});

        if (coding.n == 0)
            return RM_ERR_HTTP_SYNTAX;
        if (comma == NULL && rm_slice_ieq(coding, "chunked"))
            return other ? RM_ERR_HTTP_CODING : 0;
        if (rm_slice_ieq(coding, "chunked"))
            return RM_ERR_HTTP_SYNTAX; /* not last, or twice */
        if (comma == NULL)
            return response ? RM_ERR_HTTP_CODING : RM_ERR_HTTP_SYNTAX;
        other = true;
        list.p += n + 1;
        list.n -= n + 1;
    }
}

static int read_length(struct rm_slice v, uint64_t *out)
{
    uint64_t length = 0;

    if (v.n == 0)
        return RM_ERR_HTTP_SYNTAX;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || length > (UINT64_MAX - 9) / 10)
            return RM_ERR_HTTP_SYNTAX;
        length = length * 10 + (uint64_t)(v.p[i] - '0');
    }
    *out = length;
    return 0;
}

/* Content-Length and Transfer-Encoding; `none` is the framing when neither stands there. */
static int read_framing(struct http_head *h, const struct found *found, bool response,
                        enum http_framing none)
{
    const struct http_field *length = found->at[ONCE_CONTENT_LENGTH];
    const struct http_field *coding = found->at[ONCE_TRANSFER_ENCODING];
    int r;

    h->framing = none;
    if (coding != NULL) {
        if (length != NULL || h->minor == 0)
            return RM_ERR_HTTP_SYNTAX;
        h->framing = HTTP_BODY_CHUNKED;
        return read_codings(coding->value, response);
    }
    if (length == NULL)
        return 0;
    r = read_length(length->value, &h->content_length);
    h->framing = h->content_length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    return r;
}

static void read_persistence(struct http_head *h)
{
    const bool close = http_head_has_token(h, "Connection", "close");

    h->keep_alive = !close && (h->minor > 0 || http_head_has_token(h, "Connection", "keep-alive"));
}

/* ---- requests ---- */

static enum http_method method_of(struct rm_slice text)
{
    static const struct {
        const char *name;
        enum http_method method;
    } rows[] = {{"GET", HTTP_GET},     {"POST", HTTP_POST},     {"HEAD", HTTP_HEAD},
                {"PUT", HTTP_PUT},     {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
                {"PATCH", HTTP_PATCH}, {"TRACE", HTTP_TRACE},   {"CONNECT", HTTP_CONNECT}};

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        if (rm_slice_eq(text, rows[i].name))
            return rows[i].method;
    return HTTP_OTHER;
}

static bool port_ok(struct rm_slice s)
{
    unsigned port = 0;

    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        port = port * 10 + (unsigned)(s.p[i] - '0');
    }
    return port <= 65535;
}

static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static bool v6_char(char c)
{
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' ||
           c == '.';
}

/* uri-host [":" port] without escapes and without the sub-delims no real host has. */
static bool authority_ok(struct rm_slice a)
{
    size_t n = 0;

    if (a.n > 262)
        return false;
    if (a.n > 0 && a.p[0] == '[') {
        for (n = 1; n < a.n && v6_char(a.p[n]); n++)
            ;
        if (n < 3 || n > 46 || n == a.n || a.p[n] != ']')
            return false;
        n++;
    } else {
        while (n < a.n && host_char(a.p[n]))
            n++;
        if (n == 0 || n > 255)
            return false;
    }
    if (n == a.n)
        return true;
    return a.p[n] == ':' && port_ok((struct rm_slice){a.p + n + 1, a.n - n - 1});
}

static int read_host(struct http_head *h, const struct http_field *f)
{
    h->host = (struct rm_slice){"", 0};
    if (f == NULL)
        return h->minor == 0 ? 0 : RM_ERR_HTTP_SYNTAX;
    h->host = f->value;
    return authority_ok(h->host) ? 0 : RM_ERR_HTTP_SYNTAX;
}

static struct rm_slice without_default_port(struct rm_slice a)
{
    if (a.n > 3 && memcmp(a.p + a.n - 3, ":80", 3) == 0)
        a.n -= 3;
    return a;
}

/* "http://authority/path" becomes "/path" when authority is the Host we were asked by. */
static int reduce_absolute(struct http_head *h)
{
    static const char scheme[] = "http://";
    const size_t skip = sizeof(scheme) - 1;
    struct rm_slice rest, a, host = without_default_port(h->host);
    size_t n = 0;

    if (h->target.n < skip || strncasecmp(h->target.p, scheme, skip) != 0)
        return memchr(h->target.p, ':', h->target.n) != NULL ? RM_ERR_MISDIRECTED
                                                             : RM_ERR_HTTP_SYNTAX;
    rest = (struct rm_slice){h->target.p + skip, h->target.n - skip};
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    a = without_default_port((struct rm_slice){rest.p, n});
    if (a.n == 0 || a.n != host.n || strncasecmp(a.p, host.p, a.n) != 0)
        return RM_ERR_MISDIRECTED;
    if (n == rest.n)
        h->target = RM_LIT("/");
    else if (rest.p[n] == '?')
        return RM_ERR_HTTP_SYNTAX;
    else
        h->target = (struct rm_slice){rest.p + n, rest.n - n};
    return 0;
}

static int read_target(struct http_head *h)
{
    const char *mark;
    int r;

    if (rm_slice_eq(h->target, "*")) {
        if (h->method != HTTP_OPTIONS)
            return RM_ERR_HTTP_SYNTAX;
    } else if (h->target.n == 0 || h->target.p[0] != '/') {
        if ((r = reduce_absolute(h)) < 0)
            return r;
    }
    mark = memchr(h->target.p, '?', h->target.n);
    h->path = h->target;
    h->query = (struct rm_slice){"", 0};
    if (mark != NULL) {
        h->path.n = (size_t)(mark - h->target.p);
        h->query = (struct rm_slice){mark + 1, h->target.n - h->path.n - 1};
    }
    return 0;
}

int http_rules_request(struct http_head *h)
{
    struct found found;
    const struct http_field *expect;
    int r;

    h->method = method_of(h->method_text);
    if ((r = find_once(h, &found)) < 0 || (r = read_host(h, found.at[ONCE_HOST])) < 0 ||
        (r = read_framing(h, &found, false, HTTP_BODY_NONE)) < 0)
        return r;
    if (h->method == HTTP_CONNECT)
        return RM_ERR_METHOD;
    if ((r = read_target(h)) < 0)
        return r;
    read_persistence(h);
    expect = found.at[ONCE_EXPECT];
    h->expect_continue =
        h->minor == 1 && expect != NULL && rm_slice_ieq(expect->value, "100-continue");
    return 0;
}

/* ---- responses ---- */

int http_rules_response(struct http_head *h, bool head_answer)
{
    const bool bodiless = h->status < 200 || h->status == 204 || h->status == 304 || head_answer;
    struct found found;
    int r;

    if (h->status == 101)
        return RM_ERR_HTTP_SYNTAX; /* nobody asked for another protocol */
    if ((r = find_once(h, &found)) < 0 || (r = read_framing(h, &found, true, HTTP_BODY_EOF)) < 0)
        return r;
    read_persistence(h);
    if (bodiless)
        h->framing = HTTP_BODY_NONE;
    if (h->framing == HTTP_BODY_EOF)
        h->keep_alive = false;
    return 0;
}
