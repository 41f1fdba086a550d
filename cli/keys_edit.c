/* SPDX-License-Identifier: MIT */
/* cli/keys_edit.c - see keys_edit.h. */
#include "cli/keys_edit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"
#include "proto/base/json_write.h"
#include "proto/conf/role_map.h"
#include "proto/trust/keyring_file.h"

/* ---- arguments ---- */

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

/* What the options wish for. Returns NULL, or what is wrong. */
static const char *read_wish(const struct cli_args *args, struct keys_ask *a)
{
    const char *roles = cli_text(args, "roles"), *lanes = cli_text(args, "lanes"), *what = NULL;
    struct api_key *k = &a->edit.want;

    k->admin = cli_has(args, "admin");
    if (cli_has(args, "expires"))
        k->expires_s = a->edit.now_s + cli_number(args, "expires", 0) / 1000;
    k->requests_per_min = (uint32_t)cli_number(args, "requests-per-minute", 0);
    k->concurrency = (uint32_t)cli_number(args, "concurrency", 0);
    k->tokens_per_min = cli_number(args, "tokens-per-minute", 0);
    k->tokens_per_day = cli_number(args, "tokens-per-day", 0);
    if (roles != NULL)
        what = read_roles(roles, k);
    if (what == NULL && lanes != NULL)
        what = read_lanes(lanes, k);
    return what;
}

