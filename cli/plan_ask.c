/* SPDX-License-Identifier: MIT */
#include "cli/plan_ask.h"

#include "cli/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    STATE_MS = 5000,
    FORECAST_MS = 60000, /* of a large vocabulary, behind another one, on a busy machine */
    BODY_MAX = 16 * 1024,
    WRONG_MAX = 128 /* what a decoder writes */
};

static int address_of(const struct map_node *node, struct http_address *out)
{
    *out = (struct http_address){.port = node->address.port};
    if (strlen(node->address.host) >= sizeof out->host)
        return UV_EINVAL;
    snprintf(out->host, sizeof out->host, "%s", node->address.host);
    return 0;
}

/* One question. Returns 0 with the body of a 200, or an error with why. */
static int ask_worker(const struct ask *ask, struct rm_buf *body, char why[PLAN_WHY_MAX])
{
    int status, r = ask_run(ask, &status, body);

    if (r < 0) {
        snprintf(why, PLAN_WHY_MAX, "%s", rm_strerror(r));
        return r;
    }
    if (status == 200)
        return 0;
    snprintf(why, PLAN_WHY_MAX, "%s answered %d; is this a rolemesh-worker?", ask->target, status);
    return RM_ERR_UPSTREAM;
}

static int ask_state(const struct http_address *address, const char *name, struct node_state *out,
                     char why[PLAN_WHY_MAX])
{
    struct ask ask = {
        .address = address, .method = "GET", .target = "/node/v1/state", .deadline_ms = STATE_MS};
    char wrong[WRONG_MAX] = "";
    struct rm_buf body;
    int r = ask_worker(&ask, &body, why);

    if (r == 0) {
        r = node_state_decode((struct rm_slice){body.data, body.len}, out, wrong);
        if (r < 0)
            snprintf(why, PLAN_WHY_MAX, "%s: %s", rm_strerror(r), wrong);
        else if (strcmp(out->node, name) != 0)
            snprintf(why, PLAN_WHY_MAX, "its worker calls itself '%.63s'", out->node);
    }
    rm_buf_clear(&body);
    return r < 0 || why[0] != '\0' ? -1 : 0;
}

static void ask_forecast(const struct http_address *address, const struct map_role *role,
                         struct plan_live_pair *pair, struct node_forecast *out)
{
    const struct http_out_field json = {"Content-Type", RM_LIT("application/json")};
    struct ask ask = {.address = address,
                      .method = "POST",
                      .target = "/node/v1/forecast",
                      .fields = &json,
                      .n_fields = 1,
                      .deadline_ms = FORECAST_MS};
    char why[PLAN_WHY_MAX] = "", wrong[WRONG_MAX] = "";
    struct desired_host desired;
    struct rm_buf question, body;
    int r;

    plan_desired_host(role, &desired);
    rm_buf_init(&question, BODY_MAX);
    r = desired_host_encode(&desired, &question);
    if (r == 0) {
        ask.body = (struct rm_slice){question.data, question.len};
        r = ask_worker(&ask, &body, why);
        if (r == 0)
            r = node_forecast_decode((struct rm_slice){body.data, body.len}, out, wrong);
        rm_buf_clear(&body);
    }
    rm_buf_clear(&question);
    if (r < 0) {
        *out = (struct node_forecast){.known = false};
        snprintf(out->error, sizeof out->error, "%s%s%s", why[0] != '\0' ? why : rm_strerror(r),
                 wrong[0] != '\0' ? ": " : "", wrong);
    }
    pair->forecast = out;
    pair->known = out->error[0] == '\0' || out->estimated ? PLAN_FORECAST : PLAN_BAD;
    pair->file = pair->known == PLAN_FORECAST;
}

/* One that failed where it can never work does not: it may go where it can. */
static bool host_stands(const struct node_state *s, const char *role,
                        const struct plan_live_pair *pair)
{
    const struct node_host *h = node_state_find(s, role);

    return h != NULL && h->state != HOST_ABSENT && h->state != HOST_DRAINING &&
           !(h->state == HOST_FAILED && pair->known == PLAN_BAD);
}

static void ask_node(const struct role_map *map, struct plan_asked *a, size_t n)
{
    struct node_state *state = &a->states[n];
    struct http_address address;

    if (address_of(&map->nodes[n], &address) < 0)
        snprintf(a->why[n], PLAN_WHY_MAX, "its address is too long");
    else if (ask_state(&address, map->nodes[n].name, state, a->why[n]) == 0)
        a->nodes[n] = (struct plan_live_node){.usable = !state->draining, .state = state};
    if (a->nodes[n].state == NULL) {
        a->silent[n] = a->why[n];
        return;
    }
    a->n_heard++;
    if (state->draining) {
        snprintf(a->why[n], PLAN_WHY_MAX, "its worker is stopping");
        a->silent[n] = a->why[n];
    }
    for (size_t r = 0; r < map->n_roles; r++) {
        size_t i = r * map->n_nodes + n;

        ask_forecast(&address, &map->roles[r], &a->pairs[i], &a->forecasts[i]);
        a->pairs[i].standing = host_stands(state, map->roles[r].name, &a->pairs[i]);
    }
}

int plan_ask(const struct role_map *map, struct plan_asked *out)
{
    size_t n_pairs = map->n_nodes * map->n_roles;

    memset(out, 0, sizeof *out);
    out->states = calloc(map->n_nodes + 1, sizeof *out->states);
    out->nodes = calloc(map->n_nodes + 1, sizeof *out->nodes);
    out->why = calloc(map->n_nodes + 1, sizeof *out->why);
    out->silent = calloc(map->n_nodes + 1, sizeof *out->silent);
    out->forecasts = calloc(n_pairs + 1, sizeof *out->forecasts);
    out->pairs = calloc(n_pairs + 1, sizeof *out->pairs);
    out->live = (struct plan_live){.map = map, .nodes = out->nodes, .pairs = out->pairs};
    if (out->states == NULL || out->nodes == NULL || out->why == NULL || out->silent == NULL ||
        out->forecasts == NULL || out->pairs == NULL) {
        plan_asked_clear(out);
        return UV_ENOMEM;
    }
    for (size_t n = 0; n < map->n_nodes; n++)
        ask_node(map, out, n);
    return 0;
}

void plan_asked_clear(struct plan_asked *a)
{
    for (size_t n = 0; a->states != NULL && n < a->live.map->n_nodes; n++)
        node_state_clear(&a->states[n]);
    free(a->states);
    free(a->nodes);
    free(a->why);
    free(a->silent);
    free(a->forecasts);
    free(a->pairs);
    memset(a, 0, sizeof *a);
}
