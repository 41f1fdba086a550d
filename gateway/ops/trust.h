/* SPDX-License-Identifier: MIT */
/* gateway/ops/trust.h - who may read of the gateway and make it do something.
 * While there are no keys, only somebody on this machine, and no web page that his browser shows:
 * the peer must be a loopback address or a Unix socket, Host must name the loopback (a name that an
 * attacker's DNS points here is another one), and what only browsers and proxies send must be
 * absent. A session's cookie is sent by the browser whoever made the request, so who acts by one
 * has to show that it was our own page: a header field that another origin's page cannot send
 * without our leave (which is never given), and an Origin that is ours. Asking without an effect is
 * not judged here. Pure. */
#ifndef RM_OPS_TRUST_H
#define RM_OPS_TRUST_H

#include "proto/http/message.h"
#include "proto/trust/keyring.h"

/* What a route takes: nobody's key, a key, an admin's key, or a key from elsewhere only. */
enum ops_policy { OPS_OPEN, OPS_USER, OPS_ADMIN, OPS_SCRAPE };

/* Who asks, as gateway/keys found it. */
struct ops_who {
    bool keys_exist;
    int err;                   /* RM_ERR_AUTH: a key is needed, and none that is good was sent */
    const char *why;           /* of err; static */
    const struct api_key *key; /* NULL: none was needed, or err */
    bool by_cookie;            /* a session stands for the key */
};

/* May this request have that route? Returns 0, RM_ERR_AUTH, RM_ERR_FORBIDDEN or RM_ERR_MISDIRECTED
 * with *why, for people. As long as there are no keys everybody may read, but a peer on this
 * machine not under a name (a browser's may have been rebound), and ops_trust_fault judges who
 * acts. As soon as there are, a reader needs one, and who acts an admin's; OPS_SCRAPE needs none
 * from a peer that ops_trust_fault lets through. Who came by a cookie and does more than read is
 * held to ops_cookie_fault. */
int ops_allowed(enum ops_policy policy, const char *peer, const struct http_head *head,
                const struct ops_who *who, const char **why);

/* NULL: the request may come from our own page, or from no page at all: Origin, if it is there, is
 * Host, and Sec-Fetch-Site says the same; else what is wrong, for people. */
const char *ops_origin_fault(const struct http_head *head);

/* NULL: may act by a session's cookie: X-Rolemesh-Action is 1, and as ops_origin_fault. */
const char *ops_cookie_fault(const struct http_head *head);

/* NULL: may act; else why not, for people. peer: as http_req_peer says it. */
const char *ops_trust_fault(const char *peer, const struct http_head *head);

/* Is the media type this one, whatever parameters follow? Case ignored. */
bool ops_has_type(const struct http_head *head, const char *type);

#endif
