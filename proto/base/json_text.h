/* SPDX-License-Identifier: MIT */
/* proto/base/json_text.h - the small readers of raw JSON text that the skimmer and its helpers
 * share. What other folders need of them is declared in json_skim.h. No state; any thread. */
#ifndef RM_BASE_JSON_TEXT_H
#define RM_BASE_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* The byte that a backslash and c stand for (RFC 8259 section 7), or -1; 'u' is not one of them. */
int rm_json_escape_byte(unsigned char c);

/* Value of a hexadecimal digit, or -1. */
int rm_json_hex(unsigned char c);

/* Writes a code point (no surrogate, at most 0x10ffff) as UTF-8; returns 1 to 4. */
size_t rm_json_utf8_put(uint32_t code, unsigned char out[4]);

#endif
