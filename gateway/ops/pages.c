/* SPDX-License-Identifier: MIT */
#include "gateway/ops/pages.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/dashboard/embedded.h"
#include "proto/base/err.h"
#ifdef RM_HAVE_DASHBOARD
#include <zlib.h>
#endif

static const char pages_top[] = "/dashboard/";
static const char plain_text[] = "text/plain; charset=utf-8";

/* Sent with every answer below /dashboard. */
#define FIELD(name, value)                                                                         \
    {                                                                                              \
        name,                                                                                      \
        {                                                                                          \
            value, sizeof value - 1                                                                \
        }                                                                                          \
    }
static const struct http_out_field guards[] = {
    FIELD("Content-Security-Policy",
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
          "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    FIELD("X-Content-Type-Options", "nosniff"),
    FIELD("X-Frame-Options", "DENY"),
    FIELD("Referrer-Policy", "no-referrer"),
    FIELD("Cross-Origin-Opener-Policy", "same-origin"),
    FIELD("Cross-Origin-Resource-Policy", "same-origin"),
    FIELD("Vary", "Accept-Encoding"),
};
enum { N_GUARDS = sizeof guards / sizeof *guards, N_MORE = 3 };

/* The next element of a list, without its blanks; *from moves behind it. */
static bool next_of(struct rm_slice list, char by, size_t *from, struct rm_slice *item)
{
    const char *begin = list.p + *from, *end;

    if (*from >= list.n)
        return false;
    end = memchr(begin, by, list.n - *from);
    if (end == NULL)
        end = list.p + list.n;
    *item = rm_slice_trim((struct rm_slice){begin, (size_t)(end - begin)});
    *from = (size_t)(end - list.p) + 1;
    return true;
}

/* q=0, q=0.0 ...: the coding is refused. */
static bool is_zero_weight(struct rm_slice s)
{
    if (s.n < 3 || (s.p[0] != 'q' && s.p[0] != 'Q') || s.p[1] != '=')
        return false;
    for (size_t i = 2; i < s.n; i++)
        if (s.p[i] != '0' && s.p[i] != '.')
            return false;
    return true;
}

bool pages_takes_gzip(struct rm_slice accept_encoding)
{
    struct rm_slice item, part;
    size_t at = 0;
    bool any = false;

    while (next_of(accept_encoding, ',', &at, &item)) {
        bool refused = false;
        size_t in = 0;
        struct rm_slice coding = {"", 0};

        if (next_of(item, ';', &in, &part))
            coding = part;
        while (next_of(item, ';', &in, &part))
            refused = refused || is_zero_weight(part);
        if (rm_slice_ieq(coding, "gzip") || rm_slice_ieq(coding, "x-gzip"))
            return !refused; /* said by name: a star does not count */
        if (rm_slice_eq(coding, "*"))
            any = !refused;
    }
    return any;
}

bool pages_has_tag(struct rm_slice if_none_match, const char *tag)
{
    const char *opaque = strncmp(tag, "W/", 2) == 0 ? tag + 2 : tag;
    struct rm_slice item;
    size_t at = 0;

    while (next_of(if_none_match, ',', &at, &item)) {
        if (item.n > 2 && memcmp(item.p, "W/", 2) == 0)
            item = (struct rm_slice){item.p + 2, item.n - 2};
        if (rm_slice_eq(item, opaque) || rm_slice_eq(item, "*"))
            return true;
    }
    return false;
}

static const struct dashboard_file *file_of(struct rm_slice path)
{
    for (size_t i = 0; i < dashboard_files_n; i++)
        if (rm_slice_eq(path, dashboard_files[i].path))
            return &dashboard_files[i];
    return NULL;
}

/* The guards and up to N_MORE fields; more ends with one whose name is NULL. */
static void answer(struct http_req *q, int status, const struct http_out_field more[N_MORE + 1],
                   const char *type, struct rm_slice body)
{
    struct http_out_field fields[N_GUARDS + N_MORE];
    size_t n = N_GUARDS;

    memcpy(fields, guards, sizeof guards);
    for (size_t i = 0; i < N_MORE && more[i].name != NULL; i++)
        fields[n++] = more[i];
    http_reply_full(q, status, fields, n, type, body);
}

static void answer_text(struct http_req *q, int status, const char *text)
{
    static const struct http_out_field none[N_MORE + 1] = {FIELD("Cache-Control", "no-store")};
    static const struct http_out_field allow[N_MORE + 1] = {FIELD("Cache-Control", "no-store"),
                                                            FIELD("Allow", "GET, HEAD")};

    answer(q, status, status == 405 ? allow : none, plain_text, rm_slice_of(text));
}

#ifdef RM_HAVE_DASHBOARD
/* The file as it was: at most DASHBOARD_FILE_MAX bytes, under a millisecond or two. NULL: failed.
 */
static unsigned char *inflated(const struct dashboard_file *f)
{
    unsigned char *plain = malloc(f->plain_bytes + 1);
    z_stream z = {.next_in = (unsigned char *)f->gzip, .avail_in = (uInt)f->gzip_bytes};
    int r;

    if (plain == NULL || inflateInit2(&z, 15 + 16) != Z_OK) {
        free(plain);
        return NULL;
    }
    z.next_out = plain;
    z.avail_out = (uInt)f->plain_bytes + 1;
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if (r == Z_STREAM_END && z.total_out == f->plain_bytes)
        return plain;
    free(plain);
    return NULL;
}
#else
static unsigned char *inflated(const struct dashboard_file *f)
{
    (void)f;
    return NULL;
}
#endif

static void answer_file(struct http_req *q, const struct dashboard_file *f)
{
    const struct http_head *head = http_req_head(q);
    struct http_out_field more[N_MORE + 1] = {
        {"ETag", rm_slice_of(f->tag)},
        {"Cache-Control",
         rm_slice_of(f->hashed ? "public, max-age=31536000, immutable" : "no-cache")}};
    struct rm_slice gzip = {(const char *)f->gzip, f->gzip_bytes};
    unsigned char *plain;

    if (pages_has_tag(http_head_value(head, "If-None-Match"), f->tag)) {
        answer(q, 304, more, NULL, (struct rm_slice){"", 0});
        return;
    }
    if (pages_takes_gzip(http_head_value(head, "Accept-Encoding"))) {
        more[2] = (struct http_out_field)FIELD("Content-Encoding", "gzip");
        answer(q, 200, more, f->type, gzip);
        return;
    }
    if ((plain = inflated(f)) == NULL) {
        answer_text(q, 500, "The file could not be unpacked.\n");
        return;
    }
    answer(q, 200, more, f->type, (struct rm_slice){(const char *)plain, f->plain_bytes});
    free(plain);
}

static void pages_on_done(struct http_req *q)
{
    (void)q;
}

static void answer_moved(struct http_req *q)
{
    static const struct http_out_field there[N_MORE + 1] = {FIELD("Location", "/dashboard/")};

    answer(q, 308, there, NULL, (struct rm_slice){"", 0});
}

bool pages_on_request(struct http_req *q)
{
    static const struct http_req_ops ops = {.on_done = pages_on_done};
    const struct http_head *head = http_req_head(q);
    const size_t top = sizeof pages_top - 1;
    const struct dashboard_file *f;
    const bool bare = rm_slice_eq(head->path, "/dashboard");

    if (!bare && (head->path.n < top || memcmp(head->path.p, pages_top, top) != 0))
        return false;
    http_req_accept(q, &ops, NULL);
    if (head->method != HTTP_GET && head->method != HTTP_HEAD)
        answer_text(q, 405, "Only GET and HEAD.\n");
    else if (dashboard_files_n == 0)
        answer_text(q, 404, "This gateway was built without the dashboard (ROLEMESH_DASHBOARD).\n");
    else if (bare)
        answer_moved(q);
    else if ((f = file_of((struct rm_slice){head->path.p + top, head->path.n - top})) != NULL)
        answer_file(q, f);
    else
        answer_text(q, 404, "No such file: the page is /dashboard/\n");
    return true;
}
