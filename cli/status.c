/* SPDX-License-Identifier: MIT */
/* cli/status.c - `rolemesh status`: the gateway, its alarms, nodes and roles on one screen; --json
 * prints the three as one object (Overview in proto/openapi.yaml). */
#include "cli/api.h"
#include "cli/show.h"

#include <inttypes.h>

struct status {
    json_t *status, *nodes, *roles;
};

static int status_ask(const struct api *api, struct status *s)
{
    int r = api_get(api, "/api/v1/status", &s->status);

    if (r == CLI_OK)
        r = api_list(api, "/api/v1/nodes", "nodes", 0, &s->nodes);
    if (r == CLI_OK)
        r = api_list(api, "/api/v1/roles", "roles", 0, &s->roles);
    return r;
}

static const char *gateway_state(const json_t *status, enum term_color *color)
{
    *color = TERM_WARN;
    if (api_true(status, "draining"))
        return "stopping: it takes no new requests";
    if (api_true(status, "fenced"))
        return "fenced: the workers follow a newer gateway, this one routes but places no more";
    if (!api_true(status, "settled"))
        return "starting: not every node has spoken yet";
    *color = TERM_GOOD;
    return "ready";
}

static void print_gateway(const struct api *api, const json_t *status, const struct term *t)
{
    char version[ASK_TEXT_MAX], revision[ASK_TEXT_MAX], uptime[HUMAN_MAX];
    enum term_color color;
    const char *state = gateway_state(status, &color);

    fputs("gateway  ", t->to);
    ask_print_line(api->url, t->to);
    fprintf(t->to, "  %s%s%s\n", term_on(t, color), state, term_off(t, color));
    fprintf(t->to, "         rolemesh %s, up %s, map %.12s, %" PRIu64 " request%s in flight\n",
            api_text(status, "version", version), show_ms(status, "uptime_ms", uptime),
            api_text(status, "revision", revision), api_u64(status, "requests"),
            api_u64(status, "requests") == 1 ? "" : "s");
}

static int status_print(const struct cli_args *args, const struct api *api, const struct status *s,
                        const struct term *t)
{
    const json_t *alarms = json_object_get(s->status, "alarms");
    bool wide = cli_wants_wide(args);
    int r;

    print_gateway(api, s->status, t);
    if (json_array_size(alarms) == 0)
        fputs("alarms   none\n\n", t->to);
    else
        fprintf(t->to, "alarms   %zu\n\n", json_array_size(alarms));
    show_alarms(alarms, t);
    if (json_array_size(alarms) > 0)
        fputc('\n', t->to);
    r = show_nodes(json_object_get(s->nodes, "nodes"), t, wide);
    fputc('\n', t->to);
    if (r == 0)
        r = show_roles(json_object_get(s->roles, "roles"), t, wide);
    return r == 0 ? CLI_OK : cli_failed("status", "%s", rm_strerror(r));
}

static int status_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    const struct api *api = arg;
    struct status s = {.status = NULL};
    int r = status_ask(api, &s);

    if (r == CLI_OK && cli_wants_json(args)) {
        json_t *all = json_pack("{s:O,s:O,s:O}", "status", s.status, "nodes",
                                json_object_get(s.nodes, "nodes"), "roles",
                                json_object_get(s.roles, "roles"));

        api_print(all, t->to, t->compact);
        json_decref(all);
    } else if (r == CLI_OK) {
        r = status_print(args, api, &s, t);
    }
    json_decref(s.status);
    json_decref(s.nodes);
    json_decref(s.roles);
    return r;
}

static int status_run(const struct cli_args *args)
{
    struct api api;
    int r = api_open(args, &api);

    return r == CLI_OK ? term_watch(args, status_draw, &api) : r;
}

const struct cli_command cli_status = {
    .name = "status",
    .group = CLI_LOOK,
    .summary = "the gateway, its alarms, nodes and roles on one screen",
    .about = "With --json: an object with status, nodes and roles, as the API tells each.",
    .examples = "rolemesh status --watch\n"
                "rolemesh status --json | jq '.status.alarms'\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH | CLI_SCREEN,
    .run = status_run,
};
