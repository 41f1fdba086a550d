/* SPDX-License-Identifier: MIT */
/* cli/lists.c - `rolemesh nodes`, `roles` and `models`: a list of the ops API as a table, or one of
 * it with its hosts. */
#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"

#include <string.h>
#include <uv.h>

struct list {
    struct api api;
    const char *path, *name; /* "/api/v1/nodes", "nodes" */
    int (*show)(const json_t *rows, const struct term *t, bool wide);
};

/* One by its name: its row, then its hosts; as CSV these alone. */
static int draw_one(const struct cli_args *args, const struct list *l, const struct term *t)
{
    char target[API_TARGET_MAX];
    json_t *one, *row;
    int r, err = UV_ENOMEM;

    snprintf(target, sizeof target, "%s/", l->path);
    api_segment(target, cli_word(args, 0));
    if ((r = api_get(&l->api, target, &one)) != CLI_OK)
        return r;
    row = json_pack("[O]", one);
    if (cli_wants_json(args)) {
        api_print(one, t->to, t->compact);
        err = 0;
    } else if (t->csv) {
        err = show_hosts(json_object_get(one, "hosts"), t, true);
    } else if (row != NULL && (err = l->show(row, t, cli_wants_wide(args))) == 0) {
        fputc('\n', t->to);
        err = show_hosts(json_object_get(one, "hosts"), t, cli_wants_wide(args));
    }
    json_decref(row);
    json_decref(one);
    return err == 0 ? CLI_OK : cli_failed(l->api.command, "%s", rm_strerror(err));
}

/* Nodes that did not tell theirs. */
static void print_silent(const json_t *silent, FILE *to)
{
    char node[ASK_TEXT_MAX];
    const json_t *one;
    size_t i;

    json_array_foreach(silent, i, one)
    {
        fprintf(to, "not known of %s: ", api_text(one, "node", node));
        ask_print_line(json_string_value(json_object_get(one, "why")), to);
        fputc('\n', to);
    }
}

