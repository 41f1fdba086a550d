/* SPDX-License-Identifier: MIT */
/* cli/doctor/judge.c - what facts of this machine mean for somebody who hosts models on it. Pure.
 */
#include "cli/doctor/doctor.h"

#include "cli/human.h"

enum { FILES_LEAST = 4096 };

static const char *bytes(int64_t n, char out[HUMAN_MAX])
{
    return human_bytes(n > 0 ? (uint64_t)n : 0, out);
}

static void judge_memory(const struct machine_facts *f, struct doctor *d)
{
    char a[HUMAN_MAX], b[HUMAN_MAX];
    bool low = f->mem_total > 0 && f->mem_available < f->mem_total / 20;

    if (f->mem_total <= 0 || f->mem_available < 0) {
        doctor_say(d, DOCTOR_SKIPPED, "memory", "", NULL, "/proc/meminfo tells nothing");
        return;
    }
    doctor_say(
        d, low ? DOCTOR_WARNING : DOCTOR_OK, "memory", "",
        low ? "close what is not needed, or host less here (rolemesh unload, a larger reserve)"
            : NULL,
        "%s of %s available", bytes(f->mem_available, a), bytes(f->mem_total, b));
}

static void judge_pressure(const struct machine_facts *f, struct doctor *d)
{
    if (f->pressure_some < 0) {
        doctor_say(d, DOCTOR_SKIPPED, "memory pressure", "", NULL,
                   "the kernel has no /proc/pressure/memory");
        return;
    }
    if (f->pressure_full >= 5)
        doctor_say(
            d, DOCTOR_FAILURE, "memory pressure", "", "host less here: everything waits for memory",
            "in %.1f %% of the last 10 s everything stood still for memory", f->pressure_full);
    else
        doctor_say(d, f->pressure_some >= 10 ? DOCTOR_WARNING : DOCTOR_OK, "memory pressure", "",
                   f->pressure_some >= 10 ? "host less here, or give the worker a larger reserve"
                                          : NULL,
                   "in %.1f %% of the last 10 s something waited for memory", f->pressure_some);
}

static void judge_swap(const struct machine_facts *f, struct doctor *d)
{
    int64_t used = f->swap_total - f->swap_free;
    char a[HUMAN_MAX], b[HUMAN_MAX];
    bool much = f->swap_total > 0 && used > f->swap_total / 2 && used > (1 << 30);

    if (f->swap_total < 0 || f->swap_free < 0)
        doctor_say(d, DOCTOR_SKIPPED, "swap", "", NULL, "/proc/meminfo tells nothing");
    else if (f->swap_total == 0)
        doctor_say(d, DOCTOR_OK, "swap", "", NULL, "there is none");
    else
        doctor_say(d, much ? DOCTOR_WARNING : DOCTOR_OK, "swap", "",
                   much ? "weights in swap make a host very slow: host less here" : NULL,
                   "%s of %s used", bytes(used, a), bytes(f->swap_total, b));
}

static void judge_hugepages(const struct machine_facts *f, struct doctor *d)
{
    char a[HUMAN_MAX];

    if (f->huge_total < 0)
        doctor_say(d, DOCTOR_SKIPPED, "huge pages", "", NULL, "/proc/meminfo tells nothing");
    else if (f->huge_free > f->mem_total / 20 && f->huge_free > 0)
        doctor_say(d, DOCTOR_WARNING, "huge pages", "",
                   "set vm.nr_hugepages lower: engines cannot use that pool",
                   "%s lie unused in the pool of huge pages", bytes(f->huge_free, a));
    else
        doctor_say(d, DOCTOR_OK, "huge pages", "", NULL, "pool of %s; transparent ones: %s",
                   bytes(f->huge_total, a), f->thp[0] != '\0' ? f->thp : "not known");
}

