/* SPDX-License-Identifier: MIT */
#include "worker/pull/source.h"

#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "proto/gguf/gguf_model.h"

enum { SUFFIX = 5 }; /* ".gguf" */

void source_list_clear(struct source_list *l)
{
    free(l->v);
    *l = (struct source_list){0};
}

static int wrong(char *why, int err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, SOURCE_WHY_MAX, fmt, args);
    va_end(args);
    return err;
}

/* ---- names ---- */

static int hex_digit(char c)
{
    const char *at = c != '\0' ? strchr("0123456789abcdef", tolower((unsigned char)c)) : NULL;

    return at == NULL ? -1 : (int)(at - "0123456789abcdef");
}

/* The last segment of a URL's path, percent-decoded. */
static bool name_of_url(const char *url, char *out, size_t size)
{
    size_t end = strcspn(url, "?#"), from = end, n = 0;

    while (from > 0 && url[from - 1] != '/')
        from--;
    for (size_t i = from; i < end; i++) {
        int c = (unsigned char)url[i];

        if (c == '%') {
            int high = i + 2 < end ? hex_digit(url[i + 1]) : -1;
            int low = i + 2 < end ? hex_digit(url[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == '\0' || c == '/' || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

/* ---- reading what people write ---- */

/* Where a URL's path has "-00001-of-00003.gguf", written just so; NULL: nowhere. */
static const char *parts_of_url(const char *url, const char *name, uint32_t *parts)
{
    static const char first[] = "-00001-of-";
    uint32_t part;
    size_t end = strcspn(url, "?#"), n = strlen(name);

    if (!gguf_split_name(name, &part, parts) || part != 1 || *parts < 2 ||
        *parts > SOURCE_FILES_MAX || end < 20 || n < 20 ||
        strncmp(url + end - 20, name + n - 20, 20) != 0)
        return NULL;
    return strncmp(url + end - 20, first, sizeof first - 1) == 0 ? url + end - 20 : NULL;
}

/* All parts, by the URL and the name of the first one. */
static void put_parts(struct source_list *files, size_t at)
{
    const struct source_file first = files->v[0];
    size_t n = strlen(first.name);

    for (size_t i = 0; i < files->n; i++) {
        struct source_file *f = &files->v[i];
        char digits[8];

        *f = first;
        snprintf(digits, sizeof digits, "%05u", (unsigned)(i + 1) % 100000);
        memcpy(f->url + at + 1, digits, 5);
        memcpy(f->name + n - 19, digits, 5);
    }
}

/* The file; of a split model whose first part it is, all of them. */
static int list_url(const char *url, struct source_list *files, char *why)
{
    struct source_file *f = calloc(1, sizeof *f);
    const char *at;
    uint32_t parts;
    char shown[301];

    if (f == NULL)
        return UV_ENOMEM;
    *files = (struct source_list){.v = f, .n = 1};
    if (snprintf(f->url, sizeof f->url, "%s", url) >= (int)sizeof f->url)
        return wrong(why, RM_ERR_FIELD, "the URL is longer than %d bytes", SOURCE_URL_MAX - 1);
    if (!name_of_url(url, f->name, sizeof f->name) || !node_file_ok(f->name))
        return wrong(why, RM_ERR_FIELD, "%s: the URL must end in the name of a .gguf file",
                     node_source_shown(url, shown, sizeof shown));
    if ((at = parts_of_url(url, f->name, &parts)) == NULL)
        return 0;
    if ((f = realloc(files->v, parts * sizeof *f)) == NULL)
        return UV_ENOMEM;
    files->v = f;
    files->n = parts;
    put_parts(files, (size_t)(at - url));
    return 0;
}

static bool word_is_plain(const char *s, size_t n, const char *more)
{
    if (n == 0 || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && strchr(more, s[i]) == NULL)
            return false;
    return true;
}

/* "hf:ORG/REPO:QUANT" */
static int parse_repo(const char *text, struct source *out, char *why)
{
    char shown[201];

    if (node_hub_read(text, out->org_repo, out->quant))
        return 0;
    return wrong(why, RM_ERR_FIELD, "%s: expected hf:ORG/REPO:QUANT",
                 node_source_shown(text, shown, sizeof shown));
}

static int parse_hub(const char *text, const char *endpoint, struct source *out, char *why)
{
    int r = parse_repo(text, out, why);

    if (r < 0)
        return r;
    out->hub = true;
    if (snprintf(out->endpoint, sizeof out->endpoint, "%s", endpoint) >= (int)sizeof out->endpoint)
        return wrong(why, RM_ERR_FIELD, "the hub's address is too long");
    for (size_t n = strlen(out->endpoint); n > 0 && out->endpoint[n - 1] == '/'; n--)
        out->endpoint[n - 1] = '\0';
    snprintf(out->list_url, sizeof out->list_url, "%s/api/models/%s/tree/main?recursive=true",
             out->endpoint, out->org_repo);
    return 0;
}

/* HOST:PORT of plain bytes, so that nothing but host and port gets into the URL. */
static bool is_address(const char *from)
{
    size_t n = strlen(from);
    const char *colon = strrchr(from, ':');

    return n < 280 && colon != NULL && colon > from && colon[1] != '\0' &&
           strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
           word_is_plain(from, (size_t)(colon - from), "-_.:[]");
}

/* A path there, or a hub's name. */
static bool is_what(const char *what)
{
    return strncmp(what, "hf:", 3) == 0 || node_file_ok(what[0] == '/' ? what + 1 : what);
}

static int parse_node(const char *text, const char *from, struct source *out, char *why)
{
    const char *slash = strchr(text, '/');
    size_t n = slash != NULL ? (size_t)(slash - text) : 0;
    char shown[201];

    if (!word_is_plain(text, n, "-_.") || n >= sizeof out->node_name || !is_what(slash + 1) ||
        strlen(slash + 1) >= sizeof out->what)
        return wrong(why, RM_ERR_FIELD, "node:%s: expected node:NAME/FILE",
                     node_source_shown(text, shown, sizeof shown));
    out->node = true;
    snprintf(out->node_name, sizeof out->node_name, "%.*s", (int)n, text);
    snprintf(out->what, sizeof out->what, "%s", slash + 1);
    if (from != NULL && strncmp(from, "unix:/", 6) == 0 &&
        strlen(from + 5) < sizeof out->unix_path) {
        snprintf(out->unix_path, sizeof out->unix_path, "%s", from + 5);
        snprintf(out->endpoint, sizeof out->endpoint, "http://localhost");
    } else if (from != NULL && is_address(from)) {
        snprintf(out->endpoint, sizeof out->endpoint, "http://%s", from);
    } else {
        return wrong(why, RM_ERR_FIELD,
                     "a source node:NAME/FILE needs --from, HOST:PORT or unix:/PATH");
    }
    snprintf(out->list_url, sizeof out->list_url, "%s/node/v1/models", out->endpoint);
    if (strncmp(out->what, "hf:", 3) == 0)
        return parse_repo(out->what, out, why);
    return 0;
}

int source_parse(const char *text, const char *endpoint, const char *from, struct source *out,
                 struct source_list *files, char *why)
{
    char shown[201];

    *out = (struct source){0};
    *files = (struct source_list){0};
    if (strncmp(text, "node:", 5) == 0)
        return parse_node(text + 5, from, out, why);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return wrong(why, RM_ERR_FIELD, "the source has a blank or a byte that no URL has");
    if (strncmp(text, "hf:", 3) == 0)
        return parse_hub(text, endpoint, out, why);
    if (strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0)
        return list_url(text, files, why);
    return wrong(why, RM_ERR_FIELD, "%s: expected hf:ORG/REPO:QUANT or a URL",
                 node_source_shown(text, shown, sizeof shown));
}

/* ---- the hub's list ---- */

/* The name without "-00001-of-00003.gguf" or ".gguf": one per model. */
static size_t stem_length(const char *path)
{
    size_t n = strlen(path) - SUFFIX;

    if (n > 15 && path[n - 15] == '-' && strncmp(path + n - 9, "-of-", 4) == 0)
        return n - 15;
    return n;
}

static bool is_model(const json_t *entry)
{
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *path = json_string_value(json_object_get(entry, "path"));

    return type != NULL && path != NULL && strcmp(type, "file") == 0 && node_file_ok(path) &&
           strstr(path, "mmproj") == NULL;
}

static int file_of(const struct source *s, const json_t *entry, struct source_file *out)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    json_int_t bytes = json_integer_value(json_object_get(lfs != NULL ? lfs : entry, "size"));
    char escaped[NODE_FILE_ESCAPED];

    *out = (struct source_file){.bytes = bytes > 0 ? (uint64_t)bytes : 0};
    node_file_escape(path, escaped);
    if (snprintf(out->url, sizeof out->url, "%s/%s/resolve/main/%s", s->endpoint, s->org_repo,
                 escaped) >= (int)sizeof out->url ||
        snprintf(out->name, sizeof out->name, "%s/%s", s->org_repo, path) >= (int)sizeof out->name)
        return RM_ERR_FIELD;
    if (oid != NULL && strlen(oid) == 64 && strspn(oid, "0123456789abcdef") == 64)
        memcpy(out->sha256, oid, 65);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct source_file *)a)->name, ((const struct source_file *)b)->name);
}

/* " NAME" for each model that `match` holds for, each once, as many as fit. */
static void say_models(const json_t *list, const char *quant, char *why)
{
    char last[SOURCE_NAME_MAX] = "";
    size_t at = strlen(why), i;
    json_t *entry;

    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));
        char stem[SOURCE_NAME_MAX];

        if (!is_model(entry) || (quant != NULL && !node_hub_fits(path, quant)))
            continue;
        snprintf(stem, sizeof stem, "%.*s", (int)stem_length(path), path);
        if (strcmp(stem, last) == 0)
            continue;
        if (at + strlen(stem) + 8 > SOURCE_WHY_MAX)
            break;
        at += (size_t)snprintf(why + at, SOURCE_WHY_MAX - at, "%s %s", last[0] == '\0' ? "" : ",",
                               stem);
        memcpy(last, stem, sizeof last);
    }
}

