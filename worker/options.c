/* SPDX-License-Identifier: MIT */
#include "worker/options.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/conf/worker_conf.h"

enum { DRAIN_DEFAULT_MS = 30000 };
#define KV_SAVE_DEFAULT ((uint64_t)16 << 30) /* as worker_conf.c */

const char *options_help(void)
{
    return "usage: rolemesh-worker --node NAME --listen HOST:PORT --models-dir DIR [options]\n"
           "       rolemesh-worker --config FILE [options]\n"
           "\n"
           "The steward of one machine: hosts models, one engine process each, as gateways ask.\n"
           "\n"
           "  --node NAME         this machine's name in the role map\n"
           "  --listen HOST:PORT  where gateways connect, or unix:PATH; may be repeated; port 0: "
           "any\n"
           "  --models-dir DIR    model files are taken from here only\n"
           "  --state-dir DIR     sockets, lock and worker.addr (default: under\n"
           "                      $XDG_STATE_HOME/rolemesh or ~/.local/state/rolemesh)\n"
           "  --core PATH         the inference core (default: rolemesh-core beside this program)\n"
           "  --reserve SIZE      memory that hosts leave free, e.g. 12GiB (default: the larger "
           "of\n"
           "                      8 % and 6 GiB)\n"
           "  --kv-save SIZE      what evicted hosts had read is kept in the state directory for "
           "a\n"
           "                      day, up to so many bytes; 0: not at all (default: 16GiB)\n"
           "  --listen-without-keys\n"
           "                      listen on other addresses than loopback although nobody is\n"
           "                      asked for a key\n"
           "  --log-level LEVEL   error, warn, info or debug\n"
           "  --config FILE       the same as YAML; flags win over it\n"
           "  --help, --version\n";
}

int options_size(const char *text, uint64_t *out)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    uint64_t v = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return RM_ERR_CONF;
    if (p == text)
        return RM_ERR_CONF;
    for (unsigned i = 0; i < RM_COUNT(units); i++)
        if (strcmp(p, units[i]) == 0) {
            if (i > 0 && v > UINT64_MAX >> (10 * i))
                return RM_ERR_CONF;
            *out = v << (10 * i);
            return 0;
        }
    return RM_ERR_CONF;
}

static int wrong(char *why, const char *what, const char *value)
{
    snprintf(why, OPTIONS_WHY_MAX, "%s%s%.300s", what, value[0] != '\0' ? ": " : "", value);
    return RM_ERR_CONF;
}

static int put_text(char *into, size_t size, const char *value, const char *flag, char *why)
{
    if (value[0] == '\0' || strlen(value) >= size)
        return wrong(why, "empty or too long", flag);
    memcpy(into, value, strlen(value) + 1);
    return 0;
}

/* A path made absolute; what is there need not exist. */
static int put_path(char into[1024], const char *value, const char *flag, char *why)
{
    char here[PATH_MAX];

    if (value[0] == '/')
        return put_text(into, 1024, value, flag, why);
    if (value[0] == '\0' || getcwd(here, sizeof(here)) == NULL ||
        snprintf(into, 1024, "%s/%s", here, value) >= 1024)
        return wrong(why, "empty or too long", flag);
    return 0;
}

/* The node's name goes into paths and logs. */
static int put_node(struct worker_options *o, const char *value, char *why)
{
    size_t ok = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (value[0] == '.' || value[ok] != '\0')
        return wrong(why, "--node: letters, digits, '.', '_' and '-' only", value);
    return put_text(o->node, sizeof(o->node), value, "--node", why);
}

static int put_listen(struct worker_options *o, const char *value, char *why)
{
    if (o->n_listen == OPTIONS_LISTEN_MAX)
        return wrong(why, "--listen: too many", value);
    if (http_address_parse(value, &o->listen[o->n_listen]) < 0)
        return wrong(why, "--listen: expected HOST:PORT or unix:PATH", value);
    o->n_listen++;
    return 0;
}

/* ---- the file ---- */

static int take_conf(const struct worker_conf *c, struct worker_options *o, char *why)
{
    char text[300];
    int r = 0;

    if (c->node != NULL)
        r = put_node(o, c->node, why);
    for (size_t i = 0; r == 0 && i < c->listen.n; i++) {
        const struct conf_addr *a = &c->listen.item[i];

        snprintf(text, sizeof(text), strchr(a->host, ':') != NULL ? "[%s]:%u" : "%s:%u", a->host,
                 (unsigned)a->port);
        r = put_listen(o, text, why);
    }
    if (r == 0 && c->models_dir != NULL)
        r = put_path(o->models_dir, c->models_dir, "models_dir", why);
    if (r == 0 && c->state_dir != NULL)
        r = put_path(o->state_dir, c->state_dir, "state_dir", why);
    if (r == 0 && c->core != NULL)
        r = put_path(o->core, c->core, "core", why);
    if (r == 0 && c->models_dir == NULL)
        r = put_path(o->models_dir, "/", "models_dir", why);
    o->listen_without_keys = c->listen_without_keys;
    o->reserve_bytes = c->reserve_bytes;
    o->kv_save_bytes = c->kv_save_bytes;
    o->drain_deadline_ms = c->drain_deadline_ms;
    o->log_level = c->log_level;
    return r;
}

