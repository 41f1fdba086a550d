/* SPDX-License-Identifier: MIT */
/* cli/term.c - see term.h. */
#include "cli/term.h"

#include "cli/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <wchar.h>

enum { WIDTH_MIN = 20, WATCH_MS = 2000 };

/* ---- what stdout is ---- */

static unsigned of_environment(const char *name)
{
    const char *text = getenv(name);
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 0;

    return n > 0 && n < 10000 ? (unsigned)n : 0;
}

void term_look(const struct cli_args *args, struct term *out)
{
    const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");
    bool terminal = isatty(STDOUT_FILENO);
    struct winsize size = {.ws_col = 0};

    *out = (struct term){.to = stdout, .terminal = terminal, .csv = cli_wants_csv(args)};
    if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        out->width = size.ws_col;
        out->height = size.ws_row;
    }
    if (out->width == 0)
        out->width = of_environment("COLUMNS");
    if (out->width > 0 && out->width < WIDTH_MIN)
        out->width = WIDTH_MIN;
    out->color = terminal && (no == NULL || no[0] == '\0') && !cli_has(args, "no-color") &&
                 kind != NULL && strcmp(kind, "dumb") != 0;
}

const char *term_on(const struct term *t, enum term_color color)
{
    static const char *const codes[] = {
        [TERM_PLAIN] = "",        [TERM_BOLD] = "\033[1m",  [TERM_DIM] = "\033[2m",
        [TERM_GOOD] = "\033[32m", [TERM_WARN] = "\033[33m", [TERM_BAD] = "\033[1;31m"};

    return t->color ? codes[color] : "";
}

const char *term_off(const struct term *t, enum term_color color)
{
    return t->color && color != TERM_PLAIN ? "\033[0m" : "";
}

/* ---- cells ---- */

unsigned term_char_cells(uint32_t code)
{
    int n = code < 0x80 ? 1 : wcwidth((wchar_t)code);

    return n < 0 ? 1 : (unsigned)n;
}

unsigned term_cells(const char *text)
{
    unsigned cells = 0;
    uint32_t code;

    for (size_t left = strlen(text); left > 0;) {
        size_t k = ask_char(text, left, &code);

        cells += term_char_cells(code);
        text += k;
        left -= k;
    }
    return cells;
}

unsigned term_put(const struct term *t, const char *text, unsigned cells)
{
    unsigned all = term_cells(text), room = all > cells ? cells - (cells > 0) : all, done = 0;
    uint32_t code;

    for (size_t left = strlen(text); left > 0;) {
        size_t k = ask_char(text, left, &code);

        if (done + term_char_cells(code) > room)
            break;
        done += term_char_cells(code);
        fwrite(code == '?' ? "?" : text, 1, code == '?' ? 1 : k, t->to);
        text += k;
        left -= k;
    }
    if (all > cells && cells > 0) {
        fputs("\u2026", t->to);
        done++;
    }
    return done;
}

/* ---- again and again ---- */

static volatile sig_atomic_t hides_cursor;

static void on_stop(int number)
{
    static const char back[] = "\033[?7h\033[?25h";
    ssize_t n = hides_cursor ? write(STDOUT_FILENO, back, sizeof back - 1) : 0;

    (void)number;
    (void)n;
    _exit(CLI_OK);
}

void term_end_on_signals(void)
{
    struct sigaction act = {.sa_handler = on_stop};

    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

/* The frame over the last one, no longer than the screen. */
static void show_frame(const struct term *t, const char *frame)
{
    unsigned lines = t->height > 1 ? t->height - 1 : 1000;

    fputs("\033[?7l\033[H", stdout); /* a line that is too long is cut, not wrapped */
    for (; *frame != '\0' && lines > 0; lines--) {
        size_t n = strcspn(frame, "\n");

        fwrite(frame, 1, n, stdout);
        fputs("\033[K\n", stdout);
        frame += n + (frame[n] == '\n');
    }
    fputs("\033[J\033[?7h", stdout);
    fflush(stdout);
}

static int draw_frame(const struct cli_args *args,
                      int (*draw)(const struct cli_args *, const struct term *, void *), void *arg,
                      uint64_t every_ms)
{
    struct term t;
    char *frame = NULL, now[32] = "";
    time_t at = time(NULL);
    struct tm tm;
    size_t n;
    int r;

    term_look(args, &t);
    if ((t.to = open_memstream(&frame, &n)) == NULL)
        return cli_failed(args->command->name, "no memory");
    if (localtime_r(&at, &tm) != NULL)
        strftime(now, sizeof now, "%H:%M:%S", &tm);
    fprintf(t.to, "%severy %g s: rolemesh %s, %s; Ctrl-C ends%s\n\n", term_on(&t, TERM_DIM),
            (double)every_ms / 1000, args->command->name, now, term_off(&t, TERM_DIM));
    cli_complain_to(t.to);
    r = draw(args, &t, arg);
    cli_complain_to(NULL);
    if (fclose(t.to) == 0 && r != CLI_BAD)
        show_frame(&t, frame);
    else if (r == CLI_BAD)
        fputs(frame != NULL ? frame : "", stderr);
    free(frame);
    return r;
}

static void wait_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&left, NULL);
}

int term_watch(const struct cli_args *args,
               int (*draw)(const struct cli_args *args, const struct term *t, void *arg), void *arg)
{
    uint64_t every_ms = cli_number(args, "watch", WATCH_MS);
    struct term t;
    int r;

    term_look(args, &t);
    if (!cli_has(args, "watch"))
        return draw(args, &t, arg);
    if (t.csv)
        return cli_usage(args->command->name, "-o csv goes without --watch");
    term_end_on_signals();
    if (t.terminal) {
        hides_cursor = 1;
        fputs("\033[?25l\033[2J", stdout);
    }
    for (bool first = true;; first = false) {
        t.compact = true;
        if (!first && !t.terminal && !cli_wants_json(args))
            fputc('\n', stdout);
        r = t.terminal ? draw_frame(args, draw, arg, every_ms) : draw(args, &t, arg);
        if (r == CLI_BAD || fflush(stdout) != 0)
            break;
        wait_ms(every_ms);
    }
    if (hides_cursor)
        fputs("\033[?25h", stdout);
    return r == CLI_BAD ? CLI_BAD : CLI_FAILED;
}

int term_open_keys(void)
{
    const char *name = ttyname(STDIN_FILENO);
    int fd = name != NULL ? open(name, O_RDONLY | O_NOCTTY | O_CLOEXEC) : -1;

    return fd >= 0 ? fd : uv_translate_sys_error(errno);
}
