/* SPDX-License-Identifier: MIT */
/* tests/bench/benchpeer.c - the mock engine of the benches: answers at once, or streams at a set
 * pace. It speaks enough OpenAI chat to be attached to a worker, and enough of the node protocol
 * (watch, hosts, forecast, run) to stand in for a whole worker, so that a gateway and a plain proxy
 * can be measured with the same number of hops. Each chunk carries its stream's number, its place
 * and the time it was made, so that a reader can tell a lost, doubled or torn one and how long it
 * was under way. Never installed.
 *   Knobs are the first members of the body, fields that every gateway passes on: "stream",
 * "max_tokens" (chunks), "seed" (microseconds between two), "top_k" (bytes of text in one). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/server.h"
#include "proto/http/sse.h"
#include "proto/node/desired.h"
#include "proto/node/state.h"

enum { STATE_MS = 1000, STATE_MAX = 256 * 1024, PIECE_MAX = 64 * 1024, KNOB_BYTES = 128 };

struct peer {
    uv_loop_t *loop;
    char node[NODE_NAME_MAX];
    struct node_host hosts[8];
    uint32_t n_hosts;
    uint64_t seq, streams;
};

struct work {
    struct http_req *q;
    struct peer *peer;
    uv_timer_t timer;
    uint64_t stream, sent, chunks, interval_us, size, next_us;
    struct rm_buf body; /* of node-protocol requests */
    char role[NODE_NAME_MAX];
    enum { WORK_CHAT, WORK_PUT, WORK_WATCH } kind;
    bool paused, over, timer_open, req_done;
};

/* The number behind "name": in the first bytes of the body. */
static uint64_t knob(const struct work *w, const char *name)
{
    const char *p = w->body.data != NULL ? strstr(w->body.data, name) : NULL;

    return p != NULL ? strtoull(p + strlen(name) + 2, NULL, 10) : 0;
}

static void work_free_when_done(struct work *w)
{
    if (!w->req_done || w->timer_open)
        return;
    rm_buf_clear(&w->body);
    free(w);
}

static void work_on_timer_closed(uv_handle_t *handle)
{
    struct work *w = handle->data;

    w->timer_open = false;
    work_free_when_done(w);
}

static void work_stop(struct work *w)
{
    w->over = true;
    if (w->timer_open && !uv_is_closing((uv_handle_t *)&w->timer))
        uv_close((uv_handle_t *)&w->timer, work_on_timer_closed);
}

/* ---- chat ---- */

static const char pad[] = "........................................................................"
                          "........................................................"
                          "........................................................................"
                          "........................................................";

static int put_chunk(struct work *w, struct rm_buf *out)
{
    uint64_t size = w->size < sizeof pad - 1 ? w->size : sizeof pad - 1;

    return rm_buf_printf(
        out,
        "data: {\"id\":\"chatcmpl-%" PRIu64
        "\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%" PRIu64 ":%" PRIu64 ":%" PRIu64
        ":%.*s\"},\"finish_reason\":%s}]}\n\n%s",
        w->stream, w->stream, w->sent, rm_now_us(), (int)size, pad,
        w->sent + 1 == w->chunks ? "\"stop\"" : "null",
        w->sent + 1 == w->chunks ? "data: [DONE]\n\n" : "");
}

static void work_arm(struct work *w);

static void work_on_timer(uv_timer_t *timer)
{
    struct work *w = timer->data;
    struct rm_buf out;
    uint64_t now = rm_now_us();

    rm_buf_init(&out, PIECE_MAX);
    while (!w->over && !w->paused && w->sent < w->chunks && now >= w->next_us) {
        struct rm_slice piece;
        int r;

        out.len = 0;
        if (put_chunk(w, &out) < 0)
            break;
        piece = (struct rm_slice){out.data, out.len};
        r = http_reply_write(w->q, &piece, 1);
        if (r < 0)
            break;
        w->paused = r == RM_WAIT;
        w->sent++;
        w->next_us += w->interval_us;
        if (w->interval_us == 0 && w->sent % 16 == 0)
            break;
    }
    rm_buf_clear(&out);
    if (w->over || w->paused)
        return;
    if (w->sent == w->chunks) {
        work_stop(w);
        http_reply_end(w->q);
        return;
    }
    work_arm(w);
}

