/* SPDX-License-Identifier: MIT */
#include "worker/engine/engine.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "worker/host/cause.h"

const struct engine_kind *engine_kind_of(enum desired_engine e)
{
    return e == ENGINE_ATTACH ? &engine_attach : &engine_core;
}

void engine_ref(struct engine *e)
{
    e->refs++;
}

void engine_unref(struct engine *e)
{
    if (e != NULL && --e->refs == 0)
        e->kind->release(e);
}

void engine_error(struct node_error *out, enum node_cause cause, const char *fmt, ...)
{
    struct rm_buf text;
    va_list args;

    memset(out, 0, sizeof(*out));
    out->cause = cause;
    rm_buf_init(&text, 4096);
    va_start(args, fmt);
    rm_buf_vprintf(&text, fmt, args);
    va_end(args);
    cause_copy_text(out->text, sizeof(out->text), (struct rm_slice){text.data, text.len}, false);
    rm_buf_clear(&text);
}

/* ---- addresses ---- */

static bool is_here(const struct http_address *a, const char *const *local, size_t n_local)
{
    if (http_address_is_loopback(a))
        return true;
    for (size_t i = 0; i < n_local; i++)
        if (strcmp(a->host, local[i]) == 0)
            return true;
    return false;
}

static int url_wrong(char *why, const char *what, const char *url)
{
    snprintf(why, 128, "%s: \"%.60s\"", what, url);
    return RM_ERR_CONF;
}

int engine_url_parse(const char *url, const char *const *local, size_t n_local,
                     struct http_address *a, char base[256], char *why)
{
    static const char scheme[] = "http://";
    char place[300];
    size_t n;

    base[0] = '\0';
    if (strncmp(url, "unix:", 5) == 0)
        return http_address_parse(url, a) == 0 ? 0 : url_wrong(why, "no socket path", url);
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
        return url_wrong(why, "expected http://HOST:PORT or unix:PATH", url);
    url += sizeof(scheme) - 1;
    n = strcspn(url, "/");
    if (n >= sizeof(place) || strlen(url + n) >= 256)
        return url_wrong(why, "too long", url);
    memcpy(place, url, n);
    place[n] = '\0';
    memcpy(base, url + n, strlen(url + n) + 1);
    for (n = strlen(base); n > 0 && base[n - 1] == '/'; n--)
        base[n - 1] = '\0';
    if (strpbrk(base, "?# \"") != NULL || strchr(place, '@') != NULL)
        return url_wrong(why, "only HOST:PORT and a path", url);
    if (http_address_parse(place, a) < 0 || a->is_unix || a->port == 0)
        return url_wrong(why, "expected HOST:PORT", place);
    return is_here(a, local, n_local) ? 0 : url_wrong(why, "not an address of this node", place);
}

/* ---- what the core says ---- */

static uint64_t get_u64(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));

    return v > 0 ? (uint64_t)v : 0;
}

