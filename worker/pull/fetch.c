/* SPDX-License-Identifier: MIT */
#include "worker/pull/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "worker/pull/fetch_file.h"
#include "worker/pull/pieces.h"

enum {
    POLL_MS = 200,
    CONNECT_S = 15,
    REDIRECTS = 5,
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 30000,
    VERSION_MAX = 128,
    DIGEST_WAIT_S = 2 * 3600 /* for the sum that another node makes */
};

/* What a server says of its file. */
struct version {
    uint64_t total;         /* 0: not said */
    bool ranges;            /* it answers with what was asked for */
    char etag[VERSION_MAX]; /* ETag, else Last-Modified; "": neither */
};

struct answer_head {
    struct version v;
    uint64_t from; /* Content-Range */
    long retry_after_s;
    char sha256[65]; /* Repr-Digest */
};

struct conn {
    struct fetch *f;
    CURL *easy;
    struct pieces_range range;
    uint64_t at;        /* next byte's place in the file */
    bool busy, checked; /* checked: the answer is what we asked for */
    struct answer_head head;
    char error[CURL_ERROR_SIZE];
};

struct fetch {
    const struct fetch_conf *conf;
    const struct source_file *file;
    char *why;
    CURLM *multi;
    struct conn conns[FETCH_CONNECTIONS_MAX];
    unsigned n_conns, running;
    struct version version;
    struct fetch_paths paths;
    struct pieces *pieces;
    int fd;
    uint64_t fetched, rate_from_ms, rate_from_bytes;
    double rate;
    unsigned failures; /* in a row, without a byte between them */
    uint64_t pause_until_ms;
    bool changed, wrong, disk_failed;
    char sha256[65]; /* what it has, once that is checked */
};

static enum fetch_end end_with(struct fetch *f, enum fetch_end how, const char *fmt, ...)
    RM_PRINTF(3, 4);

static enum fetch_end end_with(struct fetch *f, enum fetch_end how, const char *fmt, ...)
{
    char text[SOURCE_WHY_MAX - 256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(f->why, SOURCE_WHY_MAX, "%.200s: %s", f->file->name, text);
    return how;
}

/* ---- answers ---- */

static bool field_is(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
    size_t m = strlen(name);

    if (n <= m || strncasecmp(line, name, m) != 0 || line[m] != ':')
        return false;
    for (m++; m < n && (line[m] == ' ' || line[m] == '\t'); m++)
        ;
    while (n > m && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    *value = line + m;
    *len = n - m;
    return true;
}

static void keep(char out[VERSION_MAX], const char *value, size_t n)
{
    snprintf(out, VERSION_MAX, "%.*s", (int)(n < VERSION_MAX ? n : VERSION_MAX - 1), value);
}

/* Repr-Digest (RFC 9530): among its members "sha-256=:BASE64:". */
static void keep_digest(char out[65], const char *value)
{
    const char *at = strstr(value, "sha-256=:"), *end = at != NULL ? strchr(at + 9, ':') : NULL;
    unsigned char sum[crypto_hash_sha256_BYTES];
    size_t n = 0;

    if (end != NULL &&
        sodium_base642bin(sum, sizeof sum, at + 9, (size_t)(end - at - 9), NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) == 0 &&
        n == sizeof sum)
        sodium_bin2hex(out, 65, sum, sizeof sum);
}

static size_t on_field(char *line, size_t size, size_t count, void *arg)
{
    struct answer_head *h = arg;
    const char *value;
    char text[VERSION_MAX];
    size_t n = size * count, len;

    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0)
        *h = (struct answer_head){.from = 0}; /* of the last answer: redirects have their own */
    else if (field_is(line, n, "etag", &value, &len))
        keep(h->v.etag, value, len);
    else if (field_is(line, n, "last-modified", &value, &len) && h->v.etag[0] == '\0')
        keep(h->v.etag, value, len);
    else if (field_is(line, n, "retry-after", &value, &len)) {
        keep(text, value, len);
        h->retry_after_s = strtol(text, NULL, 10);
    } else if (field_is(line, n, "repr-digest", &value, &len)) {
        keep(text, value, len);
        keep_digest(h->sha256, text);
    } else if (field_is(line, n, "content-range", &value, &len)) {
        keep(text, value, len);
        h->v.ranges = sscanf(text, "bytes %" SCNu64 "-%*u/%" SCNu64, &h->from, &h->v.total) == 2;
    }
    return n;
}

/* The bearer goes to the source's own host only (libcurl drops it on a redirect elsewhere). */
static bool token_may_go(const char *url)
{
    return strncmp(url, "https://", 8) == 0 || strncmp(url, "http://127.0.0.1", 16) == 0 ||
           strncmp(url, "http://localhost", 16) == 0 || strncmp(url, "http://[::1]", 12) == 0;
}

static void easy_common(CURL *e, const struct fetch_conf *conf, const char *url, char *error)
{
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)FETCH_STALL_S);
    if (conf->node) {
        curl_easy_setopt(e, CURLOPT_PROXY, "");
        curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    }
    if (conf->node && conf->unix_path != NULL && conf->unix_path[0] != '\0')
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, conf->unix_path);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "rolemesh/" RM_VERSION);
    if (conf->token != NULL && token_may_go(url)) {
        curl_easy_setopt(e, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(e, CURLOPT_XOAUTH2_BEARER, conf->token);
    }
}

