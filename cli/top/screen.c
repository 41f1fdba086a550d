/* SPDX-License-Identifier: MIT */
#include "cli/top/screen.h"

#include <stdio.h>

#include "cli/text.h"

enum { PIECE_COLUMNS = 512, PIECE_MAX = PIECE_COLUMNS * TEXT_WIDE_MAX + 1 };

/* ---- pieces ---- */

/* A text at a place, cut to width; blanks follow up to width when the tone is to reach so far.
 * Returns the columns that it took. */
static unsigned put(const struct top_canvas *c, unsigned y, unsigned x, unsigned width,
                    enum top_tone tone, bool fill, const char *text)
{
    char piece[PIECE_MAX];
    unsigned used;

    if (y >= c->height || x >= c->width)
        return 0;
    width = width < c->width - x ? width : c->width - x;
    width = width < PIECE_COLUMNS ? width : PIECE_COLUMNS;
    used = text_fit(text, width, piece, sizeof piece);
    if (fill) {
        size_t n = strlen(piece);

        while (used < width && n + 2 <= sizeof piece) {
            piece[n++] = ' ';
            used++;
        }
        piece[n] = '\0';
    }
    if (piece[0] != '\0')
        c->put(c->arg, y, x, tone, piece);
    return used;
}

static void put_right(const struct top_canvas *c, unsigned y, unsigned x, unsigned width,
                      enum top_tone tone, const char *text)
{
    unsigned used = text_width(text);

    put(c, y, used < width ? x + width - used : x, used < width ? used : width, tone, false, text);
}

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

/* A text whose end counts: "~9f754". What is more than ASCII is cut as others are. */
static void put_tail(const struct top_canvas *c, unsigned y, unsigned x, unsigned width,
                     enum top_tone tone, const char *text)
{
    size_t n = strlen(text);
    char tail[TOP_CELL_MAX + 1];

    if (n <= width || width < 2 || !is_plain(text)) {
        put(c, y, x, width, tone, false, text);
        return;
    }
    snprintf(tail, sizeof tail, "~%s", text + n - (width - 1));
    put(c, y, x, width, tone, false, tail);
}

/* ---- columns ---- */

void top_screen_share(enum top_pane pane, unsigned width, unsigned out[TOP_COLUMNS_MAX])
{
    size_t n;
    const struct top_column *c = top_columns(pane, &n);
    unsigned sum = 0, rank = 0;

    for (size_t i = 0; i < n; i++) {
        out[i] = c[i].width;
        sum += c[i].width + (i > 0);
        rank = c[i].rank > rank ? c[i].rank : rank;
    }
    for (; sum > width && rank > 0; rank--)
        for (size_t i = n; i > 0 && sum > width; i--)
            if (c[i - 1].rank == rank) {
                sum -= out[i - 1] + 1;
                out[i - 1] = 0;
            }
    if (sum > width)
        out[0] = width;
    for (bool grew = true; grew && sum < width;) {
        grew = false;
        for (size_t i = 0; i < n && sum < width; i++)
            if (out[i] > 0 && out[i] < c[i].most) {
                out[i]++;
                sum++;
                grew = true;
            }
    }
}

static void draw_head(const struct top_model *m, const struct top_canvas *c, enum top_pane pane,
                      unsigned y, const unsigned width[TOP_COLUMNS_MAX])
{
    const struct top_table *t = &m->table[pane];
    bool in_focus = m->focus == pane;
    size_t n;
    const struct top_column *column = top_columns(pane, &n);
    unsigned x = 0;

    put(c, y, 0, c->width, in_focus ? TONE_HEAD : TONE_DIM, true, "");
    for (size_t i = 0; i < n; i++) {
        enum top_tone tone = !in_focus ? TONE_DIM : i == t->column ? TONE_HEAD_SORT : TONE_HEAD;
        char title[32];

        if (width[i] == 0)
            continue;
        snprintf(title, sizeof title, "%s%s", column[i].title,
                 i != t->column || width[i] <= strlen(column[i].title) ? ""
                 : t->falling                                          ? "v"
                                                                       : "^");
        if (column[i].right)
            put_right(c, y, x, width[i], tone, title);
        else
            put(c, y, x, width[i], tone, false, title);
        x += width[i] + 1;
    }
}

