/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_models.c - the list of names and one entry of it.
 * Figures come from the role map only: what a model was trained for is not known here, and is left
 * out rather than guessed. Neighbour: reply.c. */
#include "gateway/front/dialects/openai_models.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <uv.h>

#include "gateway/keys/auth.h"
#include "proto/base/json_write.h"

enum { NAMES_MAX = 512 };

/* One name and the role behind it. */
struct name {
    const char *id;
    const struct map_role *role;
};
struct names {
    struct name v[NAMES_MAX];
    size_t n;
};

static void names_add(struct names *names, const char *id, const struct map_role *role)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->v[i].id, id) == 0)
            return;
    if (names->n < NAMES_MAX)
        names->v[names->n++] = (struct name){id, role};
}

static void names_of_role(struct names *names, const struct map_role *role, struct rm_slice mode)
{
    for (size_t i = 0; i < role->modes.n; i++)
        if (rm_slice_eq(mode, role->modes.item[i]))
            names_add(names, role->modes.item[i], role);
    for (size_t i = 0; i < role->modes.n; i++)
        names_add(names, role->modes.item[i], role);
    names_add(names, role->name, role);
    names_add(names, role->model_name, role);
}

static bool may_use(const struct models_ask *ask, size_t role)
{
    return auth_role_fault(ask->key, &ask->map->roles[role]) == NULL;
}

static void names_collect(struct names *names, const struct models_ask *ask)
{
    names->n = 0;
    if (ask->role != NULL) {
        names_of_role(names, ask->role, ask->mode);
        return;
    }
    for (size_t r = 0; r < ask->map->n_roles; r++)
        for (size_t i = 0; may_use(ask, r) && i < ask->map->roles[r].modes.n; i++)
            names_add(names, ask->map->roles[r].modes.item[i], &ask->map->roles[r]);
    for (size_t r = 0; r < ask->map->n_roles; r++)
        if (may_use(ask, r))
            names_add(names, ask->map->roles[r].name, &ask->map->roles[r]);
}

static void write_strings(struct rm_jw *w, const char *key, const char *const *v, size_t n)
{
    rm_jw_arr(w, key);
    for (size_t i = 0; i < n; i++)
        rm_jw_str(w, NULL, v[i]);
    rm_jw_end(w);
}

static void write_time(struct rm_jw *w, const char *key, int64_t t)
{
    time_t sec = (time_t)t;
    struct tm tm;
    char text[32];

    gmtime_r(&sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    rm_jw_str(w, key, text);
}

static void write_entry(struct rm_jw *w, const char *key, const struct models_ask *ask,
                        const char *id, const struct map_role *role)
{
    static const char *const text[] = {"text"};
    static const char *const parameters[] = {"max_tokens",
                                             "temperature",
                                             "top_p",
                                             "top_k",
                                             "min_p",
                                             "seed",
                                             "stop",
                                             "presence_penalty",
                                             "frequency_penalty",
                                             "logit_bias",
                                             "tools",
                                             "tool_choice"};
    static const char *const limits[] = {"context_length",   "context_window", "max_model_len",
                                         "max_input_tokens", "max_tokens",     "max_output_tokens"};
    static const char *const abilities[] = {"completion"};

    rm_jw_obj(w, key);
    rm_jw_str(w, "id", id);
    rm_jw_str(w, "object", "model");
    rm_jw_i64(w, "created", ask->created);
    rm_jw_str(w, "owned_by", "llamacpp");
    rm_jw_str(w, "type", "model");
    rm_jw_str(w, "display_name", id);
    write_time(w, "created_at", ask->created);
    for (size_t i = 0; i < RM_COUNT(limits); i++)
        rm_jw_u64(w, limits[i], role->context);
    rm_jw_obj(w, "meta");
    rm_jw_u64(w, "n_ctx", role->context);
    rm_jw_end(w);
    rm_jw_obj(w, "architecture");
    write_strings(w, "input_modalities", text, 1);
    write_strings(w, "output_modalities", text, 1);
    rm_jw_end(w);
    if (ask->anthropic) {
        rm_jw_null(w, "capabilities");
        rm_jw_str(w, "lifecycle", "active");
    } else {
        write_strings(w, "capabilities", abilities, RM_COUNT(abilities));
    }
    write_strings(w, "supported_parameters", parameters, RM_COUNT(parameters));
    rm_jw_obj(w, "rolemesh");
    rm_jw_str(w, "role", role->name);
    rm_jw_str(w, "model", role->model_name);
    rm_jw_end(w);
    rm_jw_end(w);
}

/* The raw value of one key of a query; empty: absent. */
static struct rm_slice query_value(struct rm_slice query, const char *key)
{
    size_t k = strlen(key);

    while (query.n > 0) {
        const char *amp = memchr(query.p, '&', query.n);
        size_t len = amp != NULL ? (size_t)(amp - query.p) : query.n;

        if (len > k && memcmp(query.p, key, k) == 0 && query.p[k] == '=')
            return (struct rm_slice){query.p + k + 1, len - k - 1};
        query.p += amp != NULL ? len + 1 : len;
        query.n -= amp != NULL ? len + 1 : len;
    }
    return (struct rm_slice){NULL, 0};
}

static size_t query_limit(struct rm_slice query)
{
    struct rm_slice v = query_value(query, "limit");
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || i > 5)
            return NAMES_MAX;
        n = n * 10 + (size_t)(v.p[i] - '0');
    }
    return n == 0 ? NAMES_MAX : n;
}

