/* SPDX-License-Identifier: MIT */
/* gateway/dashboard/embedded.h - the built page inside the gateway: what embed.c wrote at build
 * time, or nothing in a build without the dashboard. Constant. */
#ifndef RM_DASHBOARD_EMBEDDED_H
#define RM_DASHBOARD_EMBEDDED_H

#include <stdbool.h>
#include <stddef.h>

/* The largest file that embed.c takes, bytes before compression. */
enum { DASHBOARD_FILE_MAX = 512 * 1024 };

struct dashboard_file {
    const char *path; /* below /dashboard/: "" is the page itself */
    const char *type; /* Content-Type */
    const char *tag;  /* entity tag with its quotes, weak: two codings of the same */
    bool hashed;      /* the name carries a hash of the content: it never changes */
    const unsigned char *gzip;
    size_t gzip_bytes, plain_bytes;
};

extern const struct dashboard_file dashboard_files[]; /* sorted by path; one of zeros when none */
extern const size_t dashboard_files_n;

#endif
