/* SPDX-License-Identifier: MIT */
#include "cli/pull_node.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"

enum {
    LOOK_MS = 500,          /* how often the gateway is asked */
    SILENCE_MS = 30 * 1000, /* of a gateway, before it is given up */
    UNSEEN_MS = 10 * 1000,  /* until the node's next state has the pull */
    BAR_CELLS = 24,
    BODY_MAX = 8 * 1024
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

struct following {
    const struct cli_args *args;
    const char *command;
    struct api api;
    char node[ASK_TEXT_MAX], id[ASK_TEXT_MAX];
    bool terminal, drawn;
    char state[16]; /* told last where there is no terminal */
    uint64_t heard_ms;
};

/* ---- telling ---- */

/* "[####    ] 43.1 %  1.2 GiB of 2.8 GiB  12 MiB/s  1m20s left" */
static void draw_bar(struct following *f, const json_t *pull)
{
    uint64_t bytes = api_u64(pull, "bytes"), total = api_u64(pull, "total");
    uint64_t rate = (uint64_t)api_real(pull, "rate");
    double part = total > 0 ? (double)bytes / (double)total : 0;
    char state[ASK_TEXT_MAX], a[HUMAN_MAX], b[HUMAN_MAX];
    int full = (int)(part * BAR_CELLS);

    fprintf(stderr, "\r%s [%.*s%*s] %5.1f %%", api_text(pull, "state", state), full,
            "########################", BAR_CELLS - full, "", part * 100);
    if (total > 0)
        fprintf(stderr, "  %s of %s", human_bytes(bytes, a), human_bytes(total, b));
    if (rate > 0)
        fprintf(stderr, "  %s/s", human_bytes(rate, a));
    if (!api_null(pull, "eta_ms"))
        fprintf(stderr, "  %s left", human_ms(api_u64(pull, "eta_ms"), a));
    fputs("\033[K", stderr);
    f->drawn = true;
}

static void end_bar(struct following *f)
{
    if (f->drawn)
        fputs("\r\033[K", stderr);
    f->drawn = false;
}

/* Where there is no terminal: a line with each new state. */
static void tell_state(struct following *f, const json_t *pull)
{
    char state[ASK_TEXT_MAX], text[ASK_TEXT_MAX], file[ASK_TEXT_MAX];

    api_text(pull, "state", state);
    if (strcmp(state, f->state) == 0)
        return;
    rm_text_copy(f->state, sizeof f->state, state);
    fprintf(stderr, "%s%s: %s%s%s\n", api_null(pull, "file") ? "node " : "",
            api_null(pull, "file") ? f->node : api_text(pull, "file", file), state,
            api_null(pull, "text") ? "" : ": ",
            api_null(pull, "text") ? "" : api_text(pull, "text", text));
}

static void tell_progress(struct following *f, const json_t *pull)
{
    if (cli_wants_json(f->args))
        return;
    if (f->terminal)
        draw_bar(f, pull);
    else
        tell_state(f, pull);
}

static int tell_end(struct following *f, const json_t *pull)
{
    const char *state = json_string_value(json_object_get(pull, "state"));
    char file[ASK_TEXT_MAX], text[ASK_TEXT_MAX], bytes[HUMAN_MAX];
    bool done = state != NULL && strcmp(state, "done") == 0;

    end_bar(f);
    if (cli_wants_json(f->args)) {
        api_print(pull, stdout, false);
        return done ? CLI_OK : CLI_FAILED;
    }
    if (!done)
        return cli_failed(f->command, "%s on node %s: %s", state != NULL ? state : "lost", f->node,
                          api_text(pull, "text", text));
    if (api_null(pull, "file")) { /* nothing was fetched */
        printf("node %s: %s\n", f->node, api_text(pull, "text", text));
        return CLI_OK;
    }
    printf("%s is on node %s: %s", api_text(pull, "file", file), f->node,
           show_bytes(pull, "bytes", bytes));
    if (api_u64(pull, "files") > 1)
        printf(" in %" PRIu64 " files", api_u64(pull, "files"));
    putchar('\n');
    return CLI_OK;
}

/* ---- following ---- */

static bool is_over(const json_t *pull)
{
    return !api_null(pull, "ended");
}

static json_t *find(const json_t *pulls, const char *id)
{
    json_t *pull;
    size_t i;

    json_array_foreach(pulls, i, pull)
    {
        const char *its = json_string_value(json_object_get(pull, "id"));

        if (its != NULL && strcmp(its, id) == 0)
            return json_incref(pull);
    }
    return NULL;
}

/* The pull as it is now; NULL: nothing was heard of it. */
static json_t *look(struct following *f)
{
    char target[API_TARGET_MAX] = "/api/v1/pulls";
    json_t *all, *pull;

    api_query(target, "node", f->node);
    if (api_list(&f->api, target, "pulls", 0, &all) != CLI_OK)
        return NULL;
    pull = find(json_object_get(all, "pulls"), f->id);
    json_decref(all);
    return pull;
}

static int left_running(struct following *f)
{
    end_bar(f);
    fprintf(stderr,
            "rolemesh %s: node %s goes on with it; `rolemesh pulls` shows how far it is, "
            "`rolemesh pull --node %s --cancel %s` ends it\n",
            f->command, f->node, f->node, f->id);
    return CLI_FAILED;
}

static int lost(struct following *f, uint64_t silent_ms)
{
    if (silent_ms < SILENCE_MS)
        return -1;
    end_bar(f);
    return cli_failed(f->command,
                      "%s has told nothing of %s on node %s for %u s; if the node is up it goes on",
                      f->api.url, f->id, f->node, (unsigned)(SILENCE_MS / 1000));
}

static int follow(struct following *f, json_t *pull)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    struct sigaction act = {.sa_handler = on_signal};
    int r = -1;

    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    f->api.quiet = true;
    f->heard_ms = rm_now_ms();
    while (r < 0) {
        if (pull != NULL && is_over(pull)) {
            r = tell_end(f, pull);
        } else if (stop) {
            r = left_running(f);
        } else {
            if (pull != NULL)
                tell_progress(f, pull);
            nanosleep(&pause, NULL);
        }
        json_decref(pull);
        pull = NULL;
        if (r < 0 && !stop && (pull = look(f)) != NULL)
            f->heard_ms = rm_now_ms();
        else if (r < 0 && !stop)
            r = lost(f, rm_now_ms() - f->heard_ms);
    }
    json_decref(pull);
    return r;
}

