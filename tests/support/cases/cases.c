/* SPDX-License-Identifier: MIT */
/* tests/support/cases/cases.c - see cases.h. Text is expanded in three passes: macros, then one
 * choice per group of alternatives, then bytes and steps. */
#include "tests/support/cases/cases.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASE_GROUPS = 8 };

static const struct case_macro request_macros[] = {
    {'P', "POST /v1/chat/completions HTTP/1.1¶Host: gw¶Authorization: Bearer K¶"},
    {'G', "GET /v1/models HTTP/1.1¶Host: gw¶Authorization: Bearer K¶"},
    {'S', "GET /smuggled HTTP/1.1¶Host: gw¶¶"},
    {'J', "{\"model\":\"ask\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
          "\"hello\"}]}"},
    {0, NULL},
};
static const struct case_macro response_macros[] = {
    {'R', "HTTP/1.1 200 OK¶Content-Type: application/json¶"},
    {'X', "HTTP/1.1 200 EVIL¶Content-Length: 4¶¶evil"},
    {'E', "HTTP/1.1 200 OK¶Content-Type: text/event-stream¶Transfer-Encoding: chunked¶¶"},
    {0, NULL},
};
const struct case_notation case_requests = {request_macros, CASE_BODY_JSON};
const struct case_notation case_responses = {response_macros, CASE_BODY_CHUNKED};

static void die(const char *what, const char *where)
{
    fprintf(stderr, "cases: %s: %.60s\n", what, where);
    abort();
}

static void *must(void *p)
{
    if (p == NULL)
        die("no memory", "");
    return p;
}

struct text {
    char *p;
    size_t n, cap;
};

