/* SPDX-License-Identifier: MIT */
/* proto/base/json_write.h - writes JSON text into a bounded buffer, without a tree.
 * The writer puts the commas; the first error sticks and later calls do nothing, so that only the
 * end is checked:
 *
 *   struct rm_jw w = rm_jw_to(&buf);
 *
 *   rm_jw_obj(&w, NULL);
 *   rm_jw_str(&w, "role", role);
 *   rm_jw_end(&w);
 *   if ((r = rm_jw_done(&w)) < 0)
 *       ...
 *
 * `key` is NULL inside an array and at the top, else the member's name. Strings are escaped by RFC
 * 8259 section 7; bytes that are not UTF-8 become U+FFFD, so that what we send is always valid. */
#ifndef RM_BASE_JSON_WRITE_H
#define RM_BASE_JSON_WRITE_H

#include "proto/base/buf.h"

enum { RM_JW_DEPTH = 32 };

struct rm_jw {
    struct rm_buf *out; /* borrowed */
    int err;            /* the first error, 0 until then */
    int depth;
    uint32_t has_member, is_array; /* one bit per level */
};

struct rm_jw rm_jw_to(struct rm_buf *out); /* appends to out */
void rm_jw_obj(struct rm_jw *w, const char *key);
void rm_jw_arr(struct rm_jw *w, const char *key);
void rm_jw_end(struct rm_jw *w); /* closes the innermost object or array */
void rm_jw_str(struct rm_jw *w, const char *key, const char *text); /* NULL text: null */
void rm_jw_slice(struct rm_jw *w, const char *key, struct rm_slice text);
void rm_jw_u64(struct rm_jw *w, const char *key, uint64_t v);
void rm_jw_i64(struct rm_jw *w, const char *key, int64_t v);
void rm_jw_dbl(struct rm_jw *w, const char *key, double v);   /* NaN and infinities: null */
void rm_jw_exact(struct rm_jw *w, const char *key, double v); /* reads back as the same double */
void rm_jw_bool(struct rm_jw *w, const char *key, bool v);
void rm_jw_null(struct rm_jw *w, const char *key);
/* One value that is JSON already, of ours and whole: it is not looked at. */
void rm_jw_raw(struct rm_jw *w, const char *key, struct rm_slice json);
int rm_jw_done(const struct rm_jw *w); /* 0, RM_ERR_TOO_BIG or UV_ENOMEM */

/* Appends text as one quoted and escaped JSON string. Returns as rm_buf_put. */
int rm_json_quote(struct rm_buf *out, struct rm_slice text);

/* Length in bytes of the valid UTF-8 sequence at p (1 to 4), 0 when there is none (RFC 3629: no
 * surrogates, no overlong forms, nothing above U+10FFFF). An incomplete sequence at the end gives 0
 * as well. */
size_t rm_utf8_len(const char *p, size_t n);

#endif
