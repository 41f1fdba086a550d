/* SPDX-License-Identifier: MIT */
/* cli/forecast.c - `rolemesh forecast FILE|MODEL`: the bytes a model will need, by part and for
 * several contexts, and the largest context that there is room for. A FILE of this machine is read
 * here and asked of the rolemesh-core that lies beside this program; a MODEL of a role map, or a
 * FILE of another machine, is asked of the workers there (POST /node/v1/forecast). One thread.
 *
 *   arguments ──► FILE: header, core ──┐
 *             └─► nodes: state, POST ──┴──► forecast_view per machine ──► forecast_show.c */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/forecast_show.h"
#include "cli/nodes.h"
#include "cli/run.h"

#include "proto/conf/role_map.h"
#include "proto/gguf/estimate.h"
#include "proto/gguf/gguf_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    FIRST_CONTEXT = 4096,
    ANY_CONTEXT = 256,
    CORE_MS = 60000,
    NODE_MS = 60000,
    TEXT_MAX = 256 * 1024
};

struct forecast_args {
    const char *model, *map, *node;
    uint32_t contexts[FORECAST_CONTEXTS_MAX];
    size_t n_contexts;
    uint32_t slots; /* 0: not said */
    const char *kv; /* NULL: not said */
    bool json;
};

/* ---- arguments ---- */

static int bad(const char *what, const char *value, const char *expected)
{
    return cli_usage("forecast", "%s takes %s, not '%s'", what, expected, value);
}

