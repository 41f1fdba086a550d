/* SPDX-License-Identifier: MIT */
/* gateway/drive/drive_impl.h - what the files of drive share. Loop thread only. */
#ifndef RM_GATEWAY_DRIVE_IMPL_H
#define RM_GATEWAY_DRIVE_IMPL_H

#include <sys/queue.h>

#include "gateway/drive/drive.h"
#include "gateway/drive/wishes.h"
#include "gateway/mesh/link.h"
#include "gateway/place/hosting.h"
#include "proto/node/desired.h"
#include "proto/plan/plan_live.h"

enum {
    DRIVE_TICK_MS = 500,
    DRIVE_SETTLE_MS = 3000,        /* nothing is asked for before every node could speak */
    DRIVE_GRACE_MS = 30000,        /* a node that was lost keeps its roles for so long */
    DRIVE_LEAVE_MS = 60000,        /* one that left the map and does not answer is let go */
    DRIVE_RETRY_MS = 2000,         /* between two tries of the same question */
    DRIVE_BAD_AGAIN_MS = 10000,    /* a node that could not host a role may have its model by now */
    DRIVE_GOOD_AGAIN_MS = 600000,  /* a forecast may have been measured since */
    DRIVE_LOADED_AGAIN_MS = 30000, /* the same, after a load */
    DRIVE_LIMITS_MS = 5000,        /* limits that move stay moved for so long before they count */
    DRIVE_LIMITS_PART = 64,        /* smaller moves than this part of the memory never do */
    DRIVE_DISK_BYTES_MS = 500000,  /* a load reads so fast where none was seen yet */
    DRIVE_BODY_MAX = 16 * 1024,
    DRIVE_PATH_MAX = 1100,
    DRIVE_KEEP_AGAIN_MS = 5000, /* after a write of the wishes that failed */
    DRIVE_TRIALS = 4,           /* offered maps that are planned at one time */
    DRIVE_TRIAL_MS = 8000,      /* workers are waited for */
    DRIVE_PLAN_LISTENERS = 256  /* who waits for one answer */
};

struct drive_node {
    struct drive *drive;
    struct link *link;
    struct http_address address;
    char name[NODE_NAME_MAX];
    uint64_t id;             /* never used twice */
    struct node_state state; /* the last one heard */
    bool has_state;
    uint64_t heard_ms;
    bool leaving; /* not in the map any more */
    bool drained; /* by an operator */
    uint64_t leaving_ms;
    struct plan_node limits; /* as they count */
    uint64_t moved_ms;       /* since when they would be others; 0: they would not */
    uint64_t reserve, total; /* of the map and of the node, when they were taken */
    double bytes_ms;         /* of loads seen here; 0: none yet */
};

struct drive_role {
    char name[NODE_NAME_MAX];
    const struct map_role *conf;             /* NULL: left the map, but hosts of it stand */
    enum route_note_state noted;             /* what route was told last */
    uint64_t given_up[HOSTING_KEPT_OFF + 1]; /* hosts, by hosting_why */
};

/* One role on one node. */
struct drive_pair {
    enum plan_known known;
    struct node_forecast *forecast; /* owned; FORECAST, and with its error BAD */
    char wanted_rev[33];            /* what the role map asks for; "": left the map */
    char forecast_for[33];          /* revision the forecast is of */
    bool asking;
    uint64_t ask_again_ms;
    bool updating, unload_after; /* a PUT that touches no engine is on its way; then a DELETE */
    uint64_t update_again_ms;
    enum hosting_wish wish;               /* an operator's */
    bool was_shut, was_wished;            /* as route was told */
    uint64_t load_began_ms, load_took_ms; /* as seen from here; 0: not loading, not known */
};

struct drive {
    uv_loop_t *loop;
    uv_timer_t tick;
    struct role_map *map; /* a reference */
    struct route *route;
    struct hosting *hosting;
    struct drive_node **nodes; /* map->n_nodes in the map's order, then those that are leaving */
    struct drive_role *roles;  /* the same for roles */
    struct drive_pair *pairs;  /* [role * n_nodes + node] */
    size_t n_nodes, n_roles;
    /* facts of the present round, of the same sizes */
    struct hosting_node *f_nodes;
    struct hosting_role *f_roles;
    struct hosting_pair *f_pairs;
    struct hosting_facts facts;
    uint64_t epoch, started_ms, last_id;
    struct wishes wishes; /* operators', by name; tables have them as well */
    struct {
        char *path; /* owned; NULL: nowhere */
        bool dirty, writing, failed;
        uint64_t again_ms;
    } keep;
    uint64_t unsolved;       /* ticket of a plan that could not be begun; 0: none */
    uint32_t pending;        /* answers and solves still to come */
    struct drive_plan *plan; /* that is being made for people; NULL: none */
    LIST_HEAD(, drive_plan) trials;
    uint32_t n_trials;
    bool settled, fenced, closing, timer_closed, running, again;
};

static inline struct drive_pair *drive_pair(const struct drive *d, size_t role, size_t node)
{
    return &d->pairs[role * d->n_nodes + node];
}

/* ---- drive.c ---- */
/* Makes the tables anew for a map, with what left it and is not gone yet. Returns 0 or UV_ENOMEM
 * (all as before). */
int drive_retable(struct drive *d, struct role_map *map);
/* The same when something that left is gone, or a host of an unknown role has shown up. */
void drive_follow(struct drive *d);
void drive_free_when_idle(struct drive *d);
void drive_run_soon(struct drive *d); /* from the loop */

/* ---- nodes.c ---- */
int drive_node_open(struct drive *d, const struct map_node *conf, struct drive_node **out);
void drive_node_free(struct drive_node *n);
bool drive_node_usable(const struct drive_node *n);
bool drive_node_is_at(const struct drive_node *n, const struct map_node *conf);

/* ---- ask.c ---- */
void drive_desired(const struct drive *d, const struct map_role *role, struct desired_host *out);
bool drive_is_up_to_date(const struct node_host *h, const struct map_role *role);
void drive_ask_forecasts(struct drive *d, uint64_t now);
void drive_put(struct drive *d, size_t role, size_t node);
void drive_delete(struct drive *d, size_t role, size_t node);
void drive_update(struct drive *d, size_t role, size_t node); /* residency, lane: no engine ends */

/* ---- operate.c ---- */
bool drive_is_shut(const struct drive *d, size_t role, size_t node);     /* gets no request */
bool drive_is_kept_off(const struct drive *d, size_t role, size_t node); /* or is shut */
/* The tables were made anew, or a wish has changed: wishes to tables and route. */
void drive_take_wishes(struct drive *d);
/* The map has changed: wishes for what it has no longer end. */
void drive_follow_wishes(struct drive *d);
/* A state is about to be told to route: hosts that it names and that get no request are closed. */
void drive_shut_before(struct drive *d, size_t node, const struct node_state *state);

/* ---- keep.c ---- */
void drive_keep(struct drive *d); /* writes the wishes, if they have changed */

/* ---- facts.c ---- */
int drive_fill_facts(struct drive *d, uint64_t now); /* 0 or UV_ENOMEM: those of before */
bool drive_has_forecasts(const struct drive *d);     /* of all that can be asked */

/* ---- plan.c ---- */
void drive_mind_trials(struct drive *d, uint64_t now); /* those whose time is over */

/* ---- run.c ---- */
void drive_run(struct drive *d);
void drive_fence(struct drive *d, const char *node); /* a newer gateway is in charge */

#endif