/* A status that another try will not change. */
static bool status_is_final(long status)
{
    return status >= 400 && status < 500 && status != 408 && status != 425 && status != 429;
}

static const char *status_advice(long status)
{
    if (status == 401 || status == 403)
        return "; if it is gated, accept its terms there and set HF_TOKEN";
    return status == 404 ? "; is the name right?" : "";
}

/* ---- the probe: one byte ---- */

static size_t drop_body(char *bytes, size_t size, size_t count, void *arg)
{
    (void)bytes;
    (void)arg;
    return size * count > 1 ? 0 : size * count; /* a server without ranges would send it all */
}

static struct curl_slist *want_digest(const struct fetch *f)
{
    return f->conf->node ? curl_slist_append(NULL, "Want-Repr-Digest: sha-256=1") : NULL;
}

static enum fetch_end probe_once(struct fetch *f, bool *again)
{
    char error[CURL_ERROR_SIZE] = "";
    struct answer_head head = {.from = 0};
    struct curl_slist *wants = want_digest(f);
    CURL *e = curl_easy_init();
    curl_off_t length = -1;
    long status = 0;
    CURLcode c;

    *again = false;
    if (e == NULL) {
        curl_slist_free_all(wants);
        return end_with(f, FETCH_FAILED, "out of memory");
    }
    easy_common(e, f->conf, f->file->url, error);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, wants);
    curl_easy_setopt(e, CURLOPT_RANGE, "0-0");
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, &head);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, drop_body);
    c = curl_easy_perform(e);
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(e, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_cleanup(e);
    curl_slist_free_all(wants);
    f->version = head.v;
    f->version.ranges = status == 206 && head.v.ranges && head.from == 0 && head.v.total > 0;
    if (status == 200 && length > 0)
        f->version.total = (uint64_t)length;
    if ((status == 206 || status == 200) && f->version.total > 0)
        return FETCH_DONE;
    if (status_is_final(status))
        return end_with(f, FETCH_WRONG, "the server says %ld%s", status, status_advice(status));
    if (status == 200 || status == 206)
        return end_with(f, FETCH_WRONG, "the server does not tell the file's size");
    *again = true;
    return status > 0
               ? end_with(f, FETCH_FAILED, "the server says %ld", status)
               : end_with(f, FETCH_FAILED, "%s", error[0] != '\0' ? error : curl_easy_strerror(c));
}