/* ---- asking ---- */

static int open_following(const struct cli_args *args, struct following *f)
{
    *f = (struct following){.args = args, .command = args->command->name};
    f->terminal = isatty(STDERR_FILENO) != 0;
    return api_open(args, &f->api);
}

static int write_wish(const struct cli_args *args, const char *node, const char *source,
                      struct rm_buf *out)
{
    bool sums = cli_option_named(args->command, "sha256", 6) != NULL;
    uint64_t rate = cli_number(args, "rate", 0);
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "node", node);
    rm_jw_str(&w, "source", source);
    if (sums && cli_text(args, "sha256") != NULL)
        rm_jw_str(&w, "sha256", cli_text(args, "sha256"));
    if (rate > 0)
        rm_jw_u64(&w, "rate", rate);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int pull_on_node(const struct cli_args *args, const char *node, const char *source)
{
    struct following f;
    struct rm_buf body;
    json_t *pull = NULL;
    int r = open_following(args, &f);

    if (r != CLI_OK)
        return r;
    rm_buf_init(&body, BODY_MAX);
    if (write_wish(args, node, source, &body) < 0)
        r = cli_usage(f.command, "the source is too long");
    else
        r = api_ask(&f.api, "POST", "/api/v1/pulls", (struct rm_slice){body.data, body.len}, &pull);
    rm_buf_clear(&body);
    if (r != CLI_OK)
        return r;
    api_text(pull, "node", f.node);
    api_text(pull, "id", f.id);
    if (!cli_has(args, "detach"))
        return follow(&f, pull);
    if (cli_wants_json(args))
        api_print(pull, stdout, false);
    else
        puts(f.id);
    json_decref(pull);
    return CLI_OK;
}

