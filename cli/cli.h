/* SPDX-License-Identifier: MIT */
/* cli/cli.h - the command `rolemesh`: what a subcommand is. CLI_COMMANDS lists all of them; from
 * that one list come the reading of arguments (args.c), `--help` (help.c), the man pages (man.c)
 * and what a shell completes (complete.c).
 *
 * A new subcommand: a file NAME.c that ends with its row cli_NAME, and a line in CLI_COMMANDS. Its
 * run() gets the arguments read and checked: what was asked for goes to stdout, complaints go to
 * stderr through cli_usage() and cli_failed(), always one line. One thread. */
#ifndef RM_CLI_CLI_H
#define RM_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/err.h"

enum cli_exit {
    CLI_OK = 0,     /* done */
    CLI_FAILED = 1, /* asked rightly, but it did not work: no answer, no memory */
    CLI_BAD = 2,    /* wrong use, or a file with mistakes */
};

#define CLI_GATEWAY "http://127.0.0.1:8080" /* the one that is asked when none was said */

enum { CLI_OPTIONS_MAX = 24, CLI_OPERANDS_MAX = 4, CLI_WORDS_MAX = 64 };

/* What a value is; the parser refuses another. */
enum cli_kind {
    CLI_FLAG,     /* no value */
    CLI_STRING,   /* any text but the empty one */
    CLI_NUMBER,   /* decimal, min..max */
    CLI_SECONDS,  /* "2", "0.5", "500ms", "5m": kept as milliseconds, min..max of those */
    CLI_DURATION, /* "90s", "15m", "12h", "30d", "2w": a whole number and a unit; the same */
    CLI_TIME, /* "30m": so long ago; "2026-01-02", "2026-01-02T03:04:05" (local), with Z (UTC): kept
               * as milliseconds since 1970 */
    CLI_WORD, /* one of words */
};

/* What a shell completes there. The words of a CLI_WORD come from the table. */
enum cli_complete {
    CLI_COMPLETE_NONE,
    CLI_COMPLETE_FILE,
    CLI_COMPLETE_DIR,
    CLI_COMPLETE_ROLE, /* these and what follows: asked of the gateway */
    CLI_COMPLETE_NODE,
    CLI_COMPLETE_TARGET, /* a role or a node */
    CLI_COMPLETE_MODEL,
    CLI_COMPLETE_KEY,
    CLI_COMPLETE_REQUEST,
    CLI_COMPLETE_COMMAND, /* of this table */
};

struct cli_option {
    const char *name; /* without dashes; NULL ends a list */
    char letter;      /* of the short form; 0: none */
    enum cli_kind kind;
    const char *value; /* what help calls the value: "FILE"; "[SECONDS]": may be left out, and
                        * is then written behind a '=' */
    const char *help;  /* one line without a full stop */
    uint64_t min, max; /* max 0: no limit */
    const char *const *words; /* CLI_WORD; NULL-terminated */
    enum cli_complete complete;
};

/* An argument that is no option. */
struct cli_operand {
    const char *name; /* "FILE"; NULL ends a list */
    bool optional;
    bool many;        /* the last one only: any number of them */
    const char *what; /* said when it is missing: "which file?" */
    enum cli_complete complete;
    const char *const *words; /* these only; NULL: any */
};

/* Options that several commands have; bits of cli_command.common. --help, --key-file and --no-color
 * belong to every command. */
enum cli_common {
    CLI_ASKS = 1,    /* --gateway URL */
    CLI_JSON = 2,    /* --json */
    CLI_TABLE = 4,   /* -o wide|csv|table, and json where CLI_JSON is set */
    CLI_WATCH = 8,   /* --watch[=SECONDS] */
    CLI_HIDDEN = 16, /* not an option: the command is not listed */
    CLI_RAW = 32,    /* nor this: arguments are left as they are, in words */
    CLI_SCREEN = 64, /* nor this: several tables at once, so no -o csv */
    CLI_CSV = 128,   /* -o csv|table|json, where nothing is wider */
};

enum cli_group { CLI_LOOK, CLI_ACT, CLI_PREPARE, CLI_OTHER, CLI_GROUPS };

struct cli_args;

struct cli_command {
    const char *name; /* "status"; "keys list" is a command of two words */
    enum cli_group group;
    const char *summary; /* one line */
    const char *about; /* more, for help and man page: paragraphs, an empty line between; or NULL */
    const char *examples;             /* lines "COMMAND # what for"; or NULL */
    unsigned common;                  /* enum cli_common */
    const struct cli_option *options; /* or NULL */
    struct cli_operand operands[CLI_OPERANDS_MAX + 1];
    int (*run)(const struct cli_args *args); /* returns an exit code */
};

