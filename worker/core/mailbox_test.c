/* SPDX-License-Identifier: MIT */
/* worker/core/mailbox_test.c - order, copies, cancels and the limit; both sides on one thread, then
 * on two. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "worker/core/job.h"
#include "worker/core/mailbox.h"

enum { EVENTS = 20000 };

static struct mailbox box;
static char seen[256];
static uint64_t cancel_on_first;
static int wakes;

static void on_wake(void *arg)
{
    (void)arg;
    wakes++;
}

static int set_up(void **state)
{
    (void)state;
    seen[0] = '\0';
    cancel_on_first = 0;
    wakes = 0;
    return mailbox_init(&box, on_wake, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    mailbox_clear(&box);
    return 0;
}

static struct job *new_job(uint64_t id)
{
    static const int32_t token = 1;
    struct job_spec spec = {
        .tokens = &token, .n_tokens = 1, .max_tokens = 4, .sampling = {.top_p = 1.0f}};
    struct job *j;

    assert_int_equal(job_new(&spec, 64, 10, &j), 0);
    j->id = id;
    return j;
}

static struct job *post(uint64_t id)
{
    struct job *j = new_job(id);

    assert_int_equal(mailbox_post(&box, j, 100), 0);
    return j;
}

static void emit_text(struct job *j, const char *text)
{
    struct job_event e = job_event_of(j, JOB_TEXT);

    e.text = text;
    e.n_text = strlen(text);
    assert_int_equal(mailbox_emit(&box, j, &e), 0);
}

static void note(void *arg, const struct job_event *e)
{
    size_t n = strlen(seen);

    (void)arg;
    snprintf(seen + n, sizeof(seen) - n, "%d:%.*s ", (int)e->job, (int)e->n_text, e->text);
    if (cancel_on_first != 0)
        mailbox_cancel(&box, cancel_on_first);
    cancel_on_first = 0;
}

static void jobs_arrive_in_order(void **state)
{
    struct job *a = post(1), *b = post(2), *got;

    (void)state;
    assert_true(mailbox_wait(&box, true, &got));
    assert_ptr_equal(got, a);
    assert_ptr_equal(got->next, b);
    assert_null(got->next->next);
    assert_true(mailbox_wait(&box, false, &got));
    assert_null(got);
}

static void the_limit_counts_live_jobs(void **state)
{
    struct job *a = post(1), *b = new_job(2), *got;

    (void)state;
    assert_int_equal(mailbox_post(&box, b, 1), RM_ERR_QUEUE_FULL);
    assert_true(mailbox_wait(&box, true, &got));
    assert_int_equal(mailbox_post(&box, b, 1), RM_ERR_QUEUE_FULL);
    mailbox_forget(&box, a);
    assert_int_equal(mailbox_post(&box, b, 1), 0);
}

static void events_arrive_in_order(void **state)
{
    struct job *a = post(1), *b = post(2);

    (void)state;
    emit_text(a, "x");
    emit_text(b, "y");
    emit_text(a, "z");
    assert_int_equal(wakes, 1); /* once until they are fetched */
    mailbox_poll(&box, note, NULL);
    assert_string_equal(seen, "1:x 2:y 1:z ");
    mailbox_poll(&box, note, NULL);
    assert_string_equal(seen, "1:x 2:y 1:z ");
    emit_text(a, "again");
    assert_int_equal(wakes, 2);
}

static void a_last_event_carries_all(void **state)
{
    static const int32_t tokens[] = {7, 8, 9};
    struct job *a = post(1);
    struct job_event e = job_event_of(a, JOB_DONE);
    const struct job_event *got;

    (void)state;
    e.text = "rest";
    e.n_text = 4;
    e.stop_word = "END";
    e.tokens = tokens;
    e.n_tokens = 3;
    assert_int_equal(mailbox_emit(&box, a, &e), 0);
    got = &box.outbox.first->event;
    assert_memory_equal(got->text, "rest", 4);
    assert_string_equal(got->stop_word, "END");
    assert_memory_equal(got->tokens, tokens, sizeof(tokens));
    assert_ptr_not_equal(got->tokens, tokens);
}

static void cancel_takes_back_what_waits(void **state)
{
    struct job *a = post(1), *b = post(2);

    (void)state;
    emit_text(a, "x");
    emit_text(b, "y");
    mailbox_cancel(&box, 1);
    emit_text(a, "late");
    mailbox_cancel(&box, 77); /* unknown */
    mailbox_poll(&box, note, NULL);
    assert_string_equal(seen, "2:y ");
    assert_true(mailbox_is_cancelled(&box, a));
    assert_false(mailbox_is_cancelled(&box, b));
}

