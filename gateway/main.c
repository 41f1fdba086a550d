/* SPDX-License-Identifier: MIT */
/* gateway/main.c - arguments of rolemesh-gateway. */
#include <getopt.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>

#include "gateway/gateway.h"
#include "gateway/keys/auth.h"
#include "proto/base/log.h"
#include "proto/base/state_dir.h"

static const char help[] =
    "usage: rolemesh-gateway --role-map FILE [options]\n"
    "\n"
    "Gives every editor one URL per mode (http://HOST:PORT/MODE/v1) and routes each request to a "
    "worker that\n"
    "hosts the mode's model. What it serves and where stands in the role map (see "
    "configs/role-map.yaml).\n"
    "\n"
    "  -m, --role-map FILE    the role map (YAML)\n"
    "  -c, --check            check the role map, print every mistake, and exit\n"
    "      --state-dir DIR    keys and history; default: $XDG_STATE_HOME/rolemesh/gateway or\n"
    "                         ~/.local/state/rolemesh/gateway\n"
    "      --addr-file FILE   write the bound addresses there, one a line\n"
    "      --log-level LEVEL  error, warn, info or debug; default: the role map's\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "Signals: TERM and INT drain and stop (a second one stops at once), HUP reads the role map "
    "and the keys again.\n"
    "Exit codes: 0 stopped cleanly or the map is good, 2 something to mend (map, address, "
    "arguments), 1 other.\n";

/* A gateway with keys may listen where one without may not. */
static bool has_keys(const char *state_dir)
{
    char dir[RM_STATE_DIR_MAX], why[KEYRING_WHY_MAX];
    struct keyring ring;
    bool exist;

    if (state_dir == NULL && rm_state_dir_default("gateway", dir) < 0)
        return false;
    if (keyring_load(state_dir != NULL ? state_dir : dir, &ring, why) < 0) {
        fprintf(stderr, "rolemesh-gateway: %s\n", why);
        return false;
    }
    exist = auth_keys_exist(&ring);
    keyring_clear(&ring);
    return exist;
}

static int check(const char *path, const char *state_dir)
{
    struct conf_report report;
    struct role_map *map = NULL;
    struct rm_buf text;
    int r;

    conf_report_init(&report);
    report.keyed = has_keys(state_dir);
    rm_buf_init(&text, 64 * 1024);
    r = role_map_load(path, &report, &map);
    if (r < 0 && conf_report_text(&report, &text) == 0 && text.len > 0)
        fwrite(text.data, 1, text.len, stderr);
    if (r == 0)
        printf("%s: %zu roles, %zu nodes: good\n", path, map->n_roles, map->n_nodes);
    role_map_unref(map);
    rm_buf_clear(&text);
    conf_report_clear(&report);
    return r < 0 ? 2 : 0;
}

/* By itself glibc gives the heap's end back to the kernel after every large body and takes it again
 * with the next one, page by page: on 200 KB prompts up to 25 faults each. Bodies
 * above KEEP_BODY_BYTES go back at once. */
static void keep_some_memory(void)
{
#ifdef __GLIBC__
    enum { KEEP_BYTES = 8 << 20, KEEP_BODY_BYTES = 1 << 20 };

    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
    mallopt(M_MMAP_THRESHOLD, KEEP_BODY_BYTES);
#endif
}

/* Threads of libuv's pool. What people ask for takes at most eight at one time (charts and lists of
 * the past, plans, a map's file), some of them for seconds: the plans of the cluster itself never
 * wait behind those. */
static void have_enough_threads(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "10", 0); /* read when the first job comes */
}

int main(int argc, char **argv)
{
    enum { OPT_ADDR_FILE = 256, OPT_LOG_LEVEL, OPT_STATE_DIR };
    static const struct option options[] = {{"role-map", required_argument, NULL, 'm'},
                                            {"check", no_argument, NULL, 'c'},
                                            {"state-dir", required_argument, NULL, OPT_STATE_DIR},
                                            {"addr-file", required_argument, NULL, OPT_ADDR_FILE},
                                            {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct gateway_options o = {.log_level = -1};
    int c, only_check = 0;

    while ((c = getopt_long(argc, argv, "m:cVh", options, NULL)) != -1) {
        switch (c) {
        case 'm':
            o.role_map = optarg;
            break;
        case 'c':
            only_check = 1;
            break;
        case OPT_STATE_DIR:
            if (optarg[0] != '/') {
                fprintf(stderr,
                        "rolemesh-gateway: --state-dir %s: expected a path that begins with /\n",
                        optarg);
                return 2;
            }
            o.state_dir = optarg;
            break;
        case OPT_ADDR_FILE:
            o.addr_file = optarg;
            break;
        case OPT_LOG_LEVEL:
            if ((o.log_level = rm_log_level_from(optarg)) < 0) {
                fprintf(stderr,
                        "rolemesh-gateway: --log-level %s: expected error, warn, info or debug\n",
                        optarg);
                return 2;
            }
            break;
        case 'V':
            printf("rolemesh-gateway %s\n", RM_VERSION);
            return 0;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            fputs("rolemesh-gateway: see --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "rolemesh-gateway: unexpected argument '%s'; see --help\n", argv[optind]);
        return 2;
    }
    if (o.role_map == NULL) {
        fputs("rolemesh-gateway: --role-map FILE is missing; configs/role-map.yaml is one to copy "
              "from\n",
              stderr);
        return 2;
    }
    keep_some_memory();
    have_enough_threads();
    return only_check ? check(o.role_map, o.state_dir) : gateway_run(&o);
}
