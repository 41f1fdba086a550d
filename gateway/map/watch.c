/* SPDX-License-Identifier: MIT */
#include "gateway/map/watch.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { DIRS = 2 }; /* of the path, and of what it leads to */

struct watched_dir {
    char path[MAP_PATH_MAX]; /* "": none */
    struct map_file_id id;   /* a directory that was replaced has to be watched anew */
};

struct map_watch {
    uv_timer_t timer;
    uv_fs_event_t events[DIRS];
    uv_work_t work;
    char path[MAP_PATH_MAX];
    void (*on_change)(void *arg);
    void *arg;
    struct settle settle;
    struct watched_dir watched[DIRS];
    /* the look's, while looking */
    struct map_file_id found;
    struct watched_dir dirs[DIRS];
    bool on, looking, event_came, told_no_events, closing;
    unsigned open_handles;
};

/* ---- the decision ---- */

enum settle_says settle_step(struct settle *s, const struct map_file_id *id, uint64_t now_ms)
{
    if (!s->begun || !map_file_same(&s->seen, id)) {
        s->begun = s->moving = true;
        s->seen = *id;
        s->since_ms = now_ms;
        return SETTLE_MOVING;
    }
    if (!s->moving)
        return SETTLE_STILL;
    if (now_ms - s->since_ms < WATCH_QUIET_MS)
        return SETTLE_MOVING;
    s->moving = false;
    return SETTLE_CHANGED;
}

/* ---- a look ---- */

static void look_at_dir(struct watched_dir *d, const char *path)
{
    char copy[MAP_PATH_MAX];

    rm_text_copy(copy, sizeof copy, path);
    rm_text_copy(d->path, sizeof d->path, dirname(copy));
    /* What lies in it changes its times: only which directory it is counts. */
    map_file_identify(d->path, &d->id);
    d->id.size = 0;
    d->id.mtime_ns = d->id.ctime_ns = 0;
}

static void watch_look(uv_work_t *work)
{
    struct map_watch *w = work->data;
    char target[MAP_PATH_MAX];

    map_file_identify(w->path, &w->found);
    look_at_dir(&w->dirs[0], w->path);
    w->dirs[1].path[0] = '\0';
    if (realpath(w->path, target) == NULL)
        return;
    look_at_dir(&w->dirs[1], target);
    if (map_file_same(&w->dirs[0].id, &w->dirs[1].id))
        w->dirs[1].path[0] = '\0';
}

static void watch_arm(struct map_watch *w, uint64_t ms);

static void watch_on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct map_watch *w = handle->data;

    (void)name;
    (void)events;
    (void)status;
    if (w->looking)
        w->event_came = true;
    else if (uv_timer_get_due_in(&w->timer) > WATCH_SOON_MS)
        watch_arm(w, WATCH_SOON_MS);
}

/* Watches the directories that the last look has found. */
static void follow_dirs(struct map_watch *w)
{
    for (size_t i = 0; i < DIRS; i++) {
        int r;

        if (strcmp(w->dirs[i].path, w->watched[i].path) == 0 &&
            map_file_same(&w->dirs[i].id, &w->watched[i].id))
            continue;
        uv_fs_event_stop(&w->events[i]);
        w->watched[i] = w->dirs[i];
        if (w->dirs[i].path[0] == '\0')
            continue;
        w->event_came = true; /* what happened before the watch began was not told */
        r = uv_fs_event_start(&w->events[i], watch_on_event, w->dirs[i].path, 0);
        if (r < 0 && !w->told_no_events) {
            w->told_no_events = true;
            rm_warn("map", "no events of the role map's directory: it is looked at instead",
                    RM_S("directory", w->dirs[i].path), RM_E("why", r),
                    RM_U("every_ms", WATCH_POLL_MS));
        }
    }
}

static void watch_on_looked(uv_work_t *work, int status);

static void watch_on_timer(uv_timer_t *timer)
{
    struct map_watch *w = timer->data;

    if (w->looking || !w->on)
        return;
    w->event_came = false;
    w->work.data = w;
    w->looking = uv_queue_work(w->timer.loop, &w->work, watch_look, watch_on_looked) == 0;
    if (!w->looking)
        watch_arm(w, WATCH_POLL_MS);
}

static void watch_arm(struct map_watch *w, uint64_t ms)
{
    uv_timer_start(&w->timer, watch_on_timer, ms, 0);
}

static void watch_free_when_closed(struct map_watch *w)
{
    if (w->closing && w->open_handles == 0 && !w->looking)
        free(w);
}

static void watch_on_looked(uv_work_t *work, int status)
{
    struct map_watch *w = work->data;
    enum settle_says says;

    w->looking = false;
    if (w->closing || !w->on) {
        watch_free_when_closed(w);
        return;
    }
    if (status < 0) {
        watch_arm(w, WATCH_POLL_MS);
        return;
    }
    says = settle_step(&w->settle, &w->found, rm_now_ms());
    follow_dirs(w);
    watch_arm(w, says == SETTLE_MOVING ? WATCH_AGAIN_MS
                 : w->event_came       ? WATCH_SOON_MS
                                       : WATCH_POLL_MS);
    if (says == SETTLE_CHANGED)
        w->on_change(w->arg);
}

/* ---- the contract ---- */

int map_watch_new(uv_loop_t *loop, const char *path, void (*on_change)(void *arg), void *arg,
                  struct map_watch **out)
{
    struct map_watch *w;

    *out = NULL;
    if (strlen(path) >= MAP_PATH_MAX)
        return UV_ENAMETOOLONG;
    if ((w = calloc(1, sizeof *w)) == NULL)
        return UV_ENOMEM;
    rm_text_copy(w->path, sizeof w->path, path);
    w->on_change = on_change;
    w->arg = arg;
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    w->open_handles = 1;
    for (size_t i = 0; i < DIRS; i++) {
        uv_fs_event_init(loop, &w->events[i]); /* cannot fail: it only fills the handle */
        w->events[i].data = w;
        w->open_handles++;
    }
    *out = w;
    return 0;
}

void map_watch_set(struct map_watch *w, bool on)
{
    if (w->on == on)
        return;
    w->on = on;
    if (on) {
        watch_arm(w, 0);
        return;
    }
    uv_timer_stop(&w->timer);
    for (size_t i = 0; i < DIRS; i++) {
        uv_fs_event_stop(&w->events[i]);
        w->watched[i].path[0] = '\0';
    }
    w->settle = (struct settle){.begun = false};
}

static void watch_on_closed(uv_handle_t *handle)
{
    struct map_watch *w = handle->data;

    w->open_handles--;
    watch_free_when_closed(w);
}

void map_watch_close(struct map_watch *w)
{
    if (w == NULL)
        return;
    w->closing = true;
    uv_close((uv_handle_t *)&w->timer, watch_on_closed);
    for (size_t i = 0; i < DIRS; i++)
        uv_close((uv_handle_t *)&w->events[i], watch_on_closed);
}
