/* SPDX-License-Identifier: MIT */
/* cli/args.c - the arguments of a subcommand, read by its row of the table, and the one line that
 * tells a mistake. Options and operands in any order; "--" ends the options; a value follows its
 * option or a '='. The last one counts when an option is said twice. */
#include "cli/cli.h"

#include "cli/ask.h"
#include "proto/base/buf.h"
#include "proto/conf/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAY_MAX = 4096 };

/* ---- complaining ---- */

static FILE *complaints;

void cli_complain_to(FILE *to)
{
    complaints = to;
}

static void say(const char *name, const char *fmt, va_list list, bool help)
{
    FILE *to = complaints != NULL ? complaints : stderr;
    bool none = name == NULL || name[0] == '\0', asks;
    struct rm_buf text;

    rm_buf_init(&text, SAY_MAX);
    if (rm_buf_vprintf(&text, fmt, list) < 0)
        rm_buf_puts(&text, "the arguments are too long to repeat");
    asks = text.len > 0 && text.data[text.len - 1] == '?';
    fprintf(to, "rolemesh%s%s: ", none ? "" : " ", none ? "" : name);
    ask_print_line(text.data, to);
    if (help)
        fprintf(to, "%s see 'rolemesh %s%s--help'", asks ? "" : ";", none ? "" : name,
                none ? "" : " ");
    fputc('\n', to);
    rm_buf_clear(&text);
}

int cli_usage(const char *name, const char *fmt, ...)
{
    va_list list;

    va_start(list, fmt);
    say(name, fmt, list, true);
    va_end(list);
    return CLI_BAD;
}

int cli_failed(const char *name, const char *fmt, ...)
{
    va_list list;

    va_start(list, fmt);
    say(name, fmt, list, false);
    va_end(list);
    return CLI_FAILED;
}

/* ---- values ---- */

/* "12h" -> 12 and its unit in ms; bare: without a unit, and with a fraction, it is seconds. */
static bool read_time(const char *text, bool bare, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                 {"h", 3600000}, {"d", 86400000}, {"w", 7 * 86400000ULL}};
    static const uint64_t most = 100ULL * 366 * 86400000;
    size_t digits = strspn(text, "0123456789"), fraction = 0;
    uint64_t ms = 0;
    double n;

    if (bare && text[digits] == '.')
        fraction = strspn(text + digits + 1, "0123456789") + 1;
    if (digits == 0 || digits > 15 || fraction == 1 || fraction > 9)
        return false;
    for (size_t i = 0; i < RM_COUNT(units); i++)
        if (strcmp(text + digits + fraction, units[i].unit) == 0 && (bare || i > 0))
            ms = units[i].ms;
    if (bare && text[digits + fraction] == '\0')
        ms = 1000;
    n = strtod(text, NULL) * (double)ms;
    if (ms == 0 || n > (double)most)
        return false;
    *out = (uint64_t)(n + 0.5);
    return true;
}

/* "2026-01-02", "2026-01-02T03:04[:05]", with Z behind: UTC, else local time. */
static bool read_date(const char *text, uint64_t *out)
{
    struct tm tm = {.tm_isdst = -1};
    const char *p = strptime(text, "%Y-%m-%d", &tm);
    time_t at;

    if (p != NULL && (*p == 'T' || *p == ' ')) {
        const char *full = strptime(p + 1, "%H:%M:%S", &tm);

        p = full != NULL ? full : strptime(p + 1, "%H:%M", &tm);
    }
    if (p == NULL || (*p != '\0' && strcmp(p, "Z") != 0))
        return false;
    at = *p == 'Z' ? timegm(&tm) : mktime(&tm);
    *out = (uint64_t)at * 1000;
    return at >= 0;
}

static bool read_moment(const char *text, uint64_t *out)
{
    uint64_t ago, now = (uint64_t)time(NULL) * 1000;

    if (!read_time(text, false, &ago))
        return read_date(text, out);
    *out = now > ago ? now - ago : 0;
    return true;
}

