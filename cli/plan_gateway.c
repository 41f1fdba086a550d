/* SPDX-License-Identifier: MIT */
/* cli/plan_gateway.c - asks a gateway for its plan, or what an edited map would come to; prints the
 * answer as plan_show.c prints one that was made here. Nothing is changed anywhere. One thread. */
#include "cli/plan_gateway.h"

#include <errno.h>
#include <string.h>

#include "cli/api.h"
#include "cli/apply.h"

enum { MAP_MAX = 1 << 20, TRIAL_DEADLINE_MS = 60000, BAR_CELLS = 48 };

static double gib(const json_t *o, const char *key)
{
    return (double)api_u64(o, key) / (double)(UINT64_C(1) << 30);
}

static bool is_word(const json_t *o, const char *key, const char *word)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL && strcmp(text, word) == 0;
}

/* ---- a plan ---- */

/* Each part ends at its rounded place: the bar is as long as the machine is large. */
static void show_bar(const json_t *node)
{
    static const char *const parts[] = {"weights", "kv", "compute", "other"};
    uint64_t sums[5] = {0}, total = api_u64(node, "total") + api_u64(node, "swap"), sum = 0;
    const json_t *host;
    size_t i, at = 0;

    json_array_foreach(json_object_get(node, "hosts"), i,
                       host) for (size_t p = 0; p < 4 && !is_word(host, "action", "stop"); p++)
        sums[p] += api_u64(host, parts[p]);
    sums[4] = api_u64(node, "free");
    printf("  [");
    for (i = 0; i < 5 && total > 0; i++) {
        sum += sums[i];
        for (; at < (size_t)((double)sum / (double)total * BAR_CELLS + 0.5) && at < BAR_CELLS; at++)
            putchar("WKCO."[i]);
    }
    for (; at < BAR_CELLS; at++)
        putchar('R');
    puts("]");
}

static void show_host(const json_t *host)
{
    char action[ASK_TEXT_MAX], role[ASK_TEXT_MAX], reason[ASK_TEXT_MAX];

    printf("  %-5s %-16s %6.1f GiB", api_text(host, "action", action), api_text(host, "role", role),
           gib(host, "bytes"));
    if (!is_word(host, "action", "stop")) {
        printf(" = weights %.1f + KV %.1f + compute %.1f", gib(host, "weights"), gib(host, "kv"),
               gib(host, "compute"));
        if (api_u64(host, "other") > 0)
            printf(" + other %.1f", gib(host, "other"));
        if (api_true(host, "measured") || api_true(host, "estimated"))
            fputs(api_true(host, "measured") ? " (measured)" : " (at least)", stdout);
    }
    printf("; %s\n", api_text(host, "reason", reason));
}

static void show_node(const json_t *node)
{
    char name[ASK_TEXT_MAX], text[ASK_TEXT_MAX];
    const json_t *item;
    size_t i;

    if (api_null(node, "silent"))
        printf("%s: %.1f GiB: hosts %.1f, free %.1f, reserve %.1f\n", api_text(node, "node", name),
               gib(node, "total"), gib(node, "used"), gib(node, "free"), gib(node, "reserve"));
    else
        printf("%s: not planned with: %s\n", api_text(node, "node", name),
               api_text(node, "silent", text));
    if (api_null(node, "silent"))
        show_bar(node);
    json_array_foreach(json_object_get(node, "hosts"), i, item) show_host(item);
    json_array_foreach(json_object_get(node, "cannot_host"), i, item) printf(
        "  %-5s %-16s %s\n", "not", api_text(item, "role", name), api_text(item, "why", text));
    json_array_foreach(json_object_get(node, "not_in_map"), i, item)
        printf("  %-5s %-16s the role map has no such role\n", "stop",
               ask_shown(json_string_value(item), name));
    if (api_u64(node, "swap") > 0)
        printf("  warning: %.1f GiB of this do not fit into memory and will lie in swap\n",
               gib(node, "swap"));
}

static void show_lack(const json_t *lack)
{
    char role[ASK_TEXT_MAX];

    api_text(lack, "role", role);
    if (is_word(lack, "what", "host"))
        printf("no host: %s (%.1f GiB)\n", role, gib(lack, "bytes"));
    else if (is_word(lack, "what", "replicas"))
        printf("fewer hosts than it wants: %s (%.1f GiB each)\n", role, gib(lack, "bytes"));
    else
        printf("no room left: %s (on-demand, %.1f GiB) cannot be loaded beside the others\n", role,
               gib(lack, "bytes"));
}

static void show_way(const json_t *way)
{
    const json_t *value = json_object_get(way, "value");
    char role[ASK_TEXT_MAX], key[ASK_TEXT_MAX], text[ASK_TEXT_MAX];

    api_text(way, "role", role);
    if (json_is_integer(value))
        printf("way out: role '%s': %s: %" JSON_INTEGER_FORMAT "\n", role,
               api_text(way, "key", key), json_integer_value(value));
    else if (is_word(way, "key", "node"))
        printf("way out: let role '%s' also use node '%s'\n", role, api_text(way, "value", text));
    else
        printf("way out: role '%s': %s: %s\n", role, api_text(way, "key", key),
               api_text(way, "value", text));
}

static void show_conflict(const json_t *conflict)
{
    char text[ASK_TEXT_MAX];
    const json_t *role;
    size_t i;

    if (!json_is_object(conflict))
        return;
    fputs("cannot be hosted together:", stdout);
    json_array_foreach(json_object_get(conflict, "roles"), i, role)
        printf(" %s", ask_shown(json_string_value(role), text));
    puts(api_true(conflict, "smallest") ? "; no smaller set is in conflict" : "");
    if (!api_null(conflict, "node"))
        printf("missing: %llu bytes (%.1f GiB) on %s\n",
               (unsigned long long)api_u64(conflict, "missing"), gib(conflict, "missing"),
               api_text(conflict, "node", text));
}

