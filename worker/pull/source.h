/* SPDX-License-Identifier: MIT */
/* worker/pull/source.h - what people call a model, as files to be fetched.
 *
 *   https://host/dir/model-Q8_0.gguf    that file (http:// as well)
 *   hf:ORG/REPO:QUANT                   the .gguf files of that repository whose name has QUANT,
 *                                       all parts of a split one; beneath ORG/REPO
 *
 * The list of a repository comes from its tree API: GET {endpoint}/api/models/ORG/REPO/tree/main
 * ?recursive=true, a JSON array of {type, path, size, lfs: {oid: SHA-256, size}}; the files lie at
 * {endpoint}/ORG/REPO/resolve/main/PATH. Pure: the caller fetches. */
#ifndef RM_PULL_SOURCE_H
#define RM_PULL_SOURCE_H

#include <stdint.h>

#include "proto/base/buf.h"

enum {
    SOURCE_URL_MAX = 2048,
    SOURCE_NAME_MAX = 512,
    SOURCE_FILES_MAX = 1024,
    SOURCE_WHY_MAX = 1024,
    SOURCE_LIST_MAX = 8 * 1024 * 1024 /* of a repository's list */
};

struct source_file {
    char url[SOURCE_URL_MAX];
    char name[SOURCE_NAME_MAX]; /* where it goes, relative to the models directory; no "..", no
                                   hidden parts, ends in .gguf */
    uint64_t bytes;             /* 0: not known */
    char sha256[65];            /* hex; "": not known */
};

struct source_list {
    struct source_file *v; /* owned */
    size_t n;
};
void source_list_clear(struct source_list *l);

struct source {
    bool hub;                      /* hf: */
    char org_repo[192];            /* hub: "ORG/REPO" */
    char quant[64];                /* hub */
    char list_url[SOURCE_URL_MAX]; /* hub: to be fetched, then source_take_list */
    char endpoint[256];            /* hub; without a slash at its end */
};

/* Reads the text. endpoint: "https://huggingface.co" or another hub. For a URL *files has its one
 * file. why: SOURCE_WHY_MAX bytes, for people. Returns 0, RM_ERR_FIELD or UV_ENOMEM. */
RM_MUST_USE int source_parse(const char *text, const char *endpoint, struct source *out,
                             struct source_list *files, char *why);

/* The hub's answer. Returns 0; RM_ERR_JSON; RM_ERR_NOT_FOUND: no file has that quantisation (why
 * names those there are), or several models have it (why names them); UV_ENOMEM. */
RM_MUST_USE int source_take_list(const struct source *s, struct rm_slice json,
                                 struct source_list *files, char *why);

#endif
