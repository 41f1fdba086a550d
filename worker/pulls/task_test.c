/* SPDX-License-Identifier: MIT */
/* worker/pulls/task_test.c - task.c: wishes by row, lines and ends by row, the text over a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/pulls/task.h"

#define URL "https://u:secret@h.test/dir/m.gguf?sig=secret"

static struct task *task_of(const char *source, const char *from)
{
    struct node_pull_wish w = {.rate = 5};
    struct task *t = calloc(1, sizeof *t);
    char why[TASK_WHY_MAX];

    rm_text_copy(w.source, sizeof w.source, source);
    rm_text_copy(w.from, sizeof w.from, from);
    assert_int_equal(task_init(t, &w, "p-0123456789abcdef", 1000, why), 0);
    return t;
}

static void wishes(void **state)
{
    static const struct {
        const char *source, *from, *sha256;
        const char *shown, *target; /* target NULL: refused, and shown is a part of why */
    } rows[] = {
        {URL, "", "", "https://h.test/dir/m.gguf", "m.gguf"},
        {"hf:Org/Repo:Q8_0", "", "", "hf:Org/Repo:Q8_0", "hf:org/repo:q8_0"},
        {"node:speed/a/m.gguf", "h:1", "", "node:speed/a/m.gguf", "a/m.gguf"},
        {"node:speed/hf:o/r:Q8", "h:1", "", "node:speed/hf:o/r:Q8", "node:speed/hf:o/r:Q8"},
        {"https://u:secret@h.test/m.bin?secret", "", "", "https://h.test/m.bin: the URL must",
         NULL},
        {"/etc/passwd", "", "", "expected hf:ORG/REPO:QUANT", NULL},
        {"file:///m.gguf", "", "", "expected hf:ORG/REPO:QUANT", NULL},
        {"--dir=/", "", "", "expected hf:ORG/REPO:QUANT", NULL},
        {"hf:org/repo:Q8_0", "", "0", "only with the URL of one", NULL},
    };
    char why[TASK_WHY_MAX];
    struct task t;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct node_pull_wish w = {.rate = 0};
        int r;

        rm_text_copy(w.source, sizeof w.source, rows[i].source);
        rm_text_copy(w.from, sizeof w.from, rows[i].from);
        rm_text_copy(w.sha256, sizeof w.sha256, rows[i].sha256);
        r = task_init(&t, &w, "p-0123456789abcdef", 1, why);
        assert_null(strstr(why, "secret"));
        if (rows[i].target == NULL) {
            if (r != RM_ERR_FIELD || strstr(why, rows[i].shown) == NULL)
                fail_msg("%s: %d, %s", rows[i].source, r, why);
            continue;
        }
        assert_int_equal(r, 0);
        assert_string_equal(t.shown.source, rows[i].shown);
        assert_string_equal(t.target, rows[i].target);
        assert_int_equal(t.shown.state, PULL_QUEUED);
    }
}

static void take(struct task *t, const char *line)
{
    (void)task_take_line(t, rm_slice_of(line));
}

#define PROGRESS(state, file, fetched, done, there, total)                                         \
    "{\"state\":\"" state "\",\"file\":\"" file "\",\"there\":1,\"total\":2,\"fetched\":" fetched  \
    ",\"rate\":100.0,\"files\":2,\"files_done\":" done ",\"all_there\":" there                     \
    ",\"all_total\":" total "}"

static void lines_of_two_files(void **state)
{
    struct task *t = task_of("hf:org/repo:Q8_0", "");
    const struct task_end good = {.code = 0};

    (void)state;
    task_started(t);
    take(t, PROGRESS("fetching", "o/a.gguf", "10", "0", "10", "300"));
    assert_int_equal(t->shown.state, PULL_RUNNING);
    assert_string_equal(t->shown.file, "o/a.gguf");
    assert_int_equal(t->shown.eta_ms, 2900);
    take(t, PROGRESS("checking", "o/a.gguf", "100", "0", "100", "300"));
    assert_int_equal(t->shown.state, PULL_VERIFYING);
    assert_int_equal(t->shown.eta_ms, 0);
    take(t, "{\"state\":\"done\",\"file\":\"o/a.gguf\",\"fetched\":100}");
    take(t, PROGRESS("fetching", "o/b.gguf", "50", "1", "150", "300"));
    assert_int_equal(t->shown.fetched, 150);
    assert_int_equal(t->shown.files_done, 1);
    for (size_t i = 0; i < 4; i++)
        take(t, (const char *[]){"", "nonsense", "[]", "{\"state\":7}"}[i]);
    take(t, PROGRESS("fetching", "../../x.gguf", "50", "1", "150", "300"));
    assert_string_equal(t->shown.file, "o/b.gguf");
    take(t, "{\"state\":\"done\",\"file\":\"o/b.gguf\",\"fetched\":200}");
    task_ended(t, &good, 5, 2000);
    assert_int_equal(t->shown.state, PULL_DONE);
    assert_int_equal(t->shown.files_done, 2);
    assert_int_equal(t->shown.bytes, 300);
    assert_int_equal(t->shown.fetched, 300);
    assert_int_equal(t->shown.ended, 2000);
    free(t);
}

