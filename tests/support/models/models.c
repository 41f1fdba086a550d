/* SPDX-License-Identifier: MIT */
/* tests/support/models/models.c - see models.h. */
#include "tests/support/models/models.h"

#include <dirent.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char dir[256];

static void remove_all(void)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    char path[1024];

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(dir);
}

static void die(const char *what)
{
    fprintf(stderr, "test models: %s\n", what);
    exit(99);
}

const char *models_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    if (dir[0] != '\0')
        return dir;
    snprintf(dir, sizeof(dir), "%s/rolemesh-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL)
        die("cannot make a directory");
    atexit(remove_all);
    return dir;
}

void models_make(char *path, size_t n_path, const char *name, const char *arch,
                 const char *const *args)
{
    const char *program = getenv("MKMODEL");
    const char *argv[24] = {program, arch, path};
    int status, n = 3;
    pid_t pid;

    if (program == NULL)
        die("MKMODEL is not set; run this through ctest");
    if ((size_t)snprintf(path, n_path, "%s/%s.gguf", models_dir(), name) >= n_path)
        die("path too long");
    for (; args != NULL && *args != NULL && n < 19; args++)
        argv[n++] = *args;
    argv[n] = NULL;
    if (posix_spawn(&pid, program, NULL, NULL, (char *const *)(void *)argv, environ) != 0)
        die("cannot start mkmodel");
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("mkmodel failed");
}
