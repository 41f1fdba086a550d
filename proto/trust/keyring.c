/* SPDX-License-Identifier: MIT */
#include "proto/trust/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/file.h"
#include "proto/trust/keyring_file.h"

enum { LIST_MAX = 4 * 1024 * 1024 };

void keyring_clear(struct keyring *k)
{
    free(k->keys);
    sodium_memzero(k, sizeof *k);
}

/* ---- files ---- */

static int why_of(char *why, const char *path, int err, const char *text)
{
    snprintf(why, KEYRING_WHY_MAX, "%.400s: %s", path, text != NULL ? text : rm_strerror(err));
    return err;
}

static int path_in(const char *dir, const char *name, char out[PATH_MAX], char *why)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return 0;
    return why_of(why, dir, UV_ENAMETOOLONG, NULL);
}

/* Others must not read it: the secret makes guesses possible, the list tells names. */
static int check_mode(const char *path, char *why)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : why_of(why, path, uv_translate_sys_error(errno), NULL);
    if ((st.st_mode & 077) != 0)
        return why_of(why, path, RM_ERR_CONF,
                      "readable by others than its owner; say chmod 600, and make new keys if "
                      "anybody may have read it");
    return 0;
}

static int load_secret(const char *dir, struct keyring *out, char *why)
{
    char path[PATH_MAX];
    struct rm_buf b;
    int r;

    if ((r = path_in(dir, "keys.secret", path, why)) < 0 || (r = check_mode(path, why)) < 0)
        return r;
    rm_buf_init(&b, API_KEY_SECRET + 1);
    r = rm_file_read(path, &b);
    if (r == 0 && b.len == API_KEY_SECRET) {
        memcpy(out->secret, b.data, API_KEY_SECRET);
        out->has_secret = true;
    } else if (r == 0 || r == RM_ERR_TOO_BIG) {
        r = why_of(why, path, RM_ERR_CONF, "damaged: it must have 32 bytes");
    } else if (r == UV_ENOENT) {
        r = 0;
    } else {
        why_of(why, path, r, NULL);
    }
    if (b.data != NULL)
        sodium_memzero(b.data, b.len);
    rm_buf_clear(&b);
    return r;
}

static int load_list(const char *dir, struct keyring *out, char *why)
{
    char path[PATH_MAX], what[256];
    struct rm_buf b;
    int r;

    if ((r = path_in(dir, "keys.json", path, why)) < 0 || (r = check_mode(path, why)) < 0)
        return r;
    rm_buf_init(&b, LIST_MAX);
    r = rm_file_read(path, &b);
    if (r == UV_ENOENT)
        r = 0;
    else if (r < 0)
        why_of(why, path, r, NULL);
    else if ((r = keyring_decode((struct rm_slice){b.data, b.len}, out, what, sizeof what)) < 0)
        why_of(why, path, r, r == RM_ERR_CONF ? what : NULL);
    rm_buf_clear(&b);
    return r;
}

int keyring_load(const char *dir, struct keyring *out, char *why)
{
    char path[PATH_MAX];
    int r;

    *out = (struct keyring){0};
    if ((r = load_secret(dir, out, why)) == 0 && (r = load_list(dir, out, why)) == 0 &&
        out->n > 0 && !out->has_secret && (r = path_in(dir, "keys.secret", path, why)) == 0)
        r = why_of(why, path, RM_ERR_CONF,
                   "missing: without it no key of keys.json can be checked");
    if (r < 0)
        keyring_clear(out);
    return r;
}

static int save(const char *dir, struct keyring *k, char *why)
{
    char path[PATH_MAX];
    struct rm_buf b;
    int r;

    rm_buf_init(&b, LIST_MAX);
    if ((r = keyring_encode(k, &b)) < 0)
        why_of(why, dir, r, NULL);
    else if ((r = path_in(dir, "keys.secret", path, why)) == 0 &&
             (r = rm_file_replace(path, (struct rm_slice){(const char *)k->secret, API_KEY_SECRET},
                                  0600)) < 0)
        why_of(why, path, r, NULL);
    else if (r == 0 && (r = path_in(dir, "keys.json", path, why)) == 0 &&
             (r = rm_file_replace(path, (struct rm_slice){b.data, b.len}, 0600)) < 0)
        why_of(why, path, r, NULL);
    rm_buf_clear(&b);
    return r;
}

