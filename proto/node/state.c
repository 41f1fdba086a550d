/* SPDX-License-Identifier: MIT */
#include "proto/node/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/node/fields.h"

#define NODE_WORD(name, text) text,
static const char *const state_words[] = {NODE_HOST_STATES(NODE_WORD) NULL};
static const char *const cause_words[] = {NODE_CAUSES(NODE_WORD) NULL};
static const char *const slot_words[] = {"idle", "prefill", "decode", NULL};
#undef NODE_WORD

const char *const node_residency_words[] = {"resident", "pinned", "on-demand", NULL};
const char *const node_lane_words[] = {"interactive", "autocomplete", "batch", NULL};

/* In the order of PROTOCOL.md. */

static const struct node_field error_fields[] = {
    FIELD_WORDS(struct node_error, cause, cause_words), FIELD(struct node_error, code, FIELD_I32),
    FIELD(struct node_error, text, FIELD_TEXT),         FIELD(struct node_error, log, FIELD_TEXT),
    FIELD(struct node_error, at_ms, FIELD_U64),         {.name = NULL},
};

static const struct node_field host_fields[] = {
    FIELD_MUST(struct node_host, role, FIELD_NAME),
    FIELD(struct node_host, model, FIELD_NAME),
    FIELD(struct node_host, engine, FIELD_NAME),
    FIELD(struct node_host, revision, FIELD_NAME),
    FIELD(struct node_host, model_hash, FIELD_NAME),
    FIELD_WORDS(struct node_host, residency, node_residency_words),
    FIELD_WORDS(struct node_host, lane, node_lane_words),
    FIELD(struct node_host, swap, FIELD_BOOL),
    FIELD_WORDS(struct node_host, state, state_words),
    FIELD(struct node_host, progress, FIELD_PART),
    FIELD(struct node_host, eta_ms, FIELD_U32),
    FIELD(struct node_host, pid, FIELD_I32),
    FIELD(struct node_host, rss_bytes, FIELD_U64),
    FIELD(struct node_host, forecast_bytes, FIELD_U64),
    FIELD(struct node_host, weights_bytes, FIELD_U64),
    FIELD(struct node_host, kv_bytes, FIELD_U64),
    FIELD(struct node_host, kv_used_bytes, FIELD_U64),
    FIELD(struct node_host, compute_bytes, FIELD_U64),
    FIELD(struct node_host, other_bytes, FIELD_U64),
    FIELD(struct node_host, measured_bytes, FIELD_U64),
    FIELD(struct node_host, context, FIELD_U32),
    FIELD(struct node_host, slots_total, FIELD_U32),
    FIELD(struct node_host, slots_busy, FIELD_U32),
    FIELD_LIST_OF(struct node_host, slots, slot_words),
    FIELD(struct node_host, queue, FIELD_U32),
    FIELD(struct node_host, prefill_tps, FIELD_RATE),
    FIELD(struct node_host, decode_tps, FIELD_RATE),
    FIELD(struct node_host, kv_used, FIELD_U64),
    FIELD(struct node_host, kv_total, FIELD_U64),
    FIELD(struct node_host, prompt_tokens, FIELD_U64),
    FIELD(struct node_host, cached_tokens, FIELD_U64),
    FIELD(struct node_host, generated_tokens, FIELD_U64),
    FIELD(struct node_host, read_tokens, FIELD_U64),
    FIELD(struct node_host, restarts, FIELD_U32),
    FIELD(struct node_host, retry_ms, FIELD_U32),
    FIELD(struct node_host, notice, FIELD_TEXT),
    FIELD_SUB(struct node_host, last_error, FIELD_ERROR, error_fields),
    {.name = NULL},
};

static const struct node_field memory_fields[] = {
    FIELD(struct node_memory, total, FIELD_U64),
    FIELD(struct node_memory, available, FIELD_U64),
    FIELD(struct node_memory, limit, FIELD_U64),
    FIELD(struct node_memory, hugepages, FIELD_U64),
    FIELD(struct node_memory, swap_total, FIELD_U64),
    FIELD(struct node_memory, swap_used, FIELD_U64),
    FIELD(struct node_memory, swap_zram, FIELD_U64),
    FIELD(struct node_memory, vram_total, FIELD_U64),
    FIELD(struct node_memory, vram_used, FIELD_U64),
    FIELD(struct node_memory, vram_counted, FIELD_U64),
    FIELD(struct node_memory, gtt_total, FIELD_U64),
    FIELD(struct node_memory, gtt_used, FIELD_U64),
    FIELD(struct node_memory, pressure, FIELD_RATE),
    FIELD(struct node_memory, reserve, FIELD_U64),
    FIELD(struct node_memory, budget, FIELD_U64),
    FIELD(struct node_memory, committed, FIELD_U64),
    FIELD(struct node_memory, others, FIELD_U64),
    FIELD(struct node_memory, refusing, FIELD_BOOL),
    {.name = NULL},
};

