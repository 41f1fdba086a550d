/* SPDX-License-Identifier: MIT */
/* proto/trust/keyring_file.h - the JSON of keys.json, and what keyring.c and keyring_file.c share.
 *
 *   {"version": 1, "keys": [{"id": "k_0123456789", "name": "laptop", "admin": false,
 *     "created_s": 1700000000, "expires_s": 0, "revoked_s": 0, "requests_per_min": 0,
 *     "concurrency": 0, "tokens_per_min": 0, "tokens_per_day": 0,
 *     "roles": ["code"], "lanes": ["interactive"], "hash": "64 hex digits"}]}
 *
 * Members that are not known are refused: a limit that an older build would not keep must not be
 * lost in silence. Pure. */
#ifndef RM_TRUST_KEYRING_FILE_H
#define RM_TRUST_KEYRING_FILE_H

#include "proto/trust/keyring.h"

/* Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. */
int keyring_encode(const struct keyring *k, struct rm_buf *out);

/* Adds the keys of the text to k, whose list must be empty, sorted. Returns 0, RM_ERR_CONF with why
 * (n bytes), UV_ENOMEM. */
RM_MUST_USE int keyring_decode(struct rm_slice json, struct keyring *k, char *why, size_t n);

/* Writes what may be shown of a key (all but the hash) as members of the object that is open. */
struct rm_jw;
void api_key_put(struct rm_jw *w, const struct api_key *key);

/* The order of struct keyring's list, for qsort and bsearch. */
int keyring_by_hash(const void *a, const void *b);

#endif
