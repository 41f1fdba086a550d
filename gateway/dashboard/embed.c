/* SPDX-License-Identifier: MIT */
/* gateway/dashboard/embed.c - a program of the build: writes the files that Vite made as one C file
 * of gzip bytes (embedded.h). The same files give the same C file: names are sorted, no time is
 * kept.
 *
 *   dashboard-embed DIST OUT.c LIMIT    exit 1 when they are more than LIMIT bytes compressed */
#include <dirent.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "gateway/dashboard/embedded.h"

enum { FILES_MAX = 64, NAME_BYTES = 256, TAG_BYTES = 12 };

struct embed_file {
    char name[NAME_BYTES]; /* below DIST */
    unsigned char *plain, *gzip;
    size_t plain_bytes, gzip_bytes;
};

static struct embed_file files[FILES_MAX];
static size_t n_files, total;

static const struct embed_type {
    const char *suffix, *type;
} types[] = {
    {".css", "text/css; charset=utf-8"},
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".txt", "text/plain; charset=utf-8"},
};

static _Noreturn void fail(const char *what, const char *name)
{
    fprintf(stderr, "dashboard-embed: %s: %s\n", name, what);
    exit(1);
}

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i].suffix) == 0)
            return types[i].type;
    fail("no known type of file", name);
}

static void read_file(struct embed_file *f, const char *path)
{
    FILE *in = fopen(path, "rb");

    if (in == NULL || (f->plain = malloc(DASHBOARD_FILE_MAX + 1)) == NULL)
        fail("cannot be read", path);
    f->plain_bytes = fread(f->plain, 1, DASHBOARD_FILE_MAX + 1, in);
    if (ferror(in) || f->plain_bytes > DASHBOARD_FILE_MAX)
        fail("cannot be read, or is too large", path);
    fclose(in);
}

static void pack_file(struct embed_file *f)
{
    z_stream z = {0};
    const size_t most = f->plain_bytes + 1024;

    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK ||
        (f->gzip = malloc(most)) == NULL)
        fail("no memory", f->name);
    z.next_in = f->plain;
    z.avail_in = (uInt)f->plain_bytes;
    z.next_out = f->gzip;
    z.avail_out = (uInt)most;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        fail("cannot be compressed", f->name);
    f->gzip_bytes = z.total_out;
    total += f->gzip_bytes;
    deflateEnd(&z);
}

/* below: the folder's name with a slash, or "". */
static void read_folder(const char *top, const char *below)
{
    char path[PATH_MAX];
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    snprintf(path, sizeof path, "%s/%s", top, below);
    if ((dir = opendir(path)) == NULL)
        fail("cannot be read", path);
    while ((entry = readdir(dir)) != NULL) {
        struct embed_file *f = &files[n_files];

        if (entry->d_name[0] == '.')
            continue;
        if (n_files == FILES_MAX || strlen(below) + strlen(entry->d_name) + 2 > NAME_BYTES)
            fail("too many files, or too long a name", entry->d_name);
        snprintf(f->name, sizeof f->name, "%.120s%.120s", below, entry->d_name);
        snprintf(path, sizeof path, "%s/%s", top, f->name);
        if (stat(path, &st) != 0)
            fail("cannot be read", path);
        if (S_ISDIR(st.st_mode)) {
            char deeper[NAME_BYTES + 1];

            snprintf(deeper, sizeof deeper, "%s/", f->name);
            read_folder(top, deeper);
            continue;
        }
        n_files++;
        read_file(f, path);
        pack_file(f);
    }
    closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct embed_file *)a)->name, ((const struct embed_file *)b)->name);
}

static void write_bytes(FILE *out, size_t i)
{
    fprintf(out, "static const unsigned char file_%zu[] = {", i);
    for (size_t k = 0; k < files[i].gzip_bytes; k++)
        fprintf(out, "%s%u,", k % 32 == 0 ? "\n" : "", files[i].gzip[k]);
    fputs("};\n", out);
}

static void write_row(FILE *out, size_t i)
{
    const struct embed_file *f = &files[i];
    unsigned char hash[crypto_generichash_BYTES];
    char tag[2 * TAG_BYTES + 1];

    crypto_generichash(hash, sizeof hash, f->plain, f->plain_bytes, NULL, 0);
    sodium_bin2hex(tag, sizeof tag, hash, TAG_BYTES);
    fprintf(out, "    {\"%s\", \"%s\", \"W/\\\"%s\\\"\", %s, file_%zu, %zu, %zu},\n",
            strcmp(f->name, "index.html") == 0 ? "" : f->name, type_of(f->name), tag,
            strncmp(f->name, "assets/", 7) == 0 ? "true" : "false", i, f->gzip_bytes,
            f->plain_bytes);
}

int main(int argc, char **argv)
{
    FILE *out;

    if (argc != 4 || sodium_init() < 0)
        fail("usage: dashboard-embed DIST OUT.c LIMIT", "arguments");
    read_folder(argv[1], "");
    qsort(files, n_files, sizeof *files, by_name);
    if (total > strtoul(argv[3], NULL, 10))
        fail("more bytes than the page may have", argv[1]);
    if ((out = fopen(argv[2], "w")) == NULL)
        fail("cannot be written", argv[2]);
    fputs("/* made by dashboard-embed */\n#include \"gateway/dashboard/embedded.h\"\n", out);
    for (size_t i = 0; i < n_files; i++)
        write_bytes(out, i);
    fputs("const struct dashboard_file dashboard_files[] = {\n", out);
    for (size_t i = 0; i < n_files; i++)
        write_row(out, i);
    fprintf(out, "};\nconst size_t dashboard_files_n = %zu;\n", n_files);
    if (fclose(out) != 0)
        fail("cannot be written", argv[2]);
    for (size_t i = 0; i < n_files; i++) {
        free(files[i].plain);
        free(files[i].gzip);
    }
    return 0;
}
