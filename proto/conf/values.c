/* SPDX-License-Identifier: MIT */
/* proto/conf/values.c - the types of single values and lists: parse and compare.
 * Every parser either fills its field or reports one mistake at the value (or at the item of a
 * list). */
#include "proto/conf/keys.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIST_MAX = 64, HOST_NAME_MAX_BYTES = 253 };

/* --- helpers -------------------------------------------------------------------------------- */

/* The scalar's text for parsers of plain words; reports other kinds with what was expected. */
static bool scalar_of(struct conf_read *cf, const struct conf_key *key,
                      const struct conf_node *value, const char *expected, struct rm_slice *text)
{
    if (value->type == CONF_BROKEN)
        return false;
    *text = value->text;
    if (value->type == CONF_SCALAR && !(value->plain && value->text.n == 0))
        return true;
    conf_say(cf, key, value, NULL, "expected %s, got %s", expected, conf_kind_of(value));
    return false;
}

/* Leading decimal digits without a sign or a leading zero. Returns how many, 0 for none or too
 * many. */
static size_t digits_of(struct rm_slice text, uint64_t *out)
{
    size_t n = 0;

    *out = 0;
    while (n < text.n && isdigit((unsigned char)text.p[n])) {
        if (n >= 15)
            return 0;
        *out = *out * 10 + (uint64_t)(text.p[n++] - '0');
    }
    return n > 1 && text.p[0] == '0' ? 0 : n;
}

static bool in_range(struct conf_read *cf, const struct conf_key *key,
                     const struct conf_node *value, uint64_t v)
{
    uint64_t max = key->max > 0 ? key->max : UINT32_MAX;

    if (v >= key->min && v <= max)
        return true;
    if (key->min == max)
        conf_say(cf, key, value, NULL, "must be %llu", (unsigned long long)max);
    else
        conf_say(cf, key, value, NULL, "must be %llu to %llu", (unsigned long long)key->min,
                 (unsigned long long)max);
    return false;
}

/* --- numbers and words ------------------------------------------------------------------------ */

static void bool_parse(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, void *field)
{
    struct rm_slice text;

    if (!scalar_of(cf, key, value, "true or false", &text))
        return;
    if (value->plain && (rm_slice_eq(text, "true") || rm_slice_eq(text, "false")))
        *(bool *)field = rm_slice_eq(text, "true");
    else
        conf_say(cf, key, value, NULL, "expected true or false");
}

static bool bool_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    return *(const bool *)a == *(const bool *)b;
}

const struct conf_type conf_bool = {"true or false", bool_parse, bool_equal};

static bool integer_of(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, const char *word, uint64_t *out,
                       bool *is_word)
{
    struct rm_slice text;
    char expected[80];

    if (key->fallback != NULL && isdigit((unsigned char)key->fallback[0]))
        snprintf(expected, sizeof expected, "a decimal integer such as %s", key->fallback);
    else
        snprintf(expected, sizeof expected, "a decimal integer such as %d%s%s",
                 key->max == 1 ? 1 : 8, word != NULL ? " or " : "", word != NULL ? word : "");
    if (!scalar_of(cf, key, value, expected, &text))
        return false;
    *is_word = word != NULL && rm_slice_eq(text, word);
    if (*is_word)
        return true;
    if (value->plain && text.n > 0 && digits_of(text, out) == text.n)
        return in_range(cf, key, value, *out);
    conf_say(cf, key, value, NULL, "expected %s", expected);
    return false;
}

static void u32_parse(struct conf_read *cf, const struct conf_key *key,
                      const struct conf_node *value, void *field)
{
    uint64_t v = 0;
    bool is_word;

    if (integer_of(cf, key, value, NULL, &v, &is_word))
        *(uint32_t *)field = (uint32_t)v;
}

static void u32_auto_parse(struct conf_read *cf, const struct conf_key *key,
                           const struct conf_node *value, void *field)
{
    uint64_t v = 0;
    bool is_word;

    if (integer_of(cf, key, value, "auto", &v, &is_word))
        *(uint32_t *)field = is_word ? 0 : (uint32_t)v;
}

