/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map_keys.c - the keys of the role map: type, default, what a reload does.
 * Alphabetical. `rolemesh keys --config` prints these tables, so they are also the reference;
 * configs/role-map.yaml shows every key once, which role_map_test.c checks. */
#include "proto/conf/role_map_file.h"

#include <ctype.h>
#include <string.h>

#define AT(member) offsetof(struct map_gateway, member)
static const char *const level_words[] = {"error", "warn", "info", "debug",
                                          NULL}; /* enum rm_log_level */

static const struct conf_key gateway_keys[] = {
    {.key = "body_max",
     .type = &conf_size,
     .offset = AT(body_max_bytes),
     .fallback = "64MiB",
     .min = 64 << 10,
     .max = 1 << 30,
     .effect = CONF_LIVE,
     .help = "largest request body"},
    {.key = "body_memory",
     .type = &conf_size,
     .offset = AT(body_memory_bytes),
     .fallback = "512MiB",
     .min = 1 << 20,
     .effect = CONF_LIVE,
     .help = "all request bodies held at one time"},
    {.key = "connections_max",
     .type = &conf_u32,
     .offset = AT(connections_max),
     .fallback = "4096",
     .min = 1,
     .max = 1000000,
     .effect = CONF_RESTART,
     .help = "editors' connections at one time"},
    {.key = "cors_origins",
     .type = &conf_texts,
     .offset = AT(cors_origins),
     .effect = CONF_LIVE,
     .help = "web pages that may call the model API: origins, or '*'; none when absent"},
    {.key = "drain_deadline",
     .type = &conf_duration,
     .offset = AT(drain_deadline_ms),
     .fallback = "30s",
     .min = 1,
     .max = 86400000,
     .effect = CONF_LIVE,
     .help = "after SIGTERM, streams may finish for so long"},
    {.key = "keepalive",
     .type = &conf_duration,
     .offset = AT(keepalive_ms),
     .fallback = "10s",
     .min = 100,
     .max = 60000,
     .effect = CONF_LIVE,
     .help = "a waiting stream gets a sign of life this often"},
    {.key = "listen",
     .type = &conf_listen,
     .offset = AT(listen),
     .max = 16,
     .fallback = "127.0.0.1:8080",
     .effect = CONF_RESTART,
     .help = "addresses for editors and ops; port 0: the system chooses"},
    {.key = "listen_without_keys",
     .type = &conf_bool,
     .offset = AT(listen_without_keys),
     .fallback = "false",
     .effect = CONF_RESTART,
     .help = "allow addresses other than loopback although nobody is asked for a key"},
    {.key = "log_level",
     .type = &conf_enum,
     .offset = AT(log_level),
     .fallback = "info",
     .words = level_words,
     .effect = CONF_LIVE,
     .help = "error, warn, info or debug"},
    {.key = "queue_deadline",
     .type = &conf_duration,
     .offset = AT(queue_deadline_ms),
     .fallback = "10m",
     .min = 1,
     .max = 86400000,
     .effect = CONF_LIVE,
     .help = "a request waits for a host at most so long, loading not counted; a role may have its "
             "own"},
    {.key = "queue_max",
     .type = &conf_u32,
     .offset = AT(queue_max),
     .fallback = "64",
     .max = 65536,
     .effect = CONF_LIVE,
     .help = "requests of one role waiting at most; a role may have its own"},
    {.key = "watch",
     .type = &conf_bool,
     .offset = AT(watch),
     .fallback = "false",
     .effect = CONF_LIVE,
     .help = "take over an edit of this file by itself, as SIGHUP does"},
    {.key = NULL},
};
#undef AT

const struct conf_table role_map_gateway = {
    .path = "gateway", .where = "inside 'gateway'", .keys = gateway_keys};

/* --- nodes and models --------------------------------------------------------------------------
 */

/* Names stand in URLs, log lines and metric labels. */
static bool name_has_only(struct rm_slice name, size_t max, const char *others)
{
    if (name.n == 0 || name.n > max || !isalnum((unsigned char)name.p[0]))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '\0' ||
            !(isalnum((unsigned char)name.p[i]) || strchr(others, name.p[i]) != NULL))
            return false;
    return true;
}

static const char *plain_name_check(struct rm_slice name)
{
    return name_has_only(name, 63, "-_.") ? NULL : "use up to 63 letters, digits, '-', '_' and '.'";
}

static const char *model_name_check(struct rm_slice name)
{
    return name_has_only(name, 63, "-_.:/+") ? NULL : "use up to 63 letters, digits and -_.:/+";
}

static const struct conf_key node_keys[] = {
    {.key = "address",
     .type = &conf_address,
     .offset = offsetof(struct map_node, address),
     .required = true,
     .effect = CONF_PLACE,
     .help = "where its worker listens"},
    {.key = "reserve",
     .type = &conf_size,
     .offset = offsetof(struct map_node, reserve_bytes),
     .max = UINT64_C(64) << 40,
     .effect = CONF_PLACE,
     .help = "memory that hosts must leave free on this machine; absent: what its worker keeps"},
    {.key = NULL},
};

