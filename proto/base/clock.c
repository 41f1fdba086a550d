/* SPDX-License-Identifier: MIT */
#include "proto/base/clock.h"

#include <stddef.h>
#include <stdio.h>
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

int64_t rm_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *rm_time_text(int64_t wall_ms, char out[RM_TIME_TEXT])
{
    time_t s = (time_t)(wall_ms / 1000);
    char text[64];
    struct tm tm;

    gmtime_r(&s, &tm);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_ms % 1000));
    snprintf(out, RM_TIME_TEXT, "%.24s", text);
    return out;
}

void rm_clock_set(uint64_t (*now_us)(void *arg), void *arg)
{
    clock_fn = now_us;
    clock_arg = arg;
}
