/* SPDX-License-Identifier: MIT */
/* worker/core/main.c - rolemesh-core: one model, one process. Arguments, what the process owes its
 * parent, start and stop in order; ready.h has the contract with the worker, options.c the help.
 *
 *   options -> process -> decoder_open (blocks while weights load) -> api_start -> ready -> loop */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <llama.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/core/api.h"
#include "worker/core/decoder.h"
#include "worker/core/devices.h"
#include "worker/core/forecast.h"
#include "worker/core/kvdisk.h"
#include "worker/core/options.h"
#include "worker/core/ready.h"

enum { WHY = 512, OOM_SCORE = 800, STOP_S = 1, MAPPED_FROM = 4 << 20 };
enum { FORECAST_S = 40, FORECAST_MEMORY_LEAST = 64 << 20 };

struct core {
    struct core_options options;
    struct ready_pipe pipe;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct api *api;
    struct decoder *decoder;
    struct kvdisk *kv; /* NULL: none */
    uint64_t started_ms;
    enum core_exit exit_code;
    bool stopping;
};

/* ---- what the process owes its parent ---- */

/* A signal while weights load, or one second after a stop began: there is nothing to save. */
static void leave(int signal)
{
    (void)signal;
    _exit(CORE_EXIT_OK);
}

static void process_set_oom_score(void)
{
    char text[16];
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int n = snprintf(text, sizeof(text), "%d", OOM_SCORE);

    if (fd < 0)
        return;
    if (write(fd, text, (size_t)n) < 0)
        rm_debug("core", "oom_score_adj stays as it is",
                 RM_E("why", uv_translate_sys_error(errno)));
    close(fd);
}

/* Prompts must not reach a core file; a dead worker must not leave an engine behind. Returns false
 * when the parent has gone already. */
static bool process_set_up(const struct core_options *o)
{
    const struct rlimit none = {0, 0};
    struct sigaction quit = {.sa_handler = leave}, ignore = {.sa_handler = SIG_IGN};

    setrlimit(RLIMIT_CORE, &none);
    sigaction(SIGTERM, &quit, NULL);
    sigaction(SIGINT, &quit, NULL);
    sigaction(SIGALRM, &quit, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file over the limit is an error, not an end */
    setpgid(0, 0);                     /* fails only when it is a leader already */
    process_set_oom_score();
    if (o->parent_pid == 0)
        return true;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == o->parent_pid;
}

/* ---- endings ---- */

static enum core_exit exit_of(int err)
{
    switch (err) {
    case 0:
        return CORE_EXIT_OK;
    case RM_ERR_FIELD: /* from loader.c: a flag that cannot be */
        return CORE_EXIT_USAGE;
    case RM_ERR_MODEL_FILE:
        return CORE_EXIT_MODEL;
    case RM_ERR_ABI:
        return CORE_EXIT_ABI;
    case UV_ENOMEM:
        return CORE_EXIT_MEMORY;
    default:
        return CORE_EXIT_OTHER;
    }
}

static const char *cause_of(int err)
{
    switch (exit_of(err)) {
    case CORE_EXIT_USAGE:
        return "usage";
    case CORE_EXIT_MODEL:
        return "load";
    case CORE_EXIT_ABI:
        return "abi";
    case CORE_EXIT_MEMORY:
        return "memory";
    default:
        return err == UV_EADDRINUSE || err == UV_EACCES || err == UV_ENOENT ? "socket" : "internal";
    }
}

static enum core_exit core_fail(struct core *c, int err, const char *why)
{
    if (why == NULL || why[0] == '\0')
        why = rm_strerror(err);
    rm_error("core", "cannot go on", RM_S("why", why), RM_S("error", rm_err_name(err)));
    ready_fail(&c->pipe, cause_of(err), why);
    return exit_of(err);
}

/* ---- the forecast ---- */

static void print_forecast(const struct node_forecast *f)
{
    printf("%-24s %16s %16s %16s\n", "buffer", "weights", "kv", "compute");
    for (uint32_t i = 0; i < f->n_buffers; i++)
        printf("%-24s %16" PRIu64 " %16" PRIu64 " %16" PRIu64 "\n", f->buffers[i].name,
               f->buffers[i].weights, f->buffers[i].kv, f->buffers[i].compute);
    printf("%-24s %16" PRIu64 " %16" PRIu64 " %16" PRIu64 "\n", "sum", f->weights, f->kv,
           f->compute);
    printf("output %" PRIu64 ", process %" PRIu64 ", checkpoints at most %" PRIu64
           "\ntotal %" PRIu64 " bytes for %u slots of %u tokens\n",
           f->output, f->process, f->checkpoints, f->total, f->slots, f->context);
}

/* MemAvailable of /proc/meminfo, bytes; 0: not known. */
static uint64_t memory_available(void)
{
    char line[128];
    uint64_t kb = 0;
    FILE *f = fopen("/proc/meminfo", "r");

    while (f != NULL && kb == 0 && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "MemAvailable: %" SCNu64, &kb) != 1)
            kb = 0;
    if (f != NULL)
        fclose(f);
    return kb * 1024;
}

