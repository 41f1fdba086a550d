/* SPDX-License-Identifier: MIT */
#include "worker/core/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/buf.h"
#include "proto/base/json_write.h"

int ready_open(struct ready_pipe *p, int fd)
{
    int flags;

    *p = (struct ready_pipe){.fd = -1, .last_percent = -1};
    if (fd < 0)
        return 0;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return uv_translate_sys_error(errno);
    p->fd = fd;
    return 0;
}

/* Ends the object and sends the line whole; what does not fit is dropped. */
static void ready_send(struct ready_pipe *p, struct rm_jw *w)
{
    struct rm_buf *line = w->out;

    rm_jw_end(w);
    if (p->fd >= 0 && rm_jw_done(w) == 0 && rm_buf_put(line, "\n", 1) == 0) {
        ssize_t n;

        do
            n = write(p->fd, line->data, line->len);
        while (n < 0 && errno == EINTR);
    }
    rm_buf_clear(line);
}

void ready_progress(struct ready_pipe *p, float part, uint64_t now_ms)
{
    int percent = (int)(part * 100);
    struct rm_buf line;
    struct rm_jw w;

    if (percent <= p->last_percent || (p->last_percent >= 0 && now_ms < p->last_ms + 50))
        return;
    p->last_percent = percent;
    p->last_ms = now_ms;
    rm_buf_init(&line, PIPE_BUF);
    w = rm_jw_to(&line);
    rm_jw_obj(&w, NULL);
    rm_jw_dbl(&w, "progress", percent / 100.0);
    ready_send(p, &w);
}

void ready_say(struct ready_pipe *p, const struct ready_facts *f)
{
    struct rm_buf line;
    struct rm_jw w;

    rm_buf_init(&line, PIPE_BUF);
    w = rm_jw_to(&line);
    rm_jw_obj(&w, NULL);
    rm_jw_bool(&w, "ready", true);
    rm_jw_u64(&w, "context", f->context);
    rm_jw_u64(&w, "slots", f->slots);
    rm_jw_i64(&w, "pid", getpid());
    rm_jw_str(&w, "version", f->version);
    rm_jw_str(&w, "llama", f->llama);
    rm_jw_u64(&w, "load_ms", f->load_ms);
    rm_jw_u64(&w, "restored_tokens", f->restored_tokens);
    rm_jw_str(&w, "not_restored", f->not_restored);
    ready_send(p, &w);
}

void ready_fail(struct ready_pipe *p, const char *cause, const char *text)
{
    struct rm_slice said = rm_slice_of(text);
    struct rm_buf line;
    struct rm_jw w;

    if (said.n > 512) /* escaped at most six times as long: within PIPE_BUF */
        said.n = 512;
    rm_buf_init(&line, PIPE_BUF);
    w = rm_jw_to(&line);
    rm_jw_obj(&w, NULL);
    rm_jw_slice(&w, "error", said);
    rm_jw_str(&w, "cause", cause);
    ready_send(p, &w);
}
