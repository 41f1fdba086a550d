/* SPDX-License-Identifier: MIT */
/* gateway/ops/map.c - POST /api/v1/map and /api/v1/plan: an offered role map, from its first byte
 * to the answer. What the head says is judged before a byte of the body is taken; the body is
 * bounded; the keeper behind ops_sources.offer (a trial: try_map) does the rest in its own time.
 * The offer outlives the request when its sender leaves: what was begun is finished. */
#include <stdlib.h>
#include <string.h>

#include "gateway/ops/late.h"
#include "gateway/ops/ops_impl.h"
#include "gateway/ops/trust.h"
#include "proto/base/log.h"
#include "proto/http/problem.h"

enum {
    OFFER_MAX = 1 << 20, /* bytes of a role map; as proto/conf reads at most */
    NAME_MAX_BYTES = 200,
    REVISION_DIGITS = 32
};

struct offer {
    const struct ops_sources *sources;
    struct http_req *q; /* NULL: gone */
    struct rm_buf body;
    char name[NAME_MAX_BYTES], expect[REVISION_DIGITS + 1];
    bool dry_run;
    bool trial; /* for a plan only: nothing is asked of the file */
    bool asked; /* the keeper has it and will answer */
};

static void offer_free_when_over(struct offer *o)
{
    if (o->q != NULL || o->asked)
        return;
    rm_buf_clear(&o->body);
    free(o);
}

static void offer_on_answer(void *arg, int status, struct rm_slice json)
{
    struct offer *o = arg;

    o->asked = false;
    if (o->q != NULL)
        http_reply_full(o->q, status, &ops_no_store, 1,
                        status < 400 ? "application/json" : HTTP_PROBLEM_TYPE, json);
    offer_free_when_over(o);
}

static void offer_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct offer *o = http_req_arg(q);
    int r = http_reply_started(q) ? 0 : rm_buf_put(&o->body, bytes, n);

    if (r < 0)
        ops_answer_error(q, r == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : r, NULL, NULL);
}

static void offer_on_end(struct http_req *q)
{
    static const struct http_out_field later = {"Retry-After", {"1", 1}};
    struct offer *o = http_req_arg(q);
    struct ops_offer offer = {.body = {o->body.data != NULL ? o->body.data : "", o->body.len},
                              .name = o->name,
                              .expect = o->expect,
                              .dry_run = o->dry_run};
    int r;

    if (http_reply_started(q))
        return;
    r = o->trial ? o->sources->try_map(o->sources->arg, &offer, offer_on_answer, o)
                 : o->sources->offer(o->sources->arg, &offer, offer_on_answer, o);
    o->asked = r == 0;
    if (r < 0)
        ops_answer_error(q, r, NULL, rm_err_status(r) == 503 ? &later : NULL);
}

static void offer_on_done(struct http_req *q)
{
    struct offer *o = http_req_arg(q);

    o->q = NULL;
    offer_free_when_over(o);
}

/* The name that messages call the file: from X-Rolemesh-File, odd bytes replaced. */
static void read_name(const struct http_head *head, char out[NAME_MAX_BYTES])
{
    struct rm_slice value = http_head_value(head, "X-Rolemesh-File");
    size_t n = value.n < NAME_MAX_BYTES ? value.n : NAME_MAX_BYTES - 1;

    if (n == 0) {
        rm_text_copy(out, NAME_MAX_BYTES, "role-map.yaml");
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = value.p[i] >= ' ' && (unsigned char)value.p[i] < 0x7f ? value.p[i] : '?';
    out[n] = '\0';
}

/* If-Match: a revision, with or without quotes, or *. Returns NULL or what is wrong. */
static const char *read_match(const struct http_head *head, char out[REVISION_DIGITS + 1])
{
    struct rm_slice v = http_head_value(head, "If-Match");

    out[0] = '\0';
    if (v.n == 0)
        return NULL;
    if (v.n > 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
        v = (struct rm_slice){v.p + 1, v.n - 2};
    if (!rm_slice_eq(v, "*") && v.n != REVISION_DIGITS)
        return "If-Match must be one revision (32 hex digits), or *";
    memcpy(out, v.p, v.n);
    out[v.n] = '\0';
    return out[0] == '*' || strspn(out, "0123456789abcdef") == REVISION_DIGITS
               ? NULL
               : "If-Match must be one revision (32 hex digits), or *";
}

/* Everything but the body. Returns 0, or an error with maybe a text of its own. */
static int judge_head(struct offer *o, struct ops_call *c, const char **text)
{
    const struct http_head *head = http_req_head(c->q);
    const char *dry_run = query_get(&c->query, "dry_run");

    if (!ops_has_type(head, "application/yaml")) {
        *text = "a role map is sent as Content-Type: application/yaml";
        return RM_ERR_MEDIA_TYPE;
    }
    if (http_head_find(head, "Content-Encoding") != NULL) {
        *text = "a role map is sent as it is, without Content-Encoding";
        return RM_ERR_MEDIA_TYPE;
    }
    *text = c->query.why;
    o->dry_run = (dry_run != NULL && strcmp(dry_run, "1") == 0) || o->trial;
    if (!o->trial && (*text = read_match(head, o->expect)) != NULL)
        return RM_ERR_FIELD;
    if (!o->dry_run && o->expect[0] == '\0')
        return RM_ERR_NO_MATCH;
    if (head->framing == HTTP_BODY_LENGTH && head->content_length > OFFER_MAX)
        return RM_ERR_BODY_TOO_LARGE;
    read_name(head, o->name);
    return 0;
}

static bool post(struct ops_call *c, bool trial)
{
    static const struct http_req_ops ops = {
        .on_body = offer_on_body, .on_end = offer_on_end, .on_done = offer_on_done};
    struct offer *o = calloc(1, sizeof *o);
    struct http_req *q = c->q;
    const char *text = NULL;
    int r;

    if (o == NULL) {
        return false;
    }
    o->sources = c->sources;
    o->q = q;
    o->trial = trial;
    rm_buf_init(&o->body, OFFER_MAX);
    http_req_accept(q, &ops, o);
    http_req_set_body_limit(q, OFFER_MAX);
    if ((r = judge_head(o, c, &text)) < 0)
        ops_answer_error(q, r, text, NULL);
    return true;
}

bool ops_post_map(struct ops_call *c)
{
    return post(c, false);
}

bool ops_post_plan(struct ops_call *c)
{
    return post(c, true);
}

/* ---- GET /api/v1/map/text ---- */

static void text_on_answer(void *arg, int err, struct rm_slice json)
{
    if (err == 0) {
        late_answer(arg, json);
        return;
    }
    rm_warn("ops", "the role map's file cannot be read", RM_E("error", err));
    late_fail(arg, err, "the role map's file cannot be read; the gateway's log says why");
}

bool ops_take_map_text(struct ops_call *c)
{
    const struct ops_sources *s = c->sources;
    struct late *l = late_take(c);
    int r;

    if (l == NULL)
        return false;
    if ((r = s->map_text(s->arg, text_on_answer, l)) < 0)
        late_fail(l, r, NULL);
    return true;
}
