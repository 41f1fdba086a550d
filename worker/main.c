/* SPDX-License-Identifier: MIT */
/* rolemesh-worker: arguments, the loop, the exit code. 0: stopped as told; 2: could not start. */
#include <signal.h>
#include <stdio.h>

#include "proto/base/log_ring.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
    static struct worker worker;
    static struct worker_options opt;
    char why[OPTIONS_WHY_MAX];
    uv_loop_t *loop = uv_default_loop();
    int r;

    if (options_parse(argc, argv, &opt, why) < 0) {
        fprintf(stderr, "rolemesh-worker: %s\n", why);
        return 2;
    }
    if (opt.mode == OPTIONS_HELP) {
        fputs(options_help(), stdout);
        return 0;
    }
    if (opt.mode == OPTIONS_VERSION) {
        printf("rolemesh-worker %s\n", RM_VERSION);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    rm_log_set_level((enum rm_log_level)opt.log_level);
    if ((r = rm_log_ring_open()) < 0)
        rm_warn("worker", "log lines are not kept", RM_E("why", r));
    if ((r = worker_start(&worker, loop, &opt, why)) < 0)
        fprintf(stderr, "rolemesh-worker: %s\n", why);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    if (r == 0)
        rm_info("worker", "stopped");
    return r == 0 ? 0 : 2;
}
