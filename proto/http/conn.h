/* SPDX-License-Identifier: MIT */
/* proto/http/conn.h - the server's inside: what server.c (listeners, deadlines), conn.c (the life
 * of a connection), conn_out.c (bytes to the kernel) and reply.c (one answer) share. Nobody else
 * includes it.
 *
 *             first byte          head complete        body read
 *   HC_IDLE ─────────► HC_HEAD ─────────► HC_BODY ─────────► HC_REPLY
 *      ▲                  │ refused          │ answered early   │ answered
 *      ├─── body skipped ─┼── HC_SKIP ◄──────┤                  │
 *      └──────────────────┼──────────────────┴──────────────────┤
 *                         └──────► HC_LINGER ◄─ (close) ────────┘   ──► HC_CLOSING */
#ifndef RM_HTTP_CONN_H
#define RM_HTTP_CONN_H

#include "proto/http/parser.h"
#include "proto/http/server.h"
#include "proto/http/sock.h"

enum {
    CONN_READ_BYTES = 64 * 1024,  /* the loop's one read buffer */
    CONN_HELD_BYTES = 16 * 1024,  /* unread input held while a reply runs: then reading stops */
    CONN_SKIP_BYTES = 256 * 1024, /* of an unwanted body read to keep the connection */
    CONN_SKIP_MS = 5000,
    CONN_LINGER_MS = 900, /* together with the sweep at most about a second */
    CONN_SWEEP_MS = 100,
    CONN_TRIM_MS = 5000,    /* buffers of a connection that was quiet this long are given back */
    CONN_RATE_MS = 10000,   /* the window of body_rate_bytes */
    CONN_OVER_MAX = 64,     /* connections beyond the maximum that still get their 503 */
    CONN_ACCEPTS = 64,      /* accepted in one turn of the loop */
    CONN_PIECES = 64,       /* slices sent without gathering */
    CONN_PEER_BYTES = 56,   /* "[v6]:port" and its NUL */
    CONN_HEAD_BYTES = 65536 /* of a reply */
};

enum conn_state { HC_IDLE, HC_HEAD, HC_BODY, HC_REPLY, HC_SKIP, HC_LINGER, HC_CLOSING };

struct conn;

/* One request; embedded in its connection, one at a time. */
struct http_req {
    const struct http_req_ops *ops;
    void *arg;
    const struct http_head *head; /* the parser's, or a stand-in when none was read */
    uint64_t start_us;
    uint64_t body_seen; /* bytes of the request body */
    int64_t length;     /* of the reply body, -1: open */
    uint64_t written;   /* of it */
    bool active;        /* between on_request and on_done */
    bool accepted;
    bool body_done;     /* the request body has been read whole */
    bool paused;        /* by the handler */
    bool continue_done; /* 100 was sent, or need not be */
    bool started, committed, ended;
    bool no_body, chunked; /* of the reply */
    bool gone;             /* on_gone was called */
    bool may_answer;       /* inside an on_gone that still allows an answer */
    bool want_writable;
};

struct conn {
    union http_sock h;
    struct http_server *server;
    struct conn *prev, *next;         /* all connections */
    struct conn *due_prev, *due_next; /* those to settle in this turn of the loop */
    struct http_parser *parser;
    enum conn_state state;
    int broken;   /* why the connection cannot go on: settled from the loop */
    uint8_t busy; /* inside one of our own callbacks, which will settle it */
    bool due, is_tcp, reading;
    bool deaf;    /* input is read and dropped: its framing is lost */
    bool close;   /* after this reply */
    bool eof;     /* the peer has closed its side */
    bool writing; /* a uv_write is under way */
    bool trimmed;
    uint64_t deadline_ms; /* of this state; 0: none */
    uint64_t since_ms;    /* when the state began */
    uint64_t rate_at_ms, rate_bytes;
    uint64_t stall_at_ms; /* last time the kernel took bytes while some wait */
    size_t stall_left;    /* libuv's queue then */
    size_t counted;       /* our part of the server's queued_bytes */
    uint64_t skipped;     /* bytes of an unwanted body */
    struct rm_buf in;     /* unread input from in_at on */
    size_t in_at;
    struct rm_buf head;   /* a reply head that has not left */
    struct rm_buf out;    /* waits behind flying */
    struct rm_buf flying; /* being written by uv_write */
    uv_write_t write;
    uv_shutdown_t shut;
    char peer[CONN_PEER_BYTES]; /* filled when first asked for */
    struct http_req req;
};

struct listener;

struct http_server {
    uv_loop_t *loop;
    struct http_server_conf conf;
    struct listener *listeners;
    struct conn *conns; /* list head, doubly linked */
    struct conn *due;   /* list head, doubly linked */
    uv_timer_t sweep;   /* runs while there are connections */
    uv_check_t check;   /* settles due connections after each poll */
    uv_idle_t idle;     /* active while some are due: the next poll does not block */
    uint32_t open_handles, max_connections, accepts;
    bool draining, closing;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
    struct http_server_stats stats;
    int64_t date_s;
    char date[40];       /* "Date: ...\r\n" of that second */
    char keep_alive[64]; /* the two fields of a kept connection */
    char read_buf[CONN_READ_BYTES];
};

/* conn.c */
struct conn *conn_new(struct http_server *s, bool is_tcp); /* handle initialised; NULL: no memory */
void conn_open(struct conn *c);                            /* after uv_accept */
void conn_refuse(struct conn *c, int err);
void conn_eof(struct conn *c, int why);
void conn_break(struct conn *c, int why); /* ends it from the loop */
void conn_due(struct conn *c);            /* settle soon */
void conn_settle(struct conn *c);
void conn_to(struct conn *c, enum conn_state state);
void conn_close(struct conn *c);
void conn_sweep(struct conn *c, uint64_t now_ms);
bool conn_reads(const struct conn *c); /* input would be parsed now */

/* conn_out.c */
size_t conn_queued(const struct conn *c);
void conn_send(struct conn *c, uv_buf_t *bufs, unsigned n); /* try-write, then the queue */
void conn_out_free(struct conn *c);
void conn_count(struct conn *c); /* after out or flying changed */

/* reply.c */
void reply_reset(struct http_req *q);
void reply_error(struct http_req *q, int err); /* the server's own answer */
struct conn *conn_of(struct http_req *q);

/* server.c */
void server_conn_closed(struct conn *c);
const char *server_date(struct http_server *s);
void server_wake(struct http_server *s); /* somebody is due: the next poll must not block */

#endif
