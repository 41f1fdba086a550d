/* SPDX-License-Identifier: MIT */
/* proto/node/file_name.h - names of model files as the node protocol has them, and sources as they
 * may be shown. A name is a path relative to a node's models directory, of plain parts: none empty,
 * none that begins with '.' (so no ".." and nothing hidden), no control bytes, no backslash, valid
 * UTF-8, ending in ".gguf". Every program that takes a name from outside asks here; that no link
 * leads out is for whoever opens the file. Pure. */
#ifndef RM_NODE_FILE_NAME_H
#define RM_NODE_FILE_NAME_H

#include "proto/base/buf.h"

enum {
    NODE_FILE_MAX = 512,      /* bytes of a name with its NUL */
    NODE_FILE_ESCAPED = 1536, /* three times as many: percent-encoded */
    NODE_SOURCE_MAX = 2048    /* of what people call a model */
};

bool node_file_ok(const char *name);

/* The rest of a request's path, percent-encoded, as a name. "%2F" is no way to write '/', and no
 * byte may be 0. False: it is none. */
bool node_file_decode(struct rm_slice path, char out[NODE_FILE_MAX]);

/* A name for a URL's path: everything but unreserved characters (RFC 3986 section 2.3) and '/' is
 * percent-encoded. */
void node_file_escape(const char *name, char out[NODE_FILE_ESCAPED]);

enum { NODE_HUB_REPO = 192, NODE_HUB_QUANT = 64 };

/* "hf:ORG/REPO:QUANT": its parts, of letters, digits and "-_." that do not begin with '.'. What is
 * pulled of it lies beneath ORG/REPO. False: it is none. */
bool node_hub_read(const char *text, char repo[NODE_HUB_REPO], char quant[NODE_HUB_QUANT]);

/* Is a file of such a repository a model of that quantisation? The word stands in its name by
 * itself
 * ("Q4_K" is in "m-Q4_K.gguf", not in "m-Q4_K_M.gguf"), case aside; projectors are no models. */
bool node_hub_fits(const char *file, const char *quant);

/* A source as it may be shown, logged and kept: a URL without user, password, query and fragment
 * (these may be secrets), everything else as it is; bytes that are no printable ASCII become '?'.
 * Cut to fit. Returns out. */
char *node_source_shown(const char *source, char *out, size_t size);

#endif
