/* SPDX-License-Identifier: MIT */
/* cli/chat.c - `rolemesh chat ROLE`: talk to a role. On a terminal line by line with what was said
 * kept for the session; else one prompt, from the arguments or stdin, and its answer on stdout
 * alone. The answer is shown as it streams in, made fit for a terminal (text.h); how many tokens a
 * second, and how long the first one took, goes to stderr. talk.c has the conversation. One thread:
 *
 *   prompt ──line──► asking ──answer, error, Ctrl-C──► prompt      Ctrl-C twice, Ctrl-D: out */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/talk.h"
#include "cli/term.h"
#include "cli/text.h"
#include "proto/base/clock.h"
#include "proto/http/client.h"
#include "proto/http/sse.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

enum {
    PROMPT_MAX = 4 << 20,
    LINE_MAX_BYTES = 64 * 1024,
    ERROR_BODY_MAX = 64 * 1024,
    SILENCE_MS = 120000, /* the gateway keeps streams that wait alive */
    HEAD_MS = 900000     /* a role may have to be loaded before anything comes */
};

struct chat {
    uv_loop_t loop;
    uv_signal_t interrupt;
    uv_poll_t keys;
    struct http_client *client;
    struct http_call *call; /* NULL: nothing is asked */
    struct sse_reader reader;
    struct talk talk;
    struct answer answer;
    struct text_stream shown;
    struct rm_buf request, error_body, line;
    struct term out;
    struct http_address address;
    const char *role, *url;
    uint64_t max_tokens;
    double temperature;
    bool talks; /* on a terminal, line by line; else one prompt */
    bool quiet, thinking, waiting_shown, at_line_start, cancelled, warned, ending;
    int status, err, exit_code, keys_fd;
};

/* ---- what is seen ---- */

static void out_text(struct chat *c, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    fwrite(bytes, 1, n, stdout);
    c->at_line_start = bytes[n - 1] == '\n';
}

static void out_thinking(struct chat *c, bool on)
{
    if (c->thinking == on)
        return;
    fputs(on ? term_on(&c->out, TERM_DIM) : term_off(&c->out, TERM_DIM), stdout);
    if (!on && !c->at_line_start)
        out_text(c, "\n", 1);
    c->thinking = on;
}

static void waiting_clear(struct chat *c)
{
    if (c->waiting_shown)
        fputs("\r\x1b[K", stderr);
    c->waiting_shown = false;
}

/* Why nothing comes yet, as the gateway tells in comments; in one line that is overwritten. */
static void waiting_show(struct chat *c, struct rm_slice raw)
{
    char line[200], shown[ASK_TEXT_MAX];
    size_t n = 0;

    if (!c->talks || !isatty(STDERR_FILENO) || c->answer.first_us != 0)
        return;
    while (raw.n > 0 && (*raw.p == ':' || *raw.p == ' '))
        raw = (struct rm_slice){raw.p + 1, raw.n - 1};
    for (; n < raw.n && n + 1 < sizeof line && raw.p[n] != '\n' && raw.p[n] != '\r'; n++)
        line[n] = raw.p[n];
    line[n] = '\0';
    if (n == 0)
        return;
    fprintf(stderr, "\r\x1b[K%.79s", ask_shown(line, shown));
    c->waiting_shown = true;
}

static void prompt_show(struct chat *c)
{
    if (c->ending)
        return;
    fputs(c->line.len > 0 ? ".. " : "> ", stdout);
    fflush(stdout);
}

static void figures_show(const struct chat *c)
{
    char line[TALK_WHY_MAX];
    bool colour = c->out.color && isatty(STDERR_FILENO);
    struct term t = {.to = stderr, .color = colour};

    if (c->quiet || c->answer.first_us == 0)
        return;
    answer_line(&c->answer, line);
    fprintf(stderr, "%s[%s]%s\n", term_on(&t, TERM_DIM), line, term_off(&t, TERM_DIM));
}

/* ---- life ---- */

static void chat_end(struct chat *c, int exit_code)
{
    if (c->ending)
        return;
    c->ending = true;
    c->exit_code = exit_code;
    http_client_close(c->client);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
    if (c->talks)
        uv_close((uv_handle_t *)&c->keys, NULL);
}

static void chat_on_keys(uv_poll_t *poll, int status, int events);