static uint64_t pause_ms(unsigned failures, long retry_after_s)
{
    uint64_t ms = BACKOFF_MIN_MS;

    for (unsigned i = 1; i < failures && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    if (retry_after_s > 0 && ms < (uint64_t)retry_after_s * 1000)
        ms = (uint64_t)retry_after_s * 1000;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static bool stopped(const struct fetch *f)
{
    return f->conf->stop != NULL && *f->conf->stop != 0;
}

static void wait_ms(const struct fetch *f, uint64_t ms)
{
    for (uint64_t until = rm_now_ms() + ms; !stopped(f) && rm_now_ms() < until;)
        usleep(50 * 1000);
}

static enum fetch_end probe(struct fetch *f)
{
    enum fetch_end how;
    bool again;

    for (unsigned i = 1;; i++) {
        how = probe_once(f, &again);
        if (stopped(f))
            return FETCH_STOPPED;
        if (how == FETCH_DONE || !again || i == FETCH_TRIES)
            break;
        wait_ms(f, pause_ms(i, 0));
    }
    if (how == FETCH_DONE && f->file->bytes > 0 && f->file->bytes != f->version.total)
        return end_with(f, FETCH_WRONG, "the list says %" PRIu64 " bytes, the server %" PRIu64,
                        f->file->bytes, f->version.total);
    return how;
}

/* ---- ranges ---- */

/* Is the answer the part that was asked for, of the file that was probed? */
static bool answer_fits(struct conn *c)
{
    struct fetch *f = c->f;
    long status = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206)
        return false; /* an error's body */
    if (!f->version.ranges && status == 200)
        return true;
    if (status == 206 && c->head.from == c->at && c->head.v.total == f->version.total &&
        strcmp(c->head.v.etag, f->version.etag) == 0)
        return true;
    f->changed = true;
    return false;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
    struct conn *c = arg;
    struct fetch *f = c->f;
    size_t n = size * count, left = n;

    if (!c->checked && !answer_fits(c))
        return CURL_WRITEFUNC_ERROR;
    c->checked = true;
    f->fetched += n;
    f->failures = 0;
    while (left > 0) {
        uint64_t piece = c->at / FETCH_PIECE_BYTES, end = (piece + 1) * FETCH_PIECE_BYTES;
        size_t part = end - c->at < left ? (size_t)(end - c->at) : left;
        ssize_t r;

        if (c->at >= f->version.total)
            return CURL_WRITEFUNC_ERROR; /* more than it has */
        r = pwrite(f->fd, bytes, part, (off_t)c->at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            end_with(f, FETCH_NO_ROOM, "cannot be written: %s", strerror(r < 0 ? errno : ENOSPC));
            f->disk_failed = true;
            return CURL_WRITEFUNC_ERROR;
        }
        pieces_add(f->pieces, (uint32_t)piece, (uint64_t)r);
        bytes += r;
        left -= (size_t)r;
        c->at += (uint64_t)r;
    }
    return n;
}

/* Gives a connection its next range. False: there is none. */
static bool conn_start(struct conn *c)
{
    struct fetch *f = c->f;
    char range[64];

    if (!pieces_claim(f->pieces, &c->range))
        return false;
    c->at = c->range.at;
    c->checked = false;
    c->head = (struct answer_head){.from = 0};
    c->error[0] = '\0';
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, c->at, c->at + c->range.n - 1);
    easy_common(c->easy, f->conf, f->file->url, c->error);
    curl_easy_setopt(c->easy, CURLOPT_RANGE, f->version.ranges ? range : NULL);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, &c->head);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    curl_easy_setopt(c->easy, CURLOPT_MAX_RECV_SPEED_LARGE,
                     (curl_off_t)((f->conf->rate_max + f->n_conns - 1) / f->n_conns));
    if (curl_multi_add_handle(f->multi, c->easy) != CURLM_OK) {
        pieces_release(f->pieces, c->range.piece);
        return false;
    }
    c->busy = true;
    f->running++;
    return true;
}

