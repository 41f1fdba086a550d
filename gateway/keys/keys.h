/* SPDX-License-Identifier: MIT */
/* gateway/keys/keys.h - the keys of a running gateway: the ring in memory, what each has used of
 * its limits, and the file behind them. The folder answers for who may use the gateway at all:
 * auth.h finds and judges the key, quota.h counts, session.h lets a cookie stand for a key, this
 * keeps the ring that runs. It is read at start, when its file
 * is another one (looked at once a second, so that `rolemesh keys` on the same directory needs no
 * signal), on SIGHUP, and after each edit through the API. A damaged file is told in one line and
 * changes nothing. Reading and writing are jobs of the thread pool. Requests that run keep the ring
 * they began with. Loop thread only. */
#ifndef RM_KEYS_KEYS_H
#define RM_KEYS_KEYS_H

#include <uv.h>

#include "gateway/keys/auth.h"
#include "gateway/keys/quota.h"
#include "gateway/keys/session.h"
#include "proto/trust/keyring_edit.h"

enum { KEYS_JOBS_MAX = 16 }; /* that wait */

struct keys;
struct keys_ring; /* one state of the keys; ref-counted */

/* Reads dir's keyring ("": there is no state directory, and so no key). Blocking: at start only.
 * why: KEYRING_WHY_MAX bytes. Returns 0, or as keyring_load; then *out is NULL. */
RM_MUST_USE int keys_open(uv_loop_t *loop, const char *dir, struct keys **out, char *why);

/* May anybody use the gateway as long as there is no key? At first: no. */
void keys_may_be_open(struct keys *k, bool may);
bool keys_exist(const struct keys *k);

/* on_change comes from the loop when keys appear for the first time, or the last one goes. */
void keys_watch(struct keys *k, void (*on_change)(void *arg, bool exist), void *arg);
void keys_reload(struct keys *k); /* soon */

/* Waits for what the thread pool does; frees on the loop. No pass may be open. NULL is fine. */
void keys_close(struct keys *k);

/* ---- requests ---- */

/* A request's right to be here; zeroed: nobody's. */
struct keys_pass {
    struct keys_ring *ring;    /* a reference; NULL: nobody was asked */
    const struct api_key *key; /* NULL: anybody */
    bool counted;              /* keys_begin took it */
    bool by_cookie;            /* a session stands for the key */
    uint64_t session_left_s;   /* of that session */
};

/* Who is it? path_key: as in auth_sent. Returns 0, and keys_leave must follow; or RM_ERR_AUTH with
 * *why: static. k NULL: everybody may. */
RM_MUST_USE int keys_enter(struct keys *k, const struct http_head *head, struct rm_slice path_key,
                           struct keys_pass *out, const char **why);

/* The same for the ops API: where no field carries a key, a session's cookie stands for one. */
RM_MUST_USE int keys_enter_ops(struct keys *k, const struct http_head *head, struct keys_pass *out,
                               const char **why);

/* What carried a key in the request's head has been read, the session's cookie too: it goes, so
 * that no log and no answer can tell it. */
struct http_req;
void keys_wipe(struct http_req *q, struct rm_slice path_key);

/* Counts a request that takes a place. As quota_begin; anybody's is not counted. */
RM_MUST_USE int keys_begin(struct keys *k, struct keys_pass *pass, enum quota_limit *limit,
                           uint32_t *retry_after_s);

/* The request is over and took so many tokens. Empties the pass; an empty one is fine. */
void keys_leave(struct keys *k, struct keys_pass *pass, uint64_t tokens);

/* What the keys used today before this gateway started: an array as the history adds it up by key
 * (proto/openapi.yaml: Usage). What is not understood is left out. Once, soon after the start. */
void keys_restore(struct keys *k, struct rm_slice usage);

/* ---- sessions ---- */

/* A session for who shows this key; it takes the place of the session `old` ("": none). Returns 0
 * with id, and keys_leave must follow; or RM_ERR_AUTH with *why: static. */
RM_MUST_USE int keys_begin_session(struct keys *k, struct rm_slice text, struct rm_slice old,
                                   char id[SESSION_ID + 1], struct keys_pass *out,
                                   const char **why);
void keys_end_session(struct keys *k, struct rm_slice id);

/* ---- the API ---- */

/* Copies the edit and does it in the thread pool. on_done comes once, from the loop: 0 with the
 * edit's outcome, or an error with why. Returns 0; RM_ERR_OVERLOAD: too many wait; UV_ENOMEM;
 * RM_ERR_NOT_FOUND: there is no state directory. Then on_done never comes. */
RM_MUST_USE int keys_edit(struct keys *k, const struct keyring_edit *edit,
                          void (*on_done)(void *arg, int err, const char *why,
                                          const struct keyring_edit *edit),
                          void *arg);

/* Appends a JSON array of all keys: rights, limits, state, use; never a hash. As rm_buf_put. */
int keys_write(const struct keys *k, struct rm_buf *out);

/* Appends one as an object. */
int keys_write_one(const struct keys *k, const struct api_key *key, const char *text,
                   struct rm_buf *out);

#endif
