/* SPDX-License-Identifier: MIT */
/* gateway/drive/metrics.c - what living with the plan came to, for /metrics. Labels are names of
 * the role map and words of ours. Loop thread. */
#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/om.h"

static void write_given_up(const struct drive *d, struct rm_om *om)
{
    static const struct {
        enum hosting_why why;
        const char *word;
    } words[] = {{HOSTING_ROOM, "room"},       {HOSTING_IDLE, "idle"},  {HOSTING_MOVED, "moved"},
                 {HOSTING_CHANGED, "changed"}, {HOSTING_LEFT, "left"},  {HOSTING_BROKEN, "broken"},
                 {HOSTING_DRAINED, "drained"}, {HOSTING_ASKED, "asked"}};

    rm_om_family(om, "rolemesh_evictions", RM_OM_COUNTER, "",
                 "Hosts given up: for the room of another, not used, placed elsewhere, changed in "
                 "or gone from the role map, broken, by an operator.");
    for (size_t r = 0; r < d->map->n_roles; r++)
        for (size_t i = 0; i < RM_COUNT(words); i++) {
            rm_om_labels(om, "role", d->roles[r].name, "why", words[i].word, NULL);
            rm_om_u64(om, d->roles[r].given_up[words[i].why]);
        }
}

static void write_missing(const struct drive *d, struct rm_om *om)
{
    uint64_t now = rm_now_ms();
    struct hosting_view v;

    rm_om_family(om, "rolemesh_role_missing_bytes", RM_OM_GAUGE, "bytes",
                 "What a role that has no room is short of, on the best node.");
    for (size_t r = 0; d->facts.roles != NULL && r < d->map->n_roles; r++) {
        hosting_role_view(d->hosting, &d->facts, r, now, &v);
        rm_om_labels(om, "role", d->roles[r].name, NULL);
        rm_om_u64(om, v.verdict.why == REPLAN_NO_ROOM ? v.verdict.missing_bytes : 0);
    }
}

/* Those that serve requests; the one that states come on is not among them. */
static void write_sockets(const struct drive *d, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_node_connections", RM_OM_GAUGE, "",
                 "Open connections to a worker, for requests.");
    for (size_t i = 0; i < d->map->n_nodes; i++) {
        rm_om_labels(om, "node", d->nodes[i]->name, NULL);
        rm_om_u64(om, http_client_connections(link_run_client(d->nodes[i]->link)));
    }
}

void drive_write_metrics(const struct drive *d, struct rm_om *om)
{
    struct drive_status s;

    drive_status(d, &s);
    rm_om_family(om, "rolemesh_gateway_fenced", RM_OM_GAUGE, "",
                 "1: a newer gateway is in charge of placing.");
    rm_om_u64(om, s.fenced);
    rm_om_family(om, "rolemesh_gateway_settled", RM_OM_GAUGE, "",
                 "1: every node has spoken or had its chance.");
    rm_om_u64(om, s.settled);
    write_sockets(d, om);
    write_given_up(d, om);
    write_missing(d, om);
}
