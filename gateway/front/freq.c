/* SPDX-License-Identifier: MIT */
/* gateway/front/freq.c - the life of one request that a worker answers.
 *
 *   FR_BODY    reading the body; a large one is skimmed as it comes     -> FR_WAIT | refused
 *   FR_WAIT    a ticket waits for a host                                -> FR_CALL | refused
 *   FR_CALL    sent to a worker, no head yet                            -> the next three | FR_WAIT
 *   FR_STREAM  events pass the dialect's filter to the client           -> FR_OVER | FR_WAIT
 *   FR_WHOLE   a whole answer is collected, checked, then sent          -> FR_SEND | FR_WAIT
 *   FR_REFUSED a worker's error answer is collected and read            -> FR_OVER | FR_WAIT
 *   FR_SEND    a whole answer leaves at the client's pace               -> FR_OVER
 *   FR_OVER    the reply is ended or cut, or the client left; on_done frees
 *
 * Back to FR_WAIT (another host) only while nothing of an answer was given to the client; signs of
 * life do not count. While it waits, freq_tick keeps the client alive: first nothing, so that an
 * error can still be a status, then a 200 and the dialect's sign of life every so often.
 * Neighbours: front.c starts it, route lends hosts, proto/http's relay moves bytes, dialects/ say
 * what they mean. Loop thread. */
#include "gateway/front/front_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/front/alive.h"
#include "gateway/front/freq.h"
#include "gateway/front/inflate.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"
#include "proto/http/relay.h"

static const char *const state_names[] = {"body",  "wait",    "call", "stream",
                                          "whole", "refused", "send", "over"};

struct freq *freq_next(const struct freq *r)
{
    return r->next;
}

/* The only place that sets the state. */
void freq_to(struct freq *r, enum freq_state to)
{
    rm_debug("front", "request", RM_S("id", r->id), RM_S("from", state_names[r->state]),
             RM_S("to", state_names[to]));
    r->state = to;
    if (r->record != NULL && to != FR_OVER)
        r->record->state = to <= FR_WAIT ? RECORD_WAITING : RECORD_RUNNING;
}

/* ---- its parts ---- */

void freq_drop_body(struct freq *r)
{
    r->f->held_bytes -= r->body.len;
    rm_buf_clear(&r->body);
}

void freq_drop_skim(struct freq *r)
{
    if (r->skim != NULL) {
        rm_skim_clear(r->skim);
        free(r->skim);
        r->skim = NULL;
    }
    inflater_free(r->inflater);
    r->inflater = NULL;
}

void freq_drop_call(struct freq *r)
{
    relay_abort(r->relay);
    r->relay = NULL;
    if (r->stream != NULL) {
        r->dialect->stream_close(r->stream);
        r->stream = NULL;
    }
}

/* Keeps a fault for later; without memory, a shorter word for it. */
void freq_keep_lost(struct freq *r, const struct fault *fault)
{
    if (r->lost == NULL)
        r->lost = malloc(sizeof(*r->lost));
    if (r->lost != NULL)
        *r->lost = *fault;
    r->was_lost = true;
}

const struct fault *freq_lost_fault(struct freq *r)
{
    if (r->lost != NULL)
        return r->lost;
    fault_set(&r->f->fault, RM_ERR_UPSTREAM_LOST, NULL);
    return &r->f->fault;
}

void freq_close_ticket(struct freq *r, enum route_outcome how)
{
    struct route_usage usage = r->usage;

    if (r->ticket == NULL)
        return;
    if (r->first_ms > r->sent_ms && r->sent_ms > 0)
        usage.ttft_ms = r->first_ms - r->sent_ms;
    route_close(r->ticket, how, &usage);
    r->ticket = NULL;
}

/* Seconds between two tokens of a good stream; below 0: not known. */
static double freq_pace(const struct freq *r)
{
    uint32_t n = r->usage.completion_tokens;

    if (r->outcome != OUTCOME_OK || !r->ask.stream || n < 2 || r->done_ms <= r->first_ms)
        return -1;
    return (double)(r->done_ms - r->first_ms) / 1e3 / (n - 1);
}

