/* SPDX-License-Identifier: MIT */
/* One accepting thread, one thread per connection. See peer.h. */
#include "tests/support/peer/peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PEER_CONNS = 4096 };

struct peer_conn {
    struct peer *p;
    pthread_t thread;
    int fd, index;
};

struct peer {
    peer_serve *serve;
    void *arg;
    int fd, wake[2];
    char dir[64], address[128];
    pthread_t thread;
    pthread_mutex_t lock; /* guards the fds of conns against closing while they are shut down */
    atomic_int n;
    struct peer_conn conns[PEER_CONNS];
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static void *conn_run(void *arg)
{
    struct peer_conn *c = arg;

    c->p->serve(c->p->arg, c->fd, c->index);
    pthread_mutex_lock(&c->p->lock);
    close(c->fd);
    c->fd = -1;
    pthread_mutex_unlock(&c->p->lock);
    return NULL;
}

static void *accept_run(void *arg)
{
    struct peer *p = arg;
    struct pollfd fds[2] = {{.fd = p->fd, .events = POLLIN}, {.fd = p->wake[0], .events = POLLIN}};

    while (poll(fds, 2, -1) >= 0 && fds[1].revents == 0) {
        int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC), n = atomic_load(&p->n);
        struct peer_conn *c = &p->conns[n];

        if (fd < 0)
            continue;
        must(n < PEER_CONNS, "too many connections for this peer");
        *c = (struct peer_conn){.p = p, .fd = fd, .index = n};
        atomic_store(&p->n, n + 1); /* before anybody can see an answer */
        must(pthread_create(&c->thread, NULL, conn_run, c) == 0, "pthread_create");
    }
    return NULL;
}

static void listen_unix(struct peer *p)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    strcpy(p->dir, "/tmp/rm-peer-XXXXXX");
    must(mkdtemp(p->dir) != NULL, "mkdtemp");
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", p->dir);
    snprintf(p->address, sizeof(p->address), "unix:%s", a.sun_path);
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(p->fd >= 0 && bind(p->fd, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
}

static void listen_tcp(struct peer *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(p->fd >= 0 && bind(p->fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
             getsockname(p->fd, (struct sockaddr *)&a, &len) == 0,
         "bind");
    snprintf(p->address, sizeof(p->address), "127.0.0.1:%u", ntohs(a.sin_port));
}

struct peer *peer_open(bool is_unix, peer_serve *serve, void *arg)
{
    struct peer *p = calloc(1, sizeof(*p));

    must(p != NULL, "calloc");
    p->serve = serve;
    p->arg = arg;
    if (is_unix)
        listen_unix(p);
    else
        listen_tcp(p);
    must(listen(p->fd, 1024) == 0 && pipe(p->wake) == 0, "listen");
    pthread_mutex_init(&p->lock, NULL);
    must(pthread_create(&p->thread, NULL, accept_run, p) == 0, "pthread_create");
    return p;
}

const char *peer_address(const struct peer *p)
{
    return p->address;
}

int peer_accepted(const struct peer *p)
{
    return atomic_load(&p->n);
}

void peer_close(struct peer *p)
{
    int n;

    must(write(p->wake[1], "x", 1) == 1, "write");
    pthread_join(p->thread, NULL);
    n = atomic_load(&p->n);
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < n; i++)
        if (p->conns[i].fd >= 0)
            shutdown(p->conns[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < n; i++)
        pthread_join(p->conns[i].thread, NULL);
    close(p->fd);
    close(p->wake[0]);
    close(p->wake[1]);
    if (p->dir[0] != '\0') {
        unlink(p->address + strlen("unix:"));
        rmdir(p->dir);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- for serve functions ---- */

static bool read_byte(int fd, char *c)
{
    return recv(fd, c, 1, 0) == 1;
}

/* Up to and with the end mark. Byte by byte: nothing of what follows is taken. */
static bool read_until(int fd, const char *mark, char *out, size_t size)
{
    size_t n = 0, m = strlen(mark);

    while (n + 1 < size && read_byte(fd, &out[n])) {
        n++;
        if (n >= m && memcmp(out + n - m, mark, m) == 0) {
            out[n] = '\0';
            return true;
        }
    }
    return false;
}

uint64_t peer_hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static bool read_away(int fd, int64_t n, uint64_t *hash)
{
    char bytes[65536];

    while (n > 0) {
        ssize_t r = recv(fd, bytes, n < (int64_t)sizeof(bytes) ? (size_t)n : sizeof(bytes), 0);

        if (r <= 0)
            return false;
        *hash = peer_hash(*hash, bytes, (size_t)r);
        n -= r;
    }
    return true;
}

static int64_t read_chunks(int fd, uint64_t *hash)
{
    int64_t total = 0;
    char line[64];

    while (read_until(fd, "\r\n", line, sizeof(line))) {
        int64_t n = strtoll(line, NULL, 16);

        if (!read_away(fd, n, hash) || !read_until(fd, "\r\n", line, sizeof(line)))
            return -1;
        if (n == 0)
            return total;
        total += n;
    }
    return -1;
}

int64_t peer_read_request(int fd, char *head, size_t head_size, uint64_t *hash)
{
    char own[65536], *h = head != NULL ? head : own;
    uint64_t unused;
    const char *length;
    int64_t n;

    if (hash == NULL)
        hash = &unused;
    *hash = PEER_HASH;
    if (!read_until(fd, "\r\n\r\n", h, head != NULL ? head_size : sizeof(own)))
        return -1;
    if (strcasestr(h, "\r\nTransfer-Encoding: chunked\r\n") != NULL)
        return read_chunks(fd, hash);
    length = strcasestr(h, "\r\nContent-Length: ");
    n = length != NULL ? strtoll(length + 18, NULL, 10) : 0;
    return read_away(fd, n, hash) ? n : -1;
}

bool peer_send(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n > 0) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

        if (r <= 0)
            return false;
        p += r;
        n -= (size_t)r;
    }
    return true;
}

bool peer_says(int fd, const char *text)
{
    return peer_send(fd, text, strlen(text));
}

void peer_reset(int fd)
{
    struct linger off = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
}

uint64_t peer_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool peer_wait_gone(int fd, int ms)
{
    uint64_t until = peer_now_ms() + (uint64_t)ms;
    char bytes[4096];

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = peer_now_ms();

        if (poll(&p, 1, now >= until ? 0 : (int)(until - now)) <= 0)
            return false;
        if (recv(fd, bytes, sizeof(bytes), 0) <= 0)
            return true;
    }
}

void peer_hold(int fd)
{
    char bytes[4096];

    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
}