static void layers_parse(struct conf_read *cf, const struct conf_key *key,
                         const struct conf_node *value, void *field)
{
    uint64_t v = 0;
    bool is_word;

    if (integer_of(cf, key, value, "all", &v, &is_word))
        *(int32_t *)field = is_word ? -1 : (int32_t)v;
}

static bool u32_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    return *(const uint32_t *)a == *(const uint32_t *)b;
}

static bool i32_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    return *(const int32_t *)a == *(const int32_t *)b;
}

const struct conf_type conf_u32 = {"integer", u32_parse, u32_equal};
const struct conf_type conf_u32_auto = {"integer or auto", u32_auto_parse, u32_equal};
const struct conf_type conf_layers = {"integer or all", layers_parse, i32_equal};

static void tokens_parse(struct conf_read *cf, const struct conf_key *key,
                         const struct conf_node *value, void *field)
{
    static const char expected[] = "a decimal integer such as 8192 or 32Ki";
    struct rm_slice text, unit;
    uint64_t v;
    size_t n;

    if (!scalar_of(cf, key, value, expected, &text))
        return;
    n = value->plain ? digits_of(text, &v) : 0;
    unit = (struct rm_slice){text.p + n, text.n - n};
    if (n == 0 || !(unit.n == 0 || rm_slice_eq(unit, "Ki") || rm_slice_eq(unit, "Mi"))) {
        conf_say(cf, key, value, NULL, "expected %s", expected);
        return;
    }
    v <<= unit.n == 0 ? 0 : *unit.p == 'K' ? 10 : 20; /* 15 digits and 20 bits fit into 64 */
    if (in_range(cf, key, value, v))
        *(uint32_t *)field = (uint32_t)v;
}

const struct conf_type conf_tokens = {"tokens, with Ki or Mi", tokens_parse, u32_equal};

/* --- numbers with units --------------------------------------------------------------------- */

struct unit {
    const char *name;
    uint64_t factor;
};

static void with_unit(struct conf_read *cf, const struct conf_key *key,
                      const struct conf_node *value, const struct unit *units, const char *expected,
                      uint64_t *field)
{
    struct rm_slice text, name;
    char shown[CONF_SHOWN_MAX], hint[CONF_SHOWN_MAX + 32];
    uint64_t v, max = key->max > 0 ? key->max : UINT64_MAX;
    size_t n;

    if (!scalar_of(cf, key, value, expected, &text))
        return;
    n = digits_of(text, &v);
    name = (struct rm_slice){text.p + n, text.n - n};
    for (const struct unit *u = units; n > 0 && u->name != NULL; u++) {
        if (!rm_slice_eq(name, u->name))
            continue;
        if (v > max / u->factor || v * u->factor < key->min)
            conf_say(cf, key, value, v == 0 ? "it must be more than zero" : "out of range",
                     "expected %s", expected);
        else
            *field = v * u->factor;
        return;
    }
    snprintf(hint, sizeof hint, "%s needs a unit", conf_shown(key->key, text, shown));
    conf_say(cf, key, value, n > 0 && name.n == 0 ? hint : NULL, "expected %s", expected);
}

static void size_parse(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, void *field)
{
    static const struct unit units[] = {
        {"B", 1},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", UINT64_C(1000000000000)},
        {NULL, 0},
    };

    with_unit(cf, key, value, units, "a size such as 12GiB or 500MB", field);
}

static void duration_parse(struct conf_read *cf, const struct conf_key *key,
                           const struct conf_node *value, void *field)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

    with_unit(cf, key, value, units, "a duration such as 30s or 5m, up to 24h", field);
}

static bool u64_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    return *(const uint64_t *)a == *(const uint64_t *)b;
}

const struct conf_type conf_size = {"size", size_parse, u64_equal};
const struct conf_type conf_duration = {"duration", duration_parse, u64_equal};

/* --- words and texts ------------------------------------------------------------------------- */

