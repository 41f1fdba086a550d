/* SPDX-License-Identifier: MIT */
/* gateway/front/front_rig.c - see front_rig.h. The route here lends peers in order, past those to
 * be avoided, and notes how tickets end. */
#include "gateway/front/front_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/base/om.h"
#include "proto/base/log.h"

static const char default_map[] =
    "version: 1\n"
    "gateway: { listen: [\"127.0.0.1:8080\"], cors_origins: [\"http://page.example\"] }\n"
    "nodes: { n0: { address: \"127.0.0.1:7070\" } }\n"
    "models: { m: { source: \"/m.gguf\" }, f: { source: \"attach:far:7b\" } }\n"
    "roles:\n"
    "  ask: { modes: [ask, chat-mode], model: m, context: 4Ki }\n"
    "  code: { modes: [code], model: m, context: 4Ki }\n"
    "  far: { modes: [far], model: f, context: 4Ki, engine: { kind: attach, url: "
    "\"http://127.0.0.1:9\" } }\n";

struct route {
    uv_loop_t *loop;
    struct rig_conf conf;
    struct http_client *client[RIG_PEERS];
    struct rig_tally tally;
};

struct route_ticket {
    struct route *route;
    uv_timer_t timer;
    const struct route_ticket_ops *ops;
    void *arg;
    bool leased, closed;
    char role[64], node[16];
    int pick; /* the peer, -1: none left */
};

struct rig {
    struct route route;
    uv_loop_t loop;
    uv_async_t stop;
    pthread_t thread;
    pthread_barrier_t made;
    struct http_server *server;
    struct front *front;
    struct role_map *map;
    struct http_address bound;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "rig: %s\n", what);
        abort();
    }
}

/* ---- the route ---- */

static void ticket_on_lose(uv_timer_t *t)
{
    struct route_ticket *k = t->data;

    if (!k->closed)
        k->ops->on_lost(k);
}

static void ticket_on_timer(uv_timer_t *t)
{
    struct route_ticket *k = t->data;
    struct route *r = k->route;
    struct route_lease lease = {k->node, k->role, "m", NULL, NULL, 4096, 1000, NULL};
    char target[96];

    if (r->conf.refuse != 0) {
        k->ops->on_refused(k, r->conf.refuse, "ask is loading on n0, 43 %", 7);
        return;
    }
    if (k->pick < 0) {
        k->ops->on_refused(k, RM_ERR_NO_HOST, "no host of ask is ready", 3);
        return;
    }
    snprintf(target, sizeof(target), "/node/v1/run/%s", k->role);
    lease.target = target;
    lease.client = r->client[k->pick];
    k->leased = true;
    r->tally.leased++;
    if (r->conf.lose)
        uv_timer_start(t, ticket_on_lose, r->conf.lose_ms, 0);
    k->ops->on_lease(k, &lease);
}

int route_open(struct route *r, const struct route_ask *ask, const struct route_ticket_ops *ops,
               void *arg, struct route_ticket **out)
{
    struct route_ticket *k = calloc(1, sizeof(*k));

    must(k != NULL, "no memory");
    k->route = r;
    k->ops = ops;
    k->arg = arg;
    k->pick = -1;
    snprintf(k->role, sizeof(k->role), "%s", ask->role);
    for (int i = 0; i < RIG_PEERS && k->pick < 0; i++) {
        bool avoid = r->client[i] == NULL;

        snprintf(k->node, sizeof(k->node), "n%d", i);
        for (uint32_t a = 0; a < ask->avoid_n; a++)
            avoid = avoid || strcmp(ask->avoid[a], k->node) == 0;
        if (!avoid)
            k->pick = i;
    }
    r->tally.opened++;
    r->tally.prefix_key = ask->prefix_key;
    r->tally.session_key = ask->session_key;
    uv_timer_init(r->loop, &k->timer);
    k->timer.data = k;
    uv_timer_start(&k->timer, ticket_on_timer, r->conf.lease_ms, 0);
    *out = k;
    return 0;
}

void *route_ticket_arg(const struct route_ticket *t)
{
    return t->arg;
}

