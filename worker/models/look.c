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

#include "worker/models/models.h"

enum { HASH_EDGE = 1 << 20, HASH_SAMPLE = 64 << 10, HASH_SAMPLES = 14, GGUF_HEAD = 24 };

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

bool model_split_name(const char *name, uint32_t *part, uint32_t *parts)
{
    static const char form[] = "-#####-of-#####.gguf";
    const size_t len = sizeof(form) - 1;
    size_t n = strlen(name);
    const char *tail = name + n - len;

    if (n < len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (form[i] == '#' ? tail[i] < '0' || tail[i] > '9' : tail[i] != form[i])
            return false;
    *part = (uint32_t)strtoul(tail + 1, NULL, 10);
    *parts = (uint32_t)strtoul(tail + 10, NULL, 10);
    return *part >= 1 && *part <= *parts && *parts <= MODELS_FILES_MAX;
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

static int check_head(int fd, const char *source, struct stat *st, char *why)
{
    char head[GGUF_HEAD];
    ssize_t n;

    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not a regular file", source);
        return RM_ERR_MODEL_FILE;
    }
    n = read_at(fd, head, sizeof(head), 0);
    if (n < 0)
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\": %s", source, strerror(errno));
    else if (n >= 4 && memcmp(head, "GGUF", 4) != 0)
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is not a GGUF file", source);
    else if (n < GGUF_HEAD)
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is cut short after %zd bytes", source, n);
    else
        return 0;
    return RM_ERR_MODEL_FILE;
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

/* One file of the model: opened, checked, added to sums and hash. */
static int look_file(int dir_fd, const char *dir, const char *rel, const char *source,
                     crypto_generichash_state *h, struct model_file *out, char *why)
{
    int fd = open_beneath(dir_fd, dir, rel), r;
    int64_t mtime;
    struct stat st;

    if (fd < 0)
        return open_wrong(-fd, source, why);
    if ((r = check_head(fd, source, &st, why)) == 0 && h != NULL &&
        (r = hash_file(h, fd, (uint64_t)st.st_size)) < 0)
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\": changed or unreadable while it was read",
                 source);
    close(fd);
    if (r < 0)
        return r;
    mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (mtime > out->mtime_ns)
        out->mtime_ns = mtime;
    out->bytes += (uint64_t)st.st_size;
    out->files++;
    return 0;
}

int model_look(int dir_fd, const char *dir, const char *source, bool want_hash,
               struct model_file *out, char *why)
{
    char path[MODELS_PATH_MAX + 24];
    uint32_t part = 1, parts = 1;
    unsigned char id[32];
    crypto_generichash_state h;
    const char *rel;
    size_t skip, n = strlen(source);
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if (n >= sizeof(out->path)) {
        snprintf(why, MODELS_WHY_MAX, "the path is too long");
        return RM_ERR_CONF;
    }
    if ((rel = relative_to(dir, source, why)) == NULL)
        return RM_ERR_CONF;
    skip = (size_t)(rel - source);
    if (!model_split_name(source, &part, &parts))
        part = parts = 1;
    if (part != 1) {
        snprintf(why, MODELS_WHY_MAX, "\"%.200s\" is part %u of %u: name the first one", source,
                 part, parts);
        return RM_ERR_CONF;
    }
    if (sodium_init() < 0)
        return RM_ERR_INTERNAL;
    crypto_generichash_init(&h, NULL, 0, sizeof(id));
    memcpy(path, source, n + 1);
    for (part = 1; part <= parts; part++) {
        if (parts > 1)
            snprintf(path + n - 20, 24, "-%05u-of-%05u.gguf", part % 100000, parts % 100000);
        if ((r = look_file(dir_fd, dir, path + skip, path, want_hash ? &h : NULL, out, why)) < 0)
            return r;
    }
    memcpy(out->path, source, n + 1);
    if (want_hash) {
        crypto_generichash_final(&h, id, sizeof(id));
        sodium_bin2hex(out->hash, sizeof(out->hash), id, sizeof(id));
    }
    return 0;
}
