/* SPDX-License-Identifier: MIT */
#include "proto/trust/keyring_file.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "proto/conf/role_map.h"
#include "proto/node/fields.h"
#include "proto/trust/keyring_edit.h"

enum { LIST_VERSION = 1 };

static const struct node_field key_fields[] = {
    FIELD_MUST(struct api_key, id, FIELD_NAME),
    FIELD_MUST(struct api_key, name, FIELD_NAME),
    FIELD(struct api_key, admin, FIELD_BOOL),
    FIELD(struct api_key, created_s, FIELD_U64),
    FIELD(struct api_key, expires_s, FIELD_U64),
    FIELD(struct api_key, revoked_s, FIELD_U64),
    FIELD(struct api_key, requests_per_min, FIELD_U32),
    FIELD(struct api_key, concurrency, FIELD_U32),
    FIELD(struct api_key, tokens_per_min, FIELD_U64),
    FIELD(struct api_key, tokens_per_day, FIELD_U64),
    {0},
};
static const char *const other_fields[] = {"roles", "lanes", "hash"};

void api_key_put(struct rm_jw *w, const struct api_key *key)
{
    node_fields_put(w, key_fields, key);
    rm_jw_arr(w, "roles");
    for (uint32_t i = 0; i < key->n_roles; i++)
        rm_jw_str(w, NULL, key->roles[i]);
    rm_jw_end(w);
    rm_jw_arr(w, "lanes");
    for (int lane = MAP_LANE_AUTOCOMPLETE; lane <= MAP_LANE_BATCH; lane++)
        if ((key->lanes & 1u << lane) != 0)
            rm_jw_str(w, NULL, map_lane_name((enum map_lane)lane));
    rm_jw_end(w);
}

int keyring_encode(const struct keyring *k, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    char hex[2 * API_KEY_HASH + 1];

    rm_jw_obj(&w, NULL);
    rm_jw_u64(&w, "version", LIST_VERSION);
    rm_jw_arr(&w, "keys");
    for (size_t i = 0; i < k->n; i++) {
        rm_jw_obj(&w, NULL);
        api_key_put(&w, &k->keys[i]);
        sodium_bin2hex(hex, sizeof hex, k->keys[i].hash, API_KEY_HASH);
        rm_jw_str(&w, "hash", hex);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w) == 0 ? rm_buf_puts(out, "\n") : rm_jw_done(&w);
}

/* ---- reading ---- */

static bool field_is_known(const char *name)
{
    for (const struct node_field *f = key_fields; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    for (size_t i = 0; i < RM_COUNT(other_fields); i++)
        if (strcmp(other_fields[i], name) == 0)
            return true;
    return false;
}

/* As a role map's roles may be named. */
static bool is_role_name(const char *name)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = strlen(name);

    return n > 0 && n < KEYRING_NAME && strspn(name, chars) == n;
}

static bool read_roles(const json_t *list, struct api_key *key)
{
    const char *name;

    if (list == NULL)
        return true;
    if (!json_is_array(list) || json_array_size(list) > KEYRING_ROLES)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        name = json_string_value(json_array_get(list, i));
        if (name == NULL || !is_role_name(name))
            return false;
        rm_text_copy(key->roles[key->n_roles++], KEYRING_NAME, name);
    }
    return true;
}

