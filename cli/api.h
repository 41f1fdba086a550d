/* SPDX-License-Identifier: MIT */
/* cli/api.h - a gateway's ops API (proto/openapi.yaml) for subcommands: asked, checked for its
 * status, and told in one line when it did not work. Needs CLI_ASKS in the command's row. One
 * thread. */
#ifndef RM_CLI_API_H
#define RM_CLI_API_H

#include <jansson.h>

#include "cli/ask.h"
#include "cli/cli.h"

enum { API_DEADLINE_MS = 10000, API_TARGET_MAX = 2048, API_PAGES_MAX = 200 };

struct api {
    const char *command; /* for complaints */
    const char *url;     /* as it was said */
    struct http_address address;
    uint32_t deadline_ms; /* for each question */
    bool quiet;           /* complain about nothing */
};

/* Where --gateway, ROLEMESH_GATEWAY or the default says. Returns CLI_OK or, after saying why,
 * CLI_BAD. */
RM_MUST_USE int api_open(const struct cli_args *args, struct api *out);

/* One question and its answer, whatever its status. *out: its JSON, NULL when it is none. Returns
 * CLI_OK, or CLI_FAILED after saying why there is no answer. */
RM_MUST_USE int api_call(const struct api *api, const char *method, const char *target,
                         struct rm_slice body, int *status, json_t **out);

/* The same where only a 2xx with an object is well; body: JSON to send, p NULL: none. *out: that
 * object, to be json_decref'ed; else NULL after saying why. Returns CLI_OK; CLI_BAD for 400 (what
 * was asked for cannot be); CLI_FAILED. */
RM_MUST_USE int api_ask(const struct api *api, const char *method, const char *target,
                        struct rm_slice body, json_t **out);
RM_MUST_USE int api_get(const struct api *api, const char *target, json_t **out);

/* Tells an answer that is no 2xx, or no object. Returns the exit code. */
int api_refused(const struct api *api, const char *target, int status, const json_t *answer);

/* All pages of a list as one: {NAME: [...], "next": null} and what the first page has beside them.
 * target has no limit and no cursor; most: rows that are enough (0: all), then next may be a
 * cursor. */
RM_MUST_USE int api_list(const struct api *api, const char *target, const char *name, size_t most,
                         json_t **out);

/* Appends a path segment with what may not stand there escaped. One that is empty or does not fit
 * names nothing: the target is none any more, and asking for it is CLI_BAD, whatever is appended.
 */
void api_segment(char target[API_TARGET_MAX], const char *text);

/* Appends "?name=value", from the second on "&name=value", escaped; nothing when value is NULL or
 * does not fit. */
void api_query(char target[API_TARGET_MAX], const char *name, const char *value);

/* The options of the command whose names are parameters: those in `names` that were said, a
 * CLI_TIME as the API wants it. names: NULL-terminated. */
void api_query_said(char target[API_TARGET_MAX], const struct cli_args *args,
                    const char *const *names);

/* As the API said it, indented; compact: in one line. On a terminal in ASCII: what could move its
 * cursor is escaped. */
void api_print(const json_t *json, FILE *to, bool compact);

/* Members for people: text through ask_shown ("-" when null or absent); numbers 0 when absent. */
const char *api_text(const json_t *object, const char *key, char out[ASK_TEXT_MAX]);
uint64_t api_u64(const json_t *object, const char *key);
double api_real(const json_t *object, const char *key);
bool api_true(const json_t *object, const char *key);
bool api_null(const json_t *object, const char *key); /* null or absent */

#endif
