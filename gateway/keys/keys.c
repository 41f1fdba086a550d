/* SPDX-License-Identifier: MIT */
#include "gateway/keys/keys.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"
#include "proto/http/server.h"
#include "proto/trust/keyring_file.h"

enum { LOOK_MS = 1000, PATH_BYTES = 1100 };

struct keys_ring {
    uint32_t refs;
    bool exist; /* a key that was not revoked */
    struct keyring ring;
};

struct keys {
    uv_loop_t *loop;
    char *dir;
    struct keys_ring *ring;
    struct quota *quota;
    struct sessions *sessions;
    uv_fs_poll_t poll;
    bool may_be_open, polling, closing, loading, again;
    uint32_t jobs; /* in the thread pool */
    void (*on_change)(void *arg, bool exist);
    void *arg;
};

/* ---- rings ---- */

static void ring_unref(struct keys_ring *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    keyring_clear(&r->ring);
    free(r);
}

/* Takes what the ring holds. Returns NULL without memory; then the ring is as it was. */
static struct keys_ring *ring_made(struct keyring *from)
{
    struct keys_ring *r = malloc(sizeof *r);

    if (r == NULL)
        return NULL;
    *r = (struct keys_ring){.refs = 1, .exist = auth_keys_exist(from), .ring = *from};
    *from = (struct keyring){0};
    return r;
}

static bool same_rings(const struct keyring *a, const struct keyring *b)
{
    return a->n == b->n && a->has_secret == b->has_secret &&
           sodium_memcmp(a->secret, b->secret, sizeof a->secret) == 0 &&
           (a->n == 0 || memcmp(a->keys, b->keys, a->n * sizeof a->keys[0]) == 0);
}

static struct quota_time keys_now(const struct keys *k)
{
    return (struct quota_time){uv_now(k->loop), (uint64_t)rm_wall_s()};
}

/* Takes the new ring over; false: no memory. */
static bool keys_take(struct keys *k, struct keyring *from, const char *by)
{
    struct keys_ring *old = k->ring, *made;

    if (same_rings(&old->ring, from))
        return true;
    if ((made = ring_made(from)) == NULL)
        return false;
    k->ring = made;
    quota_keep(k->quota, &made->ring);
    rm_info("keys", "keys are taken over", RM_S("by", by), RM_U("keys", made->ring.n));
    if (made->exist != old->exist && k->on_change != NULL)
        k->on_change(k->arg, made->exist);
    ring_unref(old);
    return true;
}

/* ---- life ---- */

int keys_open(uv_loop_t *loop, const char *dir, struct keys **out, char *why)
{
    struct keys *k = calloc(1, sizeof *k);
    struct keyring ring = {0};
    int r = sodium_init() < 0 ? RM_ERR_INTERNAL : 0;

    *out = NULL;
    why[0] = '\0';
    if (k == NULL)
        return UV_ENOMEM;
    k->loop = loop;
    k->dir = rm_slice_dup(rm_slice_of(dir));
    if (r == 0 && (k->dir == NULL || quota_new(&k->quota) < 0 || sessions_new(&k->sessions) < 0))
        r = UV_ENOMEM;
    if (r == 0 && dir[0] != '\0')
        r = keyring_load(dir, &ring, why);
    if (r == 0 && (k->ring = ring_made(&ring)) == NULL)
        r = UV_ENOMEM;
    if (r == 0 && (r = uv_fs_poll_init(loop, &k->poll)) == 0) {
        k->poll.data = k;
        *out = k;
        return 0;
    }
    if (why[0] == '\0')
        snprintf(why, KEYRING_WHY_MAX, "%s", rm_strerror(r));
    keyring_clear(&ring);
    ring_unref(k->ring);
    sessions_free(k->sessions);
    quota_free(k->quota);
    free(k->dir);
    free(k);
    return r;
}

static void keys_free(struct keys *k)
{
    ring_unref(k->ring);
    sessions_free(k->sessions);
    quota_free(k->quota);
    free(k->dir);
    free(k);
}