static void chat_listen(struct chat *c)
{
    if (c->ending)
        return;
    prompt_show(c);
    uv_poll_start(&c->keys, UV_READABLE, chat_on_keys);
}

/* ---- one answer ---- */

static int chat_on_event(void *arg, const struct sse_event *e)
{
    struct chat *c = arg;
    struct rm_buf piece, fit;
    enum talk_piece what;
    int r = 0;

    if (!e->has_data) {
        waiting_show(c, e->raw);
        return 0;
    }
    rm_buf_init(&piece, SSE_EVENT_MAX);
    rm_buf_init(&fit, SSE_EVENT_MAX);
    what = answer_take(&c->answer, e->data, rm_now_us(), &piece);
    if (what == TALK_ERROR)
        r = RM_ERR_UPSTREAM;
    if ((what == TALK_TEXT || (what == TALK_THOUGHT && c->talks)) && piece.len > 0) {
        waiting_clear(c);
        out_thinking(c, what == TALK_THOUGHT);
        if (text_stream_put(&c->shown, piece.data, piece.len, &fit) == 0 && fit.len > 0)
            out_text(c, fit.data, fit.len);
    }
    rm_buf_clear(&piece);
    rm_buf_clear(&fit);
    return r;
}

static void chat_on_head(struct http_call *k, const struct http_head *head)
{
    struct chat *c = http_call_arg(k);

    c->status = head->status;
}

static void chat_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct chat *c = http_call_arg(k);
    size_t room = ERROR_BODY_MAX - c->error_body.len;

    if (c->err < 0)
        return;
    if (c->status != 200)
        c->err = rm_buf_put(&c->error_body, bytes, n < room ? n : room);
    else
        c->err = sse_reader_feed(&c->reader, bytes, n, chat_on_event, c);
    if (c->err < 0)
        http_call_abort(k);
}

static void chat_on_batch(struct http_call *k)
{
    (void)k;
    fflush(stdout);
}

static void chat_on_fail(struct http_call *k, int err)
{
    struct chat *c = http_call_arg(k);

    if (c->err == 0)
        c->err = err;
}

/* What went wrong, in one line. Returns the exit code of a single prompt. */
static int chat_complain(struct chat *c)
{
    char why[TALK_WHY_MAX];

    if (c->cancelled)
        return cli_failed("chat", "cancelled");
    if (c->answer.why[0] != '\0')
        return cli_failed("chat", "%s", c->answer.why);
    if (c->err < 0 && c->status == 0)
        return cli_failed("chat",
                          "%s: %s; start rolemesh-gateway, or name another with --gateway URL",
                          c->url, rm_strerror(c->err));
    if (c->err < 0)
        return cli_failed("chat", "the answer broke off: %s", rm_strerror(c->err));
    if (c->status == 200)
        return cli_failed("chat", "the stream ended before the answer did");
    answer_error_of((struct rm_slice){c->error_body.data, c->error_body.len}, c->status, why);
    if (c->status == 400 || c->status == 404)
        return cli_usage("chat", "%s", why);
    return cli_failed("chat", "%s (%d)%s", why, c->status,
                      c->status == 401 ? "; send a key: ROLEMESH_KEY or --key-file" : "");
}

/* What was said goes on being known, also half of it; a prompt without an answer does not. */
static void chat_remember(struct chat *c)
{
    const char *text = c->answer.text.data;

    if (c->answer.text.len == 0 || strlen(text) != c->answer.text.len)
        talk_drop(&c->talk);
    else if (talk_add(&c->talk, false, text) < 0) {
        talk_drop(&c->talk);
        cli_failed("chat", "the conversation is too long: /reset begins anew");
    }
}

static void answer_over(struct chat *c)
{
    answer_clear(&c->answer);
    sse_reader_clear(&c->reader);
    rm_buf_clear(&c->request);
    rm_buf_clear(&c->error_body);
}

