/* SPDX-License-Identifier: MIT */
/* gateway/front/front.c - the front: what a new request is, who answers it, and the clock of those
 * that run. Neighbours: path.c reads the target, reply.c answers by itself, freq.c runs the
 * others. Loop thread. */
#include "gateway/front/front_impl.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/front/dialects/openai.h"
#include "gateway/front/inflate.h"
#include "proto/base/clock.h"

enum { KEEPALIVE_MAX_MS = 15000, TICK_MIN_MS = 5, TICK_MAX_MS = 1000, TEXT_MAX = 4 * 1024 * 1024 };

const struct front_conf front_conf_default = {
    .hold_stream_ms = 10000,
    .hold_whole_ms = 45000,
    .keepalive_ms = 0,
    .whole_bytes = 16 * 1024 * 1024,
    .small_body_bytes = 4 * 1024 * 1024,
    .tries = 2,
};

/* Which dialect serves an endpoint; a new family is a row here. */
static const struct dialect *front_dialect(enum path_endpoint e)
{
    switch (e) {
    case PATH_CHAT:
        return &openai_chat;
    case PATH_COMPLETIONS:
        return &openai_completions;
    default:
        return NULL;
    }
}

/* ---- ids ---- */

void front_new_id(struct front *f, char out[FRONT_ID_BYTES + 1])
{
    static const char hex[] = "0123456789abcdef";
    const uint64_t now = (uint64_t)rm_wall_ms();
    const unsigned char *p;

    if (f->random_left < FRONT_ID_RANDOM) {
        randombytes_buf_deterministic(f->random, sizeof(f->random), f->seed);
        memcpy(f->seed, f->random, sizeof(f->seed)); /* what was made before cannot be made again */
        f->random_left = sizeof(f->random) - sizeof(f->seed);
    }
    p = f->random + sizeof(f->random) - f->random_left;
    f->random_left -= FRONT_ID_RANDOM;
    memcpy(out, "req_", 4);
    for (int i = 0; i < FRONT_ID_TIME; i++)
        out[4 + i] = hex[now >> (4 * (FRONT_ID_TIME - 1 - i)) & 15];
    for (int i = 0; i < FRONT_ID_RANDOM; i++) {
        out[4 + FRONT_ID_TIME + 2 * i] = hex[p[i] >> 4];
        out[5 + FRONT_ID_TIME + 2 * i] = hex[p[i] & 15];
    }
    out[FRONT_ID_BYTES] = '\0';
}

/* ---- time ---- */

