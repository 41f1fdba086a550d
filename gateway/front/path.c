/* SPDX-License-Identifier: MIT */
/* gateway/front/path.c - splits a raw path into segments and looks them up in one table of routes.
 * Neighbours: front.c asks once per request. No state, any thread. */
#include "gateway/front/path.h"

#include <stdio.h>
#include <string.h>

enum { SEGMENTS_MAX = 16, NEAREST_MAX = 96 };

#define M(method) (1u << HTTP_##method)
#define W(word)                                                                                    \
    {                                                                                              \
        (word), sizeof(word) - 1                                                                   \
    }

/* Words after mode and /v1. `open`: more segments may follow (an id). Served ones first: they are
 * what path_nearest offers. */
static const struct route_row {
    struct rm_slice words[3];
    enum path_endpoint endpoint;
    unsigned methods;
    bool open;
    const char *route;
} routes[] = {
    {{W("chat"), W("completions")}, PATH_CHAT, M(POST), false, "/v1/chat/completions"},
    {{W("completions")}, PATH_COMPLETIONS, M(POST), false, "/v1/completions"},
    {{W("models")}, PATH_MODELS, M(GET) | M(HEAD), true, "/v1/models"},
    {{W("api"), W("hello")}, PATH_HELLO, M(GET) | M(HEAD), false, "/api/hello"},
    {{W("responses")}, PATH_LATER, M(GET) | M(POST) | M(DELETE), true, "/v1/responses"},
    {{W("messages")}, PATH_LATER, M(POST), false, "/v1/messages"},
    {{W("messages"), W("count_tokens")}, PATH_LATER, M(POST), false, "/v1/messages/count_tokens"},
    {{W("embeddings")}, PATH_LATER, M(POST), false, "/v1/embeddings"},
    {{W("rerank")}, PATH_LATER, M(POST), false, "/v1/rerank"},
    {{W("reranking")}, PATH_LATER, M(POST), false, "/v1/reranking"},
    {{W("v2"), W("rerank")}, PATH_LATER, M(POST), false, "/v2/rerank"},
    {{W("fim"), W("completions")}, PATH_LATER, M(POST), false, "/v1/fim/completions"},
    {{W("api"), W("tags")}, PATH_LATER, M(GET) | M(HEAD), false, "/api/tags"},
    {{W("api"), W("show")}, PATH_LATER, M(POST), false, "/api/show"},
    {{W("api"), W("ps")}, PATH_LATER, M(GET) | M(HEAD), false, "/api/ps"},
    {{W("api"), W("version")}, PATH_LATER, M(GET) | M(HEAD), false, "/api/version"},
    {{W("api"), W("chat")}, PATH_LATER, M(POST), false, "/api/chat"},
    {{W("api"), W("generate")}, PATH_LATER, M(POST), false, "/api/generate"},
    {{W("api"), W("embed")}, PATH_LATER, M(POST), false, "/api/embed"},
    {{W("api"), W("embeddings")}, PATH_LATER, M(POST), false, "/api/embeddings"},
    {{W("api"), W("pull")}, PATH_LATER, M(POST), false, "/api/pull"},
    {{W("api"), W("create")}, PATH_LATER, M(POST), false, "/api/create"},
    {{W("api"), W("copy")}, PATH_LATER, M(POST), false, "/api/copy"},
    {{W("api"), W("delete")}, PATH_LATER, M(DELETE), false, "/api/delete"},
    {{W("api"), W("push")}, PATH_LATER, M(POST), false, "/api/push"},
    {{W("infill")}, PATH_LATER, M(POST), false, "/infill"},
    {{W("completion")}, PATH_LATER, M(POST), false, "/completion"},
    {{W("tokenize")}, PATH_LATER, M(POST), false, "/tokenize"},
    {{W("detokenize")}, PATH_LATER, M(POST), false, "/detokenize"},
    {{W("apply-template")}, PATH_LATER, M(POST), false, "/apply-template"},
    {{W("props")}, PATH_LATER, M(GET) | M(HEAD) | M(POST), false, "/props"},
    {{W("slots")}, PATH_LATER, M(GET) | M(HEAD), false, "/slots"},
    {{W("health")}, PATH_LATER, M(GET) | M(HEAD), false, "/health"},
};
static const struct route_row api_v1 = {{{NULL, 0}}, PATH_API_V1, ~0u, true, "/v1"};
static const struct route_row root = {{{NULL, 0}}, PATH_ROOT, M(GET) | M(HEAD), false, "/"};