static void chat_on_done(struct http_call *k)
{
    struct chat *c = http_call_arg(k);
    struct rm_buf rest;
    int r = CLI_OK;

    c->call = NULL;
    rm_buf_init(&rest, 16);
    if (text_stream_end(&c->shown, &rest) == 0 && rest.len > 0)
        out_text(c, rest.data, rest.len);
    rm_buf_clear(&rest);
    waiting_clear(c);
    out_thinking(c, false);
    if (!c->at_line_start)
        out_text(c, "\n", 1);
    fflush(stdout);
    if (!c->answer.ended || c->err < 0 || c->cancelled)
        r = chat_complain(c);
    figures_show(c);
    chat_remember(c);
    answer_over(c);
    if (!c->talks)
        chat_end(c, r);
    else
        chat_listen(c);
}

static int chat_start_call(struct chat *c)
{
    static const struct http_call_ops ops = {.on_head = chat_on_head,
                                             .on_body = chat_on_body,
                                             .on_batch = chat_on_batch,
                                             .on_fail = chat_on_fail,
                                             .on_done = chat_on_done};
    struct http_out_field fields[3] = {{"Content-Type", RM_LIT("application/json")},
                                       {"Accept", RM_LIT("text/event-stream")}};
    char key[ASK_KEY_FIELD_MAX];
    struct rm_slice body;
    struct http_call_spec spec = {.method = "POST",
                                  .target = RM_LIT("/v1/chat/completions"),
                                  .fields = fields,
                                  .n_fields = 2,
                                  .body = &body,
                                  .n_body = 1,
                                  .head_ms = HEAD_MS};
    int r;

    rm_buf_init(&c->request, 8 * TALK_MAX); /* escaped it may be longer */
    rm_buf_init(&c->error_body, ERROR_BODY_MAX);
    sse_reader_init(&c->reader, SSE_EVENT_MAX);
    answer_init(&c->answer, rm_now_us());
    c->shown = (struct text_stream){.n_held = 0};
    c->status = c->err = 0;
    c->cancelled = false;
    c->at_line_start = true;
    if ((r = talk_write(&c->talk, c->role, c->max_tokens, c->temperature, &c->request)) < 0)
        return r;
    body = (struct rm_slice){c->request.data, c->request.len};
    if (ask_key_field(key, &fields[spec.n_fields]))
        spec.n_fields++;
    return http_call_start(c->client, &spec, &ops, c, &c->call);
}

/* Asks with one more prompt. Returns CLI_OK, or the exit code after saying what is wrong. */
static int chat_ask(struct chat *c, const char *prompt)
{
    int r = talk_add(&c->talk, true, prompt);

    if (r == 0 && (r = chat_start_call(c)) < 0) {
        talk_drop(&c->talk);
        answer_over(c);
    }
    if (r == 0)
        return CLI_OK;
    c->call = NULL;
    return cli_failed(
        "chat", r == RM_ERR_TOO_BIG ? "the conversation is too long: /reset begins anew" : "%s",
        rm_strerror(r));
}

/* ---- lines of a terminal ---- */

static void say_help(void)
{
    puts("/help          this\n"
         "/reset         forget what was said\n"
         "/system TEXT   what the role is told before all else; without TEXT: nothing any more\n"
         "/quit          leave (also Ctrl-D)\n"
         "A line that ends in \\ goes on; one that begins with // is sent with one /.\n"
         "Ctrl-C cancels an answer; twice, it leaves.");
}

static void take_command(struct chat *c, const char *line)
{
    if (strcmp(line, "/help") == 0 || strcmp(line, "/?") == 0) {
        say_help();
    } else if (strcmp(line, "/reset") == 0) {
        talk_reset(&c->talk);
        puts("(forgotten)");
    } else if (strcmp(line, "/system") == 0 || strncmp(line, "/system ", 8) == 0) {
        if (talk_set_system(&c->talk, line[7] == ' ' ? line + 8 : "") < 0)
            cli_failed("chat", "no memory");
        else
            puts(line[7] == ' ' ? "(told)" : "(told nothing any more)");
    } else if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) {
        chat_end(c, CLI_OK);
    } else {
        puts("(no such command; /help lists them, // begins a line with a /)");
    }
}

/* A whole line is in c->line. True: something was asked. */
static bool take_line(struct chat *c)
{
    char *line;
    bool asked = false;

    if (c->line.len > 0 && c->line.data[c->line.len - 1] == '\\') {
        c->line.data[c->line.len - 1] = '\n';
        return false;
    }
    if ((line = rm_buf_take(&c->line)) == NULL)
        return false;
    rm_buf_init(&c->line, LINE_MAX_BYTES);
    if (line[0] == '/' && line[1] != '/')
        take_command(c, line);
    else if (line[strspn(line, " \t\n")] != '\0')
        asked = chat_ask(c, line[0] == '/' ? line + 1 : line) == CLI_OK;
    free(line);
    return asked;
}

