/* SPDX-License-Identifier: MIT */
#include "worker/core/template.h"

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "worker/core/text_shim.h"
#ifdef CORE_HAS_JINJA
#include "worker/core/template_shim.h"
#endif

struct chat_template {
    const struct llama_model *model;
#ifdef CORE_HAS_JINJA
    struct template_shim *shim; /* NULL: builtin */
#endif
    const char *known; /* what llama_chat_apply_template is given; of the model, or "chatml" */
    char why[REQUEST_WHY];
};

/* ---- builtin ---- */

static const char *builtin_choose(const struct llama_model *model)
{
    static const struct llama_chat_message probe = {"user", "x"};
    const char *own = llama_model_chat_template(model, NULL);

    if (own != NULL && text_shim_chat(own, &probe, 1, NULL, 0) >= 0)
        return own;
    return "chatml";
}

static int builtin_render(const struct chat_template *t, const struct request *q,
                          struct rm_buf *out)
{
    size_t n = json_array_size(q->messages), bytes = 0, i;
    struct llama_chat_message *list = calloc(n, sizeof(*list));
    const json_t *m;
    int32_t want;
    int r;

    if (list == NULL)
        return UV_ENOMEM;
    json_array_foreach(q->messages, i, m)
    {
        const char *text = json_string_value(json_object_get(m, "content"));

        list[i].role = json_string_value(json_object_get(m, "role"));
        list[i].content = text != NULL ? text : "";
        bytes += strlen(list[i].content) + 64;
    }
    r = bytes > INT32_MAX / 2 ? RM_ERR_TOO_BIG : rm_buf_reserve(out, bytes);
    for (int turn = 0; r == 0 && turn < 2; turn++) { /* the second, when the first had no room */
        want =
            text_shim_chat(t->known, list, n, out->data + out->len, (int32_t)(out->cap - out->len));
        if (want < 0) {
            r = RM_ERR_FIELD;
        } else if ((size_t)want <= out->cap - out->len) {
            out->len += (size_t)want;
            out->data[out->len] = '\0';
            break;
        } else {
            r = turn == 1 ? RM_ERR_INTERNAL : rm_buf_reserve(out, (size_t)want);
        }
    }
    free(list);
    return r;
}

/* ---- jinja ---- */

#ifdef CORE_HAS_JINJA

static int jinja_render(const struct chat_template *t, const struct request *q, struct rm_buf *out)
{
    const struct llama_vocab *vocab = llama_model_get_vocab(t->model);
    char *messages = json_dumps(q->messages, JSON_COMPACT), *prompt = NULL, why[160] = "";
    char *tools = q->tools != NULL ? json_dumps(q->tools, JSON_COMPACT) : NULL;
    char *kwargs = q->kwargs != NULL ? json_dumps(q->kwargs, JSON_COMPACT) : NULL;
    struct template_shim_input in = {
        .messages = messages,
        .tools = tools,
        .tool_choice = json_string_value(q->tool_choice),
        .kwargs = kwargs,
        .enable_thinking = q->enable_thinking,
        .add_bos = llama_vocab_get_add_bos(vocab),
        .add_eos = llama_vocab_get_add_eos(vocab),
    };
    size_t n = 0;
    int r = -2;

    if (messages != NULL && (tools != NULL) == (q->tools != NULL) &&
        (kwargs != NULL) == (q->kwargs != NULL))
        r = template_shim_render(t->shim, &in, &prompt, &n, why, sizeof(why));
    if (r == 0)
        r = rm_buf_put(out, prompt, n);
    else if (r == -2)
        r = UV_ENOMEM;
    else
        r = RM_ERR_FIELD;
    free(prompt);
    free(kwargs);
    free(tools);
    free(messages);
    return r;
}

#endif

/* ---- both ---- */

int chat_template_open(const struct llama_model *model, bool allow_jinja,
                       struct chat_template **out)
{
    struct chat_template *t = calloc(1, sizeof(*t));

    *out = t;
    if (t == NULL)
        return UV_ENOMEM;
    t->model = model;
    t->known = builtin_choose(model);
#ifdef CORE_HAS_JINJA
    if (!allow_jinja)
        snprintf(t->why, sizeof(t->why), "not asked for");
    else if (llama_model_chat_template(model, NULL) == NULL)
        snprintf(t->why, sizeof(t->why), "the model has no template");
    else
        t->shim = template_shim_open(model, t->why, sizeof(t->why));
#else
    (void)allow_jinja;
    snprintf(t->why, sizeof(t->why), "built without llama-common");
#endif
    return 0;
}

void chat_template_close(struct chat_template *t)
{
    if (t == NULL)
        return;
#ifdef CORE_HAS_JINJA
    if (t->shim != NULL)
        template_shim_close(t->shim);
#endif
    free(t);
}

const char *chat_template_kind(const struct chat_template *t)
{
#ifdef CORE_HAS_JINJA
    if (t->shim != NULL)
        return "jinja";
#endif
    return t == NULL ? "none" : "builtin";
}

const char *chat_template_why(const struct chat_template *t)
{
    return t->why;
}

int chat_template_render(const struct chat_template *t, const struct request *q, struct rm_buf *out,
                         struct request_fault *fault)
{
    int r;

#ifdef CORE_HAS_JINJA
    r = t->shim != NULL ? jinja_render(t, q, out) : builtin_render(t, q, out);
#else
    r = builtin_render(t, q, out);
#endif
    if (r == RM_ERR_FIELD) { /* the template's own words may quote the messages */
        snprintf(fault->why, sizeof(fault->why),
                 "messages: the model's chat template refuses them (order of roles, or a part it "
                 "does not know)");
        snprintf(fault->param, sizeof(fault->param), "messages");
    }
    return r;
}
