/* SPDX-License-Identifier: MIT */
/* proto/trust/keyring_edit.h - what people do with keys: make one, revoke one, give it a successor.
 * `rolemesh keys` does it in a state directory, the gateway for /api/v1/keys; both hand
 * keyring_edit_do to keyring_change. Pure but for the system's randomness. */
#ifndef RM_TRUST_KEYRING_EDIT_H
#define RM_TRUST_KEYRING_EDIT_H

#include "proto/trust/keyring.h"

enum keyring_act { KEYRING_CREATE, KEYRING_REVOKE, KEYRING_ROTATE };

/* One edit and what came of it. Wipe it with keyring_edit_clear. */
struct keyring_edit {
    enum keyring_act act;
    struct api_key want;      /* CREATE: all but id, hash and created_s */
    char which[KEYRING_NAME]; /* the others: an id or a name */
    uint64_t now_s;           /* Unix time */
    uint64_t grace_s;         /* ROTATE: how long the old key stays good; 0: it ends now */
    /* set by keyring_edit_do */
    char text[API_KEY_TEXT + 1]; /* CREATE, ROTATE: the key itself */
    struct api_key done;         /* the new key, or the revoked one */
    const char *why;             /* of an error; static */
};

/* For keyring_change; arg: a struct keyring_edit. When the ring is full, keys that ended longest
 * ago make room. Returns 0, RM_ERR_FIELD (no name), RM_ERR_STATE (a key of that name
 * lives, an expiry that has passed), RM_ERR_NOT_FOUND (no such key), RM_ERR_OVERLOAD, UV_ENOMEM;
 * why says it. */
int keyring_edit_do(void *arg, struct keyring *k);
void keyring_edit_clear(struct keyring_edit *e);

/* NULL or what is wrong with a name for a new key; static. Names stand in logs, lists and metrics:
 * 1 to 63 letters, digits and . _ - + @ that look like no id and no key. */
const char *keyring_name_fault(const char *name);

/* A wish as JSON, what POST /api/v1/keys takes: name, roles, lanes, admin, expires_s,
 * requests_per_min, tokens_per_min, concurrency, tokens_per_day; nothing else. why: n bytes.
 * Returns 0 or RM_ERR_FIELD. */
struct json_t; /* jansson's */
RM_MUST_USE int keyring_wish_get(const struct json_t *o, struct api_key *out, char *why, size_t n);

/* live, expired or revoked; static. */
const char *api_key_state(const struct api_key *key, uint64_t now_s);

#endif
