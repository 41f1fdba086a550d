/* SPDX-License-Identifier: MIT */
/* One model by name: resolved beneath the directory, checked, hashed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "proto/gguf/gguf_model.h"
#include "proto/node/file_name.h"
#include "worker/models/models.h"
#include "worker/models/page_cache.h"

enum { HASH_EDGE = 1 << 20, HASH_SAMPLE = 64 << 10, HASH_SAMPLES = 14 };

int models_open_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

/* ThreadSanitizer sees neither this raw system call nor libuv's close(2), which is one as well, and
 * takes the number for one that the loop still uses: for it, the file is opened once more in a way
 * that it sees. */
static int fresh_fd(int fd)
{
#ifdef __SANITIZE_THREAD__
    char path[40];
    int same;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    same = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    syscall(SYS_close, fd);
    return same >= 0 ? same : -errno;
#else
    return fd;
#endif
}

/* open beneath dir_fd whatever links lie on the way; -errno. Kernels before 5.6 have no openat2:
 * there the real path is compared, and no link is followed in the last step. */
static int open_beneath(int dir_fd, const char *dir, const char *rel)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    char real_dir[PATH_MAX], real_file[PATH_MAX], at[PATH_MAX];
    long fd = syscall(SYS_openat2, dir_fd, rel, &how, sizeof(how));
    size_t n;

    if (fd >= 0)
        return fresh_fd((int)fd);
    if (errno != ENOSYS)
        return -errno;
    if (snprintf(at, sizeof(at), "%s/%s", dir, rel) >= (int)sizeof(at))
        return -ENAMETOOLONG;
    if (realpath(dir, real_dir) == NULL || realpath(at, real_file) == NULL)
        return -errno;
    n = strlen(real_dir);
    if (strncmp(real_file, real_dir, n) != 0 || (n > 1 && real_file[n] != '/'))
        return -EXDEV;
    fd = open(real_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    return fd >= 0 ? (int)fd : -errno;
}

int models_open_file(int dir_fd, const char *dir, const char *rel)
{
    int fd = open_beneath(dir_fd, dir, rel);

    return fd >= 0 ? fd : uv_translate_sys_error(-fd);
}

/* The path relative to dir, or NULL with the reason in why. */
static const char *relative_to(const char *dir, const char *source, char *why)
{
    size_t n = strlen(dir), m = strlen(source);

    while (n > 0 && dir[n - 1] == '/')
        n--;
    if (source[0] != '/')
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not an absolute path", source);
    else if (strncmp(source, dir, n) != 0 || source[n] != '/')
        snprintf(why, MODELS_WHY_MAX, "\"%.160s\" does not lie beneath the models directory %.120s",
                 source, dir);
    else if (m < 5 || strcmp(source + m - 5, ".gguf") != 0)
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not a .gguf file", source);
    else
        return source + n + 1 + strspn(source + n + 1, "/");
    return NULL;
}

static int open_wrong(int err, const char *source, char *why)
{
    if (err == EXDEV || err == ELOOP) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" leads out of the models directory", source);
        return RM_ERR_CONF;
    }
    snprintf(why, MODELS_WHY_MAX, "\"%.200s\": %s", source,
             err == ENOENT ? "no such file" : strerror(err));
    return RM_ERR_MODEL_FILE;
}

