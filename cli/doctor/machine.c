/* SPDX-License-Identifier: MIT */
/* cli/doctor/machine.c - what the kernel says of this machine. Where it says nothing the fact is
 * unknown. */
#include "cli/doctor/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

#include "cli/run.h"
#include "proto/base/buf.h"

enum { TEXT_MAX = 16384, PATH_ROOM = 512, CORE_MS = 20000 };

/* A small file whole; "" when it cannot be read. */
static const char *read_text(const char *root, const char *path, char out[TEXT_MAX])
{
    char full[PATH_ROOM];
    ssize_t n;
    int fd;

    out[0] = '\0';
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full ||
        (fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0)
        return out;
    n = read(fd, out, TEXT_MAX - 1);
    out[n > 0 ? n : 0] = '\0';
    close(fd);
    return out;
}

static int read_int(const char *root, const char *path)
{
    char text[TEXT_MAX], *end;
    long v = strtol(read_text(root, path, text), &end, 10);

    return end != text && v >= 0 && v < 1000000 ? (int)v : -1;
}

/* A row of /proc/meminfo, in its own unit. */
static int64_t meminfo(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, n) == 0 && line[n] == ':')
            return strtoll(line + n + 1, NULL, 10);
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return -1;
}

static int64_t kibibytes(int64_t v)
{
    return v >= 0 && v < INT64_MAX / 1024 ? v * 1024 : -1;
}

static void read_memory(const char *root, struct machine_facts *f)
{
    char text[TEXT_MAX];
    int64_t page, total, unused;

    read_text(root, "/proc/meminfo", text);
    f->mem_total = kibibytes(meminfo(text, "MemTotal"));
    f->mem_available = kibibytes(meminfo(text, "MemAvailable"));
    f->swap_total = kibibytes(meminfo(text, "SwapTotal"));
    f->swap_free = kibibytes(meminfo(text, "SwapFree"));
    page = kibibytes(meminfo(text, "Hugepagesize"));
    total = meminfo(text, "HugePages_Total");
    unused = meminfo(text, "HugePages_Free");
    f->huge_total = page > 0 && total >= 0 && total < (1 << 30) ? total * page : -1;
    f->huge_free = page > 0 && unused >= 0 && unused < (1 << 30) ? unused * page : -1;
}

/* "some avg10=1.23 ..." */
static double pressure(const char *text, const char *row)
{
    const char *line = strstr(text, row), *value;

    value = line != NULL ? strstr(line, "avg10=") : NULL;
    return value != NULL ? strtod(value + 6, NULL) : -1;
}

/* "always [madvise] never" */
static void read_thp(const char *root, char out[16])
{
    char text[TEXT_MAX], *open, *close;

    read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", text);
    open = strchr(text, '[');
    close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL)
        return;
    *close = '\0';
    rm_text_copy(out, 16, open + 1);
}

static int clock_synced(void)
{
    struct timex t = {.modes = 0};
    int r = adjtimex(&t);

    return r < 0 ? -1 : r == TIME_ERROR || (t.status & STA_UNSYNC) != 0 ? 0 : 1;
}

/* ---- GPUs ---- */

static void see_gpu(struct machine_facts *f, const char *vendor)
{
    const char *name = strncmp(vendor, "0x1002", 6) == 0   ? "AMD"
                       : strncmp(vendor, "0x10de", 6) == 0 ? "NVIDIA"
                                                           : NULL;
    size_t n = strlen(f->gpu);

    if (name != NULL && strstr(f->gpu, name) == NULL)
        snprintf(f->gpu + n, sizeof f->gpu - n, "%s%s", n > 0 ? ", " : "", name);
}

static void try_device(const char *root, const char *path, struct machine_facts *f)
{
    char full[PATH_ROOM];

    snprintf(full, sizeof full, "%s%s", root, path);
    if (access(full, F_OK) == 0 && access(full, R_OK | W_OK) != 0 && f->gpu_denied[0] == '\0')
        rm_text_copy(f->gpu_denied, sizeof f->gpu_denied, path);
}