static void enum_parse(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, void *field)
{
    char expected[128] = "", hint[96], shown[CONF_SHOWN_MAX];
    struct rm_slice text;
    const char *near;
    size_t n = 0, used = 0;

    for (; key->words[n] != NULL; n++)
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s",
                                 n == 0                      ? ""
                                 : key->words[n + 1] != NULL ? ", "
                                                             : " or ",
                                 key->words[n]);
    if (!scalar_of(cf, key, value, expected, &text))
        return;
    for (size_t i = 0; i < n; i++)
        if (rm_slice_eq(text, key->words[i])) {
            *(int *)field = (int)i;
            return;
        }
    near = conf_nearest(text, key->words, n);
    if (near != NULL)
        snprintf(hint, sizeof hint, "did you mean '%s'?", near);
    conf_say(cf, key, value, near != NULL ? hint : NULL, "expected %s, got %s", expected,
             conf_shown(key->key, text, shown));
}

static bool enum_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    return *(const int *)a == *(const int *)b;
}

const struct conf_type conf_enum = {"word", enum_parse, enum_equal};

static const char *keep(struct conf_read *cf, struct rm_slice text)
{
    const char *copy = conf_arena_text(cf->arena, text);

    if (copy == NULL)
        cf->no_memory = true;
    return copy;
}

/* A string that may be kept as C text; reports others. */
static bool text_of(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value,
                    struct rm_slice *text)
{
    if (value->type == CONF_BROKEN)
        return false;
    *text = value->text;
    if (value->type != CONF_SCALAR || conf_not_a_string(value))
        conf_say(cf, key, value,
                 value->type == CONF_SCALAR && value->text.n > 0 ? "quote it" : NULL,
                 "expected a string, got %s",
                 value->type == CONF_SCALAR && value->text.n > 0 ? "a number or a constant"
                                                                 : conf_kind_of(value));
    else if (value->text.n == 0)
        conf_say(cf, key, value, NULL, "is empty");
    else if (memchr(value->text.p, '\0', value->text.n) != NULL)
        conf_say(cf, key, value, NULL, "contains a NUL character");
    else
        return true;
    return false;
}

static void text_parse(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, void *field)
{
    struct rm_slice text;

    if (text_of(cf, key, value, &text))
        *(const char **)field = keep(cf, text);
}

static bool text_equal(const struct conf_key *key, const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;

    (void)key;
    return x == y || (x != NULL && y != NULL && strcmp(x, y) == 0);
}

const struct conf_type conf_text = {"string", text_parse, text_equal};

/* Reports what is no list, an empty one, or one with too many items. */
static bool list_of(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value)
{
    if (value->type != CONF_SEQ)
        conf_say(cf, key, value, NULL, "expected a list, got %s", conf_kind_of(value));
    else if (value->n == 0)
        conf_say(cf, key, value, "leave the key out", "list is empty");
    else if (value->n > (key->max > 0 ? key->max : LIST_MAX))
        conf_say(cf, key, value, NULL, "more than %d items",
                 key->max > 0 ? (int)key->max : LIST_MAX);
    else
        return true;
    return false;
}

static bool list_has(const char *const *items, size_t n, struct rm_slice text)
{
    for (size_t i = 0; i < n; i++)
        if (rm_slice_eq(text, items[i]))
            return true;
    return false;
}

static void texts_parse(struct conf_read *cf, const struct conf_key *key,
                        const struct conf_node *value, void *field)
{
    struct conf_list *list = field;
    const char **items;
    struct conf_at *places;

    if (!list_of(cf, key, value))
        return;
    items = conf_arena_take(cf->arena, value->n * sizeof *items);
    places = conf_arena_take(cf->arena, value->n * sizeof *places);
    if (items == NULL || places == NULL) {
        cf->no_memory = true;
        return;
    }
    list->item = items;
    list->at = places;
    for (const struct conf_node *v = value->first; v != NULL; v = v->next) {
        struct rm_slice text;
        char shown[CONF_SHOWN_MAX];

        if (!text_of(cf, key, v, &text))
            continue;
        if (list_has(items, list->n, text)) {
            conf_say(cf, key, v, NULL, "%s is listed twice", conf_shown(key->key, text, shown));
            continue;
        }
        items[list->n] = keep(cf, text);
        if (items[list->n] == NULL)
            return;
        places[list->n++] = v->at;
    }
}

