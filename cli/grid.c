/* SPDX-License-Identifier: MIT */
/* cli/grid.c - see grid.h. */
#include "cli/grid.h"

#include "cli/ask.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { TEXT_MAX = 64 << 20, GAP = 2, NARROWEST = 6 };

void grid_init(struct grid *g, const struct grid_column *columns, size_t n_columns)
{
    assert(n_columns > 0 && n_columns <= GRID_COLUMNS_MAX);
    *g = (struct grid){.columns = columns, .n_columns = n_columns};
    rm_buf_init(&g->text, TEXT_MAX);
}

void grid_clear(struct grid *g)
{
    free(g->cells);
    rm_buf_clear(&g->text);
    *g = (struct grid){.columns = NULL};
}

static int grow(struct grid *g)
{
    struct grid_cell *cells;

    if ((g->n & (g->n - 1)) != 0) /* full at powers of two */
        return 0;
    cells = realloc(g->cells, (g->n > 0 ? 2 * g->n : 1) * sizeof *cells);
    if (cells == NULL)
        return UV_ENOMEM;
    g->cells = cells;
    return 0;
}

static int put_clean(struct rm_buf *to, const char *text)
{
    uint32_t code;
    int r = 0;

    for (size_t left = strlen(text); r == 0 && left > 0;) {
        size_t k = ask_char(text, left, &code);

        r = code == '?' ? rm_buf_puts(to, "?") : rm_buf_put(to, text, k);
        text += k;
        left -= k;
    }
    return r == 0 ? rm_buf_put(to, "", 1) : r;
}

void grid_add(struct grid *g, enum term_color color, const char *fmt, ...)
{
    char text[GRID_CELL_MAX];
    size_t at = g->text.len;
    va_list list;
    int r;

    va_start(list, fmt);
    vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    if ((r = grow(g)) == 0 && (r = put_clean(&g->text, text[0] != '\0' ? text : "-")) == 0)
        g->cells[g->n++] = (struct grid_cell){at, color};
    if (g->err == 0)
        g->err = r;
}

/* ---- printing ---- */

static const char *cell_text(const struct grid *g, size_t i)
{
    return g->text.data + g->cells[i].at;
}

static void measure(const struct grid *g, bool wide, unsigned width[GRID_COLUMNS_MAX])
{
    for (size_t c = 0; c < g->n_columns; c++) {
        width[c] = g->columns[c].wide == true && !wide ? 0 : term_cells(g->columns[c].title);
        for (size_t i = c; width[c] > 0 && i < g->n; i += g->n_columns) {
            unsigned cells = term_cells(cell_text(g, i));

            width[c] = cells > width[c] ? cells : width[c];
        }
        if (!wide && g->columns[c].most > 0 && width[c] > g->columns[c].most)
            width[c] = g->columns[c].most;
    }
}

static unsigned row_cells(const struct grid *g, const unsigned width[GRID_COLUMNS_MAX])
{
    unsigned all = 0;

    for (size_t c = 0; c < g->n_columns; c++)
        all += width[c] > 0 ? width[c] + GAP : 0;
    return all > 0 ? all - GAP : 0;
}

/* No row has anything there. */
static bool is_empty(const struct grid *g, size_t column)
{
    for (size_t i = column; i < g->n; i += g->n_columns)
        if (strcmp(cell_text(g, i), "-") != 0)
            return false;
    return g->n > 0;
}

/* Leaves out columns that tell nothing, then those that may be, the last ones first; then takes
 * from the widest, one cell after the other, until the row fits. */
static void narrow(const struct grid *g, unsigned room, unsigned width[GRID_COLUMNS_MAX])
{
    unsigned all;

    for (size_t c = g->n_columns; c-- > 0 && row_cells(g, width) > room;)
        if (is_empty(g, c))
            width[c] = 0;
    for (size_t c = g->n_columns; c-- > 0 && row_cells(g, width) > room;)
        if (g->columns[c].wide == GRID_SPARE)
            width[c] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (all = row_cells(g, width); all > room; all--) {
            size_t most = g->n_columns;

            for (size_t c = 0; c < g->n_columns; c++)
                if ((pass > 0 || g->columns[c].wide != GRID_WHOLE) &&
                    (most == g->n_columns || width[c] > width[most]))
                    most = c;
            if (most == g->n_columns || width[most] <= NARROWEST)
                break;
            width[most]--;
        }
    for (size_t c = g->n_columns; c-- > 1 && row_cells(g, width) > room;) /* there is no room */
        width[c] = 0;
}

