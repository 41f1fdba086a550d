/* SPDX-License-Identifier: MIT */
/* The relay gathers what one socket read of the upstream brought and hands it to the reply in one
 * write; the bytes still lie in the client's read buffer then. Whatever ends it early aborts the
 * call, and the last callback comes with the call's on_done. */
#include "proto/http/relay.h"

#include <stdlib.h>
#include <string.h>

enum { RELAY_PIECES = 56, RELAY_FIELDS = 100, RELAY_NAMES = 4096 };

struct relay {
    struct http_call *call; /* NULL once it is over */
    struct http_req *q;
    const struct relay_ops *ops;
    void *arg;
    int err;         /* why the call was aborted by us */
    bool hold;       /* on_head said RM_WAIT: nothing passes by itself */
    bool head_ready; /* relay_copy_head started a reply that has not left */
    bool paused;     /* the upstream, by us */
    bool q_paused;   /* the request body, by us */
    bool told;       /* on_finish was called */
    bool aborted;    /* by the owner: it is not called */
    bool got_bytes;  /* of the call, when that is over */
    uint32_t n_pieces;
    struct rm_slice pieces[RELAY_PIECES];
};

/* ---- to the client ---- */

int relay_flush(struct relay *r)
{
    uint32_t n = r->n_pieces;
    int err;

    r->n_pieces = 0;
    if (n == 0)
        return 0;
    r->head_ready = false; /* it leaves with them */
    err = http_reply_write(r->q, r->pieces, n);
    if (err != RM_WAIT)
        return err;
    if (!r->paused && r->call != NULL) {
        r->paused = true;
        http_call_pause(r->call);
    }
    return 0;
}

int relay_put(struct relay *r, struct rm_slice piece)
{
    if (piece.n == 0)
        return 0;
    r->pieces[r->n_pieces++] = piece;
    return r->n_pieces == RELAY_PIECES ? relay_flush(r) : 0;
}

void relay_on_writable(struct relay *r)
{
    if (!r->paused || r->call == NULL)
        return;
    r->paused = false;
    http_call_resume(r->call);
}

/* ---- the upstream's head ---- */

static int64_t reply_length(const struct relay *r, const struct http_head *head)
{
    if (head->framing == HTTP_BODY_LENGTH)
        return (int64_t)head->content_length;
    if (head->framing == HTTP_BODY_NONE && http_req_head(r->q)->method != HTTP_HEAD)
        return 0;
    return -1;
}

/* The server wants names with a NUL: they are copied into text. Returns the number of fields, or a
 * negative error. */
static int copy_fields(const struct http_head *head, struct http_out_field *out, char *text,
                       size_t size)
{
    int n = 0;

    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];

        if (http_field_is_hop(head, f))
            continue;
        if (n == RELAY_FIELDS || f->name.n >= size)
            return RM_ERR_HTTP_FIELDS;
        memcpy(text, f->name.p, f->name.n);
        text[f->name.n] = '\0';
        out[n++] = (struct http_out_field){text, f->value};
        text += f->name.n + 1;
        size -= f->name.n + 1;
    }
    return n;
}

int relay_copy_head(struct relay *r, const struct http_head *head)
{
    struct http_out_field fields[RELAY_FIELDS];
    char small[RELAY_NAMES], *text = small;
    size_t names = 0;
    int n;

    for (uint32_t i = 0; i < head->n_fields; i++)
        names += head->fields[i].name.n + 1;
    if (names > sizeof(small) && (text = malloc(names)) == NULL)
        return UV_ENOMEM;
    n = copy_fields(head, fields, text, names > sizeof(small) ? names : sizeof(small));
    if (n >= 0) {
        n = http_reply_start(r->q, head->status, fields, (size_t)n, reply_length(r, head));
        r->head_ready = n == 0;
    }
    if (text != small)
        free(text);
    return n;
}

/* ---- the call's callbacks ---- */

static void relay_finish(struct relay *r, int err)
{
    if (r->told || r->aborted)
        return;
    r->told = true;
    if (r->call != NULL)
        r->got_bytes = http_call_got_bytes(r->call);
    if (r->q_paused) /* what still comes of the body is the owner's now */
        http_req_resume(r->q);
    r->ops->on_finish(r, err);
}

