/* SPDX-License-Identifier: MIT */
/* gateway/ops/session.c - /api/v1/session: a browser shows a key once and gets a cookie that stands
 * for it; who am I; and sign out. All three are open, since the page asks before it has a key, and
 * harmless to others: the body must be JSON, so that no form of another site can send it, and an
 * Origin that is not ours is refused. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/keys/keys.h"
#include "gateway/ops/ops_impl.h"
#include "proto/base/json_write.h"
#include "proto/node/fields.h"

enum { BODY_MAX = 1024, ANSWER_MAX = 4096, COOKIE_MAX = 256 };

/* ---- who am I ---- */

int ops_get_session(struct ops_call *c, int *status)
{
    const struct ops_caller *who = &c->who;
    struct rm_jw w = rm_jw_to(&c->out);

    (void)status;
    rm_jw_obj(&w, NULL);
    if (who->name[0] != '\0')
        rm_jw_str(&w, "name", who->name);
    else
        rm_jw_null(&w, "name");
    rm_jw_bool(&w, "admin", who->admin);
    rm_jw_bool(&w, "keys_exist", who->keys_exist);
    if (who->by_cookie)
        rm_jw_u64(&w, "expires_s", who->left_s);
    else
        rm_jw_null(&w, "expires_s");
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* ---- sign in ---- */

struct sign_in {
    struct keys *keys;
    struct rm_buf body;
    char old[SESSION_ID + 1]; /* the session that ends by it */
    bool secure;              /* the page came by TLS */
};

/* id "": the cookie goes. */
static void put_cookie(char out[COOKIE_MAX], const char *id, uint64_t left_s, bool secure)
{
    snprintf(out, COOKIE_MAX,
             SESSION_COOKIE "=%s; Max-Age=%llu; Path=/; HttpOnly; SameSite=Strict%s", id,
             (unsigned long long)left_s, secure ? "; Secure" : "");
}

static void sign_in_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct sign_in *s = http_req_arg(q);
    int r = http_reply_started(q) ? 0 : rm_buf_put(&s->body, bytes, n);

    if (r < 0)
        ops_answer_error(q, r == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : r, NULL, NULL);
}

/* {"key": TEXT} and nothing else. */
static int read_key(const struct sign_in *s, char *out, size_t size, char *why, size_t n)
{
    struct rm_slice text = {s->body.data != NULL ? s->body.data : "", s->body.len};
    json_t *body = NULL, *key;
    int r = node_json_load(text, &body, why);

    if (r < 0)
        return r;
    key = json_object_get(body, "key");
    if (json_object_size(body) != 1 || !json_is_string(key)) {
        snprintf(why, n, "the body has key, a text, and nothing else");
        r = RM_ERR_FIELD;
    } else {
        rm_text_copy(out, size, json_string_value(key));
        if (json_string_length(key) != strlen(out))
            out[0] = '\0'; /* no key of ours is that long */
        sodium_memzero((char *)json_string_value(key), json_string_length(key));
    }
    json_decref(body);
    return r;
}

