/* SPDX-License-Identifier: MIT */
/* gateway/front/reply.c - answers the gateway gives by itself: errors, preflights, models, "here I
 * am"; and the fields that every answer carries. Each takes its request and is done with it in the
 * same call. Neighbours: front.c chooses, freq.c uses the fields. Loop thread. */
#include "gateway/front/front_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/front/cors.h"
#include "gateway/front/dialects/openai.h"
#include "gateway/front/dialects/openai_models.h"

static uint64_t text_hash(struct rm_slice s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return h | 1;
}

/* The rank of a field that names the editor session; the lowest found wins. 0: none of them. */
static unsigned session_rank(struct rm_slice name)
{
    static const char *const names[] = {"x-claude-code-session-id", "x-session-affinity",
                                        "x-session-id", "session-id", "thread-id"};

    for (unsigned i = 0; i < RM_COUNT(names); i++)
        if (rm_slice_ieq(name, names[i]))
            return i + 1;
    return 0;
}

void head_facts_read(const struct http_head *head, struct head_facts *out)
{
    unsigned best = ~0u;

    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < head->n_fields; i++) {
        struct rm_slice name = head->fields[i].name, value = head->fields[i].value;
        unsigned rank;

        switch (name.n) {
        case 6:
            if (rm_slice_ieq(name, "origin"))
                out->origin = value;
            break;
        case 9:
        case 10:
        case 12:
        case 18:
        case 24:
            if (rm_slice_ieq(name, "content-type"))
                out->content_type = value;
            else if ((rank = session_rank(name)) > 0 && rank < best && value.n > 0) {
                best = rank;
                out->session_key = text_hash(value);
            }
            break;
        case 16:
            if (rm_slice_ieq(name, "content-encoding")) {
                out->content_encoding = value;
                out->gzip = rm_slice_ieq(value, "gzip") || rm_slice_ieq(value, "x-gzip");
            }
            break;
        case 17:
            if (rm_slice_ieq(name, "anthropic-version"))
                out->anthropic = true;
            break;
        case 30:
            if (rm_slice_ieq(name, "access-control-request-headers"))
                out->cors_headers = value;
            break;
        default:
            break;
        }
    }
}

/* ---- fields ---- */

void reply_fields_add(struct reply_fields *rf, const char *name, struct rm_slice value)
{
    if (rf->n < FRONT_FIELDS_MAX)
        rf->v[rf->n++] = (struct http_out_field){name, value};
}

void reply_fields_begin(struct reply_fields *rf, const struct role_map *map, struct rm_slice origin,
                        const char *id)
{
    rf->n = 0;
    reply_fields_add(rf, "x-request-id", rm_slice_of(id));
    reply_fields_add(rf, "request-id", rm_slice_of(id));
    if (origin.n > 0)
        rf->n += cors_fields(&map->gateway, origin, rf->v + rf->n);
}

void reply_fields_fault(struct reply_fields *rf, const struct fault *fault)
{
    if (fault->retry_after_s > 0) {
        snprintf(rf->wait_s, sizeof(rf->wait_s), "%" PRIu32, fault->retry_after_s);
        snprintf(rf->wait_ms, sizeof(rf->wait_ms), "%" PRIu32, fault->retry_after_s * 1000);
        reply_fields_add(rf, "Retry-After", rm_slice_of(rf->wait_s));
        reply_fields_add(rf, "retry-after-ms", rm_slice_of(rf->wait_ms));
    }
    if (fault->final)
        reply_fields_add(rf, "x-should-retry", RM_LIT("false"));
}

/* ---- whole answers ---- */

static void reply_on_done(struct http_req *q)
{
    (void)q;
}

static const struct http_req_ops reply_ops = {.on_done = reply_on_done};

/* What all answers here begin with: takes q, makes an id, starts the fields. */
static void reply_begin(struct front *f, struct http_req *q, struct reply_fields *rf,
                        struct head_facts *facts, char id[FRONT_ID_BYTES + 1])
{
    http_req_accept(q, &reply_ops, NULL);
    head_facts_read(http_req_head(q), facts);
    front_new_id(f, id);
    reply_fields_begin(rf, f->map, facts->origin, id);
    f->text.len = 0;
    f->metrics.answers_here++;
}

static void reply_send(struct front *f, struct http_req *q, int status,
                       const struct reply_fields *rf, const char *type)
{
    struct rm_slice body = {f->text.data, f->text.len};

    (void)http_reply_full(q, status, rf->v, rf->n, type, body); /* its errors end in on_done */
}

