/* SPDX-License-Identifier: MIT */
#include "worker/pulls/pulls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/log.h"
#include "worker/host/supervise.h"

enum { LINE_MAX_BYTES = 32 * 1024, PATH_BYTES = 1300, NOT_RUN = 127, STATE_MAX = 512 * 1024 };

struct pull {
    struct pulls *owner;
    struct task task;
    struct child *child; /* NULL: none runs */
    struct rm_buf line;  /* what came of the present line */
};

struct pulls {
    struct pulls_conf conf;
    struct pull *v[NODE_PULLS_MAX]; /* oldest first */
    uint32_t n, running;
    bool draining, told_unsaved;
};

/* ---- what outlives the worker ---- */

static void save(struct pulls *p)
{
    char path[PATH_BYTES];
    struct rm_buf text;
    int r = 0;

    rm_buf_init(&text, STATE_MAX);
    for (uint32_t i = 0; r == 0 && i < p->n; i++)
        r = task_write(&p->v[i]->task, &text);
    snprintf(path, sizeof path, "%s/pulls.json", p->conf.state_dir);
    if (r == 0)
        r = rm_file_put(path, (struct rm_slice){text.data, text.len}, 0600);
    if (r < 0 && !p->told_unsaved)
        rm_warn("pull", "pulls will not go on after a restart", RM_S("file", path), RM_E("why", r));
    p->told_unsaved = r < 0;
    rm_buf_clear(&text);
}

static struct pull *pull_new(struct pulls *p)
{
    struct pull *u = calloc(1, sizeof *u);

    if (u == NULL)
        return NULL;
    u->owner = p;
    rm_buf_init(&u->line, LINE_MAX_BYTES);
    return u;
}

static void pull_free(struct pull *u)
{
    if (u == NULL)
        return;
    rm_buf_clear(&u->line);
    free(u);
}

/* Takes the next line off *text, without its LF. */
static struct rm_slice next_line(struct rm_slice *text)
{
    const char *end = text->n > 0 ? memchr(text->p, '\n', text->n) : NULL;
    struct rm_slice line = {text->p, end != NULL ? (size_t)(end - text->p) : text->n};
    size_t n = line.n + (end != NULL);

    text->p += n;
    text->n -= n;
    return line;
}

static void load(struct pulls *p)
{
    char path[PATH_BYTES];
    struct rm_slice text;
    struct rm_buf file;
    int r;

    snprintf(path, sizeof path, "%s/pulls.json", p->conf.state_dir);
    rm_buf_init(&file, STATE_MAX);
    if ((r = rm_file_read(path, &file)) < 0 && r != UV_ENOENT)
        rm_warn("pull", "the pulls of before are lost", RM_S("file", path), RM_E("why", r));
    text = (struct rm_slice){file.data, r == 0 ? file.len : 0};
    while (text.n > 0 && p->n < NODE_PULLS_MAX) {
        struct rm_slice shown = next_line(&text), wish = next_line(&text);
        struct pull *u = pull_new(p);

        if (u != NULL && task_read(&u->task, shown, wish)) {
            p->v[p->n++] = u;
            if (!node_pull_is_over(u->task.shown.state))
                rm_info("pull", "goes on", RM_S("pull", u->task.shown.id),
                        RM_S("source", u->task.shown.source));
        } else {
            pull_free(u);
        }
    }
    rm_buf_clear(&file);
}

int pulls_open(const struct pulls_conf *conf, struct pulls **out)
{
    struct pulls *p = *out = calloc(1, sizeof *p);

    if (p == NULL)
        return UV_ENOMEM;
    p->conf = *conf;
    load(p);
    return 0;
}

void pulls_close(struct pulls *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->n; i++)
        pull_free(p->v[i]);
    free(p);
}

static void changed(struct pulls *p)
{
    save(p);
    p->conf.on_change(p->conf.arg);
}

/* ---- a process ---- */

static void source_path(const struct pull *u, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/%s", u->owner->conf.run_dir, u->task.shown.id);
}