static int read_conf(const char *path, struct worker_options *o, char *why)
{
    struct conf_report report;
    struct worker_conf *conf;
    struct rm_buf text;
    int r;

    conf_report_init(&report);
    rm_buf_init(&text, OPTIONS_WHY_MAX - 1);
    if ((r = worker_conf_load(path, &report, &conf)) == 0) {
        r = take_conf(conf, o, why);
    } else {
        /* As many of the mistakes as fit; there is always one line. */
        if (conf_report_text(&report, &text) < 0 || text.len == 0)
            wrong(why, rm_strerror(r), path);
        else
            snprintf(why, OPTIONS_WHY_MAX, "%.*s", (int)(text.len - 1), text.data);
        r = RM_ERR_CONF;
    }
    worker_conf_free(conf);
    rm_buf_clear(&text);
    conf_report_clear(&report);
    return r;
}

/* ---- the command line ---- */

static int take_flag(struct worker_options *o, const char *flag, const char *value, char *why)
{
    if (strcmp(flag, "--node") == 0)
        return put_node(o, value, why);
    if (strcmp(flag, "--listen") == 0)
        return put_listen(o, value, why);
    if (strcmp(flag, "--models-dir") == 0)
        return put_path(o->models_dir, value, flag, why);
    if (strcmp(flag, "--state-dir") == 0)
        return put_path(o->state_dir, value, flag, why);
    if (strcmp(flag, "--core") == 0)
        return put_path(o->core, value, flag, why);
    if (strcmp(flag, "--reserve") == 0)
        return options_size(value, &o->reserve_bytes) < 0
                   ? wrong(why, "--reserve: expected a size such as 12GiB", value)
                   : 0;
    if (strcmp(flag, "--kv-save") == 0)
        return options_size(value, &o->kv_save_bytes) < 0
                   ? wrong(why, "--kv-save: expected a size such as 16GiB, or 0", value)
                   : 0;
    if (strcmp(flag, "--log-level") == 0) {
        o->log_level = rm_log_level_from(value);
        return o->log_level < 0 ? wrong(why, "--log-level: error, warn, info or debug", value) : 0;
    }
    return strcmp(flag, "--config") == 0 ? 0 : wrong(why, "unknown argument", flag);
}

static bool is_alone(const char *flag)
{
    return strcmp(flag, "--listen-without-keys") == 0 || strcmp(flag, "--help") == 0 ||
           strcmp(flag, "--version") == 0;
}

/* The file first, wherever it stands, so that flags win. */
static int parse_config(int argc, char **argv, struct worker_options *o, bool *found, char *why)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "--version") == 0) {
            o->mode = argv[i][2] == 'h' ? OPTIONS_HELP : OPTIONS_VERSION;
            return 0;
        }
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            *found = true;
            return read_conf(argv[i + 1], o, why);
        }
    }
    return 0;
}

static int check(const struct worker_options *o, char *why)
{
    char text[HTTP_ADDRESS_TEXT];

    if (o->node[0] == '\0')
        return wrong(why, "--node is missing", "");
    if (o->n_listen == 0)
        return wrong(why, "--listen is missing", "");
    if (o->models_dir[0] == '\0')
        return wrong(why, "--models-dir is missing", "");
    for (size_t i = 0; i < o->n_listen; i++)
        if (!o->listen_without_keys && !http_address_is_loopback(&o->listen[i])) {
            http_address_text(&o->listen[i], text);
            return wrong(why,
                         "refused to listen without keys on an address that others can reach "
                         "(--listen-without-keys allows it)",
                         text);
        }
    return 0;
}

int options_parse(int argc, char **argv, struct worker_options *out, char *why)
{
    bool from_file = false, listen_flag = false;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    out->log_level = RM_LOG_INFO;
    out->drain_deadline_ms = DRAIN_DEFAULT_MS;
    out->kv_save_bytes = KV_SAVE_DEFAULT;
    if ((r = parse_config(argc, argv, out, &from_file, why)) < 0 || out->mode != OPTIONS_SERVE)
        return r;
    for (int i = 1; r == 0 && i < argc; i++) {
        if (strcmp(argv[i], "--listen-without-keys") == 0) {
            out->listen_without_keys = true;
            continue;
        }
        if (i + 1 >= argc && !is_alone(argv[i]))
            return wrong(why,
                         strncmp(argv[i], "--", 2) == 0 ? "a value is missing after"
                                                        : "unknown argument",
                         argv[i]);
        if (strcmp(argv[i], "--listen") == 0 && !listen_flag) {
            listen_flag = true;
            out->n_listen = 0; /* the file's do not count then */
        }
        r = take_flag(out, argv[i], argv[i + 1], why);
        i++;
    }
    if (r == 0 && out->node[0] == '\0' && from_file) {
        char host[NODE_NAME_MAX] = "";

        if (gethostname(host, sizeof(host) - 1) == 0)
            r = put_node(out, host, why);
    }
    return r == 0 ? check(out, why) : r;
}