static void print_cell(const struct term *t, const char *text, unsigned width,
                       enum term_color color, bool right, bool last)
{
    unsigned cells = term_cells(text), pad = cells < width ? width - cells : 0;

    if (right)
        fprintf(t->to, "%*s", (int)pad, "");
    fputs(term_on(t, color), t->to);
    term_put(t, text, width);
    fputs(term_off(t, color), t->to);
    if (!right && !last)
        fprintf(t->to, "%*s", (int)pad, "");
    if (!last)
        fprintf(t->to, "%*s", GAP, "");
}

/* ---- CSV ---- */

static bool is_number(const char *text)
{
    size_t n;

    text += *text == '+' || *text == '-';
    n = strspn(text, "0123456789");
    text += n;
    if (n > 0 && *text == '.')
        n = strspn(++text, "0123456789");
    else
        return n > 0 && (*text == '\0' || strcmp(text, "%") == 0);
    text += n;
    return n > 0 && (*text == '\0' || strcmp(text, "%") == 0);
}

/* Spreadsheets compute what begins so, and the same in full width. Tabs and CR are '?' already. */
static bool is_formula(const char *text)
{
    static const char *const marks[] = {"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"};

    text += strspn(text, " ");
    for (size_t i = 0; i < RM_COUNT(marks); i++)
        if (strncmp(text, marks[i], strlen(marks[i])) == 0)
            return !is_number(text);
    return false;
}

static void print_field(FILE *to, const char *text)
{
    bool quoted = text[strcspn(text, ",;\"")] != '\0' || text[0] == ' ' ||
                  (text[0] != '\0' && text[strlen(text) - 1] == ' ');

    if (strcmp(text, "-") == 0)
        return;
    fputs(quoted ? "\"" : "", to);
    fputs(is_formula(text) ? "'" : "", to);
    for (; *text != '\0'; text++)
        fputs(*text == '"' ? "\"\"" : (char[]){*text, '\0'}, to);
    fputs(quoted ? "\"" : "", to);
}

static void print_csv(const struct grid *g, FILE *to)
{
    for (size_t c = 0; c < g->n_columns; c++) {
        fputs(c > 0 ? "," : "", to);
        print_field(to, g->columns[c].title);
    }
    for (size_t i = 0; i < g->n; i++) {
        fputc(i % g->n_columns == 0 ? '\n' : ',', to);
        print_field(to, cell_text(g, i));
    }
    fputc('\n', to);
}

/* ---- all of it ---- */

int grid_print(const struct grid *g, const struct term *t, bool wide)
{
    unsigned width[GRID_COLUMNS_MAX];
    size_t last = 0;

    if (g->err < 0)
        return g->err;
    if (t->csv) {
        print_csv(g, t->to);
        return 0;
    }
    if (g->n == 0 && g->none != NULL) {
        fprintf(t->to, "%s\n", g->none);
        return 0;
    }
    measure(g, wide, width);
    if (t->width > 0)
        narrow(g, t->width, width);
    for (size_t c = 0; c < g->n_columns; c++)
        last = width[c] > 0 ? c : last;
    for (size_t row = 0; row <= g->n / g->n_columns; row++) {
        for (size_t c = 0; c < g->n_columns; c++) {
            size_t i = (row - 1) * g->n_columns + c;

            if (width[c] > 0)
                print_cell(t, row == 0 ? g->columns[c].title : cell_text(g, i), width[c],
                           row == 0 ? TERM_DIM : g->cells[i].color, g->columns[c].right, c == last);
        }
        fputc('\n', t->to);
    }
    return 0;
}
