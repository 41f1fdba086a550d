/* SPDX-License-Identifier: MIT */
/*   head ──► opened (pool) ──► 304, 404, 416, HEAD: answered
 *                 └──► read (pool) ──► written ──► read ...   paused while the reader's queue is
 * full
 */
#include "worker/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/log.h"
#include "worker/host/supervise.h"
#include "worker/models/models.h"
#include "worker/models/range.h"
#include "worker/models/sums.h"
#include "worker/worker.h"

enum { TAG_MAX = 64, DIGEST_MAX = 80, PATH_BYTES = 1300, FIELDS_MAX = 6, SUM_AGAIN_MS = 60000 };

struct files {
    struct files_conf conf;
    struct sums sums;
    uint32_t readers;
    bool closed;
    /* sums that are wanted: the first is being made while `child` is there */
    char wanted[FILES_SUMS_WANTED][NODE_FILE_MAX];
    uint32_t n_wanted;
    struct child *child;
    struct rm_buf said;
    /* one that could not be made is not tried again at once, whoever asks */
    char failed[NODE_FILE_MAX];
    uint64_t failed_until_ms;
};

struct reader {
    struct files *files;
    struct http_req *q; /* NULL: the client is gone */
    uv_work_t work;
    uv_fs_t read;
    char name[NODE_FILE_MAX];
    int fd, err;
    struct file_stamp stamp;
    uint64_t at, left;
    bool done;    /* on_done came */
    bool busy;    /* the thread pool has it */
    bool stalled; /* the queue is full */
    char *piece;  /* FILES_PIECE bytes, once something is read */
};

/* ---- sums ---- */

static void sums_path(const struct files *f, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/sums", f->conf.state_dir);
}

static void sums_load(struct files *f)
{
    char path[PATH_BYTES];
    struct rm_buf text;

    sums_path(f, path);
    rm_buf_init(&text, SUMS_TEXT_MAX);
    if (rm_file_read(path, &text) == 0)
        sums_read(&f->sums, (struct rm_slice){text.data, text.len});
    rm_buf_clear(&text);
}

static void sums_save(const struct files *f)
{
    char path[PATH_BYTES];
    struct rm_buf text;

    sums_path(f, path);
    rm_buf_init(&text, SUMS_TEXT_MAX);
    if (sums_write(&f->sums, &text) < 0 ||
        rm_file_put(path, (struct rm_slice){text.data, text.len}, 0600) < 0)
        rm_debug("files", "sums are not kept over a restart");
    rm_buf_clear(&text);
}

static void sum_next(struct files *f);

static void sum_on_channel(void *arg, const char *bytes, size_t n)
{
    (void)rm_buf_put(&((struct files *)arg)->said, bytes, n);
}

static void sum_on_end(void *arg, const struct child_end *end)
{
    struct files *f = arg;

    if (WIFEXITED(end->wait_status) && WEXITSTATUS(end->wait_status) == 0) {
        sums_read(&f->sums, (struct rm_slice){f->said.data, f->said.len});
        sums_save(f);
    } else {
        rm_warn("files", "no sum could be made", RM_S("file", f->wanted[0]),
                RM_S("last_words", end->log));
        rm_text_copy(f->failed, sizeof f->failed, f->wanted[0]);
        f->failed_until_ms = rm_now_ms() + SUM_AGAIN_MS;
    }
    rm_buf_clear(&f->said);
    f->child = NULL;
    memmove(f->wanted[0], f->wanted[1], --f->n_wanted * sizeof f->wanted[0]);
    sum_next(f);
}

static void sum_next(struct files *f)
{
    static const struct child_ops ops = {.on_channel = sum_on_channel, .on_end = sum_on_end};
    const char *argv[] = {f->conf.program,    "--json", "--sum",      "--dir",
                          f->conf.models_dir, "--",     f->wanted[0], NULL};
    const struct child_spec spec = {argv, "sum", true};

    if (f->child != NULL || f->n_wanted == 0 || f->closed)
        return;
    if (child_start(f->conf.supervisor, &spec, &ops, f, &f->child) < 0) {
        f->child = NULL;
        f->n_wanted = 0; /* whoever wants it asks again */
    }
}

/* True: it is being made, or its turn will come. */
static bool sum_want(struct files *f, const char *name)
{
    if (rm_now_ms() < f->failed_until_ms && strcmp(f->failed, name) == 0)
        return false;
    for (uint32_t i = 0; i < f->n_wanted; i++)
        if (strcmp(f->wanted[i], name) == 0)
            return true;
    if (f->n_wanted == FILES_SUMS_WANTED)
        return true; /* ask again, then there may be room */
    rm_text_copy(f->wanted[f->n_wanted++], NODE_FILE_MAX, name);
    sum_next(f);
    return f->n_wanted > 0;
}

