/* SPDX-License-Identifier: MIT */
#include "worker/host/look.h"

#include <stdio.h>
#include <stdlib.h>

struct host_look {
    uv_work_t work;
    int models_fd;
    const char *models_dir;
    char source[MODELS_PATH_MAX];
    bool want_hash;
    void (*on_done)(void *arg, const struct look_result *r); /* NULL: dropped */
    void *arg;
    struct look_result result;
};

static void look_run(uv_work_t *work)
{
    struct host_look *l = work->data;
    struct look_result *r = &l->result;
    struct gguf_head *head = malloc(sizeof(*head));

    r->err = head == NULL ? UV_ENOMEM
                          : model_look(l->models_fd, l->models_dir, l->source, l->want_hash,
                                       &r->file, head, r->why);
    if (r->err == 0)
        r->trained = gguf_number_at(head, GGUF_CONTEXT, 0, 0);
    free(head);
}

static void look_on_done(uv_work_t *work, int status)
{
    struct host_look *l = work->data;

    if (status < 0) {
        l->result.err = status;
        l->result.why[0] = '\0';
    }
    if (l->on_done != NULL)
        l->on_done(l->arg, &l->result);
    free(l);
}

int host_look_start(const struct look_where *where, const char *source, bool want_hash,
                    void (*on_done)(void *arg, const struct look_result *r), void *arg,
                    struct host_look **out)
{
    struct host_look *l = calloc(1, sizeof(*l));
    int r;

    *out = NULL;
    if (l == NULL)
        return UV_ENOMEM;
    l->work.data = l;
    l->models_fd = where->models_fd;
    l->models_dir = where->models_dir;
    l->want_hash = want_hash;
    l->on_done = on_done;
    l->arg = arg;
    snprintf(l->source, sizeof(l->source), "%s", source);
    if ((r = uv_queue_work(where->loop, &l->work, look_run, look_on_done)) < 0) {
        free(l);
        return r;
    }
    *out = l;
    return 0;
}

void host_look_drop(struct host_look *l)
{
    if (l != NULL)
        l->on_done = NULL;
}
