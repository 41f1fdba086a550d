/* SPDX-License-Identifier: MIT */
#include "proto/trust/api_key.h"

#include <sodium.h>

enum { RANDOM_BYTES = 32, CHECK_BYTES = 4, KEY_BYTES = RANDOM_BYTES + CHECK_BYTES, PREFIX = 3 };

static const char prefix[] = "rm-";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void key_check(const unsigned char *random, unsigned char out[CHECK_BYTES])
{
    static const unsigned char what[] = "rolemesh api key";
    unsigned char sum[crypto_generichash_BYTES_MIN];

    crypto_generichash(sum, sizeof sum, random, RANDOM_BYTES, what, sizeof what - 1);
    memcpy(out, sum, CHECK_BYTES);
}

void api_key_make(char text[API_KEY_TEXT + 1])
{
    unsigned char bytes[KEY_BYTES];

    randombytes_buf(bytes, RANDOM_BYTES);
    key_check(bytes, bytes + RANDOM_BYTES);
    memcpy(text, prefix, PREFIX);
    sodium_bin2base64(text + PREFIX, API_KEY_TEXT + 1 - PREFIX, bytes, sizeof bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof bytes);
}

bool api_key_is_ours(struct rm_slice text)
{
    return text.n >= PREFIX && memcmp(text.p, prefix, PREFIX) == 0;
}

/* libsodium 1.0.18 takes bytes above 0x7f for '_'. */
static bool key_is_plain(struct rm_slice text)
{
    for (size_t i = PREFIX; i < text.n; i++)
        if (memchr(alphabet, text.p[i], sizeof alphabet - 1) == NULL)
            return false;
    return true;
}

int api_key_hash(struct rm_slice text, const unsigned char secret[API_KEY_SECRET],
                 unsigned char out[API_KEY_HASH])
{
    unsigned char bytes[KEY_BYTES], check[CHECK_BYTES];
    size_t n = 0;
    int r = RM_ERR_AUTH;

    memset(out, 0, API_KEY_HASH);
    if (text.n == API_KEY_TEXT && api_key_is_ours(text) && key_is_plain(text) &&
        sodium_base642bin(bytes, sizeof bytes, text.p + PREFIX, text.n - PREFIX, NULL, &n, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
        n == KEY_BYTES) {
        key_check(bytes, check);
        if (sodium_memcmp(check, bytes + RANDOM_BYTES, CHECK_BYTES) == 0) {
            crypto_generichash(out, API_KEY_HASH, bytes, RANDOM_BYTES, secret, API_KEY_SECRET);
            r = 0;
        }
    }
    sodium_memzero(bytes, sizeof bytes);
    return r;
}
