/* SPDX-License-Identifier: MIT */
/* worker/memory/guard.h - says when too little memory is left to start another engine, before the
 * kernel starts to swap or kill. Pure: readings and time in, a verdict out. worker.c feeds it once
 * a second and tells hosts; host_sm.h says what a refused host does (CAUSE_MEMORY).
 *
 *            available < line, or pressure >= 20 %
 *   CALM ───────────────────────────────────────────► REFUSING
 *     ◄───────────────────────────────────────────────
 *       5 s on end: available >= 1.5 lines and pressure < 10 %
 *
 * It refuses what is new and leaves alone what runs. */
#ifndef RM_MEMORY_GUARD_H
#define RM_MEMORY_GUARD_H

#include "proto/base/buf.h"

enum {
    GUARD_CALM_MS = 5000,     /* so long must readings be good before starts are allowed again */
    GUARD_PRESSURE_HIGH = 20, /* percent of time in which all tasks waited for memory (PSI full) */
    GUARD_PRESSURE_LOW = 10
};

struct guard_reading {
    uint64_t available, system, reserve; /* bytes; system: all that the kernel may give out */
    double pressure;                     /* PSI "full avg10", 0..100; 0: not known */
};

struct guard {
    bool refusing;
    uint64_t good_since_ms; /* while refusing: start of the run of good readings; 0: none */
};

/* Half of the reserve, at most a sixteenth of system memory: hosts that keep to the budget leave
 * the reserve free, so that less than half of it says that somebody does not; the sixteenth keeps a
 * reserve that was set high from refusing on an idle machine. */
uint64_t guard_line(uint64_t reserve, uint64_t system);

/* Takes a reading. now_ms: above 0, never falling. True when the verdict has changed. */
bool guard_step(struct guard *g, const struct guard_reading *r, uint64_t now_ms);

/* One line for people: what is left and where the line is. */
void guard_why(const struct guard_reading *r, char *out, size_t size);

#endif
