/* SPDX-License-Identifier: MIT */
#include "worker/models/swap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SHOWN_DIGITS = 8, ONE_MAX = 160 };

struct model_id model_id_of(const struct model_file *file)
{
    struct model_id id = {.bytes = file->bytes, .mtime_ns = file->mtime_ns, .files = file->files};

    memcpy(id.hash, file->hash, sizeof(id.hash));
    return id;
}

bool model_id_same(const struct model_id *a, const struct model_id *b)
{
    return a->bytes == b->bytes && a->mtime_ns == b->mtime_ns && a->files == b->files &&
           (a->hash[0] == '\0' || b->hash[0] == '\0' || strcmp(a->hash, b->hash) == 0);
}

static void show_one(const struct model_id *id, char out[ONE_MAX])
{
    time_t at = (time_t)(id->mtime_ns / 1000000000);
    char when[32] = "?", files[32] = "", content[32] = "";
    struct tm tm;

    if (gmtime_r(&at, &tm) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    if (id->files > 1)
        snprintf(files, sizeof(files), " in %u files", id->files);
    if (id->hash[0] != '\0')
        snprintf(content, sizeof(content), ", content %.*s", SHOWN_DIGITS, id->hash);
    snprintf(out, ONE_MAX, "%" PRIu64 " bytes%s (%s UTC%s)", id->bytes, files, when, content);
}

void model_id_change(const struct model_id *was, const struct model_id *is, char *out, size_t size)
{
    char a[ONE_MAX], b[ONE_MAX];

    show_one(was, a);
    show_one(is, b);
    snprintf(out, size, "it had %s, it has %s", a, b);
}