void route_ticket_status(const struct route_ticket *t, char *out, size_t n)
{
    snprintf(out, n, "%s", t->route->conf.status != NULL ? t->route->conf.status : "");
}

void route_first_byte(struct route_ticket *t)
{
    t->route->tally.first_bytes++;
}

static void ticket_on_closed(uv_handle_t *h)
{
    free(h->data);
}

void route_close(struct route_ticket *t, enum route_outcome how, const struct route_usage *usage)
{
    struct rig_tally *tally = &t->route->tally;

    must(!t->closed, "a ticket is closed twice");
    t->closed = true;
    if (tally->closed < RIG_OUTCOMES) {
        tally->outcome[tally->closed] = how;
        if (usage != NULL)
            tally->usage[tally->closed] = *usage;
    }
    tally->closed++;
    uv_close((uv_handle_t *)&t->timer, ticket_on_closed);
}

/* ---- the gateway's thread ---- */

static void rig_on_server_closed(void *arg)
{
    struct rig *r = arg;
    struct rm_buf text;
    struct rm_om om;

    rm_buf_init(&text, sizeof(r->route.tally.metrics) - 1);
    rm_om_begin(&om, &text, false);
    front_write_metrics(r->front, &om);
    must(rm_om_end(&om) == 0, "metrics");
    memcpy(r->route.tally.metrics, text.data, text.len + 1);
    rm_buf_clear(&text);
    r->route.tally.active = front_active(r->front);
    front_close(r->front, NULL, NULL);
    for (int i = 0; i < RIG_PEERS; i++)
        http_client_close(r->route.client[i]);
    uv_close((uv_handle_t *)&r->stop, NULL);
}

static void rig_on_stop(uv_async_t *a)
{
    struct rig *r = a->data;

    http_server_close(r->server, rig_on_server_closed, r);
}

static void rig_on_request(void *arg, struct http_req *q)
{
    struct rig *r = arg;

    front_on_request(r->front, q);
}

static struct role_map *rig_map(const char *text)
{
    struct conf_report report;
    struct role_map *map = NULL;
    int r;

    conf_report_init(&report);
    r = role_map_parse("map.yaml", text, strlen(text), &report, &map);
    if (r < 0) {
        struct rm_buf said;

        rm_buf_init(&said, 1 << 16);
        (void)conf_report_text(&report, &said);
        fputs(said.data != NULL ? said.data : "", stderr);
        rm_buf_clear(&said);
    }
    must(r == 0, "the map is refused");
    conf_report_clear(&report);
    return map;
}

static struct front_conf rig_front_conf(const struct front_conf *want)
{
    struct front_conf c = front_conf_default;

    if (want->hold_stream_ms > 0)
        c.hold_stream_ms = want->hold_stream_ms;
    if (want->hold_whole_ms > 0)
        c.hold_whole_ms = want->hold_whole_ms;
    if (want->keepalive_ms > 0)
        c.keepalive_ms = want->keepalive_ms;
    if (want->whole_bytes > 0)
        c.whole_bytes = want->whole_bytes;
    if (want->small_body_bytes > 0)
        c.small_body_bytes = want->small_body_bytes;
    return c;
}

/* Everything that belongs to the loop is made in the loop's thread. */
static void rig_make(struct rig *r)
{
    const struct rig_conf *conf = &r->route.conf;
    struct http_server_conf server = http_server_conf_default;
    struct front_conf front = rig_front_conf(&conf->front);
    struct http_address a;

    must(uv_loop_init(&r->loop) == 0, "loop");
    r->route.loop = &r->loop;
    for (int i = 0; i < RIG_PEERS; i++)
        if (conf->peer[i] != NULL) {
            must(http_address_parse(peer_address(conf->peer[i]), &a) == 0 &&
                     http_client_new(&r->loop, &a, &http_client_conf_default,
                                     &r->route.client[i]) == 0,
                 "client");
        }
    must(front_new(&r->loop, r->map, &r->route, &front, &r->front) == 0, "front");
    server.on_request = rig_on_request;
    server.error_body = front_error_body;
    server.arg = r;
    must(http_server_new(&r->loop, &server, &r->server) == 0, "server");
    must(http_address_parse("127.0.0.1:0", &a) == 0 &&
             http_server_listen(r->server, &a, &r->bound) == 0,
         "listen");
    r->stop.data = r;
    must(uv_async_init(&r->loop, &r->stop, rig_on_stop) == 0, "async");
}

