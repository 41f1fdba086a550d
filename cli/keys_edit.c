/* SPDX-License-Identifier: MIT */
#include "cli/keys_edit.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/cli.h"
#include "proto/base/json_write.h"
#include "proto/conf/role_map.h"
#include "proto/trust/keyring_file.h"

enum { DAY_S = 24 * 3600 };
static const uint64_t span_max_s = 100ULL * 366 * DAY_S;

/* ---- arguments ---- */

/* "30d", "12h", "15m", "90s": seconds. False: it is none, or over a hundred years. */
static bool read_span(const char *text, uint64_t *out)
{
    static const struct {
        char unit;
        uint64_t s;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY_S}, {'w', 7 * DAY_S}};
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || errno != 0 || end[0] == '\0' || end[1] != '\0')
        return false;
    for (size_t i = 0; i < RM_COUNT(units); i++)
        if (units[i].unit == end[0] && n <= span_max_s / units[i].s) {
            *out = n * units[i].s;
            return true;
        }
    return false;
}

static bool read_count(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && errno == 0 && *end == '\0' && *out > 0 && *out <= max;
}

/* The next name of a list with commas; false: the list is over. */
static bool next_name(const char **list, char *out, size_t size)
{
    size_t n = strcspn(*list, ",");

    if (**list == '\0')
        return false;
    snprintf(out, size, "%.*s", (int)n, *list);
    *list += n + ((*list)[n] == ',');
    return true;
}

static const char *read_roles(const char *list, struct api_key *key)
{
    char name[KEYRING_NAME + 1];

    while (next_name(&list, name, sizeof name)) {
        if (name[0] == '\0' || strlen(name) >= KEYRING_NAME || key->n_roles == KEYRING_ROLES)
            return "--roles takes up to 32 names of roles, with commas between";
        rm_text_copy(key->roles[key->n_roles++], KEYRING_NAME, name);
    }
    return NULL;
}

static const char *read_lanes(const char *list, struct api_key *key)
{
    char name[32];

    while (next_name(&list, name, sizeof name)) {
        int lane = MAP_LANE_AUTOCOMPLETE;

        while (lane <= MAP_LANE_BATCH && strcmp(name, map_lane_name((enum map_lane)lane)) != 0)
            lane++;
        if (lane > MAP_LANE_BATCH)
            return "--lanes takes autocomplete, interactive, batch, with commas between";
        key->lanes |= 1u << lane;
    }
    return NULL;
}

/* A flag with a value. *what: what is wrong. False: no such flag. */
static bool read_flag(struct keys_ask *a, const char *flag, const char *value, const char **what)
{
    struct api_key *k = &a->edit.want;
    uint64_t n = 0;

    *what = NULL;
    if (strcmp(flag, "--gateway") == 0) {
        a->gateway = value;
    } else if (strcmp(flag, "--state-dir") == 0) {
        rm_text_copy(a->state_dir, sizeof a->state_dir, value);
    } else if (strcmp(flag, "--roles") == 0) {
        *what = read_roles(value, k);
    } else if (strcmp(flag, "--lanes") == 0) {
        *what = read_lanes(value, k);
    } else if (strcmp(flag, "--expires") == 0) {
        *what = read_span(value, &n) && n > 0 ? NULL : "--expires takes a time such as 30d or 12h";
        k->expires_s = a->edit.now_s + n;
    } else if (strcmp(flag, "--grace") == 0) {
        *what = read_span(value, &n) && n <= 366ULL * DAY_S
                    ? NULL
                    : "--grace takes a time such as 1h or 7d, up to a year";
        a->edit.grace_s = n;
    } else if (strcmp(flag, "--requests-per-minute") == 0) {
        *what = read_count(value, UINT32_MAX, &n) ? NULL : "--requests-per-minute takes a number";
        k->requests_per_min = (uint32_t)n;
    } else if (strcmp(flag, "--concurrency") == 0) {
        *what = read_count(value, UINT32_MAX, &n) ? NULL : "--concurrency takes a number";
        k->concurrency = (uint32_t)n;
    } else if (strcmp(flag, "--tokens-per-minute") == 0) {
        *what = read_count(value, 1ULL << 53, &n) ? NULL : "--tokens-per-minute takes a number";
        k->tokens_per_min = n;
    } else if (strcmp(flag, "--tokens-per-day") == 0) {
        *what = read_count(value, 1ULL << 53, &n) ? NULL : "--tokens-per-day takes a number";
        k->tokens_per_day = n;
    } else {
        return false;
    }
    return true;
}

