/* SPDX-License-Identifier: MIT */
/* proto/trust/api_key.h - the text of an API key, and what is kept of it.
 *
 *   rm-  48 characters of base64url (RFC 4648 section 5) = 32 random bytes, 4 bytes of checksum
 *
 * The checksum tells a mistyped or cut key from an unknown one without asking anybody, and lets a
 * secret scanner be sure. Only a keyed hash of the random bytes is ever stored: whoever reads the
 * list of keys can neither use them nor, without the secret beside it, try guesses. The random
 * bytes are 256 bits strong, so a fast hash is enough; one is made per request. Pure but for
 * api_key_make; sodium_init() must have been called. Any thread. */
#ifndef RM_TRUST_API_KEY_H
#define RM_TRUST_API_KEY_H

#include "proto/base/buf.h"

enum {
    API_KEY_TEXT = 51, /* characters, without the NUL */
    API_KEY_SECRET = 32,
    API_KEY_HASH = 32
};

/* A new key: from the system's random source. text is the only copy; wipe it after it was shown. */
void api_key_make(char text[API_KEY_TEXT + 1]);

/* Does it look like one of ours at all ("rm-")? For better words in a 401. */
bool api_key_is_ours(struct rm_slice text);

/* The hash of a key under `secret`: BLAKE2b-256, keyed. Returns 0, or RM_ERR_AUTH for a text that
 * is no key or whose checksum is wrong; then out is all zero. */
RM_MUST_USE int api_key_hash(struct rm_slice text, const unsigned char secret[API_KEY_SECRET],
                             unsigned char out[API_KEY_HASH]);

#endif