static bool read_number(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

static bool is_within(const struct cli_option *o, uint64_t n)
{
    return n >= o->min && (o->max == 0 || n <= o->max);
}

static const char *words_joined(const char *const *words, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; words[i] != NULL && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s",
                              i == 0                 ? ""
                              : words[i + 1] == NULL ? " or "
                                                     : ", ",
                              words[i]);
    return out;
}

static int bad_value(const struct cli_command *c, const struct cli_option *o, const char *text)
{
    char words[256], range[64] = "";

    switch (o->kind) {
    case CLI_NUMBER:
        if (o->max > 0)
            snprintf(range, sizeof range, " from %" PRIu64 " to %" PRIu64, o->min, o->max);
        else if (o->min > 0)
            snprintf(range, sizeof range, " of at least %" PRIu64, o->min);
        return cli_usage(c->name, "--%s takes a number%s, not '%s'", o->name, range, text);
    case CLI_SECONDS:
        return cli_usage(c->name, "--%s takes seconds from %g to %g, such as 2 or 500ms, not '%s'",
                         o->name, (double)o->min / 1000, (double)o->max / 1000, text);
    case CLI_DURATION:
        if (o->max > 0)
            snprintf(range, sizeof range, " up to %" PRIu64 "d", o->max / 86400000);
        return cli_usage(c->name, "--%s takes a time such as 30d, 12h or 15m%s, not '%s'", o->name,
                         range, text);
    case CLI_TIME:
        return cli_usage(c->name,
                         "--%s takes a time: 30m or 2d ago, 2026-01-02 or 2026-01-02T03:04:05Z, "
                         "not '%s'",
                         o->name, text);
    case CLI_WORD:
        return cli_usage(c->name, "--%s takes %s, not '%s'", o->name,
                         words_joined(o->words, words, sizeof words), text);
    default:
        return cli_usage(c->name, "--%s takes a %s, not nothing", o->name, o->value);
    }
}

static bool read_value(const struct cli_option *o, const char *text, uint64_t *number)
{
    switch (o->kind) {
    case CLI_NUMBER:
        return read_number(text, number) && is_within(o, *number);
    case CLI_SECONDS:
    case CLI_DURATION:
        return read_time(text, o->kind == CLI_SECONDS, number) && is_within(o, *number);
    case CLI_TIME:
        return read_moment(text, number);
    case CLI_WORD:
        for (*number = 0; o->words[*number] != NULL; ++*number)
            if (strcmp(o->words[*number], text) == 0)
                return true;
        return false;
    default:
        return text[0] != '\0';
    }
}

/* ---- options ---- */

const struct cli_option *cli_option_named(const struct cli_command *c, const char *name, size_t n)
{
    const struct cli_option *o;

    for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return o;
    return NULL;
}

const struct cli_option *cli_option_lettered(const struct cli_command *c, char letter)
{
    const struct cli_option *o;

    for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
        if (letter != '\0' && o->letter == letter)
            return o;
    return NULL;
}

const char *cli_option_near(const struct cli_command *command, const char *text)
{
    const char *names[CLI_OPTIONS_MAX * 2];
    const struct cli_option *o;
    size_t n = 0;

    for (size_t i = 0; n < RM_COUNT(names) && (o = cli_option_at(command, i)) != NULL; i++)
        names[n++] = o->name;
    return conf_nearest((struct rm_slice){text, strcspn(text, "=")}, names, n);
}

static int unknown_option(const struct cli_command *c, const char *arg)
{
    const char *near = arg[1] == '-' ? cli_option_near(c, arg + 2) : NULL;

    if (near != NULL)
        return cli_usage(c->name, "unknown option '%.*s'; did you mean '--%s'?",
                         (int)strcspn(arg, "="), arg, near);
    return cli_usage(c->name, "unknown option '%.*s'", (int)strcspn(arg, "="), arg);
}

