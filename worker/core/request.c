/* SPDX-License-Identifier: MIT */
/* worker/core/request.c - one table of members per kind of request, one reader per type. A reader
 * gets the value and the request, and returns NULL or the words for what it expected. Null values
 * count as absent everywhere: many clients send every field they know. */
#include "worker/core/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/json_skim.h"

static int request_fail(struct request_fault *f, int err, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int request_fail(struct request_fault *f, int err, const char *param, const char *fmt, ...)
{
    va_list args;

    snprintf(f->param, sizeof(f->param), "%s", param);
    va_start(args, fmt);
    vsnprintf(f->why, sizeof(f->why), fmt, args);
    va_end(args);
    return err;
}

/* ---- the text ---- */

/* An upper bound of the number of values: containers, commas, and one for the first of each. */
static size_t request_count_values(struct rm_slice body)
{
    size_t n = 1;
    bool in_string = false;

    for (size_t i = 0; i < body.n; i++) {
        char c = body.p[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == ',' || c == '[' || c == '{') {
            n++;
        }
    }
    return n;
}

int request_load(struct rm_slice body, json_t **root, struct request_fault *fault)
{
    struct rm_skim skim;
    json_error_t why;
    int r;

    *root = NULL;
    memset(fault, 0, sizeof(*fault));
    if (request_count_values(body) > REQUEST_VALUES_MAX)
        return request_fail(fault, RM_ERR_BODY_TOO_LARGE, "", "the body has more than %d values",
                            REQUEST_VALUES_MAX);
    rm_skim_init(&skim);
    r = rm_json_check(body, &skim);
    if (r == RM_ERR_JSON)
        request_fail(fault, r, "", "malformed JSON at byte %u: %s", skim.error_offset,
                     skim.error_text != NULL ? skim.error_text : "syntax");
    else if (r < 0)
        request_fail(fault, r, "", "%s", rm_strerror(r));
    rm_skim_clear(&skim);
    if (r < 0)
        return r;
    *root = json_loadb(body.p, body.n, 0, &why);
    if (*root == NULL) /* the text of `why` may quote the body: only the place is told */
        return request_fail(fault, RM_ERR_JSON, "",
                            "malformed JSON at byte %d: a character or number out of range",
                            why.position);
    return 0;
}

/* ---- readers of one value each ---- */

typedef const char *(*request_reader)(const json_t *v, void *into);

static const char *read_bool(const json_t *v, void *into)
{
    if (!json_is_boolean(v))
        return "true or false";
    *(bool *)into = json_is_true(v);
    return NULL;
}

static const char *read_float(const json_t *v, float low, float high, float *into)
{
    double d = json_number_value(v);

    if (!json_is_number(v) || !isfinite(d) || d < (double)low || d > (double)high)
        return "a number";
    *into = (float)d;
    return NULL;
}

static const char *read_temperature(const json_t *v, void *into)
{
    return read_float(v, 0, 100, into) != NULL ? "a number from 0 to 100" : NULL;
}

static const char *read_part(const json_t *v, void *into)
{
    return read_float(v, 0, 1, into) != NULL ? "a number from 0 to 1" : NULL;
}

/* 0 is the likeliest token alone; the decoder wants more than 0. */
static const char *read_top_p(const json_t *v, void *into)
{
    const char *want = read_part(v, into);

    if (want == NULL && *(float *)into <= 0)
        *(float *)into = 1e-6f;
    return want;
}

static const char *read_penalty(const json_t *v, void *into)
{
    return read_float(v, -2, 2, into) != NULL ? "a number from -2 to 2" : NULL;
}

/* A whole number, also when written as 5.0. */
static bool read_whole(const json_t *v, int64_t *out)
{
    double d;

    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    d = json_real_value(v);
    if (!json_is_real(v) || d != floor(d) || fabs(d) > 9007199254740992.0)
        return false;
    *out = (int64_t)d;
    return true;
}

static const char *read_top_k(const json_t *v, void *into)
{
    int64_t i;

    if (!read_whole(v, &i) || i < -1 || i > INT32_MAX)
        return "a whole number, 0 or -1 for off";
    *(int32_t *)into = i < 0 ? 0 : (int32_t)i;
    return NULL;
}

static const char *read_max_tokens(const json_t *v, void *into)
{
    int64_t i;

    if (!read_whole(v, &i) || i == 0 || i < -1)
        return "a whole number from 1 up";
    *(uint32_t *)into = i < 0 ? 0 : i > UINT32_MAX ? UINT32_MAX : (uint32_t)i;
    return NULL;
}

static const char *read_n(const json_t *v, void *into)
{
    int64_t i;

    if (!read_whole(v, &i) || i < 1 || i > REQUEST_N_MAX)
        return "a whole number from 1 to 8";
    *(uint32_t *)into = (uint32_t)i;
    return NULL;
}

/* The readers below get the whole request. */

static const char *read_seed(const json_t *v, void *into)
{
    struct request *q = into;
    int64_t i;

    if (!read_whole(v, &i))
        return "a whole number";
    q->has_seed = i != -1; /* llama.cpp: -1 is a random one */
    q->sampling.seed = (uint32_t)i;
    return NULL;
}

static const char *read_stream_options(const json_t *v, void *into)
{
    struct request *q = into;
    const json_t *usage = json_object_get(v, "include_usage");

    if (!json_is_object(v))
        return "an object";
    if (usage == NULL || json_is_null(usage))
        return NULL;
    return read_bool(usage, &q->include_usage) != NULL ? "include_usage to be true or false" : NULL;
}

static const char *read_model(const json_t *v, void *into)
{
    struct request *q = into;

    if (!json_is_string(v) || json_string_length(v) > REQUEST_MODEL_MAX)
        return "a string of at most 256 bytes";
    q->model = strdup(json_string_value(v));
    return NULL; /* no memory: the answer names the core's own model */
}

static const char *read_stop_string(struct request *q, const json_t *v)
{
    if (!json_is_string(v) || json_string_length(v) > JOB_STOP_BYTES_MAX)
        return "a string of at most 256 bytes, or an array of them";
    if (json_string_length(v) == 0)
        return NULL; /* some clients send an empty one for "none" */
    if (q->n_stops == JOB_STOPS_MAX)
        return "at most 16 strings";
    q->stops[q->n_stops] = strdup(json_string_value(v));
    if (q->stops[q->n_stops] == NULL)
        return "less: no memory";
    q->n_stops++;
    return NULL;
}

static const char *read_stop(const json_t *v, void *into)
{
    struct request *q = into;
    const char *want = NULL;
    const json_t *item;
    size_t i;

    if (!json_is_array(v))
        return read_stop_string(q, v);
    json_array_foreach(v, i, item) if (want == NULL) want = read_stop_string(q, item);
    return want;
}

static const char *read_logit_bias(const json_t *v, void *into)
{
    struct request *q = into;
    size_t n = json_object_size(v), i = 0;
    struct job_bias *bias;
    const char *key;
    const json_t *value;

    if (!json_is_object(v) || n > REQUEST_BIAS_MAX)
        return "an object of at most 1024 token ids with a bias each";
    if (n == 0)
        return NULL;
    bias = calloc(n, sizeof(*bias));
    if (bias == NULL)
        return "less: no memory";
    q->sampling.bias = bias;
    json_object_foreach((json_t *)v, key, value)
    {
        char *end;
        long id = key[0] >= '0' && key[0] <= '9' ? strtol(key, &end, 10) : -1;

        if (id < 0 || *end != '\0' || id > INT32_MAX)
            return "keys that are token ids";
        bias[i].token = (int32_t)id;
        if (read_float(value, -100, 100, &bias[i].bias) != NULL)
            return "biases from -100 to 100";
        if (bias[i].bias <= -100.0f) /* OpenAI: -100 is a ban */
            bias[i].bias = -INFINITY;
        i++;
    }
    q->sampling.n_bias = i;
    return NULL;
}

/* ---- chat only ---- */

/* Names that the template fills itself, or that would replace it. */
static bool kwarg_is_ours(const char *key)
{
    static const char *const ours[] = {
        "messages", "tools", "bos_token", "eos_token", "add_generation_prompt", "chat_template"};

    for (size_t i = 0; i < RM_COUNT(ours); i++)
        if (strcmp(key, ours[i]) == 0)
            return true;
    return false;
}

static int request_add_kwarg(struct request *q, const char *key, const json_t *value)
{
    if (q->kwargs == NULL && (q->kwargs = json_object()) == NULL)
        return UV_ENOMEM;
    return json_object_set(q->kwargs, key, (json_t *)value) != 0 ? UV_ENOMEM : 0;
}

static const char *read_kwargs(const json_t *v, void *into)
{
    struct request *q = into;
    const char *key;
    const json_t *value;

    if (!json_is_object(v) || json_object_size(v) > REQUEST_KWARGS_MAX)
        return "an object of at most 16 members";
    json_object_foreach((json_t *)v, key, value)
    {
        if (json_is_object(value) || json_is_array(value))
            return "members that are strings, numbers or booleans";
        if (strcmp(key, "enable_thinking") == 0) {
            if (!json_is_boolean(value))
                return "enable_thinking to be true or false";
            q->enable_thinking = json_is_true(value);
        } else if (!kwarg_is_ours(key) && request_add_kwarg(q, key, value) < 0) {
            return "less: no memory";
        }
    }
    return NULL;
}

static const char *read_effort(const json_t *v, void *into)
{
    struct request *q = into;

    if (!json_is_string(v) || json_string_length(v) > 32)
        return "a word";
    if (json_object_get(q->kwargs, "reasoning_effort") != NULL)
        return NULL; /* said more exactly there */
    return request_add_kwarg(q, "reasoning_effort", v) < 0 ? "less: no memory" : NULL;
}

static const char *read_tools(const json_t *v, void *into)
{
    struct request *q = into;
    const json_t *tool;
    size_t i;

    if (!json_is_array(v))
        return "an array of tools";
    json_array_foreach(v, i, tool)
    {
        const json_t *f = json_object_get(tool, "function");

        if (!json_is_object(tool) || !json_is_string(json_object_get(tool, "type")))
            return "tools that are objects with a type";
        if (!json_is_string(json_object_get(f, "name")))
            return "tools with a function that has a name";
    }
    if (json_array_size(v) > 0)
        q->tools = json_incref((json_t *)v);
    return NULL;
}

static const char *read_tool_choice(const json_t *v, void *into)
{
    struct request *q = into;

    if (json_is_object(v)) /* one named function: the template cannot say it */
        return NULL;
    if (!json_is_string(v) || json_string_length(v) > 32)
        return "a word or an object";
    q->tool_choice = json_incref((json_t *)v);
    return NULL;
}

/* ---- completions only ---- */

static const char *read_suffix(const json_t *v, void *into)
{
    struct request *q = into;

    if (!json_is_string(v))
        return "a string";
    q->suffix = (struct rm_slice){json_string_value(v), json_string_length(v)};
    q->has_suffix = true;
    return NULL;
}

static bool is_token_array(const json_t *v)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(v) || json_array_size(v) == 0)
        return false;
    json_array_foreach(v, i, item) if (!json_is_integer(item) || json_integer_value(item) < 0 ||
                                       json_integer_value(item) > INT32_MAX) return false;
    return true;
}

