/* SPDX-License-Identifier: MIT */
#include "gateway/ops/ops.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/keys/keys.h"
#include "gateway/ops/asking.h"
#include "gateway/ops/history.h"
#include "gateway/ops/ops_impl.h"
#include "proto/base/log.h"
#include "proto/http/problem.h"

enum { ERROR_MAX = 8192 };

struct ops {
    struct ops_sources sources;
    struct ops_watch *watch;
    struct history *history; /* NULL: none */
    uv_loop_t *loop;
    struct asking_cache *cache;
    uint32_t asking; /* workers, for answers of ours */
    bool closed;     /* freed when nothing is asked any more */
};

static const char json_type[] = "application/json";

const struct http_out_field ops_no_store = {"Cache-Control", {"no-store", 8}};

static void call_free(struct ops_call *c)
{
    sodium_memzero(&c->who, sizeof c->who);
    free(c);
}

static void ops_on_done(struct http_req *q)
{
    struct ops_call *c = http_req_arg(q);

    rm_buf_clear(&c->out);
    call_free(c);
}

void ops_answer_error(struct http_req *q, int err, const char *text,
                      const struct http_out_field *field)
{
    struct http_out_field fields[2] = {ops_no_store};
    struct rm_buf body;
    struct rm_jw w;

    rm_buf_init(&body, ERROR_MAX);
    w = rm_jw_to(&body);
    rm_jw_obj(&w, NULL);
    http_problem_members(&w, err, text);
    rm_jw_end(&w);
    if (field != NULL)
        fields[1] = *field;
    http_reply_full(q, rm_err_status(err), fields, field != NULL ? 2 : 1, HTTP_PROBLEM_TYPE,
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

/* A path that only we can answer: the front has a better word for editors' paths behind /api. */
static bool is_ours(struct rm_slice path)
{
    static const char *const editors[] = {"chat",     "completions", "embeddings",
                                          "messages", "rerank",      "responses"};
    struct rm_slice rest;
    size_t n = 0;

    if (path.n < 9 || memcmp(path.p, "/api/v1/", 8) != 0)
        return false;
    rest = (struct rm_slice){path.p + 8, path.n - 8};
    while (n < rest.n && rest.p[n] != '/')
        n++;
    rest.n = n;
    for (size_t i = 0; i < RM_COUNT(editors); i++)
        if (rm_slice_eq(rest, editors[i]))
            return false;
    return true;
}

/* Does a session's cookie count here? */
static bool takes_cookies(struct rm_slice path)
{
    return path.n > 8 && memcmp(path.p, "/api/v1/", 8) == 0;
}

static void remember_who(struct ops_call *c, const struct http_head *head,
                         const struct keys_pass *pass, const struct ops_who *who)
{
    struct rm_slice id = session_sent(head);

    c->who.keys_exist = who->keys_exist;
    c->who.admin = who->keys_exist ? pass->key != NULL && pass->key->admin
                                   : ops_trust_fault(http_req_peer(c->q), head) == NULL;
    c->who.by_cookie = pass->by_cookie;
    c->who.left_s = pass->session_left_s;
    if (pass->key != NULL)
        rm_text_copy(c->who.name, sizeof c->who.name, pass->key->name);
    memcpy(c->who.session, id.p, id.n); /* nothing, or as long as an id is */
}

/* May the sender have the route? Its key is of no use to anybody afterwards. */
static int judge_who(struct ops_call *c, const struct http_head *head, const char **text)
{
    struct keys *keys = c->sources->keys;
    struct keys_pass pass;
    struct ops_who who = {.keys_exist = keys_exist(keys)};
    int r;

    who.err = takes_cookies(head->path) ? keys_enter_ops(keys, head, &pass, &who.why)
                                        : keys_enter(keys, head, RM_LIT(""), &pass, &who.why);
    who.key = pass.key;
    who.by_cookie = pass.by_cookie;
    remember_who(c, head, &pass, &who);
    r = ops_allowed(c->route->policy, http_req_peer(c->q), head, &who, text);
    keys_leave(keys, &pass, 0);
    keys_wipe(c->q, RM_LIT(""));
    return r;
}

/* What is wrong before the handler is asked. Returns 0, or an error with maybe a text. */
static int judge(struct ops_call *c, const struct http_head *head,
                 const struct rm_slice part[OPS_PARTS], const char **text)
{
    int r = judge_who(c, head, text);

    if (r < 0)
        return r;
    for (size_t i = 0; i < OPS_PARTS; i++)
        if (part[i].n > 0 && !query_decode(part[i], false, c->part[i], OPS_PART_MAX)) {
            *text = "a segment of the path is damaged or too long";
            return RM_ERR_NOT_FOUND;
        }
    *text = c->query.why;
    return query_read(&c->query, c->route->params, head->query);
}

static void answer(struct ops_call *c)
{
    int status = 200, r = c->route->read(c, &status);

    if (r < 0)
        ops_answer_error(c->q, r, c->query.why[0] != '\0' ? c->query.why : NULL, NULL);
    else
        http_reply_full(c->q, status, &ops_no_store, 1,
                        c->type != NULL          ? c->type
                        : c->route->type != NULL ? c->route->type
                                                 : json_type,
                        (struct rm_slice){c->out.data, c->out.len});
}

/* A path of ours without a route for this method. */
static void refuse(struct http_req *q, const char *allow)
{
    const struct http_out_field field = {"Allow", rm_slice_of(allow)};

    if (allow[0] != '\0')
        ops_answer_error(q, RM_ERR_METHOD, NULL, &field);
    else
        ops_answer_error(q, RM_ERR_NOT_FOUND,
                         "there is no such path in the ops API (proto/openapi.yaml); editors use "
                         "/MODE/v1",
                         NULL);
}

/* The handlers are asked; without memory the connection is cut. */
static void run(struct ops_call *c)
{
    static const struct http_req_ops ops = {.on_done = ops_on_done};

    if (c->route->take != NULL && c->route->take(c)) {
        call_free(c);
        return;
    }
    http_req_accept(c->q, &ops, c);
    if (c->route->read != NULL)
        answer(c);
    else
        ops_answer_error(c->q, UV_ENOMEM, NULL, NULL);
}

bool ops_on_request(struct ops *o, struct http_req *q)
{
    static const struct http_req_ops ops = {.on_done = ops_on_done};
    static const struct http_out_field bearer = {"WWW-Authenticate",
                                                 RM_LIT("Bearer realm=\"rolemesh\"")};
    const struct http_head *head = http_req_head(q);
    struct rm_slice part[OPS_PARTS] = {{NULL, 0}};
    const struct ops_route *route;
    const char *text = NULL;
    char allow[64];
    struct ops_call *c;
    int r = 0;

    route = ops_route_of(head->method, head->path, part, allow, sizeof allow);
    if (route == NULL && allow[0] == '\0' && !is_ours(head->path))
        return false;
    if ((c = calloc(1, sizeof *c)) == NULL)
        return false;
    *c = (struct ops_call){.ops = o, .sources = &o->sources, .q = q, .route = route};
    rm_buf_init(&c->out, OPS_ANSWER_MAX);
    if (route != NULL && (r = judge(c, head, part, &text)) == 0) {
        run(c);
        return true;
    }
    http_req_accept(q, &ops, c);
    if (route == NULL)
        refuse(q, allow);
    else
        ops_answer_error(q, r, text, r == RM_ERR_AUTH ? &bearer : NULL);
    return true;
}

int ops_write_body(struct ops *o, const char *path, struct rm_buf *out)
{
    struct rm_slice part[OPS_PARTS] = {{NULL, 0}};
    struct ops_call c = {.ops = o, .sources = &o->sources};
    char allow[64];
    int status = 200, r;

    c.route = ops_route_of(HTTP_GET, rm_slice_of(path), part, allow, sizeof allow);
    if (c.route == NULL || c.route->read == NULL)
        return RM_ERR_NOT_FOUND;
    c.out = *out; /* its memory is lent for the call */
    r = query_read(&c.query, c.route->params, RM_LIT(""));
    if (r == 0)
        r = c.route->read(&c, &status);
    *out = c.out;
    if (r == 0 && out->len > 0 && out->data[out->len - 1] == '\n')
        out->data[--out->len] = '\0';
    return r;
}

/* ---- life ---- */

static void ops_free(struct ops *o)
{
    asking_cache_free(o->cache);
    free(o);
}

static void ops_on_closed(void *arg)
{
    struct ops *o = arg;

    o->closed = true;
    if (o->asking == 0)
        ops_free(o);
}

static void ops_on_watch_closed(void *arg)
{
    struct ops *o = arg;

    if (o->history != NULL)
        history_close(o->history, ops_on_closed, o);
    else
        ops_on_closed(o);
}

bool ops_asking_begins(struct ops *o, uint32_t max)
{
    if (o->asking == max)
        return false;
    o->asking++;
    return true;
}

void ops_asking_ends(struct ops *o)
{
    if (--o->asking == 0 && o->closed)
        ops_free(o);
}

struct asking_cache **ops_asking_cache(struct ops *o)
{
    return &o->cache;
}

uv_loop_t *ops_loop(struct ops *o)
{
    return o->loop;
}

const struct ops_sources *ops_sources_of(const struct ops *o)
{
    return &o->sources;
}

int ops_new(uv_loop_t *loop, const struct ops_sources *sources, struct ops **out)
{
    struct ops *o = calloc(1, sizeof *o);
    int r;

    *out = NULL;
    if (o == NULL)
        return UV_ENOMEM;
    o->sources = *sources;
    o->loop = loop;
    if (sources->state_dir == NULL || sources->state_dir[0] == '\0')
        rm_warn("ops", "no history is kept: there is no state directory");
    else if ((r = history_open(loop, sources->state_dir, &o->history)) < 0)
        rm_warn("ops", "no history is kept", RM_S("dir", sources->state_dir), RM_E("error", r));
    if ((r = ops_watch_new(loop, o, &o->sources, &o->watch)) < 0) {
        ops_on_watch_closed(o);
        return r;
    }
    *out = o;
    return 0;
}

void ops_drain(struct ops *o)
{
    ops_watch_drain(o->watch);
}

void ops_close(struct ops *o)
{
    if (o != NULL)
        ops_watch_close(o->watch, ops_on_watch_closed, o);
}

struct history *ops_history(struct ops *o)
{
    return o->history;
}

int ops_ask_usage_of_keys(struct ops *o, int64_t since_ms,
                          void (*on_answer)(void *arg, int err, struct rm_slice json), void *arg)
{
    const struct history_question q = {.by = "key", .since_ms = since_ms};

    return o->history != NULL ? history_ask(o->history, &q, on_answer, arg) : RM_ERR_NOT_FOUND;
}

bool ops_keeps_history(const struct ops *o)
{
    return o->history != NULL;
}

void ops_request_done(struct ops *o, const struct ops_done *done)
{
    if (o->history != NULL)
        history_add_request(o->history, done);
    else
        free(done->why);
}

struct ops_watch *ops_watch_of(struct ops *o)
{
    return o->watch;
}

int ops_write_alarms(const struct ops *o, struct rm_buf *out)
{
    return ops_watch_write_alarms(o->watch, out);
}

void ops_write_metrics(const struct ops *o, struct rm_om *om)
{
    ops_watch_write_metrics(o->watch, om);
    if (o->history != NULL)
        history_write_metrics(o->history, om);
}
