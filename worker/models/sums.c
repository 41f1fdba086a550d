/* SPDX-License-Identifier: MIT */
#include "worker/models/sums.h"

#include <inttypes.h>
#include <stdio.h>

static bool same(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->bytes == b->bytes && a->mtime_ns == b->mtime_ns && a->inode == b->inode;
}

const char *sums_find(const struct sums *s, const char *name, const struct file_stamp *stamp)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].name, name) == 0 && same(&s->v[i].stamp, stamp))
            return s->v[i].hex;
    return NULL;
}

static void drop(struct sums *s, uint32_t i)
{
    memmove(&s->v[i], &s->v[i + 1], (--s->n - i) * sizeof s->v[0]);
}

void sums_put(struct sums *s, const char *name, const struct file_stamp *stamp, const char *hex)
{
    struct sum *sum;

    for (uint32_t i = s->n; i > 0; i--)
        if (strcmp(s->v[i - 1].name, name) == 0)
            drop(s, i - 1);
    if (s->n == SUMS_MAX)
        drop(s, 0);
    sum = &s->v[s->n++];
    rm_text_copy(sum->name, sizeof sum->name, name);
    rm_text_copy(sum->hex, sizeof sum->hex, hex);
    sum->stamp = *stamp;
}

int sums_write(const struct sums *s, struct rm_buf *out)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < s->n; i++)
        r = rm_buf_printf(out, "%s %" PRIu64 " %" PRId64 " %" PRIu64 " %s\n", s->v[i].hex,
                          s->v[i].stamp.bytes, s->v[i].stamp.mtime_ns, s->v[i].stamp.inode,
                          s->v[i].name);
    return r;
}

static void read_line(struct sums *s, const char *line)
{
    struct file_stamp stamp;
    char hex[66];
    int at = 0;

    if (sscanf(line, "%65[0-9a-f] %" SCNu64 " %" SCNd64 " %" SCNu64 " %n", hex, &stamp.bytes,
               &stamp.mtime_ns, &stamp.inode, &at) == 4 &&
        strlen(hex) == 64 && at > 0 && node_file_ok(line + at))
        sums_put(s, line + at, &stamp, hex);
}

void sums_read(struct sums *s, struct rm_slice text)
{
    char line[NODE_FILE_MAX + 192];

    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;

        if (n < sizeof line) {
            memcpy(line, text.p, n);
            line[n] = '\0';
            read_line(s, line);
        }
        n += end != NULL;
        text.p += n;
        text.n -= n;
    }
}
