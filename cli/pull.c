/* SPDX-License-Identifier: MIT */
/* cli/pull.c - `rolemesh pull`: fetches a model to this machine, or has a node fetch it
 * (pull_node.c). Here rolemesh-pull does it; this one finds it and becomes it, so that its
 * progress, its signals and its exit code are the command's. */
#include "cli/cli.h"
#include "cli/pull_node.h"
#include "cli/run.h"
#include "proto/conf/role_map.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Those that rolemesh-pull reads itself; and here, of those, what a node's worker is asked for. */
static bool is_program_option(const char *name)
{
    static const char *const names[] = {"dir",  "connections", "sha256",  "keep-free",
                                        "rate", "dry-run",     "version", "json"};

    for (size_t i = 0; i < RM_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool is_wish_option(const char *name)
{
    return strcmp(name, "sha256") == 0 || strcmp(name, "rate") == 0 || strcmp(name, "json") == 0;
}

/* What was said for rolemesh-pull. source: in the place of the first word. */
static void pull_argv(const struct cli_args *args, const char *source, char names[][32],
                      const char **out)
{
    size_t n = 0;

    out[n++] = "rolemesh-pull";
    for (size_t i = 0; i < args->n_values; i++) {
        const struct cli_value *v = &args->values[i];

        if (!is_program_option(v->option->name))
            continue;
        snprintf(names[i], sizeof names[i], "--%s", v->option->name);
        out[n++] = names[i];
        if (v->text != NULL)
            out[n++] = v->text;
    }
    out[n++] = "--";
    for (size_t i = 0; i < args->n_words; i++)
        out[n++] = i == 0 ? source : args->words[i];
    out[n] = NULL;
}

static int run_here(const struct cli_args *args, const char *source)
{
    const char *argv[2 * CLI_OPTIONS_MAX + CLI_WORDS_MAX + 3];
    const char *program = run_beside("rolemesh-pull");
    char names[CLI_OPTIONS_MAX][32];

    pull_argv(args, source, names, argv);
    if (program[0] == '\0')
        return cli_failed("pull",
                          "rolemesh-pull is not installed beside this command; build it, or "
                          "run it where it is");
    fflush(NULL);
    execv(program, (char *const *)(uintptr_t)argv);
    return cli_failed("pull", "%s: %s", program, strerror(errno));
}

/* What a model of a role map's file is fetched from, into out. Returns an exit code. */
static int source_of_map(const char *file, const char *name, char *out, size_t size)
{
    enum { TEXT_MAX = 64 * 1024 };
    const struct map_model *model;
    struct conf_report report;
    struct role_map *map = NULL;
    struct rm_buf text;
    int r;

    conf_report_init(&report);
    rm_buf_init(&text, TEXT_MAX);
    r = role_map_load(file, &report, &map);
    if (r == RM_ERR_CONF && conf_report_text(&report, &text) == 0)
        fputs(text.data, stderr);
    model = r == 0 ? role_map_model(map, rm_slice_of(name)) : NULL;
    if (r < 0)
        r = r == RM_ERR_CONF ? CLI_BAD : cli_failed("pull", "%s", rm_strerror(r));
    else if (model == NULL)
        r = cli_usage("pull", "%s has no model '%s'", file, name);
    else if (model->kind != MAP_SOURCE_HF)
        r = cli_usage("pull", "model '%s' has no hub as its source: %s", name, model->source);
    else
        rm_text_copy(out, size, model->source);
    rm_buf_clear(&text);
    conf_report_clear(&report);
    role_map_unref(map);
    return r;
}

/* With --node the worker does it; what only rolemesh-pull here could do is a mistake. */
static int run_on_node(const struct cli_args *args, const char *node)
{
    for (size_t i = 0; i < args->n_values; i++) {
        const char *name = args->values[i].option->name;

        if (is_program_option(name) && !is_wish_option(name))
            return cli_usage("pull", "--%s goes without --node", name);
    }
    if (cli_has(args, "cancel"))
        return pull_cancel(args, node, cli_text(args, "cancel"));
    if (cli_word(args, 0) == NULL)
        return cli_usage("pull", "which model?");
    return pull_on_node(args, node, cli_word(args, 0));
}

static int pull_run(const struct cli_args *args)
{
    const char *node = cli_text(args, "node"), *map = cli_text(args, "role-map");
    char source[2048] = "";
    int r = CLI_OK;

    if (cli_word(args, 0) != NULL)
        rm_text_copy(source, sizeof source, cli_word(args, 0));
    if (node != NULL && map != NULL)
        return cli_usage("pull", "--node asks a gateway, which has the role map");
    if (node != NULL)
        return run_on_node(args, node);
    if (cli_has(args, "cancel") || cli_has(args, "detach"))
        return cli_usage("pull", "--cancel and --detach go with --node");
    if (map != NULL && source[0] == '\0')
        return cli_usage("pull", "which model?");
    if (map != NULL)
        r = source_of_map(map, cli_word(args, 0), source, sizeof source);
    return r == CLI_OK ? run_here(args, source) : r;
}

static const struct cli_option pull_options[] = {
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "this node of the gateway fetches it, not this machine"},
    {.name = "detach", .kind = CLI_FLAG, .help = "with --node: say the id and do not wait"},
    {.name = "cancel", .kind = CLI_STRING, .value = "ID", .help = "with --node: end this one"},
    {.name = "role-map",
     .kind = CLI_STRING,
     .value = "FILE",
     .complete = CLI_COMPLETE_FILE,
     .help = "SOURCE is a model of this role map"},
    {.name = "dir",
     .letter = 'd',
     .kind = CLI_STRING,
     .value = "DIR",
     .complete = CLI_COMPLETE_DIR,
     .help = "the models directory (default: this one)"},
    {.name = "connections",
     .letter = 'j',
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 16,
     .help = "parallel ranges, 1..16 (default: 4)"},
    {.name = "sha256",
     .kind = CLI_STRING,
     .value = "HEX",
     .help = "what a URL's file must have; a hub says it by itself"},
    {.name = "keep-free",
     .kind = CLI_NUMBER,
     .value = "BYTES",
     .max = UINT64_MAX / 2,
     .help = "room that must stay free on the disk (default: 1073741824)"},
    {.name = "rate",
     .kind = CLI_NUMBER,
     .value = "BYTES",
     .max = INT64_MAX,
     .help = "bytes a second at most"},
    {.name = "dry-run", .kind = CLI_FLAG, .help = "tell what would be fetched"},
    {.name = "version", .letter = 'V', .kind = CLI_FLAG, .help = "which rolemesh-pull this is"},
    {NULL},
};

const struct cli_command cli_pull = {
    .name = "pull",
    .group = CLI_PREPARE,
    .summary = "fetch a model to this machine or a node, resumable: hf:ORG/REPO:QUANT or a URL",
    .about =
        "Fetches a model file, or all parts of a split one, into the models directory; what was "
        "begun is gone on with. With --node the worker of that node does it, asked by way of the "
        "gateway; SOURCE may then be a model of the role map as well. It goes on whatever becomes "
        "of this command: Ctrl-C leaves it running, --cancel ends it, `rolemesh pulls` shows "
        "it.\n\n"
        "Environment: HF_TOKEN for gated repositories, HF_ENDPOINT for another hub than "
        "https://huggingface.co.\n\n"
        "Exit codes: 0 it is there; 1 it did not work, the same command goes on; 2 wrong use, "
        "or it cannot work; 3 no room on the disk.",
    .examples = "rolemesh pull --dir /models hf:org/some-model-GGUF:Q8_0\n"
                "rolemesh pull --node speed qwen3-coder-30b\n"
                "rolemesh pull --node speed --cancel p-0123456789abcdef\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = pull_options,
    .operands = {{"SOURCE", true, false, NULL, CLI_COMPLETE_MODEL, NULL}},
    .run = pull_run,
};
