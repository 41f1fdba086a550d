/* SPDX-License-Identifier: MIT */
/* proto/node/node_test.c - state.c, desired.c and fields.c (forecast.c has its own): round trips,
 * hostile JSON by row, every prefix and every one-byte change of a good message, and the order of
 * PROTOCOL.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/node/document_test.h"
#include "proto/node/desired.h"
#include "proto/node/fields.h"

static struct node_host sample_host(void)
{
    struct node_host h = {
        .residency = RESIDENCY_ON_DEMAND,
        .lane = LANE_BATCH,
        .swap = true,
        .state = HOST_LOADING,
        .progress = 0.43,
        .eta_ms = 8500,
        .pid = 4711,
        .rss_bytes = 1ULL << 33,
        .forecast_bytes = (1ULL << 33) + 7,
        .weights_bytes = 1ULL << 32,
        .kv_bytes = 1ULL << 31,
        .kv_used_bytes = 1ULL << 30,
        .compute_bytes = 1ULL << 30,
        .other_bytes = (1ULL << 30) + 7,
        .measured_bytes = 1ULL << 32,
        .context = 32768,
        .slots_total = 4,
        .slots_busy = 3,
        .slots = {SLOT_DECODE, SLOT_IDLE, SLOT_PREFILL, SLOT_DECODE},
        .queue = 2,
        .prefill_tps = 812.5,
        .decode_tps = 41.25,
        .kv_used = 1000,
        .kv_total = 131072,
        .prompt_tokens = 5,
        .cached_tokens = 6,
        .generated_tokens = 7,
        .read_tokens = 8,
        .restarts = 2,
        .retry_ms = 1500,
        .notice = "the model file was replaced",
        .last_error = {.cause = CAUSE_SIGNAL, .code = 9, .at_ms = 123},
    };

    strcpy(h.role, "code");
    strcpy(h.model, "qwen3-coder");
    strcpy(h.engine, "core");
    memset(h.revision, 'a', 32);
    memset(h.model_hash, 'b', 64);
    strcpy(h.last_error.text, "killed by signal 9 \"KILL\"");
    strcpy(h.last_error.log, "line one\nzwei \xc3\xa4");
    return h;
}

static struct node_state sample_state(struct node_host *hosts, uint32_t n)
{
    struct node_state s = {
        .seq = 12,
        .epoch = NODE_INT_MAX,
        .uptime_ms = 99,
        .draining = true,
        .cpu_percent = 12.5,
        .gpu_percent = -1,
        .memory = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13.5, 14, 15, 16, 17, true},
        .devices = {2,
                    {{"CPU", "a CPU", DEVICE_CPU, "", 1ULL << 36, 1ULL << 35},
                     {"Vulkan0", "a card", DEVICE_IGPU, "0000:c1:00.0", 5, 4}}},
        .n_hosts = n,
        .hosts = hosts,
        .n_pulls = 2,
        .pulls = {{.id = "p-0123456789abcdef",
                   .source = "hf:org/repo:Q8_0",
                   .file = "org/repo/m.gguf",
                   .state = PULL_RUNNING,
                   .files = 2,
                   .files_done = 1,
                   .bytes = 5,
                   .total = 1ULL << 40,
                   .fetched = 6,
                   .rate = 1.5,
                   .eta_ms = 7,
                   .tries = 8,
                   .text = "goes on",
                   .began = 1700000000,
                   .ended = 0},
                  {.id = "p-0123456789abcdee", .state = PULL_CANCELLED}},
    };

    strcpy(s.node, "speed");
    strcpy(s.boot_id, "0b6f5f7e-0000-4000-8000-000000000000");
    strcpy(s.version, "0.1.0");
    return s;
}

static void state_round_trip(void **state)
{
    struct node_host hosts[2] = {sample_host(), {.state = HOST_READY}};
    struct node_state s = sample_state(hosts, 2), back;
    struct rm_buf a, b;
    char why[NODE_WHY_MAX];

    (void)state;
    strcpy(hosts[1].role, "ask");
    rm_buf_init(&a, NODE_JSON_MAX);
    rm_buf_init(&b, NODE_JSON_MAX);
    assert_int_equal(node_state_encode(&s, &a), 0);
    assert_int_equal(node_state_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_int_equal(back.n_hosts, 2);
    assert_memory_equal(&back.memory, &s.memory, sizeof(s.memory));
    assert_memory_equal(&back.devices, &s.devices, sizeof(s.devices));
    assert_memory_equal(back.pulls, s.pulls, sizeof(s.pulls));
    assert_true(back.draining);
    assert_true(back.epoch == NODE_INT_MAX);
    assert_true(back.cpu_percent == 12.5 && back.gpu_percent < 0);
    assert_memory_equal(&back.hosts[0], &hosts[0], sizeof(hosts[0]));
    assert_memory_equal(&back.hosts[1], &hosts[1], sizeof(hosts[1]));
    assert_ptr_equal(node_state_find(&back, "ask"), &back.hosts[1]);
    assert_null(node_state_find(&back, "as"));
    assert_int_equal(node_state_encode(&back, &b), 0);
    assert_string_equal(a.data, b.data);
    node_state_clear(&back);
    rm_buf_clear(&a);
    rm_buf_clear(&b);
}

static struct desired_host sample_desired(void)
{
    struct desired_host d = {
        .epoch = 7,
        .engine = ENGINE_ATTACH,
        .context = 4096,
        .slots = 2,
        .batch = 256,
        .threads = 3,
        .gpu_layers = -1,
        .queue_max = 9,
        .drain_ms = 1000,
        .residency = RESIDENCY_PINNED,
        .lane = LANE_AUTOCOMPLETE,
        .swap = true,
    };

    strcpy(d.role, "code");
    strcpy(d.model, "m");
    strcpy(d.source, "/models/a.gguf");
    strcpy(d.url, "http://127.0.0.1:8081");
    strcpy(d.engine_model, "x");
    strcpy(d.kv, "q8_0");
    return d;
}

static void desired_round_trip(void **state)
{
    struct desired_host d = sample_desired(), back;
    struct rm_buf a;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&a, 8192);
    assert_int_equal(desired_host_encode(&d, &a), 0);
    assert_int_equal(desired_host_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_memory_equal(&back, &d, sizeof(d));
    rm_buf_clear(&a);
}

/* Every member but epoch, queue_max, drain_ms, residency, lane and swap makes another
 * revision. */
