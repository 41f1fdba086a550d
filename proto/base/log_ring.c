/* SPDX-License-Identifier: MIT */
#include "proto/base/log_ring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"

enum { TEXT_MAX = 2048 };

struct entry {
    uint64_t id;
    int64_t at_ms;
    size_t bytes;
    const char *area, *engine, *text; /* in one piece of memory that begins at engine */
    enum rm_log_level level;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *ring;      /* NULL: not open */
static uint64_t first, next_id; /* ids that are held: first .. next_id - 1 */
static size_t held_bytes;

static void copy_plain(char *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= ' ' && (unsigned char)text[i] < 0x7f ? text[i] : '?';
    out[n] = '\0';
}

static void drop_first(void)
{
    struct entry *e = &ring[first++ % RM_LOG_RING_LINES];

    held_bytes -= e->bytes;
    free((char *)(uintptr_t)e->engine);
    *e = (struct entry){.id = 0};
}

/* The piece of memory of one line; NULL: none. */
static char *make_piece(const char *engine, const char *area, const char *text, struct entry *e)
{
    size_t n_engine = strnlen(engine, 63), n_area = strnlen(area, 63), n = strnlen(text, TEXT_MAX);
    char *piece;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    e->bytes = n_engine + n_area + n + 3;
    if ((piece = malloc(e->bytes)) == NULL)
        return NULL;
    copy_plain(piece, engine, n_engine);
    copy_plain(piece + n_engine + 1, area, n_area);
    copy_plain(piece + n_engine + n_area + 2, text, n);
    e->engine = piece;
    e->area = piece + n_engine + 1;
    e->text = piece + n_engine + n_area + 2;
    return piece;
}

void rm_log_ring_add(enum rm_log_level level, const char *engine, const char *area,
                     const char *text)
{
    struct entry e = {.at_ms = rm_wall_ms(), .level = level};

    if (make_piece(engine, area, text, &e) == NULL)
        return;
    pthread_mutex_lock(&lock);
    if (ring == NULL) {
        pthread_mutex_unlock(&lock);
        free((char *)(uintptr_t)e.engine);
        return;
    }
    while (next_id > first &&
           (next_id - first == RM_LOG_RING_LINES || held_bytes + e.bytes > RM_LOG_RING_BYTES))
        drop_first();
    e.id = next_id++;
    held_bytes += e.bytes;
    ring[e.id % RM_LOG_RING_LINES] = e;
    pthread_mutex_unlock(&lock);
}

static void on_own_line(enum rm_log_level level, const char *area, const char *text)
{
    rm_log_ring_add(level, "", area, text);
}

int rm_log_ring_open(void)
{
    struct entry *made = calloc(RM_LOG_RING_LINES, sizeof *made);

    if (made == NULL)
        return UV_ENOMEM;
    pthread_mutex_lock(&lock);
    if (ring == NULL) {
        int64_t now = rm_wall_ms();

        ring = made;
        first = next_id = now > 0 ? (uint64_t)now : 1;
        made = NULL;
    }
    pthread_mutex_unlock(&lock);
    free(made);
    rm_log_set_tap(on_own_line);
    return 0;
}

static bool is_wished(const struct rm_log_wish *w, const struct entry *e)
{
    return e->level <= w->level && (w->engine == NULL || strcmp(w->engine, e->engine) == 0);
}

int rm_log_ring_read(const struct rm_log_wish *w,
                     int (*each)(void *arg, const struct rm_log_entry *e), void *arg,
                     uint64_t *next)
{
    uint64_t id, least = w->after + 1;
    size_t n = 0, bytes = 0;
    int r = 0;

    *next = 0;
    pthread_mutex_lock(&lock);
    least = least > first ? least : first;
    id = w->before != 0 && w->before < next_id ? w->before : next_id;
    for (; ring != NULL && r == 0 && id > least; id--) {
        const struct entry *e = &ring[(id - 1) % RM_LOG_RING_LINES];
        struct rm_log_entry told = {e->id, e->at_ms, e->level, e->engine, e->area, e->text};

        if (!is_wished(w, e))
            continue;
        if (n == w->limit || (n > 0 && w->bytes > 0 && bytes + e->bytes > w->bytes)) {
            *next = id;
            break;
        }
        n++;
        bytes += e->bytes;
        r = each(arg, &told);
    }
    pthread_mutex_unlock(&lock);
    return r;
}
