/* SPDX-License-Identifier: MIT */
/* gateway/ops/trust.h - who may make the gateway do something, while there are no keys.
 * Only somebody on this machine, and no web page that his browser shows: the peer must be a
 * loopback address or a Unix socket, Host must name the loopback (a name that an attacker's DNS
 * points here is another one), and what only browsers and proxies send must be absent. Asking
 * without an effect is not judged here. Pure. */
#ifndef RM_OPS_TRUST_H
#define RM_OPS_TRUST_H

#include "proto/http/message.h"

/* What a route takes: nobody's key, a key, an admin's key. */
enum ops_policy { OPS_OPEN, OPS_USER, OPS_ADMIN };

/* May this request have that route? NULL: yes; else why not, for people. As long as there are no
 * keys everybody may read (GET, HEAD), and ops_trust_fault judges who acts. */
const char *ops_allowed(enum ops_policy policy, const char *peer, const struct http_head *head);

/* NULL: may act; else why not, for people. peer: as http_req_peer says it. */
const char *ops_trust_fault(const char *peer, const struct http_head *head);

/* Is the media type this one, whatever parameters follow? Case ignored. */
bool ops_has_type(const struct http_head *head, const char *type);

#endif