static int add_value(struct cli_args *a, const struct cli_option *o, const char *text)
{
    struct cli_value *v = a->values;
    uint64_t number = 0;

    if (text != NULL && !read_value(o, text, &number))
        return bad_value(a->command, o, text);
    while (v < a->values + a->n_values && v->option != o)
        v++;
    assert(v < a->values + CLI_OPTIONS_MAX); /* the table has no more */
    a->n_values += v == a->values + a->n_values;
    *v = (struct cli_value){o, text, number};
    return CLI_OK;
}

/* An option at argv[*i], which moves on over a value. */
static int read_option(struct cli_args *a, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *value = NULL;
    bool is_long = arg[1] == '-';
    size_t n = is_long ? strcspn(arg + 2, "=") : 1;
    const struct cli_option *o = is_long ? cli_option_named(a->command, arg + 2, n)
                                         : cli_option_lettered(a->command, arg[1]);

    if (o == NULL)
        return unknown_option(a->command, arg);
    if (is_long && arg[2 + n] == '=')
        value = arg + 2 + n + 1;
    else if (!is_long && arg[2] != '\0')
        value = arg + 2;
    if (o->kind == CLI_FLAG) {
        if (value != NULL && is_long)
            return cli_usage(a->command->name, "--%s takes no value", o->name);
        if (value != NULL)
            return cli_usage(a->command->name, "-%c takes no value; write one option at a time",
                             o->letter);
        a->help |= strcmp(o->name, "help") == 0;
        return add_value(a, o, NULL);
    }
    if (value != NULL || o->value[0] == '[')
        return add_value(a, o, value);
    if (*i + 1 == argc || strncmp(argv[*i + 1], "--", 2) == 0)
        return cli_usage(a->command->name, "--%s: a value must follow: %s", o->name, o->value);
    return add_value(a, o, argv[++*i]);
}

/* ---- operands ---- */

static const struct cli_operand *operand_at(const struct cli_command *c, size_t at)
{
    const struct cli_operand *o = c->operands;

    for (; o->name != NULL; o++, at--)
        if (at == 0 || o->many)
            return o;
    return NULL;
}

static int read_operand(struct cli_args *a, const char *word)
{
    const struct cli_operand *o = operand_at(a->command, a->n_words);
    char words[256];
    size_t k = 0;

    if (o == NULL && a->n_words == 0)
        return cli_usage(a->command->name, "it takes no arguments, but got '%s'", word);
    if (o == NULL || a->n_words == CLI_WORDS_MAX)
        return cli_usage(a->command->name, "'%s' is one argument too many", word);
    while (o->words != NULL && o->words[k] != NULL && strcmp(o->words[k], word) != 0)
        k++;
    if (o->words != NULL && o->words[k] == NULL)
        return cli_usage(a->command->name, "%s is %s, not '%s'", o->name,
                         words_joined(o->words, words, sizeof words), word);
    a->words[a->n_words++] = word;
    return CLI_OK;
}

/* ---- all of it ---- */

int cli_args_read(const struct cli_command *command, int argc, char **argv, struct cli_args *out)
{
    const struct cli_operand *o;
    bool options = true;
    int r = CLI_OK;

    *out = (struct cli_args){.command = command, .argc = argc, .argv = argv};
    for (int i = 1; r == CLI_OK && i < argc; i++) {
        if (command->common & CLI_RAW) {
            if (out->n_words < CLI_WORDS_MAX)
                out->words[out->n_words++] = argv[i];
        } else if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            r = read_option(out, argc, argv, &i);
        } else {
            r = read_operand(out, argv[i]);
        }
    }
    o = operand_at(command, out->n_words);
    if (r == CLI_OK && !out->help && o != NULL && !o->optional &&
        !(o->many && out->n_words >= (size_t)(o - command->operands) + 1))
        r = cli_usage(command->name, "%s", o->what);
    return r;
}