/* " NAME" for each file, as many as fit. */
static void say_names(const json_t *list, char *why)
{
    size_t at = strlen(why), i;
    json_t *entry;

    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));

        if (path == NULL || !node_file_ok(path) || at + strlen(path) + 8 > SOURCE_WHY_MAX)
            continue;
        at += (size_t)snprintf(why + at, SOURCE_WHY_MAX - at, "%s %s", i > 0 ? "," : "", path);
    }
}

static int choose(const struct source *s, const json_t *list, struct source_list *files, char *why)
{
    const char *first = NULL;
    bool sizes = true;
    json_t *entry;
    size_t i;
    int r;

    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));

        if (!is_model(entry) || !node_hub_fits(path, s->quant))
            continue;
        if (first != NULL && (stem_length(first) != stem_length(path) ||
                              strncmp(first, path, stem_length(path)) != 0)) {
            wrong(why, 0,
                  "hf:%s: several models have %s; say the whole name after the colon:", s->org_repo,
                  s->quant);
            say_models(list, s->quant, why);
            return RM_ERR_NOT_FOUND;
        }
        first = path;
        if (files->n == SOURCE_FILES_MAX)
            return wrong(why, RM_ERR_NOT_FOUND, "hf:%s: more than %d parts", s->org_repo,
                         SOURCE_FILES_MAX);
        if ((r = file_of(s, entry, &files->v[files->n])) < 0)
            return wrong(why, r, "hf:%s: a file's name is too long", s->org_repo);
        sizes = sizes && files->v[files->n].bytes > 0;
        files->bytes += files->v[files->n].bytes;
        files->n++;
    }
    if (!sizes)
        files->bytes = 0;
    if (files->n > 0) {
        qsort(files->v, files->n, sizeof *files->v, by_name);
        return 0;
    }
    wrong(why, 0, "hf:%s: no .gguf file has %s in its name; there are:", s->org_repo, s->quant);
    say_models(list, NULL, why);
    return RM_ERR_NOT_FOUND;
}

