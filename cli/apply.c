/* SPDX-License-Identifier: MIT */
/* cli/apply.c - `rolemesh apply`: a role map for a running gateway, seen before it is taken over.
 * Asks the gateway twice (POST /api/v1/map, proto/openapi.yaml): first what the map would change,
 * then, when that was agreed to, to do it if its file is still the one that was compared with. The
 * gateway checks the map; what it finds is printed as `rolemesh check` would. One thread. */
#include "cli/apply.h"
#include "cli/ask.h"
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { APPLY_FILE_MAX = 1 << 20, APPLY_DEADLINE_MS = 30000, MATCH_MAX = 64 };

struct apply {
    const char *file, *gateway; /* file "-": stdin */
    bool dry_run, yes, json;
    struct http_address address;
    struct rm_buf map;
};

/* --- what to apply ---------------------------------------------------------------------------- */

static int apply_read_args(const struct cli_args *args, struct apply *a)
{
    *a = (struct apply){.file = cli_word(args, 0),
                        .gateway = cli_gateway(args),
                        .dry_run = cli_has(args, "dry-run"),
                        .yes = cli_has(args, "yes"),
                        .json = cli_wants_json(args)};
    if (a->file == NULL)
        a->file = "role-map.yaml";
    if (ask_address(a->gateway, &a->address) < 0)
        return cli_usage("apply", "--gateway is http://HOST:PORT, not '%s'", a->gateway);
    if (a->json && !a->yes && !a->dry_run)
        return cli_usage("apply", "--json asks nobody: say --yes or --dry-run");
    return CLI_OK;
}