static bool read_lanes(const json_t *list, struct api_key *key)
{
    if (list == NULL)
        return true;
    if (!json_is_array(list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int lane = MAP_LANE_AUTOCOMPLETE;

        while (name != NULL && lane <= MAP_LANE_BATCH &&
               strcmp(name, map_lane_name((enum map_lane)lane)) != 0)
            lane++;
        if (name == NULL || lane > MAP_LANE_BATCH)
            return false;
        key->lanes |= 1u << lane;
    }
    return true;
}

static bool read_hash(const json_t *text, struct api_key *key)
{
    const char *hex = json_string_value(text);
    size_t n = 0;

    return hex != NULL && strlen(hex) == 2 * API_KEY_HASH &&
           sodium_hex2bin(key->hash, API_KEY_HASH, hex, 2 * API_KEY_HASH, NULL, &n, NULL) == 0 &&
           n == API_KEY_HASH;
}

static int read_key(const json_t *o, struct api_key *key, char *why, size_t n)
{
    char what[NODE_WHY_MAX] = "";
    const char *name;
    json_t *value;

    *key = (struct api_key){0};
    if (!json_is_object(o) || node_fields_get(o, key_fields, key, "", what) < 0)
        snprintf(why, n, "%s", what[0] != '\0' ? what : "a key must be an object");
    else if (!read_roles(json_object_get(o, "roles"), key))
        snprintf(why, n, "roles: expected a list of at most %d names", KEYRING_ROLES);
    else if (!read_lanes(json_object_get(o, "lanes"), key))
        snprintf(why, n, "lanes: expected a list of autocomplete, interactive, batch");
    else if (!read_hash(json_object_get(o, "hash"), key))
        snprintf(why, n, "hash: expected %d hex digits", 2 * API_KEY_HASH);
    else {
        json_object_foreach((json_t *)o, name, value)
        {
            if (field_is_known(name))
                continue;
            snprintf(why, n, "%.60s: not known to this version", name);
            return RM_ERR_CONF;
        }
        return 0;
    }
    return RM_ERR_CONF;
}

int keyring_decode(struct rm_slice json, struct keyring *k, char *why, size_t n)
{
    char what[NODE_WHY_MAX] = "";
    json_t *top = NULL;
    const json_t *list;
    int r = 0;

    if (node_json_load(json, &top, what) < 0) {
        snprintf(why, n, "damaged: %s", what);
        return RM_ERR_CONF;
    }
    list = json_object_get(top, "keys");
    if (json_integer_value(json_object_get(top, "version")) != LIST_VERSION) {
        snprintf(why, n, "written by another version of rolemesh");
        r = RM_ERR_CONF;
    } else if (!json_is_array(list) || json_array_size(list) > KEYRING_MAX) {
        snprintf(why, n, "keys: expected a list of at most %d", KEYRING_MAX);
        r = RM_ERR_CONF;
    } else if ((k->keys = calloc(json_array_size(list) + 1, sizeof *k->keys)) == NULL) {
        r = UV_ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
        if ((r = read_key(json_array_get(list, i), &k->keys[i], what, sizeof what)) < 0)
            snprintf(why, n, "key %zu: %s", i + 1, what);
        else
            k->n++;
    if (r == 0)
        qsort(k->keys, k->n, sizeof *k->keys, keyring_by_hash);
    json_decref(top);
    return r;
}

/* ---- wishes ---- */

static const struct node_field wish_fields[] = {
    FIELD_MUST(struct api_key, name, FIELD_NAME),
    FIELD(struct api_key, admin, FIELD_BOOL),
    FIELD(struct api_key, expires_s, FIELD_U64),
    FIELD(struct api_key, requests_per_min, FIELD_U32),
    FIELD(struct api_key, concurrency, FIELD_U32),
    FIELD(struct api_key, tokens_per_min, FIELD_U64),
    FIELD(struct api_key, tokens_per_day, FIELD_U64),
    {0},
};

static bool wish_is_known(const char *name)
{
    for (const struct node_field *f = wish_fields; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    return strcmp(name, "roles") == 0 || strcmp(name, "lanes") == 0;
}

int keyring_wish_get(const json_t *o, struct api_key *out, char *why, size_t n)
{
    char what[NODE_WHY_MAX] = "";
    const char *name;
    json_t *value;

    *out = (struct api_key){0};
    json_object_foreach((json_t *)o, name, value)
    {
        if (wish_is_known(name) && !json_is_null(value))
            continue;
        snprintf(why, n,
                 wish_is_known(name) ? "null is no value of a key's; leave the member out"
                                     : "a key has no member of that name: see proto/openapi.yaml");
        return RM_ERR_FIELD;
    }
    if (!json_is_object(o) || node_fields_get(o, wish_fields, out, "", what) < 0)
        snprintf(why, n, "%s", what[0] != '\0' ? what : "a key is described by an object");
    else if (!read_roles(json_object_get(o, "roles"), out))
        snprintf(why, n, "roles: expected a list of at most %d names", KEYRING_ROLES);
    else if (!read_lanes(json_object_get(o, "lanes"), out))
        snprintf(why, n, "lanes: expected a list of autocomplete, interactive, batch");
    else
        return 0;
    return RM_ERR_FIELD;
}
