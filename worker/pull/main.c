/* SPDX-License-Identifier: MIT */
/* worker/pull/main.c - rolemesh-pull: fetches a model into a directory and ends. A process of its
 * own, so that neither the disk nor TLS ever holds up a worker's loop: the worker starts it for its
 * node, `rolemesh pull` for this machine. Progress goes to stdout: a line that is rewritten on a
 * terminal, else one JSON object a line with --json. */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/json_write.h"
#include "worker/models/models.h"
#include "worker/models/sums.h"
#include "worker/pull/fetch.h"
#include "worker/pull/fetch_file.h"

static const char help[] =
    "usage: rolemesh-pull [options] SOURCE\n"
    "\n"
    "Fetches a model file, or all parts of a split one, into the models directory. What was begun "
    "is gone on with.\n"
    "\n"
    "SOURCE is hf:ORG/REPO:QUANT (for example hf:org/some-model-GGUF:Q8_0), the URL of a .gguf "
    "file (of\n"
    "the first part of a split model: all parts), or\n"
    "node:NAME/FILE with --from: a model of another node's worker.\n"
    "\n"
    "  -d, --dir DIR          the models directory; default: this one\n"
    "  -j, --connections N    parallel ranges, 1..16; default 4\n"
    "      --sha256 HEX       what a URL's file must have; a hub says it by itself\n"
    "      --from ADDRESS     of a node: its worker, HOST:PORT or unix:/PATH\n"
    "      --source-file FILE has the SOURCE, which other users then do not see among the "
    "processes\n"
    "      --sum              no fetch: SOURCE is a file of the directory, tell its SHA-256 "
    "(--json: a\n"
    "                         line of the worker's file of sums)\n"
    "      --keep-free BYTES  room that must stay free on the disk; default 1073741824\n"
    "      --rate BYTES       bytes a second at most\n"
    "      --json             progress and end as JSON, one object a line\n"
    "      --dry-run          tell what would be fetched\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "Environment: HF_TOKEN for gated repositories, HF_ENDPOINT for another hub than "
    "https://huggingface.co.\n"
    "Exit codes: 0 it is there; 1 it did not work, the same command goes on; 2 wrong use, or it "
    "cannot work;\n"
    "3 no room on the disk.\n";

enum exit_code { EXIT_THERE = 0, EXIT_AGAIN = 1, EXIT_WRONG = 2, EXIT_ROOM = 3 };
enum { TELL_MS = 250 };

static volatile sig_atomic_t stop;

struct options {
    const char *source, *sha256, *from, *source_file;
    char source_text[SOURCE_URL_MAX]; /* of the file */
    char shown[512];                  /* the source without what may be secret */
    struct fetch_conf fetch;
    bool json, dry_run, sum, terminal;
    uint64_t told_ms;
    /* of all files */
    size_t files, files_done;
    uint64_t bytes_done, bytes;
};

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* ---- telling ---- */

static void json_line(const struct options *o, const char *state, const char *name,
                      const struct fetch_progress *p, const char *sha256, const char *text)
{
    struct rm_buf b;
    struct rm_jw w;

    rm_buf_init(&b, 16 * 1024);
    w = rm_jw_to(&b);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "state", state);
    rm_jw_str(&w, "file", name);
    if (p != NULL) {
        rm_jw_u64(&w, "there", p->there);
        rm_jw_u64(&w, "total", p->total);
        rm_jw_u64(&w, "fetched", p->fetched);
        rm_jw_dbl(&w, "rate", p->rate);
        rm_jw_u64(&w, "files", o->files);
        rm_jw_u64(&w, "files_done", o->files_done);
        rm_jw_u64(&w, "all_there",
                  o->bytes_done + (p->phase == FETCH_READING ? p->there : p->total));
        rm_jw_u64(&w, "all_total", o->files == 1 ? p->total : o->bytes);
    }
    if (sha256 != NULL && sha256[0] != '\0')
        rm_jw_str(&w, "sha256", sha256);
    if (text != NULL)
        rm_jw_str(&w, "text", text);
    rm_jw_end(&w);
    if (rm_jw_done(&w) == 0)
        printf("%s\n", b.data);
    fflush(stdout);
    rm_buf_clear(&b);
}

