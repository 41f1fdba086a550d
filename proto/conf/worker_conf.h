/* SPDX-License-Identifier: MIT */
/* proto/conf/worker_conf.h - the worker's own small file (`rolemesh-worker --config FILE`).
 * Same reader, tables and messages as the role map. Flags on the command line win over it; main.c
 * does that. The struct is read once at start; all of it is CONF_RESTART. */
#ifndef RM_CONF_WORKER_CONF_H
#define RM_CONF_WORKER_CONF_H

#include "proto/conf/role_map.h"

struct worker_conf {
    const char *node;             /* this machine's name; NULL: the host name */
    struct conf_addr_list listen; /* at least one */
    bool listen_without_keys;     /* addresses other than loopback are allowed */
    const char *models_dir;       /* absolute; NULL: model paths may be anywhere */
    const char
        *state_dir; /* absolute; NULL: $XDG_STATE_HOME/rolemesh or the like, chosen by the worker */
    const char *core; /* absolute path of rolemesh-core; NULL: beside the worker's own program */
    uint64_t reserve_bytes;     /* memory that hosts must leave free */
    uint64_t kv_save_bytes;     /* KV state of evicted hosts on the disk, in all; 0: none */
    uint64_t drain_deadline_ms; /* after SIGTERM, streams may finish for so long */
    int log_level;              /* enum rm_log_level */
    struct worker_conf_private *private;
};

/* As role_map_load() and role_map_parse(). *out is freed by worker_conf_free(). */
RM_MUST_USE int worker_conf_load(const char *path, struct conf_report *report,
                                 struct worker_conf **out);
RM_MUST_USE int worker_conf_parse(const char *name, const char *bytes, size_t n,
                                  struct conf_report *report, struct worker_conf **out);
void worker_conf_free(struct worker_conf *conf); /* NULL is fine */

#endif
