/* SPDX-License-Identifier: MIT */
#include "worker/pull/pieces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

static const char magic[8] = "rmparts1";

/* The file: this head, then one count of bytes per piece. Of this machine only: its own byte order.
 */
struct map_head {
    char magic[8];
    unsigned char tag[PIECES_TAG];
    uint64_t bytes;
    uint32_t piece_bytes, n;
};

struct pieces {
    int fd;
    size_t mapped;
    struct map_head *head;
    uint32_t *there;        /* [n], in the file */
    unsigned char *claimed; /* [n] */
    uint64_t total;         /* sum of there */
};

static uint32_t piece_size(const struct pieces *p, uint32_t i)
{
    uint64_t from = (uint64_t)i * p->head->piece_bytes, left = p->head->bytes - from;

    return left < p->head->piece_bytes ? (uint32_t)left : p->head->piece_bytes;
}

static bool map_is_good(struct pieces *p, const unsigned char *tag, uint64_t bytes,
                        uint32_t piece_bytes, uint32_t n)
{
    const struct map_head *h = p->head;

    if (memcmp(h->magic, magic, sizeof magic) != 0 || memcmp(h->tag, tag, PIECES_TAG) != 0 ||
        h->bytes != bytes || h->piece_bytes != piece_bytes || h->n != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (p->there[i] > piece_size(p, i))
            return false;
    return true;
}

static void map_begin(struct pieces *p, const unsigned char *tag, uint64_t bytes,
                      uint32_t piece_bytes, uint32_t n)
{
    memset(p->head, 0, p->mapped);
    memcpy(p->head->tag, tag, PIECES_TAG);
    p->head->bytes = bytes;
    p->head->piece_bytes = piece_bytes;
    p->head->n = n;
    memcpy(p->head->magic, magic, sizeof magic); /* last: only now is it a map */
}

/* fallocate before mmap: a full disk must be an error here and not a SIGBUS later. */
static int map_open(struct pieces *p, const char *path)
{
    int r;

    if ((p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return uv_translate_sys_error(errno);
    if (flock(p->fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? UV_EBUSY : uv_translate_sys_error(errno);
    if (ftruncate(p->fd, (off_t)p->mapped) < 0)
        return uv_translate_sys_error(errno);
    if ((r = posix_fallocate(p->fd, 0, (off_t)p->mapped)) != 0)
        return uv_translate_sys_error(r);
    p->head = mmap(NULL, p->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
    if (p->head == MAP_FAILED) {
        p->head = NULL;
        return uv_translate_sys_error(errno);
    }
    p->there = (uint32_t *)(p->head + 1);
    return 0;
}

int pieces_open(const char *path, const unsigned char tag[PIECES_TAG], uint64_t bytes,
                uint32_t piece_bytes, bool *fresh, struct pieces **out)
{
    uint64_t n = (bytes + piece_bytes - 1) / piece_bytes;
    struct pieces *p;
    int r;

    *out = NULL;
    if (n > PIECES_MAX)
        return UV_EFBIG;
    if ((p = calloc(1, sizeof *p)) == NULL)
        return UV_ENOMEM;
    p->mapped = sizeof *p->head + n * sizeof *p->there;
    if ((r = map_open(p, path)) == 0 && (p->claimed = calloc(n, 1)) == NULL)
        r = UV_ENOMEM;
    if (r < 0) {
        pieces_close(p);
        return r;
    }
    *fresh = !map_is_good(p, tag, bytes, piece_bytes, (uint32_t)n);
    if (*fresh)
        map_begin(p, tag, bytes, piece_bytes, (uint32_t)n);
    for (uint32_t i = 0; i < n; i++)
        p->total += p->there[i];
    *out = p;
    return 0;
}

void pieces_close(struct pieces *p)
{
    if (p == NULL)
        return;
    if (p->head != NULL)
        munmap(p->head, p->mapped);
    if (p->fd >= 0)
        close(p->fd); /* ends the lock */
    free(p->claimed);
    free(p);
}

bool pieces_claim(struct pieces *p, struct pieces_range *out)
{
    for (uint32_t i = 0; i < p->head->n; i++) {
        uint32_t size = piece_size(p, i);

        if (p->claimed[i] || p->there[i] == size)
            continue;
        p->claimed[i] = 1;
        *out = (struct pieces_range){
            .piece = i,
            .at = (uint64_t)i * p->head->piece_bytes + p->there[i],
            .n = size - p->there[i],
        };
        return true;
    }
    return false;
}

uint64_t pieces_add(struct pieces *p, uint32_t piece, uint64_t n)
{
    uint32_t left = piece_size(p, piece) - p->there[piece];

    if (n > left)
        n = left;
    p->there[piece] += (uint32_t)n;
    p->total += n;
    return n;
}

void pieces_release(struct pieces *p, uint32_t piece)
{
    p->claimed[piece] = 0;
}

void pieces_forget(struct pieces *p)
{
    memset(p->there, 0, p->head->n * sizeof *p->there);
    p->total = 0;
}

uint64_t pieces_there(const struct pieces *p)
{
    return p->total;
}

bool pieces_whole(const struct pieces *p)
{
    return p->total == p->head->bytes;
}