static void keys_on_closed(uv_handle_t *h)
{
    struct keys *k = h->data;

    if (k->jobs == 0)
        keys_free(k);
    else
        k->polling = false; /* the last job frees */
}

void keys_close(struct keys *k)
{
    if (k == NULL || k->closing)
        return;
    k->closing = k->polling = true;
    uv_close((uv_handle_t *)&k->poll, keys_on_closed);
}

void keys_may_be_open(struct keys *k, bool may)
{
    k->may_be_open = may;
}

bool keys_exist(const struct keys *k)
{
    return k->ring->exist;
}

/* ---- the thread pool ---- */

struct job {
    uv_work_t work;
    struct keys *keys;
    const char *dir;
    struct keyring ring; /* what was read afterwards */
    struct keyring_edit edit;
    bool edits;
    int err;
    char why[KEYRING_WHY_MAX];
    void (*on_done)(void *arg, int err, const char *why, const struct keyring_edit *edit);
    void *arg;
};

static void job_run(uv_work_t *w)
{
    struct job *j = w->data;

    if (j->edits && (j->err = keyring_change(j->dir, keyring_edit_do, &j->edit, j->why)) < 0)
        return;
    j->err = keyring_load(j->dir, &j->ring, j->why);
}

static void job_free(struct job *j)
{
    keyring_clear(&j->ring);
    keyring_edit_clear(&j->edit);
    free(j);
}

static void keys_load_soon(struct keys *k);

static void job_on_after(uv_work_t *w, int status)
{
    struct job *j = w->data;
    struct keys *k = j->keys;

    k->jobs--;
    if (status < 0)
        j->err = status;
    if (j->err == 0 && !k->closing && !keys_take(k, &j->ring, j->edits ? "API" : "file"))
        j->err = UV_ENOMEM;
    if (j->err < 0 && !j->edits)
        rm_error("keys", "the keys could not be read: those before stay", RM_E("error", j->err),
                 RM_S("why", j->why));
    if (j->edits)
        j->on_done(j->arg, j->err,
                   j->edit.why != NULL ? j->edit.why
                   : j->why[0] != '\0' ? j->why
                                       : NULL,
                   &j->edit);
    else
        k->loading = false;
    if (k->closing && k->jobs == 0 && !k->polling)
        keys_free(k);
    else if (!k->closing && !k->loading && k->again)
        keys_load_soon(k);
    job_free(j);
}

static struct job *job_new(struct keys *k)
{
    struct job *j = calloc(1, sizeof *j);

    if (j == NULL)
        return NULL;
    j->keys = k;
    j->dir = k->dir;
    j->work.data = j;
    return j;
}

static void keys_load_soon(struct keys *k)
{
    struct job *j;

    if (k->closing || k->dir[0] == '\0')
        return;
    k->again = k->loading;
    if (k->loading || (j = job_new(k)) == NULL)
        return;
    if (uv_queue_work(k->loop, &j->work, job_run, job_on_after) < 0) {
        job_free(j);
        return;
    }
    k->loading = true;
    k->jobs++;
}

void keys_reload(struct keys *k)
{
    keys_load_soon(k);
}

static void keys_on_poll(uv_fs_poll_t *poll, int status, const uv_stat_t *was, const uv_stat_t *is)
{
    (void)status;
    (void)was;
    (void)is;
    keys_load_soon(poll->data);
}

void keys_watch(struct keys *k, void (*on_change)(void *arg, bool exist), void *arg)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/keys.json", k->dir);

    k->on_change = on_change;
    k->arg = arg;
    if (k->dir[0] != '\0' && n < (int)sizeof path)
        (void)uv_fs_poll_start(&k->poll, keys_on_poll, path, LOOK_MS); /* else SIGHUP is left */
    keys_load_soon(k); /* what was changed since the start */
}

