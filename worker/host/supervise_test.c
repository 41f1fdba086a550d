/* SPDX-License-Identifier: MIT */
/* worker/host/supervise_test.c - supervise.c with real children (/bin/sh): ends of every kind, what
 * they wrote, descriptors they see, groups, and the death of the parent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "worker/host/supervise.h"

struct seen {
    struct rm_buf channel;
    char log[8192];
    struct child_end end;
    struct child *child; /* NULL once it has ended */
    uint64_t ended_ms;
    int ends;
    const char *stop_on; /* stop it when the channel holds this */
};

static uv_loop_t loop;
static struct supervisor *sup;

static void on_channel(void *arg, const char *bytes, size_t n)
{
    struct seen *s = arg;

    rm_buf_put(&s->channel, bytes, n);
    if (s->stop_on != NULL && strstr(s->channel.data, s->stop_on) != NULL)
        child_stop(s->child);
}

static void on_end(void *arg, const struct child_end *end)
{
    struct seen *s = arg;

    s->end = *end;
    s->ends++;
    s->ended_ms = rm_now_ms();
    s->child = NULL;
    snprintf(s->log, sizeof(s->log), "%s", end->log);
}

static const struct child_ops ops = {on_channel, on_end};

static void on_deadline(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* Runs the loop until the child has ended, or the channel holds `text`; at most 10 s. */
static void wait_for(struct seen *s, const char *text)
{
    bool late = false;
    uv_timer_t timer;

    uv_timer_init(&loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, on_deadline, 10000, 0);
    while (!late && s->ends == 0 &&
           (text == NULL || s->channel.data == NULL || strstr(s->channel.data, text) == NULL))
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_false(late);
}

static void start(struct seen *s, const char *script, bool on_stdout)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct child_spec spec = {argv, "test", on_stdout};

    memset(s, 0, sizeof(*s));
    rm_buf_init(&s->channel, 65536);
    assert_int_equal(child_start(sup, &spec, &ops, s, &s->child), 0);
}

static int set_up(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    return supervisor_open(&loop, &sup);
}