static void cancel_from_a_callback(void **state)
{
    struct job *a = post(1), *b = post(2);

    (void)state;
    emit_text(a, "x");
    emit_text(b, "y");
    emit_text(a, "z");
    cancel_on_first = 2;
    mailbox_poll(&box, note, NULL);
    assert_string_equal(seen, "1:x 1:z ");
}

static void cancel_wakes_an_idle_thread(void **state)
{
    struct job *got;

    (void)state;
    post(1);
    assert_true(mailbox_wait(&box, true, &got));
    mailbox_cancel(&box, 1);
    assert_true(mailbox_wait(&box, true, &got)); /* would wait for ever otherwise */
    mailbox_forget(&box, box.live);
}

static void stop_ends_the_wait(void **state)
{
    struct job *got;

    (void)state;
    mailbox_stop(&box);
    assert_false(mailbox_wait(&box, true, &got));
}

/* The decode side of the two-thread test: emits for each job until it is cancelled. */
static void *emitter(void *arg)
{
    struct job *got;

    (void)arg;
    while (mailbox_wait(&box, true, &got)) {
        while (got != NULL) {
            struct job *j = got;

            got = j->next;
            for (int i = 0; i < EVENTS && !mailbox_is_cancelled(&box, j); i++)
                emit_text(j, "t");
            mailbox_forget(&box, j);
        }
    }
    return NULL;
}

static uint64_t dead; /* ids up to this one are cancelled */
static int late;

static void check_alive(void *arg, const struct job_event *e)
{
    (void)arg;
    late += e->job <= dead;
}

static void two_threads(void **state)
{
    pthread_t thread;

    (void)state;
    dead = 0;
    late = 0;
    assert_int_equal(pthread_create(&thread, NULL, emitter, NULL), 0);
    for (uint64_t id = 1; id <= 50; id++) {
        post(id);
        mailbox_poll(&box, check_alive, NULL);
        mailbox_cancel(&box, id);
        dead = id;
        mailbox_poll(&box, check_alive, NULL);
    }
    mailbox_stop(&box);
    pthread_join(thread, NULL);
    mailbox_poll(&box, check_alive, NULL);
    assert_int_equal(late, 0);
}

/* ---- errands ---- */

static int done_order[4], n_errands_done;
static struct decoder_errand again;

static void note_done(void *arg)
{
    done_order[n_errands_done++] = *(int *)arg;
}

static void note_and_post_again(void *arg)
{
    note_done(arg);
    mailbox_post_errand(&box, &again);
}

static void errands_in_order(void **state)
{
    static int names[] = {1, 2, 3};
    struct decoder_errand one = {.done = note_and_post_again, .arg = &names[0]};
    struct decoder_errand two = {.done = note_done, .arg = &names[1]};
    struct job *jobs;

    (void)state;
    n_errands_done = 0;
    again = (struct decoder_errand){.done = note_done, .arg = &names[2]};
    mailbox_post_errand(&box, &one);
    mailbox_post_errand(&box, &two);
    assert_true(mailbox_wait(&box, true, &jobs)); /* an errand ends the wait */
    assert_null(jobs);
    assert_ptr_equal(mailbox_take_errand(&box), &one);
    assert_ptr_equal(mailbox_take_errand(&box), &two);
    assert_null(mailbox_take_errand(&box));
    mailbox_poll(&box, NULL, NULL); /* none is done yet */
    assert_int_equal(n_errands_done, 0);
    mailbox_errand_done(&box, &one);
    mailbox_errand_done(&box, &two);
    assert_int_equal(wakes, 2);
    mailbox_poll(&box, NULL, NULL);
    assert_int_equal(n_errands_done, 2);
    assert_int_equal(done_order[0], 1);
    assert_int_equal(done_order[1], 2);
    assert_ptr_equal(mailbox_take_errand(&box), &again); /* posted from a callback */
    mailbox_post_errand(&box, &one);
    mailbox_stop(&box);
    assert_false(mailbox_wait(&box, true, &jobs)); /* what waits is left alone */
}

int main(void)
{
#define MAIL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        MAIL_TEST(jobs_arrive_in_order),
        MAIL_TEST(the_limit_counts_live_jobs),
        MAIL_TEST(events_arrive_in_order),
        MAIL_TEST(a_last_event_carries_all),
        MAIL_TEST(cancel_takes_back_what_waits),
        MAIL_TEST(cancel_from_a_callback),
        MAIL_TEST(cancel_wakes_an_idle_thread),
        MAIL_TEST(stop_ends_the_wait),
        MAIL_TEST(errands_in_order),
        MAIL_TEST(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
