/* SPDX-License-Identifier: MIT */
/* worker/core/kvfile.c - see kvfile.h. Writing goes through a shared mapping of a file whose blocks
 * are there already, so that gigabytes of state never stand in anonymous memory and a full disk is
 * known before the first byte. Reading hashes with pread first: an error of the disk is a return
 * value there, not a signal. */
#include "worker/core/kvfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/clock.h"

enum {
    HEAD = 416,
    AT_VERSION = 8,
    AT_HEAD = 12,
    AT_FILE = 16,
    AT_SAVED = 24,
    AT_PREFILL = 32,
    AT_SEQS = 40,
    AT_LLAMA = 48,
    AT_MODEL = 128,
    AT_FLAGS = 192,
    AT_SUM = 384,
    SUM = 32,
    SEQ_HEAD = 16,
    POINT_HEAD = 16,
    PIECE = 1 << 20, /* bytes hashed or copied at a time */
    PATH_ROOM = 1100,
};
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokens are read in place");
static const char magic[8] = {'r', 'm', 'k', 'v', 's', 'a', 'v', 'e'};

/* ---- integers ---- */

static void put_le(uint8_t *to, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, int n)
{
    uint64_t v = 0;

    for (int i = 0; i < n; i++)
        v |= (uint64_t)from[i] << (8 * i);
    return v;
}

static uint64_t pad8(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

static int last_error(void)
{
    return uv_translate_sys_error(errno);
}

/* sodium_init chooses the fast code; where it fails, the plain one gives the same sums. */
static void sum_init(crypto_generichash_state *s)
{
    int ignored = sodium_init();

    (void)ignored;
    crypto_generichash_init(s, NULL, 0, SUM);
}

/* ---- writing ---- */

struct kvfile_writer {
    int fd;
    char path[PATH_ROOM], temp[PATH_ROOM + 8];
    uint8_t *map;
    uint64_t bytes, at, hashed;
    crypto_generichash_state sum;
};

uint64_t kvfile_head_bytes(void)
{
    return HEAD;
}

uint64_t kvfile_seq_bytes(const struct kvfile_seq *seq)
{
    uint64_t n = SEQ_HEAD + (uint64_t)seq->n_points * POINT_HEAD +
                 pad8((uint64_t)seq->n_tokens * sizeof(int32_t)) + pad8(seq->n_state);

    for (uint32_t i = 0; i < seq->n_points; i++)
        n += pad8(seq->points[i].n);
    return n;
}

static int temp_open(const char *path, char *temp, size_t n_temp)
{
    int fd;

    if ((size_t)snprintf(temp, n_temp, "%s.tmp", path) >= n_temp)
        return UV_ENAMETOOLONG;
    if (unlink(temp) < 0 && errno != ENOENT)
        return last_error();
    fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? last_error() : fd;
}

static void put_head(struct kvfile_writer *w, const struct kvfile_identity *id,
                     const struct kvfile_facts *facts)
{
    uint8_t *h = w->map;

    memcpy(h, magic, sizeof(magic));
    put_le(h + AT_VERSION, KVFILE_VERSION, 4);
    put_le(h + AT_HEAD, HEAD, 4);
    put_le(h + AT_FILE, w->bytes, 8);
    put_le(h + AT_SAVED, (uint64_t)facts->saved_s, 8);
    put_le(h + AT_PREFILL, (uint64_t)(facts->prefill_tps * 1000.0), 8);
    put_le(h + AT_SEQS, facts->n_seqs, 4);
    memcpy(h + AT_LLAMA, id->llama, strnlen(id->llama, sizeof(id->llama)));
    memcpy(h + AT_MODEL, id->model_hash, strnlen(id->model_hash, 64));
    memcpy(h + AT_FLAGS, id->flags, strnlen(id->flags, sizeof(id->flags)));
    w->at = HEAD;
}

int kvfile_begin(const char *path, const struct kvfile_identity *id,
                 const struct kvfile_facts *facts, uint64_t bytes, struct kvfile_writer **out)
{
    struct kvfile_writer *w = calloc(1, sizeof(*w));
    int r;

    *out = NULL;
    if (w == NULL)
        return UV_ENOMEM;
    w->fd = -1;
    if (strlen(path) >= sizeof(w->path) || bytes < HEAD || bytes > INT64_MAX) {
        free(w);
        return UV_EINVAL;
    }
    memcpy(w->path, path, strlen(path) + 1);
    if ((r = w->fd = temp_open(path, w->temp, sizeof(w->temp))) < 0) {
        free(w);
        return r;
    }
    w->bytes = bytes;
    if ((r = posix_fallocate(w->fd, 0, (off_t)bytes)) != 0) {
        r = uv_translate_sys_error(r);
        goto fail;
    }
    w->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
    if (w->map == MAP_FAILED) {
        w->map = NULL;
        r = last_error();
        goto fail;
    }
    sum_init(&w->sum);
    put_head(w, id, facts);
    *out = w;
    return 0;
fail:
    kvfile_abandon(w);
    return r;
}

/* Hashes what was placed since the last call, lets it go to the disk and out of our memory. */
static void settle(struct kvfile_writer *w)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = w->hashed / page * page;

    crypto_generichash_update(&w->sum, w->map + w->hashed, w->at - w->hashed);
    w->hashed = w->at;
    if (w->at / page * page > from && from >= page) /* the head's page stays */
        madvise(w->map + from, w->at / page * page - from, MADV_DONTNEED);
}

