/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting.h - living with the plan: which host is loaded, closed, given up, and when.
 * A pure state machine: facts and time in, actions out; no I/O, no clock, no allocation but in
 * hosting_new and hosting_reshape. The facts are a whole snapshot each time, so nothing is lost by
 * a lost message, and a new gateway that finds hosts standing goes on with them. drive.c collects
 * facts and carries actions out; replan.h says where pinned and resident roles shall stand (asked
 * for here, solved elsewhere); route holds the requests. hosting_sim_test.c plays years of it.
 *
 *            target, room                    seen ready
 *   nothing ───────────────► asked, loading ───────────► serving
 *      ▲      LOAD                  │ failed, hangs        │ no target any more: CLOSE
 *      │                            ▼                      ▼            target again: OPEN
 *      └─── gone ◄─── unloading ◄───┴──────────────── draining ─────────────────────────► serving
 *                       UNLOAD      nothing in flight
 *
 * Rules
 *  - Targets of one node fit into its budget together. A load starts when what stands there, with
 *    hosts that are still draining, and the new forecast are within the budget: never a moment over
 *    it. A node that refuses, or cannot be asked, gets no load.
 *    What stands does not go because its numbers grew a little (HOSTING_DRIFT): its worker's guard
 *    sees to that.
 *  - A host goes only after CLOSE and when nothing is in flight there: no request is cut.
 *  - Pinned and resident roles stand where replan says; it never lets a host go for a wish that is
 *    not more important. A host that moves goes after its successor is ready; before, only when
 *    somebody needs its room and its successor cannot load first.
 *  - On-demand roles take turns in what the others leave. A role that requests wait for is loaded
 *    where least must go for it. Who may have to go: an idle host that was not used for as long as
 *    it takes to load (or the waiting one's bound, when that is less); a host in use when the
 *    oldest waiting request has waited for the bound of its lane and the host had its turn: as long
 *    as it takes to load, HOSTING_TURN_MIN_MS..HOSTING_TURN_MAX_MS. So alternating requests are
 *    served in batches, and at least half of the time is served rather than loaded. Of several
 *    waiting roles the one goes first whose bound is over first; what waited through the end of its
 *    role's turn counts from there. While it waits for the ends of turns, no other takes the room.
 *  - No starvation: with k roles in one room, a request waits at most
 *      bound + k x (turn + longest running request + longest load + HOSTING_SLACK_MS)
 *    unless loads fail.
 *  - A load that fails, or does not move for twice its estimate (HOSTING_HANG_MS at least), is
 *    taken back, and tried elsewhere, or again after a pause that doubles. A node whose forecast
 *    is bad is not tried, unless no other can host a pinned or resident role: its worker says why.
 * When nothing is left to be tried, what waits for an on-demand role is told so (FAIL).
 *  - What leaves the map (roles and nodes) is drained and given up.
 *
 * Operators' wishes; each holds until it is taken back, and none of them cuts a request
 *  - A drained host gets no new request and stays loaded; it still is one of its role's hosts, so
 *    that no other is loaded for it by the plan. (Requests that wait for an on-demand role may have
 *    another loaded.) When it goes for another reason it is not loaded there again.
 *  - Unloaded: it drains, goes, and is not loaded there. The plan gives it another place if it can.
 *  - Loaded: it is one of its role's hosts, of which there are as many as are loaded, if that is
 *    more than `replicas`; the role counts as pinned then, on demand or not, and an on-demand one
 *    is neither unloaded for idleness nor does it make room. Taken only where it fits beside the
 *    hosts that the plan has there: it makes none of these go.
 *  - A drained node's hosts get no new request, and nothing is loaded there. What the plan can
 *    place elsewhere goes when its successor serves; on-demand hosts go; the rest stays loaded.
 *  - Evicted (once): it drains and goes whoever wants it; then the plan, or a request, decides.
 *  - What waits for a role that has no host but such that operators keep it from is told so (FAIL,
 *    HOSTING_KEPT_OFF): nothing would change by itself. */
#ifndef RM_PLACE_HOSTING_H
#define RM_PLACE_HOSTING_H

#include "gateway/place/replan.h"

enum {
    HOSTING_BOUND_AUTOCOMPLETE_MS =
        3 * 1000, /* how long a request may wait for a batch of others */
    HOSTING_BOUND_INTERACTIVE_MS = 15 * 1000,
    HOSTING_BOUND_BATCH_MS = 60 * 1000,
    HOSTING_TURN_MIN_MS = 2 * 1000,
    HOSTING_TURN_MAX_MS = 60 * 1000,
    HOSTING_HANG_MS = 60 * 1000,     /* a load that does not move, at least */
    HOSTING_RETRY_MIN_MS = 2 * 1000, /* after a failed load; doubled up to */
    HOSTING_RETRY_MAX_MS = 5 * 60 * 1000,
    HOSTING_TRIES = 3,            /* failed loads in a row after which waiting requests are told */
    HOSTING_DOUBT_MS = 10 * 1000, /* a PUT without an answer may have been heard for so long */
    HOSTING_AGAIN_MS = 2 * 1000,  /* between two tries of the same question; doubled up to */
    HOSTING_AGAIN_MAX_MS = 60 * 1000,
    HOSTING_DRIFT = 32, /* what stands may grow this part over the budget before hosts go for it */
    HOSTING_SLACK_MS = 10 * 1000, /* messages on their way, ticks; for the bound above */
    HOSTING_LEAVING_MAX = 64      /* roles that left the map, over what replan takes */
};

/* What a worker says of a role on its node. */
enum hosting_seen {
    HOSTING_ABSENT,
    HOSTING_LOADING, /* fetching, loading, warming */
    HOSTING_READY,   /* or busy */
    HOSTING_DRAINING,
    HOSTING_FAILED
};

/* What an operator wants of a role on a node. */
enum hosting_wish {
    HOSTING_NO_WISH,
    HOSTING_WANT_LOADED,
    HOSTING_WANT_UNLOADED,
    HOSTING_WANT_DRAINED
};

struct hosting_node {
    struct plan_node limits; /* for the hosts here; usable: its worker answers, or did so a short
                                time ago */
    bool reachable;          /* it can be asked now */
    bool refusing;           /* its guard lets no engine start */
    bool leaving;            /* not in the map any more */
    bool drained;            /* by an operator */
};

struct hosting_role {
    bool leaving; /* not in the map any more; the rest but requests is ignored */
    bool on_demand;
    enum plan_wish
        wish; /* PLAN_PINNED or, by lane, PLAN_AUTOCOMPLETE..PLAN_BATCH, also on demand */
    uint32_t replicas;
    bool swap;               /* may be counted on swap */
    uint64_t idle_unload_ms; /* on demand; 0: never */
    uint32_t waiting;        /* requests without a host */
    uint64_t oldest_ms;      /* age of the oldest of them */
};

/* One role on one node. */
struct hosting_pair {
    bool allowed; /* by the role's lists */
    enum hosting_wish operator_wish;
    enum {
        HOSTING_UNASKED,
        HOSTING_FITS,
        HOSTING_BAD
    } forecast;             /* of the wanted revision; BAD: the
             node cannot host it, whatever is free */
    bool file;              /* the model's file is there */
    uint64_t bytes;         /* FITS */
    uint64_t device_bytes;  /* of them, on devices */
    uint64_t largest_bytes; /* largest single allocation; 0: unknown */
    uint64_t load_ms;       /* how long a load takes there; 0: unknown */
    enum hosting_seen seen;
    bool current;        /* what is seen is of the wanted revision */
    bool for_good;       /* FAILED: its worker will not try it again by itself */
    double progress;     /* 0..1, LOADING */
    uint64_t held_bytes; /* its worker's forecast of what is seen; 0: unknown */
    uint32_t in_flight;  /* requests on it: our leases, or what its worker says if that is more */
    uint64_t used_ms;    /* when a request was on it last; 0: never */
};

struct hosting_facts {
    const struct hosting_node *nodes; /* n_nodes <= PLAN_NODES_MAX */
    const struct hosting_role *roles; /* n_roles <= PLAN_ROLES_MAX + HOSTING_LEAVING_MAX; those that
                                         are leaving come last */
    const struct hosting_pair *pairs; /* [role * n_nodes + node] */
    bool settled; /* every node has spoken or had its chance: nothing is asked for before */
};

enum hosting_do {
    HOSTING_LOAD,   /* PUT the wanted revision; hosting_answer() is owed */
    HOSTING_CLOSE,  /* no new request for this host */
    HOSTING_OPEN,   /* again */
    HOSTING_UNLOAD, /* DELETE; hosting_answer() is owed */
    HOSTING_REPLAN, /* hosting_plan_in(), solve, hosting_planned(); none other comes before */
    HOSTING_FAIL    /* tell the role's waiting requests `why` */
};
const char *hosting_do_name(enum hosting_do what);

/* Why. */
enum hosting_why {
    HOSTING_PLANNED,    /* LOAD: replan wants it; REPLAN */
    HOSTING_DEMANDED,   /* LOAD: requests wait for it */
    HOSTING_CHANGED,    /* LOAD, CLOSE: its entry in the map has changed */
    HOSTING_LEFT,       /* CLOSE, UNLOAD: role or node left the map */
    HOSTING_MOVED,      /* the role stands elsewhere, or is to */
    HOSTING_IDLE,       /* not used for idle_unload */
    HOSTING_ROOM,       /* its room is needed */
    HOSTING_BROKEN,     /* its load failed or hangs */
    HOSTING_ASKED,      /* an operator wants it so */
    HOSTING_DRAINED,    /* CLOSE: an operator drains it, or its node */
    HOSTING_KEPT,       /* OPEN: it need not go after all, or is gone */
    HOSTING_NO_ROOM,    /* FAIL: fits on no node beside pinned and resident roles */
    HOSTING_NO_NODE,    /* FAIL: every allowed node says that it cannot host it */
    HOSTING_LOAD_FAILS, /* FAIL: count loads in a row failed */
    HOSTING_KEPT_OFF    /* FAIL: operators keep it from the nodes that it may stand on; node: one */
};
const char *hosting_why_text(enum hosting_why why); /* for people; static */

struct hosting_action {
    enum hosting_do what;
    enum hosting_why why;
    size_t role, node; /* node: SIZE_MAX for REPLAN and most FAILs; role: SIZE_MAX for REPLAN */
    uint64_t bytes;    /* LOAD: forecast; FAIL, NO_ROOM: missing on the best node */
    uint32_t count;    /* FAIL: failed loads in a row */
};

struct hosting;

RM_MUST_USE int hosting_new(size_t n_roles, size_t n_nodes, struct hosting **out); /* UV_ENOMEM */
void hosting_free(struct hosting *h);                                              /* NULL: fine */

/* The map has changed: role i was role_was[i] before, node i node_was[i]; SIZE_MAX: new. What is
 * not named any more is forgotten; an answer owed for it is not to be given. Returns 0 or UV_ENOMEM
 * (nothing changed). A solve on its way is void: its answer is dropped. */
RM_MUST_USE int hosting_reshape(struct hosting *h, size_t n_roles, size_t n_nodes,
                                const size_t *role_was, const size_t *node_was);

typedef void hosting_act(void *arg, const struct hosting_action *a);

/* One round; to be called when a fact changes and at least once a second. Each action is to be
 * carried out at once, in order (CLOSE must hold when it returns); act may not call back in, but
 * with the hosting_answer() to the very action that it was given.
 * now_ms: never falling, above 0. */
void hosting_step(struct hosting *h, const struct hosting_facts *f, uint64_t now_ms,
                  hosting_act *act, void *arg);

/* What came of a LOAD or UNLOAD. */
enum hosting_outcome {
    HOSTING_OK,
    HOSTING_REFUSED, /* the worker said no: nothing was done */
    HOSTING_SILENT   /* no answer: it may have been done */
};
void hosting_answer(struct hosting *h, size_t role, size_t node, enum hosting_do what,
                    enum hosting_outcome how, uint64_t now_ms);

/* An operator evicts a host, once. Nothing stands there: nothing happens. */
void hosting_evict(struct hosting *h, size_t role, size_t node);
/* An operator wants a load tried now, whatever failed before; an eviction that has not begun to
 * unload is taken back. */
void hosting_retry(struct hosting *h, size_t role, size_t node);

/* May an operator have the role loaded there? Of the facts of now. */
enum hosting_fault {
    HOSTING_FAULT_NONE,
    HOSTING_FAULT_MAP,     /* the role's lists do not allow it */
    HOSTING_FAULT_DRAINED, /* its node is drained */
    HOSTING_FAULT_AWAY,    /* its node does not answer */
    HOSTING_FAULT_BAD,     /* its node says that it cannot host it */
    HOSTING_FAULT_NO_ROOM  /* missing_bytes too much beside the hosts that the plan has there */
};
enum hosting_fault hosting_load_fault(const struct hosting *h, const struct hosting_facts *f,
                                      size_t role, size_t node, uint64_t *missing_bytes);

/* The question of the last REPLAN: to be called in or after that action, before the next step.
 * ticket is to be handed back. The arrays are valid until the next call of this module and may be
 * copied for a thread. */
void hosting_plan_in(const struct hosting *h, struct replan_in *in, uint64_t *ticket);
/* The answer; NULL: could not be solved (asked again). A void ticket's answer is dropped. */
void hosting_planned(struct hosting *h, uint64_t ticket, const struct replan_out *plan,
                     uint64_t now_ms);

/* How a role stands, for people; see hosting_role_view(). */
enum hosting_state {
    HOSTING_IS_OFF,     /* on demand and not loaded */
    HOSTING_IS_SERVING, /* has a ready host */
    HOSTING_IS_LOADING, /* on `node` */
    HOSTING_IS_NEXT,    /* to be loaded on `node` when what stands there has drained */
    HOSTING_IS_WAITING, /* for its turn */
    HOSTING_IS_SHORT    /* no host: `verdict` */
};

struct hosting_view {
    enum hosting_state state;
    size_t node;     /* SIZE_MAX: none */
    uint64_t eta_ms; /* LOADING, NEXT (from the start of its load), WAITING: likely; 0: unknown */
    uint32_t fails;  /* loads that failed in a row */
    struct replan_verdict verdict; /* pinned and resident: of the last plan */
};
void hosting_role_view(const struct hosting *h, const struct hosting_facts *f, size_t role,
                       uint64_t now_ms, struct hosting_view *out);

bool hosting_wants(const struct hosting *h, size_t role, size_t node); /* a target */
bool hosting_is_planned(const struct hosting *h); /* there was a plan since the map changed */

/* Closed by the last CLOSE. route forgets that when a host is gone, or never knew it: drive says it
 * again after each state. */
bool hosting_is_closed(const struct hosting *h, size_t role, size_t node);

/* Nothing is owed or in doubt for the role (SIZE_MAX: any) on the node (SIZE_MAX: any). What left
 * the map and shows no host may be forgotten then, not before: a load may be on its way. */
bool hosting_is_clear(const struct hosting *h, size_t role, size_t node);

/* The bound of a lane; wish: PLAN_PINNED..PLAN_BATCH. */
uint64_t hosting_bound_ms(enum plan_wish wish);

#endif
