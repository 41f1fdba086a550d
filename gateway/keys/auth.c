/* SPDX-License-Identifier: MIT */
#include "gateway/keys/auth.h"

enum { BEARER = 7 };

/* The place of a field in the order of auth.h; 0: it carries no key. */
static unsigned rank_of(struct rm_slice name)
{
    switch (name.n) {
    case 13:
        return rm_slice_ieq(name, "authorization") ? 1 : 0;
    case 9:
        return rm_slice_ieq(name, "x-api-key") ? 2 : 0;
    case 7:
        return rm_slice_ieq(name, "api-key") ? 3 : 0;
    default:
        return 0;
    }
}

bool auth_is_credential(struct rm_slice name)
{
    return rank_of(name) != 0;
}

/* What stands behind "Bearer"; another scheme is kept whole: it is no key then, and is refused. */
static struct rm_slice without_scheme(struct rm_slice v)
{
    struct rm_slice scheme = {v.p, v.n < BEARER - 1 ? v.n : BEARER - 1};

    if (!rm_slice_ieq(scheme, "bearer"))
        return v;
    if (v.n == BEARER - 1)
        return (struct rm_slice){v.p, 0};
    if (v.p[BEARER - 1] != ' ' && v.p[BEARER - 1] != '\t')
        return v;
    return rm_slice_trim((struct rm_slice){v.p + BEARER, v.n - BEARER});
}

/* Does a beat b? Ours before others, then by rank. */
static bool beats(struct rm_slice a, unsigned rank_a, struct rm_slice b, unsigned rank_b)
{
    bool ours_a = api_key_is_ours(a), ours_b = api_key_is_ours(b);

    if (a.n == 0)
        return false;
    if (b.n == 0 || ours_a != ours_b)
        return b.n == 0 || ours_a;
    return rank_a < rank_b;
}

struct rm_slice auth_sent(const struct http_head *head, struct rm_slice path_key)
{
    struct rm_slice best = path_key;
    unsigned best_rank = 4;

    for (uint32_t i = 0; i < head->n_fields; i++) {
        unsigned rank = rank_of(head->fields[i].name);
        struct rm_slice value;

        if (rank == 0)
            continue;
        value = rm_slice_trim(head->fields[i].value);
        if (rank == 1)
            value = without_scheme(value);
        if (beats(value, rank, best, best_rank)) {
            best = value;
            best_rank = rank;
        }
    }
    return best.n > 0 ? best : (struct rm_slice){"", 0};
}

bool auth_keys_exist(const struct keyring *ring)
{
    for (size_t i = 0; i < ring->n; i++)
        if (ring->keys[i].revoked_s == 0)
            return true;
    return false;
}

int auth_identify(const struct keyring *ring, bool needs_key, struct rm_slice sent, uint64_t now_s,
                  const struct api_key **out, const char **why)
{
    *out = NULL;
    *why = NULL;
    return needs_key ? keyring_find(ring, sent, now_s, out, why) : 0;
}

const char *auth_role_fault(const struct api_key *key, const struct map_role *role)
{
    if (key == NULL || api_key_allows(key, role->name, role->lane))
        return NULL;
    return key->lanes != 0 && (key->lanes & 1u << role->lane) == 0
               ? "this API key may not use the lane of the role"
               : "this API key may not use the role";
}