uint8_t *kvfile_place(struct kvfile_writer *w, uint64_t n)
{
    uint8_t *to = w->map + w->at;

    if (n > w->bytes - w->at || pad8(n) > w->bytes - w->at)
        return NULL;
    if (w->at - w->hashed >= PIECE)
        settle(w);
    w->at += pad8(n);
    return to;
}

int kvfile_put_seq(struct kvfile_writer *w, const struct kvfile_seq *seq)
{
    uint64_t heads = SEQ_HEAD + (uint64_t)seq->n_points * POINT_HEAD;
    uint8_t *to;

    assert(seq->n_points <= KVFILE_POINTS_MAX);
    if (kvfile_seq_bytes(seq) > w->bytes - w->at || (to = kvfile_place(w, heads)) == NULL)
        return RM_ERR_TOO_BIG;
    put_le(to, seq->n_tokens, 4);
    put_le(to + 4, seq->n_points, 4);
    put_le(to + 8, seq->n_state, 8);
    for (uint32_t i = 0; i < seq->n_points; i++) {
        uint8_t *p = to + SEQ_HEAD + (size_t)i * POINT_HEAD;

        put_le(p, seq->points[i].at, 4);
        put_le(p + 8, seq->points[i].n, 8);
    }
    to = kvfile_place(w, (uint64_t)seq->n_tokens * sizeof(int32_t));
    for (uint32_t i = 0; i < seq->n_tokens; i++)
        put_le(to + (size_t)i * 4, (uint32_t)seq->tokens[i], 4);
    return 0;
}

/* The name of a file is its directory's content. */
static int sync_directory(const char *path)
{
    char dir[PATH_ROOM];
    char *slash;
    int fd, r = 0;

    snprintf(dir, sizeof(dir), "%s", path);
    if ((slash = strrchr(dir, '/')) == NULL)
        snprintf(dir, sizeof(dir), ".");
    else
        slash[slash == dir] = '\0';
    if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return last_error();
    if (fsync(fd) < 0)
        r = last_error();
    close(fd);
    return r;
}

int kvfile_commit(struct kvfile_writer *w)
{
    int r = 0;

    if (w->at != w->bytes) { /* less than announced */
        kvfile_abandon(w);
        return RM_ERR_INTERNAL;
    }
    settle(w);
    crypto_generichash_final(&w->sum, w->map + AT_SUM, SUM);
    munmap(w->map, w->bytes);
    w->map = NULL;
    if (fsync(w->fd) < 0 || rename(w->temp, w->path) < 0)
        r = last_error();
    if (r == 0) {
        w->temp[0] = '\0'; /* nothing is left to be removed */
        if ((r = sync_directory(w->path)) < 0)
            unlink(w->path);
    }
    kvfile_abandon(w);
    return r;
}

void kvfile_abandon(struct kvfile_writer *w)
{
    if (w == NULL)
        return;
    if (w->map != NULL)
        munmap(w->map, w->bytes);
    if (w->fd >= 0)
        close(w->fd);
    if (w->temp[0] != '\0')
        unlink(w->temp);
    free(w);
}

/* ---- reading ---- */

struct kvfile {
    int fd;
    uint64_t bytes, at;
    struct kvfile_facts facts;
    uint32_t seqs_left;
    const uint8_t *map;
};

static int refuse(char *why, const char *what)
{
    snprintf(why, KVFILE_WHY_MAX, "%s", what);
    return RM_ERR_FIELD;
}

/* All of `n` bytes at `at`. Returns 0, RM_ERR_FIELD (the file ends before) or a libuv code. */
static int read_at(int fd, uint8_t *to, size_t n, uint64_t at, char *why)
{
    while (n > 0) {
        ssize_t r = pread(fd, to, n, (off_t)at);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            int err = last_error();

            snprintf(why, KVFILE_WHY_MAX, "it cannot be read: %s", rm_strerror(err));
            return err;
        }
        if (r == 0)
            return refuse(why, "it is cut short");
        to += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}

static bool same_text(const uint8_t *field, size_t n_field, const char *text)
{
    size_t n = strlen(text);

    if (n > n_field || memcmp(field, text, n) != 0)
        return false;
    while (n < n_field)
        if (field[n++] != 0)
            return false;
    return true;
}

