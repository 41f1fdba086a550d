/* SPDX-License-Identifier: MIT */
#include "proto/base/om.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "proto/base/json_write.h"

static const char *const suffixes[] = {
    [RM_OM_GAUGE] = "",   [RM_OM_COUNTER] = "_total", [RM_OM_INFO] = "_info",
    [RM_OM_SUMMARY] = "", [RM_OM_HISTOGRAM] = "",     [RM_OM_GAUGEHISTOGRAM] = ""};

bool rm_om_wants_classic(struct rm_slice accept)
{
    if (accept.n == 0 || memmem(accept.p, accept.n, "application/openmetrics-text", 28) != NULL)
        return false;
    return memmem(accept.p, accept.n, "text/plain", 10) != NULL;
}

void rm_om_begin(struct rm_om *m, struct rm_buf *out, bool classic)
{
    *m = (struct rm_om){.out = out, .classic = classic};
    rm_buf_init(&m->labels, RM_OM_LABELS_MAX);
}

static void keep(struct rm_om *m, int err)
{
    if (m->err == 0)
        m->err = err;
}

static void put(struct rm_om *m, const char *text, size_t n)
{
    if (m->err == 0)
        m->err = rm_buf_put(m->out, text, n);
}

static void puts_(struct rm_om *m, const char *text)
{
    put(m, text, strlen(text));
}

/* ---- families ---- */

static const char *type_name(const struct rm_om *m)
{
    static const char *const names[] = {
        [RM_OM_GAUGE] = "gauge",         [RM_OM_COUNTER] = "counter",
        [RM_OM_INFO] = "info",           [RM_OM_SUMMARY] = "summary",
        [RM_OM_HISTOGRAM] = "histogram", [RM_OM_GAUGEHISTOGRAM] = "gaugehistogram"};

    if (m->classic && m->type == RM_OM_INFO)
        return "gauge";
    if (m->classic && m->type == RM_OM_GAUGEHISTOGRAM)
        return "histogram";
    return names[m->type];
}

static void comment(struct rm_om *m, const char *word, const char *text)
{
    puts_(m, "# ");
    puts_(m, word);
    puts_(m, m->name);
    if (m->classic)
        puts_(m, suffixes[m->type]);
    put(m, " ", 1);
    puts_(m, text);
    put(m, "\n", 1);
}

void rm_om_family(struct rm_om *m, const char *name, enum rm_om_type type, const char *unit,
                  const char *help)
{
    m->name = name;
    m->type = type;
    m->labels.len = 0;
    comment(m, "TYPE ", type_name(m));
    if (unit[0] != '\0' && !m->classic)
        comment(m, "UNIT ", unit);
    comment(m, "HELP ", help);
}

/* ---- labels ---- */

/* How much of it is written as it is, whatever the format. */
static size_t plain_run(const char *text)
{
    size_t n = 0;

    while (text[n] >= 0x20 && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

/* Values: backslash, quote and line feed are escaped as both formats say; the rest of what breaks a
 * line for somebody becomes U+FFFD. */
static void put_value(struct rm_om *m, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t n = strlen(text), len;

    for (size_t i = 0; i < n; i += len) {
        unsigned char c = (unsigned char)text[i];

        if ((len = plain_run(text + i)) > 0) { /* nearly always all of it */
            keep(m, rm_buf_put(&m->labels, text + i, len));
            continue;
        }
        len = c < 0x80 ? 1 : rm_utf8_len(text + i, n - i);
        if (c == '"' || c == '\\')
            keep(m, rm_buf_put(&m->labels, "\\", 1));
        if (c == '\n')
            keep(m, rm_buf_put(&m->labels, "\\n", 2));
        else if (len == 0 || c < 0x20 || c == 0x7f ||
                 (len == 2 && c == 0xc2 && (unsigned char)text[i + 1] < 0xa0) ||
                 (len == 3 && (memcmp(text + i, "\xe2\x80\xa8", 3) == 0 ||
                               memcmp(text + i, "\xe2\x80\xa9", 3) == 0)))
            keep(m, rm_buf_put(&m->labels, replacement, 3));
        else
            keep(m, rm_buf_put(&m->labels, text + i, len));
        if (len == 0)
            len = 1;
    }
}

void rm_om_labels(struct rm_om *m, ...)
{
    const char *name;
    va_list args;

    m->labels.len = 0;
    va_start(args, m);
    while ((name = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);

        if (m->labels.len > 0)
            keep(m, rm_buf_put(&m->labels, ",", 1));
        keep(m, rm_buf_puts(&m->labels, name));
        keep(m, rm_buf_put(&m->labels, "=\"", 2));
        put_value(m, value);
        keep(m, rm_buf_put(&m->labels, "\"", 1));
    }
    va_end(args);
}

/* ---- samples ---- */

/* Up to the value. le: of a bucket, NULL: none. */
static void put_series(struct rm_om *m, const char *suffix, const char *le)
{
    puts_(m, m->name);
    puts_(m, suffix);
    if (m->labels.len > 0 || le != NULL) {
        put(m, "{", 1);
        put(m, m->labels.data, m->labels.len);
        if (le != NULL) {
            puts_(m, m->labels.len > 0 ? ",le=\"" : "le=\"");
            puts_(m, le);
            put(m, "\"", 1);
        }
        put(m, "}", 1);
    }
    put(m, " ", 1);
}

static void end_u64(struct rm_om *m, uint64_t value)
{
    if (m->err == 0)
        m->err = rm_buf_put_u64(m->out, value);
    put(m, "\n", 1);
}

static void end_dbl(struct rm_om *m, double value)
{
    char text[40];

    if (value >= 0 && value < 9e15 && value == floor(value)) { /* most are, and it is much faster */
        end_u64(m, (uint64_t)value);
        return;
    }
    if (!isfinite(value))
        snprintf(text, sizeof text, "NaN\n");
    else
        snprintf(text, sizeof text, "%.12g\n", value);
    puts_(m, text);
}

void rm_om_u64(struct rm_om *m, uint64_t value)
{
    put_series(m, suffixes[m->type], NULL);
    end_u64(m, value);
}

void rm_om_dbl(struct rm_om *m, double value)
{
    put_series(m, suffixes[m->type], NULL);
    end_dbl(m, value);
}

void rm_om_summary(struct rm_om *m, uint64_t count, double sum)
{
    put_series(m, "_count", NULL);
    end_u64(m, count);
    put_series(m, "_sum", NULL);
    end_dbl(m, sum);
}

size_t rm_om_bucket(const struct rm_om_bound *bounds, size_t n, double value)
{
    size_t i = 0;

    while (i < n && value > bounds[i].value)
        i++;
    return i;
}

void rm_om_histogram(struct rm_om *m, const struct rm_om_counts *c)
{
    const bool gauge = m->type == RM_OM_GAUGEHISTOGRAM && !m->classic;
    uint64_t sum = 0;

    for (size_t i = 0; i <= c->n; i++) {
        sum += c->bucket[i];
        put_series(m, "_bucket", i < c->n ? c->bounds[i].text : "+Inf");
        end_u64(m, sum);
    }
    put_series(m, gauge ? "_gcount" : "_count", NULL);
    end_u64(m, sum);
    put_series(m, gauge ? "_gsum" : "_sum", NULL);
    end_dbl(m, c->sum);
}

int rm_om_end(struct rm_om *m)
{
    if (!m->classic)
        puts_(m, "# EOF\n");
    rm_buf_clear(&m->labels);
    return m->err;
}
