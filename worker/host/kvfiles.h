/* SPDX-License-Identifier: MIT */
/* worker/host/kvfiles.h - the directory with the KV state of hosts that are away: which files may
 * lie there, and for how long. The core writes and reads them (worker/core/kvfile.h); what they
 * hold is what people wrote, so the directory is STATE_DIR/kv with mode 0700, a file belongs to one
 * role and revision (ROLE-REVISION.kv), and it goes
 *   when a core takes it at its start, whatever comes of that
 *   when the role goes without the wish to be kept, or comes back with another revision
 *   after KVFILES_AGE_S, and, oldest first, when all of them are over the size bound
 *   when a core left it half written (.kv.tmp)
 * What is not named as one of ours is left alone. The disk is looked at in libuv's thread pool, but
 * for kvfiles_open. Loop thread only. */
#ifndef RM_HOST_KVFILES_H
#define RM_HOST_KVFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "proto/base/err.h"

struct kvfiles;

enum { KVFILES_AGE_S = 24 * 3600, KVFILES_MAX = 1024, KVFILES_PATH_MAX = 1024 };

/* Makes STATE_DIR/kv if need be and removes what may not stay; blocks on the disk for that.
 * max_bytes: of all files together; 0: none is kept, and those that lie there are removed. Returns
 * 0 or a libuv code. */
RM_MUST_USE int kvfiles_open(uv_loop_t *loop, const char *state_dir, uint64_t max_bytes,
                             struct kvfiles **out);
void kvfiles_close(struct kvfiles *k); /* frees; what is under way ends by itself. NULL is fine */

uint64_t kvfiles_max_bytes(const struct kvfiles *k);

/* The role's file; revision: 32 hex digits. False: the path is too long, or nothing is kept. */
bool kvfiles_path(const struct kvfiles *k, const char *role, const char *revision,
                  char out[KVFILES_PATH_MAX]);

/* The role starts with this revision: files of its other ones go. */
void kvfiles_keep_only(struct kvfiles *k, const char *role, const char *revision);
void kvfiles_forget(struct kvfiles *k, const char *role); /* all of the role's go */
void kvfiles_settle(struct kvfiles *k, const char *role); /* its engine has ended: half-written
                                                             ones go, and the bounds hold */
void kvfiles_tidy(struct kvfiles *k);                     /* the bounds hold; about every minute */

/* ---- the rules, pure ---- */

enum kvfiles_kind { KVFILES_FOREIGN, KVFILES_WHOLE, KVFILES_HALF };

/* What a name says: role (64 bytes) and revision (33), "" for a foreign one. */
enum kvfiles_kind kvfiles_name(const char *name, char *role, char *revision);

struct kvfiles_entry {
    uint64_t bytes;
    int64_t mtime_s;
    enum kvfiles_kind kind;
    bool remove; /* out */
};

/* Marks what is too old, and the oldest whole ones beyond max_bytes. */
void kvfiles_judge(struct kvfiles_entry *v, size_t n, uint64_t max_bytes, int64_t now_s);

#endif
