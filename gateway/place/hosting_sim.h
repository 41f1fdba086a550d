/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_sim.h - a cluster that is played for the hosting machine; tests only.
 * Nodes with budgets, engines that load, fail, hang and die, links that break, messages that are
 * late or lost, reloads with edited maps, and requests that come, run and leave. Everything follows
 * from a seed. hosting_sim.c is the world and what happens to it; hosting_sim_gate.c plays the
 * gateway around the machine (queues, leases, messages) and checks the rules of hosting.h;
 * hosting_sim_operator.c is somebody who drains, loads and evicts at any time;
 * hosting_sim_test.c runs seeds. */
#ifndef RM_PLACE_HOSTING_SIM_H
#define RM_PLACE_HOSTING_SIM_H

#include "gateway/place/hosting.h"

enum { SIM_NODES = 4, SIM_ROLES = 8, SIM_REQS = 64, SIM_MSGS = 128, SIM_TEXT = 256 };

enum sim_fate { FATE_GOOD, FATE_FAIL, FATE_FAIL_FOR_GOOD, FATE_HANG };

struct sim_engine {
    enum hosting_seen seen;
    uint32_t revision;
    uint64_t bytes, held_bytes;  /* forecast when it was asked for; what its worker says */
    uint64_t since_ms, until_ms; /* of the state; until: when it ends by itself, 0: it does not */
    enum sim_fate fate;
    uint32_t running;
    bool bad;   /* its node had no such model when it was asked for */
    bool again; /* DRAINING: starts anew with revision `next` */
    uint32_t next;
    uint64_t next_bytes;
};

struct sim_view { /* what the gateway last heard of a node */
    struct sim_engine engines[SIM_ROLES];
    bool refusing;
    uint64_t taken_ms, due_ms;
};

struct sim_node {
    bool in_map, leaving, link, refusing;
    bool drained;                   /* by the operator */
    uint64_t link_back_ms, calm_ms; /* when the link is back, the guard calm */
    uint64_t budget, heard_ms;
    bool over; /* its budget was cut below what stands: it may be over until it is not */
    struct sim_engine engines[SIM_ROLES];
    struct sim_view view, next;
    bool has_view, has_next;
};

struct sim_role {
    bool in_map, on_demand;
    enum plan_wish wish;
    uint32_t replicas, slots, revision;
    uint64_t idle_unload_ms;
    uint64_t bytes[SIM_NODES], load_ms[SIM_NODES];
    uint32_t allowed; /* bit: node */
    struct {
        int known; /* of the present revision: hosting_pair.forecast */
        int will_be;
        uint64_t due_ms;
    } forecast[SIM_NODES];
    enum hosting_wish wished[SIM_NODES]; /* by the operator */
    uint64_t gap_ms, next_ms;            /* between requests; when the next comes */
    uint64_t bare_since_ms;              /* requests wait and nobody serves; 0: not so */
    uint64_t faulted_ms;                 /* when something happened that may delay it */
    uint64_t named_ms;                   /* when the map last named it */
    uint32_t loads, idle_loads;          /* LOADs; those that were given up before they served */
};

struct sim_request {
    enum { REQ_FREE, REQ_WAITS, REQ_RUNS } state;
    size_t role, node;
    uint64_t came_ms, leaves_ms /* 0: stays */, run_ms, end_ms, held_until_ms;
    uint64_t order;
};

struct sim_message {
    enum { MSG_FREE, MSG_GOES, MSG_RETURNS } state;
    enum hosting_do what;
    size_t role, node;
    uint32_t revision;
    uint64_t bytes, due_ms;
    enum hosting_outcome outcome;
    bool lost_there, lost_back, bad; /* bad: the node has no such model */
};

