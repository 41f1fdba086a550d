/* SPDX-License-Identifier: MIT */
/* worker/memory/nvml_test.c - nvml.c against the library of tests/support/nvml (path in
 * FAKE_NVML_SO) and against libraries that are none; and the driver of this machine, if it has one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/memory/nvml.h"

#define MIB (1ULL << 20)

static struct nvml *open_fake(void)
{
    struct nvml *n;

    unsetenv("FAKE_NVML");
    assert_int_equal(nvml_open(getenv("FAKE_NVML_SO"), &n), 0);
    assert_non_null(n);
    return n;
}

static void reads_what_it_is_told(void **state)
{
    struct nvml *n = open_fake();
    struct memory_facts f = {.total = 64ULL << 30};

    (void)state;
    nvml_read(n, &f);
    assert_int_equal(f.n_devices, 3); /* one has no memory of its own, one is lost */
    assert_string_equal(f.devices[0].id, "0000:01:00.0");
    assert_int_equal(f.devices[0].vram_total, 24576 * MIB);
    assert_int_equal(f.devices[0].vram_used, 3072 * MIB);
    assert_int_equal(f.devices[0].gtt_total, 0);
    assert_string_equal(f.devices[1].id, "0000:c1:00.0");
    assert_int_equal(f.devices[1].vram_used, 8192 * MIB); /* never more than there is */
    assert_string_equal(f.devices[2].id, "0001:41:00.0");
    assert_int_equal(f.devices[2].vram_total, 81920 * MIB);
    assert_int_equal(f.total, 64ULL << 30);
    assert_int_equal(f.n_busy, 2); /* also of the one without memory of its own */
    assert_true(facts_gpu_percent(&f) == 40);
    nvml_close(n);
}

static void a_device_that_is_there_is_not_taken_twice(void **state)
{
    struct nvml *n = open_fake();
    struct memory_facts f = {.n_devices = 1, .devices = {{.id = "0000:01:00.0", .vram_total = 7}}};

    (void)state;
    nvml_read(n, &f);
    assert_int_equal(f.n_devices, 3);
    assert_int_equal(f.n_busy, 1); /* nor is it busy twice */
    assert_int_equal(f.devices[0].vram_total, 7);
    assert_string_equal(f.devices[2].id, "0001:41:00.0");
    nvml_read(n, &f); /* again: nothing new */
    assert_int_equal(f.n_devices, 3);
    f = (struct memory_facts){.n_devices = FACTS_DEVICES_MAX - 1};
    nvml_read(n, &f); /* as far as there is room */
    assert_int_equal(f.n_devices, FACTS_DEVICES_MAX);
    nvml_close(n);
}

static void bytes_of_a_process(void **state)
{
    struct nvml *n = open_fake();

    (void)state;
    assert_int_equal(nvml_process_bytes(n, 4711), 3072 * MIB);
    assert_int_equal(nvml_process_bytes(n, 4712), 0); /* it does not tell */
    assert_int_equal(nvml_process_bytes(n, 4713), 0);
    assert_int_equal(nvml_process_bytes(n, 0), 0);
    nvml_close(n);
}

static void what_cannot_be_opened(void **state)
{
    struct nvml *n = (struct nvml *)&n;

    (void)state;
    assert_int_equal(nvml_open("/nonexistent/libnvidia-ml.so.1", &n), RM_ERR_NOT_SUPPORTED);
    assert_null(n);
    assert_int_equal(nvml_open("libc.so.6", &n), RM_ERR_NOT_SUPPORTED); /* another library */
    setenv("FAKE_NVML", "nodriver", 1);
    assert_int_equal(nvml_open(getenv("FAKE_NVML_SO"), &n), RM_ERR_ENGINE);
    assert_null(n);
    nvml_close(NULL);
}

static void this_machine(void **state)
{
    struct memory_facts f = {0};
    struct nvml *n;

    (void)state;
    if (nvml_open(NULL, &n) < 0)
        skip(); /* no driver */
    nvml_read(n, &f);
    for (uint32_t i = 0; i < f.n_devices; i++) {
        print_message("%s: %llu MiB\n", f.devices[i].id,
                      (unsigned long long)(f.devices[i].vram_total >> 20));
        assert_true(f.devices[i].vram_total > 0);
        assert_int_equal(strlen(f.devices[i].id), strlen("0000:00:00.0"));
    }
    print_message("%u devices tell how busy they are: %.1f %%\n", f.n_busy, facts_gpu_percent(&f));
    assert_true(f.n_busy == 0 || (facts_gpu_percent(&f) >= 0 && facts_gpu_percent(&f) <= 100));
    nvml_close(n);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_is_told),
        cmocka_unit_test(a_device_that_is_there_is_not_taken_twice),
        cmocka_unit_test(bytes_of_a_process),
        cmocka_unit_test(what_cannot_be_opened),
        cmocka_unit_test(this_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
