/* SPDX-License-Identifier: MIT */
/* gateway/front/freq_answer.c - what a worker answers: events through the dialect's filter, whole
 * answers collected and checked, error answers read; and what happens when it is lost. Part of the
 * machine whose picture is in freq.c: the states FR_CALL to FR_SEND. Loop thread. */
#include "gateway/front/freq.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int sink_put(void *arg, struct rm_slice piece)
{
    struct freq *r = arg;
    int err;

    if (!http_reply_started(r->q) &&
        (err = freq_start_reply(r, 200, r->dialect->stream_type, -1, NULL)) < 0)
        return err;
    if (r->record != NULL)
        r->record->bytes_out += piece.n;
    while (piece.n > SEND_STEP) { /* one write of it all could be more than the queue takes */
        struct rm_slice part = {piece.p, SEND_STEP};

        if ((err = relay_put(r->relay, part)) < 0 || (err = relay_flush(r->relay)) < 0)
            return err;
        piece.p += SEND_STEP;
        piece.n -= SEND_STEP;
    }
    return relay_put(r->relay, piece);
}

static int sink_flush(void *arg)
{
    struct freq *r = arg;

    return relay_flush(r->relay);
}

/* The first part of an answer: from here on the request is never sent again, so that its body can
 * go as soon as the worker has all of it. */
static void freq_first_part(struct freq *r)
{
    const struct http_call *call = relay_call(r->relay);

    r->first_ms = uv_now(r->f->loop);
    route_first_byte(r->ticket);
    if (r->record != NULL) {
        r->record->answered = true;
        r->record->ttft_ms = r->first_ms - r->start_ms;
    }
    if (call != NULL && http_call_was_sent(call))
        freq_drop_body(r);
}

static int freq_filter_stream(struct freq *r, const char *bytes, size_t n)
{
    const struct dialect_progress *p = r->dialect->stream_progress(r->stream);
    struct dialect_sink sink = {sink_put, sink_flush, r};
    int err;

    if (p->done)
        return 0; /* what comes after the end is nobody's */
    err = r->dialect->stream_feed(r->stream, bytes, n, &r->f->scratch, &sink);
    r->last_ms = uv_now(r->f->loop);
    if (p->answered && r->first_ms == 0)
        freq_first_part(r);
    if (r->record != NULL)
        r->record->completion_tokens = p->events;
    if (p->done)
        r->done_ms = r->last_ms;
    if (err == 0 && p->failed)
        err = RM_ERR_ENGINE;
    if (err < 0)
        (void)relay_flush(r->relay); /* what was good goes out before the error */
    return err;
}

static int freq_on_filter(struct relay *relay, const char *bytes, size_t n)
{
    struct freq *r = relay_arg(relay);

    if (r->state == FR_STREAM)
        return freq_filter_stream(r, bytes, n);
    if (r->state == FR_REFUSED && r->answer.len + n > ERROR_BODY_MAX)
        n = ERROR_BODY_MAX - r->answer.len;
    if (r->state == FR_WHOLE && r->first_ms == 0)
        freq_first_part(r);
    return rm_buf_put(&r->answer, bytes, n) < 0 ? RM_ERR_UPSTREAM_INVALID : 0;
}

static bool type_is_events(struct rm_slice type)
{
    return type.n >= 17 && rm_slice_ieq((struct rm_slice){type.p, 17}, "text/event-stream");
}

static int freq_on_head(struct relay *relay, const struct http_head *head)
{
    struct freq *r = relay_arg(relay);
    struct rm_slice wait = http_head_value(head, "retry-after");

    r->relay = relay;
    r->up_status = head->status;
    r->up_wait = fault_retry_after(wait, WHOLE_RETRY_MAX_S);
    if (head->status == 200 && r->ask.stream &&
        type_is_events(http_head_value(head, "content-type"))) {
        r->stream = r->dialect->stream_open(&r->ask, r->wanted);
        if (r->stream == NULL)
            return UV_ENOMEM;
        freq_to(r, FR_STREAM);
        return 0;
    }
    freq_to(r, head->status == 200 ? FR_WHOLE : FR_REFUSED);
    return RM_WAIT;
}

/* Tries the next host, if nothing of an answer has been given and a try is left. */
static bool freq_again(struct freq *r, enum route_outcome how)
{
    freq_close_ticket(r, how);
    if (r->tries >= r->f->conf.tries || r->first_ms > 0 || r->gone)
        return false;
    if (r->avoid == NULL)
        r->avoid = calloc(AVOID_MAX, sizeof(*r->avoid));
    if (r->avoid != NULL && r->n_avoid < AVOID_MAX)
        rm_text_copy(r->avoid[r->n_avoid++], NODE_NAME_MAX, r->node);
    r->f->metrics.retries++;
    r->answer.len = 0;
    r->node[0] = '\0';
    r->sent_ms = 0;
    freq_dispatch(r);
    return true;
}

/* The worker is lost: another try or the end. */
void freq_lost(struct freq *r, const struct fault *fault)
{
    bool in_stream = r->state == FR_STREAM;

    freq_drop_call(r);
    freq_keep_lost(r, fault);
    r->lost_in_stream = in_stream;
    if (!freq_again(r, ROUTE_LOST))
        freq_fail(r, freq_lost_fault(r), in_stream);
}

static void freq_invalid(struct freq *r, const char *text)
{
    bool in_stream = r->state == FR_STREAM;

    freq_drop_call(r);
    freq_close_ticket(r, ROUTE_INVALID);
    fault_set(&r->f->fault, RM_ERR_UPSTREAM_INVALID, "%s", text);
    freq_fail(r, &r->f->fault, in_stream);
}

void freq_end_stream(struct freq *r)
{
    freq_close_ticket(r, ROUTE_DONE);
    freq_over(r, OUTCOME_OK);
    http_reply_end(r->q);
}

