/* SPDX-License-Identifier: MIT */
#include "worker/models/range.h"

/* 1 to 18 digits, taken off the text. */
static bool eat_number(struct rm_slice *text, uint64_t *out)
{
    size_t n = 0;

    for (*out = 0; n < text->n && n < 18 && text->p[n] >= '0' && text->p[n] <= '9'; n++)
        *out = *out * 10 + (uint64_t)(text->p[n] - '0');
    text->p += n;
    text->n -= n;
    return n > 0;
}

static bool eat_dash(struct rm_slice *text)
{
    bool there = text->n > 0 && text->p[0] == '-';

    text->p += there;
    text->n -= there;
    return there;
}

/* The last bytes of the file. */
static enum range_kind suffix(struct rm_slice text, uint64_t size, uint64_t *from, uint64_t *n)
{
    uint64_t last;

    if (!eat_number(&text, &last) || text.n > 0)
        return RANGE_WHOLE;
    if (last == 0 || size == 0)
        return RANGE_NONE;
    *n = last < size ? last : size;
    *from = size - *n;
    return RANGE_PART;
}

enum range_kind range_read(struct rm_slice text, uint64_t size, uint64_t *from, uint64_t *n)
{
    static const char unit[] = "bytes=";
    uint64_t first, last = UINT64_MAX;

    *from = 0;
    *n = size;
    if (text.n < sizeof unit || strncasecmp(text.p, unit, sizeof unit - 1) != 0)
        return RANGE_WHOLE;
    text.p += sizeof unit - 1;
    text.n -= sizeof unit - 1;
    if (eat_dash(&text))
        return suffix(text, size, from, n);
    if (!eat_number(&text, &first) || !eat_dash(&text) ||
        (text.n > 0 && (!eat_number(&text, &last) || text.n > 0 || last < first)))
        return RANGE_WHOLE;
    if (first >= size)
        return RANGE_NONE;
    *from = first;
    *n = (last < size ? last + 1 : size) - first;
    return RANGE_PART;
}

bool range_tag_listed(struct rm_slice list, const char *etag)
{
    size_t m = strlen(etag);

    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        struct rm_slice tag = {list.p, comma != NULL ? (size_t)(comma - list.p) : list.n};
        size_t skip = tag.n + (comma != NULL);

        while (tag.n > 0 && (*tag.p == ' ' || *tag.p == '\t'))
            tag.p++, tag.n--;
        while (tag.n > 0 && (tag.p[tag.n - 1] == ' ' || tag.p[tag.n - 1] == '\t'))
            tag.n--;
        if (tag.n > 2 && memcmp(tag.p, "W/", 2) == 0)
            tag.p += 2, tag.n -= 2;
        if (rm_slice_eq(tag, "*") || (tag.n == m && memcmp(tag.p, etag, m) == 0))
            return true;
        list.p += skip;
        list.n -= skip;
    }
    return false;
}
