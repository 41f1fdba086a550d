/* SPDX-License-Identifier: MIT */
#include "proto/conf/report.h"

#include "proto/base/json_write.h"
#include "proto/conf/node.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

enum {
    REPORT_WINDOW = 100, /* characters of a source line that are shown */
    REPORT_BEFORE = 60,  /* of them before the column, in a long line */
    REPORT_LINE_MAX = 1024,
    REPORT_NAME_MAX = 64,        /* longer words are not compared */
    REPORT_BACK_MAX = 64 * 1024, /* bytes looked back for a secret-like key */
};

void conf_report_init(struct conf_report *report)
{
    *report = (struct conf_report){.name = NULL};
}

void conf_report_clear(struct conf_report *report)
{
    bool keyed = report->keyed;

    for (unsigned i = 0; i < report->n; i++) {
        free(report->mistakes[i].what);
        free(report->mistakes[i].hint);
        free(report->mistakes[i].source);
    }
    free(report->name);
    conf_report_init(report);
    report->keyed = keyed;
}

void conf_report_begin(struct conf_report *report, const char *name, const char *text,
                       size_t n_text)
{
    conf_report_clear(report);
    report->name = rm_slice_dup(rm_slice_of(name));
    report->no_memory = report->name == NULL;
    report->text = text;
    report->n_text = n_text;
}

/* --- words ------------------------------------------------------------------------------- */

static bool report_word_is_secret(const char *p, size_t n)
{
    static const char *const words[] = {
        "key",         "keys",      "apikey", "token",         "tokens", "secret", "secrets",
        "password",    "passwords", "passwd", "passphrase",    "pass",   "pwd",    "credential",
        "credentials", "auth",      "bearer", "authorization", "authkey"};

    for (size_t i = 0; i < RM_COUNT(words); i++)
        if (rm_slice_ieq((struct rm_slice){p, n}, words[i]))
            return true;
    return false;
}

static bool report_contains(struct rm_slice s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, word, n) == 0)
            return true;
    return false;
}

bool conf_secret_like(struct rm_slice name)
{
    size_t start = 0;

    if (report_contains(name, "without") ||
        report_contains(name, "per_token")) /* a switch, a size */
        return false;
    if (report_contains(name, "secret") || report_contains(name, "passw") ||
        report_contains(name, "token") || report_contains(name, "apikey"))
        return true;
    for (size_t i = 0; i <= name.n; i++) {
        if (i < name.n && isalnum((unsigned char)name.p[i]))
            continue;
        if (report_word_is_secret(name.p + start, i - start))
            return true;
        start = i + 1;
    }
    return false;
}