static void tell_end(const struct pull *u)
{
    const struct node_pull *p = &u->task.shown;

    if (p->state == PULL_DONE)
        rm_info("pull", "done", RM_S("pull", p->id), RM_S("source", p->source),
                RM_S("file", p->file), RM_U("bytes", p->bytes));
    else
        rm_warn("pull", node_pull_state_name(p->state), RM_S("pull", p->id),
                RM_S("source", p->source), RM_S("why", p->text));
}

static void pull_on_end(void *arg, const struct child_end *end)
{
    struct pull *u = arg;
    struct pulls *p = u->owner;
    bool was_over = node_pull_is_over(u->task.shown.state);
    int status = end->wait_status;
    struct task_end how = {.told = end->told_to_end && p->draining,
                           .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                           .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0};
    char path[PATH_BYTES];

    if (how.code == NOT_RUN)
        snprintf(u->task.shown.text, sizeof u->task.shown.text,
                 "rolemesh-pull cannot be run: %.300s", end->log);
    u->child = NULL;
    p->running--;
    rm_buf_clear(&u->line);
    source_path(u, path);
    unlink(path);
    task_ended(&u->task, &how, rm_now_ms(), (uint64_t)rm_wall_s());
    if (!was_over && !how.told)
        tell_end(u);
    changed(p);
    if (!was_over && u->task.shown.state == PULL_DONE)
        p->conf.on_there(p->conf.arg);
    pulls_tick(p);
}

static void pull_on_channel(void *arg, const char *bytes, size_t n)
{
    struct rm_slice text = {bytes, n};
    struct pull *u = arg;
    bool moved = false;

    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t part = end != NULL ? (size_t)(end - text.p) : text.n;

        if (rm_buf_put(&u->line, text.p, part) < 0)
            rm_buf_clear(&u->line); /* no line of ours is so long */
        if (end != NULL) {
            moved |= task_take_line(&u->task, (struct rm_slice){u->line.data, u->line.len});
            rm_buf_clear(&u->line);
        }
        part += end != NULL;
        text.p += part;
        text.n -= part;
    }
    if (moved)
        changed(u->owner);
}

static int pull_start(struct pull *u)
{
    static const struct child_ops ops = {.on_channel = pull_on_channel, .on_end = pull_on_end};
    struct pulls *p = u->owner;
    const struct node_pull_wish *w = &u->task.wish;
    char keep[24], rate[24], path[PATH_BYTES];
    const char *argv[20] = {p->conf.program, "--json", "--dir",         p->conf.models_dir,
                            "--keep-free",   keep,     "--source-file", path};
    struct child_spec spec = {argv, "pull", true};
    size_t n = 8;
    int r;

    snprintf(keep, sizeof keep, "%" PRIu64, p->conf.keep_free_bytes);
    snprintf(rate, sizeof rate, "%" PRIu64, w->rate);
    source_path(u, path);
    if (w->rate > 0)
        argv[n++] = "--rate", argv[n++] = rate;
    if (w->sha256[0] != '\0')
        argv[n++] = "--sha256", argv[n++] = w->sha256;
    if (w->from[0] != '\0')
        argv[n++] = "--from", argv[n++] = w->from;
    if ((r = rm_file_put(path, rm_slice_of(w->source), 0600)) < 0)
        return r;
    if ((r = child_start(p->conf.supervisor, &spec, &ops, u, &u->child)) < 0) {
        unlink(path);
        return r;
    }
    p->running++;
    task_started(&u->task);
    rm_info("pull", "begun", RM_S("pull", u->task.shown.id), RM_S("source", u->task.shown.source),
            RM_U("try", u->task.shown.tries));
    return 0;
}

void pulls_tick(struct pulls *p)
{
    uint64_t now = rm_now_ms();

    for (uint32_t i = 0; i < p->n && !p->draining && p->running < PULLS_RUNNING_MAX; i++) {
        struct pull *u = p->v[i];
        int r;

        if (u->task.shown.state != PULL_QUEUED || u->child != NULL || now < u->task.not_before_ms)
            continue;
        if ((r = pull_start(u)) < 0) {
            u->task.not_before_ms = now + TASK_PAUSE_MAX_MS;
            snprintf(u->task.shown.text, sizeof u->task.shown.text, "cannot be started yet: %s",
                     rm_strerror(r));
        }
        changed(p);
    }
}