static bool texts_equal(const struct conf_key *key, const void *a, const void *b)
{
    const struct conf_list *x = a, *y = b;

    (void)key;
    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->item[i], y->item[i]) != 0)
            return false;
    return true;
}

const struct conf_type conf_texts = {"list of strings", texts_parse, texts_equal};

/* --- paths ------------------------------------------------------------------------------------ */

static bool path_under(struct rm_slice path, const char *dir)
{
    size_t n = strlen(dir);

    return path.n >= n && memcmp(path.p, dir, n) == 0 && (path.n == n || path.p[n] == '/');
}

const char *conf_path_fault(struct rm_slice path)
{
    if (path.n > 0 && path.p[0] == '~')
        return "'~' is not expanded, write the whole path";
    if (path.n == 0 || path.p[0] != '/')
        return "the path must be absolute";
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return "the path contains a control character";
    if (path_under(path, "/dev") || path_under(path, "/proc") || path_under(path, "/sys"))
        return "the path leads into /dev, /proc or /sys";
    for (size_t i = 0; i + 1 <= path.n; i++)
        if (path.p[i] == '/') {
            struct rm_slice rest = {path.p + i, path.n - i};

            if (path_under(rest, "/.."))
                return "the path contains '..'";
            if (path_under(rest, "/.") || (rest.n > 1 && rest.p[1] == '/'))
                return "the path contains an empty part or '.'";
        }
    return path.n >= 4096 ? "the path is too long" : NULL;
}

static void path_parse(struct conf_read *cf, const struct conf_key *key,
                       const struct conf_node *value, void *field)
{
    struct rm_slice text;
    const char *fault;

    if (!text_of(cf, key, value, &text))
        return;
    fault = conf_path_fault(text);
    if (fault != NULL)
        conf_say(cf, key, value, NULL, "%s", fault);
    else
        *(const char **)field = keep(cf, text);
}

const struct conf_type conf_path = {"absolute path", path_parse, text_equal};

/* --- addresses -------------------------------------------------------------------------------- */

static bool host_is_name(struct rm_slice host)
{
    size_t label = 0;

    if (host.n == 0 || host.n > HOST_NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if (c == '.') {
            if (label == 0 || host.p[i - 1] == '-')
                return false;
            label = 0;
        } else if (isalnum((unsigned char)c) || c == '_' || (c == '-' && label > 0)) {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return label > 0 && host.p[host.n - 1] != '-';
}

/* Only digits and dots: must be a whole IPv4 address, not the short forms that resolvers take. */
static bool host_is_good(struct rm_slice host, bool bracketed)
{
    unsigned char bytes[16];
    char copy[HOST_NAME_MAX_BYTES + 1];

    if (host.n == 0 || host.n > HOST_NAME_MAX_BYTES || memchr(host.p, '\0', host.n) != NULL)
        return false;
    memcpy(copy, host.p, host.n);
    copy[host.n] = '\0';
    if (bracketed)
        return inet_pton(AF_INET6, copy, bytes) == 1;
    if (strspn(copy, "0123456789.") == host.n)
        return inet_pton(AF_INET, copy, bytes) == 1;
    return host_is_name(host);
}

const char *conf_split_address(struct rm_slice text, struct rm_slice *host, unsigned long *port)
{
    const char *colon = memrchr(text.p, ':', text.n);
    struct rm_slice digits;
    uint64_t v;
    bool bracketed;

    for (size_t i = 0; i + 1 < text.n; i++)
        if (text.p[i] == '$' && text.p[i + 1] == '{')
            return "variables are not expanded in this file, write the value itself";
    if (colon == NULL)
        return "the port is missing";
    digits = (struct rm_slice){colon + 1, text.n - (size_t)(colon + 1 - text.p)};
    if (digits.n == 0 || digits_of(digits, &v) != digits.n || v > 65535)
        return "the port must be 1 to 65535";
    *port = (unsigned long)v;
    *host = (struct rm_slice){text.p, (size_t)(colon - text.p)};
    bracketed = host->n > 2 && host->p[0] == '[' && host->p[host->n - 1] == ']';
    if (bracketed)
        *host = (struct rm_slice){host->p + 1, host->n - 2};
    else if (memchr(host->p, ':', host->n) != NULL)
        return "write IPv6 addresses in brackets, as in [::1]:8080";
    return host_is_good(*host, bracketed) ? NULL : "the host is neither a name nor an address";
}

static bool host_is_loopback(const char *host)
{
    unsigned char bytes[16];

    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, bytes) == 1)
        return bytes[0] == 127;
    return inet_pton(AF_INET6, host, bytes) == 1 && memcmp(bytes, &in6addr_loopback, 16) == 0;
}