static int read_args(const struct cli_args *args, struct keys_ask *a)
{
    const char *dir = cli_text(args, "state-dir"), *name = cli_word(args, 0), *what = NULL;

    a->gateway = cli_has(args, "gateway") ? cli_gateway(args) : NULL;
    rm_text_copy(a->state_dir, sizeof a->state_dir, dir != NULL ? dir : "");
    if (a->gateway != NULL && dir != NULL)
        return cli_usage(args->command->name, "either --gateway or --state-dir");
    if (a->list)
        return CLI_OK;
    if (a->edit.act == KEYRING_CREATE && (what = read_wish(args, a)) == NULL)
        what = keyring_name_fault(name);
    if (what != NULL)
        return cli_usage(args->command->name, "%s", what);
    if (a->edit.act == KEYRING_ROTATE)
        a->edit.grace_s = cli_number(args, "grace", 0) / 1000;
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

static const struct grid_column columns[] = {
    {"NAME", false, false, 32},        {"ID", false, false, 0},
    {"STATE", false, false, 0},        {"ADMIN", false, GRID_SPARE, 0},
    {"CREATED", false, GRID_SPARE, 0}, {"EXPIRES", false, false, 0},
    {"ROLES", false, false, 40},       {"LANES", false, false, 0},
    {"NOW", true, GRID_SPARE, 0},      {"TODAY", true, GRID_SPARE, 0},
    {"LIMITS", false, false, 0},
};

static void add_time(struct grid *g, const json_t *key, const char *member)
{
    time_t at = (time_t)json_integer_value(json_object_get(key, member));
    char text[32] = "";
    struct tm tm;

    if (at != 0 && gmtime_r(&at, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%d %H:%MZ", &tm);
    grid_add(g, TERM_PLAIN, "%s", text);
}

static void add_names(struct grid *g, const json_t *list)
{
    char text[GRID_CELL_MAX];

    show_words(list, text, sizeof text);
    grid_add(g, TERM_PLAIN, "%s", json_array_size(list) > 0 ? text : "all");
}

static void add_limits(struct grid *g, const json_t *key)
{
    static const char *const names[][2] = {{"requests_per_min", "requests/min"},
                                           {"concurrency", "at once"},
                                           {"tokens_per_min", "tokens/min"},
                                           {"tokens_per_day", "tokens/day"}};
    char text[256] = "";
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(names); i++) {
        long long most = json_integer_value(json_object_get(key, names[i][0]));

        if (most > 0)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld %s", n > 0 ? ", " : "", most,
                                  names[i][1]);
    }
    grid_add(g, TERM_PLAIN, "%s", text);
}

static void add_key(struct grid *g, const json_t *k)
{
    const char *state = json_string_value(json_object_get(k, "state"));
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX];

    grid_add(g, TERM_PLAIN, "%s", api_text(k, "name", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(k, "id", text));
    grid_add(g, show_color(state), "%s", state != NULL ? state : "-");
    grid_add(g, TERM_PLAIN, "%s", api_true(k, "admin") ? "yes" : "-");
    add_time(g, k, "created_s");
    add_time(g, k, "expires_s");
    add_names(g, json_object_get(k, "roles"));
    add_names(g, json_object_get(k, "lanes"));
    for (int i = 0; i < 2; i++) { /* a state directory does not tell what runs */
        const char *member = i == 0 ? "running" : "tokens_today";

        grid_add(g, TERM_PLAIN, "%s",
                 api_null(k, member) ? "-" : human_count(api_u64(k, member), cell));
    }
    add_limits(g, k);
}

int keys_print_list(const struct cli_args *args, const json_t *keys)
{
    struct term t;
    struct grid g;
    const json_t *k;
    size_t i;
    int r;

    if (cli_wants_json(args)) {
        api_print(keys, stdout, false);
        return CLI_OK;
    }
    term_look(args, &t);
    grid_init(&g, columns, RM_COUNT(columns));
    g.none = "no keys";
    json_array_foreach(keys, i, k) add_key(&g, k);
    r = grid_print(&g, &t, cli_wants_wide(args));
    grid_clear(&g);
    return r == 0 ? CLI_OK : cli_failed(args->command->name, "%s", rm_strerror(r));
}

/* ---- in a state directory ---- */

static int list_here(const struct keys_ask *a)
{
    char why[KEYRING_WHY_MAX];
    struct keyring ring;
    struct rm_buf text;
    struct rm_jw w;
    json_t *keys;
    int r;

    if (keyring_load(a->state_dir, &ring, why) < 0) {
        cli_failed("keys", "%s", why);
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
    r = keys_print_list(a->args, keys);
    json_decref(keys);
    return r;
}

static int edit_here(struct keys_ask *a)
{
    char why[KEYRING_WHY_MAX] = "";
    int r = rm_state_dir_make(a->state_dir);

    if (r < 0) {
        return cli_failed("keys", "%s: %s", a->state_dir, rm_strerror(r));
    }
    if ((r = keyring_change(a->state_dir, keyring_edit_do, &a->edit, why)) < 0) {
        cli_failed("keys", "%s",
                   a->edit.why != NULL ? a->edit.why
                   : why[0] != '\0'    ? why
                                       : rm_strerror(r));
        return r == RM_ERR_FIELD || r == RM_ERR_STATE || r == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
    }
    if (a->edit.act == KEYRING_REVOKE)
        fprintf(stderr, "key '%s' (%s) is revoked\n", a->edit.done.name, a->edit.done.id);
    else
        keys_print_new(a->edit.text, a->edit.done.name, a->edit.done.id);
    fprintf(stderr, "in %s: a gateway with this state directory takes it over within two seconds\n",
            a->state_dir);
    return CLI_OK;
}

/* ---- the commands ---- */

static int keys_do(const struct cli_args *args, bool list, enum keyring_act act)
{
    struct keys_ask a = {
        .args = args, .list = list, .edit = {.act = act, .now_s = (uint64_t)time(NULL)}};
    int r = read_args(args, &a);

    if (r != CLI_OK)
        return r;
    if (sodium_init() < 0)
        return CLI_FAILED;
    if (a.gateway != NULL)
        r = keys_over_api(&a);
    else if (a.state_dir[0] == '\0' && rm_state_dir_default("gateway", a.state_dir) < 0)
        r = cli_usage(args->command->name, "no place for the state: say --state-dir or --gateway");
    else
        r = a.list ? list_here(&a) : edit_here(&a);
    keyring_edit_clear(&a.edit);
    return r;
}

static int create_run(const struct cli_args *args)
{
    return keys_do(args, false, KEYRING_CREATE);
}

static int list_run(const struct cli_args *args)
{
    return keys_do(args, true, KEYRING_CREATE);
}

static int revoke_run(const struct cli_args *args)
{
    return keys_do(args, false, KEYRING_REVOKE);
}

static int rotate_run(const struct cli_args *args)
{
    return keys_do(args, false, KEYRING_ROTATE);
}

#define STATE_DIR                                                                                  \
    {                                                                                              \
        .name = "state-dir", .kind = CLI_STRING, .value = "DIR", .complete = CLI_COMPLETE_DIR,     \
        .help = "the gateway's state directory, where keys are changed unless --gateway is said"   \
    }

static const struct cli_option create_options[] = {
    {.name = "admin", .kind = CLI_FLAG, .help = "may act on the ops API"},
    {.name = "roles",
     .kind = CLI_STRING,
     .value = "A,B",
     .complete = CLI_COMPLETE_ROLE,
     .help = "these roles alone (default: every one)"},
    {.name = "lanes",
     .kind = CLI_STRING,
     .value = "A,B",
     .help = "of autocomplete, interactive, batch these alone"},
    {.name = "expires",
     .kind = CLI_DURATION,
     .value = "TIME",
     .min = 1000,
     .help = "how long it is good, such as 30d (default: for ever)"},
    {.name = "requests-per-minute",
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = UINT32_MAX,
     .help = "requests in any minute"},
    {.name = "concurrency",
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = UINT32_MAX,
     .help = "requests at one time, waiting ones too"},
    {.name = "tokens-per-minute",
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 1ULL << 53,
     .help = "tokens of prompts (but for what a cache gave) and answers"},
    {.name = "tokens-per-day",
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 1ULL << 53,
     .help = "the same per UTC day"},
    STATE_DIR,
    {NULL},
};

static const struct cli_option plain_options[] = {STATE_DIR, {NULL}};

static const struct cli_option rotate_options[] = {
    {.name = "grace",
     .kind = CLI_DURATION,
     .value = "TIME",
     .max = 366ULL * 86400000,
     .help = "how long the old key stays good, such as 1h (default: not at all)"},
    STATE_DIR,
    {NULL},
};

const struct cli_command cli_keys_create = {
    .name = "keys create",
    .group = CLI_PREPARE,
    .summary = "make a key; it is shown this once",
    .about = "The key goes to stdout alone, what is said about it to stderr.",
    .examples = "KEY=$(rolemesh keys create laptop --roles code,ask --expires 90d)\n",
    .common = CLI_ASKS,
    .options = create_options,
    .operands = {{"NAME", false, false, "a name for the key must follow", CLI_COMPLETE_NONE, NULL}},
    .run = create_run,
};

const struct cli_command cli_keys_list = {
    .name = "keys list",
    .group = CLI_PREPARE,
    .summary = "the keys with their rights and limits, revoked ones too",
    .about =
        "NOW is requests at this time, TODAY tokens since midnight UTC; both are known only to "
        "the gateway itself (--gateway).",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE,
    .options = plain_options,
    .run = list_run,
};

const struct cli_command cli_keys_revoke = {
    .name = "keys revoke",
    .group = CLI_PREPARE,
    .summary = "end a key; requests that run with it go on",
    .common = CLI_ASKS,
    .options = plain_options,
    .operands = {{"NAME|ID", false, false, "which key? say its name or id", CLI_COMPLETE_KEY,
                  NULL}},
    .run = revoke_run,
};

const struct cli_command cli_keys_rotate = {
    .name = "keys rotate",
    .group = CLI_PREPARE,
    .summary = "a new key with the name and rights of another, which ends",
    .examples = "rolemesh keys rotate laptop --grace 1h\n",
    .common = CLI_ASKS,
    .options = rotate_options,
    .operands = {{"NAME|ID", false, false, "which key? say its name or id", CLI_COMPLETE_KEY,
                  NULL}},
    .run = rotate_run,
};
