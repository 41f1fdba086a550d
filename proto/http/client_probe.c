/* SPDX-License-Identifier: MIT */
/* See client_probe.h. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "proto/http/client_probe.h"
#include "tests/support/peer/peer.h"

enum { FINISH_MS = 20000 };

static void probe_on(struct http_call *k, enum probe_at at)
{
    struct probe *p = http_call_arg(k);

    assert_int_equal(p->count[AT_DONE], 0); /* nothing comes after it */
    p->count[at]++;
    if (p->hook != NULL)
        p->hook(p, at);
}

static void probe_on_head(struct http_call *k, const struct http_head *head)
{
    struct probe *p = http_call_arg(k);

    p->status = head->status;
    assert_int_equal(p->count[AT_HEAD] + p->count[AT_BODY] + p->count[AT_END], 0);
    probe_on(k, AT_HEAD);
}

static void probe_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct probe *p = http_call_arg(k);

    assert_int_equal(p->count[AT_HEAD], 1);
    assert_int_equal(p->count[AT_END] + p->count[AT_FAIL], 0);
    for (size_t i = 0; i < n && p->bytes + i < sizeof(p->body) - 1; i++)
        p->body[p->bytes + i] = bytes[i];
    p->hash = peer_hash(p->bytes == 0 ? PEER_HASH : p->hash, bytes, n);
    p->bytes += n;
    probe_on(k, AT_BODY);
}

static void probe_on_batch(struct http_call *k)
{
    probe_on(k, AT_BATCH);
}

static void probe_on_writable(struct http_call *k)
{
    probe_on(k, AT_WRITABLE);
}

static void probe_on_end(struct http_call *k)
{
    struct probe *p = http_call_arg(k);

    assert_int_equal(p->count[AT_HEAD], 1);
    assert_int_equal(p->count[AT_FAIL], 0);
    assert_true(p->count[AT_BATCH] > 0);
    p->got_bytes = http_call_got_bytes(k);
    p->was_sent = http_call_was_sent(k);
    probe_on(k, AT_END);
}

static void probe_on_fail(struct http_call *k, int err)
{
    struct probe *p = http_call_arg(k);

    assert_true(err < 0);
    assert_int_equal(p->count[AT_END] + p->count[AT_FAIL], 0);
    p->err = err;
    p->got_bytes = http_call_got_bytes(k);
    p->was_sent = http_call_was_sent(k);
    probe_on(k, AT_FAIL);
}

static void probe_on_done(struct http_call *k)
{
    struct probe *p = http_call_arg(k);

    p->done_ms = peer_now_ms();
    probe_on(k, AT_DONE);
    p->call = NULL;
}

static const struct http_call_ops probe_ops = {
    .on_head = probe_on_head,
    .on_body = probe_on_body,
    .on_batch = probe_on_batch,
    .on_writable = probe_on_writable,
    .on_end = probe_on_end,
    .on_fail = probe_on_fail,
    .on_done = probe_on_done,
};

int probe_start(struct probe *p, struct http_client *c, const struct http_call_spec *spec)
{
    int r = http_call_start(c, spec, &probe_ops, p, &p->call);

    for (int i = 0; i < AT_COUNT; i++)
        assert_int_equal(p->count[i], 0); /* never inside the call */
    return r;
}

int probe_get(struct probe *p, struct http_client *c)
{
    return probe_start(p, c, &(struct http_call_spec){.method = "GET", .target = RM_LIT("/")});
}

int probe_post(struct probe *p, struct http_client *c, struct rm_slice body)
{
    return probe_start(p, c,
                       &(struct http_call_spec){
                           .method = "POST", .target = RM_LIT("/"), .body = &body, .n_body = 1});
}

/* A timer that ends a wait; data is cleared when it is closed. */
static void wait_on_timer(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

static void wait_on_closed(uv_handle_t *h)
{
    h->data = NULL;
}

bool loop_until(uv_loop_t *loop, const int *count, int want, int ms)
{
    bool late = false;
    uv_timer_t t;

    uv_update_time(loop);
    uv_timer_init(loop, &t);
    t.data = &late;
    uv_timer_start(&t, wait_on_timer, (uint64_t)ms, 0);
    while (!late && (count == NULL || *count < want))
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, wait_on_closed);
    while (t.data != NULL)
        uv_run(loop, UV_RUN_NOWAIT);
    return count == NULL || *count >= want;
}

void loop_for(uv_loop_t *loop, int ms)
{
    loop_until(loop, NULL, 0, ms);
}

bool probe_finish(struct probe *p, uv_loop_t *loop)
{
    return loop_until(loop, &p->count[AT_DONE], 1, FINISH_MS);
}

struct http_client *probe_client(uv_loop_t *loop, const char *address,
                                 const struct http_client_conf *conf)
{
    struct http_address a;
    struct http_client *c;

    assert_int_equal(http_address_parse(address, &a), 0);
    assert_int_equal(http_client_new(loop, &a, conf != NULL ? conf : &http_client_conf_default, &c),
                     0);
    return c;
}

void loop_done(uv_loop_t *loop)
{
    static const int never;

    for (int i = 0; i < 1000 && uv_loop_alive(loop); i++)
        loop_until(loop, &never, 1, 2);
    assert_int_equal(uv_loop_close(loop), 0);
}