static void bar(const struct fetch_progress *p)
{
    enum { WIDTH = 24 };
    double part = p->total > 0 ? (double)p->there / (double)p->total : 0;
    int full = (int)(part * WIDTH);
    uint64_t left_s = p->rate > 1 ? (uint64_t)((double)(p->total - p->there) / p->rate) : 0;

    printf("\r%s [%.*s%*s] %5.1f %%  %.1f of %.1f MB",
           p->phase == FETCH_CHECKING ? "checking" : "fetching", full, "########################",
           WIDTH - full, "", part * 100, (double)p->there / 1e6, (double)p->total / 1e6);
    if (p->phase == FETCH_READING && p->rate > 1)
        printf("  %.1f MB/s  %" PRIu64 ":%02" PRIu64 " left", p->rate / 1e6, left_s / 60,
               left_s % 60);
    fputs("\033[K", stdout);
    fflush(stdout);
}

static void on_progress(void *arg, const struct fetch_progress *p)
{
    struct options *o = arg;
    uint64_t now = rm_now_ms();

    if (now - o->told_ms < TELL_MS)
        return;
    o->told_ms = now;
    if (o->json)
        json_line(o, p->phase == FETCH_CHECKING ? "checking" : "fetching", p->name, p, NULL, NULL);
    else if (o->terminal)
        bar(p);
}

static enum exit_code told_end(const struct options *o, const struct source_file *f,
                               enum fetch_end how, const char *why,
                               const struct fetch_result *result)
{
    static const struct {
        const char *state;
        enum exit_code code;
    } ends[] = {
        [FETCH_DONE] = {"done", EXIT_THERE},       [FETCH_THERE_ALREADY] = {"there", EXIT_THERE},
        [FETCH_STOPPED] = {"stopped", EXIT_AGAIN}, [FETCH_FAILED] = {"failed", EXIT_AGAIN},
        [FETCH_WRONG] = {"wrong", EXIT_WRONG},     [FETCH_NO_ROOM] = {"no_room", EXIT_ROOM},
    };
    const struct fetch_progress p = {.name = f->name, .fetched = result->fetched};

    if (o->json) {
        json_line(o, ends[how].state, f->name, &p, result->sha256,
                  how != FETCH_DONE && why[0] != '\0' ? why : NULL);
        return ends[how].code;
    }
    if (o->terminal)
        fputs("\r\033[K", stdout);
    if (how == FETCH_DONE)
        printf("%s: %" PRIu64 " bytes fetched%s\n", f->name, result->fetched,
               result->sha256[0] != '\0' ? ", SHA-256 checked" : "");
    else
        fprintf(ends[how].code == EXIT_THERE ? stdout : stderr, "%s%s\n",
                ends[how].code == EXIT_THERE ? "" : "rolemesh-pull: ", why);
    fflush(stdout);
    return ends[how].code;
}

/* ---- the work ---- */

static int list_hub(const struct options *o, const struct source *s, struct source_list *files,
                    char *why)
{
    struct rm_buf text;
    int r;

    rm_buf_init(&text, SOURCE_LIST_MAX);
    r = fetch_text(&o->fetch, s->list_url, &text, why);
    if (r == 0)
        r = source_take_list(s, (struct rm_slice){text.data, text.len}, files, why);
    rm_buf_clear(&text);
    return r;
}

static enum exit_code complain(const struct options *o, enum exit_code code, const char *why)
{
    if (o->json)
        json_line(o,
                  code == EXIT_AGAIN  ? "failed"
                  : code == EXIT_ROOM ? "no_room"
                                      : "wrong",
                  o->shown, NULL, NULL, why);
    else
        fprintf(stderr, "rolemesh-pull: %s\n", why);
    return code;
}

/* After a file: what the next one's progress counts on. */
static void count_file(struct options *o, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    o->files_done++;
    if (snprintf(path, sizeof path, "%s/%s", o->fetch.dir, name) < (int)sizeof path &&
        stat(path, &st) == 0)
        o->bytes_done += (uint64_t)st.st_size;
}

static enum exit_code pull_files(struct options *o, const struct source_list *files)
{
    char why[SOURCE_WHY_MAX];
    enum exit_code code = EXIT_THERE;