struct cli_value {
    const struct cli_option *option;
    const char *text; /* borrowed from argv; NULL: a flag, or a value left out */
    uint64_t number;  /* of kinds with one; of CLI_WORD the word's place */
};

/* What was read. */
struct cli_args {
    const struct cli_command *command;
    struct cli_value values[CLI_OPTIONS_MAX];
    size_t n_values;
    const char *words[CLI_WORDS_MAX]; /* operands */
    size_t n_words;
    bool help;         /* --help was there: nothing else was checked */
    int argc;          /* what followed the command's name, untouched; */
    char *const *argv; /* NULL-terminated, argv[0] is the name */
};

/* ---- for subcommands ---- */

/* The value of an option of this command; asserts that the table has it. cli_has: it was said.
 * cli_text: NULL when not said; cli_number: fallback then. */
bool cli_has(const struct cli_args *args, const char *name);
const char *cli_text(const struct cli_args *args, const char *name);
uint64_t cli_number(const struct cli_args *args, const char *name, uint64_t fallback);

/* The operand at i, or NULL. */
const char *cli_word(const struct cli_args *args, size_t i);

/* --json or -o json; -o wide; -o csv. */
bool cli_wants_json(const struct cli_args *args);
bool cli_wants_wide(const struct cli_args *args);
bool cli_wants_csv(const struct cli_args *args);

/* The gateway to ask: --gateway, ROLEMESH_GATEWAY or http://127.0.0.1:8080. */
const char *cli_gateway(const struct cli_args *args);

/* Prints "rolemesh NAME: what" in one line: cli_usage with how to get help, returning CLI_BAD;
 * cli_failed returning CLI_FAILED. What a terminal might act on is replaced. */
int cli_usage(const char *name, const char *fmt, ...) RM_PRINTF(2, 3);
int cli_failed(const char *name, const char *fmt, ...) RM_PRINTF(2, 3);

/* Where these two print; NULL: stderr. For a screen that is drawn again and again. */
void cli_complain_to(FILE *to);

/* ---- the table ---- */

extern const struct cli_command *const cli_commands[]; /* sorted by name */
extern const size_t cli_n_commands;
extern const char *const cli_group_titles[CLI_GROUPS];

/* The command that words begin with; *used: how many of them name it (1 or 2). NULL: none. */
const struct cli_command *cli_find(size_t n, char *const *words, size_t *used);

/* Option number i of a command, those in common after its own; NULL: there are no more. */
const struct cli_option *cli_option_at(const struct cli_command *command, size_t i);

/* The option of a name of n bytes, without dashes, or of a letter; NULL: it has none. */
const struct cli_option *cli_option_named(const struct cli_command *command, const char *name,
                                          size_t n);
const struct cli_option *cli_option_lettered(const struct cli_command *command, char letter);

/* Commands of two words begin with this one. */
bool cli_is_family(const struct cli_command *command);

/* ---- args.c, help.c, man.c, complete.c ---- */

/* Reads what follows a command's name (argv[0]). Returns CLI_OK, or CLI_BAD after saying why. */
int cli_args_read(const struct cli_command *command, int argc, char **argv, struct cli_args *out);

/* Options may stand before the command: puts them behind it. Returns CLI_OK, or CLI_BAD after
 * saying why; argv[1] is the command's name then, when there is one. */
int cli_args_order(int argc, char **argv);

/* The nearest of this list's option names to text, or NULL. */
const char *cli_option_near(const struct cli_command *command, const char *text);

void cli_help_all(FILE *to);
void cli_help_of(const struct cli_command *command, FILE *to);

/* A man page in roff: of one command, or with NULL of rolemesh itself. */
void man_write(const struct cli_command *command, FILE *to);

/* Every command, sorted by name: cli_NAME is its row, at the end of its file. */
/* clang-format off */
#define CLI_COMMANDS(X) \
    X(complete_words) \
    X(apply) \
    X(cancel) \
    X(chat) \
    X(check) \
    X(completion) \
    X(copy) \
    X(doctor) \
    X(drain) \
    X(events) \
    X(evict) \
    X(forecast) \
    X(help) \
    X(keys) \
    X(keys_create) \
    X(keys_list) \
    X(keys_revoke) \
    X(keys_rotate) \
    X(ledger) \
    X(load) \
    X(logs) \
    X(models) \
    X(nodes) \
    X(plan) \
    X(ps) \
    X(pull) \
    X(pulls) \
    X(reload) \
    X(roles) \
    X(status) \
    X(top) \
    X(undrain) \
    X(unload) \
    X(usage_sums) \
    X(version) \
    X(why)
/* clang-format on */

#define CLI_COMMAND_ROW(name) extern const struct cli_command cli_##name;
CLI_COMMANDS(CLI_COMMAND_ROW)
#undef CLI_COMMAND_ROW

#endif