static const char *read_one_prompt(struct request *q, const json_t *v)
{
    struct request_prompt *p = &q->prompts[q->n_prompts];

    if (q->n_prompts == REQUEST_PROMPTS_MAX)
        return "at most 16 prompts";
    if (json_is_string(v))
        p->text = (struct rm_slice){json_string_value(v), json_string_length(v)};
    else if (is_token_array(v))
        p->tokens = v;
    else
        return "a string, an array of strings, or arrays of token ids";
    q->n_prompts++;
    return NULL;
}

static const char *read_prompt(const json_t *v, void *into)
{
    struct request *q = into;
    const char *want = NULL;
    const json_t *item;
    size_t i;

    if (!json_is_array(v) || is_token_array(v))
        return read_one_prompt(q, v);
    if (json_array_size(v) == 0)
        return "at least one prompt";
    json_array_foreach(v, i, item) if (want == NULL) want = read_one_prompt(q, item);
    return want;
}

/* ---- messages ---- */

static const char *message_role(const json_t *m)
{
    static const char *const roles[][2] = {
        {"system", "system"},       {"developer", "system"}, {"user", "user"},
        {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"},
    };
    const char *said = json_string_value(json_object_get(m, "role"));

    for (size_t i = 0; said != NULL && i < RM_COUNT(roles); i++)
        if (strcmp(said, roles[i][0]) == 0)
            return roles[i][1];
    return NULL;
}

/* Text of the parts of one message, LF between them (as llama.cpp joins them). */
static int message_join(const json_t *parts, size_t at, json_t **text, struct request_fault *fault)
{
    struct rm_buf joined;
    const json_t *part;
    size_t i;
    int r = 0;

    rm_buf_init(&joined, SIZE_MAX / 2); /* the body was bounded */
    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *t = json_object_get(part, "text");

        if (type != NULL && strcmp(type, "refusal") == 0)
            t = json_object_get(part, "refusal");
        else if (type == NULL || strcmp(type, "text") != 0)
            r = request_fail(fault, type != NULL ? RM_ERR_NOT_SUPPORTED : RM_ERR_FIELD, "messages",
                             "messages[%zu].content[%zu]: this model takes text only", at, i);
        if (r == 0 && !json_is_string(t))
            r = request_fail(fault, RM_ERR_FIELD, "messages",
                             "messages[%zu].content[%zu]: expected a text part", at, i);
        if (r == 0 && i > 0)
            r = rm_buf_put(&joined, "\n", 1);
        if (r == 0)
            r = rm_buf_put(&joined, json_string_value(t), json_string_length(t));
        if (r < 0)
            break;
    }
    if (r == 0 &&
        (*text = json_stringn_nocheck(joined.len > 0 ? joined.data : "", joined.len)) == NULL)
        r = UV_ENOMEM;
    rm_buf_clear(&joined);
    return r;
}

