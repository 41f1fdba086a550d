/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai.c - reads chat and completions requests and words errors.
 * A member that no engine of ours honours does not leave the gateway: it is overwritten with
 * blanks, in place, so that a 64 MiB body needs no second copy and offsets stay what they are.
 * Neighbours: openai_answer.c (the way back), freq.c (the caller). */
#include "gateway/front/dialects/openai.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/json_write.h"

enum { CHOICES_MAX = 8, PREFIX_BYTES = 16 * 1024 };

enum key_kind {
    KEY_DROP,
    KEY_PASS,
    KEY_MODEL,
    KEY_STREAM,
    KEY_OPTIONS,
    KEY_BOUND,
    KEY_N,
    KEY_SESSION
};
enum { IN_CHAT = 1, IN_COMPLETIONS = 2, IN_BOTH = 3 };

/* What is honoured; everything else is dropped without a word. */
#define KEY_NAME(name)                                                                             \
    {                                                                                              \
        "\"" name "\"", sizeof(name) + 1                                                           \
    }
static const struct key_row {
    struct rm_slice name; /* raw, with its quotes */
    uint8_t kind, in;
} key_rows[] = {
    {KEY_NAME("model"), KEY_MODEL, IN_BOTH},
    {KEY_NAME("messages"), KEY_PASS, IN_CHAT},
    {KEY_NAME("stream"), KEY_STREAM, IN_BOTH},
    {KEY_NAME("stream_options"), KEY_OPTIONS, IN_BOTH},
    {KEY_NAME("max_tokens"), KEY_BOUND, IN_BOTH},
    {KEY_NAME("max_completion_tokens"), KEY_BOUND, IN_CHAT},
    {KEY_NAME("n"), KEY_N, IN_BOTH},
    {KEY_NAME("prompt_cache_key"), KEY_SESSION, IN_BOTH},
    {KEY_NAME("prompt"), KEY_PASS, IN_COMPLETIONS},
    {KEY_NAME("suffix"), KEY_PASS, IN_COMPLETIONS},
    {KEY_NAME("echo"), KEY_PASS, IN_COMPLETIONS},
    {KEY_NAME("best_of"), KEY_PASS, IN_COMPLETIONS},
    {KEY_NAME("temperature"), KEY_PASS, IN_BOTH},
    {KEY_NAME("top_p"), KEY_PASS, IN_BOTH},
    {KEY_NAME("stop"), KEY_PASS, IN_BOTH},
    {KEY_NAME("seed"), KEY_PASS, IN_BOTH},
    {KEY_NAME("presence_penalty"), KEY_PASS, IN_BOTH},
    {KEY_NAME("frequency_penalty"), KEY_PASS, IN_BOTH},
    {KEY_NAME("logit_bias"), KEY_PASS, IN_BOTH},
    {KEY_NAME("logprobs"), KEY_PASS, IN_BOTH},
    {KEY_NAME("top_logprobs"), KEY_PASS, IN_CHAT},
    {KEY_NAME("tools"), KEY_PASS, IN_CHAT},
    {KEY_NAME("tool_choice"), KEY_PASS, IN_CHAT},
    {KEY_NAME("parallel_tool_calls"), KEY_PASS, IN_CHAT},
    {KEY_NAME("functions"), KEY_PASS, IN_CHAT},
    {KEY_NAME("function_call"), KEY_PASS, IN_CHAT},
    {KEY_NAME("response_format"), KEY_PASS, IN_BOTH},
    {KEY_NAME("reasoning_effort"), KEY_PASS, IN_CHAT},
    {KEY_NAME("chat_template_kwargs"), KEY_PASS, IN_CHAT},
    /* llama.cpp's own */
    {KEY_NAME("top_k"), KEY_PASS, IN_BOTH},
    {KEY_NAME("min_p"), KEY_PASS, IN_BOTH},
    {KEY_NAME("typical_p"), KEY_PASS, IN_BOTH},
    {KEY_NAME("repeat_penalty"), KEY_PASS, IN_BOTH},
    {KEY_NAME("repeat_last_n"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dynatemp_range"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dynatemp_exponent"), KEY_PASS, IN_BOTH},
    {KEY_NAME("xtc_probability"), KEY_PASS, IN_BOTH},
    {KEY_NAME("xtc_threshold"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dry_multiplier"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dry_base"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dry_allowed_length"), KEY_PASS, IN_BOTH},
    {KEY_NAME("dry_penalty_last_n"), KEY_PASS, IN_BOTH},
    {KEY_NAME("mirostat"), KEY_PASS, IN_BOTH},
    {KEY_NAME("mirostat_tau"), KEY_PASS, IN_BOTH},
    {KEY_NAME("mirostat_eta"), KEY_PASS, IN_BOTH},
    {KEY_NAME("ignore_eos"), KEY_PASS, IN_BOTH},
    {KEY_NAME("grammar"), KEY_PASS, IN_BOTH},
    {KEY_NAME("json_schema"), KEY_PASS, IN_BOTH},
    {KEY_NAME("cache_prompt"), KEY_PASS, IN_BOTH},
    {KEY_NAME("return_progress"), KEY_PASS, IN_BOTH},
    {KEY_NAME("timings_per_token"), KEY_PASS, IN_BOTH},
};

/* What reading one body needs. */
struct reading {
    struct rm_slice body;
    struct rm_skim *scratch;
    struct dialect_ask *ask;
    struct fault *why;
    unsigned in;
    unsigned bounds;
    int64_t n;
};

static enum key_kind key_find(struct rm_slice raw, unsigned in)
{
    for (size_t i = 0; i < RM_COUNT(key_rows); i++)
        if (raw.n == key_rows[i].name.n && (key_rows[i].in & in) != 0 &&
            memcmp(raw.p, key_rows[i].name.p, raw.n) == 0)
            return (enum key_kind)key_rows[i].kind;
    return KEY_DROP; /* also what is spelt with escapes: it must not mean one thing here and
                        another to an engine */
}

/* Overwrites one member and the comma that goes with it. */
static void member_blank(struct rm_buf *body, const struct rm_skim *skim, uint32_t i)
{
    const struct rm_json_member *m = &skim->members[i];
    size_t from = m->key.offset, to = (size_t)m->value.offset + m->value.len;

    if (i + 1 < skim->n_members) {
        while (body->data[to] != ',')
            to++;
        to++;
    } else {
        while (from > 0 && body->data[from - 1] != ',' && body->data[from - 1] != '{')
            from--;
        if (from > 0 && body->data[from - 1] == ',')
            from--;
    }
    memset(body->data + from, ' ', to - from);
}

static uint64_t hash_more(uint64_t h, struct rm_slice s)
{
    uint64_t word;

    for (; s.n >= 8; s.p += 8, s.n -= 8) {
        memcpy(&word, s.p, 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    word = s.n;
    for (size_t i = 0; i < s.n; i++)
        word = word << 8 | (unsigned char)s.p[i];
    h = (h ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 31;
}

static int read_model(struct reading *r, const struct rm_json_member *m)
{
    if (m->type != RM_JSON_STRING && m->type != RM_JSON_NULL)
        return fault_field(r->why, "model", "'model' must be a string");
    r->ask->model_any = m->value;
    if (m->type == RM_JSON_STRING && m->value.len > 2) {
        r->ask->has_model = true;
        r->ask->model = m->value;
    }
    return 0;
}

static int read_bool(struct reading *r, const struct rm_json_member *m, const char *name, bool *out)
{
    if (m->type != RM_JSON_TRUE && m->type != RM_JSON_FALSE && m->type != RM_JSON_NULL)
        return fault_field(r->why, name, "'%s' must be true or false", name);
    *out = m->type == RM_JSON_TRUE;
    return 0;
}

static int read_options(struct reading *r, const struct rm_json_member *m)
{
    struct rm_slice text = rm_span_of(r->body, m->value);
    const struct rm_json_member *usage;

    if (m->type == RM_JSON_NULL)
        return 0;
    if (m->type != RM_JSON_OBJECT)
        return fault_field(r->why, "stream_options", "'stream_options' must be an object");
    if (rm_json_check(text, r->scratch) < 0)
        return fault_field(r->why, "stream_options", "'stream_options' is not valid");
    usage = rm_skim_member(r->scratch, text, "include_usage");
    return usage == NULL
               ? 0
               : read_bool(r, usage, "stream_options.include_usage", &r->ask->include_usage);
}

/* Returns 0, RM_AGAIN (drop the member: it means "no bound") or the fault. */
static int read_bound(struct reading *r, const struct rm_json_member *m, const char *name)
{
    int64_t tokens;

    if (m->type == RM_JSON_NULL)
        return RM_AGAIN;
    if (m->type != RM_JSON_NUMBER || rm_json_int(rm_span_of(r->body, m->value), &tokens) < 0)
        return fault_field(r->why, name, "'%s' must be an integer", name);
    if (tokens == -1)
        return RM_AGAIN;
    if (tokens < 1)
        return fault_field(r->why, name, "'%s' must be at least 1", name);
    if (r->bounds < RM_COUNT(r->ask->bound)) {
        r->ask->bound[r->bounds].value = m->value;
        r->ask->bound[r->bounds++].tokens = (uint64_t)tokens;
    }
    return 0;
}

static int read_n(struct reading *r, const struct rm_json_member *m)
{
    if (m->type == RM_JSON_NULL)
        return 0;
    if (m->type != RM_JSON_NUMBER || rm_json_int(rm_span_of(r->body, m->value), &r->n) < 0 ||
        r->n < 1 || r->n > CHOICES_MAX)
        return fault_field(r->why, "n", "'n' must be an integer from 1 to %d", CHOICES_MAX);
    return 0;
}

/* Returns 0, RM_AGAIN (drop it) or the fault. */
static int read_member(struct reading *r, const struct rm_json_member *m)
{
    struct rm_slice key = rm_span_of(r->body, m->key);

    switch (key_find(key, r->in)) {
    case KEY_PASS:
        return 0;
    case KEY_MODEL:
        return read_model(r, m);
    case KEY_STREAM:
        return read_bool(r, m, "stream", &r->ask->stream);
    case KEY_OPTIONS:
        return read_options(r, m);
    case KEY_BOUND:
        return read_bound(
            r, m, key.n == sizeof("max_tokens") + 1 ? "max_tokens" : "max_completion_tokens");
    case KEY_N:
        return read_n(r, m);
    case KEY_SESSION:
        if (m->type == RM_JSON_STRING)
            r->ask->session_key = hash_more(1, rm_span_of(r->body, m->value)) | 1;
        return RM_AGAIN;
    case KEY_DROP:
    default:
        return RM_AGAIN;
    }
}

static int read_members(struct reading *r, struct rm_buf *body, const struct rm_skim *skim)
{
    const char *brace = memchr(body->data, '{', body->len);

    r->ask->open = (uint32_t)(brace - body->data) + 1;
    for (uint32_t i = 0; i < skim->n_members; i++) {
        int err = read_member(r, &skim->members[i]);

        if (err < 0)
            return err;
        if (err == RM_AGAIN)
            member_blank(body, skim, i);
    }
    if (r->n > 1 && r->ask->stream)
        return fault_field(r->why, "n", "'n' above 1 needs \"stream\": false");
    return 0;
}

/* True when the beginning or the end of a message, where its role stands, says so. */
static bool message_leads(struct rm_slice m)
{
    size_t n = m.n < 64 ? m.n : 64;

    return memmem(m.p, n, "\"system\"", 8) != NULL ||
           memmem(m.p + m.n - n, n, "\"system\"", 8) != NULL ||
           memmem(m.p, n, "\"developer\"", 11) != NULL;
}

static uint64_t message_hash(uint64_t h, struct rm_slice m)
{
    uint64_t n = m.n;

    h = hash_more(h, (struct rm_slice){(const char *)&n, sizeof(n)});
    return hash_more(h, (struct rm_slice){m.p, m.n < PREFIX_BYTES ? m.n : PREFIX_BYTES});
}

/* What all turns of one conversation share: leading system messages and the first other one. */
static uint64_t prefix_key(struct rm_slice body, const struct rm_skim_items *messages)
{
    uint64_t h = 2;

    for (uint32_t i = 0; i < messages->n && i < 4; i++) {
        struct rm_slice m = rm_span_of(body, messages->v[i]);

        h = message_hash(h, m);
        if (!message_leads(m))
            break;
    }
    return h | 1;
}

static int read_chat(struct rm_buf *body, const struct rm_skim *skim, struct rm_skim *scratch,
                     struct dialect_ask *ask, struct fault *why)
{
    struct reading r = {{body->data, body->len}, scratch, ask, why, IN_CHAT, 0, 1};
    const struct rm_json_member *m = rm_skim_member(skim, r.body, "messages");
    int err;

    memset(ask, 0, sizeof(*ask));
    if (m == NULL && rm_skim_member(skim, r.body, "input") != NULL)
        return fault_set(why, RM_ERR_NOT_SUPPORTED,
                         "a body with 'input' belongs to the Responses API, which is not served");
    if (m == NULL)
        return fault_field(why, "messages", "'messages' is missing");
    if (m->type != RM_JSON_ARRAY || skim->messages.total == 0)
        return fault_field(why, "messages",
                           "'messages' must be an array with at least one message");
    for (uint32_t i = 0; i < skim->messages.n; i++)
        if (body->data[skim->messages.v[i].offset] != '{')
            return fault_field(why, "messages", "messages[%" PRIu32 "] must be an object", i);
    if ((err = read_members(&r, body, skim)) < 0)
        return err;
    ask->prefix_key = prefix_key(r.body, &skim->messages);
    return 0;
}

static int read_completions(struct rm_buf *body, const struct rm_skim *skim,
                            struct rm_skim *scratch, struct dialect_ask *ask, struct fault *why)
{
    struct reading r = {{body->data, body->len}, scratch, ask, why, IN_COMPLETIONS, 0, 1};
    const struct rm_json_member *m = rm_skim_member(skim, r.body, "prompt");
    int err;

    memset(ask, 0, sizeof(*ask));
    if (m == NULL)
        return fault_field(why, "prompt", "'prompt' is missing");
    if (m->type != RM_JSON_STRING && m->type != RM_JSON_ARRAY)
        return fault_field(why, "prompt", "'prompt' must be a string or an array");
    if ((err = read_members(&r, body, skim)) < 0)
        return err;
    ask->prefix_key = message_hash(3, (struct rm_slice){body->data + m->value.offset,
                                                        m->value.len < 512 ? m->value.len : 512}) |
                      1;
    return 0;
}

/* ---- the bytes for a worker ---- */

/* A stretch of the body that is replaced. */
struct edit {
    size_t at, len;
    struct rm_slice with[3];
    size_t n;
};

static void edits_sort(struct edit *e, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && e[k].at < e[k - 1].at; k--) {
            struct edit swap = e[k];

            e[k] = e[k - 1];
            e[k - 1] = swap;
        }
}

static size_t edits_apply(struct rm_slice body, const struct edit *e, size_t n,
                          struct rm_slice *pieces)
{
    size_t at = 0, out = 0;

    for (size_t i = 0; i < n; i++) {
        if (e[i].at > at)
            pieces[out++] = (struct rm_slice){body.p + at, e[i].at - at};
        for (size_t k = 0; k < e[i].n; k++)
            pieces[out++] = e[i].with[k];
        at = e[i].at + e[i].len;
    }
    if (at < body.n)
        pieces[out++] = (struct rm_slice){body.p + at, body.n - at};
    return out;
}

static size_t openai_pieces(const struct dialect_ask *ask, struct rm_slice body,
                            struct rm_slice model, uint32_t context, char *note,
                            struct rm_slice *pieces)
{
    struct edit e[3];
    size_t n = 0;
    int len = 0;

    if (model.n > 0 && ask->model_any.len > 0)
        e[n++] = (struct edit){ask->model_any.offset, ask->model_any.len, {model}, 1};
    else if (model.n > 0)
        e[n++] = (struct edit){ask->open, 0, {RM_LIT("\"model\":"), model, RM_LIT(",")}, 3};
    for (size_t i = 0; i < RM_COUNT(ask->bound); i++)
        if (ask->bound[i].value.len > 0 && ask->bound[i].tokens > context && context > 0) {
            len = snprintf(note, 16, "%" PRIu32, context);
            e[n++] = (struct edit){
                ask->bound[i].value.offset, ask->bound[i].value.len, {{note, (size_t)len}}, 1};
        }
    edits_sort(e, n);
    return edits_apply(body, e, n, pieces);
}

/* ---- errors ---- */

int openai_error_body(const struct fault *f, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", f->message);
    rm_jw_str(&w, "type", fault_type(f));
    rm_jw_str(&w, "param", f->param[0] != '\0' ? f->param : NULL);
    rm_jw_str(&w, "code", f->code);
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int openai_error_event(const struct fault *f, struct rm_buf *out)
{
    struct rm_jw w;

    rm_buf_puts(out, "data: ");
    w = rm_jw_to(out);
    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", f->message);
    rm_jw_str(&w, "type", "server_error");
    rm_jw_str(&w, "param", NULL);
    rm_jw_str(&w, "code", f->code);
    rm_jw_end(&w);
    rm_jw_end(&w);
    if (rm_jw_done(&w) < 0)
        return rm_jw_done(&w);
    return rm_buf_puts(out, "\n\n");
}

#define ALIVE ": keepalive\n\n"
#define OPENAI_DIALECT                                                                             \
    .stream_type = "text/event-stream; charset=utf-8", .whole_type = "application/json",           \
    .stream_alive = {ALIVE, sizeof(ALIVE) - 1}, .alive_before = {": ", 2},                         \
    .alive_after = {"\n\n", 2}, .whole_alive = {" ", 1}, .pieces = openai_pieces,                  \
    .stream_open = openai_stream_open, .stream_close = openai_stream_close,                        \
    .stream_progress = openai_stream_progress, .stream_feed = openai_stream_feed,                  \
    .whole = openai_whole, .error_body = openai_error_body, .error_event = openai_error_event

const struct dialect openai_chat = {.name = "chat",
                                    .operation = OPERATION_CHAT,
                                    .upstream = "/v1/chat/completions",
                                    .big_body = true,
                                    .read = read_chat,
                                    OPENAI_DIALECT};
const struct dialect openai_completions = {.name = "completions",
                                           .operation = OPERATION_TEXT,
                                           .upstream = "/v1/completions",
                                           .big_body = false,
                                           .read = read_completions,
                                           OPENAI_DIALECT};
