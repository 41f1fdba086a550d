/* SPDX-License-Identifier: MIT */
/* worker/core/devices.c - see devices.h. */
#include "devices.h"

#include <string.h>

#include "ggml-backend.h"
#include "proto/base/json_write.h"
#include "worker/core/llama_env.h"

/* False: not a device of its own. */
static bool kind_of(enum ggml_backend_dev_type type, enum node_device_kind *out)
{
    switch (type) {
    case GGML_BACKEND_DEVICE_TYPE_CPU:
        *out = DEVICE_CPU;
        return true;
    case GGML_BACKEND_DEVICE_TYPE_GPU:
        *out = DEVICE_GPU;
        return true;
    case GGML_BACKEND_DEVICE_TYPE_IGPU:
        *out = DEVICE_IGPU;
        return true;
    case GGML_BACKEND_DEVICE_TYPE_ACCEL:
        *out = DEVICE_ACCEL;
        return true;
    default:
        return false;
    }
}

/* Drivers' texts: cut at a character's border, without control characters. */
static void put_text(char *out, size_t size, const char *text)
{
    size_t n = text != NULL ? strlen(text) : 0, at = 0, step;

    for (size_t i = 0; i < n; i += step) {
        step = rm_utf8_len(text + i, n - i);
        if (step == 0 || (unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            step = 1;
            if (at + 1 >= size)
                break;
            out[at++] = '?';
        } else {
            if (at + step >= size)
                break;
            memcpy(out + at, text + i, step);
            at += step;
        }
    }
    out[at] = '\0';
}

static uint64_t bytes_of(size_t n)
{
    const uint64_t most = (1ULL << 53) - 1; /* of a message; ggml's "unknown" may be SIZE_MAX */

    return n <= most ? n : 0;
}

int core_devices(struct node_devices *out, char *why, size_t n_why)
{
    int r = llama_env_init(why, n_why);

    memset(out, 0, sizeof(*out));
    if (r < 0)
        return r;
    for (size_t i = 0; i < ggml_backend_dev_count() && out->n < NODE_DEVICES_MAX; i++) {
        struct node_device *d = &out->device[out->n];
        struct ggml_backend_dev_props props;

        memset(&props, 0, sizeof(props));
        ggml_backend_dev_get_props(ggml_backend_dev_get(i), &props);
        if (!kind_of(props.type, &d->kind))
            continue;
        put_text(d->name, sizeof(d->name), props.name);
        put_text(d->description, sizeof(d->description), props.description);
        put_text(d->id, sizeof(d->id), props.device_id);
        d->total = bytes_of(props.memory_total);
        d->free = bytes_of(props.memory_free);
        out->n += d->name[0] != '\0';
    }
    return 0;
}
