/* SPDX-License-Identifier: MIT */
/* cli/act.c - `rolemesh load|unload|evict ROLE [NODE]`, `drain|undrain ROLE [NODE]` or NODE: what
 * an operator wishes of hosts, asked of the gateway, which takes it down and sees to it. Without a
 * NODE it is for every host that the role has. And `rolemesh reload`. */
#include "cli/api.h"
#include "cli/apply.h"

#include <string.h>

struct act {
    struct api api;
    const struct cli_args *args;
    const char *action; /* the command's name is the API's word */
};

/* POST to a path that ends with the action. */
static int act_post(const struct act *a, const char *role, const char *node)
{
    char target[API_TARGET_MAX] = "/api/v1/";
    json_t *answer;
    int r;

    strcat(target, role != NULL ? "hosts/" : "nodes/");
    if (role != NULL) {
        api_segment(target, role);
        strcat(target, "/");
    }
    api_segment(target, node);
    strcat(target, "/");
    strcat(target, a->action);
    if ((r = api_ask(&a->api, "POST", target, (struct rm_slice){NULL, 0}, &answer)) != CLI_OK)
        return r;
    if (cli_wants_json(a->args)) {
        api_print(answer, stdout, false);
    } else {
        ask_print_line(json_string_value(json_object_get(answer, "text")), stdout);
        putchar('\n');
    }
    json_decref(answer);
    return CLI_OK;
}

/* What the gateway has of that name, or NULL. */
static json_t *look_up(const struct act *a, const char *list, const char *name, int *r)
{
    char target[API_TARGET_MAX] = "/api/v1/";
    json_t *one;
    int status;

    strcat(target, list);
    strcat(target, "/");
    api_segment(target, name);
    *r = api_call(&a->api, "GET", target, (struct rm_slice){NULL, 0}, &status, &one);
    if (*r == CLI_OK && status != 200 && status != 404)
        *r = api_refused(&a->api, target, status, one);
    if (*r == CLI_OK && status == 200)
        return one;
    json_decref(one);
    return NULL;
}

static bool has_word(const json_t *array, const char *word)
{
    const json_t *item;
    size_t i;

    json_array_foreach(array, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), word) == 0)
            return true;
    }
    return false;
}

/* The only node that the role was unloaded from, or that the cluster has, into out. */
static bool only_node(const struct act *a, const char *role, char *out, size_t size, int *r)
{
    const json_t *all, *node;
    const char *from = NULL;
    size_t i, n_from = 0;
    json_t *nodes;

    if ((*r = api_list(&a->api, "/api/v1/nodes", "nodes", 0, &nodes)) != CLI_OK)
        return false;
    all = json_object_get(nodes, "nodes");
    json_array_foreach(all, i, node)
    {
        if (has_word(json_object_get(node, "unloaded"), role) || json_array_size(all) == 1) {
            from = json_string_value(json_object_get(node, "name"));
            n_from++;
        }
    }
    if (n_from != 1 || from == NULL || strlen(from) >= size)
        n_from = 0;
    else
        strcpy(out, from);
    json_decref(nodes);
    return n_from == 1;
}

/* Every host of a role; where it has none, load means the one node that it was unloaded from, or
 * that there is. */
static int act_role(const struct act *a, const char *role, const json_t *hosts)
{
    char only[ASK_TEXT_MAX];
    const json_t *host;
    int r = CLI_OK;
    size_t i;

    if (json_array_size(hosts) == 0) {
        if (strcmp(a->action, "load") != 0)
            return cli_failed(a->action, "role '%s' has no host; `rolemesh roles %s` tells more",
                              role, role);
        if (only_node(a, role, only, sizeof only, &r))
            return act_post(a, role, only);
        return r != CLI_OK ? r
                           : cli_usage(a->action,
                                       "on which node? role '%s' has no host: say "
                                       "`rolemesh load %s NODE`",
                                       role, role);
    }
    json_array_foreach(hosts, i, host)
    {
        const char *node = json_string_value(json_object_get(host, "node"));
        int one = node != NULL ? act_post(a, role, node) : CLI_FAILED;

        r = one != CLI_OK ? one : r;
    }
    return r;
}

/* One word: a role, or where `nodes` it may be a node. */
static int act_word(const struct act *a, const char *word, bool nodes)
{
    json_t *role, *node = NULL;
    int r;

    role = look_up(a, "roles", word, &r);
    if (r == CLI_OK && nodes)
        node = look_up(a, "nodes", word, &r);
    if (r == CLI_OK && role != NULL && node != NULL)
        r = cli_usage(a->action,
                      "'%s' is a role and a node: say `rolemesh %s --node %s`, or `rolemesh %s %s "
                      "NODE` for the role's host",
                      word, a->action, word, a->action, word);
    else if (r == CLI_OK && role != NULL)
        r = act_role(a, word, json_object_get(role, "hosts"));
    else if (r == CLI_OK && node != NULL)
        r = act_post(a, NULL, word);
    else if (r == CLI_OK)
        r = cli_failed(a->action, "no role%s is called '%s'", nodes ? " and no node" : "", word);
    json_decref(role);
    json_decref(node);
    return r;
}

