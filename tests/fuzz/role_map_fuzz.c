/* SPDX-License-Identifier: MIT */
/* tests/fuzz/role_map_fuzz.c - any bytes as a role map and as a worker's file.
 * A file is good and gives a struct, or is bad and gives at least one mistake at a place that
 * exists; the text and JSON forms of the mistakes are valid UTF-8 and bounded. */
#include "proto/base/json_write.h"
#include "proto/conf/role_map.h"
#include "proto/conf/worker_conf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void expect(bool good)
{
    if (!good)
        abort();
}

static void check_report(const struct conf_report *report, int r, const uint8_t *data, size_t n)
{
    struct rm_buf out;
    unsigned lines = 1;

    for (size_t i = 0; i < n; i++)
        lines += data[i] == '\n';
    expect(r == 0 || r == RM_ERR_CONF);
    expect((r == 0) == (report->total == 0));
    expect(report->n <= CONF_MISTAKES_MAX && report->n <= report->total);
    for (unsigned i = 0; i < report->n; i++) {
        expect(report->mistakes[i].at.line <= lines);
        expect((report->mistakes[i].at.line == 0) == (report->mistakes[i].at.col == 0));
        expect(i == 0 || report->mistakes[i].at.line >= report->mistakes[i - 1].at.line);
    }
    rm_buf_init(&out, 256 * 1024);
    expect(conf_report_text(report, &out) == 0);
    expect(conf_report_json(report, &out) == 0);
    for (size_t i = 0; i < out.len;) {
        size_t c = rm_utf8_len(out.data + i, out.len - i);

        expect(c > 0);
        i += c;
    }
    rm_buf_clear(&out);
}

static void ignore_change(void *arg, const struct map_change *change)
{
    (void)arg;
    expect(change->effects != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct conf_report report;
    struct role_map *map;
    struct worker_conf *worker;
    int r;

    conf_report_init(&report);
    r = role_map_parse("fuzz.yaml", (const char *)data, n, &report, &map);
    expect((r == 0) == (map != NULL));
    check_report(&report, r, data, n);
    if (map != NULL)
        role_map_diff(map, map, ignore_change, NULL);
    role_map_unref(map);
    r = worker_conf_parse("fuzz.yaml", (const char *)data, n, &report, &worker);
    expect((r == 0) == (worker != NULL));
    check_report(&report, r, data, n);
    worker_conf_free(worker);
    conf_report_clear(&report);
    return 0;
}