static void read_gpus(const char *root, struct machine_facts *f)
{
    char path[PATH_ROOM], text[TEXT_MAX];
    struct dirent *e;
    DIR *dir;

    snprintf(path, sizeof path, "%s/sys/class/drm", root);
    for (dir = opendir(path); dir != NULL && (e = readdir(dir)) != NULL;)
        if (strncmp(e->d_name, "card", 4) == 0 && strchr(e->d_name, '-') == NULL) {
            snprintf(path, sizeof path, "/sys/class/drm/%.60s/device/vendor", e->d_name);
            see_gpu(f, read_text(root, path, text));
        }
    if (dir != NULL)
        closedir(dir);
    snprintf(path, sizeof path, "%s/dev/nvidia0", root);
    if (access(path, F_OK) == 0)
        see_gpu(f, "0x10de");
    if (f->gpu[0] == '\0')
        return;
    try_device(root, "/dev/nvidia0", f);
    try_device(root, "/dev/kfd", f);
    try_device(root, "/dev/dri/renderD128", f);
}

/* The table of `rolemesh-core --devices`: the second word of a row is the kind. */
static enum doctor_core core_of(const char *table)
{
    enum doctor_core found = CORE_FAILED;

    for (const char *line = table; line != NULL && *line != '\0';) {
        char kind[16] = "";

        if (sscanf(line, "%*s %15s", kind) == 1) {
            if (strcmp(kind, "gpu") == 0 || strcmp(kind, "igpu") == 0 || strcmp(kind, "accel") == 0)
                return CORE_HAS_GPU;
            if (strcmp(kind, "cpu") == 0)
                found = CORE_CPU_ONLY;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return found;
}

static void ask_core(const char *core, struct machine_facts *f)
{
    const char *const argv[] = {core, "--devices", NULL};
    struct run_result run;
    int r;

    if (core[0] == '\0') {
        f->core = CORE_MISSING;
        return;
    }
    r = run_program(argv, CORE_MS, &run);
    f->core = r == 0 && run.exit_code == 0 && !run.late && run.out.data != NULL
                  ? core_of(run.out.data)
                  : CORE_FAILED;
    if (f->core == CORE_FAILED && r < 0)
        rm_text_copy(f->core_why, sizeof f->core_why, rm_strerror(r));
    else if (f->core == CORE_FAILED && run.late)
        rm_text_copy(f->core_why, sizeof f->core_why, "it did not answer");
    else if (f->core == CORE_FAILED)
        snprintf(f->core_why, sizeof f->core_why, "exit code %lld, signal %d",
                 (long long)run.exit_code, run.signal);
    run_result_clear(&run);
}

void machine_read(const char *root, const char *core, struct machine_facts *out)
{
    struct rlimit files;
    char text[TEXT_MAX];

    *out = (struct machine_facts){.files_soft = -1, .files_hard = -1};
    read_memory(root, out);
    read_text(root, "/proc/pressure/memory", text);
    out->pressure_some = pressure(text, "some ");
    out->pressure_full = pressure(text, "full ");
    out->overcommit = read_int(root, "/proc/sys/vm/overcommit_memory");
    out->panic_on_oom = read_int(root, "/proc/sys/vm/panic_on_oom");
    out->oom_kill_allocating = read_int(root, "/proc/sys/vm/oom_kill_allocating_task");
    out->swappiness = read_int(root, "/proc/sys/vm/swappiness");
    read_thp(root, out->thp);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        out->files_soft = files.rlim_cur < INT64_MAX ? (int64_t)files.rlim_cur : INT64_MAX;
        out->files_hard = files.rlim_max < INT64_MAX ? (int64_t)files.rlim_max : INT64_MAX;
    }
    out->clock_synced = clock_synced();
    read_gpus(root, out);
    ask_core(core, out);
}
