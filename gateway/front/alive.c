/* SPDX-License-Identifier: MIT */
#include "gateway/front/alive.h"

#include <string.h>
#include <strings.h>

/* Copies what may be shown, without blanks around it; returns its length, at most max. */
static size_t clean(char *out, size_t max, const char *text)
{
    size_t n = 0;

    for (const char *p = text; *p != '\0' && n < max; p++) {
        unsigned char c = (unsigned char)*p;

        if (c >= 0x80 && c < 0xc0) /* the rest of a character that has its mark already */
            continue;
        c = c >= 0x80 ? '?' : c < ' ' || c == 0x7f ? ' ' : c;
        if (n > 0 || c != ' ')
            out[n++] = (char)c;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    return n;
}

static size_t put(char *out, size_t at, struct rm_slice s)
{
    memcpy(out + at, s.p, s.n);
    return at + s.n;
}

struct rm_slice alive_sign(const struct dialect *d, const char *why, char *out)
{
    char text[ALIVE_TEXT_MAX];
    size_t n, at;

    if (d->alive_before.n + d->alive_after.n + sizeof("waiting: ") > ALIVE_MAX - ALIVE_TEXT_MAX ||
        d->alive_after.n == 0 || (n = clean(text, sizeof(text), why != NULL ? why : "")) == 0)
        return d->stream_alive;
    at = put(out, 0, d->alive_before);
    if (n >= 4 && strncasecmp(text, "ping", 4) == 0)
        at = put(out, at, RM_LIT("waiting: "));
    at = put(out, at, (struct rm_slice){text, n});
    at = put(out, at, d->alive_after);
    return (struct rm_slice){out, at};
}