static int message_content(const json_t *m, const char *role, size_t at, json_t **text,
                           struct request_fault *fault)
{
    const json_t *c = json_object_get(m, "content");
    bool may_lack = strcmp(role, "assistant") == 0;

    if (json_is_array(c))
        return message_join(c, at, text, fault);
    if (json_is_string(c))
        *text = json_incref((json_t *)c);
    else if ((c == NULL || json_is_null(c)) && may_lack)
        *text = json_object_get(m, "tool_calls") != NULL ? json_null() : json_string("");
    else
        return request_fail(fault, RM_ERR_FIELD, "messages",
                            "messages[%zu].content: expected a string or an array of parts", at);
    return *text == NULL ? UV_ENOMEM : 0;
}

/* Calls of an assistant message: what the template's reader asks for. */
static int message_calls(const json_t *calls, size_t at, struct request_fault *fault)
{
    const json_t *call;
    size_t i;

    if (!json_is_array(calls))
        return request_fail(fault, RM_ERR_FIELD, "messages",
                            "messages[%zu].tool_calls: expected an array", at);
    json_array_foreach(calls, i, call)
    {
        const json_t *f = json_object_get(call, "function");

        if (!json_is_string(json_object_get(f, "name")) ||
            !json_is_string(json_object_get(f, "arguments")))
            return request_fail(fault, RM_ERR_FIELD, "messages",
                                "messages[%zu].tool_calls[%zu].function: expected name and "
                                "arguments, two strings",
                                at, i);
    }
    return 0;
}

