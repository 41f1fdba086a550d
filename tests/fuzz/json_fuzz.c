/* SPDX-License-Identifier: MIT */
/* The JSON skimmer: the same verdict, place and spans however the text is cut, and the same verdict
 * and values as jansson's tree, apart from what json_skim.h says is different: depth, number of
 * members, a root that is not an object; and apart from jansson's own ways: it refuses NUL in a
 * key, and it overlooks a NUL byte right behind a number or a literal. */
#include <jansson.h>
#include <string.h>

#include "proto/base/json_skim.h"
#include "tests/fuzz/fuzz.h"

static void same(const struct rm_skim *a, const struct rm_skim *b)
{
    FUZZ_CHECK(a->err == b->err && a->error_text == b->error_text);
    FUZZ_CHECK(a->error_offset == b->error_offset);
    FUZZ_CHECK(a->n_members == b->n_members);
    for (uint32_t i = 0; i < a->n_members; i++)
        FUZZ_CHECK(memcmp(&a->members[i].key, &b->members[i].key, sizeof(struct rm_span)) == 0 &&
                   memcmp(&a->members[i].value, &b->members[i].value, sizeof(struct rm_span)) == 0);
    FUZZ_CHECK(a->messages.n == b->messages.n && a->input.n == b->input.n);
    FUZZ_CHECK(a->messages.n == 0 ||
               memcmp(a->messages.v, b->messages.v, a->messages.n * sizeof(struct rm_span)) == 0);
}

static int skim_pieces(struct rm_skim *s, const char *text, size_t n, unsigned seed)
{
    int r = 0;

    for (size_t i = 0, k; i < n && r == 0; i += k) {
        seed = seed * 1103515245u + 12345u;
        k = seed % 2 ? 1 : 1 + (seed >> 16) % 9;
        k = k > n - i ? n - i : k;
        r = rm_skim_feed(s, text + i, k);
    }
    return r < 0 ? r : rm_skim_end(s);
}

static void same_value(struct rm_slice body, const struct rm_json_member *m, const json_t *v)
{
    struct rm_slice raw = rm_span_of(body, m->value);
    struct rm_buf text;
    double d;

    switch (m->type) {
    case RM_JSON_OBJECT:
        FUZZ_CHECK(json_is_object(v));
        break;
    case RM_JSON_ARRAY:
        FUZZ_CHECK(json_is_array(v));
        break;
    case RM_JSON_STRING:
        rm_buf_init(&text, raw.n);
        FUZZ_CHECK(json_is_string(v) && rm_json_unquote(raw, &text) == 0);
        FUZZ_CHECK(text.len == json_string_length(v) &&
                   (text.len == 0 || memcmp(text.data, json_string_value(v), text.len) == 0));
        rm_buf_clear(&text);
        break;
    case RM_JSON_NUMBER:
        FUZZ_CHECK(json_is_real(v) && rm_json_dbl(raw, &d) == 0 && d == json_real_value(v));
        break;
    case RM_JSON_TRUE:
        FUZZ_CHECK(json_is_true(v));
        break;
    case RM_JSON_FALSE:
        FUZZ_CHECK(json_is_false(v));
        break;
    case RM_JSON_NULL:
        FUZZ_CHECK(json_is_null(v));
        break;
    }
}

/* Both took it: member by member. */
static void same_tree(struct rm_slice body, const struct rm_skim *s, json_t *tree)
{
    const char *key;
    json_t *value;

    FUZZ_CHECK(json_object_size(tree) == s->n_members);
    json_object_foreach(tree, key, value)
    {
        const struct rm_json_member *m = rm_skim_member(s, body, key);

        FUZZ_CHECK(m != NULL);
        same_value(body, m, value);
        if (json_is_array(value) && strcmp(key, "messages") == 0)
            FUZZ_CHECK(s->messages.total == json_array_size(value));
        if (json_is_array(value) && strcmp(key, "input") == 0)
            FUZZ_CHECK(s->input.total == json_array_size(value));
    }
}

static void compare(struct rm_slice body, const struct rm_skim *s)
{
    size_t flags = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_error_t error;
    json_t *tree = json_loadb(body.p, body.n, flags, &error);

    if (s->err == 0) {
        FUZZ_CHECK(tree != NULL || json_error_code(&error) == json_error_null_byte_in_key);
        if (tree != NULL)
            same_tree(body, s, tree);
    } else if (tree != NULL && json_is_object(tree)) {
        if (strcmp(s->error_text, "the same key twice") == 0) {
            json_decref(tree);
            tree = json_loadb(body.p, body.n, flags | JSON_REJECT_DUPLICATES, &error);
            FUZZ_CHECK(tree == NULL && json_error_code(&error) == json_error_duplicate_key);
        } else if (s->error_offset >= body.n || body.p[s->error_offset] != '\0') {
            FUZZ_CHECK(strncmp(s->error_text, "nested more", 11) == 0 ||
                       strncmp(s->error_text, "more than 1024", 14) == 0);
        }
    }
    json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rm_slice body = {(const char *)data, size};
    struct rm_skim whole, pieces;

    rm_skim_init(&whole);
    rm_skim_init(&pieces);
    FUZZ_CHECK(rm_json_check(body, &whole) == whole.err);
    for (unsigned seed = 0; seed < 2; seed++) {
        rm_skim_reset(&pieces);
        skim_pieces(&pieces, body.p, body.n, seed + (unsigned)size);
        same(&whole, &pieces);
    }
    compare(body, &whole);
    rm_skim_clear(&whole);
    rm_skim_clear(&pieces);
    return 0;
}
