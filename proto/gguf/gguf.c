/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf.c - the structure of a GGUF file: counts, keys, tensors, where their bytes
 * lie. Reads as libllama will, but refuses with a line that names file, offset and number. What the
 * keys mean is gguf_meta.c's. */
#include "proto/gguf/gguf.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/json_write.h"
#include "proto/gguf/gguf_parts.h"

enum { FIRST_EXTENTS = 256, ALIGNMENT = 32, ALIGNMENT_MAX = 1 << 20 };

/* ---- reads that say what they were for ---- */

static int said(struct gguf_reading *g, enum gguf_read_err err)
{
    if (err == GGUF_READ_OK)
        return 0;
    if (err == GGUF_READ_ENDS)
        return gguf_fail(g, g->in.at, "the file ends in %s: %llu bytes are left", g->where,
                         (unsigned long long)gguf_reader_left(&g->in));
    if (err == GGUF_READ_SHRANK)
        return gguf_fail(g, g->in.at, "the file became shorter while it was read, in %s", g->where);
    return gguf_fail(g, g->in.at, "%s, in %s", rm_strerror(g->in.code), g->where);
}

static int get(struct gguf_reading *g, void *into, uint64_t n)
{
    return said(g, gguf_reader_get(&g->in, into, n));
}

static int get_u32(struct gguf_reading *g, uint32_t *v)
{
    return said(g, gguf_reader_u32(&g->in, v));
}

static int get_u64(struct gguf_reading *g, uint64_t *v)
{
    return said(g, gguf_reader_u64(&g->in, v));
}

static int skip(struct gguf_reading *g, uint64_t n)
{
    return said(g, gguf_reader_skip(&g->in, n));
}

/* A length that must lie within a limit and within the file. */
static int get_length(struct gguf_reading *g, uint64_t limit, uint64_t *n)
{
    uint64_t at = g->in.at;
    int r = get_u64(g, n);

    if (r == 0 && *n > limit)
        r = gguf_fail(g, at, "%s is %llu bytes long: at most %llu", g->where,
                      (unsigned long long)*n, (unsigned long long)limit);
    else if (r == 0 && *n > gguf_reader_left(&g->in))
        r = gguf_fail(g, at, "%s is %llu bytes long: that exceeds the file, %llu are left",
                      g->where, (unsigned long long)*n,
                      (unsigned long long)gguf_reader_left(&g->in));
    return r;
}

/* ---- the fixed beginning ---- */

static int read_version(struct gguf_reading *g)
{
    unsigned char magic[4];
    uint32_t version;

    if (gguf_reader_left(&g->in) < sizeof(magic) + 4 + 8 + 8) {
        if (gguf_reader_left(&g->in) >= sizeof(magic) &&
            gguf_reader_get(&g->in, magic, sizeof(magic)) == GGUF_READ_OK &&
            memcmp(magic, "GGUF", 4) != 0)
            return gguf_fail(g, 0, "this is not a GGUF file");
        return gguf_fail(g, g->in.source->size,
                         "truncated header: it is cut short after %llu bytes",
                         (unsigned long long)g->in.source->size);
    }
    snprintf(g->where, sizeof(g->where), "the header");
    if (get(g, magic, sizeof(magic)) < 0)
        return RM_ERR_MODEL_FILE;
    if (memcmp(magic, "GGUF", 4) != 0)
        return gguf_fail(g, 0, "this is not a GGUF file");
    if (get_u32(g, &version) < 0)
        return RM_ERR_MODEL_FILE;
    if (version == 0x03000000 || version == 0x02000000)
        return gguf_fail(g, 4, "unsupported version 0x%08x: a big-endian file", version);
    if (version != 2 && version != 3)
        return gguf_fail(g, 4, "unsupported version %u: expected 2 or 3", version);
    return 0;
}

static int read_counts(struct gguf_reading *g, uint64_t *n_tensors, uint64_t *n_keys)
{
    if (get_u64(g, n_tensors) < 0 || get_u64(g, n_keys) < 0)
        return RM_ERR_MODEL_FILE;
    if (*n_tensors > GGUF_TENSORS_MAX - g->head->tensors)
        return gguf_fail(g, 8, "%llu tensors: at most %d", (unsigned long long)*n_tensors,
                         GGUF_TENSORS_MAX);
    if (*n_keys > GGUF_KEYS_MAX)
        return gguf_fail(g, 16, "%llu keys: at most %d", (unsigned long long)*n_keys,
                         GGUF_KEYS_MAX);
    return 0;
}

