/* SPDX-License-Identifier: MIT */
/* worker/pull/source.h - what people call a model, as files to be fetched.
 *
 *   https://host/dir/model-Q8_0.gguf    that file (http:// as well); of the first part of a split
 *                                       model all parts
 *   hf:ORG/REPO:QUANT                   the .gguf files of that repository whose name has QUANT,
 *                                       all parts of a split one; beneath ORG/REPO
 *   node:NAME/WHAT                      a model of another node, all its parts, under the same
 * name: WHAT is its path there (relative to the models directory or absolute), or hf:ORG/REPO:QUANT
 * as it was pulled there
 *
 * The list of a repository comes from its tree API: GET {endpoint}/api/models/ORG/REPO/tree/main
 * ?recursive=true, a JSON array of {type, path, size, lfs: {oid: SHA-256, size}}; the files lie at
 * {endpoint}/ORG/REPO/resolve/main/PATH. The list of a node is its GET /node/v1/models, the files
 * lie at /node/v1/files/PATH (proto/PROTOCOL.md). Pure: the caller fetches. */
#ifndef RM_PULL_SOURCE_H
#define RM_PULL_SOURCE_H

#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/node/file_name.h"

enum {
    SOURCE_URL_MAX = NODE_SOURCE_MAX,
    SOURCE_NAME_MAX = NODE_FILE_MAX,
    SOURCE_FILES_MAX = 1024,
    SOURCE_WHY_MAX = 1024,
    SOURCE_LIST_MAX = 8 * 1024 * 1024 /* of a repository's list */
};

struct source_file {
    char url[SOURCE_URL_MAX];
    char name[SOURCE_NAME_MAX]; /* where it goes; as node_file_ok */
    uint64_t bytes;             /* 0: not known */
    char sha256[65];            /* hex; "": not known */
};

struct source_list {
    struct source_file *v; /* owned */
    size_t n;
    uint64_t bytes; /* of all; 0: not known */
};
void source_list_clear(struct source_list *l);

struct source {
    bool hub;                      /* hf: */
    bool node;                     /* node: */
    char org_repo[NODE_HUB_REPO];  /* hub: "ORG/REPO" */
    char quant[NODE_HUB_QUANT];    /* hub */
    char list_url[SOURCE_URL_MAX]; /* hub, node: to be fetched, then source_take_list */
    char endpoint[300];            /* hub, node; without a slash at its end */
    char unix_path[256];           /* node: of its socket; "": TCP */
    char node_name[64];            /* node */
    char what[1024];               /* node; a hub's name there is in org_repo and quant as well */
};

/* Reads the text. For a URL *files has its one file.
 * endpoint  "https://huggingface.co" or another hub
 * from      of a node: its worker, HOST:PORT or unix:PATH; else NULL or ""
 * why       SOURCE_WHY_MAX bytes, for people; shows nothing of a URL that may be secret
 * Returns 0, RM_ERR_FIELD or UV_ENOMEM. */
RM_MUST_USE int source_parse(const char *text, const char *endpoint, const char *from,
                             struct source *out, struct source_list *files, char *why);

/* The hub's or node's answer. Returns 0; RM_ERR_JSON; RM_ERR_NOT_FOUND: no such model (why names
 * those there are), or several that it may mean (why names them), or parts of it are missing;
 * UV_ENOMEM. */
RM_MUST_USE int source_take_list(const struct source *s, struct rm_slice json,
                                 struct source_list *files, char *why);

#endif