static int check_head(const uint8_t *h, const struct kvfile_identity *id, struct kvfile *f,
                      char *why)
{
    if (memcmp(h, magic, sizeof(magic)) != 0)
        return refuse(why, "it is none of ours");
    if (get_le(h + AT_VERSION, 4) != KVFILE_VERSION || get_le(h + AT_HEAD, 4) != HEAD)
        return refuse(why, "its format has another version");
    if (get_le(h + AT_FILE, 8) != f->bytes)
        return refuse(why, "it is cut short");
    if (!same_text(h + AT_MODEL, 64, id->model_hash))
        return refuse(why, "the model is another one now");
    if (!same_text(h + AT_LLAMA, sizeof(id->llama), id->llama))
        return refuse(why, "it was made with another build of libllama");
    if (!same_text(h + AT_FLAGS, sizeof(id->flags), id->flags))
        return refuse(why, "it was made with other flags");
    f->facts.saved_s = (int64_t)get_le(h + AT_SAVED, 8);
    f->facts.prefill_tps = (double)get_le(h + AT_PREFILL, 8) / 1000.0;
    f->facts.n_seqs = f->seqs_left = (uint32_t)get_le(h + AT_SEQS, 4);
    return 0;
}

/* head: of the file, its checksum is set to zero here. */
static int check_sum(struct kvfile *f, uint8_t *head, char *why)
{
    crypto_generichash_state state;
    uint8_t want[SUM], got[SUM], *piece = malloc(PIECE);
    int r = 0;

    if (piece == NULL) {
        snprintf(why, KVFILE_WHY_MAX, "no memory to check it");
        return UV_ENOMEM;
    }
    memcpy(want, head + AT_SUM, SUM);
    memset(head + AT_SUM, 0, SUM);
    sum_init(&state);
    crypto_generichash_update(&state, head, HEAD);
    for (uint64_t at = HEAD; r == 0 && at < f->bytes; at += PIECE) {
        size_t n = f->bytes - at < PIECE ? (size_t)(f->bytes - at) : PIECE;

        if ((r = read_at(f->fd, piece, n, at, why)) == 0)
            crypto_generichash_update(&state, piece, n);
    }
    free(piece);
    crypto_generichash_final(&state, got, SUM);
    if (r == 0 && sodium_memcmp(want, got, SUM) != 0)
        r = refuse(why, "its checksum is wrong");
    return r;
}

static int check_file(struct kvfile *f, uint64_t most_bytes, char *why)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0) {
        snprintf(why, KVFILE_WHY_MAX, "it cannot be read: %s", rm_strerror(last_error()));
        return last_error();
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return refuse(why, "others may have written it");
    f->bytes = (uint64_t)st.st_size;
    if (f->bytes < HEAD)
        return refuse(why, "it is cut short");
    return f->bytes > most_bytes ? refuse(why, "it is over the size bound") : 0;
}

