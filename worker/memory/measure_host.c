/* SPDX-License-Identifier: MIT */
#include "worker/memory/measure_host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/memory/measure.h"
#include "worker/memory/nvml.h"
#include "worker/memory/sysread.h"

struct meter {
    struct meters *owner;
    struct meter *next;
    struct desired_host d;
    struct ledger_key key; /* its build is "" until the engine has told it */
    double cached;
    int pid; /* 0: not ready */
    uint64_t load_ms;
    uint64_t predicted, compute;
    bool estimated, load_told; /* the load is in the row */
    struct meter_state state;
    struct meter_facts facts;                                    /* as told last */
    struct ledger_speed seen[LEDGER_DEPTHS], now[LEDGER_DEPTHS]; /* in the row; as told last */
    uint64_t speed_ms;                                           /* when it was put into the row */
};

/* One measurement, in the thread pool. */
struct sample {
    uv_work_t work;
    struct meters *owner;
    struct meter *meter; /* NULL: it has ended */
    enum meter_want want;
    struct meter_facts facts;
    int pid, err;
    bool shared;
    struct ledger_bytes bytes;
};

struct meters {
    uv_loop_t *loop;
    struct ledger *ledger;
    struct meter *first;
    struct sample sample;
    struct meters_loads loads;
    bool busy, closed;
    int root;
    struct nvml *nvml; /* the thread pool's while busy; NULL: there is none */
    bool nvml_tried;
};

/* ---- when ---- */

static bool is_part(uint64_t of, uint64_t all)
{
    return all > 0 && of >= all - all * (100 - METER_FULL_PERCENT) / 100;
}

enum meter_want meter_want(const struct meter_state *s, const struct meter_facts *f)
{
    uint64_t grown = s->rss / 100 * METER_GROWN_PERCENT;
    uint64_t since = f->now_ms > s->at_ms ? f->now_ms - s->at_ms : 0;

    if (s->fails >= METER_FAILS_MAX)
        return METER_NOTHING;
    if (s->fails > 0 && since < METER_GAP_MS)
        return METER_NOTHING;
    if (!s->loaded)
        return METER_LOADED;
    if (!s->all_full && is_part(f->kv_used, f->kv_total))
        return METER_ALL_FULL;
    if (!s->full && is_part(f->kv_deepest, f->context))
        return METER_FULL;
    if (since >= METER_EVERY_MS)
        return METER_PEAK;
    grown = grown > METER_GROWN_BYTES ? grown : METER_GROWN_BYTES;
    return f->rss > s->rss + grown && since >= METER_GAP_MS ? METER_PEAK : METER_NOTHING;
}

static void raise_to(struct ledger_bytes *at, const struct ledger_bytes *b)
{
    if (ledger_bytes_sum(b) > ledger_bytes_sum(at))
        *at = *b;
}

void meter_take(struct meter_state *s, const struct meter_facts *f, enum meter_want want,
                const struct ledger_bytes *b, struct node_ledger_row *row)
{
    s->at_ms = f->now_ms;
    s->rss = f->rss;
    s->fails = 0;
    if (want == METER_LOADED)
        raise_to(&row->loaded, b);
    if (want == METER_FULL || want == METER_ALL_FULL)
        raise_to(&row->full, b);
    raise_to(&row->peak, b);
    s->loaded = true;
    s->full = s->full || want == METER_FULL || want == METER_ALL_FULL;
    s->all_full = s->all_full || want == METER_ALL_FULL;
    row->all_full = row->all_full || s->all_full;
    row->batch = f->batch;
    row->batch_most = f->batch_most > row->batch_most ? f->batch_most : row->batch_most;
}

/* ---- the row ---- */

static bool is_cold(const struct meter *x)
{
    const struct node_ledger_row *rows;
    uint32_t n;

    if (x->cached >= 0)
        return x->cached < LEDGER_WARM_PART;
    rows = ledger_rows(x->owner->ledger, &n);
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].loads > 0 && strcmp(rows[i].key.model_hash, x->key.model_hash) == 0)
            return false;
    return true;
}

static void put_load(struct meter *x, struct node_ledger_row *row)
{
    struct meters_loads *loads = &x->owner->loads;
    bool cold = is_cold(x);
    uint64_t *ms = cold ? &row->cold_ms : &row->warm_ms;

    *(cold ? &loads->cold : &loads->warm) += 1;
    *(cold ? &loads->cold_ms : &loads->warm_ms) += x->load_ms;
    *ms = ledger_average_ms(*ms, x->load_ms);
    row->loads++;
    x->load_told = true;
}

