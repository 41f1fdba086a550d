/* SPDX-License-Identifier: MIT */
/* gateway/ops/ops_impl.h - what the files of this folder share: one ops request, and the table of
 * routes. Not for other folders. */
#ifndef RM_OPS_IMPL_H
#define RM_OPS_IMPL_H

#include "gateway/keys/session.h"
#include "gateway/ops/ops.h"
#include "gateway/ops/query.h"
#include "gateway/ops/trust.h"
#include "proto/base/buf.h"

enum { OPS_ANSWER_MAX = 16 * 1024 * 1024, OPS_PARTS = 2, OPS_PART_MAX = 128 };

/* Who asks. */
struct ops_caller {
    char name[KEYRING_NAME]; /* of the key; "": nobody's, or none was needed */
    bool keys_exist, admin;  /* admin: may act */
    bool by_cookie;
    uint64_t left_s;              /* of the session, by_cookie */
    char session[SESSION_ID + 1]; /* as it was sent, "": none; may be over long ago */
};

/* One request of a route of the table. */
struct ops_call {
    struct ops *ops;
    const struct ops_sources *sources;
    struct http_req *q;
    const struct ops_route *route;
    struct ops_caller who;
    char part[OPS_PARTS][OPS_PART_MAX]; /* the path's variable segments, decoded */
    struct query query;
    struct rm_buf out;
    const char *type; /* of what read wrote, when it is not the route's */
};

struct ops_route {
    enum http_method method; /* GET answers HEAD as well */
    const char *path;        /* segments in braces are variable */
    enum ops_policy policy;
    /* read appends the whole answer and returns 0, or an error with maybe a text in c->query.why;
     * take is asked first, if it is there: true: it has accepted c->q and keeps nothing of c. */
    int (*read)(struct ops_call *c, int *status);
    bool (*take)(struct ops_call *c);
    const char *type;                  /* of what read writes; NULL: JSON */
    const char *params[QUERY_MAX + 1]; /* of the query, NULL-terminated */
};
extern const struct ops_route ops_routes[];
extern const size_t ops_n_routes;

/* The route of a path and method (HEAD as GET). *part: its variable segments as sent. NULL: none;
 * then allow (may be cut to size) lists the methods that the path has, "" when it is not ours. */
const struct ops_route *ops_route_of(enum http_method method, struct rm_slice path,
                                     struct rm_slice part[OPS_PARTS], char *allow, size_t size);

extern const struct http_out_field ops_no_store; /* Cache-Control */

/* Answers an accepted request with an error of the table; text NULL: the table's. field: one more
 * header field, or NULL. */
void ops_answer_error(struct http_req *q, int err, const char *text,
                      const struct http_out_field *field);

uv_loop_t *ops_loop(struct ops *o);
const struct ops_sources *ops_sources_of(const struct ops *o);

/* Something that outlives its request asks workers, at most so many at a time: o lives until it
 * ends. */
bool ops_asking_begins(struct ops *o, uint32_t max);
void ops_asking_ends(struct ops *o);
struct asking_cache;
struct asking_cache **ops_asking_cache(struct ops *o); /* asking.c makes it; freed with o */

struct history;
struct history *ops_history(struct ops *o);  /* NULL: there is none */
bool ops_take_usage(struct ops_call *c);     /* usage.c */
bool ops_take_history(struct ops_call *c);   /* past_get.c */
bool ops_take_decisions(struct ops_call *c); /* decisions.c */
bool ops_take_models(struct ops_call *c);    /* models.c */
bool ops_take_ledger(struct ops_call *c);    /* ledger.c */
bool ops_take_logs(struct ops_call *c);      /* logs.c */

/* The body of a GET without a query, as it would be answered, without its newline. */
int ops_write_body(struct ops *o, const char *path, struct rm_buf *out);

/* ---- the watch (watch.c) ---- */
struct ops_watch;
RM_MUST_USE int ops_watch_new(uv_loop_t *loop, struct ops *o, const struct ops_sources *sources,
                              struct ops_watch **out);
void ops_watch_drain(struct ops_watch *w);
void ops_watch_close(struct ops_watch *w, void (*on_closed)(void *arg), void *arg);
int ops_watch_write_alarms(const struct ops_watch *w, struct rm_buf *out);
void ops_watch_write_metrics(const struct ops_watch *w, struct rm_om *om);
struct ops_watch *ops_watch_of(struct ops *o);
struct event;
void ops_watch_tell(struct ops_watch *w, const struct event *e); /* something happened */

/* ---- handlers ---- */
int ops_get_status(struct ops_call *c, int *status); /* read.c */
int ops_get_nodes(struct ops_call *c, int *status);
int ops_get_node(struct ops_call *c, int *status);
int ops_get_roles(struct ops_call *c, int *status);
int ops_get_role(struct ops_call *c, int *status);
int ops_get_hosts(struct ops_call *c, int *status);
int ops_get_map(struct ops_call *c, int *status);
int ops_get_metrics(struct ops_call *c, int *status);
int ops_get_health(struct ops_call *c, int *status);
int ops_get_ready(struct ops_call *c, int *status);
int ops_get_requests(struct ops_call *c, int *status); /* requests.c */
int ops_get_queue(struct ops_call *c, int *status);
int ops_get_request(struct ops_call *c, int *status);
int ops_get_why(struct ops_call *c, int *status);
bool ops_recall_request(struct ops_call *c);
bool ops_recall_why(struct ops_call *c);
int ops_cancel_request(struct ops_call *c, int *status);
bool ops_post_map(struct ops_call *c); /* map.c */
bool ops_take_map_text(struct ops_call *c);
bool ops_post_plan(struct ops_call *c);
bool ops_take_plan(struct ops_call *c);              /* plan.c */
int ops_get_events(struct ops_call *c, int *status); /* watch.c */
bool ops_follow_events(struct ops_call *c);

/* events_past.c: takes a list that the ring, a JSON array, does not fill. */
bool ops_recall_events(struct ops_call *c, struct rm_slice ring);
int ops_get_pulls(struct ops_call *c, int *status); /* pulls.c */
bool ops_post_pull(struct ops_call *c);
bool ops_cancel_pull(struct ops_call *c);
int ops_get_keys(struct ops_call *c, int *status); /* keys.c */
bool ops_post_key(struct ops_call *c);
bool ops_revoke_key(struct ops_call *c);
bool ops_rotate_key(struct ops_call *c);
int ops_operate_host(struct ops_call *c, int *status); /* act.c */
int ops_operate_node(struct ops_call *c, int *status);
bool ops_post_reload(struct ops_call *c);
int ops_get_session(struct ops_call *c, int *status); /* session.c */
bool ops_post_session(struct ops_call *c);
bool ops_delete_session(struct ops_call *c);

#endif