/* A file made to hurt shall not take the machine along: memory and time of a forecast are bounded,
 * and going over is an answer (exit code 5, or SIGALRM). The limit is RLIMIT_DATA, not RLIMIT_AS:
 * drivers of GPUs reserve terabytes of addresses without the right to write, which only the latter
 * counts, while every allocation of this process counts for both. */
static void forecast_limit(uint64_t bytes)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* shadows count as well */
    struct rlimit limit;

    if (bytes == 0)
        bytes = memory_available() / 4;
    if (bytes > 0 && bytes < FORECAST_MEMORY_LEAST)
        bytes = FORECAST_MEMORY_LEAST;
    limit.rlim_cur = limit.rlim_max = bytes;
    if (bytes > 0)
        setrlimit(RLIMIT_DATA, &limit);
#else
    (void)bytes;
    (void)memory_available;
#endif
    alarm(FORECAST_S);
}

static enum core_exit core_forecast(struct core *c)
{
    struct decoder_conf conf = core_options_decoder(&c->options);
    static struct node_forecast f;
    struct rm_buf text;
    char why[WHY] = "";
    int r;

    forecast_limit(c->options.memory_max);
    r = forecast_run(&conf, true, &f, why, sizeof(why));

    if (r < 0)
        return core_fail(c, r, why);
    if (!c->options.json) {
        print_forecast(&f);
        return CORE_EXIT_OK;
    }
    rm_buf_init(&text, 64 * 1024);
    if ((r = node_forecast_encode(&f, &text)) == 0)
        puts(text.data);
    rm_buf_clear(&text);
    return exit_of(r);
}

/* ---- the devices ---- */

static void print_devices(const struct node_devices *all)
{
    printf("%-12s %-6s %-14s %16s %16s  %s\n", "device", "kind", "id", "total", "free", "what");
    for (uint32_t i = 0; i < all->n; i++) {
        const struct node_device *d = &all->device[i];

        printf("%-12s %-6s %-14s %16" PRIu64 " %16" PRIu64 "  %s\n", d->name,
               node_device_kind_name(d->kind), d->id, d->total, d->free, d->description);
    }
}

static enum core_exit core_print_devices(struct core *c)
{
    struct node_devices all;
    struct rm_buf text;
    char why[WHY] = "";
    int r = core_devices(&all, why, sizeof(why));

    if (r < 0)
        return core_fail(c, r, why);
    if (!c->options.json) {
        print_devices(&all);
        return CORE_EXIT_OK;
    }
    rm_buf_init(&text, 64 * 1024);
    if ((r = node_devices_encode(&all, &text)) == 0)
        puts(text.data);
    rm_buf_clear(&text);
    return exit_of(r);
}

/* ---- serving ---- */

static void core_stop(struct core *c)
{
    if (c->stopping)
        return;
    c->stopping = true;
    alarm(STOP_S); /* a decode call or a pool thread may take longer than anybody waits */
    api_close(c->api, NULL, NULL);
    uv_close((uv_handle_t *)&c->term, NULL);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
}

static void core_on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    rm_info("core", "stopping");
    core_stop(handle->data);
}

static void core_on_ready(void *arg, int err, const struct kvsave_report *restored)
{
    struct core *c = arg;
    struct ready_facts facts = {
        .context = decoder_context(c->decoder),
        .slots = c->options.slots,
        .version = RM_VERSION,
        .llama = llama_version(),
        .load_ms = rm_now_ms() - c->started_ms,
        .restored_tokens = restored != NULL ? restored->tokens : 0,
        .not_restored = restored != NULL && !restored->done ? restored->why : "",
    };

    if (err < 0) {
        c->exit_code = core_fail(c, err, "the model cannot decode");
        core_stop(c);
        return;
    }
    rm_info("core", "ready", RM_U("context", facts.context), RM_U("slots", facts.slots),
            RM_U("load_ms", facts.load_ms));
    ready_say(&c->pipe, &facts);
}

