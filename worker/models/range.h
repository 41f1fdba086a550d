/* SPDX-License-Identifier: MIT */
/* worker/models/range.h - which bytes of a file a request wants: Range, If-Range and If-None-Match
 * (RFC 9110 sections 14.2, 13.1.5, 13.1.2). Pure. */
#ifndef RM_MODELS_RANGE_H
#define RM_MODELS_RANGE_H

#include "proto/base/buf.h"

enum range_kind {
    RANGE_WHOLE, /* none was asked for, or in a way that may be ignored: several, another unit,
                    nonsense */
    RANGE_PART,
    RANGE_NONE /* it holds no byte of the file: 416 */
};

/* text: of the Range field, empty when there is none. out: with RANGE_PART and RANGE_WHOLE. */
enum range_kind range_read(struct rm_slice text, uint64_t size, uint64_t *from, uint64_t *n);

/* Is the entity tag in the list, or the list "*"? A weak one counts as well. */
bool range_tag_listed(struct rm_slice list, const char *etag);

#endif
