/* SPDX-License-Identifier: MIT */
#include "proto/base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>
#include <poll.h>

enum { LOG_LINE = 2048 };

static const char *const log_names[] = {"error", "warn", "info", "debug"};
static _Atomic int log_level = RM_LOG_INFO;
static _Atomic uint64_t log_lost;
static void (*log_sink)(void *arg, const char *line);
static void *log_sink_arg;
static void (*_Atomic log_tap)(enum rm_log_level level, const char *area, const char *text);

struct line {
    char text[LOG_LINE];
    size_t n;
};

static void line_put(struct line *l, const char *s, size_t n)
{
    if (n > sizeof l->text - 2 - l->n) /* room for the newline and the NUL stays */
        n = sizeof l->text - 2 - l->n;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void line_puts(struct line *l, const char *s)
{
    line_put(l, s, strlen(s));
}

static bool text_is_plain(const char *s)
{
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

/* Bytes that are not printable ASCII become \xNN, so that a line stays one line on any terminal. */
static void line_put_text(struct line *l, const char *s)
{
    char hex[8];

    if (text_is_plain(s)) {
        line_puts(l, s);
        return;
    }
    line_puts(l, "\"");
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            hex[0] = '\\';
            hex[1] = *s;
            line_put(l, hex, 2);
        } else if (*s >= ' ' && (unsigned char)*s < 0x7f) {
            line_put(l, s, 1);
        } else {
            snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)*s);
            line_puts(l, hex);
        }
    }
    line_puts(l, "\"");
}

static void line_put_pair(struct line *l, const struct rm_kv *kv)
{
    char number[40];

    line_puts(l, " ");
    line_puts(l, kv->key);
    line_puts(l, "=");
    switch (kv->type) {
    case RM_KV_STR:
        line_put_text(l, kv->v.s != NULL ? kv->v.s : "-");
        return;
    case RM_KV_INT:
        snprintf(number, sizeof number, "%" PRId64, kv->v.i);
        break;
    case RM_KV_UINT:
        snprintf(number, sizeof number, "%" PRIu64, kv->v.u);
        break;
    case RM_KV_DBL:
        snprintf(number, sizeof number, "%.6g", kv->v.d);
        break;
    }
    line_puts(l, number);
}

static void line_put_time(struct line *l)
{
    struct timespec now;
    struct tm tm;
    char text[48];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(now.tv_nsec / 1000000));
    line_puts(l, text);
}

/* A reader that stopped reading must not stop the loop: the line is dropped when stderr has no
 * room. */
static void line_write(const struct line *l)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t w = -1;

    if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0) {
        do {
            w = write(STDERR_FILENO, l->text, l->n);
        } while (w < 0 && errno == EINTR);
    }
    if (w < 0)
        atomic_fetch_add(&log_lost, 1);
}

int rm_log_on(enum rm_log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void rm_log(enum rm_log_level level, const char *area, const char *msg, const struct rm_kv *pairs)
{
    void (*tap)(enum rm_log_level l, const char *a, const char *t) = atomic_load(&log_tap);
    struct line l = {.n = 0};
    size_t text_at;

    line_put_time(&l);
    line_puts(&l, log_names[level]);
    line_puts(&l, " ");
    line_puts(&l, area);
    line_puts(&l, " ");
    text_at = l.n;
    line_put_text(&l, msg);
    for (; pairs->key != NULL; pairs++)
        line_put_pair(&l, pairs);
    l.text[l.n++] = '\n';
    l.text[l.n] = '\0';
    if (tap != NULL)
        tap(level, area, l.text + text_at);
    if (log_sink != NULL)
        log_sink(log_sink_arg, l.text);
    else
        line_write(&l);
}

int rm_log_level_from(const char *text)
{
    for (int i = 0; i < (int)(sizeof log_names / sizeof log_names[0]); i++)
        if (strcmp(text, log_names[i]) == 0)
            return i;
    return -1;
}

void rm_log_set_level(enum rm_log_level level)
{
    atomic_store(&log_level, (int)level);
}

void rm_log_set_sink(void (*sink)(void *arg, const char *line), void *arg)
{
    log_sink = sink;
    log_sink_arg = arg;
}

void rm_log_set_tap(void (*tap)(enum rm_log_level level, const char *area, const char *text))
{
    atomic_store(&log_tap, tap);
}

const char *rm_log_level_name(enum rm_log_level level)
{
    return log_names[level];
}

uint64_t rm_log_dropped(void)
{
    return atomic_load(&log_lost);
}
