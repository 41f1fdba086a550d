/* SPDX-License-Identifier: MIT */
#include "cli/top/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

/* ---- lines ---- */

void top_lines_add(struct top_lines *l, const char *fmt, ...)
{
    char(*more)[TOP_LINE_MAX];
    va_list args;

    if (l->n == TOP_LINES_MAX || (more = realloc(l->v, (l->n + 1) * sizeof *more)) == NULL)
        return;
    l->v = more;
    va_start(args, fmt);
    vsnprintf(l->v[l->n++], TOP_LINE_MAX, fmt, args);
    va_end(args);
}

void top_lines_clear(struct top_lines *l)
{
    free(l->v);
    *l = (struct top_lines){NULL, 0};
}

/* ---- tables ---- */

static struct top_table *table_now(struct top_model *m)
{
    return &m->table[m->focus];
}

/* The selection's place after the rows have changed: its row, or where it was. */
static void table_find(struct top_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].key, t->chosen) == 0) {
            t->at = i;
            return;
        }
    if (t->n == 0) {
        t->at = 0;
        return; /* it may come back: a filter, a lost line */
    }
    t->at = t->at < t->n ? t->at : t->n - 1;
    rm_text_copy(t->chosen, sizeof t->chosen, t->rows[t->at].key);
}

static void table_scroll(struct top_table *t)
{
    if (t->at < t->first)
        t->first = t->at;
    if (t->seen > 0 && t->at >= t->first + t->seen)
        t->first = t->at - t->seen + 1;
    if (t->first + t->seen > t->n)
        t->first = t->n > t->seen ? t->n - t->seen : 0;
}

static void table_make(struct top_model *m, enum top_pane pane)
{
    struct top_table *t = &m->table[pane];

    free(t->rows);
    t->n_all = top_rows_make(m->snapshot, pane, m->rates, m->with_over, &t->rows);
    t->n = top_rows_filter(t->rows, t->n_all, pane, m->filter);
    top_rows_sort(t->rows, t->n, pane, t->column, t->falling);
    table_find(t);
    table_scroll(t);
}

static void tables_make(struct top_model *m)
{
    for (int i = 0; i < TOP_PANES; i++)
        table_make(m, (enum top_pane)i);
}

static void table_choose(struct top_table *t, size_t at)
{
    if (t->n == 0)
        return;
    t->at = at < t->n ? at : t->n - 1;
    rm_text_copy(t->chosen, sizeof t->chosen, t->rows[t->at].key);
    table_scroll(t);
}

void top_model_fit(struct top_model *m, enum top_pane pane, size_t rows)
{
    m->table[pane].seen = rows;
    table_scroll(&m->table[pane]);
}

void top_model_fit_lines(struct top_model *m, size_t lines)
{
    m->line_seen = lines;
    if (m->line_first + lines > m->lines.n)
        m->line_first = m->lines.n > lines ? m->lines.n - lines : 0;
}

/* ---- what comes ---- */

int top_model_init(struct top_model *m, const char *gateway)
{
    *m = (struct top_model){.rates = top_rates_new()};
    rm_text_copy(m->gateway, sizeof m->gateway, gateway);
    m->table[TOP_REQUESTS].column = 4; /* age, the oldest first */
    m->table[TOP_REQUESTS].falling = true;
    return m->rates != NULL ? 0 : UV_ENOMEM;
}

void top_model_clear(struct top_model *m)
{
    for (int i = 0; i < TOP_PANES; i++)
        free(m->table[i].rows);
    top_lines_clear(&m->lines);
    top_rates_free(m->rates);
    json_decref(m->snapshot);
    json_decref(m->why);
    memset(m, 0, sizeof *m);
}

int top_model_snapshot(struct top_model *m, struct rm_slice json, uint64_t now_ms)
{
    json_t *root = json_loadb(json.p != NULL ? json.p : "", json.n, 0, NULL), *old = m->snapshot;

    if (!json_is_object(root) || !json_is_object(json_object_get(root, "status"))) {
        json_decref(root);
        return RM_ERR_JSON;
    }
    m->connected = true;
    m->trouble[0] = '\0';
    top_rates_look(m->rates, json_object_get(json_object_get(root, "requests"), "requests"));
    if (m->held) {
        json_decref(root);
        return 0;
    }
    m->snapshot_ms = now_ms;
    m->snapshot = root;
    tables_make(m);
    json_decref(old); /* rows pointed into it until now */
    if (m->view == TOP_DETAIL)
        top_detail_make(m);
    return 0;
}