/* ---- keys and values ---- */

/* Bytes of a number; 0: no such type, or not a number. */
static uint32_t number_bytes(uint32_t type)
{
    static const unsigned char bytes[GGUF_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    return type < GGUF_VALUE_TYPES ? bytes[type] : 0;
}

static int name_bytes_check(struct gguf_reading *g, uint64_t at, const char *name, uint32_t n,
                            const char *what, bool *odd)
{
    char shown[GGUF_SHOWN_MAX];
    size_t k;

    *odd = false;
    if (n == 0)
        return gguf_fail(g, at, "%s has no name", what);
    for (uint32_t i = 0; i < n; i += (uint32_t)k) {
        unsigned char c = (unsigned char)name[i];

        k = rm_utf8_len(name + i, n - i);
        if (k == 0 || c < 0x20 || c == 0x7f)
            return gguf_fail(g, at, "%s '%s' has a control byte or bad UTF-8", what,
                             gguf_shown(shown, name, n));
        *odd = *odd || !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
                         c == '-');
    }
    return 0;
}

static int read_key(struct gguf_reading *g, uint32_t i, bool check_twice)
{
    char shown[GGUF_SHOWN_MAX];
    uint64_t n, at = g->in.at;
    bool odd;
    int r;

    snprintf(g->where, sizeof(g->where), "key %u", i);
    if ((r = get_length(g, GGUF_KEY_BYTES_MAX, &n)) < 0 || (r = get(g, g->key, n)) < 0)
        return r;
    g->key[n] = '\0';
    g->key_n = (uint32_t)n;
    if ((r = name_bytes_check(g, at, g->key, g->key_n, "key", &odd)) < 0 || !check_twice)
        return r;
    gguf_shown(shown, g->key, n);
    if (odd)
        gguf_warn(g, at, "key '%s' has bytes outside [a-z0-9_.-]", shown);
    r = gguf_names_add(&g->keys, g->key, n);
    return r == 0 ? gguf_fail(g, at, "key '%s' appears twice", shown) : r < 0 ? r : 0;
}

static int read_strings(struct gguf_reading *g, const char *shown)
{
    uint64_t n;
    int r = 0;

    if (g->value.items > GGUF_ITEMS_MAX)
        return gguf_fail(g, g->value.at, "key '%s' has %llu strings: at most %d", shown,
                         (unsigned long long)g->value.items, GGUF_ITEMS_MAX);
    for (uint64_t i = 0; r == 0 && i < g->value.items; i++) {
        uint64_t at = g->in.at;

        if (gguf_reader_u64(&g->in, &n) == GGUF_READ_OK && n <= GGUF_STRING_MAX &&
            gguf_reader_skip(&g->in, n) == GGUF_READ_OK)
            continue; /* vocabularies have 100,000 of them: a place is named when it is bad */
        g->in.at = at;
        snprintf(g->where, sizeof(g->where), "element %llu of key '%s'", (unsigned long long)i,
                 shown);
        if ((r = get_length(g, GGUF_STRING_MAX, &n)) == 0)
            r = skip(g, n);
    }
    return r;
}

static int hold(struct gguf_reading *g, uint64_t n)
{
    int r;

    g->value.held = n < GGUF_HELD_MAX ? (uint32_t)n : GGUF_HELD_MAX;
    r = get(g, g->value.bytes, g->value.held);
    return r < 0 ? r : skip(g, n - g->value.held);
}