/* Sends what of a whole answer the client takes. */
void freq_pump(struct freq *r)
{
    int err = 0;

    while (r->piece < r->n_pieces && err == 0) {
        struct rm_slice *p = &r->pieces[r->piece];
        struct rm_slice part = {p->p, p->n < SEND_STEP ? p->n : SEND_STEP};

        err = http_reply_write(r->q, &part, 1);
        if (err < 0)
            return; /* on_gone or on_done follows */
        p->p += part.n;
        p->n -= part.n;
        if (p->n == 0)
            r->piece++;
    }
    if (r->piece == r->n_pieces) {
        freq_over(r, OUTCOME_OK);
        http_reply_end(r->q);
    }
}

/* False: it is none, and the request has failed. */
static bool freq_send_whole(struct freq *r)
{
    struct rm_slice body = {r->answer.data, r->answer.len};
    size_t total = 0, n = 0;

    if (r->ask.stream ||
        r->dialect->whole(&r->ask, body, r->wanted, &r->f->scratch, r->pieces, &n, &r->usage) < 0) {
        freq_invalid(r, r->ask.stream ? "the worker did not answer with a stream"
                                      : "the worker's answer is not one");
        return false;
    }
    for (size_t i = 0; i < n; i++)
        total += r->pieces[i].n;
    if (r->record != NULL)
        r->record->bytes_out += total;
    r->n_pieces = (uint8_t)n;
    r->piece = 0;
    freq_close_ticket(r, ROUTE_DONE);
    if (!http_reply_started(r->q))
        (void)freq_start_reply(r, 200, r->dialect->whole_type, (int64_t)total, NULL);
    freq_to(r, FR_SEND);
    freq_pump(r);
    return true;
}

/* False: such an answer does not exist in this protocol. */
static bool freq_read_refusal(struct freq *r)
{
    struct rm_slice body = {r->answer.data, r->answer.len};
    struct fault *fault = &r->f->fault;
    char wait[16];

    snprintf(wait, sizeof(wait), "%" PRIu32, r->up_wait);
    switch (fault_from_answer(fault, r->up_status, body,
                              r->up_wait > 0 ? rm_slice_of(wait) : RM_LIT(""), &r->f->scratch)) {
    case FAULT_TELL:
        freq_close_ticket(r, ROUTE_CLIENT);
        freq_fail(r, fault, false);
        break;
    case FAULT_BUSY:
        freq_keep_lost(r, fault);
        if (!freq_again(r, ROUTE_BUSY))
            freq_fail(r, freq_lost_fault(r), false);
        break;
    case FAULT_RETRY:
        freq_lost(r, fault);
        break;
    case FAULT_BROKEN:
        freq_close_ticket(r, ROUTE_INVALID);
        freq_fail(r, fault, false);
        return false;
    }
    return true;
}

/* A head or framing that no HTTP reader may accept, as opposed to a worker that went away. */
static bool err_is_damage(const struct freq *r, int err, bool got_bytes)
{
    if (err == RM_ERR_UPSTREAM_INVALID)
        return true;
    return r->state == FR_CALL && got_bytes && err <= RM_ERR_HTTP_SYNTAX &&
           err >= RM_ERR_BODY_TOO_LARGE;
}

static void freq_stream_finished(struct freq *r, int err)
{
    const struct dialect_progress p = *r->dialect->stream_progress(r->stream);

    r->usage = p.usage;
    if (r->usage.completion_tokens == 0)
        r->usage.completion_tokens = p.events;
    if (p.done) {
        freq_drop_call(r);
        freq_end_stream(r);
    } else if (p.failed) {
        freq_drop_call(r);
        freq_close_ticket(r, ROUTE_LOST);
        freq_note_error(r, rm_err_code(RM_ERR_ENGINE), RM_ERR_ENGINE);
        freq_over(r, OUTCOME_BROKEN); /* the worker's own event was the last word */
        http_reply_cut(r->q);
    } else if (err == RM_ERR_UPSTREAM_INVALID) {
        freq_invalid(r, "the worker's stream is damaged");
    } else {
        fault_set(&r->f->fault, RM_ERR_UPSTREAM_LOST, NULL);
        freq_lost(r, &r->f->fault);
    }
}

static void freq_on_finish(struct relay *relay, int err)
{
    struct freq *r = relay_arg(relay);
    bool got_bytes = relay_got_bytes(relay);

    r->relay = NULL;                                   /* freed when this returns */
    if (err == RM_ERR_GONE || err == RM_ERR_TOO_BIG) { /* it is the client that cannot go on */
        freq_drop_call(r);
        freq_close_ticket(r, ROUTE_CLIENT);
        freq_over(r, OUTCOME_GONE);
        http_reply_cut(r->q);
    } else if (r->state == FR_STREAM) {
        freq_stream_finished(r, err);
    } else if (r->state == FR_REFUSED) {
        if (!freq_read_refusal(r)) /* even when cut short: the status is enough */
            relay_drop_connection(relay);
    } else if (err == 0 && r->state == FR_WHOLE) {
        if (!freq_send_whole(r))
            relay_drop_connection(relay);
    } else if (err_is_damage(r, err, got_bytes)) {
        freq_invalid(r, "the worker's answer is damaged");
    } else {
        fault_set(&r->f->fault, RM_ERR_UPSTREAM_LOST, NULL);
        if (err == RM_ERR_UPSTREAM_TIMEOUT)
            fault_set(&r->f->fault, err, NULL);
        freq_lost(r, &r->f->fault);
    }
}

const struct relay_ops freq_relay_ops = {
    .on_head = freq_on_head, .filter = freq_on_filter, .on_finish = freq_on_finish};
