/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/main.c - mkmodel ARCH OUT.gguf [key=value ...]: writes a test model.
 * Exit codes: 0 written, 1 the file could not be made, 2 wrong arguments. */
#include <stdio.h>

#include "model.h"
#include "options.h"

int main(int argc, char **argv)
{
    struct options o;
    struct model_summary sum;
    char why[512] = "";
    int r = options_parse(argc, argv, &o, why, sizeof(why));

    if (r == 0 && model_write(&o, &sum, why, sizeof(why)) == 0) {
        printf("%s: %s, %u tokens in the vocabulary, %llu tensors, %.3f M parameters", o.out,
               o.arch->name, (unsigned)sum.vocab, (unsigned long long)sum.tensors,
               (double)sum.params / 1e6);
        if (sum.pieces != 0)
            printf(", a script of %u tokens", (unsigned)sum.pieces);
        printf("\n");
    } else if (r <= 0) {
        fprintf(stderr, "mkmodel: %s\n", why);
        r = r < 0 ? 2 : 1;
    } else {
        r = 0; /* help was asked for */
    }
    options_clear(&o);
    return r;
}
