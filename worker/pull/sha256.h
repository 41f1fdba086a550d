/* SPDX-License-Identifier: MIT */
/* worker/pull/sha256.h - SHA-256 (FIPS 180-4) of long streams: by the processor's own instructions
 * where it has them, which is several times as fast, else by libsodium. One thread for each sum. */
#ifndef RM_PULL_SHA256_H
#define RM_PULL_SHA256_H

#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64 };

struct sha256 {
    bool own; /* by the processor */
    uint32_t h[8];
    uint64_t bytes;
    unsigned char rest[SHA256_BLOCK]; /* bytes % SHA256_BLOCK of them */
    crypto_hash_sha256_state sodium;
};

bool sha256_has_instructions(void);

/* own: by the processor's instructions, which must be there then. */
void sha256_init(struct sha256 *s, bool own);
void sha256_update(struct sha256 *s, const void *bytes, size_t n);
void sha256_final(struct sha256 *s, unsigned char out[SHA256_BYTES]);

#endif