int pull_cancel(const struct cli_args *args, const char *node, const char *id)
{
    char target[API_TARGET_MAX] = "/api/v1/pulls/", text[ASK_TEXT_MAX];
    struct following f;
    json_t *pull;
    int r = open_following(args, &f);

    if (r != CLI_OK)
        return r;
    api_segment(target, node);
    strcat(target, "/");
    api_segment(target, id);
    if ((r = api_ask(&f.api, "DELETE", target, (struct rm_slice){NULL, 0}, &pull)) != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(pull, stdout, false);
    else
        puts(api_text(pull, "text", text));
    json_decref(pull);
    return CLI_OK;
}

/* ---- rolemesh copy ---- */

static int copy_run(const struct cli_args *args)
{
    const char *from = cli_text(args, "from"), *to = cli_text(args, "to");
    char source[API_TARGET_MAX];

    if (from == NULL || to == NULL)
        return cli_usage("copy", "from which node to which? --from NODE --to NODE");
    if (strchr(from, '/') != NULL || snprintf(source, sizeof source, "node:%s/%s", from,
                                              cli_word(args, 0)) >= (int)sizeof source)
        return cli_usage("copy", "--from: expected the name of a node");
    return pull_on_node(args, to, source);
}

static const struct cli_option copy_options[] = {
    {.name = "from",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "that has the model"},
    {.name = "to",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "that gets it, under the same name"},
    {.name = "rate",
     .kind = CLI_NUMBER,
     .value = "BYTES",
     .max = INT64_MAX / 1024,
     .help = "bytes a second at most"},
    {.name = "detach", .kind = CLI_FLAG, .help = "say the id and do not wait for the end"},
    {NULL},
};

const struct cli_command cli_copy = {
    .name = "copy",
    .group = CLI_PREPARE,
    .summary = "copy a model from one node to another, resumable",
    .about = "MODEL is a model of the role map, a file beneath the models directory of the node "
             "that has it (of a split model the first one; all are copied), or hf:ORG/REPO:QUANT "
             "as it was pulled there. The node that gets it reads from the other one and checks "
             "every file's SHA-256, which the other one makes meanwhile.\n\n"
             "Ctrl-C leaves it running; the same command follows it again. What was begun is gone "
             "on with, also after a restart of either node.",
    .examples = "rolemesh copy gpt-oss-20b --from speed --to reasoning\n"
                "rolemesh copy org/repo/m-Q8_0.gguf --from speed --to reasoning --detach\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = copy_options,
    .operands = {{"MODEL", false, false, "which model?", CLI_COMPLETE_MODEL, NULL}},
    .run = copy_run,
};

/* ---- rolemesh pulls ---- */

static const struct grid_column columns[] = {
    {"ID", false, GRID_WHOLE, 0}, {"NODE", false, false, 24}, {"STATE", false, false, 0},
    {"DONE", true, false, 0},     {"BYTES", true, true, 0},   {"TOTAL", true, false, 0},
    {"RATE", true, false, 0},     {"LEFT", true, false, 0},   {"FILES", true, true, 0},
    {"FETCHED", true, true, 0},   {"TRIES", true, true, 0},   {"BEGAN", false, true, 0},
    {"SOURCE", false, false, 48}, {"TEXT", false, false, 80},
};

static void add_pull(struct grid *g, const json_t *pull, time_t now, bool csv)
{
    const char *state = json_string_value(json_object_get(pull, "state"));
    uint64_t bytes = api_u64(pull, "bytes"), total = api_u64(pull, "total");
    uint64_t rate = (uint64_t)api_real(pull, "rate");
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX];

    grid_add(g, TERM_PLAIN, "%s", api_text(pull, "id", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(pull, "node", text));
    grid_add(g, show_color(state), "%s", state != NULL ? state : "-");
    if (total > 0)
        grid_add(g, TERM_PLAIN, "%.1f%%", (double)bytes * 100 / (double)total);
    else
        grid_add(g, TERM_PLAIN, "-");
    grid_add(g, TERM_PLAIN, "%s", show_bytes(pull, "bytes", cell));
    grid_add(g, TERM_PLAIN, "%s", show_bytes(pull, "total", cell));
    grid_add(g, TERM_PLAIN, "%s%s", rate > 0 ? human_bytes(rate, cell) : "-", rate > 0 ? "/s" : "");
    grid_add(g, TERM_PLAIN, "%s", show_ms(pull, "eta_ms", cell));
    grid_add(g, TERM_PLAIN, "%" PRIu64 "/%" PRIu64, api_u64(pull, "files_done"),
             api_u64(pull, "files"));
    grid_add(g, TERM_PLAIN, "%s", show_bytes(pull, "fetched", cell));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(pull, "tries"));
    grid_add(g, TERM_PLAIN, "%s",
             csv ? api_text(pull, "began", text)
                 : human_time(api_text(pull, "began", text), now, cell));
    grid_add(g, TERM_PLAIN, "%s", api_text(pull, "source", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(pull, "text", text));
}

static int pulls_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    static const char *const filters[] = {"node", "state", NULL};
    char target[API_TARGET_MAX] = "/api/v1/pulls";
    const json_t *pull;
    struct grid g;
    json_t *all;
    size_t i;
    int err = 0, r;

    api_query_said(target, args, filters);
    if ((r = api_list(arg, target, "pulls", 0, &all)) != CLI_OK)
        return r;
    if (cli_wants_json(args)) {
        api_print(all, t->to, t->compact);
    } else {
        grid_init(&g, columns, RM_COUNT(columns));
        g.none = "no pulls";
        json_array_foreach(json_object_get(all, "pulls"), i, pull)
            add_pull(&g, pull, time(NULL), t->csv);
        err = grid_print(&g, t, cli_wants_wide(args));
        grid_clear(&g);
    }
    json_decref(all);
    return err == 0 ? CLI_OK : cli_failed("pulls", "%s", rm_strerror(err));
}

static int pulls_run(const struct cli_args *args)
{
    struct api api;
    int r = api_open(args, &api);

    return r == CLI_OK ? term_watch(args, pulls_draw, &api) : r;
}

static const char *const states[] = {"queued", "running",   "verifying", "done",
                                     "failed", "cancelled", NULL};

static const struct cli_option pulls_options[] = {
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "only those of this node"},
    {.name = "state",
     .kind = CLI_WORD,
     .value = "STATE",
     .words = states,
     .help = "only those that are queued, running, verifying, done, failed or cancelled"},
    {NULL},
};

const struct cli_command cli_pulls = {
    .name = "pulls",
    .group = CLI_LOOK,
    .summary = "models that come onto nodes, and how far they are",
    .about = "Of each node those under way, then those that ended last.",
    .examples = "rolemesh pulls --watch=1\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = pulls_options,
    .run = pulls_run,
};
