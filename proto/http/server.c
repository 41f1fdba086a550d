/* SPDX-License-Identifier: MIT */
/* proto/http/server.c - listeners, the list of connections, the sweep of deadlines, start and end
 * of a server. What happens on one connection is in conn.c. See server.h. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/conn.h"

enum { SERVER_BACKLOG = 511, SERVER_FDS_KEPT = 64, SERVER_FDS_MAX = 1 << 20 };

struct listener {
    union http_sock h;
    struct http_server *server;
    struct listener *next;
    bool is_tcp;
    bool waiting; /* a connection was left for the next turn of the loop */
    bool closing;
};

const struct http_server_conf http_server_conf_default = {
    .limits = HTTP_LIMITS(64ull * 1024 * 1024),
    .head_ms = 10000,
    .idle_ms = 120000,
    .body_rate_bytes = 1024,
    .write_stall_ms = 60000,
    .queue_bytes = 192 * 1024,
    .notsent_lowat = 16 * 1024,
};

/* ---- due connections ---- */

static void server_settle_due(struct http_server *s)
{
    while (s->due != NULL) {
        struct conn *c = s->due;

        s->due = c->due_next;
        if (s->due != NULL)
            s->due->due_prev = NULL;
        c->due = false;
        conn_settle(c);
    }
}

static void listener_accept(struct listener *l);

static void server_turn(struct http_server *s)
{
    uv_idle_stop(&s->idle); /* first: what follows may start it again */
    s->accepts = 0;
    server_settle_due(s);
    for (struct listener *l = s->listeners; l != NULL; l = l->next)
        if (l->waiting && !l->closing && s->accepts < CONN_ACCEPTS) {
            l->waiting = false;
            listener_accept(l);
        }
}

static void server_on_check(uv_check_t *check)
{
    server_turn(check->data);
}

static void server_on_idle(uv_idle_t *idle)
{
    server_turn(idle->data);
}

void server_wake(struct http_server *s)
{
    if (!s->closing || s->open_handles > 0)
        uv_idle_start(&s->idle, server_on_idle);
}

/* ---- connections ---- */

static void server_on_sweep(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    const uint64_t now_ms = rm_now_ms();

    for (struct conn *c = s->conns; c != NULL; c = c->next)
        conn_sweep(c, now_ms);
}

static void server_maybe_freed(struct http_server *s);

void server_conn_closed(struct conn *c)
{
    struct http_server *s = c->server;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    s->stats.connections--;
    if (s->conns == NULL && !s->closing)
        uv_timer_stop(&s->sweep);
    s->open_handles--;
    server_maybe_freed(s);
}

static void server_add(struct http_server *s, struct conn *c)
{
    c->next = s->conns;
    if (s->conns != NULL)
        s->conns->prev = c;
    else
        uv_timer_start(&s->sweep, server_on_sweep, CONN_SWEEP_MS, CONN_SWEEP_MS);
    s->conns = c;
    s->stats.connections++;
    s->open_handles++;
}

/* Over the maximum: the first few get a 503, the rest is closed at once. */
static void server_admit(struct http_server *s, struct conn *c)
{
    conn_open(c);
    if (s->stats.connections <= s->max_connections) {
        s->stats.accepted++;
        return;
    }
    s->stats.refused++;
    if (s->stats.connections <= s->max_connections + CONN_OVER_MAX) {
        conn_refuse(c, RM_ERR_OVERLOAD);
        conn_settle(c);
    } else {
        conn_close(c);
    }
}

/* Takes the connection that libuv holds for l. When that fails libuv keeps it and stops watching l
 * until the next try. */
static void listener_accept(struct listener *l)
{
    struct http_server *s = l->server;
    struct conn *c = conn_new(s, l->is_tcp);

    s->accepts++;
    if (c == NULL) {
        rm_error("http", "no memory for a connection");
        l->waiting = true;
        return;
    }
    server_add(s, c);
    if (uv_accept(&l->h.stream, &c->h.stream) < 0) {
        conn_close(c);
        return;
    }
    server_admit(s, c);
}

