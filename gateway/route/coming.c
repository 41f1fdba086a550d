/* SPDX-License-Identifier: MIT */
#include "gateway/route/coming.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Least part of a load that is taken for a measure of the rest, and least time. */
static const double MEASURE_MIN = 0.05;
enum { MEASURE_MIN_MS = 1000 };

static bool host_is_loading(const struct cluster_host *h)
{
    const struct cluster_node *n = h->node;

    return (h->facts.state == HOST_FETCHING || h->facts.state == HOST_LOADING ||
            h->facts.state == HOST_WARMING) &&
           !h->closed && !n->gone && !n->state.draining && n->health.state != HEALTH_DOWN;
}

static bool node_answers(const struct cluster_node *n)
{
    return n->has_state && !n->gone && n->health.state != HEALTH_DOWN;
}

/* Does any node answer that may host the role? */
static bool any_node(const struct cluster_role *role)
{
    const struct cluster_node *n;

    TAILQ_FOREACH(n, &role->cluster->nodes, link)
    if (node_answers(n) && map_role_allows(role->conf, n->name))
        return true;
    return false;
}

/* Is what drive announced still to be believed? Not of nodes that do not answer. */
static bool note_holds(const struct cluster_role *role)
{
    const struct cluster_note *note = &role->note;
    const struct cluster_node *n;

    if (note->state == ROUTE_NOTE_LOADING && note->node[0] != '\0' &&
        (n = cluster_node_find(role->cluster, note->node)) != NULL)
        return node_answers(n);
    return (note->state == ROUTE_NOTE_LOADING || note->state == ROUTE_NOTE_WAITS) && any_node(role);
}

static const struct cluster_host *nearest(const struct cluster_role *role)
{
    const struct cluster_host *h, *best = NULL;

    TAILQ_FOREACH(h, &role->hosts, link) /* the states stand in the order of a load */
    if (host_is_loading(h) &&
        (best == NULL || h->facts.state > best->facts.state ||
         (h->facts.state == best->facts.state && h->facts.progress > best->facts.progress)))
        best = h;
    return best;
}

/* The rest of a load by the pace it had so far; 0: too early to tell. */
static uint64_t eta_by_pace(const struct cluster_host *h, uint64_t now_ms)
{
    double done = h->facts.progress - h->began, left = 1 - h->facts.progress;
    uint64_t took = h->risen_ms - h->state_ms, since = now_ms - h->risen_ms;
    double eta;

    if (done < MEASURE_MIN || took < MEASURE_MIN_MS || left <= 0)
        return 0;
    eta = (double)took * left / done - (double)since;
    return eta > 0 ? (uint64_t)eta : 0;
}

/* The same by what drive said of this host, as long as that has not passed. */
static uint64_t host_eta(const struct cluster_host *h, uint64_t now_ms)
{
    const struct cluster_note *note = &h->role->note;

    if (note->state == ROUTE_NOTE_LOADING && note->ready_ms > now_ms &&
        (note->node[0] == '\0' || strcmp(note->node, h->node->name) == 0))
        return note->ready_ms - now_ms;
    return eta_by_pace(h, now_ms);
}

const struct cluster_host *coming_best(const struct cluster_role *role, const struct route_ask *ask,
                                       uint64_t now_ms, uint32_t ahead, double *seconds,
                                       uint64_t *eta_ms)
{
    const struct cluster_host *h, *best = NULL;

    TAILQ_FOREACH(h, &role->hosts, link)
    {
        uint64_t eta = host_is_loading(h) ? host_eta(h, now_ms) : 0;
        double s = eta > 0 ? cluster_cold_score(h, ask, eta, ahead) : 0;

        if (s > 0 && (best == NULL || s < *seconds)) {
            best = h;
            *seconds = s;
            *eta_ms = eta;
        }
    }
    return best;
}

