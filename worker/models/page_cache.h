/* SPDX-License-Identifier: MIT */
/* worker/models/page_cache.h - how much of a file the kernel holds in memory already: whether a
 * load will read the disk. By mincore(2) on samples. The kernel (5.2 and later) tells it only to
 * who owns the file or may write it, and says "all of it" to others; for them there is no answer
 * here. Blocks for a moment: a thread of the pool. */
#ifndef RM_MODELS_PAGE_CACHE_H
#define RM_MODELS_PAGE_CACHE_H

#include <stdint.h>

enum { PAGE_CACHE_WINDOWS = 256, PAGE_CACHE_WINDOW = 256 * 1024 }; /* 64 MiB and less: all of it */

/* The part, 0..1, of the file's `bytes` that is in the page cache; -1: not told. */
double page_cache_part(int fd, uint64_t bytes);

#endif
