/* SPDX-License-Identifier: MIT */
/* gateway/front/freq_body.c - a request's body: held within its own limit and everybody's, skimmed,
 * read by the dialect, and whose it is. Part of the machine whose picture is in freq.c: the
 * state FR_BODY. Loop thread. */
#include "gateway/front/freq.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/front/inflate.h"
#include "proto/base/json_write.h"

void freq_refuse(struct freq *r)
{
    freq_drop_skim(r);
    freq_drop_body(r);
    freq_fail(r, &r->f->fault, false);
}

static int freq_bad_json(struct freq *r, const struct rm_skim *skim, int err)
{
    if (err != RM_ERR_JSON)
        return fault_set(&r->f->fault, err, NULL);
    return fault_set(&r->f->fault, err, "the body is not valid JSON: %s at byte %" PRIu32,
                     skim->error_text != NULL ? skim->error_text : "damaged", skim->error_offset);
}

/* A large body is skimmed as it comes, so that no single call takes long. */
static int freq_skim_more(struct freq *r, const char *bytes, size_t n)
{
    int err;

    if (r->skim == NULL) {
        if (r->body.len <= SKIM_AT_ONCE)
            return 0;
        if ((r->skim = malloc(sizeof(*r->skim))) == NULL)
            return fault_set(&r->f->fault, UV_ENOMEM, NULL);
        rm_skim_init(r->skim);
        bytes = r->body.data;
        n = r->body.len;
    }
    err = rm_skim_feed(r->skim, bytes, n);
    return err < 0 ? freq_bad_json(r, r->skim, err) : 0;
}

/* Holds more of the body, within its own limit and everybody's. */
static int freq_hold(struct freq *r, const char *bytes, size_t n)
{
    struct front *f = r->f;
    int err;

    if (f->held_bytes + n > r->map->gateway.body_memory_bytes)
        return fault_set(&f->fault, RM_ERR_OVERLOAD,
                         "too many request bodies are held; try again soon");
    if (r->body.cap == 0 && r->inflater == NULL && r->body_left > n &&
        r->body_left <= RESERVE_MAX && (err = rm_buf_reserve(&r->body, r->body_left)) < 0)
        return fault_set(&f->fault, err, NULL);
    if ((err = rm_buf_put(&r->body, bytes, n)) < 0)
        return fault_set(&f->fault, err == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : err, NULL);
    f->held_bytes += n;
    return freq_skim_more(r, bytes, n);
}

static int freq_put_inflated(void *arg, const char *bytes, size_t n)
{
    return freq_hold(arg, bytes, n);
}

static int freq_take(struct freq *r, const char *bytes, size_t n)
{
    struct fault *fault = &r->f->fault;
    int err;

    if (r->inflater == NULL)
        return freq_hold(r, bytes, n);
    fault->err = 0;
    err = inflater_feed(r->inflater, bytes, n, freq_put_inflated, r);
    if (err < 0 && fault->err == 0) /* not what freq_hold has worded already */
        fault_set(fault, err,
                  err == RM_ERR_FIELD ? "the body is not valid gzip"
                                      : "the body grows too much when it is inflated");
    return err;
}

void freq_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct freq *r = http_req_arg(q);

    if (r->state != FR_BODY || r->bad)
        return;
    if (freq_take(r, bytes, n) == 0)
        return;
    if (r->f->fault.err == RM_ERR_JSON && r->body_left <= DRAIN_MAX) {
        freq_keep_lost(r, &r->f->fault); /* told when the rest has been read: the connection stays
                                            usable */
        r->bad = true;
        freq_drop_skim(r);
        freq_drop_body(r);
        return;
    }
    r->f->fault.close = true;
    freq_refuse(r);
}

/* Whose request it is, and the model's name as every answer shall carry it. */
static int freq_find_role(struct freq *r)
{
    struct rm_slice body = {r->body.data, r->body.len};
    struct rm_buf name;
    const char *why;
    int err = 0;

    if (r->ask.has_model && r->ask.model.len > NAME_MAX_BYTES)
        return fault_field(&r->f->fault, "model", "'model' may have at most %d bytes",
                           NAME_MAX_BYTES);
    if (r->ask.has_model)
        err = rm_buf_put(&r->names, body.p + r->ask.model.offset, r->ask.model.len);
    else if (r->role != NULL)
        err = rm_json_quote(&r->names, r->mode);
    if (err < 0)
        return fault_set(&r->f->fault, err, NULL);
    r->names_kept = (uint16_t)r->names.len;
    r->wanted = (struct rm_slice){r->names.data, r->names.len};
    if (r->role != NULL)
        return 0;
    if (!r->ask.has_model)
        return fault_field(&r->f->fault, "model", "'model' is missing; here it names the mode");
    rm_buf_init(&name, NAME_MAX_BYTES);
    err = rm_json_unquote(r->wanted, &name);
    if (err == 0)
        r->role = role_map_resolve(r->map, (struct rm_slice){name.data, name.len});
    if (r->role == NULL && err == 0 && name.len > 7 &&
        memcmp(name.data + name.len - 7, ":latest", 7) == 0)
        r->role = role_map_resolve(r->map, (struct rm_slice){name.data, name.len - 7});
    if (r->role == NULL)
        err = reply_unknown_name(r->map, r->pass.key, (struct rm_slice){name.data, name.len},
                                 &r->f->fault);
    else if ((why = auth_role_fault(r->pass.key, r->role)) != NULL)
        err = reply_forbidden(why, r->role, &r->f->fault);
    rm_buf_clear(&name);
    return err;
}

static int freq_read(struct freq *r)
{
    struct front *f = r->f;
    struct rm_skim *skim = r->skim != NULL ? r->skim : &f->skim;
    struct rm_slice body = {r->body.data, r->body.len};
    int err;

    if (r->inflater != NULL && inflater_end(r->inflater) < 0)
        return fault_set(&f->fault, RM_ERR_FIELD, "the body's gzip is cut short");
    err = r->skim != NULL ? rm_skim_end(skim) : rm_json_check(body, skim);
    if (err < 0)
        return freq_bad_json(r, skim, err);
    if ((err = r->dialect->read(&r->body, skim, &f->scratch, &r->ask, &f->fault)) < 0)
        return err;
    freq_drop_skim(r);
    return freq_find_role(r);
}

void freq_on_end(struct http_req *q)
{
    struct freq *r = http_req_arg(q);

    if (r->state != FR_BODY)
        return;
    r->start_ms = r->last_ms = uv_now(r->f->loop);
    if (r->bad) {
        freq_fail(r, freq_lost_fault(r), false);
    } else if (freq_read(r) < 0) {
        freq_refuse(r);
    } else {
        freq_dispatch(r);
    }
}