static void revision_by_field(void **state)
{
    struct desired_host base = sample_desired(), d;
    char seen[16][33], rev[33];
    size_t n = 0;

    (void)state;
    desired_host_revision(&base, seen[n++]);
    assert_int_equal(strlen(seen[0]), 32);
    d = base;
    d.epoch++, d.queue_max++, d.drain_ms++;
    d.residency = RESIDENCY_ON_DEMAND, d.lane = LANE_BATCH, d.swap = !d.swap;
    desired_host_revision(&d, rev);
    assert_string_equal(rev, seen[0]);
#define CHANGED(change)                                                                            \
    do {                                                                                           \
        d = base;                                                                                  \
        change;                                                                                    \
        desired_host_revision(&d, rev);                                                            \
        for (size_t i = 0; i < n; i++)                                                             \
            assert_string_not_equal(rev, seen[i]);                                                 \
        memcpy(seen[n++], rev, sizeof(rev));                                                       \
    } while (0)
    CHANGED(strcpy(d.role, "x"));
    CHANGED(strcpy(d.model, "x"));
    CHANGED(strcpy(d.source, "x"));
    CHANGED(d.engine = ENGINE_CORE);
    CHANGED(strcpy(d.url, "x"));
    CHANGED(strcpy(d.engine_model, "y"));
    CHANGED(d.context++);
    CHANGED(d.slots++);
    CHANGED(strcpy(d.kv, "f16"));
    CHANGED(d.batch++);
    CHANGED(d.threads++);
    CHANGED(d.gpu_layers++);
}

