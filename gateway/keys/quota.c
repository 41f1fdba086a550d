/* SPDX-License-Identifier: MIT */
#include "gateway/keys/quota.h"

#include <math.h>
#include <stdlib.h>
#include <uv.h>

enum { DAY_S = 24 * 3600, MINUTE_MS = 60 * 1000 };

/* Filled at `at_ms`; grows by `per_min` a minute up to `per_min`. */
struct bucket {
    double left;
    uint64_t at_ms;
    uint64_t per_min; /* the limit it was filled by; 0: not used yet */
};

struct quota_key {
    char id[KEYRING_ID];
    struct bucket requests, tokens;
    uint32_t running;
    uint64_t day; /* days since 1970 */
    uint64_t tokens_today;
};

struct quota {
    struct quota_key *keys[KEYRING_MAX]; /* sorted by id */
    size_t n;
};

const char *quota_limit_name(enum quota_limit limit)
{
    static const char *const names[] = {"", "requests per minute", "tokens per minute",
                                        "requests at one time", "tokens per day"};

    return names[limit];
}

int quota_new(struct quota **out)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? UV_ENOMEM : 0;
}

void quota_free(struct quota *q)
{
    for (size_t i = 0; q != NULL && i < q->n; i++)
        free(q->keys[i]);
    free(q);
}

/* Where the id is, or would be. */
static size_t place_of(const struct quota *q, const char *id, bool *there)
{
    size_t low = 0, high = q->n;

    *there = false;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(q->keys[mid]->id, id);

        if (c == 0) {
            *there = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct quota_key *key_of(const struct quota *q, const char *id)
{
    bool there;
    size_t i = place_of(q, id, &there);

    return there ? q->keys[i] : NULL;
}

static struct quota_key *key_made(struct quota *q, const char *id)
{
    struct quota_key *k;
    bool there;
    size_t i = place_of(q, id, &there);

    if (there)
        return q->keys[i];
    if (q->n == KEYRING_MAX || (k = calloc(1, sizeof *k)) == NULL)
        return NULL;
    rm_text_copy(k->id, sizeof k->id, id);
    memmove(&q->keys[i + 1], &q->keys[i], (q->n - i) * sizeof q->keys[0]);
    q->keys[i] = k;
    q->n++;
    return k;
}

/* Another limit fills the bucket anew: a key that was given more may use it now. */
static struct bucket bucket_at(struct bucket b, uint64_t per_min, uint64_t now_ms)
{
    double full = (double)per_min;

    if (b.per_min != per_min)
        b.left = b.per_min == 0 || b.left > 0 ? full : b.left;
    else if (now_ms > b.at_ms)
        b.left = fmin(full, b.left + full * (double)(now_ms - b.at_ms) / MINUTE_MS);
    b.per_min = per_min;
    b.at_ms = now_ms;
    return b;
}

/* Seconds until more than `need` are in it, at least 1. */
static uint32_t bucket_wait_s(const struct bucket *b, double need)
{
    double s = ceil((need - b->left) * 60 / (double)b->per_min);

    return s < 1 ? 1 : s > DAY_S ? DAY_S : (uint32_t)s;
}

static void day_turn(struct quota_key *k, uint64_t unix_s)
{
    if (k->day == unix_s / DAY_S)
        return;
    k->day = unix_s / DAY_S;
    k->tokens_today = 0;
}

static void key_at(struct quota_key *k, const struct api_key *key, struct quota_time at)
{
    k->requests = bucket_at(k->requests, key->requests_per_min, at.now_ms);
    k->tokens = bucket_at(k->tokens, key->tokens_per_min, at.now_ms);
    day_turn(k, at.unix_s);
}

int quota_begin(struct quota *q, const struct api_key *key, struct quota_time at,
                enum quota_limit *limit, uint32_t *retry_after_s)
{
    struct quota_key *k = key_made(q, key->id);

    *limit = QUOTA_NONE;
    *retry_after_s = 1;
    if (k == NULL)
        return RM_ERR_OVERLOAD;
    key_at(k, key, at);
    if (key->tokens_per_day > 0 && k->tokens_today >= key->tokens_per_day) {
        *limit = QUOTA_DAY;
        *retry_after_s = (uint32_t)(DAY_S - at.unix_s % DAY_S);
    } else if (key->concurrency > 0 && k->running >= key->concurrency) {
        *limit = QUOTA_CONCURRENCY;
    } else if (key->tokens_per_min > 0 && k->tokens.left <= 0) {
        *limit = QUOTA_TOKENS;
        *retry_after_s = bucket_wait_s(&k->tokens, 0);
    } else if (key->requests_per_min > 0 && k->requests.left < 1) {
        *limit = QUOTA_REQUESTS;
        *retry_after_s = bucket_wait_s(&k->requests, 1);
    } else {
        if (key->requests_per_min > 0)
            k->requests.left -= 1;
        k->running++;
        return 0;
    }
    return RM_ERR_RATE;
}

void quota_end(struct quota *q, const struct api_key *key, struct quota_time at, uint64_t tokens)
{
    struct quota_key *k = key_of(q, key->id);

    if (k == NULL)
        return;
    key_at(k, key, at);
    k->running--;
    k->tokens_today += tokens;
    if (key->tokens_per_min > 0)
        k->tokens.left -= (double)tokens;
}

void quota_restore(struct quota *q, const struct api_key *key, struct quota_time at,
                   uint64_t tokens)
{
    struct quota_key *k = key_made(q, key->id);

    if (k == NULL)
        return;
    day_turn(k, at.unix_s);
    k->tokens_today += tokens;
}

void quota_keep(struct quota *q, const struct keyring *ring)
{
    size_t kept = 0;

    for (size_t i = 0; i < q->n; i++) {
        bool stays = q->keys[i]->running > 0;

        for (size_t j = 0; !stays && j < ring->n; j++)
            stays = ring->keys[j].revoked_s == 0 && strcmp(ring->keys[j].id, q->keys[i]->id) == 0;
        if (stays)
            q->keys[kept++] = q->keys[i];
        else
            free(q->keys[i]);
    }
    q->n = kept;
}

void quota_use_of(const struct quota *q, const struct api_key *key, struct quota_time at,
                  struct quota_use *out)
{
    const struct quota_key *found = key_of(q, key->id);
    struct quota_key k = {.running = 0};

    if (found != NULL)
        k = *found;
    key_at(&k, key, at);
    *out = (struct quota_use){.running = k.running,
                              .tokens_today = k.tokens_today,
                              .requests_left = k.requests.left,
                              .tokens_left = k.tokens.left};
}
