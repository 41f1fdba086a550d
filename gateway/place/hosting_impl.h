/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_impl.h - what the files of the hosting machine share: hosting.c (a round:
 * what is seen, what goes, what loads), hosting_turn.c (on-demand roles: whose turn it is),
 * hosting_wish.c (what operators want), hosting_plan.c (the question to replan and its answer; how
 * a role stands). */
#ifndef RM_PLACE_HOSTING_IMPL_H
#define RM_PLACE_HOSTING_IMPL_H

#include "gateway/place/hosting.h"
#include "gateway/place/load.h"

/* One role on one node, over time. */
struct hosting_cell {
    bool asked;              /* a LOAD was sent, and its host is not seen yet */
    bool replaces;           /* that LOAD ends what stood there */
    bool load_owed;          /* its answer is still to come */
    uint64_t doubt_until_ms; /* not seen before this says nothing */
    uint64_t asked_bytes;
    uint32_t refused; /* LOADs refused in a row */
    uint64_t load_again_ms;
    bool unloading; /* an UNLOAD was sent: it only ends */
    bool unload_owed;
    uint32_t unloads; /* sent so far */
    uint64_t unload_again_ms;
    bool closed; /* CLOSE was said */
    uint64_t closed_ms;
    bool dropped;                  /* on demand: was to go; not taken up again by itself */
    enum hosting_why why;          /* it goes */
    uint64_t started_ms, moved_ms; /* of a load; 0: none */
    double progress;
    uint64_t ready_ms; /* 0: not ready */
    bool failed, hung; /* noted already */
    bool evict;        /* an operator's: it goes, then the plan decides */
    bool retry;        /* an operator's: given up by its worker, it is tried again at once */
    uint32_t fails;    /* in a row */
    uint64_t blocked_until_ms;
};

struct hosting_line {
    uint64_t target;  /* bit n: shall stand on node n */
    uint64_t kept;    /* of target, on demand: an operator's, and the plan has room for it */
    uint64_t asked;   /* the last question: on demand, and an operator wants it on these nodes */
    bool as_guest;    /* the last question: on demand */
    uint32_t fails;   /* loads in a row, anywhere */
    bool for_good;    /* the last one: nothing will change by itself */
    uint64_t bare_ms; /* on demand: when a host of it was closed last; its turn was then */
    struct replan_verdict verdict;
};

struct hosting {
    size_t n_roles, n_nodes;
    struct hosting_line *lines; /* [role] */
    struct hosting_cell *cells; /* [role * n_nodes + node] */
    /* the question to replan */
    struct plan_node *plan_nodes;
    struct replan_role *plan_roles;
    struct replan_pair *plan_pairs;
    size_t n_plan_roles;
    uint64_t ticket;        /* of the last question */
    bool solving;           /* its answer is to come */
    uint64_t asked_digest;  /* of the last question */
    uint64_t plan_again_ms; /* after an answer that was none */
    bool fresh;             /* this round: the answer is to the present question */
    bool planned;           /* there was an answer since the map changed */
    /* the round */
    const struct hosting_facts *f;
    uint64_t now_ms;
    hosting_act *act;
    void *arg;
};

static inline uint64_t hosting_bit(size_t i)
{
    return UINT64_C(1) << i;
}

static inline struct hosting_cell *hosting_cell(const struct hosting *h, size_t role, size_t node)
{
    return &h->cells[role * h->n_nodes + node];
}

static inline const struct hosting_pair *hosting_pair(const struct hosting *h, size_t role,
                                                      size_t node)
{
    return &h->f->pairs[role * h->n_nodes + node];
}

static inline bool hosting_is_target(const struct hosting *h, size_t role, size_t node)
{
    return (h->lines[role].target & hosting_bit(node)) != 0;
}

/* ---- operators (hosting_wish.c) ---- */
bool hosting_is_kept_off(const struct hosting *h, size_t role, size_t node);
bool hosting_is_shut(const struct hosting *h, size_t role, size_t node); /* gets no request */
/* By the map and operators, the role may be there, or come. */
bool hosting_may_host(const struct hosting *h, size_t role, size_t node);
bool hosting_is_loaded_for_good(const struct hosting *h, size_t role, size_t node); /* wanted so */
uint64_t hosting_open_targets(const struct hosting *h, size_t role); /* those that are not shut */
bool hosting_is_kept(const struct hosting *h, size_t role, size_t node);
bool hosting_is_base(const struct hosting *h, size_t role, size_t node); /* the plan's affair */
void hosting_follow_wishes(struct hosting *h);

/* Something may be there: seen, asked for, or not known to be gone. */
bool hosting_holds(const struct hosting *h, size_t role, size_t node);
/* Bytes that it may use at this moment. */
uint64_t hosting_held_bytes(const struct hosting *h, size_t role, size_t node);
/* Bytes that it uses, or would use, as a target. */
uint64_t hosting_need_bytes(const struct hosting *h, size_t role, size_t node);
/* A pinned or resident host that serves, of a role that the plan has no place for now. */
bool hosting_stays_on(const struct hosting *h, size_t role, size_t node);
/* A host's bytes more, or less. */
void hosting_add(const struct hosting *h, struct load_sum *sum, size_t role, size_t node,
                 uint64_t bytes);
void hosting_take(const struct hosting *h, struct load_sum *sum, size_t role, size_t node,
                  uint64_t bytes);
/* All targets of the node and what stays on; base: without on-demand ones. */
struct load_sum hosting_future(const struct hosting *h, size_t node, bool base);
/* With the role on the node, and if it may exceed the limits by a part (HOSTING_DRIFT; 0: not). */
bool hosting_fits(const struct hosting *h, struct load_sum sum, size_t role, size_t node,
                  uint64_t bytes);

void hosting_emit(struct hosting *h, const struct hosting_action *a);

/* Notes a failed load. */
void hosting_note_failure(struct hosting *h, size_t role, size_t node, bool for_good);

/* The node takes loads of the role now, if there is room. */
bool hosting_can_load(const struct hosting *h, size_t role, size_t node);
void hosting_turns(struct hosting *h); /* sets the targets of on-demand roles */
void hosting_ask_plan(struct hosting *h);

#endif
