/* SPDX-License-Identifier: MIT */
/* gateway/drive/operate.c - what operators do: their orders are judged by the facts of now, become
 * wishes (wishes.h, kept by keep.c) and things done once, and are told to route. What comes of them
 * is the hosting machine's affair. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

/* An order that is being judged. */
struct order {
    struct drive *d;
    size_t role, node;
    const char *by;
    char *text; /* n bytes: the answer */
    size_t n;
};

/* ---- wishes and tables ---- */

static size_t role_at(const struct drive *d, const char *name)
{
    for (size_t i = 0; i < d->map->n_roles; i++)
        if (strcmp(d->roles[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

static size_t node_at(const struct drive *d, const char *name)
{
    for (size_t i = 0; i < d->map->n_nodes; i++)
        if (strcmp(d->nodes[i]->name, name) == 0)
            return i;
    return SIZE_MAX;
}

bool drive_is_shut(const struct drive *d, size_t role, size_t node)
{
    return d->nodes[node]->drained || drive_pair(d, role, node)->wish == HOSTING_WANT_DRAINED;
}

bool drive_is_kept_off(const struct drive *d, size_t role, size_t node)
{
    return drive_is_shut(d, role, node) || drive_pair(d, role, node)->wish == HOSTING_WANT_UNLOADED;
}

/* Wishes as the tables have them. */
static void fill_wishes(struct drive *d)
{
    for (size_t n = 0; n < d->n_nodes; n++)
        d->nodes[n]->drained = false;
    for (size_t i = 0; i < d->n_roles * d->n_nodes; i++)
        d->pairs[i].wish = HOSTING_NO_WISH;
    for (size_t i = 0; i < d->wishes.n; i++) {
        const struct wish *w = &d->wishes.list[i];
        size_t role = role_at(d, w->role), node = node_at(d, w->node);

        if (node != SIZE_MAX && w->role[0] == '\0')
            d->nodes[node]->drained = true;
        else if (node != SIZE_MAX && role != SIZE_MAX)
            drive_pair(d, role, node)->wish = w->what;
    }
}

/* Route must not wait for the next round: a request could come between. The machine opens what it
 * has closed; what it has not closed yet is opened here. */
static void tell_route(struct drive *d)
{
    for (size_t n = 0; n < d->map->n_nodes; n++) {
        route_node_drained(d->route, d->nodes[n]->name, d->nodes[n]->drained);
        for (size_t r = 0; r < d->map->n_roles; r++) {
            struct drive_pair *p = drive_pair(d, r, n);
            const char *role = d->roles[r].name, *node = d->nodes[n]->name;
            bool shut = drive_is_shut(d, r, n), stands;

            stands = node_state_find(&d->nodes[n]->state, role) != NULL;
            if (shut && stands && !d->fenced)
                route_host_close(d->route, role, node, true);
            else if (!shut && p->was_shut && !hosting_is_closed(d->hosting, r, n))
                route_host_close(d->route, role, node, false);
            p->was_shut = shut;
            if (p->wish != HOSTING_NO_WISH || p->was_wished)
                route_host_wanted(d->route, role, node, wish_word(p->wish));
            p->was_wished = p->wish != HOSTING_NO_WISH;
        }
    }
}

void drive_take_wishes(struct drive *d)
{
    fill_wishes(d);
    tell_route(d);
}

void drive_shut_before(struct drive *d, size_t node, const struct node_state *state)
{
    if (d->fenced || node >= d->map->n_nodes)
        return; /* of another gateway's wishes nothing is known here */
    for (size_t r = 0; r < d->map->n_roles; r++)
        if (drive_is_shut(d, r, node) && node_state_find(state, d->roles[r].name) != NULL)
            route_host_close(d->route, d->roles[r].name, d->nodes[node]->name, true);
}

/* Of the present map; and a pinned role is not unloaded. */
static bool wish_stays(void *arg, const struct wish *w)
{
    const struct drive *d = arg;
    size_t role = role_at(d, w->role);
    bool stays = node_at(d, w->node) != SIZE_MAX && (w->role[0] == '\0' || role != SIZE_MAX);

    if (stays && role != SIZE_MAX && w->what == HOSTING_WANT_UNLOADED)
        stays = d->roles[role].conf->residency != MAP_PINNED;
    if (!stays)
        rm_warn("drive", "an operator's wish ends with what the role map said before",
                RM_S("role", w->role), RM_S("node", w->node), RM_S("wanted", wish_word(w->what)));
    return stays;
}

void drive_follow_wishes(struct drive *d)
{
    if (wishes_sift(&d->wishes, wish_stays, d) > 0) {
        d->keep.dirty = true;
        drive_keep(d);
    }
    drive_take_wishes(d);
}

/* ---- judging ---- */

static int refuse(const struct order *o, const char *format, ...) RM_PRINTF(2, 3);
static int refuse(const struct order *o, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(o->text, o->n, format, args);
    va_end(args);
    return RM_ERR_STATE;
}

static void say(const struct order *o, const char *format, ...) RM_PRINTF(2, 3);
static void say(const struct order *o, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(o->text, o->n, format, args);
    va_end(args);
}

static const char *role_of(const struct order *o)
{
    return o->d->roles[o->role].name;
}

static const char *node_of(const struct order *o)
{
    return o->d->nodes[o->node]->name;
}

static bool stands(const struct order *o)
{
    const struct node_host *h = node_state_find(&o->d->nodes[o->node]->state, role_of(o));

    return h != NULL && h->state != HOST_ABSENT;
}

static bool is_pinned(const struct order *o)
{
    return o->d->roles[o->role].conf->residency == MAP_PINNED;
}

/* " (2 requests run there)", or nothing. */
static const char *running_text(const struct order *o, char text[48])
{
    struct route_host_use use;

    route_host_use_of(o->d->route, role_of(o), node_of(o), &use);
    text[0] = '\0';
    if (use.in_flight > 0)
        snprintf(text, 48, " (%u request%s there)", use.in_flight,
                 use.in_flight == 1 ? " runs" : "s run");
    return text;
}

static int judge_load(const struct order *o)
{
    struct drive *d = o->d;
    const struct drive_pair *p = drive_pair(d, o->role, o->node);
    uint64_t missing;

    switch (hosting_load_fault(d->hosting, &d->facts, o->role, o->node, &missing)) {
    case HOSTING_FAULT_MAP:
        return refuse(o, "the role map does not let %s be hosted on %s", role_of(o), node_of(o));
    case HOSTING_FAULT_DRAINED:
        return refuse(o, "%s is drained by an operator: undrain it first", node_of(o));
    case HOSTING_FAULT_AWAY:
        return refuse(o, "%s does not answer", node_of(o));
    case HOSTING_FAULT_BAD:
        return refuse(o, "%s cannot host %s%s%.300s", node_of(o), role_of(o),
                      p->forecast != NULL ? ": " : "",
                      p->forecast != NULL ? p->forecast->error : "");
    case HOSTING_FAULT_NO_ROOM:
        return refuse(o,
                      "no room: %s needs %.2f GiB on %s, %" PRIu64 " bytes (%.2f GiB) more than "
                      "there is beside the hosts that the plan has there; unload one of them first",
                      role_of(o),
                      (double)d->facts.pairs[o->role * d->n_nodes + o->node].bytes / (1 << 30),
                      node_of(o), missing, (double)missing / (1 << 30));
    case HOSTING_FAULT_NONE:
        break;
    }
    say(o, stands(o) ? "%s stands on %s, and is kept there" : "%s is loaded on %s, and kept there",
        role_of(o), node_of(o));
    return 0;
}

static int judge_gone(const struct order *o, bool evict)
{
    char running[48];

    if (is_pinned(o))
        return refuse(o, "%s is pinned: it goes when its residency in the role map is another one",
                      role_of(o));
    if (evict && !stands(o) && drive_pair(o->d, o->role, o->node)->wish == HOSTING_NO_WISH)
        return refuse(o, "%s is not hosted on %s", role_of(o), node_of(o));
    if (!stands(o))
        say(o,
            evict ? "%s is not hosted on %s, and may be again"
                  : "%s is kept off %s until it is loaded there",
            role_of(o), node_of(o));
    else
        say(o,
            evict
                ? "%s on %s gets no new request and ends with the last one%s; then the plan decides"
                : "%s on %s gets no new request and ends with the last one%s; it stays off until "
                  "it is loaded there",
            role_of(o), node_of(o), running_text(o, running));
    return 0;
}

static int judge_drain(const struct order *o)
{
    char running[48];

    if (!stands(o))
        return refuse(o, "%s is not hosted on %s", role_of(o), node_of(o));
    say(o, "%s on %s gets no new request%s; it stays loaded until it is undrained", role_of(o),
        node_of(o), running_text(o, running));
    return 0;
}

static int judge_undrain(const struct order *o, enum hosting_wish *what)
{
    enum hosting_wish was = drive_pair(o->d, o->role, o->node)->wish;

    *what = was == HOSTING_WANT_DRAINED ? HOSTING_NO_WISH : was;
    if (was == HOSTING_WANT_UNLOADED)
        return refuse(o, "%s was unloaded from %s, not drained: load it", role_of(o), node_of(o));
    if (o->d->nodes[o->node]->drained && was != HOSTING_WANT_DRAINED)
        return refuse(o, "%s itself is drained: undrain the node", node_of(o));
    if (o->d->nodes[o->node]->drained)
        say(o, "%s on %s is not drained any more, but the node still is", role_of(o), node_of(o));
    else if (was != HOSTING_WANT_DRAINED)
        say(o, "%s on %s was not drained", role_of(o), node_of(o));
    else
        say(o, "%s on %s takes requests again", role_of(o), node_of(o));
    return 0;
}

static int judge(const struct order *o, enum drive_order what, enum hosting_wish *wish)
{
    switch (what) {
    case DRIVE_ORDER_LOAD:
        *wish = HOSTING_WANT_LOADED;
        return judge_load(o);
    case DRIVE_ORDER_UNLOAD:
        *wish = HOSTING_WANT_UNLOADED;
        return judge_gone(o, false);
    case DRIVE_ORDER_EVICT:
        *wish = HOSTING_NO_WISH;
        return judge_gone(o, true);
    case DRIVE_ORDER_DRAIN:
        *wish = HOSTING_WANT_DRAINED;
        return judge_drain(o);
    default:
        return judge_undrain(o, wish);
    }
}

/* ---- orders ---- */

static int open_order(struct drive *d, const char *role, const char *node, const char *by,
                      struct order *o)
{
    if (d->fenced)
        return refuse(o, "a newer gateway is in charge of placing: ask that one");
    *o = (struct order){.d = d,
                        .role = role != NULL ? role_at(d, role) : 0,
                        .node = node_at(d, node),
                        .by = by,
                        .text = o->text,
                        .n = o->n};
    if (o->node == SIZE_MAX || o->role == SIZE_MAX) {
        snprintf(o->text, o->n, "the role map has no %s \"%.63s\"",
                 o->node == SIZE_MAX ? "node" : "role", o->node == SIZE_MAX ? node : role);
        return RM_ERR_NOT_FOUND;
    }
    return 0;
}

/* What could not be done before may be done now. */
static void forget_notes(struct drive *d)
{
    for (size_t r = 0; r < d->map->n_roles; r++)
        if (d->roles[r].noted == ROUTE_NOTE_CANNOT) {
            route_role_note(d->route, d->roles[r].name,
                            &(struct route_note){.state = ROUTE_NOTE_NONE});
            d->roles[r].noted = ROUTE_NOTE_NONE;
        }
}

static int wish(const struct order *o, const char *role, enum hosting_wish what)
{
    struct wish w = {.what = what, .since_s = rm_wall_s()};
    int r;

    rm_text_copy(w.role, sizeof w.role, role);
    rm_text_copy(w.node, sizeof w.node, node_of(o));
    rm_text_copy(w.by, sizeof w.by, o->by);
    if ((r = wishes_put(&o->d->wishes, &w)) < 0) {
        snprintf(o->text, o->n, "%s", rm_strerror(r));
        return r;
    }
    o->d->keep.dirty = true;
    drive_keep(o->d);
    drive_take_wishes(o->d);
    forget_notes(o->d);
    return 0;
}

int drive_operate_host(struct drive *d, const char *role, const char *node, enum drive_order what,
                       const char *by, char *text, size_t n)
{
    static const char *const words[] = {
        [DRIVE_ORDER_LOAD] = "load",   [DRIVE_ORDER_UNLOAD] = "unload",
        [DRIVE_ORDER_DRAIN] = "drain", [DRIVE_ORDER_UNDRAIN] = "undrain",
        [DRIVE_ORDER_EVICT] = "evict",
    };
    struct order o = {.text = text, .n = n};
    enum hosting_wish wanted;
    int r = open_order(d, role, node, by, &o);

    if (r == 0)
        r = judge(&o, what, &wanted);
    if (r == 0)
        r = wish(&o, role, wanted);
    if (r < 0)
        return r;
    rm_info("drive", "an operator's order", RM_S("order", words[what]), RM_S("role", role),
            RM_S("node", node), RM_S("by", by));
    if (what == DRIVE_ORDER_EVICT)
        hosting_evict(d->hosting, o.role, o.node);
    else if (what == DRIVE_ORDER_LOAD)
        hosting_retry(d->hosting, o.role, o.node);
    drive_run(d);
    return 0;
}

int drive_operate_node(struct drive *d, const char *node, bool drain, const char *by, char *text,
                       size_t n)
{
    struct order o = {.text = text, .n = n};
    int r = open_order(d, NULL, node, by, &o);

    if (r < 0)
        return r;
    if (drain)
        say(&o,
            "%s gets no new request: what the plan can place elsewhere moves, the rest stays "
            "loaded",
            node);
    else
        say(&o,
            d->nodes[o.node]->drained ? "%s takes requests and hosts again" : "%s was not drained",
            node);
    if ((r = wish(&o, "", drain ? HOSTING_WANT_DRAINED : HOSTING_NO_WISH)) < 0)
        return r;
    rm_info("drive", "an operator's order", RM_S("order", drain ? "drain" : "undrain"),
            RM_S("node", node), RM_S("by", by));
    drive_run(d);
    return 0;
}