int keys_edit(struct keys *k, const struct keyring_edit *edit,
              void (*on_done)(void *arg, int err, const char *why, const struct keyring_edit *edit),
              void *arg)
{
    struct job *j;
    int r;

    if (k->dir[0] == '\0')
        return RM_ERR_NOT_FOUND;
    if (k->closing || k->jobs >= KEYS_JOBS_MAX)
        return RM_ERR_OVERLOAD;
    if ((j = job_new(k)) == NULL)
        return UV_ENOMEM;
    j->edits = true;
    j->edit = *edit;
    j->on_done = on_done;
    j->arg = arg;
    if ((r = uv_queue_work(k->loop, &j->work, job_run, job_on_after)) < 0) {
        job_free(j);
        return r;
    }
    k->jobs++;
    return 0;
}

/* ---- requests ---- */

int keys_enter(struct keys *k, const struct http_head *head, struct rm_slice path_key,
               struct keys_pass *out, const char **why)
{
    struct rm_slice sent;
    bool needs;
    int r;

    *out = (struct keys_pass){0};
    *why = NULL;
    if (k == NULL)
        return 0;
    needs = k->ring->exist || !k->may_be_open;
    if (!needs)
        return 0;
    sent = auth_sent(head, path_key);
    r = auth_identify(&k->ring->ring, needs, sent, (uint64_t)rm_wall_s(), &out->key, why);
    if (r < 0) {
        if (!k->ring->exist)
            *why = "no API key exists yet: make one with 'rolemesh keys create'";
        return r;
    }
    out->ring = k->ring;
    out->ring->refs++;
    return 0;
}

/* The key of this id, if it may still be used; NULL: not. */
static const struct api_key *living_key(const struct keyring *ring, const char *id)
{
    uint64_t now_s = (uint64_t)rm_wall_s();

    for (size_t i = 0; i < ring->n; i++) {
        const struct api_key *key = &ring->keys[i];

        if (strcmp(key->id, id) == 0)
            return key->revoked_s == 0 && (key->expires_s == 0 || now_s < key->expires_s) ? key
                                                                                          : NULL;
    }
    return NULL;
}

static void pass_set(struct keys *k, struct keys_pass *pass, const struct api_key *key)
{
    pass->key = key;
    pass->ring = k->ring;
    pass->ring->refs++;
}

/* A session lasts no longer than its key. */
static uint64_t session_left(const struct api_key *key, uint64_t left_s)
{
    uint64_t now_s = (uint64_t)rm_wall_s();

    if (key->expires_s == 0)
        return left_s;
    return key->expires_s - now_s < left_s ? key->expires_s - now_s : left_s;
}

int keys_enter_ops(struct keys *k, const struct http_head *head, struct keys_pass *out,
                   const char **why)
{
    const struct api_key *key;
    struct rm_slice id = session_sent(head);
    uint64_t left_s;
    const char *key_id;
    int r = keys_enter(k, head, RM_LIT(""), out, why);

    if (r == 0 || id.n == 0 || auth_sent(head, RM_LIT("")).n > 0)
        return r;
    *why = "the session is over: sign in again";
    if ((key_id = session_key(k->sessions, id, rm_now_ms() / 1000, &left_s)) == NULL)
        return r;
    if ((key = living_key(&k->ring->ring, key_id)) == NULL) {
        *why = "the session has ended: its API key was revoked or has expired";
        session_end_key(k->sessions, key_id);
        return r;
    }
    *why = NULL;
    pass_set(k, out, key);
    out->by_cookie = true;
    out->session_left_s = session_left(key, left_s);
    return 0;
}

int keys_begin_session(struct keys *k, struct rm_slice text, struct rm_slice old,
                       char id[SESSION_ID + 1], struct keys_pass *out, const char **why)
{
    unsigned char random[SESSION_RANDOM];
    const struct api_key *key;
    int r = keyring_find(&k->ring->ring, text, (uint64_t)rm_wall_s(), &key, why);

    *out = (struct keys_pass){0};
    if (r < 0) {
        if (!k->ring->exist)
            *why = "no API key exists yet: make one with 'rolemesh keys create'";
        return r;
    }
    (void)session_end(k->sessions, old);
    randombytes_buf(random, sizeof random);
    session_begin(k->sessions, key->id, random, rm_now_ms() / 1000, id);
    sodium_memzero(random, sizeof random);
    pass_set(k, out, key);
    out->by_cookie = true;
    out->session_left_s = session_left(key, SESSION_S);
    rm_info("keys", "a session begins", RM_S("key", key->id));
    return 0;
}