/* Levenshtein distance of two words of at most REPORT_NAME_MAX bytes, one row at a time. */
static size_t report_distance(struct rm_slice a, struct rm_slice b)
{
    size_t row[REPORT_NAME_MAX + 1];

    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = diagonal + (a.p[i - 1] != b.p[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.n];
}

const char *conf_nearest(struct rm_slice text, const char *const *candidates, size_t n)
{
    size_t limit = text.n / 3 > 2 ? text.n / 3 : 2, best = SIZE_MAX;
    const char *found = NULL;

    if (text.n > REPORT_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        struct rm_slice c = rm_slice_of(candidates[i]);
        size_t d;

        if (c.n > REPORT_NAME_MAX)
            continue;
        d = report_distance(text, c);
        if (d <= limit && d < text.n && d < best) {
            best = d;
            found = candidates[i];
        }
    }
    return found;
}

/* --- the source line ---------------------------------------------------------------------- */

struct rm_slice conf_line(const struct conf_report *report, unsigned number)
{
    const char *p = report->text, *end, *stop;

    if (p == NULL || number == 0)
        return (struct rm_slice){NULL, 0};
    end = p + report->n_text;
    for (unsigned i = 1; i < number; i++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            return (struct rm_slice){NULL, 0};
        p++;
    }
    stop = memchr(p, '\n', (size_t)(end - p));
    if (stop == NULL)
        stop = end;
    if (stop > p && stop[-1] == '\r')
        stop--;
    if (number == 1 && stop - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3; /* the byte order mark is no column */
    return (struct rm_slice){p, (size_t)(stop - p)};
}

struct rm_slice conf_line_before(const struct conf_report *report, struct rm_slice line)
{
    const char *start = report->text, *stop, *p;

    if (line.p == NULL || line.p == start || line.p[-1] != '\n')
        return (struct rm_slice){NULL, 0};
    stop = line.p - 1;
    p = memrchr(start, '\n', (size_t)(stop - start));
    p = p != NULL ? p + 1 : start;
    if (stop > p && stop[-1] == '\r')
        stop--;
    return (struct rm_slice){p, (size_t)(stop - p)};
}

static bool report_is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* A line such as "password hunter2": its ':' was forgotten. Returns the bytes up to the value, or
 * SIZE_MAX. */
static size_t report_first_word(struct rm_slice line)
{
    size_t i = 0, start;

    while (i < line.n && strchr(" -\"'{[", line.p[i]) != NULL)
        i++;
    start = i;
    while (i < line.n && report_is_word(line.p[i]))
        i++;
    return conf_secret_like((struct rm_slice){line.p + start, i - start}) ? i : SIZE_MAX;
}

/* Bytes of the line that may be shown: up to and with the ':' or '=' after a secret-like key.
 * SIZE_MAX: there is no such key. */
static size_t report_shown_part(struct rm_slice line)
{
    for (size_t i = 0; i < line.n; i++) {
        size_t end = i, start;

        if (line.p[i] != ':' && line.p[i] != '=')
            continue;
        while (end > 0 &&
               (line.p[end - 1] == ' ' || line.p[end - 1] == '"' || line.p[end - 1] == '\''))
            end--;
        start = end;
        while (start > 0 && report_is_word(line.p[start - 1]))
            start--;
        if (conf_secret_like((struct rm_slice){line.p + start, end - start}))
            return i + 1;
    }
    return report_first_word(line);
}

size_t conf_line_indent(struct rm_slice line)
{
    size_t i = 0;

    while (i < line.n && line.p[i] == ' ')
        i++;
    return i;
}

/* True for lines such as "word:" or "- word: x": a key starts here, so no value goes on. */
static bool report_starts_key(struct rm_slice line)
{
    size_t i = conf_line_indent(line), start;

    while (i < line.n && (line.p[i] == '-' || line.p[i] == ' ' || line.p[i] == '"'))
        i++;
    start = i;
    while (i < line.n && report_is_word(line.p[i]))
        i++;
    return i > start && i < line.n && (line.p[i] == ':' || line.p[i] == '"');
}

/* Is this line inside the value of a secret-like key that an earlier line began? Told by
 * indentation, and by the last line that began a key; rather too often than too rarely. */
static bool report_inside_secret(const struct conf_report *report, struct rm_slice line)
{
    size_t level = conf_line_indent(line);
    bool key_seen = report_starts_key(line);
    const char *p = line.p, *floor = report->text;

    if ((size_t)(p - floor) > REPORT_BACK_MAX)
        floor = p - REPORT_BACK_MAX;
    while (p > floor && (level > 0 || !key_seen)) {
        const char *end = --p;
        struct rm_slice up;
        size_t indent;

        while (p > floor && p[-1] != '\n')
            p--;
        up = (struct rm_slice){p, (size_t)(end - p)};
        indent = conf_line_indent(up);
        if (indent == up.n || up.p[indent] == '#' || up.p[indent] == '\r')
            continue;
        if ((indent < level || !key_seen) && report_shown_part(up) != SIZE_MAX)
            return true;
        if (indent < level)
            level = indent;
        if (report_starts_key(up))
            key_seen = true;
    }
    return false;
}

/* Copies one character of the line, or a '?' for what a terminal might act on. Returns bytes eaten.
 */
static size_t report_put_char(struct rm_buf *out, struct rm_slice line, size_t i)
{
    size_t n = rm_utf8_len(line.p + i, line.n - i);
    unsigned char c = (unsigned char)line.p[i];

    if (n == 0 || c < 0x20 || c == 0x7f ||
        (n == 2 && c == 0xc2 && (unsigned char)line.p[i + 1] < 0xa0)) {
        rm_buf_puts(out, c == '\t' ? " " : "?");
        return n == 0 ? 1 : n;
    }
    rm_buf_put(out, line.p + i, n);
    return n;
}

/* Does "user:password@" of a URL begin at i, just after "://"? */
static bool report_userinfo(struct rm_slice line, size_t i)
{
    size_t end = i;

    if (i < 3 || memcmp(line.p + i - 3, "://", 3) != 0)
        return false;
    while (end < line.n && strchr("/ \t\"'", line.p[end]) == NULL && line.p[end] != '@')
        end++;
    return end < line.n && line.p[end] == '@';
}

/* The line as it may be shown, and where its caret goes. */
static void report_excerpt(const struct conf_report *report, struct conf_mistake *m)
{
    struct rm_slice line = conf_line(report, m->at.line);
    unsigned skip = m->at.col > REPORT_WINDOW - 10 ? m->at.col - REPORT_BEFORE : 0, shown = 0,
             ch = 0;
    size_t i = 0, limit;
    bool hidden;
    struct rm_buf out;

    if (line.p == NULL || m->at.col == 0)
        return;
    if (line.n / 4 > (size_t)m->at.col + REPORT_WINDOW) /* the rest cannot be shown anyhow */
        line.n = ((size_t)m->at.col + REPORT_WINDOW) * 4;
    limit = report_inside_secret(report, line) ? conf_line_indent(line) : report_shown_part(line);
    hidden = limit <= line.n;
    if (!hidden)
        limit = line.n;
    rm_buf_init(&out, REPORT_LINE_MAX);
    if (skip > 0)
        rm_buf_puts(&out, "...");
    m->caret = m->at.col - 1 - skip + (skip > 0 ? 3 : 0);
    while (i < limit && shown < REPORT_WINDOW) {
        if (report_userinfo(line, i)) {
            limit = i; /* leaving out only the middle would move the caret */
            hidden = true;
        } else if (ch++ < skip) {
            size_t n = rm_utf8_len(line.p + i, line.n - i);

            i += n == 0 ? 1 : n;
        } else {
            i += report_put_char(&out, line, i);
            shown++;
        }
    }
    if (hidden && i >= limit) {
        rm_buf_puts(&out, " ***");
        if (m->caret > shown + (skip > 0 ? 3 : 0))
            m->caret = shown + (skip > 0 ? 3 : 0) + 1;
    } else if (i < line.n) {
        rm_buf_puts(&out, "...");
    }
    m->source = rm_buf_take(&out);
}

/* --- adding and telling --------------------------------------------------------------------- */

void conf_report_add(struct conf_report *report, struct conf_at at, const char *hint,
                     const char *fmt, ...)
{
    struct conf_mistake m = {.at = at};
    va_list args;

    for (unsigned i = 0; i < report->n; i++)
        if (at.line == report->mistakes[i].at.line && at.col == report->mistakes[i].at.col &&
            at.line > 0)
            return;
    report->total++;
    if (report->n == CONF_MISTAKES_MAX)
        return;
    va_start(args, fmt);
    if (vasprintf(&m.what, fmt, args) < 0)
        m.what = NULL;
    va_end(args);
    if (hint != NULL)
        m.hint = rm_slice_dup(rm_slice_of(hint));
    if (m.what == NULL || (hint != NULL && m.hint == NULL)) {
        report->no_memory = true;
        free(m.what);
        free(m.hint);
        return;
    }
    report_excerpt(report, &m);
    report->mistakes[report->n++] = m;
}

static int report_by_place(const void *left, const void *right)
{
    const struct conf_mistake *a = left, *b = right;

    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    return a->at.col < b->at.col ? -1 : a->at.col > b->at.col;
}

void conf_report_end(struct conf_report *report)
{
    qsort(report->mistakes, report->n, sizeof report->mistakes[0], report_by_place);
    report->text = NULL;
    report->n_text = 0;
}

static const char *report_name(const struct conf_report *report)
{
    return report->name != NULL ? report->name : "?";
}

int conf_report_line(const struct conf_report *report, unsigned i, struct rm_buf *out)
{
    const struct conf_mistake *m = &report->mistakes[i];
    int r = rm_buf_puts(out, report_name(report));

    if (r == 0 && m->at.line > 0)
        r = rm_buf_printf(out, ":%u:%u", m->at.line, m->at.col);
    if (r == 0)
        r = rm_buf_printf(out, ": error: %s%s%s", m->what, m->hint != NULL ? "; " : "",
                          m->hint != NULL ? m->hint : "");
    return r;
}

int conf_report_text(const struct conf_report *report, struct rm_buf *out)
{
    int r = 0;

    for (unsigned i = 0; i < report->n && r == 0; i++) {
        const struct conf_mistake *m = &report->mistakes[i];

        r = conf_report_line(report, i, out);
        if (r == 0)
            r = rm_buf_puts(out, "\n");
        if (r == 0 && m->source != NULL)
            r = rm_buf_printf(out, "%s\n%*s^\n", m->source, (int)m->caret, "");
    }
    if (r == 0 && report->total > report->n)
        r = rm_buf_printf(out, "%s: %u more mistakes\n", report_name(report),
                          report->total - report->n);
    return r;
}

void conf_report_write(const struct conf_report *report, struct rm_jw *w)
{
    rm_jw_arr(w, "mistakes");
    for (unsigned i = 0; i < report->n; i++) {
        const struct conf_mistake *m = &report->mistakes[i];

        rm_jw_obj(w, NULL);
        rm_jw_u64(w, "line", m->at.line);
        rm_jw_u64(w, "column", m->at.col);
        rm_jw_str(w, "what", m->what);
        rm_jw_str(w, "hint", m->hint);
        rm_jw_end(w);
    }
    rm_jw_end(w);
    rm_jw_u64(w, "more", report->total - report->n);
}

int conf_report_json(const struct conf_report *report, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "file", report->name);
    rm_jw_bool(&w, "ok", report->total == 0);
    conf_report_write(report, &w);
    rm_jw_end(&w);
    return rm_jw_done(&w) < 0 ? rm_jw_done(&w) : rm_buf_puts(out, "\n");
}