/* Copies the members a template may look at. */
static int message_extras(const json_t *m, json_t *out, size_t at, struct request_fault *fault)
{
    static const char *const texts[] = {"name", "tool_call_id", "reasoning_content"};
    const json_t *calls = json_object_get(m, "tool_calls");
    int r = 0;

    for (size_t i = 0; i < RM_COUNT(texts); i++) {
        const json_t *v = json_object_get(m, texts[i]);

        if (v == NULL || json_is_null(v))
            continue;
        if (!json_is_string(v))
            return request_fail(fault, RM_ERR_FIELD, "messages",
                                "messages[%zu].%s: expected a string", at, texts[i]);
        if (json_object_set(out, texts[i], (json_t *)v) != 0)
            return UV_ENOMEM;
    }
    if (calls == NULL || json_is_null(calls) || json_array_size(calls) == 0)
        return json_is_null(json_object_get(out, "content"))
                   ? json_object_set_new(out, "content", json_string("")) != 0 ? UV_ENOMEM : 0
                   : 0;
    if ((r = message_calls(calls, at, fault)) < 0)
        return r;
    return json_object_set(out, "tool_calls", (json_t *)calls) != 0 ? UV_ENOMEM : 0;
}

static int request_add_message(struct request *q, const json_t *m, size_t at,
                               struct request_fault *fault)
{
    const char *role = message_role(m);
    json_t *text = NULL, *out;
    int r;