struct sim {
    uint64_t seed, random, now_ms, calm_from_ms;
    bool faults, calm, hot;
    bool operated;  /* there is an operator */
    uint32_t trace; /* 1: prints what happens */
    struct sim_node nodes[SIM_NODES];
    struct sim_role roles[SIM_ROLES];
    size_t n_nodes, n_roles;
    struct sim_request reqs[SIM_REQS];
    struct sim_message msgs[SIM_MSGS];
    uint64_t next_order;
    /* the gateway */
    struct hosting *hosting;
    size_t role_at[SIM_ROLES], node_at[SIM_NODES]; /* index in the machine -> here */
    size_t n_machine_roles, n_machine_nodes;
    bool closed[SIM_ROLES][SIM_NODES], unloading[SIM_ROLES][SIM_NODES];
    uint32_t leases[SIM_ROLES][SIM_NODES];
    uint64_t used_ms[SIM_ROLES][SIM_NODES], ready_ms[SIM_ROLES][SIM_NODES];
    uint64_t held_until_ms[SIM_ROLES][SIM_NODES];
    struct hosting_node f_nodes[SIM_NODES];
    struct hosting_role f_roles[SIM_ROLES];
    struct hosting_pair f_pairs[SIM_ROLES * SIM_NODES];
    struct hosting_facts facts;
    struct replan_out plan;
    uint64_t plan_ticket, plan_due_ms;
    bool plan_due;
    /* bounds of this schedule */
    uint64_t load_max_ms, run_max_ms;
    /* counts */
    uint64_t came, served, told, left, lost, loads, unloads, replans, reloads, steps, orders;
    char broken[SIM_TEXT]; /* the first rule that was broken; "": none */
};

/* One schedule from first to last. Returns true when no rule was broken. */
bool sim_run(struct sim *s, uint64_t seed, bool trace);

/* ---- between the files ---- */
uint64_t sim_random(struct sim *s);
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high); /* both possible */
bool sim_chance(struct sim *s, uint32_t per_mille);
void sim_break(struct sim *s, const char *format, ...) RM_PRINTF(2, 3);
void sim_say(const struct sim *s, const char *format, ...) RM_PRINTF(2, 3);

/* The world */
void sim_world_make(struct sim *s);
void sim_world_step(struct sim *s);   /* engines, links, guards, clients: to now_ms */
bool sim_world_reload(struct sim *s); /* edits the map; true: something changed */
void sim_engine_put(struct sim *s, size_t role, size_t node, uint32_t revision, uint64_t bytes,
                    bool bad);
void sim_engine_delete(struct sim *s, size_t role, size_t node);
void sim_engine_gone(struct sim *s, size_t role, size_t node); /* what ran there is lost */
bool sim_engine_alive(const struct sim_engine *e);

/* The operator */
bool sim_operator_step(struct sim *s);   /* facts are there; true: a wish has changed */
void sim_operator_leaves(struct sim *s); /* takes back all wishes */
bool sim_is_shut(const struct sim *s, size_t role, size_t node); /* gets no request */
bool sim_is_kept_off(const struct sim *s, size_t role, size_t node);
bool sim_is_loaded(const struct sim *s, size_t role, size_t node); /* wished, and may be */
bool sim_any_loaded(const struct sim *s, size_t role);
void sim_check_load(struct sim *s, size_t role, size_t node);
bool sim_wish_holds(const struct sim *s, size_t role, size_t node); /* it is carried out */

/* The gateway */
size_t sim_place(const size_t *table, size_t n, size_t what); /* SIZE_MAX: not in it */
void sim_gate_open(struct sim *s);
void sim_gate_close(struct sim *s);
void sim_gate_map(struct sim *s); /* the map was edited, or something that left it is gone */
void sim_gate_step(struct sim *s);
bool sim_gate_quiet(const struct sim *s); /* nothing is on its way, nothing waits */
void sim_gate_lost(struct sim *s, size_t role, size_t node); /* requests there end with an error */
void sim_gate_end(struct sim *s); /* checks what must hold once all is quiet */

#endif
