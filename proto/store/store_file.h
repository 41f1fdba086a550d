/* SPDX-License-Identifier: MIT */
/* proto/store/store_file.h - the SQLite file of one store: opened, brought to the newest version,
 * put aside when it is damaged, and what is said of all that. For this folder only; writer thread
 * only. */
#ifndef RM_STORE_STORE_FILE_H
#define RM_STORE_STORE_FILE_H

#include "proto/store/store.h"

enum { STORE_PATH_MAX = 1024, STORE_NAME_MAX = 32 };

struct store_file {
    char path[STORE_PATH_MAX], name[STORE_NAME_MAX];
    const char *const *migrations;
    int n_migrations;
    uint64_t max_bytes;
    struct sqlite3 *db; /* NULL: not open */
    uint64_t retry_ms;  /* not before */
    uint32_t damaged;
    bool ill; /* the last thing said was that something is wrong */
};

/* Returns 0 or UV_EINVAL (too long). Opens nothing. */
RM_MUST_USE int store_file_init(struct store_file *f, const struct store_conf *conf);

/* Open, or opened now; a failure is said and the next try comes STORE_RETRY_MS later. */
bool store_file_open(struct store_file *f);
void store_file_close(struct store_file *f);
struct sqlite3 *store_file_db(const struct store_file *f);

bool store_is_damage(int rc); /* SQLITE_CORRUPT, SQLITE_NOTADB and what extends them */

/* Puts the file aside and begins a new one. Returns whether it is open. */
bool store_file_replace(struct store_file *f);

/* A job was committed, or could not be `done`: said when it is news. A file that cannot be used any
 * more is closed, to be opened by its name later. */
void store_file_is_well(struct store_file *f);
void store_file_is_ill(struct store_file *f, int rc, const char *done);

#endif