/* Something on our side went wrong: the upstream is told to stop, on_finish comes from on_done. */
static void relay_stop(struct relay *r, int err)
{
    if (r->err < 0)
        return;
    r->err = err;
    r->n_pieces = 0;
    http_call_abort(r->call);
}

static void relay_on_head(struct http_call *k, const struct http_head *head)
{
    struct relay *r = http_call_arg(k);
    int err = r->ops->on_head != NULL ? r->ops->on_head(r, head) : relay_copy_head(r, head);

    if (err < 0 && !r->aborted)
        relay_stop(r, err);
    r->hold = err == RM_WAIT;
}

static void relay_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct relay *r = http_call_arg(k);
    int err = 0;

    if (r->ops->filter != NULL)
        err = r->ops->filter(r, bytes, n);
    else if (!r->hold)
        err = relay_put(r, (struct rm_slice){bytes, n});
    if (err < 0 && !r->aborted)
        relay_stop(r, err);
}

static void relay_on_batch(struct http_call *k)
{
    struct relay *r = http_call_arg(k);
    int err;

    if (r->n_pieces == 0 && r->head_ready) {
        r->head_ready = false;
        err = http_reply_flush(r->q);
    } else {
        err = relay_flush(r);
    }
    if (err < 0 && !r->aborted)
        relay_stop(r, err);
}

static void relay_on_upload_writable(struct http_call *k)
{
    struct relay *r = http_call_arg(k);

    r->q_paused = false;
    http_req_resume(r->q);
}

static void relay_on_end(struct http_call *k)
{
    relay_finish(http_call_arg(k), 0);
}

static void relay_on_fail(struct http_call *k, int err)
{
    relay_finish(http_call_arg(k), err);
}

static void relay_on_done(struct http_call *k)
{
    struct relay *r = http_call_arg(k);

    r->got_bytes = http_call_got_bytes(k);
    r->call = NULL;
    relay_finish(r, r->err < 0 ? r->err : UV_ECANCELED);
    free(r);
}

static const struct http_call_ops relay_call_ops = {
    .on_head = relay_on_head,
    .on_body = relay_on_body,
    .on_batch = relay_on_batch,
    .on_writable = relay_on_upload_writable,
    .on_end = relay_on_end,
    .on_fail = relay_on_fail,
    .on_done = relay_on_done,
};

/* ---- the contract ---- */

int relay_start(struct http_client *c, const struct http_call_spec *spec, struct http_req *q,
                const struct relay_ops *ops, void *arg, struct relay **out)
{
    struct relay *r = malloc(sizeof(*r));
    int err;

    *out = NULL;
    if (r == NULL)
        return UV_ENOMEM;
    memset(r, 0, offsetof(struct relay, pieces));
    r->q = q;
    r->ops = ops;
    r->arg = arg;
    err = http_call_start(c, spec, &relay_call_ops, r, &r->call);
    if (err < 0) {
        free(r);
        return err;
    }
    *out = r;
    return 0;
}

void *relay_arg(const struct relay *r)
{
    return r->arg;
}

struct http_call *relay_call(const struct relay *r)
{
    return r->told ? NULL : r->call;
}

int relay_send(struct relay *r, const char *bytes, size_t n)
{
    struct rm_slice piece = {bytes, n};
    int err = r->call != NULL ? http_call_write(r->call, &piece, 1) : UV_EPIPE;

    if (err == RM_WAIT) {
        r->q_paused = true;
        http_req_pause(r->q);
    }
    return err == RM_ERR_TOO_BIG ? err : 0;
}

void relay_send_end(struct relay *r)
{
    if (r->call != NULL)
        http_call_end(r->call);
}

void relay_abort(struct relay *r)
{
    if (r == NULL || r->aborted || r->told)
        return;
    r->aborted = true;
    r->n_pieces = 0;
    if (r->call != NULL)
        http_call_abort(r->call);
}

void relay_drop_connection(struct relay *r)
{
    if (r->call != NULL)
        http_call_abort(r->call);
}

bool relay_got_bytes(const struct relay *r)
{
    return r->call != NULL ? http_call_got_bytes(r->call) : r->got_bytes;
}
