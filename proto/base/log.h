/* SPDX-License-Identifier: MIT */
/* proto/base/log.h - one line per event: time, level, area, message, key=value pairs.
 *   2026-05-04T12:00:01.234Z info route "host is ready" role=code node=speed load_ms=812
 * Values are escaped so that no byte from outside can end a line or fake a pair. Never a prompt, a
 * key or a completion. Whoever decides what happens next logs, once; the layers below only return.
 * Any thread: a line is one write(2) to stderr, and a line that stderr cannot take at once is
 * dropped and counted, so that logging never blocks. */
#ifndef RM_BASE_LOG_H
#define RM_BASE_LOG_H

#include <stdint.h>

enum rm_log_level { RM_LOG_ERROR, RM_LOG_WARN, RM_LOG_INFO, RM_LOG_DEBUG };

/* One pair. Made by the macros below; text is borrowed for the call. */
struct rm_kv {
    const char *key;
    enum { RM_KV_STR, RM_KV_INT, RM_KV_UINT, RM_KV_DBL } type;
    union {
        const char *s;
        int64_t i;
        uint64_t u;
        double d;
    } v;
};

#define RM_S(k, text)  ((struct rm_kv){.key = (k), .type = RM_KV_STR, .v.s = (text)})
#define RM_I(k, value) ((struct rm_kv){.key = (k), .type = RM_KV_INT, .v.i = (int64_t)(value)})
#define RM_U(k, value) ((struct rm_kv){.key = (k), .type = RM_KV_UINT, .v.u = (uint64_t)(value)})
#define RM_F(k, value) ((struct rm_kv){.key = (k), .type = RM_KV_DBL, .v.d = (double)(value)})
#define RM_E(k, err)   RM_S(k, rm_strerror(err))

/* rm_info("route", "host is ready", RM_S("role", role), RM_U("load_ms", ms)); pairs may be left
 * out. */
#define rm_error(area, ...) RM_LOG_CALL(RM_LOG_ERROR, area, __VA_ARGS__, RM_LOG_END)
#define rm_warn(area, ...)  RM_LOG_CALL(RM_LOG_WARN, area, __VA_ARGS__, RM_LOG_END)
#define rm_info(area, ...)  RM_LOG_CALL(RM_LOG_INFO, area, __VA_ARGS__, RM_LOG_END)
#define rm_debug(area, ...) RM_LOG_CALL(RM_LOG_DEBUG, area, __VA_ARGS__, RM_LOG_END)

#define RM_LOG_END ((struct rm_kv){.key = NULL})
#define RM_LOG_CALL(level, area, msg, ...)                                                         \
    do {                                                                                           \
        if (rm_log_on(level))                                                                      \
            rm_log(level, area, msg, (const struct rm_kv[]){__VA_ARGS__});                         \
    } while (0)

int rm_log_on(enum rm_log_level level);
void rm_log(enum rm_log_level level, const char *area, const char *msg, const struct rm_kv *pairs);

/* Level from "error", "warn", "info" or "debug"; -1 for other text. */
int rm_log_level_from(const char *text);
void rm_log_set_level(enum rm_log_level level);

/* Where lines go instead of stderr; NULL: stderr again. For tests. line: with its newline,
 * NUL-terminated. */
void rm_log_set_sink(void (*sink)(void *arg, const char *line), void *arg);

/* Sees every line that is written, from the thread that writes it: text is the message with its
 * pairs and newline. For log_ring.c; set it before threads log. NULL: nobody. */
void rm_log_set_tap(void (*tap)(enum rm_log_level level, const char *area, const char *text));

const char *rm_log_level_name(enum rm_log_level level); /* "error", ... */

uint64_t rm_log_dropped(void); /* lines lost because stderr was full */

#endif
