/* SPDX-License-Identifier: MIT */
#include "proto/node/file_name.h"

#include <ctype.h>
#include <stdio.h>

#include "proto/base/json_write.h"

static const char suffix[] = ".gguf";

bool node_file_ok(const char *name)
{
    size_t n = strlen(name);
    bool start = true;

    if (n >= NODE_FILE_MAX || n < sizeof suffix || strcmp(name + n - 5, suffix) != 0)
        return false;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)name[i];
        size_t len = rm_utf8_len(name + i, n - i);

        if (len == 0 || c < 0x20 || c == 0x7f || c == '\\' || (start && (c == '.' || c == '/')))
            return false;
        if (len == 2 && c == 0xc2 && (unsigned char)name[i + 1] < 0xa0) /* C1 */
            return false;
        start = c == '/';
        i += len;
    }
    return name[n - 6] != '/';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool node_file_decode(struct rm_slice path, char out[NODE_FILE_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < path.n; i++) {
        int c = (unsigned char)path.p[i];

        if (c == '%') {
            int high = i + 2 < path.n ? hex_digit(path.p[i + 1]) : -1;
            int low = i + 2 < path.n ? hex_digit(path.p[i + 2]) : -1;

            if (high < 0 || low < 0 || (c = high * 16 + low) == '/')
                return false;
            i += 2;
        }
        if (c == '\0' || n + 1 >= NODE_FILE_MAX)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return node_file_ok(out);
}

void node_file_escape(const char *name, char out[NODE_FILE_ESCAPED])
{
    size_t n = 0;

    for (const unsigned char *p = (const unsigned char *)name;
         *p != '\0' && n + 4 <= NODE_FILE_ESCAPED; p++) {
        if (isalnum(*p) || strchr("-._~/", *p) != NULL)
            out[n++] = (char)*p;
        else
            n += (size_t)snprintf(out + n, NODE_FILE_ESCAPED - n, "%%%02X", *p);
    }
    out[n] = '\0';
}

/* ---- hubs ---- */

static bool word_is_plain(const char *s, size_t n)
{
    if (n == 0 || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && strchr("-_.", s[i]) == NULL)
            return false;
    return true;
}

bool node_hub_read(const char *text, char repo[NODE_HUB_REPO], char quant[NODE_HUB_QUANT])
{
    const char *slash, *colon;

    if (strncmp(text, "hf:", 3) != 0)
        return false;
    text += 3;
    slash = strchr(text, '/');
    colon = strchr(text, ':');
    if (slash == NULL || colon == NULL || colon < slash ||
        !word_is_plain(text, (size_t)(slash - text)) ||
        !word_is_plain(slash + 1, (size_t)(colon - slash - 1)) ||
        !word_is_plain(colon + 1, strlen(colon + 1)) || colon - text >= NODE_HUB_REPO ||
        strlen(colon + 1) >= NODE_HUB_QUANT)
        return false;
    snprintf(repo, NODE_HUB_REPO, "%.*s", (int)(colon - text), text);
    snprintf(quant, NODE_HUB_QUANT, "%s", colon + 1);
    return true;
}

bool node_hub_fits(const char *file, const char *quant)
{
    size_t n = strlen(quant);

    if (strstr(file, "mmproj") != NULL)
        return false;
    for (const char *p = file; *p != '\0'; p++) {
        bool begins = p == file || (!isalnum((unsigned char)p[-1]) && p[-1] != '_');

        if (begins && strncasecmp(p, quant, n) == 0 && !isalnum((unsigned char)p[n]) && p[n] != '_')
            return true;
    }
    return false;
}

/* ---- what may be shown ---- */

/* Where the host begins: behind the last '@' of what stands before the path. */
static const char *skip_user(const char *authority)
{
    const char *at = authority;
    size_t n = strcspn(authority, "/?#\\");

    for (size_t i = 0; i < n; i++)
        if (authority[i] == '@')
            at = authority + i + 1;
    return at;
}

char *node_source_shown(const char *source, char *out, size_t size)
{
    const char *scheme = strstr(source, "://"), *from = source, *end = source + strlen(source);
    size_t n = 0;

    if (scheme != NULL) {
        end = source + strcspn(source, "?#");
        from = scheme < end ? skip_user(scheme + 3) : end;
        for (const char *p = source; scheme < end && p < scheme + 3 && n + 1 < size; p++)
            out[n++] = *p;
    }
    for (; from < end && n + 1 < size; from++)
        out[n++] = *from;
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < 0x20 || (unsigned char)out[i] >= 0x7f)
            out[i] = '?';
    return out;
}
