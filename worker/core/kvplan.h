/* SPDX-License-Identifier: MIT */
/* worker/core/kvplan.h - which sequences of the KV memory are worth a place on the disk. Pure.
 * The rule: a sequence is saved when writing it now and reading it back later takes less time than
 * reading its tokens again:
 *
 *   bytes / write speed + bytes / read speed  <  tokens / prefill speed
 *
 * All three speeds are measured, none is assumed. Write and read: of the very directory, moments
 * before the choice, with kvfile_measure (checksum and flush included, page cache excluded).
 * Prefill: the decoder's moving average; a core that has read no prompt since it restored its
 * sequences takes the average that stands in the file it restored them from. An unknown speed saves
 * nothing. */
#ifndef RM_CORE_KVPLAN_H
#define RM_CORE_KVPLAN_H

#include <stdbool.h>
#include <stdint.h>

struct kvplan_speeds {
    double write_bps, read_bps; /* bytes per second; 0: not known */
    double prefill_tps;         /* tokens per second; 0: not known */
};

struct kvplan_item {
    uint32_t tokens;
    uint64_t bytes; /* in the file, all parts */
    uint64_t last_used;
    bool covered; /* another sequence of the list holds all of it */
};

/* What the file may take. */
struct kvplan_room {
    uint64_t most_bytes;  /* bound of the file */
    uint64_t free_bytes;  /* of the file system */
    uint64_t spare_bytes; /* of them, to be left free */
    uint64_t budget_ms;   /* for writing */
};

enum kvplan_verdict {
    KVPLAN_SAVE,
    KVPLAN_EMPTY,
    KVPLAN_SHORT, /* fewer than KVPLAN_TOKENS_MIN tokens */
    KVPLAN_COVERED,
    KVPLAN_UNKNOWN, /* a speed was not measured */
    KVPLAN_DEAR,    /* to read the prompt again is faster */
    KVPLAN_BIG,     /* over the bound of the file */
    KVPLAN_DISK,    /* the disk is too full */
    KVPLAN_LATE,    /* not written within the budget */
    KVPLAN_VERDICTS
};
const char *kvplan_verdict_name(enum kvplan_verdict v); /* for the log */

/* The rule above. False when a speed is not known, or there are no tokens. */
bool kvplan_is_worth(uint32_t tokens, uint64_t bytes, const struct kvplan_speeds *s);

enum {
    KVPLAN_ITEMS_MAX = 64,
    KVPLAN_TOKENS_MIN = 16, /* no prompt of a chat is shorter */
};

/* A verdict for each of the n <= KVPLAN_ITEMS_MAX items; those used last are served first while
 * there is room. Returns how many are to be saved. */
uint32_t kvplan_choose(const struct kvplan_item *items, uint32_t n, const struct kvplan_speeds *s,
                       const struct kvplan_room *room, enum kvplan_verdict *verdicts);

/* What stays free on a file system of that many bytes: a twentieth, at least 1 GiB. */
uint64_t kvplan_spare(uint64_t fs_bytes);

#endif