void reply_fault(struct front *f, struct http_req *q, const struct fault *fault, const char *allow)
{
    char id[FRONT_ID_BYTES + 1];
    struct reply_fields rf;
    struct head_facts facts;

    reply_begin(f, q, &rf, &facts, id);
    f->metrics.refused_here[metrics_error_of(fault->code, fault->err)]++;
    reply_fields_fault(&rf, fault);
    if (allow != NULL)
        reply_fields_add(&rf, "Allow", rm_slice_of(allow));
    if (fault->status == 401)
        reply_fields_add(&rf, "WWW-Authenticate", RM_LIT("Bearer realm=\"rolemesh\""));
    if (fault->close)
        http_reply_close_after(q);
    (void)openai_error_body(fault, &f->text);
    reply_send(f, q, fault->status, &rf, "application/json");
}

void reply_preflight(struct front *f, struct http_req *q, const struct path *path)
{
    char id[FRONT_ID_BYTES + 1], allow[64] = "GET, HEAD, POST, DELETE, OPTIONS";
    struct reply_fields rf;
    struct head_facts facts;

    reply_begin(f, q, &rf, &facts, id);
    if (path->methods != 0)
        path_allow(path, allow, sizeof(allow));
    reply_fields_add(&rf, "Allow", rm_slice_of(allow));
    rf.n += cors_preflight(&f->map->gateway, facts.origin, facts.cors_headers, rf.v + rf.n);
    (void)http_reply_full(q, 204, rf.v, rf.n, NULL, (struct rm_slice){NULL, 0});
}

void reply_root(struct front *f, struct http_req *q)
{
    char id[FRONT_ID_BYTES + 1];
    struct reply_fields rf;
    struct head_facts facts;

    reply_begin(f, q, &rf, &facts, id);
    (void)rm_buf_puts(&f->text, "rolemesh gateway is running\n");
    reply_send(f, q, 200, &rf, "text/plain; charset=utf-8");
}

int reply_forbidden(const char *why, const struct map_role *role, struct fault *out)
{
    return fault_set(out, RM_ERR_FORBIDDEN, "%s \"%s\"; GET /v1/models lists what it may use", why,
                     role->name);
}

int reply_unknown_name(const struct role_map *map, const struct api_key *key, struct rm_slice name,
                       struct fault *out)
{
    char known[FAULT_TEXT_MAX / 2];
    size_t n = 0;

    known[0] = '\0';
    if (api_key_is_ours(name)) /* never shown, wherever somebody put it */
        return fault_set(out, RM_ERR_MODEL,
                         "an API key stands where a mode should: the path is /k/KEY/MODE/v1");
    for (size_t r = 0; r < map->n_roles; r++)
        for (size_t i = 0;
             i < map->roles[r].modes.n && auth_role_fault(key, &map->roles[r]) == NULL; i++) {
            const char *mode = map->roles[r].modes.item[i];

            if (n + strlen(mode) + 8 < sizeof(known))
                n +=
                    (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n > 0 ? ", " : "", mode);
        }
    return fault_set(out, RM_ERR_MODEL, "no mode, role or model is called \"%.*s\"; known: %s",
                     (int)(name.n < 100 ? name.n : 100), name.p != NULL ? name.p : "", known);
}

void reply_models(struct front *f, struct http_req *q, const struct path *path,
                  const struct map_role *role, const struct api_key *key)
{
    char id[FRONT_ID_BYTES + 1], wanted[MODELS_ID_MAX];
    struct reply_fields rf;
    struct head_facts facts;
    size_t len = 0;
    int r;

    reply_begin(f, q, &rf, &facts, id);
    struct models_ask ask = {.map = f->map,
                             .role = role,
                             .mode = path->mode,
                             .query = http_req_head(q)->query,
                             .anthropic = facts.anthropic,
                             .created = f->created,
                             .key = key};
    if (path->rest.n == 0)
        r = openai_models_list(&ask, &f->text);
    else if ((r = path_unescape(path->rest, wanted, sizeof(wanted), &len)) == 0)
        r = openai_models_one(&ask, wanted, &f->text);
    if (r == 0) {
        reply_send(f, q, 200, &rf, "application/json");
        return;
    }
    f->text.len = 0;
    if (r == RM_ERR_MODEL || r == RM_ERR_FIELD)
        reply_unknown_name(f->map, key, path->rest, &f->fault);
    else
        fault_set(&f->fault, r, NULL);
    (void)openai_error_body(&f->fault, &f->text);
    reply_send(f, q, f->fault.status, &rf, "application/json");
}

void reply_not_found(struct front *f, struct http_req *q, const struct path *path)
{
    struct rm_slice raw = http_req_head(q)->path;

    if (path->endpoint == PATH_API_V1)
        fault_set(&f->fault, RM_ERR_NOT_FOUND,
                  "/api/v1 is the operators' API; the base URL for editors ends in /%.*s%sv1, "
                  "without /api",
                  (int)path->mode.n, path->mode.n > 0 ? path->mode.p : "",
                  path->mode.n > 0 ? "/" : "");
    else
        fault_set(&f->fault, RM_ERR_NOT_FOUND, "no such path; the nearest route is %s",
                  path_nearest(raw));
    reply_fault(f, q, &f->fault, NULL);
}
