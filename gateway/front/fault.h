/* SPDX-License-Identifier: MIT */
/* gateway/front/fault.h - why a request is refused or lost, before a dialect puts it into words.
 * One struct for what we find wrong ourselves and for what a worker's error answer says
 * (fault_from_answer). Status, code and retry advice follow the table of errors that editors
 * understand. Pure. */
#ifndef RM_FRONT_FAULT_H
#define RM_FRONT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/json_skim.h"

enum { FAULT_TEXT_MAX = 1024, FAULT_RETRY_MAX_S = 60 };

struct fault {
    int err;                      /* RM_ERR_* */
    int status;                   /* HTTP */
    char code[48];                /* of the error body */
    char param[48];               /* the field that is wrong; "": none */
    char message[FAULT_TEXT_MAX]; /* for people, UTF-8 */
    uint32_t retry_after_s;       /* 1..60; 0: no advice */
    bool final;                   /* the same request will fail again: x-should-retry: false */
    bool close;                   /* the connection ends after the answer */
};

/* Fills it from err: status and code by err.h, what else the table says for that status. The text
 * may be NULL: err's own. Returns err. */
int fault_set(struct fault *f, int err, const char *fmt, ...) RM_PRINTF(3, 4);

/* The same for one field of the body: RM_ERR_FIELD with its name. Returns RM_ERR_FIELD. */
int fault_field(struct fault *f, const char *param, const char *fmt, ...) RM_PRINTF(3, 4);

/* The `type` of an OpenAI error body. Static storage. */
const char *fault_type(const struct fault *f);

/* What to do about a worker's answer that is not a 200. */
enum fault_advice {
    FAULT_TELL,  /* the request is at fault: tell the client */
    FAULT_BUSY,  /* the worker has no room: another may have */
    FAULT_RETRY, /* the worker failed: another may not */
    FAULT_BROKEN /* the worker does not speak the protocol: no second try */
};

/* Reads an error answer: its status, its JSON body (any of the shapes that llama.cpp, vLLM and
 * Ollama use; may be damaged or not JSON at all: then only the status counts), its Retry-After
 * value ("" when none). skim: scratch. Never copies markup: a body that is not JSON is not echoed.
 */
enum fault_advice fault_from_answer(struct fault *f, int status, struct rm_slice body,
                                    struct rm_slice retry_after, struct rm_skim *skim);

/* Seconds of a Retry-After value, at most max; 0: none or not a number. */
uint32_t fault_retry_after(struct rm_slice value, uint32_t max);

#endif
