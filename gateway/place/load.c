/* SPDX-License-Identifier: MIT */
#include "gateway/place/load.h"

void load_add(struct load_sum *sum, bool swap, uint64_t bytes, uint64_t device_bytes)
{
    uint64_t device = device_bytes < bytes ? device_bytes : bytes;

    sum->all += bytes;
    sum->all_main += bytes - device;
    sum->plain += swap ? 0 : bytes;
    sum->plain_main += swap ? 0 : bytes - device;
    sum->device += device;
}

void load_take(struct load_sum *sum, bool swap, uint64_t bytes, uint64_t device_bytes)
{
    uint64_t device = device_bytes < bytes ? device_bytes : bytes;

    sum->all -= bytes;
    sum->all_main -= bytes - device;
    sum->plain -= swap ? 0 : bytes;
    sum->plain_main -= swap ? 0 : bytes - device;
    sum->device -= device;
}

/* Raises *over to what `bytes` exceeds the limit by. */
static void exceed(uint64_t *over, uint64_t bytes, uint64_t limit, uint64_t swap, uint64_t part)
{
    uint64_t most = limit + (part > 0 ? limit / part : 0) + swap;

    if (bytes > most && bytes - most > *over)
        *over = bytes - most;
}

uint64_t load_over(const struct load_sum *sum, const struct plan_node *node, uint64_t part)
{
    uint64_t over = 0;

    exceed(&over, sum->plain, node->budget_bytes, 0, part);
    exceed(&over, sum->all, node->budget_bytes, node->swap_bytes, part);
    if (node->split) {
        exceed(&over, sum->plain_main, node->main_bytes, 0, part);
        exceed(&over, sum->all_main, node->main_bytes, node->swap_bytes, part);
        exceed(&over, sum->device, node->device_bytes, 0, part);
    }
    return over;
}
