/* SPDX-License-Identifier: MIT */
/* cli/doctor/cluster.c - the gateway, and through it nodes, roles and models (proto/openapi.yaml);
 * clocks by the Date field of answers. What an older gateway does not tell is not judged. */
#include "cli/doctor/doctor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/api.h"
#include "cli/human.h"
#include "proto/base/clock.h"

enum { HEALTH_MS = 4000, CLOCK_WARN_S = 2, CLOCK_BAD_S = 60 };

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s != NULL ? s : "";
}

/* ---- what bodies say ---- */

/* Alarms that are told as what they are about. */
static bool told_elsewhere(const char *kind)
{
    static const char *const kinds[] = {"node.down", "host.failed", "role.short", "node.memory"};

    for (size_t i = 0; i < RM_COUNT(kinds); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    return false;
}

static void judge_alarms(struct doctor *d, const json_t *alarms)
{
    const json_t *alarm;
    size_t i;

    json_array_foreach(alarms, i, alarm)
    {
        const char *next = text(alarm, "next");

        if (!told_elsewhere(text(alarm, "kind")))
            doctor_say(
                d, strcmp(text(alarm, "severity"), "error") == 0 ? DOCTOR_FAILURE : DOCTOR_WARNING,
                "alarm", text(alarm, "subject"), next[0] != '\0' ? next : NULL, "%s",
                text(alarm, "text"));
    }
}

void cluster_judge_status(struct doctor *d, const json_t *status)
{
    const char *version = text(status, "version");
    char up[HUMAN_MAX];

    if (status == NULL)
        return;
    if (version[0] == '\0' || strcmp(version, RM_VERSION) == 0)
        doctor_say(d, DOCTOR_OK, "gateway", "", NULL, "version %s, up %s", version,
                   human_ms(api_u64(status, "uptime_ms"), up));
    else
        doctor_say(d, DOCTOR_WARNING, "gateway", "", "install the same version everywhere",
                   "version %s, and this command is %s", version, RM_VERSION);
    if (api_true(status, "fenced"))
        doctor_say(d, DOCTOR_FAILURE, "gateway", "",
                   "stop this gateway, or the newer one that the workers follow",
                   "the workers follow a newer gateway: this one places nothing any more");
    if (json_is_false(json_object_get(status, "settled")))
        doctor_say(d, DOCTOR_WARNING, "gateway", "", "wait some seconds and ask again",
                   "it has just started and waits for its nodes");
    if (api_true(status, "draining"))
        doctor_say(d, DOCTOR_WARNING, "gateway", "", NULL, "it is stopping");
    judge_alarms(d, json_object_get(status, "alarms"));
}

void cluster_judge_map(struct doctor *d, const json_t *map)
{
    const json_t *last = json_object_get(map, "last_reload");
    const json_t *mistake = json_array_get(json_object_get(last, "mistakes"), 0);
    const char *outcome = text(last, "outcome");

    if (map == NULL)
        return;
    if (outcome[0] == '\0' || strcmp(outcome, "applied") == 0)
        doctor_say(d, DOCTOR_OK, "running map", text(map, "path"), NULL,
                   "%llu nodes, %llu models, %llu roles", (unsigned long long)api_u64(map, "nodes"),
                   (unsigned long long)api_u64(map, "models"),
                   (unsigned long long)api_u64(map, "roles"));
    else
        doctor_say(d, DOCTOR_FAILURE, "running map", text(map, "path"),
                   "rolemesh check FILE tells every mistake; the map before still runs",
                   "the last change was not taken over: %s%s", text(last, "error"),
                   text(mistake, "what"));
}

/* The first thing that is wrong with a node; NULL: nothing. */
static const char *node_fault(const json_t *node, const char *gateway_version,
                              enum doctor_result *result, const char **next)
{
    const json_t *memory = json_object_get(node, "memory");
    double used = api_real(memory, "swap_used"), all = api_real(memory, "swap_total");

    *result = DOCTOR_WARNING;
    *next = NULL;
    if (strcmp(text(node, "health"), "down") == 0) {
        *result = DOCTOR_FAILURE;
        *next = "start rolemesh-worker there, or look at the way to it";
        return "it is down";
    }
    if (strcmp(text(node, "health"), "suspect") == 0) {
        *next = "look at it again in some seconds";
        return "it has been silent for a moment";
    }
    if (api_true(memory, "refusing")) {
        *next = "host less there, or close what else uses its memory";
        return "it is short of memory and starts no engine";
    }
    if (api_real(memory, "pressure") >= 10) {
        *next = "host less there, or give its worker a larger reserve";
        return "much of its time goes into waiting for memory";
    }
    if (all > 0 && used > all / 2 && used > (double)(1 << 30)) {
        *next = "weights in swap make a host very slow: host less there";
        return "more than half of its swap is used";
    }
    if (gateway_version[0] != '\0' && text(node, "version")[0] != '\0' &&
        strcmp(gateway_version, text(node, "version")) != 0) {
        *next = "install the same version everywhere";
        return "its worker has another version than the gateway";
    }
    return api_true(node, "draining") ? "its worker is leaving" : NULL;
}

void cluster_judge_nodes(struct doctor *d, const json_t *nodes, const char *gateway_version)
{
    const json_t *node;
    size_t i;

    json_array_foreach(json_object_get(nodes, "nodes"), i, node)
    {
        enum doctor_result result;
        const char *next, *fault = node_fault(node, gateway_version, &result, &next);
        const char *error = text(node, "last_error");
        char free_bytes[HUMAN_MAX], total[HUMAN_MAX];

        if (fault != NULL)
            doctor_say(d, result, "node", text(node, "name"), next, "%s%s%s", fault,
                       result == DOCTOR_FAILURE && error[0] != '\0' ? ": " : "",
                       result == DOCTOR_FAILURE ? error : "");
        else
            doctor_say(
                d, DOCTOR_OK, "node", text(node, "name"), NULL, "version %s, %s of %s available",
                text(node, "version"),
                human_bytes(api_u64(json_object_get(node, "memory"), "available"), free_bytes),
                human_bytes(api_u64(json_object_get(node, "memory"), "total"), total));
    }
    if (nodes != NULL && json_array_size(json_object_get(nodes, "nodes")) == 0)
        doctor_say(d, DOCTOR_FAILURE, "nodes", "", "name some under `nodes:` in the role map",
                   "the role map has none");
}

static void judge_host(struct doctor *d, const json_t *host)
{
    const json_t *error = json_object_get(host, "last_error");
    char name[2 * ASK_TEXT_MAX], a[ASK_TEXT_MAX], b[ASK_TEXT_MAX];

    snprintf(name, sizeof name, "%s@%s", api_text(host, "role", a), api_text(host, "node", b));
    if (strcmp(text(host, "state"), "failed") == 0)
        doctor_say(d, DOCTOR_FAILURE, "host", name, "rolemesh logs ROLE@NODE shows its last words",
                   "it failed: %s: %s", text(error, "cause"), text(error, "text"));
    else if (api_true(host, "drift"))
        doctor_say(d, DOCTOR_WARNING, "host", name,
                   "put the same model file on every node that hosts the role",
                   "its model is not that of most hosts of the role, so it gets no requests");
    else if (text(host, "notice")[0] != '\0')
        doctor_say(d, DOCTOR_WARNING, "host", name, NULL, "%s", text(host, "notice"));
}

static void judge_role(struct doctor *d, const json_t *role)
{
    const json_t *hosts = json_object_get(role, "hosts"), *host;
    const json_t *loading = json_object_get(role, "loading");
    bool on_demand = strcmp(text(role, "residency"), "on-demand") == 0;
    uint64_t ready = api_u64(role, "hosts_ready");
    size_t i;

    json_array_foreach(hosts, i, host) judge_host(d, host);
    if (ready > 0)
        doctor_say(d, DOCTOR_OK, "role", text(role, "name"), NULL, "%llu of %llu hosts ready",
                   (unsigned long long)ready, (unsigned long long)api_u64(role, "replicas"));
    else if (json_is_object(loading))
        doctor_say(d, api_true(loading, "stalled") ? DOCTOR_FAILURE : DOCTOR_WARNING, "role",
                   text(role, "name"), api_true(loading, "stalled") ? "rolemesh logs NODE" : NULL,
                   "not ready yet: %s%s", text(loading, "state"),
                   api_true(loading, "stalled") ? ", and it makes no progress" : "");
    else if (on_demand)
        doctor_say(d, DOCTOR_OK, "role", text(role, "name"), NULL,
                   "not loaded: its first request loads it");
    else
        doctor_say(d, DOCTOR_FAILURE, "role", text(role, "name"),
                   "rolemesh plan shows where it could go", "no host is ready: %s",
                   text(role, "reason")[0] != '\0' ? text(role, "reason") : "not placed yet");
}

void cluster_judge_roles(struct doctor *d, const json_t *roles)
{
    const json_t *role, *s;
    char missing[HUMAN_MAX];
    size_t i;

    json_array_foreach(json_object_get(roles, "roles"), i, role) judge_role(d, role);
    json_array_foreach(json_object_get(roles, "shortfalls"), i, s) doctor_say(
        d, DOCTOR_WARNING, "role", text(s, "role"),
        "rolemesh plan shows what fits; fewer replicas, a smaller context or another node",
        "it has fewer hosts than it wants: %s (%s missing)", text(s, "reason"),
        human_bytes(api_u64(s, "missing_bytes"), missing));
}

void cluster_judge_models(struct doctor *d, const json_t *models)
{
    const json_t *model, *file;
    size_t i, k;

    json_array_foreach(json_object_get(models, "models"), i, model)
    {
        const json_t *nodes = json_object_get(model, "nodes");
        bool whole = true;

        if (json_array_size(json_object_get(model, "roles")) == 0 ||
            strncmp(text(model, "source"), "attach:", 7) == 0)
            continue;
        json_array_foreach(nodes, k, file)
        {
            if (api_true(file, "complete"))
                continue;
            whole = false;
            doctor_say(d, DOCTOR_FAILURE, "model", text(model, "name"),
                       "rolemesh pull SOURCE --node NODE fetches what is missing",
                       "on node %s parts of %s are missing", text(file, "node"),
                       text(file, "file"));
        }
        if (json_array_size(nodes) == 0)
            doctor_say(d, DOCTOR_WARNING, "model", text(model, "name"),
                       "rolemesh pull SOURCE --node NODE fetches it there",
                       "no node that answers has a file of %s", text(model, "source"));
        else if (whole)
            doctor_say(d, DOCTOR_OK, "model", text(model, "name"), NULL, "on %zu node%s",
                       json_array_size(nodes), json_array_size(nodes) == 1 ? "" : "s");
    }
}

void cluster_judge_clock(struct doctor *d, const char *subject, double ahead_s, double slack_s)
{
    double off = fabs(ahead_s);
    enum doctor_result result = off > CLOCK_BAD_S + slack_s    ? DOCTOR_FAILURE
                                : off > CLOCK_WARN_S + slack_s ? DOCTOR_WARNING
                                                               : DOCTOR_OK;

    if (result == DOCTOR_OK)
        doctor_say(d, result, "clock", subject, NULL, "within %.0f s of this machine's",
                   ceil(off + slack_s));
    else
        doctor_say(d, result, "clock", subject,
                   "run a time service on both machines (timedatectl set-ntp true)",
                   "%.0f s %s this machine's", off, ahead_s > 0 ? "ahead of" : "behind");
}

/* ---- asking ---- */

/* Asks for /healthz and compares clocks. Returns 0 or why there is no answer; *status of HTTP. */
static int look_at(struct doctor *d, const char *subject, const struct http_address *address,
                   bool gateway, int *status)
{
    uint64_t begin = rm_now_ms();
    int64_t date_s = 0, now_ms;
    struct ask ask = {.address = address,
                      .method = "GET",
                      .target = "/healthz",
                      .deadline_ms = HEALTH_MS,
                      .to_gateway = gateway,
                      .date_s = &date_s};
    struct rm_buf body;
    double took_s;
    int r = ask_run(&ask, status, &body);

    rm_buf_clear(&body);
    if (r < 0)
        return r;
    now_ms = rm_wall_ms();
    took_s = (double)(rm_now_ms() - begin) / 1000;
    if (date_s > 0) /* the second that it names was somewhere within the question's time */
        cluster_judge_clock(d, subject, (double)date_s + 0.5 + took_s / 2 - (double)now_ms / 1000,
                            0.5 + took_s / 2);
    return 0;
}

static json_t *get(const struct api *api, const char *target, int *status)
{
    json_t *out = NULL;

    if (api_call(api, "GET", target, (struct rm_slice){NULL, 0}, status, &out) == CLI_OK &&
        *status == 200 && json_is_object(out))
        return out;
    json_decref(out);
    return NULL;
}

static json_t *get_list(const struct api *api, const char *target, const char *name)
{
    json_t *out = NULL;

    return api_list(api, target, name, 0, &out) == CLI_OK ? out : NULL;
}

/* Workers are for gateways: what this machine cannot reach is no fault. */
static void look_at_clocks(struct doctor *d, const json_t *nodes)
{
    const json_t *node;
    size_t i;

    json_array_foreach(json_object_get(nodes, "nodes"), i, node)
    {
        struct http_address a = {.port = (uint16_t)api_u64(node, "port")};
        const char *host = text(node, "host"), *name = text(node, "name");
        int status;

        if (strcmp(text(node, "health"), "up") != 0 || host[0] == '\0' ||
            strlen(host) >= sizeof a.host)
            continue;
        a.is_unix = host[0] == '/';
        rm_text_copy(a.host, sizeof a.host, host);
        if (look_at(d, name, &a, false, &status) < 0)
            doctor_say(d, DOCTOR_SKIPPED, "clock", name, NULL,
                       "its worker cannot be reached from this machine");
    }
}

static void ask_all(struct doctor *d, const struct api *api, const json_t *status)
{
    json_t *nodes = get_list(api, "/api/v1/nodes", "nodes"), *roles, *models;
    int http;

    cluster_judge_status(d, status);
    cluster_judge_nodes(d, nodes, text(status, "version"));
    look_at_clocks(d, nodes);
    roles = get(api, "/api/v1/roles?limit=500", &http);
    cluster_judge_roles(d, roles);
    models = get_list(api, "/api/v1/models", "models");
    cluster_judge_models(d, models);
    json_decref(nodes);
    json_decref(roles);
    json_decref(models);
}

/* Something answers there: is it a gateway, and may we ask it? */
static json_t *first_word(struct doctor *d, const struct api *api)
{
    int status = 0;
    json_t *body = get(api, "/api/v1/status", &status);

    if (body != NULL)
        return body;
    if (status == 401 || status == 403)
        doctor_say(d, DOCTOR_FAILURE, "gateway", api->url, "ROLEMESH_KEY, or --key-file FILE",
                   "it wants an API key (%d): nothing else could be looked at", status);
    else
        doctor_say(d, DOCTOR_FAILURE, "gateway", api->url,
                   "stop what listens there, or name another gateway with --gateway URL",
                   "something answers there (%d) that is no gateway of this kind", status);
    return NULL;
}

void cluster_check(struct doctor *d, struct doctor_cluster *c)
{
    struct api api = {
        .command = "doctor", .url = c->url, .deadline_ms = API_DEADLINE_MS, .quiet = true};
    json_t *status, *map, *session;
    int r, http;

    if (ask_address(c->url, &api.address) < 0)
        return; /* judged before */
    c->local = http_address_is_loopback(&api.address);
    if ((r = look_at(d, "gateway", &api.address, true, &http)) < 0) {
        doctor_say(d, DOCTOR_FAILURE, "gateway", c->url,
                   "start rolemesh-gateway, or name another with --gateway URL", "%s",
                   rm_strerror(r));
        return;
    }
    if ((status = first_word(d, &api)) == NULL)
        return;
    c->reached = true;
    if ((session = get(&api, "/api/v1/session", &http)) != NULL)
        c->keys_exist = api_true(session, "keys_exist");
    if ((map = get(&api, "/api/v1/map", &http)) != NULL)
        rm_text_copy(c->map_path, sizeof c->map_path, text(map, "path"));
    if (session != NULL && !c->keys_exist && !c->local)
        doctor_say(d, DOCTOR_WARNING, "keys", c->url,
                   "rolemesh keys create NAME --admin, on the gateway's machine",
                   "whoever reaches the gateway may use it: there are no API keys");
    cluster_judge_map(d, map);
    ask_all(d, &api, status);
    json_decref(session);
    json_decref(map);
    json_decref(status);
}
