/* SPDX-License-Identifier: MIT */
/* gateway/route/route.h - which host gets a request, and who waits for one.
 * front asks for a host of a role; route answers with a lease on the host that would be done
 * soonest by measured speeds, or keeps the request in the role's bounded queue until one is free,
 * loaded or the deadline has passed. It knows nodes and hosts by what mesh reports (states, losses)
 * and by what leases came to (real traffic). The decisions are pure (health.h, score.h and
 * cluster.h: facts and time in); this file holds the state, the queues and one timer. Loop thread
 * only. Callbacks come from the loop, never inside the call that asked. */
#ifndef RM_ROUTE_ROUTE_H
#define RM_ROUTE_ROUTE_H

#include <uv.h>

#include "proto/conf/role_map.h"
#include "proto/http/client.h"
#include "proto/node/state.h"

struct route;
struct decision;
struct route_ticket; /* one request waiting for a host or holding one */

struct route_ask {
    const char *role;       /* a role of the map; borrowed for the call */
    uint64_t prefix_key;    /* hash chain of the prompt's beginning; 0: unknown. Same key, same host
                               where it pays */
    uint64_t session_key;   /* hash of the editor session; 0: unknown */
    uint32_t prompt_tokens; /* estimate: body bytes / 4 */
    uint32_t avoid_n;       /* nodes that already lost this request */
    const char *avoid[4];
    uint64_t deadline_ms; /* rm_now_ms by which a host must be found; 0: the role's own */
};

/* Waiting. A request waits for a host until its role's queue_deadline. Then, and at once when the
 * role cannot be loaded, it goes to the first fallback that has a ready host (when the role cannot
 * be loaded and none has: the first that is on demand or being loaded), for that one's
 * queue_deadline.
 * Without such a fallback, time in which no host of the role can serve but one is
 * being loaded, or is said to come (route_role_note), does not count: the clock stands as long as
 * the load makes progress (its figure has risen within the last minute, or its announced end has
 * not passed) and its node answers, for 30 minutes from the request at most. After that it is
 * refused. A deadline of its own in route_ask holds as it is. */

/* A free host is not taken when another, still being loaded, would be done sooner by what was
 * measured of it before: a long prompt waits seconds for a host that reads it minutes faster, until
 * that load should be over. */

/* A granted host; valid until route_close of the ticket. */
struct route_lease {
    const char *node, *role, *model; /* model: the name in the role map */
    struct http_client *client;      /* to the worker */
    const char *target;              /* "/node/v1/run/ROLE", what stands before "/v1/..." */
    uint32_t context;                /* tokens per slot */
    uint64_t queued_us;              /* how long the ticket waited */
    const struct decision *decision; /* why this host; valid for the call of on_lease */
};

struct route_ticket_ops {
    /* A host for you. Send the request and end the ticket with route_close(). */
    void (*on_lease)(struct route_ticket *t, const struct route_lease *lease);
    /* No host: RM_ERR_QUEUE_FULL, RM_ERR_DEADLINE, RM_ERR_NO_HOST, RM_ERR_MODEL (the role left the
     * map), RM_ERR_DRAINING. text: for the client, naming states ("architect is loading on
     * reasoning, 43 %"); borrowed for the call. retry_after_s: 1..60, 0: none. Still to be closed.
     */
    void (*on_refused)(struct route_ticket *t, int err, const char *text, uint32_t retry_after_s);
    /* The node under your lease is down (silent for 8 s, or its worker's link broke): no answer
     * will come. What front does is its affair; the ticket is still to be closed. NULL: not wanted.
     */
    void (*on_lost)(struct route_ticket *t);
};

/* Takes part in the queue. Returns 0 or UV_ENOMEM; everything else comes as on_refused. */
RM_MUST_USE int route_open(struct route *r, const struct route_ask *ask,
                           const struct route_ticket_ops *ops, void *arg,
                           struct route_ticket **out);
void *route_ticket_arg(const struct route_ticket *t);

/* How a lease ended; feeds health and speeds. */
enum route_outcome {
    ROUTE_DONE,    /* whole answer */
    ROUTE_CLIENT,  /* the client left, or its request was refused by the engine (4xx): says nothing
                      about the host */
    ROUTE_LOST,    /* connect failed, reset, cut short: the host or its node is suspect */
    ROUTE_BUSY,    /* the engine said 429 or 503 */
    ROUTE_INVALID, /* the answer was damaged */
    ROUTE_UNUSED   /* given back before anything was sent */
};
struct route_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens; /* 0: unknown */
    uint64_t ttft_ms; /* request sent to first token; 0: none came */
};

/* The first token of a lease has arrived (real traffic counts as life). */
void route_first_byte(struct route_ticket *t);

/* Ends a ticket in any state, exactly once; a waiting one leaves its queue. usage may be NULL. */
void route_close(struct route_ticket *t, enum route_outcome how, const struct route_usage *usage);

/* One line on why a waiting ticket waits: "every slot of code is taken, 3 requests are before this
 * one", "architect is loading on reasoning, 43 %, about 12 s left". Plain bytes without control
 * bytes, but a worker's words in it may be no UTF-8. out: NUL-terminated. */