static int tear_down(void **state)
{
    (void)state;
    supervisor_close(sup);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void code_log_and_channel(void **state)
{
    struct seen s;

    (void)state;
    start(&s, "echo out; echo err >&2; echo '{\"ready\":true}' >&3; exit 7", false);
    wait_for(&s, NULL);
    assert_true(WIFEXITED(s.end.wait_status));
    assert_int_equal(WEXITSTATUS(s.end.wait_status), 7);
    assert_false(s.end.told_to_end);
    assert_string_equal(s.log, "out\nerr");
    assert_string_equal(s.channel.data, "{\"ready\":true}\n");
    rm_buf_clear(&s.channel);
}

static void channel_as_stdout(void **state)
{
    struct seen s;

    (void)state;
    start(&s, "echo out; echo err >&2", true);
    wait_for(&s, NULL);
    assert_string_equal(s.log, "err");
    assert_string_equal(s.channel.data, "out\n");
    rm_buf_clear(&s.channel);
}

/* Only 0 to 3 are open, stdin is empty, no signal is ignored or blocked, the score is set. */
static void what_a_child_inherits(void **state)
{
    int fd = open("/dev/null", O_RDONLY); /* not close-on-exec */
    struct seen s;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    start(
        &s,
        "(ls /proc/$$/fd >&3); cat | wc -c >&3; grep -E '^Sig(Ign|Blk)' "
        "/proc/self/status >&3; cat /proc/$$/oom_score_adj >&3; ps -o pgid= -p $$ >/dev/null 2>&1;"
        " test $(cut -d' ' -f5 /proc/$$/stat) = $$ && echo leader >&3",
        false);
    wait_for(&s, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(fd);
    assert_non_null(s.channel.data);
    assert_memory_equal(s.channel.data, "0\n1\n2\n3\n0\n", 10);
    assert_non_null(strstr(s.channel.data, "SigBlk:\t0000000000000000\n"));
    assert_non_null(strstr(s.channel.data, "SigIgn:\t0000000000000000\n"));
    assert_non_null(strstr(s.channel.data, "\n800\n"));
    assert_non_null(strstr(s.channel.data, "leader"));
    rm_buf_clear(&s.channel);
}

static void only_the_last_lines_are_kept(void **state)
{
    struct seen s;

    (void)state;
    start(&s,
          "i=0; while [ $i -lt 50 ]; do echo line$i >&2; i=$((i+1)); done; "
          "head -c 5000 /dev/zero | tr '\\0' x >&2",
          false);
    wait_for(&s, NULL);
    assert_memory_equal(s.log, "line31\nline32\n", 14);
    assert_non_null(strstr(s.log, "line49\nxxxx"));
    assert_int_equal(strlen(strrchr(s.log, '\n') + 1), CHILD_LINE_MAX);
    rm_buf_clear(&s.channel);
}

static void no_such_program(void **state)
{
    const char *argv[] = {"/nonexistent/engine", NULL};
    struct child_spec spec = {argv, "test", false};
    struct seen s = {.ends = 0};

    (void)state;
    rm_buf_init(&s.channel, 100);
    assert_int_equal(child_start(sup, &spec, &ops, &s, &s.child), 0);
    wait_for(&s, NULL);
    assert_int_equal(WEXITSTATUS(s.end.wait_status), 127);
    assert_string_equal(s.log, "cannot run /nonexistent/engine");
}

/* Seen in under 100 ms, the whole group goes, nothing is left to wait for. */
static void killed_from_outside(void **state)
{
    int pid, other = 0;
    uint64_t killed;
    struct seen s;

    (void)state;
    start(&s, "sleep 1000 & echo $! go >&3; wait", false);
    wait_for(&s, "go");
    pid = child_pid(s.child);
    other = atoi(s.channel.data);
    assert_true(other > 0);
    killed = rm_now_ms();
    kill(pid, SIGKILL);
    wait_for(&s, NULL);
    assert_true(WIFSIGNALED(s.end.wait_status));
    assert_int_equal(WTERMSIG(s.end.wait_status), SIGKILL);
    assert_false(s.end.told_to_end);
    assert_true(s.ended_ms - killed < 100);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    /* The grandchild got SIGKILL with its group; whoever inherited it reaps it in its own time. */
    for (int i = 0; i < 500; i++) {
        char path[40], stat[256] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/stat", other);
        if ((f = fopen(path, "r")) == NULL)
            break;
        if (fgets(stat, sizeof(stat), f) == NULL)
            stat[0] = '\0';
        fclose(f);
        if (strstr(stat, ") Z ") != NULL || stat[0] == '\0')
            break;
        assert_true(i < 499);
        usleep(10000);
    }
    rm_buf_clear(&s.channel);
}

static void stops_when_told(void **state)
{
    struct seen s;

    (void)state;
    start(&s, "trap 'echo bye >&2; exit 0' TERM; echo go >&3; while :; do :; done", false);
    s.stop_on = "go";
    wait_for(&s, NULL);
    assert_true(s.end.told_to_end);
    assert_true(WIFEXITED(s.end.wait_status));
    assert_non_null(strstr(s.log, "bye")); /* the shell may say that its sleep was terminated */
    rm_buf_clear(&s.channel);
}

/* A child that ignores TERM, and one that cannot hear it, are gone after the grace. */
static void stubborn_and_stopped(void **state)
{
    struct seen a, b;
    uint64_t begun;
    siginfo_t info;

    (void)state;
    start(&a, "trap '' TERM; echo go >&3; while :; do sleep 0.05; done", false);
    start(&b, "echo go >&3; while :; do sleep 0.05; done", false);
    wait_for(&a, "go");
    wait_for(&b, "go");
    kill(child_pid(b.child), SIGSTOP); /* stopped for sure, or TERM could come first */
    assert_int_equal(waitid(P_PID, (id_t)child_pid(b.child), &info, WSTOPPED | WNOWAIT), 0);
    begun = rm_now_ms();
    child_stop(a.child);
    child_stop(b.child);
    wait_for(&a, NULL);
    wait_for(&b, NULL);
    assert_true(a.ended_ms - begun >= CHILD_GRACE_MS - 100);
    assert_true(b.ended_ms - begun >= CHILD_GRACE_MS - 100);
    assert_int_equal(WTERMSIG(a.end.wait_status), SIGKILL);
    assert_int_equal(WTERMSIG(b.end.wait_status), SIGKILL);
    rm_buf_clear(&a.channel);
    rm_buf_clear(&b.channel);
}

/* The parent gets SIGKILL: the kernel ends the child. A fork of this program is that parent. */
static void parent_dies(void **state)
{
    char pid_text[16] = "", c;
    int to[2], child, status;
    size_t n = 0;
    pid_t parent;

    (void)state;
    assert_int_equal(pipe(to), 0);
    parent = fork();
    if (parent == 0) {
        static struct seen s;

        uv_loop_init(&loop);
        if (supervisor_open(&loop, &sup) < 0)
            _exit(1);
        start(&s, "echo go >&3; exec sleep 1000", false);
        wait_for(&s, "go");
        dprintf(to[1], "%d\n", child_pid(s.child));
        for (;;)
            pause();
    }
    while (read(to[0], &c, 1) == 1 && c != '\n' && n < sizeof(pid_text) - 1)
        pid_text[n++] = c;
    child = atoi(pid_text);
    assert_true(child > 0 && kill(child, 0) == 0);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, &status, 0), parent);
    for (int i = 0;; i++) { /* gone, or a zombie that init has not reaped yet */
        char path[40], stat[256] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/stat", child);
        if ((f = fopen(path, "r")) == NULL)
            break;
        if (fgets(stat, sizeof(stat), f) == NULL)
            stat[0] = '\0';
        fclose(f);
        if (stat[0] == '\0' || strstr(stat, ") Z ") != NULL)
            break;
        assert_true(i < 200);
        usleep(10000);
    }
    close(to[0]);
    close(to[1]);
}