static void front_on_tick(uv_timer_t *t)
{
    struct front *f = t->data;
    uint64_t now = uv_now(f->loop);
    struct freq *next;

    for (struct freq *r = f->first; r != NULL; r = next) {
        next = freq_next(r);
        freq_tick(r, now);
    }
    if (f->first == NULL)
        uv_timer_stop(&f->tick);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void front_set_times(struct front *f)
{
    uint64_t alive = f->conf.keepalive_ms > 0 ? f->conf.keepalive_ms : f->map->gateway.keepalive_ms;

    if (alive == 0 || alive > KEEPALIVE_MAX_MS)
        alive = KEEPALIVE_MAX_MS;
    f->alive_ms = (uint32_t)alive;
    f->tick_ms = least(least(f->conf.hold_stream_ms, f->conf.hold_whole_ms), f->alive_ms) / 4;
    if (f->tick_ms < TICK_MIN_MS)
        f->tick_ms = TICK_MIN_MS;
    if (f->tick_ms > TICK_MAX_MS)
        f->tick_ms = TICK_MAX_MS;
}

/* ---- life ---- */

int front_new(uv_loop_t *loop, struct role_map *map, struct route *route,
              const struct front_conf *conf, struct front **out)
{
    struct front *f = calloc(1, sizeof(*f));
    int r;

    *out = NULL;
    if (f == NULL)
        return UV_ENOMEM;
    r = sodium_init() < 0 ? RM_ERR_INTERNAL
                          : uv_random(NULL, NULL, f->seed, sizeof(f->seed), 0, NULL);
    if (r < 0 || (r = uv_timer_init(loop, &f->tick)) < 0) {
        free(f);
        return r;
    }
    f->tick.data = f;
    f->loop = loop;
    f->route = route;
    f->map = role_map_ref(map);
    f->conf = conf != NULL ? *conf : front_conf_default;
    f->created = rm_wall_s();
    records_init(&f->records);
    rm_skim_init(&f->skim);
    rm_skim_init(&f->scratch);
    rm_buf_init(&f->text, TEXT_MAX);
    front_set_times(f);
    *out = f;
    return 0;
}

void front_set_keys(struct front *f, struct keys *keys)
{
    f->keys = keys;
}

void front_set_map(struct front *f, struct role_map *map)
{
    struct role_map *old = f->map;

    f->map = role_map_ref(map);
    role_map_unref(old);
    front_set_times(f);
}

static void front_on_close(uv_handle_t *h)
{
    struct front *f = h->data;

    role_map_unref(f->map);
    rm_skim_clear(&f->skim);
    rm_skim_clear(&f->scratch);
    rm_buf_clear(&f->text);
    metrics_clear(&f->metrics);
    records_clear(&f->records);
    why_clear(&f->why);
    if (f->on_closed != NULL)
        f->on_closed(f->on_closed_arg);
    free(f);
}

void front_close(struct front *f, void (*on_closed)(void *arg), void *arg)
{
    if (f == NULL)
        return;
    f->on_closed = on_closed;
    f->on_closed_arg = arg;
    uv_close((uv_handle_t *)&f->tick, front_on_close);
}

uint32_t front_active(const struct front *f)
{
    return f->active;
}

void front_write_metrics(const struct front *f, struct rm_om *om)
{
    metrics_write(&f->metrics, f->active, f->held_bytes, om);
}

void front_put_role(const struct front *f, const char *role, struct rm_jw *w)
{
    metrics_put_role(&f->metrics, role, w);
}

/* ---- requests for the ops API ---- */

int front_write_requests(const struct front *f, struct rm_buf *out)
{
    return records_write(&f->records, rm_now_ms(), out);
}

int front_write_queue(const struct front *f, struct rm_buf *out)
{
    int err = rm_buf_puts(out, "[");
    bool more = false;

    for (const struct freq *r = f->first; err == 0 && r != NULL; r = freq_next(r)) {
        if (!freq_waits(r) || freq_record(r) == NULL)
            continue;
        if (more)
            err = rm_buf_puts(out, ",");
        more = true;
        if (err == 0)
            err = record_write(freq_record(r), rm_now_ms(), out);
    }
    return err == 0 ? rm_buf_puts(out, "]") : err;
}

int front_write_request(const struct front *f, const char *id, struct rm_buf *out)
{
    const struct record *r = records_find(&f->records, id);

    return r != NULL ? record_write(r, rm_now_ms(), out) : RM_ERR_NOT_FOUND;
}

int front_write_why(const struct front *f, const char *id, struct rm_buf *out)
{
    const struct record *r = records_find(&f->records, id);

    return r != NULL ? why_write(&f->why, r, rm_now_ms(), out) : RM_ERR_NOT_FOUND;
}

void front_on_over(struct front *f, void (*on_over)(void *arg, const struct record *r), void *arg)
{
    f->on_over = on_over;
    f->on_over_arg = arg;
}

void *front_copy_decisions(const struct front *f, const struct record *r)
{
    return why_copy(&f->why, r);
}

int front_decisions_write(const void *copy, struct rm_buf *out)
{
    return why_copy_write(copy, out);
}

void *front_copy_all_decisions(const struct front *f)
{
    return why_copy_all(&f->why);
}

int front_all_decisions_write(const void *copy, struct rm_buf *out)
{
    return why_list_write(copy, out);
}

const char *front_rewrites(const struct record *r)
{
    return why_rewrites(r);
}

int front_cancel(struct front *f, const char *id)
{
    const struct record *record = records_find(&f->records, id);

    if (record == NULL)
        return RM_ERR_NOT_FOUND;
    for (struct freq *r = f->first; r != NULL; r = freq_next(r))
        if (freq_record(r) == record)
            return freq_cancel(r) ? 0 : RM_ERR_STATE;
    return RM_ERR_STATE;
}

void front_error_body(void *arg, int err, const struct http_head *head, struct rm_buf *out)
{
    struct fault fault;

    (void)arg;
    (void)head;
    fault_set(&fault, err, NULL);
    (void)openai_error_body(&fault, out);
}

/* ---- a new request ---- */

/* The first word of a media type, without parameters. */
static struct rm_slice media_type(struct rm_slice value)
{
    const char *semi = value.n > 0 ? memchr(value.p, ';', value.n) : NULL;

    if (semi != NULL)
        value.n = (size_t)(semi - value.p);
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    return value;
}

/* application/json, anything +json, or nothing said. Not text/plain: a web page may send that
 * anywhere without asking. */
static bool media_is_json(struct rm_slice value)
{
    struct rm_slice type = media_type(value);

    if (type.n == 0 || rm_slice_ieq(type, "application/json"))
        return true;
    return type.n > 5 && rm_slice_ieq((struct rm_slice){type.p + type.n - 5, 5}, "+json");
}

/* What can be refused by the head alone. Returns 0 or what it set in why. */
static int front_check_head(struct front *f, const struct http_head *head, uint64_t body_max,
                            struct fault *why)
{
    uint64_t room = f->map->gateway.body_memory_bytes;
    struct head_facts facts;

    head_facts_read(head, &facts);
    if (!media_is_json(facts.content_type))
        return fault_set(why, RM_ERR_MEDIA_TYPE, "the body must be application/json");
    if (facts.content_encoding.n > 0 && !rm_slice_ieq(facts.content_encoding, "identity") &&
        !(facts.gzip && inflate_available()))
        return fault_set(why, RM_ERR_MEDIA_TYPE, "Content-Encoding may be %sidentity",
                         inflate_available() ? "gzip or " : "");
    if (head->framing == HTTP_BODY_LENGTH && head->content_length > body_max)
        return fault_set(why, RM_ERR_BODY_TOO_LARGE, "the body may have at most %llu bytes",
                         (unsigned long long)body_max);
    if (f->held_bytes > room - room / 10)
        return fault_set(why, RM_ERR_OVERLOAD, "too many request bodies are held; try again soon");
    return 0;
}

/* A key's limits: 0, or what it set in why. */
static int front_count(struct front *f, struct keys_pass *pass, struct fault *why)
{
    enum quota_limit limit = QUOTA_NONE;
    uint32_t wait_s = 0;
    int r = keys_begin(f->keys, pass, &limit, &wait_s);

    if (r == 0)
        return 0;
    if (r == RM_ERR_RATE)
        fault_set(why, r, "this API key is over its limit of %s; try again in %u s",
                  quota_limit_name(limit), (unsigned)wait_s);
    else
        fault_set(why, r, NULL);
    why->retry_after_s = wait_s;
    why->final = wait_s > FAULT_RETRY_MAX_S; /* no client waits for that */
    return r;
}

/* Takes the pass. */
static void front_run(struct front *f, struct http_req *q, const struct path *path,
                      const struct map_role *role, struct keys_pass *pass)
{
    const struct dialect *d = front_dialect(path->endpoint);
    uint64_t body_max = d->big_body ? f->map->gateway.body_max_bytes : f->conf.small_body_bytes;

    if (front_check_head(f, http_req_head(q), body_max, &f->fault) < 0 ||
        front_count(f, pass, &f->fault) < 0) {
        /* the body is not read; a small one the server drops, and the connection stays */
        f->fault.close = f->fault.err != RM_ERR_RATE;
        reply_fault(f, q, &f->fault, NULL);
        return;
    }
    http_req_set_body_limit(q, body_max);
    freq_start(f, q, d, path, role, pass);
    if (!uv_is_active((uv_handle_t *)&f->tick))
        uv_timer_start(&f->tick, front_on_tick, f->tick_ms, f->tick_ms);
}

static void front_known(struct front *f, struct http_req *q, const struct path *path,
                        const struct map_role *role, struct keys_pass *pass)
{
    switch (path->endpoint) {
    case PATH_ROOT:
    case PATH_HELLO:
        reply_root(f, q);
        break;
    case PATH_MODELS:
        reply_models(f, q, path, role, pass->key);
        break;
    case PATH_LATER:
        fault_set(&f->fault, RM_ERR_NOT_SUPPORTED, "%s is not served by this gateway", path->route);
        reply_fault(f, q, &f->fault, NULL);
        break;
    default:
        front_run(f, q, path, role, pass);
        break;
    }
}

/* What a request that came in by right asks for. */
static void front_serve(struct front *f, struct http_req *q, const struct path *path,
                        struct keys_pass *pass)
{
    const struct http_head *head = http_req_head(q);
    const struct map_role *role = NULL;
    const char *why;
    char allow[64];

    if (path->endpoint == PATH_UNKNOWN) {
        reply_not_found(f, q, path);
    } else if (!path_takes(path, head->method)) {
        path_allow(path, allow, sizeof(allow));
        fault_set(&f->fault, RM_ERR_METHOD, "%s takes %s", path->route, allow);
        reply_fault(f, q, &f->fault, allow);
    } else if (path->mode.n > 0 && (role = role_map_mode(f->map, path->mode)) == NULL) {
        reply_unknown_name(f->map, pass->key, path->mode, &f->fault);
        reply_fault(f, q, &f->fault, NULL);
    } else if (role != NULL && (why = auth_role_fault(pass->key, role)) != NULL) {
        reply_forbidden(why, role, &f->fault);
        reply_fault(f, q, &f->fault, NULL);
    } else {
        front_known(f, q, path, role, pass);
    }
}

/* Tells everybody the same: that something is here, and how to ask for it. */
static bool front_is_open(const struct path *path, enum http_method method)
{
    if (method == HTTP_OPTIONS || path->endpoint == PATH_API_V1)
        return true;
    return (path->endpoint == PATH_ROOT || path->endpoint == PATH_HELLO) && path->mode.n == 0;
}

void front_on_request(struct front *f, struct http_req *q)
{
    const struct http_head *head = http_req_head(q);
    struct keys_pass pass = {.ring = NULL};
    const char *why = NULL;
    struct path path;
    int r = 0;

    path_parse(head->path, &path);
    if (!front_is_open(&path, head->method))
        r = keys_enter(f->keys, head, path.key, &pass, &why);
    keys_wipe(q, path.key);
    if (head->method == HTTP_OPTIONS) {
        reply_preflight(f, q, &path);
    } else if (path.endpoint == PATH_API_V1) {
        reply_not_found(f, q, &path);
    } else if (r < 0) {
        fault_set(&f->fault, r, "%s", why);
        reply_fault(f, q, &f->fault, NULL);
    } else {
        front_serve(f, q, &path, &pass);
    }
    keys_leave(f->keys, &pass, 0);
}