static void conn_ended(struct conn *c, CURLcode code)
{
    struct fetch *f = c->f;
    bool whole = code == CURLE_OK && c->checked && c->at == c->range.at + c->range.n;
    long status = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(f->multi, c->easy);
    pieces_release(f->pieces, c->range.piece);
    c->busy = false;
    f->running--;
    if (whole || (!f->version.ranges && pieces_whole(f->pieces)) || f->disk_failed || f->changed)
        return;
    if (status_is_final(status)) {
        f->wrong = true;
        end_with(f, FETCH_WRONG, "the server says %ld%s", status, status_advice(status));
        return;
    }
    f->failures++;
    f->pause_until_ms = rm_now_ms() + pause_ms(f->failures, c->head.retry_after_s);
    if (status >= 400)
        end_with(f, FETCH_FAILED, "the server says %ld", status);
    else
        end_with(f, FETCH_FAILED, "%s", c->error[0] != '\0' ? c->error : curl_easy_strerror(code));
    if (!f->version.ranges)
        pieces_forget(f->pieces); /* from the start */
}

static void tell(struct fetch *f, enum fetch_phase phase, uint64_t there)
{
    uint64_t now = rm_now_ms(), ms = now - f->rate_from_ms;

    if (ms >= 1000) {
        f->rate = (double)(f->fetched - f->rate_from_bytes) * 1000 / (double)ms;
        f->rate_from_ms = now;
        f->rate_from_bytes = f->fetched;
    }
    if (f->conf->on_progress != NULL)
        f->conf->on_progress(f->conf->arg, &(struct fetch_progress){.name = f->file->name,
                                                                    .phase = phase,
                                                                    .there = there,
                                                                    .total = f->version.total,
                                                                    .fetched = f->fetched,
                                                                    .rate = f->rate});
}

static bool must_end(const struct fetch *f)
{
    return stopped(f) || f->changed || f->wrong || f->disk_failed || f->failures >= FETCH_TRIES;
}

static enum fetch_end read_all(struct fetch *f)
{
    CURLMsg *m;
    int left;

    while (!pieces_whole(f->pieces) && !must_end(f)) {
        if (rm_now_ms() >= f->pause_until_ms)
            for (unsigned i = 0; i < f->n_conns; i++)
                if (!f->conns[i].busy && !conn_start(&f->conns[i]))
                    break;
        curl_multi_perform(f->multi, &left);
        while ((m = curl_multi_info_read(f->multi, &left)) != NULL)
            if (m->msg == CURLMSG_DONE) {
                CURLcode code = m->data.result;
                char *c = NULL;

                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
                conn_ended((struct conn *)(void *)c, code);
            }
        tell(f, FETCH_READING, pieces_there(f->pieces));
        if (!pieces_whole(f->pieces))
            curl_multi_poll(f->multi, NULL, 0, POLL_MS, NULL);
    }
    for (unsigned i = 0; i < f->n_conns; i++)
        if (f->conns[i].busy) {
            curl_multi_remove_handle(f->multi, f->conns[i].easy);
            pieces_release(f->pieces, f->conns[i].range.piece);
            f->conns[i].busy = false;
            f->running--;
        }
    if (pieces_whole(f->pieces) && !f->changed)
        return FETCH_DONE;
    if (f->disk_failed)
        return FETCH_NO_ROOM;
    return f->wrong ? FETCH_WRONG : stopped(f) ? FETCH_STOPPED : FETCH_FAILED;
}

/* ---- one file ---- */

static void version_tag(const struct fetch *f, unsigned char tag[PIECES_TAG])
{
    crypto_generichash_state s;
    size_t url = strcspn(f->file->url, "?#"); /* a signature in the query is not the file's name */

    crypto_generichash_init(&s, NULL, 0, PIECES_TAG);
    crypto_generichash_update(&s, (const unsigned char *)f->file->url, url + 1);
    crypto_generichash_update(&s, (const unsigned char *)&f->version.total,
                              sizeof f->version.total);
    crypto_generichash_update(&s, (const unsigned char *)f->version.etag,
                              strlen(f->version.etag) + 1);
    crypto_generichash_update(&s, (const unsigned char *)f->file->sha256,
                              strlen(f->file->sha256) + 1);
    crypto_generichash_final(&s, tag, PIECES_TAG);
}

static enum fetch_end open_part(struct fetch *f)
{
    unsigned char tag[PIECES_TAG];
    bool fresh = false;
    enum fetch_end how;
    int r;