/* When descriptors run out (EMFILE) libuv itself closes its spare one to accept and drop what
 * waits, so that a full table does not spin the loop; max_connections is there to keep it from
 * that. */
static void listener_on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = stream->data;
    struct http_server *s = l->server;

    if (status < 0) {
        s->stats.refused++;
        rm_warn("http", "a connection was not accepted", RM_E("why", status));
        return;
    }
    if (s->accepts >= CONN_ACCEPTS) {
        l->waiting = true;
        server_wake(s);
        return;
    }
    listener_accept(l);
}

/* ---- listening ---- */

/* On Linux an accepted socket begins with its listener's options: set once, no call per
 * connection. Keep-alive finds a client whose machine is gone while nothing is being sent. */
static int listener_tune(const struct listener *l)
{
    const struct http_server_conf *conf = &l->server->conf;
    const struct {
        int level, name;
        int value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)conf->notsent_lowat},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)conf->write_stall_ms},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, HTTP_KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, HTTP_KEEPALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, HTTP_KEEPALIVE_PROBES},
    };
    uv_os_fd_t fd;
    int r = l->is_tcp ? uv_fileno(&l->h.handle, &fd) : 0;

    for (size_t i = 0; l->is_tcp && r == 0 && i < RM_COUNT(options); i++)
        if (options[i].value > 0 &&
            setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) < 0)
            r = -errno;
    return r;
}

/* 0 when nobody listens at path (a stale socket file is removed), else UV_EADDRINUSE. */
static int unix_make_room(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, r;

    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return UV_EADDRINUSE;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return UV_EMFILE;
    memcpy(a.sun_path, path, strlen(path) + 1);
    r = connect(fd, (const struct sockaddr *)&a, sizeof(a));
    if (r < 0)
        r = -errno;
    close(fd);
    if (r != -ECONNREFUSED)
        return UV_EADDRINUSE;
    return unlink(path) == 0 ? 0 : UV_EADDRINUSE;
}

static int listen_unix(struct listener *l, const struct http_address *a)
{
    int r = unix_make_room(a->host);
    mode_t before;

    if (r < 0)
        return r;
    before = umask(0177); /* the file is made with mode 0600, never wider for a moment */
    r = uv_pipe_bind(&l->h.pipe, a->host);
    umask(before);
    return r;
}

static int listen_tcp(struct listener *l, const struct http_address *a)
{
    const char *host = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } addr;

    if (uv_ip4_addr(host, a->port, &addr.four) < 0 && uv_ip6_addr(host, a->port, &addr.six) < 0)
        return UV_EINVAL; /* names are not resolved for listening */
    return uv_tcp_bind(&l->h.tcp, &addr.any, 0);
}

static void real_port(const struct listener *l, struct http_address *bound)
{
    struct sockaddr_storage got;
    int n = sizeof(got);

    if (l->is_tcp && uv_tcp_getsockname(&l->h.tcp, (struct sockaddr *)&got, &n) == 0)
        bound->port =
            ntohs(got.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&got)->sin6_port
                                            : ((const struct sockaddr_in *)&got)->sin_port);
}

static void listener_on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data, **at;
    struct http_server *s = l->server;

    for (at = &s->listeners; *at != NULL; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    free(l);
    s->open_handles--;
    server_maybe_freed(s);
}

static void listener_close(struct listener *l)
{
    if (l->closing)
        return;
    l->closing = true;
    uv_close(&l->h.handle, listener_on_closed);
}

int http_server_listen(struct http_server *s, const struct http_address *a,
                       struct http_address *bound)
{
    struct listener *l = calloc(1, sizeof(*l));
    int r;