/* ---- a node's list ---- */

/* The name beneath the node's models directory that `what` says, or NULL: it says no path. */
static const char *name_there(const struct source *s, const char *dir)
{
    size_t n = strlen(dir);

    if (s->org_repo[0] != '\0')
        return NULL;
    if (s->what[0] != '/')
        return s->what;
    while (n > 0 && dir[n - 1] == '/')
        n--;
    return strncmp(s->what, dir, n) == 0 && s->what[n] == '/' ? s->what + n + 1 : "";
}

static bool is_meant(const struct source *s, const char *name, const char *path)
{
    size_t n = strlen(s->org_repo);

    if (name != NULL)
        return strcmp(path, name) == 0;
    return strncmp(path, s->org_repo, n) == 0 && path[n] == '/' &&
           node_hub_fits(path + n + 1, s->quant);
}

static int part_of(const struct source *s, const char *path, uint32_t part, uint32_t parts,
                   struct source_file *out)
{
    char escaped[NODE_FILE_ESCAPED];
    size_t n = strlen(path);

    *out = (struct source_file){.bytes = 0};
    snprintf(out->name, sizeof out->name, "%s", path);
    if (parts > 1)
        snprintf(out->name + n - 20, sizeof out->name - (n - 20), "-%05u-of-%05u.gguf",
                 part % 100000, parts % 100000);
    node_file_escape(out->name, escaped);
    return snprintf(out->url, sizeof out->url, "%s/node/v1/files/%s", s->endpoint, escaped) <
                   (int)sizeof out->url
               ? 0
               : RM_ERR_FIELD;
}

