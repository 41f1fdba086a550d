/* SPDX-License-Identifier: MIT */
/* cli/complete.c - `rolemesh completion SHELL` and the answers to its script: see complete.h. Names
 * of roles, nodes, keys and requests are asked of the gateway with a short deadline; when it does
 * not answer there are none. */
#include "cli/complete.h"

#include "cli/api.h"

#include <stdlib.h>
#include <string.h>

enum { COMPLETE_MS = 800, WORDS_MAX = 128, JOINED_MAX = 2048, ROWS_MAX = 200 };

/* What is being completed. */
struct completion {
    const char *words[WORDS_MAX];
    size_t n;                /* the last one is being written */
    char joined[JOINED_MAX]; /* "--option=value" that a shell cut into three words */
    bool cut;                /* the last word was: the shell wants the value alone */
    const char *prefix;      /* candidates must begin so */
    char before[JOINED_MAX]; /* put before each candidate: "--option=", "role-a," */
    const char *gateway, *key_file;
    FILE *to;
};

static void offer(const struct completion *c, const char *word, const char *about)
{
    char shown[ASK_TEXT_MAX];

    if (strncmp(word, c->prefix, strlen(c->prefix)) == 0)
        fprintf(c->to, "%s%s\t%s\n", c->before, word, ask_shown(about, shown));
}

/* ---- what the gateway knows ---- */

/* A name that means nothing to a shell. Others are not offered. */
static bool is_plain(const char *name)
{
    return name[0] != '\0' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+:/@-") ==
               strlen(name);
}

static void offer_list(const struct completion *c, const char *target, const char *list,
                       const char *name, const char *about)
{
    struct api api = {.command = "completion",
                      .url = c->gateway != NULL ? c->gateway : getenv("ROLEMESH_GATEWAY"),
                      .deadline_ms = COMPLETE_MS,
                      .quiet = true};
    json_t *answer = NULL;
    const json_t *row;
    size_t i;

    if (api.url == NULL || api.url[0] == '\0')
        api.url = CLI_GATEWAY;
    if (c->key_file != NULL && ask_use_key_file(c->key_file) < 0)
        return;
    if (ask_address(api.url, &api.address) < 0 ||
        api_list(&api, target, list, ROWS_MAX, &answer) != CLI_OK)
        return;
    json_array_foreach(json_object_get(answer, list), i, row)
    {
        const char *word = json_string_value(json_object_get(row, name));

        if (word != NULL && is_plain(word))
            offer(c, word, json_string_value(json_object_get(row, about)));
    }
    json_decref(answer);
}

static void offer_commands(const struct completion *c)
{
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!(cli_commands[i]->common & CLI_HIDDEN) && strchr(cli_commands[i]->name, ' ') == NULL)
            offer(c, cli_commands[i]->name, cli_commands[i]->summary);
}

static void offer_kind(const struct completion *c, enum cli_complete kind)
{
    switch (kind) {
    case CLI_COMPLETE_FILE:
        fputs(":file\n", c->to);
        break;
    case CLI_COMPLETE_DIR:
        fputs(":dir\n", c->to);
        break;
    case CLI_COMPLETE_TARGET:
    case CLI_COMPLETE_ROLE:
        offer_list(c, "/api/v1/roles", "roles", "name", "model");
        if (kind == CLI_COMPLETE_ROLE)
            break;
        /* fall through */
    case CLI_COMPLETE_NODE:
        offer_list(c, "/api/v1/nodes", "nodes", "name", "health");
        break;
    case CLI_COMPLETE_MODEL:
        offer_list(c, "/api/v1/models", "models", "name", "source");
        break;
    case CLI_COMPLETE_KEY:
        offer_list(c, "/api/v1/keys", "keys", "name", "state");
        break;
    case CLI_COMPLETE_REQUEST:
        offer_list(c, "/api/v1/requests", "requests", "id", "role");
        break;
    case CLI_COMPLETE_COMMAND:
        offer_commands(c);
        break;
    default:
        break;
    }
}

/* ---- places ---- */

static void offer_words(const struct completion *c, const char *const *words, const char *about)
{
    for (size_t i = 0; words[i] != NULL; i++)
        offer(c, words[i], about);
}

/* A value of an option; text: what there is of it. */
static void offer_value(struct completion *c, const struct cli_option *o, const char *text)
{
    const char *comma = strrchr(text, ',');
    size_t n = strlen(c->before);

    if (o->value != NULL && strchr(o->value, ',') != NULL && comma != NULL) { /* of a list */
        snprintf(c->before + n, sizeof c->before - n, "%.*s", (int)(comma + 1 - text), text);
        text = comma + 1;
    }
    c->prefix = text;
    if (o->kind == CLI_WORD)
        offer_words(c, o->words, o->help);
    else
        offer_kind(c, o->complete);
}

