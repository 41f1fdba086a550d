/* SPDX-License-Identifier: MIT */
#include "proto/node/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint64_t clamp_int(uint64_t v)
{
    return v > NODE_INT_MAX ? NODE_INT_MAX : v;
}

static double clamp_rate(double v)
{
    return isfinite(v) && v > 0 ? v : 0;
}

static void put_list(struct rm_jw *w, const struct node_field *f, const uint8_t *at)
{
    rm_jw_arr(w, f->name);
    for (size_t i = 0; i < f->size && at[i] > 0; i++)
        rm_jw_str(w, NULL, f->words[at[i] - 1]);
    rm_jw_end(w);
}

static void field_put(struct rm_jw *w, const struct node_field *f, const void *at)
{
    switch (f->kind) {
    case FIELD_NAME:
    case FIELD_TEXT:
        rm_jw_slice(w, f->name, (struct rm_slice){at, strnlen(at, f->size)});
        break;
    case FIELD_U32:
        rm_jw_u64(w, f->name, *(const uint32_t *)at);
        break;
    case FIELD_I32:
        rm_jw_i64(w, f->name, *(const int32_t *)at);
        break;
    case FIELD_U64:
        rm_jw_u64(w, f->name, clamp_int(*(const uint64_t *)at));
        break;
    case FIELD_RATE:
        rm_jw_dbl(w, f->name, clamp_rate(*(const double *)at));
        break;
    case FIELD_PART:
        rm_jw_dbl(w, f->name, fmin(clamp_rate(*(const double *)at), 1));
        break;
    case FIELD_PERCENT:
        if (*(const double *)at < 0)
            rm_jw_null(w, f->name);
        else
            rm_jw_dbl(w, f->name, fmin(clamp_rate(*(const double *)at), 100));
        break;
    case FIELD_LIST:
        put_list(w, f, at);
        break;
    case FIELD_BOOL:
        rm_jw_bool(w, f->name, *(const bool *)at);
        break;
    case FIELD_ENUM:
        rm_jw_str(w, f->name, f->words[*(const unsigned *)at]);
        break;
    case FIELD_ERROR:
        if (*(const unsigned *)at == 0) {
            rm_jw_null(w, f->name);
            break;
        }
        /* fall through */
    case FIELD_OBJECT:
        rm_jw_obj(w, f->name);
        node_fields_put(w, f->sub, at);
        rm_jw_end(w);
        break;
    }
}

void node_fields_put(struct rm_jw *w, const struct node_field *table, const void *from)
{
    for (const struct node_field *f = table; f->name != NULL; f++)
        field_put(w, f, (const char *)from + f->offset);
}

static int wrong(char *why, const char *path, const char *name, const char *expected)
{
    snprintf(why, NODE_WHY_MAX, "%.40s%s%.30s: expected %s", path, path[0] != '\0' ? "." : "", name,
             expected);
    return RM_ERR_FIELD;
}

/* Each reader returns NULL, or the words for what it expected. */

static const char *get_name(const json_t *v, char *at, size_t size)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);

    if (s == NULL)
        return "a string";
    if (n >= size)
        return "a shorter string";
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return "no control characters";
    memcpy(at, s, n);
    at[n] = '\0';
    return NULL;
}

static const char *get_text(const json_t *v, char *at, size_t size)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);

    if (s == NULL)
        return "a string";
    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
            n--; /* s[n] is where the character that does not fit begins */
    }
    for (size_t i = 0; i < n; i++)
        at[i] = ((unsigned char)s[i] < 0x20 && s[i] != '\n') || s[i] == 0x7f ? '?' : s[i];
    at[n] = '\0';
    return NULL;
}

/* 2.0 is an integer as well: some languages write all numbers so (JSON Schema section 6.1.1). */
static const char *get_int(const json_t *v, json_int_t lowest, json_int_t highest, json_int_t *out)
{
    double real = json_number_value(v);
    bool whole = json_is_real(v) && fabs(real) <= (double)NODE_INT_MAX && real == floor(real);

    if (!json_is_integer(v) && !whole)
        return "an integer";
    *out = whole ? (json_int_t)real : json_integer_value(v);
    return *out < lowest || *out > highest ? "an integer in its range" : NULL;
}

static const char *get_real(const json_t *v, double highest, double *out)
{
    if (!json_is_number(v))
        return "a number";
    *out = json_number_value(v);
    return !isfinite(*out) || *out < 0 || *out > highest ? "a number in its range" : NULL;
}

static const char *get_word(const json_t *v, const char *const *words, unsigned *out)
{
    const char *s = json_string_value(v);

    for (unsigned i = 0; s != NULL && words[i] != NULL; i++)
        if (strcmp(s, words[i]) == 0) {
            *out = i;
            return NULL;
        }
    return "one of its words";
}