static void many_at_once(void **state)
{
    static struct seen s[50];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(s); i++)
        start(&s[i], "exit 5", false);
    for (size_t i = 0; i < RM_COUNT(s); i++) {
        wait_for(&s[i], NULL);
        assert_int_equal(s[i].ends, 1);
        assert_int_equal(WEXITSTATUS(s[i].end.wait_status), 5);
        rm_buf_clear(&s[i].channel);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* Closing with a child alive kills it; no callback comes. */
static void closed_with_a_child(void **state)
{
    struct supervisor *own;
    const char *argv[] = {"/bin/sh", "-c", "exec sleep 1000", NULL};
    struct child_spec spec = {argv, "test", false};
    struct seen s = {.ends = 0};
    int pid;

    (void)state;
    assert_int_equal(supervisor_open(&loop, &own), 0);
    assert_int_equal(child_start(own, &spec, &ops, &s, &s.child), 0);
    pid = child_pid(s.child);
    supervisor_close(own);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(s.ends, 0);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_log_and_channel),  cmocka_unit_test(channel_as_stdout),
        cmocka_unit_test(what_a_child_inherits), cmocka_unit_test(only_the_last_lines_are_kept),
        cmocka_unit_test(no_such_program),       cmocka_unit_test(killed_from_outside),
        cmocka_unit_test(stops_when_told),       cmocka_unit_test(stubborn_and_stopped),
        cmocka_unit_test(parent_dies),           cmocka_unit_test(many_at_once),
        cmocka_unit_test(closed_with_a_child),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
