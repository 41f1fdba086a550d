/* SPDX-License-Identifier: MIT */
/* cli/pull.c - `rolemesh pull`: fetches a model to this machine. rolemesh-pull does it; this one
 * finds it and becomes it, so that its progress, its signals and its exit code are the command's.
 */
#include "cli/cli.h"
#include "cli/run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What was said, but for what is this program's own. */
static void pull_argv(const struct cli_args *args, char names[][32], const char **out)
{
    size_t n = 0;

    out[n++] = "rolemesh-pull";
    for (size_t i = 0; i < args->n_values; i++) {
        const struct cli_value *v = &args->values[i];

        if (strcmp(v->option->name, "key-file") == 0 || strcmp(v->option->name, "no-color") == 0)
            continue;
        snprintf(names[i], sizeof names[i], "--%s", v->option->name);
        out[n++] = names[i];
        if (v->text != NULL)
            out[n++] = v->text;
    }
    out[n++] = "--";
    for (size_t i = 0; i < args->n_words; i++)
        out[n++] = args->words[i];
    out[n] = NULL;
}

static int pull_run(const struct cli_args *args)
{
    const char *argv[2 * CLI_OPTIONS_MAX + CLI_WORDS_MAX + 3];
    const char *program = run_beside("rolemesh-pull");
    char names[CLI_OPTIONS_MAX][32];

    pull_argv(args, names, argv);
    if (program[0] == '\0')
        return cli_failed("pull",
                          "rolemesh-pull is not installed beside this command; build it, or "
                          "run it where it is");
    fflush(NULL);
    execv(program, (char *const *)(uintptr_t)argv);
    return cli_failed("pull", "%s: %s", program, strerror(errno));
}

/* Those of rolemesh-pull, which reads them itself. */
static const struct cli_option pull_options[] = {
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
    .summary = "fetch a model, resumable: hf:ORG/REPO:QUANT or a URL",
    .about =
        "Fetches a model file, or all parts of a split one, into the models directory; what was "
        "begun is gone on with.\n\n"
        "Environment: HF_TOKEN for gated repositories, HF_ENDPOINT for another hub than "
        "https://huggingface.co.\n\n"
        "Exit codes: 0 it is there; 1 it did not work, the same command goes on; 2 wrong use, "
        "or it cannot work; 3 no room on the disk.",
    .examples = "rolemesh pull --dir /models hf:org/some-model-GGUF:Q8_0\n",
    .common = CLI_JSON,
    .options = pull_options,
    .operands = {{"SOURCE", true, false, NULL, CLI_COMPLETE_NONE, NULL}},
    .run = pull_run,
};