static void work_arm(struct work *w)
{
    uint64_t now = rm_now_us();

    uv_update_time(w->peer->loop);
    uv_timer_start(&w->timer, work_on_timer, w->next_us > now ? (w->next_us - now + 999) / 1000 : 0,
                   0);
}

static void chat_begin(struct work *w)
{
    static const struct http_out_field sse = {"Content-Type", {"text/event-stream", 17}};
    static const char whole[] = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":"
                                "1,\"model\":\"bench\",\"choices\":[{\"index\":0,"
                                "\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown "
                                "fox jumps over the lazy dog, again and again and again.\"},"
                                "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"
                                "\"completion_tokens\":12,\"total_tokens\":21}}";

    w->chunks = w->body.data != NULL && strstr(w->body.data, "\"stream\":true") != NULL
                    ? knob(w, "max_tokens")
                    : 0;
    w->interval_us = knob(w, "seed");
    w->size = knob(w, "top_k");
    if (w->chunks == 0) {
        http_reply_full(w->q, 200, NULL, 0, "application/json",
                        (struct rm_slice){whole, sizeof whole - 1});
        return;
    }
    http_reply_start(w->q, 200, &sse, 1, -1);
    uv_timer_init(w->peer->loop, &w->timer);
    w->timer.data = w;
    w->timer_open = true;
    w->stream = ++w->peer->streams;
    w->next_us = rm_now_us() + (w->interval_us > 0 ? w->stream % 64 * w->interval_us / 64 : 0);
    work_arm(w);
}

/* ---- the node protocol ---- */

static int put_state(struct peer *p, struct rm_buf *out)
{
    struct node_state s = {
        .seq = p->seq, .uptime_ms = rm_now_ms(), .n_hosts = p->n_hosts, .hosts = p->hosts};

    snprintf(s.node, sizeof s.node, "%s", p->node);
    snprintf(s.boot_id, sizeof s.boot_id, "00000000-0000-4000-8000-000000000001");
    snprintf(s.version, sizeof s.version, "%s", RM_VERSION);
    s.memory =
        (struct node_memory){.total = 1ull << 37, .available = 1ull << 37, .budget = 1ull << 37};
    return node_state_encode(&s, out);
}

static void watch_on_timer(uv_timer_t *timer)
{
    struct work *w = timer->data;
    struct rm_buf json, frame;
    struct rm_slice piece;

    rm_buf_init(&json, STATE_MAX);
    rm_buf_init(&frame, STATE_MAX);
    if (!w->over && put_state(w->peer, &json) == 0 &&
        sse_put(&frame, "state", (struct rm_slice){json.data, json.len}) == 0) {
        piece = (struct rm_slice){frame.data, frame.len};
        http_reply_write(w->q, &piece, 1);
    }
    rm_buf_clear(&json);
    rm_buf_clear(&frame);
}

static void watch_begin(struct work *w)
{
    static const struct http_out_field sse = {"Content-Type", {"text/event-stream", 17}};

    http_reply_start(w->q, 200, &sse, 1, -1);
    uv_timer_init(w->peer->loop, &w->timer);
    w->timer.data = w;
    w->timer_open = true;
    uv_timer_start(&w->timer, watch_on_timer, 0, STATE_MS / 4);
}

static void put_host(struct peer *p, const struct desired_host *d)
{
    struct node_host *h = NULL;

    for (uint32_t i = 0; i < p->n_hosts; i++)
        if (strcmp(p->hosts[i].role, d->role) == 0)
            h = &p->hosts[i];
    if (h == NULL && p->n_hosts < RM_COUNT(p->hosts))
        h = &p->hosts[p->n_hosts++];
    if (h == NULL)
        return;
    *h = (struct node_host){.residency = d->residency,
                            .lane = d->lane,
                            .swap = d->swap,
                            .state = HOST_READY,
                            .progress = 1,
                            .slots_total = d->slots,
                            .context = d->context};
    snprintf(h->role, sizeof h->role, "%s", d->role);
    snprintf(h->model, sizeof h->model, "%s", d->model);
    snprintf(h->engine, sizeof h->engine, "attach");
    desired_host_revision(d, h->revision);
    p->seq++;
}