static bool addr_of(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value,
                    unsigned long min_port, struct conf_addr *out)
{
    struct rm_slice text, host;
    unsigned long port;
    const char *fault;

    if (!text_of(cf, key, value, &text))
        return false;
    fault = conf_split_address(text, &host, &port);
    if (fault == NULL && port < min_port)
        fault = "the port must be 1 to 65535";
    if (fault != NULL) {
        conf_say(cf, key, value, fault, "expected HOST:PORT");
        return false;
    }
    out->host = keep(cf, host);
    out->port = (uint16_t)port;
    out->at = value->at;
    out->loopback = out->host != NULL && host_is_loopback(out->host);
    return out->host != NULL;
}

static void address_parse(struct conf_read *cf, const struct conf_key *key,
                          const struct conf_node *value, void *field)
{
    addr_of(cf, key, value, 1, field);
}

static bool address_equal(const struct conf_key *key, const void *a, const void *b)
{
    const struct conf_addr *x = a, *y = b;

    (void)key;
    if (x->host == NULL || y->host == NULL)
        return x->host == y->host;
    return x->port == y->port && strcasecmp(x->host, y->host) == 0;
}

const struct conf_type conf_address = {"HOST:PORT", address_parse, address_equal};

static void listen_parse(struct conf_read *cf, const struct conf_key *key,
                         const struct conf_node *value, void *field)
{
    struct conf_addr_list *list = field;
    struct conf_addr *items;

    if (!list_of(cf, key, value))
        return;
    items = conf_arena_take(cf->arena, value->n * sizeof *items);
    if (items == NULL) {
        cf->no_memory = true;
        return;
    }
    list->item = items;
    for (const struct conf_node *v = value->first; v != NULL; v = v->next)
        if (addr_of(cf, key, v, 0, &items[list->n]))
            list->n++;
}

static bool listen_equal(const struct conf_key *key, const void *a, const void *b)
{
    const struct conf_addr_list *x = a, *y = b;

    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (!address_equal(key, &x->item[i], &y->item[i]))
            return false;
    return true;
}

const struct conf_type conf_listen = {"list of HOST:PORT", listen_parse, listen_equal};

static void url_parse(struct conf_read *cf, const struct conf_key *key,
                      const struct conf_node *value, void *field)
{
    static const char scheme[] = "http://";
    struct rm_slice text, host, authority;
    const char *fault = NULL, *slash;
    unsigned long port;

    if (!text_of(cf, key, value, &text))
        return;
    while (text.n > 0 && text.p[text.n - 1] == '/')
        text.n--;
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= ' ' || strchr("?#@\\\"", text.p[i]) != NULL ||
            (text.p[i] & 0x80))
            fault = "spaces, '?', '#' and '@' cannot be part of it";
    if (text.n <= sizeof scheme - 1 || memcmp(text.p, scheme, sizeof scheme - 1) != 0) {
        fault = "only http:// is possible, as in http://127.0.0.1:11434";
    } else if (fault == NULL) {
        authority = (struct rm_slice){text.p + sizeof scheme - 1, text.n - (sizeof scheme - 1)};
        slash = memchr(authority.p, '/', authority.n);
        if (slash != NULL)
            authority.n = (size_t)(slash - authority.p);
        fault = conf_split_address(authority, &host, &port);
        if (fault == NULL && port == 0)
            fault = "the port must be 1 to 65535";
    }
    if (fault == NULL && text.n >= 300) /* the node protocol carries less */
        fault = "it is too long";
    if (fault != NULL)
        conf_say(cf, key, value, fault, "expected a URL http://HOST:PORT");
    else
        *(const char **)field = keep(cf, text);
}

const struct conf_type conf_http_url = {"http URL", url_parse, text_equal};
