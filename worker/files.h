/* SPDX-License-Identifier: MIT */
/* worker/files.h - GET and HEAD /node/v1/files/{name}: a model file for another node, and what it
 * sums up to. A file is opened, looked at and read in the thread pool, in pieces of FILES_PIECE
 * bytes at the reader's pace, so that neither a slow disk nor a slow reader holds up the loop. A
 * sum is made by a rolemesh-pull, one at a time, and kept (models/sums.h). Loop thread only. */
#ifndef RM_WORKER_FILES_H
#define RM_WORKER_FILES_H

#include <uv.h>

#include "proto/http/server.h"

struct files;
struct supervisor;

enum { FILES_MAX_READERS = 64, FILES_PIECE = 128 * 1024, FILES_SUMS_WANTED = 16 };

struct files_conf {
    uv_loop_t *loop;
    struct supervisor *supervisor;
    const char *program; /* rolemesh-pull */
    int models_fd;
    const char *models_dir, *state_dir; /* borrowed until files_close */
};

RM_MUST_USE int files_open(const struct files_conf *conf, struct files **out); /* 0 or UV_ENOMEM */

/* Takes a request for the file; name: what follows /node/v1/files/, as sent. */
void files_on_request(struct files *f, struct http_req *q, struct rm_slice name);

/* After the server and the supervisor; frees when the thread pool has let go. NULL is fine. */
void files_close(struct files *f);

#endif
