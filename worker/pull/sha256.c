/* SPDX-License-Identifier: MIT */
#include "worker/pull/sha256.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* FIPS 180-4 section 4.2.2. */
static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

bool sha256_has_instructions(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

/* The instructions keep the state as ABEF and CDGH, and do two rounds of four words' sums at a
 * time. w holds the last sixteen words of the message schedule, four to a register. */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks(uint32_t h[8],
                                                               const unsigned char *p, size_t n)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&h[0]), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&h[4]), 0x1b);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, abcd, 0xf0);

    for (; n > 0; n--, p += SHA256_BLOCK) {
        __m128i abef_was = abef, cdgh_was = cdgh, w[4], sum;

        for (int i = 0; i < 16; i++) {
            if (i < 4) {
                w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), swap);
            } else {
                __m128i *next = &w[i & 3], before = w[(i + 3) & 3];

                *next = _mm_sha256msg1_epu32(*next, w[(i + 1) & 3]);
                *next = _mm_add_epi32(*next, _mm_alignr_epi8(before, w[(i + 2) & 3], 4));
                *next = _mm_sha256msg2_epu32(*next, before);
            }
            sum = _mm_add_epi32(w[i & 3], _mm_load_si128((const __m128i *)&round_constants[4 * i]));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_was);
        cdgh = _mm_add_epi32(cdgh, cdgh_was);
    }
    abcd = _mm_shuffle_epi32(abef, 0x1b);
    efgh = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)&h[0], _mm_blend_epi16(abcd, efgh, 0xf0));
    _mm_storeu_si128((__m128i *)&h[4], _mm_alignr_epi8(efgh, abcd, 8));
}

#else

bool sha256_has_instructions(void)
{
    return false;
}

static void blocks(uint32_t h[8], const unsigned char *p, size_t n)
{
    (void)h, (void)p, (void)n; /* never asked for: there are no instructions */
}

#endif

void sha256_init(struct sha256 *s, bool own)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    s->own = own;
    s->bytes = 0;
    memcpy(s->h, first, sizeof first);
    if (!own)
        crypto_hash_sha256_init(&s->sodium);
}

void sha256_update(struct sha256 *s, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t have = (size_t)(s->bytes % SHA256_BLOCK), part;

    if (!s->own) {
        crypto_hash_sha256_update(&s->sodium, p, n);
        return;
    }
    s->bytes += n;
    if (have > 0) {
        part = n < SHA256_BLOCK - have ? n : SHA256_BLOCK - have;
        memcpy(s->rest + have, p, part);
        p += part;
        n -= part;
        if (have + part == SHA256_BLOCK)
            blocks(s->h, s->rest, 1);
    }
    if (n >= SHA256_BLOCK) {
        blocks(s->h, p, n / SHA256_BLOCK);
        p += n / SHA256_BLOCK * SHA256_BLOCK;
        n %= SHA256_BLOCK;
    }
    if (n > 0)
        memcpy(s->rest, p, n);
}

void sha256_final(struct sha256 *s, unsigned char out[SHA256_BYTES])
{
    unsigned char end[2 * SHA256_BLOCK] = {0x80};
    size_t have = (size_t)(s->bytes % SHA256_BLOCK);
    size_t pad = (have < 56 ? 56 : 120) - have; /* up to the eight bytes of the length */
    uint64_t bits = s->bytes * 8;

    if (!s->own) {
        crypto_hash_sha256_final(&s->sodium, out);
        return;
    }
    for (int i = 0; i < 8; i++)
        end[pad + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_update(s, end, pad + 8);
    for (int i = 0; i < 32; i++)
        out[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}
