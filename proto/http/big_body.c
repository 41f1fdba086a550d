/* SPDX-License-Identifier: MIT */
/* proto/http/big_body.c - see big_body.h. big_serve runs on the peer's thread, the rest on the
 * test's. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "proto/http/big_body.h"
#include "tests/support/peer/peer.h"

static void fill(unsigned char *bytes, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(*seed >> 24);
    }
}

uint64_t big_hash(void)
{
    static unsigned char bytes[BIG];
    uint32_t seed = BIG_SEED;

    fill(bytes, sizeof(bytes), &seed);
    return peer_hash(PEER_HASH, bytes, sizeof(bytes));
}

void big_serve(void *arg, int fd, int index)
{
    struct big *big = arg;
    unsigned char bytes[70000];
    uint32_t seed = BIG_SEED;
    char head[128];
    size_t n, round = 0;

    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) < 0)
        return;
    if (big->chunked)
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    else
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
    if (!peer_says(fd, head))
        return;
    for (size_t left = BIG; left > 0; left -= n) {
        n = (round++ * 7919) % sizeof(bytes) + 1;
        n = left < n ? left : n;
        fill(bytes, n, &seed);
        snprintf(head, sizeof(head), "%zx\r\n", n);
        if ((big->chunked && !peer_says(fd, head)) || !peer_send(fd, bytes, n) ||
            (big->chunked && !peer_says(fd, "\r\n")))
            return;
        atomic_fetch_add(&big->sent, (long long)n);
    }
    if (big->chunked)
        peer_says(fd, "0\r\n\r\n");
    peer_hold(fd);
}

void big_feed(struct probe *p)
{
    struct big_feeder *f = p->arg;
    unsigned char bytes[30000];
    int r = 0;

    while (r == 0 && f->left > 0) {
        size_t n = f->left < sizeof(bytes) ? f->left : sizeof(bytes);
        struct rm_slice pieces[2] = {{(char *)bytes, n / 3}, {(char *)bytes + n / 3, n - n / 3}};

        fill(bytes, n, &f->seed);
        r = http_call_write(p->call, pieces, 2);
        assert_true(r == 0 || r == RM_WAIT);
        f->left -= n;
        f->waits += r == RM_WAIT;
    }
    if (f->left == 0 && !f->ended) {
        f->ended = true;
        http_call_end(p->call);
    }
}

void big_hook_feed(struct probe *p, enum probe_at at)
{
    if (at == AT_WRITABLE)
        big_feed(p);
}
