/* SPDX-License-Identifier: MIT */
/* cli/run.c - see run.h. */
#include "cli/run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

struct run {
    uv_loop_t loop;
    uv_process_t process;
    uv_pipe_t pipes[2];
    uv_timer_t limit;
    char bytes[4096];
    struct run_result *result;
    int err;
};

static void run_on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct run *r = h->data;

    (void)hint;
    *buf = uv_buf_init(r->bytes, sizeof r->bytes);
}

static void run_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct run *r = s->data;
    struct rm_buf *to = s == (uv_stream_t *)&r->pipes[0] ? &r->result->out : &r->result->err;
    int err;

    if (n < 0) {
        uv_close((uv_handle_t *)s, NULL);
    } else if (n > 0 && (err = rm_buf_put(to, buf->base, (size_t)n)) < 0 && r->err == 0) {
        r->err = err;
        uv_process_kill(&r->process, SIGKILL);
    }
}

static void run_on_exit(uv_process_t *p, int64_t code, int signal)
{
    struct run *r = p->data;

    r->result->exit_code = code;
    r->result->signal = signal;
    uv_close((uv_handle_t *)p, NULL);
    uv_close((uv_handle_t *)&r->limit, NULL);
}

static void run_on_late(uv_timer_t *t)
{
    struct run *r = t->data;

    r->result->late = true;
    uv_process_kill(&r->process, SIGKILL);
}

static int run_spawn(struct run *r, const char *const *argv, uint32_t limit_ms)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}};
    uv_process_options_t options = {.exit_cb = run_on_exit,
                                    .file = argv[0],
                                    .args = (char **)(uintptr_t)argv,
                                    .stdio_count = 3,
                                    .stdio = stdio};
    int err;

    uv_timer_init(&r->loop, &r->limit);
    r->limit.data = r->process.data = r;
    for (int i = 0; i < 2; i++) {
        uv_pipe_init(&r->loop, &r->pipes[i], 0);
        r->pipes[i].data = r;
        stdio[i + 1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
        stdio[i + 1].data.stream = (uv_stream_t *)&r->pipes[i];
    }
    if ((err = uv_spawn(&r->loop, &r->process, &options)) < 0) {
        uv_close((uv_handle_t *)&r->process, NULL);
        uv_close((uv_handle_t *)&r->limit, NULL);
        for (int i = 0; i < 2; i++)
            uv_close((uv_handle_t *)&r->pipes[i], NULL);
        return err;
    }
    uv_timer_start(&r->limit, run_on_late, limit_ms, 0);
    for (int i = 0; i < 2; i++)
        uv_read_start((uv_stream_t *)&r->pipes[i], run_on_alloc, run_on_read);
    return 0;
}

int run_program(const char *const *argv, uint32_t limit_ms, struct run_result *result)
{
    struct run r = {.result = result};

    *result = (struct run_result){.exit_code = -1};
    rm_buf_init(&result->out, RUN_OUTPUT_MAX);
    rm_buf_init(&result->err, RUN_OUTPUT_MAX);
    if ((r.err = uv_loop_init(&r.loop)) < 0)
        return r.err;
    r.err = run_spawn(&r, argv, limit_ms);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    return r.err;
}

void run_result_clear(struct run_result *result)
{
    rm_buf_clear(&result->out);
    rm_buf_clear(&result->err);
}

const char *run_beside(const char *name)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash - path) + strlen(name) + 2 > sizeof path)
        return "";
    strcpy(slash + 1, name);
    return access(path, X_OK) == 0 ? path : "";
}