static void judge_oom(const struct machine_facts *f, struct doctor *d)
{
    if (f->panic_on_oom > 0)
        doctor_say(d, DOCTOR_WARNING, "out of memory", "",
                   "sysctl vm.panic_on_oom=0, so that one engine ends instead of the machine",
                   "the kernel is told to panic (vm.panic_on_oom=%d)", f->panic_on_oom);
    else if (f->oom_kill_allocating > 0)
        doctor_say(d, DOCTOR_WARNING, "out of memory", "",
                   "sysctl vm.oom_kill_allocating_task=0, so that it takes an engine first",
                   "the kernel kills whoever asks for memory (vm.oom_kill_allocating_task=%d)",
                   f->oom_kill_allocating);
    else if (f->overcommit == 2)
        doctor_say(d, DOCTOR_WARNING, "out of memory", "",
                   "sysctl vm.overcommit_memory=0: large mappings of model files may be refused",
                   "memory is never promised beyond what there is (vm.overcommit_memory=2)");
    else if (f->overcommit < 0)
        doctor_say(d, DOCTOR_SKIPPED, "out of memory", "", NULL, "/proc/sys/vm tells nothing");
    else
        doctor_say(d, DOCTOR_OK, "out of memory", "", NULL,
                   "the kernel chooses by oom_score_adj: engines before workers");
}

static void judge_files(const struct machine_facts *f, struct doctor *d)
{
    if (f->files_hard < 0)
        doctor_say(d, DOCTOR_SKIPPED, "open files", "", NULL, "no limit could be read");
    else
        doctor_say(d, f->files_hard < FILES_LEAST ? DOCTOR_WARNING : DOCTOR_OK, "open files", "",
                   f->files_hard < FILES_LEAST
                       ? "raise the hard limit (ulimit -Hn, LimitNOFILE= of a unit)"
                       : NULL,
                   "at most %lld, %lld until raised", (long long)f->files_hard,
                   (long long)f->files_soft);
}

static void judge_clock(const struct machine_facts *f, struct doctor *d)
{
    if (f->clock_synced < 0)
        doctor_say(d, DOCTOR_SKIPPED, "clock", "", NULL, "the kernel does not tell");
    else
        doctor_say(d, f->clock_synced ? DOCTOR_OK : DOCTOR_WARNING, "clock", "",
                   f->clock_synced ? NULL
                                   : "run a time service (timedatectl set-ntp true); times in logs "
                                     "and history rest on it",
                   f->clock_synced ? "synchronised" : "not synchronised by a time service");
}

static void judge_gpu(const struct machine_facts *f, struct doctor *d)
{
    if (f->core == CORE_MISSING)
        doctor_say(d, DOCTOR_WARNING, "engine", "",
                   "build with llama.cpp (deploy/setup --llama cpu) where this machine is to host",
                   "there is no rolemesh-core beside this program");
    else if (f->core == CORE_FAILED)
        doctor_say(d, DOCTOR_FAILURE, "engine", "", "run rolemesh-core --devices to see why",
                   "rolemesh-core --devices failed: %s", f->core_why);
    else if (f->gpu[0] != '\0' && f->gpu_denied[0] != '\0')
        doctor_say(d, DOCTOR_WARNING, "engine", "",
                   "add the worker's user to the groups render and video, and log in again",
                   "%s GPU here, but %s may not be opened", f->gpu, f->gpu_denied);
    else if (f->gpu[0] != '\0' && f->core == CORE_CPU_ONLY)
        doctor_say(d, DOCTOR_WARNING, "engine", "",
                   "deploy/setup --llama vulkan (or cuda), then build again",
                   "%s GPU here, but the engine can use CPUs only", f->gpu);
    else
        doctor_say(d, DOCTOR_OK, "engine", "", NULL, "%s%s%s",
                   f->core == CORE_HAS_GPU ? "the engine can use a GPU" : "the engine uses CPUs",
                   f->gpu[0] != '\0' ? "; seen here: " : "", f->gpu);
}

void machine_judge(const struct machine_facts *f, struct doctor *d)
{
    judge_memory(f, d);
    judge_pressure(f, d);
    judge_swap(f, d);
    judge_hugepages(f, d);
    judge_oom(f, d);
    judge_files(f, d);
    judge_clock(f, d);
    judge_gpu(f, d);
}
