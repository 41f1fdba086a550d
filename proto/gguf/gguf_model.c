/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_model.c - see gguf_model.h. */
#include "proto/gguf/gguf_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char form[] = "-#####-of-#####.gguf";
enum { FORM = sizeof(form) - 1, PATH_BYTES_MAX = 4096 };

bool gguf_split_name(const char *name, uint32_t *part, uint32_t *parts)
{
    size_t n = strlen(name);
    const char *tail;

    if (n < FORM)
        return false;
    tail = name + n - FORM;
    for (size_t i = 0; i < FORM; i++)
        if (form[i] == '#' ? tail[i] < '0' || tail[i] > '9' : tail[i] != form[i])
            return false;
    *part = (uint32_t)strtoul(tail + 1, NULL, 10);
    *parts = (uint32_t)strtoul(tail + 10, NULL, 10);
    return *part >= 1 && *part <= *parts && *parts <= GGUF_PARTS_MAX;
}

/* "FILE: what", the name as people may see it. */
static int wrong(char *why, const char *path, const char *what)
{
    char shown[GGUF_WHY_MAX / 2];
    size_t n = 0;

    for (const char *p = path; *p != '\0' && n < sizeof(shown) - 1; p++)
        shown[n++] = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
    shown[n] = '\0';
    snprintf(why, GGUF_WHY_MAX, "%s: %s", shown, what);
    return RM_ERR_MODEL_FILE;
}

static int read_part(struct gguf_reading *g, const char *path, uint32_t parts, uint64_t *bytes,
                     char *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), r;
    struct gguf_source source;
    struct stat st;

    if (fd < 0)
        return wrong(why, path, errno == ENOENT ? "no such file" : strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return wrong(why, path, "not a regular file");
    }
    source = gguf_source_fd(fd, (uint64_t)st.st_size);
    r = gguf_add(g, &source, path, parts, why);
    close(fd);
    *bytes += (uint64_t)st.st_size;
    return r;
}

int gguf_read_model(const char *path, struct gguf_head *head, uint64_t *bytes, char *why)
{
    char name[PATH_BYTES_MAX + 24], ignored[GGUF_WHY_MAX];
    size_t n = strlen(path);
    uint32_t part, parts;
    struct gguf_reading *g;
    uint64_t sum = 0;
    int r;

    why[0] = '\0';
    if (n >= PATH_BYTES_MAX)
        return wrong(why, path, "the path is too long");
    if (!gguf_split_name(path, &part, &parts))
        part = parts = 1;
    if (part != 1)
        return wrong(why, path, "not the first part of the model: name that one");
    if ((r = gguf_begin(head, &g)) < 0)
        return r;
    memcpy(name, path, n + 1);
    for (part = 1; r == 0 && part <= parts; part++) {
        if (parts > 1)
            snprintf(name + n - FORM, FORM + 4, "-%05u-of-%05u.gguf", part % 100000,
                     parts % 100000);
        r = read_part(g, name, parts, &sum, why);
    }
    if (r < 0) {
        (void)gguf_end(g, path, ignored);
        return r;
    }
    if (bytes != NULL)
        *bytes = sum;
    return gguf_end(g, path, why);
}