static ssize_t read_at(int fd, void *into, size_t n, uint64_t at)
{
    size_t got = 0;
    ssize_t r;

    while (got < n && (r = pread(fd, (char *)into + got, n - got, (off_t)(at + got))) != 0) {
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

/* The header of one file, as libllama would read it. */
static int check_head(int fd, const char *source, uint32_t parts, struct gguf_reading *g,
                      struct stat *st, char *why)
{
    struct gguf_source from;

    _Static_assert((int)MODELS_WHY_MAX >= (int)GGUF_WHY_MAX, "the reader's message fits");
    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not a regular file", source);
        return RM_ERR_MODEL_FILE;
    }
    from = gguf_source_fd(fd, (uint64_t)st->st_size);
    return gguf_add(g, &from, source, parts, why);
}

static int hash_stretch(crypto_generichash_state *h, int fd, uint64_t at, size_t n,
                        unsigned char *into)
{
    if (read_at(fd, into, n, at) != (ssize_t)n)
        return RM_ERR_MODEL_FILE;
    crypto_generichash_update(h, into, n);
    return 0;
}

static int hash_file(crypto_generichash_state *h, int fd, uint64_t size)
{
    unsigned char le[8], *into = malloc(HASH_EDGE);
    uint64_t at, n, room;
    int r = 0;

    if (into == NULL)
        return UV_ENOMEM;
    for (int i = 0; i < 8; i++)
        le[i] = (unsigned char)(size >> (8 * i));
    crypto_generichash_update(h, le, sizeof(le));
    if (size <= 3ULL * HASH_EDGE) {
        for (at = 0; r == 0 && at < size; at += n) {
            n = size - at < HASH_EDGE ? size - at : HASH_EDGE;
            r = hash_stretch(h, fd, at, n, into);
        }
    } else {
        r = hash_stretch(h, fd, 0, HASH_EDGE, into);
        room = (size - 2ULL * HASH_EDGE - HASH_SAMPLE) / (HASH_SAMPLES - 1);
        for (uint64_t i = 0; r == 0 && i < HASH_SAMPLES; i++)
            r = hash_stretch(h, fd, HASH_EDGE + i * room, HASH_SAMPLE, into);
        if (r == 0)
            r = hash_stretch(h, fd, size - HASH_EDGE, HASH_EDGE, into);
    }
    free(into);
    return r;
}

/* What is read of one model. */
struct looking {
    int dir_fd;
    const char *dir;
    crypto_generichash_state *hash; /* NULL: not wanted */
    struct gguf_reading *head;
    struct model_file *out;
    char *why;
};

/* Before anything is read of the file. The sum of parts is weighed by bytes. */
static void look_cached(struct looking *l, int fd)
{
    struct stat st;
    double part;

    if (l->out->cached < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    part = page_cache_part(fd, (uint64_t)st.st_size);
    l->out->cached = part < 0 ? -1 : l->out->cached + part * (double)st.st_size;
}

/* One file of the model: opened, checked, added to sums and hash. */
static int look_file(struct looking *l, const char *rel, const char *source, uint32_t parts)
{
    int fd = open_beneath(l->dir_fd, l->dir, rel), r;
    int64_t mtime;
    struct stat st;

    if (fd < 0)
        return open_wrong(-fd, source, l->why);
    look_cached(l, fd);
    if ((r = check_head(fd, source, parts, l->head, &st, l->why)) == 0 && l->hash != NULL &&
        (r = hash_file(l->hash, fd, (uint64_t)st.st_size)) < 0)
        snprintf(l->why, MODELS_WHY_MAX, "\"%.200s\": changed or unreadable while it was read",
                 source);
    close(fd);
    if (r < 0)
        return r;
    mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (mtime > l->out->mtime_ns)
        l->out->mtime_ns = mtime;
    l->out->bytes += (uint64_t)st.st_size;
    l->out->files++;
    return 0;
}

/* All files of the model, by their names. path: the first one's, with room for part numbers. */
static int look_files(struct looking *l, char *path, size_t skip, uint32_t parts)
{
    size_t n = strlen(path);
    int r;

    for (uint32_t part = 1; part <= parts; part++) {
        if (parts > 1)
            snprintf(path + n - 20, 24, "-%05u-of-%05u.gguf", part % 100000, parts % 100000);
        if ((r = look_file(l, path + skip, path, parts)) < 0)
            return r;
    }
    return 0;
}

/* The path relative to dir and the number of files; as model_look. */
static int look_name(const char *dir, const char *source, size_t *skip, uint32_t *parts, char *why)
{
    const char *rel;
    uint32_t part;

    if (strlen(source) >= MODELS_PATH_MAX) {
        snprintf(why, MODELS_WHY_MAX, "the path is too long");
        return RM_ERR_CONF;
    }
    if ((rel = relative_to(dir, source, why)) == NULL)
        return RM_ERR_CONF;
    *skip = (size_t)(rel - source);
    if (!gguf_split_name(source, &part, parts))
        part = *parts = 1;
    if (part != 1) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is part %u of %u: name the first one", source,
                 part, *parts);
        return RM_ERR_CONF;
    }
    return 0;
}

