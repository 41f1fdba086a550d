/* SPDX-License-Identifier: MIT */
/* tests/support/cases/gguf_case.h - the recipes of tests/data/gguf.txt as bytes of a GGUF file; the
 * notation stands there. For tests: a damaged recipe ends the program. */
#ifndef RM_TESTS_GGUF_CASE_H
#define RM_TESTS_GGUF_CASE_H

#include <stddef.h>

/* Writes at most max bytes and returns how many; more of them end the program. */
size_t gguf_case_bytes(const char *recipe, unsigned char *into, size_t max);

#endif