/* ---- rows ---- */

#define CORE_HOST "\"role\":\"r\",\"model\":\"m\",\"source\":\"/a.gguf\""

static const struct row {
    const char *name;
    int what; /* 's' state, 'd' desired, 'f' forecast */
    const char *json;
    int err;
    const char *why; /* "" when it is taken */
} rows[] = {
    {"state: least", 's', "{\"node\":\"n\",\"boot_id\":\"b\"}", 0, ""},
    {"state: unknown members are skipped", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"x\":[{}]}", 0,
     ""},
    {"state: null is missing", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":null,\"hosts\":null,\"memory\":null}", 0, ""},
    {"state: empty text", 's', "", RM_ERR_JSON, "byte 0: '[' or '{' expected near end of file"},
    {"state: an array", 's', "[]", RM_ERR_JSON, "expected an object"},
    {"state: busy beyond all of it", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"cpu_percent\":100.5}", RM_ERR_FIELD,
     "cpu_percent: expected a number in its range"},
    {"state: slots are no array", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"slots\":\"idle\"}]}",
     RM_ERR_FIELD, "hosts[0].slots: expected an array"},
    {"state: a slot does something odd", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"slots\":[\"idle\",\"sleep\"]}]"
     "}",
     RM_ERR_FIELD, "hosts[0].slots: expected an array of its words"},
    {"state: no node", 's', "{\"boot_id\":\"b\"}", RM_ERR_FIELD, "node: expected a value"},
    {"state: empty node", 's', "{\"node\":\"\",\"boot_id\":\"b\"}", RM_ERR_FIELD,
     "node: expected a name"},
    {"state: no boot id", 's', "{\"node\":\"n\"}", RM_ERR_FIELD, "boot_id: expected a value"},
    {"state: twice", 's', "{\"node\":\"n\",\"node\":\"o\",\"boot_id\":\"b\"}", RM_ERR_JSON,
     "byte 18: duplicate object key near '\"node\"'"},
    {"state: number as name", 's', "{\"node\":1,\"boot_id\":\"b\"}", RM_ERR_FIELD,
     "node: expected a string"},
    {"state: control byte in a name", 's', "{\"node\":\"a\\n\",\"boot_id\":\"b\"}", RM_ERR_FIELD,
     "node: expected no control characters"},
    {"state: NUL in a name", 's', "{\"node\":\"a\\u0000b\",\"boot_id\":\"b\"}", RM_ERR_JSON, NULL},
    {"state: negative", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":-1}", RM_ERR_FIELD,
     "seq: expected an integer in its range"},
    {"state: above 2^53", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":9007199254740992}",
     RM_ERR_FIELD, "seq: expected an integer in its range"},
    {"state: above 2^64", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":99999999999999999999}",
     RM_ERR_JSON, NULL},
    {"state: an integer written as a real", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":2.0}",
     0, ""},
    {"state: too large a real", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":1e300}",
     RM_ERR_FIELD, "seq: expected an integer"},
    {"state: fraction", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"seq\":1.5}", RM_ERR_FIELD,
     "seq: expected an integer"},
    {"state: word as boolean", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"draining\":\"yes\"}",
     RM_ERR_FIELD, "draining: expected true or false"},
    {"state: memory not an object", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"memory\":[]}",
     RM_ERR_FIELD, "memory: expected an object"},
    {"state: inside memory", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"memory\":{\"total\":\"1\"}}",
     RM_ERR_FIELD, "memory.total: expected an integer"},
    {"state: hosts not an array", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":{}}",
     RM_ERR_FIELD, "hosts: expected an array of at most 64"},
    {"state: devices not an array", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"devices\":{}}",
     RM_ERR_FIELD, "devices: expected an array of at most 16"},
    {"state: a device without name", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"devices\":[{\"name\":\"a\"},{}]}", RM_ERR_FIELD,
     "devices[1].name: expected a value"},
    {"state: unknown device kind", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"devices\":[{\"name\":\"a\",\"kind\":\"tpu\"}]}",
     RM_ERR_FIELD, "devices[0].kind: expected one of its words"},
    {"state: a host not an object", 's', "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[1]}",
     RM_ERR_FIELD, "hosts[0]: expected an object"},
    {"state: a host without role", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\"},{}]}", RM_ERR_FIELD,
     "hosts[1].role: expected a value"},
    {"state: unknown host state", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"state\":\"odd\"}]}",
     RM_ERR_FIELD, "hosts[0].state: expected one of its words"},
    {"state: progress above 1", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"progress\":1.01}]}",
     RM_ERR_FIELD, "hosts[0].progress: expected a number in its range"},
    {"state: revision too long", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"revision\":"
     "\"0123456789012345678901234567890123\"}]}",
     RM_ERR_FIELD, "hosts[0].revision: expected a shorter string"},
    {"state: unknown cause", 's',
     "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"last_error\":{\"cause\":\"bad "
     "luck\"}}]}",
     RM_ERR_FIELD, "last_error.cause: expected one of its words"},
    {"state: bad UTF-8", 's', "{\"node\":\"\xff\",\"boot_id\":\"b\"}", RM_ERR_JSON, NULL},
    {"state: text after the object", 's', "{\"node\":\"n\",\"boot_id\":\"b\"}x", RM_ERR_JSON, NULL},
    {"desired: least core", 'd', "{" CORE_HOST "}", 0, ""},
    {"desired: least attach", 'd',
     "{\"role\":\"r\",\"model\":\"m\",\"engine\":\"attach\",\"url\":\"unix:/s\"}", 0, ""},
    {"desired: residency and lane", 'd',
     "{" CORE_HOST ",\"residency\":\"on-demand\",\"lane\":\"batch\"}", 0, ""},
    {"desired: unknown residency", 'd', "{" CORE_HOST ",\"residency\":\"on_demand\"}", RM_ERR_FIELD,
     "residency: expected one of its words"},
    {"desired: unknown lane", 'd', "{" CORE_HOST ",\"lane\":1}", RM_ERR_FIELD,
     "lane: expected one of its words"},
    {"desired: no role", 'd', "{\"model\":\"m\",\"source\":\"/a\"}", RM_ERR_FIELD,
     "role: expected a value"},
    {"desired: no source", 'd', "{\"role\":\"r\",\"model\":\"m\"}", RM_ERR_FIELD,
     "source: expected a path"},
    {"desired: no url", 'd', "{\"role\":\"r\",\"model\":\"m\",\"engine\":\"attach\"}", RM_ERR_FIELD,
     "url: expected an address"},
    {"desired: unknown engine", 'd', "{" CORE_HOST ",\"engine\":\"vllm\"}", RM_ERR_FIELD,
     "engine: expected one of its words"},
    {"desired: no slots", 'd', "{" CORE_HOST ",\"slots\":0}", RM_ERR_FIELD,
     "slots: expected 1 to 64, with attach 1 to 4096"},
    {"desired: many slots", 'd', "{" CORE_HOST ",\"slots\":65}", RM_ERR_FIELD,
     "slots: expected 1 to 64, with attach 1 to 4096"},
    {"desired: many slots, attached", 'd',
     "{\"role\":\"r\",\"model\":\"m\",\"engine\":\"attach\",\"url\":\"http://h:1\",\"slots\":4097}",
     RM_ERR_FIELD, "slots: expected 1 to 64, with attach 1 to 4096"},
    {"desired: huge context", 'd', "{" CORE_HOST ",\"context\":16777217}", RM_ERR_FIELD,
     "context: expected at most 16777216"},
    {"desired: context over 32 bits", 'd', "{" CORE_HOST ",\"context\":4294967296}", RM_ERR_FIELD,
     "context: expected an integer in its range"},
    {"desired: unknown kv", 'd', "{" CORE_HOST ",\"kv\":\"q4\"}", RM_ERR_FIELD,
     "kv: expected f16 or q8_0"},
    {"desired: long kv", 'd', "{" CORE_HOST ",\"kv\":\"q8_000000\"}", RM_ERR_FIELD,
     "kv: expected a shorter string"},
    {"desired: batch", 'd', "{" CORE_HOST ",\"batch\":65537}", RM_ERR_FIELD,
     "batch: expected at most 65536"},
    {"desired: threads", 'd', "{" CORE_HOST ",\"threads\":1025}", RM_ERR_FIELD,
     "threads: expected at most 1024"},
    {"desired: gpu layers", 'd', "{" CORE_HOST ",\"gpu_layers\":-2}", RM_ERR_FIELD,
     "gpu_layers: expected -1 or more"},
    {"desired: queue", 'd', "{" CORE_HOST ",\"queue_max\":65537}", RM_ERR_FIELD,
     "queue_max: expected at most 65536"},
    {"desired: drain", 'd', "{" CORE_HOST ",\"drain_ms\":3600001}", RM_ERR_FIELD,
     "drain_ms: expected at most 3600000"},
    {"forecast: least", 'f', "{}", 0, ""},
    {"forecast: wrong type", 'f', "{\"known\":1}", RM_ERR_FIELD, "known: expected true or false"},
};

