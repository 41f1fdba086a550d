/* SPDX-License-Identifier: MIT */
#include "worker/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/log.h"
#include "proto/base/state_dir.h"
#include "worker/host/kvfiles.h"
#include "worker/host/supervise.h"
#include "worker/memory/forecast.h"
#include "worker/memory/ledger.h"
#include "worker/memory/measure_host.h"
#include "worker/memory/process.h"
#include "worker/memory/sysread.h"
#include "worker/files.h"
#include "worker/metrics.h"
#include "worker/models/models.h"
#include "worker/pulls/pulls.h"

enum {
    SOCKET_NAME_ROOM = 12,
    UNIX_PATH_MAX = 107,
    /* Longer than a gateway waits for its own client (60 s): else a slow editor would make us cut a
     * stream that the gateway still wants. */
    WRITE_STALL_MS = 75000,
    FILES_MAX = 65536,
    TIDY_S = 60,     /* how often the files of KV state are looked at, seconds */
    OOM_SCORE = -500 /* engines have +800 (host/supervise.h): the kernel takes one of them */
};

#define KEEP_FREE_BYTES (1ULL << 30)       /* on the models directory's disk, by pulls */
#define EPOCH_MAX       ((1ULL << 53) - 1) /* of an integer in a message */

/* ---- state ---- */

/* To be cleared by the caller. Returns 0 or UV_ENOMEM. */
static int worker_fill_state(struct worker *w, struct node_state *s)
{
    *s = (struct node_state){
        .seq = w->seq,
        .epoch = w->epoch,
        .uptime_ms = rm_now_ms() - w->start_ms,
        .draining = w->draining,
        .cpu_percent = busy_cpu_percent(&w->room.processors),
        .gpu_percent = busy_gpu_percent(&w->room.processors),
        .memory = w->memory,
        .devices = w->devices,
        .n_hosts = w->n_hosts,
    };
    snprintf(s->node, sizeof(s->node), "%s", w->opt.node);
    snprintf(s->version, sizeof(s->version), "%s", RM_VERSION);
    memcpy(s->boot_id, w->boot_id, sizeof(s->boot_id));
    if (w->n_hosts > 0 && (s->hosts = calloc(w->n_hosts, sizeof(*s->hosts))) == NULL)
        return UV_ENOMEM;
    for (uint32_t i = 0; i < w->n_hosts; i++) {
        host_fill(w->hosts[i], &s->hosts[i]);
        s->memory.committed += host_forecast_bytes(w->hosts[i]);
    }
    s->n_pulls = pulls_list(w->pulls, s->pulls, NODE_PULLS_SHOWN);
    return 0;
}

int worker_encode_state(struct worker *w, struct rm_buf *out)
{
    struct node_state s;
    int r = worker_fill_state(w, &s);

    if (r == 0)
        r = node_state_encode(&s, out);
    node_state_clear(&s);
    return r;
}

int worker_put_metrics(struct worker *w, struct rm_om *om)
{
    struct worker_figures f = {.loads = meters_loads(w->meters)};
    struct node_ledger page;
    struct node_state s;
    int r = worker_fill_state(w, &s);

    ledger_page(w->ledger, 0, 1, &page);
    f.state = &s;
    f.rows = ledger_rows(w->ledger, &f.n_rows);
    f.ledger_usable = page.usable;
    f.ledger_lost = page.lost;
    f.guard_refused = w->room.refused;
    f.guard_drained = w->room.drained;
    f.guard_stopped = w->room.stopped;
    f.lag = w->lag;
    http_server_stats(w->server, &f.server);
    if (r == 0)
        metrics_put(&f, om);
    node_state_clear(&s);
    return r;
}

void worker_changed(struct worker *w)
{
    w->seq++;
    watch_changed(w->watch);
}

static void worker_on_change(void *arg)
{
    worker_changed(arg);
}

static void worker_on_pull_change(void *arg)
{
    struct worker *w = arg;

    if (!w->closing)
        worker_changed(w);
}

/* A model was fetched: what waits for a file looks at once. */
static void worker_on_pull_there(void *arg)
{
    struct worker *w = arg;

    for (uint32_t i = 0; i < w->n_hosts; i++)
        host_files_changed(w->hosts[i]);
}

static bool worker_refuse_start(void *arg, uint64_t bytes, char *why, size_t size)
{
    return room_refuses(arg, bytes, why, size);
}

