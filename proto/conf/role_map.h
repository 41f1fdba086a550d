/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map.h - the role map: who serves which mode, with which model, where.
 * One YAML file becomes one immutable, ref-counted struct; a request keeps the map it began with,
 * and a reload builds a new one beside it and swaps the pointer. The keys with their types,
 * defaults and what a reload does are the tables in role_map_keys.c (`rolemesh keys --config`
 * prints them); the checks across keys are in role_map_check.c. Everything is owned by the map and
 * lives until its last unref. Any thread may read and ref; lists are in the order of the file. */
#ifndef RM_CONF_ROLE_MAP_H
#define RM_CONF_ROLE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/conf/report.h"

/* What a reload may do when a key changed; a set of bits in role_map_diff(). */
enum conf_effect {
    CONF_LIVE = 1,    /* taken over at once; no host is touched */
    CONF_PLACE = 2,   /* the plan is made again; a host that still fits keeps running */
    CONF_HOSTS = 4,   /* the role's hosts are replaced: their engines run with other flags */
    CONF_RESTART = 8, /* noted, and used from the next start of the program */
};

/* A list of strings with the place of each. */
struct conf_list {
    const char *const *item; /* NUL-terminated */
    const struct conf_at *at;
    size_t n;
};

/* "host:port"; IPv6 in brackets in the file, without them here. */
struct conf_addr {
    const char *host; /* name or numeric address */
    uint16_t port;    /* 0 only in `listen`: the system chooses */
    bool loopback;    /* 127.0.0.0/8, ::1 or localhost */
    struct conf_at at;
};

struct conf_addr_list {
    const struct conf_addr *item;
    size_t n;
};

enum map_lane { MAP_LANE_AUTOCOMPLETE, MAP_LANE_INTERACTIVE, MAP_LANE_BATCH };
enum map_residency { MAP_PINNED, MAP_RESIDENT, MAP_ON_DEMAND };
enum map_kv { MAP_KV_F16, MAP_KV_Q8_0 };
enum map_overcommit { MAP_OVERCOMMIT_NONE, MAP_OVERCOMMIT_SWAP };
enum map_engine_kind { MAP_ENGINE_CORE, MAP_ENGINE_ATTACH, MAP_ENGINE_LLAMA_SERVER };
enum map_source { MAP_SOURCE_FILE, MAP_SOURCE_HF, MAP_SOURCE_ATTACH };

enum { MAP_CORE_SLOTS_MAX = 64 }; /* sequences of one engine process; decoder.h */

struct map_gateway {
    struct conf_addr_list listen; /* at least one */
    bool listen_without_keys;     /* addresses other than loopback are allowed */
    struct conf_list
        cors_origins;           /* "*" or origins such as "http://localhost:3000"; empty: no CORS */
    uint64_t keepalive_ms;      /* a waiting stream gets a sign of life this often */
    uint64_t drain_deadline_ms; /* after SIGTERM, streams may finish for so long */
    uint64_t queue_deadline_ms; /* default for roles */
    uint32_t queue_max;         /* default for roles */
    uint32_t connections_max;   /* editors' connections at most */
    uint64_t body_max_bytes;    /* request bodies of chat */
    uint64_t body_memory_bytes; /* all request bodies held at one time */
    int log_level;              /* enum rm_log_level */
    bool watch;                 /* an edit of the file is taken over without a signal */
};

struct map_node {
    const char *name;
    struct conf_addr address;
    uint64_t reserve_bytes; /* memory that hosts must leave free; 0: what its worker keeps */
    struct conf_at at;
    size_t index; /* in role_map.nodes */
};

struct map_model {
    const char *name;
    const char *source; /* as written in the file */
    enum map_source kind;
    const char *path;     /* FILE: absolute path on the node, else NULL */
    const char *repo;     /* HF: "org/repo", else NULL */
    const char *quant;    /* HF: "Q8_0", else NULL */
    const char *attached; /* ATTACH: the name the attached engine knows, else NULL */
    struct conf_at at, source_at;
    size_t index; /* in role_map.models */
};

