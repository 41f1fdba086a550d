/* SPDX-License-Identifier: MIT */
#include "worker/memory/busy.h"

#include <string.h>

#include "worker/memory/sysread.h"

enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, STAT_COLUMNS };

bool busy_parse_stat(struct rm_slice text, struct busy_cpu *out)
{
    static const char name[] = "cpu ";
    const char *p = text.p, *end;
    uint64_t column[STAT_COLUMNS] = {0}, total = 0;
    int n = 0;

    if (text.n < sizeof(name) || memcmp(p, name, sizeof(name) - 1) != 0)
        return false;
    end = sys_line_end(p, text.p + text.n);
    for (p += sizeof(name) - 1; n < STAT_COLUMNS && sys_digits(p, end, &column[n]); n++) {
        while (p < end && *p == ' ')
            p++;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (__builtin_add_overflow(total, column[n], &total))
            return false;
    }
    if (n <= IDLE) /* kernels before 2.6 have no more */
        return false;
    *out = (struct busy_cpu){total - column[IDLE] - column[IOWAIT], total};
    return true;
}

void busy_note(struct busy *b, const struct busy_cpu *cpu, double gpu_percent)
{
    if (cpu == NULL) {
        b->n_cpu = b->next_cpu = 0;
    } else {
        b->cpu[b->next_cpu] = *cpu;
        b->next_cpu = (b->next_cpu + 1) % RM_COUNT(b->cpu);
        b->n_cpu += b->n_cpu < RM_COUNT(b->cpu);
    }
    b->gpu[b->next_gpu] = gpu_percent;
    b->next_gpu = (b->next_gpu + 1) % RM_COUNT(b->gpu);
    b->n_gpu += b->n_gpu < RM_COUNT(b->gpu);
}

double busy_cpu_percent(const struct busy *b)
{
    const uint32_t size = RM_COUNT(b->cpu);
    const struct busy_cpu *newest = &b->cpu[(b->next_cpu + size - 1) % size];
    const struct busy_cpu *oldest = &b->cpu[(b->next_cpu + size - b->n_cpu) % size];

    if (b->n_cpu < 2 || newest->total <= oldest->total)
        return -1;
    if (newest->busy <= oldest->busy) /* iowait may go backwards, proc(5) says */
        return 0;
    if (newest->busy - oldest->busy >= newest->total - oldest->total)
        return 100;
    return 100 * (double)(newest->busy - oldest->busy) / (double)(newest->total - oldest->total);
}

double busy_gpu_percent(const struct busy *b)
{
    double sum = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < b->n_gpu; i++)
        if (b->gpu[i] >= 0) {
            sum += b->gpu[i];
            n++;
        }
    return n > 0 ? sum / n : -1;
}
