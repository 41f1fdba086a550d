/* SPDX-License-Identifier: MIT */
/* proto/http/parser_test.h - for tests: runs a parser over bytes cut in a given way and writes
 * down what it said, so that two runs can be compared as texts. */
#ifndef RM_HTTP_PARSER_TEST_H
#define RM_HTTP_PARSER_TEST_H

#include "proto/http/parser.h"

struct parser_run {
    struct http_parser *p;
    struct rm_buf said; /* heads field by field, bodies, ends and the verdict */
    uint64_t body;      /* bytes of all bodies */
    uint32_t targets;   /* FNV-1a of all targets, from 2166136261 */
    int messages;       /* complete ones */
    int heads;
    int err;         /* the verdict: 0 or an error */
    bool keep_alive; /* of the last head */
};

/* How to cut: next piece of at most n bytes, at least 1. seed is the caller's. */
typedef size_t parser_cut(size_t n, uint64_t *seed);
size_t parser_cut_whole(size_t n, uint64_t *seed);
size_t parser_cut_bytes(size_t n, uint64_t *seed);
size_t parser_cut_random(size_t n, uint64_t *seed);
uint64_t parser_random(uint64_t *seed); /* splitmix64 */

/* Feeds all bytes, pipelined messages one after another, each piece in memory of its own so that a
 * read past it is seen. eof: the peer closes then. */
void parser_run(struct parser_run *run, enum http_role role, const struct http_limits *limits,
                const char *bytes, size_t n, bool eof, parser_cut *cut, uint64_t seed);
void parser_run_clear(struct parser_run *run);

#endif
