/* SPDX-License-Identifier: MIT */
/* proto/node/document_test.h - holds what an encoder writes against the tables of PROTOCOL.md. Of
 * the unit tests of this folder. */
#ifndef RM_NODE_DOCUMENT_TEST_H
#define RM_NODE_DOCUMENT_TEST_H

#include <jansson.h>

/* Fails unless the object's members are the names in the first column of the table under "#
 * `NAME`", in that order. */
void assert_documented(const char *name, const json_t *object);

#endif
