/* SPDX-License-Identifier: MIT */
/* cli/doctor/doctor.h - `rolemesh doctor`: what is wrong here and in the cluster, and what to do
 * next. Every check says what it saw; one that could not look says so and judges nothing. This
 * folder:
 *
 *   doctor.c    the command: which checks, in order; printing
 *   machine.c   what this machine's kernel says, read; judge.c: what that means, pure
 *   place.c     files of this machine: role map, models, state directories, room on disks, programs
 *   cluster.c   the gateway and, through it, nodes, roles and their clocks; pure but for asking
 *
 * One thread. */
#ifndef RM_DOCTOR_DOCTOR_H
#define RM_DOCTOR_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

enum doctor_result { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILURE, DOCTOR_SKIPPED, DOCTOR_RESULTS };

struct doctor {
    json_t *checks; /* array of {check, subject, result, saw, next} */
    unsigned n[DOCTOR_RESULTS];
};

/* Notes one finding. subject: what was looked at, "" for this machine; next: what to do, NULL when
 * there is nothing; saw: what was seen, one line. Text of others is fine. */
void doctor_say(struct doctor *d, enum doctor_result result, const char *check, const char *subject,
                const char *next, const char *saw, ...) RM_PRINTF(6, 7);

const char *doctor_result_name(enum doctor_result r); /* "ok", "warning", "failure", "skipped" */

/* ---- this machine ---- */

enum doctor_core { CORE_UNKNOWN, CORE_MISSING, CORE_FAILED, CORE_CPU_ONLY, CORE_HAS_GPU };

/* A number that is not known is -1. */
struct machine_facts {
    int64_t mem_total, mem_available, swap_total, swap_free, huge_total, huge_free; /* bytes */
    double pressure_some, pressure_full; /* percent of the last 10 s (PSI) */
    int overcommit, panic_on_oom, oom_kill_allocating, swappiness; /* of /proc/sys/vm */
    char thp[16];                   /* "always", "madvise", "never"; "": unknown */
    int64_t files_soft, files_hard; /* RLIMIT_NOFILE */
    int clock_synced;               /* 1, 0 */
    char gpu[64];                   /* "AMD", "NVIDIA"; "": none seen */
    char gpu_denied[64];            /* a device file that may not be opened; "": none */
    enum doctor_core core;
    char core_why[160]; /* of CORE_FAILED */
};

/* root: "" for the real one; tests name another directory. core: path of rolemesh-core, "" when
 * there is none. Blocks. */
void machine_read(const char *root, const char *core, struct machine_facts *out);
void machine_judge(const struct machine_facts *f, struct doctor *d); /* judge.c */

/* ---- files ---- */

struct role_map;

/* Bytes free on the file system of path. Pure. total 0: could not look (why). */
void place_judge_disk(struct doctor *d, const char *subject, uint64_t total, uint64_t available,
                      bool read_only, const char *why);

/* A state directory's owner and mode. Pure. */
void place_judge_state(struct doctor *d, const char *path, bool mine, unsigned mode);

void place_check_disk(struct doctor *d, const char *path);
void place_check_states(struct doctor *d, const char *dir); /* NULL: the default ones */
void place_check_programs(struct doctor *d);

/* Returns the map, NULL when there is none or it has mistakes. file: NULL: role-map.yaml here, if
 * it is there. keyed: the gateway has keys. */
struct role_map *place_check_map(struct doctor *d, const char *file, bool keyed);
void place_check_models(struct doctor *d, const struct role_map *map, const char *models_dir);
void place_check_listening(struct doctor *d, const struct role_map *map, bool keyed);

/* Can the gateway of this map listen? For when no gateway answers. */
void place_check_ports(struct doctor *d, const struct role_map *map);

/* ---- the cluster ---- */

struct doctor_cluster {
    const char *url;
    bool reached;       /* the gateway answered */
    bool keys_exist;    /* as far as known */
    bool local;         /* the gateway runs on this machine */
    char map_path[512]; /* the gateway's role map, "" when not known */
};

/* Asks the gateway and the workers that it names. */
void cluster_check(struct doctor *d, struct doctor_cluster *c);

/* What the API's bodies say; each may be NULL: not known. Pure. */
void cluster_judge_status(struct doctor *d, const json_t *status);
void cluster_judge_map(struct doctor *d, const json_t *map);
void cluster_judge_nodes(struct doctor *d, const json_t *nodes, const char *gateway_version);
void cluster_judge_roles(struct doctor *d, const json_t *roles);
void cluster_judge_models(struct doctor *d, const json_t *models);
/* ahead_s: how far the other clock is ahead of ours; slack_s: what the look cannot tell. */
void cluster_judge_clock(struct doctor *d, const char *subject, double ahead_s, double slack_s);

#endif
