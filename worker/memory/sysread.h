/* SPDX-License-Identifier: MIT */
/* worker/memory/sysread.h - small files of /proc and /sys, read below a root directory, so that a
 * test can hand over a tree of its own. Bounded: a file counts for the bytes that fit the caller's
 * buffer. Any thread; nothing is kept. */
#ifndef RM_MEMORY_SYSREAD_H
#define RM_MEMORY_SYSREAD_H

#include "proto/base/buf.h"

/* A directory as the root of the paths below. Returns a descriptor, to be closed with close(2), or
 * a libuv code. */
RM_MUST_USE int sys_root(const char *dir);

/* Reads a file's first size - 1 bytes; text is NUL-terminated, also on an error. path: without a
 * leading slash. Returns the length or a libuv code. */
int sys_text(int root, const char *path, char *text, size_t size);

/* The number that a file begins with. False: no such file, no number ("max"), or one above 64 bits.
 */
bool sys_number(int root, const char *path, uint64_t *out);

/* The number after `name` and a blank at the start of a line, e.g. "oom_kill 3". False: none. */
bool sys_counter(struct rm_slice text, const char *name, uint64_t *out);

/* "Name:   123 kB" as bytes. */
bool sys_kib(struct rm_slice text, const char *name, uint64_t *out);

/* Digits at p, blanks before them skipped. False: none, or above 64 bits. */
bool sys_digits(const char *p, const char *end, uint64_t *out);

/* The line at p ends here (at its LF or at end). */
const char *sys_line_end(const char *p, const char *end);

#endif
