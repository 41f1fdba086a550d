/* SPDX-License-Identifier: MIT */
/* gateway/keys/session.h - the sessions of browsers: who has shown a key gets a random id as a
 * cookie, so that the page need not keep the key itself (an HttpOnly cookie is out of reach of any
 * script). A session stands for its key and can never do more: it is looked up by the key's id,
 * and what that key may do, and whether it still may, is asked of the ring each time. Only hashes
 * of the ids are kept, in memory: a restart of the gateway ends every session. Bounded: the oldest
 * goes, first of the same key, then of all. Pure: time and randomness are arguments; sodium_init()
 * must have been called. */
#ifndef RM_KEYS_SESSION_H
#define RM_KEYS_SESSION_H

#include "proto/http/message.h"
#include "proto/trust/keyring.h"

enum {
    SESSION_MAX = 1024,
    SESSION_PER_KEY_MAX = 32,
    SESSION_RANDOM = 32, /* bytes */
    SESSION_ID = 43,     /* characters: base64url without padding, RFC 4648 section 5 */
    SESSION_S = 12 * 3600
};
#define SESSION_COOKIE "rolemesh_session"

struct sessions;

RM_MUST_USE int sessions_new(struct sessions **out); /* 0 or UV_ENOMEM */
void sessions_free(struct sessions *s);              /* wipes; NULL is fine */
size_t sessions_count(const struct sessions *s);     /* over ones count until they are touched */

/* The session id that a request carries: of the Cookie fields (RFC 6265 section 4.2.1) the first
 * that is named so, "" without one or when it cannot be an id. A slice of the head. */
struct rm_slice session_sent(const struct http_head *head);

/* A new session of the key: id from the random bytes (NUL-terminated). now_s: monotonic. */
void session_begin(struct sessions *s, const char *key_id, const unsigned char random[32],
                   uint64_t now_s, char id[SESSION_ID + 1]);

/* The key of a session that is not over, and the seconds left of it; NULL: there is none. */
const char *session_key(struct sessions *s, struct rm_slice id, uint64_t now_s, uint64_t *left_s);

/* False: there was none. */
bool session_end(struct sessions *s, struct rm_slice id);

/* Its key has gone: all its sessions end. */
void session_end_key(struct sessions *s, const char *key_id);

#endif