void coming_of(const struct cluster_role *role, uint64_t now_ms, struct coming *out)
{
    const struct cluster_note *note = &role->note;
    bool announced;

    *out = (struct coming){.host = NULL};
    if (role->conf == NULL || cluster_usable(role) > 0)
        return;
    announced = note_holds(role);
    if ((out->host = nearest(role)) != NULL) {
        out->node = out->host->node->name;
        out->progress = out->host->facts.progress;
        out->until_ms = out->host->risen_ms + COMING_STALL_MS;
    } else if (announced && note->state == ROUTE_NOTE_LOADING) {
        out->node = note->node[0] != '\0' ? note->node : NULL;
        out->until_ms = note->since_ms + COMING_STALL_MS;
    } else if (announced) {
        out->until_ms = UINT64_MAX;
    }
    if (announced && note->ready_ms > out->until_ms)
        out->until_ms = note->ready_ms;
    if (out->host != NULL)
        out->eta_ms = host_eta(out->host, now_ms);
    else if (announced && note->ready_ms > now_ms)
        out->eta_ms = note->ready_ms - now_ms;
    out->is = now_ms < out->until_ms;
}

/* Drive's "cannot" is believed for a while only: who is refused at once is no demand, and nobody
 * would try again. */
static bool note_cannot(const struct cluster_role *role, uint64_t now_ms)
{
    return role->note.state == ROUTE_NOTE_CANNOT && now_ms - role->note.since_ms < COMING_CANNOT_MS;
}

bool coming_hopeless(const struct cluster_role *role, uint64_t now_ms)
{
    const struct cluster_host *h;
    uint32_t failed = 0, others = 0;

    if (note_cannot(role, now_ms))
        return cluster_usable(role) == 0 && nearest(role) == NULL;
    if (role->note.state == ROUTE_NOTE_LOADING || role->note.state == ROUTE_NOTE_WAITS)
        return false;
    TAILQ_FOREACH(h, &role->hosts, link)
    {
        if (h->facts.state == HOST_ABSENT || h->node->gone)
            continue;
        if (h->facts.state == HOST_FAILED && h->facts.retry_ms == 0)
            failed++;
        else
            others++;
    }
    return failed > 0 && others == 0;
}

/* ---- words ---- */