static void *rig_run(void *arg)
{
    struct rig *r = arg;

    rig_make(r);
    pthread_barrier_wait(&r->made);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&r->loop) == 0, "a handle is left open");
    return NULL;
}

struct rig *rig_open(const struct rig_conf *conf)
{
    struct rig *r = calloc(1, sizeof(*r));

    must(r != NULL, "no memory");
    rm_log_set_level(RM_LOG_ERROR);
    r->route.conf = *conf;
    r->map = rig_map(conf->map != NULL ? conf->map : default_map);
    pthread_barrier_init(&r->made, NULL, 2);
    must(pthread_create(&r->thread, NULL, rig_run, r) == 0, "thread");
    pthread_barrier_wait(&r->made);
    return r;
}

struct rig_tally rig_close(struct rig *r)
{
    struct rig_tally tally;

    uv_async_send(&r->stop);
    pthread_join(r->thread, NULL);
    pthread_barrier_destroy(&r->made);
    tally = r->route.tally;
    must(tally.opened == tally.closed, "a ticket is left open");
    role_map_unref(r->map);
    free(r);
    return tally;
}

/* ---- the editor ---- */

int rig_connect(const struct rig *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(r->bound.port)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "connect");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

void rig_send(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);

        if (k <= 0)
            return; /* the other side has answered and closed */
        bytes += k;
        n -= (size_t)k;
    }
}

static char *read_until(int fd, const char *mark, size_t *len)
{
    struct rm_buf all;
    char piece[65536];
    ssize_t k;

    rm_buf_init(&all, 256 << 20);
    while (mark == NULL || all.len == 0 || strstr(all.data, mark) == NULL) {
        k = recv(fd, piece, sizeof(piece), 0);
        if (k <= 0)
            break; /* closed, reset, or too late: what came is what the test sees */
        must(rm_buf_put(&all, piece, (size_t)k) == 0, "no memory");
    }
    if (len != NULL)
        *len = all.len;
    return rm_buf_take(&all);
}

char *rig_read_all(int fd, size_t *n)
{
    return read_until(fd, NULL, n);
}

char *rig_read_until(int fd, const char *mark)
{
    return read_until(fd, mark, NULL);
}

char *rig_talk(const struct rig *r, const char *bytes)
{
    int fd = rig_connect(r);
    char *answer;

    rig_send(fd, bytes, strlen(bytes));
    answer = rig_read_all(fd, NULL);
    close(fd);
    return answer;
}