static int decode(int what, struct rm_slice json, char *why)
{
    struct node_state s;
    struct desired_host d;
    struct node_forecast f;
    int r;

    if (what == 'd')
        return desired_host_decode(json, &d, why);
    if (what == 'f')
        return node_forecast_decode(json, &f, why);
    r = node_state_decode(json, &s, why);
    if (r < 0)
        assert_null(s.hosts);
    node_state_clear(&s);
    return r;
}

static void run_row(void **state)
{
    const struct row *row = *state;
    char why[NODE_WHY_MAX] = "unset";

    assert_int_equal(decode(row->what, rm_slice_of(row->json), why), row->err);
    if (row->why != NULL)
        assert_string_equal(why, row->why);
    else
        assert_true(why[0] != '\0');
}

/* A host's text that is too long is cut at a character's border, not refused. */
static void long_text_is_cut(void **state)
{
    struct node_state s;
    struct rm_buf b;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&b, NODE_JSON_MAX);
    rm_buf_puts(
        &b,
        "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"last_error\":{\"cause\":"
        "\"exit\",\"code\":-3,\"text\":\"x\\t\\u001b");
    for (int i = 0; i < 300; i++)
        rm_buf_puts(&b, "\xc3\xa4");
    rm_buf_puts(&b, "\"}}]}");
    assert_int_equal(node_state_decode((struct rm_slice){b.data, b.len}, &s, why), 0);
    assert_int_equal(s.hosts[0].last_error.code, -3);
    assert_int_equal(strlen(s.hosts[0].last_error.text), 511);
    assert_memory_equal(s.hosts[0].last_error.text, "x??\xc3\xa4", 5);
    node_state_clear(&s);
    rm_buf_clear(&b);
}

