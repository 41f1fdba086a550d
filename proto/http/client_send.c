/* SPDX-License-Identifier: MIT */
/* The request side of a call. A whole body is written as it lies, head and pieces in one writev; a
 * streamed one is tried at once and copied only as far as the kernel did not take it. A request
 * that cannot be written is not the end: the peer may have answered before it closed (413 and the
 * like), so the call goes on reading until the peer's end or LAST_WORDS_MS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/client_impl.h"

enum {
    HEAD_MAX_BYTES = 64 * 1024,
    UPLOAD_HIGH = 256 * 1024, /* RM_WAIT above this */
    UPLOAD_LOW = UPLOAD_HIGH / 4,
    UPLOAD_MAX = 2 * UPLOAD_HIGH,
    UPLOAD_SLACK = HEAD_MAX_BYTES + 64, /* head and chunk lines beside the body's bytes */
    PIECES_MAX = 64                     /* of one write; more are copied together */
};

struct hc_upload {
    struct rm_buf out;  /* being written by uv_write: untouched until its callback */
    struct rm_buf next; /* what comes after it */
    int64_t left;       /* bytes still to come; -1: chunked */
    bool ended, connected, writing, want_writable;
};

/* ---- the head ---- */

static bool is_token(struct rm_slice s) /* RFC 9110 section 5.6.2 */
{
    static const char marks[] = "!#$%&'*+.^_`|~";

    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z') && s.p[i] != '-' &&
            !(s.p[i] >= '0' && s.p[i] <= '9') && memchr(marks, s.p[i], sizeof(marks) - 1) == NULL)
            return false;
    return s.n > 0;
}

static bool is_value(struct rm_slice s) /* section 5.5: no control byte but HTAB */
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool is_own_field(struct rm_slice name)
{
    return rm_slice_ieq(name, "host") || rm_slice_ieq(name, "content-length") ||
           rm_slice_ieq(name, "transfer-encoding") || rm_slice_ieq(name, "connection");
}

static bool is_target(struct rm_slice t)
{
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] <= ' ' || t.p[i] == 0x7f)
            return false;
    return t.n > 0;
}

