/* SPDX-License-Identifier: MIT */
/* tests/bench/benchload.c - the load generator of the benches: N requests over C connections, or C
 * streams at once, against one URL. Checks what it reads: every stream's chunks must come in order,
 * whole and once, and end with [DONE]. Prints one JSON object with counts and latencies
 * (microseconds). Exit 1 when anything was lost or torn. Never installed. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/base/clock.h"
#include "proto/http/client.h"
#include "proto/http/sse.h"

struct options {
    struct http_address address;
    const char *path;
    uint64_t requests, concurrency, body_bytes, chunks, interval_us, size;
    int hold; /* print "open" when every stream has had its first chunk */
};

struct load;

struct stream {
    struct load *load;
    struct sse_reader events;
    uint64_t next, id, start_us;
    bool done_seen, first_seen, failed;
    int status;
};

struct load {
    const struct options *o;
    struct http_client *client;
    struct rm_buf body;
    struct rm_slice body_slice;
    uint64_t started, finished, opened, ok, failed, torn, chunks;
    uint32_t *latency, *chunk_latency; /* microseconds */
    uint64_t n_latency, n_chunk_latency, max_latency, max_chunk_latency;
    int first_err, first_status;
};

static void load_start(struct load *l);

/* "STREAM:PLACE:MADE_US:...." inside the content of a chunk. */
static int on_event(void *arg, const struct sse_event *e)
{
    static const char mark[] = "\"content\":\"";
    struct stream *s = arg;
    struct load *l = s->load;
    const char *p;
    char *end;
    uint64_t id, place, made;

    if (!e->has_data)
        return 0;
    if (rm_slice_eq(e->data, "[DONE]")) {
        s->done_seen = true;
        return 0;
    }
    p = memmem(e->data.p, e->data.n, mark, sizeof mark - 1);
    if (p == NULL || e->data.p[e->data.n - 1] != '}')
        return RM_ERR_UPSTREAM_INVALID;
    id = strtoull(p + sizeof mark - 1, &end, 10);
    place = strtoull(end + 1, &end, 10);
    made = strtoull(end + 1, &end, 10);
    if (place != s->next || (place > 0 && id != s->id) || s->done_seen)
        return RM_ERR_UPSTREAM_INVALID;
    s->id = id;
    s->next++;
    l->chunks++;
    if (l->n_chunk_latency < l->max_chunk_latency)
        l->chunk_latency[l->n_chunk_latency++] = (uint32_t)(rm_now_us() - made);
    if (!s->first_seen) {
        s->first_seen = true;
        if (++l->opened == l->o->concurrency && l->o->hold) {
            puts("open");
            fflush(stdout);
        }
    }
    return 0;
}

static void on_head(struct http_call *k, const struct http_head *head)
{
    ((struct stream *)http_call_arg(k))->status = head->status;
}

static void on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct stream *s = http_call_arg(k);

    if (s->load->o->chunks == 0 || s->failed)
        return;
    if (sse_reader_feed(&s->events, bytes, n, on_event, s) != 0) {
        s->failed = true;
        s->load->torn++;
    }
}

static void on_fail(struct http_call *k, int err)
{
    struct stream *s = http_call_arg(k);

    s->failed = true;
    if (s->load->first_err == 0)
        s->load->first_err = err;
}

static void on_done(struct http_call *k)
{
    struct stream *s = http_call_arg(k);
    struct load *l = s->load;
    bool whole = l->o->chunks == 0 || (s->done_seen && s->next == l->o->chunks);

    if (!s->failed && s->status == 200 && whole) {
        l->ok++;
        if (l->n_latency < l->max_latency)
            l->latency[l->n_latency++] = (uint32_t)(rm_now_us() - s->start_us);
    } else {
        l->failed++;
        if (l->first_status == 0 && s->status != 200)
            l->first_status = s->status;
    }
    sse_reader_clear(&s->events);
    free(s);
    l->finished++;
    if (l->started < l->o->requests)
        load_start(l);
    else if (l->finished == l->o->requests)
        http_client_close(l->client);
}