/* ---- wishes ---- */

static struct pull *find(const struct pulls *p, const char *id)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i]->task.shown.id, id) == 0)
            return p->v[i];
    return NULL;
}

/* The oldest one that is over makes room. */
static bool make_room(struct pulls *p)
{
    if (p->n < NODE_PULLS_MAX)
        return true;
    for (uint32_t i = 0; i < p->n; i++) {
        struct pull *u = p->v[i];

        if (!node_pull_is_over(u->task.shown.state) || u->child != NULL)
            continue;
        memmove(&p->v[i], &p->v[i + 1], (--p->n - i) * sizeof p->v[0]);
        pull_free(u);
        return true;
    }
    return false;
}

static int make_id(char out[NODE_PULL_ID])
{
    unsigned char b[8];
    int r = uv_random(NULL, NULL, b, sizeof b, 0, NULL);

    if (r == 0)
        snprintf(out, NODE_PULL_ID, "p-%02x%02x%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
                 b[4], b[5], b[6], b[7]);
    return r;
}

/* Another one of the same file: RM_AGAIN or RM_ERR_STATE; 0: there is none. */
static int compare(const struct pulls *p, const struct task *t, const struct node_pull_wish *wish,
                   const struct node_pull **out, char *why)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct task *other = &p->v[i]->task;

        if (node_pull_is_over(other->shown.state) || strcmp(other->target, t->target) != 0)
            continue;
        *out = &other->shown;
        if (task_same_wish(other, wish))
            return RM_AGAIN;
        snprintf(why, TASK_WHY_MAX, "%s fetches that file from elsewhere: cancel it first",
                 other->shown.id);
        return RM_ERR_STATE;
    }
    return 0;
}

int pulls_add(struct pulls *p, const struct node_pull_wish *wish, const struct node_pull **out,
              char *why)
{
    char id[NODE_PULL_ID];
    struct pull *u;
    int r;

    *out = NULL;
    why[0] = '\0';
    if (p->draining)
        return RM_ERR_DRAINING;
    if ((r = make_id(id)) < 0)
        return r;
    if ((u = pull_new(p)) == NULL)
        return UV_ENOMEM;
    if ((r = task_init(&u->task, wish, id, (uint64_t)rm_wall_s(), why)) == 0)
        r = compare(p, &u->task, wish, out, why);
    if (r == 0 && !make_room(p)) {
        snprintf(why, TASK_WHY_MAX, "%d pulls are under way on this node", (int)NODE_PULLS_MAX);
        r = RM_ERR_OVERLOAD;
    }
    if (r != 0) {
        pull_free(u);
        return r;
    }
    p->v[p->n++] = u;
    *out = &u->task.shown;
    changed(p);
    pulls_tick(p);
    return 0;
}

int pulls_cancel(struct pulls *p, const char *id, const struct node_pull **out)
{
    struct pull *u = find(p, id);

    if (u == NULL)
        return RM_ERR_NOT_FOUND;
    *out = &u->task.shown;
    if (node_pull_is_over(u->task.shown.state))
        return RM_ERR_STATE;
    task_cancel(&u->task, (uint64_t)rm_wall_s());
    rm_info("pull", "cancelled", RM_S("pull", id), RM_S("source", u->task.shown.source));
    if (u->child != NULL)
        child_stop(u->child);
    changed(p);
    return 0;
}

uint32_t pulls_list(const struct pulls *p, struct node_pull *out, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n && n < max; i++)
        if (!node_pull_is_over(p->v[i]->task.shown.state))
            out[n++] = p->v[i]->task.shown;
    for (uint32_t i = p->n; i > 0 && n < max; i--)
        if (node_pull_is_over(p->v[i - 1]->task.shown.state))
            out[n++] = p->v[i - 1]->task.shown;
    return n;
}

void pulls_drain(struct pulls *p)
{
    p->draining = true;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->v[i]->child != NULL)
            child_stop(p->v[i]->child);
}
