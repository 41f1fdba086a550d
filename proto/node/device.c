/* SPDX-License-Identifier: MIT */
#include "proto/node/device.h"

#include <string.h>

#include "proto/node/fields.h"

static const char *const kind_words[] = {"cpu", "gpu", "igpu", "accel", NULL};

/* In the order of PROTOCOL.md. */
const struct node_field node_device_fields[] = {
    FIELD_MUST(struct node_device, name, FIELD_NAME),
    FIELD(struct node_device, description, FIELD_TEXT),
    FIELD_WORDS(struct node_device, kind, kind_words),
    FIELD(struct node_device, id, FIELD_NAME),
    FIELD(struct node_device, total, FIELD_U64),
    FIELD(struct node_device, free, FIELD_U64),
    {.name = NULL},
};

const char *node_device_kind_name(enum node_device_kind k)
{
    return (unsigned)k <= DEVICE_ACCEL ? kind_words[k] : "unknown";
}

int node_devices_encode(const struct node_devices *d, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_rows_put(&w, "devices", node_device_fields, d->device, sizeof(d->device[0]), d->n);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int node_devices_decode(struct rm_slice json, struct node_devices *out, char *why)
{
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    r = node_rows_get(root, "devices", node_device_fields, out->device, sizeof(out->device[0]),
                      NODE_DEVICES_MAX, &out->n, why);
    json_decref(root);
    if (r < 0)
        memset(out, 0, sizeof(*out));
    return r;
}