static uint32_t get_u32(const json_t *o, const char *name)
{
    uint64_t v = get_u64(o, name);

    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static double get_rate(const json_t *o, const char *name)
{
    double v = json_number_value(json_object_get(o, name));

    return isfinite(v) && v > 0 ? v : 0;
}

/* Buckets that we do not have are skipped. */
static void get_speeds(const json_t *o, struct engine_measure *out)
{
    const json_t *depth = json_object_get(o, "depth"), *d;
    size_t i;

    json_array_foreach(depth, i, d) for (int k = 0; k < LEDGER_DEPTHS; k++)
    {
        if (!json_is_integer(json_object_get(d, "from")) || get_u64(d, "from") != ledger_depths[k])
            continue;
        out->speed[k] =
            (struct ledger_speed){get_u64(d, "prefill_tokens"), get_u64(d, "prefill_us"),
                                  get_u64(d, "decode_tokens"), get_u64(d, "decode_us")};
    }
}

/* Slots that do something else count as idle; more than can be told are left out. */
static void get_slots(const json_t *o, uint8_t out[NODE_SLOTS_MAX])
{
    const json_t *states = json_object_get(o, "slot_states");
    size_t n = json_array_size(states);

    for (size_t i = 0; i < n && i < NODE_SLOTS_MAX; i++) {
        const char *word = json_string_value(json_array_get(states, i));

        out[i] = SLOT_IDLE;
        if (word != NULL && strcmp(word, "prefill") == 0)
            out[i] = SLOT_PREFILL;
        if (word != NULL && strcmp(word, "decode") == 0)
            out[i] = SLOT_DECODE;
    }
}

static void get_build(const json_t *o, char out[LEDGER_BUILD_MAX])
{
    const char *version = json_string_value(json_object_get(o, "version"));
    const char *llama = json_string_value(json_object_get(o, "llama"));
    char text[LEDGER_BUILD_MAX];

    out[0] = '\0';
    if (version == NULL || llama == NULL)
        return;
    snprintf(text, sizeof(text), "%.20s/%.24s", version, llama);
    cause_copy_text(out, LEDGER_BUILD_MAX, rm_slice_of(text), false);
}

int engine_measure_decode(struct rm_slice json, struct engine_measure *out)
{
    json_error_t err;
    json_t *o = json_loadb(json.n > 0 ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &err);
    int r = 0;

    if (o == NULL)
        return RM_ERR_JSON;
    if (!json_is_integer(json_object_get(o, "slots"))) {
        r = RM_ERR_FIELD;
    } else {
        *out = (struct engine_measure){
            .context = get_u32(o, "context"),
            .slots_total = get_u32(o, "slots"),
            .slots_busy = get_u32(o, "slots_busy"),
            .queue = get_u32(o, "queue"),
            .prefill_tps = get_rate(o, "prefill_tps"),
            .decode_tps = get_rate(o, "decode_tps"),
            .kv_used = get_u64(o, "kv_used"),
            .kv_total = get_u64(o, "kv_total"),
            .kv_deepest = get_u64(o, "kv_deepest"),
            .prompt_tokens = get_u64(o, "prompt_tokens"),
            .cached_tokens = get_u64(o, "cached_tokens"),
            .generated_tokens = get_u64(o, "generated_tokens"),
            .read_tokens = get_u64(o, "read_tokens"),
            .batch = get_u32(o, "batch"),
            .batch_most = get_u32(o, "batch_most"),
        };
        get_slots(o, out->slot);
        get_speeds(o, out);
        get_build(o, out->build);
    }
    json_decref(o);
    return r;
}

int engine_saved_decode(struct rm_slice json, struct engine_saved *out)
{
    json_error_t err;
    json_t *o = json_loadb(json.n > 0 ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &err);
    const char *why;
    int r = 0;

    if (o == NULL)
        return RM_ERR_JSON;
    if (!json_is_boolean(json_object_get(o, "saved"))) {
        r = RM_ERR_FIELD;
    } else {
        *out = (struct engine_saved){
            .saved = json_is_true(json_object_get(o, "saved")),
            .sequences = get_u64(o, "sequences"),
            .tokens = get_u64(o, "tokens"),
            .bytes = get_u64(o, "bytes"),
            .ms = get_u64(o, "ms"),
        };
        why = json_string_value(json_object_get(o, "why"));
        if (why != NULL)
            cause_copy_text(out->why, sizeof(out->why), rm_slice_of(why), false);
    }
    json_decref(o);
    return r;
}

void ready_line_decode(struct rm_slice line, struct ready_line *out)
{
    json_error_t err;
    json_t *o = json_loadb(line.n > 0 ? line.p : "", line.n, 0, &err);
    const json_t *v;

    memset(out, 0, sizeof(*out));
    if ((v = json_object_get(o, "error")) != NULL && json_is_string(v)) {
        out->what = READY_ERROR;
        cause_copy_text(out->text, sizeof(out->text), rm_slice_of(json_string_value(v)), false);
        cause_copy_text(out->cause, sizeof(out->cause),
                        rm_slice_of(json_string_value(json_object_get(o, "cause"))), false);
    } else if (json_is_true(json_object_get(o, "ready"))) {
        out->what = READY_DONE;
        out->restored = get_u64(o, "restored_tokens");
        if ((v = json_object_get(o, "not_restored")) != NULL && json_is_string(v))
            cause_copy_text(out->text, sizeof(out->text), rm_slice_of(json_string_value(v)), false);
    } else if ((v = json_object_get(o, "progress")) != NULL && json_is_number(v)) {
        out->what = READY_PROGRESS;
        out->progress = fmin(fmax(json_number_value(v), 0), 1);
    }
    json_decref(o);
}
