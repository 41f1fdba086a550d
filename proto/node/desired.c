/* SPDX-License-Identifier: MIT */
#include "proto/node/desired.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "proto/node/fields.h"

static const char *const engine_words[] = {"core", "attach", NULL};

/* In the order of PROTOCOL.md. */

static const struct node_field desired_fields[] = {
    FIELD(struct desired_host, epoch, FIELD_U64),
    FIELD_MUST(struct desired_host, role, FIELD_NAME),
    FIELD_MUST(struct desired_host, model, FIELD_NAME),
    FIELD(struct desired_host, source, FIELD_NAME),
    FIELD_WORDS(struct desired_host, engine, engine_words),
    FIELD(struct desired_host, url, FIELD_NAME),
    FIELD(struct desired_host, engine_model, FIELD_NAME),
    FIELD(struct desired_host, context, FIELD_U32),
    FIELD(struct desired_host, slots, FIELD_U32),
    FIELD(struct desired_host, kv, FIELD_NAME),
    FIELD(struct desired_host, batch, FIELD_U32),
    FIELD(struct desired_host, threads, FIELD_U32),
    FIELD(struct desired_host, gpu_layers, FIELD_I32),
    FIELD(struct desired_host, queue_max, FIELD_U32),
    FIELD(struct desired_host, drain_ms, FIELD_U32),
    FIELD_WORDS(struct desired_host, residency, node_residency_words),
    FIELD_WORDS(struct desired_host, lane, node_lane_words),
    FIELD(struct desired_host, swap, FIELD_BOOL),
    {.name = NULL},
};

static int put_object(const struct node_field *table, const void *from, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, table, from);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static int get_object(struct rm_slice json, const struct node_field *table, void *into, char *why)
{
    json_t *root;
    int r;

    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    r = node_fields_get(root, table, into, "", why);
    json_decref(root);
    return r;
}

int desired_host_encode(const struct desired_host *d, struct rm_buf *out)
{
    return put_object(desired_fields, d, out);
}

/* What no table can say: ranges, and which members an engine kind needs. */
static const char *desired_wrong(const struct desired_host *d)
{
    if (d->slots < 1 ||
        d->slots > (d->engine == ENGINE_CORE ? DESIRED_CORE_SLOTS_MAX : DESIRED_SLOTS_MAX))
        return "slots: expected 1 to 64, with attach 1 to 4096";
    if (d->context > DESIRED_CONTEXT_MAX)
        return "context: expected at most 16777216";
    if (strcmp(d->kv, "f16") != 0 && strcmp(d->kv, "q8_0") != 0)
        return "kv: expected f16 or q8_0";
    if (d->batch > DESIRED_BATCH_MAX)
        return "batch: expected at most 65536";
    if (d->threads > DESIRED_THREADS_MAX)
        return "threads: expected at most 1024";
    if (d->gpu_layers < -1)
        return "gpu_layers: expected -1 or more";
    if (d->queue_max > DESIRED_QUEUE_MAX)
        return "queue_max: expected at most 65536";
    if (d->drain_ms > DESIRED_DRAIN_MS_MAX)
        return "drain_ms: expected at most 3600000";
    if (d->engine == ENGINE_CORE && d->source[0] == '\0')
        return "source: expected a path";
    if (d->engine == ENGINE_ATTACH && d->url[0] == '\0')
        return "url: expected an address";
    return NULL;
}

int desired_host_decode(struct rm_slice json, struct desired_host *out, char *why)
{
    const char *what;
    int r;

    memset(out, 0, sizeof(*out));
    out->slots = 1;
    out->gpu_layers = -1;
    memcpy(out->kv, "f16", 4);
    if ((r = get_object(json, desired_fields, out, why)) == 0 &&
        (what = desired_wrong(out)) != NULL) {
        snprintf(why, NODE_WHY_MAX, "%s", what);
        r = RM_ERR_FIELD;
    }
    if (r < 0)
        memset(out, 0, sizeof(*out));
    return r;
}

void desired_host_revision(const struct desired_host *d, char out[33])
{
    struct desired_host same = *d;
    unsigned char hash[16] = {0};
    struct rm_buf text;

    /* crypto_generichash() is BLAKE2b (RFC 7693). A name carries a fixed bound, so the text always
     * fits; should memory be out, the hash of nothing makes a restart, which is the safe side. */
    same.epoch = same.drain_ms = same.queue_max = 0;
    same.residency = RESIDENCY_RESIDENT;
    same.lane = LANE_INTERACTIVE;
    same.swap = false;
    rm_buf_init(&text, 16384);
    if (sodium_init() < 0 || desired_host_encode(&same, &text) < 0)
        text.len = 0;
    crypto_generichash(hash, sizeof(hash), (const unsigned char *)(text.len > 0 ? text.data : ""),
                       text.len, NULL, 0);
    sodium_bin2hex(out, 33, hash, sizeof(hash));
    rm_buf_clear(&text);
}