/* ---- a reader's life ---- */

static void files_free(struct files *f)
{
    if (!f->closed || f->readers > 0)
        return;
    rm_buf_clear(&f->said);
    free(f);
}

static void reader_free(struct reader *r)
{
    struct files *f = r->files;

    if (!r->done || r->busy)
        return;
    if (r->fd >= 0)
        close(r->fd);
    free(r->piece);
    free(r);
    f->readers--;
    files_free(f);
}

static void reader_read(struct reader *r);

static void reader_on_read(uv_fs_t *req)
{
    struct reader *r = req->data;
    ssize_t n = req->result;
    struct rm_slice piece = {r->piece, n > 0 ? (size_t)n : 0};
    int w;

    uv_fs_req_cleanup(req);
    r->busy = false;
    if (r->q == NULL) {
        reader_free(r);
        return;
    }
    if (n <= 0) { /* shorter than it was, or not readable: only a broken connection says so */
        http_reply_cut(r->q);
        return;
    }
    r->at += piece.n;
    r->left -= piece.n;
    w = http_reply_write(r->q, &piece, 1);
    if (w < 0)
        http_reply_cut(r->q);
    else if (r->left == 0)
        http_reply_end(r->q);
    else if (w == RM_WAIT)
        r->stalled = true;
    else
        reader_read(r);
}

static void reader_read(struct reader *r)
{
    uv_buf_t buf = uv_buf_init(r->piece, r->left < FILES_PIECE ? (unsigned)r->left : FILES_PIECE);

    r->read.data = r;
    r->busy = uv_fs_read(r->files->conf.loop, &r->read, r->fd, &buf, 1, (int64_t)r->at,
                         reader_on_read) == 0;
    if (!r->busy)
        http_reply_cut(r->q);
}

/* ---- the answer's head ---- */

static void tag_of(const struct file_stamp *s, char out[TAG_MAX])
{
    snprintf(out, TAG_MAX, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", s->bytes,
             (uint64_t)s->mtime_ns, s->inode);
}

static bool wants_digest(const struct http_head *head)
{
    struct rm_slice want = http_head_value(head, "Want-Repr-Digest");

    return want.n >= 7 && memmem(want.p, want.n, "sha-256", 7) != NULL;
}

/* Repr-Digest, or when to ask again. */
static bool digest_field(struct reader *r, const struct http_head *head, char text[DIGEST_MAX],
                         struct http_out_field *out)
{
    const char *hex = sums_find(&r->files->sums, r->name, &r->stamp);
    unsigned char sum[crypto_hash_sha256_BYTES];
    char base64[64];

    if (hex == NULL) {
        *out = (struct http_out_field){"Retry-After", RM_LIT("1")};
        return wants_digest(head) && sum_want(r->files, r->name);
    }
    if (sodium_hex2bin(sum, sizeof sum, hex, 64, NULL, NULL, NULL) != 0)
        return false;
    sodium_bin2base64(base64, sizeof base64, sum, sizeof sum, sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, DIGEST_MAX, "sha-256=:%s:", base64);
    *out = (struct http_out_field){"Repr-Digest", rm_slice_of(text)};
    return true;
}

static enum range_kind wanted_range(struct reader *r, const struct http_head *head,
                                    const char *etag)
{
    struct rm_slice range = http_head_value(head, "Range");
    struct rm_slice only_if = http_head_value(head, "If-Range");

    if (head->method == HTTP_HEAD || (only_if.n > 0 && !rm_slice_eq(only_if, etag)))
        range.n = 0;
    return range_read(range, r->stamp.bytes, &r->at, &r->left);
}

static void reader_answer(struct reader *r)
{
    const struct http_head *head = http_req_head(r->q);
    char etag[TAG_MAX], range[80], digest[DIGEST_MAX];
    struct http_out_field fields[FIELDS_MAX];
    enum range_kind kind;
    size_t n = 0;
    int err;

    tag_of(&r->stamp, etag);
    fields[n++] = (struct http_out_field){"ETag", rm_slice_of(etag)};
    fields[n++] = (struct http_out_field){"Accept-Ranges", RM_LIT("bytes")};
    if (digest_field(r, head, digest, &fields[n]))
        n++;
    if (range_tag_listed(http_head_value(head, "If-None-Match"), etag)) {
        http_reply_full(r->q, 304, fields, n, NULL, RM_LIT(""));
        return;
    }
    kind = wanted_range(r, head, etag);
    if (kind == RANGE_NONE)
        snprintf(range, sizeof range, "bytes */%" PRIu64, r->stamp.bytes);
    else
        snprintf(range, sizeof range, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, r->at,
                 r->at + r->left - 1, r->stamp.bytes);
    if (kind != RANGE_WHOLE)
        fields[n++] = (struct http_out_field){"Content-Range", rm_slice_of(range)};
    if (kind == RANGE_NONE) {
        http_reply_full(r->q, 416, fields, n, NULL, RM_LIT(""));
        return;
    }
    fields[n++] = (struct http_out_field){"Content-Type", RM_LIT("application/octet-stream")};
    err = http_reply_start(r->q, kind == RANGE_PART ? 206 : 200, fields, n, (int64_t)r->left);
    if (err < 0)
        http_reply_cut(r->q);
    else if (head->method == HTTP_HEAD || r->left == 0)
        http_reply_end(r->q);
    else if ((r->piece = malloc(FILES_PIECE)) == NULL)
        http_reply_cut(r->q);
    else
        reader_read(r);
}

