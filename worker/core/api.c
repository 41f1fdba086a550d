/* SPDX-License-Identifier: MIT */
#include "worker/core/api.h"

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"
#include "proto/http/server.h"
#include "worker/core/answer.h"
#include "worker/core/decoder.h"
#include "worker/core/kvdisk.h"
#include "worker/core/openai.h"
#include "worker/core/template.h"

enum { API_TEXT = 256 };

struct api {
    uv_loop_t *loop;
    uv_async_t bell;
    struct api_conf conf;
    struct http_server *server;
    struct answers *answers;
    struct chat_template *template;
    struct prepare_env env;
    /* facts of the model */
    char name[API_TEXT], arch[64], desc[128];
    struct openai_model model;
    uint64_t started_ms;
    struct http_req *saving;     /* who asked for /core/save; NULL: nobody, or gone */
    struct decoder_stats before; /* what the warm-up counted */
    void (*on_closed)(void *arg);
    void *closed_arg;
    int closing; /* handles still to be closed */
};

/* ---- the simple answers ---- */

static void api_reply(struct http_req *q, const struct rm_buf *body, int r)
{
    if (r < 0)
        answer_refuse(q, r, NULL, NULL);
    else
        http_reply_full(q, 200, NULL, 0, "application/json",
                        (struct rm_slice){body->data, body->len});
}

static int put_health(struct api *api, struct rm_slice path, struct rm_buf *out)
{
    (void)api;
    (void)path;
    return rm_buf_puts(out, "{\"status\":\"ok\"}");
}

static int put_models(struct api *api, struct rm_slice path, struct rm_buf *out)
{
    (void)path;
    return openai_put_models(out, &api->model);
}

static int put_model(struct api *api, struct rm_slice path, struct rm_buf *out)
{
    static const size_t skip = sizeof("/v1/models/") - 1;
    struct rm_slice id = {path.p + skip, path.n - skip};

    return rm_slice_eq(id, api->model.id) ? openai_put_model(out, &api->model) : RM_ERR_MODEL;
}

static void put_facts(struct api *api, struct rm_jw *w)
{
    rm_jw_obj(w, "model");
    rm_jw_str(w, "name", api->model.id);
    rm_jw_str(w, "arch", api->arch);
    rm_jw_str(w, "desc", api->desc);
    rm_jw_u64(w, "params", api->model.params);
    rm_jw_u64(w, "bytes", api->model.bytes);
    rm_jw_u64(w, "context_train", api->model.context_train);
    rm_jw_i64(w, "vocab", llama_vocab_n_tokens(api->env.vocab));
    rm_jw_str(w, "template", chat_template_kind(api->template));
    rm_jw_bool(w, "fim", prepare_has_fim(api->env.vocab));
    rm_jw_end(w);
    rm_jw_str(w, "version", RM_VERSION);
    rm_jw_str(w, "llama", llama_version());
}