static void freq_count(struct freq *r)
{
    struct metrics_role *m = metrics_of(&r->f->metrics, r->role != NULL ? r->role->name : NULL);
    double seconds = (double)(rm_now_us() - http_req_start_us(r->q)) / 1e6;
    struct metrics_done done = {
        .operation = r->dialect->operation,
        .outcome = r->outcome,
        .error = r->error,
        .prompt_tokens = r->usage.prompt_tokens,
        .cached_tokens = r->usage.cached_tokens,
        .completion_tokens = r->usage.completion_tokens,
        .duration_s = seconds,
        .first_s = r->first_ms > 0 ? (double)(r->first_ms - r->start_ms) / 1e3 : -1,
        .pace_s = freq_pace(r)};

    if (m != NULL) {
        metrics_count(m, &done);
        if (r->first_ms > 0)
            spread_note(&m->ttft_ms, (double)(r->first_ms - r->start_ms), r->first_ms);
        if (r->ask.stream && r->first_ms > 0)
            metrics_note_decode(m, r->usage.completion_tokens, r->last_ms - r->first_ms,
                                r->last_ms);
    }
    rm_debug("front", "request is over", RM_S("id", r->id), RM_S("dialect", r->dialect->name),
             RM_S("role", r->role != NULL ? r->role->name : ""), RM_S("node", r->node),
             RM_S("outcome", metrics_outcome_name(r->outcome)), RM_U("tries", r->tries),
             RM_U("prompt", r->usage.prompt_tokens), RM_U("cached", r->usage.cached_tokens),
             RM_U("completion", r->usage.completion_tokens), RM_F("seconds", seconds));
}

/* The last words of its record. */
static void freq_end_record(struct freq *r)
{
    struct record *rec = r->record;

    if (rec == NULL)
        return;
    if (r->role !=
        NULL) /* refused before it asked for a host: the counters know its role as well */
        rm_text_copy(rec->role, sizeof(rec->role), r->role->name);
    rec->outcome = r->outcome;
    rec->prompt_tokens = r->usage.prompt_tokens;
    rec->cached_tokens = r->usage.cached_tokens;
    if (r->usage.completion_tokens > 0)
        rec->completion_tokens = r->usage.completion_tokens;
    records_end(&r->f->records, rec, rm_now_ms());
    if (r->f->on_over != NULL)
        r->f->on_over(r->f->on_over_arg, rec);
    r->record = NULL;
}

/* What the key's limits are charged: as the engine told it; when it did not come to that, what has
 * been read and said so far. */
static uint64_t freq_tokens(const struct freq *r)
{
    uint64_t prompt = r->usage.prompt_tokens, cached = r->usage.cached_tokens;

    if (prompt == 0 && r->first_ms > 0)
        prompt = r->prompt_guess;
    return (prompt > cached ? prompt - cached : 0) + r->usage.completion_tokens;
}

static void freq_free(struct freq *r)
{
    keys_leave(r->f->keys, &r->pass, freq_tokens(r));
    freq_drop_call(r);
    freq_close_ticket(r, ROUTE_CLIENT);
    freq_drop_body(r);
    freq_drop_skim(r);
    rm_buf_clear(&r->answer);
    rm_buf_clear(&r->names);
    free(r->lost);
    free(r->avoid);
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        r->f->first = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    r->f->active--;
    role_map_unref(r->map);
    free(r);
}

/* ---- towards the client ---- */

