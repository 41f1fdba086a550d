/* SPDX-License-Identifier: MIT */
#include "gateway/route/health.h"

enum { PROBATION_MAX_MS = 60000 };

const struct health_rule health_node_rule = {
    .rise = 2, .fall = 2, .suspect_ms = 4000, .down_ms = 8000};
const struct health_rule health_host_rule = {
    .rise = 1, .fall = 3, .probation_ms = 2000, .forgive_ms = 30000};

static bool health_to(struct health *h, enum health_state state, uint64_t now_ms)
{
    if (h->state == state)
        return false;
    h->state = state;
    h->since_ms = now_ms;
    return true;
}

void health_init(struct health *h, enum health_state state, uint64_t now_ms)
{
    *h = (struct health){.state = state, .since_ms = now_ms, .last_good_ms = now_ms};
}

bool health_good(struct health *h, const struct health_rule *rule, uint64_t now_ms)
{
    h->bad = 0;
    h->good++;
    h->last_good_ms = now_ms;
    if (h->good >= rule->rise) {
        h->downs = 0;
        return health_to(h, HEALTH_UP, now_ms);
    }
    return h->state == HEALTH_DOWN && health_to(h, HEALTH_SUSPECT, now_ms);
}

bool health_bad(struct health *h, const struct health_rule *rule, uint64_t now_ms)
{
    h->good = 0;
    h->bad++;
    h->since_ms = now_ms;
    if (h->bad < rule->fall)
        return h->state == HEALTH_UP && health_to(h, HEALTH_SUSPECT, now_ms);
    if (h->state != HEALTH_DOWN)
        h->downs++;
    return health_to(h, HEALTH_DOWN, now_ms);
}

static uint64_t probation_of(const struct health *h, const struct health_rule *rule)
{
    uint64_t ms = rule->probation_ms;

    for (uint32_t i = 1; i < h->downs && ms < PROBATION_MAX_MS; i++)
        ms *= 2;
    return ms < PROBATION_MAX_MS ? ms : PROBATION_MAX_MS;
}

bool health_tick(struct health *h, const struct health_rule *rule, uint64_t now_ms)
{
    uint64_t silent = now_ms > h->last_good_ms ? now_ms - h->last_good_ms : 0;

    if (h->state == HEALTH_DOWN) {
        if (rule->probation_ms == 0 || now_ms - h->since_ms < probation_of(h, rule))
            return false;
        h->bad = rule->fall - 1; /* one more bad sign and it is out again */
        return health_to(h, HEALTH_SUSPECT, now_ms);
    }
    if (h->state == HEALTH_SUSPECT && rule->forgive_ms > 0 &&
        now_ms - h->since_ms >= rule->forgive_ms) {
        h->bad = 0;
        h->downs = 0;
        return health_to(h, HEALTH_UP, now_ms);
    }
    if (rule->suspect_ms == 0 || silent < rule->suspect_ms)
        return false;
    h->good = 0;
    return health_to(h, silent >= rule->down_ms ? HEALTH_DOWN : HEALTH_SUSPECT, now_ms);
}

const char *health_state_name(enum health_state s)
{
    return s == HEALTH_UP ? "up" : s == HEALTH_SUSPECT ? "suspect" : "down";
}
