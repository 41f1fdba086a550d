/* SPDX-License-Identifier: MIT */
/* cli/top/top.c - `rolemesh top`: a gateway live on the whole screen. This folder:
 *
 *   top.c       the loop: stream, keys, signals, the two questions a key can ask
 *   model.c     what is shown and what a key does; detail.c: the close look
 *   rows.c      a snapshot as tables; columns.c: their columns
 *   screen.c    the picture, for any size
 *   terminal.c  ncurses
 *
 * One thread. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/term.h"
#include "cli/top/model.h"
#include "cli/top/terminal.h"
#include "proto/base/clock.h"
#include "proto/http/client.h"

enum {
    TICK_MS = 500,
    CALL_MS = 10000,
    WHY_MAX = 4 << 20,
    TARGET_MAX = 600,
    ERROR_TEXT_MAX = 512,
    HUNG_UP = 20 /* times that the terminal has nothing although it said so: it is gone */
};

static const char stream_target[] = "/api/v1/events?live=1";

/* One question of a key: why, or cancel. */
struct call {
    struct http_call *http; /* NULL: none in flight */
    struct rm_buf body;
    char id[TOP_KEY_MAX];
    bool cancels;
    int status, err;
};

struct top {
    uv_loop_t loop;
    uv_poll_t keys;
    uv_timer_t tick;
    uv_signal_t signals[4];
    struct http_client *client; /* for calls */
    struct follow *follow;
    struct call call;
    struct top_model model;
    char url[120], first_error[ERROR_TEXT_MAX];
    bool colours, on_screen, keys_open, ending, dirty;
    int exit_code, empty_polls, keys_fd;
};

/* ---- end ---- */

static void top_end(struct top *t, int exit_code)
{
    if (t->ending)
        return;
    t->ending = true;
    t->exit_code = exit_code;
    terminal_close();
    follow_close(t->follow);
    http_client_close(t->client);
    if (t->keys_open)
        uv_close((uv_handle_t *)&t->keys, NULL);
    uv_close((uv_handle_t *)&t->tick, NULL);
    for (size_t i = 0; i < RM_COUNT(t->signals); i++)
        uv_close((uv_handle_t *)&t->signals[i], NULL);
}

/* ---- the questions of keys ---- */

static void call_on_head(struct http_call *k, const struct http_head *head)
{
    struct top *t = http_call_arg(k);

    t->call.status = head->status;
}

static void call_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct top *t = http_call_arg(k);
    int r = rm_buf_put(&t->call.body, bytes, n);

    if (r < 0 && t->call.err == 0) {
        t->call.err = r;
        http_call_abort(k);
    }
}

static void call_on_fail(struct http_call *k, int err)
{
    struct top *t = http_call_arg(k);

    if (t->call.err == 0)
        t->call.err = err;
}

/* What the gateway says of a refusal. */
static void call_refusal(const struct call *c, const json_t *answer, char out[TOP_NOTE_MAX])
{
    if (c->err < 0)
        snprintf(out, TOP_NOTE_MAX, "the gateway did not answer: %s", rm_strerror(c->err));
    else if (top_str(answer, "detail")[0] != '\0')
        snprintf(out, TOP_NOTE_MAX, "refused (%d): %.150s", c->status, top_str(answer, "detail"));
    else
        snprintf(out, TOP_NOTE_MAX, "the gateway answered %d", c->status);
}

static void call_on_done(struct http_call *k)
{
    struct top *t = http_call_arg(k);
    struct call *c = &t->call;
    json_t *answer = json_loadb(c->body.data != NULL ? c->body.data : "", c->body.len, 0, NULL);
    bool good = c->err == 0 && c->status == 200 && json_is_object(answer);
    char why[TOP_NOTE_MAX];

    c->http = NULL;
    rm_buf_clear(&c->body);
    call_refusal(c, answer, why);
    if (c->cancels) {
        top_model_note(&t->model, good ? "cancelled: %s" : "not cancelled: %s", good ? c->id : why);
        json_decref(answer);
    } else {
        top_model_why(&t->model, c->id, good ? answer : NULL, why);
        if (!good)
            json_decref(answer);
    }
    t->dirty = true;
}

