/* SPDX-License-Identifier: MIT */
/* cli/keys_ask.c - `rolemesh keys` over a gateway's API: GET, POST and DELETE of /api/v1/keys
 * (proto/openapi.yaml). One thread. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/keys_edit.h"
#include "proto/base/json_write.h"
#include "proto/conf/role_map.h"

enum { KEYS_DEADLINE_MS = 30000, TARGET_MAX = 512, BODY_MAX = 16 * 1024, PAGES_MAX = 20 };

/* Asks. *answer: an object, or NULL after saying what is wrong. Returns the exit code. */
static int api_ask(const struct keys_ask *a, const char *method, const char *target,
                   struct rm_slice body, json_t **answer)
{
    const struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    struct http_address address;
    struct ask ask = {.address = &address,
                      .method = method,
                      .target = target,
                      .fields = &type,
                      .n_fields = body.p != NULL,
                      .body = body,
                      .deadline_ms = KEYS_DEADLINE_MS,
                      .to_gateway = true};
    char shown[ASK_TEXT_MAX];
    struct rm_buf got;
    int status, r;

    *answer = NULL;
    if (ask_address(a->gateway, &address) < 0)
        return cli_usage("keys", "--gateway is http://HOST:PORT, not '%s'", a->gateway);
    r = ask_run(&ask, &status, &got);
    if (r == 0)
        *answer = json_loadb(got.data != NULL ? got.data : "", got.len, JSON_ALLOW_NUL, NULL);
    if (got.data != NULL)
        sodium_memzero(got.data, got.len);
    rm_buf_clear(&got);
    if (r == 0 && (status == 200 || status == 201) && json_is_object(*answer))
        return CLI_OK;
    if (r < 0)
        cli_failed("keys", "%s: %s; start rolemesh-gateway, or say --state-dir", a->gateway,
                   rm_strerror(r));
    else
        cli_failed("keys", "%s answered %d: %s", a->gateway, status,
                   ask_shown(json_string_value(json_object_get(*answer, "detail")), shown));
    json_decref(*answer);
    *answer = NULL;
    return r == 0 && (status == 400 || status == 409) ? CLI_BAD : CLI_FAILED;
}

static int api_list(const struct keys_ask *a)
{
    char target[TARGET_MAX] = "/api/v1/keys?limit=500";
    json_t *all = json_array(), *page = NULL;
    int r = CLI_OK;

    for (int i = 0; r == CLI_OK && i < PAGES_MAX && target[0] != '\0'; i++) {
        const char *next;

        if ((r = api_ask(a, "GET", target, (struct rm_slice){NULL, 0}, &page)) != CLI_OK)
            break;
        json_array_extend(all, json_object_get(page, "keys"));
        next = json_string_value(json_object_get(page, "next"));
        target[0] = '\0';
        if (next != NULL && strspn(next, "k_0123456789abcdef") == strlen(next))
            snprintf(target, sizeof target, "/api/v1/keys?limit=500&cursor=%s", next);
        json_decref(page);
    }
    if (r == CLI_OK)
        r = keys_print_list(a->args, all);
    json_decref(all);
    return r;
}

static void put_wish(struct rm_jw *w, const struct api_key *k)
{
    rm_jw_str(w, "name", k->name);
    rm_jw_bool(w, "admin", k->admin);
    rm_jw_u64(w, "expires_s", k->expires_s);
    rm_jw_u64(w, "requests_per_min", k->requests_per_min);
    rm_jw_u64(w, "concurrency", k->concurrency);
    rm_jw_u64(w, "tokens_per_min", k->tokens_per_min);
    rm_jw_u64(w, "tokens_per_day", k->tokens_per_day);
    rm_jw_arr(w, "roles");
    for (uint32_t i = 0; i < k->n_roles; i++)
        rm_jw_str(w, NULL, k->roles[i]);
    rm_jw_end(w);
    rm_jw_arr(w, "lanes");
    for (int lane = MAP_LANE_AUTOCOMPLETE; lane <= MAP_LANE_BATCH; lane++)
        if ((k->lanes & 1u << lane) != 0)
            rm_jw_str(w, NULL, map_lane_name((enum map_lane)lane));
    rm_jw_end(w);
}

/* A name as a path segment: what may not stand there is escaped. */
static void target_of(const char *which, const char *more, char out[TARGET_MAX])
{
    size_t n = (size_t)snprintf(out, TARGET_MAX, "/api/v1/keys/");

    for (; *which != '\0' && n + 16 < TARGET_MAX; which++) {
        bool plain = (*which >= 'a' && *which <= 'z') || (*which >= 'A' && *which <= 'Z') ||
                     (*which >= '0' && *which <= '9') || strchr("._-", *which) != NULL;

        n += (size_t)snprintf(out + n, TARGET_MAX - n, plain ? "%c" : "%%%02X",
                              plain ? *which : (unsigned char)*which);
    }
    snprintf(out + n, TARGET_MAX - n, "%s", more);
}

static int api_edit(struct keys_ask *a)
{
    char target[TARGET_MAX] = "/api/v1/keys", shown[2][ASK_TEXT_MAX];
    struct rm_buf body;
    struct rm_jw w;
    struct rm_slice bytes = {NULL, 0};
    const char *key, *name, *id;
    json_t *answer;
    int r;

    rm_buf_init(&body, BODY_MAX);
    if (a->edit.act != KEYRING_CREATE)
        target_of(a->edit.which, a->edit.act == KEYRING_ROTATE ? "/rotate" : "", target);
    if (a->edit.act != KEYRING_REVOKE) {
        w = rm_jw_to(&body);
        rm_jw_obj(&w, NULL);
        if (a->edit.act == KEYRING_CREATE)
            put_wish(&w, &a->edit.want);
        else
            rm_jw_u64(&w, "grace_s", a->edit.grace_s);
        rm_jw_end(&w);
        bytes = rm_jw_done(&w) == 0 ? (struct rm_slice){body.data, body.len} : RM_LIT("");
    }
    r = api_ask(a, a->edit.act == KEYRING_REVOKE ? "DELETE" : "POST", target, bytes, &answer);
    rm_buf_clear(&body);
    if (r != CLI_OK)
        return r;
    key = json_string_value(json_object_get(answer, "key"));
    name = json_string_value(json_object_get(answer, "name"));
    id = json_string_value(json_object_get(answer, "id"));
    if (key != NULL && strlen(key) == API_KEY_TEXT)
        keys_print_new(key, name, id);
    else
        fprintf(stderr, "key '%s' (%s) is revoked\n", ask_shown(name, shown[0]),
                ask_shown(id, shown[1]));
    json_decref(answer);
    return CLI_OK;
}

int keys_over_api(struct keys_ask *a)
{
    return a->list ? api_list(a) : api_edit(a);
}
