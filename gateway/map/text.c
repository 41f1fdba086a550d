/* SPDX-License-Identifier: MIT */
#include "gateway/map/text.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/map/file.h"
#include "proto/base/file.h"
#include "proto/base/json_write.h"

enum { JSON_MAX = 6 * MAP_TEXT_MAX + 64 * 1024 }; /* every byte escaped */

struct text_job {
    uv_work_t work;
    char path[MAP_PATH_MAX];
    struct rm_buf json;
    int err;
    map_text_fn on_text;
    void *arg;
};

/* In a thread of the pool. */
static void text_run(uv_work_t *work)
{
    struct text_job *job = work->data;
    char revision[MAP_REVISION];
    struct rm_buf text;
    struct rm_jw w;

    rm_buf_init(&text, MAP_TEXT_MAX);
    if ((job->err = rm_file_read(job->path, &text)) == 0) {
        const char *bytes = text.data != NULL ? text.data : "";

        map_revision_of(bytes, text.len, revision);
        w = rm_jw_to(&job->json);
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "path", job->path);
        rm_jw_str(&w, "revision", revision);
        rm_jw_slice(&w, "text", (struct rm_slice){bytes, text.len});
        rm_jw_end(&w);
        job->err = rm_jw_done(&w);
    }
    rm_buf_clear(&text);
}

static void text_on_done(uv_work_t *work, int status)
{
    struct text_job *job = work->data;

    job->on_text(job->arg, status < 0 ? status : job->err,
                 (struct rm_slice){job->json.data, job->json.len});
    rm_buf_clear(&job->json);
    free(job);
}

int map_text_read(uv_loop_t *loop, const char *path, map_text_fn on_text, void *arg)
{
    struct text_job *job = calloc(1, sizeof *job);
    int r;

    if (job == NULL)
        return UV_ENOMEM;
    job->work.data = job;
    job->on_text = on_text;
    job->arg = arg;
    rm_text_copy(job->path, sizeof job->path, path);
    rm_buf_init(&job->json, JSON_MAX);
    if ((r = uv_queue_work(loop, &job->work, text_run, text_on_done)) < 0)
        free(job);
    return r;
}