/* An id as a segment of a path. */
static void put_segment(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text != '\0' && n + 4 < size; text++) {
        bool is_plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                        (*text >= '0' && *text <= '9') || *text == '-' || *text == '_';

        n += (size_t)snprintf(out + n, size - n, is_plain ? "%c" : "%%%02X",
                              is_plain ? *text : (unsigned char)*text);
    }
    out[n] = '\0';
}

static void top_ask(struct top *t, bool cancels)
{
    static const struct http_call_ops ops = {.on_head = call_on_head,
                                             .on_body = call_on_body,
                                             .on_fail = call_on_fail,
                                             .on_done = call_on_done};
    char target[TARGET_MAX], segment[4 * TOP_KEY_MAX], key[ASK_KEY_FIELD_MAX];
    struct http_out_field field;
    struct http_call_spec spec = {
        .method = cancels ? "DELETE" : "GET", .fields = &field, .head_ms = CALL_MS};
    struct call *c = &t->call;
    int r;

    if (c->http != NULL) {
        top_model_note(&t->model, "still waiting for the gateway's last answer");
        return;
    }
    put_segment(segment, TARGET_MAX - 40, t->model.target);
    snprintf(target, sizeof target, "/api/v1/requests/%.540s%s", segment, cancels ? "" : "/why");
    spec.target = rm_slice_of(target);
    spec.n_fields = ask_key_field(key, &field) ? 1 : 0;
    *c = (struct call){.cancels = cancels};
    rm_buf_init(&c->body, WHY_MAX);
    rm_text_copy(c->id, sizeof c->id, t->model.target);
    if ((r = http_call_start(t->client, &spec, &ops, t, &c->http)) < 0) {
        c->http = NULL;
        top_model_note(&t->model, "%s", rm_strerror(r));
    }
}

/* ---- keys and signals ---- */

static void top_draw(struct top *t)
{
    t->dirty = false;
    if (t->on_screen)
        terminal_draw(&t->model, rm_now_ms());
}

static void top_on_key(uv_poll_t *poll, int status, int events)
{
    struct top *t = poll->data;
    int key, n = 0;

    (void)events;
    while (!t->ending && n++ < 256 && (key = terminal_key()) >= 0) {
        t->empty_polls = 0;
        t->dirty = true;
        switch (top_model_key(&t->model, key)) {
        case TOP_QUIT:
            top_end(t, CLI_OK);
            return;
        case TOP_ASK_WHY:
            top_ask(t, false);
            break;
        case TOP_CANCEL:
            top_ask(t, true);
            break;
        case TOP_NOTHING:
            break;
        }
    }
    if (status < 0 || (n <= 1 && ++t->empty_polls > HUNG_UP)) {
        top_end(t, CLI_FAILED);
        return;
    }
    if (t->dirty)
        top_draw(t);
}

static void top_on_signal(uv_signal_t *handle, int number)
{
    struct top *t = handle->data;

    if (number == SIGWINCH && t->on_screen) {
        terminal_resized();
        top_draw(t);
    } else if (number != SIGWINCH) {
        top_end(t, CLI_OK);
    }
}

static void top_on_tick(uv_timer_t *timer)
{
    struct top *t = timer->data;

    if (t->dirty || !t->model.connected)
        top_draw(t);
}

/* ---- the stream ---- */

/* The first snapshot is here: now there is something to show. */
static void top_begin(struct top *t)
{
    if (terminal_open(t->colours) < 0) {
        fputs("rolemesh top: $TERM names no terminal that can be drawn on; 'rolemesh status' needs "
              "none\n",
              stderr);
        top_end(t, CLI_BAD);
        return;
    }
    t->on_screen = true;
    terminal_resized();
    t->keys_open = t->keys_fd >= 0 && uv_poll_init(&t->loop, &t->keys, t->keys_fd) == 0;
    if (!t->keys_open) {
        top_end(t, CLI_FAILED);
        fputs("rolemesh top: the keys of this terminal cannot be read\n", stderr);
        return;
    }
    t->keys.data = t;
    uv_poll_start(&t->keys, UV_READABLE, top_on_key);
}