void top_model_event(struct top_model *m, struct rm_slice json)
{
    json_t *e = json_loadb(json.p != NULL ? json.p : "", json.n, 0, NULL);
    const char *at = top_str(e, "at"), *severity = top_str(e, "severity");

    if (json_is_object(e)) {
        m->event_tone = strcmp(severity, "error") == 0     ? TONE_BAD
                        : strcmp(severity, "warning") == 0 ? TONE_WARN
                                                           : TONE_DIM;
        snprintf(m->event, sizeof m->event, "%.8s %.180s", strlen(at) > 19 ? at + 11 : "",
                 top_str(e, "text"));
    }
    json_decref(e);
}

void top_model_lost(struct top_model *m, const char *why)
{
    m->connected = false;
    rm_text_copy(m->trouble, sizeof m->trouble, why);
}

void top_model_why(struct top_model *m, const char *id, json_t *why, const char *trouble)
{
    if (m->view != TOP_DETAIL || m->target_pane != TOP_REQUESTS || strcmp(m->target, id) != 0) {
        json_decref(why);
        return;
    }
    json_decref(m->why);
    m->why = why;
    if (why == NULL)
        top_model_note(m, "%s", trouble);
    top_detail_make(m);
}

void top_model_note(struct top_model *m, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(m->note, sizeof m->note, fmt, args);
    va_end(args);
}

/* ---- keys ---- */

static void key_sort(struct top_model *m, int step)
{
    struct top_table *t = table_now(m);
    size_t n;
    const struct top_column *c = top_columns(m->focus, &n);

    t->column = (t->column + n + (size_t)(step + (int)n)) % n;
    t->falling = c[t->column].falling;
    table_make(m, m->focus);
}

static enum top_wish open_detail(struct top_model *m)
{
    struct top_table *t = table_now(m);

    if (t->n == 0)
        return TOP_NOTHING;
    rm_text_copy(m->target, sizeof m->target, t->chosen);
    m->target_pane = m->focus;
    m->view = TOP_DETAIL;
    m->line_first = 0;
    json_decref(m->why);
    m->why = NULL;
    top_detail_make(m);
    return m->focus == TOP_REQUESTS ? TOP_ASK_WHY : TOP_NOTHING;
}

/* The request that is looked at, or selected. */
static void ask_cancel(struct top_model *m)
{
    const struct top_table *t = &m->table[TOP_REQUESTS];
    bool close = m->view == TOP_DETAIL && m->target_pane == TOP_REQUESTS;

    if (!close && (m->view != TOP_LIST || m->focus != TOP_REQUESTS || t->n == 0)) {
        top_model_note(m, "choose a request first (Tab goes to the requests)");
        return;
    }
    if (!close) {
        rm_text_copy(m->target, sizeof m->target, t->chosen);
        m->target_pane = TOP_REQUESTS;
    }
    m->asks_cancel = true;
}

static void move(struct top_model *m, int key)
{
    struct top_table *t = table_now(m);
    size_t page = t->seen > 1 ? t->seen - 1 : 1;

    switch (key) {
    case TOP_KEY_UP:
        table_choose(t, t->at > 0 ? t->at - 1 : 0);
        break;
    case TOP_KEY_DOWN:
        table_choose(t, t->at + 1);
        break;
    case TOP_KEY_PAGE_UP:
        table_choose(t, t->at > page ? t->at - page : 0);
        break;
    case TOP_KEY_PAGE_DOWN:
        table_choose(t, t->at + page);
        break;
    case TOP_KEY_HOME:
        table_choose(t, 0);
        break;
    case TOP_KEY_END:
        table_choose(t, t->n);
        break;
    default:
        break;
    }
}

static void scroll(struct top_model *m, int key)
{
    size_t page = m->line_seen > 1 ? m->line_seen - 1 : 1, at = m->line_first;

    switch (key) {
    case TOP_KEY_UP:
        at = at > 0 ? at - 1 : 0;
        break;
    case TOP_KEY_DOWN:
        at++;
        break;
    case TOP_KEY_PAGE_UP:
        at = at > page ? at - page : 0;
        break;
    case TOP_KEY_PAGE_DOWN:
        at += page;
        break;
    case TOP_KEY_HOME:
        at = 0;
        break;
    case TOP_KEY_END:
        at = m->lines.n;
        break;
    default:
        break;
    }
    m->line_first = at;
    top_model_fit_lines(m, m->line_seen);
}