/* Starts the reply; the head leaves with the first body bytes. length: -1: not known. */
int freq_start_reply(struct freq *r, int status, const char *type, int64_t length,
                     const struct fault *fault)
{
    struct reply_fields rf;
    int err;

    reply_fields_begin(&rf, r->map, r->origin, r->id);
    reply_fields_add(&rf, "Content-Type", rm_slice_of(type));
    if (r->node[0] != '\0')
        reply_fields_add(&rf, "x-rolemesh-node", rm_slice_of(r->node));
    if (r->role != NULL)
        reply_fields_add(&rf, "x-rolemesh-role",
                         rm_slice_of(r->served != NULL ? r->served->name : r->role->name));
    if (status == 200 && r->ask.stream) {
        reply_fields_add(&rf, "Cache-Control", RM_LIT("no-cache, no-transform"));
        reply_fields_add(&rf, "X-Accel-Buffering", RM_LIT("no"));
    }
    if (fault != NULL) {
        reply_fields_fault(&rf, fault);
        if (fault->close)
            http_reply_close_after(r->q);
    }
    err = http_reply_start(r->q, status, rf.v, rf.n, length);
    if (r->record != NULL)
        r->record->status = status;
    if (err < 0)
        http_reply_cut(r->q); /* gone anyway, or a field that cannot be sent */
    return err;
}

void freq_note_error(struct freq *r, const char *code, int err)
{
    r->error = metrics_error_of(code, err);
    if (r->record != NULL)
        rm_text_copy(r->record->code, sizeof(r->record->code), code);
}

void freq_over(struct freq *r, enum metrics_outcome outcome)
{
    if (outcome == OUTCOME_GONE)
        freq_note_error(r, rm_err_code(RM_ERR_GONE), RM_ERR_GONE);
    r->outcome = outcome;
    freq_to(r, FR_OVER);
}

/* The last word when something went wrong: a status while there is none, else the dialect's error
 * event, else a cut. */
void freq_fail(struct freq *r, const struct fault *fault, bool in_stream)
{
    struct rm_buf *text = &r->f->text;
    struct rm_slice body;

    if (r->state == FR_OVER)
        return;
    text->len = 0;
    freq_note_error(r, fault->code, fault->err);
    if (fault->status >= 500)
        rm_info("front", "request failed", RM_S("id", r->id), RM_S("node", r->node),
                RM_S("code", fault->code), RM_U("tries", r->tries));
    if (!http_reply_started(r->q) && !in_stream) {
        (void)r->dialect->error_body(fault, text);
        body = (struct rm_slice){text->data, text->len};
        (void)freq_start_reply(r, fault->status, r->dialect->whole_type, (int64_t)body.n, fault);
        (void)http_reply_write(r->q, &body, 1);
        freq_over(r, fault->status >= 500 ? OUTCOME_FAILED : OUTCOME_REFUSED);
        http_reply_end(r->q);
        return;
    }
    if (!http_reply_started(r->q))
        (void)freq_start_reply(r, 200, r->dialect->stream_type, -1, NULL);
    if (r->ask.stream) {
        (void)r->dialect->error_event(fault, text);
        body = (struct rm_slice){text->data, text->len};
        (void)http_reply_write(r->q, &body, 1);
    }
    freq_over(r, OUTCOME_BROKEN);
    http_reply_cut(r->q);
}

/* ---- a host ---- */

/* The name that goes to the engine, as raw JSON; "": what the body says is right. */
static struct rm_slice freq_engine_model(struct freq *r, const struct route_lease *lease)
{
    const struct map_role *role;

    r->served = role_map_role(r->map, rm_slice_of(lease->role));
    role = r->served != NULL ? r->served : r->role;
    if (role->engine.kind == MAP_ENGINE_CORE || role->model->attached == NULL)
        return r->ask.has_model ? (struct rm_slice){NULL, 0} : r->wanted;
    r->names.len = r->names_kept;
    if (rm_json_quote(&r->names, rm_slice_of(role->model->attached)) < 0)
        return (struct rm_slice){NULL, 0};
    r->wanted.p = r->names.data; /* may have moved */
    return (struct rm_slice){r->names.data + r->names_kept, r->names.len - r->names_kept};
}