static bool wants_length(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static int put_field(struct rm_buf *b, struct rm_slice name, struct rm_slice value)
{
    int r;

    if (!is_token(name) || !is_value(value))
        return UV_EINVAL;
    if ((r = rm_buf_put(b, name.p, name.n)) < 0 || (r = rm_buf_puts(b, ": ")) < 0 ||
        (r = rm_buf_put(b, value.p, value.n)) < 0)
        return r;
    return rm_buf_puts(b, "\r\n");
}

/* length: of the body; -1: chunked; -2: none and no field about it. */
static int put_head(struct rm_buf *b, const struct http_client *c,
                    const struct http_call_spec *spec, int64_t length)
{
    int r;

    if (!is_token(rm_slice_of(spec->method)) || !is_target(spec->target))
        return UV_EINVAL;
    if ((r = rm_buf_puts(b, spec->method)) < 0 || (r = rm_buf_put(b, " ", 1)) < 0 ||
        (r = rm_buf_put(b, spec->target.p, spec->target.n)) < 0 ||
        (r = rm_buf_puts(b, " HTTP/1.1\r\n")) < 0 ||
        (r = put_field(b, RM_LIT("Host"), rm_slice_of(c->host))) < 0)
        return r;
    for (size_t i = 0; i < spec->n_fields; i++) {
        const struct rm_slice name = rm_slice_of(spec->fields[i].name);

        if (!is_own_field(name) && (r = put_field(b, name, spec->fields[i].value)) < 0)
            return r;
    }
    if (length == -1)
        return rm_buf_puts(b, "Transfer-Encoding: chunked\r\n\r\n");
    if (length >= 0 &&
        ((r = rm_buf_puts(b, "Content-Length: ")) < 0 ||
         (r = rm_buf_put_u64(b, (uint64_t)length)) < 0 || (r = rm_buf_puts(b, "\r\n")) < 0))
        return r;
    return rm_buf_puts(b, "\r\n");
}

static int init_whole(struct http_call *k, const struct http_call_spec *spec)
{
    struct rm_buf head;
    size_t total = 0;
    int r;

    if (spec->n_body >= UINT32_MAX)
        return UV_EINVAL;
    k->bufs = calloc(spec->n_body + 1, sizeof(*k->bufs));
    if (k->bufs == NULL)
        return UV_ENOMEM;
    k->n_bufs = 1;
    for (size_t i = 0; i < spec->n_body; i++) {
        total += spec->body[i].n;
        if (spec->body[i].n > 0)
            k->bufs[k->n_bufs++] =
                uv_buf_init((char *)(uintptr_t)spec->body[i].p, (unsigned)spec->body[i].n);
    }
    rm_buf_init(&head, HEAD_MAX_BYTES);
    r = put_head(&head, k->client, spec,
                 spec->n_body > 0 || wants_length(spec->method) ? (int64_t)total : -2);
    k->bufs[0] = uv_buf_init(head.data, (unsigned)head.len); /* owned by the call from here on */
    return r;
}

static int init_upload(struct http_call *k, const struct http_call_spec *spec)
{
    struct hc_upload *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return UV_ENOMEM;
    k->upload = u;
    u->left = spec->stream_length;
    rm_buf_init(&u->out, UPLOAD_MAX + UPLOAD_SLACK);
    rm_buf_init(&u->next, UPLOAD_MAX + UPLOAD_SLACK);
    return put_head(&u->next, k->client, spec, spec->stream_length);
}

int hc_send_init(struct http_call *k, const struct http_call_spec *spec)
{
    if (spec->stream_length < -1 || (spec->stream_length != 0 && spec->n_body > 0))
        return UV_EINVAL;
    return spec->stream_length != 0 ? init_upload(k, spec) : init_whole(k, spec);
}

static void bufs_free(struct http_call *k)
{
    if (k->bufs != NULL)
        free(k->bufs[0].base);
    free(k->bufs);
    k->bufs = NULL;
}

void hc_send_clear(struct http_call *k)
{
    bufs_free(k);
    if (k->upload == NULL)
        return;
    rm_buf_clear(&k->upload->out);
    rm_buf_clear(&k->upload->next);
    free(k->upload);
    k->upload = NULL;
}

bool hc_send_again(const struct http_call *k)
{
    return k->bufs != NULL;
}

void hc_send_settle(struct http_call *k)
{
    if (k->sent)
        bufs_free(k);
}

/* ---- writing ---- */

static void call_sent(struct http_call *k)
{
    k->sent = true;
    k->mark_ms = uv_now(k->client->loop);
    if (k->got_bytes)
        hc_send_settle(k);
}

static void send_failed(struct http_call *k, int err)
{
    if (k->send_err == 0)
        k->send_err = err;
    k->mark_ms = uv_now(k->client->loop);
}

/* The call that this write belonged to, if it still has the connection. */
static struct http_call *write_call(uv_write_t *req)
{
    struct hc_conn *n = req->handle->data;

    return n->closing || n->call == NULL || n->call->over ? NULL : n->call;
}

static void whole_on_write(uv_write_t *req, int status)
{
    struct http_call *k = write_call(req);

    if (k == NULL)
        return;
    if (status < 0)
        send_failed(k, status);
    else
        call_sent(k);
}

/* Gives the kernel what is left of bufs after the first `taken` bytes. */
static int write_rest(struct http_call *k, size_t taken)
{
    uint32_t first = 0, n;
    uv_buf_t *rest;
    int r;

    while (taken >= k->bufs[first].len)
        taken -= k->bufs[first++].len;
    n = k->n_bufs - first;
    rest = malloc(n * sizeof(*rest)); /* uv_write keeps a copy of its own */
    if (rest == NULL)
        return UV_ENOMEM;
    memcpy(rest, k->bufs + first, n * sizeof(*rest));
    rest[0].base += taken;
    rest[0].len -= taken;
    r = uv_write(&k->conn->req.write, &k->conn->h.stream, rest, n, whole_on_write);
    free(rest);
    return r;
}

static void start_whole(struct http_call *k)
{
    size_t total = 0;
    int r;

    for (uint32_t i = 0; i < k->n_bufs; i++)
        total += k->bufs[i].len;
    r = uv_try_write(&k->conn->h.stream, k->bufs, k->n_bufs);
    if (r >= 0 && (size_t)r == total) {
        call_sent(k);
        return;
    }
    if (r >= 0 || r == UV_EAGAIN)
        r = write_rest(k, r >= 0 ? (size_t)r : 0);
    if (r < 0)
        send_failed(k, r);
}

/* ---- a streamed body ---- */

static size_t upload_held(const struct hc_upload *u)
{
    return u->out.len + u->next.len;
}

static void upload_flush(struct http_call *k);

/* From the loop only: tells the source that was told to wait. */
static void upload_wake(struct http_call *k)
{
    struct hc_upload *u = k->upload;

    if (!u->want_writable || k->over || upload_held(u) > UPLOAD_LOW)
        return;
    u->want_writable = false;
    if (k->ops->on_writable != NULL)
        k->ops->on_writable(k);
}

static void upload_on_write(uv_write_t *req, int status)
{
    struct http_call *k = write_call(req);
    struct hc_upload *u;

    if (k == NULL)
        return;
    u = k->upload;
    u->writing = false;
    rm_buf_clear(&u->out);
    if (status < 0) {
        send_failed(k, status);
        return;
    }
    upload_flush(k);
    upload_wake(k);
}

static int upload_write_rest(struct http_call *k)
{
    struct hc_upload *u = k->upload;
    struct rm_buf empty = u->out;
    uv_buf_t buf;
    int r;

    u->out = u->next;
    u->next = empty;
    buf = uv_buf_init(u->out.data, (unsigned)u->out.len);
    r = uv_write(&k->conn->req.write, &k->conn->h.stream, &buf, 1, upload_on_write);
    u->writing = r == 0;
    return r;
}

static void upload_flush(struct http_call *k)
{
    struct hc_upload *u = k->upload;
    uv_buf_t buf = uv_buf_init(u->next.data, (unsigned)u->next.len);
    int r;

    if (!u->connected || u->writing || k->send_err < 0 || k->over)
        return;
    if (u->next.len > 0) {
        r = uv_try_write(&k->conn->h.stream, &buf, 1);
        if (r > 0)
            rm_buf_eat(&u->next, (size_t)r);
        if (r == UV_EAGAIN || r >= 0)
            r = u->next.len > 0 ? upload_write_rest(k) : 0;
        if (r < 0) {
            send_failed(k, r);
            return;
        }
    }
    if (u->ended && !u->writing && !k->sent)
        call_sent(k);
}

void hc_send_start(struct http_call *k)
{
    k->stall_left = SIZE_MAX;
    if (k->upload == NULL) {
        start_whole(k);
        return;
    }
    k->upload->connected = true;
    upload_flush(k);
    upload_wake(k); /* nobody waits yet when this is http_call_start on a kept connection */
}

/* Puts frame and pieces behind what waits already, all or nothing. skip: bytes the kernel took. */
static int upload_queue(struct hc_upload *u, const struct rm_slice *all, size_t n, size_t skip)
{
    size_t before = u->next.len;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        size_t taken = skip < all[i].n ? skip : all[i].n;

        skip -= taken;
        r = rm_buf_put(&u->next, all[i].p + taken, all[i].n - taken);
    }
    if (r < 0)
        u->next.len = before;
    return r;
}