/* Flags that only one verb has. */
static bool flag_is_of(const struct keys_ask *a, const char *flag)
{
    if (strcmp(flag, "--gateway") == 0 || strcmp(flag, "--state-dir") == 0)
        return true;
    if (a->list)
        return strcmp(flag, "--json") == 0;
    if (a->edit.act == KEYRING_ROTATE)
        return strcmp(flag, "--grace") == 0;
    return a->edit.act == KEYRING_CREATE && strcmp(flag, "--grace") != 0 &&
           strcmp(flag, "--json") != 0;
}

static int read_args(struct keys_ask *a, int argc, char **argv)
{
    const char *name = NULL, *what;

    for (int i = 2; i < argc; i++) {
        if (argv[i][0] != '-' && name == NULL && !a->list)
            name = argv[i];
        else if (argv[i][0] != '-')
            return cli_usage("keys", a->list ? "list takes no name" : "one name at a time");
        else if (!flag_is_of(a, argv[i]))
            return cli_usage("keys", "no such flag here");
        else if (strcmp(argv[i], "--json") == 0)
            a->json = true;
        else if (strcmp(argv[i], "--admin") == 0)
            a->edit.want.admin = true;
        else if (i + 1 == argc)
            return cli_usage("keys", "a value must follow");
        else if (!read_flag(a, argv[i], argv[i + 1], &what))
            return cli_usage("keys", "no such flag here");
        else if (what != NULL)
            return cli_usage("keys", what);
        else
            i++;
    }
    if (a->gateway != NULL && a->state_dir[0] != '\0')
        return cli_usage("keys", "either --gateway or --state-dir");
    if (a->list)
        return CLI_OK;
    if (name == NULL)
        return cli_usage("keys", a->edit.act == KEYRING_CREATE ? "a name for the key must follow"
                                                               : "which key? say its name or id");
    if (a->edit.act == KEYRING_CREATE && (what = keyring_name_fault(name)) != NULL)
        return cli_usage("keys", what);
    rm_text_copy(a->edit.want.name, KEYRING_NAME, a->edit.act == KEYRING_CREATE ? name : "");
    rm_text_copy(a->edit.which, KEYRING_NAME, name);
    return CLI_OK;
}

/* ---- printing ---- */

void keys_print_new(const char *text, const char *name, const char *id)
{
    char shown[2][ASK_TEXT_MAX];

    fprintf(stderr, "key '%s' (%s); it is shown this once only:\n", ask_shown(name, shown[0]),
            ask_shown(id, shown[1]));
    fflush(stderr);
    printf("%s\n", text);
}

static void print_time(const json_t *key, const char *member)
{
    time_t at = (time_t)json_integer_value(json_object_get(key, member));
    struct tm tm;
    char text[32];

    if (at == 0 || gmtime_r(&at, &tm) == NULL)
        rm_text_copy(text, sizeof text, "-");
    else
        strftime(text, sizeof text, "%Y-%m-%d %H:%MZ", &tm);
    printf("%-18s", text);
}

static void print_names(const json_t *list, int width)
{
    char text[200] = "", shown[ASK_TEXT_MAX];
    const json_t *item;
    size_t i, n = 0;

    json_array_foreach(list, i, item) if (n < sizeof text - 1) n +=
        (size_t)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? "," : "",
                         ask_shown(json_string_value(item), shown));
    printf("%-*s ", width, text[0] != '\0' ? text : "all");
}

static void print_limits(const json_t *key)
{
    static const char *const names[][2] = {{"requests_per_min", "requests/min"},
                                           {"concurrency", "at once"},
                                           {"tokens_per_min", "tokens/min"},
                                           {"tokens_per_day", "tokens/day"}};
    bool any = false;

    for (size_t i = 0; i < RM_COUNT(names); i++) {
        long long n = json_integer_value(json_object_get(key, names[i][0]));

        if (n == 0)
            continue;
        printf("%s%lld %s", any ? ", " : "", n, names[i][1]);
        any = true;
    }
    puts(any ? "" : "-");
}