static void load_start(struct load *l)
{
    static const struct http_call_ops ops = {
        .on_head = on_head, .on_body = on_body, .on_fail = on_fail, .on_done = on_done};
    const struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    struct http_call_spec spec = {.method = "POST",
                                  .target = rm_slice_of(l->o->path),
                                  .fields = &type,
                                  .n_fields = 1,
                                  .body = &l->body_slice,
                                  .n_body = 1};
    struct stream *s = calloc(1, sizeof *s);
    struct http_call *k;

    if (s == NULL)
        abort();
    s->load = l;
    s->start_us = rm_now_us();
    sse_reader_init(&s->events, SSE_EVENT_MAX);
    l->started++;
    if (http_call_start(l->client, &spec, &ops, s, &k) < 0)
        abort();
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static uint32_t part(uint32_t *v, uint64_t n, double q)
{
    return n == 0 ? 0 : v[(uint64_t)((double)(n - 1) * q)];
}

static void print_result(struct load *l, uint64_t wall_us)
{
    qsort(l->latency, l->n_latency, sizeof *l->latency, by_size);
    qsort(l->chunk_latency, l->n_chunk_latency, sizeof *l->chunk_latency, by_size);
    printf("{\"requests\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"torn\":%" PRIu64
           ",\"chunks\":%" PRIu64 ",\"wall_us\":%" PRIu64
           ",\"p50_us\":%u,\"p99_us\":%u,\"chunk_p50_us\":%u,\"chunk_p99_us\":%u,\"first_error\":"
           "\"%s\",\"first_status\":%d}\n",
           l->finished, l->ok, l->failed, l->torn, l->chunks, wall_us,
           part(l->latency, l->n_latency, 0.5), part(l->latency, l->n_latency, 0.99),
           part(l->chunk_latency, l->n_chunk_latency, 0.5),
           part(l->chunk_latency, l->n_chunk_latency, 0.99),
           l->first_err != 0 ? rm_err_name(l->first_err) : "", l->first_status);
}

static void make_body(struct load *l)
{
    const struct options *o = l->o;
    int r = rm_buf_printf(
        &l->body,
        "{\"stream\":%s,\"max_tokens\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"top_k\":%" PRIu64
        ",\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\"",
        o->chunks > 0 ? "true" : "false", o->chunks > 0 ? o->chunks : 1, o->interval_us, o->size);

    while (r == 0 && l->body.len < o->body_bytes)
        r = rm_buf_puts(&l->body, "lorem ipsum dolor sit amet ");
    if (r == 0)
        r = rm_buf_puts(&l->body, "\"}]}");
    if (r < 0)
        abort();
    l->body_slice = (struct rm_slice){l->body.data, l->body.len};
}

static int run(const struct options *o)
{
    struct http_client_conf conf = http_client_conf_default;
    uint64_t chunk_room = o->chunks * o->requests;
    struct load l = {.o = o,
                     .max_latency = o->requests,
                     .max_chunk_latency = chunk_room < 4000000 ? chunk_room : 4000000};
    uint64_t start;

    conf.keep_max = (uint32_t)o->concurrency;
    conf.connect_ms = 20000;
    l.latency = malloc((l.max_latency + 1) * sizeof *l.latency);
    l.chunk_latency = malloc((l.max_chunk_latency + 1) * sizeof *l.chunk_latency);
    rm_buf_init(&l.body, 64u << 20);
    if (l.latency == NULL || l.chunk_latency == NULL ||
        http_client_new(uv_default_loop(), &o->address, &conf, &l.client) < 0)
        abort();
    make_body(&l);
    start = rm_now_us();
    for (uint64_t i = 0; i < o->concurrency && i < o->requests; i++)
        load_start(&l);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    print_result(&l, rm_now_us() - start);
    free(l.latency);
    free(l.chunk_latency);
    rm_buf_clear(&l.body);
    return l.failed == 0 && l.torn == 0 ? 0 : 1;
}

static const char help[] =
    "usage: benchload [options] HOST:PORT /PATH\n"
    "  -n N  requests in all           -c N  at the same time\n"
    "  -b N  bytes of the request      -k N  chunks of a stream (0: a whole answer)\n"
    "  -i N  microseconds between two  -s N  bytes of text in a chunk, at most 256\n"
    "  -o    print \"open\" once every stream has had a chunk\n";

int main(int argc, char **argv)
{
    struct options o = {.requests = 1000, .concurrency = 16, .body_bytes = 1000, .size = 4};
    struct rlimit files;
    int c;

    while ((c = getopt(argc, argv, "n:c:b:k:i:s:oh")) != -1) {
        uint64_t v = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

        switch (c) {
        case 'n':
            o.requests = v;
            break;
        case 'c':
            o.concurrency = v;
            break;
        case 'b':
            o.body_bytes = v;
            break;
        case 'k':
            o.chunks = v;
            break;
        case 'i':
            o.interval_us = v;
            break;
        case 's':
            o.size = v;
            break;
        case 'o':
            o.hold = 1;
            break;
        default:
            fputs(help, c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    if (argc - optind != 2 || http_address_parse(argv[optind], &o.address) < 0 ||
        o.concurrency == 0 || o.requests == 0) {
        fputs(help, stderr);
        return 2;
    }
    o.path = argv[optind + 1];
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return run(&o);
}
