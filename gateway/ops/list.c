/* SPDX-License-Identifier: MIT */
#include "gateway/ops/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/json_write.h"

enum { QUOTED_MAX = 2048 };

/* ---- texts ---- */

static size_t string_end(struct rm_slice s, size_t at)
{
    for (at++; at < s.n && s.p[at] != '"'; at++)
        at += s.p[at] == '\\';
    return at < s.n ? at + 1 : s.n;
}

/* The end of the value that begins at `at`. */
static size_t value_end(struct rm_slice s, size_t at)
{
    int depth = 0;

    while (at < s.n) {
        char c = s.p[at];

        if (c == '"') {
            at = string_end(s, at);
            if (depth == 0)
                return at;
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}'))
            return at;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        at++;
        if (depth == 0 && (c == '}' || c == ']'))
            return at;
    }
    return at;
}

static size_t skip(struct rm_slice s, size_t at, const char *bytes)
{
    while (at < s.n && strchr(bytes, s.p[at]) != NULL && s.p[at] != '\0')
        at++;
    return at;
}

bool list_next(struct rm_slice *array, struct rm_slice *item)
{
    size_t at = skip(*array, 0, "[, \n"), end = value_end(*array, at);

    if (end <= at) {
        array->n = 0;
        return false;
    }
    /* an array as an element's first byte would be skipped as well: our lists hold objects and
     * texts */
    *item = (struct rm_slice){array->p + at, end - at};
    *array = (struct rm_slice){array->p + end, array->n - end};
    return true;
}

bool list_member(struct rm_slice object, const char *name, struct rm_slice *value)
{
    size_t at = 1, end, n = strlen(name);

    while ((at = skip(object, at, ", \n")) < object.n && object.p[at] == '"') {
        end = string_end(object, at);
        bool is = end - at == n + 2 && memcmp(object.p + at + 1, name, n) == 0;

        at = skip(object, end, ": ");
        end = value_end(object, at);
        if (is) {
            *value = (struct rm_slice){object.p + at, end - at};
            return true;
        }
        at = end;
    }
    return false;
}

bool list_member_is(struct rm_slice object, const char *name, const char *text)
{
    struct rm_slice value, item;
    struct rm_buf quoted;
    bool is = false;

    rm_buf_init(&quoted, QUOTED_MAX);
    if (list_member(object, name, &value) && rm_json_quote(&quoted, rm_slice_of(text)) == 0) {
        is = rm_slice_eq(value, quoted.data) || rm_slice_eq(value, text);
        if (value.n > 0 && value.p[0] == '[')
            while (!is && list_next(&value, &item))
                is = rm_slice_eq(item, quoted.data);
    }
    rm_buf_clear(&quoted);
    return is;
}

/* ---- pages ---- */

/* A text without its quotes, or another value as it is. Names of ours need no escapes. */
static struct rm_slice bare(struct rm_slice v)
{
    return v.n >= 2 && v.p[0] == '"' ? (struct rm_slice){v.p + 1, v.n - 2} : v;
}

static void key_of(const struct list_page *page, struct rm_slice item, char out[LIST_KEY_MAX])
{
    struct rm_slice a = {"", 0}, b = {"", 0};

    (void)list_member(item, page->key[0], &a);
    if (page->key[1] != NULL)
        (void)list_member(item, page->key[1], &b);
    a = bare(a);
    b = bare(b);
    snprintf(out, LIST_KEY_MAX, "%.*s%s%.*s", (int)a.n, a.p, page->key[1] != NULL ? "@" : "",
             (int)b.n, b.p);
}

static bool in_time(const struct list_page *page, struct rm_slice item)
{
    struct rm_slice at;
    char text[25];

    if (page->time == NULL || (page->since == NULL && page->until == NULL))
        return true;
    if (!list_member(item, page->time, &at) || (at = bare(at)).n >= sizeof text)
        return false;
    memcpy(text, at.p, at.n);
    text[at.n] = '\0';
    return (page->since == NULL || strcmp(text, page->since) >= 0) &&
           (page->until == NULL || strcmp(text, page->until) < 0);
}

bool list_passes(const struct list_page *page, struct rm_slice item)
{
    for (uint32_t i = 0; i < page->n_filters; i++)
        if (!list_member_is(item, page->filter[i].member, page->filter[i].value))
            return false;
    return in_time(page, item);
}

