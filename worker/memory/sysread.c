/* SPDX-License-Identifier: MIT */
#include "worker/memory/sysread.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

int sys_root(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

int sys_text(int root, const char *path, char *text, size_t size)
{
    /* O_NONBLOCK: a pipe in the place of a file must not hold us. */
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
    size_t n = 0;
    ssize_t r = 0;

    text[0] = '\0';
    if (fd < 0)
        return uv_translate_sys_error(errno);
    while (n < size - 1 && (r = read(fd, text + n, size - 1 - n)) > 0)
        n += (size_t)r;
    if (r < 0)
        err = uv_translate_sys_error(errno);
    close(fd);
    text[n] = '\0';
    return err < 0 && n == 0 ? err : (int)n;
}

bool sys_digits(const char *p, const char *end, uint64_t *out)
{
    uint64_t v = 0;
    const char *first;

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    for (first = p; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    if (p == first)
        return false;
    *out = v;
    return true;
}

bool sys_number(int root, const char *path, uint64_t *out)
{
    char text[64];
    int n = sys_text(root, path, text, sizeof(text));

    return n > 0 && sys_digits(text, text + n, out);
}

const char *sys_line_end(const char *p, const char *end)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));

    return nl != NULL ? nl : end;
}

bool sys_counter(struct rm_slice text, const char *name, uint64_t *out)
{
    const char *p = text.p, *end = text.p + text.n, *nl;
    size_t n = strlen(name);

    for (; p != NULL && p < end; p = nl + 1) {
        nl = sys_line_end(p, end);
        if ((size_t)(nl - p) > n && memcmp(p, name, n) == 0 && (p[n] == ' ' || p[n] == '\t'))
            return sys_digits(p + n, nl, out);
    }
    return false;
}

bool sys_kib(struct rm_slice text, const char *name, uint64_t *out)
{
    uint64_t v;

    if (!sys_counter(text, name, &v) || __builtin_mul_overflow(v, 1024, &v))
        return false;
    *out = v;
    return true;
}