bool model_context_beyond(const char *source, uint32_t context, uint32_t trained, char *why)
{
    if (trained == 0 || context <= trained)
        return false;
    snprintf(why, MODELS_WHY_MAX,
             "\"%.200s\": a context of %u tokens was asked for, the model was made for %u", source,
             context, trained);
    return true;
}

/* ---- by its hub's name ---- */

/* What lies beneath ORG/REPO; an empty list when there is none. */
static int list_repo(int dir_fd, const char *dir, const char *repo, struct model_list *out)
{
    int fd = open_beneath(dir_fd, dir, repo), r = 0;
    struct stat st;

    memset(out, 0, sizeof(*out));
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        r = models_list(fd, out);
    close(fd);
    return r;
}

/* The file that was pulled for "hf:ORG/REPO:QUANT" (proto/node/file_name.h). Returns as model_look.
 */
static int look_hub(int dir_fd, const char *dir, const char *source, char path[MODELS_PATH_MAX],
                    char *why)
{
    char repo[NODE_HUB_REPO], quant[NODE_HUB_QUANT];
    const char *found = NULL;
    struct model_list list;
    int r;

    if (!node_hub_read(source, repo, quant)) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not hf:ORG/REPO:QUANT", source);
        return RM_ERR_CONF;
    }
    if ((r = list_repo(dir_fd, dir, repo, &list)) < 0)
        return r;
    for (uint32_t i = 0; r == 0 && i < list.n; i++) {
        if (!node_hub_fits(list.v[i].path, quant))
            continue;
        if (found != NULL) {
            snprintf(why, MODELS_WHY_MAX, "\"%.160s\": several models fit: %.70s, %.70s", source,
                     found, list.v[i].path);
            r = RM_ERR_CONF;
        }
        found = list.v[i].path;
    }
    if (r == 0 && found == NULL) {
        snprintf(why, MODELS_WHY_MAX,
                 "\"%.200s\": not on this node yet: rolemesh pull --node NODE MODEL fetches it",
                 source);
        r = RM_ERR_MODEL_FILE;
    } else if (r == 0 &&
               snprintf(path, MODELS_PATH_MAX, "%s/%s/%s", dir, repo, found) >= MODELS_PATH_MAX) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\": the path is too long", source);
        r = RM_ERR_CONF;
    }
    models_list_clear(&list);
    return r;
}

int model_look(int dir_fd, const char *dir, const char *source, bool want_hash,
               struct model_file *out, struct gguf_head *head, char *why)
{
    char pulled[MODELS_PATH_MAX];
    char path[MODELS_PATH_MAX + 24];
    struct looking l = {.dir_fd = dir_fd, .dir = dir, .out = out, .why = why};
    struct gguf_head *own = NULL;
    crypto_generichash_state h;
    unsigned char id[32];
    uint32_t parts;
    size_t skip;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if (strncmp(source, "hf:", 3) == 0) {
        if ((r = look_hub(dir_fd, dir, source, pulled, why)) < 0)
            return r;
        source = pulled;
    }
    if ((r = look_name(dir, source, &skip, &parts, why)) < 0)
        return r;
    if (sodium_init() < 0)
        return RM_ERR_INTERNAL;
    crypto_generichash_init(&h, NULL, 0, sizeof(id));
    l.hash = want_hash ? &h : NULL;
    if (head == NULL && (head = own = malloc(sizeof(*own))) == NULL)
        return UV_ENOMEM;
    if ((r = gguf_begin(head, &l.head)) < 0)
        goto out;
    snprintf(path, sizeof(path), "%s", source);
    if ((r = look_files(&l, path, skip, parts)) < 0) {
        char ignored[GGUF_WHY_MAX];

        (void)gguf_end(l.head, source, ignored);
        goto out;
    }
    if ((r = gguf_end(l.head, source, why)) < 0)
        goto out;
    snprintf(out->path, sizeof(out->path), "%s", source);
    if (out->cached > 0)
        out->cached /= (double)out->bytes;
    if (want_hash) {
        crypto_generichash_final(&h, id, sizeof(id));
        sodium_bin2hex(out->hash, sizeof(out->hash), id, sizeof(id));
    }
out:
    free(own);
    return r;
}