static int freq_send(struct freq *r, const struct route_lease *lease)
{
    struct http_out_field fields[] = {{"Content-Type", RM_LIT("application/json")},
                                      {"x-request-id", rm_slice_of(r->id)}};
    struct rm_slice pieces[DIALECT_PIECES_MAX];
    struct http_call_spec spec = {.method = "POST", .fields = fields, .n_fields = 2};
    struct rm_slice body = {r->body.data, r->body.len}, model;
    size_t n = strlen(lease->target), more = strlen(r->dialect->upstream);

    if (n + more > sizeof(r->target))
        return RM_ERR_INTERNAL;
    memcpy(r->target, lease->target, n);
    memcpy(r->target + n, r->dialect->upstream, more);
    spec.target = (struct rm_slice){r->target, n + more};
    model = freq_engine_model(r, lease);
    spec.n_body = r->dialect->pieces(&r->ask, body, model, lease->context, r->note, pieces);
    if (r->record != NULL) {
        r->record->renamed = model.n > 0;
        r->record->bounded =
            r->ask.bound[0].tokens > lease->context || r->ask.bound[1].tokens > lease->context;
    }
    spec.body = pieces;
    return relay_start(lease->client, &spec, r->q, &freq_relay_ops, r, &r->relay);
}

static void freq_on_lease(struct route_ticket *t, const struct route_lease *lease)
{
    struct freq *r = route_ticket_arg(t);
    struct metrics_role *m = metrics_of(&r->f->metrics, r->role->name);
    uint64_t decision;
    int err;

    rm_text_copy(r->node, sizeof(r->node), lease->node);
    if (m != NULL)
        metrics_queued(m, (double)lease->queued_us / 1e6);
    r->tries++;
    if (r->record != NULL) {
        r->record->leased = true;
        r->record->queue_ms += lease->queued_us / 1000;
        r->record->tries = r->tries;
        rm_text_copy(r->record->node, sizeof(r->record->node), lease->node);
        rm_text_copy(r->record->served, sizeof(r->record->served), lease->role);
    }
    decision = why_add(&r->f->why, r->id, lease->role, lease->queued_us / 1000, lease->decision);
    if (r->record != NULL)
        r->record->decision[r->tries > 1] = decision;
    r->sent_ms = uv_now(r->f->loop);
    freq_to(r, FR_CALL);
    if ((err = freq_send(r, lease)) < 0) {
        r->relay = NULL;
        freq_close_ticket(r, ROUTE_UNUSED);
        fault_set(&r->f->fault, err, NULL);
        freq_fail(r, &r->f->fault, false);
    }
}

static void freq_on_refused(struct route_ticket *t, int err, const char *text, uint32_t wait)
{
    struct freq *r = route_ticket_arg(t);
    struct fault *fault = &r->f->fault;

    freq_close_ticket(r, ROUTE_UNUSED);
    if (r->was_lost) { /* nobody else is there: what the first one said is the reason */
        freq_fail(r, freq_lost_fault(r), r->lost_in_stream);
        return;
    }
    fault_set(fault, err, "%s", text != NULL && text[0] != '\0' ? text : rm_strerror(err));
    if (wait > 0 && fault->retry_after_s > 0)
        fault->retry_after_s = wait < FAULT_RETRY_MAX_S ? wait : FAULT_RETRY_MAX_S;
    freq_fail(r, fault, false);
}

static void freq_on_node_lost(struct route_ticket *t)
{
    struct freq *r = route_ticket_arg(t);
    const struct dialect_progress *p;

    if (r->state == FR_STREAM) {
        p = r->dialect->stream_progress(r->stream);
        if (p->done) /* the answer was whole */
            return;
        r->usage = p->usage;
        if (r->usage.completion_tokens == 0)
            r->usage.completion_tokens = p->events;
    }
    fault_set(&r->f->fault, RM_ERR_UPSTREAM_LOST, NULL);
    freq_lost(r, &r->f->fault);
}

static const struct route_ticket_ops ticket_ops = {
    .on_lease = freq_on_lease, .on_refused = freq_on_refused, .on_lost = freq_on_node_lost};