static const char *get_list(const json_t *v, const char *const *words, uint8_t *at, size_t size)
{
    size_t n = json_array_size(v);
    const char *want;
    unsigned word = 0;

    if (!json_is_array(v))
        return "an array";
    if (n > size)
        return "a shorter array";
    for (size_t i = 0; i < n; i++) {
        if ((want = get_word(json_array_get(v, i), words, &word)) != NULL)
            return "an array of its words";
        at[i] = (uint8_t)(word + 1);
    }
    if (n < size)
        at[n] = 0;
    return NULL;
}

static const char *field_get(const json_t *v, const struct node_field *f, void *at)
{
    const char *want = NULL;
    json_int_t n = 0;

    switch (f->kind) {
    case FIELD_NAME:
        return get_name(v, at, f->size);
    case FIELD_TEXT:
        return get_text(v, at, f->size);
    case FIELD_U32:
        if ((want = get_int(v, 0, UINT32_MAX, &n)) == NULL)
            *(uint32_t *)at = (uint32_t)n;
        return want;
    case FIELD_I32:
        if ((want = get_int(v, INT32_MIN, INT32_MAX, &n)) == NULL)
            *(int32_t *)at = (int32_t)n;
        return want;
    case FIELD_U64:
        if ((want = get_int(v, 0, (json_int_t)NODE_INT_MAX, &n)) == NULL)
            *(uint64_t *)at = (uint64_t)n;
        return want;
    case FIELD_RATE:
        return get_real(v, 1e18, at);
    case FIELD_PART:
        return get_real(v, 1, at);
    case FIELD_PERCENT:
        return get_real(v, 100, at);
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return "true or false";
        *(bool *)at = json_is_true(v);
        return NULL;
    case FIELD_ENUM:
        return get_word(v, f->words, at);
    case FIELD_LIST:
        return get_list(v, f->words, at, f->size);
    case FIELD_ERROR:
    case FIELD_OBJECT:
        break; /* node_fields_get goes into these itself */
    }
    return "an object";
}

int node_fields_get(const json_t *o, const struct node_field *table, void *into, const char *path,
                    char *why)
{
    const char *want;
    int r;

    for (const struct node_field *f = table; f->name != NULL; f++) {
        const json_t *v = json_object_get(o, f->name);
        void *at = (char *)into + f->offset;

        if (v == NULL || json_is_null(v)) {
            if (f->required)
                return wrong(why, path, f->name, "a value");
        } else if (f->sub != NULL && json_is_object(v)) {
            if ((r = node_fields_get(v, f->sub, at, f->name, why)) < 0)
                return r;
        } else if ((want = field_get(v, f, at)) != NULL) {
            return wrong(why, path, f->name, want);
        }
        if (f->required && f->kind == FIELD_NAME && *(const char *)at == '\0')
            return wrong(why, path, f->name, "a name");
    }
    return 0;
}

void node_rows_put(struct rm_jw *w, const char *name, const struct node_field *table,
                   const void *rows, size_t row_size, uint32_t n)
{
    rm_jw_arr(w, name);
    for (uint32_t i = 0; i < n; i++) {
        rm_jw_obj(w, NULL);
        node_fields_put(w, table, (const char *)rows + i * row_size);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

int node_rows_get(const json_t *o, const char *name, const struct node_field *table, void *rows,
                  size_t row_size, uint32_t max, uint32_t *n, char *why)
{
    const json_t *array = json_object_get(o, name);
    size_t size = json_array_size(array);
    char path[48];
    int r;

    *n = 0;
    if (array == NULL || json_is_null(array))
        return 0;
    if (!json_is_array(array) || size > max) {
        snprintf(why, NODE_WHY_MAX, "%s: expected an array of at most %u", name, max);
        return RM_ERR_FIELD;
    }
    for (size_t i = 0; i < size; i++) {
        const json_t *row = json_array_get(array, i);

        snprintf(path, sizeof(path), "%.24s[%zu]", name, i);
        if (!json_is_object(row)) {
            snprintf(why, NODE_WHY_MAX, "%s: expected an object", path);
            return RM_ERR_FIELD;
        }
        if ((r = node_fields_get(row, table, (char *)rows + i * row_size, path, why)) < 0)
            return r;
    }
    *n = (uint32_t)size;
    return 0;
}

int node_json_load(struct rm_slice json, json_t **out, char *why)
{
    json_error_t e;

    *out = NULL;
    if (json.n > NODE_JSON_MAX) {
        snprintf(why, NODE_WHY_MAX, "over %d bytes", (int)NODE_JSON_MAX);
        return RM_ERR_JSON;
    }
    *out = json_loadb(json.n > 0 ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &e);
    if (*out == NULL) {
        snprintf(why, NODE_WHY_MAX, "byte %d: %.90s", e.position, e.text);
        return RM_ERR_JSON;
    }
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        snprintf(why, NODE_WHY_MAX, "expected an object");
        return RM_ERR_JSON;
    }
    return 0;
}