/* "8192", "32Ki", "1Mi" up to `end`. Returns 0 when it is no such number. */
static uint32_t tokens_of(const char *text, const char *end)
{
    uint64_t v = 0;
    const char *p = text;

    for (; p < end && *p >= '0' && *p <= '9' && v <= DESIRED_CONTEXT_MAX; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (p == text)
        return 0;
    if (end - p == 2 && p[1] == 'i' && (*p == 'K' || *p == 'M')) {
        v <<= *p == 'K' ? 10 : 20;
        p += 2;
    }
    return p == end && v <= DESIRED_CONTEXT_MAX ? (uint32_t)v : 0;
}

static int compare_contexts(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int read_contexts(struct forecast_args *args, const char *text)
{
    static const char expected[] =
        "tokens such as 8192 or 32Ki, or a list of them: 16 to 16Mi, at most 24";
    const char *p = text;

    for (args->n_contexts = 0;; p++) {
        const char *end = p + strcspn(p, ",");
        uint32_t tokens = tokens_of(p, end);

        if (tokens < 16 || args->n_contexts == FORECAST_CONTEXTS_MAX)
            return bad("--context", text, expected);
        args->contexts[args->n_contexts++] = tokens;
        p = end;
        if (*p == '\0')
            break;
    }
    qsort(args->contexts, args->n_contexts, sizeof args->contexts[0], compare_contexts);
    return CLI_OK;
}

static int read_args(const struct cli_args *said, struct forecast_args *args)
{
    const char *contexts = cli_text(said, "context");

    *args = (struct forecast_args){.model = cli_word(said, 0),
                                   .map = cli_text(said, "role-map"),
                                   .node = cli_text(said, "node"),
                                   .kv = cli_text(said, "kv"),
                                   .slots = (uint32_t)cli_number(said, "slots", 0),
                                   .json = cli_wants_json(said)};
    return contexts != NULL ? read_contexts(args, contexts) : CLI_OK;
}

/* ---- several contexts ---- */

/* Who answers for one context: rolemesh-core, the header, or a worker. Returns an exit code, with
 * v->error when it is not CLI_OK. */
struct source {
    const struct forecast_args *args;
    struct desired_host wish; /* context aside */
    int (*ask)(struct source *s, uint32_t context, struct forecast_view *v,
               struct node_forecast *out);
    struct gguf_head *head; /* FILE */
    uint64_t bytes;         /* FILE: of all its files */
    const char *core;       /* FILE; "": there is none */
    const struct cli_node *worker;
};

/* 4Ki and on by doubling, to the model's own; those that were asked for must be within it. */
static int choose_contexts(const struct forecast_args *args, const struct source *s,
                           uint32_t trained, struct forecast_view *v,
                           uint32_t out[FORECAST_CONTEXTS_MAX], size_t *n)
{
    uint64_t most = INT32_MAX / s->wish.slots; /* libllama counts the cells of all slots so */

    *n = args->n_contexts;
    memcpy(out, args->contexts, sizeof args->contexts);
    if (*n > 0 && trained > 0 && out[*n - 1] > trained) {
        snprintf(v->error, sizeof v->error,
                 "--context %" PRIu32 ": the model was trained for %" PRIu32 " tokens", out[*n - 1],
                 trained);
        return CLI_BAD;
    }
    if (*n > 0)
        return CLI_OK;
    if (trained == 0)
        trained = 8 * FIRST_CONTEXT; /* its file does not tell */
    for (uint64_t c = FIRST_CONTEXT; c < trained && c <= most && *n + 1 < FORECAST_CONTEXTS_MAX;
         c *= 2)
        out[(*n)++] = (uint32_t)c;
    if (trained <= most)
        out[(*n)++] = trained;
    return CLI_OK;
}

static int fill_rows(struct source *s, uint32_t trained, struct forecast_view *v)
{
    uint32_t contexts[FORECAST_CONTEXTS_MAX];
    size_t n;
    int r = choose_contexts(s->args, s, trained, v, contexts, &n);

    for (size_t i = 0; r == CLI_OK && i < n; i++)
        if ((r = s->ask(s, contexts[i], v, &v->row[i])) == CLI_OK)
            v->n = i + 1;
    if (r != CLI_OK)
        v->n = 0;
    return r;
}

/* ---- a file of this machine ---- */

/* MemTotal or MemAvailable of /proc/meminfo, bytes; 0: not known. */
static uint64_t meminfo(const char *name)
{
    char line[128];
    uint64_t kb = 0;
    FILE *f = fopen("/proc/meminfo", "r");

    while (f != NULL && kb == 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtoull(line + strlen(name), NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb * 1024;
}

/* As a worker that is new here: the default reserve (8 %, at least 6 GiB, at most half) stays. */
static void this_machine(struct forecast_view *v)
{
    uint64_t total = meminfo("MemTotal:"), available = meminfo("MemAvailable:");
    uint64_t reserve = total / 100 * 8, least = UINT64_C(6) << 30;

    reserve = reserve > least ? reserve : least;
    reserve = reserve < total / 2 ? reserve : total / 2;
    v->has_memory = total > 0;
    v->budget = total - reserve;
    v->room = available > reserve ? available - reserve : 0;
}

/* What rolemesh-core said to why="..." in its log. */
static void why_of_log(const struct rm_buf *log, char *out, size_t size)
{
    const char *p = log->len > 0 ? strstr(log->data, " why=\"") : NULL;
    size_t n = 0;

    for (p = p != NULL ? p + 6 : ""; *p != '\0' && *p != '"' && n + 1 < size; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        out[n++] = *p;
    }
    out[n] = '\0';
}

/* Weights and KV of the header where the core gives no answer; note says why. */
static int ask_header(struct source *s, uint32_t context, struct forecast_view *v,
                      struct node_forecast *out)
{
    struct kv_query query = {.context = context,
                             .slots = s->wish.slots,
                             .q8 = strcmp(s->wish.kv, "q8_0") == 0,
                             .unified = true};

    if (gguf_estimate(s->head, &query, out) < 0) {
        snprintf(v->error, sizeof v->error, "%.200s, and the header does not suffice: %.200s",
                 v->note, out->error);
        return CLI_FAILED;
    }
    out->model_bytes = s->bytes;
    return CLI_OK;
}

/* How a core ended that gave no forecast. CLI_OK: the header may answer instead. */
static int core_gave_nothing(const struct run_result *end, struct forecast_view *v)
{
    char why[256];

    why_of_log(&end->err, why, sizeof why);
    if (!end->late && end->signal == 0 && (end->exit_code == 2 || end->exit_code == 3)) {
        snprintf(v->error, sizeof v->error, "%s", why[0] != '\0' ? why : "the core refused it");
        return CLI_BAD;
    }
    if (end->late)
        snprintf(why, sizeof why, "took too long");
    else if (end->signal != 0)
        snprintf(why, sizeof why, "died of signal %d", end->signal);
    else if (why[0] == '\0')
        snprintf(why, sizeof why, "ended with code %d", (int)end->exit_code);
    snprintf(
        v->note, sizeof v->note,
        "rolemesh-core: %.250s; weights and KV are those of the file's header, the rest is not "
        "known",
        why);
    return CLI_OK;
}

static int ask_core(struct source *s, uint32_t context, struct forecast_view *v,
                    struct node_forecast *out)
{
    char slots[16], tokens[16], why[128];
    const char *argv[] = {s->core, "--forecast", "--json", "--model", s->args->model, "--slots",
                          slots,   "--context",  tokens,   "--kv",    s->wish.kv,     NULL};
    struct run_result end;
    int r;

    snprintf(slots, sizeof slots, "%" PRIu32, s->wish.slots);
    snprintf(tokens, sizeof tokens, "%" PRIu32, context);
    r = run_program(argv, CORE_MS, &end);
    if (r < 0) {
        snprintf(v->error, sizeof v->error, "rolemesh-core: %s", rm_strerror(r));
        r = CLI_FAILED;
    } else if (end.exit_code != 0 || end.signal != 0) {
        r = core_gave_nothing(&end, v);
        if (r == CLI_OK) {
            s->ask = ask_header; /* the others would end likewise */
            r = ask_header(s, context, v, out);
        }
    } else if (node_forecast_decode((struct rm_slice){end.out.data, end.out.len}, out, why) < 0) {
        snprintf(v->error, sizeof v->error, "rolemesh-core is of another version: %s", why);
        r = CLI_FAILED;
    }
    out->model_bytes = s->bytes;
    run_result_clear(&end);
    return r;
}

static int of_file(struct source *s, struct forecast_view *v)
{
    char why[GGUF_WHY_MAX];
    int r;

    s->head = malloc(sizeof *s->head);
    if (s->head == NULL)
        return CLI_FAILED;
    if ((r = gguf_read_model(s->args->model, s->head, &s->bytes, why)) < 0) {
        rm_text_copy(v->error, sizeof v->error, why[0] != '\0' ? why : rm_strerror(r));
        r = r == RM_ERR_MODEL_FILE ? CLI_BAD : CLI_FAILED;
    } else {
        this_machine(v);
        s->core = run_beside("rolemesh-core");
        s->ask = s->core[0] != '\0' ? ask_core : ask_header;
        if (s->core[0] == '\0')
            snprintf(v->note, sizeof v->note,
                     "there is no rolemesh-core beside this command: weights and KV are those of "
                     "the file's header, the rest is not known");
        r = fill_rows(s, gguf_number_at(s->head, GGUF_CONTEXT, 0, 0), v);
    }
    free(s->head);
    return r;
}

/* ---- workers ---- */

/* Returns 0 and an answer with status 200, or v->error. */
static int ask_worker(const struct source *s, const char *method, const char *target,
                      struct rm_slice body, struct forecast_view *v, struct rm_buf *answer)
{
    static const struct http_out_field json[] = {{"Content-Type", RM_LIT("application/json")}};
    struct ask ask = {.address = &s->worker->address,
                      .method = method,
                      .target = target,
                      .fields = body.p != NULL ? json : NULL,
                      .n_fields = body.p != NULL ? 1 : 0,
                      .body = body,
                      .deadline_ms = NODE_MS};
    int status, r = ask_run(&ask, &status, answer);

    if (r < 0)
        snprintf(v->error, sizeof v->error, "%s", rm_strerror(r));
    else if (status != 200)
        snprintf(v->error, sizeof v->error, "%s answered %d", target, status);
    return r < 0 ? r : status == 200 ? 0 : RM_ERR_UPSTREAM;
}

static int ask_state(struct source *s, struct forecast_view *v)
{
    struct node_state state = {.n_hosts = 0};
    struct rm_buf answer;
    char why[128];
    int r = ask_worker(s, "GET", "/node/v1/state", (struct rm_slice){NULL, 0}, v, &answer);

    if (r == 0 &&
        (r = node_state_decode((struct rm_slice){answer.data, answer.len}, &state, why)) < 0)
        snprintf(v->error, sizeof v->error, "this is no worker: %s", why);
    rm_buf_clear(&answer);
    if (r < 0)
        return CLI_FAILED;
    if (v->node[0] == '\0')
        rm_text_copy(v->node, sizeof v->node, state.node);
    v->has_memory = true;
    v->budget = state.memory.budget;
    v->room = v->budget > state.memory.committed ? v->budget - state.memory.committed : 0;
    node_state_clear(&state);
    return CLI_OK;
}

static int ask_node(struct source *s, uint32_t context, struct forecast_view *v,
                    struct node_forecast *out)
{
    struct rm_buf body, answer;
    char why[128];
    int r;

    s->wish.context = context;
    rm_buf_init(&body, TEXT_MAX);
    rm_buf_init(&answer, 0);
    if ((r = desired_host_encode(&s->wish, &body)) == 0)
        r = ask_worker(s, "POST", "/node/v1/forecast", (struct rm_slice){body.data, body.len}, v,
                       &answer);
    if (r == 0 &&
        (r = node_forecast_decode((struct rm_slice){answer.data, answer.len}, out, why)) < 0)
        snprintf(v->error, sizeof v->error, "the answer: %s", why);
    rm_buf_clear(&body);
    rm_buf_clear(&answer);
    if (r < 0)
        return CLI_FAILED;
    if (!out->known) {
        rm_text_copy(v->error, sizeof v->error,
                     out->error[0] != '\0' ? out->error : "the node cannot say");
        return CLI_BAD;
    }
    if (out->estimated)
        snprintf(v->note, sizeof v->note,
                 "weights and KV are those of the file's header, the rest is not known: %.300s",
                 out->error);
    return CLI_OK;
}

static int of_worker(struct source *s, struct forecast_view *v)
{
    uint32_t first = s->args->n_contexts > 0 ? s->args->contexts[0] : ANY_CONTEXT;
    int r = ask_state(s, v);

    s->ask = ask_node;
    if (r == CLI_OK && (r = ask_node(s, first, v, &v->row[0])) == CLI_OK)
        r = fill_rows(s, v->row[0].context_train, v);
    return r;
}

/* ---- what is wished ---- */

static int load_map(const char *file, struct role_map **out)
{
    struct conf_report report;
    struct rm_buf text;
    int r;

    conf_report_init(&report);
    rm_buf_init(&text, TEXT_MAX);
    if ((r = role_map_load(file, &report, out)) == RM_ERR_CONF &&
        conf_report_text(&report, &text) == 0)
        fputs(text.data, stderr);
    else if (r < 0)
        fprintf(stderr, "rolemesh forecast: %s\n", rm_strerror(r));
    rm_buf_clear(&text);
    conf_report_clear(&report);
    return r == 0 ? CLI_OK : r == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
}

/* A model of the map, with the flags of the first role that runs it. */
static int wish_of_map(const struct role_map *map, const char *name, struct desired_host *wish)
{
    const struct map_model *model = role_map_model(map, rm_slice_of(name));
    const struct map_role *role = role_map_role_of_model(map, rm_slice_of(name));
    char shown[ASK_TEXT_MAX];

    if (model == NULL) {
        fprintf(stderr, "rolemesh forecast: %s has no model '%s'\n", map->file,
                ask_shown(name, shown));
        return CLI_BAD;
    }
    if (model->kind == MAP_SOURCE_ATTACH) {
        fprintf(stderr, "rolemesh forecast: %s: an attached engine has its model already\n",
                ask_shown(name, shown));
        return CLI_BAD;
    }
    rm_text_copy(wish->source, sizeof wish->source,
                 model->path != NULL ? model->path : model->source);
    if (role != NULL) {
        wish->slots = role->slots;
        wish->batch = role->batch;
        wish->gpu_layers = role->gpu_layers;
        rm_text_copy(wish->kv, sizeof wish->kv, map_kv_name(role->kv));
    }
    return CLI_OK;
}

static int make_wish(const struct forecast_args *args, struct desired_host *wish)
{
    struct role_map *map = NULL;
    int r = CLI_OK;

    *wish = (struct desired_host){.slots = 1, .gpu_layers = -1, .kv = "f16"};
    strcpy(wish->role, "forecast"); /* neither is looked at */
    strcpy(wish->model, "forecast");
    rm_text_copy(wish->source, sizeof wish->source, args->model);
    if (args->map != NULL && (r = load_map(args->map, &map)) == CLI_OK)
        r = wish_of_map(map, args->model, wish);
    role_map_unref(map);
    if (args->slots > 0)
        wish->slots = args->slots;
    if (args->kv != NULL)
        rm_text_copy(wish->kv, sizeof wish->kv, args->kv);
    return r;
}

/* The workers to be asked: of the map, or the one at an address. */
static int find_nodes(const struct forecast_args *args, struct cli_nodes *out)
{
    struct http_address address;

    if (args->map != NULL)
        return nodes_find("forecast", args->map, args->node, out);
    if (ask_address(args->node, &address) < 0 || strchr(args->node, ':') == NULL)
        return bad("--node", args->node, "a worker's HOST:PORT, or with --role-map a name");
    *out = (struct cli_nodes){calloc(1, sizeof *out->v), 1};
    if (out->v == NULL)
        return CLI_FAILED;
    out->v[0].address = address;
    return CLI_OK;
}

/* ---- all of it ---- */

static void complain(const struct forecast_args *args, const struct forecast_view *v)
{
    char model[ASK_TEXT_MAX], error[ASK_TEXT_MAX * 2], node[ASK_TEXT_MAX];
    bool names = v->node[0] == '\0' && strncmp(v->error, args->model, strlen(args->model)) == 0;
    size_t n = 0;

    for (const char *p = v->error; *p != '\0' && n + 1 < sizeof error; p++)
        error[n++] = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
    error[n] = '\0';
    fprintf(stderr, "rolemesh forecast: ");
    if (v->address[0] != '\0')
        fprintf(stderr, "node %s: ", ask_shown(v->node[0] != '\0' ? v->node : v->address, node));
    else if (!names)
        fprintf(stderr, "%s: ", ask_shown(args->model, model));
    fprintf(stderr, "%s\n", error);
}

/* Asks everybody. Returns the worst exit code; what failed is told. */
static int ask_all(struct source *s, const struct cli_nodes *nodes, struct forecast_answer *a)
{
    int worst = CLI_OK, r;

    for (size_t i = 0; i < a->n; i++) {
        struct forecast_view *v = &a->v[i];

        if (nodes->n > 0) {
            s->worker = &nodes->v[i];
            rm_text_copy(v->node, sizeof v->node, s->worker->name);
            http_address_text(&s->worker->address, v->address);
        }
        r = nodes->n > 0 ? of_worker(s, v) : of_file(s, v);
        if (r != CLI_OK && v->error[0] == '\0')
            rm_text_copy(v->error, sizeof v->error, rm_strerror(UV_ENOMEM));
        if (r != CLI_OK)
            complain(s->args, v);
        worst = r > worst ? r : worst;
    }
    return worst;
}

static int forecast_run(const struct cli_args *said)
{
    struct forecast_args args;
    struct source s = {.args = &args};
    struct cli_nodes nodes = {NULL, 0};
    struct forecast_answer a = {.model = NULL};
    size_t good = 0;
    int r = read_args(said, &args);

    if (r != CLI_OK || (r = make_wish(&args, &s.wish)) != CLI_OK)
        return r;
    if ((args.map != NULL || args.node != NULL) && (r = find_nodes(&args, &nodes)) != CLI_OK)
        return r;
    a = (struct forecast_answer){.model = args.model,
                                 .slots = s.wish.slots,
                                 .q8_0 = strcmp(s.wish.kv, "q8_0") == 0,
                                 .n = nodes.n > 0 ? nodes.n : 1};
    if ((a.v = calloc(a.n, sizeof *a.v)) == NULL) {
        fprintf(stderr, "rolemesh forecast: %s\n", rm_strerror(UV_ENOMEM));
        r = CLI_FAILED;
    } else {
        r = ask_all(&s, &nodes, &a);
        for (size_t i = 0; i < a.n; i++)
            good += a.v[i].error[0] == '\0';
        if (args.json && forecast_show_json(&a) < 0)
            r = CLI_FAILED;
        else if (!args.json && good > 0)
            forecast_show_text(&a);
    }
    free(a.v);
    nodes_clear(&nodes);
    return r;
}

static const char *const kv_types[] = {"f16", "q8_0", NULL};

static const struct cli_option forecast_options[] = {
    {.name = "context",
     .kind = CLI_STRING,
     .value = "N[,N..]",
     .help = "tokens per slot, such as 8192 or 32Ki (default: 4Ki and on by doubling)"},
    {.name = "slots",
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = DESIRED_CORE_SLOTS_MAX,
     .help = "sequences decoded together (default: 1, or the role's)"},
    {.name = "kv",
     .kind = CLI_WORD,
     .value = "f16|q8_0",
     .words = kv_types,
     .help = "type of the KV cache (default: f16)"},
    {.name = "role-map",
     .kind = CLI_STRING,
     .value = "FILE",
     .complete = CLI_COMPLETE_FILE,
     .help = "MODEL is one of this map; its workers are asked"},
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NAME|HOST:PORT",
     .complete = CLI_COMPLETE_NODE,
     .help = "ask this worker alone: a node of the map, or an address"},
    {NULL},
};

const struct cli_command cli_forecast = {
    .name = "forecast",
    .group = CLI_PREPARE,
    .summary = "the memory a model needs, by part and context, and the largest that fits",
    .about =
        "A FILE of this machine is read here and asked of rolemesh-core, without loading its "
        "weights. A MODEL of a role map, or a FILE of another machine, is asked of the workers "
        "there.",
    .examples = "rolemesh forecast /models/coder.gguf --context 32Ki --slots 2\n"
                "rolemesh forecast qwen3-coder-30b --role-map role-map.yaml\n",
    .common = CLI_JSON,
    .options = forecast_options,
    .operands = {{"FILE|MODEL", false, false, "which FILE, or MODEL of a role map?",
                  CLI_COMPLETE_FILE, NULL}},
    .run = forecast_run,
};