/* The whole file, or one byte more than a map may have: the gateway says so then. */
static int apply_read_file(struct apply *a)
{
    bool is_stdin = strcmp(a->file, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(a->file, "rb");
    char bytes[16384];
    size_t n;
    int r = 0;

    rm_buf_init(&a->map, APPLY_FILE_MAX + sizeof bytes);
    if (f == NULL) {
        cli_failed("apply", "%s: %s", a->file, strerror(errno));
        return CLI_BAD;
    }
    while (r == 0 && a->map.len <= APPLY_FILE_MAX && (n = fread(bytes, 1, sizeof bytes, f)) > 0)
        r = rm_buf_put(&a->map, bytes, n);
    if (r < 0 || ferror(f)) {
        cli_failed("apply", "%s: %s", a->file, r < 0 ? rm_strerror(r) : "cannot be read");
        r = CLI_BAD;
    }
    if (!is_stdin)
        fclose(f);
    return r;
}

/* --- asking ------------------------------------------------------------------------------------
 */

/* Sends the map; match NULL: a dry run. *answer: the JSON, or NULL when it is none. Returns the
 * status of HTTP, or 0 after saying why there is no answer. */
static int apply_ask(const struct apply *a, const char *match, json_t **answer)
{
    struct http_out_field fields[] = {{"Content-Type", RM_LIT("application/yaml")},
                                      {"X-Rolemesh-File", rm_slice_of(a->file)},
                                      {"If-Match", rm_slice_of(match)}};
    struct ask ask = {.address = &a->address,
                      .method = "POST",
                      .target = match == NULL ? "/api/v1/map?dry_run=1" : "/api/v1/map",
                      .fields = fields,
                      .n_fields = match == NULL ? 2 : 3,
                      .body = {a->map.data != NULL ? a->map.data : "", a->map.len},
                      .deadline_ms = APPLY_DEADLINE_MS,
                      .to_gateway = true};
    json_error_t error;
    struct rm_buf body;
    int status, r;

    *answer = NULL;
    r = ask_run(&ask, &status, &body);
    if (r < 0)
        cli_failed("apply", "%s: %s; start rolemesh-gateway, or name another with --gateway URL",
                   a->gateway, rm_strerror(r));
    else
        *answer = json_loadb(body.data != NULL ? body.data : "", body.len, 0, &error);
    rm_buf_clear(&body);
    return r < 0 ? 0 : status;
}

static const char *text_of(const json_t *object, const char *key, char out[ASK_TEXT_MAX])
{
    return ask_shown(json_string_value(json_object_get(object, key)), out);
}

/* An answer that is no 200. Returns the exit code. */
static int apply_refused(const struct apply *a, int status, const json_t *answer)
{
    const char *lines = json_string_value(json_object_get(answer, "text"));
    const char *message = json_string_value(json_object_get(answer, "detail"));

    if (a->json && answer != NULL) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    if (status == 422 && lines != NULL) {
        ask_print_lines(lines, stderr);
        return CLI_BAD;
    }
    fprintf(stderr, "rolemesh apply: %s answered %d: ", a->gateway, status);
    ask_print_lines(message != NULL ? message : "is this a gateway?", stderr);
    fputs(status == 412 ? "; nothing was changed: see the difference again\n" : "\n", stderr);
    return status == 413 ? CLI_BAD : CLI_FAILED;
}

/* --- telling -------------------------------------------------------------------------------------
 */

static bool lists(const json_t *array, const char *word)
{
    const json_t *item;
    size_t i;

    json_array_foreach(array, i, item) if (json_is_string(item) &&
                                           strcmp(json_string_value(item), word) == 0) return true;
    return false;
}

/* "  ~ role code: context, slots" and what becomes of its hosts. */
static void print_change(const json_t *c)
{
    char subject[ASK_TEXT_MAX], name[ASK_TEXT_MAX], how[ASK_TEXT_MAX], key[ASK_TEXT_MAX];
    const json_t *item;
    size_t i;

    text_of(c, "subject", subject);
    text_of(c, "how", how);
    printf("  %c %s", how[0] == 'a' ? '+' : how[0] == 'r' ? '-' : '~', subject);
    if (strcmp(subject, "gateway") != 0)
        printf(" %s", text_of(c, "name", name));
    json_array_foreach(json_object_get(c, "keys"), i, item)
        printf("%s%s", i == 0 ? ": " : ", ", ask_shown(json_string_value(item), key));
    putchar('\n');
    json_array_foreach(json_object_get(c, "hosts"), i, item)
        printf("      %s@%s: %s\n", text_of(item, "role", name), text_of(item, "node", key),
               text_of(item, "fate", how));
    if (lists(json_object_get(c, "effects"), "restart"))
        puts("      takes effect at the gateway's next start");
}

static bool same_text(const json_t *answer, const char *a, const char *b)
{
    const char *x = json_string_value(json_object_get(answer, a));
    const char *y = json_string_value(json_object_get(answer, b));

    return x != NULL && y != NULL && strcmp(x, y) == 0;
}

void apply_print_changes(const json_t *answer)
{
    const json_t *changes = json_object_get(answer, "changes"), *item;
    size_t i;

    json_array_foreach(changes, i, item) print_change(item);
    if (json_array_size(changes) == 0)
        puts(same_text(answer, "offered_revision", "file_revision")
                 ? "  no change"
                 : "  other text, the same meaning");
}

static void print_difference(const struct apply *a, const json_t *answer)
{
    char path[ASK_TEXT_MAX], file[ASK_TEXT_MAX], gateway[ASK_TEXT_MAX];

    printf("%s -> %s of %s\n", ask_shown(a->file, file), text_of(answer, "path", path),
           ask_shown(a->gateway, gateway));
    apply_print_changes(answer);
}

/* --- agreeing ------------------------------------------------------------------------------------
 */

/* The gateway's file has an edit that does not run: agreeing to the difference shown would undo it
 * unseen. */
static bool has_unseen_edit(const json_t *answer)
{
    return !same_text(answer, "revision", "file_revision") &&
           !same_text(answer, "offered_revision", "file_revision");
}

/* Asks on the terminal. Returns CLI_OK: agreed. */
static int apply_agree(const struct apply *a, const json_t *answer)
{
    bool unseen = has_unseen_edit(answer);
    char word[16];

    if (unseen)
        fputs("rolemesh apply: the gateway's file has been edited since it was loaded; that edit "
              "would be lost\n",
              stderr);
    if (a->yes && unseen) {
        fputs("rolemesh apply: reload it first (SIGHUP), or put the file back\n", stderr);
        return CLI_FAILED;
    }
    if (a->yes)
        return CLI_OK;
    if (strcmp(a->file, "-") == 0 || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return cli_usage("apply", "nobody can be asked here: say --yes or --dry-run");
    fputs("Apply? [y/N] ", stdout);
    fflush(stdout);
    if (fgets(word, sizeof word, stdin) != NULL && (word[0] == 'y' || word[0] == 'Y'))
        return CLI_OK;
    fputs("rolemesh apply: nothing was changed\n", stderr);
    return CLI_FAILED;
}

static int apply_do(const struct apply *a, const json_t *shown)
{
    const char *revision = json_string_value(json_object_get(shown, "file_revision"));
    char match[MATCH_MAX], now[ASK_TEXT_MAX];
    json_t *answer;
    int status, r = CLI_OK;

    snprintf(match, sizeof match, "\"%.32s\"", revision != NULL ? revision : "");
    status = apply_ask(a, revision != NULL ? match : "*", &answer);
    if (status == 0)
        r = CLI_FAILED;
    else if (status != 200 || !json_is_object(answer))
        r = apply_refused(a, status, answer);
    else if (a->json)
        r = json_dumpf(answer, stdout, JSON_INDENT(2)) == 0 && putchar('\n') == '\n' ? CLI_OK
                                                                                     : CLI_FAILED;
    else
        printf("applied: revision %s\n", text_of(answer, "revision", now));
    json_decref(answer);
    return r;
}

/* The difference is known. */
static int apply_go_on(const struct apply *a, const json_t *shown)
{
    bool same = same_text(shown, "offered_revision", "file_revision") &&
                same_text(shown, "revision", "file_revision");
    int r;

    if (!a->json)
        print_difference(a, shown);
    if (a->dry_run || same) {
        if (a->json) {
            json_dumpf(shown, stdout, JSON_INDENT(2));
            putchar('\n');
        }
        return CLI_OK;
    }
    r = apply_agree(a, shown);
    return r == CLI_OK ? apply_do(a, shown) : r;
}

static int apply_run(const struct cli_args *args)
{
    struct apply a;
    int status, r = apply_read_args(args, &a);
    json_t *shown = NULL;

    if (r != CLI_OK)
        return r;
    r = apply_read_file(&a);
    if (r == CLI_OK) {
        status = apply_ask(&a, NULL, &shown);
        if (status == 0)
            r = CLI_FAILED;
        else if (status != 200 || !json_is_object(shown))
            r = apply_refused(&a, status, shown);
        else
            r = apply_go_on(&a, shown);
    }
    json_decref(shown);
    rm_buf_clear(&a.map);
    return r;
}

static const struct cli_option apply_options[] = {
    {.name = "dry-run", .kind = CLI_FLAG, .help = "show what would change, and change nothing"},
    {.name = "yes", .letter = 'y', .kind = CLI_FLAG, .help = "ask nobody"},
    {NULL},
};

const struct cli_command cli_apply = {
    .name = "apply",
    .group = CLI_ACT,
    .summary = "show what a role map would change on a gateway, and take it over",
    .about =
        "The gateway checks the map, compares it with the one that runs and tells what becomes "
        "of each host. It is written to the gateway's own file and taken over only when that "
        "was agreed to, and only if that file is still the one it was compared with.",
    .examples = "rolemesh apply --dry-run          # of ./role-map.yaml\n"
                "rolemesh apply --yes new-map.yaml\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = apply_options,
    .operands = {{"FILE", true, false, NULL, CLI_COMPLETE_FILE, NULL}},
    .run = apply_run,
};
