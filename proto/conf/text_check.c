/* SPDX-License-Identifier: MIT */
#include "proto/base/json_write.h"
#include "proto/conf/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* --- memory ----------------------------------------------------------------------------- */

enum { ARENA_CHUNK = 16 * 1024 };

struct conf_chunk {
    struct conf_chunk *next;
    size_t used, size;
    max_align_t data[];
};

void *conf_arena_take(struct conf_arena *arena, size_t bytes)
{
    size_t align = sizeof(max_align_t), need, size;
    struct conf_chunk *c = arena->chunks;
    void *p;

    if (bytes > CONF_ARENA_MAX || arena->used > CONF_ARENA_MAX - bytes)
        return NULL;
    need = (bytes + align - 1) / align * align;
    if (c == NULL || c->size - c->used < need) {
        size = need > ARENA_CHUNK ? need : ARENA_CHUNK;
        c = malloc(sizeof *c + size);
        if (c == NULL)
            return NULL;
        c->next = arena->chunks;
        c->used = 0;
        c->size = size;
        arena->chunks = c;
    }
    p = (char *)c->data + c->used;
    c->used += need;
    arena->used += need;
    memset(p, 0, need);
    return p;
}

char *conf_arena_text(struct conf_arena *arena, struct rm_slice s)
{
    char *copy = conf_arena_take(arena, s.n + 1);

    if (copy != NULL && s.n > 0)
        memcpy(copy, s.p, s.n);
    return copy;
}

void conf_arena_clear(struct conf_arena *arena)
{
    while (arena->chunks != NULL) {
        struct conf_chunk *next = arena->chunks->next;

        free(arena->chunks);
        arena->chunks = next;
    }
    arena->used = 0;
}

/* --- the file ----------------------------------------------------------------------------- */

static int file_fill(int fd, char *bytes, size_t max, size_t *n)
{
    *n = 0;
    while (*n < max) {
        ssize_t got = read(fd, bytes + *n, max - *n);

        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0)
            *n += (size_t)got;
    }
    return 0;
}

static int file_open(const char *path, struct conf_report *report)
{
    struct stat st;
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not block us */

    if (fd < 0) {
        conf_report_add(report, (struct conf_at){0, 0}, NULL, "cannot be opened: %s",
                        uv_strerror(-errno));
        return -1;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    conf_report_add(report, (struct conf_at){0, 0}, NULL, "is not a regular file");
    close(fd);
    return -1;
}

int conf_file_load(const char *path, struct conf_report *report, conf_parse_fn parse, void *arg)
{
    char *bytes;
    size_t n = 0;
    int fd, r;

    conf_report_begin(report, path, NULL, 0);
    fd = file_open(path, report);
    if (fd < 0)
        return RM_ERR_CONF;
    bytes = malloc(CONF_FILE_MAX + 1); /* one more, so that a longer file is seen to be longer */
    r = bytes == NULL ? UV_ENOMEM : file_fill(fd, bytes, CONF_FILE_MAX + 1, &n);
    close(fd);
    if (r == 0) {
        r = parse(arg, path, bytes, n, report);
    } else if (r != UV_ENOMEM) {
        conf_report_add(report, (struct conf_at){0, 0}, NULL, "cannot be read: %s", uv_strerror(r));
        r = RM_ERR_CONF;
    }
    free(bytes);
    return r;
}

/* --- the bytes ---------------------------------------------------------------------------- */

static bool text_is_utf8(struct conf_report *report)
{
    static const struct {
        struct rm_slice mark;
        const char *name;
    } others[] = {
        {{"\xff\xfe\0\0", 4}, "UTF-32"},
        {{"\0\0\xfe\xff", 4}, "UTF-32"},
        {{"\xff\xfe", 2}, "UTF-16"},
        {{"\xfe\xff", 2}, "UTF-16"},
    };

    for (size_t i = 0; i < RM_COUNT(others); i++)
        if (report->n_text >= others[i].mark.n &&
            memcmp(report->text, others[i].mark.p, others[i].mark.n) == 0) {
            conf_report_add(report, (struct conf_at){1, 1}, "save it as UTF-8",
                            "file is not UTF-8 but %s", others[i].name);
            return false;
        }
    return true;
}

static uint32_t text_code(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;

    switch (n) {
    case 1:
        return u[0];
    case 2:
        return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    case 3:
        return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    default:
        return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
    }
}

/* Characters that no value needs and that make a line read otherwise than it looks. */
static bool text_is_forbidden(uint32_t c)
{
    if (c < 0x20)
        return c != '\t' && c != '\n' && c != '\r';
    return (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029           /* line separators */
           || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) /* text direction */
           || (c >= 0x200b && c <= 0x200f) || c == 0xfeff                  /* no width */
           || (c & 0xfffe) == 0xfffe;                                      /* no characters */
}

/* Looks at one character; *n: its bytes. Returns true when something was said about it. */
static bool text_say(struct conf_report *report, const char *p, size_t left, struct conf_at at,
                     size_t *n)
{
    uint32_t c;

    *n = rm_utf8_len(p, left);
    if (*n == 0) {
        *n = 1;
        conf_report_add(report, at, NULL, "byte 0x%02x is not UTF-8", (unsigned char)*p);
        return true;
    }
    c = text_code(p, *n);
    if (c == '\r' && !(left > 1 && p[1] == '\n')) {
        conf_report_add(report, at, "end lines with LF or CR LF", "a carriage return stands alone");
        return true;
    }
    if (!text_is_forbidden(c))
        return false;
    conf_report_add(report, at, "remove it", "control or invisible character U+%04X", (unsigned)c);
    return true;
}

bool conf_text_check(struct conf_report *report)
{
    const char *p = report->text, *end = p + report->n_text;
    struct conf_at at = {1, 1};
    bool line_told = false, good = true;

    if (report->n_text > CONF_FILE_MAX) {
        conf_report_add(report, (struct conf_at){0, 0}, NULL, "is larger than %d bytes",
                        CONF_FILE_MAX);
        return false;
    }
    if (!text_is_utf8(report))
        return false;
    if (end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    while (p < end) {
        size_t n = 1;

        if (*p == '%' && at.col == 1) {
            conf_report_add(report, at, "write plain values",
                            "YAML tags and directives are not accepted");
            good = false;
            line_told = true;
        }
        if (*p == '\n') {
            at = (struct conf_at){at.line + 1, 1};
            line_told = false;
        } else {
            if (line_told) /* one per line is enough */
                n = 1;
            else
                line_told = text_say(report, p, (size_t)(end - p), at, &n);
            good = good && !line_told;
            at.col++;
        }
        p += n;
    }
    return good;
}