    if (!json_is_object(m))
        return request_fail(fault, RM_ERR_FIELD, "messages", "messages[%zu]: expected an object",
                            at);
    if (role == NULL)
        return request_fail(fault, RM_ERR_FIELD, "messages",
                            "messages[%zu].role: expected system, developer, user, assistant or "
                            "tool",
                            at);
    if ((r = message_content(m, role, at, &text, fault)) < 0)
        return r;
    out = json_pack("{s:s, s:o}", "role", role, "content", text);
    if (out == NULL)
        return UV_ENOMEM; /* json_pack has dropped text */
    if ((r = message_extras(m, out, at, fault)) == 0 && json_array_append(q->messages, out) != 0)
        r = UV_ENOMEM;
    json_decref(out);
    return r;
}

static int request_messages(struct request *q, struct request_fault *fault)
{
    const json_t *list = json_object_get(q->root, "messages"), *m;
    size_t i;
    int r;

    if (!json_is_array(list))
        return request_fail(fault, RM_ERR_FIELD, "messages", "messages: expected an array");
    if (json_array_size(list) == 0)
        return request_fail(fault, RM_ERR_FIELD, "messages", "messages: expected at least one");
    if ((q->messages = json_array()) == NULL)
        return UV_ENOMEM;
    json_array_foreach(list, i, m) if ((r = request_add_message(q, m, i, fault)) < 0) return r;
    return 0;
}

/* ---- the tables ---- */

/* at: where the reader writes; 0 stands for the request itself. */
struct request_key {
    const char *name;
    request_reader read;
    size_t at;
};

#define AT(field) offsetof(struct request, field)

static const struct request_key keys_both[] = {
    {"cache_prompt", read_bool, AT(cache_prompt)},
    {"frequency_penalty", read_penalty, AT(sampling.frequency)},
    {"logit_bias", read_logit_bias, 0},
    {"max_tokens", read_max_tokens, AT(max_tokens)},
    {"max_completion_tokens", read_max_tokens, AT(max_tokens)}, /* after max_tokens: it wins */
    {"min_p", read_part, AT(sampling.min_p)},
    {"model", read_model, 0},
    {"n", read_n, AT(n)},
    {"presence_penalty", read_penalty, AT(sampling.presence)},
    {"return_progress", read_bool, AT(progress)},
    {"seed", read_seed, 0},
    {"stop", read_stop, 0},
    {"stream", read_bool, AT(stream)},
    {"stream_options", read_stream_options, 0},
    {"temperature", read_temperature, AT(sampling.temperature)},
    {"timings_per_token", read_bool, AT(timings_per_token)},
    {"top_k", read_top_k, AT(sampling.top_k)},
    {"top_p", read_top_p, AT(sampling.top_p)},
    {NULL, NULL, 0},
};

static const struct request_key keys_chat[] = {
    {"chat_template_kwargs", read_kwargs, 0},
    {"reasoning_effort", read_effort, 0},
    {"tool_choice", read_tool_choice, 0},
    {"tools", read_tools, 0},
    {NULL, NULL, 0},
};

static const struct request_key keys_completion[] = {
    {"prompt", read_prompt, 0},
    {"suffix", read_suffix, 0},
    {NULL, NULL, 0},
};