/* First segments that are never a mode. */
static const struct rm_slice api_words[] = {
    W("v1"),         W("v2"),
    W("api"),        W("k"),
    W("health"),     W("healthz"),
    W("readyz"),     W("metrics"),
    W("props"),      W("slots"),
    W("tokenize"),   W("infill"),
    W("completion"), W("completions"),
    W("chat"),       W("models"),
    W("messages"),   W("embeddings"),
    W("rerank"),     W("reranking"),
    W("responses"),  W("dashboard"),
    W("node"),       W("fim"),
    W("detokenize"), W("apply-template"),
};

static bool word_is(struct rm_slice word, struct rm_slice segment)
{
    return word.n == segment.n && memcmp(word.p, segment.p, word.n) == 0;
}

bool path_is_api_word(struct rm_slice segment)
{
    for (size_t i = 0; i < RM_COUNT(api_words); i++)
        if (word_is(api_words[i], segment))
            return true;
    return false;
}

/* Segments without the empty ones. Returns their number, -1: too many to be one of ours. */
static int path_split(struct rm_slice raw, struct rm_slice *seg)
{
    const char *p = raw.p, *end = raw.p + raw.n;
    int n = 0;

    while (p < end) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t len = (size_t)((slash != NULL ? slash : end) - p);

        if (len > 0) {
            if (n == SEGMENTS_MAX)
                return -1;
            seg[n++] = (struct rm_slice){p, len};
        }
        p += len + 1;
    }
    return n;
}

/* Bytes that may stand in a segment that routes: no escapes, no dots alone. */
static bool path_segment_plain(struct rm_slice s)
{
    if (rm_slice_eq(s, ".") || rm_slice_eq(s, ".."))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c >= 'a' && c <= 'z') || c == '-' || c == '_' || (c >= '0' && c <= '9'))
            continue;
        if (c <= ' ' || c >= 0x7f || strchr("%\\\"<>^`{|}#?", c) != NULL)
            return false;
    }
    return true;
}

static const struct route_row *path_find(const struct rm_slice *seg, int n, int *used)
{
    for (size_t i = 0; i < RM_COUNT(routes); i++) {
        const struct route_row *r = &routes[i];
        int k = 0;

        while (k < 3 && r->words[k].n > 0 && k < n && word_is(r->words[k], seg[k]))
            k++;
        if ((k == 3 || r->words[k].n == 0) && (k == n || r->open)) {
            *used = k;
            return r;
        }
    }
    return NULL;
}

/* From the first byte of the id to the path's end, without the slashes there. */
static struct rm_slice path_rest(struct rm_slice raw, struct rm_slice first)
{
    struct rm_slice rest = {first.p, (size_t)(raw.p + raw.n - first.p)};

