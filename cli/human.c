/* SPDX-License-Identifier: MIT */
/* cli/human.c - see human.h. */
#include "cli/human.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Three figures: "1.5", "12.3", "128". */
static void put_scaled(double n, const char *unit, char out[HUMAN_MAX])
{
    snprintf(out, HUMAN_MAX, n < 99.95 ? "%.1f%s" : "%.0f%s", n, unit);
}

const char *human_bytes(uint64_t bytes, char out[HUMAN_MAX])
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    double n = (double)bytes;
    size_t unit = 0;

    for (; n >= 1023.5 && unit < 6; unit++)
        n /= 1024;
    if (unit == 0)
        snprintf(out, HUMAN_MAX, "%" PRIu64 " B", bytes);
    else
        put_scaled(n, units[unit], out);
    return out;
}

const char *human_count(uint64_t n, char out[HUMAN_MAX])
{
    static const char *const units[] = {"k", "M", "G", "T", "P", "E"};
    double scaled = (double)n / 1000;
    size_t unit = 0;

    if (n < 1000) {
        snprintf(out, HUMAN_MAX, "%" PRIu64, n);
        return out;
    }
    for (; scaled >= 999.5 && unit < 5; unit++)
        scaled /= 1000;
    snprintf(out, HUMAN_MAX, scaled < 9.95 ? "%.1f%s" : "%.0f%s", scaled, units[unit]);
    return out;
}

const char *human_ms(uint64_t ms, char out[HUMAN_MAX])
{
    uint64_t s = ms / 1000;

    if (ms < 1000)
        snprintf(out, HUMAN_MAX, "%" PRIu64 "ms", ms);
    else if (ms < 59950)
        snprintf(out, HUMAN_MAX, "%.1fs", (double)ms / 1000);
    else if (s < 3600)
        snprintf(out, HUMAN_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, HUMAN_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, HUMAN_MAX, "%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
    return out;
}

const char *human_seconds(double s, char out[HUMAN_MAX])
{
    if (!(s >= 0.0005))
        snprintf(out, HUMAN_MAX, "0s");
    else
        human_ms(s < 1e12 ? (uint64_t)(s * 1000 + 0.5) : (uint64_t)1e15, out);
    return out;
}

const char *human_rate(double per_s, char out[HUMAN_MAX])
{
    if (per_s >= 100000)
        return human_count(per_s < 1e18 ? (uint64_t)per_s : (uint64_t)1e18, out);
    put_scaled(per_s > 0 ? per_s : 0, "", out);
    return out;
}

const char *human_time(const char *text, time_t now_s, char out[HUMAN_MAX])
{
    struct tm tm = {.tm_sec = 0}, local, now;
    time_t at;

    if (text == NULL || strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL ||
        (at = timegm(&tm)) == (time_t)-1 || localtime_r(&at, &local) == NULL ||
        localtime_r(&now_s, &now) == NULL)
        snprintf(out, HUMAN_MAX, "-");
    else if (local.tm_yday == now.tm_yday && local.tm_year == now.tm_year)
        strftime(out, HUMAN_MAX, "%H:%M:%S", &local);
    else
        strftime(out, HUMAN_MAX, "%Y-%m-%d %H:%M:%S", &local);
    return out;
}