static void put_speeds(struct meter *x, struct node_ledger_row *row)
{
    for (int i = 0; i < LEDGER_DEPTHS; i++) {
        const struct ledger_speed *a = &x->seen[i], *b = &x->now[i];
        struct ledger_speed more;

        if (b->prefill_tokens < a->prefill_tokens || b->prefill_us < a->prefill_us ||
            b->decode_tokens < a->decode_tokens || b->decode_us < a->decode_us)
            continue; /* an engine does not count backwards */
        more = (struct ledger_speed){
            b->prefill_tokens - a->prefill_tokens, b->prefill_us - a->prefill_us,
            b->decode_tokens - a->decode_tokens, b->decode_us - a->decode_us};
        ledger_add_speed(&row->speed[i], &more);
        x->seen[i] = *b;
    }
}

/* Puts what is known into the ledger: always all of it. */
static void meter_put(struct meter *x, enum meter_want want, const struct meter_facts *f,
                      const struct ledger_bytes *b)
{
    const struct node_ledger_row *old = ledger_find(x->owner->ledger, &x->key);
    struct node_ledger_row row = {.key = x->key};

    if (old != NULL)
        row = *old;
    rm_text_copy(row.model, sizeof(row.model), x->d.model);
    if (x->predicted > 0) {
        row.predicted = x->predicted;
        row.compute = x->compute;
        row.estimated = x->estimated;
    }
    if (!x->load_told)
        put_load(x, &row);
    if (want != METER_NOTHING)
        meter_take(&x->state, f, want, b, &row);
    put_speeds(x, &row);
    x->speed_ms = x->facts.now_ms;
    ledger_put(x->owner->ledger, &row);
}

/* ---- measuring ---- */

static void meters_next(struct meters *m);

static void sample_run(uv_work_t *work)
{
    struct sample *s = work->data;

    struct meters *m = s->owner;

    if (!m->nvml_tried && nvml_open(NULL, &m->nvml) < 0)
        m->nvml = NULL;
    m->nvml_tried = true;
    s->err = measure_process(m->root, m->nvml, s->pid, s->shared, &s->bytes);
}

static void meters_free(struct meters *m)
{
    close(m->root);
    nvml_close(m->nvml);
    free(m);
}

static void sample_on_done(uv_work_t *work, int status)
{
    struct sample *s = work->data;
    struct meters *m = s->owner;
    struct meter *x = s->meter;
    int r = status < 0 ? status : s->err;

    m->busy = false;
    if (m->closed) {
        meters_free(m);
        return;
    }
    if (x != NULL && r == 0) {
        meter_put(x, s->want, &s->facts, &s->bytes);
    } else if (x != NULL) {
        x->state.fails++;
        x->state.at_ms = s->facts.now_ms;
        if (x->state.fails == METER_FAILS_MAX)
            rm_info("ledger", "this engine cannot be measured", RM_S("role", x->d.role),
                    RM_E("why", r));
        if (!x->load_told && x->state.fails == METER_FAILS_MAX)
            meter_put(x, METER_NOTHING, NULL, NULL);
    }
    meters_next(m);
}

/* Another engine maps the same weights. */
static bool is_shared(const struct meter *x)
{
    for (const struct meter *o = x->owner->first; o != NULL; o = o->next)
        if (o != x && o->pid > 0 && strcmp(o->key.model_hash, x->key.model_hash) == 0)
            return true;
    return false;
}

static bool sample_start(struct meter *x, enum meter_want want)
{
    struct meters *m = x->owner;

    m->sample = (struct sample){.owner = m,
                                .meter = x,
                                .want = want,
                                .facts = x->facts,
                                .pid = x->pid,
                                .shared = is_shared(x)};
    m->sample.work.data = &m->sample;
    m->busy = uv_queue_work(m->loop, &m->sample.work, sample_run, sample_on_done) == 0;
    return m->busy;
}

/* Starts a measurement of the first meter that wants one, if none is under way. A meter that was
 * measured goes to the end of the list, so that each gets its turn. */
static void meters_next(struct meters *m)
{
    for (struct meter **at = &m->first; !m->busy && *at != NULL; at = &(*at)->next) {
        struct meter *x = *at;
        enum meter_want want = x->pid > 0 && x->key.build[0] != '\0'
                                   ? meter_want(&x->state, &x->facts)
                                   : METER_NOTHING;

        if (want == METER_NOTHING || !sample_start(x, want))
            continue;
        *at = x->next;
        while (*at != NULL)
            at = &(*at)->next;
        *at = x;
        x->next = NULL;
        return;
    }
}

/* ---- the contract ---- */

int meters_new(uv_loop_t *loop, struct ledger *ledger, struct meters **out)
{
    struct meters *m = calloc(1, sizeof(*m));
    int r;

    *out = NULL;
    if (m == NULL)
        return UV_ENOMEM;
    if ((r = m->root = sys_root("/")) < 0) {
        free(m);
        return r;
    }
    m->loop = loop;
    m->ledger = ledger;
    *out = m;
    return 0;
}

