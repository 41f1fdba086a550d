/* SPDX-License-Identifier: MIT */
/* proto/http/parser_differ_test.c - 10,000 mutated requests: the parser must say the same whole,
 * byte by byte and cut at random, and must let through exactly what a second, naive reader lets
 * through. That reader is written here from RFC 9112 on its own: it has all bytes at once, goes
 * line by line and shares no code with the parser. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <cmocka.h>

#include "proto/http/parser_test.h"

enum { DIFFER_RUNS = 10000 };

/* ---- the naive reader ---- */

/* What was let through; the bytes after the first refusal or cut do not matter. */
struct naive {
    const char *p, *end;
    int heads, messages;
    size_t body;      /* bytes of all bodies, those of an unfinished one too */
    uint32_t targets; /* hash of the targets of all heads */
};

enum { MORE = -1, BAD = -2 }; /* the input ends here; it is refused here */

static uint32_t hash(uint32_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

/* Length of the line at p without its CRLF. */
static long line_at(const char *p, const char *end)
{
    for (const char *q = p; q < end; q++)
        if (*q == '\n')
            return q > p && q[-1] == '\r' ? q - 1 - p : BAD;
    return MORE;
}

static bool all_in(const char *p, long n, const char *set)
{
    for (long i = 0; i < n; i++)
        if (p[i] == '\0' || strchr(set, p[i]) == NULL)
            return false;
    return true;
}

#define DIGITS "0123456789"
#define ALPHAS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKENS DIGITS ALPHAS "!#$%&'*+-.^_`|~"

static bool is_token(const char *p, long n)
{
    return n > 0 && all_in(p, n, TOKENS);
}

static bool is_text(const char *p, long n)
{
    for (long i = 0; i < n; i++)
        if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            return false;
    return true;
}

struct fields {
    int n;
    const char *host, *length, *coding;
    long host_n, length_n, coding_n;
    int hosts, lengths, codings, once; /* once: a repeated field that may stand once */
    bool seen_auth, seen_type, seen_expect, seen_origin, seen_key;
};

static bool named(const char *p, long n, const char *name)
{
    return (size_t)n == strlen(name) && strncasecmp(p, name, (size_t)n) == 0;
}

static void see_once(struct fields *f, bool *seen)
{
    f->once += *seen;
    *seen = true;
}

static void see(struct fields *f, const char *name, long n, const char *value, long vn)
{
    if (named(name, n, "host")) {
        f->hosts++;
        f->host = value;
        f->host_n = vn;
    } else if (named(name, n, "content-length")) {
        f->lengths++;
        f->length = value;
        f->length_n = vn;
    } else if (named(name, n, "transfer-encoding")) {
        f->codings++;
        f->coding = value;
        f->coding_n = vn;
    } else if (named(name, n, "authorization")) {
        see_once(f, &f->seen_auth);
    } else if (named(name, n, "content-type")) {
        see_once(f, &f->seen_type);
    } else if (named(name, n, "expect")) {
        see_once(f, &f->seen_expect);
    } else if (named(name, n, "origin")) {
        see_once(f, &f->seen_origin);
    } else if (named(name, n, "x-api-key")) {
        see_once(f, &f->seen_key);
    }
}

/* A block of field lines up to its blank line; returns its bytes. */
static long read_fields(const char *from, const char *end, struct fields *f)
{
    const char *p = from;

    for (;;) {
        long n = line_at(p, end), k, v, e;

        if (n < 0)
            return n;
        if (n == 0)
            return p + 2 - from;
        for (k = 0; k < n && p[k] != ':'; k++)
            ;
        if (k == n || !is_token(p, k) || k > 1024 || ++f->n > 100)
            return BAD;
        for (v = k + 1; v < n && (p[v] == ' ' || p[v] == '\t'); v++)
            ;
        for (e = n; e > v && (p[e - 1] == ' ' || p[e - 1] == '\t'); e--)
            ;
        if (!is_text(p + k + 1, n - k - 1) || e - v > 16384)
            return BAD;
        see(f, p, k, p + v, e - v);
        p += n + 2;
    }
}

static bool host_ok(const char *p, long n)
{
    long colon = n, port = 0;

    if (n > 0 && p[0] == '[') {
        const char *close = memchr(p, ']', (size_t)n);
        long inside = close == NULL ? 0 : close - p - 1;

        if (inside < 2 || inside > 45 || !all_in(p + 1, inside, DIGITS "abcdefABCDEF:."))
            return false;
        colon = inside + 2;
        if (colon < n && p[colon] != ':')
            return false;
    } else {
        for (colon = 0; colon < n && p[colon] != ':'; colon++)
            ;
        if (colon == 0 || colon > 255 || !all_in(p, colon, DIGITS ALPHAS "-._~"))
            return false;
    }
    if (colon == n)
        return true;
    for (long i = colon + 1; i < n; i++)
        port = isdigit((unsigned char)p[i]) ? port * 10 + (p[i] - '0') : 100000;
    return n - colon - 1 >= 1 && n - colon - 1 <= 5 && port <= 65535;
}

static long without_80(const char *p, long n)
{
    return n > 3 && memcmp(p + n - 3, ":80", 3) == 0 ? n - 3 : n;
}

/* The target as a route sees it, or false. */
static bool target_ok(const char **p, long *n, const char *method, long mn, const struct fields *f)
{
    long a, hn = f->host != NULL ? without_80(f->host, f->host_n) : 0, an;

    if (*n > 8192 || *n == 0)
        return false;
    for (long i = 0; i < *n; i++)
        if ((*p)[i] <= 0x20 || (*p)[i] == 0x7f || strchr("#\"<>\\", (*p)[i]) != NULL)
            return false; /* bytes from 0x80 on are negative or refused below */
    for (long i = 0; i < *n; i++)
        if ((unsigned char)(*p)[i] >= 0x80)
            return false;
    if ((*p)[0] == '/')
        return true;
    if (*n == 1 && (*p)[0] == '*')
        return mn == 7 && memcmp(method, "OPTIONS", 7) == 0;
    if (*n < 7 || strncasecmp(*p, "http://", 7) != 0)
        return false;
    for (a = 7; a < *n && (*p)[a] != '/' && (*p)[a] != '?'; a++)
        ;
    an = without_80(*p + 7, a - 7);
    if (an == 0 || an != hn || strncasecmp(*p + 7, f->host, (size_t)an) != 0)
        return false;
    if (a < *n && (*p)[a] == '?')
        return false;
    *p = a == *n ? "/" : *p + a;
    *n = a == *n ? 1 : *n - a;
    return true;
}

/* Any token but CONNECT, whose target has a form of its own. */
static bool method_ok(const char *p, long n)
{
    return is_token(p, n) && (n != 7 || memcmp(p, "CONNECT", 7) != 0);
}

/* One chunk-ext of the grammar, without blanks; returns its bytes or 0. */
static long ext_at(const char *p, long n)
{
    long i = 1;

    while (i < n && is_token(p + i, 1))
        i++;
    if (p[0] != ';' || i == 1)
        return 0;
    if (i == n || p[i] != '=')
        return i;
    i++;
    if (i < n && p[i] == '"') {
        for (i++; i < n && p[i] != '"'; i++)
            i += p[i] == '\\';
        return i < n ? i + 1 : 0;
    }
    if (i == n || !is_token(p + i, 1))
        return 0;
    while (i < n && is_token(p + i, 1))
        i++;
    return i;
}

static int read_chunks(struct naive *r)
{
    struct fields trailers = {0};

    for (;;) {
        long n = line_at(r->p, r->end), i = 0, k;
        unsigned long long size = 0;

        if (n < 0)
            return (int)n;
        for (; i < n && isxdigit((unsigned char)r->p[i]); i++)
            size = size * 16 + (unsigned)(isdigit((unsigned char)r->p[i])
                                              ? r->p[i] - '0'
                                              : tolower((unsigned char)r->p[i]) - 'a' + 10);
        if (i == 0 || i > 16 || !is_text(r->p, n))
            return BAD;
        for (; i < n; i += k)
            if ((k = ext_at(r->p + i, n - i)) == 0)
                return BAD;
        r->p += n + 2;
        if (size == 0)
            break;
        if (size > (unsigned long long)(r->end - r->p)) {
            r->body += size > 64u * 1024 * 1024 ? 0 : (size_t)(r->end - r->p);
            return size > 64u * 1024 * 1024 ? BAD : MORE;
        }
        r->body += (size_t)size;
        r->p += size;
        if (r->end - r->p < 2)
            return MORE;
        if (r->p[0] != '\r' || r->p[1] != '\n')
            return BAD;
        r->p += 2;
    }
    long n = read_fields(r->p, r->end, &trailers);

    if (n < 0)
        return (int)n;
    r->p += n;
    return 0;
}

static int read_sized(struct naive *r, const struct fields *f)
{
    unsigned long long size = 0;

    for (long i = 0; i < f->length_n; i++)
        size = size > 100000000ull ? size : size * 10 + (unsigned)(f->length[i] - '0');
    if (size > 64u * 1024 * 1024)
        return BAD;
    if (size > (unsigned long long)(r->end - r->p)) {
        r->body += (size_t)(r->end - r->p);
        return MORE;
    }
    r->body += (size_t)size;
    r->p += size;
    return 0;
}

static bool length_ok(const struct fields *f)
{
    long i = 0;

    if (f->length_n == 0 || !all_in(f->length, f->length_n, DIGITS))
        return false;
    while (i < f->length_n && f->length[i] == '0')
        i++;
    return f->length_n - i <= 20 &&
           (f->length_n - i < 20 ||
            strncmp(f->length + i, "18446744073709551615", 20) <= 0); /* 2^64 - 1 */
}

/* One message. 0: read whole. */
static int read_message(struct naive *r)
{
    struct fields f = {0};
    const char *line, *target, *sp1, *sp2;
    long n, k, tn;
    int minor;

    for (k = 0; r->p < r->end && *r->p == '\r'; k++) {
        if (r->end - r->p < 2)
            return k >= 4 ? BAD : MORE;
        if (r->p[1] != '\n' || k >= 4)
            return BAD;
        r->p += 2;
    }
    line = r->p;
    n = line_at(line, r->end);
    if (n < 0)
        return (int)n;
    sp1 = memchr(line, ' ', (size_t)n);
    sp2 = sp1 == NULL ? NULL : memchr(sp1 + 1, ' ', (size_t)(line + n - sp1 - 1));
    if (sp2 == NULL || line + n - sp2 != 9 || memcmp(sp2, " HTTP/1.", 8) != 0 ||
        (sp2[8] != '0' && sp2[8] != '1'))
        return BAD;
    minor = sp2[8] - '0';
    k = read_fields(line + n + 2, r->end, &f);
    if (k < 0)
        return (int)k;
    if (n + 2 + k > 32768 || f.once > 0 || f.hosts > 1 || f.lengths > 1 || f.codings > 1)
        return BAD;
    if ((f.hosts == 0 && minor == 1) || (f.hosts == 1 && !host_ok(f.host, f.host_n)))
        return BAD;
    if (f.codings > 0 && (f.lengths > 0 || minor == 0 || !named(f.coding, f.coding_n, "chunked")))
        return BAD;
    if (f.lengths > 0 && !length_ok(&f))
        return BAD;
    target = sp1 + 1;
    tn = sp2 - sp1 - 1;
    if (!method_ok(line, sp1 - line) || !target_ok(&target, &tn, line, sp1 - line, &f))
        return BAD;
    r->p = line + n + 2 + k;
    r->heads++;
    r->targets = hash(r->targets, target, (size_t)tn);
    n = f.codings > 0 ? read_chunks(r) : f.lengths > 0 ? read_sized(r, &f) : 0;
    if (n == 0)
        r->messages++;
    return (int)n;
}

static void naive_read(struct naive *r, const char *bytes, size_t n)
{
    *r = (struct naive){.p = bytes, .end = bytes + n, .targets = 2166136261u};
    while (r->p < r->end && read_message(r) == 0)
        ;
}

/* ---- requests, well and badly formed ---- */

static uint64_t seed;

static size_t pick(size_t n)
{
    return (size_t)(parser_random(&seed) % n);
}

#define ONE_OF(array)       ((array)[pick(RM_COUNT(array))])
#define MOSTLY_FIRST(array) (pick(8) > 0 ? (array)[0] : ONE_OF(array))

static void put_any_field(struct rm_buf *b)
{
    static const char *const names[] = {"X-A",    "Accept",     "authorization", "Content-Type",
                                        "Expect", "Connection", "Upgrade",       "Host",
                                        "TE",     "Cookie",     "X_1~"};
    static const char *const values[] = {
        "b",           "",        " b ",     "a, b", "close", "keep-alive",    "100-continue",
        "caf\xc3\xa9", "upgrade", "gw:8080", "a\tb", "\"q\"", "Content-Length"};

    rm_buf_printf(b, "%s:%s%s\r\n", ONE_OF(names), pick(4) > 0 ? " " : "", ONE_OF(values));
}

static void put_chunks(struct rm_buf *b)
{
    static const char *const exts[] = {"", "", "", ";a", ";a=b", ";a=\"b c\"", ";a=\"\\\"\";c"};
    static const char data[] = "0123456789abcdef0123456789ABCDEF";

    for (size_t n = pick(4); n > 0; n--) {
        size_t k = 1 + pick(32);

        rm_buf_printf(b, pick(2) ? "%zx%s\r\n" : "00%zX%s\r\n", k, ONE_OF(exts));
        rm_buf_put(b, data, k);
        rm_buf_puts(b, "\r\n");
    }
    rm_buf_printf(b, "0%s\r\n", ONE_OF(exts));
    for (size_t n = pick(8); n < 2; n++)
        put_any_field(b);
    rm_buf_puts(b, "\r\n");
}

static void put_request(struct rm_buf *b)
{
    static const char *const methods[] = {"GET",    "POST",    "POST", "PUT",
                                          "DELETE", "OPTIONS", "BREW"};
    static const char *const targets[] = {"/",        "/v1/models",  "/a?b=c&d",     "*",
                                          "/%2e%2e/", "http://gw/x", "http://evil/", "/a;b={c}|d"};
    static const char *const versions[] = {"1.1", "1.1", "1.1", "1.1", "1.0", "2.0"};
    static const char *const hosts[] = {"gw", "gw", "gw:80", "[::1]:1", "g w", ""};
    static const char *const lengths[] = {"5", "5", "005", "5 ", "+5", "0", "5,5"};
    static const char *const codings[] = {"chunked", "chunked", "CHUNKED", "gzip, chunked", "x"};

    for (size_t n = pick(24); n < 2; n++)
        rm_buf_puts(b, "\r\n");
    rm_buf_printf(b, "%s %s HTTP/%s\r\n", pick(2) > 0 ? "POST" : MOSTLY_FIRST(methods),
                  MOSTLY_FIRST(targets), MOSTLY_FIRST(versions));
    if (pick(16) > 0)
        rm_buf_printf(b, "Host: %s\r\n", MOSTLY_FIRST(hosts));
    for (size_t n = pick(4); n > 0; n--)
        put_any_field(b);
    switch (pick(3)) {
    case 0:
        rm_buf_printf(b, "Content-Length: %s\r\n\r\n", MOSTLY_FIRST(lengths));
        rm_buf_puts(b, "hello");
        break;
    case 1:
        rm_buf_printf(b, "Transfer-Encoding: %s\r\n\r\n", MOSTLY_FIRST(codings));
        put_chunks(b);
        break;
    default:
        rm_buf_puts(b, "\r\n");
    }
}

/* Changes bytes here and there: flips, drops, inserts, repeats. */
static void mutate(struct rm_buf *b)
{
    static const char sharp[] = "\r\n\t :;,=\"\\0\0\x7f\xff/?#15aF[]";
    char keep[64];

    for (size_t times = pick(4); times > 0 && b->len > 64; times--) {
        size_t at = pick(b->len - 40), n = 1 + pick(3);
        char c = pick(3) > 0 ? sharp[pick(sizeof(sharp) - 1)] : (char)pick(256);

        switch (pick(4)) {
        case 0:
            b->data[at] = c;
            break;
        case 1:
            memmove(b->data + at, b->data + at + n, b->len - at - n);
            b->len -= n;
            break;
        case 2:
            rm_buf_put(b, &c, 1);
            memmove(b->data + at + 1, b->data + at, b->len - 1 - at);
            b->data[at] = c;
            break;
        default:
            n = 1 + pick(40);
            memcpy(keep, b->data + at, n);
            rm_buf_put(b, keep, n);
            memmove(b->data + at + n, b->data + at, b->len - n - at);
            memcpy(b->data + at, keep, n);
        }
    }
}

/* ---- the comparison ---- */

static void compare(const struct rm_buf *b, int run)
{
    struct parser_run whole, bytes, cut;
    struct naive naive;

    parser_run(&whole, HTTP_PARSE_REQUEST, &http_limits_default, b->data, b->len, false,
               parser_cut_whole, seed);
    parser_run(&bytes, HTTP_PARSE_REQUEST, &http_limits_default, b->data, b->len, false,
               parser_cut_bytes, seed);
    parser_run(&cut, HTTP_PARSE_REQUEST, &http_limits_default, b->data, b->len, false,
               parser_cut_random, seed);
    naive_read(&naive, b->data, b->len);
    if (whole.said.len != bytes.said.len || whole.said.len != cut.said.len ||
        memcmp(whole.said.data, bytes.said.data, whole.said.len) != 0 ||
        memcmp(whole.said.data, cut.said.data, whole.said.len) != 0)
        fail_msg("run %d: whole, bytes and cut differ:\n%s", run, b->data);
    if (naive.heads != whole.heads || naive.messages != whole.messages ||
        naive.body != whole.body || naive.targets != whole.targets)
        fail_msg("run %d: the parser let through %d heads, %d messages, %llu bytes (%s), the "
                 "naive reader %d, %d, %zu:\n%s",
                 run, whole.heads, whole.messages, (unsigned long long)whole.body,
                 rm_err_name(whole.err), naive.heads, naive.messages, naive.body, b->data);
    parser_run_clear(&whole);
    parser_run_clear(&bytes);
    parser_run_clear(&cut);
}

static void mutated_requests_are_read_alike(void **state)
{
    struct rm_buf b;
    int through = 0, refused = 0;

    (void)state;
    rm_buf_init(&b, 65536);
    for (int run = 0; run < DIFFER_RUNS; run++) {
        struct naive naive;

        b.len = 0;
        for (size_t n = 1 + pick(3); n > 0; n--)
            put_request(&b);
        mutate(&b);
        compare(&b, run);
        naive_read(&naive, b.data, b.len);
        through += naive.messages;
        refused += naive.messages == 0;
    }
    rm_buf_clear(&b);
    print_message("%d messages let through, %d inputs refused at once\n", through, refused);
    assert_true(through > DIFFER_RUNS / 4 && refused > DIFFER_RUNS / 10); /* both were tried */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(mutated_requests_are_read_alike)};
    const char *given = getenv("DIFFER_SEED");

    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu (DIFFER_SEED sets it)\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