static void offer_options(const struct completion *c, const struct cli_command *command)
{
    const struct cli_option *o;
    char name[64];

    for (size_t i = 0; (o = cli_option_at(command, i)) != NULL; i++) {
        snprintf(name, sizeof name, "--%s", o->name);
        offer(c, name, o->help);
    }
}

/* The second words of commands of two. */
static void offer_family(const struct completion *c, const char *first)
{
    size_t n = strlen(first);

    for (size_t i = 0; i < cli_n_commands; i++)
        if (strncmp(cli_commands[i]->name, first, n) == 0 && cli_commands[i]->name[n] == ' ')
            offer(c, cli_commands[i]->name + n + 1, cli_commands[i]->summary);
}

static void offer_operand(struct completion *c, const struct cli_command *command, size_t at)
{
    const struct cli_operand *o = command->operands;

    for (; o->name != NULL && at > 0 && !o->many; at--)
        o++;
    if (o->name == NULL)
        return;
    if (o->words != NULL)
        offer_words(c, o->words, o->name);
    else
        offer_kind(c, o->complete);
}

/* ---- the words before ---- */

static void join(struct completion *c, size_t n, const char *const *words)
{
    size_t used = 0;

    for (size_t i = 0; i < n && c->n < WORDS_MAX; i++) {
        const char *last = c->n > 0 ? c->words[c->n - 1] : "";

        c->cut = strcmp(words[i], "=") == 0 && strncmp(last, "--", 2) == 0 &&
                 strchr(last, '=') == NULL && used < sizeof c->joined;
        if (c->cut) {
            char *whole = c->joined + used;

            used += (size_t)snprintf(whole, sizeof c->joined - used, "%s=%s", last,
                                     i + 1 < n ? words[i + 1] : "") +
                    1;
            i++;
            c->words[c->n - 1] = whole;
        } else {
            c->words[c->n++] = words[i];
        }
    }
}

/* The option that a word names; *text: the value behind its '=', or NULL. */
static const struct cli_option *option_of(const struct cli_command *command, const char *word,
                                          const char **text)
{
    size_t n = strcspn(word, "=");

    *text = word[n] == '=' ? word + n + 1 : NULL;
    if (word[0] != '-' || word[1] == '\0')
        return NULL;
    return word[1] == '-' ? cli_option_named(command, word + 2, n - 2)
                          : cli_option_lettered(command, word[1]);
}

static void note(struct completion *c, const struct cli_option *o, const char *text)
{
    if (strcmp(o->name, "gateway") == 0)
        c->gateway = text;
    else if (strcmp(o->name, "key-file") == 0)
        c->key_file = text;
}

/* Options from *at on, and operands until `until` of them; the last word is not looked at. Returns
 * the option whose value the last word is, or NULL. */
static const struct cli_option *walk(struct completion *c, const struct cli_command *command,
                                     size_t *at, size_t until, size_t *operands, bool *ended)
{
    const struct cli_option *o;
    const char *text;

    *operands = 0;
    for (*ended = false; *at + 1 < c->n; ++*at) {
        const char *word = c->words[*at];

        if (!*ended && strcmp(word, "--") == 0) {
            *ended = true;
        } else if (!*ended && word[0] == '-' && word[1] != '\0') {
            o = option_of(command, word, &text);
            if (o != NULL && text == NULL && o->kind != CLI_FLAG && o->value[0] != '[') {
                if (++*at + 1 >= c->n)
                    return o;
                text = c->words[*at];
            }
            if (o != NULL && text != NULL)
                note(c, o, text);
        } else if (++*operands > until) {
            return NULL;
        }
    }
    return NULL;
}

static void complete(struct completion *c)
{
    const char *last = c->words[c->n - 1], *text = NULL;
    const struct cli_command *command = &cli_status; /* whose options may stand first */
    const struct cli_option *o;
    size_t at = 0, operands, used;
    bool ended;

    c->prefix = last;
    o = walk(c, command, &at, 0, &operands, &ended);
    if (o == NULL && operands > 0) {
        command = cli_find(c->n - 1 - at, (char *const *)(uintptr_t)&c->words[at], &used);
        if (command == NULL || command->common & CLI_RAW)
            return;
        at += used;
        o = walk(c, command, &at, SIZE_MAX - 1, &operands, &ended);
        if (o == NULL && operands == 0 && last[0] != '-')
            offer_family(c, command->name);
    } else if (o == NULL && last[0] != '-') {
        offer_commands(c);
        return;
    }
    if (o != NULL) {
        offer_value(c, o, last);
    } else if (!ended && last[0] == '-') {
        o = option_of(command, last, &text);
        if (o != NULL && text != NULL && !c->cut)
            snprintf(c->before, sizeof c->before, "%.*s", (int)(text - last), last);
        if (o != NULL && text != NULL)
            offer_value(c, o, text);
        else
            offer_options(c, command);
    } else {
        offer_operand(c, command, operands);
    }
}

