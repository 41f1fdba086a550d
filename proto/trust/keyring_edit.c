/* SPDX-License-Identifier: MIT */
#include "proto/trust/keyring_edit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

const char *keyring_name_fault(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n >= KEYRING_NAME)
        return "a key's name has 1 to 63 characters";
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@") != n)
        return "a key's name has letters, digits and . _ - + @ only";
    if (name[0] == '-' || strncmp(name, "k_", 2) == 0 || strncmp(name, "rm-", 3) == 0)
        return "a key's name does not begin with '-', 'k_' or 'rm-'";
    return NULL;
}

const char *api_key_state(const struct api_key *key, uint64_t now_s)
{
    if (key->revoked_s != 0)
        return "revoked";
    return key->expires_s != 0 && now_s >= key->expires_s ? "expired" : "live";
}

/* When it ended; 0: it has not. */
static uint64_t ended_s(const struct api_key *key, uint64_t now_s)
{
    if (key->revoked_s != 0)
        return key->revoked_s;
    return key->expires_s != 0 && now_s >= key->expires_s ? key->expires_s : 0;
}

/* Forgets the key that ended first, when there is no room for one more. */
static void make_room(struct keyring *k, uint64_t now_s)
{
    size_t first = k->n;
    uint64_t least = UINT64_MAX;

    if (k->n < KEYRING_MAX)
        return;
    for (size_t i = 0; i < k->n; i++) {
        uint64_t at = ended_s(&k->keys[i], now_s);

        if (at != 0 && at < least) {
            least = at;
            first = i;
        }
    }
    if (first == k->n)
        return;
    memmove(&k->keys[first], &k->keys[first + 1], (k->n - first - 1) * sizeof k->keys[0]);
    k->n--;
}

static int wrong(struct keyring_edit *e, int err, const char *why)
{
    e->why = why;
    return err;
}

/* Adds e->want and finds it again: adding sorts. */
static int add(struct keyring_edit *e, struct keyring *k)
{
    const struct api_key *made;
    const char *why;
    int r;

    make_room(k, e->now_s);
    r = keyring_add(k, &e->want, e->now_s, e->text);
    if (r == RM_ERR_FIELD)
        return wrong(e, RM_ERR_STATE,
                     "a key of that name lives; revoke or rotate it, or choose another name");
    if (r < 0)
        return wrong(e, r, r == RM_ERR_OVERLOAD ? "there are 1000 keys that live" : rm_strerror(r));
    r = keyring_find(k, (struct rm_slice){e->text, API_KEY_TEXT}, e->now_s, &made, &why);
    if (r < 0)
        return wrong(e, RM_ERR_INTERNAL, why);
    e->done = *made;
    return 0;
}

static int create(struct keyring_edit *e, struct keyring *k)
{
    const char *fault = keyring_name_fault(e->want.name);

    if (fault != NULL)
        return wrong(e, RM_ERR_FIELD, fault);
    if (e->want.expires_s != 0 && e->want.expires_s <= e->now_s)
        return wrong(e, RM_ERR_STATE, "the key would have expired already");
    return add(e, k);
}

static int revoke(struct keyring_edit *e, struct api_key *key)
{
    key->revoked_s = e->now_s;
    e->done = *key;
    return 0;
}

/* The new key takes name and rights over. The old one ends, or goes on for a while under a name
 * that says what it is. */
static int rotate(struct keyring_edit *e, struct keyring *k, struct api_key *old)
{
    uint64_t ends = e->now_s + e->grace_s;

    if (old->expires_s != 0 && old->expires_s <= e->now_s)
        return wrong(e, RM_ERR_STATE, "the key has expired; make a new one");
    e->want = *old;
    if (e->grace_s == 0) {
        old->revoked_s = e->now_s;
    } else {
        if (old->expires_s == 0 || old->expires_s > ends)
            old->expires_s = ends;
        snprintf(old->name, sizeof old->name, "%.45s.old-%.12s", e->want.name, old->id);
    }
    return add(e, k);
}

int keyring_edit_do(void *arg, struct keyring *k)
{
    struct keyring_edit *e = arg;
    struct api_key *key;

    e->why = NULL;
    if (e->act == KEYRING_CREATE)
        return create(e, k);
    if ((key = keyring_named(k, e->which)) == NULL)
        return wrong(e, RM_ERR_NOT_FOUND, "no key that lives has that id or name");
    return e->act == KEYRING_REVOKE ? revoke(e, key) : rotate(e, k, key);
}

void keyring_edit_clear(struct keyring_edit *e)
{
    sodium_memzero(e, sizeof *e);
}