/* Asks for a host. */
void freq_dispatch(struct freq *r)
{
    struct route_ask ask = {
        .role = r->role->name,
        .prefix_key = r->ask.prefix_key,
        .session_key = r->session_key != 0 ? r->session_key : r->ask.session_key,
        .avoid_n = r->n_avoid,
    };
    int err;

    ask.prompt_tokens = r->prompt_guess = (uint32_t)(r->body.len / 4);
    for (uint32_t i = 0; i < r->n_avoid; i++)
        ask.avoid[i] = r->avoid[i];
    if (r->record != NULL) {
        rm_text_copy(r->record->role, sizeof(r->record->role), r->role->name);
        r->record->node[0] = '\0';
        r->record->bytes_in = r->body.len;
    }
    freq_to(r, FR_WAIT);
    if ((err = route_open(r->f->route, &ask, &ticket_ops, r, &r->ticket)) < 0) {
        fault_set(&r->f->fault, err, NULL);
        freq_fail(r, &r->f->fault, false);
    }
}

/* ---- the client ---- */

static void freq_on_writable(struct http_req *q)
{
    struct freq *r = http_req_arg(q);

    if (r->state == FR_SEND)
        freq_pump(r);
    else if (r->relay != NULL)
        relay_on_writable(r->relay);
}

/* What a stream has said so far, before it is dropped. */
static void freq_keep_usage(struct freq *r)
{
    const struct dialect_progress *p;

    if (r->stream == NULL)
        return;
    p = r->dialect->stream_progress(r->stream);
    r->usage = p->usage;
    if (r->usage.completion_tokens == 0)
        r->usage.completion_tokens = p->events;
}

static void freq_on_gone(struct http_req *q, int why)
{
    struct freq *r = http_req_arg(q);

    r->gone = true;
    freq_keep_usage(r);
    freq_drop_call(r);
    freq_close_ticket(r, ROUTE_CLIENT);
    if (r->state == FR_OVER)
        return;
    if (r->state == FR_BODY && why != RM_ERR_GONE && rm_err_status(why) < 500 &&
        rm_err_status(why) != 499 && why <= RM_ERR_HTTP_SYNTAX) {
        fault_set(&r->f->fault, why, NULL);
        r->f->fault.close = true;
        freq_refuse(r);
        return;
    }
    freq_over(r, OUTCOME_GONE);
}

static void freq_on_done(struct http_req *q)
{
    struct freq *r = http_req_arg(q);

    if (r->state != FR_OVER)
        freq_over(r, OUTCOME_GONE);
    freq_count(r);
    freq_end_record(r);
    freq_free(r);
}

static const struct http_req_ops req_ops = {.on_body = freq_on_body,
                                            .on_end = freq_on_end,
                                            .on_writable = freq_on_writable,
                                            .on_gone = freq_on_gone,
                                            .on_done = freq_on_done};

static void freq_begin_record(struct freq *r)
{
    struct record *rec = r->record = records_take(&r->f->records);
    size_t n;

    if (rec == NULL)
        return;
    rm_text_copy(rec->id, sizeof(rec->id), r->id);
    rec->at_ms = rm_wall_ms();
    rec->began_ms = rm_now_ms();
    rec->dialect = r->dialect->name;
    if (r->role != NULL)
        rm_text_copy(rec->role, sizeof(rec->role), r->role->name);
    if (r->pass.key != NULL) {
        rm_text_copy(rec->key_id, sizeof(rec->key_id), r->pass.key->id);
        rm_text_copy(rec->key_name, sizeof(rec->key_name), r->pass.key->name);
    }
    n = r->mode.n < sizeof(rec->mode) ? r->mode.n : sizeof(rec->mode) - 1;
    if (n > 0)
        memcpy(rec->mode, r->mode.p, n);
}