/* Letters that mean the same as a key of their own. */
static int plain(int key)
{
    switch (key) {
    case 'k':
        return TOP_KEY_UP;
    case 'j':
        return TOP_KEY_DOWN;
    case 'g':
        return TOP_KEY_HOME;
    case 'G':
        return TOP_KEY_END;
    case '\r':
        return TOP_KEY_ENTER;
    case 0x7f:
    case 0x08:
        return TOP_KEY_ERASE;
    default:
        return key;
    }
}

static void focus(struct top_model *m, int pane)
{
    m->focus = (enum top_pane)((pane + TOP_PANES) % TOP_PANES);
}

static enum top_wish key_list(struct top_model *m, int key)
{
    switch (key) {
    case TOP_KEY_TAB:
        focus(m, (int)m->focus + 1);
        break;
    case TOP_KEY_BACK_TAB:
        focus(m, (int)m->focus - 1);
        break;
    case '1':
    case '2':
    case '3':
        focus(m, key - '1');
        break;
    case 's':
    case '>':
    case TOP_KEY_RIGHT:
        key_sort(m, 1);
        break;
    case 'S':
    case '<':
    case TOP_KEY_LEFT:
        key_sort(m, -1);
        break;
    case 'r':
        table_now(m)->falling = !table_now(m)->falling;
        table_make(m, m->focus);
        break;
    case '/':
        m->typing = true;
        break;
    case 'a':
        m->with_over = !m->with_over;
        table_make(m, TOP_REQUESTS);
        break;
    case 'p':
    case ' ':
        m->held = !m->held;
        break;
    case TOP_KEY_ESCAPE:
        m->filter[0] = '\0';
        tables_make(m);
        break;
    case TOP_KEY_ENTER:
    case 'w':
        return open_detail(m);
    default:
        move(m, key);
        break;
    }
    return TOP_NOTHING;
}

static enum top_wish key_detail(struct top_model *m, int key)
{
    if (key == TOP_KEY_ESCAPE || key == TOP_KEY_ERASE || key == TOP_KEY_ENTER ||
        key == TOP_KEY_LEFT) {
        m->view = TOP_LIST;
        return TOP_NOTHING;
    }
    if (key == 'w' && m->target_pane == TOP_REQUESTS)
        return TOP_ASK_WHY;
    scroll(m, key);
    return TOP_NOTHING;
}

static void key_typing(struct top_model *m, int key)
{
    size_t n = strlen(m->filter);

    if (key == TOP_KEY_ENTER || key == TOP_KEY_ESCAPE) {
        m->typing = false;
        if (key == TOP_KEY_ESCAPE)
            m->filter[0] = '\0';
    } else if (key == TOP_KEY_ERASE) {
        if (n > 0)
            m->filter[n - 1] = '\0';
    } else if (key >= ' ' && key < 0x7f && n + 1 < sizeof m->filter) {
        m->filter[n] = (char)key;
        m->filter[n + 1] = '\0';
    }
    tables_make(m);
}

static enum top_wish key_cancel(struct top_model *m, int key)
{
    m->asks_cancel = false;
    if (key == 'y' || key == 'Y')
        return TOP_CANCEL;
    top_model_note(m, "not cancelled");
    return TOP_NOTHING;
}

enum top_wish top_model_key(struct top_model *m, int key)
{
    if (!m->typing || key < ' ' || key == 0x7f) /* letters are letters while one types */
        key = plain(key);
    m->note[0] = '\0';
    if (m->asks_cancel)
        return key_cancel(m, key);
    if (m->typing) {
        key_typing(m, key);
        return TOP_NOTHING;
    }
    if (key == 'q')
        return TOP_QUIT;
    if (key == '?' || key == 'h') {
        m->view = m->view == TOP_HELP ? TOP_LIST : TOP_HELP;
        return TOP_NOTHING;
    }
    if (m->view == TOP_HELP) {
        m->view = TOP_LIST;
        return TOP_NOTHING;
    }
    if (key == 'c') {
        ask_cancel(m);
        return TOP_NOTHING;
    }
    return m->view == TOP_DETAIL ? key_detail(m, key) : key_list(m, key);
}