    version_tag(f, tag);
    r = pieces_open(f->paths.map, tag, f->version.total, FETCH_PIECE_BYTES, &fresh, &f->pieces);
    if (r == UV_EBUSY)
        return end_with(f, FETCH_FAILED, "another rolemesh-pull is fetching it");
    if (r < 0)
        return end_with(f, r == UV_ENOSPC ? FETCH_NO_ROOM : FETCH_FAILED, "%.300s: %s",
                        f->paths.map, rm_strerror(r));
    if (!f->version.ranges)
        fresh = true; /* it can only be read from the start */
    how = fetch_part_open(&f->paths, f->version.total, f->conf->keep_free_bytes, &fresh, &f->fd,
                          f->why + snprintf(f->why, SOURCE_WHY_MAX, "%.200s: ", f->file->name));
    if (how == FETCH_DONE && fresh)
        pieces_forget(f->pieces);
    return how;
}

static void on_checked(void *arg, uint64_t there)
{
    tell(arg, FETCH_CHECKING, there);
}

/* One question to the node for the file's SHA-256. *later_s: 0, or when to ask again. */
static enum fetch_end ask_digest(struct fetch *f, char sum[65], long *later_s)
{
    char error[CURL_ERROR_SIZE] = "";
    struct answer_head head = {.from = 0};
    struct curl_slist *wants = want_digest(f);
    CURL *e = curl_easy_init();
    long status = 0;

    *later_s = 0;
    if (e != NULL) {
        easy_common(e, f->conf, f->file->url, error);
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, wants);
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_field);
        curl_easy_setopt(e, CURLOPT_HEADERDATA, &head);
        (void)curl_easy_perform(e); /* no status: it did not work */
        curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_easy_cleanup(e);
    curl_slist_free_all(wants);
    if (status == 200 && strcmp(head.v.etag, f->version.etag) != 0) {
        f->changed = true;
        return FETCH_FAILED;
    }
    *later_s = head.retry_after_s > 0 ? head.retry_after_s : status == 200 ? 0 : 1;
    memcpy(sum, head.sha256, 65);
    return status == 200 ? FETCH_DONE
                         : end_with(f, FETCH_FAILED, "the node does not say the file's SHA-256%s%s",
                                    error[0] != '\0' ? ": " : "", error);
}

/* Until it is known. A node that does not answer is asked FETCH_TRIES times. */
static enum fetch_end wait_digest(struct fetch *f, char sum[65])
{
    uint64_t until = rm_now_ms() + DIGEST_WAIT_S * 1000ULL;
    enum fetch_end how = FETCH_FAILED;
    unsigned failures = 0;
    long later_s = 1;

    sum[0] = '\0';
    while (!stopped(f) && !f->changed && sum[0] == '\0' && later_s > 0 && failures < FETCH_TRIES &&
           rm_now_ms() < until) {
        how = ask_digest(f, sum, &later_s);
        failures = how == FETCH_DONE ? 0 : failures + 1;
        if (how == FETCH_DONE && sum[0] == '\0' && later_s > 0)
            wait_ms(f, 1000);
        else if (how != FETCH_DONE && !f->changed)
            wait_ms(f, pause_ms(failures, 0));
    }
    if (sum[0] != '\0')
        return FETCH_DONE;
    if (stopped(f))
        return FETCH_STOPPED;
    return how != FETCH_DONE ? how : end_with(f, FETCH_FAILED, "the node does not say its SHA-256");
}

static enum fetch_end check_and_name(struct fetch *f)
{
    char sum[65] = "", wanted[65];
    enum fetch_end how;
    int r = 0;

    memcpy(wanted, f->file->sha256, sizeof wanted);
    if (wanted[0] != '\0' || f->conf->node)
        r = fetch_part_sha256(f->fd, f->conf->stop, on_checked, f, sum);
    if (r == 0 && f->conf->node && wanted[0] == '\0' &&
        (how = wait_digest(f, wanted)) != FETCH_DONE)
        return how;
    if (r == 0 && wanted[0] != '\0' && strcmp(sum, wanted) != 0) {
        fetch_part_remove(&f->paths);
        return end_with(f, FETCH_WRONG,
                        "the checksum is wrong: SHA-256 %.16s..., expected %.16s...; what was "
                        "fetched is removed",
                        sum, wanted);
    }
    memcpy(f->sha256, sum, sizeof sum);
    if (r == UV_ECANCELED)
        return FETCH_STOPPED;
    if (r < 0 || (r = fetch_part_name(&f->paths, f->fd)) < 0)
        return end_with(f, FETCH_FAILED, "%s", rm_strerror(r));
    return FETCH_DONE;
}