static int read_array(struct gguf_reading *g, const char *shown)
{
    struct gguf_value *v = &g->value;
    uint64_t at = g->in.at, bytes;
    int r;

    if ((r = get_u32(g, &v->item)) < 0)
        return r;
    if (v->item == GGUF_ARR)
        return gguf_fail(g, at, "key '%s' is an array of arrays", shown);
    if (v->item >= GGUF_VALUE_TYPES)
        return gguf_fail(g, at, "unknown type %u for the elements of key '%s'", v->item, shown);
    if ((r = get_u64(g, &v->items)) < 0)
        return r;
    v->at = g->in.at;
    if (v->item == GGUF_STR)
        return read_strings(g, shown);
    if (__builtin_mul_overflow(v->items, (uint64_t)number_bytes(v->item), &bytes) ||
        bytes > gguf_reader_left(&g->in))
        return gguf_fail(g, v->at, "key '%s' has %llu elements: that exceeds the file", shown,
                         (unsigned long long)v->items);
    return hold(g, bytes);
}

static int read_value(struct gguf_reading *g)
{
    struct gguf_value *v = &g->value;
    char shown[GGUF_SHOWN_MAX];
    uint64_t at = g->in.at;
    int r;

    gguf_shown(shown, g->key, g->key_n);
    snprintf(g->where, sizeof(g->where), "the value of key '%s'", shown);
    v->held = 0;
    v->items = 0;
    v->item = 0;
    if ((r = get_u32(g, &v->type)) < 0)
        return r;
    if (v->type >= GGUF_VALUE_TYPES)
        return gguf_fail(g, at, "unknown type %u for key '%s'", v->type, shown);
    v->at = g->in.at;
    if (v->type == GGUF_ARR)
        return read_array(g, shown);
    if (v->type == GGUF_STR)
        return (r = get_length(g, GGUF_STRING_MAX, &v->items)) < 0 ? r : hold(g, v->items);
    return hold(g, number_bytes(v->type));
}

static int head_size_check(struct gguf_reading *g)
{
    if (g->in.at > GGUF_HEAD_BYTES_MAX)
        return gguf_fail(g, g->in.at, "the header is over %d MiB", GGUF_HEAD_BYTES_MAX >> 20);
    return 0;
}

/* The architecture names the other keys, so it is looked for before they are read; nearly always
 * it is the first. */
static int find_arch(struct gguf_reading *g, uint64_t n_keys)
{
    static const char name[] = "general.architecture";
    uint64_t from = g->in.at;
    int r;

    for (uint64_t i = 0; i < n_keys; i++) {
        if ((r = read_key(g, (uint32_t)i, false)) < 0 || (r = read_value(g)) < 0 ||
            (r = head_size_check(g)) < 0)
            return r;
        if (g->key_n == sizeof(name) - 1 && memcmp(g->key, name, g->key_n) == 0) {
            r = gguf_meta_arch(g);
            g->in.at = from;
            return r;
        }
    }
    return gguf_fail(g, g->in.at, "general.architecture is missing");
}

static int read_keys(struct gguf_reading *g, uint64_t n_keys)
{
    int r = 0;

    if (g->head->files == 0 && (r = find_arch(g, n_keys)) < 0)
        return r;
    for (uint64_t i = 0; r == 0 && i < n_keys; i++)
        if ((r = read_key(g, (uint32_t)i, true)) == 0 && (r = read_value(g)) == 0 &&
            (r = head_size_check(g)) == 0)
            r = gguf_meta_take(g);
    if (r == 0 && g->head->files == 0)
        r = gguf_meta_check(g);
    return r;
}

/* ---- split files ---- */

static int check_split(struct gguf_reading *g, uint32_t parts)
{
    const struct gguf_own *no = &g->split_no, *count = &g->split_count;
    struct gguf_head *h = g->head;

    if (parts == 1 && (!count->present || (count->v == 0 && (!no->present || no->v == 0))))
        return 0; /* gguf-split --merge leaves a count of 0 */
    if (!count->present)
        return gguf_fail(g, g->in.at, "split.count is missing, the file's name says %u parts",
                         parts);
    if (count->v < 1 || count->v > GGUF_PARTS_MAX)
        return gguf_fail(g, count->at, "split.count %llu: must be 1..%d",
                         (unsigned long long)count->v, GGUF_PARTS_MAX);
    if (no->present && no->v >= count->v)
        return gguf_fail(g, no->at, "split.no %llu of %llu", (unsigned long long)no->v,
                         (unsigned long long)count->v);
    if (no->present && no->v != h->files)
        return gguf_fail(g, no->at, "this is part %llu, expected part %u",
                         (unsigned long long)no->v + 1, h->files + 1);
    if (count->v > parts && parts == 1)
        return gguf_fail(g, count->at,
                         "part 2 is missing: the file is one of %llu parts, its name is not",
                         (unsigned long long)count->v);
    if (count->v != parts)
        return gguf_fail(g, count->at, "split.count %llu, the file's name says %u parts",
                         (unsigned long long)count->v, parts);
    if (g->split_tensors.v > GGUF_TENSORS_MAX)
        return gguf_fail(g, g->split_tensors.at, "split.tensors.count %llu: more than %d",
                         (unsigned long long)g->split_tensors.v, GGUF_TENSORS_MAX);
    if (h->files == 0) { /* gguf_end compares; it names the first file */
        h->split_tensors = (uint32_t)g->split_tensors.v;
        g->split_tensors_at = g->split_tensors.at;
    }
    return 0;
}