static bool worker_has_room(void *arg, const struct host *h, uint64_t bytes, char *why, size_t size)
{
    return room_fits(arg, h, bytes, why, size);
}

/* ---- the clock ---- */

static void worker_on_tick(uv_timer_t *t)
{
    struct worker *w = t->data;

    (void)rm_lag_tick(&w->lag, rm_now_us(), WORKER_TICK_MS * 1000u);
    supervisor_tick(w->supervisor);
    ledger_poll(w->ledger);
    room_tick(w);
    if (++w->ticks % TIDY_S == 0)
        kvfiles_tidy(w->kvfiles);
    pulls_tick(w->pulls);
    for (uint32_t i = 0; i < w->n_hosts; i++)
        host_tick(w->hosts[i]);
}

/* ---- small files of the state directory ---- */

/* Not flushed to the disk: after a power cut it may be the old one. */
static int write_state_file(const struct worker *w, const char *name, const char *text)
{
    char path[1300], line[HTTP_ADDRESS_TEXT + 2];
    int n = snprintf(line, sizeof(line), "%s\n", text);

    snprintf(path, sizeof(path), "%s/%s", w->opt.state_dir, name);
    return rm_file_put(path, (struct rm_slice){line, (size_t)n}, 0644);
}

/* The highest epoch of a gateway, kept over restarts: one that is not in charge any more must not
 * be again because the worker started anew. */
static void load_epoch(struct worker *w)
{
    char text[32] = "", *end = text;
    int root = sys_root(w->opt.state_dir);

    if (root < 0)
        return;
    if (sys_text(root, "epoch", text, sizeof(text)) > 0) {
        errno = 0;
        w->epoch = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
        if (end == text || *end != '\n' || errno != 0 || w->epoch > EPOCH_MAX) {
            rm_warn("worker", "the file of the gateway's epoch is damaged and counts as 0",
                    RM_S("dir", w->opt.state_dir));
            w->epoch = 0;
        }
    }
    close(root);
}

static void store_epoch(struct worker *w)
{
    char text[24];
    int r;

    snprintf(text, sizeof(text), "%" PRIu64, w->epoch);
    r = write_state_file(w, "epoch", text);
    if (r < 0 && !w->told_epoch)
        rm_warn("worker", "the gateway's epoch cannot be kept over a restart",
                RM_S("dir", w->opt.state_dir), RM_E("why", r));
    w->told_epoch = r < 0;
}

/* ---- hosts ---- */

struct host *worker_find(struct worker *w, struct rm_slice role)
{
    for (uint32_t i = 0; i < w->n_hosts; i++)
        if (rm_slice_eq(role, host_role(w->hosts[i])))
            return w->hosts[i];
    return NULL;
}

static int worker_take_epoch(struct worker *w, uint64_t epoch)
{
    if (epoch < w->epoch)
        return RM_ERR_STALE;
    if (epoch > w->epoch) {
        w->epoch = epoch;
        store_epoch(w);
        worker_changed(w);
    }
    return 0;
}

int worker_put_host(struct worker *w, const struct desired_host *d)
{
    struct host *h = worker_find(w, rm_slice_of(d->role));
    int r;

    if (w->draining)
        return RM_ERR_DRAINING;
    if ((r = worker_take_epoch(w, d->epoch)) < 0)
        return r;
    if (h == NULL) {
        if (w->n_hosts == NODE_HOSTS_MAX)
            return RM_ERR_OVERLOAD;
        if ((r = host_new(&w->host_env, d->role, &h)) < 0)
            return r;
        w->hosts[w->n_hosts++] = h;
    }
    host_want(h, d);
    return 0;
}

/* A role that is away already may have left something on the disk. */
static void forget_absent(struct worker *w, struct rm_slice role)
{
    char name[NODE_NAME_MAX];

    if (role.n >= sizeof(name))
        return;
    memcpy(name, role.p, role.n);
    name[role.n] = '\0';
    kvfiles_forget(w->kvfiles, name);
}

int worker_delete_host(struct worker *w, struct rm_slice role, bool has_epoch, uint64_t epoch,
                       bool save)
{
    struct host *h = worker_find(w, role);
    int r;

    if (has_epoch && (r = worker_take_epoch(w, epoch)) < 0)
        return r;
    if (h == NULL) {
        if (!save)
            forget_absent(w, role);
        return RM_ERR_NO_HOST;
    }
    host_remove(h, 0, save);
    return 0;
}