    while (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    return rest;
}

/* The words after mode, key and /v1; returns the row or NULL and moves *at to what follows it. */
static const struct route_row *path_match(const struct rm_slice *seg, int n, int *at)
{
    const struct route_row *row;
    int used = 0, v1 = 0;

    while (v1 < 2 && *at < n && rm_slice_eq(seg[*at], "v1"))
        ++*at, v1++;
    if (*at == n)
        return &root;
    if (n - *at >= 2 && rm_slice_eq(seg[*at], "api") && rm_slice_eq(seg[*at + 1], "v1")) {
        *at = n;
        return &api_v1;
    }
    row = path_find(seg + *at, n - *at, &used);
    *at += used;
    return row;
}

void path_parse(struct rm_slice raw, struct path *out)
{
    struct rm_slice seg[SEGMENTS_MAX];
    const struct route_row *row;
    int n, at = 0;

    memset(out, 0, sizeof(*out));
    if (raw.n == 0 || raw.p[0] != '/' || (n = path_split(raw, seg)) < 0)
        return;
    if (n >= 2 && rm_slice_eq(seg[0], "k")) {
        out->key = seg[1]; /* who may use it is not decided here */
        at = 2;
    }
    if (at < n && !path_is_api_word(seg[at]) && path_segment_plain(seg[at]))
        out->mode = seg[at++];
    row = path_match(seg, n, &at);
    if (row == NULL)
        return;
    for (int i = 0; i < at; i++)
        if (!path_segment_plain(seg[i]))
            return;
    if (at < n)
        out->rest = path_rest(raw, seg[at]);
    out->endpoint = row->endpoint;
    out->route = row->route;
    out->methods = row->methods;
}

bool path_takes(const struct path *p, enum http_method method)
{
    return (p->methods >> method & 1) != 0;
}

void path_allow(const struct path *p, char *out, size_t n)
{
    static const struct {
        enum http_method method;
        const char *name;
    } names[] = {{HTTP_GET, "GET, "},
                 {HTTP_HEAD, "HEAD, "},
                 {HTTP_POST, "POST, "},
                 {HTTP_DELETE, "DELETE, "}};
    char text[64];
    size_t len = 0;

    for (size_t i = 0; i < RM_COUNT(names); i++)
        if (path_takes(p, names[i].method)) {
            memcpy(text + len, names[i].name, strlen(names[i].name));
            len += strlen(names[i].name);
        }
    snprintf(out, n, "%.*sOPTIONS", (int)len, text);
}

/* Edit distance, except that a missing end of b is cheap: people stop too early. At most
 * NEAREST_MAX bytes of either text. */
static unsigned path_distance(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned row[NEAREST_MAX + 1], least = ~0u;

    for (unsigned j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 0; i < na; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < nb; j++) {
            unsigned best = diagonal + (a[i] != b[j]);

            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            row[j + 1] = best;
        }
    }
    for (size_t j = 0; j <= nb; j++)
        if (row[j] + (unsigned)(nb - j) / 4 < least)
            least = row[j] + (unsigned)(nb - j) / 4;
    return least;
}

/* The end of the path is what names the endpoint, so that is what is compared: from every slash on.
 */
const char *path_nearest(struct rm_slice raw)
{
    const char *best = routes[0].route;
    unsigned least = ~0u;

    if (raw.n > NEAREST_MAX)
        raw = (struct rm_slice){raw.p + raw.n - NEAREST_MAX, NEAREST_MAX};
    for (size_t i = 0; i < RM_COUNT(routes) && routes[i].endpoint != PATH_LATER; i++)
        for (size_t from = 0; from < raw.n; from++) {
            unsigned d;

            if (from > 0 && raw.p[from] != '/')
                continue;
            d = path_distance(raw.p + from, raw.n - from, routes[i].route, strlen(routes[i].route));
            if (d < least) {
                least = d;
                best = routes[i].route;
            }
        }
    return best;
}

static int path_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int path_unescape(struct rm_slice raw, char *out, size_t cap, size_t *len)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];

        if (c == '%') {
            int hi = i + 2 < raw.n ? path_hex(raw.p[i + 1]) : -1;
            int lo = i + 2 < raw.n ? path_hex(raw.p[i + 2]) : -1;

            if (hi < 0 || lo < 0)
                return RM_ERR_FIELD;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (c == '\0' || n + 1 >= cap)
            return RM_ERR_FIELD;
        out[n++] = c;
    }
    out[n] = '\0';
    *len = n;
    return 0;
}
