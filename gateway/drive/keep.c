/* SPDX-License-Identifier: MIT */
/* gateway/drive/keep.c - wishes outlive the gateway: the file in its state directory. Read at the
 * start, replaced in the thread pool soon after each change, one write at a time; a write that
 * fails is told once and tried again. A damaged file is set aside and told: nobody knows then what
 * was wanted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/log.h"

struct keep_job {
    uv_work_t work;
    struct drive *drive;
    char *path; /* owned */
    struct rm_buf bytes;
    int err;
};

static void job_free(struct keep_job *j)
{
    rm_buf_clear(&j->bytes);
    free(j->path);
    free(j);
}

static void job_run(uv_work_t *work)
{
    struct keep_job *j = work->data;

    j->err = rm_file_replace(j->path, (struct rm_slice){j->bytes.data, j->bytes.len}, 0600);
}

static void keep_failed(struct drive *d, int err)
{
    if (!d->keep.failed)
        rm_error("drive", "operators' wishes cannot be kept: they end with this gateway",
                 RM_S("file", d->keep.path), RM_E("error", err));
    d->keep.failed = d->keep.dirty = true;
    d->keep.again_ms = rm_now_ms() + DRIVE_KEEP_AGAIN_MS;
}

static void job_on_done(uv_work_t *work, int status)
{
    struct keep_job *j = work->data;
    struct drive *d = j->drive;
    int err = status < 0 ? status : j->err;

    job_free(j);
    d->keep.writing = false;
    if (err < 0)
        keep_failed(d, err);
    else if (d->keep.failed)
        rm_info("drive", "operators' wishes are kept again", RM_S("file", d->keep.path));
    if (err == 0)
        d->keep.failed = false;
    if (err == 0 || !d->closing) /* what changed meanwhile, also when the gateway stops */
        drive_keep(d);
    d->pending--;
    drive_free_when_idle(d);
}

void drive_keep(struct drive *d)
{
    struct keep_job *j;
    int r;

    if (!d->keep.dirty || d->keep.writing || d->keep.path == NULL ||
        (d->keep.failed && rm_now_ms() < d->keep.again_ms))
        return;
    if ((j = calloc(1, sizeof *j)) == NULL)
        return; /* the next round tries again */
    j->drive = d;
    j->work.data = j;
    rm_buf_init(&j->bytes, WISHES_BYTES_MAX);
    j->path = rm_slice_dup(rm_slice_of(d->keep.path));
    r = j->path == NULL ? UV_ENOMEM : wishes_encode(&d->wishes, &j->bytes);
    if (r == 0)
        r = uv_queue_work(d->loop, &j->work, job_run, job_on_done);
    if (r < 0) {
        keep_failed(d, r);
        job_free(j);
        return;
    }
    d->keep.dirty = false;
    d->keep.writing = true;
    d->pending++;
}

/* ---- the start ---- */

static void set_aside(const char *path, const char *why)
{
    char aside[DRIVE_PATH_MAX + 16];

    snprintf(aside, sizeof aside, "%s.damaged", path);
    rm_error("drive", "what operators wanted is not known: the file is damaged, and set aside",
             RM_S("file", path), RM_S("as", rename(path, aside) == 0 ? aside : ""),
             RM_S("why", why));
}

void drive_keep_in(struct drive *d, const char *dir)
{
    char path[DRIVE_PATH_MAX], why[WISHES_WHY_MAX] = "";
    struct rm_buf bytes;
    int r;

    if (dir[0] == '\0' || snprintf(path, sizeof path, "%s/wishes.json", dir) >= (int)sizeof path) {
        rm_warn("drive", "what operators want ends with this gateway: no state directory");
        return;
    }
    if ((d->keep.path = rm_slice_dup(rm_slice_of(path))) == NULL)
        return;
    rm_buf_init(&bytes, WISHES_BYTES_MAX);
    r = rm_file_read(path, &bytes);
    if (r == 0 || r == RM_ERR_TOO_BIG) {
        if (r == 0)
            r = wishes_decode((struct rm_slice){bytes.data != NULL ? bytes.data : "", bytes.len},
                              &d->wishes, why);
        if (r < 0)
            set_aside(path, why[0] != '\0' ? why : rm_strerror(r));
    } else if (r != UV_ENOENT) {
        rm_error("drive", "what operators wanted cannot be read", RM_S("file", path),
                 RM_E("error", r));
    }
    rm_buf_clear(&bytes);
    if (d->wishes.n > 0)
        rm_info("drive", "operators' wishes hold on", RM_U("wishes", d->wishes.n));
    drive_follow_wishes(d);
}