static void chat_on_keys(uv_poll_t *poll, int status, int events)
{
    struct chat *c = poll->data;
    char bytes[4096];
    ssize_t n = status < 0 ? 0 : read(c->keys_fd, bytes, sizeof bytes);
    bool whole;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        putchar('\n');
        chat_end(c, CLI_OK);
        return;
    }
    c->warned = false;
    whole = bytes[n - 1] == '\n';
    n -= whole;
    if (memchr(bytes, '\0', (size_t)n) != NULL || rm_buf_put(&c->line, bytes, (size_t)n) < 0) {
        cli_failed("chat", "a line has at most %d bytes, and no NUL", LINE_MAX_BYTES);
        rm_buf_clear(&c->line);
        rm_buf_init(&c->line, LINE_MAX_BYTES);
    } else if (whole && take_line(c)) {
        uv_poll_stop(&c->keys);
        return;
    }
    if (whole)
        prompt_show(c);
}

static void chat_on_interrupt(uv_signal_t *handle, int number)
{
    struct chat *c = handle->data;

    (void)number;
    if (c->call != NULL && !c->cancelled) {
        c->cancelled = c->warned = true;
        http_call_abort(c->call);
        return;
    }
    if (c->warned || !c->talks) {
        if (c->talks)
            putchar('\n');
        chat_end(c, c->talks ? CLI_OK : CLI_FAILED);
        return;
    }
    c->warned = true;
    rm_buf_clear(&c->line);
    rm_buf_init(&c->line, LINE_MAX_BYTES);
    puts("\n(Ctrl-C again leaves)");
    prompt_show(c);
}

/* ---- start ---- */

/* The prompt of the arguments, or of stdin. Returns CLI_OK with *out malloc'ed. */
static int read_prompt(const struct cli_args *args, char **out)
{
    struct rm_buf b;
    char bytes[16384];
    size_t n;
    int r = 0;

    rm_buf_init(&b, PROMPT_MAX);
    for (size_t i = 1; r == 0 && cli_word(args, i) != NULL; i++) {
        r = i > 1 ? rm_buf_puts(&b, " ") : 0;
        if (r == 0)
            r = rm_buf_puts(&b, cli_word(args, i));
    }
    while (cli_word(args, 1) == NULL && r == 0 && (n = fread(bytes, 1, sizeof bytes, stdin)) > 0)
        r = rm_buf_put(&b, bytes, n);
    while (b.len > 0 && b.data[b.len - 1] == '\n')
        b.data[--b.len] = '\0';
    if (r == 0 && (b.len == 0 || strlen(b.data) != b.len))
        r = RM_ERR_FIELD;
    *out = r == 0 ? rm_buf_take(&b) : NULL;
    rm_buf_clear(&b);
    if (r == RM_ERR_FIELD)
        return cli_usage("chat", "the prompt is empty, or has a NUL in it");
    if (r < 0)
        return cli_usage("chat", "the prompt: %s (at most %d MiB)", rm_strerror(r),
                         PROMPT_MAX >> 20);
    return *out != NULL ? CLI_OK : cli_failed("chat", "no memory");
}

static int chat_options(struct chat *c, const struct cli_args *args)
{
    const char *text = cli_text(args, "temperature"), *system = cli_text(args, "system");
    char *end = NULL;

    c->role = cli_word(args, 0);
    c->url = cli_gateway(args);
    c->max_tokens = cli_number(args, "max-tokens", 0);
    c->quiet = cli_has(args, "quiet");
    c->temperature = text != NULL ? strtod(text, &end) : -1;
    if (text != NULL &&
        (end == text || *end != '\0' || !(c->temperature >= 0) || c->temperature > 5))
        return cli_usage("chat", "--temperature takes a number from 0 to 5, not '%s'", text);
    if (ask_address(c->url, &c->address) < 0)
        return cli_usage("chat", "--gateway is http://HOST:PORT, not '%s'", c->url);
    if (system != NULL && talk_set_system(&c->talk, system) < 0)
        return cli_failed("chat", "no memory");
    return CLI_OK;
}

