/* SPDX-License-Identifier: MIT */
#include "proto/base/self.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the loop ---- */

static const struct rm_om_bound lags[RM_LAGS] = {
    {0.001, "0.001"}, {0.0025, "0.0025"}, {0.005, "0.005"}, {0.01, "0.01"}, {0.025, "0.025"},
    {0.05, "0.05"},   {0.1, "0.1"},       {0.25, "0.25"},   {1, "1.0"},     {5, "5.0"}};

uint64_t rm_lag_tick(struct rm_lag *lag, uint64_t now_us, uint64_t period_us)
{
    uint64_t late = lag->due_us != 0 && now_us > lag->due_us ? now_us - lag->due_us : 0;

    if (lag->due_us != 0) {
        lag->bucket[rm_om_bucket(lags, RM_LAGS, (double)late / 1e6)]++;
        lag->sum += (double)late / 1e6;
    }
    if (late > lag->max_us)
        lag->max_us = late;
    lag->due_us = now_us + period_us;
    return late;
}

void rm_lag_write(const struct rm_lag *lag, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_loop_lag_seconds", RM_OM_HISTOGRAM, "seconds",
                 "How late the loop ran a timer.");
    rm_om_histogram(om, &(struct rm_om_counts){lags, lag->bucket, RM_LAGS, lag->sum});
    rm_om_family(om, "rolemesh_loop_lag_max_seconds", RM_OM_GAUGE, "seconds",
                 "The latest since the start.");
    rm_om_dbl(om, (double)lag->max_us / 1e6);
}

/* ---- the process ---- */

/* The value behind a word at the beginning of a line of a file of /proc; -1: none. */
static double read_word(const char *path, const char *word)
{
    char line[512];
    double value = -1;
    FILE *f = fopen(path, "re");

    while (f != NULL && value < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, word, strlen(word)) == 0)
            value = strtod(line + strlen(word), NULL);
    if (f != NULL)
        fclose(f);
    return value;
}

/* Since Linux 6.2 the directory's size is the number; before that it is counted. */
static double open_fds(void)
{
    struct stat st;
    double n = -3; /* ".", ".." and the directory's own */
    DIR *d;

    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (double)st.st_size;
    if ((d = opendir("/proc/self/fd")) == NULL)
        return -1;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* Seconds of the wall clock; -1: not known. Field 22 of stat: ticks since boot. */
static double started_at(void)
{
    double boot = read_word("/proc/stat", "btime "), ticks = -1;
    FILE *f = fopen("/proc/self/stat", "re");
    char text[1024], *at;

    if (f == NULL || boot < 0)
        goto out;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    at = strrchr(text, ')'); /* the name before it may hold anything */
    for (int i = 2; at != NULL && i < 22; i++)
        at = strchr(at + 1, ' ');
    if (at != NULL)
        ticks = strtod(at + 1, NULL);
out:
    if (f != NULL)
        fclose(f);
    return ticks < 0 ? -1 : boot + ticks / (double)sysconf(_SC_CLK_TCK);
}

static void write_known(struct rm_om *om, const char *name, const char *unit, const char *help,
                        double value)
{
    if (value < 0)
        return;
    rm_om_family(om, name, RM_OM_GAUGE, unit, help);
    rm_om_dbl(om, value);
}

void rm_self_write(struct rm_om *om)
{
    struct rusage used;
    struct rlimit files;
    double kib = read_word("/proc/self/status", "VmRSS:");

    if (getrusage(RUSAGE_SELF, &used) == 0) {
        rm_om_family(om, "process_cpu_seconds", RM_OM_COUNTER, "seconds",
                     "CPU time of this process, user and system.");
        rm_om_dbl(om, (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                          (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    }
    write_known(om, "process_resident_memory_bytes", "bytes", "Resident memory of this process.",
                kib < 0 ? -1 : kib * 1024);
    write_known(om, "process_open_fds", "", "Open descriptors; sockets are among them.",
                open_fds());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        write_known(om, "process_max_fds", "", "Descriptors that may be open.",
                    (double)files.rlim_cur);
    write_known(om, "process_start_time_seconds", "seconds", "When it started, since the epoch.",
                started_at());
}
