/* SPDX-License-Identifier: MIT */
#include "gateway/trial.h"

#include <stdlib.h>

#include "gateway/ops/list.h"
#include "proto/base/json_write.h"
#include "proto/http/problem.h"

enum { TRIAL_ANSWER_MAX = 16 << 20, TRIAL_PROBLEM_MAX = 4096 };

struct trial {
    struct drive *drive;
    struct role_map *map;   /* a reference; NULL: not yet */
    struct rm_buf compared; /* what the keeper said */
    ops_answer_fn on_answer;
    void *arg;
};

static void trial_end(struct trial *t, int status, struct rm_slice json)
{
    t->on_answer(t->arg, status, json);
    role_map_unref(t->map);
    rm_buf_clear(&t->compared);
    free(t);
}

static void trial_fail(struct trial *t, int err)
{
    struct rm_buf out;
    struct rm_jw w;

    rm_buf_init(&out, TRIAL_PROBLEM_MAX);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    http_problem_members(&w, err, NULL);
    rm_jw_end(&w);
    trial_end(t, rm_err_status(err), (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
}

/* ,"NAME":the other object's member */
static int put_member(struct rm_buf *out, const char *name, struct rm_slice object,
                      const char *member)
{
    struct rm_slice value = RM_LIT("null");
    int r = rm_buf_printf(out, ",\"%s\":", name);

    (void)list_member(object, member, &value);
    return r == 0 ? rm_buf_put(out, value.p, value.n) : r;
}

static void trial_on_plan(void *arg, int err, struct rm_slice json)
{
    struct trial *t = arg;
    const struct rm_slice compared = {t->compared.data, t->compared.len};
    struct rm_buf out;

    if (err < 0) {
        trial_fail(t, err);
        return;
    }
    rm_buf_init(&out, TRIAL_ANSWER_MAX);
    err = rm_buf_put(&out, json.p, json.n - 1); /* without the closing brace */
    if (err == 0)
        err = put_member(&out, "diff", compared, "changes");
    if (err == 0)
        err = put_member(&out, "revision", compared, "revision");
    if (err == 0)
        err = put_member(&out, "offered_revision", compared, "offered_revision");
    if (err == 0)
        err = rm_buf_puts(&out, "}\n");
    if (err == 0)
        trial_end(t, 200, (struct rm_slice){out.data, out.len});
    else
        trial_fail(t, err);
    rm_buf_clear(&out);
}

static void trial_on_map(void *arg, struct role_map *map)
{
    ((struct trial *)arg)->map = role_map_ref(map);
}

static void trial_on_compared(void *arg, int status, struct rm_slice json)
{
    struct trial *t = arg;
    int r;

    if (status != 200 || t->map == NULL) {
        trial_end(t, status, json);
        return;
    }
    r = rm_buf_put(&t->compared, json.p, json.n);
    if (r == 0)
        r = drive_try_map(t->drive, t->map, trial_on_plan, t);
    if (r < 0)
        trial_fail(t, r);
}

int trial_begin(struct map_keeper *keeper, struct drive *drive, const struct ops_offer *offer,
                ops_answer_fn on_answer, void *arg)
{
    const struct map_offer what = {.bytes = offer->body.p,
                                   .n = offer->body.n,
                                   .name = offer->name,
                                   .expect = "",
                                   .dry_run = true,
                                   .on_map = trial_on_map};
    struct trial *t = calloc(1, sizeof *t);
    int r;

    if (t == NULL)
        return UV_ENOMEM;
    t->drive = drive;
    t->on_answer = on_answer;
    t->arg = arg;
    rm_buf_init(&t->compared, KEEPER_ANSWER_MAX);
    if ((r = map_keeper_offer(keeper, &what, trial_on_compared, t)) < 0)
        free(t);
    return r;
}