static void show_plan(const json_t *plan)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(plan, "nodes"), i, item) show_node(item);
    puts("bar: W weights, K KV cache and state, C compute, O other, . free, R reserve");
    json_array_foreach(json_object_get(plan, "lacks"), i, item) show_lack(item);
    show_conflict(json_object_get(plan, "conflict"));
    json_array_foreach(json_object_get(plan, "ways_out"), i, item) show_way(item);
    printf("%s%s\n", api_true(plan, "fits") ? "fits" : "does not fit",
           api_true(plan, "exact") ? "; no plan is better"
                                   : "; the best plan found, a better one is not ruled out");
}

/* ---- the gateway's own ---- */

static int show_plans(const struct api *api, bool json)
{
    const json_t *current, *proposed;
    json_t *plans;
    int r = api_get(api, "/api/v1/plan", &plans);

    if (r != CLI_OK)
        return r;
    current = json_object_get(plans, "current");
    proposed = json_object_get(plans, "proposed");
    if (json) {
        api_print(plans, stdout, false);
    } else {
        show_plan(current);
        if (json_is_object(proposed)) {
            puts("\nThe map solved as a whole would be better; the gateway stops no host for it:");
            show_plan(proposed);
        }
    }
    r = api_true(current, "fits") ? CLI_OK : CLI_FAILED;
    json_decref(plans);
    return r;
}

/* ---- an edited map ---- */

static int read_map(const char *file, struct rm_buf *out)
{
    FILE *f = fopen(file, "rb");
    char bytes[16384];
    int r = 0;
    size_t n;

    rm_buf_init(out, MAP_MAX + sizeof bytes);
    if (f == NULL) {
        cli_failed("plan", "%s: %s", file, strerror(errno));
        return CLI_BAD;
    }
    while (r == 0 && out->len <= MAP_MAX && (n = fread(bytes, 1, sizeof bytes, f)) > 0)
        r = rm_buf_put(out, bytes, n);
    if (r < 0 || ferror(f)) {
        cli_failed("plan", "%s: %s", file, r < 0 ? rm_strerror(r) : "cannot be read");
        r = CLI_BAD;
    }
    fclose(f);
    return r;
}

/* Sends it. Returns CLI_OK with the status and maybe JSON, or says why there is no answer. */
static int try_map(const struct api *api, const char *file, const struct rm_buf *map, int *status,
                   json_t **answer)
{
    const struct http_out_field fields[] = {{"Content-Type", RM_LIT("application/yaml")},
                                            {"X-Rolemesh-File", rm_slice_of(file)}};
    const struct ask ask = {.address = &api->address,
                            .method = "POST",
                            .target = "/api/v1/plan",
                            .fields = fields,
                            .n_fields = RM_COUNT(fields),
                            .body = {map->data != NULL ? map->data : "", map->len},
                            .deadline_ms = TRIAL_DEADLINE_MS,
                            .to_gateway = true};
    struct rm_buf body;
    int r = ask_run(&ask, status, &body);

    *answer = r == 0 ? json_loadb(body.data != NULL ? body.data : "", body.len, 0, NULL) : NULL;
    rm_buf_clear(&body);
    if (r == 0)
        return CLI_OK;
    return cli_failed(api->command,
                      "%s: %s; start rolemesh-gateway, or name another with --gateway "
                      "URL",
                      api->url, rm_strerror(r));
}

static void show_trial(const json_t *answer)
{
    json_t *changes = json_pack("{s:O, s:O?, s:O?}", "changes", json_object_get(answer, "diff"),
                                "offered_revision", json_object_get(answer, "offered_revision"),
                                "file_revision", json_object_get(answer, "revision"));
    char role[ASK_TEXT_MAX], node[ASK_TEXT_MAX];
    const json_t *item;
    size_t i;

    puts("against the map that runs:");
    apply_print_changes(changes);
    json_decref(changes);
    show_plan(json_object_get(answer, "plan"));
    json_array_foreach(json_object_get(answer, "unknown"), i, item)
        printf("unknown: what %s would take on %s: its worker did not say\n",
               api_text(item, "role", role), api_text(item, "node", node));
}

static int tell_trial(const struct api *api, int status, const json_t *answer, bool json)
{
    const char *lines = json_string_value(json_object_get(answer, "text"));

    if (json && answer != NULL)
        api_print(answer, stdout, false);
    if (status == 422 && lines != NULL) {
        ask_print_lines(lines, stderr);
        return CLI_BAD;
    }
    if (status != 200 || !json_is_object(json_object_get(answer, "plan")))
        return api_refused(api, "/api/v1/plan", status, answer);
    if (!json)
        show_trial(answer);
    return api_true(json_object_get(answer, "plan"), "fits") ? CLI_OK : CLI_FAILED;
}

int plan_gateway(const struct cli_args *args, const char *map)
{
    bool json = cli_wants_json(args);
    json_t *answer = NULL;
    struct rm_buf text;
    struct api api;
    int status, r = api_open(args, &api);

    if (r != CLI_OK)
        return r;
    if (map == NULL)
        return show_plans(&api, json);
    if ((r = read_map(map, &text)) == CLI_OK &&
        (r = try_map(&api, map, &text, &status, &answer)) == CLI_OK)
        r = tell_trial(&api, status, answer, json);
    rm_buf_clear(&text);
    json_decref(answer);
    return r;
}
