/* SPDX-License-Identifier: MIT */
/* cli/status.c - `rolemesh status`: nodes and roles as a gateway sees them.
 * Asks GET /api/v1/nodes and /api/v1/roles (proto/openapi.yaml) one after the other and prints two
 * tables, or with --json the two answers as one object. One thread. */
#include "cli/ask.h"
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_DEADLINE_MS = 10000 };

static const char *const paths[] = {"/api/v1/nodes?limit=500", "/api/v1/roles?limit=500"};

struct status {
    struct rm_buf body[RM_COUNT(paths)];
    size_t at; /* which path was asked last */
    int http;  /* status of its answer */
};

/* Asks one after the other. Returns 0, or the first error; s->http tells an answer that is not 200.
 */
static int status_ask(struct status *s, const struct http_address *address)
{
    int r = 0;

    s->http = 200;
    for (s->at = 0; r == 0 && s->http == 200 && s->at < RM_COUNT(paths); s->at++) {
        struct ask ask = {.address = address,
                          .method = "GET",
                          .target = paths[s->at],
                          .deadline_ms = STATUS_DEADLINE_MS,
                          .to_gateway = true};

        r = ask_run(&ask, &s->http, &s->body[s->at]);
    }
    s->at--;
    return r;
}

/* --- telling -------------------------------------------------------------------------------------
 */

/* A member's text; "-" when there is none. */
static const char *text_of(const json_t *object, const char *key, char out[ASK_TEXT_MAX])
{
    return ask_shown(json_string_value(json_object_get(object, key)), out);
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* "code ready, ask loading": the hosts of a node by role, or of a role by node. */
static void print_hosts(const json_t *hosts, const char *by)
{
    char name[ASK_TEXT_MAX], state[ASK_TEXT_MAX];
    const json_t *host;
    size_t i;

    json_array_foreach(hosts, i, host) printf("%s%s %s", i > 0 ? ", " : "", text_of(host, by, name),
                                              text_of(host, "state", state));
    if (json_array_size(hosts) == 0)
        fputs("-", stdout);
}

static void print_nodes(const json_t *nodes)
{
    const json_t *node;
    size_t i;

    printf("%-20s %-9s %-28s %s\n", "NODE", "HEALTH", "ADDRESS", "HOSTS");
    json_array_foreach(nodes, i, node)
    {
        char address[ASK_TEXT_MAX + 32], name[ASK_TEXT_MAX], health[ASK_TEXT_MAX],
            host[ASK_TEXT_MAX];

        snprintf(address, sizeof address, "%s:%lld", text_of(node, "host", host),
                 number_of(node, "port"));
        printf("%-20s %-9s %-28s ", text_of(node, "name", name), text_of(node, "health", health),
               address);
        print_hosts(json_object_get(node, "hosts"), "role");
        putchar('\n');
    }
}

static void print_roles(const json_t *roles)
{
    const json_t *role;
    size_t i;

    printf("\n%-20s %-7s %-8s %-24s %s\n", "ROLE", "READY", "WAITING", "MODEL", "REASON");
    json_array_foreach(roles, i, role)
    {
        char ready[48], name[ASK_TEXT_MAX], model[ASK_TEXT_MAX], reason[ASK_TEXT_MAX];

        snprintf(ready, sizeof ready, "%lld/%lld", number_of(role, "hosts_ready"),
                 number_of(role, "replicas"));
        printf("%-20s %-7s %-8lld %-24s %s\n", text_of(role, "name", name), ready,
               number_of(role, "waiting"), text_of(role, "model", model),
               text_of(role, "reason", reason));
    }
}

static int status_print(const struct status *s, bool json)
{
    json_t *part[RM_COUNT(paths)];
    json_error_t error;
    int r = CLI_OK;

    for (size_t i = 0; i < RM_COUNT(paths); i++)
        part[i] =
            json_loadb(s->body[i].data != NULL ? s->body[i].data : "", s->body[i].len, 0, &error);
    if (!json_is_object(part[0]) || !json_is_object(part[1])) {
        fputs("rolemesh status: the answer is not JSON; is this a gateway?\n", stderr);
        r = CLI_FAILED;
    } else if (json) {
        json_object_update(part[0], part[1]);
        json_dumpf(part[0], stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_nodes(json_object_get(part[0], "nodes"));
        print_roles(json_object_get(part[1], "roles"));
    }
    for (size_t i = 0; i < RM_COUNT(paths); i++)
        json_decref(part[i]);
    return r;
}

static int status_run(const struct cli_args *args)
{
    struct status s = {.at = 0};
    struct http_address address;
    const char *gateway = cli_gateway(args);
    int r;

    if (ask_address(gateway, &address) < 0)
        return cli_usage("status", "--gateway is http://HOST:PORT, not '%s'", gateway);
    r = status_ask(&s, &address);
    if (r < 0)
        cli_failed("status", "%s: %s; start rolemesh-gateway, or name another with --gateway URL",
                   gateway, rm_strerror(r));
    else if (s.http != 200)
        fprintf(stderr, "rolemesh status: %s%s answered %d\n", gateway, paths[s.at], s.http);
    r = r < 0 || s.http != 200 ? CLI_FAILED : status_print(&s, cli_wants_json(args));
    for (size_t i = 0; i < RM_COUNT(paths); i++)
        rm_buf_clear(&s.body[i]);
    return r;
}

const struct cli_command cli_status = {
    .name = "status",
    .group = CLI_LOOK,
    .summary = "nodes and roles as a gateway sees them",
    .common = CLI_ASKS | CLI_JSON,
    .run = status_run,
};