static void answer_session(struct http_req *q, struct sign_in *s, const struct keys_pass *pass,
                           const char *id)
{
    char cookie[COOKIE_MAX];
    struct http_out_field fields[2] = {ops_no_store, {"Set-Cookie", {cookie, 0}}};
    struct rm_buf out;
    struct rm_jw w;

    put_cookie(cookie, id, pass->session_left_s, s->secure);
    fields[1].value.n = strlen(cookie);
    rm_buf_init(&out, ANSWER_MAX);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "name", pass->key->name);
    rm_jw_bool(&w, "admin", pass->key->admin);
    rm_jw_u64(&w, "expires_s", pass->session_left_s);
    rm_jw_end(&w);
    if (rm_jw_done(&w) < 0)
        ops_answer_error(q, rm_jw_done(&w), NULL, NULL);
    else
        http_reply_full(q, 200, fields, 2, "application/json",
                        (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
    sodium_memzero(cookie, sizeof cookie);
}

static void sign_in_on_end(struct http_req *q)
{
    static const struct http_out_field bearer = {"WWW-Authenticate",
                                                 RM_LIT("Bearer realm=\"rolemesh\"")};
    struct sign_in *s = http_req_arg(q);
    char key[2 * API_KEY_TEXT] = "", id[SESSION_ID + 1] = "", why[NODE_WHY_MAX] = "";
    struct keys_pass pass = {0};
    const char *text = why;
    int r;

    if (http_reply_started(q))
        return;
    r = read_key(s, key, sizeof key, why, sizeof why);
    if (r == 0)
        r = keys_begin_session(s->keys, rm_slice_of(key), rm_slice_of(s->old), id, &pass, &text);
    sodium_memzero(key, sizeof key);
    if (r < 0)
        ops_answer_error(q, r, text[0] != '\0' ? text : NULL, r == RM_ERR_AUTH ? &bearer : NULL);
    else
        answer_session(q, s, &pass, id);
    keys_leave(s->keys, &pass, 0);
    sodium_memzero(id, sizeof id);
}

static void sign_in_on_done(struct http_req *q)
{
    struct sign_in *s = http_req_arg(q);

    if (s->body.data != NULL)
        sodium_memzero(s->body.data, s->body.len);
    rm_buf_clear(&s->body);
    sodium_memzero(s->old, sizeof s->old);
    free(s);
}

/* A page that came by TLS says so itself: browsers send Origin with every POST. */
static bool came_by_tls(const struct http_head *head)
{
    struct rm_slice origin = http_head_value(head, "Origin");

    return origin.n > 8 && rm_slice_ieq((struct rm_slice){origin.p, 8}, "https://");
}

bool ops_post_session(struct ops_call *c)
{
    static const struct http_req_ops ops = {
        .on_body = sign_in_on_body, .on_end = sign_in_on_end, .on_done = sign_in_on_done};
    const struct http_head *head = http_req_head(c->q);
    struct sign_in *s = calloc(1, sizeof *s);
    const char *fault = ops_origin_fault(head);
    struct http_req *q = c->q;

    if (s == NULL)
        return false;
    s->keys = c->sources->keys;
    s->secure = came_by_tls(head);
    rm_text_copy(s->old, sizeof s->old, c->who.session);
    rm_buf_init(&s->body, BODY_MAX);
    http_req_accept(q, &ops, s);
    http_req_set_body_limit(q, BODY_MAX);
    if (fault != NULL)
        ops_answer_error(q, RM_ERR_FORBIDDEN, fault, NULL);
    else if (!ops_has_type(head, "application/json") ||
             http_head_find(head, "Content-Encoding") != NULL)
        ops_answer_error(q, RM_ERR_MEDIA_TYPE,
                         "a key is shown as application/json, without Content-Encoding", NULL);
    else if (rm_buf_reserve(&s->body, BODY_MAX) < 0) /* no copy is left behind by one that grows */
        ops_answer_error(q, UV_ENOMEM, NULL, NULL);
    return true;
}

/* ---- sign out ---- */

static void sign_out_on_done(struct http_req *q)
{
    (void)q;
}

bool ops_delete_session(struct ops_call *c)
{
    static const struct http_req_ops ops = {.on_done = sign_out_on_done};
    char cookie[COOKIE_MAX];
    struct http_out_field fields[2] = {ops_no_store, {"Set-Cookie", {cookie, 0}}};

    keys_end_session(c->sources->keys, rm_slice_of(c->who.session));
    put_cookie(cookie, "", 0, came_by_tls(http_req_head(c->q)));
    fields[1].value.n = strlen(cookie);
    http_req_accept(c->q, &ops, NULL);
    http_reply_full(c->q, 204, fields, 2, NULL, (struct rm_slice){NULL, 0});
    return true;
}
