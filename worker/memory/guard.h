/* SPDX-License-Identifier: MIT */
/* worker/memory/guard.h - acts before the kernel does: says when too little memory is left to start
 * another engine, and which engine has to go when that is not enough. Pure: readings, hosts and
 * time in, one act out. room.c feeds it once a second and carries the act out; host_sm.h says what
 * happens to a host that is refused or has to go (CAUSE_MEMORY).
 *
 *            available < line, or pressure >= 20 %
 *   CALM ───────────────────────────────────────────► REFUSING ──┐ still bad 3 s (pressure alone:
 *     ◄───────────────────────────────────────────────   ▲       │ 15 s) after that, or after the
 *       5 s on end: available >= 1.5 lines               └───────┘ last one is gone:
 *       and pressure < 10 %                               one host is told to go
 *
 * Who goes: on-demand hosts first, by lane (batch, interactive, autocomplete), in a lane the
 * largest; they drain as long as their role allows. Then the largest of the resident ones, after a
 * short drain. A pinned host never. One at a time: while an engine is leaving, for whatever reason,
 * nothing else is chosen. But when less than a quarter of the line is left for 3 s meanwhile, its
 * drain is cut short: else the kernel would end some engine, and not this one. */
#ifndef RM_MEMORY_GUARD_H
#define RM_MEMORY_GUARD_H

#include "proto/node/state.h"

enum {
    GUARD_CALM_MS = 5000,     /* so long must readings be good before starts are allowed again */
    GUARD_LOW_MS = 3000,      /* and so long below the line before a host goes */
    GUARD_PRESSED_MS = 15000, /* the same for pressure alone: PSI's avg10 still shows for that long
                                 what is over */
    GUARD_PRESSURE_HIGH = 20, /* percent of time in which all tasks waited for memory (PSI full) */
    GUARD_PRESSURE_LOW = 10,
    GUARD_DEEP_PART = 4,       /* of the line: so little left that drains are cut short */
    GUARD_STOP_DRAIN_MS = 5000 /* a resident host's running requests may finish for so long */
};

struct guard_reading {
    uint64_t available, system, reserve; /* bytes; system: all that the kernel may give out */
    double pressure;                     /* PSI "full avg10", 0..100; 0: not known */
};

/* What the guard knows of a host. */
struct guard_host {
    const char *role; /* decides between equals; borrowed */
    enum node_residency residency;
    enum node_lane lane;
    uint64_t bytes;   /* of system memory that it takes, or will when it is loaded */
    uint64_t to_come; /* of them, what the reading may not show yet: all of it while it loads and
                         until a reading came after that */
    bool alive;       /* an engine process of ours that would give memory back */
    bool leaving;     /* it is draining or told to end */
    bool swap;        /* it may lie in swap */
};

enum guard_act {
    GUARD_NOTHING,
    GUARD_REFUSE, /* from now on no engine may start */
    GUARD_DRAIN,  /* hosts[i] shall go when its requests are done */
    GUARD_STOP,   /* hosts[i] shall go within GUARD_STOP_DRAIN_MS */
    GUARD_HURRY,  /* hosts[i], which is leaving, shall be gone within GUARD_STOP_DRAIN_MS */
    GUARD_EMPTY,  /* somebody should go, but nobody may; said once until calm */
    GUARD_ALLOW   /* calm again */
};

struct guard {
    bool refusing;
    bool told_empty, hurried;  /* hurried: the one that is leaving */
    uint64_t good_since_ms;    /* while refusing: start of the run of good readings; 0: none */
    uint64_t low_since_ms;     /* of the run below the line in which nobody was leaving; 0: none */
    uint64_t deep_since_ms;    /* of the run far below it in which somebody was; 0: none */
    uint64_t pressed_since_ms; /* of the run of bad readings of either kind, likewise */
};

/* Half of the reserve, at most a sixteenth of system memory: hosts that keep to the budget leave
 * the reserve free, so that less than half of it says that somebody does not; the sixteenth keeps a
 * reserve that was set high from refusing on an idle machine. */
uint64_t guard_line(uint64_t reserve, uint64_t system);

/* Takes a reading and the hosts (n of them). now_ms: above 0, never falling. *which: the host of a
 * GUARD_DRAIN, GUARD_STOP or GUARD_HURRY, else untouched. */
enum guard_act guard_step(struct guard *g, const struct guard_reading *r,
                          const struct guard_host *hosts, size_t n, uint64_t now_ms, size_t *which);

/* May an engine that takes `bytes` come back? Not while refusing, and not when it and all that are
 * loading would leave less than what counts as good: one that had to go does not come back to be
 * sent away again. bytes 0: it had not to go, the verdict alone counts. */
bool guard_has_room(const struct guard *g, const struct guard_reading *r,
                    const struct guard_host *hosts, size_t n, uint64_t bytes);

/* While a host lives that may lie in swap, free swap is memory that is left, and to wait for memory
 * is what people chose: the reading is changed so. */
void guard_count_swap(struct guard_reading *r, const struct guard_host *hosts, size_t n,
                      uint64_t swap_free);

/* One line for people: what is left and where the line is, without an end. */
void guard_why(const struct guard_reading *r, char *out, size_t size);

#endif