static int check_alignment(struct gguf_reading *g)
{
    const struct gguf_own *a = &g->alignment;

    g->head->alignment = ALIGNMENT;
    if (!a->present)
        return 0;
    if (a->v < 1 || a->v > ALIGNMENT_MAX || (a->v & (a->v - 1)) != 0)
        return gguf_fail(g, a->at, "general.alignment %llu: must be a power of 2 up to %d",
                         (unsigned long long)a->v, ALIGNMENT_MAX);
    g->head->alignment = (uint32_t)a->v;
    return 0;
}

/* ---- tensors ---- */

static struct gguf_extent *extent_new(struct gguf_reading *g)
{
    uint32_t cap = g->cap_extents > 0 ? g->cap_extents * 2 : FIRST_EXTENTS;
    struct gguf_extent *v;

    if (g->n_extents == g->cap_extents) {
        if ((v = realloc(g->extents, cap * sizeof(*v))) == NULL)
            return NULL;
        g->extents = v;
        g->cap_extents = cap;
    }
    return &g->extents[g->n_extents++];
}

/* Reads the dimensions: elements in all, and those of a row. */
static int read_shape(struct gguf_reading *g, const char *shown, uint64_t *row, uint64_t *all)
{
    uint64_t dim, at = g->in.at;
    uint32_t n;
    int r;

    *row = *all = 1;
    if ((r = get_u32(g, &n)) < 0)
        return r;
    if (n < 1 || n > 4)
        return gguf_fail(g, at, "tensor '%s': n_dims %u: must be 1..4", shown, n);
    for (uint32_t i = 0; i < n; i++) {
        at = g->in.at;
        if ((r = get_u64(g, &dim)) < 0)
            return r;
        if (dim < 1 || dim > INT64_MAX || __builtin_mul_overflow(*all, dim, all) ||
            *all > INT64_MAX)
            return gguf_fail(g, at, "tensor '%s': dimension %u is %llu", shown, i,
                             (unsigned long long)dim);
        if (i == 0)
            *row = dim;
    }
    return 0;
}

/* Bytes of a tensor; UINT64_MAX where the type is not one of ours. */
static int tensor_bytes(struct gguf_reading *g, const char *shown, uint64_t at, uint64_t row,
                        uint64_t all, struct gguf_extent *e)
{
    uint32_t block, bytes;

    if (e->type > 255)
        return gguf_fail(g, at, "tensor '%s': unknown type %u", shown, e->type);
    if (!gguf_tensor_type_block(e->type, &block, &bytes)) {
        e->bytes = UINT64_MAX;
        gguf_warn(g, at, "tensor '%s' has type %u, removed or unknown: size from the next offset",
                  shown, e->type);
        return 0;
    }
    if (row % block != 0)
        return gguf_fail(g, at, "tensor '%s': a row of %llu is not a multiple of block %u", shown,
                         (unsigned long long)row, block);
    if (__builtin_mul_overflow(all / block, (uint64_t)bytes, &e->bytes) || e->bytes > INT64_MAX)
        return gguf_fail(g, at, "tensor '%s': %llu elements are too many", shown,
                         (unsigned long long)all);
    return 0;
}

