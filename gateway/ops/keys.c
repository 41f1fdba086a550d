/* SPDX-License-Identifier: MIT */
/* gateway/ops/keys.c - /api/v1/keys: the list, and keys made, revoked and given a successor.
 * A key itself is in one answer only, the one to its making. Edits are done in the thread pool
 * (gateway/keys); one that was begun is finished even when its asker leaves. */
#include "gateway/keys/keys.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/ops_impl.h"
#include "gateway/ops/read.h"
#include "proto/base/clock.h"
#include "proto/node/fields.h"

enum { WISH_MAX = 16 * 1024, GRACE_MAX_S = 366 * 24 * 3600, ANSWER_MAX = 32 * 1024 };

/* ---- the list ---- */

static int source_keys(void *arg, struct rm_buf *out)
{
    return keys_write(arg, out);
}

int ops_get_keys(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "keys", .key = {"id"}};
    int r = rm_buf_puts(&c->out, "{");

    (void)status;
    if (r == 0)
        r = ops_write_page(c, &page, source_keys, c->sources->keys);
    return r == 0 ? rm_buf_puts(&c->out, "}\n") : r;
}

/* ---- edits ---- */

struct order {
    struct keys *keys;
    struct http_req *q; /* NULL: gone */
    struct rm_buf body;
    struct keyring_edit edit;
    bool asked; /* the keys have it and will answer */
};

static void order_free_when_over(struct order *o)
{
    if (o->q != NULL || o->asked)
        return;
    rm_buf_clear(&o->body);
    keyring_edit_clear(&o->edit);
    free(o);
}

static void order_answer(struct order *o, const struct keyring_edit *edit)
{
    bool new_key = edit->act != KEYRING_REVOKE;
    struct rm_buf out;
    int r;

    rm_buf_init(&out, ANSWER_MAX);
    r = rm_buf_reserve(&out, 4096); /* the key is not left behind by a buffer that grows */
    if (r == 0)
        r = keys_write_one(o->keys, &edit->done, new_key ? edit->text : NULL, &out);
    if (r < 0)
        ops_answer_error(o->q, r, NULL, NULL);
    else
        http_reply_full(o->q, edit->act == KEYRING_CREATE ? 201 : 200, &ops_no_store, 1,
                        "application/json", (struct rm_slice){out.data, out.len});
    if (out.data != NULL)
        sodium_memzero(out.data, out.len);
    rm_buf_clear(&out);
}

static void order_on_done(void *arg, int err, const char *why, const struct keyring_edit *edit)
{
    struct order *o = arg;

    o->asked = false;
    if (o->q != NULL && err < 0)
        ops_answer_error(o->q, err, why, NULL);
    else if (o->q != NULL)
        order_answer(o, edit);
    order_free_when_over(o);
}

static void order_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct order *o = http_req_arg(q);
    int r = http_reply_started(q) ? 0 : rm_buf_put(&o->body, bytes, n);

    if (r < 0)
        ops_answer_error(q, r == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : r, NULL, NULL);
}

static int read_grace(const json_t *body, struct keyring_edit *e, char *why, size_t n)
{
    const json_t *grace = json_object_get(body, "grace_s");
    double s = json_number_value(grace);
    bool good = json_object_size(body) == (grace != NULL) &&
                (grace == NULL ||
                 (json_is_number(grace) && s >= 0 && s <= GRACE_MAX_S && s == (double)(int64_t)s));

    if (good)
        e->grace_s = (uint64_t)s;
    else
        snprintf(why, n, "the body may have grace_s, in seconds up to a year, and nothing else");
    return good ? 0 : RM_ERR_FIELD;
}

/* What the body says. Only rotate may be without one. */
static int read_wish(struct order *o, char *why, size_t n)
{
    struct rm_slice text = {o->body.data, o->body.len};
    json_t *body = NULL;
    int r;

    if (o->edit.act == KEYRING_REVOKE || (o->edit.act == KEYRING_ROTATE && text.n == 0))
        return 0;
    if (text.n == 0)
        text = RM_LIT("");
    if ((r = node_json_load(text, &body, why)) < 0)
        return r;
    r = o->edit.act == KEYRING_CREATE ? keyring_wish_get(body, &o->edit.want, why, n)
                                      : read_grace(body, &o->edit, why, n);
    json_decref(body);
    return r;
}

static void order_on_end(struct http_req *q)
{
    struct order *o = http_req_arg(q);
    char why[512] = "";
    int r;

    if (http_reply_started(q))
        return;
    r = read_wish(o, why, sizeof why);
    o->edit.now_s = (uint64_t)rm_wall_s();
    if (r == 0) {
        r = keys_edit(o->keys, &o->edit, order_on_done, o);
        o->asked = r == 0;
        if (r == RM_ERR_NOT_FOUND)
            snprintf(why, sizeof why, "this gateway has no state directory to keep keys in");
    }
    if (r < 0)
        ops_answer_error(q, r, why[0] != '\0' ? why : NULL, NULL);
}

static void order_on_over(struct http_req *q)
{
    struct order *o = http_req_arg(q);

    o->q = NULL;
    order_free_when_over(o);
}

static bool order_take(struct ops_call *c, enum keyring_act act)
{
    static const struct http_req_ops ops = {
        .on_body = order_on_body, .on_end = order_on_end, .on_done = order_on_over};
    struct order *o = calloc(1, sizeof *o);
    const struct http_head *head = http_req_head(c->q);

    if (o == NULL)
        return false;
    o->keys = c->sources->keys;
    o->q = c->q;
    o->edit.act = act;
    rm_text_copy(o->edit.which, sizeof o->edit.which, c->part[0]);
    rm_buf_init(&o->body, WISH_MAX);
    http_req_accept(c->q, &ops, o);
    http_req_set_body_limit(o->q, WISH_MAX);
    if (head->framing != HTTP_BODY_NONE && !ops_has_type(head, "application/json"))
        ops_answer_error(o->q, RM_ERR_MEDIA_TYPE, "a key is described as application/json", NULL);
    else if (http_head_find(head, "Content-Encoding") != NULL)
        ops_answer_error(o->q, RM_ERR_MEDIA_TYPE, "a key is described without Content-Encoding",
                         NULL);
    return true;
}

bool ops_post_key(struct ops_call *c)
{
    return order_take(c, KEYRING_CREATE);
}

bool ops_revoke_key(struct ops_call *c)
{
    return order_take(c, KEYRING_REVOKE);
}

bool ops_rotate_key(struct ops_call *c)
{
    return order_take(c, KEYRING_ROTATE);
}
