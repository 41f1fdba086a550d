/* SPDX-License-Identifier: MIT */
#include "worker/memory/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "worker/host/cause.h"
#include "worker/host/supervise.h"

struct devices_question {
    struct child *child;
    uv_timer_t limit;
    bool late;
    struct rm_buf out;
    void (*on_answer)(void *arg, const struct node_devices *d, const char *why);
    void *arg;
};

static void question_on_closed(uv_handle_t *h)
{
    struct devices_question *q = h->data;

    rm_buf_clear(&q->out);
    free(q);
}

static void question_on_late(uv_timer_t *t)
{
    struct devices_question *q = t->data;

    q->late = true;
    child_kill(q->child);
}

static void question_on_out(void *arg, const char *bytes, size_t n)
{
    struct devices_question *q = arg;

    if (rm_buf_put(&q->out, bytes, n) < 0)
        child_kill(q->child); /* nothing of ours prints that much */
}

static void question_on_end(void *arg, const struct child_end *end)
{
    struct devices_question *q = arg;
    struct end_facts facts = {.wait_status = end->wait_status, .log = end->log, .core_codes = true};
    struct node_devices d;
    struct node_error error;
    char why[128];

    if (q->late) {
        q->on_answer(q->arg, NULL, "no answer in time");
    } else if (!WIFEXITED(end->wait_status) || WEXITSTATUS(end->wait_status) != 0) {
        cause_of_end(&facts, &error);
        q->on_answer(q->arg, NULL, error.text);
    } else if (node_devices_decode((struct rm_slice){q->out.data, q->out.len}, &d, why) < 0) {
        q->on_answer(q->arg, NULL, why);
    } else {
        q->on_answer(q->arg, &d, NULL);
    }
    uv_close((uv_handle_t *)&q->limit, question_on_closed);
}

int devices_ask(uv_loop_t *loop, struct supervisor *supervisor, const char *core_path,
                void (*on_answer)(void *arg, const struct node_devices *d, const char *why),
                void *arg, struct devices_question **out)
{
    static const struct child_ops ops = {question_on_out, question_on_end};
    const char *argv[] = {core_path, "--devices", "--json", NULL};
    struct child_spec spec = {argv, "devices", true};
    struct devices_question *q = calloc(1, sizeof(*q));
    int r;

    *out = NULL;
    if (q == NULL)
        return UV_ENOMEM;
    q->on_answer = on_answer;
    q->arg = arg;
    rm_buf_init(&q->out, DEVICES_ANSWER_MAX);
    if ((r = child_start(supervisor, &spec, &ops, q, &q->child)) < 0) {
        free(q);
        return r;
    }
    uv_timer_init(loop, &q->limit);
    q->limit.data = q;
    uv_timer_start(&q->limit, question_on_late, DEVICES_ASK_MS, 0);
    *out = q;
    return 0;
}

void devices_drop(struct devices_question *q)
{
    if (q != NULL)
        uv_close((uv_handle_t *)&q->limit, question_on_closed);
}
