/* SPDX-License-Identifier: MIT */
/* worker/memory/forecast.h - the bytes a model will need, asked of `rolemesh-core --forecast` in a
 * throw-away child. The file is looked up first (in the thread pool); an answer is kept for the
 * same content (model_look's hash), the same flags and the same build of the engine, whatever the
 * file is called and wherever it lies. At most two children run at once, the others wait; a child
 * has 30 s, and gives itself no more memory than its --memory-max. Its end is an answer: where it
 * cannot use the model, the reason; where it dies over the question or is not there, weights and KV
 * computed from the file's header (`estimated`). Loop thread only; answers come from the loop. */
#ifndef RM_MEMORY_FORECAST_H
#define RM_MEMORY_FORECAST_H

#include <uv.h>

#include "proto/node/desired.h"

enum { FORECAST_CHILDREN = 2, FORECAST_WAITING = 64, FORECAST_KEPT = 64, FORECAST_MS = 30000 };

struct gguf_head;
struct model_id;
struct ledger;
struct supervisor;
struct forecaster;

struct forecaster_conf {
    uv_loop_t *loop;
    struct supervisor *supervisor;
    const char *core_path;
    int models_fd; /* as for model_look */
    const char *models_dir;
    const struct ledger *ledger; /* what was measured beats what is said; NULL: nothing was */
};                               /* all of it borrowed */

RM_MUST_USE int forecaster_new(const struct forecaster_conf *conf, struct forecaster **out);

/* Questions that are not answered yet are answered now or, while their file is looked at, soon:
 * nothing is known, the worker is stopping. None may be asked any more. NULL is fine. */
void forecaster_close(struct forecaster *f);

/* Asks. on_answer comes once, from the loop; f->error says why there is none. arg is borrowed until
 * then. Returns 0, RM_ERR_OVERLOAD (too many are waiting) or UV_ENOMEM. */
RM_MUST_USE int forecaster_ask(struct forecaster *f, const struct desired_host *d,
                               void (*on_answer)(void *arg, const struct node_forecast *a),
                               void *arg);

/* Which file was the last exact answer for this wish about? *bytes: its total. False: there has
 * been none, or it is forgotten; then nothing is written. */
bool forecaster_made_for(struct forecaster *f, const struct desired_host *d, struct model_id *file,
                         uint64_t *bytes);

/* Forgets the questions of arg: no answer comes any more. */
void forecaster_drop(struct forecaster *f, void *arg);

/* Reads what the core prints. Returns 0 or RM_ERR_JSON or RM_ERR_FIELD. Pure. */
RM_MUST_USE int forecast_decode(struct rm_slice json, struct node_forecast *out);

/* What the header tells of a model hosted as wanted: weights, kv, context_train. Pure.
 * Returns 0, or as kv_formula with out->error saying why and out->known false. */
int forecast_estimate(const struct gguf_head *head, const struct desired_host *d,
                      struct node_forecast *out);

#endif