static int words_run(const struct cli_args *args)
{
    struct completion c = {.to = stdout};

    if (args->n_words < 2) /* SHELL WORD... */
        return CLI_BAD;
    join(&c, args->n_words - 1, args->words + 1);
    cli_complain_to(stderr);
    if (c.n > 0)
        complete(&c);
    return CLI_OK;
}

const struct cli_command cli_complete_words = {
    .name = "__complete",
    .group = CLI_OTHER,
    .summary = "what the completion script of a shell asks",
    .common = CLI_HIDDEN | CLI_RAW,
    .run = words_run,
};

/* ---- the scripts ---- */

const char *const complete_shells[] = {"bash", "zsh", "fish", NULL};

static const char *const scripts[] = {
    "# bash completion of rolemesh; from `rolemesh completion bash`\n"
    "_rolemesh() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]/#\\~/$HOME} line\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :file | :dir)\n"
    "            [[ $cur == = ]] && cur=\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            mapfile -t COMPREPLY < <(compgen \"-${line:1:1}\" -- \"$cur\")\n"
    "            return\n"
    "            ;;\n"
    "        *) COMPREPLY+=(\"${line%%$'\\t'*}\") ;;\n"
    "        esac\n"
    "    done < <(\"$program\" __complete bash \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _rolemesh rolemesh\n",

    "#compdef rolemesh\n"
    "# zsh completion of rolemesh; from `rolemesh completion zsh`\n"
    "_rolemesh() {\n"
    "    local line\n"
    "    local -a items\n"
    "    for line in \"${(@f)$(${~words[1]} __complete zsh \"${(@)words[2,CURRENT]}\" "
    "2>/dev/null)}\"; do\n"
    "        case $line in\n"
    "        (:file) _files; return ;;\n"
    "        (:dir) _files -/; return ;;\n"
    "        ('') ;;\n"
    "        (*) items+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    _describe -t rolemesh rolemesh items\n"
    "}\n"
    "if [[ ${funcstack[1]} == _rolemesh ]]; then\n"
    "    _rolemesh \"$@\"\n"
    "else\n"
    "    compdef _rolemesh rolemesh\n"
    "fi\n",

    "# fish completion of rolemesh; from `rolemesh completion fish`\n"
    "function __rolemesh_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l current (commandline -ct)\n"
    "    set -l program $words[1]\n"
    "    set -e words[1]\n"
    "    for line in ($program __complete fish $words \"$current\" 2>/dev/null)\n"
    "        switch $line\n"
    "            case :file\n"
    "                __fish_complete_path \"$current\"\n"
    "            case :dir\n"
    "                __fish_complete_directories \"$current\"\n"
    "            case '*'\n"
    "                printf '%s\\n' $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c rolemesh -f -a '(__rolemesh_complete)'\n",
};

const char *complete_script(const char *shell)
{
    for (size_t i = 0; complete_shells[i] != NULL; i++)
        if (strcmp(complete_shells[i], shell) == 0)
            return scripts[i];
    return "";
}

static int script_run(const struct cli_args *args)
{
    fputs(complete_script(cli_word(args, 0)), stdout);
    return CLI_OK;
}

const struct cli_command cli_completion = {
    .name = "completion",
    .group = CLI_OTHER,
    .summary = "what makes a shell complete commands, options and names",
    .about = "Prints a script for the shell. Names of roles, nodes, keys and requests are asked of "
             "the gateway (ROLEMESH_GATEWAY, ROLEMESH_KEY) with a deadline of 0.8 s.",
    .examples = "source <(rolemesh completion bash)      # in ~/.bashrc\n"
                "rolemesh completion zsh > \"${fpath[1]}/_rolemesh\"\n"
                "rolemesh completion fish > ~/.config/fish/completions/rolemesh.fish\n",
    .operands = {{"SHELL", false, false, "which shell? bash, zsh or fish", CLI_COMPLETE_NONE,
                  complete_shells}},
    .run = script_run,
};