/* Is the element behind the cursor? *found: the cursor's own has been seen. */
static bool is_behind(const struct list_page *page, struct rm_slice item, bool *found)
{
    char key[LIST_KEY_MAX];
    bool before = !*found;

    if (page->cursor == NULL)
        return true;
    key_of(page, item, key);
    if (page->by_number) {
        *found = true;
        return strtoull(key, NULL, 10) < strtoull(page->cursor, NULL, 10);
    }
    *found = *found || strcmp(key, page->cursor) == 0;
    return !before;
}

int list_write(const struct list_page *page, struct rm_slice array, struct rm_buf *out)
{
    char last[LIST_KEY_MAX] = "";
    bool found = false, more = false;
    struct rm_slice item;
    uint32_t n = 0;
    int r = rm_buf_printf(out, "\"%s\":[", page->name);

    if (page->by_number && page->cursor != NULL &&
        (page->cursor[0] == '\0' || strspn(page->cursor, "0123456789") != strlen(page->cursor)))
        return RM_ERR_STATE;
    while (r == 0 && !more && list_next(&array, &item)) {
        if (!is_behind(page, item, &found) || !list_passes(page, item))
            continue;
        if ((more = n == page->limit))
            break;
        if (n++ > 0)
            r = rm_buf_puts(out, ",");
        if (r == 0)
            r = rm_buf_put(out, item.p, item.n);
        key_of(page, item, last);
    }
    if (r == 0 && page->cursor != NULL && !page->by_number && !found)
        return RM_ERR_STATE;
    if (r == 0)
        r = rm_buf_puts(out, "],\"next\":");
    if (r == 0)
        r = more ? rm_json_quote(out, rm_slice_of(last)) : rm_buf_puts(out, "null");
    return r;
}

/* Two digits, or four, of a form such as "dddd-dd". */
static int digits(const char *text, int n)
{
    int v = 0;

    while (n-- > 0)
        v = v * 10 + (*text++ - '0');
    return v;
}

/* "Z" or "+02:00": minutes east of UTC. False: neither. */
static bool read_zone(const char *text, int *east)
{
    *east = 0;
    if ((text[0] == 'Z' || text[0] == 'z') && text[1] == '\0')
        return true;
    if ((text[0] != '+' && text[0] != '-') || strlen(text) != 6 || text[3] != ':' ||
        strspn(text + 1, "0123456789") != 2 || strspn(text + 4, "0123456789") != 2 ||
        digits(text + 1, 2) > 23 || digits(text + 4, 2) > 59)
        return false;
    *east = (digits(text + 1, 2) * 60 + digits(text + 4, 2)) * (text[0] == '-' ? -1 : 1);
    return true;
}

bool list_time(const char *text, char out[25])
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    char ms[4] = "000";
    struct tm tm = {.tm_isdst = 0}, whole;
    time_t at;
    size_t i = 0, n;
    int east;

    for (; form[i] != '\0'; i++)
        if (form[i] == 'd'   ? text[i] < '0' || text[i] > '9'
            : form[i] == 'T' ? text[i] != 'T' && text[i] != 't'
                             : text[i] != form[i])
            return false;
    if (text[i] == '.') {
        n = strspn(text + i + 1, "0123456789");
        if (n == 0)
            return false;
        memcpy(ms, text + i + 1, n < 3 ? n : 3);
        i += n + 1;
    }
    tm.tm_year = digits(text, 4) - 1900;
    tm.tm_mon = digits(text + 5, 2) - 1;
    tm.tm_mday = digits(text + 8, 2);
    tm.tm_hour = digits(text + 11, 2);
    tm.tm_min = digits(text + 14, 2);
    tm.tm_sec = digits(text + 17, 2);
    if (!read_zone(text + i, &east) || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    whole = tm;
    whole.tm_hour = whole.tm_min = whole.tm_sec = 0;
    at = timegm(&whole);
    if (whole.tm_mday != tm.tm_mday) /* there is no such day in that month */
        return false;
    at += (time_t)tm.tm_hour * 3600 + (tm.tm_min - east) * 60 + tm.tm_sec;
    if (gmtime_r(&at, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900)
        return false;
    strftime(out, 20, "%Y-%m-%dT%H:%M:%S", &tm);
    n = strlen(out); /* %Y of a year before 1000 may be shorter */
    memmove(out + 19 - n, out, n);
    memset(out, '0', 19 - n);
    snprintf(out + 19, 6, ".%sZ", ms);
    return true;
}
