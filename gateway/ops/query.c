/* SPDX-License-Identifier: MIT */
#include "gateway/ops/query.h"

#include <stdio.h>
#include <stdlib.h>

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool query_decode(struct rm_slice text, bool plus, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == '%') {
            int hi = i + 2 < text.n ? hex_of(text.p[i + 1]) : -1, lo;

            lo = hi >= 0 ? hex_of(text.p[i + 2]) : -1;
            if (lo < 0)
                return false;
            c = (unsigned char)(hi * 16 + lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

/* Is that the name that "name" or "name=word|word" begins with? */
static bool is_named(const char *spec, const char *name)
{
    size_t n = strcspn(spec, "=");

    return strncmp(spec, name, n) == 0 && name[n] == '\0';
}

static void say_names(struct query *q, const char *name)
{
    int n = snprintf(q->why, sizeof q->why, "there is no parameter '%s' here", name);

    for (size_t i = 0; q->names[i] != NULL && n > 0 && (size_t)n < sizeof q->why; i++)
        n += snprintf(q->why + n, sizeof q->why - (size_t)n, "%s%.*s",
                      i == 0 ? "; there are: " : ", ", (int)strcspn(q->names[i], "="), q->names[i]);
}

/* Is the value one of the words that spec lists, if it lists any? */
static int judge_words(struct query *q, const char *spec, const char *value)
{
    const char *words = spec + strcspn(spec, "="), *w = words;

    while (*w != '\0') {
        size_t n = strcspn(++w, "|");

        if (strncmp(w, value, n) == 0 && value[n] == '\0')
            return 0;
        w += n;
    }
    if (*words == '\0')
        return 0;
    snprintf(q->why, sizeof q->why, "%.*s: '%s' is none of %s", (int)(words - spec), spec, value,
             words + 1);
    return RM_ERR_FIELD;
}

/* Code points of a text that may be no UTF-8. */
static size_t text_length(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int take_pair(struct query *q, struct rm_slice pair)
{
    const char *is = memchr(pair.p, '=', pair.n);
    struct rm_slice value = {NULL, 0};
    char name[40];
    size_t i;

    if (is != NULL) {
        value = (struct rm_slice){is + 1, pair.n - (size_t)(is + 1 - pair.p)};
        pair.n = (size_t)(is - pair.p);
    }
    if (!query_decode(pair, true, name, sizeof name)) {
        snprintf(q->why, sizeof q->why, "the query has a damaged or overlong name");
        return RM_ERR_FIELD;
    }
    for (i = 0; q->names[i] != NULL && !is_named(q->names[i], name); i++)
        ;
    if (q->names[i] == NULL) {
        say_names(q, name);
        return RM_ERR_FIELD;
    }
    if (q->has[i] || !query_decode(value, true, q->value[i], sizeof q->value[i]) ||
        text_length(q->value[i]) > QUERY_TEXT_MAX) {
        snprintf(q->why, sizeof q->why, "%s: %s", name,
                 q->has[i] ? "given twice" : "damaged, or longer than 159 characters");
        return RM_ERR_FIELD;
    }
    q->has[i] = true;
    return judge_words(q, q->names[i], q->value[i]);
}

int query_read(struct query *q, const char *const *names, struct rm_slice text)
{
    int r = 0;

    memset(q->has, 0, sizeof q->has);
    q->names = names;
    while (r == 0 && text.n > 0) {
        const char *and = memchr(text.p, '&', text.n);
        size_t n = and != NULL ? (size_t)(and-text.p) : text.n;

        if (n > 0)
            r = take_pair(q, (struct rm_slice){text.p, n});
        n += and != NULL;
        text = (struct rm_slice){text.p + n, text.n - n};
    }
    return r;
}

const char *query_get(const struct query *q, const char *name)
{
    for (size_t i = 0; q->names[i] != NULL; i++)
        if (is_named(q->names[i], name))
            return q->has[i] ? q->value[i] : NULL;
    return NULL;
}

int query_number(struct query *q, const char *name, uint64_t min, uint64_t max, uint64_t none,
                 uint64_t *out)
{
    const char *text = query_get(q, name);
    char *end = NULL;

    *out = none;
    if (text == NULL)
        return 0;
    if (text[0] != '\0' && strlen(text) < 19 && strspn(text, "0123456789") == strlen(text))
        *out = strtoull(text, &end, 10);
    if (end == NULL || *out < min || *out > max) {
        snprintf(q->why, sizeof q->why, "%s: '%s' is not a number from %llu to %llu", name, text,
                 (unsigned long long)min, (unsigned long long)max);
        return RM_ERR_FIELD;
    }
    return 0;
}

int query_word(const struct query *q, const char *name, const char *const *words)
{
    const char *text = query_get(q, name);

    for (int i = 0; text != NULL && words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    return -1;
}