void freq_start(struct front *f, struct http_req *q, const struct dialect *dialect,
                const struct path *path, const struct map_role *role, struct keys_pass *pass)
{
    const struct http_head *head = http_req_head(q);
    struct freq *r = calloc(1, sizeof(*r));
    struct head_facts facts;

    head_facts_read(head, &facts);
    if (r == NULL || (facts.gzip && inflater_new(&r->inflater) < 0)) {
        free(r);
        fault_set(&f->fault, UV_ENOMEM, NULL);
        f->fault.close = true;
        reply_fault(f, q, &f->fault, NULL);
        return;
    }
    r->f = f;
    r->q = q;
    r->dialect = dialect;
    r->pass = *pass;
    *pass = (struct keys_pass){.ring = NULL};
    r->map = role_map_ref(f->map);
    r->role = role;
    r->mode = path->mode;
    r->origin = facts.origin;
    r->session_key = facts.session_key;
    r->start_ms = r->last_ms = uv_now(f->loop);
    r->body_left = head->framing == HTTP_BODY_LENGTH ? head->content_length : 0;
    rm_buf_init(&r->body,
                dialect->big_body ? r->map->gateway.body_max_bytes : f->conf.small_body_bytes);
    rm_buf_init(&r->answer, f->conf.whole_bytes);
    rm_buf_init(&r->names, NAMES_MAX_BYTES);
    front_new_id(f, r->id);
    freq_begin_record(r);
    if (f->first != NULL)
        f->first->prev = r;
    r->next = f->first;
    f->first = r;
    f->active++;
    http_req_accept(q, &req_ops, r);
}

/* ---- for operators ---- */

const struct record *freq_record(const struct freq *r)
{
    return r->record;
}

bool freq_waits(const struct freq *r)
{
    return r->state == FR_WAIT;
}

bool freq_cancel(struct freq *r)
{
    const bool in_stream = r->state == FR_STREAM;
    struct fault *fault = &r->f->fault;

    if (r->gone || r->state == FR_OVER)
        return false;
    if (in_stream) {
        const struct dialect_progress *p = r->dialect->stream_progress(r->stream);

        r->usage = p->usage;
        if (r->usage.completion_tokens == 0)
            r->usage.completion_tokens = p->events;
    }
    freq_drop_call(r);
    freq_close_ticket(r, ROUTE_CLIENT);
    fault_set(fault, RM_ERR_CANCELLED, "an operator cancelled the request");
    rm_text_copy(fault->code, sizeof(fault->code), "cancelled");
    fault->final = true;
    rm_info("front", "request cancelled by an operator", RM_S("id", r->id));
    if (r->state == FR_BODY) {
        fault->close = true; /* the rest of the body is not read */
        freq_refuse(r);
    } else {
        freq_fail(r, fault, in_stream);
    }
    return true;
}

/* ---- time ---- */

/* Does it wait in a way that a sign of life can tell of? */
static bool freq_tells(const struct freq *r)
{
    return r->state == FR_WAIT && r->ask.stream && r->dialect->alive_after.n > 0;
}

static void freq_alive(struct freq *r, uint64_t now_ms)
{
    struct rm_slice sign = r->ask.stream ? r->dialect->stream_alive : r->dialect->whole_alive;
    char why[NODE_TEXT_MAX], text[ALIVE_MAX];

    if (!http_reply_started(r->q) &&
        freq_start_reply(r, 200, r->ask.stream ? r->dialect->stream_type : r->dialect->whole_type,
                         -1, NULL) < 0)
        return;
    if (freq_tells(r)) {
        route_ticket_status(r->ticket, why, sizeof(why));
        sign = alive_sign(r->dialect, why, text);
    }
    (void)http_reply_write(r->q, &sign, 1);
    r->f->metrics.keepalives++;
    r->last_ms = now_ms;
}

void freq_tick(struct freq *r, uint64_t now_ms)
{
    const struct front *f = r->f;
    uint32_t hold = r->ask.stream ? f->conf.hold_stream_ms : f->conf.hold_whole_ms;
    uint32_t alive = freq_tells(r) && f->alive_ms > TELL_MS ? TELL_MS : f->alive_ms;

    if (r->gone || r->state == FR_BODY || r->state >= FR_SEND)
        return;
    if (r->done_ms > 0) {
        if (now_ms - r->done_ms >= AFTER_DONE_MS) { /* the worker forgot to end its answer */
            freq_drop_call(r);
            freq_end_stream(r);
        }
        return;
    }
    if (http_reply_started(r->q) ? now_ms - r->last_ms >= alive && http_reply_queued(r->q) == 0
                                 : now_ms - r->start_ms >= hold)
        freq_alive(r, now_ms);
}
