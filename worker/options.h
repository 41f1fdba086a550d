/* SPDX-License-Identifier: MIT */
/* worker/options.h - rolemesh-worker's command line and file as one struct. Flags win over the
 * file. options_parse is pure but for reading the file named by --config. */
#ifndef RM_WORKER_OPTIONS_H
#define RM_WORKER_OPTIONS_H

#include "proto/http/address.h"
#include "proto/node/state.h"

enum { OPTIONS_LISTEN_MAX = 8, OPTIONS_WHY_MAX = 1024 };

enum options_mode { OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION };

struct worker_options {
    enum options_mode mode;
    char node[NODE_NAME_MAX];
    struct http_address listen[OPTIONS_LISTEN_MAX];
    size_t n_listen;
    bool listen_without_keys; /* other addresses than loopback are allowed without keys */
    char models_dir[1024];    /* absolute */
    char state_dir[1024];     /* absolute; "": the default of the node */
    char core[1024];          /* "": beside the worker's own program */
    uint64_t reserve_bytes;   /* 0: the default */
    uint64_t kv_save_bytes;   /* of the KV state of evicted hosts on the disk; 0: none */
    uint64_t drain_deadline_ms;
    int log_level;
};

/* why: OPTIONS_WHY_MAX bytes; for people, one or (from the file) more lines without the last LF.
 * Returns 0 or RM_ERR_CONF. */
RM_MUST_USE int options_parse(int argc, char **argv, struct worker_options *out, char *why);

const char *options_help(void);

/* "12GiB", "512MiB", "4096": bytes. Returns 0 or RM_ERR_CONF. Pure. */
RM_MUST_USE int options_size(const char *text, uint64_t *out);

#endif
