/* SPDX-License-Identifier: MIT */
#include "gateway/ops/samples.h"

#include <math.h>
#include <stdlib.h>

#include "gateway/ops/list.h"

enum { NUMBER_MAX = 32 };

/* A member that is a number; NaN: it is none, or not there. */
static double number_of(struct rm_slice object, const char *name)
{
    char text[NUMBER_MAX], *end;
    struct rm_slice v;
    double d;

    if (!list_member(object, name, &v) || v.n == 0 || v.n >= sizeof text)
        return NAN;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    d = strtod(text, &end);
    return *end == '\0' ? d : NAN;
}

/* A name of the role map: it needs no escapes. */
static void name_of(struct rm_slice object, const char *member, char out[SAMPLE_NAME_MAX])
{
    struct rm_slice v;

    out[0] = '\0';
    if (!list_member(object, member, &v) || v.n < 2 || v.p[0] != '"' || v.n - 2 >= SAMPLE_NAME_MAX)
        return;
    memcpy(out, v.p + 1, v.n - 2);
    out[v.n - 2] = '\0';
}

static struct sample *sample_at(struct sample *s)
{
    *s = (struct sample){.node = ""};
    for (size_t i = 0; i < SAMPLE_VALUES; i++)
        s->value[i] = NAN;
    return s;
}

/* Of main memory what is not available, and what is used of the devices' memory that counts. */
static double used_of(struct rm_slice memory)
{
    double counted = number_of(memory, "vram_counted"), vram = number_of(memory, "vram_used");

    return number_of(memory, "total") - counted - number_of(memory, "available") +
           (vram < counted ? vram : counted);
}

static void read_node(struct rm_slice node, struct sample *s)
{
    struct rm_slice memory;

    name_of(node, "name", s->node);
    s->value[SAMPLE_CPU_PERCENT] = number_of(node, "cpu_percent");
    s->value[SAMPLE_GPU_PERCENT] = number_of(node, "gpu_percent");
    s->value[SAMPLE_SLOTS_BUSY] = s->value[SAMPLE_SLOTS_TOTAL] = 0;
    if (!list_member(node, "memory", &memory))
        return;
    s->value[SAMPLE_MEMORY_TOTAL] = number_of(memory, "total");
    s->value[SAMPLE_MEMORY_USED] = used_of(memory);
    s->value[SAMPLE_MEMORY_COMMITTED] = number_of(memory, "committed");
    s->value[SAMPLE_MEMORY_BUDGET] = number_of(memory, "budget");
}

static void read_host(struct rm_slice host, struct sample *node, struct sample *s)
{
    memcpy(s->node, node->node, sizeof s->node);
    name_of(host, "role", s->role);
    s->value[SAMPLE_SLOTS_BUSY] = number_of(host, "slots_busy");
    s->value[SAMPLE_SLOTS_TOTAL] = number_of(host, "slots_total");
    if (!isnan(s->value[SAMPLE_SLOTS_BUSY]))
        node->value[SAMPLE_SLOTS_BUSY] += s->value[SAMPLE_SLOTS_BUSY];
    if (!isnan(s->value[SAMPLE_SLOTS_TOTAL]))
        node->value[SAMPLE_SLOTS_TOTAL] += s->value[SAMPLE_SLOTS_TOTAL];
}

size_t samples_read(struct rm_slice nodes, struct sample *out, size_t max)
{
    struct rm_slice node, hosts, host;
    size_t n = 0;

    if (n < max)
        (void)sample_at(&out[n++]);
    while (n < max && list_next(&nodes, &node)) {
        struct sample *of_node;

        if (!list_member_is(node, "health", "up"))
            continue;
        of_node = sample_at(&out[n++]);
        read_node(node, of_node);
        if (!list_member(node, "hosts", &hosts))
            continue;
        while (list_next(&hosts, &host)) {
            struct sample beyond;

            read_host(host, of_node, sample_at(n < max ? &out[n] : &beyond));
            n += n < max;
        }
    }
    return n;
}

int64_t samples_next(int64_t now_ms, int64_t last_ms)
{
    int64_t minute = now_ms / SAMPLES_EVERY_MS * SAMPLES_EVERY_MS;

    if (last_ms == 0)
        return now_ms + SAMPLES_FIRST_MS;
    if (last_ms >= minute && last_ms < minute + SAMPLES_EVERY_MS)
        minute += SAMPLES_EVERY_MS; /* this one has its look */
    return minute + SAMPLES_EVERY_MS / 2;
}