/* [####::::   ..] in so many columns. */
static void draw_bar(const struct top_canvas *c, unsigned y, unsigned x, unsigned width,
                     const struct top_bar *bar)
{
    char text[PIECE_COLUMNS + 1];
    unsigned inside, hosts, others, reserve;

    if (width < 4)
        return;
    width = width < PIECE_COLUMNS ? width : PIECE_COLUMNS;
    inside = width - 2;
    hosts = (unsigned)(bar->hosts * inside + 0.5);
    others = (unsigned)((bar->hosts + bar->others) * inside + 0.5) - hosts;
    reserve = (unsigned)(bar->reserve * inside + 0.5);
    reserve = reserve < inside - hosts - others ? reserve : inside - hosts - others;
    memset(text, ' ', inside);
    memset(text + inside - reserve, '.', reserve);
    text[inside] = '\0';
    put(c, y, x, 1, TONE_DIM, false, "[");
    put(c, y, x + 1 + hosts + others, inside - hosts - others, TONE_DIM, false,
        text + hosts + others);
    memset(text, '#', hosts);
    text[hosts] = '\0';
    put(c, y, x + 1, hosts, TONE_BAR_HOSTS, false, text);
    memset(text, ':', others);
    text[others] = '\0';
    put(c, y, x + 1 + hosts, others, TONE_BAR_OTHERS, false, text);
    put(c, y, x + 1 + inside, 1, TONE_DIM, false, "]");
}

static void draw_row(const struct top_canvas *c, enum top_pane pane, unsigned y,
                     const struct top_row *row, bool chosen, const unsigned width[TOP_COLUMNS_MAX])
{
    size_t n;
    const struct top_column *column = top_columns(pane, &n);
    unsigned x = 0;

    if (chosen)
        put(c, y, 0, c->width, TONE_CHOSEN, true, "");
    for (size_t i = 0; i < n; i++) {
        const struct top_cell *cell = &row->cell[i];
        enum top_tone tone = chosen ? TONE_CHOSEN : cell->known ? cell->tone : TONE_DIM;

        if (width[i] == 0)
            continue;
        if (column[i].is_bar && cell->known)
            draw_bar(c, y, x, width[i], &row->bar);
        else if (column[i].right)
            put_right(c, y, x, width[i], tone, cell->known ? cell->text : "-");
        else if (column[i].tail && cell->known)
            put_tail(c, y, x, width[i], tone, cell->text);
        else
            put(c, y, x, width[i], tone, false, cell->known ? cell->text : "-");
        x += width[i] + 1;
    }
}

/* ---- the panes ---- */

static const char *nothing_to_see(const struct top_model *m, enum top_pane pane)
{
    if (m->table[pane].n_all > 0)
        return "  (the filter leaves nothing)";
    return pane == TOP_REQUESTS ? "  (no request in flight; a shows those that are over)"
                                : "  (none)";
}

static void draw_pane(struct top_model *m, const struct top_canvas *c, enum top_pane pane,
                      unsigned y, unsigned height)
{
    const struct top_table *t = &m->table[pane];
    unsigned width[TOP_COLUMNS_MAX];

    if (height == 0)
        return;
    top_model_fit(m, pane, height - 1);
    top_screen_share(pane, c->width, width);
    draw_head(m, c, pane, y, width);
    if (t->n == 0 && height > 1)
        put(c, y + 1, 0, c->width, TONE_DIM, false, nothing_to_see(m, pane));
    for (unsigned i = 0; i + 1 < height && t->first + i < t->n; i++)
        draw_row(c, pane, y + 1 + i, &t->rows[t->first + i],
                 m->focus == pane && t->first + i == t->at, width);
}

