/* SPDX-License-Identifier: MIT */
/* worker/core/kvdisk.h - the KV state of this core on the disk, seen from the loop: one file, read
 * once at the start and written when the worker asks for it before it ends the core.
 *
 *   kvdisk_open ──thread──► kvfile_open: checks and unlinks the file beside the load
 *   kvdisk_restore ──errand──► kvsave_read, after the first decode call and before ready
 *   kvdisk_save ──errand──► kvsave_write
 *
 * Loop thread only. */
#ifndef RM_CORE_KVDISK_H
#define RM_CORE_KVDISK_H

#include "worker/core/kvsave.h"

struct decoder;
struct decoder_conf;
struct kvdisk;

struct kvdisk_conf {
    const char *path;                   /* copied, at most 1023 bytes */
    const char *model_hash;             /* 64 hex digits */
    uint64_t most_bytes;                /* of the file */
    const struct decoder_conf *decoder; /* the flags; borrowed for the call */
    const struct kvplan_speeds *speeds; /* for tests: not measured; borrowed until close */
};

/* Starts looking at the file. Returns 0, UV_EINVAL, UV_ENOMEM or a libuv code. */
RM_MUST_USE int kvdisk_open(const struct kvdisk_conf *conf, struct kvdisk **out);

/* What a file must say to be taken: the library (llama_env_build), the hash, and every flag that
 * shapes the KV memory. Pure but for the library's own file. */
void kvdisk_identity(const struct kvdisk_conf *conf, struct kvfile_identity *out);

typedef void kvdisk_done(void *arg, const struct kvsave_report *report);

/* Fills the decoder's sequences, which must be idle; logs one line if there was a file. done comes
 * from decoder_poll, in any case. To be called once. */
void kvdisk_restore(struct kvdisk *k, struct decoder *d, kvdisk_done *done, void *arg);

/* Saves within budget_ms. done comes from decoder_poll unless the decoder is closed before. Returns
 * 0 or UV_EBUSY: one is under way. */
RM_MUST_USE int kvdisk_save(struct kvdisk *k, struct decoder *d, uint64_t budget_ms,
                            kvdisk_done *done, void *arg);

void kvdisk_close(struct kvdisk *k); /* after decoder_close; NULL is fine */

#endif
