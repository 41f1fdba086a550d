/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map_check.c - step three: what shows only when the whole map is read.
 * References, names that collide, loops, engines against sources, addresses against safety. Fields
 * that step two refused are NULL or empty here and are passed over: they have been told already. */
#include "proto/conf/role_map_file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- references --------------------------------------------------------------------------------
 */

/* The hint for a name that is not there: the nearest one, or all of them when they are few. */
static void hint_names(const char *const *names, size_t n, const char *wanted, char *out,
                       size_t size)
{
    const char *near = conf_nearest(rm_slice_of(wanted), names, n);
    size_t used;

    if (near != NULL) {
        snprintf(out, size, "did you mean '%s'?", near);
        return;
    }
    used = (size_t)snprintf(out, size, "known:");
    for (size_t i = 0; i < n && used + strlen(names[i]) + 16 < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s %s", i > 0 ? "," : "", names[i]);
}

#define NAMES_OF(map, items, count)                                                                \
    const char *names[MAP_ROLES_MAX];                                                              \
    size_t n_names = 0;                                                                            \
    for (size_t at_ = 0; at_ < (map)->count && n_names < RM_COUNT(names); at_++)                   \
        if ((map)->items[at_].name != NULL)                                                        \
    names[n_names++] = (map)->items[at_].name

static void say_no_such(struct conf_read *cf, struct conf_at at, const char *kind,
                        const char *wanted, const char *const *names, size_t n)
{
    char hint[256], shown[CONF_SHOWN_MAX];

    hint[0] = '\0';
    if (cf->report->n <
        CONF_MISTAKES_MAX) /* the distances cost something, and a full report shows no hint */
        hint_names(names, n, wanted, hint, sizeof hint);
    conf_report_add(cf->report, at, hint, "there is no %s %s", kind,
                    conf_shown(NULL, rm_slice_of(wanted), shown));
}

static void check_role_model(struct conf_read *cf, struct role_map *map, struct map_role *role)
{
    NAMES_OF(map, models, n_models);
    if (role->model_name == NULL || map->n_models == 0) /* no `models` has been told already */
        return;
    role->model = role_map_model(map, rm_slice_of(role->model_name));
    if (role->model == NULL)
        say_no_such(cf, role->model_at, "model", role->model_name, names, n_names);
}

static void check_role_nodes(struct conf_read *cf, struct role_map *map,
                             const struct map_role *role)
{
    const struct conf_list *const lists[] = {&role->nodes, &role->deny};
    bool good = true;
    size_t allowed = 0;

    NAMES_OF(map, nodes, n_nodes);
    if (n_names == 0) /* told already */
        return;
    for (size_t l = 0; l < RM_COUNT(lists); l++)
        for (size_t i = 0; i < lists[l]->n; i++)
            if (role_map_node(map, rm_slice_of(lists[l]->item[i])) == NULL) {
                say_no_such(cf, lists[l]->at[i], "node", lists[l]->item[i], names, n_names);
                good = false;
            }
    for (size_t i = 0; i < n_names; i++)
        allowed += map_role_allows(role, names[i]);
    if (!good)
        return;
    if (allowed == 0)
        conf_report_add(cf->report, role->at, "see its 'nodes' and 'deny'",
                        "no node may host role '%s'", role->name);
    else if (role->replicas > allowed)
        conf_report_add(cf->report, role->at, "one node hosts a role once",
                        "role '%s' wants %u replicas, but %zu node%s may host it", role->name,
                        role->replicas, allowed, allowed == 1 ? "" : "s");
}

/* --- fallback -----------------------------------------------------------------------------------
 */

struct walk {
    struct conf_read *cf;
    const struct role_map *map;
    size_t path[MAP_ROLES_MAX]; /* roles from the first to the one at hand */
    size_t depth;
    enum { NEW, ON_PATH, DONE } state[MAP_ROLES_MAX];
};

static void walk_say_loop(struct walk *w, struct conf_at at, size_t back_to)
{
    char text[256];
    size_t used = 0, start = 0;

    while (w->path[start] != back_to)
        start++;
    for (size_t i = start; i < w->depth && used < sizeof text - 80; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s -> ",
                                 w->map->roles[w->path[i]].name);
    snprintf(text + used, sizeof text - used, "%s", w->map->roles[back_to].name);
    conf_report_add(w->cf->report, at, "remove one of them", "fallback loops: %s", text);
}

/* Depth-first; at most one frame per role (MAP_ROLES_MAX). */
static void walk_role(struct walk *w, size_t index)
{
    const struct conf_list *list = &w->map->roles[index].fallback;

    w->state[index] = ON_PATH;
    w->path[w->depth++] = index;
    for (size_t i = 0; i < list->n; i++) {
        const struct map_role *next = role_map_role(w->map, rm_slice_of(list->item[i]));

        if (next == NULL)
            continue;
        if (w->state[next->index] == ON_PATH)
            walk_say_loop(w, list->at[i], next->index);
        else if (w->state[next->index] == NEW)
            walk_role(w, next->index);
    }
    w->depth--;
    w->state[index] = DONE;
}

static void check_fallback(struct conf_read *cf, const struct role_map *map)
{
    struct walk w = {.cf = cf, .map = map};

    NAMES_OF(map, roles, n_roles);
    for (size_t r = 0; r < map->n_roles; r++)
        for (size_t i = 0; i < map->roles[r].fallback.n; i++)
            if (role_map_role(map, rm_slice_of(map->roles[r].fallback.item[i])) == NULL)
                say_no_such(cf, map->roles[r].fallback.at[i], "role",
                            map->roles[r].fallback.item[i], names, n_names);
    for (size_t r = 0; r < map->n_roles; r++)
        if (w.state[r] == NEW)
            walk_role(&w, r);
}

/* --- modes --------------------------------------------------------------------------------------
 */

const char *role_map_mode_fault(struct rm_slice mode)
{
    /* First path segments of the gateway's own routes and of the dialects' (prefix, version, verb).
     */
    static const char *const reserved[] = {
        "api",        "chat",      "completion", "completions", "count_tokens", "dashboard",
        "detokenize", "embedding", "embeddings", "favicon.ico", "health",       "healthz",
        "infill",     "k",         "livez",      "messages",    "metrics",      "models",
        "node",       "props",     "readyz",     "rerank",      "reranking",    "responses",
        "run",        "slots",     "tokenize",   "v1",          "v1beta",       "v2",
        "version",
    };

    if (mode.n == 0 || mode.n > 32 ||
        !(islower((unsigned char)mode.p[0]) || isdigit((unsigned char)mode.p[0])))
        return "use up to 32 small letters, digits, '-' and '_'";
    for (size_t i = 0; i < RM_COUNT(reserved); i++)
        if (rm_slice_eq(mode, reserved[i]))
            return "the name is part of the API";
    for (size_t i = 0; i < mode.n; i++)
        if (!(islower((unsigned char)mode.p[i]) || isdigit((unsigned char)mode.p[i]) ||
              mode.p[i] == '-' || mode.p[i] == '_'))
            return "use up to 32 small letters, digits, '-' and '_'";
    return NULL;
}

/* Without `modes`, the role's own name is its mode. */
static void default_mode(struct conf_read *cf, struct map_role *role)
{
    const char **item;
    struct conf_at *at;

    if (role->modes.item != NULL || role->name == NULL)
        return;
    item = conf_arena_take(cf->arena, sizeof *item);
    at = conf_arena_take(cf->arena, sizeof *at);
    if (item == NULL || at == NULL) {
        cf->no_memory = true;
        return;
    }
    *item = role->name;
    *at = role->at;
    role->modes = (struct conf_list){item, at, 1};
}

static void check_mode(struct conf_read *cf, const struct role_map *map,
                       const struct map_role *role, size_t i)
{
    const char *mode = role->modes.item[i];
    struct rm_slice text = rm_slice_of(mode);
    const char *fault = role_map_mode_fault(text);
    const struct map_role *first = role_map_mode(map, text), *named = role_map_role(map, text);
    char shown[CONF_SHOWN_MAX];

    if (fault != NULL)
        conf_report_add(cf->report, role->modes.at[i], fault, "%s is no name for a mode",
                        conf_shown(NULL, text, shown));
    else if (first != NULL && first != role)
        conf_report_add(cf->report, role->modes.at[i], NULL,
                        "mode '%s' is served by role '%s' already", mode, first->name);
    else if (named != NULL && named != role)
        conf_report_add(cf->report, role->modes.at[i], "rename one of them",
                        "mode '%s' of role '%s' has the name of another role", mode, role->name);
}

/* --- sources and engines
 * -------------------------------------------------------------------------- */

static bool hf_part_is_good(struct rm_slice part)
{
    for (size_t i = 0; i < part.n; i++)
        if (!(isalnum((unsigned char)part.p[i]) || strchr("-_.", part.p[i]) != NULL) ||
            part.p[i] == '\0')
            return false;
    return part.n > 0 && part.n <= 96 && part.p[0] != '.' && part.p[0] != '-';
}

/* "ORG/REPO:QUANT" */
static const char *split_hf(struct conf_read *cf, struct map_model *model, struct rm_slice text)
{
    const char *slash = memchr(text.p, '/', text.n), *colon = memchr(text.p, ':', text.n);
    struct rm_slice org, repo, quant;

    if (slash == NULL || colon == NULL || colon < slash)
        return "write hf:ORG/REPO:QUANT";
    org = (struct rm_slice){text.p, (size_t)(slash - text.p)};
    repo = (struct rm_slice){slash + 1, (size_t)(colon - slash - 1)};
    quant = (struct rm_slice){colon + 1, text.n - (size_t)(colon + 1 - text.p)};
    if (!hf_part_is_good(org) || !hf_part_is_good(repo) || !hf_part_is_good(quant))
        return "write hf:ORG/REPO:QUANT";
    model->kind = MAP_SOURCE_HF;
    model->repo = conf_arena_text(cf->arena, (struct rm_slice){text.p, (size_t)(colon - text.p)});
    model->quant = conf_arena_text(cf->arena, quant);
    cf->no_memory = cf->no_memory || model->repo == NULL || model->quant == NULL;
    return NULL;
}

/* The file itself is on the node: whether it exists is the worker's to say. */
static const char *split_source(struct conf_read *cf, struct map_model *model)
{
    struct rm_slice text = rm_slice_of(model->source);
    const char *fault;

    if (text.n > 3 && memcmp(text.p, "hf:", 3) == 0)
        return split_hf(cf, model, (struct rm_slice){text.p + 3, text.n - 3});
    if (text.n > 7 && memcmp(text.p, "attach:", 7) == 0) {
        model->kind = MAP_SOURCE_ATTACH;
        model->attached = model->source + 7;
        return text.n - 7 < 256 ? NULL : "the name is too long"; /* desired.h carries less */
    }
    fault = conf_path_fault(text);
    if (fault == NULL && (text.n < 6 || memcmp(text.p + text.n - 5, ".gguf", 5) != 0))
        fault = "the file must end in .gguf";
    if (fault == NULL && text.n >= 1024) /* desired.h carries less */
        fault = "the path is too long";
    model->kind = MAP_SOURCE_FILE;
    model->path = model->source;
    return fault;
}

static void check_model(struct conf_read *cf, struct map_model *model)
{
    const char *fault;

    if (model->source == NULL)
        return;
    fault = split_source(cf, model);
    if (fault != NULL)
        conf_report_add(cf->report, model->source_at, fault,
                        "source: expected /PATH.gguf, hf:ORG/REPO:QUANT or attach:NAME");
}

static void check_engine(struct conf_read *cf, const struct map_role *role)
{
    bool attach = role->engine.kind == MAP_ENGINE_ATTACH;
    bool attached = role->model != NULL && role->model->attached != NULL;

    if (role->engine.kind == MAP_ENGINE_CORE && role->slots > MAP_CORE_SLOTS_MAX)
        conf_report_add(cf->report, role->slots_at, NULL, "slots: must be 1 to %d with engine core",
                        MAP_CORE_SLOTS_MAX);
    if (role->engine.kind == MAP_ENGINE_LLAMA_SERVER)
        conf_report_add(cf->report, role->engine_at, "use core or attach",
                        "engines of kind llama-server are not available yet");
    else if (attach && role->engine.url_at.line == 0)
        conf_report_add(cf->report, role->engine_at, NULL,
                        "an engine of kind attach needs a 'url'");
    else if (!attach && role->engine.url != NULL)
        conf_report_add(cf->report, role->engine_at, "add 'kind: attach'",
                        "'url' is for engines of kind attach");
    else if (role->model != NULL && role->model->source != NULL && attach && !attached)
        conf_report_add(cf->report, role->model_at, "use a model with 'source: attach:NAME'",
                        "an attached engine has models of its own, '%s' is a file",
                        role->model_name);
    else if (!attach && attached)
        conf_report_add(cf->report, role->model_at, "add 'engine: {kind: attach, url: ...}'",
                        "model '%s' is known only to an attached engine", role->model_name);
}

/* --- addresses
 * ------------------------------------------------------------------------------------ */

void conf_check_listen(struct conf_read *cf, const struct conf_addr_list *listen, bool without_keys)
{
    for (size_t i = 0; i < listen->n; i++) {
        const struct conf_addr *a = &listen->item[i];

        if (strcasecmp(a->host, "tailnet") == 0)
            conf_report_add(cf->report, a->at, "write the mesh address itself",
                            "listening on 'tailnet' is not available yet");
        else if (!a->loopback && !without_keys)
            conf_report_add(cf->report, a->at,
                            "listen on 127.0.0.1, or set 'listen_without_keys: true' where the "
                            "network is trusted",
                            "anybody who reaches %s could use it: there are no keys", a->host);
        for (size_t k = 0; k < i; k++)
            if (a->port != 0 && a->port == listen->item[k].port &&
                strcasecmp(a->host, listen->item[k].host) == 0)
                conf_report_add(cf->report, a->at, NULL, "this address is listed twice");
    }
}

static void check_node(struct conf_read *cf, const struct role_map *map, size_t index)
{
    const struct map_node *node = &map->nodes[index], *other;

    for (size_t i = 0; i < index && node->address.host != NULL; i++) {
        other = &map->nodes[i];
        if (other->address.host != NULL && other->address.port == node->address.port &&
            strcasecmp(other->address.host, node->address.host) == 0)
            conf_report_add(cf->report, node->address.at, NULL,
                            "node '%s' has this address already", other->name);
    }
}

static void check_origins(struct conf_read *cf, const struct conf_list *origins)
{
    for (size_t i = 0; i < origins->n; i++) {
        struct rm_slice o = rm_slice_of(origins->item[i]);
        const char *rest = strstr(o.p, "://");

        if (rm_slice_eq(o, "*") ||
            (rest != NULL && rest > o.p && rest[3] != '\0' && strpbrk(rest + 3, "/ ,*") == NULL))
            continue;
        conf_report_add(cf->report, origins->at[i], NULL,
                        "cors_origins: expected '*' or an origin such as http://localhost:3000");
    }
}

void role_map_check(struct conf_read *cf, struct role_map *map)
{
    conf_check_listen(cf, &map->gateway.listen,
                      map->gateway.listen_without_keys || cf->report->keyed);
    check_origins(cf, &map->gateway.cors_origins);
    for (size_t i = 0; i < map->n_nodes; i++)
        check_node(cf, map, i);
    for (size_t i = 0; i < map->n_models; i++)
        check_model(cf, &map->models[i]);
    for (size_t i = 0; i < map->n_roles; i++)
        default_mode(cf, &map->roles[i]);
    for (size_t i = 0; i < map->n_roles; i++) {
        struct map_role *role = &map->roles[i];

        check_role_model(cf, map, role);
        check_role_nodes(cf, map, role);
        check_engine(cf, role);
        for (size_t m = 0; m < role->modes.n; m++)
            check_mode(cf, map, role, m);
        if (role->queue_max == 0)
            role->queue_max = map->gateway.queue_max;
        if (role->queue_deadline_ms == 0)
            role->queue_deadline_ms = map->gateway.queue_deadline_ms;
    }
    check_fallback(cf, map);
}
