/* SPDX-License-Identifier: MIT */
#include "worker/pulls/task.h"

#include <ctype.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "worker/pull/source.h"

/* ---- the wish ---- */

/* Hub names are one whatever their letters' case. */
static void target_of(struct task *t, const struct source *s, const struct source_list *files)
{
    const char *name = files->n > 0 ? files->v[0].name : t->wish.source;

    if (s->node && s->what[0] != '/' && !s->hub && s->org_repo[0] == '\0')
        name = s->what;
    rm_text_copy(t->target, sizeof t->target, name);
    for (char *p = t->target; s->hub && *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
}

int task_init(struct task *t, const struct node_pull_wish *wish, const char *id, uint64_t now_s,
              char *why)
{
    struct source_list files = {.v = NULL};
    struct source *s = malloc(sizeof *s);
    int r = UV_ENOMEM;

    _Static_assert((int)TASK_WHY_MAX >= (int)SOURCE_WHY_MAX, "the reader's message fits");
    why[0] = '\0';
    memset(t, 0, sizeof *t);
    if (s != NULL)
        r = source_parse(wish->source, "https://huggingface.co", wish->from, s, &files, why);
    if (r == 0 && wish->sha256[0] != '\0' && files.n != 1) {
        snprintf(why, TASK_WHY_MAX,
                 "sha256: only with the URL of one file; hubs and nodes say it by themselves");
        r = RM_ERR_FIELD;
    }
    if (r == 0) {
        t->wish = *wish;
        t->shown.state = PULL_QUEUED;
        t->shown.began = now_s;
        rm_text_copy(t->shown.id, sizeof t->shown.id, id);
        node_source_shown(wish->source, t->shown.source, sizeof t->shown.source);
        if (files.n > 0)
            rm_text_copy(t->shown.file, sizeof t->shown.file, files.v[0].name);
        target_of(t, s, &files);
    }
    source_list_clear(&files);
    free(s);
    return r;
}

bool task_same_wish(const struct task *t, const struct node_pull_wish *wish)
{
    return strcmp(t->wish.source, wish->source) == 0 && strcmp(t->wish.from, wish->from) == 0 &&
           strcmp(t->wish.sha256, wish->sha256) == 0;
}

/* ---- a try ---- */

void task_started(struct task *t)
{
    t->shown.state = PULL_RUNNING;
    t->shown.tries++;
    t->shown.text[0] = '\0';
    t->shown.rate = 0;
    t->shown.eta_ms = 0;
    t->fetched_before = t->fetched_at_start = t->shown.fetched;
}

static uint64_t number_of(const json_t *root, const char *name)
{
    const json_t *v = json_object_get(root, name);

    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static void take_text(struct task *t, const json_t *root)
{
    const char *text = json_string_value(json_object_get(root, "text"));

    if (text == NULL)
        return;
    rm_text_copy(t->shown.text, sizeof t->shown.text, text);
    for (char *p = t->shown.text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

static void take_progress(struct task *t, const json_t *root, bool fetching)
{
    const char *file = json_string_value(json_object_get(root, "file"));
    double rate = json_number_value(json_object_get(root, "rate"));
    struct node_pull *p = &t->shown;

    p->state = fetching ? PULL_RUNNING : PULL_VERIFYING;
    if (file != NULL && node_file_ok(file))
        rm_text_copy(p->file, sizeof p->file, file);
    p->files = (uint32_t)number_of(root, "files");
    p->files_done = (uint32_t)number_of(root, "files_done");
    p->bytes = number_of(root, "all_there");
    p->total = number_of(root, "all_total");
    p->fetched = t->fetched_before + number_of(root, "fetched");
    p->rate = fetching && rate > 0 ? rate : 0;
    p->eta_ms = p->rate > 1 && p->total > p->bytes
                    ? (uint64_t)((double)(p->total - p->bytes) * 1000 / p->rate)
                    : 0;
}

/* A file is over, well or not: its bytes count from now on. */
static void take_file_end(struct task *t, const json_t *root)
{
    t->fetched_before += number_of(root, "fetched");
    t->shown.fetched = t->fetched_before;
    take_text(t, root);
}

bool task_take_line(struct task *t, struct rm_slice line)
{
    json_t *root = json_loadb(line.n > 0 ? line.p : "", line.n, 0, NULL);
    const char *state = json_string_value(json_object_get(root, "state"));
    enum node_pull_state before = t->shown.state;

    if (state == NULL || node_pull_is_over(t->shown.state))
        ;
    else if (strcmp(state, "fetching") == 0 || strcmp(state, "checking") == 0)
        take_progress(t, root, state[0] == 'f');
    else
        take_file_end(t, root);
    json_decref(root);
    return t->shown.state != before;
}

/* ---- the end ---- */

static void over(struct task *t, enum node_pull_state state, uint64_t now_s)
{
    t->shown.state = state;
    t->shown.ended = now_s;
    t->shown.rate = 0;
    t->shown.eta_ms = 0;
    sodium_memzero(&t->wish, sizeof t->wish);
}

static uint64_t pause_of(uint32_t dry)
{
    uint64_t ms = TASK_PAUSE_MIN_MS;

    while (dry-- > 1 && ms < TASK_PAUSE_MAX_MS)
        ms *= 2;
    return ms;
}

static void again_or_never(struct task *t, const struct task_end *end, uint64_t now_ms,
                           uint64_t now_s)
{
    struct node_pull *p = &t->shown;
    char why[sizeof p->text];
    uint64_t ms;

    t->dry = p->fetched > t->fetched_at_start ? 1 : t->dry + 1;
    if (end->signal != 0)
        snprintf(why, sizeof why, "rolemesh-pull was ended by signal %d", end->signal);
    else
        rm_text_copy(why, sizeof why, p->text);
    if (t->dry >= TASK_TRIES) {
        snprintf(p->text, sizeof p->text,
                 "given up after %u tries that brought nothing; what is there stays: %.250s",
                 (unsigned)TASK_TRIES, why);
        over(t, PULL_FAILED, now_s);
        return;
    }
    ms = pause_of(t->dry);
    p->state = PULL_QUEUED;
    p->rate = 0;
    p->eta_ms = 0;
    t->not_before_ms = now_ms + ms;
    snprintf(p->text, sizeof p->text, "goes on in %u s: %.300s", (unsigned)(ms / 1000), why);
}

void task_ended(struct task *t, const struct task_end *end, uint64_t now_ms, uint64_t now_s)
{
    if (node_pull_is_over(t->shown.state))
        return;
    if (end->told) {
        t->shown.state = PULL_QUEUED;
    } else if (end->code == 0) {
        t->shown.files_done = t->shown.files;
        if (t->shown.total > 0)
            t->shown.bytes = t->shown.total;
        over(t, PULL_DONE, now_s);
    } else if (end->code == 1 || end->signal != 0) {
        again_or_never(t, end, now_ms, now_s);
    } else {
        if (t->shown.text[0] == '\0')
            snprintf(t->shown.text, sizeof t->shown.text, "rolemesh-pull ended with code %d",
                     end->code);
        over(t, PULL_FAILED, now_s);
    }
}

void task_cancel(struct task *t, uint64_t now_s)
{
    if (node_pull_is_over(t->shown.state))
        return;
    snprintf(t->shown.text, sizeof t->shown.text,
             "cancelled; what is there stays: the same pull goes on with it");
    over(t, PULL_CANCELLED, now_s);
}

/* ---- over a restart ---- */

int task_write(const struct task *t, struct rm_buf *out)
{
    int r = node_pulls_encode(&t->shown, 1, out);

    if (r == 0)
        r = rm_buf_puts(out, "\n");
    if (r == 0)
        r = node_pull_wish_encode(&t->wish, out);
    return r == 0 ? rm_buf_puts(out, "\n") : r;
}

bool task_read(struct task *t, struct rm_slice shown, struct rm_slice wish)
{
    char why[TASK_WHY_MAX];
    struct node_pull_wish *w = malloc(sizeof *w);
    struct node_pull p;
    uint32_t n = 0;
    bool good;

    good = w != NULL && node_pulls_decode(shown, &p, 1, &n, why) == 0 && n == 1;
    if (good && node_pull_is_over(p.state)) {
        memset(t, 0, sizeof *t);
        t->shown = p;
    } else if (good) {
        good = node_pull_wish_decode(wish, w, why) == 0 && task_init(t, w, p.id, p.began, why) == 0;
        if (good) {
            t->shown.bytes = p.bytes;
            t->shown.total = p.total;
            t->shown.files = p.files;
            t->shown.files_done = p.files_done;
            t->shown.tries = p.tries;
        }
    }
    free(w);
    return good;
}