static const struct node_field state_fields[] = {
    FIELD_MUST(struct node_state, node, FIELD_NAME),
    FIELD_MUST(struct node_state, boot_id, FIELD_NAME),
    FIELD(struct node_state, version, FIELD_NAME),
    FIELD(struct node_state, seq, FIELD_U64),
    FIELD(struct node_state, epoch, FIELD_U64),
    FIELD(struct node_state, uptime_ms, FIELD_U64),
    FIELD(struct node_state, draining, FIELD_BOOL),
    FIELD(struct node_state, cpu_percent, FIELD_PERCENT),
    FIELD(struct node_state, gpu_percent, FIELD_PERCENT),
    FIELD_SUB(struct node_state, memory, FIELD_OBJECT, memory_fields),
    {.name = NULL}, /* devices, hosts and pulls follow: arrays */
};

const char *node_host_state_name(enum node_host_state s)
{
    return (unsigned)s < RM_COUNT(state_words) - 1 ? state_words[s] : "unknown";
}

const char *node_cause_name(enum node_cause c)
{
    return (unsigned)c < RM_COUNT(cause_words) - 1 ? cause_words[c] : "unknown";
}

const char *node_slot_name(enum node_slot s)
{
    return s > SLOT_NONE && s <= SLOT_DECODE ? slot_words[s - 1] : "unknown";
}

const char *node_residency_name(enum node_residency r)
{
    return (unsigned)r <= RESIDENCY_ON_DEMAND ? node_residency_words[r] : "unknown";
}

const char *node_lane_name(enum node_lane l)
{
    return (unsigned)l <= LANE_BATCH ? node_lane_words[l] : "unknown";
}

void node_state_clear(struct node_state *s)
{
    free(s->hosts);
    memset(s, 0, sizeof(*s));
}

int node_state_encode(const struct node_state *s, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, state_fields, s);
    node_rows_put(&w, "devices", node_device_fields, s->devices.device,
                  sizeof(s->devices.device[0]), s->devices.n);
    node_rows_put(&w, "hosts", host_fields, s->hosts, sizeof(s->hosts[0]), s->n_hosts);
    node_rows_put(&w, "pulls", node_pull_fields, s->pulls, sizeof(s->pulls[0]), s->n_pulls);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* The array is allocated for what is there, at most NODE_HOSTS_MAX. */
static int get_hosts(const json_t *root, struct node_state *out, char *why)
{
    size_t n = json_array_size(json_object_get(root, "hosts"));

    if (n > 0 && n <= NODE_HOSTS_MAX && (out->hosts = calloc(n, sizeof(*out->hosts))) == NULL)
        return UV_ENOMEM;
    return node_rows_get(root, "hosts", host_fields, out->hosts, sizeof(*out->hosts),
                         NODE_HOSTS_MAX, &out->n_hosts, why);
}

int node_state_decode(struct rm_slice json, struct node_state *out, char *why)
{
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    out->cpu_percent = out->gpu_percent = -1;
    if ((r = node_fields_get(root, state_fields, out, "", why)) == 0)
        r = node_rows_get(root, "devices", node_device_fields, out->devices.device,
                          sizeof(out->devices.device[0]), NODE_DEVICES_MAX, &out->devices.n, why);
    if (r == 0)
        r = get_hosts(root, out, why);
    if (r == 0)
        r = node_rows_get(root, "pulls", node_pull_fields, out->pulls, sizeof(out->pulls[0]),
                          NODE_PULLS_SHOWN, &out->n_pulls, why);
    json_decref(root);
    if (r < 0)
        node_state_clear(out);
    return r;
}

const struct node_host *node_state_find(const struct node_state *s, const char *role)
{
    for (uint32_t i = 0; i < s->n_hosts; i++)
        if (strcmp(s->hosts[i].role, role) == 0)
            return &s->hosts[i];
    return NULL;
}
