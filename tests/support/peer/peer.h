/* SPDX-License-Identifier: MIT */
/* tests/support/peer/peer.h - the other end of a connection under test: a listening TCP or Unix
 * socket whose connections are each served by a plain blocking function in a thread of its own, so
 * that a test can make it answer well, badly, slowly or not at all. For tests: trouble in the
 * peer's own set-up ends the program. */
#ifndef RM_TESTS_PEER_H
#define RM_TESTS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer;

/* Serves one connection; index counts them from 0. fd is closed after it returns. Blocking calls on
 * fd end when the test calls peer_close. */
typedef void peer_serve(void *arg, int fd, int index);

/* Listens on 127.0.0.1, or in a directory of its own under /tmp when is_unix. */
struct peer *peer_open(bool is_unix, peer_serve *serve, void *arg);
const char *peer_address(const struct peer *p); /* as http_address_parse takes it */
int peer_accepted(const struct peer *p);        /* connections so far; any thread */
void peer_close(struct peer *p);                /* ends and joins every thread */

/* For serve functions; all of them are blocking. */

/* One request's head and body (by Content-Length or chunked, the coding removed). Returns the bytes
 * of the body, or -1: the other side closed before the end. head (NUL-terminated) and hash (of the
 * body, started with PEER_HASH) may be NULL. */
int64_t peer_read_request(int fd, char *head, size_t head_size, uint64_t *hash);

#define PEER_HASH 0xcbf29ce484222325u
uint64_t peer_hash(uint64_t h, const void *bytes, size_t n); /* FNV-1a, 64 bits */

bool peer_send(int fd, const void *bytes, size_t n); /* false: the other side is gone */
bool peer_says(int fd, const char *text);
void peer_reset(int fd);             /* the next close sends RST */
bool peer_wait_gone(int fd, int ms); /* true: the other side closed within ms */
void peer_hold(int fd);              /* until the other side closes */
uint64_t peer_now_ms(void);

#endif