static int read_tensor_name(struct gguf_reading *g, uint32_t i, struct gguf_extent *e, char *shown)
{
    char name[GGUF_NAME_BYTES_MAX + 1];
    uint64_t n, at = g->in.at;
    bool odd;
    int r;

    snprintf(g->where, sizeof(g->where), "the name of tensor %u", i);
    if ((r = get_length(g, GGUF_NAME_BYTES_MAX, &n)) < 0)
        return r;
    e->name_at = g->in.at;
    e->name_n = (uint32_t)n;
    if ((r = get(g, name, n)) < 0 ||
        (r = name_bytes_check(g, at, name, (uint32_t)n, "tensor", &odd)) < 0)
        return r;
    gguf_shown(shown, name, n);
    snprintf(g->where, sizeof(g->where), "tensor '%s'", shown);
    r = gguf_names_add(&g->names, name, n);
    return r == 0 ? gguf_fail(g, at, "tensor '%s' appears twice", shown) : r < 0 ? r : 0;
}

static int read_tensor(struct gguf_reading *g, uint32_t i)
{
    struct gguf_extent *e = extent_new(g);
    char shown[GGUF_SHOWN_MAX];
    uint64_t row, all, at;
    int r;

    if (e == NULL)
        return UV_ENOMEM;
    if ((r = read_tensor_name(g, i, e, shown)) < 0 || (r = read_shape(g, shown, &row, &all)) < 0)
        return r;
    at = g->in.at;
    if ((r = get_u32(g, &e->type)) < 0 || (r = tensor_bytes(g, shown, at, row, all, e)) < 0)
        return r;
    at = g->in.at;
    if ((r = get_u64(g, &e->offset)) < 0)
        return r;
    if (e->offset % g->head->alignment != 0)
        return gguf_fail(g, at, "tensor '%s': offset %llu is not a multiple of %u", shown,
                         (unsigned long long)e->offset, g->head->alignment);
    if (__builtin_add_overflow(g->head->params, all, &g->head->params))
        return gguf_fail(g, at, "tensor '%s': more parameters than 64 bits count", shown);
    return head_size_check(g);
}

static void note_bytes(struct gguf_head *h, uint32_t type, uint64_t bytes)
{
    uint32_t i;

    if (gguf_tensor_type_name(type) == NULL)
        type = UINT32_MAX;
    for (i = 0; i < h->n_mix && h->mix[i].type != type; i++)
        continue;
    if (i == h->n_mix)
        h->mix[h->n_mix++] = (struct gguf_mix){.type = type};
    h->mix[i].tensors++;
    h->mix[i].bytes += bytes;
    h->weights += (bytes + 31) / 32 * 32;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_extent *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->name_at < y->name_at ? -1 : 1;
}

/* The name of a tensor again, for a message. */
static const char *extent_name(struct gguf_reading *g, const struct gguf_extent *e,
                               char shown[GGUF_SHOWN_MAX])
{
    char name[GGUF_NAME_BYTES_MAX];

    g->in.at = e->name_at;
    if (gguf_reader_get(&g->in, name, e->name_n) != GGUF_READ_OK)
        return "?";
    return gguf_shown(shown, name, e->name_n);
}

/* Are all bytes of all tensors there, and each for one tensor only? room: bytes of the data. */
static int check_data(struct gguf_reading *g, uint64_t from, uint64_t room)
{
    char one[GGUF_SHOWN_MAX], two[GGUF_SHOWN_MAX];
    uint64_t next, end = 0, pad = g->head->alignment;

    if (g->n_extents > 1)
        qsort(g->extents, g->n_extents, sizeof(g->extents[0]), by_offset);
    for (uint32_t i = 0; i < g->n_extents; i++) {
        struct gguf_extent *e = &g->extents[i];

        next = i + 1 < g->n_extents ? e[1].offset : room;
        if (e->offset > room || (e->bytes != UINT64_MAX && e->bytes > room - e->offset))
            return gguf_fail(
                g, g->in.source->size,
                "cut short: tensor '%s' needs %llu bytes at offset %llu, the file ends "
                "at %llu",
                extent_name(g, e, one), (unsigned long long)e->bytes,
                (unsigned long long)(from + e->offset), (unsigned long long)g->in.source->size);
        if (e->bytes == UINT64_MAX)
            e->bytes = next - e->offset;
        if (i + 1 < g->n_extents && e->bytes > next - e->offset)
            return gguf_fail(g, from + next, "tensors '%s' and '%s' overlap",
                             extent_name(g, e, one), extent_name(g, e + 1, two));
        if (e->offset - end >= pad)
            gguf_warn(g, from + end, "unexplained gap of %llu bytes before tensor '%s'",
                      (unsigned long long)(e->offset - end), extent_name(g, e, one));
        end = e->offset + e->bytes;
        note_bytes(g->head, e->type, e->bytes);
    }
    if (room > end && room - end >= pad)
        gguf_warn(g, from + end, "%llu bytes after the last tensor",
                  (unsigned long long)(room - end));
    return 0;
}

