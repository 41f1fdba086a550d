/* SPDX-License-Identifier: MIT */
/* gateway/place/place.h - which role is hosted on which node: first fit by forecast.
 * A pure function over snapshots: the role map, what each node said of its memory, the forecasts so
 * far and where hosts stand now. It answers for the folder: nothing here does I/O, keeps state or
 * asks the time. Placement is first fit in the order pinned, resident, on-demand, then by lane,
 * then by place in the file; what already stands where it may stay is kept. On-demand roles are
 * placed like resident ones as long as they fit. The planner that solves the whole map takes this
 * function's place behind the same shapes. */
#ifndef RM_PLACE_PLACE_H
#define RM_PLACE_PLACE_H

#include "proto/conf/role_map.h"

/* Whether a role's engine would fit on a node, as the node's worker forecast it. */
enum place_known {
    PLACE_UNASKED, /* no answer yet: the pair waits */
    PLACE_FITS,    /* `bytes` is the forecast */
    PLACE_BAD      /* the node cannot say: no such file, not a model */
};

struct place_forecast {
    enum place_known known;
    uint64_t bytes;
};

/* One node as the planner sees it; index as in map->nodes. */
struct place_node {
    bool usable;     /* its worker answers, or did so a short time ago */
    uint64_t budget; /* bytes that hosts may use in all */
};

struct place_input {
    const struct role_map *map;
    const struct place_node *nodes;         /* map->n_nodes of them */
    const struct place_forecast *forecasts; /* [role * n_nodes + node] */
    const bool *standing; /* [role * n_nodes + node]: a host is there now, or was asked for */
};

/* Why a role got fewer hosts than it wants. */
enum place_short {
    PLACE_OK,
    PLACE_WAITS,   /* a forecast is still to come */
    PLACE_NO_NODE, /* no allowed node answers */
    PLACE_NO_ROOM  /* `missing` bytes would be needed on the roomiest allowed node */
};

struct place_verdict {
    enum place_short why;
    uint64_t missing; /* PLACE_NO_ROOM: bytes */
};

/* Decides.
 * wanted    [role * n_nodes + node], filled in
 * verdicts  one a role, filled in
 * A role whose every usable allowed node answers PLACE_BAD is placed on the first of them all the
 * same: its worker then tells why it cannot be hosted. */
void place_first_fit(const struct place_input *in, bool *wanted, struct place_verdict *verdicts);

#endif
