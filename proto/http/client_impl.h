/* SPDX-License-Identifier: MIT */
/* proto/http/client_impl.h - what client.c (connections, responses, deadlines) and client_send.c
 * (requests) share. For these two files only. Loop thread. */
#ifndef RM_HTTP_CLIENT_IMPL_H
#define RM_HTTP_CLIENT_IMPL_H

#include "proto/http/client.h"
#include "proto/http/parser.h"
#include "proto/http/sock.h"

enum { HC_ADDRS = 4 }; /* of a resolved name */

struct hc_link {
    struct hc_link *prev, *next;
};
#define HC_OF(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

struct http_client {
    uv_loop_t *loop;
    struct http_address address;
    struct http_client_conf conf;
    char *host; /* the Host value; owned */
    struct hc_link calls;
    struct hc_link kept; /* connections, the one used last first */
    struct hc_link done; /* calls without connection whose last callbacks are due */
    uint32_t n_kept, n_conns;
    uv_timer_t timer;
    uv_idle_t soon;
    int open_handles; /* of timer and soon */
    bool closing, finishing, resolving, literal;
    uv_getaddrinfo_t resolve;
    uint64_t addrs_ms; /* when they were resolved */
    uint32_t n_addrs;
    struct sockaddr_storage addrs[HC_ADDRS];
    struct sockaddr_storage peer; /* connected to last; ss_family 0: never */
};

struct hc_conn {
    union http_sock h;
    union { /* one of them at a time */
        uv_connect_t connect;
        uv_write_t write;
    } req;
    struct http_client *client;
    struct http_call *call; /* NULL: kept, or closing without one */
    struct http_parser *parser;
    struct hc_link link; /* in client->kept */
    uint64_t since_ms;   /* kept since, or connecting since */
    bool closing, kept, reading;
    bool reused; /* has carried a call before this one */
};

enum hc_state { HC_RESOLVE, HC_CONNECT, HC_ANSWER, HC_BODY };

struct hc_upload; /* a streamed request body; client_send.c */

struct http_call {
    struct http_client *client;
    const struct http_call_ops *ops;
    void *arg;
    struct hc_conn *conn; /* NULL while resolving */
    struct hc_link link;  /* in client->calls */
    struct hc_link soon;  /* in client->done */
    uint64_t mark_ms;     /* the phase began, or the last byte came */
    uint32_t head_ms;     /* 0: no limit */
    uint32_t addr_i;      /* which of client->addrs */
    int err;              /* why it is over */
    int send_err;         /* the request could not be written */
    enum hc_state state;
    bool over;     /* nothing but the last callbacks follows */
    bool aborted;  /* by its owner: no on_fail */
    bool ended;    /* on_end was called */
    bool whole;    /* the parser saw the end */
    bool reusable; /* the peer keeps the connection */
    bool batch;    /* on_head or on_body since the last on_batch */
    bool is_head, paused, got_bytes, sent, retried;
    /* request */
    uv_buf_t *bufs; /* head, then the body's pieces; NULL when it cannot be sent again */
    uint32_t n_bufs;
    struct hc_upload *upload; /* NULL: no streamed body */
    uint64_t stall_ms;        /* the write queue had stall_left bytes since then */
    size_t stall_left;
};

/* client.c */
void hc_call_over(struct http_call *k, int err); /* once; the others are ignored */
void hc_call_connect(struct http_call *k);       /* opens a new connection for it */
void hc_call_next_address(struct http_call *k, int err);
void hc_conn_close(struct hc_conn *n);

/* client_send.c */
int hc_send_init(struct http_call *k, const struct http_call_spec *spec); /* writes the head */
void hc_send_clear(struct http_call *k);
void hc_send_start(struct http_call *k);       /* the connection is up */
void hc_send_settle(struct http_call *k);      /* an answer began: frees what a retry would need */
bool hc_send_again(const struct http_call *k); /* the request could be sent once more */
bool hc_send_stalled(struct http_call *k, uint64_t now, uint64_t limit_ms);

#endif