static int read_tensors(struct gguf_reading *g, uint64_t n_tensors)
{
    uint64_t from, size = g->in.source->size;
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < n_tensors; i++)
        r = read_tensor(g, (uint32_t)i);
    if (r < 0)
        return r;
    g->head->tensors += (uint32_t)n_tensors;
    from = g->in.at + (g->head->alignment - g->in.at % g->head->alignment) % g->head->alignment;
    if (n_tensors > 0 && from > size)
        return gguf_fail(g, size, "cut short: the tensor data begins at offset %llu",
                         (unsigned long long)from);
    return check_data(g, from, from < size ? size - from : 0);
}

/* ---- a model ---- */

int gguf_begin(struct gguf_head *head, struct gguf_reading **out)
{
    struct gguf_reading *g = calloc(1, sizeof(*g));

    *out = NULL;
    if (g == NULL || (g->key = malloc(GGUF_KEY_BYTES_MAX + 1)) == NULL || sodium_init() < 0) {
        if (g != NULL)
            free(g->key);
        free(g);
        return UV_ENOMEM;
    }
    memset(head, 0, sizeof(*head));
    g->head = head;
    gguf_names_init(&g->names);
    *out = g;
    return 0;
}

/* Of a long path the end tells more. */
static void show_file(char to[GGUF_FILE_MAX], const char *file)
{
    size_t n = strlen(file), most = GGUF_FILE_MAX - 9;

    gguf_shown_in(to, GGUF_FILE_MAX, n > most ? file + n - most : file, n > most ? most : n);
}

int gguf_add(struct gguf_reading *g, const struct gguf_source *source, const char *file,
             uint32_t parts, char *why)
{
    static const struct gguf_own none = {false, 0, 0};
    uint64_t n_tensors, n_keys;
    int r;

    show_file(g->file, file);
    g->why = why;
    why[0] = '\0';
    g->n_extents = 0;
    g->split_no = g->split_count = g->split_tensors = g->alignment = none;
    gguf_names_init(&g->keys);
    if ((r = gguf_reader_init(&g->in, source)) == 0 && (r = read_version(g)) == 0 &&
        (r = read_counts(g, &n_tensors, &n_keys)) == 0 && (r = read_keys(g, n_keys)) == 0 &&
        (r = check_split(g, parts)) == 0 && (r = check_alignment(g)) == 0)
        r = read_tensors(g, n_tensors);
    gguf_reader_clear(&g->in);
    gguf_names_clear(&g->keys);
    if (r == UV_ENOMEM)
        snprintf(why, GGUF_WHY_MAX, "%s: no memory to read its header", g->file);
    g->failed = g->failed || r < 0;
    g->head->files++;
    return r;
}

int gguf_end(struct gguf_reading *g, const char *file, char *why)
{
    const struct gguf_head *h = g->head;
    char shown[GGUF_FILE_MAX];
    int r = 0;

    show_file(shown, file);
    if (g->failed)
        r = RM_ERR_MODEL_FILE;
    else if (h->split_tensors != 0 && h->split_tensors != h->tensors) {
        snprintf(why, GGUF_WHY_MAX,
                 "%s: offset %llu: split.tensors.count says %u, there are %u in all files", shown,
                 (unsigned long long)g->split_tensors_at, h->split_tensors, h->tensors);
        r = RM_ERR_MODEL_FILE;
    } else if (h->tensors == 0) {
        snprintf(why, GGUF_WHY_MAX, "%s: offset 8: no tensors", shown);
        r = RM_ERR_MODEL_FILE;
    }
    gguf_names_clear(&g->names);
    free(g->extents);
    free(g->key);
    free(g);
    return r;
}