/* ---- the file ---- */

static void reader_open(uv_work_t *work)
{
    struct reader *r = work->data;
    struct stat st;

    r->fd = models_open_file(r->files->conf.models_fd, r->files->conf.models_dir, r->name);
    if (r->fd < 0)
        r->err = r->fd;
    else if (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode))
        r->err = UV_ENOENT;
    if (r->err < 0)
        return;
    r->stamp = (struct file_stamp){(uint64_t)st.st_size,
                                   (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                                   (uint64_t)st.st_ino};
    (void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

static void reader_on_opened(uv_work_t *work, int status)
{
    struct reader *r = work->data;

    r->busy = false;
    if (r->q == NULL)
        reader_free(r);
    else if (status < 0 || r->err == UV_EMFILE || r->err == UV_ENFILE || r->err == UV_ENOMEM)
        api_reply_error(r->q, RM_ERR_OVERLOAD, 0, 1, rm_strerror(RM_ERR_OVERLOAD));
    else if (r->err < 0)
        api_reply_error(r->q, RM_ERR_NOT_FOUND, 0, 0, "there is no such model file");
    else
        reader_answer(r);
}

static void reader_on_end(struct http_req *q)
{
    struct reader *r = http_req_arg(q);
    int err;

    r->work.data = r;
    r->busy = true;
    if ((err = uv_queue_work(r->files->conf.loop, &r->work, reader_open, reader_on_opened)) < 0) {
        r->busy = false;
        api_reply_error(q, err, 0, 0, rm_strerror(err));
    }
}

static void reader_on_writable(struct http_req *q)
{
    struct reader *r = http_req_arg(q);

    if (!r->stalled)
        return;
    r->stalled = false;
    reader_read(r);
}

static void reader_on_gone(struct http_req *q, int why)
{
    struct reader *r = http_req_arg(q);

    (void)why;
    r->q = NULL;
    r->stalled = false;
}

static void reader_on_done(struct http_req *q)
{
    struct reader *r = http_req_arg(q);

    r->q = NULL;
    r->done = true;
    reader_free(r);
}

/* ---- requests ---- */

static void refused_on_done(struct http_req *q)
{
    (void)q;
}

static void refuse(struct http_req *q, int err, uint32_t retry_s, const char *why)
{
    static const struct http_req_ops ops = {.on_done = refused_on_done};

    http_req_set_body_limit(q, WORKER_BODY_MAX);
    http_req_accept(q, &ops, NULL);
    api_reply_error(q, err, 0, retry_s, why);
}

void files_on_request(struct files *f, struct http_req *q, struct rm_slice name)
{
    static const struct http_req_ops ops = {.on_end = reader_on_end,
                                            .on_writable = reader_on_writable,
                                            .on_gone = reader_on_gone,
                                            .on_done = reader_on_done};
    char decoded[NODE_FILE_MAX];
    struct reader *r;

    if (!node_file_decode(name, decoded)) {
        refuse(q, RM_ERR_NOT_FOUND, 0, "there is no such model file");
        return;
    }
    if (f->readers == FILES_MAX_READERS) {
        refuse(q, RM_ERR_OVERLOAD, 1, "too many files are being read");
        return;
    }
    if ((r = calloc(1, sizeof *r)) == NULL) {
        refuse(q, UV_ENOMEM, 1, rm_strerror(UV_ENOMEM));
        return;
    }
    r->files = f;
    r->q = q;
    r->fd = -1;
    memcpy(r->name, decoded, sizeof decoded);
    f->readers++;
    http_req_set_body_limit(q, WORKER_BODY_MAX);
    http_req_accept(q, &ops, r);
}

int files_open(const struct files_conf *conf, struct files **out)
{
    struct files *f = *out = calloc(1, sizeof *f);

    if (f == NULL)
        return UV_ENOMEM;
    f->conf = *conf;
    rm_buf_init(&f->said, NODE_FILE_MAX + 256);
    sums_load(f);
    return 0;
}

void files_close(struct files *f)
{
    if (f == NULL)
        return;
    f->closed = true;
    files_free(f);
}
