/* SPDX-License-Identifier: MIT */
/* proto/trust/keyring.h - the API keys that a gateway knows, as a file and in memory.
 * Two files of mode 0600 in the gateway's state directory: keys.json, a list that people may read
 * (names, rights, limits, hashes), and keys.secret, the 32 bytes under which the hashes are made.
 * The gateway reads them at start, on reload and when it changes them itself; `rolemesh keys` may
 * change them while no gateway runs (the first admin key has to come from somewhere). A keyring is
 * a plain value: who changes one makes a copy, saves it, then swaps. Saving is atomic; two writers
 * are kept apart by a lock on keys.lock. Blocking (disk): small files, read and written on demand,
 * never per request. keyring_find is pure. */
#ifndef RM_TRUST_KEYRING_H
#define RM_TRUST_KEYRING_H

#include "proto/trust/api_key.h"

enum {
    KEYRING_MAX = 1000, /* keys */
    KEYRING_ROLES = 32, /* roles that one key may name */
    KEYRING_NAME = 64,  /* bytes with the NUL: of a key's name, of a role */
    KEYRING_ID = 13,    /* "k_", 10 hex digits, NUL */
    KEYRING_WHY_MAX = 512
};

/* What one key may do. 0 in a limit: none. */
struct api_key {
    char id[KEYRING_ID];     /* public: shown in lists, logs and metrics */
    char name[KEYRING_NAME]; /* by people, unique */
    unsigned char hash[API_KEY_HASH];
    bool admin;       /* may use the ops API, all of it */
    uint32_t n_roles; /* 0: every role */
    char roles[KEYRING_ROLES][KEYRING_NAME];
    unsigned lanes;                           /* bits 1 << enum map_lane; 0: every lane */
    uint64_t created_s, expires_s, revoked_s; /* Unix time; expires, revoked: 0: never, not */
    uint32_t requests_per_min, concurrency;
    uint64_t tokens_per_min, tokens_per_day;
};

struct keyring {
    unsigned char secret[API_KEY_SECRET];
    bool has_secret;
    struct api_key *keys; /* owned; sorted by hash, revoked ones too */
    size_t n;
};

void keyring_clear(struct keyring *k); /* wipes, frees, zeroes */

/* Reads dir's keyring; without files it is empty. why: KEYRING_WHY_MAX bytes, one line.
 * Returns 0, RM_ERR_CONF (damaged, or readable by others: the files stay as they are), a libuv
 * code. */
RM_MUST_USE int keyring_load(const char *dir, struct keyring *out, char *why);

/* Changes dir's keyring under its lock: reads it, calls change with it, writes it back when that
 * returned 0. Returns what change returned, or as keyring_load. */
RM_MUST_USE int keyring_change(const char *dir, int (*change)(void *arg, struct keyring *k),
                               void *arg, char *why);

/* Adds a key made from `want` (id, hash and created_s are filled in; the rest is taken). text gets
 * the key itself. Returns 0; RM_ERR_FIELD: the name is taken by a key that lives, or empty;
 * RM_ERR_OVERLOAD: KEYRING_MAX are there; UV_ENOMEM. */
RM_MUST_USE int keyring_add(struct keyring *k, const struct api_key *want, uint64_t now_s,
                            char text[API_KEY_TEXT + 1]);

/* By id or name of one that lives; NULL: there is none. */
struct api_key *keyring_named(struct keyring *k, const char *id_or_name);

/* The key that was sent. Time does not depend on which keys are stored: the text is hashed, and the
 * hash looked up (its bits tell nobody anything without the secret).
 * Returns 0; RM_ERR_AUTH with *why (static text): not a key, mistyped, unknown, revoked or expired.
 */
RM_MUST_USE int keyring_find(const struct keyring *k, struct rm_slice text, uint64_t now_s,
                             const struct api_key **out, const char **why);

/* May the key use this role, in this lane (enum map_lane)? */
bool api_key_allows(const struct api_key *key, const char *role, int lane);

#endif
