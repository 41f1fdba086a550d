/* SPDX-License-Identifier: MIT */
/* cli/ledger_show.h - the ledgers of some nodes on stdout: a table for people, CSV, or one object.
 */
#ifndef RM_CLI_LEDGER_SHOW_H
#define RM_CLI_LEDGER_SHOW_H

#include <stddef.h>

#include "proto/node/ledger.h"

/* Return 0 or UV_ENOMEM (told on stderr). */
int ledger_show_text(const struct node_ledger *all, size_t n);
int ledger_show_csv(const struct node_ledger *all, size_t n);
int ledger_show_json(const struct node_ledger *all, size_t n);

#endif