static int request_read_keys(struct request *q, const struct request_key *keys,
                             struct request_fault *fault)
{
    for (const struct request_key *k = keys; k->name != NULL; k++) {
        const json_t *v = json_object_get(q->root, k->name);
        const char *want;

        if (v == NULL || json_is_null(v))
            continue;
        want = k->read(v, (char *)q + k->at);
        if (want != NULL)
            return request_fail(fault, RM_ERR_FIELD, k->name, "%s: expected %s", k->name, want);
    }
    return 0;
}

/* Shapes of the answer that nothing here enforces. */
static int request_refuse_shapes(const json_t *root, struct request_fault *fault)
{
    static const char *const shapes[] = {"grammar", "json_schema"};
    const json_t *format = json_object_get(root, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));

    if (format != NULL && !json_is_null(format) && type == NULL)
        return request_fail(fault, RM_ERR_FIELD, "response_format",
                            "response_format: expected an object with a type");
    if (type != NULL && strcmp(type, "text") != 0)
        return request_fail(fault, RM_ERR_NOT_SUPPORTED, "response_format",
                            "response_format: only the type text is supported");
    for (size_t i = 0; i < RM_COUNT(shapes); i++) {
        const json_t *v = json_object_get(root, shapes[i]);

        if (v != NULL && !json_is_null(v) && json_string_length(v) + json_object_size(v) > 0)
            return request_fail(fault, RM_ERR_NOT_SUPPORTED, shapes[i], "%s is not supported",
                                shapes[i]);
    }
    return 0;
}

static int request_cross_check(const struct request *q, struct request_fault *fault)
{
    if (q->kind == REQUEST_COMPLETION && q->n_prompts == 0)
        return request_fail(fault, RM_ERR_FIELD, "prompt", "prompt: expected a string or an array");
    if (q->stream && q->n > 1)
        return request_fail(fault, RM_ERR_FIELD, "n", "n: only 1 when streaming");
    if (q->kind == REQUEST_COMPLETION && q->n * q->n_prompts > REQUEST_CHOICES_MAX)
        return request_fail(fault, RM_ERR_FIELD, "n", "n: at most %d choices in all",
                            REQUEST_CHOICES_MAX);
    if (q->has_suffix && (q->n_prompts > 1 || q->prompts[0].tokens != NULL))
        return request_fail(fault, RM_ERR_FIELD, "suffix", "suffix: only with one prompt of text");
    return 0;
}

int request_parse(enum request_kind kind, struct rm_slice body, struct request *out,
                  struct request_fault *fault)
{
    bool chat = kind == REQUEST_CHAT;
    int r;

    memset(out, 0, sizeof(*out));
    out->kind = kind;
    out->n = 1;
    out->cache_prompt = out->enable_thinking = true;
    out->sampling =
        (struct job_sampling){.temperature = 0.8f, .top_p = 0.95f, .min_p = 0.05f, .top_k = 40};
    if ((r = request_load(body, &out->root, fault)) == 0 &&
        (r = request_read_keys(out, keys_both, fault)) == 0 &&
        (r = request_read_keys(out, chat ? keys_chat : keys_completion, fault)) == 0 &&
        (r = request_refuse_shapes(out->root, fault)) == 0 &&
        (r = chat ? request_messages(out, fault) : 0) == 0)
        r = request_cross_check(out, fault);
    if (r == UV_ENOMEM)
        request_fail(fault, r, "", "no memory for this request");
    if (r < 0)
        request_clear(out);
    return r;
}

void request_drop_tree(struct request *q)
{
    json_t *const trees[] = {q->messages, q->tools, q->tool_choice, q->kwargs, q->root};

    for (size_t i = 0; i < RM_COUNT(trees); i++)
        json_decref(trees[i]);
    q->messages = q->tools = q->tool_choice = q->kwargs = q->root = NULL;
    memset(q->prompts, 0, sizeof(q->prompts));
    q->n_prompts = 0;
    q->suffix = (struct rm_slice){NULL, 0};
}

void request_clear(struct request *q)
{
    request_drop_tree(q);
    for (size_t i = 0; i < q->n_stops; i++)
        free(q->stops[i]);
    free((void *)q->sampling.bias);
    free(q->model);
    memset(q, 0, sizeof(*q));
}