    if (l == NULL)
        return UV_ENOMEM;
    l->server = s;
    l->is_tcp = !a->is_unix;
    r = l->is_tcp ? uv_tcp_init(s->loop, &l->h.tcp) : uv_pipe_init(s->loop, &l->h.pipe, 0);
    if (r < 0) {
        free(l);
        return r;
    }
    l->h.handle.data = l;
    l->next = s->listeners;
    s->listeners = l;
    s->open_handles++;
    r = l->is_tcp ? listen_tcp(l, a) : listen_unix(l, a);
    if (r == 0)
        r = listener_tune(l);
    if (r == 0)
        r = uv_listen(&l->h.stream, SERVER_BACKLOG, listener_on_connection);
    if (r < 0) {
        listener_close(l);
        return r;
    }
    if (bound != NULL) {
        *bound = *a;
        real_port(l, bound);
    }
    return 0;
}

/* ---- life ---- */

const char *server_date(struct http_server *s)
{
    const int64_t now = rm_wall_s();
    const time_t t = (time_t)now;
    struct tm tm;

    if (now != s->date_s || s->date[0] == '\0') {
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof(s->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        s->date_s = now;
    }
    return s->date;
}

static uint32_t limit_from_fds(void)
{
    struct rlimit lim;
    const uint64_t kept = SERVER_FDS_KEPT;
    uint64_t n = SERVER_FDS_MAX;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < SERVER_FDS_MAX)
        n = lim.rlim_cur;
    return (uint32_t)(n > 2 * kept ? n - kept : kept);
}

/* libuv writes with write(2): a peer that is gone must be an error of the call, not a signal. */
static void ignore_sigpipe(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

int http_server_new(uv_loop_t *loop, const struct http_server_conf *conf, struct http_server **out)
{
    struct http_server *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (s == NULL)
        return UV_ENOMEM;
    assert(conf->on_request != NULL);
    ignore_sigpipe();
    s->loop = loop;
    s->conf = *conf;
    s->max_connections = conf->max_connections != 0 ? conf->max_connections : limit_from_fds();
    snprintf(s->keep_alive, sizeof(s->keep_alive),
             "Connection: keep-alive\r\nKeep-Alive: timeout=%u\r\n\r\n", conf->idle_ms / 1000);
    uv_timer_init(loop, &s->sweep); /* these three cannot fail */
    uv_check_init(loop, &s->check);
    uv_idle_init(loop, &s->idle);
    s->sweep.data = s->check.data = s->idle.data = s;
    s->open_handles = 3;
    uv_check_start(&s->check, server_on_check);
    uv_unref((uv_handle_t *)&s->check);
    *out = s;
    return 0;
}

void http_server_drain(struct http_server *s)
{
    s->draining = true;
    for (struct listener *l = s->listeners; l != NULL; l = l->next)
        listener_close(l);
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        if (c->state == HC_IDLE)
            conn_break(c, RM_ERR_DRAINING);
}

static void server_maybe_freed(struct http_server *s)
{
    void (*on_closed)(void *) = s->on_closed;
    void *arg = s->on_closed_arg;

    if (!s->closing || s->open_handles > 0)
        return;
    free(s);
    if (on_closed != NULL)
        on_closed(arg);
}

static void server_on_handle_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;

    s->open_handles--;
    server_maybe_freed(s);
}

/* From the loop: every connection is told and closed, then the server's own handles. */
static void server_on_closing(uv_timer_t *timer)
{
    struct http_server *s = timer->data;

    for (struct conn *c = s->conns; c != NULL; c = c->next) {
        conn_break(c, UV_ECANCELED);
        conn_settle(c);
    }
    uv_close((uv_handle_t *)&s->sweep, server_on_handle_closed);
    uv_close((uv_handle_t *)&s->check, server_on_handle_closed);
    uv_close((uv_handle_t *)&s->idle, server_on_handle_closed);
}

void http_server_close(struct http_server *s, void (*on_closed)(void *arg), void *arg)
{
    if (s->closing)
        return;
    s->closing = true;
    s->on_closed = on_closed;
    s->on_closed_arg = arg;
    http_server_drain(s);
    uv_timer_start(&s->sweep, server_on_closing, 0, 0);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *out)
{
    *out = s->stats;
}