static void text_put(struct text *t, const char *p, size_t n)
{
    if (t->n + n + 1 > t->cap) {
        t->cap = (t->n + n + 1) * 2;
        t->p = must(realloc(t->p, t->cap));
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

/* True when s begins with the sign; signs are UTF-8 texts. */
static bool begins(const char *s, const char *sign)
{
    return strncmp(s, sign, strlen(sign)) == 0;
}

/* ---- the file ---- */

static char *trimmed(const char *p, size_t n)
{
    for (; n > 0 && *p == ' '; n--)
        p++;
    while (n > 0 && p[n - 1] == ' ')
        n--;
    return must(strndup(p, n));
}

static void row_read(struct case_row *row, char *line)
{
    const char *p = line, *end;
    int i = 0;

    line[strcspn(line, "\n")] = '\0';
    for (; i < CASE_COLUMNS - 1 && (end = strstr(p, " | ")) != NULL; p = end + 3)
        row->column[i++] = trimmed(p, (size_t)(end - p));
    row->column[i++] = trimmed(p, strlen(p));
    while (i < CASE_COLUMNS)
        row->column[i++] = must(strdup(""));
}

struct case_file case_file_load(const char *path)
{
    struct case_file f = {NULL, 0};
    FILE *in = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    int number = 0;

    if (in == NULL)
        die("cannot read", path);
    while (getline(&line, &cap, in) > 0) {
        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        f.rows = must(realloc(f.rows, (f.n + 1) * sizeof(*f.rows)));
        f.rows[f.n].line = number;
        row_read(&f.rows[f.n++], line);
    }
    free(line);
    fclose(in);
    return f;
}

void case_file_free(struct case_file *f)
{
    for (size_t i = 0; i < f->n; i++)
        for (int k = 0; k < CASE_COLUMNS; k++)
            free(f->rows[i].column[k]);
    free(f->rows);
    *f = (struct case_file){NULL, 0};
}

/* ---- macros and alternatives ---- */

static char *with_macros(const char *s, const struct case_macro *macros)
{
    struct text out = {NULL, 0, 0};

    text_put(&out, "", 0);
    while (*s != '\0') {
        const struct case_macro *m = macros;

        while (*s == '$' && m->name != 0 && m->name != s[1])
            m++;
        if (*s == '$' && m->name != 0) {
            text_put(&out, m->text, strlen(m->text));
            s += 2;
        } else {
            text_put(&out, s++, 1);
        }
    }
    return out.p;
}

/* How many alternatives each group has; returns the number of groups. */
static size_t count_groups(const char *s, size_t *sizes)
{
    size_t n = 0;
    bool inside = false;

    for (; *s != '\0'; s++) {
        if (begins(s, "«")) {
            if (inside || n == CASE_GROUPS)
                die("groups nest or are too many", s);
            inside = true;
            sizes[n++] = 1;
        } else if (inside && begins(s, "¦")) {
            sizes[n - 1]++;
        } else if (begins(s, "»")) {
            inside = false;
        }
    }
    if (inside)
        die("a group is never closed", "");
    return n;
}

static char *with_choices(const char *s, const size_t *choice)
{
    struct text out = {NULL, 0, 0};
    size_t group = 0, alternative = 0;
    bool inside = false;

    text_put(&out, "", 0);
    while (*s != '\0') {
        if (begins(s, "«")) {
            inside = true;
            alternative = 0;
            s += strlen("«");
        } else if (inside && begins(s, "¦")) {
            alternative++;
            s += strlen("¦");
        } else if (begins(s, "»")) {
            inside = false;
            group++;
            s += strlen("»");
        } else {
            if (!inside || alternative == choice[group])
                text_put(&out, s, 1);
            s++;
        }
    }
    return out.p;
}

/* ---- bytes and steps ---- */

struct emit {
    const struct case_notation *notation;
    struct text bytes; /* of the step being gathered */
    struct case_step *steps;
    size_t n_steps;
};

static void emit_text(struct emit *e, const char *s, const char *end);

static void emit_step(struct emit *e, enum case_step_kind kind, unsigned ms)
{
    struct case_step *step;

    if (kind == CASE_SEND && e->bytes.n == 0)
        return;
    e->steps = must(realloc(e->steps, (e->n_steps + 1) * sizeof(*e->steps)));
    step = &e->steps[e->n_steps++];
    *step = (struct case_step){.kind = kind, .ms = ms};
    if (kind == CASE_SEND) {
        step->bytes = e->bytes.p;
        step->n = e->bytes.n;
        e->bytes = (struct text){NULL, 0, 0};
    }
}

/* `⟦n*x⟧` at s; returns the place after it. */
static const char *emit_repeat(struct emit *e, const char *s, const char *end)
{
    struct emit once = {.notation = e->notation};
    char *star;
    unsigned long n = strtoul(s + strlen("⟦"), &star, 10);
    const char *close = star + 1;
    int depth = 1;

    for (; close < end; close++) {
        depth += begins(close, "⟦") - begins(close, "⟧");
        if (depth == 0)
            break;
    }
    if (*star != '*' || close >= end)
        die("damaged repeat", s);
    emit_text(&once, star + 1, close);
    for (; n > 0; n--)
        text_put(&e->bytes, once.bytes.p != NULL ? once.bytes.p : "", once.bytes.n);
    free(once.bytes.p);
    return close + strlen("⟧");
}

/* `{{x}}` at s; returns the place after it. */
static const char *emit_body(struct emit *e, const char *s, const char *end)
{
    struct emit body = {.notation = e->notation};
    const char *close = end - 2;
    char text[128];

    while (close > s + 2 && !begins(close, "}}"))
        close--;
    if (!begins(close, "}}"))
        die("a body is never closed", s);
    emit_text(&body, s + 2, close);
    if (e->notation->body == CASE_BODY_JSON)
        snprintf(text, sizeof(text),
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.bytes.n);
    else
        snprintf(text, sizeof(text), "%zx\r\n", body.bytes.n);
    text_put(&e->bytes, text, strlen(text));
    text_put(&e->bytes, body.bytes.p != NULL ? body.bytes.p : "", body.bytes.n);
    if (e->notation->body == CASE_BODY_CHUNKED)
        text_put(&e->bytes, "\r\n0\r\n\r\n", 7);
    free(body.bytes.p);
    return close + 2;
}

static const char *emit_escape(struct emit *e, const char *s)
{
    static const char from[] = "nrt\\", to[] = "\n\r\t\\";
    const char *known = strchr(from, s[1]);
    char hex[3] = {0}, c;

    if (s[1] == 'x') {
        memcpy(hex, s + 2, 2);
        c = (char)strtoul(hex, NULL, 16);
        text_put(&e->bytes, &c, 1);
        return s + 4;
    }
    if (s[1] == '\0' || known == NULL)
        die("unknown escape", s);
    text_put(&e->bytes, &to[known - from], 1);
    return s + 2;
}

static void emit_text(struct emit *e, const char *s, const char *end)
{
    while (s < end) {
        if (begins(s, "¶")) {
            text_put(&e->bytes, "\r\n", 2);
            s += strlen("¶");
        } else if (begins(s, "⟦")) {
            s = emit_repeat(e, s, end);
        } else if (begins(s, "{{")) {
            s = emit_body(e, s, end);
        } else if (*s == '\\') {
            s = emit_escape(e, s);
        } else if (begins(s, "⏸")) {
            char *after;
            unsigned long ms = strtoul(s + strlen("⏸"), &after, 10);

            emit_step(e, CASE_SEND, 0);
            emit_step(e, CASE_PAUSE, (unsigned)ms);
            s = after;
        } else if (begins(s, "⏹") || begins(s, "✂")) {
            emit_step(e, CASE_SEND, 0);
            emit_step(e, begins(s, "⏹") ? CASE_HALF_CLOSE : CASE_RESET, 0);
            s += strlen("✂"); /* both signs are three bytes */
        } else {
            text_put(&e->bytes, s++, 1);
        }
    }
}

static void expand_one(const char *text, const struct case_notation *notation,
                       struct case_variant *v, void (*each)(void *, const struct case_variant *),
                       void *arg)
{
    struct emit e = {.notation = notation};
    char *plain = with_choices(text, v->choice);

    emit_text(&e, plain, plain + strlen(plain));
    emit_step(&e, CASE_SEND, 0);
    v->steps = e.steps;
    v->n_steps = e.n_steps;
    each(arg, v);
    for (size_t i = 0; i < e.n_steps; i++)
        free(e.steps[i].bytes);
    free(e.steps);
    free(e.bytes.p);
    free(plain);
}

size_t case_expand(const char *payload, const struct case_notation *notation,
                   void (*each)(void *arg, const struct case_variant *v), void *arg)
{
    size_t sizes[CASE_GROUPS], choice[CASE_GROUPS] = {0}, g = 0;
    char *text = with_macros(payload, notation->macros);
    char *again = with_macros(text, notation->macros);
    struct case_variant v = {.choice = choice};

    v.n_choices = count_groups(again, sizes);
    do {
        expand_one(again, notation, &v, each, arg);
        v.index++;
        for (g = 0; g < v.n_choices && ++choice[g] == sizes[g]; g++)
            choice[g] = 0;
    } while (g < v.n_choices);
    free(text);
    free(again);
    return v.index;
}

char *case_bytes(const struct case_variant *v, size_t *n)
{
    struct text all = {NULL, 0, 0};

    text_put(&all, "", 0);
    for (size_t i = 0; i < v->n_steps; i++)
        if (v->steps[i].kind == CASE_SEND)
            text_put(&all, v->steps[i].bytes, v->steps[i].n);
    *n = all.n;
    return all.p;
}