/* Every pane gets what it needs when there is room; else they share, and the one in focus takes
 * what is over. One line of each is its head. */
static void share_height(const struct top_model *m, unsigned height, unsigned out[TOP_PANES])
{
    unsigned left = height;
    bool grew = true;

    for (int i = 0; i < TOP_PANES; i++)
        out[i] = 0;
    if (height < 2 * TOP_PANES) { /* room for one */
        out[m->focus] = height;
        return;
    }
    for (int i = 0; i < TOP_PANES; i++) {
        out[i] = 2;
        left -= 2;
    }
    while (left > 0 && grew) {
        grew = false;
        for (int i = 0; i < TOP_PANES && left > 0; i++)
            if (out[i] < m->table[i].n + 1) {
                out[i]++;
                left--;
                grew = true;
            }
    }
    out[TOP_REQUESTS] += left;
}

/* ---- the lines around ---- */

static double sum_of(const struct top_model *m, enum top_pane pane, const char *field, bool *known)
{
    const char *list = top_pane_name(pane);
    const json_t *item, *items = json_object_get(json_object_get(m->snapshot, list), list);
    double sum = 0, v;
    size_t i;

    *known = false;
    json_array_foreach(items, i, item)
    {
        if (top_num(item, field, &v)) {
            sum += v;
            *known = true;
        }
    }
    return sum;
}

static void draw_title(const struct top_model *m, const struct top_canvas *c, uint64_t now_ms)
{
    const json_t *status = json_object_get(m->snapshot, "status");
    char text[400], up[TOP_FIGURE], in[TOP_FIGURE], out[TOP_FIGURE], age[TOP_FIGURE];
    bool knows_in, knows_out;
    double sum_in = sum_of(m, TOP_NODES, "tokens_in_per_s", &knows_in);
    double sum_out = sum_of(m, TOP_NODES, "tokens_out_per_s", &knows_out);
    double old = now_ms > m->snapshot_ms ? (double)(now_ms - m->snapshot_ms) : 0;

    snprintf(text, sizeof text, "rolemesh top  %s  up %s  %.0f in flight  tok/s in %s out %s  %s",
             strncmp(m->gateway, "http://", 7) == 0 ? m->gateway + 7 : m->gateway,
             top_time(top_num0(status, "uptime_ms"), up), top_num0(status, "requests"),
             knows_in ? top_rate(sum_in, in) : "-", knows_out ? top_rate(sum_out, out) : "-",
             top_str(status, "version"));
    put(c, 0, 0, c->width, TONE_TITLE, true, text);
    if (m->held)
        put_right(c, 0, 0, c->width, TONE_WARN, "held: p goes on");
    else if (!m->connected && m->snapshot != NULL) {
        snprintf(text, sizeof text, "%s old", top_time(old, age));
        put_right(c, 0, 0, c->width, TONE_BAD, text);
    }
}

/* What is most important now: the line to the gateway, an alarm, the last event. */
static void draw_news(const struct top_model *m, const struct top_canvas *c)
{
    const json_t *alarms = json_object_get(json_object_get(m->snapshot, "status"), "alarms");
    const json_t *alarm, *worst = json_array_get(alarms, 0);
    char text[900];
    size_t i;

    json_array_foreach(alarms, i, alarm)
    {
        if (strcmp(top_str(alarm, "severity"), "error") == 0) {
            worst = alarm;
            break;
        }
    }
    if (!m->connected) {
        snprintf(text, sizeof text, "%s; trying again",
                 m->trouble[0] != '\0' ? m->trouble : "connecting");
        put(c, 1, 0, c->width, TONE_BAD, false, text);
    } else if (worst != NULL) {
        snprintf(text, sizeof text, "%zu alarm%s: %.300s%s%.300s", json_array_size(alarms),
                 json_array_size(alarms) > 1 ? "s" : "", top_str(worst, "text"),
                 top_str(worst, "next")[0] != '\0' ? "; " : "", top_str(worst, "next"));
        put(c, 1, 0, c->width,
            strcmp(top_str(worst, "severity"), "error") == 0 ? TONE_BAD : TONE_WARN, false, text);
    } else {
        put(c, 1, 0, c->width, m->event_tone, false,
            m->event[0] != '\0' ? m->event : "all is well");
    }
}