    o->files = files->n;
    o->bytes = files->bytes;
    if (!o->dry_run &&
        fetch_room_check(o->fetch.dir, files, o->fetch.keep_free_bytes, why) != FETCH_DONE)
        return complain(o, EXIT_ROOM, why);
    for (size_t i = 0; code == EXIT_THERE && i < files->n; i++) {
        const struct source_file *f = &files->v[i];
        struct fetch_result result;
        enum fetch_end how;

        if (o->dry_run) {
            printf("%s\t%" PRIu64 "\t%s\n", f->name, f->bytes, f->url);
            continue;
        }
        why[0] = '\0';
        how = fetch_file(&o->fetch, f, why, &result);
        code = told_end(o, f, how, why, &result);
        count_file(o, f->name);
    }
    return code;
}

static enum exit_code pull(struct options *o)
{
    const char *endpoint = getenv("HF_ENDPOINT");
    char why[SOURCE_WHY_MAX] = "";
    struct source_list files;
    enum exit_code code;
    struct source s;
    int r;

    if (endpoint == NULL || endpoint[0] == '\0')
        endpoint = "https://huggingface.co";
    r = source_parse(o->source, endpoint, o->from, &s, &files, why);
    if (r == 0 && s.hub)
        o->fetch.token = getenv("HF_TOKEN");
    o->fetch.node = s.node;
    o->fetch.unix_path = s.unix_path;
    if (r == 0 && (s.hub || s.node))
        r = list_hub(o, &s, &files, why);
    if (r == 0 && o->sha256 != NULL && files.n > 1) {
        snprintf(why, sizeof why, "--sha256: goes with one file, the model has %zu", files.n);
        r = RM_ERR_FIELD;
    }
    if (r == 0 && o->sha256 != NULL && files.n == 1)
        snprintf(files.v[0].sha256, sizeof files.v[0].sha256, "%s", o->sha256);
    if (r < 0)
        code = complain(o, r == RM_ERR_UPSTREAM ? EXIT_AGAIN : EXIT_WRONG,
                        why[0] != '\0' ? why : rm_strerror(r));
    else
        code = pull_files(o, &files);
    source_list_clear(&files);
    o->fetch.unix_path = NULL; /* it lay in s */
    return code;
}

/* What makes it the same file, before and after it was read. */
static int stamp_of(int fd, struct file_stamp *out)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return RM_ERR_MODEL_FILE;
    *out = (struct file_stamp){(uint64_t)st.st_size,
                               (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                               (uint64_t)st.st_ino};
    return 0;
}

static int sum_of(const struct options *o, struct file_stamp *stamp, char hex[65])
{
    struct file_stamp after;
    int dir = models_open_dir(o->fetch.dir), fd = -1, r = dir;

    if (dir >= 0)
        r = fd = models_open_file(dir, o->fetch.dir, o->source);
    if (fd >= 0 && (r = stamp_of(fd, stamp)) == 0 &&
        (r = fetch_part_sha256(fd, &stop, NULL, NULL, hex)) == 0 &&
        (r = stamp_of(fd, &after)) == 0 && memcmp(&after, stamp, sizeof after) != 0)
        r = RM_ERR_MODEL_FILE; /* it changed meanwhile */
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    return r;
}

/* The sum of a file of the directory, for the worker (sums.h); others come first. */
static enum exit_code sum(const struct options *o)
{
    struct file_stamp stamp;
    char hex[65];
    int r;

    (void)!nice(10);
    if (!node_file_ok(o->source))
        return complain(o, EXIT_WRONG, "no name of a .gguf file");
    if ((r = sum_of(o, &stamp, hex)) < 0)
        return complain(o, EXIT_AGAIN, rm_strerror(r));
    if (o->json)
        printf("%s %" PRIu64 " %" PRId64 " %" PRIu64 " %s\n", hex, stamp.bytes, stamp.mtime_ns,
               stamp.inode, o->source);
    else
        printf("%s  %s\n", hex, o->source);
    return EXIT_THERE;
}

/* ---- arguments ---- */

static bool number(const char *text, uint64_t most, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *out <= most;
}