void keys_print_list(const json_t *keys, bool json)
{
    char name[ASK_TEXT_MAX], id[ASK_TEXT_MAX], state[ASK_TEXT_MAX];
    const json_t *k;
    size_t i;

    if (json) {
        json_dumpf(keys, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    printf("%-20s %-13s %-8s %-6s %-18s%-18s%-20s %-14s %s\n", "NAME", "ID", "STATE", "ADMIN",
           "CREATED", "EXPIRES", "ROLES", "LANES", "LIMITS");
    json_array_foreach(keys, i, k)
    {
        printf("%-20s %-13s %-8s %-6s ",
               ask_shown(json_string_value(json_object_get(k, "name")), name),
               ask_shown(json_string_value(json_object_get(k, "id")), id),
               ask_shown(json_string_value(json_object_get(k, "state")), state),
               json_is_true(json_object_get(k, "admin")) ? "yes" : "-");
        print_time(k, "created_s");
        print_time(k, "expires_s");
        print_names(json_object_get(k, "roles"), 20);
        print_names(json_object_get(k, "lanes"), 14);
        print_limits(k);
    }
}

/* ---- in a state directory ---- */

static int list_here(const struct keys_ask *a)
{
    char why[KEYRING_WHY_MAX];
    struct keyring ring;
    struct rm_buf text;
    struct rm_jw w;
    json_t *keys;

    if (keyring_load(a->state_dir, &ring, why) < 0) {
        fprintf(stderr, "rolemesh keys: %s\n", why);
        return CLI_BAD;
    }
    rm_buf_init(&text, 16 << 20);
    w = rm_jw_to(&text);
    rm_jw_arr(&w, NULL);
    for (size_t i = 0; i < ring.n; i++) {
        rm_jw_obj(&w, NULL);
        api_key_put(&w, &ring.keys[i]);
        rm_jw_str(&w, "state", api_key_state(&ring.keys[i], a->edit.now_s));
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    keys = rm_jw_done(&w) == 0 ? json_loadb(text.data, text.len, 0, NULL) : NULL;
    rm_buf_clear(&text);
    keyring_clear(&ring);
    if (keys == NULL)
        return CLI_FAILED;
    keys_print_list(keys, a->json);
    json_decref(keys);
    return CLI_OK;
}

static int edit_here(struct keys_ask *a)
{
    char why[KEYRING_WHY_MAX] = "";
    int r = rm_state_dir_make(a->state_dir);

    if (r < 0) {
        fprintf(stderr, "rolemesh keys: %s: %s\n", a->state_dir, rm_strerror(r));
        return CLI_FAILED;
    }
    if ((r = keyring_change(a->state_dir, keyring_edit_do, &a->edit, why)) < 0) {
        fprintf(stderr, "rolemesh keys: %s\n",
                a->edit.why != NULL ? a->edit.why
                : why[0] != '\0'    ? why
                                    : rm_strerror(r));
        return r == RM_ERR_FIELD || r == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
    }
    if (a->edit.act == KEYRING_REVOKE)
        fprintf(stderr, "key '%s' (%s) is revoked\n", a->edit.done.name, a->edit.done.id);
    else
        keys_print_new(a->edit.text, a->edit.done.name, a->edit.done.id);
    fprintf(stderr, "in %s: a gateway with this state directory takes it over within two seconds\n",
            a->state_dir);
    return CLI_OK;
}

/* ---- the command ---- */

int keys_command(int argc, char **argv)
{
    static const char *const verbs[] = {"create", "revoke", "rotate", "list"};
    struct keys_ask a = {.edit = {.now_s = (uint64_t)time(NULL)}};
    size_t verb = 0;
    int r;

    while (verb < RM_COUNT(verbs) && strcmp(argv[1], verbs[verb]) != 0)
        verb++;
    if (verb == RM_COUNT(verbs))
        return cli_usage("keys", "say create, list, revoke, rotate or --config");
    a.list = verb == 3;
    a.edit.act = a.list ? KEYRING_CREATE : (enum keyring_act)verb;
    if ((r = read_args(&a, argc, argv)) != CLI_OK)
        return r;
    if (sodium_init() < 0)
        return CLI_FAILED;
    if (a.gateway != NULL)
        r = keys_over_api(&a);
    else if (a.state_dir[0] == '\0' && rm_state_dir_default("gateway", a.state_dir) < 0)
        r = cli_usage("keys", "no place for the state: say --state-dir or --gateway");
    else
        r = a.list ? list_here(&a) : edit_here(&a);
    keyring_edit_clear(&a.edit);
    return r;
}
