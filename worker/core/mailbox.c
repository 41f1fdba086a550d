/* SPDX-License-Identifier: MIT */
/* worker/core/mailbox.c - see mailbox.h. */
#include "mailbox.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "worker/core/job.h"

struct mail_event *mail_event_new(size_t n_data)
{
    return calloc(1, sizeof(struct mail_event) + n_data);
}

int mailbox_init(struct mailbox *m, void (*wake)(void *arg), void *arg)
{
    int r;

    *m = (struct mailbox){.wake = wake, .arg = arg};
    if ((r = pthread_mutex_init(&m->lock, NULL)) != 0)
        return uv_translate_sys_error(r);
    if ((r = pthread_cond_init(&m->change, NULL)) != 0) {
        pthread_mutex_destroy(&m->lock);
        return uv_translate_sys_error(r);
    }
    return 0;
}

static void list_add(struct mail_list *l, struct mail_event *e)
{
    e->next = NULL;
    if (l->last != NULL)
        l->last->next = e;
    else
        l->first = e;
    l->last = e;
}

static struct mail_event *list_shift(struct mail_list *l)
{
    struct mail_event *e = l->first;

    if (e != NULL && (l->first = e->next) == NULL)
        l->last = NULL;
    return e;
}

/* Frees the events of one job; id 0: of all. */
static void list_purge(struct mail_list *l, uint64_t id)
{
    struct mail_list kept = {NULL, NULL};
    struct mail_event *e;

    while ((e = list_shift(l)) != NULL) {
        if (id == 0 || e->event.job == id)
            free(e);
        else
            list_add(&kept, e);
    }
    *l = kept;
}

void mailbox_clear(struct mailbox *m)
{
    while (m->live != NULL) {
        struct job *j = m->live;

        m->live = j->next_live;
        job_free(j);
    }
    list_purge(&m->outbox, 0);
    list_purge(&m->delivering, 0);
    pthread_cond_destroy(&m->change);
    pthread_mutex_destroy(&m->lock);
}

/* ---- loop thread ---- */

