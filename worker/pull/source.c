/* SPDX-License-Identifier: MIT */
#include "worker/pull/source.h"

#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static const char suffix[] = ".gguf";

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

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m && strcasecmp(s + n - m, end) == 0;
}

/* A path of plain parts: nothing hidden, no "..", no control bytes or backslashes. */
static bool name_is_plain(const char *name)
{
    bool start = true;

    for (const unsigned char *p = (const unsigned char *)name; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '\\' || (start && (*p == '.' || *p == '/')))
            return false;
        start = *p == '/';
    }
    return !start;
}

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

static int list_one(const char *url, struct source_list *files, char *why)
{
    struct source_file *f = calloc(1, sizeof *f);

    if (f == NULL)
        return UV_ENOMEM;
    *files = (struct source_list){f, 1};
    if (snprintf(f->url, sizeof f->url, "%s", url) >= (int)sizeof f->url)
        return wrong(why, RM_ERR_FIELD, "the URL is longer than %d bytes", SOURCE_URL_MAX - 1);
    if (!name_of_url(url, f->name, sizeof f->name) || !name_is_plain(f->name) ||
        !ends_with(f->name, suffix))
        return wrong(why, RM_ERR_FIELD, "%.300s: the URL must end in the name of a .gguf file",
                     url);
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

static int parse_hub(const char *text, const char *endpoint, struct source *out, char *why)
{
    const char *slash = strchr(text, '/'), *colon = strchr(text, ':');

    if (slash == NULL || colon == NULL || colon < slash ||
        !word_is_plain(text, (size_t)(slash - text), "-_.") ||
        !word_is_plain(slash + 1, (size_t)(colon - slash - 1), "-_.") ||
        !word_is_plain(colon + 1, strlen(colon + 1), "-_.") ||
        (size_t)(colon - text) >= sizeof out->org_repo || strlen(colon + 1) >= sizeof out->quant)
        return wrong(why, RM_ERR_FIELD, "hf:%.200s: expected hf:ORG/REPO:QUANT", text);
    out->hub = true;
    snprintf(out->org_repo, sizeof out->org_repo, "%.*s", (int)(colon - text), text);
    snprintf(out->quant, sizeof out->quant, "%s", colon + 1);
    if (snprintf(out->endpoint, sizeof out->endpoint, "%s", endpoint) >= (int)sizeof out->endpoint)
        return wrong(why, RM_ERR_FIELD, "the hub's address is too long");
    for (size_t n = strlen(out->endpoint); n > 0 && out->endpoint[n - 1] == '/'; n--)
        out->endpoint[n - 1] = '\0';
    snprintf(out->list_url, sizeof out->list_url, "%s/api/models/%s/tree/main?recursive=true",
             out->endpoint, out->org_repo);
    return 0;
}

int source_parse(const char *text, const char *endpoint, struct source *out,
                 struct source_list *files, char *why)
{
    *out = (struct source){0};
    *files = (struct source_list){0};
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return wrong(why, RM_ERR_FIELD, "the source has a blank or a byte that no URL has");
    if (strncmp(text, "hf:", 3) == 0)
        return parse_hub(text + 3, endpoint, out, why);
    if (strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0)
        return list_one(text, files, why);
    return wrong(why, RM_ERR_FIELD, "%.200s: expected hf:ORG/REPO:QUANT or a URL", text);
}

/* ---- the hub's list ---- */

/* `word` stands in `name` by itself: "Q4_K" is in "m-Q4_K.gguf", not in "m-Q4_K_M.gguf". */
static bool has_word(const char *name, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = name; *p != '\0'; p++) {
        bool begins = p == name || (!isalnum((unsigned char)p[-1]) && p[-1] != '_');

        if (begins && strncasecmp(p, word, n) == 0 && !isalnum((unsigned char)p[n]) && p[n] != '_')
            return true;
    }
    return false;
}

/* The name without "-00001-of-00003.gguf" or ".gguf": one per model. */
static size_t stem_length(const char *path)
{
    size_t n = strlen(path) - (sizeof suffix - 1);

    if (n > 15 && path[n - 15] == '-' && strncmp(path + n - 9, "-of-", 4) == 0)
        return n - 15;
    return n;
}

static bool is_model(const json_t *entry)
{
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *path = json_string_value(json_object_get(entry, "path"));

    return type != NULL && path != NULL && strcmp(type, "file") == 0 && ends_with(path, suffix) &&
           name_is_plain(path) && strstr(path, "mmproj") == NULL;
}

/* Everything but unreserved characters (RFC 3986 section 2.3) and '/'. */
static int escape_path(const char *path, char *out, size_t size)
{
    size_t n = 0;

    for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++) {
        if (n + 4 > size)
            return RM_ERR_TOO_BIG;
        if (isalnum(*p) || strchr("-._~/", *p) != NULL)
            out[n++] = (char)*p;
        else
            n += (size_t)snprintf(out + n, size - n, "%%%02X", *p);
    }
    out[n] = '\0';
    return 0;
}

static int file_of(const struct source *s, const json_t *entry, struct source_file *out)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    json_int_t bytes = json_integer_value(json_object_get(lfs != NULL ? lfs : entry, "size"));
    char escaped[SOURCE_URL_MAX];

    *out = (struct source_file){.bytes = bytes > 0 ? (uint64_t)bytes : 0};
    if (escape_path(path, escaped, sizeof escaped) < 0 ||
        snprintf(out->url, sizeof out->url, "%s/%s/resolve/main/%s", s->endpoint, s->org_repo,
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

        if (!is_model(entry) || (quant != NULL && !has_word(path, quant)))
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

static int choose(const struct source *s, const json_t *list, struct source_list *files, char *why)
{
    const char *first = NULL;
    json_t *entry;
    size_t i;
    int r;

    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));

        if (!is_model(entry) || !has_word(path, s->quant))
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
        files->n++;
    }
    if (files->n > 0) {
        qsort(files->v, files->n, sizeof *files->v, by_name);
        return 0;
    }
    wrong(why, 0, "hf:%s: no .gguf file has %s in its name; there are:", s->org_repo, s->quant);
    say_models(list, NULL, why);
    return RM_ERR_NOT_FOUND;
}

int source_take_list(const struct source *s, struct rm_slice json, struct source_list *files,
                     char *why)
{
    json_t *list = json.n <= SOURCE_LIST_MAX ? json_loadb(json.p, json.n, 0, NULL) : NULL;
    size_t n = json_array_size(list);
    int r;

    *files = (struct source_list){0};
    if (!json_is_array(list))
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