static void top_on_event(void *arg, const struct sse_event *e)
{
    struct top *t = arg;

    if (t->ending)
        return;
    if (rm_slice_eq(e->type, "snapshot")) {
        if (top_model_snapshot(&t->model, e->data, rm_now_ms()) < 0)
            top_model_lost(&t->model, "the gateway sent a snapshot that cannot be read");
        if (!t->on_screen && t->model.snapshot != NULL)
            top_begin(t);
    } else if (rm_slice_eq(e->type, "event")) {
        top_model_event(&t->model, e->data);
    } else if (rm_slice_eq(e->type, "end")) {
        top_model_lost(&t->model, "the gateway is stopping");
    }
    if (!t->ending)
        top_draw(t);
}

static void top_on_lost(void *arg, int err, int status)
{
    char text[ERROR_TEXT_MAX];
    struct top *t = arg;

    if (t->ending)
        return;
    if (err < 0)
        snprintf(text, sizeof text, "%s: %s", t->url, rm_strerror(err));
    else if (status == 401 || status == 403)
        snprintf(text, sizeof text, "%s wants an API key (%d): ROLEMESH_KEY or --key-file", t->url,
                 status);
    else
        snprintf(text, sizeof text, status == 200 ? "%s ended the stream" : "%s answered %d",
                 t->url, status);
    if (!t->on_screen) {
        fprintf(stderr, "rolemesh top: %s%s\n", text,
                err < 0 ? "; start rolemesh-gateway, or name another with --gateway URL" : "");
        top_end(t, CLI_FAILED);
        return;
    }
    top_model_lost(&t->model, text);
    top_draw(t);
}

/* ---- start ---- */

static int top_start(struct top *t, const struct http_address *address)
{
    static const int numbers[] = {SIGWINCH, SIGTERM, SIGINT, SIGHUP};
    static const struct follow_ops ops = {.on_event = top_on_event, .on_lost = top_on_lost};
    int r;

    if ((r = http_client_new(&t->loop, address, &http_client_conf_default, &t->client)) < 0)
        return r;
    if ((r = follow_open(&t->loop, address, stream_target, &ops, t, &t->follow)) < 0) {
        http_client_close(t->client);
        return r;
    }
    uv_timer_init(&t->loop, &t->tick);
    t->tick.data = t;
    uv_timer_start(&t->tick, top_on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < RM_COUNT(numbers); i++) {
        uv_signal_init(&t->loop, &t->signals[i]);
        t->signals[i].data = t;
        uv_signal_start(&t->signals[i], top_on_signal, numbers[i]);
    }
    return 0;
}

static int top_run(const struct cli_args *args)
{
    static struct top t;
    const char *gateway = cli_gateway(args), *no_colour = getenv("NO_COLOR");
    struct http_address address;
    char shown[ASK_TEXT_MAX];
    int r;

    if (ask_address(gateway, &address) < 0)
        return cli_usage("top", "--gateway is http://HOST:PORT, not '%s'", gateway);
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return cli_usage("top", "it needs a terminal; 'rolemesh status' prints once");
    t = (struct top){.keys_fd = term_open_keys(),
                     .colours =
                         !cli_has(args, "no-color") && (no_colour == NULL || no_colour[0] == '\0')};
    rm_text_copy(t.url, sizeof t.url, ask_shown(gateway, shown));
    if ((r = uv_loop_init(&t.loop)) < 0 || (r = top_model_init(&t.model, t.url)) < 0 ||
        (r = top_start(&t, &address)) < 0) {
        fprintf(stderr, "rolemesh top: %s\n", rm_strerror(r));
        t.exit_code = CLI_FAILED;
    }
    uv_run(&t.loop, UV_RUN_DEFAULT);
    uv_loop_close(&t.loop);
    if (t.keys_fd >= 0)
        close(t.keys_fd);
    top_model_clear(&t.model);
    return t.exit_code;
}

const struct cli_command cli_top = {
    .name = "top",
    .group = CLI_LOOK,
    .summary = "nodes, roles and requests of a gateway, live on the whole screen",
    .about =
        "Shows nodes with memory, CPU, tokens a second, slots and queue, roles, and requests in "
        "flight, over one event stream that is found again by itself. Keys: Tab changes the "
        "pane, s and r sort, / filters, Enter looks closely (of a request: why it went where it "
        "went), c cancels a request, ? lists all of them, q leaves.\n\n"
        "It needs a terminal; 'rolemesh status' prints once.",
    .examples = "rolemesh top # the gateway of this machine",
    .common = CLI_ASKS,
    .run = top_run,
};