static int misuse(const char *what)
{
    fprintf(stderr, "rolemesh-pull: %s; see --help\n", what);
    return EXIT_WRONG;
}

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* One line. Returns -1 to go on, else the exit code. */
static int read_source(struct options *o)
{
    struct rm_buf text;
    int r;

    rm_buf_init(&text, sizeof o->source_text - 1);
    r = rm_file_read(o->source_file, &text);
    if (r == 0)
        rm_text_copy(o->source_text, sizeof o->source_text, text.data != NULL ? text.data : "");
    rm_buf_clear(&text);
    o->source_text[strcspn(o->source_text, "\n")] = '\0';
    o->source = o->source_text;
    return r == 0 ? -1 : misuse("--source-file: cannot be read");
}

/* Returns -1 to go on, else the exit code. */
static int read_options(int argc, char **argv, struct options *o)
{
    enum { OPT_SHA = 256, OPT_KEEP, OPT_RATE, OPT_JSON, OPT_DRY, OPT_FROM, OPT_FILE, OPT_SUM };
    static const struct option table[] = {{"dir", required_argument, NULL, 'd'},
                                          {"connections", required_argument, NULL, 'j'},
                                          {"sha256", required_argument, NULL, OPT_SHA},
                                          {"keep-free", required_argument, NULL, OPT_KEEP},
                                          {"rate", required_argument, NULL, OPT_RATE},
                                          {"json", no_argument, NULL, OPT_JSON},
                                          {"dry-run", no_argument, NULL, OPT_DRY},
                                          {"from", required_argument, NULL, OPT_FROM},
                                          {"source-file", required_argument, NULL, OPT_FILE},
                                          {"sum", no_argument, NULL, OPT_SUM},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    uint64_t n = 0;
    int c;

    while ((c = getopt_long(argc, argv, "d:j:Vh", table, NULL)) != -1) {
        switch (c) {
        case 'd':
            o->fetch.dir = optarg;
            break;
        case 'j':
            if (!number(optarg, FETCH_CONNECTIONS_MAX, &n) || n == 0)
                return misuse("--connections: expected 1 to 16");
            o->fetch.connections = (unsigned)n;
            break;
        case OPT_SHA:
            if (!is_sha256(optarg))
                return misuse("--sha256: expected 64 hex digits in lower case");
            o->sha256 = optarg;
            break;
        case OPT_KEEP:
            if (!number(optarg, UINT64_MAX / 2, &o->fetch.keep_free_bytes))
                return misuse("--keep-free: expected a number of bytes");
            break;
        case OPT_RATE:
            if (!number(optarg, INT64_MAX, &o->fetch.rate_max))
                return misuse("--rate: expected bytes a second");
            break;
        case OPT_JSON:
            o->json = true;
            break;
        case OPT_DRY:
            o->dry_run = true;
            break;
        case OPT_FROM:
            o->from = optarg;
            break;
        case OPT_FILE:
            o->source_file = optarg;
            break;
        case OPT_SUM:
            o->sum = true;
            break;
        case 'V':
            printf("rolemesh-pull %s\n", RM_VERSION);
            return EXIT_THERE;
        case 'h':
            fputs(help, stdout);
            return EXIT_THERE;
        default:
            return misuse("wrong option");
        }
    }
    if (o->source_file != NULL)
        return optind == argc ? read_source(o) : misuse("either SOURCE or --source-file");
    if (optind + 1 != argc)
        return misuse(optind == argc ? "SOURCE is missing" : "one SOURCE at a time");
    o->source = argv[optind];
    return -1;
}

int main(int argc, char **argv)
{
    struct options o = {.fetch = {.dir = ".",
                                  .connections = 4,
                                  .keep_free_bytes = 1024u * 1024 * 1024,
                                  .stop = &stop,
                                  .on_progress = on_progress}};
    struct sigaction act = {.sa_handler = on_signal};
    int code = read_options(argc, argv, &o);

    if (code >= 0)
        return code;
    o.fetch.arg = &o;
    node_source_shown(o.source, o.shown, sizeof o.shown);
    o.terminal = !o.json && isatty(STDOUT_FILENO);
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return EXIT_AGAIN;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    code = o.sum ? (int)sum(&o) : (int)pull(&o);
    curl_global_cleanup();
    return code;
}
