/* SPDX-License-Identifier: MIT */
/* cli/ask.h - one HTTP request of a subcommand, its whole answer, and text of others on a terminal.
 * A loop of its own for each request; one thread. */
#ifndef RM_CLI_ASK_H
#define RM_CLI_ASK_H

#include "proto/base/buf.h"
#include "proto/http/address.h"
#include "proto/http/message.h"

#include <stdbool.h>
#include <stdio.h>

enum { ASK_ANSWER_MAX = 16 << 20, ASK_TEXT_MAX = 256 };

/* What is asked; all of it borrowed for the call. */
struct ask {
    const struct http_address *address;
    const char *method, *target;
    const struct http_out_field *fields;
    size_t n_fields;
    struct rm_slice body; /* p NULL: none; empty otherwise is a body too */
    uint32_t deadline_ms; /* for all of it */
    bool to_gateway;      /* the key of ask_use_key_file or ROLEMESH_KEY goes with it */
    int64_t *date_s;      /* gets the answer's Date, seconds since 1970, or 0; NULL: not wanted */
};

/* Reads the key that gateways are asked with; the file has it and nothing else. Call it once.
 * Returns 0, or an error after saying on stderr what is wrong. */
RM_MUST_USE int ask_use_key_file(const char *path);

/* The Authorization field of that key, or of ROLEMESH_KEY. value: its memory. False: there is none.
 */
enum { ASK_KEY_FIELD_MAX = 264 };
bool ask_key_field(char value[ASK_KEY_FIELD_MAX], struct http_out_field *out);

/* Asks, and waits for the whole answer.
 * status  of HTTP, any
 * body    initialised here, to be cleared by the caller in every case
 * Returns 0, or why there is no answer. */
RM_MUST_USE int ask_run(const struct ask *ask, int *status, struct rm_buf *body);

/* "http://HOST:PORT", "HOST:PORT" or "unix:PATH"; slashes at the end are fine. Returns 0 or
 * UV_EINVAL. */
RM_MUST_USE int ask_address(const char *url, struct http_address *out);

/* The character that n > 0 bytes of text begin with: its bytes, and its code; '?' for what is no
 * UTF-8 and for what a terminal might act on or that would not be seen (shown.c). */
size_t ask_char(const char *text, size_t n, uint32_t *code);

/* Text that came from elsewhere as one line of such characters, cut to fit. text NULL: "-". Returns
 * out, or that. */
const char *ask_shown(const char *text, char out[ASK_TEXT_MAX]);

/* The same for a text of any length: one line, or with its lines. NULL: nothing. */
void ask_print_line(const char *text, FILE *to);
void ask_print_lines(const char *text, FILE *to);

#endif