/* Narrows [*from, *to) to the page asked for. Returns true when more follow. */
static bool page(const struct names *names, struct rm_slice query, size_t *from, size_t *to)
{
    struct rm_slice after = query_value(query, "after_id"),
                    before = query_value(query, "before_id");
    size_t limit = query_limit(query);

    *from = 0;
    *to = names->n;
    for (size_t i = 0; i < names->n; i++) {
        if (after.n > 0 && rm_slice_eq(after, names->v[i].id))
            *from = i + 1;
        if (before.n > 0 && rm_slice_eq(before, names->v[i].id))
            *to = i;
    }
    if (*to < *from)
        *to = *from;
    if (*to - *from <= limit)
        return false;
    if (before.n > 0)
        *from = *to - limit; /* a page back: the ones next to before_id */
    else
        *to = *from + limit;
    return true;
}

int openai_models_list(const struct models_ask *ask, struct rm_buf *out)
{
    struct names *names = malloc(sizeof(*names));
    struct rm_jw w = rm_jw_to(out);
    size_t from, to;
    bool more;

    if (names == NULL)
        return UV_ENOMEM;
    names_collect(names, ask);
    more = page(names, ask->query, &from, &to);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "object", "list");
    rm_jw_arr(&w, "data");
    for (size_t i = from; i < to; i++)
        write_entry(&w, NULL, ask, names->v[i].id, names->v[i].role);
    rm_jw_end(&w);
    rm_jw_bool(&w, "has_more", more);
    rm_jw_str(&w, "first_id", to > from ? names->v[from].id : NULL);
    rm_jw_str(&w, "last_id", to > from ? names->v[to - 1].id : NULL);
    rm_jw_end(&w);
    free(names);
    return rm_jw_done(&w);
}

static bool role_answers(const struct map_role *role, const char *id)
{
    for (size_t i = 0; i < role->modes.n; i++)
        if (strcmp(role->modes.item[i], id) == 0)
            return true;
    return strcmp(role->name, id) == 0 || strcmp(role->model_name, id) == 0;
}

int openai_models_one(const struct models_ask *ask, const char *id, struct rm_buf *out)
{
    const struct map_role *role = ask->role;
    struct rm_jw w = rm_jw_to(out);

    if (role == NULL)
        role = role_map_resolve(ask->map, rm_slice_of(id));
    if (role == NULL || !role_answers(role, id))
        return RM_ERR_MODEL;
    if (auth_role_fault(ask->key, role) != NULL)
        return RM_ERR_FORBIDDEN;
    write_entry(&w, NULL, ask, id, role);
    return rm_jw_done(&w);
}