void meters_close(struct meters *m)
{
    if (m == NULL)
        return;
    m->closed = true;
    if (!m->busy)
        meters_free(m);
}

struct meters_loads meters_loads(const struct meters *m)
{
    return m->loads;
}

int meter_begin(struct meters *m, const struct desired_host *d, const char *hash, double cached,
                struct meter **out)
{
    struct meter *x = calloc(1, sizeof(*x));

    *out = x;
    if (x == NULL)
        return UV_ENOMEM;
    x->owner = m;
    x->d = *d;
    x->cached = cached;
    ledger_key_of(d, hash, NULL, &x->key);
    x->next = m->first;
    m->first = x;
    return 0;
}

void meter_predicted(struct meter *x, const struct node_forecast *f)
{
    if (x == NULL || !f->known)
        return;
    x->predicted = f->weights + f->kv + f->compute + f->other;
    x->compute = f->compute;
    x->estimated = f->estimated;
    if (x->load_told) /* the answer came after the load */
        meter_put(x, METER_NOTHING, NULL, NULL);
}

void meter_ready(struct meter *x, int pid, uint64_t load_ms)
{
    if (x == NULL)
        return;
    x->pid = pid;
    x->load_ms = load_ms;
}

static bool has_new_speeds(const struct meter *x)
{
    return memcmp(x->seen, x->now, sizeof(x->now)) != 0;
}

void meter_note(struct meter *x, const struct engine_measure *m, uint64_t rss, uint64_t now_ms)
{
    if (x == NULL || x->pid <= 0)
        return;
    x->facts = (struct meter_facts){.now_ms = now_ms,
                                    .rss = rss,
                                    .kv_used = m->kv_used,
                                    .kv_total = m->kv_total,
                                    .kv_deepest = m->kv_deepest,
                                    .context = m->context,
                                    .batch = m->batch,
                                    .batch_most = m->batch_most};
    _Static_assert(sizeof(x->now) == sizeof(m->speed), "the same buckets");
    memcpy(x->now, m->speed, sizeof(x->now));
    if (x->key.build[0] == '\0' && m->build[0] != '\0' && x->key.model_hash[0] != '\0') {
        rm_text_copy(x->key.build, sizeof(x->key.build), m->build);
        ledger_set_build(x->owner->ledger, m->build);
    }
    if (x->load_told && has_new_speeds(x) && now_ms - x->speed_ms >= METER_EVERY_MS)
        meter_put(x, METER_NOTHING, NULL, NULL);
    meters_next(x->owner);
}

static const struct node_ledger_row *row_of(const struct meter *x)
{
    return x != NULL && x->load_told ? ledger_find(x->owner->ledger, &x->key) : NULL;
}

uint64_t meter_vram(const struct meter *x)
{
    const struct node_ledger_row *row = row_of(x);

    return row != NULL && row->measured ? row->peak.vram : 0;
}

uint64_t meter_measured(const struct meter *x)
{
    const struct node_ledger_row *row = row_of(x);

    return row != NULL && row->measured ? row->expected : 0;
}

struct ledger_bytes meter_peak(const struct meter *x)
{
    const struct node_ledger_row *row = row_of(x);

    return row != NULL ? row->peak : (struct ledger_bytes){0};
}

static bool same_flags(const struct ledger_key *a, const struct ledger_key *b)
{
    return a->context == b->context && a->slots == b->slots && strcmp(a->kv, b->kv) == 0 &&
           strcmp(a->flags, b->flags) == 0;
}

uint64_t meter_load_ms(const struct meter *x)
{
    const struct node_ledger_row *rows, *best = NULL;
    bool best_same = false;
    uint32_t n;

    if (x == NULL)
        return 0;
    rows = ledger_rows(x->owner->ledger, &n);
    for (uint32_t i = 0; i < n; i++) {
        bool same = same_flags(&rows[i].key, &x->key);

        if (rows[i].loads == 0 || strcmp(rows[i].key.model_hash, x->key.model_hash) != 0)
            continue;
        if (best == NULL || (same && !best_same) ||
            (same == best_same && rows[i].last_s >= best->last_s)) {
            best = &rows[i];
            best_same = same;
        }
    }
    if (best == NULL)
        return 0;
    if (is_cold(x))
        return best->cold_ms > 0 ? best->cold_ms : best->warm_ms;
    return best->warm_ms > 0 ? best->warm_ms : best->cold_ms;
}

void meter_end(struct meter *x)
{
    struct meter **at;

    if (x == NULL)
        return;
    if (x->load_told && has_new_speeds(x))
        meter_put(x, METER_NOTHING, NULL, NULL);
    for (at = &x->owner->first; *at != x;)
        at = &(*at)->next;
    *at = x->next;
    if (x->owner->busy && x->owner->sample.meter == x)
        x->owner->sample.meter = NULL;
    free(x);
}