static void ends(void **state)
{
    static const struct {
        const char *name;
        struct task_end end;
        const char *line; /* before it */
        enum node_pull_state state;
        const char *text; /* a part */
    } rows[] = {
        {"done", {.code = 0}, "", PULL_DONE, ""},
        {"killed", {.code = -1, .signal = 9}, "", PULL_QUEUED, "ended by signal 9"},
        {"the network", {.code = 1}, "{\"state\":\"failed\",\"text\":\"503\"}", PULL_QUEUED, "503"},
        {"no such file", {.code = 2}, "{\"state\":\"wrong\",\"text\":\"404\"}", PULL_FAILED, "404"},
        {"no room", {.code = 3}, "{\"state\":\"no_room\",\"text\":\"full\"}", PULL_FAILED, "full"},
        {"without a word", {.code = 2}, "", PULL_FAILED, "ended with code 2"},
        {"the worker stops", {.told = true, .code = 1}, "", PULL_QUEUED, ""},
        {"odd bytes",
         {.code = 2},
         "{\"state\":\"wrong\",\"text\":\"a\\n\\u001b[31m\"}",
         PULL_FAILED,
         "a??[31m"},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct task *t = task_of(URL, "");

        task_started(t);
        take(t, rows[i].line);
        task_ended(t, &rows[i].end, 7000, 2000);
        if (t->shown.state != rows[i].state || strstr(t->shown.text, rows[i].text) == NULL)
            fail_msg("%s: %s, \"%s\"", rows[i].name, node_pull_state_name(t->shown.state),
                     t->shown.text);
        /* a secret is kept only while it is needed */
        assert_int_equal(t->wish.source[0] == '\0', node_pull_is_over(t->shown.state));
        free(t);
    }
}

static void tries_that_bring_nothing(void **state)
{
    const struct task_end failed = {.code = 1};
    struct task *t = task_of(URL, "");
    uint64_t now = 1000, pauses[TASK_TRIES] = {0};

    (void)state;
    for (unsigned i = 0; i < TASK_TRIES; i++) {
        assert_int_equal(t->shown.state, PULL_QUEUED);
        task_started(t);
        if (i == 2) /* one that brings something counts as the first */
            take(t, PROGRESS("fetching", "m.gguf", "10", "0", "10", "300"));
        task_ended(t, &failed, now, 1);
        pauses[i] = t->not_before_ms - now;
    }
    assert_int_equal(pauses[0], 1000);
    assert_int_equal(pauses[1], 2000);
    assert_int_equal(pauses[2], 1000);
    assert_int_equal(pauses[3], 2000);
    assert_int_equal(t->shown.state, PULL_QUEUED);
    for (unsigned i = 4; i < TASK_TRIES; i++) {
        task_started(t);
        task_ended(t, &failed, now, 1);
    }
    assert_int_equal(t->shown.state, PULL_FAILED);
    assert_non_null(strstr(t->shown.text, "given up"));
    free(t);
}

static void cancelled_once(void **state)
{
    const struct task_end told = {.code = 1};
    struct task *t = task_of(URL, "");

    (void)state;
    task_started(t);
    task_cancel(t, 9);
    assert_int_equal(t->shown.state, PULL_CANCELLED);
    task_ended(t, &told, 1, 10);
    take(t, PROGRESS("fetching", "m.gguf", "10", "0", "10", "300"));
    task_cancel(t, 11);
    assert_int_equal(t->shown.state, PULL_CANCELLED);
    assert_int_equal(t->shown.ended, 9);
    free(t);
}

static bool back(struct task *t, const struct rm_buf *text)
{
    const char *lf = memchr(text->data, '\n', text->len);
    struct rm_slice shown = {text->data, (size_t)(lf - text->data)};
    struct rm_slice wish = {lf + 1, text->len - shown.n - 2};

    return task_read(t, shown, wish);
}

static void over_a_restart(void **state)
{
    const struct task_end good = {.code = 0};
    struct task *t = task_of(URL, ""), *u = calloc(1, sizeof *u);
    struct rm_buf text;

    (void)state;
    task_started(t);
    take(t, PROGRESS("fetching", "m.gguf", "10", "0", "10", "300"));
    rm_buf_init(&text, 16384);
    assert_int_equal(task_write(t, &text), 0);
    assert_true(back(u, &text));
    assert_int_equal(u->shown.state, PULL_QUEUED);
    assert_int_equal(u->shown.bytes, 10);
    assert_string_equal(u->shown.id, t->shown.id);
    assert_memory_equal(&u->wish, &t->wish, sizeof u->wish);
    task_ended(t, &good, 1, 10);
    rm_buf_clear(&text);
    assert_int_equal(task_write(t, &text), 0);
    assert_null(strstr(text.data, "secret"));
    assert_true(back(u, &text));
    assert_int_equal(u->shown.state, PULL_DONE);
    assert_false(task_read(u, RM_LIT("{}"), RM_LIT("{}")));
    assert_false(task_read(u, RM_LIT("{\"pulls\":[{\"id\":\"x\"}]}"), RM_LIT("{}")));
    assert_false(task_read(u, (struct rm_slice){NULL, 0}, (struct rm_slice){NULL, 0}));
    rm_buf_clear(&text);
    free(t), free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wishes),         cmocka_unit_test(lines_of_two_files),
        cmocka_unit_test(ends),           cmocka_unit_test(tries_that_bring_nothing),
        cmocka_unit_test(cancelled_once), cmocka_unit_test(over_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