char *rig_post(const struct rig *r, const char *path, const char *body)
{
    struct rm_buf text;
    char *answer;

    rm_buf_init(&text, 256 << 20);
    must(rm_buf_printf(&text,
                       "POST %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Type: "
                       "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       path != NULL ? path : "/ask/v1/chat/completions", strlen(body), body) == 0,
         "no memory");
    answer = rig_talk(r, text.data);
    rm_buf_clear(&text);
    return answer;
}

int rig_status(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

const char *rig_body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end != NULL ? end + 4 : "";
}

char *rig_unchunk(const char *body, bool *whole)
{
    struct rm_buf out;

    rm_buf_init(&out, 256 << 20);
    *whole = false;
    for (;;) {
        char *end;
        unsigned long n = strtoul(body, &end, 16);

        if (end == body || strncmp(end, "\r\n", 2) != 0)
            break;
        if (n == 0) {
            *whole = strcmp(end, "\r\n\r\n") == 0;
            break;
        }
        if (strlen(end + 2) < n + 2)
            break;
        must(rm_buf_put(&out, end + 2, n) == 0, "no memory");
        body = end + 2 + n + 2;
    }
    return rm_buf_take(&out);
}

/* ---- workers ---- */

/* Reads one request by Content-Length into w. */
bool rig_worker_read(struct rig_worker *w, int fd)
{
    size_t n = 0, want = 0;
    char *end = NULL;

    while (end == NULL || n < want) {
        ssize_t k = n + 1 < sizeof(w->body) ? recv(fd, w->body + n, sizeof(w->body) - 1 - n, 0) : 0;

        if (k <= 0)
            return false;
        n += (size_t)k;
        w->body[n] = '\0';
        if (end == NULL && (end = strstr(w->body, "\r\n\r\n")) != NULL) {
            const char *len = strstr(w->body, "Content-Length: ");

            want = (size_t)(end + 4 - w->body) + (len != NULL ? strtoul(len + 16, NULL, 10) : 0);
        }
    }
    snprintf(w->head, sizeof(w->head), "%.*s", (int)(end - w->body), w->body);
    memmove(w->body, end + 4, strlen(end + 4) + 1);
    return true;
}

/* In one piece: a client that leaves once it has seen the text must not end the chunk half way. */
static bool worker_chunk(int fd, const char *text)
{
    char *chunk;
    bool said;

    if (asprintf(&chunk, "%zx\r\n%s\r\n", strlen(text), text) < 0)
        return false;
    said = peer_says(fd, chunk);
    free(chunk);
    return said;
}

static void sleep_ms(unsigned ms)
{
    if (ms > 0)
        usleep(ms * 1000);
}

static bool worker_answer_200(struct rig_worker *w, int fd)
{
    char head[256];

    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n%s\r\n",
             w->type != NULL ? w->type : "text/event-stream", w->fields != NULL ? w->fields : "");
    if (!peer_says(fd, head))
        return false;
    for (size_t i = 0; i < 4 && w->parts[i] != NULL; i++) {
        sleep_ms(i > 0 ? w->pause_ms : 0);
        if (!worker_chunk(fd, w->parts[i]))
            return false;
    }
    return w->end != END_WELL || peer_says(fd, "0\r\n\r\n");
}

static bool worker_answer_error(struct rig_worker *w, int fd)
{
    char head[512];
    const char *body = w->parts[0] != NULL ? w->parts[0] : "";

    snprintf(head, sizeof(head),
             "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n",
             w->status, strlen(body), w->fields != NULL ? w->fields : "");
    return peer_says(fd, head) && peer_says(fd, body);
}

void rig_worker_serve(void *arg, int fd, int index)
{
    struct rig_worker *w = arg;

    (void)index;
    while (rig_worker_read(w, fd)) {
        atomic_fetch_add(&w->requests, 1);
        if (w->reset_first) {
            peer_reset(fd);
            return;
        }
        sleep_ms(w->wait_ms);
        if (!(w->status != 0 ? worker_answer_error(w, fd) : worker_answer_200(w, fd)))
            return;
        if (w->end == END_RESET)
            peer_reset(fd);
        if (w->end == END_HOLD) {
            uint64_t from = peer_now_ms();

            peer_hold(fd);
            atomic_store(&w->gone_ms, (int)(peer_now_ms() - from));
        }
        if (w->end != END_WELL)
            return;
    }
}

int rig_count(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

char *rig_ask(struct rig_worker *w, struct rig_conf *conf, const char *path, const char *body,
              struct rig_tally *tally)
{
    struct rig *rig;
    char *answer;

    conf->peer[0] = peer_open(true, rig_worker_serve, w);
    rig = rig_open(conf);
    answer = rig_post(rig, path, body);
    *tally = rig_close(rig);
    peer_close(conf->peer[0]);
    must(tally->active == 0, "a request is left");
    return answer;
}

char *rig_with_fields(const char *request)
{
    const char *at = strchr(request, '$');
    char *text = malloc(strlen(request) + 64);

    must(text != NULL && at != NULL, "a request without $");
    sprintf(text, "%.*sHost: gw\r\nConnection: close\r\n%s", (int)(at - request), request, at + 1);
    return text;
}