/* All, with this command's options of the API's names as filters. */
static int draw_all(const struct cli_args *args, const struct list *l, const struct term *t)
{
    const struct cli_option *o = args->command->options;
    char target[API_TARGET_MAX];
    json_t *all;
    int r, err = 0;

    rm_text_copy(target, sizeof target, l->path);
    for (; o != NULL && o->name != NULL; o++)
        api_query(target, o->name, cli_text(args, o->name));
    if ((r = api_list(&l->api, target, l->name, 0, &all)) != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(all, t->to, t->compact);
    else
        err = l->show(json_object_get(all, l->name), t, cli_wants_wide(args));
    if (!cli_wants_json(args))
        print_silent(json_object_get(all, "silent"), t->csv ? stderr : t->to);
    json_decref(all);
    return err == 0 ? CLI_OK : cli_failed(l->api.command, "%s", rm_strerror(err));
}

static int draw(const struct cli_args *args, const struct term *t, void *arg)
{
    const struct list *l = arg;

    return args->n_words > 0 ? draw_one(args, l, t) : draw_all(args, l, t);
}

static int list_run(const struct cli_args *args, struct list *l)
{
    int r = api_open(args, &l->api);

    return r == CLI_OK ? term_watch(args, draw, l) : r;
}

/* ---- nodes ---- */

static int nodes_run(const struct cli_args *args)
{
    struct list l = {.path = "/api/v1/nodes", .name = "nodes", .show = show_nodes};

    return list_run(args, &l);
}

static const char *const healths[] = {"up", "suspect", "down", NULL};

static const struct cli_option nodes_options[] = {
    {.name = "health",
     .kind = CLI_WORD,
     .value = "up|suspect|down",
     .words = healths,
     .help = "only nodes of this health"},
    {NULL},
};

const struct cli_command cli_nodes = {
    .name = "nodes",
    .group = CLI_LOOK,
    .summary = "the nodes with health, path, memory, load and hosts; of one its hosts",
    .about = "MEMORY is what the hosts were promised, of what the node gives them. IN/S and OUT/S "
             "are tokens a second, read and made.",
    .examples = "rolemesh nodes -o wide\nrolemesh nodes speed --watch\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = nodes_options,
    .operands = {{"NODE", true, false, NULL, CLI_COMPLETE_NODE, NULL}},
    .run = nodes_run,
};

/* ---- roles ---- */

static int roles_run(const struct cli_args *args)
{
    struct list l = {.path = "/api/v1/roles", .name = "roles", .show = show_roles};

    return list_run(args, &l);
}

static const char *const lanes[] = {"autocomplete", "interactive", "batch", NULL};

static const struct cli_option roles_options[] = {
    {.name = "mode", .kind = CLI_STRING, .value = "MODE", .help = "only roles that serve it"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = "MODEL",
     .complete = CLI_COMPLETE_MODEL,
     .help = "only roles that run it"},
    {.name = "lane",
     .kind = CLI_WORD,
     .value = "LANE",
     .words = lanes,
     .help = "only roles of it: autocomplete, interactive or batch"},
    {NULL},
};

const struct cli_command cli_roles = {
    .name = "roles",
    .group = CLI_LOOK,
    .summary = "the roles with model, hosts, requests and times; of one its hosts",
    .about = "READY is hosts that serve, of those wanted. TTFT is the time to the first token, T/S "
             "tokens a second of one stream (P50: half of the requests were no slower), CACHED the "
             "share of prompt tokens that caches gave.",
    .examples = "rolemesh roles -o wide\nrolemesh roles code --watch=1\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = roles_options,
    .operands = {{"ROLE", true, false, NULL, CLI_COMPLETE_ROLE, NULL}},
    .run = roles_run,
};

/* ---- models ---- */

static const struct grid_column model_columns[] = {
    {"MODEL", false, false, 40},  {"ROLES", false, false, 40}, {"NODE", false, false, 32},
    {"SIZE", true, false, 0},     {"HASH", false, false, 0},   {"FILE", false, true, 0},
    {"SOURCE", false, false, 80},
};

/* A row for each node that has it; one for a model that none has. */
static void add_model(struct grid *g, const json_t *model)
{
    const json_t *nodes = json_object_get(model, "nodes"), *node;
    size_t i, n = json_array_size(nodes);
    char text[ASK_TEXT_MAX], roles[GRID_CELL_MAX], cell[HUMAN_MAX];

    for (i = 0; i < (n > 0 ? n : 1); i++) {
        node = json_array_get(nodes, i);
        grid_add(g, TERM_PLAIN, "%s", api_text(model, "name", text));
        grid_add(g, TERM_PLAIN, "%s",
                 show_words(json_object_get(model, "roles"), roles, sizeof roles));
        grid_add(g, node != NULL ? TERM_PLAIN : TERM_WARN, "%s",
                 node != NULL ? api_text(node, "node", text) : "nowhere");
        grid_add(g, node == NULL || api_true(node, "complete") ? TERM_PLAIN : TERM_WARN, "%s%s",
                 show_bytes(node, "bytes", cell),
                 node == NULL || api_true(node, "complete") ? "" : " (not all)");
        grid_add(g, TERM_PLAIN, "%.12s", api_text(node, "model_hash", text));
        grid_add(g, TERM_PLAIN, "%s", api_text(node, "file", text));
        grid_add(g, TERM_PLAIN, "%s", api_text(model, "source", text));
    }
}

static int show_models(const json_t *models, const struct term *t, bool wide)
{
    const json_t *model;
    struct grid g;
    size_t i;
    int r;

    grid_init(&g, model_columns, RM_COUNT(model_columns));
    g.none = "no models";
    json_array_foreach(models, i, model) add_model(&g, model);
    r = grid_print(&g, t, wide);
    grid_clear(&g);
    return r;
}

static int models_run(const struct cli_args *args)
{
    struct list l = {.path = "/api/v1/models", .name = "models", .show = show_models};

    return list_run(args, &l);
}

static const struct cli_option models_options[] = {
    {.name = "name",
     .kind = CLI_STRING,
     .value = "MODEL",
     .complete = CLI_COMPLETE_MODEL,
     .help = "only this model of the map"},
    {.name = "role",
     .kind = CLI_STRING,
     .value = "ROLE",
     .complete = CLI_COMPLETE_ROLE,
     .help = "only what it runs"},
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "only what is there"},
    {NULL},
};

const struct cli_command cli_models = {
    .name = "models",
    .group = CLI_LOOK,
    .summary = "the models of the map, and the files of models on the nodes",
    .about =
        "A row for each node that has the file. Files that the map does not name have no MODEL.",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = models_options,
    .run = models_run,
};
