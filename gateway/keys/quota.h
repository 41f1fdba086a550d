/* SPDX-License-Identifier: MIT */
/* gateway/keys/quota.h - what each API key has used of its limits, and whether it may go on.
 * Requests and tokens per minute are token buckets that hold one minute's worth, so that a burst of
 * a whole minute passes after a quiet one. How many tokens a request takes is known when it is
 * over: they are booked then, a bucket may fall below zero, and the next request waits until it is
 * above again. The daily budget is per UTC day. Pure: time is an argument. Bounded by KEYRING_MAX.
 */
#ifndef RM_KEYS_QUOTA_H
#define RM_KEYS_QUOTA_H

#include "proto/trust/keyring.h"

enum quota_limit { QUOTA_NONE, QUOTA_REQUESTS, QUOTA_TOKENS, QUOTA_CONCURRENCY, QUOTA_DAY };

/* "requests per minute", ...: static. */
const char *quota_limit_name(enum quota_limit limit);

struct quota; /* all keys */

RM_MUST_USE int quota_new(struct quota **out); /* 0 or UV_ENOMEM */
void quota_free(struct quota *q);              /* NULL is fine */

struct quota_time {
    uint64_t now_ms; /* monotonic */
    uint64_t unix_s; /* wall clock, for the day */
};

/* A request begins. Returns 0: it counts, quota_end must follow; RM_ERR_RATE: it does not, with the
 * limit that was met and the seconds after which it may be asked again (at least 1; of concurrency:
 * 1); RM_ERR_OVERLOAD: no room to count it. */
RM_MUST_USE int quota_begin(struct quota *q, const struct api_key *key, struct quota_time at,
                            enum quota_limit *limit, uint32_t *retry_after_s);

/* It is over, and took so many tokens (prompt without cached ones, and completion). The key may
 * have changed or gone meanwhile; key->id counts. */
void quota_end(struct quota *q, const struct api_key *key, struct quota_time at, uint64_t tokens);

/* Tokens of the present day that were used before this gateway started, from its history. */
void quota_restore(struct quota *q, const struct api_key *key, struct quota_time at,
                   uint64_t tokens);

/* Keys that left the ring and have no request running are forgotten. */
void quota_keep(struct quota *q, const struct keyring *k);

struct quota_use {
    uint32_t running;
    uint64_t tokens_today;
    double requests_left, tokens_left; /* of this minute; below zero: debt */
};
void quota_use_of(const struct quota *q, const struct api_key *key, struct quota_time at,
                  struct quota_use *out);

#endif