static void fetch_clear(struct fetch *f)
{
    for (unsigned i = 0; i < f->n_conns; i++)
        curl_easy_cleanup(f->conns[i].easy);
    if (f->multi != NULL)
        curl_multi_cleanup(f->multi);
    if (f->fd >= 0)
        close(f->fd);
    pieces_close(f->pieces);
}

static bool fetch_init(struct fetch *f)
{
    f->multi = curl_multi_init();
    f->n_conns = f->version.ranges ? f->conf->connections : 1;
    f->rate_from_ms = rm_now_ms();
    for (unsigned i = 0; i < f->n_conns; i++) {
        f->conns[i].f = f;
        if ((f->conns[i].easy = curl_easy_init()) == NULL)
            return false;
    }
    return f->multi != NULL;
}

static enum fetch_end fetch_once(const struct fetch_conf *conf, const struct source_file *file,
                                 char *why, struct fetch_result *result, bool *changed)
{
    struct fetch f = {.conf = conf, .file = file, .why = why, .fd = -1};
    enum fetch_end how;

    why[0] = '\0';
    how = fetch_paths_make(conf->dir, file->name, &f.paths, why);
    if (how == FETCH_DONE)
        how = probe(&f);
    if (how == FETCH_DONE)
        how = fetch_is_there(&f.paths, f.version.total, why);
    if (how == FETCH_DONE)
        how = fetch_init(&f) ? open_part(&f) : end_with(&f, FETCH_FAILED, "out of memory");
    if (how == FETCH_DONE)
        how = read_all(&f);
    if (how == FETCH_DONE)
        how = check_and_name(&f);
    if (how == FETCH_STOPPED)
        end_with(&f, how, "stopped; the same command goes on where it was");
    *changed = f.changed;
    result->fetched += f.fetched;
    memcpy(result->sha256, f.sha256, sizeof f.sha256);
    fetch_clear(&f);
    return how;
}

enum fetch_end fetch_file(const struct fetch_conf *conf, const struct source_file *file, char *why,
                          struct fetch_result *result)
{
    enum fetch_end how;
    bool changed = false;

    *result = (struct fetch_result){.fetched = 0};

    for (int i = 0; i < FETCH_CHANGES; i++) {
        how = fetch_once(conf, file, why, result, &changed);
        if (!changed)
            break;
        how = FETCH_FAILED;
        snprintf(why, SOURCE_WHY_MAX, "%.200s: it changes at its source while it is read",
                 file->name);
    }
    return how;
}

/* ---- documents ---- */

static size_t on_text(char *bytes, size_t size, size_t count, void *arg)
{
    return rm_buf_put(arg, bytes, size * count) == 0 ? size * count : CURL_WRITEFUNC_ERROR;
}

int fetch_text(const struct fetch_conf *conf, const char *url, struct rm_buf *out, char *why)
{
    char error[CURL_ERROR_SIZE] = "", shown[501];
    CURL *e = curl_easy_init();
    long status = 0;
    CURLcode c;

    node_source_shown(url, shown, sizeof shown);
    if (e == NULL)
        return UV_ENOMEM;
    easy_common(e, conf, url, error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, out);
    c = curl_easy_perform(e);
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(e);
    if (c == CURLE_OK && status == 200)
        return 0;
    if (status >= 300)
        snprintf(why, SOURCE_WHY_MAX, "%s: the server says %ld%s", shown, status,
                 status_advice(status));
    else
        snprintf(why, SOURCE_WHY_MAX, "%s: %s", shown,
                 error[0] != '\0' ? error : curl_easy_strerror(c));
    return RM_ERR_UPSTREAM;
}
