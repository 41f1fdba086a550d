/* SPDX-License-Identifier: MIT */
/* cli/ask.c - see ask.h. */
#include "cli/ask.h"

#include "cli/cli.h"
#include "proto/base/file.h"
#include "proto/http/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_MAX = 256, FIELDS_MAX = 8 };

struct asking {
    uv_loop_t loop;
    uv_timer_t deadline;
    struct http_client *client;
    struct http_call *call; /* in flight, or NULL */
    struct rm_buf *body;
    int64_t *date_s;
    int status, err; /* err: the first */
};

/* RFC 9110 section 5.6.7, the form that is sent. 0: none, or another. */
static int64_t date_of(const struct http_head *head)
{
    struct rm_slice value = http_head_value(head, "Date");
    char text[40];
    struct tm tm = {.tm_sec = 0};

    if (value.n == 0 || value.n >= sizeof text)
        return 0;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    return strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) != NULL ? (int64_t)timegm(&tm) : 0;
}

static void ask_on_head(struct http_call *k, const struct http_head *head)
{
    struct asking *a = http_call_arg(k);

    a->status = head->status;
    if (a->date_s != NULL)
        *a->date_s = date_of(head);
}

static void ask_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct asking *a = http_call_arg(k);
    int r = rm_buf_put(a->body, bytes, n);

    if (r < 0 && a->err == 0) {
        a->err = r;
        http_call_abort(k);
    }
}

static void ask_on_fail(struct http_call *k, int err)
{
    struct asking *a = http_call_arg(k);

    if (a->err == 0)
        a->err = err;
}

static void ask_end(struct asking *a)
{
    http_client_close(a->client);
    a->client = NULL;
    uv_close((uv_handle_t *)&a->deadline, NULL);
}

static void ask_on_done(struct http_call *k)
{
    struct asking *a = http_call_arg(k);

    a->call = NULL;
    ask_end(a);
}

static void ask_on_deadline(uv_timer_t *timer)
{
    struct asking *a = timer->data;

    if (a->call == NULL)
        return;
    a->err = UV_ETIMEDOUT;
    http_call_abort(a->call);
}

/* ---- the key ---- */

static char key_of_file[KEY_MAX];

int ask_use_key_file(const char *path)
{
    struct rm_buf b;
    size_t n = 0;
    int r;

    rm_buf_init(&b, KEY_MAX);
    r = rm_file_read(path, &b);
    while (r == 0 && n < b.len && strchr(" \t\r\n", b.data[n]) == NULL)
        n++;
    if (r == 0 && (n == 0 || n >= KEY_MAX || b.data[n + strspn(b.data + n, " \t\r\n")] != '\0'))
        r = RM_ERR_FIELD;
    if (r == 0)
        rm_text_copy(key_of_file, n + 1, b.data);
    else
        cli_failed("", "--key-file %s: %s", path,
                   r == RM_ERR_FIELD || r == RM_ERR_TOO_BIG
                       ? "expected one API key and nothing else"
                       : rm_strerror(r));
    rm_buf_clear(&b);
    return r;
}

bool ask_key_field(char value[ASK_KEY_FIELD_MAX], struct http_out_field *out)
{
    const char *key = key_of_file[0] != '\0' ? key_of_file : getenv("ROLEMESH_KEY");

    if (key == NULL || key[0] == '\0' || strlen(key) >= KEY_MAX)
        return false;
    snprintf(value, ASK_KEY_FIELD_MAX, "Bearer %s", key);
    *out = (struct http_out_field){"Authorization", rm_slice_of(value)};
    return true;
}

/* The fields of ask and, for a gateway, the key. */
static size_t ask_fields(const struct ask *ask, char value[ASK_KEY_FIELD_MAX],
                         struct http_out_field out[FIELDS_MAX])
{
    size_t n = 0;

    for (; n < ask->n_fields && n < FIELDS_MAX - 1; n++)
        out[n] = ask->fields[n];
    if (ask->to_gateway && ask_key_field(value, &out[n]))
        n++;
    return n;
}

/* ---- asking ---- */

int ask_run(const struct ask *ask, int *status, struct rm_buf *body)
{
    static const struct http_call_ops ops = {.on_head = ask_on_head,
                                             .on_body = ask_on_body,
                                             .on_fail = ask_on_fail,
                                             .on_done = ask_on_done};
    struct http_out_field fields[FIELDS_MAX];
    char key[ASK_KEY_FIELD_MAX];
    struct http_call_spec spec = {.method = ask->method,
                                  .target = rm_slice_of(ask->target),
                                  .fields = fields,
                                  .n_fields = ask_fields(ask, key, fields),
                                  .body = &ask->body,
                                  .n_body = ask->body.p != NULL ? 1 : 0};
    struct asking a = {.body = body, .date_s = ask->date_s};
    int r;

    *status = 0;
    rm_buf_init(body, ASK_ANSWER_MAX);
    if ((r = uv_loop_init(&a.loop)) < 0)
        return r;
    uv_timer_init(&a.loop, &a.deadline);
    a.deadline.data = &a;
    uv_timer_start(&a.deadline, ask_on_deadline, ask->deadline_ms, 0);
    a.err = http_client_new(&a.loop, ask->address, &http_client_conf_default, &a.client);
    if (a.err == 0)
        a.err = http_call_start(a.client, &spec, &ops, &a, &a.call);
    if (a.err < 0)
        ask_end(&a);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    uv_loop_close(&a.loop);
    *status = a.status;
    return a.err;
}

int ask_address(const char *url, struct http_address *out)
{
    char copy[300];
    size_t n;

    if (strncmp(url, "http://", 7) == 0)
        url += 7;
    n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    if (n >= sizeof copy)
        return UV_EINVAL;
    memcpy(copy, url, n);
    copy[n] = '\0';
    return http_address_parse(copy, out);
}