void route_ticket_status(const struct route_ticket *t, char *out, size_t n);

/* ---- what mesh, gateway.c and ops use ---- */
RM_MUST_USE int route_new(uv_loop_t *loop, struct role_map *map, struct route **out);
void route_free(struct route *r); /* refuses what waits with RM_ERR_DRAINING */
void route_set_map(
    struct route *r,
    struct role_map *map); /* takes a reference; queues of roles that stay keep their tickets */
void route_set_draining(struct route *r); /* new tickets are refused with RM_ERR_DRAINING */

/* A node's link. client: borrowed until route_node_gone. */
void route_node_here(struct route *r, const char *node, struct http_client *client);
void route_node_gone(struct route *r, const char *node); /* left the map */
void route_node_state(struct route *r, const char *node,
                      const struct node_state *state); /* every watch event; copied */
void route_node_lost(struct route *r, const char *node,
                     int err); /* watch stream broken or silent */

/* How the node is reached. path: a static word, NULL: unknown. rtt_ms: < 0: not measured. */
void route_node_line(struct route *r, const char *node, const char *path, double rtt_ms);

/* Tells every host that stands: all but absent ones. The names are borrowed for the call. */
void route_each_host(const struct route *r,
                     void (*on_host)(void *arg, const char *role, const char *node), void *arg);

/* ---- on-demand loading: what drive reads, and what it tells ---- */

/* What is asked of a role. Times are rm_now_ms. */
struct route_demand {
    uint32_t waiting;     /* requests without a host; a role's fallback counts those it took over */
    uint64_t oldest_ms;   /* how long the oldest of them has waited (ms) */
    uint32_t in_flight;   /* leases on all its hosts */
    uint64_t last_ask_ms; /* when somebody asked last, whatever came of it; 0: never */
    uint64_t last_use_ms; /* when a lease began or ended last; 0: never */
};

/* Of one host. */
struct route_host_use {
    uint32_t in_flight;   /* leases there */
    bool closed;          /* see route_host_close */
    uint64_t last_use_ms; /* as above */
};

/* Fill *out; all zero for a role or host that the route does not know. */
void route_demand_of(const struct route *r, const char *role, struct route_demand *out);
void route_host_use_of(const struct route *r, const char *role, const char *node,
                       struct route_host_use *out);

/* Requests have begun to wait for a role that no host can serve now: comes from the loop, once
 * for all of one turn. NULL: not wanted. */
void route_on_wanted(struct route *r, void (*on_wanted)(void *arg, const char *role), void *arg);

/* A closed host gets no new lease: it drains, what runs there goes on. Stays so, whatever the
 * states say, until it is opened or a state says that it is gone, or its node is. Of a host that no
 * state has named yet it is remembered. Roles and nodes that the map lacks: nothing. */
void route_host_close(struct route *r, const char *role, const char *node, bool closed);

/* What an operator wants, for those who ask: wanted is a static word, NULL: nothing. Roles and
 * nodes that the map lacks: nothing. */
void route_host_wanted(struct route *r, const char *role, const char *node, const char *wanted);
void route_node_drained(struct route *r, const char *node, bool drained);

/* What is being done for a role that is not there; stays until the next note. */
enum route_note_state {
    ROUTE_NOTE_NONE,    /* nothing: its hosts' states speak for themselves */
    ROUTE_NOTE_LOADING, /* being loaded on `node` */
    ROUTE_NOTE_WAITS,   /* will be loaded, but not now: text says what for ("code to finish") */
    ROUTE_NOTE_CANNOT   /* cannot be loaded: text says why. Requests are refused, or go to a
                           fallback, for a minute, or until there is another note or a host is ready
                           all the same; after the minute they wait again and are demand */
};
struct route_note {
    enum route_note_state state;
    const char *node; /* LOADING; else NULL */
    uint64_t eta_ms;  /* LOADING, WAITS: from now until it is ready, by the ledger; 0: unknown */
    const char *text; /* WAITS, CANNOT: one line; NULL: none */
};
void route_role_note(struct route *r, const char *role, const struct route_note *note); /* copied */

/* Refuses all that wait for the role now, inside this call: on_refused with err and text ("cannot
 * be loaded: ..."). Those whose role has a fallback that is ready, on demand or being
 * loaded go there instead. */
void route_role_fail(struct route *r, const char *role, int err, const char *text);

/* For /api/v1: JSON of the present; see ops. */
int route_write_nodes(const struct route *r, struct rm_buf *out); /* JSON array */
int route_write_hosts(const struct route *r, struct rm_buf *out); /* JSON array */

/* JSON array. figures: puts members `requests` to `cached_share` of the role whose object is open
 * in w: they are the front's to know; NULL: they are left out. */
struct rm_jw;
int route_write_roles(const struct route *r,
                      void (*figures)(void *arg, const char *role, struct rm_jw *w), void *arg,
                      struct rm_buf *out);

/* For /metrics: families of nodes, hosts and roles. metrics.c. */
struct rm_om;
void route_write_metrics(const struct route *r, struct rm_om *om);

#endif
