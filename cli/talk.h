/* SPDX-License-Identifier: MIT */
/* cli/talk.h - a conversation with a role, without a terminal or a socket: what was said so far,
 * the body of the next request (OpenAI chat completions, streamed, with usage), and the events of
 * its answer. chat.c talks. Pure but for memory; one thread. */
#ifndef RM_CLI_TALK_H
#define RM_CLI_TALK_H

#include <stdint.h>

#include "proto/base/buf.h"

enum { TALK_MAX = 32 << 20 /* bytes of all that was said */, TALK_WHY_MAX = 400 };

struct talk_turn {
    bool user; /* else the role's */
    char *text;
};

struct talk {
    char *system; /* NULL: none */
    struct talk_turn *turns;
    size_t n, bytes;
};

void talk_clear(struct talk *t); /* all of it */
void talk_reset(struct talk *t); /* all but the system's text */

/* text: copied; "" ends the one before. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int talk_set_system(struct talk *t, const char *text);

/* One more turn. Returns 0, RM_ERR_TOO_BIG (over TALK_MAX) or UV_ENOMEM. */
RM_MUST_USE int talk_add(struct talk *t, bool user, const char *text);
void talk_drop(struct talk *t); /* the last turn */

/* Appends the request. max_tokens 0: the role's own bound; temperature below 0: not sent. Returns
 * as rm_buf_put. */
RM_MUST_USE int talk_write(const struct talk *t, const char *role, uint64_t max_tokens,
                           double temperature, struct rm_buf *out);

/* ---- one answer ---- */

enum talk_piece { TALK_NOTHING, TALK_TEXT, TALK_THOUGHT, TALK_ERROR, TALK_END };

struct answer {
    struct rm_buf text;                   /* as it came, to go on with */
    uint64_t asked_us, first_us, last_us; /* 0: not yet */
    uint64_t pieces;                      /* with text or thoughts */
    bool has_usage, ended, cut;           /* cut: a bound on tokens ended it */
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    char why[TALK_WHY_MAX]; /* after TALK_ERROR: for people, as others wrote it */
};

void answer_init(struct answer *a, uint64_t now_us);
void answer_clear(struct answer *a);

/* Takes the data of one event. piece: what is to be shown, appended (any bytes). Returns what it
 * was; a damaged event is TALK_ERROR. */
enum talk_piece answer_take(struct answer *a, struct rm_slice data, uint64_t now_us,
                            struct rm_buf *piece);

/* The text of an error's body (OpenAI's form or RFC 9457's) into out; what is none: the start of
 * it. */
void answer_error_of(struct rm_slice body, int status, char out[TALK_WHY_MAX]);

/* "42 tokens, 31.5 tokens/s, first after 0.21 s; prompt 300 tokens, 120 from a cache" */
void answer_line(const struct answer *a, char out[TALK_WHY_MAX]);

#endif