static void too_many_hosts(void **state)
{
    struct rm_buf b;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&b, NODE_JSON_MAX);
    rm_buf_puts(&b, "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[");
    for (int i = 0; i <= NODE_HOSTS_MAX; i++)
        rm_buf_printf(&b, "%s{\"role\":\"r%d\"}", i > 0 ? "," : "", i);
    rm_buf_puts(&b, "]}");
    assert_int_equal(decode('s', (struct rm_slice){b.data, b.len}, why), RM_ERR_FIELD);
    rm_buf_clear(&b);
}

/* Up to NODE_SLOTS_MAX slots are told one by one; what a worker does not measure is unknown. */
static void slots_and_unknown_figures(void **state)
{
    struct node_state s;
    struct rm_buf b;
    char why[NODE_WHY_MAX];

    (void)state;
    for (int n = NODE_SLOTS_MAX; n <= NODE_SLOTS_MAX + 1; n++) {
        rm_buf_init(&b, NODE_JSON_MAX);
        rm_buf_puts(&b, "{\"node\":\"n\",\"boot_id\":\"b\",\"hosts\":[{\"role\":\"a\",\"slots\":[");
        for (int i = 0; i < n; i++)
            rm_buf_printf(&b, "%s\"prefill\"", i > 0 ? "," : "");
        rm_buf_puts(&b, "]}]}");
        assert_int_equal(node_state_decode((struct rm_slice){b.data, b.len}, &s, why),
                         n > NODE_SLOTS_MAX ? RM_ERR_FIELD : 0);
        if (n == NODE_SLOTS_MAX) {
            assert_int_equal(s.hosts[0].slots[NODE_SLOTS_MAX - 1], SLOT_PREFILL);
            assert_true(s.cpu_percent < 0 && s.gpu_percent < 0);
        }
        node_state_clear(&s);
        rm_buf_clear(&b);
    }
}

