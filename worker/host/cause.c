/* SPDX-License-Identifier: MIT */
#include "worker/host/cause.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/base/json_write.h"
#include "worker/core/ready.h"

void cause_copy_text(char *out, size_t size, struct rm_slice text, bool keep_lf)
{
    size_t n = 0, step;

    for (size_t i = 0; i < text.n; i += step) {
        unsigned char c = (unsigned char)text.p[i];

        step = rm_utf8_len(text.p + i, text.n - i);
        if (step == 0 || (c < 0x20 && !(c == '\n' && keep_lf)) || c == 0x7f) {
            step = step > 0 ? step : 1;
            if (n + 1 >= size)
                break;
            out[n++] = c == '\t' ? ' ' : '?';
        } else {
            if (n + step >= size)
                break;
            memcpy(out + n, text.p + i, step);
            n += step;
        }
    }
    out[n] = '\0';
}

static enum node_cause core_cause(int code, const char *said_cause)
{
    if (code == CORE_EXIT_MODEL || code == CORE_EXIT_ABI)
        return CAUSE_LOAD;
    if (code == CORE_EXIT_USAGE)
        return CAUSE_CONFIG;
    if (said_cause != NULL && (strcmp(said_cause, "load") == 0 || strcmp(said_cause, "abi") == 0))
        return CAUSE_LOAD;
    return CAUSE_EXIT;
}

/* The last line that says something, for engines that gave no reason. */
static struct rm_slice last_line(const char *log)
{
    size_t n = strlen(log), from;

    while (n > 0 && (log[n - 1] == '\n' || log[n - 1] == ' '))
        n--;
    for (from = n; from > 0 && log[from - 1] != '\n';)
        from--;
    return (struct rm_slice){log + from, n - from};
}

void cause_of_end(const struct end_facts *f, struct node_error *out)
{
    char head[96];
    struct rm_slice tail = rm_slice_of(f->said);
    bool from_outside = false; /* then its last line says nothing of the reason */
    struct rm_buf text;

    memset(out, 0, sizeof(*out));
    if (WIFSIGNALED(f->wait_status)) {
        int sig = WTERMSIG(f->wait_status);
        const char *name = sigabbrev_np(sig);

        out->cause = sig == SIGKILL && !f->told_to_end && f->oom_after > f->oom_before
                         ? CAUSE_OOM
                         : CAUSE_SIGNAL;
        out->code = sig;
        from_outside = sig == SIGKILL || sig == SIGTERM;
        snprintf(head, sizeof(head), "the engine was killed by SIG%s%s", name != NULL ? name : "?",
                 out->cause == CAUSE_OOM ? ": out of memory" : "");
    } else {
        out->code = WIFEXITED(f->wait_status) ? WEXITSTATUS(f->wait_status) : -1;
        out->cause = f->core_codes ? core_cause(out->code, f->said_cause) : CAUSE_EXIT;
        snprintf(head, sizeof(head), "the engine ended with exit code %d", (int)out->code);
    }
    if (f->said == NULL && !from_outside)
        tail = last_line(f->log);
    rm_buf_init(&text, 2 * NODE_TEXT_MAX + sizeof(head));
    rm_buf_puts(&text, head);
    if (tail.n > 0)
        rm_buf_printf(&text, ": %.*s", (int)(tail.n < NODE_TEXT_MAX ? tail.n : NODE_TEXT_MAX),
                      tail.p);
    cause_copy_text(out->text, sizeof(out->text), (struct rm_slice){text.data, text.len}, false);
    cause_copy_text(out->log, sizeof(out->log), rm_slice_of(f->log), true);
    rm_buf_clear(&text);
}
