/* SPDX-License-Identifier: MIT */
#include "cli/talk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "proto/base/json_write.h"

/* ---- what was said ---- */

void talk_reset(struct talk *t)
{
    while (t->n > 0)
        talk_drop(t);
    free(t->turns);
    t->turns = NULL;
    t->bytes = 0;
}

void talk_clear(struct talk *t)
{
    talk_reset(t);
    free(t->system);
    t->system = NULL;
}

int talk_set_system(struct talk *t, const char *text)
{
    char *copy = text[0] != '\0' ? strdup(text) : NULL;

    if (text[0] != '\0' && copy == NULL)
        return UV_ENOMEM;
    free(t->system);
    t->system = copy;
    return 0;
}

int talk_add(struct talk *t, bool user, const char *text)
{
    size_t n = strlen(text);
    struct talk_turn *more;
    char *copy;

    if (n > TALK_MAX - t->bytes)
        return RM_ERR_TOO_BIG;
    if ((copy = strdup(text)) == NULL)
        return UV_ENOMEM;
    if ((more = realloc(t->turns, (t->n + 1) * sizeof *more)) == NULL) {
        free(copy);
        return UV_ENOMEM;
    }
    t->turns = more;
    t->turns[t->n++] = (struct talk_turn){user, copy};
    t->bytes += n;
    return 0;
}

void talk_drop(struct talk *t)
{
    if (t->n == 0)
        return;
    t->bytes -= strlen(t->turns[--t->n].text);
    free(t->turns[t->n].text);
}

static void put_message(struct rm_jw *w, const char *role, const char *text)
{
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "role", role);
    rm_jw_str(w, "content", text);
    rm_jw_end(w);
}

int talk_write(const struct talk *t, const char *role, uint64_t max_tokens, double temperature,
               struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "model", role);
    rm_jw_bool(&w, "stream", true);
    rm_jw_obj(&w, "stream_options");
    rm_jw_bool(&w, "include_usage", true);
    rm_jw_end(&w);
    if (max_tokens > 0)
        rm_jw_u64(&w, "max_tokens", max_tokens);
    if (temperature >= 0)
        rm_jw_dbl(&w, "temperature", temperature);
    rm_jw_arr(&w, "messages");
    if (t->system != NULL)
        put_message(&w, "system", t->system);
    for (size_t i = 0; i < t->n; i++)
        put_message(&w, t->turns[i].user ? "user" : "assistant", t->turns[i].text);
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* ---- an answer ---- */

void answer_init(struct answer *a, uint64_t now_us)
{
    *a = (struct answer){.asked_us = now_us};
    rm_buf_init(&a->text, TALK_MAX);
}

void answer_clear(struct answer *a)
{
    rm_buf_clear(&a->text);
}

static uint64_t count_of(const json_t *o, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(o, name));

    return n > 0 ? (uint64_t)n : 0;
}

static void take_usage(struct answer *a, const json_t *usage)
{
    if (!json_is_object(usage))
        return;
    a->has_usage = true;
    a->prompt_tokens = count_of(usage, "prompt_tokens");
    a->completion_tokens = count_of(usage, "completion_tokens");
    a->cached_tokens = count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
}

static enum talk_piece take_error(struct answer *a, const char *what)
{
    rm_text_copy(a->why, sizeof a->why, what);
    return TALK_ERROR;
}

/* The text of one choice: what was said, or thought. */
static enum talk_piece take_delta(struct answer *a, const json_t *choice, uint64_t now_us,
                                  struct rm_buf *piece)
{
    const json_t *delta = json_object_get(choice, "delta");
    const char *said = json_string_value(json_object_get(delta, "content"));
    const char *thought = json_string_value(json_object_get(delta, "reasoning_content"));
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    const char *text = said != NULL && said[0] != '\0' ? said : thought;

    if (finish != NULL)
        a->cut = strcmp(finish, "length") == 0;
    if (text == NULL || text[0] == '\0')
        return TALK_NOTHING;
    a->first_us = a->first_us != 0 ? a->first_us : now_us;
    a->last_us = now_us;
    a->pieces++;
    if (text == said && rm_buf_puts(&a->text, said) < 0)
        return take_error(a, "the answer is too long");
    if (rm_buf_puts(piece, text) < 0)
        return take_error(a, "a part of the answer is too long");
    return text == said ? TALK_TEXT : TALK_THOUGHT;
}

enum talk_piece answer_take(struct answer *a, struct rm_slice data, uint64_t now_us,
                            struct rm_buf *piece)
{
    enum talk_piece what = TALK_NOTHING;
    json_t *root;

    if (rm_slice_eq(data, "[DONE]")) {
        a->ended = true;
        return TALK_END;
    }
    root = json_loadb(data.p != NULL ? data.p : "", data.n, 0, NULL);
    if (!json_is_object(root)) {
        what = take_error(a, "the stream is damaged");
    } else if (json_object_get(root, "error") != NULL) {
        answer_error_of(data, 0, a->why);
        what = TALK_ERROR;
    } else {
        take_usage(a, json_object_get(root, "usage"));
        what = take_delta(a, json_array_get(json_object_get(root, "choices"), 0), now_us, piece);
    }
    json_decref(root);
    return what;
}

void answer_error_of(struct rm_slice body, int status, char out[TALK_WHY_MAX])
{
    json_t *root = json_loadb(body.p != NULL ? body.p : "", body.n, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const char *text = json_string_value(json_object_get(error, "message"));

    if (text == NULL)
        text = json_string_value(error);
    if (text == NULL)
        text = json_string_value(json_object_get(root, "detail"));
    if (text != NULL)
        rm_text_copy(out, TALK_WHY_MAX, text);
    else if (status > 0)
        snprintf(out, TALK_WHY_MAX, "the gateway answered %d", status);
    else
        rm_text_copy(out, TALK_WHY_MAX, "the stream ended with an error");
    json_decref(root);
}

void answer_line(const struct answer *a, char out[TALK_WHY_MAX])
{
    uint64_t tokens = a->has_usage && a->completion_tokens > 0 ? a->completion_tokens : a->pieces;
    double s = a->last_us > a->first_us ? (double)(a->last_us - a->first_us) / 1e6 : 0;
    size_t n = (size_t)snprintf(out, TALK_WHY_MAX, "%llu token%s", (unsigned long long)tokens,
                                tokens == 1 ? "" : "s");

    if (tokens > 1 && s > 0) /* the first one came with the prompt's end */
        n += (size_t)snprintf(out + n, TALK_WHY_MAX - n, ", %.1f tokens/s",
                              (double)(tokens - 1) / s);
    if (a->first_us > 0)
        n += (size_t)snprintf(out + n, TALK_WHY_MAX - n, ", first after %.2f s",
                              (double)(a->first_us - a->asked_us) / 1e6);
    if (a->has_usage)
        n += (size_t)snprintf(out + n, TALK_WHY_MAX - n, "; prompt %llu tokens",
                              (unsigned long long)a->prompt_tokens);
    if (a->cached_tokens > 0)
        n += (size_t)snprintf(out + n, TALK_WHY_MAX - n, ", %llu from a cache",
                              (unsigned long long)a->cached_tokens);
    if (a->cut)
        snprintf(out + n, TALK_WHY_MAX - n, "; cut at the bound on tokens");
}