void coming_text(char *out, size_t n, const char *text)
{
    rm_text_copy(out, n, text);
    for (char *p = out; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

void coming_eta_text(uint64_t eta_ms, char *out, size_t n)
{
    uint64_t s = eta_ms / 1000 + (eta_ms % 1000 > 0);

    if (s == 0)
        out[0] = '\0';
    else if (s < 120)
        snprintf(out, n, "about %u s left", (unsigned)s);
    else if (s < 120 * 60)
        snprintf(out, n, "about %u min left", (unsigned)((s + 30) / 60));
    else
        snprintf(out, n, "hours left");
}

/* A role that is on its way. */
static void say_coming(const struct cluster_role *role, const struct coming *c, char *out, size_t n)
{
    const struct cluster_note *note = &role->note;
    char left[32], eta[40] = "";

    coming_eta_text(c->eta_ms, left, sizeof left);
    if (left[0] != '\0')
        snprintf(eta, sizeof eta, ", %s", left);
    if (c->host != NULL)
        snprintf(out, n, "%s is %s on %s, %d %%%s", role->name,
                 node_host_state_name(c->host->facts.state), c->node, (int)(c->progress * 100),
                 eta);
    else if (note->state == ROUTE_NOTE_WAITS)
        snprintf(out, n, "%s waits for %.300s%s", role->name,
                 note->text[0] != '\0' ? note->text : "room", eta);
    else if (c->node != NULL)
        snprintf(out, n, "%s is being loaded on %s%s", role->name, c->node, eta);
    else
        snprintf(out, n, "%s is being loaded%s", role->name, eta);
}

/* An operator keeps the role, or its requests, off a node. */
static bool say_operator(const struct cluster_role *role, char *out, size_t n)
{
    const struct cluster_host *h;
    const struct cluster_node *node;

    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->wanted != NULL && !h->node->gone && strcmp(h->wanted, "loaded") != 0) {
        snprintf(out, n,
                 strcmp(h->wanted, "drained") == 0 ? "an operator drains %s on %s"
                                                   : "an operator has unloaded %s from %s",
                 role->name, h->node->name);
        return true;
    }
    TAILQ_FOREACH(node, &role->cluster->nodes, link)
    if (node->drained && !node->gone && role->conf != NULL &&
        map_role_allows(role->conf, node->name)) {
        snprintf(out, n, "an operator drains the node %s, which may host %s", node->name,
                 role->name);
        return true;
    }
    return false;
}

/* A role whose hosts are there in some state, but serve nobody. */
static void say_hosts(const struct cluster_role *role, char *out, size_t n)
{
    const struct cluster_host *h, *best = NULL;

    TAILQ_FOREACH(h, &role->hosts, link) /* the host that is nearest to ready tells */
    if (h->facts.state != HOST_ABSENT && !h->node->gone &&
        (best == NULL || (best->facts.state == HOST_FAILED && h->facts.state != HOST_FAILED) ||
         (best->facts.state != HOST_FAILED && h->facts.state != HOST_FAILED &&
          h->facts.progress > best->facts.progress)))
        best = h;
    if ((best == NULL || best->closed || best->node->health.state == HEALTH_DOWN) &&
        say_operator(role, out, n))
        return;
    if (best == NULL && role->conf != NULL && !any_node(role))
        snprintf(out, n, "no node that may host %s answers", role->name);
    else if (best == NULL)
        snprintf(out, n, "%s is not hosted by any node yet", role->name);
    else if (best->node->health.state == HEALTH_DOWN)
        snprintf(out, n, "node %s, which hosts %s, does not answer", best->node->name, role->name);
    else if (best->facts.state == HOST_FAILED && best->facts.retry_ms > 0)
        snprintf(out, n, "%s failed on %s and is started again: %.300s", role->name,
                 best->node->name, best->facts.last_error.text);
    else if (best->facts.state == HOST_FAILED)
        snprintf(out, n, "%s failed on %s: %.300s", role->name, best->node->name,
                 best->facts.last_error.text);
    else if (best->closed)
        snprintf(out, n, "%s takes no more requests on %s: it makes room", role->name,
                 best->node->name);
    else if (best->facts.state == HOST_READY || best->facts.state == HOST_BUSY)
        snprintf(out, n, "every slot of %s is taken", role->name);
    else
        snprintf(out, n, "%s is %s on %s, %d %%", role->name,
                 node_host_state_name(best->facts.state), best->node->name,
                 (int)(best->facts.progress * 100));
}

/* A reason that names the role itself is said as it is. */
static void say_cannot(const struct cluster_role *role, char *out, size_t n)
{
    const char *text = role->note.text;
    size_t len = strlen(role->name);

    if (strncmp(text, role->name, len) == 0 && text[len] == ' ')
        rm_text_copy(out, n, text);
    else
        snprintf(out, n, "%s cannot be loaded: %s", role->name,
                 text[0] != '\0' ? text : "no reason was given");
}

void coming_why(const struct cluster_role *role, uint64_t now_ms, char *out, size_t n)
{
    char text[NODE_TEXT_MAX];
    struct coming c;

    coming_of(role, now_ms, &c);
    if (c.host != NULL || (role->conf != NULL && note_holds(role)))
        say_coming(role, &c, text, sizeof text);
    else if (note_cannot(role, now_ms))
        say_cannot(role, text, sizeof text);
    else
        say_hosts(role, text, sizeof text);
    coming_text(out, n, text);
}

uint32_t coming_retry_after(const struct cluster_role *role, uint64_t now_ms)
{
    struct coming c;
    double s;

    coming_of(role, now_ms, &c);
    if (c.eta_ms == 0)
        return COMING_RETRY_S;
    s = ceil((double)c.eta_ms / 1000);
    return s > COMING_RETRY_MAX_S ? COMING_RETRY_MAX_S : (uint32_t)s;
}

void coming_clock(struct cluster_role *role, uint64_t now_ms)
{
    uint64_t from = role->clock_ms, to;
    struct coming c;

    role->clock_ms = now_ms;
    if (from == 0 || now_ms <= from || role->n_waiting == 0)
        return;
    coming_of(role, from, &c); /* as it stood then: the facts have not changed since */
    to = c.until_ms < now_ms ? c.until_ms : now_ms;
    if (c.is && to > from)
        role->stood_ms += to - from;
}
