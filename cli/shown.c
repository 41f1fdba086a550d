/* SPDX-License-Identifier: MIT */
/* cli/shown.c - text that came from elsewhere, made fit for a terminal: see ask.h. What is no
 * UTF-8, or could move the cursor, turn the direction of writing, hide or break a line, becomes
 * '?'. */
#include "cli/ask.h"

#include "proto/base/json_write.h"

#include <string.h>

struct range {
    uint32_t first, last;
};

/* Unicode: controls; zero-width and directional marks; line and paragraph separators; the rest of
 * the invisible ones; non-characters; tags. */
static const struct range odd[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},     {0x180e, 0x180e},
    {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff},   {0xfff0, 0xfffb},
    {0xfffe, 0xffff}, {0xd800, 0xdfff}, {0xfdd0, 0xfdef}, {0xe0000, 0xe0fff},
};

/* Reads one character of n > 0 bytes. Returns its bytes, 0: these are no UTF-8. */
static size_t decode(const unsigned char *p, size_t n, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t k = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;

    if (k == 0 || k > n)
        return 0;
    *code = k == 1 ? p[0] : p[0] & (0x7fU >> k);
    for (size_t i = 1; i < k; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    return *code >= least[k] && *code <= 0x10ffff ? k : 0;
}

size_t ask_char(const char *text, size_t n, uint32_t *code)
{
    size_t k = decode((const unsigned char *)text, n, code);

    if (k == 0) {
        *code = '?';
        return 1;
    }
    for (size_t i = 0; i < RM_COUNT(odd); i++)
        if (*code >= odd[i].first && *code <= odd[i].last)
            *code = '?';
    return k;
}

const char *ask_shown(const char *text, char out[ASK_TEXT_MAX])
{
    size_t left, n = 0;
    uint32_t code;

    if (text == NULL)
        return "-";
    for (left = strlen(text); left > 0;) {
        size_t k = ask_char(text, left, &code), put = code == '?' ? 1 : k;

        if (n + put >= ASK_TEXT_MAX)
            break;
        memcpy(out + n, code == '?' ? "?" : text, put);
        n += put;
        text += k;
        left -= k;
    }
    out[n] = '\0';
    return out;
}

static void print(const char *text, FILE *to, bool lines)
{
    uint32_t code;

    for (size_t left = text != NULL ? strlen(text) : 0; left > 0;) {
        size_t k = ask_char(text, left, &code);

        if (lines && *text == '\n')
            fputc('\n', to);
        else
            fwrite(code == '?' ? "?" : text, 1, code == '?' ? 1 : k, to);
        text += k;
        left -= k;
    }
}

void ask_print_lines(const char *text, FILE *to)
{
    print(text, to, true);
}

void ask_print_line(const char *text, FILE *to)
{
    print(text, to, false);
}