const struct conf_table role_map_nodes = {.path = "nodes.NAME",
                                          .where = "inside a node",
                                          .what = "node",
                                          .keys = node_keys,
                                          .size = sizeof(struct map_node),
                                          .at = offsetof(struct map_node, at),
                                          .index = offsetof(struct map_node, index),
                                          .name_check = plain_name_check};

static const struct conf_key model_keys[] = {
    {.key = "source",
     .type = &conf_text,
     .offset = offsetof(struct map_model, source),
     .required = true,
     .at = offsetof(struct map_model, source_at),
     .effect = CONF_HOSTS,
     .help = "/absolute/path.gguf on the node, hf:ORG/REPO:QUANT, or attach:NAME for an attached "
             "engine's model"},
    {.key = NULL},
};

static const struct conf_table model_table = {.path = "models.NAME",
                                              .where = "inside a model",
                                              .what = "model",
                                              .keys = model_keys,
                                              .size = sizeof(struct map_model),
                                              .at = offsetof(struct map_model, at),
                                              .index = offsetof(struct map_model, index),
                                              .name_check = model_name_check};

/* --- roles --------------------------------------------------------------------------------------
 */

#define AT(member) offsetof(struct map_role, member)
static const char *const lane_words[] = {"autocomplete", "interactive", "batch", NULL};
static const char *const residency_words[] = {"pinned", "resident", "on-demand", NULL};
static const char *const kv_words[] = {"f16", "q8_0", NULL};
static const char *const overcommit_words[] = {"none", "swap", NULL};
static const char *const engine_words[] = {"core", "attach", "llama-server", NULL};

static const struct conf_key engine_keys[] = {
    {.key = "kind",
     .type = &conf_enum,
     .offset = AT(engine.kind) - AT(engine),
     .fallback = "core",
     .words = engine_words,
     .effect = CONF_HOSTS,
     .help = "core, or attach: an engine that already runs on the node"},
    {.key = "url",
     .type = &conf_http_url,
     .offset = AT(engine.url) - AT(engine),
     .at = AT(engine.url_at) - AT(engine),
     .effect = CONF_HOSTS,
     .help = "attach: where it answers OpenAI chat, seen from the node"},
    {.key = NULL},
};

static const struct conf_table engine_table = {
    .path = "roles.NAME.engine", .where = "inside a role's engine", .keys = engine_keys};

static const struct conf_key role_keys[] = {
    {.key = "batch",
     .type = &conf_u32,
     .offset = AT(batch),
     .fallback = "512",
     .min = 32,
     .max = 16384,
     .effect = CONF_HOSTS,
     .help = "tokens per decode call at most"},
    {.key = "context",
     .type = &conf_tokens,
     .offset = AT(context),
     .fallback = "8Ki",
     .min = 256,
     .max = 16 << 20,
     .effect = CONF_HOSTS,
     .help = "tokens per slot"},
    {.key = "deny",
     .type = &conf_texts,
     .offset = AT(deny),
     .effect = CONF_PLACE,
     .help = "nodes that never host it"},
    {.key = "engine",
     .type = &conf_section,
     .offset = AT(engine),
     .table = &engine_table,
     .at = AT(engine_at),
     .effect = CONF_HOSTS,
     .help = "what runs the model"},
    {.key = "fallback",
     .type = &conf_texts,
     .offset = AT(fallback),
     .max = 16,
     .effect = CONF_LIVE,
     .help = "roles to try, in order, when this one cannot be loaded, or is not ready at the end "
             "of queue_deadline"},
    {.key = "gpu_layers",
     .type = &conf_layers,
     .offset = AT(gpu_layers),
     .fallback = "all",
     .max = 9999,
     .effect = CONF_HOSTS,
     .help = "layers on the GPU"},
    {.key = "idle_unload",
     .type = &conf_duration,
     .offset = AT(idle_unload_ms),
     .fallback = "30m",
     .min = 1000,
     .max = 86400000,
     .effect = CONF_LIVE,
     .help = "on-demand: unloaded after so long without a request"},
    {.key = "kv",
     .type = &conf_enum,
     .offset = AT(kv),
     .fallback = "f16",
     .words = kv_words,
     .effect = CONF_HOSTS,
     .help = "type of the KV cache: f16 or q8_0"},
    {.key = "lane",
     .type = &conf_enum,
     .offset = AT(lane),
     .fallback = "interactive",
     .words = lane_words,
     .effect = CONF_LIVE,
     .help = "priority class: autocomplete, interactive or batch; so far it orders placing, and "
             "on-demand hosts when memory runs short (batch goes first)"},
    {.key = "model",
     .type = &conf_text,
     .offset = AT(model_name),
     .required = true,
     .at = AT(model_at),
     .effect = CONF_HOSTS,
     .help = "a name under 'models'"},
    {.key = "modes",
     .type = &conf_texts,
     .offset = AT(modes),
     .max = 16,
     .effect = CONF_LIVE,
     .help = "first path segments that editors use; the role's own name when absent"},
    {.key = "nodes",
     .type = &conf_texts,
     .offset = AT(nodes),
     .effect = CONF_PLACE,
     .help = "nodes that may host it; all when absent"},
    {.key = "overcommit",
     .type = &conf_enum,
     .offset = AT(overcommit),
     .fallback = "none",
     .words = overcommit_words,
     .effect = CONF_PLACE,
     .help = "none, or swap: where memory is short, the plan may count on the node's swap for it"},
    {.key = "queue_deadline",
     .type = &conf_duration,
     .offset = AT(queue_deadline_ms),
     .min = 1,
     .max = 86400000,
     .effect = CONF_LIVE,
     .help =
         "a request waits for a host at most so long; without a fallback that is ready, time in "
         "which the role is being loaded does not count, up to 30m; the gateway's when absent"},
    {.key = "queue_max",
     .type = &conf_u32,
     .offset = AT(queue_max),
     .min = 1,
     .max = 65536,
     .effect = CONF_LIVE,
     .help = "requests waiting at most; the gateway's when absent"},
    {.key = "replicas",
     .type = &conf_u32,
     .offset = AT(replicas),
     .fallback = "1",
     .min = 1,
     .max = 16,
     .effect = CONF_PLACE,
     .help = "hosts wanted"},
    {.key = "residency",
     .type = &conf_enum,
     .offset = AT(residency),
     .fallback = "resident",
     .words = residency_words,
     .effect = CONF_PLACE,
     .help =
         "pinned: hosted first, never made to go; resident: hosted while there is room, goes only "
         "for a more important wish or when a node's memory runs short; on-demand: loaded by "
         "its first request, takes turns where there is no room for all, goes first"},
    {.key = "slots",
     .type = &conf_u32,
     .offset = AT(slots),
     .fallback = "2",
     .min = 1,
     .max = 4096,
     .at = AT(slots_at),
     .effect = CONF_HOSTS,
     .help = "sequences decoded together; core: at most 64"},
    {.key = "threads",
     .type = &conf_u32_auto,
     .offset = AT(threads),
     .fallback = "auto",
     .min = 1,
     .max = 1024,
     .effect = CONF_HOSTS,
     .help = "CPU threads of the engine"},
    {.key = NULL},
};
#undef AT

