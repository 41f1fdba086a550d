/* SPDX-License-Identifier: MIT */
/* cli/api.c - see api.h. */
#include "cli/api.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

int api_open(const struct cli_args *args, struct api *out)
{
    *out = (struct api){
        .command = args->command->name, .url = cli_gateway(args), .deadline_ms = API_DEADLINE_MS};
    if (ask_address(out->url, &out->address) < 0)
        return cli_usage(out->command, "%s is http://HOST:PORT or unix:PATH, not '%s'",
                         cli_text(args, "gateway") != NULL ? "--gateway" : "ROLEMESH_GATEWAY",
                         out->url);
    return CLI_OK;
}

/* ---- asking ---- */

/* An answer that is no 2xx, or no object. */
int api_refused(const struct api *api, const char *target, int status, const json_t *answer)
{
    const char *detail = json_string_value(json_object_get(answer, "detail"));

    if (api->quiet)
        return CLI_FAILED;
    if (status >= 200 && status < 300)
        return cli_failed(api->command, "%s: the answer is not JSON; is this a gateway?", api->url);
    if (detail == NULL)
        return cli_failed(api->command, "%s%s answered %d; is this a gateway of this version?",
                          api->url, target, status);
    cli_failed(api->command, "%s answered %d: %s%s", api->url, status, detail,
               status == 401   ? "; give a key with --key-file FILE or ROLEMESH_KEY"
               : status == 403 ? "; an admin's key may, with --key-file FILE or ROLEMESH_KEY"
                               : "");
    return status == 400 ? CLI_BAD : CLI_FAILED;
}

int api_call(const struct api *api, const char *method, const char *target, struct rm_slice body,
             int *status, json_t **out)
{
    const struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    struct ask ask = {.address = &api->address,
                      .method = method,
                      .target = target,
                      .fields = &type,
                      .n_fields = body.p != NULL,
                      .body = body,
                      .deadline_ms = api->deadline_ms,
                      .to_gateway = true};
    struct rm_buf got;
    int r;

    *out = NULL;
    *status = 0;
    if (target[0] != '/')
        return api->quiet ? CLI_BAD : cli_usage(api->command, "a name is empty or too long");
    r = ask_run(&ask, status, &got);
    if (r == 0)
        *out = json_loadb(got.data != NULL ? got.data : "", got.len, JSON_ALLOW_NUL, NULL);
    rm_buf_clear(&got);
    if (r == 0)
        return CLI_OK;
    if (!api->quiet)
        cli_failed(api->command,
                   "%s: %s; start rolemesh-gateway, or name another with --gateway URL", api->url,
                   rm_strerror(r));
    return CLI_FAILED;
}

int api_ask(const struct api *api, const char *method, const char *target, struct rm_slice body,
            json_t **out)
{
    int status, r = api_call(api, method, target, body, &status, out);

    if (r != CLI_OK)
        return r;
    if (status >= 200 && status < 300 && json_is_object(*out))
        return CLI_OK;
    r = api_refused(api, target, status, *out);
    json_decref(*out);
    *out = NULL;
    return r;
}

int api_get(const struct api *api, const char *target, json_t **out)
{
    return api_ask(api, "GET", target, (struct rm_slice){NULL, 0}, out);
}

int api_list(const struct api *api, const char *target, const char *name, size_t most, json_t **out)
{
    json_t *all = NULL, *page = NULL;
    char limit[24], at[API_TARGET_MAX];
    int r = CLI_OK;

    *out = NULL;
    for (int i = 0; i < API_PAGES_MAX; i++) {
        const json_t *rows = json_object_get(all, name), *next = json_object_get(all, "next");
        size_t left = most > 0 ? most - json_array_size(rows) : 500;

        if (left == 0 || (all != NULL && !json_is_string(next)))
            break;
        rm_text_copy(at, sizeof at, target);
        snprintf(limit, sizeof limit, "%zu", left < 500 ? left : 500);
        api_query(at, "limit", limit);
        api_query(at, "cursor", json_string_value(next));
        if ((r = api_get(api, at, &page)) != CLI_OK) {
            json_decref(all);
            return r;
        }
        if (all == NULL) { /* with what stands beside the list */
            all = page;
            continue;
        }
        json_array_extend(json_object_get(all, name), json_object_get(page, name));
        json_object_set(all, "next", json_object_get(page, "next"));
        json_decref(page);
    }
    *out = all;
    return CLI_OK;
}

/* ---- targets ---- */

static size_t escape(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text != '\0' && n + 4 < size; text++) {
        bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                     (*text >= '0' && *text <= '9') || strchr("._-~", *text) != NULL;

        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X",
                              plain ? *text : (unsigned char)*text);
    }
    out[n] = '\0';
    return *text == '\0' ? n : 0;
}

void api_segment(char target[API_TARGET_MAX], const char *text)
{
    size_t n = strlen(target);

    /* with room for what follows: "/undrain" */
    if (n + 32 >= API_TARGET_MAX || escape(text, target + n, API_TARGET_MAX - n - 32) == 0)
        rm_text_copy(target, API_TARGET_MAX, "-");
}

void api_query(char target[API_TARGET_MAX], const char *name, const char *value)
{
    char text[API_TARGET_MAX];
    size_t n = strlen(target);

    if (value == NULL || (value[0] != '\0' && escape(value, text, sizeof text) == 0))
        return;
    if (value[0] == '\0')
        text[0] = '\0';
    if (n + strlen(name) + strlen(text) + 3 < API_TARGET_MAX)
        snprintf(target + n, API_TARGET_MAX - n, "%c%s=%s", strchr(target, '?') != NULL ? '&' : '?',
                 name, text);
}

void api_query_said(char target[API_TARGET_MAX], const struct cli_args *args,
                    const char *const *names)
{
    for (; *names != NULL; names++) {
        uint64_t ms = cli_number(args, *names, 0);
        time_t at = (time_t)(ms / 1000);
        char text[64], whole[80];
        struct tm tm;

        if (!cli_has(args, *names))
            continue;
        if (cli_option_named(args->command, *names, strlen(*names))->kind != CLI_TIME) {
            api_query(target, *names, cli_text(args, *names));
        } else if (gmtime_r(&at, &tm) != NULL &&
                   strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) > 0) {
            snprintf(whole, sizeof whole, "%s.%03uZ", text, (unsigned)(ms % 1000));
            api_query(target, *names, whole);
        }
    }
}

/* ---- answers ---- */

void api_print(const json_t *json, FILE *to, bool compact)
{
    int fd = fileno(to); /* below 0: a frame that is kept for the terminal */
    size_t safe = fd < 0 || isatty(fd) ? JSON_ENSURE_ASCII : 0;

    json_dumpf(json, to, safe | (compact ? JSON_COMPACT : JSON_INDENT(2)));
    fputc('\n', to);
}

const char *api_text(const json_t *object, const char *key, char out[ASK_TEXT_MAX])
{
    return ask_shown(json_string_value(json_object_get(object, key)), out);
}

uint64_t api_u64(const json_t *object, const char *key)
{
    double real = json_number_value(json_object_get(object, key));

    if (json_is_integer(json_object_get(object, key))) {
        json_int_t n = json_integer_value(json_object_get(object, key));

        return n > 0 ? (uint64_t)n : 0;
    }
    return real > 0 && real < 1e18 ? (uint64_t)real : 0;
}

double api_real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

bool api_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

bool api_null(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return v == NULL || json_is_null(v);
}
