/* SPDX-License-Identifier: MIT */
/* cli/status.c - `rolemesh status`: nodes and roles as a gateway sees them.
 * Asks GET /api/v1/nodes and /api/v1/roles (proto/openapi.yaml) one after the other and prints two
 * tables, or with --json the two answers as one object. One loop of its own, one thread. */
#include "cli/cli.h"

#include "proto/http/client.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_MAX = 16 * 1024 * 1024, STATUS_DEADLINE_MS = 10000 };

static const char *const paths[] = {"/api/v1/nodes", "/api/v1/roles"};

struct status {
    uv_loop_t loop;
    uv_timer_t deadline;
    struct http_client *client;
    struct http_call *call; /* in flight, or NULL */
    struct rm_buf body[RM_COUNT(paths)];
    size_t at; /* which path is asked now */
    int http;  /* status of the last answer */
    int err;   /* the first error */
};

/* --- asking ------------------------------------------------------------------------------------
 */

static void status_next(struct status *s);

static void status_on_head(struct http_call *k, const struct http_head *head)
{
    struct status *s = http_call_arg(k);

    s->http = head->status;
}

static void status_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct status *s = http_call_arg(k);
    int r = rm_buf_put(&s->body[s->at], bytes, n);

    if (r < 0 && s->err == 0) {
        s->err = r;
        http_call_abort(k);
    }
}

static void status_on_fail(struct http_call *k, int err)
{
    struct status *s = http_call_arg(k);

    if (s->err == 0)
        s->err = err;
}

static void status_on_done(struct http_call *k)
{
    struct status *s = http_call_arg(k);

    s->call = NULL;
    if (s->err == 0 && s->http == 200)
        s->at++;
    if (s->err == 0 && s->http == 200 && s->at < RM_COUNT(paths)) {
        status_next(s);
        return;
    }
    http_client_close(s->client);
    s->client = NULL;
    uv_close((uv_handle_t *)&s->deadline, NULL);
}

static const struct http_call_ops status_ops = {
    .on_head = status_on_head,
    .on_body = status_on_body,
    .on_fail = status_on_fail,
    .on_done = status_on_done,
};

static void status_next(struct status *s)
{
    struct http_call_spec spec = {.method = "GET", .target = rm_slice_of(paths[s->at])};
    int r = http_call_start(s->client, &spec, &status_ops, s, &s->call);

    if (r == 0)
        return;
    s->err = r;
    http_client_close(s->client);
    s->client = NULL;
    uv_close((uv_handle_t *)&s->deadline, NULL);
}

static void status_on_deadline(uv_timer_t *timer)
{
    struct status *s = timer->data;

    if (s->call == NULL)
        return;
    s->err = UV_ETIMEDOUT;
    http_call_abort(s->call);
}

/* Runs both calls. Returns 0, or the first error; s->http tells an answer that is not 200. */
static int status_ask(struct status *s, const struct http_address *address)
{
    int r = uv_loop_init(&s->loop);

    if (r < 0)
        return r;
    uv_timer_init(&s->loop, &s->deadline);
    s->deadline.data = s;
    uv_timer_start(&s->deadline, status_on_deadline, STATUS_DEADLINE_MS, 0);
    s->err = http_client_new(&s->loop, address, &http_client_conf_default, &s->client);
    if (s->err == 0)
        status_next(s);
    else
        uv_close((uv_handle_t *)&s->deadline, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    return s->err;
}

/* --- telling -------------------------------------------------------------------------------------
 */

enum { TEXT_MAX = 256 };

/* A member's text without the bytes that a terminal might act on; "-" when there is none. */
static const char *text_of(const json_t *object, const char *key, char out[TEXT_MAX])
{
    const char *text = json_string_value(json_object_get(object, key));
    size_t n = 0;

    if (text == NULL)
        return "-";
    for (; text[n] != '\0' && n < TEXT_MAX - 1; n++) {
        unsigned char c = (unsigned char)text[n];
        bool c1 = n > 0 && c < 0xa0 && c >= 0x80 && (unsigned char)text[n - 1] == 0xc2;

        out[n] = c < 0x20 || c == 0x7f || c1 ? '?' : text[n];
    }
    out[n] = '\0';
    return out;
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* "code ready, ask loading": the hosts of a node by role, or of a role by node. */
static void print_hosts(const json_t *hosts, const char *by)
{
    char name[TEXT_MAX], state[TEXT_MAX];
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
        char address[TEXT_MAX + 32], name[TEXT_MAX], health[TEXT_MAX], host[TEXT_MAX];

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
        char ready[48], name[TEXT_MAX], model[TEXT_MAX], reason[TEXT_MAX];

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

/* "http://HOST:PORT" or "HOST:PORT"; a slash at the end is fine. */
static int status_address(const char *text, struct http_address *out)
{
    char copy[300];
    size_t n;

    if (strncmp(text, "http://", 7) == 0)
        text += 7;
    n = strlen(text);
    while (n > 0 && text[n - 1] == '/')
        n--;
    if (n >= sizeof copy)
        return UV_EINVAL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return http_address_parse(copy, out);
}

int cli_status(int argc, char **argv)
{
    struct status s = {.at = 0};
    struct http_address address;
    const char *gateway = "http://127.0.0.1:8080";
    bool json = false;
    int r;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--gateway") == 0 && i + 1 < argc)
            gateway = argv[++i];
        else
            return cli_usage("status", "unknown argument");
    if (status_address(gateway, &address) < 0)
        return cli_usage("status", "--gateway is http://HOST:PORT");
    for (size_t i = 0; i < RM_COUNT(paths); i++)
        rm_buf_init(&s.body[i], STATUS_MAX);
    r = status_ask(&s, &address);
    if (r < 0)
        fprintf(
            stderr,
            "rolemesh status: %s: %s; start rolemesh-gateway, or name another with --gateway URL\n",
            gateway, rm_strerror(r));
    else if (s.http != 200)
        fprintf(stderr, "rolemesh status: %s%s answered %d\n", gateway, paths[s.at], s.http);
    r = r < 0 || s.http != 200 ? CLI_FAILED : status_print(&s, json);
    for (size_t i = 0; i < RM_COUNT(paths); i++)
        rm_buf_clear(&s.body[i]);
    return r;
}
