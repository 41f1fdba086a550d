/* SPDX-License-Identifier: MIT */
/* gateway/ops/events_test.c - the ring: ids, what is kept, hostile texts. */
#include "gateway/ops/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static uint64_t add(struct events *e, const char *text)
{
    return events_add(e, &(struct event){EVENT_WARNING, "k", "s", text, NULL}, 1777888999123);
}

static void encoded_once(void **state)
{
    static struct events e;
    uint64_t id;

    (void)state;
    events_init(&e, 1000);
    id = add(&e, "a \"quoted\"\nline");
    assert_int_equal(id, 1000);
    assert_string_equal(events_get(&e, id),
                        "{\"id\":1000,\"at\":\"2026-05-04T10:03:19.123Z\",\"severity\":\"warning\","
                        "\"kind\":\"k\",\"subject\":\"s\",\"text\":\"a \\\"quoted\\\"\\nline\","
                        "\"next\":null}");
    assert_null(events_get(&e, 999));
    assert_null(events_get(&e, 1001));
    events_clear(&e);
}

static void the_oldest_go(void **state)
{
    static struct events e;
    struct rm_buf out;
    char text[32];

    (void)state;
    events_init(&e, 5);
    for (int i = 0; i < EVENTS_MAX + 10; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_int_equal(add(&e, text), 5 + i);
    }
    assert_int_equal(e.first, 15);
    assert_null(events_get(&e, 14));
    assert_non_null(strstr(events_get(&e, 15), "\"t10\""));
    assert_non_null(strstr(events_get(&e, e.next - 1), "\"t1033\""));
    rm_buf_init(&out, 1 << 20);
    assert_int_equal(events_write(&e, &out), 0);
    assert_ptr_equal(strstr(out.data, "[{\"id\":1038,"), out.data);
    assert_int_equal(out.data[out.len - 1], ']');
    rm_buf_clear(&out);
    events_clear(&e);
}

static void long_and_broken_texts(void **state)
{
    static struct events e;
    char text[3 * EVENT_TEXT_MAX];
    const char *json;

    (void)state;
    events_init(&e, 1);
    memset(text, 'a', sizeof text);
    memcpy(text + EVENT_TEXT_MAX - 1, "\xc3\xa4", 2); /* would be cut in two */
    text[sizeof text - 1] = '\0';
    json = events_get(&e, add(&e, text));
    assert_non_null(json);
    assert_null(strstr(json, "\xc3"));
    assert_null(strstr(json, "\xef\xbf\xbd"));
    json = events_get(&e, add(&e, "\xff\x01"));
    assert_non_null(strstr(json, "\"text\":\"\xef\xbf\xbd\\u0001\""));
    events_clear(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(encoded_once),
                                       cmocka_unit_test(the_oldest_go),
                                       cmocka_unit_test(long_and_broken_texts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
