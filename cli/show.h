/* SPDX-License-Identifier: MIT */
/* cli/show.h - nodes, roles and hosts as the ops API tells them (proto/openapi.yaml: Node, Role,
 * Host), as tables. What an older gateway does not tell, and what is not known, is "-". One thread.
 */
#ifndef RM_CLI_SHOW_H
#define RM_CLI_SHOW_H

#include <jansson.h>

#include "cli/human.h"
#include "cli/term.h"

/* Each prints a table of an array. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int show_nodes(const json_t *nodes, const struct term *t, bool wide);
RM_MUST_USE int show_roles(const json_t *roles, const struct term *t, bool wide);
RM_MUST_USE int show_hosts(const json_t *hosts, const struct term *t, bool wide);

/* One line: what is wrong, since when, and what to do (Alarm). */
void show_alarms(const json_t *alarms, const struct term *t);

/* The colour of a health, a state or a severity. */
enum term_color show_color(const char *word);

/* Cells, "-" when null or absent: bytes, milliseconds, "12%" of percent or of a share (0..1), a
 * rate. */
const char *show_bytes(const json_t *object, const char *key, char out[HUMAN_MAX]);
const char *show_ms(const json_t *object, const char *key, char out[HUMAN_MAX]);
const char *show_percent(const json_t *object, const char *key, double of, char out[HUMAN_MAX]);
const char *show_rate(const json_t *object, const char *key, char out[HUMAN_MAX]);

/* "a, b" of an array of texts; "-" when it is empty. */
const char *show_words(const json_t *array, char *out, size_t size);

#endif