int mailbox_post(struct mailbox *m, struct job *j, uint32_t most_live)
{
    int r = 0;

    pthread_mutex_lock(&m->lock);
    if (m->n_live >= most_live) {
        r = RM_ERR_QUEUE_FULL;
    } else {
        j->next_live = m->live;
        m->live = j;
        m->n_live++;
        if (m->inbox_last != NULL)
            m->inbox_last->next = j;
        else
            m->inbox = j;
        m->inbox_last = j;
        pthread_cond_signal(&m->change);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

void mailbox_cancel(struct mailbox *m, uint64_t id)
{
    if (id == 0)
        return;
    pthread_mutex_lock(&m->lock);
    for (struct job *j = m->live; j != NULL; j = j->next_live) {
        if (j->id == id)
            j->cancelled = true;
    }
    list_purge(&m->outbox, id);
    pthread_cond_signal(&m->change);
    pthread_mutex_unlock(&m->lock);
    list_purge(&m->delivering, id);
}

static void errand_append(struct decoder_errand **list, struct decoder_errand *e)
{
    while (*list != NULL)
        list = &(*list)->next;
    e->next = NULL;
    *list = e;
}

void mailbox_post_errand(struct mailbox *m, struct decoder_errand *e)
{
    pthread_mutex_lock(&m->lock);
    errand_append(&m->errands, e);
    pthread_cond_signal(&m->change);
    pthread_mutex_unlock(&m->lock);
}

static struct decoder_errand *errand_shift(struct mailbox *m, struct decoder_errand **list)
{
    struct decoder_errand *e;

    pthread_mutex_lock(&m->lock);
    if ((e = *list) != NULL)
        *list = e->next;
    pthread_mutex_unlock(&m->lock);
    return e;
}

void mailbox_poll(struct mailbox *m, void (*on_event)(void *arg, const struct job_event *e),
                  void *arg)
{
    struct decoder_errand *errand;
    struct mail_event *e;

    pthread_mutex_lock(&m->lock);
    while ((e = list_shift(&m->outbox)) != NULL)
        list_add(&m->delivering, e);
    pthread_mutex_unlock(&m->lock);
    while ((e = list_shift(&m->delivering)) != NULL) { /* on_event may cancel jobs */
        on_event(arg, &e->event);
        free(e);
    }
    while ((errand = errand_shift(m, &m->errands_done)) != NULL)
        errand->done(errand->arg);
}

void mailbox_stop(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_signal(&m->change);
    pthread_mutex_unlock(&m->lock);
}

/* ---- decode thread ---- */

static bool has_cancelled(const struct mailbox *m)
{
    for (const struct job *j = m->live; j != NULL; j = j->next_live) {
        if (j->cancelled)
            return true;
    }
    return false;
}

bool mailbox_wait(struct mailbox *m, bool idle, struct job **jobs)
{
    bool goes_on;

    pthread_mutex_lock(&m->lock);
    while (idle && !m->stopping && m->inbox == NULL && m->errands == NULL && !has_cancelled(m))
        pthread_cond_wait(&m->change, &m->lock);
    goes_on = !m->stopping;
    *jobs = m->inbox;
    m->inbox = m->inbox_last = NULL;
    pthread_mutex_unlock(&m->lock);
    return goes_on;
}

bool mailbox_is_cancelled(struct mailbox *m, const struct job *j)
{
    bool cancelled;

    pthread_mutex_lock(&m->lock);
    cancelled = j->cancelled;
    pthread_mutex_unlock(&m->lock);
    return cancelled;
}

struct decoder_errand *mailbox_take_errand(struct mailbox *m)
{
    return errand_shift(m, &m->errands);
}

void mailbox_errand_done(struct mailbox *m, struct decoder_errand *e)
{
    pthread_mutex_lock(&m->lock);
    errand_append(&m->errands_done, e);
    pthread_mutex_unlock(&m->lock);
    if (m->wake != NULL)
        m->wake(m->arg);
}

bool mailbox_is_unwanted(struct mailbox *m, const struct job *j)
{
    bool unwanted;

    pthread_mutex_lock(&m->lock);
    unwanted = j->cancelled || m->stopping;
    pthread_mutex_unlock(&m->lock);
    return unwanted;
}

/* A copy of the event with its texts, or NULL. */
static struct mail_event *copy_event(const struct job_event *e)
{
    size_t n_stop = e->stop_word != NULL ? strlen(e->stop_word) + 1 : 0;
    size_t n_tokens = e->n_tokens * sizeof(*e->tokens);
    struct mail_event *m = mail_event_new(n_tokens + e->n_text + n_stop);
    char *to;

    if (m == NULL)
        return NULL;
    m->event = *e;
    m->event.tokens = m->data;
    if (n_tokens > 0)
        memcpy(m->data, e->tokens, n_tokens);
    to = (char *)m->data + n_tokens;
    m->event.text = to;
    if (e->n_text > 0)
        memcpy(to, e->text, e->n_text);
    if (n_stop > 0)
        m->event.stop_word = memcpy(to + e->n_text, e->stop_word, n_stop);
    return m;
}

int mailbox_emit(struct mailbox *m, struct job *j, const struct job_event *e)
{
    struct mail_event *copy = copy_event(e);
    bool last = e->type == JOB_DONE || e->type == JOB_FAILED, was_empty, dropped;

    if (copy == NULL && !last)
        return UV_ENOMEM;
    if (copy == NULL) {
        copy = j->farewell;
        j->farewell = NULL;
        copy->event = *e;
        copy->event.type = JOB_FAILED;
        copy->event.err = e->type == JOB_FAILED ? e->err : UV_ENOMEM;
        copy->event.text = (char *)copy->data;
        copy->event.n_text = 0;
        copy->event.n_tokens = 0;
        copy->event.stop_word = NULL;
    }
    pthread_mutex_lock(&m->lock);
    dropped = j->cancelled;
    was_empty = m->outbox.first == NULL;
    if (!dropped)
        list_add(&m->outbox, copy);
    pthread_mutex_unlock(&m->lock);
    if (dropped)
        free(copy);
    else if (was_empty && m->wake != NULL)
        m->wake(m->arg);
    return 0;
}

void mailbox_forget(struct mailbox *m, struct job *j)
{
    struct job **p = &m->live;

    pthread_mutex_lock(&m->lock);
    while (*p != j)
        p = &(*p)->next_live;
    *p = j->next_live;
    m->n_live--;
    pthread_mutex_unlock(&m->lock);
    job_free(j);
}

void mailbox_publish(struct mailbox *m, const struct decoder_stats *s)
{
    pthread_mutex_lock(&m->lock);
    m->stats = *s;
    pthread_mutex_unlock(&m->lock);
}

void mailbox_stats(struct mailbox *m, struct decoder_stats *out)
{
    uint32_t held;

    pthread_mutex_lock(&m->lock);
    *out = m->stats;
    held = m->stats.slots_busy;
    out->queued = m->n_live > held ? m->n_live - held : 0;
    pthread_mutex_unlock(&m->lock);
}