static void node_answer(struct work *w)
{
    struct desired_host d;
    struct rm_buf out;
    char why[128];

    rm_buf_init(&out, STATE_MAX);
    if (w->kind == WORK_PUT &&
        desired_host_decode((struct rm_slice){w->body.data, w->body.len}, &d, why) == 0)
        put_host(w->peer, &d);
    put_state(w->peer, &out);
    http_reply_full(w->q, 200, NULL, 0, "application/json", (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
}

/* ---- requests ---- */

static void work_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct work *w = http_req_arg(q);

    if (w->kind == WORK_CHAT &&
        w->body.len < KNOB_BYTES) /* the knobs come first; the rest is not looked at */
        rm_buf_put(&w->body, bytes, n < KNOB_BYTES ? n : KNOB_BYTES);
    else if (w->kind == WORK_PUT)
        rm_buf_put(&w->body, bytes, n);
}

static void work_on_end(struct http_req *q)
{
    struct work *w = http_req_arg(q);

    if (w->kind == WORK_CHAT)
        chat_begin(w);
    else if (w->kind == WORK_PUT)
        node_answer(w);
    else
        watch_begin(w);
}

static void work_on_writable(struct http_req *q)
{
    struct work *w = http_req_arg(q);

    w->paused = false;
    if (w->kind == WORK_CHAT && !w->over)
        work_arm(w);
}

static void work_on_gone(struct http_req *q, int why)
{
    (void)why;
    work_stop(http_req_arg(q));
}

static void work_on_done(struct http_req *q)
{
    struct work *w = http_req_arg(q);

    work_stop(w);
    w->req_done = true;
    work_free_when_done(w);
}

static bool ends_with(struct rm_slice s, const char *tail)
{
    size_t n = strlen(tail);

    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static void on_request(void *arg, struct http_req *q)
{
    static const struct http_req_ops ops = {.on_body = work_on_body,
                                            .on_end = work_on_end,
                                            .on_writable = work_on_writable,
                                            .on_gone = work_on_gone,
                                            .on_done = work_on_done};
    static const char
        forecast[] = "{\"known\":false}",
        models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\"}]}";
    const struct http_head *h = http_req_head(q);
    struct work *w = calloc(1, sizeof *w);

    if (w == NULL)
        abort();
    w->q = q;
    w->peer = arg;
    rm_buf_init(&w->body, PIECE_MAX);
    http_req_accept(q, &ops, w);
    if (ends_with(h->path, "/chat/completions")) {
        w->kind = WORK_CHAT;
    } else if (ends_with(h->path, "/node/v1/watch")) {
        w->kind = WORK_WATCH;
    } else if (h->method == HTTP_PUT) {
        w->kind = WORK_PUT;
    } else if (ends_with(h->path, "/forecast")) {
        w->kind = WORK_PUT;
        http_reply_full(q, 200, NULL, 0, "application/json",
                        (struct rm_slice){forecast, sizeof forecast - 1});
    } else {
        w->kind = WORK_PUT;
        http_reply_full(q, 200, NULL, 0, "application/json",
                        (struct rm_slice){models, sizeof models - 1});
    }
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    uv_stop(s->loop);
}

int main(int argc, char **argv)
{
    struct http_server_conf conf = http_server_conf_default;
    struct http_address want, bound;
    struct http_server *server;
    struct peer peer = {.seq = 1};
    struct rlimit files;
    uv_signal_t term;
    char text[HTTP_ADDRESS_TEXT];

    if (argc != 3 || http_address_parse(argv[1], &want) < 0) {
        fputs("usage: benchpeer HOST:PORT NODE-NAME   (prints the bound address)\n", stderr);
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    peer.loop = uv_default_loop();
    snprintf(peer.node, sizeof peer.node, "%s", argv[2]);
    conf.on_request = on_request;
    conf.arg = &peer;
    if (http_server_new(peer.loop, &conf, &server) < 0 ||
        http_server_listen(server, &want, &bound) < 0) {
        fprintf(stderr, "benchpeer: cannot listen on %s\n", argv[1]);
        return 2;
    }
    http_address_text(&bound, text);
    printf("%s\n", text);
    fflush(stdout);
    uv_signal_init(peer.loop, &term);
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_run(peer.loop, UV_RUN_DEFAULT);
    return 0;
}