/* Writes at once what the kernel takes, when nothing waits before it. */
static int upload_try(struct http_call *k, const struct rm_slice *all, size_t n)
{
    uv_buf_t bufs[PIECES_MAX + 2];
    int r;

    if (!k->upload->connected || upload_held(k->upload) > 0 || n > RM_COUNT(bufs))
        return 0;
    for (size_t i = 0; i < n; i++)
        bufs[i] = uv_buf_init((char *)(uintptr_t)all[i].p, (unsigned)all[i].n);
    r = uv_try_write(&k->conn->h.stream, bufs, (unsigned)n);
    return r == UV_EAGAIN ? 0 : r;
}

static int upload_put(struct http_call *k, const struct rm_slice *all, size_t n)
{
    int r = upload_try(k, all, n);

    if (r < 0) {
        send_failed(k, r);
        return UV_EPIPE;
    }
    r = upload_queue(k->upload, all, n, (size_t)r);
    if (r < 0) { /* a part may be gone already: this request cannot be completed */
        hc_call_over(k, r);
        return r;
    }
    upload_flush(k);
    return k->send_err < 0 ? UV_EPIPE : 0;
}

int http_call_write(struct http_call *k, const struct rm_slice *pieces, size_t n_pieces)
{
    struct rm_slice all[PIECES_MAX + 2];
    struct hc_upload *u = k->upload;
    char line[24];
    size_t total = 0, n = 0;
    int r;

    if (u == NULL || u->ended || k->over || k->ended || k->send_err < 0)
        return UV_EPIPE;
    for (size_t i = 0; i < n_pieces; i++)
        total += pieces[i].n;
    if (total == 0)
        return 0;
    if (upload_held(u) + total > UPLOAD_MAX || n_pieces > PIECES_MAX ||
        (u->left >= 0 && total > (uint64_t)u->left))
        return RM_ERR_TOO_BIG;
    if (u->left < 0)
        all[n++] = (struct rm_slice){line, (size_t)snprintf(line, sizeof(line), "%zx\r\n", total)};
    else
        u->left -= (int64_t)total;
    for (size_t i = 0; i < n_pieces; i++)
        all[n++] = pieces[i];
    if (u->left < 0)
        all[n++] = RM_LIT("\r\n");
    if ((r = upload_put(k, all, n)) < 0)
        return r;
    u->want_writable = upload_held(u) > UPLOAD_HIGH;
    return u->want_writable ? RM_WAIT : 0;
}

void http_call_end(struct http_call *k)
{
    struct hc_upload *u = k->upload;
    struct rm_slice last = RM_LIT("0\r\n\r\n");

    if (u == NULL || u->ended || k->over || k->send_err < 0)
        return;
    if (u->left > 0) { /* fewer bytes than were promised */
        hc_call_over(k, UV_EINVAL);
        return;
    }
    u->ended = true;
    if (u->left < 0)
        (void)upload_put(k, &last, 1);
    else
        upload_flush(k);
}

/* No byte of what waits in the kernel's and our queue went out for limit_ms. */
bool hc_send_stalled(struct http_call *k, uint64_t now, uint64_t limit_ms)
{
    size_t left = k->conn != NULL ? uv_stream_get_write_queue_size(&k->conn->h.stream) : 0;

    if (left == 0 || left != k->stall_left) {
        k->stall_left = left;
        k->stall_ms = now;
        return false;
    }
    return now - k->stall_ms >= limit_ms;
}
