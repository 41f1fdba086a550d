/* SPDX-License-Identifier: MIT */
/* cli/run.h - another program run to its end, with what it prints. A loop of its own for each; one
 * thread. */
#ifndef RM_CLI_RUN_H
#define RM_CLI_RUN_H

#include "proto/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { RUN_OUTPUT_MAX = 1 << 20 };

struct run_result {
    struct rm_buf out, err; /* stdout and stderr; initialised by run_program in every case */
    int64_t exit_code;
    int signal; /* that ended it; 0: none */
    bool late;  /* ended by us, for its time was over */
};

/* argv  NULL-terminated; argv[0] is the path of the program
 * Returns 0 when the program ran, however it ended; else why it did not: a libuv code, or
 * RM_ERR_TOO_BIG for output over RUN_OUTPUT_MAX. The result is to be cleared in every case. */
RM_MUST_USE int run_program(const char *const *argv, uint32_t limit_ms, struct run_result *result);
void run_result_clear(struct run_result *result);

/* The path of a program that lies beside this one, or "" when there is none that can be run. */
const char *run_beside(const char *name);

#endif
