/* SPDX-License-Identifier: MIT */
#include "proto/base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*clock_fn)(void *arg);
static void *clock_arg;

uint64_t rm_now_us(void)
{
    struct timespec t;

    if (clock_fn != NULL)
        return clock_fn(clock_arg);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

uint64_t rm_now_ms(void)
{
    return rm_now_us() / 1000u;
}

int64_t rm_wall_s(void)
{
    return (int64_t)time(NULL);
}

void rm_clock_set(uint64_t (*now_us)(void *arg), void *arg)
{
    clock_fn = now_us;
    clock_arg = arg;
}
