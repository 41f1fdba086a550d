/* SPDX-License-Identifier: MIT */
#include "worker/host/supervise.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/log_ring.h"
#include "worker/host/cause.h"
#include "worker/memory/process.h"

enum {
    CHANNEL_READ = 16384,
    LAST_WORDS_MAX = 256 * 1024, /* read from a pipe after the process is gone */
    FIRST_FREE_FD = 16           /* ends of pipes lie above every number the child uses */
};

struct log_ring {
    char line[CHILD_LINES][CHILD_LINE_MAX + 1];
    unsigned next, n;
    char part[CHILD_LINE_MAX + 1]; /* the line that is not over yet */
    size_t part_n;
};

struct child {
    struct supervisor *owner;
    struct child *next, **link; /* in owner->children while it is not reaped */
    struct child_ops ops;
    void *arg;
    char name[64];
    pid_t pid;
    bool told, silent; /* silent: no callback any more */
    uint64_t oom_at_start;
    uv_pipe_t log, channel;
    uv_timer_t grace;
    int open_handles;
    struct log_ring ring;
    char read_into[CHANNEL_READ];
};

struct supervisor {
    uv_loop_t *loop;
    uv_signal_t sigchld;
    struct child *children;
    uint64_t oom_kills; /* as of the last tick */
};

/* ---- the last lines ---- */

/* The next word of a line, NUL-terminated in place; what follows it. */
static char *next_word(char **rest)
{
    char *word = *rest, *end = strchr(word, ' ');

    if (end == NULL)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return word;
}

/* For operators who ask: a line of our own form (proto/base/log.h) keeps its level and area. */
static void ring_keep_line(const char *name, const char *line)
{
    char copy[CHILD_LINE_MAX + 1], *rest = copy, *time, *word, *area;
    int level;

    rm_text_copy(copy, sizeof(copy), line);
    time = next_word(&rest);
    if (time != NULL && strlen(time) == 24 && time[4] == '-' && time[23] == 'Z' &&
        (word = next_word(&rest)) != NULL && (level = rm_log_level_from(word)) >= 0 &&
        (area = next_word(&rest)) != NULL)
        rm_log_ring_add((enum rm_log_level)level, name, area, rest);
    else
        rm_log_ring_add(RM_LOG_INFO, name, "output", line);
}

static void ring_end_line(struct log_ring *g, const char *name)
{
    if (g->part_n == 0)
        return;
    cause_copy_text(g->line[g->next], sizeof(g->line[0]), (struct rm_slice){g->part, g->part_n},
                    false);
    ring_keep_line(name, g->line[g->next]);
    rm_debug("engine", "says", RM_S("engine", name), RM_S("line", g->line[g->next]));
    g->next = (g->next + 1) % CHILD_LINES;
    if (g->n < CHILD_LINES)
        g->n++;
    g->part_n = 0;
}

static void ring_put(struct log_ring *g, const char *name, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            ring_end_line(g, name);
        else if (g->part_n < CHILD_LINE_MAX && bytes[i] != '\r')
            g->part[g->part_n++] = bytes[i];
    }
}

static void ring_text(const struct log_ring *g, struct rm_buf *out)
{
    unsigned first = (g->next + CHILD_LINES - g->n) % CHILD_LINES;

    for (unsigned i = 0; i < g->n; i++)
        rm_buf_printf(out, "%s%s", i > 0 ? "\n" : "", g->line[(first + i) % CHILD_LINES]);
}

/* ---- pipes ---- */

static void child_on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct child *c = h->data;

    (void)suggested;
    *buf = uv_buf_init(c->read_into, sizeof(c->read_into));
}

