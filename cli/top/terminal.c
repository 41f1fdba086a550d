/* SPDX-License-Identifier: MIT */
#include "cli/top/terminal.h"

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uv.h>

static SCREEN *screen;
static attr_t tone_attr[TONE_COUNT];
static short tone_pair[TONE_COUNT];

/* Without colours the words must do; attributes only help. */
static void set_tones(bool colours)
{
    static const struct {
        enum top_tone tone;
        short colour;
    } pairs[] = {{TONE_GOOD, COLOR_GREEN},       {TONE_WARN, COLOR_YELLOW},
                 {TONE_BAD, COLOR_RED},          {TONE_TITLE, COLOR_CYAN},
                 {TONE_HEAD_SORT, COLOR_CYAN},   {TONE_BAR_HOSTS, COLOR_GREEN},
                 {TONE_BAR_OTHERS, COLOR_YELLOW}};
    static const attr_t attrs[TONE_COUNT] = {[TONE_PLAIN] = A_NORMAL,
                                             [TONE_DIM] = A_DIM,
                                             [TONE_GOOD] = A_NORMAL,
                                             [TONE_WARN] = A_BOLD,
                                             [TONE_BAD] = A_BOLD,
                                             [TONE_TITLE] = A_BOLD,
                                             [TONE_HEAD] = A_BOLD | A_UNDERLINE,
                                             [TONE_HEAD_SORT] = A_BOLD | A_UNDERLINE,
                                             [TONE_CHOSEN] = A_REVERSE};

    for (int i = 0; i < TONE_COUNT; i++) {
        tone_attr[i] = attrs[i];
        tone_pair[i] = 0;
    }
    if (!colours || !has_colors() || start_color() == ERR)
        return;
    use_default_colors();
    for (size_t i = 0; i < RM_COUNT(pairs); i++) {
        init_pair((short)(i + 1), pairs[i].colour, -1);
        tone_pair[pairs[i].tone] = (short)(i + 1);
    }
}

int terminal_open(bool colours)
{
    if (!terminal_is_known() || (screen = newterm(NULL, stdout, stdin)) == NULL)
        return UV_ENOTSUP;
    set_term(screen);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(25);
    curs_set(0);
    set_tones(colours);
    return 0;
}

void terminal_close(void)
{
    if (screen == NULL)
        return;
    endwin();
    delscreen(screen);
    screen = NULL;
}

static void terminal_put(void *arg, unsigned y, unsigned x, enum top_tone tone, const char *text)
{
    (void)arg;
    attr_set(tone_attr[tone], tone_pair[tone], NULL);
    mvaddstr((int)y, (int)x, text);
}

void terminal_draw(struct top_model *m, uint64_t now_ms)
{
    struct top_canvas canvas = {.width = COLS > 0 ? (unsigned)COLS : 0,
                                .height = LINES > 0 ? (unsigned)LINES : 0,
                                .put = terminal_put};

    attr_set(A_NORMAL, 0, NULL);
    erase();
    top_screen_draw(m, &canvas, now_ms);
    refresh();
}

void terminal_resized(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        resizeterm(size.ws_row, size.ws_col);
    clearok(stdscr, TRUE);
}

int terminal_key(void)
{
    static const struct {
        int curses, key;
    } keys[] = {{KEY_UP, TOP_KEY_UP},         {KEY_DOWN, TOP_KEY_DOWN},
                {KEY_LEFT, TOP_KEY_LEFT},     {KEY_RIGHT, TOP_KEY_RIGHT},
                {KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
                {KEY_HOME, TOP_KEY_HOME},     {KEY_END, TOP_KEY_END},
                {KEY_BTAB, TOP_KEY_BACK_TAB}, {KEY_BACKSPACE, TOP_KEY_ERASE},
                {KEY_ENTER, TOP_KEY_ENTER}};
    int c = getch();

    if (c == ERR)
        return -1;
    for (size_t i = 0; i < RM_COUNT(keys); i++)
        if (keys[i].curses == c)
            return keys[i].key;
    return c < 256 ? c : TOP_KEY_OTHER;
}
