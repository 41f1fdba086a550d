/* SPDX-License-Identifier: MIT */
/* tests/support/models/models.h - test models for test programs, made on the spot by mkmodel.
 * The generator's path comes from the environment variable MKMODEL (CMake sets it for ctest). */
#ifndef RM_TEST_MODELS_H
#define RM_TEST_MODELS_H

#include <stddef.h>

/* A fresh directory below $TMPDIR or /tmp. Static storage; the same one for the whole process;
 * removed at exit with the models in it. */
const char *models_dir(void);

/* Runs `mkmodel arch DIR/name.gguf args...`; args end with NULL, at most 16. Writes the file's path
 * to `path`. Ends the program with a message when that fails. */
void models_make(char *path, size_t n_path, const char *name, const char *arch,
                 const char *const *args);

#endif
