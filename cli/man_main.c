/* SPDX-License-Identifier: MIT */
/* cli/man_main.c - rolemesh-man DIR: writes the man pages and the shells' completion files of the
 * command `rolemesh` into an existing directory. Used when building, never installed. */
#include "cli/cli.h"
#include "cli/complete.h"

#include <errno.h>
#include <string.h>

static FILE *begin(const char *dir, const char *name)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if ((f = fopen(path, "w")) == NULL)
        fprintf(stderr, "rolemesh-man: %s: %s\n", path, strerror(errno));
    return f;
}

static bool end(FILE *f)
{
    bool good = !ferror(f);

    return fclose(f) == 0 && good;
}

static bool write_page(const char *dir, const struct cli_command *c)
{
    char name[128];
    FILE *f;

    snprintf(name, sizeof name, "rolemesh%s%s.1", c != NULL ? "-" : "", c != NULL ? c->name : "");
    for (char *p = name; *p != '\0'; p++)
        *p = *p == ' ' ? '-' : *p;
    if ((f = begin(dir, name)) == NULL)
        return false;
    man_write(c, f);
    return end(f);
}

static bool write_script(const char *dir, const char *shell)
{
    char name[64];
    FILE *f;

    snprintf(name, sizeof name, "completion.%s", shell);
    if ((f = begin(dir, name)) == NULL)
        return false;
    fputs(complete_script(shell), f);
    return end(f);
}

int main(int argc, char **argv)
{
    bool good = argc == 2 && write_page(argv[1], NULL);

    for (size_t i = 0; good && i < cli_n_commands; i++)
        good = cli_commands[i]->common & CLI_HIDDEN || write_page(argv[1], cli_commands[i]);
    for (size_t i = 0; good && complete_shells[i] != NULL; i++)
        good = write_script(argv[1], complete_shells[i]);
    if (argc != 2)
        fputs("usage: rolemesh-man DIR\n", stderr);
    return good ? 0 : argc != 2 ? 2 : 1;
}
