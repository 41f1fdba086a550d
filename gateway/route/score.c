/* SPDX-License-Identifier: MIT */
#include "gateway/route/score.h"

/* What is assumed of a host that has not been measured: modest, so that it is tried and soon
 * measured. */
static const double UNMEASURED_PREFILL_TPS = 500, UNMEASURED_SERVICE_S = 10, SUSPECT_S = 30;

struct score_terms score_host_for(const struct score_host *h, uint32_t prompt)
{
    double tps = h->prefill_tps > 0 ? h->prefill_tps : UNMEASURED_PREFILL_TPS;
    double service = h->service_s > 0 ? h->service_s : UNMEASURED_SERVICE_S;
    uint32_t ahead = h->in_flight + h->queued, slots = h->slots > 0 ? h->slots : 1;
    uint32_t uncached = prompt > h->cached ? prompt - h->cached : 0;
    struct score_terms t = {
        .load = h->load_s, .rtt = h->rtt_s, .penalty = h->suspect ? SUSPECT_S : 0};

    /* With k requests ahead and s slots, k - s + 1 must end first, s at a time. */
    if (ahead >= slots)
        t.wait = (double)(ahead - slots + 1) * service / (double)slots;
    /* A prefill shares the device with what runs beside it. */
    t.prefill = (double)uncached / tps * (1.0 + (double)(ahead < slots ? ahead : slots) * 0.5);
    t.total = t.load + t.wait + t.prefill + t.rtt + t.penalty;
    return t;
}