struct map_role {
    const char *name;
    struct conf_list modes;        /* at least one; no two roles share one */
    const char *model_name;        /* a key of `models` */
    const struct map_model *model; /* the same, resolved; never NULL in a finished map */
    uint32_t context;              /* tokens per slot */
    uint32_t slots;    /* sequences decoded together, 1..64; other engines than core 1..4096 */
    uint32_t replicas; /* hosts wanted, 1..16 */
    enum map_lane lane;
    struct conf_list fallback; /* role names, tried in order; no loops */
    enum map_residency residency;
    uint64_t idle_unload_ms;        /* on-demand: unloaded after so long without a request */
    struct conf_list nodes;         /* allowed nodes; empty: all */
    struct conf_list deny;          /* nodes never used */
    enum map_overcommit overcommit; /* SWAP: the plan may count on a node's swap for it */
    enum map_kv kv;
    uint32_t batch;             /* tokens per decode call at most */
    uint32_t threads;           /* 0: the engine chooses */
    int32_t gpu_layers;         /* -1: all */
    uint32_t queue_max;         /* requests waiting at most */
    uint64_t queue_deadline_ms; /* a request waits for a host at most so long */
    struct {
        enum map_engine_kind kind;
        const char *url; /* ATTACH: "http://host:port" and maybe a path, without a slash at the end;
                            else NULL */
        struct conf_at url_at;
    } engine;
    struct conf_at at, model_at, engine_at, slots_at;
    size_t index; /* in role_map.roles */
};

struct role_map {
    const char *file; /* as given to load or parse */
    uint32_t version;
    struct map_gateway gateway;
    struct map_node *nodes;
    struct map_model *models;
    struct map_role *roles;
    size_t n_nodes, n_models, n_roles;
    struct role_map_private *private; /* memory and count; role_map.c */
};

/* Reads and checks a file.
 * report  gets every mistake; initialised by the caller, cleared by the caller
 * *out    one reference, to be given back with role_map_unref(); NULL unless 0 is returned
 * Returns 0, RM_ERR_CONF (the report says why; also for a file that cannot be read), or UV_ENOMEM.
 * Blocking: reads at most 1 MiB from a regular file. */
RM_MUST_USE int role_map_load(const char *path, struct conf_report *report, struct role_map **out);

/* The same from memory. name: what messages call it; bytes: n of them, any bytes at all. */
RM_MUST_USE int role_map_parse(const char *name, const char *bytes, size_t n,
                               struct conf_report *report, struct role_map **out);

struct role_map *role_map_ref(struct role_map *map); /* returns map */
void role_map_unref(struct role_map *map);           /* the last one frees; NULL is fine */

/* Lookups; NULL when there is none. Names are compared byte by byte. */
const struct map_role *role_map_role(const struct role_map *map, struct rm_slice name);
const struct map_role *role_map_mode(const struct role_map *map, struct rm_slice mode);
const struct map_node *role_map_node(const struct role_map *map, struct rm_slice name);
const struct map_model *role_map_model(const struct role_map *map, struct rm_slice name);

/* The first role in the file that runs this model. */
const struct map_role *role_map_role_of_model(const struct role_map *map, struct rm_slice model);

/* What an editor may put into `model` on a bare /v1: a mode, else a role, else a model name. */
const struct map_role *role_map_resolve(const struct role_map *map, struct rm_slice name);

/* May this role be hosted on this node? (`nodes` and `deny`) */
bool map_role_allows(const struct map_role *role, const char *node);

/* The words of the file for the enums, e.g. "on-demand". Static storage; never NULL. */
const char *map_lane_name(enum map_lane lane);
const char *map_residency_name(enum map_residency residency);
const char *map_kv_name(enum map_kv kv);
const char *map_overcommit_name(enum map_overcommit overcommit);

/* One difference between two maps. */
struct map_change {
    enum map_subject { MAP_SUBJECT_GATEWAY, MAP_SUBJECT_NODE, MAP_SUBJECT_ROLE } subject;
    enum map_how { MAP_ADDED, MAP_REMOVED, MAP_CHANGED } how;
    const char *name; /* of the node or role; "gateway" */
    const char *keys; /* CHANGED: the keys, comma-separated; else "" ; valid for the call */
    unsigned effects; /* bits of enum conf_effect; ADDED and REMOVED roles and nodes: CONF_PLACE */
};

/* Tells every difference, gateway first, then nodes, then roles, each in the order of the new file
 * with the removed ones last. A change of a model's source is told as key "model" of the roles that
 * use it. A role without CONF_HOSTS in its effects keeps its hosts' engines. Pure. */
void role_map_diff(const struct role_map *old, const struct role_map *new_map,
                   void (*on_change)(void *arg, const struct map_change *change), void *arg);

#endif
