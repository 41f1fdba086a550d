/* SPDX-License-Identifier: MIT */
#include "gateway/keys/session.h"

#include <sodium.h>
#include <stdlib.h>
#include <uv.h>

enum { HASH = 32 };

struct session {
    unsigned char hash[HASH]; /* of the id */
    char key_id[KEYRING_ID];
    uint64_t ends_s;
};

struct sessions {
    struct session list[SESSION_MAX]; /* oldest first */
    size_t n;
};

int sessions_new(struct sessions **out)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? 0 : UV_ENOMEM;
}

void sessions_free(struct sessions *s)
{
    if (s != NULL)
        sodium_memzero(s, sizeof *s);
    free(s);
}

size_t sessions_count(const struct sessions *s)
{
    return s->n;
}

/* ---- the cookie ---- */

static bool is_id(struct rm_slice v)
{
    if (v.n != SESSION_ID)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-' || c == '_'))
            return false;
    }
    return true;
}

/* The cookie in one field's value; found tells "none of that name" from "an empty one". */
static struct rm_slice cookie_of(struct rm_slice field, bool *found)
{
    static const char name[] = SESSION_COOKIE "=";

    while (field.n > 0 && !*found) {
        const char *semicolon = memchr(field.p, ';', field.n);
        size_t n = semicolon != NULL ? (size_t)(semicolon - field.p) : field.n;
        struct rm_slice pair = rm_slice_trim((struct rm_slice){field.p, n});

        n += semicolon != NULL;
        field = (struct rm_slice){field.p + n, field.n - n};
        if (pair.n < sizeof name - 1 || memcmp(pair.p, name, sizeof name - 1) != 0)
            continue;
        *found = true;
        return (struct rm_slice){pair.p + sizeof name - 1, pair.n - (sizeof name - 1)};
    }
    return (struct rm_slice){"", 0};
}

struct rm_slice session_sent(const struct http_head *head)
{
    bool found = false;

    for (uint32_t i = 0; i < head->n_fields && !found; i++) {
        struct rm_slice id;

        if (!rm_slice_ieq(head->fields[i].name, "cookie"))
            continue;
        id = cookie_of(head->fields[i].value, &found);
        if (found && is_id(id))
            return id;
    }
    return (struct rm_slice){"", 0};
}

/* ---- the table ---- */

static void hash_of(struct rm_slice id, unsigned char out[HASH])
{
    (void)crypto_generichash(out, HASH, (const unsigned char *)id.p, id.n, NULL, 0);
}

static void drop(struct sessions *s, size_t i)
{
    memmove(&s->list[i], &s->list[i + 1], (s->n - i - 1) * sizeof s->list[0]);
    s->n--;
    sodium_memzero(&s->list[s->n], sizeof s->list[0]);
}

static void drop_over(struct sessions *s, uint64_t now_s)
{
    for (size_t i = s->n; i-- > 0;)
        if (s->list[i].ends_s <= now_s)
            drop(s, i);
}

/* Room for one more of this key. */
static void make_room(struct sessions *s, const char *key_id)
{
    size_t of_key = 0, oldest = 0;

    for (size_t i = s->n; i-- > 0;)
        if (strcmp(s->list[i].key_id, key_id) == 0) {
            of_key++;
            oldest = i;
        }
    if (of_key >= SESSION_PER_KEY_MAX)
        drop(s, oldest);
    else if (s->n == SESSION_MAX)
        drop(s, 0);
}

void session_begin(struct sessions *s, const char *key_id,
                   const unsigned char random[SESSION_RANDOM], uint64_t now_s,
                   char id[SESSION_ID + 1])
{
    struct session *new;

    sodium_bin2base64(id, SESSION_ID + 1, random, SESSION_RANDOM,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    drop_over(s, now_s);
    make_room(s, key_id);
    new = &s->list[s->n++];
    *new = (struct session){.ends_s = now_s + SESSION_S};
    rm_text_copy(new->key_id, sizeof new->key_id, key_id);
    hash_of((struct rm_slice){id, SESSION_ID}, new->hash);
}

/* SESSION_MAX: not found. Every hash is looked at, whatever the first bytes are. */
static size_t find(const struct sessions *s, struct rm_slice id)
{
    unsigned char hash[HASH];
    size_t found = SESSION_MAX;

    if (!is_id(id))
        return SESSION_MAX;
    hash_of(id, hash);
    for (size_t i = 0; i < s->n; i++)
        if (sodium_memcmp(s->list[i].hash, hash, HASH) == 0)
            found = i;
    return found;
}

const char *session_key(struct sessions *s, struct rm_slice id, uint64_t now_s, uint64_t *left_s)
{
    size_t i = find(s, id);

    *left_s = 0;
    if (i == SESSION_MAX)
        return NULL;
    if (s->list[i].ends_s <= now_s) {
        drop(s, i);
        return NULL;
    }
    *left_s = s->list[i].ends_s - now_s;
    return s->list[i].key_id;
}

bool session_end(struct sessions *s, struct rm_slice id)
{
    size_t i = find(s, id);

    if (i == SESSION_MAX)
        return false;
    drop(s, i);
    return true;
}

void session_end_key(struct sessions *s, const char *key_id)
{
    char gone[KEYRING_ID]; /* key_id may be in the list */

    rm_text_copy(gone, sizeof gone, key_id);
    for (size_t i = s->n; i-- > 0;)
        if (strcmp(s->list[i].key_id, gone) == 0)
            drop(s, i);
}