/* What may stand before the command's name, as in `rolemesh --gateway URL status`. */
static bool leads(const char *arg, bool *takes)
{
    static const char *const with[] = {"--gateway", "--key-file"};
    static const char *const alone[] = {"--no-color", "--help", "-h", "--version", "-V"};
    size_t n = strcspn(arg, "=");

    for (size_t i = 0; i < RM_COUNT(with); i++)
        if (strlen(with[i]) == n && memcmp(with[i], arg, n) == 0) {
            *takes = arg[n] == '\0';
            return true;
        }
    *takes = false;
    for (size_t i = 0; i < RM_COUNT(alone); i++)
        if (strcmp(alone[i], arg) == 0)
            return true;
    return false;
}

int cli_args_order(int argc, char **argv)
{
    char **moved;
    int first = 1, words;
    size_t used;
    bool takes;

    while (first < argc && argv[first][0] == '-') {
        if (strcmp(argv[first], "--help") == 0 || strcmp(argv[first], "-h") == 0 ||
            strcmp(argv[first], "--version") == 0 || strcmp(argv[first], "-V") == 0)
            return CLI_OK; /* main.c takes these for commands */
        if (!leads(argv[first], &takes))
            return cli_usage("", "unknown option '%s' before a command", argv[first]);
        if (takes && first + 1 == argc)
            return cli_usage("", "%s: a value must follow", argv[first]);
        first += takes ? 2 : 1;
    }
    if (first == 1 || first == argc)
        return CLI_OK;
    if ((moved = malloc((size_t)argc * sizeof *moved)) == NULL)
        return cli_failed("", "%s", "no memory");
    /* rolemesh [leading] NAME ... -> rolemesh NAME [leading] ...: the leading ones keep their
     * order, and a family's second word comes with its first */
    cli_find((size_t)(argc - first), argv + first, &used);
    words = used > 0 ? (int)used : 1;
    memcpy(moved, argv + first, (size_t)words * sizeof *moved);
    memcpy(moved + words, argv + 1, (size_t)(first - 1) * sizeof *moved);
    memcpy(argv + 1, moved, (size_t)(words + first - 1) * sizeof *moved);
    free(moved);
    return CLI_OK;
}

/* ---- what was read ---- */

static const struct cli_value *value_of(const struct cli_args *args, const char *name)
{
    assert(cli_option_named(args->command, name, strlen(name)) != NULL);
    for (size_t i = 0; i < args->n_values; i++)
        if (strcmp(args->values[i].option->name, name) == 0)
            return &args->values[i];
    return NULL;
}

bool cli_has(const struct cli_args *args, const char *name)
{
    return value_of(args, name) != NULL;
}

const char *cli_text(const struct cli_args *args, const char *name)
{
    const struct cli_value *v = value_of(args, name);

    return v != NULL ? v->text : NULL;
}

uint64_t cli_number(const struct cli_args *args, const char *name, uint64_t fallback)
{
    const struct cli_value *v = value_of(args, name);

    return v != NULL && v->text != NULL ? v->number : fallback;
}

const char *cli_word(const struct cli_args *args, size_t i)
{
    return i < args->n_words ? args->words[i] : NULL;
}

static bool output_is(const struct cli_args *args, const char *word)
{
    const char *said =
        args->command->common & (CLI_TABLE | CLI_CSV) ? cli_text(args, "output") : NULL;

    return said != NULL && strcmp(said, word) == 0;
}

bool cli_wants_json(const struct cli_args *args)
{
    return (args->command->common & CLI_JSON && cli_has(args, "json")) || output_is(args, "json");
}

bool cli_wants_wide(const struct cli_args *args)
{
    return output_is(args, "wide");
}

bool cli_wants_csv(const struct cli_args *args)
{
    return output_is(args, "csv");
}

const char *cli_gateway(const struct cli_args *args)
{
    const char *url = args->command->common & CLI_ASKS ? cli_text(args, "gateway") : NULL;

    if (url == NULL)
        url = getenv("ROLEMESH_GATEWAY");
    return url != NULL && url[0] != '\0' ? url : CLI_GATEWAY;
}