/* Returns 0 or an error; then nothing is open but the keys' descriptor. */
static int chat_open(struct chat *c)
{
    struct http_client_conf conf = http_client_conf_default;
    int r;

    conf.idle_ms = SILENCE_MS;
    conf.head_ms = HEAD_MS;
    if (c->talks && (c->keys_fd = term_open_keys()) < 0)
        return c->keys_fd;
    if ((r = uv_loop_init(&c->loop)) < 0)
        return r;
    if (c->talks && (r = uv_poll_init(&c->loop, &c->keys, c->keys_fd)) < 0) {
        uv_loop_close(&c->loop);
        return r;
    }
    uv_signal_init(&c->loop, &c->interrupt);
    uv_unref((uv_handle_t *)&c->interrupt);
    c->interrupt.data = c->keys.data = c;
    if ((r = http_client_new(&c->loop, &c->address, &conf, &c->client)) < 0) {
        chat_end(c, CLI_FAILED);
        uv_run(&c->loop, UV_RUN_DEFAULT);
        uv_loop_close(&c->loop);
        return r;
    }
    uv_signal_start(&c->interrupt, chat_on_interrupt, SIGINT);
    return 0;
}

static int chat_run(const struct cli_args *args)
{
    static struct chat c;
    char *prompt = NULL;
    int r;

    c = (struct chat){.at_line_start = true, .keys_fd = -1};
    rm_buf_init(&c.line, LINE_MAX_BYTES);
    c.talks = cli_word(args, 1) == NULL && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    term_look(args, &c.out);
    if ((r = chat_options(&c, args)) == CLI_OK && !c.talks)
        r = read_prompt(args, &prompt);
    if (r == CLI_OK && (r = chat_open(&c)) < 0)
        r = cli_failed("chat", "%s", rm_strerror(r));
    else if (r == CLI_OK) {
        if (c.talks) {
            char shown[ASK_TEXT_MAX];

            printf("talking to %s; /help lists commands, Ctrl-D leaves\n",
                   ask_shown(c.role, shown));
            chat_listen(&c);
        } else if ((r = chat_ask(&c, prompt)) != CLI_OK) {
            chat_end(&c, r);
        }
        uv_run(&c.loop, UV_RUN_DEFAULT);
        uv_loop_close(&c.loop);
        r = c.exit_code;
    }
    if (c.keys_fd >= 0)
        close(c.keys_fd);
    free(prompt);
    rm_buf_clear(&c.line);
    talk_clear(&c.talk);
    return r;
}

static const struct cli_option chat_options_list[] = {
    {.name = "system", .kind = CLI_STRING, .value = "TEXT", .help = "what the role is told first"},
    {.name = "max-tokens",
     .kind = CLI_NUMBER,
     .value = "N",
     .help = "an answer has at most so many",
     .min = 1,
     .max = 1 << 24},
    {.name = "temperature",
     .kind = CLI_STRING,
     .value = "T",
     .help = "0: always the likeliest token (default: the role's)"},
    {.name = "quiet", .letter = 'q', .kind = CLI_FLAG, .help = "no figures after an answer"},
    {.name = NULL},
};

const struct cli_command cli_chat = {
    .name = "chat",
    .group = CLI_LOOK,
    .summary = "talk to a role",
    .about =
        "On a terminal line by line: the answer is shown as it comes, then how many tokens it had, "
        "how many a second, and how long the first one took. What was said is kept until /reset or "
        "the end. Ctrl-C cancels an answer; twice, it leaves; /help lists the commands.\n\n"
        "With a PROMPT, or when stdin or stdout is no terminal: one prompt (from stdin when there "
        "is none), and its answer alone on stdout. Control characters of an answer are shown as "
        "'?', so that it cannot act on a terminal.",
    .examples = "rolemesh chat code # a conversation\n"
                "rolemesh chat ask 'What is a mutex?' # one answer\n"
                "git diff | rolemesh chat code --system 'Review this diff.' # what stdin says",
    .common = CLI_ASKS,
    .options = chat_options_list,
    .operands = {{.name = "ROLE", .what = "which role, or mode?", .complete = CLI_COMPLETE_ROLE},
                 {.name = "PROMPT", .optional = true, .many = true}},
    .run = chat_run,
};