/* All files of the entry. */
static int take_entry(const struct source *s, const json_t *entry, struct source_list *files,
                      char *why)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    json_int_t there = json_integer_value(json_object_get(entry, "files"));
    json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));
    uint32_t part = 1, parts = 1;

    if (!gguf_split_name(path, &part, &parts))
        part = parts = 1;
    if (part != 1 || parts > SOURCE_FILES_MAX || there != (json_int_t)parts)
        return wrong(why, RM_ERR_NOT_FOUND,
                     "node %s has only %lld of the %u parts of this model, or not the first one",
                     s->node_name, (long long)there, parts);
    if ((files->v = calloc(parts, sizeof *files->v)) == NULL)
        return wrong(why, UV_ENOMEM, "out of memory");
    for (; files->n < parts; files->n++)
        if (part_of(s, path, (uint32_t)files->n + 1, parts, &files->v[files->n]) < 0)
            return wrong(why, RM_ERR_FIELD, "the file's name is too long");
    files->bytes = bytes > 0 ? (uint64_t)bytes : 0;
    return 0;
}

static int choose_there(const struct source *s, const json_t *root, struct source_list *files,
                        char *why)
{
    const char *dir = json_string_value(json_object_get(root, "dir"));
    const json_t *list = json_object_get(root, "models"), *found = NULL;
    const char *name = name_there(s, dir != NULL ? dir : "");
    char shown[201];
    json_t *entry;
    size_t i;

    node_source_shown(s->what, shown, sizeof shown);
    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));

        if (path == NULL || !node_file_ok(path) || !is_meant(s, name, path))
            continue;
        if (found != NULL)
            return wrong(why, RM_ERR_NOT_FOUND, "node %s has several models of %s: name the file",
                         s->node_name, shown);
        found = entry;
    }
    if (found != NULL)
        return take_entry(s, found, files, why);
    wrong(why, 0, "node %s has no model %s; it has:", s->node_name, shown);
    say_names(list, why);
    return RM_ERR_NOT_FOUND;
}

int source_take_list(const struct source *s, struct rm_slice json, struct source_list *files,
                     char *why)
{
    json_t *list = json.n <= SOURCE_LIST_MAX ? json_loadb(json.p, json.n, 0, NULL) : NULL;
    size_t n = json_array_size(list);
    int r;

    *files = (struct source_list){0};
    if (s->node && json_is_array(json_object_get(list, "models")))
        r = choose_there(s, list, files, why);
    else if (s->node)
        r = wrong(why, RM_ERR_JSON, "node %s does not answer with its models", s->node_name);
    else if (!json_is_array(list))
        r = wrong(why, RM_ERR_JSON, "hf:%s: the hub's answer is no list of files", s->org_repo);
    else if ((files->v = calloc(n < SOURCE_FILES_MAX ? n + 1 : SOURCE_FILES_MAX,
                                sizeof *files->v)) == NULL)
        r = wrong(why, UV_ENOMEM, "out of memory");
    else
        r = choose(s, list, files, why);
    if (r < 0)
        source_list_clear(files);
    json_decref(list);
    return r;
}