static void over_the_limit(void **state)
{
    char *big = malloc(NODE_JSON_MAX + 1), why[NODE_WHY_MAX];

    (void)state;
    memset(big, ' ', NODE_JSON_MAX + 1);
    assert_int_equal(decode('s', (struct rm_slice){big, NODE_JSON_MAX + 1}, why), RM_ERR_JSON);
    assert_string_equal(why, "over 2097152 bytes");
    memset(big, '[', NODE_JSON_MAX);
    assert_int_equal(decode('s', (struct rm_slice){big, NODE_JSON_MAX}, why), RM_ERR_JSON);
    free(big);
}

/* No prefix of a message is a message, and no changed byte does harm (the sanitizers watch). */
static void prefixes_and_changes(void **state)
{
    static const char bytes[] = {'"', '{', '}', '[', ']', ',', '-', '9', '\\', '\0', (char)0xff};
    struct node_host host = sample_host();
    struct node_state s = sample_state(&host, 1);
    struct rm_buf b;
    char why[NODE_WHY_MAX], *copy;

    (void)state;
    rm_buf_init(&b, NODE_JSON_MAX);
    assert_int_equal(node_state_encode(&s, &b), 0);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(decode('s', (struct rm_slice){b.data, n}, why), RM_ERR_JSON);
    copy = malloc(b.len);
    for (size_t i = 0; i < b.len * RM_COUNT(bytes); i++) {
        memcpy(copy, b.data, b.len);
        copy[i / RM_COUNT(bytes)] = bytes[i % RM_COUNT(bytes)];
        decode('s', (struct rm_slice){copy, b.len}, why);
        assert_true(strlen(why) < NODE_WHY_MAX);
    }
    free(copy);
    rm_buf_clear(&b);
}

/* ---- the document ---- */

/* The object of that name in a message. */
static const json_t *object_of(json_t *root, const char *inside)
{
    json_t *o = root;

    assert_non_null(root);
    if (strcmp(inside, "memory") == 0)
        o = json_object_get(root, "memory");
    if (strcmp(inside, "device") == 0)
        o = json_array_get(json_object_get(root, "devices"), 0);
    if (strcmp(inside, "host") == 0 || strcmp(inside, "error") == 0)
        o = json_array_get(json_object_get(root, "hosts"), 0);
    if (strcmp(inside, "error") == 0)
        o = json_object_get(o, "last_error");
    if (strcmp(inside, "costs") == 0 || strcmp(inside, "kv_costs") == 0)
        o = json_object_get(o, "costs");
    if (strcmp(inside, "kv_costs") == 0)
        o = json_object_get(o, "f16");
    if (strcmp(inside, "buffer") == 0)
        o = json_array_get(json_object_get(o, "buffers"), 0);
    return o;
}