static void core_on_progress(void *arg, float part)
{
    struct core *c = arg;

    ready_progress(&c->pipe, part, rm_now_ms());
}

static void core_on_wake(void *arg)
{
    struct core *c = arg;

    api_wake(c->api);
}

/* Without it the core serves all the same. */
static void core_open_kv(struct core *c, const struct decoder_conf *flags)
{
    struct kvdisk_conf conf = {.path = c->options.kv_file,
                               .model_hash = c->options.model_hash,
                               .most_bytes = c->options.kv_file_max,
                               .decoder = flags};
    int r = conf.path != NULL ? kvdisk_open(&conf, &c->kv) : 0;

    if (r < 0)
        rm_warn("core", "no KV state is kept", RM_E("why", r));
}

static int core_open_decoder(struct core *c, char *why)
{
    struct decoder_conf conf = core_options_decoder(&c->options);

    core_open_kv(c, &conf);
    conf.wake = core_on_wake;
    conf.load_progress = core_on_progress;
    conf.arg = c;
    return decoder_open(&conf, &c->decoder, why, WHY);
}

static int core_start_api(struct core *c)
{
    struct api_conf conf = {
        .decoder = c->decoder,
        .socket = c->options.socket,
        .alias = c->options.alias,
        .slots = c->options.slots,
        .kv = c->kv,
        .on_ready = core_on_ready,
        .arg = c,
    };

    uv_signal_init(&c->loop, &c->term);
    uv_signal_init(&c->loop, &c->interrupt);
    c->term.data = c->interrupt.data = c;
    uv_signal_start(&c->term, core_on_signal, SIGTERM);
    uv_signal_start(&c->interrupt, core_on_signal, SIGINT);
    return api_start(c->api, &conf);
}

static enum core_exit core_serve(struct core *c)
{
    char why[WHY] = "";
    int r = uv_loop_init(&c->loop);

    if (r < 0 || (r = api_new(&c->loop, &c->api)) < 0)
        return core_fail(c, r, NULL);
    if ((r = core_open_decoder(c, why)) < 0)
        return core_fail(c, r, why); /* the process ends: nothing of the loop is in use */
    if ((r = core_start_api(c)) < 0) {
        c->exit_code = core_fail(c, r, r == UV_EADDRINUSE ? "the socket is in use" : NULL);
        core_stop(c);
    }
    uv_run(&c->loop, UV_RUN_DEFAULT);
    decoder_close(c->decoder); /* its thread rings the api's bell until here */
    api_free(c->api);
    kvdisk_close(c->kv);
    uv_loop_close(&c->loop);
    return c->exit_code;
}

int main(int argc, char **argv)
{
    static struct core c;
    char why[WHY] = "";
    int r = core_options_parse(argc, argv, &c.options, why, sizeof(why)), pipe_err;

    c.started_ms = rm_now_ms();
    /* Without this glibc raises its threshold when a large buffer is freed, and puts the next ones,
     * which may never be touched in full, on heap pages that were touched: the process would hold
     * more than its forecast. */
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
    pipe_err = ready_open(&c.pipe, c.options.ready_fd);
    if (r == 0 && pipe_err < 0) {
        r = RM_ERR_FIELD;
        snprintf(why, sizeof(why), "--ready-fd: not an open descriptor");
    }
    if (r < 0) {
        fprintf(stderr, "rolemesh-core: %s\n", why);
        ready_fail(&c.pipe, "usage", why);
        return CORE_EXIT_USAGE;
    }
    json_object_seed(0); /* before there are threads */
    switch (c.options.mode) {
    case CORE_HELP:
        fputs(core_options_help(), stdout);
        return CORE_EXIT_OK;
    case CORE_VERSION:
        printf("rolemesh-core %s (llama.cpp %s)\n", RM_VERSION, llama_version());
        return CORE_EXIT_OK;
    case CORE_FORECAST:
        return core_forecast(&c);
    case CORE_DEVICES:
        return core_print_devices(&c);
    case CORE_SERVE:
        break;
    }
    if (!process_set_up(&c.options)) {
        rm_error("core", "the parent is gone");
        return CORE_EXIT_OTHER;
    }
    return core_serve(&c);
}
