/* SPDX-License-Identifier: MIT */
#include "gateway/ops/asking.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"

struct asking_private {
    struct asking *a;
    struct late *late;
    struct ops *ops;
    uv_timer_t timer;
    uv_work_t work;
    uint32_t owed;   /* answers */
    bool over, told; /* no answer is taken any more; late has got its own */
    bool timer_lives;
    struct rm_buf out;
    int err;
};

/* The last answer of each node; of nodes that come later than there is room for, none. */
struct asking_cache {
    struct cached {
        char node[64], target[96];
        uint64_t at_ms; /* 0: nothing is here */
        struct rm_buf body;
    } v[64];
};

struct one {
    struct asking *a;
    size_t node;
};

static void asking_free(struct asking *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; a->nodes != NULL && i < a->n; i++)
        rm_buf_clear(&a->nodes[i].body);
    if (a->private != NULL)
        rm_buf_clear(&a->private->out);
    if (a->job_free != NULL)
        a->job_free(a->job);
    role_map_unref(a->map);
    free(a->nodes);
    free(a->private);
    free(a);
}

static struct asking *asking_new(struct role_map *map)
{
    struct asking *a = calloc(1, sizeof *a);

    if (a == NULL)
        return NULL;
    a->map = role_map_ref(map);
    a->n = map->n_nodes;
    a->nodes = calloc(a->n + 1, sizeof *a->nodes);
    a->private = calloc(1, sizeof *a->private);
    if (a->nodes == NULL || a->private == NULL) {
        asking_free(a);
        return NULL;
    }
    a->private->a = a;
    for (size_t i = 0; i < a->n; i++) {
        a->nodes[i].node = &map->nodes[i];
        rm_buf_init(&a->nodes[i].body, OPS_ANSWER_MAX);
    }
    rm_buf_init(&a->private->out, OPS_ANSWER_MAX);
    return a;
}

/* ---- the cache ---- */

void asking_cache_free(struct asking_cache *c)
{
    for (size_t i = 0; c != NULL && i < RM_COUNT(c->v); i++)
        rm_buf_clear(&c->v[i].body);
    free(c);
}

static bool is_of(const struct cached *e, const struct asked_node *n)
{
    return strcmp(e->node, n->node->name) == 0 && strcmp(e->target, n->target) == 0;
}

/* A place for the node's answer: its own, a free or an old one; NULL: none. */
static struct cached *place_of(struct asking_cache *c, const struct asked_node *n, uint64_t now)
{
    struct cached *place = NULL;

    for (size_t i = 0; c != NULL && i < RM_COUNT(c->v); i++) {
        if (is_of(&c->v[i], n))
            return &c->v[i];
        if (place == NULL && now - c->v[i].at_ms >= ASKING_CACHE_MS)
            place = &c->v[i];
    }
    return place;
}

static bool take_cached(struct asking *a, struct asked_node *n)
{
    struct asking_cache *c = *ops_asking_cache(a->private->ops);
    uint64_t now = rm_now_ms();
    struct cached *e = a->cached ? place_of(c, n, now) : NULL;

    if (e == NULL || !is_of(e, n) || now - e->at_ms >= ASKING_CACHE_MS)
        return false;
    n->status = 200;
    n->err = rm_buf_put(&n->body, e->body.data, e->body.len);
    return n->err == 0;
}

static void keep(struct asking *a, const struct asked_node *n)
{
    struct asking_cache **c = ops_asking_cache(a->private->ops);
    uint64_t now = rm_now_ms();
    struct cached *e;

    if (!a->cached || n->err < 0 || n->status != 200)
        return;
    if (*c == NULL)
        *c = calloc(1, sizeof **c);
    if ((e = place_of(*c, n, now)) == NULL)
        return;
    rm_buf_clear(&e->body);
    rm_buf_init(&e->body, OPS_ANSWER_MAX);
    rm_text_copy(e->node, sizeof e->node, n->node->name);
    rm_text_copy(e->target, sizeof e->target, n->target);
    e->at_ms = rm_buf_put(&e->body, n->body.data, n->body.len) == 0 ? now : 0;
}