int keyring_change(const char *dir, int (*change)(void *arg, struct keyring *k), void *arg,
                   char *why)
{
    struct keyring k = {0};
    char path[PATH_MAX];
    int fd, r;

    why[0] = '\0';
    if ((r = path_in(dir, "keys.lock", path, why)) < 0)
        return r;
    if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return why_of(why, path, uv_translate_sys_error(errno), NULL);
    while ((r = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
        ;
    if (r < 0)
        r = why_of(why, path, uv_translate_sys_error(errno), NULL);
    else if ((r = keyring_load(dir, &k, why)) == 0 && (r = change(arg, &k)) == 0)
        r = save(dir, &k, why);
    keyring_clear(&k);
    close(fd); /* ends the lock */
    return r;
}

/* ---- keys ---- */

int keyring_by_hash(const void *a, const void *b)
{
    return memcmp(((const struct api_key *)a)->hash, ((const struct api_key *)b)->hash,
                  API_KEY_HASH);
}

static bool key_lives(const struct api_key *k, uint64_t now_s)
{
    return k->revoked_s == 0 && (k->expires_s == 0 || now_s < k->expires_s);
}

struct api_key *keyring_named(struct keyring *k, const char *id_or_name)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->keys[i].revoked_s == 0 &&
            (strcmp(k->keys[i].id, id_or_name) == 0 || strcmp(k->keys[i].name, id_or_name) == 0))
            return &k->keys[i];
    return NULL;
}

static void id_make(struct keyring *k, char out[KEYRING_ID])
{
    unsigned char b[5];

    do {
        randombytes_buf(b, sizeof b);
        snprintf(out, KEYRING_ID, "k_%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4]);
    } while (keyring_named(k, out) != NULL);
}

int keyring_add(struct keyring *k, const struct api_key *want, uint64_t now_s,
                char text[API_KEY_TEXT + 1])
{
    struct api_key *keys, *new_key;
    int r;

    if (want->name[0] == '\0' || keyring_named(k, want->name) != NULL)
        return RM_ERR_FIELD;
    if (k->n == KEYRING_MAX)
        return RM_ERR_OVERLOAD;
    if ((keys = realloc(k->keys, (k->n + 1) * sizeof *keys)) == NULL)
        return UV_ENOMEM;
    k->keys = keys;
    if (!k->has_secret)
        randombytes_buf(k->secret, sizeof k->secret);
    k->has_secret = true;
    new_key = &keys[k->n];
    *new_key = *want;
    new_key->created_s = now_s;
    new_key->revoked_s = 0;
    id_make(k, new_key->id);
    api_key_make(text);
    r = api_key_hash((struct rm_slice){text, API_KEY_TEXT}, k->secret, new_key->hash);
    if (r < 0)
        return r;
    k->n++;
    qsort(k->keys, k->n, sizeof *k->keys, keyring_by_hash);
    return 0;
}

int keyring_find(const struct keyring *k, struct rm_slice text, uint64_t now_s,
                 const struct api_key **out, const char **why)
{
    struct api_key probe;
    const struct api_key *found;

    *out = NULL;
    if (text.n == 0)
        *why = "an API key is needed";
    else if (api_key_hash(text, k->secret, probe.hash) < 0)
        *why = api_key_is_ours(text) ? "the API key is mistyped or cut short"
                                     : "that is not an API key of this gateway";
    else if (k->n == 0 ||
             (found = bsearch(&probe, k->keys, k->n, sizeof *k->keys, keyring_by_hash)) == NULL)
        *why = "the API key is not known";
    else if (!key_lives(found, now_s))
        *why = found->revoked_s != 0 ? "the API key was revoked" : "the API key has expired";
    else
        *out = found;
    return *out != NULL ? 0 : RM_ERR_AUTH;
}

bool api_key_allows(const struct api_key *key, const char *role, int lane)
{
    if (key->lanes != 0 && (key->lanes & 1u << lane) == 0)
        return false;
    for (uint32_t i = 0; i < key->n_roles; i++)
        if (strcmp(key->roles[i], role) == 0)
            return true;
    return key->n_roles == 0;
}
