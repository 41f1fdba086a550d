/* SPDX-License-Identifier: MIT */
#include "gateway/route/decision.h"

#include "proto/base/clock.h"
#include "proto/base/json_write.h"

/* pass 0: healthy ones that are not avoided; 1: also those whose traffic failed (never eject all);
 * 2: also the avoided ones. */
static bool passes(const struct decision_host *h, int pass)
{
    return h->reject == NULL && (pass >= 1 || !h->failing) && (pass >= 2 || !h->avoided);
}

void decision_choose(struct decision *d)
{
    d->chosen = -1;
    for (d->pass = 0; d->pass < 3; d->pass++) {
        for (uint32_t i = 0; i < d->n; i++) {
            struct score_terms t;

            if (!passes(&d->host[i], d->pass))
                continue;
            t = score_host_for(&d->host[i].score, d->prompt);
            if (d->chosen < 0 || t.total < d->terms.total) {
                d->chosen = (int)i;
                d->terms = t;
            }
        }
        if (d->chosen >= 0)
            return;
    }
}

static void keep_host(const struct decision *d, uint32_t i, struct decision_record *out)
{
    rm_text_copy(out->node[out->n], NODE_NAME_MAX, d->host[i].node);
    out->host[out->n] = d->host[i];
    out->host[out->n].node = NULL;
    if (d->chosen == (int)i)
        out->chosen = out->n;
    out->n++;
}

void decision_keep(const struct decision *d, struct decision_record *out)
{
    uint32_t room = DECISION_KEPT;

    out->prompt = d->prompt;
    out->pass = (uint8_t)d->pass;
    out->cut = d->cut || d->n > DECISION_KEPT;
    out->n = out->chosen = 0;
    if (d->chosen >= DECISION_KEPT)
        room--; /* it has the last place */
    for (uint32_t i = 0; i < d->n && out->n < room; i++)
        keep_host(d, i, out);
    if (room < DECISION_KEPT)
        keep_host(d, (uint32_t)d->chosen, out);
}

void decision_again(const struct decision_record *r, struct decision *out)
{
    *out = (struct decision){.prompt = r->prompt, .n = r->n, .cut = r->cut, .chosen = -1};
    for (uint32_t i = 0; i < r->n; i++) {
        out->host[i] = r->host[i];
        out->host[i].node = r->node[i];
    }
}

static void write_host(struct rm_jw *w, const struct decision_record *r, uint32_t i)
{
    const struct decision_host *h = &r->host[i];
    const struct score_host *s = &h->score;
    struct score_terms t;

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "node", r->node[i]);
    rm_jw_bool(w, "chosen", i == r->chosen);
    rm_jw_str(w, "reject", h->reject);
    rm_jw_bool(w, "failing", h->failing);
    rm_jw_bool(w, "avoided", h->avoided);
    if (h->reject != NULL) {
        rm_jw_null(w, "facts");
        rm_jw_null(w, "seconds");
        rm_jw_end(w);
        return;
    }
    rm_jw_obj(w, "facts");
    rm_jw_u64(w, "slots", s->slots);
    rm_jw_u64(w, "in_flight", s->in_flight);
    rm_jw_u64(w, "queued", s->queued);
    rm_jw_u64(w, "cached", s->cached);
    rm_jw_exact(w, "prefill_tps", s->prefill_tps);
    rm_jw_exact(w, "service_s", s->service_s);
    rm_jw_exact(w, "load_s", s->load_s);
    rm_jw_exact(w, "rtt_s", s->rtt_s);
    rm_jw_bool(w, "suspect", s->suspect);
    rm_jw_end(w);
    t = score_host_for(s, r->prompt);
    rm_jw_obj(w, "seconds");
    rm_jw_dbl(w, "load", t.load);
    rm_jw_dbl(w, "wait", t.wait);
    rm_jw_dbl(w, "prefill", t.prefill);
    rm_jw_dbl(w, "rtt", t.rtt);
    rm_jw_dbl(w, "penalty", t.penalty);
    rm_jw_dbl(w, "total", t.total);
    rm_jw_end(w);
    rm_jw_end(w);
}

void decision_write(const struct decision_record *r, const char *request, struct rm_jw *w)
{
    char at[RM_TIME_TEXT];

    rm_jw_obj(w, NULL);
    if (request != NULL)
        rm_jw_str(w, "request", request);
    rm_jw_str(w, "at", rm_time_text(r->at_ms, at));
    rm_jw_str(w, "role", r->role);
    rm_jw_str(w, "node", r->node[r->chosen]);
    rm_jw_u64(w, "queue_ms", r->queue_ms);
    rm_jw_u64(w, "prompt", r->prompt);
    rm_jw_u64(w, "pass", r->pass);
    rm_jw_bool(w, "cut", r->cut);
    rm_jw_arr(w, "candidates");
    for (uint32_t i = 0; i < r->n; i++)
        write_host(w, r, i);
    rm_jw_end(w);
    rm_jw_end(w);
}
