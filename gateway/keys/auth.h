/* SPDX-License-Identifier: MIT */
/* gateway/keys/auth.h - whose request it is, and what that key may do: the decisions.
 *
 *   Authorization: Bearer, x-api-key, api-key, /k/KEY/...  ->  auth_sent  ->  auth_identify
 *                                                          ->  auth_role per role
 *
 * As long as no key exists, whoever reaches the gateway may use it, where its addresses allow that;
 * as soon as one does, every request needs one. A key that has expired still counts as one, so that
 * no gateway opens by the clock alone; revoking the last one opens it again. Pure: time is an
 * argument. Any thread. */
#ifndef RM_KEYS_AUTH_H
#define RM_KEYS_AUTH_H

#include "proto/conf/role_map.h"
#include "proto/http/message.h"
#include "proto/trust/keyring.h"

/* The key that a request carries: of the fields above, in that order, the first that looks like one
 * of ours; else the first that says anything (many clients fill in "dummy" or "undefined" when they
 * have none); "" without any. path_key: of the path form, or "". A slice of what was given. */
struct rm_slice auth_sent(const struct http_head *head, struct rm_slice path_key);

/* Is this field one that carries a key? */
bool auth_is_credential(struct rm_slice name);

/* Does a key exist that was not revoked? */
bool auth_keys_exist(const struct keyring *ring);

/* Who sent `sent`? needs_key: as auth_keys_exist, or because the gateway may not be open.
 * Returns 0 with *out (NULL: anybody, when no key is needed), or RM_ERR_AUTH with *why: static. */
RM_MUST_USE int auth_identify(const struct keyring *ring, bool needs_key, struct rm_slice sent,
                              uint64_t now_s, const struct api_key **out, const char **why);

/* May the key (NULL: anybody) use the role? NULL: yes; else why not, to be followed by the role's
 * name; static. */
const char *auth_role_fault(const struct api_key *key, const struct map_role *role);

#endif