static void child_on_log(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct child *c = s->data;

    if (n > 0)
        ring_put(&c->ring, c->name, buf->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

static void child_on_channel(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct child *c = s->data;

    if (n > 0 && !c->silent && c->ops.on_channel != NULL)
        c->ops.on_channel(c->arg, buf->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

/* What lies in a pipe when its writer is gone; a grandchild may hold it open, so no waiting. */
static void child_last_words(struct child *c, uv_pipe_t *p,
                             void (*on_read)(uv_stream_t *, ssize_t, const uv_buf_t *))
{
    uv_buf_t buf = uv_buf_init(c->read_into, sizeof(c->read_into));
    size_t total = 0;
    uv_os_fd_t fd;
    ssize_t n;

    uv_read_stop((uv_stream_t *)p);
    if (uv_fileno((uv_handle_t *)p, &fd) < 0)
        return;
    while (total < LAST_WORDS_MAX && (n = read(fd, c->read_into, sizeof(c->read_into))) > 0) {
        on_read((uv_stream_t *)p, n, &buf);
        total += (size_t)n;
    }
}

static void child_on_closed(uv_handle_t *h)
{
    struct child *c = h->data;

    if (--c->open_handles == 0)
        free(c);
}

static void child_close_handles(struct child *c)
{
    uv_close((uv_handle_t *)&c->log, child_on_closed);
    uv_close((uv_handle_t *)&c->channel, child_on_closed);
    uv_close((uv_handle_t *)&c->grace, child_on_closed);
}

static void child_unlink(struct child *c)
{
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
}

/* ---- the end ---- */

/* The process is over but not reaped: its pid and group are still ours. */
static void child_reap(struct child *c)
{
    struct child_end end = {.told_to_end = c->told, .oom_before = c->oom_at_start};
    struct rm_buf log;

    kill(-c->pid, SIGKILL); /* what else is in its group */
    while (waitpid(c->pid, &end.wait_status, 0) < 0 && errno == EINTR)
        ;
    child_unlink(c);
    child_last_words(c, &c->log, child_on_log);
    child_last_words(c, &c->channel, child_on_channel);
    ring_end_line(&c->ring, c->name);
    if (!c->silent) {
        if (c->owner->oom_kills > end.oom_before)
            end.oom_before = c->owner->oom_kills;
        end.oom_after = memory_oom_kills();
        rm_buf_init(&log, CHILD_LINES * (CHILD_LINE_MAX + 1));
        ring_text(&c->ring, &log);
        end.log = log.data != NULL ? log.data : "";
        c->ops.on_end(c->arg, &end);
        rm_buf_clear(&log);
    }
    child_close_handles(c);
}

static void supervisor_on_sigchld(uv_signal_t *h, int sig)
{
    struct supervisor *s = h->data;
    struct child *c, *next;
    siginfo_t info;

    (void)sig;
    for (c = s->children; c != NULL; c = next) {
        next = c->next;
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == c->pid)
            child_reap(c);
    }
}

static void child_on_grace(uv_timer_t *t)
{
    struct child *c = t->data;

    rm_warn("supervise", "engine ignores SIGTERM, killed", RM_S("engine", c->name),
            RM_I("pid", c->pid));
    kill(-c->pid, SIGKILL);
}

void child_stop(struct child *c)
{
    if (c->told)
        return;
    c->told = true;
    kill(-c->pid, SIGTERM);
    uv_timer_start(&c->grace, child_on_grace, CHILD_GRACE_MS, 0);
}

void child_kill(struct child *c)
{
    c->told = true;
    kill(-c->pid, SIGKILL);
}

int child_pid(const struct child *c)
{
    return c->pid;
}

/* ---- the start ---- */

/* In the new process, before exec: async-signal-safe calls only (signal-safety(7)). */
static void child_say(const char *a, const char *b)
{
    ssize_t r = write(2, a, strlen(a));

    r = write(2, b, strlen(b));
    r = write(2, "\n", 1);
    (void)r;
}

static void child_close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
#endif
    for (long fd = first, top = sysconf(_SC_OPEN_MAX); fd < (top < 65536 ? top : 65536); fd++)
        close((int)fd);
}

static void child_oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t r;

    if (fd < 0)
        return;
    r = write(fd, "800", 3); /* CHILD_OOM_SCORE */
    (void)r;
    close(fd);
}

static void __attribute__((noreturn)) child_become(char *const *argv, pid_t parent, int null_fd,
                                                   int log_fd, int channel_fd, bool on_stdout)
{
    struct sigaction act = {.sa_handler = SIG_DFL};
    sigset_t none;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &act, NULL); /* KILL and STOP refuse, which is fine */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(null_fd, 0) < 0 || dup2(log_fd, 2) < 0 ||
        dup2(on_stdout ? channel_fd : log_fd, 1) < 0 ||
        (!on_stdout && dup2(channel_fd, CHILD_CHANNEL_FD) < 0))
        _exit(126);
    child_close_from(on_stdout ? CHILD_CHANNEL_FD : CHILD_CHANNEL_FD + 1);
    child_oom_score();
    execv(argv[0], argv);
    child_say("cannot run ", argv[0]);
    _exit(127);
}