static void worker_close(struct worker *w);

static void worker_on_gone(void *arg, struct host *h)
{
    struct worker *w = arg;
    uint32_t i = 0;

    while (w->hosts[i] != h)
        i++;
    w->hosts[i] = w->hosts[--w->n_hosts];
    worker_changed(w);
    if (w->draining && w->n_hosts == 0)
        worker_close(w);
}

/* ---- stop ---- */

static void remove_run_dir(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static void worker_on_server_closed(void *arg)
{
    struct worker *w = arg;

    kvfiles_close(w->kvfiles);
    w->kvfiles = NULL;
    room_close(w);
    forecaster_close(w->forecaster);
    supervisor_close(w->supervisor);
    pulls_close(w->pulls);
    files_close(w->files);
    w->pulls = NULL;
    w->files = NULL;
    meters_close(w->meters);
    ledger_close(w->ledger);
    w->meters = NULL;
    w->ledger = NULL;
    w->forecaster = NULL;
    w->supervisor = NULL;
    remove_run_dir(w->run_dir);
    if (w->lock_fd >= 0)
        close(w->lock_fd); /* ends the lock */
    w->lock_fd = -1;       /* models_fd stays: the thread pool may still look into a model */
}

/* Closes what is open, in any state of the start; the loop ends by itself afterwards. */
static void worker_close(struct worker *w)
{
    if (w->closing)
        return;
    w->closing = true;
    if (w->tick_open)
        uv_close((uv_handle_t *)&w->tick, NULL);
    if (w->signals_open) {
        uv_close((uv_handle_t *)&w->on_term, NULL);
        uv_close((uv_handle_t *)&w->on_int, NULL);
    }
    watch_close(w->watch);
    w->watch = NULL;
    if (w->server != NULL)
        http_server_close(w->server, worker_on_server_closed, w);
    else
        worker_on_server_closed(w);
}

/* The first signal drains, the second one does not wait. */
static void worker_on_signal(uv_signal_t *s, int sig)
{
    struct worker *w = s->data;
    bool again = w->draining;

    rm_info("worker", again ? "stopping at once" : "draining", RM_I("signal", sig),
            RM_U("hosts", w->n_hosts));
    w->draining = true;
    pulls_drain(w->pulls);
    worker_changed(w);
    for (uint32_t i = w->n_hosts; i > 0; i--) { /* one that goes at once leaves the array */
        if (i > w->n_hosts)
            continue;
        if (again)
            host_kill(w->hosts[i - 1]);
        else
            host_remove(w->hosts[i - 1], (uint32_t)w->opt.drain_deadline_ms, false);
    }
    if (w->n_hosts == 0)
        worker_close(w);
}

/* ---- start ---- */

static int start_wrong(char *why, const char *what, const char *name, int err)
{
    snprintf(why, OPTIONS_WHY_MAX, "%s %.500s: %s", what, name, rm_strerror(err));
    return err;
}

static int default_state_dir(struct worker_options *o, char *why)
{
    _Static_assert(sizeof(o->state_dir) == RM_STATE_DIR_MAX, "the default fits");
    if (o->state_dir[0] != '\0' || rm_state_dir_default(o->node, o->state_dir) == 0)
        return 0;
    snprintf(why, OPTIONS_WHY_MAX, "no place for the state: name one with --state-dir");
    return RM_ERR_CONF;
}

/* The lock makes this the only worker with the directory: every run directory is a dead one's. */
static int open_state_dir(struct worker *w, char *why)
{
    const char *dir = w->opt.state_dir;
    char path[1300];
    struct dirent *e;
    DIR *d;
    int r;

    if ((r = rm_state_dir_make(dir)) < 0)
        return start_wrong(why, "state directory", dir, r);
    snprintf(path, sizeof(path), "%s/worker.lock", dir);
    if ((w->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return start_wrong(why, "state directory", dir, uv_translate_sys_error(errno));
    if (flock(w->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        snprintf(why, OPTIONS_WHY_MAX, "state directory %.900s: another worker uses it", dir);
        return UV_EBUSY;
    }
    for (d = opendir(dir); d != NULL && (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, "run-", 4) == 0 &&
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path))
            remove_run_dir(path);
    if (d != NULL)
        closedir(d);
    r = snprintf(w->run_dir, sizeof(w->run_dir), "%s/run-%d", dir, (int)getpid());
    if (r + SOCKET_NAME_ROOM > UNIX_PATH_MAX) {
        snprintf(why, OPTIONS_WHY_MAX,
                 "state directory %.300s: too long for sockets (at most %d bytes)", dir,
                 UNIX_PATH_MAX - SOCKET_NAME_ROOM - 12);
        return UV_ENAMETOOLONG;
    }
    if (mkdir(w->run_dir, 0700) < 0)
        return start_wrong(why, "state directory", w->run_dir, uv_translate_sys_error(errno));
    return 0;
}

/* A program beside this one. False: the path is too long, or not known. */
static bool find_beside(const char *name, char out[1024])
{
    char self[1024];
    size_t n = sizeof(self);
    char *slash;

    return uv_exepath(self, &n) == 0 && (slash = strrchr(self, '/')) != NULL &&
           snprintf(out, 1024, "%.*s/%s", (int)(slash - self), self, name) < 1024;
}

static int find_programs(struct worker *w, char *why)
{
    if (!find_beside("rolemesh-pull", w->pull_program))
        w->pull_program[0] = '\0'; /* a pull will say that it cannot be run */
    if (w->opt.core[0] != '\0' || find_beside("rolemesh-core", w->opt.core))
        return 0;
    snprintf(why, OPTIONS_WHY_MAX, "rolemesh-core: name it with --core");
    return RM_ERR_CONF;
}

static int make_boot_id(char out[37])
{
    unsigned char b[16];
    int r = uv_random(NULL, NULL, b, sizeof(b), 0, NULL);

    if (r < 0)
        return r;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
    return 0;
}

/* worker.addr is the first bound address, for scripts that asked for port 0. */
static int start_server(struct worker *w, char *why)
{
    struct http_server_conf conf = http_server_conf_default;
    char text[HTTP_ADDRESS_TEXT];
    int r;

    conf.write_stall_ms = WRITE_STALL_MS;
    conf.on_request = api_on_request;
    conf.error_body = api_error_body;
    conf.arg = w;
    if ((r = http_server_new(w->loop, &conf, &w->server)) < 0)
        return start_wrong(why, "server", "", r);
    for (size_t i = 0; i < w->opt.n_listen; i++) {
        struct http_address bound;

        http_address_text(&w->opt.listen[i], text);
        if ((r = http_server_listen(w->server, &w->opt.listen[i], &bound)) < 0)
            return start_wrong(why, "cannot listen on", text, r);
        http_address_text(&bound, text);
        rm_info("worker", "listening", RM_S("address", text), RM_S("node", w->opt.node));
        if (i == 0 && (r = write_state_file(w, "worker.addr", text)) < 0)
            return start_wrong(why, "state directory", w->opt.state_dir, r);
    }
    return 0;
}

/* A file that cannot be used is said and costs nothing but the history. */
static int open_ledger(struct worker *w)
{
    struct ledger_conf conf = {.core_path = w->opt.core};
    char path[1100];
    int r;

    snprintf(path, sizeof(path), "%s/ledger.db", w->opt.state_dir);
    conf.path = path;
    if ((r = ledger_open(&conf, &w->ledger)) < 0)
        return r;
    return meters_new(w->loop, w->ledger, &w->meters);
}

/* Without it the worker serves all the same, and evicted hosts come back cold. */
static void open_kvfiles(struct worker *w)
{
    int r = kvfiles_open(w->loop, w->opt.state_dir, w->opt.kv_save_bytes, &w->kvfiles);

    if (r < 0)
        rm_warn("worker", "no KV state of evicted hosts is kept", RM_E("why", r));
    if (w->opt.kv_save_bytes > 0)
        return;
    kvfiles_close(w->kvfiles); /* it has removed what was there */
    w->kvfiles = NULL;
}

static int open_pulls(struct worker *w)
{
    struct pulls_conf pc = {.supervisor = w->supervisor,
                            .program = w->pull_program,
                            .models_dir = w->opt.models_dir,
                            .state_dir = w->opt.state_dir,
                            .run_dir = w->run_dir,
                            .keep_free_bytes = KEEP_FREE_BYTES,
                            .on_change = worker_on_pull_change,
                            .on_there = worker_on_pull_there,
                            .arg = w};
    struct files_conf fc = {w->loop,      w->supervisor,     w->pull_program,
                            w->models_fd, w->opt.models_dir, w->opt.state_dir};
    int r = pulls_open(&pc, &w->pulls);

    return r == 0 ? files_open(&fc, &w->files) : r;
}

static int start_parts(struct worker *w, char *why)
{
    struct forecaster_conf fc;
    int r;

    if ((r = supervisor_open(w->loop, &w->supervisor)) < 0)
        return start_wrong(why, "supervisor", "", r);
    if ((r = open_ledger(w)) < 0)
        return start_wrong(why, "ledger", "", r);
    fc = (struct forecaster_conf){w->loop,      w->supervisor,     w->opt.core,
                                  w->models_fd, w->opt.models_dir, w->ledger};
    w->engines = (struct engine_env){.loop = w->loop,
                                     .supervisor = w->supervisor,
                                     .core_path = w->opt.core,
                                     .run_dir = w->run_dir};
    if ((r = forecaster_new(&fc, &w->forecaster)) < 0 || (r = open_pulls(w)) < 0 ||
        (r = watch_new(w, &w->watch)) < 0)
        return start_wrong(why, "start", "", r);
    open_kvfiles(w);
    w->host_env = (struct host_env){.loop = w->loop,
                                    .engines = &w->engines,
                                    .forecaster = w->forecaster,
                                    .meters = w->meters,
                                    .models_fd = w->models_fd,
                                    .models_dir = w->opt.models_dir,
                                    .kvfiles = w->kvfiles,
                                    .start_ms = w->start_ms,
                                    .refuse_start = worker_refuse_start,
                                    .has_room = worker_has_room,
                                    .on_change = worker_on_change,
                                    .on_gone = worker_on_gone,
                                    .arg = w};
    return 0;
}

/* Every relayed request takes two descriptors. */
static void raise_file_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= FILES_MAX)
        return;
    r.rlim_cur = r.rlim_max < FILES_MAX ? r.rlim_max : FILES_MAX;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0)
        rm_debug("worker", "limit of open files stays");
}