static int act_run(const struct cli_args *args)
{
    bool nodes = cli_option_named(args->command, "node", 4) != NULL;
    const char *word = cli_word(args, 0), *node = nodes ? cli_text(args, "node") : NULL;
    struct act a = {.args = args, .action = args->command->name};
    int r;

    if (node != NULL && word != NULL)
        return cli_usage(a.action, "--node goes without another name");
    if (node == NULL && word == NULL)
        return cli_usage(a.action, "which role or node?");
    if ((r = api_open(args, &a.api)) != CLI_OK)
        return r;
    if (node != NULL)
        return act_post(&a, NULL, node);
    return cli_word(args, 1) != NULL ? act_post(&a, word, cli_word(args, 1))
                                     : act_word(&a, word, nodes);
}

#define ROLE_AND_NODE                                                                              \
    {                                                                                              \
        {"ROLE", false, false, "which role?", CLI_COMPLETE_ROLE, NULL},                            \
        {                                                                                          \
            "NODE", true, false, NULL, CLI_COMPLETE_NODE, NULL                                     \
        }                                                                                          \
    }

#define TARGET_AND_NODE                                                                            \
    {                                                                                              \
        {"ROLE|NODE", true, false, NULL, CLI_COMPLETE_TARGET, NULL},                               \
        {                                                                                          \
            "NODE", true, false, NULL, CLI_COMPLETE_NODE, NULL                                     \
        }                                                                                          \
    }

static const struct cli_option node_options[] = {
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "this node, where a role has the same name"},
    {NULL},
};

const struct cli_command cli_load = {
    .name = "load",
    .group = CLI_ACT,
    .summary = "host a role on a node now, and keep it there",
    .about = "A host that failed is tried at once. Without NODE: every host of the role.",
    .examples = "rolemesh load code speed\n",
    .common = CLI_ASKS | CLI_JSON,
    .operands = ROLE_AND_NODE,
    .run = act_run,
};

const struct cli_command cli_unload = {
    .name = "unload",
    .group = CLI_ACT,
    .summary = "let a host finish, save its state and stop it; it stays away until load",
    .about = "Requests that run are finished first. Without NODE: every host of the role.",
    .examples = "rolemesh unload architect reasoning\n",
    .common = CLI_ASKS | CLI_JSON,
    .operands = ROLE_AND_NODE,
    .run = act_run,
};

const struct cli_command cli_evict = {
    .name = "evict",
    .group = CLI_ACT,
    .summary = "stop a host as unload does, but let the plan decide afresh",
    .about = "Without NODE: every host of the role.",
    .common = CLI_ASKS | CLI_JSON,
    .operands = ROLE_AND_NODE,
    .run = act_run,
};

const struct cli_command cli_drain = {
    .name = "drain",
    .group = CLI_ACT,
    .summary = "give a host, or all hosts of a node, no new requests",
    .about =
        "A host stays loaded. A node's hosts move elsewhere where the plan can. Without NODE a "
        "role means every host of it. `rolemesh undrain` ends it.",
    .examples = "rolemesh drain speed            # the node, before maintenance\n"
                "rolemesh drain code speed       # one host\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = node_options,
    .operands = TARGET_AND_NODE,
    .run = act_run,
};

const struct cli_command cli_undrain = {
    .name = "undrain",
    .group = CLI_ACT,
    .summary = "end a drain",
    .common = CLI_ASKS | CLI_JSON,
    .options = node_options,
    .operands = TARGET_AND_NODE,
    .run = act_run,
};

/* ---- reload ---- */

static int reload_run(const struct cli_args *args)
{
    static const char target[] = "/api/v1/reload";
    char revision[ASK_TEXT_MAX];
    json_t *answer = NULL;
    const char *lines;
    struct api api;
    int status, r = api_open(args, &api);

    if (r == CLI_OK)
        r = api_call(&api, "POST", target, (struct rm_slice){NULL, 0}, &status, &answer);
    if (r != CLI_OK)
        return r;
    lines = json_string_value(json_object_get(answer, "text"));
    if (cli_wants_json(args) && answer != NULL && (status == 200 || status == 422)) {
        api_print(answer, stdout, false);
        r = status == 422 ? CLI_BAD : CLI_OK;
    } else if (status == 422 && lines != NULL) {
        ask_print_lines(lines, stderr);
        r = CLI_BAD;
    } else if (status != 200 || !json_is_object(answer)) {
        r = api_refused(&api, target, status, answer);
    } else {
        apply_print_changes(answer);
        printf("reloaded: revision %s\n", api_text(answer, "revision", revision));
    }
    json_decref(answer);
    return r;
}

const struct cli_command cli_reload = {
    .name = "reload",
    .group = CLI_ACT,
    .summary = "have the gateway read its role map's file again, as SIGHUP does",
    .about = "Prints what changed, or the mistakes that left everything as it was.\n\n"
             "Exit codes: 0 it runs; 1 no answer, or refused; 2 the file has mistakes.",
    .common = CLI_ASKS | CLI_JSON,
    .run = reload_run,
};