static int open_once(const char *path, char *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int err = errno;

    if (fd < 0 && err == ENOENT)
        return UV_ENOENT;
    if (unlink(path) < 0 && fd >= 0) { /* never without that: it might be met again */
        err = errno;
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        return fd;
    snprintf(why, KVFILE_WHY_MAX, "it cannot be opened: %s",
             rm_strerror(uv_translate_sys_error(err)));
    return uv_translate_sys_error(err);
}

int kvfile_open(const char *path, const struct kvfile_identity *id, uint64_t most_bytes,
                struct kvfile **out, char *why)
{
    struct kvfile *f = calloc(1, sizeof(*f));
    uint8_t head[HEAD];
    void *map;
    int r;

    *out = NULL;
    why[0] = '\0';
    if (f == NULL)
        return UV_ENOMEM;
    if ((r = f->fd = open_once(path, why)) < 0) {
        free(f);
        return r;
    }
    if ((r = check_file(f, most_bytes, why)) < 0 || (r = read_at(f->fd, head, HEAD, 0, why)) < 0 ||
        (r = check_head(head, id, f, why)) < 0 || (r = check_sum(f, head, why)) < 0)
        goto fail;
    if ((map = mmap(NULL, f->bytes, PROT_READ, MAP_PRIVATE, f->fd, 0)) == MAP_FAILED) {
        r = last_error();
        snprintf(why, KVFILE_WHY_MAX, "it cannot be mapped: %s", rm_strerror(r));
        goto fail;
    }
    f->map = map;
    f->at = HEAD;
    *out = f;
    return 0;
fail:
    kvfile_close(f);
    return r;
}

struct kvfile_facts kvfile_facts(const struct kvfile *f)
{
    return f->facts;
}

/* The next n bytes, or NULL. */
static const uint8_t *take(struct kvfile *f, uint64_t n)
{
    const uint8_t *from = f->map + f->at;

    if (n > f->bytes - f->at || pad8(n) > f->bytes - f->at)
        return NULL;
    f->at += pad8(n);
    return from;
}

bool kvfile_next(struct kvfile *f, struct kvfile_seq *seq)
{
    const uint8_t *p, *points;

    if (f->seqs_left == 0 || (p = take(f, SEQ_HEAD)) == NULL)
        return false;
    f->seqs_left--;
    *seq = (struct kvfile_seq){.n_tokens = (uint32_t)get_le(p, 4),
                               .n_points = (uint32_t)get_le(p + 4, 4),
                               .n_state = get_le(p + 8, 8)};
    if (seq->n_points > KVFILE_POINTS_MAX ||
        (points = take(f, (uint64_t)seq->n_points * POINT_HEAD)) == NULL ||
        (p = take(f, (uint64_t)seq->n_tokens * sizeof(int32_t))) == NULL ||
        (seq->state = take(f, seq->n_state)) == NULL)
        return false;
    seq->tokens = (const int32_t *)(const void *)p;
    for (uint32_t i = 0; i < seq->n_points; i++) {
        struct kvfile_point *at = &seq->points[i];

        at->at = (uint32_t)get_le(points + (size_t)i * POINT_HEAD, 4);
        at->n = get_le(points + (size_t)i * POINT_HEAD + 8, 8);
        if ((at->bytes = take(f, at->n)) == NULL)
            return false;
    }
    return true;
}

void kvfile_close(struct kvfile *f)
{
    if (f == NULL)
        return;
    if (f->map != NULL)
        munmap((void *)(uintptr_t)f->map, f->bytes);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

/* ---- the disk ---- */

/* Bytes that no file system makes smaller. */
static void fill_noise(uint8_t *to, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        memcpy(to + i, seed, 8);
    }
}

static int probe_write(int fd, uint8_t *piece, uint64_t bytes, double *bps)
{
    uint64_t seed = 88172645463325252ULL, us = 0, began;
    crypto_generichash_state sum;

    sum_init(&sum);
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        fill_noise(piece, PIECE, &seed);
        began = rm_now_us();
        crypto_generichash_update(&sum, piece, PIECE);
        if (pwrite(fd, piece, PIECE, (off_t)at) != PIECE)
            return errno != 0 ? last_error() : UV_ENOSPC;
        us += rm_now_us() - began;
    }
    began = rm_now_us();
    if (fdatasync(fd) < 0)
        return last_error();
    us += rm_now_us() - began;
    *bps = (double)bytes * 1e6 / (double)(us > 0 ? us : 1);
    return 0;
}

static int probe_read(int fd, uint8_t *piece, uint64_t bytes, double *bps)
{
    crypto_generichash_state sum;
    uint64_t began, us;

    sum_init(&sum);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    began = rm_now_us();
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        if (pread(fd, piece, PIECE, (off_t)at) != PIECE)
            return errno != 0 ? last_error() : UV_EIO;
        crypto_generichash_update(&sum, piece, PIECE);
    }
    us = rm_now_us() - began;
    *bps = (double)bytes * 1e6 / (double)(us > 0 ? us : 1);
    return 0;
}

int kvfile_measure(const char *path, uint64_t bytes, double *write_bps, double *read_bps)
{
    char temp[PATH_ROOM + 8];
    uint8_t *piece;
    int fd, r;

    *write_bps = *read_bps = 0;
    bytes = bytes < KVFILE_PROBE_MIN ? KVFILE_PROBE_MIN : bytes;
    bytes = (bytes > KVFILE_PROBE_MAX ? KVFILE_PROBE_MAX : bytes) / PIECE * PIECE;
    if ((piece = malloc(PIECE)) == NULL)
        return UV_ENOMEM;
    if ((r = fd = temp_open(path, temp, sizeof(temp))) >= 0) {
        errno = 0;
        if ((r = probe_write(fd, piece, bytes, write_bps)) == 0)
            r = probe_read(fd, piece, bytes, read_bps);
        unlink(temp);
        close(fd);
    }
    free(piece);
    if (r < 0)
        *write_bps = *read_bps = 0;
    return r;
}

int kvfile_room(const char *path, uint64_t *free_bytes, uint64_t *all_bytes)
{
    char dir[PATH_ROOM];
    struct statvfs fs;
    char *slash;

    *free_bytes = *all_bytes = 0;
    snprintf(dir, sizeof(dir), "%s", path);
    if ((slash = strrchr(dir, '/')) == NULL)
        snprintf(dir, sizeof(dir), ".");
    else
        slash[slash == dir] = '\0';
    if (statvfs(dir, &fs) < 0)
        return last_error();
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    *all_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    return 0;
}
