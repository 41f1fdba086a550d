/* SPDX-License-Identifier: MIT */
#include "gateway/map/diff.h"

#include <string.h>

#include "proto/base/log.h"

static const char *const subject_words[] = {
    [MAP_SUBJECT_GATEWAY] = "gateway", [MAP_SUBJECT_NODE] = "node", [MAP_SUBJECT_ROLE] = "role"};
static const char *const how_words[] = {
    [MAP_ADDED] = "added", [MAP_REMOVED] = "removed", [MAP_CHANGED] = "changed"};

static const struct effect_word {
    unsigned bit;
    const char *word;
} effect_words[] = {
    {CONF_LIVE, "live"}, {CONF_PLACE, "plan"}, {CONF_HOSTS, "hosts"}, {CONF_RESTART, "restart"}};

const char *diff_fate(const struct map_change *c, const struct diff_host *host)
{
    if (c->how == MAP_ADDED)
        return NULL;
    if (c->subject == MAP_SUBJECT_NODE)
        return (c->effects & CONF_PLACE) != 0 && strcmp(c->name, host->node) == 0 ? "replanned"
                                                                                  : NULL;
    if (c->subject != MAP_SUBJECT_ROLE || strcmp(c->name, host->role) != 0)
        return NULL;
    if (c->how == MAP_REMOVED)
        return "ended";
    if ((c->effects & CONF_HOSTS) != 0)
        return "replaced";
    return (c->effects & CONF_PLACE) != 0 ? "replanned" : NULL;
}

/* ---- JSON ---- */

struct writing {
    struct rm_jw *w;
    const struct diff_host *hosts;
    size_t n_hosts;
    unsigned n;
};

/* "context,slots" as an array of texts. */
static void write_keys(struct rm_jw *w, const char *keys)
{
    rm_jw_arr(w, "keys");
    while (*keys != '\0') {
        size_t n = strcspn(keys, ",");

        rm_jw_slice(w, NULL, (struct rm_slice){keys, n});
        keys += n + (keys[n] == ',');
    }
    rm_jw_end(w);
}

static void write_change(void *arg, const struct map_change *c)
{
    struct writing *x = arg;
    struct rm_jw *w = x->w;

    x->n++;
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "subject", subject_words[c->subject]);
    rm_jw_str(w, "name", c->name);
    rm_jw_str(w, "how", how_words[c->how]);
    write_keys(w, c->keys);
    rm_jw_arr(w, "effects");
    for (size_t i = 0; i < RM_COUNT(effect_words); i++)
        if ((c->effects & effect_words[i].bit) != 0)
            rm_jw_str(w, NULL, effect_words[i].word);
    rm_jw_end(w);
    rm_jw_arr(w, "hosts");
    for (size_t i = 0; i < x->n_hosts; i++) {
        const char *fate = diff_fate(c, &x->hosts[i]);

        if (fate == NULL)
            continue;
        rm_jw_obj(w, NULL);
        rm_jw_str(w, "role", x->hosts[i].role);
        rm_jw_str(w, "node", x->hosts[i].node);
        rm_jw_str(w, "fate", fate);
        rm_jw_end(w);
    }
    rm_jw_end(w);
    rm_jw_end(w);
}

unsigned diff_write(struct rm_jw *w, const struct role_map *old, const struct role_map *new_map,
                    const struct diff_host *hosts, size_t n_hosts)
{
    struct writing x = {w, hosts, n_hosts, 0};

    rm_jw_arr(w, "changes");
    role_map_diff(old, new_map, write_change, &x);
    rm_jw_end(w);
    return x.n;
}

/* ---- log ---- */

static void log_change(void *arg, const struct map_change *c)
{
    (void)arg;
    rm_info("map", "role map", RM_S("what", c->name), RM_S("how", how_words[c->how]),
            RM_S("keys", c->keys));
    if ((c->effects & CONF_RESTART) != 0)
        rm_warn("map", "a changed key takes effect at the next start only", RM_S("what", c->name),
                RM_S("keys", c->keys));
}

void diff_log(const struct role_map *old, const struct role_map *new_map)
{
    role_map_diff(old, new_map, log_change, NULL);
}