void keys_end_session(struct keys *k, struct rm_slice id)
{
    if (session_end(k->sessions, id))
        rm_info("keys", "a session was ended");
}

void keys_wipe(struct http_req *q, struct rm_slice path_key)
{
    const struct http_head *head = http_req_head(q);

    for (uint32_t i = 0; i < head->n_fields; i++)
        if (auth_is_credential(head->fields[i].name))
            http_req_wipe(q, head->fields[i].value);
    http_req_wipe(q, session_sent(head));
    http_req_wipe(q, path_key);
}

int keys_begin(struct keys *k, struct keys_pass *pass, enum quota_limit *limit,
               uint32_t *retry_after_s)
{
    int r;

    if (pass->key == NULL)
        return 0;
    r = quota_begin(k->quota, pass->key, keys_now(k), limit, retry_after_s);
    pass->counted = r == 0;
    return r;
}

/* The key as it is now; as it was, when it has gone. */
static const struct api_key *key_now(const struct keys *k, const struct keys_pass *pass)
{
    const struct keyring *ring = &k->ring->ring;

    if (pass->ring == k->ring)
        return pass->key;
    for (size_t i = 0; i < ring->n; i++)
        if (strcmp(ring->keys[i].id, pass->key->id) == 0)
            return &ring->keys[i];
    return pass->key;
}

void keys_leave(struct keys *k, struct keys_pass *pass, uint64_t tokens)
{
    if (pass->counted)
        quota_end(k->quota, key_now(k, pass), keys_now(k), tokens);
    ring_unref(pass->ring);
    *pass = (struct keys_pass){0};
}

static uint64_t number_of(const json_t *o, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(o, name));

    return n > 0 ? (uint64_t)n : 0;
}

void keys_restore(struct keys *k, struct rm_slice usage)
{
    json_t *rows = json_loadb(usage.n > 0 ? usage.p : "[]", usage.n > 0 ? usage.n : 2, 0, NULL);
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "name"));
        uint64_t prompt = number_of(row, "prompt_tokens"), cached = number_of(row, "cached_tokens");
        uint64_t tokens =
            (prompt > cached ? prompt - cached : 0) + number_of(row, "completion_tokens");

        for (size_t j = 0; id != NULL && j < k->ring->ring.n; j++)
            if (strcmp(k->ring->ring.keys[j].id, id) == 0)
                quota_restore(k->quota, &k->ring->ring.keys[j], keys_now(k), tokens);
    }
    json_decref(rows);
}

/* ---- words ---- */

static void put_key(const struct keys *k, struct rm_jw *w, const struct api_key *key,
                    const char *text)
{
    struct quota_time now = keys_now(k);
    struct quota_use use;

    quota_use_of(k->quota, key, now, &use);
    rm_jw_obj(w, NULL);
    api_key_put(w, key);
    rm_jw_str(w, "state", api_key_state(key, now.unix_s));
    rm_jw_u64(w, "running", use.running);
    rm_jw_u64(w, "tokens_today", use.tokens_today);
    if (text != NULL)
        rm_jw_str(w, "key", text);
    rm_jw_end(w);
}

int keys_write(const struct keys *k, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_arr(&w, NULL);
    for (size_t i = 0; i < k->ring->ring.n; i++)
        put_key(k, &w, &k->ring->ring.keys[i], NULL);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int keys_write_one(const struct keys *k, const struct api_key *key, const char *text,
                   struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    put_key(k, &w, key, text);
    return rm_jw_done(&w);
}
