/* SPDX-License-Identifier: MIT */
/* proto/http/sse.h - server-sent events, read and written (WHATWG HTML, section 9.2).
 * The reader takes bytes in pieces and hands out events; CR, LF and CRLF end lines; an event has at
 * most max_bytes. An event that lies whole in the fed bytes is handed out without copying. However
 * the bytes are cut into pieces, the events are the same. No I/O. */
#ifndef RM_HTTP_SSE_H
#define RM_HTTP_SSE_H

#include "proto/base/buf.h"

enum { SSE_EVENT_MAX = 1024 * 1024 };

struct sse_event {
    struct rm_slice type; /* "event:" value or empty */
    struct rm_slice data; /* "data:" lines joined by LF */
    struct rm_slice id;   /* "id:" value or empty */
    struct rm_slice raw;  /* the frame as it came, with its blank line, without a byte order mark
                             and without blank lines before it; a comment frame has raw only */
    bool has_data;        /* false: comment or field without data */
};

struct sse_reader {
    struct rm_buf held; /* the unfinished frame */
    struct rm_buf data; /* joined data of a frame with several data lines */
    bool bom_done;      /* the first frame has been looked at */
    uint8_t state, eol; /* for sse.c only */
};

void sse_reader_init(struct sse_reader *r, size_t max_bytes); /* allocates nothing */
void sse_reader_clear(struct sse_reader *r);

/* Calls on_event for every frame completed by these bytes (comments too); slices are valid for the
 * call. A non-zero return stops and is returned. Returns 0, RM_ERR_TOO_BIG, UV_ENOMEM or what
 * on_event returned; after anything but 0 the reader must be cleared before it is fed again. */
RM_MUST_USE int sse_reader_feed(struct sse_reader *r, const char *bytes, size_t n,
                                int (*on_event)(void *arg, const struct sse_event *e), void *arg);
size_t sse_reader_held(const struct sse_reader *r); /* bytes of an unfinished frame */

/* Appends a frame: type may be NULL; data is split at every CR, LF and CRLF, so that no byte of it
 * can start a field of its own. Returns as rm_buf_put, or UV_EINVAL: a line end in type. */
int sse_put(struct rm_buf *out, const char *type, struct rm_slice data);

#endif