static void shield_from_the_kernel(void)
{
    int r = memory_shield_self(OOM_SCORE);

    if (r < 0)
        rm_info("worker",
                "the kernel may choose the worker when memory runs out: "
                "no right to lower oom_score_adj",
                RM_E("why", r));
}

static void start_clocks(struct worker *w)
{
    uv_timer_init(w->loop, &w->tick);
    w->tick.data = w;
    w->tick_open = true;
    uv_timer_start(&w->tick, worker_on_tick, 0, WORKER_TICK_MS);
    uv_signal_init(w->loop, &w->on_term);
    uv_signal_init(w->loop, &w->on_int);
    w->on_term.data = w->on_int.data = w;
    w->signals_open = true;
    uv_signal_start(&w->on_term, worker_on_signal, SIGTERM);
    uv_signal_start(&w->on_int, worker_on_signal, SIGINT);
}

int worker_start(struct worker *w, uv_loop_t *loop, const struct worker_options *opt, char *why)
{
    int r;

    memset(w, 0, sizeof(*w));
    w->loop = loop;
    w->opt = *opt;
    w->lock_fd = w->models_fd = w->room.sys_root = -1;
    w->start_ms = rm_now_ms();
    raise_file_limit();
    if ((r = w->models_fd = models_open_dir(w->opt.models_dir)) < 0) {
        start_wrong(why, "models directory", w->opt.models_dir, r);
        goto out;
    }
    if ((r = find_programs(w, why)) < 0 || (r = default_state_dir(&w->opt, why)) < 0 ||
        (r = open_state_dir(w, why)) < 0)
        goto out;
    load_epoch(w);
    if ((r = make_boot_id(w->boot_id)) < 0 || (r = room_open(w)) < 0) {
        start_wrong(why, "this machine", "", r);
        goto out;
    }
    if ((r = start_parts(w, why)) < 0 || (r = start_server(w, why)) < 0)
        goto out;
    room_ask_devices(w);
    start_clocks(w);
    shield_from_the_kernel(); /* not before: a start that fails says one line, why */
    if (access(w->opt.core, X_OK) != 0)
        rm_warn("worker", "no inference core: only attached engines can be hosted",
                RM_S("core", w->opt.core));
    return 0;
out:
    worker_close(w);
    return r;
}
