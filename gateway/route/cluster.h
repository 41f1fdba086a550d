/* SPDX-License-Identifier: MIT */
/* gateway/route/cluster.h - nodes and hosts as the gateway knows them: what their workers said,
 * what traffic showed. Internal to route: route.c moves tickets over it, report.c prints it. Facts
 * and time come in as arguments; the only pointers outwards are the HTTP clients, which are passed
 * on and never used here. */
#ifndef RM_ROUTE_CLUSTER_H
#define RM_ROUTE_CLUSTER_H

#include <sys/queue.h>

#include "gateway/route/decision.h"
#include "gateway/route/health.h"
#include "gateway/route/rate.h"
#include "gateway/route/route.h"
#include "gateway/route/score.h"

enum { CLUSTER_PREFIXES = 64, CLUSTER_HOLD_MS = 500, CLUSTER_TEXT_MAX = 400 };

struct cluster_node {
    char name[NODE_NAME_MAX];
    struct http_client *client; /* NULL: no link */
    struct node_state state;    /* the last one heard */
    bool drained;               /* by an operator */
    bool has_state, gone;       /* gone: left the map; freed when nothing is in flight */
    struct health health;
    int last_err;     /* why the link broke last; 0: it has not */
    const char *path; /* how it is reached; NULL: unknown */
    double rtt_ms;    /* < 0: not measured */
    struct rate rate; /* tokens that its hosts read and wrote since its first state */
    TAILQ_ENTRY(cluster_node) link;
};

struct cluster_role;

/* role@node. Exists from the first state that names it to the node's end. */
struct cluster_host {
    struct cluster_node *node;
    struct cluster_role *role;
    struct node_host
        facts; /* copied from the state; HOST_ABSENT when it names the role no longer */
    char target[NODE_NAME_MAX + 24];
    struct health health;
    uint32_t in_flight;     /* our leases */
    uint64_t held_until_ms; /* after a loss: no lease before this, unless another engine shows */
    const char *wanted;     /* by an operator: a static word; NULL: nothing */
    bool closed;            /* drive lets it drain: no new lease */
    uint64_t last_use_ms;   /* a lease began or ended; 0: never */
    uint64_t state_ms;      /* since when facts.state is what it is */
    uint64_t risen_ms;      /* when facts.progress rose last, or the state changed */
    double began;           /* facts.progress when the state changed */
    double service_s;       /* moving average of a lease's length */
    double prefill_tps;     /* the last one measured, also by an engine that is gone */
    struct {
        uint64_t key;
        uint32_t tokens;
    } prefix[CLUSTER_PREFIXES]; /* newest overwrites oldest */
    uint32_t next_prefix;
    uint64_t granted, lost;
    uint64_t loads, load_fails; /* seen to become ready, to fail instead */
    bool told;                  /* facts are of a state, not of its making */
    TAILQ_ENTRY(cluster_host) link;
};

/* What drive said of a role; see struct route_note. */
struct cluster_note {
    enum route_note_state state;
    char node[NODE_NAME_MAX], text[CLUSTER_TEXT_MAX];
    uint64_t since_ms, ready_ms; /* ready_ms: when it should be ready; 0: unknown */
};

struct cluster_role {
    const struct cluster *cluster; /* that it is in */
    char name[NODE_NAME_MAX];
    const struct map_role *conf; /* in the present map; NULL: left it */
    TAILQ_HEAD(cluster_hosts, cluster_host) hosts;
    TAILQ_HEAD(route_waiting, route_ticket) waiting; /* oldest first; route.c's */
    uint32_t n_waiting;
    uint64_t granted, refused, moved;  /* moved: to a fallback */
    uint64_t last_ask_ms, last_use_ms; /* 0: never */
    bool wanted;                       /* somebody has begun to wait since drive was told */
    struct cluster_note note;
    uint64_t stood_ms; /* how long the queue's clock has stood in all; see coming.h */
    uint64_t clock_ms; /* until when that has been counted */
    TAILQ_ENTRY(cluster_role) link;
};

struct cluster {
    TAILQ_HEAD(, cluster_node) nodes;
    TAILQ_HEAD(, cluster_role) roles;
};

void cluster_init(struct cluster *c);
void cluster_clear(struct cluster *c);

/* Makes roles and nodes follow the map. Returns 0 or UV_ENOMEM. */
int cluster_set_map(struct cluster *c, const struct role_map *map, uint64_t now_ms);
struct cluster_role *cluster_role_find(const struct cluster *c, const char *role);
struct cluster_node *cluster_node_find(const struct cluster *c, const char *node);

/* A state arrived: copied, hosts brought up to date. Returns 0 or UV_ENOMEM. */
int cluster_node_state(struct cluster *c, struct cluster_node *n, const struct node_state *state,
                       uint64_t now_ms);
void cluster_sweep(struct cluster *c); /* frees what is gone and not in use */

/* May requests go there? usable: a ready host of the present map on a node that is not down,
 * without drift, not closed. */
bool cluster_host_usable(const struct cluster_host *h);

/* Would it be usable but for its model's hash, which is not that of most? */
bool cluster_host_drifts(const struct cluster_host *h);

/* A request was lost there or sent back. The worker sees an engine's death within 100 ms and says
 * so; until then, or for CLUSTER_HOLD_MS, the host gets no other request that would only be lost as
 * well. */
void cluster_hold(struct cluster_host *h, uint64_t now_ms);

/* The best free host by score for a prompt, or NULL. avoid: names of nodes to pass over, unless
 * nobody else is there. *d: what was known and the choice; with a choice also those that could not
 * be taken, and why. Borrows names of nodes. */
struct cluster_host *cluster_best(const struct cluster_role *role, const struct route_ask *ask,
                                  uint64_t now_ms, struct decision *d);

/* Seconds until a host that is being loaded would be done with the prompt: load_ms until it is
 * ready, then the prompt, behind `ahead` others that wait for it. 0: its speed is not known. */
double cluster_cold_score(const struct cluster_host *h, const struct route_ask *ask,
                          uint64_t load_ms, uint32_t ahead);
uint32_t cluster_usable(const struct cluster_role *role);

/* The host, made (as an absent one) when it was not known; NULL: no such role or node, no memory.
 */
struct cluster_host *cluster_host_get(struct cluster *c, const char *role, const char *node,
                                      uint64_t now_ms);
struct cluster_host *cluster_host_find(const struct cluster_role *role, const char *node);

void cluster_note_prefix(struct cluster_host *h, uint64_t key, uint32_t tokens);

#endif