const char *asking_silence(const struct asked_node *n, char text[160])
{
    if (n->err == UV_ETIMEDOUT)
        snprintf(text, 160, "it did not answer within %d s", ASKING_MS / 1000);
    else if (n->err == RM_ERR_UPSTREAM)
        snprintf(text, 160, "its worker does not answer");
    else if (n->err < 0)
        snprintf(text, 160, "%s", rm_strerror(n->err));
    else if (n->status != 200)
        snprintf(text, 160, "its worker answered %d", n->status);
    else
        return NULL;
    return text;
}

/* ---- a question's life ---- */

/* When nothing is owed to it any more. */
static void drop(struct asking *a)
{
    struct asking_private *p = a->private;

    if (p->told && p->owed == 0 && !p->timer_lives) {
        ops_asking_ends(p->ops);
        asking_free(a);
    }
}

static void asking_on_closed(uv_handle_t *handle)
{
    struct asking_private *p = handle->data;

    p->timer_lives = false;
    drop(p->a);
}

static void asking_run(uv_work_t *work)
{
    struct asking_private *p = work->data;

    p->err = p->a->word(p->a, &p->out);
}

static void asking_on_done(uv_work_t *work, int status)
{
    struct asking_private *p = work->data;

    int err = status < 0 ? status : p->err;

    p->told = true;
    if (err < 0)
        late_fail(p->late, err, p->a->fault);
    else
        late_answer(p->late, (struct rm_slice){p->out.data, p->out.len});
    drop(p->a);
}

/* All have answered, or the time is over: what comes now is not waited for. */
static void go_on(struct asking *a)
{
    struct asking_private *p = a->private;

    if (p->over)
        return;
    p->over = true;
    uv_close((uv_handle_t *)&p->timer, asking_on_closed);
    (void)uv_queue_work(ops_loop(p->ops), &p->work, asking_run,
                        asking_on_done); /* fails without one only */
}

static void asking_on_time(uv_timer_t *timer)
{
    struct asking_private *p = timer->data;

    go_on(p->a);
}

static void asking_on_answer(void *arg, int err, int status, struct rm_slice body)
{
    struct one *one = arg;
    struct asking *a = one->a;
    struct asked_node *n = &a->nodes[one->node];

    free(one);
    a->private->owed--;
    if (!a->private->over) {
        n->err = err;
        n->status = status;
        if (err == 0 && status == 200)
            n->err = rm_buf_put(&n->body, body.p, body.n);
        keep(a, n);
        if (a->private->owed == 0)
            go_on(a);
    }
    drop(a);
}

static int ask(struct asking *a, const struct ops_sources *s, size_t node)
{
    struct one *one = malloc(sizeof *one);
    int r;

    if (one == NULL)
        return UV_ENOMEM;
    *one = (struct one){a, node};
    r = s->ask_node(s->arg, a->nodes[node].node->name, a->nodes[node].target, asking_on_answer,
                    one);
    if (r < 0)
        free(one);
    else
        a->private->owed++;
    return r;
}

static void asking_begin(struct asking *a, struct ops *o, struct late *late)
{
    struct asking_private *p = a->private;

    if (!ops_asking_begins(o, ASKING_MAX)) {
        late_fail(late, RM_ERR_OVERLOAD, "too many such questions are under way");
        asking_free(a);
        return;
    }
    p->ops = o;
    p->late = late;
    p->work.data = p->timer.data = p;
    uv_timer_init(ops_loop(o), &p->timer); /* never fails */
    p->timer_lives = true;
    uv_timer_start(&p->timer, asking_on_time, ASKING_MS, 0);
    for (size_t i = 0; i < a->n; i++) {
        if (!a->nodes[i].asked || take_cached(a, &a->nodes[i]))
            continue;
        a->nodes[i].err = ask(a, ops_sources_of(o), i);
        if (a->nodes[i].err == 0)
            a->nodes[i].err = UV_ETIMEDOUT; /* until it answers */
    }
    if (p->owed == 0)
        go_on(a);
}

bool asking_take(struct ops_call *c, int (*prepare)(struct ops_call *c, struct asking *a))
{
    struct asking *a = asking_new(c->sources->role_map(c->sources->arg));
    struct late *late = a != NULL ? late_take(c) : NULL;
    int r;

    if (late == NULL) {
        asking_free(a);
        return false;
    }
    if ((r = prepare(c, a)) < 0) {
        late_fail(late, r, c->query.why[0] != '\0' ? c->query.why : NULL);
        asking_free(a);
    } else {
        asking_begin(a, c->ops, late);
    }
    return true;
}
