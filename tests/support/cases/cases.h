/* SPDX-License-Identifier: MIT */
/* tests/support/cases/cases.h - reads a file of malformed messages and expands its payloads.
 * A line is `id | what | payload | expect | ...`; a line that begins with # is a comment. In a
 * payload: `¶` CRLF; `\n \r \t \\ \xNN` bytes; `«a¦b»` alternatives (several groups: all
 * combinations); `⟦n*x⟧` x n times (may nest); `{{x}}` x as a body with its framing, up to the last
 * `}}`; `⏸n` wait n ms; `⏹` half-close; `✂` reset; `$A` a macro. For tests: no memory ends
 * the program, a damaged case file too. */
#ifndef RM_TESTS_CASES_H
#define RM_TESTS_CASES_H

#include <stddef.h>

enum { CASE_COLUMNS = 8 };

struct case_row {
    char *column[CASE_COLUMNS]; /* trimmed; "" where the line has fewer */
    int line;                   /* from 1 */
};

struct case_file {
    struct case_row *rows;
    size_t n;
};

/* Loads every row of the file; ends the program when it cannot be read. */
struct case_file case_file_load(const char *path);
void case_file_free(struct case_file *f);

enum case_step_kind { CASE_SEND, CASE_PAUSE, CASE_HALF_CLOSE, CASE_RESET };

struct case_step {
    enum case_step_kind kind;
    char *bytes; /* CASE_SEND; NUL-terminated for convenience */
    size_t n;
    unsigned ms; /* CASE_PAUSE */
};

struct case_variant {
    struct case_step *steps;
    size_t n_steps;
    size_t index;         /* of this combination, from 0 */
    const size_t *choice; /* per group of alternatives: which was taken, from 0 */
    size_t n_choices;
};

/* What {{x}} becomes: fields and body of a request, or a chunked body after a head. */
enum case_body { CASE_BODY_JSON, CASE_BODY_CHUNKED };

struct case_macro {
    char name; /* "$P" has the name 'P' */
    const char *text;
};

struct case_notation {
    const struct case_macro *macros; /* ends with name 0 */
    enum case_body body;
};

/* The macros of requests.txt and responses.txt. */
extern const struct case_notation case_requests, case_responses;

/* Calls with every combination of the payload's alternatives; returns how many there were. */
size_t case_expand(const char *payload, const struct case_notation *notation,
                   void (*each)(void *arg, const struct case_variant *v), void *arg);

/* All bytes that are sent, joined; malloc'ed. */
char *case_bytes(const struct case_variant *v, size_t *n);

#endif
