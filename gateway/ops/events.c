/* SPDX-License-Identifier: MIT */
#include "gateway/ops/events.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"

enum { EVENT_JSON_MAX = 16 * 1024 };

const char *event_severity_name(enum event_severity s)
{
    static const char *const names[] = {"info", "warning", "error"};

    return names[s];
}

void events_init(struct events *e, int64_t wall_ms)
{
    memset(e, 0, sizeof *e);
    e->first = e->next = wall_ms > 0 ? (uint64_t)wall_ms : 1;
}

void events_clear(struct events *e)
{
    for (size_t i = 0; i < EVENTS_MAX; i++)
        free(e->ring[i].json);
    memset(e, 0, sizeof *e);
}

/* Text as it is told: cut at a bound. */
static struct rm_slice cut(const char *text)
{
    struct rm_slice s = rm_slice_of(text);

    while (s.n > EVENT_TEXT_MAX || (s.n == EVENT_TEXT_MAX && (s.p[s.n] & 0xc0) == 0x80))
        s.n = s.n > EVENT_TEXT_MAX ? EVENT_TEXT_MAX : s.n - 1;
    return s;
}

uint64_t events_add(struct events *e, const struct event *event, int64_t wall_ms)
{
    char at[RM_TIME_TEXT], *json;
    size_t place = e->next % EVENTS_MAX;
    struct rm_buf out;
    struct rm_jw w;

    rm_buf_init(&out, EVENT_JSON_MAX);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    rm_jw_u64(&w, "id", e->next);
    rm_jw_str(&w, "at", rm_time_text(wall_ms, at));
    rm_jw_str(&w, "severity", event_severity_name(event->severity));
    rm_jw_str(&w, "kind", event->kind);
    rm_jw_slice(&w, "subject", cut(event->subject));
    rm_jw_slice(&w, "text", cut(event->text));
    if (event->next != NULL)
        rm_jw_slice(&w, "next", cut(event->next));
    else
        rm_jw_null(&w, "next");
    rm_jw_end(&w);
    json = rm_jw_done(&w) == 0 ? rm_buf_take(&out) : NULL;
    rm_buf_clear(&out);
    if (json == NULL)
        return 0;
    free(e->ring[place].json);
    e->ring[place].json = json;
    e->ring[place].id = e->next++;
    if (e->next - e->first > EVENTS_MAX)
        e->first = e->next - EVENTS_MAX;
    return e->next - 1;
}

const char *events_get(const struct events *e, uint64_t id)
{
    return id >= e->first && id < e->next ? e->ring[id % EVENTS_MAX].json : NULL;
}

int events_write(const struct events *e, struct rm_buf *out)
{
    int r = rm_buf_puts(out, "[");

    for (uint64_t id = e->next; r == 0 && id > e->first; id--) {
        r = rm_buf_puts(out, events_get(e, id - 1));
        if (r == 0 && id - 1 > e->first)
            r = rm_buf_puts(out, ",");
    }
    return r == 0 ? rm_buf_puts(out, "]") : r;
}