const struct conf_table role_map_roles = {.path = "roles.NAME",
                                          .where = "inside a role",
                                          .what = "role",
                                          .keys = role_keys,
                                          .size = sizeof(struct map_role),
                                          .at = offsetof(struct map_role, at),
                                          .index = offsetof(struct map_role, index),
                                          .name_check = plain_name_check};

/* --- top ----------------------------------------------------------------------------------------
 */

static const struct conf_key top_keys[] = {
    {.key = "gateway",
     .type = &conf_section,
     .offset = offsetof(struct map_file, gateway),
     .table = &role_map_gateway,
     .effect = CONF_LIVE,
     .help = "the gateway itself"},
    {.key = "models",
     .type = &conf_named,
     .offset = offsetof(struct map_file, models),
     .table = &model_table,
     .max = MAP_MODELS_MAX,
     .required = true,
     .effect = CONF_HOSTS,
     .help = "what can be hosted"},
    {.key = "nodes",
     .type = &conf_named,
     .offset = offsetof(struct map_file, nodes),
     .table = &role_map_nodes,
     .max = MAP_NODES_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "the machines"},
    {.key = "roles",
     .type = &conf_named,
     .offset = offsetof(struct map_file, roles),
     .table = &role_map_roles,
     .max = MAP_ROLES_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "who serves which mode"},
    {.key = "version",
     .type = &conf_u32,
     .offset = offsetof(struct map_file, version),
     .min = 1,
     .max = 1,
     .required = true,
     .effect = CONF_LIVE,
     .help = "of this format: 1"},
    {.key = NULL},
};

const struct conf_table role_map_top = {.path = "", .where = "at top level", .keys = top_keys};

const struct conf_table *const *role_map_tables(void)
{
    static const struct conf_table *const tables[] = {
        &role_map_top, &role_map_gateway, &role_map_nodes,
        &model_table,  &role_map_roles,   &engine_table,
        NULL};

    return tables;
}

static const char *word_of(const char *const *words, size_t n, int value)
{
    return value >= 0 && (size_t)value < n ? words[value] : "?";
}

const char *map_lane_name(enum map_lane lane)
{
    return word_of(lane_words, RM_COUNT(lane_words) - 1, (int)lane);
}

const char *map_residency_name(enum map_residency residency)
{
    return word_of(residency_words, RM_COUNT(residency_words) - 1, (int)residency);
}

const char *map_kv_name(enum map_kv kv)
{
    return word_of(kv_words, RM_COUNT(kv_words) - 1, (int)kv);
}

const char *map_overcommit_name(enum map_overcommit overcommit)
{
    return word_of(overcommit_words, RM_COUNT(overcommit_words) - 1, (int)overcommit);
}