static void draw_foot(const struct top_model *m, const struct top_canvas *c)
{
    unsigned y = c->height - 1;
    char text[TOP_KEY_MAX + TOP_NOTE_MAX];

    if (m->asks_cancel) {
        snprintf(text, sizeof text, "cancel request %.80s? y/n", m->target);
        put(c, y, 0, c->width, TONE_WARN, false, text);
    } else if (m->typing) {
        snprintf(text, sizeof text, "/%s_", m->filter);
        put(c, y, 0, c->width, TONE_WARN, false, text);
    } else if (m->note[0] != '\0') {
        put(c, y, 0, c->width, TONE_WARN, false, m->note);
    } else if (m->view == TOP_DETAIL) {
        put(c, y, 0, c->width, TONE_DIM, false,
            m->target_pane == TOP_REQUESTS ? "Esc back  arrows scroll  w why  c cancel  q quit"
                                           : "Esc back  arrows scroll  q quit");
    } else if (m->filter[0] != '\0') {
        snprintf(text, sizeof text, "filter /%s  Esc ends it", m->filter);
        put(c, y, 0, c->width, TONE_WARN, false, text);
    } else {
        put(c, y, 0, c->width, TONE_DIM, false,
            "? help  q quit  Tab pane  s sort  r reverse  / filter  Enter look  c cancel");
    }
}

/* ---- the views ---- */

static const char *const help_lines[] = {
    "keys",
    "",
    "Tab, 1 2 3     the next pane; nodes, roles, requests",
    "arrows, j k    move; Page Up, Page Down, Home, End",
    "s S            sort by the next column, the one before (also > <)",
    "r              turn the order round",
    "/              filter all panes by a text; Esc ends it",
    "Enter          look closely; of a request also why it went where it went",
    "c              cancel the request (asks first)",
    "a              requests that are over, too",
    "p              hold the picture; once more: go on",
    "q              quit",
    "",
    "memory: # hosts, : others, . reserve; slots: busy/all; a - is not known",
    "IN/S and OUT/S are tokens of a node over its last seconds. Of a running request",
    "OUT and TOK/S count the parts of its stream: a part is one token, or several",
    "where the engine is faster than the stream. TTFT and TOK/S of roles are medians.",
};

static void draw_help(const struct top_canvas *c)
{
    for (unsigned i = 0; i < RM_COUNT(help_lines) && i + 3 < c->height; i++)
        put(c, 2 + i, 0, c->width, i == 0 ? TONE_TITLE : TONE_PLAIN, false, help_lines[i]);
}

static void draw_lines(struct top_model *m, const struct top_canvas *c)
{
    unsigned room = c->height - 3;

    top_model_fit_lines(m, room);
    for (unsigned i = 0; i < room && m->line_first + i < m->lines.n; i++)
        put(c, 2 + i, 0, c->width, m->line_first + i == 0 ? TONE_TITLE : TONE_PLAIN, false,
            m->lines.v[m->line_first + i]);
}

void top_screen_draw(struct top_model *m, const struct top_canvas *c, uint64_t now_ms)
{
    unsigned height[TOP_PANES], y = 2;

    if (c->height < 4 || c->width < 10) {
        put(c, 0, 0, c->width, TONE_WARN, false, "too small");
        return;
    }
    draw_title(m, c, now_ms);
    draw_news(m, c);
    if (m->view == TOP_HELP) {
        draw_help(c);
    } else if (m->view == TOP_DETAIL) {
        draw_lines(m, c);
    } else {
        share_height(m, c->height - 3, height);
        for (int i = 0; i < TOP_PANES; i++) {
            draw_pane(m, c, (enum top_pane)i, y, height[i]);
            y += height[i];
        }
    }
    draw_foot(m, c);
}
