/* SPDX-License-Identifier: MIT */
/* worker/room.c - how much room the node has for engines, and what is done when there is too
 * little: reads the facts once a second in the thread pool, makes the node's budget of them
 * (memory/accountant.h), asks the guard (memory/guard.h) and carries out what it says. Loop thread
 * but facts_run. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/memory/accountant.h"
#include "worker/memory/devices.h"
#include "worker/memory/nvml.h"
#include "worker/memory/sysread.h"
#include "worker/worker.h"

static void room_close_root(struct room *room)
{
    if (room->sys_root >= 0 && !room->busy) {
        close(room->sys_root);
        room->sys_root = -1;
        nvml_close(room->nvml);
        room->nvml = NULL;
    }
}

/* ---- the guard ---- */

static void room_say(const struct room *room, const char *what)
{
    const struct guard_reading *r = &room->reading;

    rm_warn("memory", what, RM_U("available", r->available),
            RM_U("line", guard_line(r->reserve, r->system)), RM_F("pressure", r->pressure));
}

static void room_evict(struct worker *w, struct host *h, const struct guard_host *g,
                       enum guard_act act)
{
    const struct guard_reading *r = &w->room.reading;
    char short_of[NODE_TEXT_MAX / 2], why[NODE_TEXT_MAX];

    guard_why(r, short_of, sizeof(short_of));
    snprintf(why, sizeof(why), "had to go: %s; it took %llu MiB", short_of,
             (unsigned long long)(g->bytes >> 20));
    rm_warn("memory",
            act == GUARD_DRAIN  ? "short: a host is drained"
            : act == GUARD_STOP ? "short: a host is stopped"
                                : "very short: a host's drain is cut short",
            RM_S("role", g->role), RM_S("residency", node_residency_name(g->residency)),
            RM_S("lane", node_lane_name(g->lane)), RM_U("host_bytes", g->bytes),
            RM_U("available", r->available), RM_U("line", guard_line(r->reserve, r->system)),
            RM_F("pressure", r->pressure));
    w->room.drained += act == GUARD_DRAIN;
    w->room.stopped += act == GUARD_STOP;
    host_evict(h, act == GUARD_DRAIN ? 0 : GUARD_STOP_DRAIN_MS, why);
}

/* Zram is memory already. */
static uint64_t swap_free(const struct node_memory *m)
{
    uint64_t disk = m->swap_total > m->swap_zram ? m->swap_total - m->swap_zram : 0;

    return disk > m->swap_used ? disk - m->swap_used : 0;
}

static void room_guard(struct worker *w)
{
    struct room *room = &w->room;
    struct guard_host hosts[NODE_HOSTS_MAX];
    enum guard_act act;
    size_t which = 0;

    for (uint32_t i = 0; i < w->n_hosts; i++)
        host_guarded(w->hosts[i], &hosts[i]);
    guard_count_swap(&room->reading, hosts, w->n_hosts, swap_free(&w->memory));
    act = guard_step(&room->guard, &room->reading, hosts, w->n_hosts, rm_now_ms(), &which);
    w->memory.refusing = room->guard.refusing;
    switch (act) {
    case GUARD_NOTHING:
        return;
    case GUARD_DRAIN:
    case GUARD_STOP:
    case GUARD_HURRY:
        room_evict(w, w->hosts[which], &hosts[which], act);
        break;
    case GUARD_REFUSE:
        room->refused++;
        room_say(room, "short: no engine is started");
        break;
    case GUARD_EMPTY:
        room_say(room, "short, and no host may be stopped");
        break;
    case GUARD_ALLOW:
        room_say(room, "enough again");
        break;
    }
    worker_changed(w);
}

bool room_fits(struct worker *w, const struct host *h, uint64_t bytes, char *why, size_t size)
{
    uint64_t others = 0, room;

    for (uint32_t i = 0; i < w->n_hosts; i++)
        others += w->hosts[i] != h ? host_forecast_bytes(w->hosts[i]) : 0;
    room = w->memory.budget > others ? w->memory.budget - others : 0;
    if (bytes > room)
        snprintf(why, size, "it needs %llu bytes, %llu of the budget of %llu are free",
                 (unsigned long long)bytes, (unsigned long long)room,
                 (unsigned long long)w->memory.budget);
    return bytes <= room;
}

