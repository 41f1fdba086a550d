/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/script.h - a text to a chain of tokens, each of which occurs once.
 * A scripted model knows only its last token, so the chain names every token's one successor: it
 * begins with the newline that ends a chat prompt and ends with the end-of-turn token. One thread.
 */
#ifndef RM_MKMODEL_SCRIPT_H
#define RM_MKMODEL_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

struct vocab;

struct script {
    int *chain; /* owned; token ids */
    size_t n;
};

enum { SCRIPT_PIECES_MAX = 20000 };

/* Reads the text of script=... (see --help; a leading '@' means: nothing is escaped) and adds its
 * pieces to the vocabulary. loop: the last piece is followed by the first instead of the end of the
 * turn; the chain then ends with the first piece again. Returns 0, or -1 and one line in `why`. */
int script_parse(struct script *s, struct vocab *v, const char *text, int loop, char *why,
                 size_t n_why);
void script_clear(struct script *s);

#endif