static void order_of_the_document(void **state)
{
    static const char *const messages[] = {"state",    "memory", "host",     "error",  "desired",
                                           "forecast", "costs",  "kv_costs", "buffer", "device"};
    struct node_host host = sample_host();
    struct node_state s = sample_state(&host, 1);
    struct desired_host d = sample_desired();
    struct node_forecast f = {.known = true, .n_buffers = 1};
    struct rm_buf st, de, fo;

    (void)state;
    rm_buf_init(&st, 65536), rm_buf_init(&de, 65536), rm_buf_init(&fo, 65536);
    assert_int_equal(node_state_encode(&s, &st), 0);
    assert_int_equal(desired_host_encode(&d, &de), 0);
    assert_int_equal(node_forecast_encode(&f, &fo), 0);
    for (size_t i = 0; i < RM_COUNT(messages); i++) {
        const char *json = i == 4 ? de.data : i >= 5 && i < 9 ? fo.data : st.data;
        json_t *root = json_loads(json, 0, NULL);

        assert_documented(messages[i], object_of(root, messages[i]));
        json_decref(root);
    }
    rm_buf_clear(&st), rm_buf_clear(&de), rm_buf_clear(&fo);
}

static void devices_round_trip(void **state)
{
    struct node_devices d = {1, {{"CUDA0", "x", DEVICE_GPU, "0000:01:00.0", 7, 6}}}, back;
    struct rm_buf a;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&a, 8192);
    assert_int_equal(node_devices_encode(&d, &a), 0);
    assert_string_equal(a.data,
                        "{\"devices\":[{\"name\":\"CUDA0\",\"description\":\"x\",\"kind\":\"gpu\","
                        "\"id\":\"0000:01:00.0\",\"total\":7,\"free\":6}]}");
    assert_int_equal(node_devices_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_memory_equal(&back, &d, sizeof(d));
    assert_int_equal(node_devices_decode(RM_LIT("{\"devices\":[1]}"), &back, why), RM_ERR_FIELD);
    assert_int_equal(back.n, 0);
    assert_int_equal(node_devices_decode(RM_LIT("nonsense"), &back, why), RM_ERR_JSON);
    rm_buf_clear(&a);
}

static void words(void **state)
{
    (void)state;
    assert_string_equal(node_device_kind_name(DEVICE_IGPU), "igpu");
    assert_string_equal(node_device_kind_name((enum node_device_kind)4), "unknown");
    assert_string_equal(node_host_state_name(HOST_FAILED), "failed");
    assert_string_equal(node_host_state_name((enum node_host_state)99), "unknown");
    assert_string_equal(node_slot_name(SLOT_DECODE), "decode");
    assert_string_equal(node_slot_name(SLOT_NONE), "unknown");
    assert_string_equal(node_cause_name(CAUSE_OOM), "oom");
    assert_string_equal(node_cause_name((enum node_cause)99), "unknown");
    assert_string_equal(node_residency_name(RESIDENCY_RESIDENT), "resident");
    assert_string_equal(node_residency_name(RESIDENCY_PINNED), "pinned");
    assert_string_equal(node_residency_name(RESIDENCY_ON_DEMAND), "on-demand");
    assert_string_equal(node_residency_name((enum node_residency)3), "unknown");
    assert_string_equal(node_lane_name(LANE_INTERACTIVE), "interactive");
    assert_string_equal(node_lane_name(LANE_AUTOCOMPLETE), "autocomplete");
    assert_string_equal(node_lane_name(LANE_BATCH), "batch");
    assert_string_equal(node_lane_name((enum node_lane)3), "unknown");
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(state_round_trip),
        cmocka_unit_test(desired_round_trip),
        cmocka_unit_test(revision_by_field),
        cmocka_unit_test(long_text_is_cut),
        cmocka_unit_test(too_many_hosts),
        cmocka_unit_test(slots_and_unknown_figures),
        cmocka_unit_test(over_the_limit),
        cmocka_unit_test(prefixes_and_changes),

        cmocka_unit_test(devices_round_trip),
        cmocka_unit_test(order_of_the_document),
        cmocka_unit_test(words),
    };
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