bool room_refuses(struct worker *w, uint64_t bytes, char *why, size_t size)
{
    const struct room *room = &w->room;
    struct guard_host hosts[NODE_HOSTS_MAX];

    for (uint32_t i = 0; i < w->n_hosts; i++)
        host_guarded(w->hosts[i], &hosts[i]);
    if (guard_has_room(&room->guard, &room->reading, hosts, w->n_hosts, bytes))
        return false;
    if (room->guard.refusing)
        guard_why(&room->reading, why, size);
    else
        snprintf(
            why, size, "memory would be short again: %llu MiB are left and it took %llu MiB before",
            (unsigned long long)(room->reading.available >> 20), (unsigned long long)(bytes >> 20));
    return true;
}

/* ---- devices ---- */

static void room_on_devices(void *arg, const struct node_devices *d, const char *why)
{
    struct worker *w = arg;

    w->room.asking = NULL;
    if (d == NULL) {
        rm_warn("memory", "the engine's devices are not known: their memory does not count",
                RM_S("why", why));
        return;
    }
    w->devices = *d; /* the next reading counts them */
    for (uint32_t i = 0; i < d->n; i++)
        rm_info("memory", "device", RM_S("name", d->device[i].name),
                RM_S("kind", node_device_kind_name(d->device[i].kind)),
                RM_U("total", d->device[i].total), RM_S("what", d->device[i].description));
    worker_changed(w);
}

void room_ask_devices(struct worker *w)
{
    int r = 0;

    if (access(w->opt.core, X_OK) == 0)
        r = devices_ask(w->loop, w->supervisor, w->opt.core, room_on_devices, w, &w->room.asking);
    if (r < 0)
        room_on_devices(w, NULL, rm_strerror(r));
}

/* ---- facts ---- */

/* What engines hold beside what others do. */
static uint64_t room_others(const struct worker *w)
{
    struct account_use ours = {0};

    for (uint32_t i = 0; i < w->n_hosts; i++)
        host_add_use(w->hosts[i], &ours);
    return account_others(&w->memory, &ours);
}

static void room_take_facts(struct worker *w)
{
    struct account_rules rules = {.reserve = w->opt.reserve_bytes, .devices = &w->devices};
    struct room *room = &w->room;

    account_make(&room->facts, &rules, &w->memory);
    w->memory.others = room_others(w);
    busy_note(&room->processors, room->facts.has_cpu ? &room->facts.cpu : NULL,
              facts_gpu_percent(&room->facts));
    room->reading =
        (struct guard_reading){.available = w->memory.available,
                               .system = account_system(&room->facts),
                               .reserve = w->memory.reserve,
                               .pressure = room->facts.has_pressure ? room->facts.full_avg10 : 0};
    room_guard(w);
}

/* In the thread pool, one at a time: NVML belongs to it. */
static void facts_run(uv_work_t *work)
{
    struct room *room = &((struct worker *)work->data)->room;

    room->err = facts_read(room->sys_root, &room->facts);
    if (!room->nvml_tried && nvml_open(NULL, &room->nvml) < 0)
        room->nvml = NULL;
    room->nvml_tried = true;
    if (room->err == 0 && room->nvml != NULL)
        nvml_read(room->nvml, &room->facts);
}

static void facts_on_done(uv_work_t *work, int status)
{
    struct worker *w = work->data;
    struct room *room = &w->room;

    room->busy = false;
    if (status == 0 && room->err == 0 && !w->closing)
        room_take_facts(w);
    else if (status != 0 || room->err != 0)
        rm_debug("memory", "cannot be read", RM_E("why", status < 0 ? status : room->err));
    if (w->closing)
        room_close_root(room);
}

void room_tick(struct worker *w)
{
    struct room *room = &w->room;

    if (room->busy)
        return;
    room->work.data = w;
    room->busy = uv_queue_work(w->loop, &room->work, facts_run, facts_on_done) == 0;
}

int room_open(struct worker *w)
{
    int r = w->room.sys_root = sys_root("/");

    if (r >= 0 && (r = facts_read(w->room.sys_root, &w->room.facts)) == 0)
        room_take_facts(w);
    return r;
}

void room_close(struct worker *w)
{
    devices_drop(w->room.asking);
    w->room.asking = NULL;
    room_close_root(&w->room);
}