/* By depth: what the ledger of the worker keeps. */
static void put_depth(const struct api *api, const struct decoder_stats *s, struct rm_jw *w)
{
    rm_jw_arr(w, "depth");
    for (int i = 0; i < DEPTH_BUCKETS; i++) {
        const struct depth_sums *now = &s->depth[i], *before = &api->before.depth[i];

        rm_jw_obj(w, NULL);
        rm_jw_u64(w, "from", depth_from[i]);
        rm_jw_u64(w, "prefill_tokens", now->prefill_tokens - before->prefill_tokens);
        rm_jw_u64(w, "prefill_us", now->prefill_us - before->prefill_us);
        rm_jw_u64(w, "decode_tokens", now->decode_tokens - before->decode_tokens);
        rm_jw_u64(w, "decode_us", now->decode_us - before->decode_us);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static void put_slots(const struct decoder_stats *s, struct rm_jw *w)
{
    static const char *const words[] = {"idle", "prefill", "decode"};

    rm_jw_arr(w, "slot_states");
    for (uint32_t i = 0; i < s->slots; i++)
        rm_jw_str(w, NULL, words[s->slot[i]]);
    rm_jw_end(w);
}

static int put_state(struct api *api, struct rm_slice path, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    struct decoder_stats s;

    (void)path;
    decoder_stats(api->conf.decoder, &s);
    rm_jw_obj(&w, NULL);
    put_facts(api, &w);
    rm_jw_i64(&w, "pid", getpid());
    rm_jw_u64(&w, "uptime_ms", rm_now_ms() - api->started_ms);
    rm_jw_u64(&w, "context", api->env.context);
    rm_jw_u64(&w, "slots", s.slots);
    rm_jw_u64(&w, "slots_busy", s.slots_busy);
    rm_jw_u64(&w, "slots_prefill", s.slots_prefill);
    put_slots(&s, &w);
    rm_jw_u64(&w, "queue", s.queued);
    rm_jw_dbl(&w, "prefill_tps", s.prefill_tps);
    rm_jw_dbl(&w, "decode_tps", s.decode_tps);
    rm_jw_u64(&w, "kv_used", s.kv_tokens_used);
    rm_jw_u64(&w, "kv_total", s.kv_tokens_total);
    rm_jw_u64(&w, "kv_deepest", s.kv_deepest);
    rm_jw_u64(&w, "prompt_tokens", s.prompt_tokens - api->before.prompt_tokens);
    rm_jw_u64(&w, "cached_tokens", s.cached_tokens - api->before.cached_tokens);
    rm_jw_u64(&w, "generated_tokens", s.generated_tokens - api->before.generated_tokens);
    rm_jw_u64(&w, "read_tokens", s.read_tokens - api->before.read_tokens);
    rm_jw_u64(&w, "jobs_done", s.jobs_done - api->before.jobs_done);
    rm_jw_u64(&w, "jobs_failed", s.jobs_failed - api->before.jobs_failed);
    rm_jw_u64(&w, "decode_calls", s.decode_calls - api->before.decode_calls);
    rm_jw_u64(&w, "batch", s.batch);
    rm_jw_u64(&w, "batch_most", s.batch_most);
    put_depth(api, &s, &w);
    rm_jw_u64(&w, "ticks", s.ticks);
    rm_jw_u64(&w, "requests", answers_count(api->answers));
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* ---- routes ---- */

/* put: answers a GET; NULL: a POST, taken by answer.c. tail: the path goes on after this. */
static const struct route {
    const char *path;
    bool tail;
    int (*put)(struct api *api, struct rm_slice path, struct rm_buf *out);
    enum answer_kind kind;
} routes[] = {
    {"/v1/chat/completions", false, NULL, ANSWER_CHAT},
    {"/v1/completions", false, NULL, ANSWER_COMPLETION},
    {"/core/state", false, put_state, 0},
    {"/core/save", false, NULL, 0},
    {"/health", false, put_health, 0},
    {"/v1/models", false, put_models, 0},
    {"/v1/models/", true, put_model, 0},
    {"/tokenize", false, NULL, ANSWER_TOKENIZE},
    {"/detokenize", false, NULL, ANSWER_DETOKENIZE},
    {"/apply-template", false, NULL, ANSWER_APPLY},
};

static const struct route *route_find(struct rm_slice path)
{
    for (size_t i = 0; i < RM_COUNT(routes); i++) {
        size_t n = strlen(routes[i].path);

        if (rm_slice_eq(path, routes[i].path))
            return &routes[i];
        if (routes[i].tail && path.n > n && memcmp(path.p, routes[i].path, n) == 0)
            return &routes[i];
    }
    return NULL;
}

static void api_on_done(struct http_req *q)
{
    (void)q;
}

static void api_refuse(struct http_req *q, int err, const char *allow)
{
    struct http_out_field field = {"Allow", rm_slice_of(allow)};
    struct rm_buf body;

    rm_buf_init(&body, 4096);
    if (openai_put_error(&body, err, NULL, NULL, false) < 0)
        body.len = 0;
    http_reply_full(q, rm_err_status(err), &field, allow != NULL ? 1 : 0, "application/json",
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

/* ---- the KV state ---- */

static void put_report(struct rm_jw *w, const struct kvsave_report *r)
{
    rm_jw_obj(w, NULL);
    rm_jw_bool(w, "saved", r->done);
    rm_jw_str(w, "why", r->why);
    rm_jw_u64(w, "sequences", r->sequences);
    rm_jw_u64(w, "of", r->of);
    rm_jw_u64(w, "tokens", r->tokens);
    rm_jw_u64(w, "bytes", r->bytes);
    rm_jw_u64(w, "ms", r->ms);
    rm_jw_dbl(w, "write_bps", r->speeds.write_bps);
    rm_jw_dbl(w, "read_bps", r->speeds.read_bps);
    rm_jw_dbl(w, "prefill_tps", r->speeds.prefill_tps);
    rm_jw_end(w);
}

static void api_on_saved(void *arg, const struct kvsave_report *report)
{
    struct api *api = arg;
    struct http_req *q = api->saving;
    struct rm_buf body;
    struct rm_jw w;

    api->saving = NULL;
    if (q == NULL)
        return;
    rm_buf_init(&body, 4096);
    w = rm_jw_to(&body);
    put_report(&w, report);
    api_reply(q, &body, rm_jw_done(&w));
    rm_buf_clear(&body);
}

static void save_on_gone(struct http_req *q, int why)
{
    struct api *api = http_req_arg(q);

    (void)why;
    if (api->saving == q)
        api->saving = NULL;
}

/* "budget_ms=N", 1 to 9 digits. Returns 0 or RM_ERR_FIELD. */
static int read_budget(struct rm_slice query, uint64_t *ms)
{
    static const size_t skip = sizeof("budget_ms=") - 1;

    *ms = 0;
    if (query.n <= skip || query.n > skip + 9 || memcmp(query.p, "budget_ms=", skip) != 0)
        return RM_ERR_FIELD;
    for (size_t i = skip; i < query.n; i++) {
        if (query.p[i] < '0' || query.p[i] > '9')
            return RM_ERR_FIELD;
        *ms = *ms * 10 + (uint64_t)(query.p[i] - '0');
    }
    return 0;
}

static void api_save(struct api *api, struct http_req *q, struct rm_slice query)
{
    static const struct http_req_ops ops = {.on_gone = save_on_gone, .on_done = api_on_done};
    uint64_t ms;
    int r = read_budget(query, &ms);

    http_req_accept(q, &ops, api);
    if (r == 0 && api->conf.kv == NULL)
        r = RM_ERR_NOT_SUPPORTED;
    if (r == 0)
        r = kvdisk_save(api->conf.kv, api->conf.decoder, ms, api_on_saved, api);
    if (r == 0)
        api->saving = q;
    else
        api_refuse(q, r == UV_EBUSY ? RM_ERR_OVERLOAD : r, NULL);
}

static void api_on_request(void *arg, struct http_req *q)
{
    static const struct http_req_ops plain = {.on_done = api_on_done};
    struct api *api = arg;
    const struct http_head *head = http_req_head(q);
    const struct route *route = route_find(head->path);
    bool get = head->method == HTTP_GET || head->method == HTTP_HEAD;
    struct rm_buf body;

    if (rm_slice_eq(head->path, "/core/save") && head->method == HTTP_POST) {
        api_save(api, q, head->query);
        return;
    }
    if (route != NULL && route->put == NULL && head->method == HTTP_POST) {
        answers_take(api->answers, route->kind, q);
        return;
    }
    http_req_accept(q, &plain, NULL);
    if (route == NULL) {
        api_refuse(q, RM_ERR_NOT_FOUND, NULL);
    } else if (route->put == NULL || !get) {
        api_refuse(q, RM_ERR_METHOD, route->put == NULL ? "POST" : "GET, HEAD");
    } else {
        rm_buf_init(&body, 64 * 1024);
        api_reply(q, &body, route->put(api, head->path, &body));
        rm_buf_clear(&body);
    }
}

static void api_error_body(void *arg, int err, const struct http_head *head, struct rm_buf *out)
{
    (void)arg;
    (void)head;
    if (openai_put_error(out, err, NULL, NULL, false) < 0)
        out->len = 0;
}

/* ---- start ---- */

static void api_on_bell(uv_async_t *bell)
{
    struct api *api = bell->data;

    if (api->answers != NULL)
        answers_poll(api->answers);
}

int api_new(uv_loop_t *loop, struct api **out)
{
    struct api *api = calloc(1, sizeof(*api));
    int r;

    *out = NULL;
    if (api == NULL)
        return UV_ENOMEM;
    api->loop = loop;
    api->started_ms = rm_now_ms();
    if ((r = uv_async_init(loop, &api->bell, api_on_bell)) < 0) {
        free(api);
        return r;
    }
    api->bell.data = api;
    *out = api;
    return 0;
}

void api_wake(void *arg)
{
    struct api *api = arg;

    uv_async_send(&api->bell);
}

static void api_read_facts(struct api *api)
{
    const struct llama_model *m = decoder_model(api->conf.decoder);

    api->env.vocab = llama_model_get_vocab(m);
    api->env.context = decoder_context(api->conf.decoder);
    if (api->conf.alias != NULL)
        snprintf(api->name, sizeof(api->name), "%s", api->conf.alias);
    else if (llama_model_meta_val_str(m, "general.name", api->name, sizeof(api->name)) <= 0)
        snprintf(api->name, sizeof(api->name), "model");
    if (llama_model_meta_val_str(m, "general.architecture", api->arch, sizeof(api->arch)) <= 0)
        api->arch[0] = '\0';
    if (llama_model_desc(m, api->desc, sizeof(api->desc)) <= 0)
        api->desc[0] = '\0';
    api->model = (struct openai_model){
        .id = api->name,
        .created = rm_wall_s(),
        .context = api->env.context,
        .context_train = (uint32_t)llama_model_n_ctx_train(m),
        .params = llama_model_n_params(m),
        .bytes = llama_model_size(m),
    };
}

static void api_on_restored(void *arg, const struct kvsave_report *report)
{
    struct api *api = arg;

    decoder_stats(api->conf.decoder, &api->before);
    api->conf.on_ready(api->conf.arg, 0, report);
}

/* Only now: the first token was decoded in a sequence that may be one of the restored. */
static void api_on_warm(void *arg, int err)
{
    struct api *api = arg;

    if (err == 0 && api->conf.kv != NULL) {
        kvdisk_restore(api->conf.kv, api->conf.decoder, api_on_restored, api);
        return;
    }
    decoder_stats(api->conf.decoder, &api->before);
    api->conf.on_ready(api->conf.arg, err, NULL);
}

static int api_listen(struct api *api)
{
    struct http_server_conf conf = http_server_conf_default;
    struct http_address address = {.is_unix = true};
    int r;

    if (strlen(api->conf.socket) > 107)
        return UV_ENAMETOOLONG;
    snprintf(address.host, sizeof(address.host), "%s", api->conf.socket);
    conf.limits.body_bytes = ANSWER_OTHER_BODY;
    conf.on_request = api_on_request;
    conf.error_body = api_error_body;
    conf.arg = api;
    if ((r = http_server_new(api->loop, &conf, &api->server)) < 0)
        return r;
    return http_server_listen(api->server, &address, NULL);
}

int api_start(struct api *api, const struct api_conf *conf)
{
    struct answers_conf to = {
        .loop = api->loop, .decoder = conf->decoder, .env = &api->env, .model = api->name};
    int r;

    api->conf = *conf;
    api_read_facts(api);
    if ((r = chat_template_open(decoder_model(conf->decoder), true, &api->template)) < 0)
        return r;
    api->env.template = api->template;
    if (strcmp(chat_template_kind(api->template), "jinja") != 0)
        rm_info("core", "chat template of libllama's own list is used",
                RM_S("why", chat_template_why(api->template)));
    if ((r = answers_new(&to, &api->answers)) < 0 || (r = api_listen(api)) < 0)
        return r;
    return answers_warm(api->answers, api_on_warm, api);
}

/* ---- stop ---- */

static void api_closed_one(struct api *api)
{
    if (--api->closing == 0 && api->on_closed != NULL)
        api->on_closed(api->closed_arg);
}

static void api_on_server_closed(void *arg)
{
    api_closed_one(arg);
}

static void api_on_bell_closed(uv_handle_t *h)
{
    api_closed_one(h->data);
}

void api_close(struct api *api, void (*on_closed)(void *arg), void *arg)
{
    api->on_closed = on_closed;
    api->closed_arg = arg;
    api->closing = api->server != NULL ? 2 : 1;
    if (api->answers != NULL)
        answers_stop(api->answers);
    if (api->server != NULL)
        http_server_close(api->server, api_on_server_closed, api);
    api->server = NULL;
    uv_close((uv_handle_t *)&api->bell, api_on_bell_closed);
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    answers_free(api->answers);
    chat_template_close(api->template);
    free(api);
}
