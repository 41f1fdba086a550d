/* SPDX-License-Identifier: MIT */
/* worker/memory/ledger_file.h - the ledger's SQLite file: its versions, and rows to columns and
 * back. For ledger.c; the functions with a database run on the store's thread. */
#ifndef RM_MEMORY_LEDGER_FILE_H
#define RM_MEMORY_LEDGER_FILE_H

#include "worker/memory/ledger.h"

enum { LEDGER_PROGRAM_MAX = 1200 };

struct sqlite3;

extern const char *const ledger_migrations[];
extern const int ledger_n_migrations;

/* What the file says. */
struct ledger_read {
    uint32_t n;
    struct node_ledger_row *rows; /* malloc'ed; at most LEDGER_ROWS_MAX, as first written */
    char program[LEDGER_PROGRAM_MAX], build[LEDGER_BUILD_MAX]; /* of the last engine */
};

/* All return SQLITE_OK or the code that stopped them. */
int ledger_file_read(struct sqlite3 *db, struct ledger_read *out); /* forgets the oldest beyond the
                                                                      most */
int ledger_file_put(struct sqlite3 *db, const struct node_ledger_row *row);
int ledger_file_drop(struct sqlite3 *db, const struct ledger_key *key);
int ledger_file_put_engine(struct sqlite3 *db, const char *program, const char *build);

/* Path, size and time of a program file as text: changes when the file does. "" when there is none.
 */
void ledger_program_id(const char *path, char out[LEDGER_PROGRAM_MAX]);

#endif