/* A pipe whose two ends are close-on-exec and out of the way; the read end does not block. */
static int pipe_open(int fd[2])
{
    int raw[2], r = 0;

    fd[0] = fd[1] = -1;
    if (pipe2(raw, O_CLOEXEC) < 0)
        return uv_translate_sys_error(errno);
    for (int i = 0; i < 2; i++) {
        fd[i] = fcntl(raw[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
        if (fd[i] < 0 && r == 0)
            r = uv_translate_sys_error(errno);
        close(raw[i]);
    }
    if (r == 0 && fcntl(fd[0], F_SETFL, O_NONBLOCK) < 0)
        r = uv_translate_sys_error(errno);
    return r;
}

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* fork with every signal blocked, so that no handler of ours runs in the child. */
static int child_fork(char *const *argv, int null_fd, int log_fd, int channel_fd, bool on_stdout,
                      pid_t *pid)
{
    pid_t parent = getpid();
    sigset_t all, old;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    *pid = fork();
    if (*pid == 0)
        child_become(argv, parent, null_fd, log_fd, channel_fd, on_stdout);
    if (*pid < 0)
        r = uv_translate_sys_error(errno);
    else
        setpgid(*pid, *pid); /* in case we are first; fails harmlessly after its exec */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

static void child_listen(struct child *c, int log_fd, int channel_fd)
{
    uv_loop_t *loop = c->owner->loop;

    uv_pipe_init(loop, &c->log, 0);
    uv_pipe_init(loop, &c->channel, 0);
    uv_timer_init(loop, &c->grace);
    c->open_handles = 3;
    c->log.data = c->channel.data = c->grace.data = c;
    if (uv_pipe_open(&c->log, log_fd) < 0)
        close(log_fd);
    else
        uv_read_start((uv_stream_t *)&c->log, child_on_alloc, child_on_log);
    if (uv_pipe_open(&c->channel, channel_fd) < 0)
        close(channel_fd);
    else
        uv_read_start((uv_stream_t *)&c->channel, child_on_alloc, child_on_channel);
}

int child_start(struct supervisor *s, const struct child_spec *spec, const struct child_ops *ops,
                void *arg, struct child **out)
{
    int log_fd[2] = {-1, -1}, channel_fd[2] = {-1, -1}, null_fd = -1, r;
    struct child *c = calloc(1, sizeof(*c));

    *out = NULL;
    if (c == NULL)
        return UV_ENOMEM;
    c->owner = s;
    c->ops = *ops;
    c->arg = arg;
    cause_copy_text(c->name, sizeof(c->name), rm_slice_of(spec->name), false);
    if ((r = pipe_open(log_fd)) < 0 || (r = pipe_open(channel_fd)) < 0)
        goto out;
    if ((null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0) {
        r = uv_translate_sys_error(errno);
        goto out;
    }
    c->oom_at_start = memory_oom_kills();
    if ((r = child_fork((char *const *)(uintptr_t)spec->argv, null_fd, log_fd[1], channel_fd[1],
                        spec->channel_is_stdout, &c->pid)) < 0)
        goto out;
    child_listen(c, log_fd[0], channel_fd[0]);
    log_fd[0] = channel_fd[0] = -1;
    c->link = &s->children;
    if ((c->next = s->children) != NULL)
        c->next->link = &c->next;
    s->children = *out = c;
    c = NULL;
out:
    for (int i = 0; i < 2; i++) {
        fd_close(&log_fd[i]);
        fd_close(&channel_fd[i]);
    }
    fd_close(&null_fd);
    free(c);
    return r;
}

/* ---- all of them ---- */

int supervisor_open(uv_loop_t *loop, struct supervisor **out)
{
    struct supervisor *s = calloc(1, sizeof(*s));
    int r;

    *out = NULL;
    if (s == NULL)
        return UV_ENOMEM;
    s->loop = loop;
    s->sigchld.data = s;
    if ((r = uv_signal_init(loop, &s->sigchld)) < 0) {
        free(s);
        return r;
    }
    s->oom_kills = memory_oom_kills();
    uv_signal_start(&s->sigchld, supervisor_on_sigchld, SIGCHLD);
    uv_unref((uv_handle_t *)&s->sigchld);
    *out = s;
    return 0;
}

void supervisor_tick(struct supervisor *s)
{
    s->oom_kills = memory_oom_kills();
}

static void supervisor_on_closed(uv_handle_t *h)
{
    free(h->data);
}

void supervisor_close(struct supervisor *s)
{
    if (s == NULL)
        return;
    while (s->children != NULL) {
        s->children->silent = true;
        child_kill(s->children);
        child_reap(s->children); /* waits: a killed process is gone within moments */
    }
    uv_close((uv_handle_t *)&s->sigchld, supervisor_on_closed);
}
